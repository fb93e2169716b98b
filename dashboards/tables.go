package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"

	"github.com/keepscope/keepscope/exporter"
)

// A column is one query of a table: its value, or where label is set, that label.
type column struct {
	title, unit string
	width       int // in pixels
	expr        string
	label       string
	words       *dashboard.ValueMapping
	value       bool // words are those of the value, with colours of the cell
	levels      []level
	base        string // colour below the first level
	bar         bool   // drawn as a share of 1
}

// A labelColumn is a label that all queries of a table have.
type labelColumn struct {
	label, title string
	width        int
	properties   []dashboard.DynamicConfigValue
}

// serverLabels begins tables of servers. With a Config, names lead to the detail.
func serverLabels(c *Config) []labelColumn {
	server := labelColumn{label: exporter.LabelServer, title: "Server", width: 180}
	if c != nil {
		server.properties = []dashboard.DynamicConfigValue{property("links", []map[string]any{{
			"title": "Why? Detail of this server, in this direction",
			"url":   c.linkTo("server", "&var-direction=${__data.fields.Direction:percentencode}&var-server=${__value.raw:percentencode}"),
		}})}
	}
	return []labelColumn{server, {label: exporter.LabelDirection, title: "Direction", width: 85}}
}

// tableOf returns a table with a row for each combination of the labels, the
// largest value of a column first: sortBy counts the labels, too, from 0 on.
func tableOf(t text, sortBy int, labels []labelColumn, list ...column) *table.PanelBuilder {
	var queries []query
	rename, order, exclude := map[string]any{}, map[string]any{}, map[string]any{"Time": true}
	for i, l := range labels {
		rename[l.label], order[l.label] = l.title, i
	}
	for i, col := range list {
		queries = append(queries, query{expr: col.expr, legend: col.title})
		field := "Value #" + string(rune('A'+i))
		if col.label != "" {
			exclude[field] = true
			field = col.label
		}
		rename[field], order[field] = col.title, len(labels)+i
	}
	b := rows(t, queries...).
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": exclude, "indexByName": order, "renameByName": rename,
		}})
	titles := []string{}
	for _, l := range labels {
		titles = append(titles, l.title)
		b.OverrideByName(l.title, append([]dashboard.DynamicConfigValue{property("custom.width", l.width)}, l.properties...))
	}
	for _, col := range list {
		titles = append(titles, col.title)
		b.OverrideByName(col.title, col.cells())
	}
	return b.SortBy([]cogSort{common.NewTableSortByFieldStateBuilder().DisplayName(titles[sortBy]).Desc(true)})
}

// cells returns how a column's cells look.
func (col column) cells() []dashboard.DynamicConfigValue {
	properties := []dashboard.DynamicConfigValue{property("custom.width", col.width), property("noValue", "–")}
	if col.unit != "" {
		properties = append(properties, property("unit", col.unit))
	}
	if col.words != nil {
		properties = append(properties, property("mappings", []dashboard.ValueMapping{*col.words}))
		if col.label == labelWhy || col.value {
			return append(properties, property("custom.cellOptions", map[string]any{"type": "color-background", "mode": "basic", "wrapText": true}))
		}
		return append(properties, property("custom.cellOptions", map[string]any{"type": "auto", "wrapText": true}))
	}
	if len(col.levels) == 0 {
		return properties
	}
	base := col.base
	if base == "" {
		base = "transparent"
	}
	steps := []map[string]any{{"color": base, "value": nil}}
	for _, l := range col.levels {
		steps = append(steps, map[string]any{"color": l.color, "value": l.from})
	}
	properties = append(properties, property("thresholds", map[string]any{"mode": "absolute", "steps": steps}))
	if col.bar {
		return append(properties, property("min", 0), property("max", 1), property("decimals", 0),
			property("custom.cellOptions", map[string]any{"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}))
	}
	return append(properties, property("custom.cellOptions", map[string]any{"type": "color-background", "mode": "basic"}))
}
