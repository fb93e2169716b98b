package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

// Capture returns the dashboard of the capture itself: what it missed, and what
// it costs.
func Capture(c Config) (dashboard.Dashboard, error) {
	c = c.withDefaults()
	return c.build(board{
		name:      "capture",
		title:     "Capture health",
		about:     "Whether Keepscope sees all there is to see, and what that costs: packets, drops, gaps, memory, CPU.",
		variables: c.targetVariables(),
		bands: []band{
			{height: 13, tiles: []tile{
				{5, 20, sidecars()},
				{100, 4, c.trust()},
			}},
			{id: 1, title: "What is captured?", height: 8, collapsed: true, tiles: []tile{
				{2, 8, packets()},
				{3, 8, bandwidth()},
				{24, 8, silence()},
			}},
			{id: 10, title: "What is missed?", height: 8, collapsed: true, tiles: []tile{
				{11, 12, drops()},
				{12, 12, lossByInstance()},
				{13, 12, missingBytes()},
				{14, 12, outOfOrder()},
				{15, 12, flawedConnections()},
				{16, 12, decodeErrors()},
				{17, 12, capsMet()},
				{18, 12, toldOtherwise()},
			}},
			{id: 20, title: "What does it hold?", height: 8, collapsed: true, tiles: []tile{
				{21, 8, trackedConnections()},
				{22, 8, bufferedBytes()},
				{23, 8, serverNames()},
			}},
			{id: 30, title: "What does it cost?", height: 8, collapsed: true, tiles: []tile{
				{31, 8, memory()},
				{32, 8, cpu()},
				{33, 8, connectionLog()},
			}},
		},
	})
}

const noPackets = "No packet was captured in this time: no traffic, or no sidecar"

// eachInstance is a chart with a line for each of the sidecars with the largest
// values.
func eachInstance(t text, expr string) *timeseries.PanelBuilder {
	return lines(t, query{expr: fullest(labelInstance, expr), legend: legendOf(labelInstance)}).
		FillOpacity(0).
		ColorScheme(shades(violet))
}

// age of the newest packet when it was scraped: what has passed since is the
// scrape's, not the capture's.
func packetAge() string {
	m := targetScope.pick(exporter.LastPacket)
	return aggregate("max", by(labelInstance), "timestamp("+m+") - "+m)
}

// sidecars has a row a sidecar, those that don't answer included.
func sidecars() *table.PanelBuilder {
	s, each := targetScope, by(labelInstance)
	answers := toText(map[string]dashboard.ValueMappingResult{
		"0": {Text: ref("no"), Color: ref(cellBad), Index: ref(int32(0))},
		"1": {Text: ref("yes"), Index: ref(int32(1))},
	})
	return tableOf(text{
		title: "Sidecars, those that miss most first",
		unit:  unitNumber,
		about: fmt.Sprintf("A row a sidecar that was scraped within a day. Lost: packets dropped before they could be analysed; incomplete: connections that lack bytes where they mattered; caps: how often something was beyond one of Keepscope's caps. An address leads to the sidecar's own page. Good: yes, and 0 or little in every other column. From %g %% lost on, counts are too low; from %g %% on nothing is judged.", 100*lossWarns, 100*findings.MaxMissing),
		empty: noSidecar,
	}, 2, []labelColumn{{label: labelInstance, title: "Sidecar", width: 220, properties: []dashboard.DynamicConfigValue{property("links", []map[string]any{{
		"title": "The sidecar's page", "url": "http://${__value.raw}/", "targetBlank": true,
	}})}}},
		column{title: "Answers", width: 80, words: &answers, value: true,
			expr: aggregate("min", each, s.pick(metricUp)+" and on ("+joined(perInstance)+") "+s.known())},
		column{title: "Lost", unit: unitShare, width: 85, expr: s.lost(wholeRange, each), levels: []level{{lossWarns, cellBad}}},
		column{title: "Incomplete", unit: unitShare, width: 95, levels: []level{{findings.MaxMissing, cellBad}},
			expr: s.incomplete(wholeRange, each) + " or 0 * " + sum(each, s.rate(wholeRange, exporter.IncompleteConnections))},
		column{title: "Packets", unit: unitPackets, width: 100, expr: sum(each, s.rate(wholeRange, exporter.CapturePackets))},
		column{title: "Newest packet", unit: unitSeconds, width: 115, expr: packetAge()},
		column{title: "CPU", unit: unitCores, width: 95, expr: sum(each, s.ownProcess(s.rate(wholeRange, metricCPU)))},
		column{title: "Memory", unit: unitBytes, width: 95, expr: aggregate("max", each, s.ownProcess(s.pick(metricMemory)))},
		column{title: "Given up", unit: unitNumber, width: 80, expr: sum(each, s.increase(wholeRange, exporter.EvictedConnections)), levels: []level{{0.5, cellBad}}},
		column{title: "Caps met", unit: unitNumber, width: 80, expr: sum(each, s.increase(wholeRange, exporter.CapMet))})
}

func capsMet() *timeseries.PanelBuilder {
	return bars(text{
		title: "Caps met a minute",
		unit:  unitNumber,
		about: "How often something was beyond one of Keepscope's caps, by the cap, a minute: what it holds back is bounded, and this is what that costs. Good: none. Each says in its name what it bounds.",
		empty: noSidecar,
	}, query{expr: "60 * " + sum(by(exporter.LabelCap), targetScope.rate(rateInterval, exporter.CapMet)) + " > 0 or on () " +
		called("0 * "+sum(nil, targetScope.rate(rateInterval, exporter.EvictedConnections)), exporter.LabelCap, whyNone), legend: legendOf(exporter.LabelCap)}).
		ColorScheme(shades(violet))
}

func toldOtherwise() *timeseries.PanelBuilder {
	s := targetScope
	return lines(text{
		title: "Resets that are none, reasons told otherwise later",
		unit:  unitRate,
		about: "RSTs that no TCP would obey, or after which their side went on, and reasons that a server's other connections showed to be others than were counted (the metrics keep what was told first; the report settles it). Good: few.",
		empty: noSidecar,
	},
		query{expr: sum(nil, s.rate(rateInterval, exporter.StrayResets)), legend: "stray resets", color: violet},
		query{expr: sum(nil, s.rate(rateInterval, exporter.ResettledReasons)), legend: "reasons told otherwise", color: teal},
	)
}

func packets() *timeseries.PanelBuilder {
	return lines(text{
		title: "Packets",
		unit:  unitPackets,
		about: "Packets captured per second, by interface. Good: as much as there is traffic. Less than expected: is it the right interface, does --filter leave out too much?",
		empty: noPackets,
	}, query{expr: sum(by(exporter.LabelInterface), targetScope.rate(rateInterval, exporter.CapturePackets)), legend: legendOf(exporter.LabelInterface)}).
		ColorScheme(shades(violet))
}

func bandwidth() *timeseries.PanelBuilder {
	return lines(text{
		title: "Bandwidth",
		unit:  unitBitRate,
		about: "Bits per second of the captured packets as they were on the wire, by interface. Good: what the interface's own counters say. It tells how much work the sidecar has.",
		empty: noPackets,
	}, query{expr: "8 * " + sum(by(exporter.LabelInterface), targetScope.rate(rateInterval, exporter.CaptureBytes)), legend: legendOf(exporter.LabelInterface)}).
		ColorScheme(shades(violet))
}

func drops() *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModeNormal, text{
		title: "Dropped packets, by where",
		unit:  unitPackets,
		about: "Packets lost before they could be analysed. Good: 0. kernel: the capture buffer was full, give more CPU or a larger buffer. interface: the driver or the card lost them, before anyone on the host saw them.",
		empty: noPackets,
	}, query{expr: sum(by(exporter.LabelWhere), targetScope.rate(rateInterval, exporter.CaptureDropped)), legend: legendOf(exporter.LabelWhere)}),
		tones(exporter.Values(exporter.LabelWhere), crimson, violet)...)
}

func lossByInstance() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "Share of packets lost, worst sidecars",
		unit:  unitShare,
		about: "Of all packets of a sidecar, the share that was dropped. Good: 0 %. Above 1 % that sidecar's counts are too low, however well the others do.",
		empty: noPackets,
	}, targetScope.lost(rateInterval, by(labelInstance))).
		Thresholds(levels(slate, level{lossWarns, bad})).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)).
		AxisSoftMax(0.02)
}

func missingBytes() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "Missing bytes",
		unit:  unitByteRate,
		about: "Bytes of TCP streams that the receivers acknowledged and the capture never saw. Good: 0. They are what dropped packets do to the figures; without drops, look for traffic that goes another way (asymmetric routing, a second interface).",
		empty: noSidecar,
	}, sum(by(labelInstance), targetScope.rate(rateInterval, exporter.MissingBytes)))
}

func outOfOrder() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "Segments out of order",
		unit:  unitRate,
		about: "TCP segments that came before their turn. They are put in order and harm no figure. Good: few; many mean that the network loses or reorders packets, or that several queues of the card are captured at once.",
		empty: noSidecar,
	}, sum(by(labelInstance), targetScope.rate(rateInterval, exporter.OutOfOrderSegments)))
}

func flawedConnections() *timeseries.PanelBuilder {
	s := targetScope
	return lines(text{
		title: "Incomplete and given-up connections",
		unit:  unitConnections,
		about: "Connections that lack bytes where they mattered, and those that were forgotten because the table was full. Good: 0. Incomplete: see drops. Given up: raise --max-connections.",
		empty: noSidecar,
	},
		query{expr: sum(nil, s.rate(rateInterval, exporter.IncompleteConnections)), legend: "incomplete", color: violet},
		query{expr: sum(nil, s.rate(rateInterval, exporter.EvictedConnections)), legend: "given up", color: crimson},
	)
}

func decodeErrors() *timeseries.PanelBuilder {
	return lines(text{
		title: "Packets that could not be decoded",
		unit:  unitPackets,
		about: "By the layer at which decoding stopped. Good: 0, or a steady trickle of broken packets. Many at a low layer: an encapsulation that Keepscope does not know, or a snap length that is too short.",
		empty: noSidecar,
	}, query{expr: orNone(by(exporter.LabelLayer), targetScope.rate(rateInterval, exporter.DecodeErrors), targetScope.rate(rateInterval, exporter.DecodeErrors)), legend: legendOf(exporter.LabelLayer)}).
		ColorScheme(shades(violet))
}

func trackedConnections() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "Tracked connections",
		unit:  unitNumber,
		about: "TCP connections in the table now, whatever they carry. Good: well below --max-connections (default 262 144); beyond it the least recently active are given up.",
		empty: noSidecar,
	}, aggregate("max", by(labelInstance), targetScope.pick(exporter.TrackedConnections)))
}

func bufferedBytes() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "Bytes held back",
		unit:  unitBytes,
		about: "What reassembly holds back until the bytes before it have come. Good: near 0, with peaks where packets are lost or reordered. It is bounded by --max-memory.",
		empty: noSidecar,
	}, aggregate("max", by(labelInstance), targetScope.pick(exporter.BufferedBytes)))
}

func serverNames() *timeseries.PanelBuilder {
	s := targetScope
	share := ratio(aggregate("max", by(labelInstance), s.pick(exporter.Servers)), aggregate("max", by(labelInstance), s.pick(exporter.ServerLimit)))
	return eachInstance(text{
		title: "Server names in use",
		unit:  unitShare,
		about: "Share of the server label's values that are taken. Good: below 80 %. At 100 % further servers are counted as other: raise --max-servers, at the price of more series.",
		empty: noSidecar,
	}, share).
		Min(0).
		Thresholds(levels(slate, level{1, bad})).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}

func silence() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "Time since the newest packet",
		unit:  unitSeconds,
		about: "How long each sidecar had seen nothing when it was scraped. Good: seconds where there is traffic. A line that climbs is an interface without traffic, or a capture that stopped.",
		empty: noPackets,
	}, packetAge())
}

func memory() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "Memory",
		unit:  unitBytes,
		about: "Resident memory of the largest sidecars. Good: level, whatever the traffic. Its parts have caps: --max-connections, --max-memory, --max-servers.",
		empty: noSidecar,
	}, aggregate("max", by(labelInstance), targetScope.ownProcess(targetScope.pick(metricMemory))))
}

func cpu() *timeseries.PanelBuilder {
	return eachInstance(text{
		title: "CPU",
		unit:  unitCores,
		about: "Cores that the busiest sidecars use. Good: a few percent of what the application uses. Near 1 with one worker, packets will be dropped: give --workers, or capture fewer ports.",
		empty: noSidecar,
	}, sum(by(labelInstance), targetScope.ownProcess(targetScope.rate(rateInterval, metricCPU))))
}

func connectionLog() *timeseries.PanelBuilder {
	s := targetScope
	return lines(text{
		title: "Log of connections",
		unit:  unitRate,
		about: "Lines written to the log of connections (--log-connections) and events pushed (--otlp-logs-endpoint), and those that were lost because the disk or the endpoint was slow. Good: none lost; no figure of the dashboards depends on it. 0 where no log is written.",
		empty: noSidecar,
	},
		query{expr: sum(nil, s.rate(rateInterval, exporter.LogLines)), legend: "written", color: violet},
		query{expr: sum(nil, s.rate(rateInterval, exporter.LogDropped)), legend: "lost", color: crimson},
	)
}
