package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/keepscope/keepscope/exporter"
)

const noSidecar = "No sidecar is scraped: check Prometheus' targets, and the variables above"

// trust is the first band of every dashboard: no figure is shown without what
// the capture missed. It is grey where all is well, and orange or vermillion
// where not.
func trust() band {
	return band{id: 100, title: "Can these figures be trusted? Grey is yes", height: 3, tiles: []tile{
		{101, 6, sidecarsDown()},
		{102, 6, packetsLost()},
		{103, 6, connectionsIncomplete()},
		{104, 6, connectionsEvicted()},
	}}
}

func sidecarsDown() *stat.PanelBuilder {
	known := "last_over_time(" + targetScope.pick(exporter.BuildInfo) + "[" + wholeRange + "])"
	down := targetScope.pick(metricUp) + " == 0 and on (" + joined(perInstance) + ") " + known
	return alarm(text{
		title: "Sidecars that don't answer",
		unit:  unitNumber,
		about: "Sidecars that were scraped within the time range and fail to answer now. Good: 0. Else the figures lack their connections: see the runbook's KeepscopeDown.",
		empty: noSidecar,
	}, query{expr: "count(" + down + ") or 0 * count(" + known + ")", legend: "down"}, level{1, bad})
}

// lost is the share of packets that were lost before they could be analysed.
func (s scope) lost(window string, labels []string) string {
	dropped := s.rate(window, exporter.CaptureDropped)
	return ratio(sum(labels, dropped), sum(labels, either(dropped, s.rate(window, exporter.CapturePackets))))
}

func packetsLost() *stat.PanelBuilder {
	return alarm(text{
		title: "Packets lost",
		unit:  unitShare,
		about: "Share of packets that were dropped before they could be analysed. Good: 0 %. From 0.01 % on, some connections are incomplete; above 1 %, don't rely on counts. Capture fewer ports (--filter), give more CPU, or more --workers: see the runbook's KeepscopeCaptureDropping.",
		empty: "No packet was captured: no traffic, or no sidecar",
	}, query{expr: targetScope.lost(rateInterval, nil), legend: "lost"}, level{0.0001, warning}, level{0.01, bad}).Decimals(2)
}

func connectionsIncomplete() *stat.PanelBuilder {
	ended := targetScope.rate(rateInterval, exporter.ConnectionsClosed)
	return alarm(text{
		title: "Incomplete connections",
		unit:  unitShare,
		about: "Of the connections that ended, those that lack bytes where they mattered: their requests may be counted short. Good: 0 %. Look at packets lost and at missing bytes; a snap length that is too short does this, too.",
		empty: "No connection ended in this time",
	}, query{expr: ratio(sum(nil, targetScope.rate(rateInterval, exporter.IncompleteConnections)), sum(nil, ended)), legend: "incomplete"},
		level{0.001, warning}, level{0.05, bad}).Decimals(2)
}

func connectionsEvicted() *stat.PanelBuilder {
	return alarm(text{
		title: "Connections given up",
		unit:  unitConnections,
		about: "Connections that were forgotten because the table was full. Good: 0. Else raise --max-connections, or capture fewer ports.",
		empty: noSidecar,
	}, query{expr: sum(nil, targetScope.rate(rateInterval, exporter.EvictedConnections)), legend: "given up"},
		level{0.000001, warning}, level{1, bad})
}
