package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter"
)

const noHTTP2 = "No HTTP/2 was seen in this time, in clear or decrypted"

// http2Tiles are of the row on HTTP/2, TLS tiles of that on TLS: the ids of
// panels are those of the row and what follows.
func http2Tiles(s scope) []tile {
	return []tile{
		{200, 8, concurrentStreams(s)},
		{201, 8, streamLimits(s)},
		{202, 8, goaways(s)},
		{203, 12, grpcErrors(s)},
		{204, 12, streamsPerConnection(s)},
	}
}

func concurrentStreams(s scope) *timeseries.PanelBuilder {
	m := exporter.StreamsConcurrent
	quantile := func(q float64) string { return "clamp_min(" + s.quantile(q, rateInterval, nil, m) + ", 1)" }
	return lines(text{
		title: "Streams at once",
		unit:  unitNumber,
		about: "The most streams that were open at once on an HTTP/2 connection, of the connections that ended: half of them (p50) and 99 % stay below. Good: above 1 where requests are many, below the server's limit (often 100 or 128). 1 throughout: the client does not multiplex.",
		empty: noHTTP2,
	},
		query{expr: quantile(0.5), legend: "p50", color: violet},
		query{expr: quantile(0.99), legend: "p99", color: teal},
	)
}

func streamLimits(s scope) *timeseries.PanelBuilder {
	return lines(text{
		title: "Stream limits met",
		unit:  unitNumber,
		about: "How many connections stand at their server's limit of streams, on average, and how many streams per second the server says it did not process. Good: 0. Else raise MAX_CONCURRENT_STREAMS, or open more connections.",
		empty: noHTTP2,
	},
		query{expr: sum(nil, s.rate(rateInterval, exporter.StreamLimitReached)), legend: "at the limit, at once", color: violet},
		query{expr: sum(nil, s.rate(rateInterval, exporter.RefusedStreams)), legend: "refused streams a second", color: crimson},
	)
}

func goaways(s scope) *timeseries.PanelBuilder {
	labels := by(exporter.LabelBy, exporter.LabelCode)
	return bars(text{
		title: "GOAWAY frames a minute",
		unit:  unitNumber,
		about: "HTTP/2 GOAWAY frames by who sent them and their error code, a minute. Blue: the client sent it; orange: the server. Good: few, all NO_ERROR. ENHANCE_YOUR_CALM: the client pings too often, see gRPC's keepalive settings on both sides. Many NO_ERROR of the server: its maximum age or request limit is short.",
		empty: noHTTP2,
	}, query{expr: "60 * " + sum(labels, s.rate(rateInterval, exporter.Goaways)) + " > 0 or on () 0 * " + sum(nil, s.rate(rateInterval, exporter.RefusedStreams)),
		legend: legendOf(exporter.LabelBy) + ": " + legendOf(exporter.LabelCode)}).
		OverrideByRegexp("^client: .*", []dashboard.DynamicConfigValue{property("color", map[string]any{"mode": "shades", "fixedColor": tone(fact.ReasonClientGoaway)})}).
		OverrideByRegexp("^server: .*", []dashboard.DynamicConfigValue{property("color", map[string]any{"mode": "shades", "fixedColor": tone(fact.ReasonServerGoaway)})}).
		OverrideByRegexp("^: $", []dashboard.DynamicConfigValue{colored(slate), property("displayName", "none")})
}

func grpcErrors(s scope) *timeseries.PanelBuilder {
	return stacked(common.StackingModeNormal, text{
		title: "gRPC errors",
		unit:  unitRate,
		about: "gRPC calls that did not end OK, by status. Good: none. UNAVAILABLE beside GOAWAY frames: calls are cut by closings; CANCELLED and DEADLINE_EXCEEDED are the client's patience.",
		empty: noHTTP2,
	}, query{expr: sum(by(exporter.LabelCode), s.rate(rateInterval, exporter.GRPCErrors)) + " > 0 or on () " +
		called("0 * "+sum(nil, s.rate(rateInterval, exporter.RefusedStreams)), exporter.LabelCode, whyNone), legend: legendOf(exporter.LabelCode)}).
		ColorScheme(shades(crimson)).
		OverrideByName(whyNone, []dashboard.DynamicConfigValue{colored(slate)})
}

func streamsPerConnection(s scope) *timeseries.PanelBuilder {
	h2 := s.rate(rateInterval, exporter.Requests, is(exporter.LabelProtocol, "h2"), application)
	reused := s.rate(rateInterval, exporter.Requests, is(exporter.LabelProtocol, "h2"), is(exporter.LabelReused, "true"), application)
	return lines(text{
		title: "HTTP/2 requests on a used connection",
		unit:  unitShare,
		about: "Share of HTTP/2 requests, each a stream, that were not the first of their connection. Good: near 100 %. Low: a channel is made for each call; make one for the process.",
		empty: noHTTP2,
	}, query{expr: ratio(sum(nil, reused), sum(nil, h2)), legend: "reused"}).Min(0).Max(1)
}

const noTLS = "No TLS was seen in this time"

func tlsTiles(s scope) []tile {
	return []tile{
		{210, 8, tlsConnections(s)},
		{211, 8, estimatedRequests(s)},
		{212, 8, keylogLines()},
	}
}

func tlsConnections(s scope) *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModeNormal, text{
		title: "TLS connections, by whether they were read",
		unit:  unitConnections,
		about: "TLS connections per second: decrypted ones are counted like any other; the others are estimated, but for HTTP/2, of which nothing is known without keys. missing: the key log has no line for it; mismatched: it has one that does not fit; none: no key log was given (--keylog). Good: decrypted where you want requests counted.",
		empty: noTLS,
	}, query{expr: sum(by(exporter.LabelKeys), s.rate(rateInterval, exporter.TLSConnections)) + " > 0", legend: legendOf(exporter.LabelKeys)}),
		style{series: "decrypted", color: green}, style{series: "missing", color: violet},
		style{series: "mismatched", color: crimson}, style{series: "none", color: slate})
}

func estimatedRequests(s scope) *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModeNormal, text{
		title: "Requests, estimated",
		unit:  unitRequests,
		about: "Requests guessed from bursts of encrypted records, by whether they rode a connection that had carried one before. They are counted when their connection ends: a steady pool looks like a saw, and one that lives for days like nothing; choose a longer time. Good: nearly all reused. With --keylog they are counted as they come.",
		empty: "No encrypted connection without keys ended in this time",
	}, query{expr: sum(by(exporter.LabelReused), s.rate(rateInterval, exporter.EstimatedRequests)) + " > 0", legend: "reused: " + legendOf(exporter.LabelReused)}),
		style{series: "reused: true", color: green}, style{series: "reused: false", color: crimson}, style{series: "reused: unknown", color: slate})
}

func keylogLines() *timeseries.PanelBuilder {
	return lines(text{
		title: "Lines of the key log",
		unit:  unitRate,
		about: "Lines read from the key log per second, by what became of them, of all sidecars chosen. Good: as many as there are TLS handshakes; none rejected.",
		empty: "No key log is read",
	}, query{expr: sum(by(exporter.LabelKind), targetScope.rate(rateInterval, exporter.KeylogLines)) + " > 0 or on () " +
		called("0 * "+sum(nil, targetScope.rate(rateInterval, exporter.KeylogLines)), exporter.LabelKind, whyNone), legend: legendOf(exporter.LabelKind)}).
		ColorScheme(shades(violet))
}
