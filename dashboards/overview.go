package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/keepscope/keepscope/exporter"
)

const noHTTP = "No HTTP was seen in this time: choose a longer one, or other variables"

// effectivenessLevels rate keep-alive effectiveness, everywhere alike.
var effectivenessLevels = []level{{0.5, warning}, {0.9, good}}

// Overview returns the dashboard of the fleet: how well connections are kept,
// what it costs where they are not, and which servers to look at first.
func Overview(c Config) (dashboard.Dashboard, error) {
	c = c.withDefaults()
	return c.build(board{
		name:  "overview",
		title: "Keep-alive overview",
		about: "How well HTTP clients and servers keep their connections, what the handshakes cost that were not needed, and which servers to look at first.",
		variables: append(targetVariables(),
			directionVariable(), serversVariable(), intervalVariable()),
		bands: []band{
			trust(),
			{id: 1, title: "How well are connections kept?", height: 5, tiles: []tile{
				{2, 6, effectivenessNow(fleetScope)},
				{3, 6, wastedNow(fleetScope)},
				{4, 6, costNow(fleetScope)},
				{5, 6, racesInRange(fleetScope)},
			}},
			{id: 10, title: "Since when?", height: 8, tiles: []tile{
				{11, 12, effectivenessOverTime(fleetScope)},
				{12, 12, connectionsAgainstRequests(fleetScope)},
			}},
			{id: 20, title: "Why are handshakes wasted, and what do they cost?", height: 9, tiles: []tile{
				{21, 12, wastedByCause(fleetScope)},
				{22, 12, costByCause()},
				{23, 12, costByKind(fleetScope)},
				{24, 12, racesOverTime(fleetScope)},
			}},
			{id: 30, title: "Which servers to look at first?", height: 11, tiles: []tile{
				{31, 24, c.worstServers()},
			}},
		},
	})
}

func effectivenessNow(s scope) *stat.PanelBuilder {
	return number(text{
		title: "Keep-alive effectiveness",
		unit:  unitShare,
		about: "Of the requests for which an open connection could have been at hand, the share that rode one, now. Good: above 90 %; 100 % is perfect. Below, look at the causes of wasted handshakes: blue ones are settings of the client, orange ones of the server.",
		empty: noHTTP,
	}, query{expr: s.effectiveness(rateInterval, nil), legend: "effectiveness"}).
		Decimals(1).Min(0).Max(1).Thresholds(levels(bad, effectivenessLevels...))
}

func wastedNow(s scope) *stat.PanelBuilder {
	return number(text{
		title: "Wasted handshakes",
		unit:  unitConnections,
		about: "New connections per second that a client which keeps its connections, and a server that lets it, would not have needed. Good: near 0. Each costs at least one round trip, with TLS two or more and CPU on both sides.",
		empty: noHTTP,
	}, query{expr: sum(nil, s.rate(rateInterval, exporter.WastedHandshakes)), legend: "wasted"}).
		ColorScheme(fixed(blue))
}

func costNow(s scope) *stat.PanelBuilder {
	return number(text{
		title: "Time spent on them",
		unit:  unitEach,
		about: "Seconds that requests wait, all together, in each second, for handshakes (TCP, TLS and the DNS look-up before) that were not needed. Good: below 0.1. At 1, there is at any moment one request that waits for nothing.",
		empty: noHTTP,
	}, query{expr: sum(nil, s.rate(rateInterval, exporter.WastedSeconds)), legend: "seconds"}).
		Thresholds(levels(plain, level{0.1, warning}, level{1, bad}))
}

func racesInRange(s scope) *stat.PanelBuilder {
	return number(text{
		title: "Keep-alive races",
		unit:  unitRaces,
		about: "Requests within the time range that crossed the server's closing of their connection: behind a load balancer, the occasional 502. Good: 0. Make the client's idle timeout shorter than the server's: see the runbook's KeepscopeRaces.",
		empty: noHTTP,
	}, query{expr: sum(nil, s.races(wholeRange)), legend: "races", once: true}).
		GraphMode(common.BigValueGraphModeNone).
		Decimals(0).
		Thresholds(levels(plain, level{0.5, bad}))
}

func effectivenessOverTime(s scope) *timeseries.PanelBuilder {
	t := text{
		title: "Keep-alive effectiveness over time",
		unit:  unitShare,
		about: "The share of requests that rode a connection which could have been at hand. The dashed line leaves out the cause pool_miss, which a NAT or a load balancer inflates by hiding several clients behind one address: where the lines are far apart, the truth is between them. Good: above 90 %. A step down that coincides with a deploy names its reason.",
		empty: noHTTP,
	}
	with, without := "effectiveness", "without pool_miss"
	return paint(lines(t,
		query{expr: s.effectiveness(rateInterval, nil), legend: with},
		query{expr: s.effectiveness(rateInterval, nil, isNot(exporter.LabelCause, "pool_miss")), legend: without},
	).
		Min(0).Max(1).Decimals(1).
		Thresholds(levels(bad, effectivenessLevels...)).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)),
		style{series: with, color: blue},
		style{without, sky, []dashboard.DynamicConfigValue{dashed(8, 8), property("custom.fillOpacity", 0)}})
}

func connectionsAgainstRequests(s scope) *timeseries.PanelBuilder {
	requests, opened := "requests", "new connections"
	return paint(lines(text{
		title: "New connections against requests",
		unit:  unitRate,
		about: "Requests per second, and the connections that were opened for them. Good: many times more requests than connections. Lines that run together mean a connection for each request.",
		empty: noHTTP,
	},
		query{expr: sum(nil, s.rate(rateInterval, exporter.Requests)), legend: requests},
		query{expr: sum(nil, s.rate(rateInterval, exporter.ConnectionsOpened)), legend: opened},
	), style{series: requests, color: blue}, style{series: opened, color: orange})
}

func wastedByCause(s scope) *timeseries.PanelBuilder {
	return causes(stacked(common.StackingModeNormal, text{
		title: "Wasted handshakes by cause",
		unit:  unitConnections,
		about: "Why the connection that could have been used was not. Blue: change the client (pool_miss: it opened another although one was free; client_close: it asked for closing). Orange: change the server (server_limit: its limit of requests per connection; server_idle: its idle timeout). Good: nothing to see.",
		empty: noHTTP,
	}, query{expr: sum(by(exporter.LabelCause), s.rate(rateInterval, exporter.WastedHandshakes)) + orNone(exporter.LabelCause, s.rate(rateInterval, exporter.WastedHandshakes)),
		legend: legendOf(exporter.LabelCause), exemplars: true}))
}

// orNone keeps what is above 0; where nothing is, but the expression has series,
// it is a single zero, so that a chart of what does not happen is flat and not
// without data.
func orNone(label, expr string) string {
	return fmt.Sprintf(` > 0 or on () label_replace(0 * sum(%s), %q, "none", "", "")`, expr, label)
}

// causes gives causes their colours.
func causes(b *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	values := exporter.Values(exporter.LabelCause)
	return paint(b.Legend(tableLegend()), append(tones("", values, blame(values)), style{series: "none", color: slate})...)
}

func costByCause() *timeseries.PanelBuilder {
	s := fleetScope
	perServer := by(append(append([]string{}, perInstance...), exporter.LabelDirection, exporter.LabelServer)...)
	wasted := s.rate(rateInterval, exporter.WastedHandshakes)
	mean := ratio(sum(perServer, s.rate(rateInterval, exporter.WastedSeconds)), sum(perServer, wasted))
	cost := sum(append(perServer, exporter.LabelCause), wasted) + " * on (" + joined(perServer) + ") group_left () (" + mean + ")"
	return causes(stacked(common.StackingModeNormal, text{
		title: "Seconds they cost by cause",
		unit:  unitEach,
		about: "Seconds spent in each second on wasted handshakes, by cause: the number of a cause's handshakes with a server times what a wasted handshake with that server takes on average. Good: nothing to see. Remedy the largest first; a far server that is asked seldom can cost more than a near one that is asked often.",
		empty: noHTTP,
	}, query{expr: sum(by(exporter.LabelCause), cost) + orNone(exporter.LabelCause, wasted), legend: legendOf(exporter.LabelCause)}))
}

func costByKind(s scope) *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModeNormal, text{
		title: "Seconds they cost by kind",
		unit:  unitEach,
		about: "Seconds spent in each second on the TCP handshakes, the TLS handshakes and the DNS look-ups of connections that were not needed. Good: below 0.1. Mostly tls: session resumption makes what remains cheaper. Mostly dns: a cache near the client does.",
		empty: noHTTP,
	}, query{expr: sum(by(exporter.LabelKind), s.rate(rateInterval, exporter.WastedSeconds)), legend: legendOf(exporter.LabelKind)}),
		style{series: "tcp", color: blue}, style{series: "tls", color: orange}, style{series: "dns", color: green})
}

func racesOverTime(s scope) *timeseries.PanelBuilder {
	return lines(text{
		title: "Keep-alive races over time",
		unit:  unitRaces,
		about: "Requests that crossed the server's closing of their connection. Good: 0. Each is a request that fails or has to be sent again. The exemplars (diamonds) name the connections; the table below names the servers.",
		empty: noHTTP,
	}, query{expr: sum(nil, s.races(rateInterval)), legend: "races", exemplars: true}).
		DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).LineWidth(0).
		AxisSoftMax(1).
		ColorScheme(fixed(vermillion))
}

// A column is one query of a table.
type column struct {
	title, unit string
	expr        string
	levels      []level
	base        string
}

// worstServers is sorted by what the wasted handshakes cost.
func (c Config) worstServers() *table.PanelBuilder {
	s, perServer := fleetScope, by(exporter.LabelDirection, exporter.LabelServer)
	total := func(metric string) string { return sum(perServer, s.rate(wholeRange, metric)) }
	mean := ratio(total(exporter.Requests), total(exporter.ConnectionsOpened))
	columns := []column{
		{title: "Effectiveness", unit: unitShare, expr: s.effectiveness(wholeRange, perServer), base: bad, levels: effectivenessLevels},
		{title: "Wasted handshakes", unit: unitConnections, expr: total(exporter.WastedHandshakes)},
		{title: "Time spent on them", unit: unitEach, expr: total(exporter.WastedSeconds), levels: []level{{0.1, warning}, {1, bad}}},
		{title: "Requests", unit: unitRequests, expr: total(exporter.Requests)},
		{title: "Requests a connection", unit: unitNumber, expr: mean},
		{title: "Races", unit: unitRaces, expr: sum(perServer, s.races(wholeRange)), levels: []level{{0.5, bad}}},
	}
	t := text{
		title: "Servers, worst first",
		unit:  unitNumber,
		about: "Servers by the time that wasted handshakes with them took within the time range. A server's name leads to its detail: why its connections end and which timeout to change. Good: effectiveness above 90 % and no races; start at the top, for there is most to win.",
		empty: noHTTP,
	}
	return c.columns(t, columns, 2)
}

// columns returns a table of servers with a row each, sorted by column i.
func (c Config) columns(t text, columns []column, i int) *table.PanelBuilder {
	queries := make([]query, len(columns))
	rename := map[string]any{exporter.LabelServer: "Server", exporter.LabelDirection: "Direction"}
	order := map[string]any{exporter.LabelServer: 0, exporter.LabelDirection: 1}
	for k, col := range columns {
		queries[k] = query{expr: col.expr, legend: col.title}
		field := "Value #" + string(rune('A'+k))
		rename[field], order[field] = col.title, k+2
	}
	b := rows(t, queries...).
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]any{"Time": true},
			"indexByName":   order,
			"renameByName":  rename,
		}}).
		SortBy([]cogSort{common.NewTableSortByFieldStateBuilder().DisplayName(columns[i].title).Desc(true)})
	for _, col := range columns {
		b.OverrideByName(col.title, cells(col))
	}
	b.OverrideByName("Server", []dashboard.DynamicConfigValue{
		property("custom.minWidth", 220),
		property("links", []map[string]any{{
			"title": "Why? Detail of this server",
			"url":   c.linkTo("server", "&var-server=${__value.raw:percentencode}"),
		}}),
	})
	return b
}

// cells returns how a column's cells look.
func cells(col column) []dashboard.DynamicConfigValue {
	properties := []dashboard.DynamicConfigValue{property("unit", col.unit), property("noValue", "–")}
	if len(col.levels) == 0 {
		return properties
	}
	base := col.base
	if base == "" {
		base = plain
	}
	steps := []map[string]any{{"color": base, "value": nil}}
	for _, l := range col.levels {
		steps = append(steps, map[string]any{"color": l.color, "value": l.from})
	}
	return append(properties,
		property("thresholds", map[string]any{"mode": "absolute", "steps": steps}),
		property("custom.cellOptions", map[string]any{"type": "color-text"}))
}
