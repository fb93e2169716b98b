package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Units. Each is an id of Grafana's, or one of its prefixes for units of one's
// own.
const (
	unitShare       = "percentunit"
	unitSeconds     = "s"        // scales, from nanoseconds to years
	unitPlain       = "suffix:s" // does not: for logarithmic axes
	unitNumber      = "short"
	unitRequests    = "reqps"
	unitConnections = "count:/s"
	unitPackets     = "pps"
	unitBytes       = "bytes"
	unitByteRate    = "binBps"
	unitBitRate     = "bps"
	unitRate        = "count:/s"
	unitCores       = "suffix:cores"
)

// datasourceRef is the data source that the dashboard's first variable chooses.
var datasourceRef = common.DataSourceRef{Type: ref("prometheus"), Uid: ref("${datasource}")}

func ref[T any](v T) *T { return &v }

// A query is one target of a panel.
type query struct {
	expr      string
	legend    string
	exemplars bool
	once      bool // one value for the whole time range

	// For a query of one series.
	color string // empty for the panel's
	looks looks
}

// looks say how a series is drawn, beside its colour.
type looks = []dashboard.DynamicConfigValue

// ranged returns the query as a series over time. Its step is Grafana's, on
// which $__rate_interval depends.
func (q query) ranged(id int) *prometheus.DataqueryBuilder {
	b := q.base(id).Format(prometheus.PromQueryFormatTimeSeries)
	if q.once {
		return b.Instant()
	}
	b.Range()
	if q.exemplars {
		b.Exemplar(true)
	}
	return b
}

// instant returns the query as one table.
func (q query) instant(id int) *prometheus.DataqueryBuilder {
	return q.base(id).Instant().Format(prometheus.PromQueryFormatTable)
}

func (q query) base(id int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().
		Datasource(datasourceRef).
		RefId(string(rune('A' + id))).
		EditorMode(prometheus.QueryEditorModeCode).
		Expr(q.expr).
		LegendFormat(q.legend)
}

// A level is where a threshold's colour begins.
type level struct {
	from  float64
	color string
}

// levels returns thresholds: base below the first.
func levels(base string, above ...level) *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Color: base}}
	for _, l := range above {
		steps = append(steps, dashboard.Threshold{Value: ref(l.from), Color: l.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func fixed(color string) *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdFixed).FixedColor(color)
}

// shades tell an open set of series apart by lightness, in one hue.
func shades(color string) *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdShades).FixedColor(color)
}

func byThreshold() *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)
}

// A text is what a panel says in words.
type text struct {
	title, unit string
	about       string // what it shows, what is good, what to do
	empty       string // why there may be no data
}

// numbers are big figures of the newest values, each with its name.
func numbers(t text, queries ...query) *stat.PanelBuilder {
	b := stat.NewPanelBuilder().
		Title(t.title).Description(t.about).Unit(t.unit).NoValue(t.empty).
		Datasource(datasourceRef).
		ColorScheme(byThreshold()).
		Thresholds(levels(plain)).
		Mappings([]dashboard.ValueMapping{withoutValue(plain)}).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}).Values(false).Fields("")).
		GraphMode(common.BigValueGraphModeNone).
		ColorMode(common.BigValueColorModeValue).
		JustifyMode(common.BigValueJustifyModeAuto).
		TextMode(common.BigValueTextModeValueAndName).
		Orientation(common.VizOrientationVertical).
		WideLayout(false)
	for i, q := range queries {
		b.WithTarget(q.ranged(i))
	}
	return b
}

// withoutValue keeps a figure without data calm: it is not below a threshold.
func withoutValue(color string) dashboard.ValueMapping {
	return dashboard.ValueMapping{SpecialValueMap: &dashboard.SpecialValueMap{
		Type: dashboard.MappingTypeSpecialValue,
		Options: dashboard.DashboardSpecialValueMapOptions{
			Match:  dashboard.SpecialValueMatchNullAndNan,
			Result: dashboard.ValueMappingResult{Color: ref(color), Index: ref(int32(0))},
		},
	}}
}

// softMax is up to where an axis reaches at least, by unit: a flat line at zero is
// not magnified.
var softMax = map[string]float64{
	unitShare: 0.05, unitSeconds: 0.001, unitNumber: 1, unitRequests: 1, unitRate: 1,
	unitPackets: 1, unitBytes: 1024, unitByteRate: 1024, unitBitRate: 1024, unitCores: 0.1,
}

// lines is a chart over time that shows zero.
func lines(t text, queries ...query) *timeseries.PanelBuilder {
	return chart(t, queries...).AxisSoftMin(0).AxisSoftMax(softMax[t.unit])
}

// logLines is a chart of what differs by orders of magnitude. On a logarithmic
// axis there is no zero to show, and areas mean nothing.
func logLines(t text, queries ...query) *timeseries.PanelBuilder {
	return chart(t, queries...).
		FillOpacity(0).
		ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10))
}

func chart(t text, queries ...query) *timeseries.PanelBuilder {
	b := timeseries.NewPanelBuilder().
		Title(t.title).Description(t.about).Unit(t.unit).NoValue(t.empty).
		Datasource(datasourceRef).
		DrawStyle(common.GraphDrawStyleLine).
		LineInterpolation(common.LineInterpolationLinear).
		LineWidth(2).FillOpacity(8).
		ShowPoints(common.VisibilityModeAuto).PointSize(4).
		AxisBorderShow(false).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeOff)).
		ColorScheme(fixed(violet)).
		Thresholds(levels(slate)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending).HideZeros(true)).
		Legend(legend(common.LegendPlacementBottom)).
		// The text for no data is the panel's: a series without a value has none.
		OverrideByRegexp(".*", []dashboard.DynamicConfigValue{property("noValue", "–")})
	for i, q := range queries {
		b.WithTarget(q.ranged(i))
		if q.color != "" {
			paint(b, style{q.legend, q.color, q.looks})
		}
	}
	return b
}

// stacked is a chart of shares of a whole, or of a sum.
func stacked(mode common.StackingMode, t text, queries ...query) *timeseries.PanelBuilder {
	return lines(t, queries...).
		Stacking(common.NewStackingConfigBuilder().Mode(mode).Group("A")).
		LineWidth(1).FillOpacity(70).ShowPoints(common.VisibilityModeNever)
}

func legend(where common.LegendPlacement) *common.VizLegendOptionsBuilder {
	return common.NewVizLegendOptionsBuilder().
		ShowLegend(true).
		DisplayMode(common.LegendDisplayModeList).
		Placement(where).
		Calcs([]string{})
}

// tableLegend names many series with their means, largest first.
func tableLegend() *common.VizLegendOptionsBuilder {
	return common.NewVizLegendOptionsBuilder().
		ShowLegend(true).
		DisplayMode(common.LegendDisplayModeTable).
		Placement(common.LegendPlacementRight).
		Calcs([]string{"mean"}).
		SortBy("Mean").SortDesc(true)
}

// density is a heatmap of a histogram metric.
func density(t text, q query) *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().
		Title(t.title).Description(t.about).Unit(t.unit).NoValue(t.empty).
		Datasource(datasourceRef).
		WithTarget(q.ranged(0).Format(prometheus.PromQueryFormatHeatmap)).
		MaxDataPoints(100). // more and a cell is narrower than it can be seen
		Calculate(false).
		Color(heatmap.NewHeatmapColorOptionsBuilder().
			Mode(heatmap.HeatmapColorModeScheme).
			Scheme("Cividis"). // even in lightness, and made for the colour-blind
			Scale(heatmap.HeatmapColorScaleExponential).Exponent(0.5).Steps(64).
			Fill(violet).Reverse(false)).
		FilterValues(heatmap.NewFilterValueRangeBuilder().Le(1e-9)).
		CellGap(1).
		ShowValue(common.VisibilityModeNever).
		YAxis(heatmap.NewYAxisConfigBuilder().AxisPlacement(common.AxisPlacementLeft).Reverse(false).Unit(t.unit)).
		CellValues(heatmap.NewCellValuesBuilder().Unit(unitConnections)).
		RowsFrame(heatmap.NewRowsHeatmapOptionsBuilder().Layout(common.HeatmapCellLayoutAuto)).
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle).YHistogram(true).ShowColorScale(false)).
		ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLinear)).
		ShowLegend()
}

// rows is a table, one query a column.
func rows(t text, queries ...query) *table.PanelBuilder {
	b := table.NewPanelBuilder().
		Title(t.title).Description(t.about).Unit(t.unit).NoValue(t.empty).
		Datasource(datasourceRef).
		ShowHeader(true).
		CellHeight(common.TableCellHeightSm).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})). // required, if empty
		Align(common.FieldTextAlignmentAuto).
		Thresholds(levels(plain)).
		ColorScheme(byThreshold())
	for i, q := range queries {
		b.WithTarget(q.instant(i))
	}
	return b
}

// property is one setting of an override.
func property(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

func colored(color string) dashboard.DynamicConfigValue {
	return property("color", map[string]any{"mode": "fixed", "fixedColor": color})
}

// dashed marks what is a limit rather than a measurement.
func dashed(dash ...float64) dashboard.DynamicConfigValue {
	return property("custom.lineStyle", map[string]any{"fill": "dash", "dash": dash})
}

// A style is how one series looks.
type style struct {
	series string // its legend
	color  string
	looks  looks
}

// paint gives series their colours.
func paint(b *timeseries.PanelBuilder, styles ...style) *timeseries.PanelBuilder {
	for _, s := range styles {
		b.OverrideByName(s.series, append([]dashboard.DynamicConfigValue{colored(s.color)}, s.looks...))
	}
	return b
}

// tones colours the values of a closed set, one after the other.
func tones(values []string, colors ...string) []style {
	styles := make([]style, len(values))
	for i, v := range values {
		styles[i] = style{series: v, color: colors[i%len(colors)]}
	}
	return styles
}

// legendOf returns the legend that shows a label's value.
func legendOf(label string) string { return fmt.Sprintf("{{%s}}", label) }

// cogSort is by which column a table is sorted.
type cogSort = cog.Builder[common.TableSortByFieldState]
