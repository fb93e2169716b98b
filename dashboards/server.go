package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

const noServer = "Nothing of this server was seen in this time"

// Server returns the dashboard of one server: why its connections are wasted,
// and which setting would change that.
func Server(c Config) (dashboard.Dashboard, error) {
	c = c.withDefaults()
	s := serverScope
	return c.build(board{
		name:      "server",
		title:     "Server detail",
		about:     "One server: why connections to it are wasted and end, and which timeout or setting to change.",
		variables: append(c.targetVariables(), directionVariable(), serverVariable()),
		bands: []band{
			{height: 4, tiles: c.headline(s)},
			{height: 10, tiles: []tile{
				{20, 14, causesAndRemedies()},
				{22, 10, wastedByCause(s)},
			}},
			{height: 9, tiles: []tile{
				{31, 18, idleTimes(s)},
				{32, 6, margin(s)},
			}},
			{height: 8, tiles: []tile{
				{11, 8, requestsPerConnection()},
				{12, 8, requestsPerConnectionQuantiles(s)},
				{13, 8, requestsOnUsed(s)},
			}},
			{id: 15, title: "Why do connections end?", height: 9, tiles: []tile{
				{21, 12, endings(s)},
				{23, 12, negotiated(s)},
			}},
			{id: 70, title: "Failed requests and races", height: 8, collapsed: true, tiles: []tile{
				{71, 8, failures(s)},
				{72, 8, racesOverTime(s)},
				{73, 8, attempts(s)},
			}},
			{id: 40, title: "What does a new connection cost?", height: 8, collapsed: true, tiles: []tile{
				{41, 12, handshakeTimes()},
				{42, 12, costByKind(s)},
			}},
			{id: 50, title: "Who talks, and for how long?", height: 8, collapsed: true, tiles: []tile{
				{51, 12, protocols()},
				{52, 12, age()},
				{53, 12, openConnections()},
				{54, 12, portHeadroom(s)},
			}},
			{id: 80, title: "HTTP/2 and gRPC", height: 8, collapsed: true, tiles: http2Tiles(s)},
			{id: 60, title: "TLS", height: 8, collapsed: true, tiles: tlsTiles(s)},
			{id: 90, title: "Single connections: the sidecars' own pages", height: 8, collapsed: true, tiles: []tile{
				{91, 24, pagesOfSidecars()},
			}},
		},
	})
}

// causesAndRemedies is the runbook with figures: what is wasted or fails, and
// what to change.
func causesAndRemedies() *table.PanelBuilder {
	s, byWhy := serverScope, by(labelWhy)
	rate, grown := s.rates(wholeRange), s.increases(wholeRange)
	failed := sum(byWhy, either(grown.failed(), grown.vain())) + " > 0"
	seen := func(expr, how string) string { return called(expr, "seen", how) }
	all := either(seen(sum(byWhy, rate.counted())+" > 0", "a"), seen(sum(byWhy, rate.guessed())+" > 0", "b"), seen(failed, "c"))
	nothing := called("0 * "+sum(nil, rate(exporter.ConnectionsOpened)), labelWhy, whyNone)
	words, change := whyColumns()
	what := labelColumn{label: labelWhy, title: "Cause", width: 250, properties: looks{
		property("mappings", []dashboard.ValueMapping{words}),
		property("custom.cellOptions", map[string]any{"type": "color-background", "mode": "basic", "wrapText": true}),
	}}
	return tableOf(text{
		title: "Causes, and what to change",
		unit:  unitNumber,
		about: "Why the connections that could have been used were not, and in which ways requests and handshakes failed within the time range. Blue: the client can change it, orange: the server, magenta: something between, brown: both, grey: nobody can be blamed. ~ is TLS without keys, estimated. Good: nothing is wasted.",
		empty: noServer,
	}, 1, []labelColumn{what},
		column{title: "Wasted", unit: unitRate, width: 75, expr: sum(byWhy, rate.counted()) + " > 0"},
		column{title: "~ TLS", unit: unitRate, width: 75, expr: sum(byWhy, rate.guessed()) + " > 0"},
		column{title: "Failed", unit: unitNumber, width: 65, expr: failed, levels: []level{{0.5, cellBad}}},
		column{title: "What to change", width: 285, label: labelChange, words: &change,
			expr: sum(by(labelWhy, labelChange), replaced(either(all, "on () "+nothing), labelChange, labelWhy))})
}

// nearMiss is how many seconds the longest reuse may come near the server's timeout.
const nearMiss = 1

// margin says in one number whether a race is coming.
func margin(s scope) *stat.PanelBuilder {
	timeout := "(" + aggregate("min", nil, s.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "server"))) +
		" or " + aggregate("min", nil, s.pick(exporter.AdvertisedTimeout)) + ")"
	return numbers(text{
		title: "Server's timeout - longest reuse",
		unit:  unitPlain,
		about: "The server's idle timeout, observed, else advertised, less the longest time for which a connection idled before a client used it again, within the time range. Good: some seconds. Below 0 requests cross the closing: make the client's idle timeout shorter, or the server's longer. The longest reuse is told by a histogram: with native ones it may be 9 % shorter than shown, with classic ones as much as a bucket.",
		empty: "The server's timeout is not known: too few closings for idleness that agree, and none advertised",
	}, query{expr: timeout + " - " + s.quantile(1, wholeRange, nil, exporter.ReuseIdle), legend: "margin", once: true}).
		TextMode(common.BigValueTextModeValue).Decimals(1).
		Thresholds(levels(bad, level{nearMiss, plain}))
}

const noRequests = "No request was seen in this time"

func requestsPerConnection() *heatmap.PanelBuilder {
	return density(text{
		title: "Requests per connection",
		unit:  unitNumber,
		about: "Each column is a moment, each row a number of requests; the brighter (on a light page: the darker), the more connections ended with it. Good: far up. A bright line at 1 is a client or a server that does not keep connections; one at a round number is a limit of the server. A connection counts when it ends: where none does, see the panel beside.",
		empty: "No connection that carried a request ended in this time: see the panel beside for those that are open",
	}, query{expr: serverScope.buckets(exporter.ConnectionRequests), legend: legendOf(labelLe)})
}

func requestsPerConnectionQuantiles(s scope) *timeseries.PanelBuilder {
	m := exporter.ConnectionRequests
	// A classic histogram's first bucket reaches from 0 to 1.
	quantile := func(q float64) string { return "clamp_min(" + s.quantile(q, rateInterval, nil, m) + ", 1)" }
	// What every connection that was there carried within the time range: those
	// that are open, and those that ended.
	there := sum(nil, either(s.pick(exporter.ConnectionsOpen), s.increase(wholeRange, exporter.ConnectionsClosed)))
	carried := ratio(sum(nil, s.increase(wholeRange, exporter.Requests)), there)
	return logLines(text{
		title: "Requests per connection: mean and quantiles",
		unit:  unitNumber,
		about: "Of the connections that ended: the mean, and the number that half (p50), 90 % and 99 % of them did not exceed. Dashed: requests of the time range by connections that were there, open ones included: all there is of a server whose connections don't end. Good: the mean well above 10. A p50 of 1 with a high p99 means that some clients keep connections and others don't.",
		empty: noRequests,
	},
		query{expr: s.mean(rateInterval, nil, m), legend: "mean", color: violet},
		query{expr: quantile(0.5), legend: "p50", color: teal},
		query{expr: quantile(0.9), legend: "p90", color: slate},
		query{expr: quantile(0.99), legend: "p99", color: tone(fact.ReasonTimeout)},
		query{expr: carried + " > 0", legend: "open ones included", color: violet, looks: looks{dashed(10, 6)}},
	).AxisSoftMin(1).AxisSoftMax(10)
}

// requestsOnUsed weighs connections by their requests. Those with up to 1, 2, 3, 5 and
// 10 requests carry at most as many each: their sum is exact where they carry just
// that, and too large by little else.
func requestsOnUsed(s scope) *timeseries.PanelBuilder {
	m := exporter.ConnectionRequests
	// 1·n(1) + 2·(n(2)-n(1)) + 3·(n(3)-n(2)) + 5·(n(5)-n(3)) + 10·(n(10)-n(5))
	few := s.upTo(rateInterval, m, map[string]float64{"1": -1, "2": -1, "3": -2, "5": -5, "10": 10})
	all := "(histogram_sum(" + sum(nil, s.rate(rateInterval, m)) + ") or " + sum(nil, s.rate(rateInterval, m+"_sum")) + ")"
	requests := s.rate(rateInterval, exporter.Requests, application)
	return lines(text{
		title: "Requests by their connection",
		unit:  unitShare,
		about: "Weighted by request: the share of requests that rode a connection which had carried one before, and the share of those on connections with more than 10 (of connections that ended; at least so many). Good: near 100 %. Beside it, each connection counts alike: one busy connection beside many single ones has p50 = 1 and most of the requests.",
		empty: noRequests,
	},
		query{expr: ratio(sum(nil, s.rate(rateInterval, exporter.Requests, application, is(exporter.LabelReused, "true"))), sum(nil, requests)), legend: "on a used connection", color: violet},
		query{expr: "clamp_min(1 - (" + few + ") / (" + all + " > 0), 0)", legend: "on one with more than 10", color: teal, looks: looks{dashed(10, 6)}},
	).Min(0).Max(1)
}

// endings are coloured by who can change them; who closed is in the legend.
func endings(s scope) *timeseries.PanelBuilder {
	ended := s.rate(rateInterval, exporter.ConnectionsClosed, application)
	b := stacked(common.StackingModeNormal, text{
		title: "Why connections end",
		unit:  unitConnections,
		about: "Connections that ended, by the reason for which no further request could ride them, and by who closed first. Blue: the client can change it, orange: the server, magenta: something between, brown: both, grey: nobody can be blamed. Good: few, and mostly client_idle, for then the client decides and no request can cross a closing. server_idle is what races are made of; server_limit and server_close are settings of the server. It tells how connections end, not what was wasted: a connection that nobody needed any more may end.",
		empty: "No connection ended in this time",
	}, query{
		expr:   orNone(by(exporter.LabelReason, exporter.LabelClosedBy), ended, s.rate(rateInterval, exporter.ConnectionsOpened)),
		legend: legendOf(exporter.LabelReason) + " " + legendOf(exporter.LabelClosedBy),
	}).Legend(tableLegend())
	for _, reason := range exporter.Values(exporter.LabelReason) {
		for _, who := range exporter.Values(exporter.LabelClosedBy) {
			name := reason + ", closed by the " + who
			switch who {
			case "client", "server":
			default:
				name = reason + ", closed by neither"
			}
			b.OverrideByName(reason+" "+who, looks{colored(toneOf[reason]), property("displayName", name)})
		}
	}
	return b.OverrideByRegexp("^"+whyNone+" ?$", looks{colored(slate), property("displayName", "none ended")})
}

func negotiated(s scope) *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModePercent, text{
		title: "What request and response agreed on",
		unit:  unitRequests,
		about: "Share of exchanges by what they negotiated about the connection. Good: all keep_alive. client_close and server_close are Connection: close; no_length is a response whose end only the closing tells (add Content-Length or chunked encoding); http10_not_requested and http10_declined a client, proxy or server that speaks HTTP/1.0 without keep-alive.",
		empty: "No request was counted in this time: none, or all in TLS without keys",
	}, query{expr: sum(by(exporter.LabelNegotiated), s.rate(rateInterval, exporter.Exchanges, application)) + " > 0", legend: legendOf(exporter.LabelNegotiated)}).
		Legend(tableLegend()), outcomes()...)
}

// idleTimes is the picture that shows a race coming: it is near where what
// clients still reuse comes close to when the server closes. When a side closes
// is told by timeouts that closings for idleness agree on: announced closings,
// right after a response, are in none of them.
func idleTimes(s scope) *timeseries.PanelBuilder {
	limit := func(expr string) string { return aggregate("min", nil, expr) }
	wide := property("custom.lineWidth", 3)
	return logLines(text{
		title: "Idle times: when connections are reused, and when they end",
		unit:  unitPlain,
		about: "How long connections had idled when they were reused (violet: 99 % of reuses stay below), and after which time the client (blue), the server (orange) and the path between (magenta) give idle ones up. Good: blue below orange, with violet below both: the client gives connections up before the server does. Bad: violet near the orange line: soon a request will cross a closing. Then make the client's idle timeout shorter, or the server's longer. An observed timeout needs 5 closings for idleness that agree.",
		empty: "No connection was reused or closed for idleness in this time",
	},
		query{expr: s.quantile(0.5, rateInterval, nil, exporter.ReuseIdle), legend: "reused after (p50)", color: teal},
		query{expr: s.quantile(0.99, rateInterval, nil, exporter.ReuseIdle), legend: "reused after (p99)", color: violet},
		query{
			expr: limit(s.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "client"))), legend: "client's timeout, observed",
			color: tone(fact.ReasonClientIdle), looks: looks{dashed(10, 6), wide},
		},
		query{
			expr: limit(s.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "server"))), legend: "server's timeout, observed",
			color: tone(fact.ReasonServerIdle), looks: looks{dashed(10, 6), wide},
		},
		query{
			expr: limit(s.pick(exporter.AdvertisedTimeout)), legend: "server's timeout, advertised",
			color: tone(fact.ReasonServerIdle), looks: looks{dashed(2, 6), wide},
		},
		query{
			expr: limit(s.pick(exporter.PathTimeout, is(exporter.LabelBound, "dropped"))), legend: "the path forgets, at most",
			color: tone(fact.ReasonPathDropped), looks: looks{dashed(10, 6), wide},
		},
	).SpanNulls(common.BoolOrFloat64{Float64: ref(300_000.0)})
}

func handshakeTimes() *timeseries.PanelBuilder {
	var queries []query
	for _, kind := range []struct{ value, title, color string }{
		{"tcp", "TCP", violet}, {"tls_full", "TLS full", teal}, {"tls_resumed", "TLS resumed", slate},
	} {
		m := is(exporter.LabelKind, kind.value)
		queries = append(queries,
			query{expr: serverScope.quantile(0.5, rateInterval, nil, exporter.HandshakeSeconds, m), legend: kind.title + " p50", color: kind.color},
			query{
				expr: serverScope.quantile(0.99, rateInterval, nil, exporter.HandshakeSeconds, m), legend: kind.title + " p99",
				color: kind.color, looks: looks{dashed(8, 6)},
			})
	}
	return logLines(text{
		title: "Handshake times",
		unit:  unitSeconds,
		about: "What a new connection costs: the TCP handshake is one round trip, TLS comes on top, and is shorter where a session is resumed. Solid: half of them; dashed: 99 %. Good: steady. A TCP p99 at 1 s or 3 s is a SYN that was sent again: a full accept queue, or loss. No TLS lines: no TLS was seen.",
		empty: "No handshake was seen in this time",
	}, queries...)
}

func protocols() *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModeNormal, text{
		title: "Requests by protocol",
		unit:  unitRequests,
		about: "Requests per second by the version of HTTP; TLS without keys is estimated, and counted when its connection ends. Good: http/1.1 or h2. http/1.0 keeps a connection only where both sides say so: often it is a proxy's default towards its backends (nginx: proxy_http_version).",
		empty: noRequests,
	},
		query{expr: sum(by(exporter.LabelProtocol), serverScope.rate(rateInterval, exporter.Requests, application)) + " > 0", legend: legendOf(exporter.LabelProtocol)},
		query{expr: sum(nil, serverScope.rate(rateInterval, exporter.EstimatedRequests)) + " > 0", legend: legendEstimated}),
		append(tones(exporter.Values(exporter.LabelProtocol), slate, tone(fact.ReasonTimeout), tone(fact.ReasonHTTP10Declined), violet, teal),
			style{legendEstimated, violet, looks{dashed(4, 4), property("custom.fillOpacity", 25)}})...)
}

// age holds what is open against what ends: by Little's law their quotient is
// the mean time that connections live, those that never end included.
func age() *timeseries.PanelBuilder {
	s, m := serverScope, exporter.ConnectionDuration
	turnover := ratio(sum(nil, s.pick(exporter.ConnectionsOpen)), sum(nil, s.rate(rateInterval, exporter.ConnectionsClosed)))
	return logLines(text{
		title: "How long connections live",
		unit:  unitPlain,
		about: "The age of connections when they ended (p50, p99), and the time after which all that are now open will have been replaced by new ones, at the rate at which they end. Good: long enough for hundreds of requests, shorter than your rollouts: clients that stick to old connections don't find new backends. If too long, limit the age (HAProxy, Envoy: max connection duration; nginx: keepalive_time) rather than the number of requests.",
		empty: "No connection ended in this time",
	},
		query{expr: s.quantile(0.5, rateInterval, nil, m), legend: "p50", color: violet},
		query{expr: s.quantile(0.99, rateInterval, nil, m), legend: "p99", color: teal},
		query{expr: turnover + " > 0", legend: "open ones, until all are new", color: slate, looks: looks{dashed(10, 6)}},
	)
}

func openConnections() *timeseries.PanelBuilder {
	return lines(text{
		title: "Open connections",
		unit:  unitNumber,
		about: "Connections that have carried a request or a ClientHello and are open. One that a RST ended counts for some seconds more, in which the RST may prove to be none. Good: steady, as large as the number of requests at once. A saw-tooth is a pool that is emptied again and again; a slope without end is a leak.",
		empty: noServer,
	}, query{expr: sum(nil, serverScope.pick(exporter.ConnectionsOpen)), legend: "open"})
}

// pagesOfSidecars leads from figures to connections.
func pagesOfSidecars() *table.PanelBuilder {
	each := by(labelInstance, labelPod, labelNamespace)
	w := serverScope.rates(wholeRange)
	return tableOf(text{
		title: "Sidecars that see this server",
		unit:  unitRate,
		about: "The sidecars whose figures are shown here. An address leads to the sidecar's own page of this server, and from there to single connections, drawn: who closed, when, and what could have been used instead. It has to be reachable from your browser. Good: those you expect.",
		empty: noServer,
	}, 3, []labelColumn{
		{label: labelInstance, title: "Sidecar", width: 260, properties: looks{property("links", []map[string]any{{
			"title": "This server's connections, on the sidecar's page", "url": "http://${__value.raw}/server/${server:percentencode}", "targetBlank": true,
		}})}},
		{label: labelPod, title: "Pod", width: 260}, {label: labelNamespace, title: "Namespace", width: 160},
	},
		column{title: "Requests", unit: unitRate, width: 110, expr: sum(each, w.requests())},
		column{title: "Wasted", unit: unitRate, width: 110, expr: sum(each, either(w(exporter.WastedHandshakes, application), w(exporter.EstimatedWasted)))})
}

// ephemeralPorts is the number of local ports that Linux takes for outgoing
// connections to one address and port (net.ipv4.ip_local_port_range).
const ephemeralPorts = 60999 - 32768 + 1

// timeWait is how many seconds Linux keeps the port of a connection that its
// side closed first.
const timeWait = 60

// portsInUse is the share of local ports that a client's host uses towards
// a server: open connections, and those in TIME-WAIT.
func (s scope) portsInUse(window string, labels []string) string {
	own := oneOf(exporter.LabelDirection, naming.Outbound.String(), naming.Loopback.String())
	waiting := fmt.Sprintf("%d * %s", timeWait, s.rate(window, exporter.ConnectionsClosed, own, is(exporter.LabelClosedBy, "client")))
	return fmt.Sprintf("%s / %d", sum(labels, either(s.pick(exporter.ConnectionsOpen, own), waiting)), ephemeralPorts)
}

func portHeadroom(s scope) *timeseries.PanelBuilder {
	used := s.portsInUse(rateInterval, by(labelInstance))
	return lines(text{
		title: "Local ports left",
		unit:  unitShare,
		about: "Share of the ephemeral ports (Linux' default: 28 232 for one address and port of a server) that the fullest hosts have left towards the servers shown, each taken for one address, counting TIME-WAIT. Good: above 50 %; below 20 % an alert fires. At 0 no new connection can be opened: keep connections (then none are needed), or widen net.ipv4.ip_local_port_range. Only for outbound and loopback: elsewhere the ports are not this host's.",
		empty: "No outbound connections: the ports of inbound ones are their clients'",
	}, query{expr: "1 - (" + fullest(labelInstance, used) + ")", legend: legendOf(labelInstance)}).
		Min(0).Max(1).
		FillOpacity(0).ColorScheme(shades(violet)).
		Thresholds(levels(bad, level{1 - findings.CriticalPorts, slate})).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}
