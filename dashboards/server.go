package dashboards

import (
	"fmt"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/keepscope/keepscope/exporter"
)

const noServer = "Nothing of this server was seen in this time"

// Server returns the dashboard of one server: why its connections end, and
// which setting would change that.
func Server(c Config) (dashboard.Dashboard, error) {
	c = c.withDefaults()
	s := serverScope
	return c.build(board{
		name:  "server",
		title: "Server detail",
		about: "One server: how its connections are used, why they end, and which timeout or setting to change.",
		variables: append(targetVariables(),
			directionVariable(), serverVariable(), intervalVariable()),
		bands: []band{
			trust(),
			{id: 1, title: "How well are connections kept?", height: 5, tiles: []tile{
				{2, 6, effectivenessNow(s)},
				{3, 6, wastedNow(s)},
				{4, 6, costNow(s)},
				{5, 6, racesInRange(s)},
			}},
			{id: 10, title: "How many requests ride a connection?", height: 9, tiles: []tile{
				{11, 12, requestsPerConnection()},
				{12, 12, requestsPerConnectionQuantiles()},
			}},
			{id: 20, title: "Why do connections end?", height: 10, tiles: []tile{
				{21, 24, endings()},
				{22, 12, wastedByCause(s)},
				{23, 12, negotiated()},
			}},
			{id: 30, title: "Is a keep-alive race coming?", height: 10, tiles: []tile{
				{31, 24, idleTimes()},
			}},
			{id: 40, title: "What does a new connection cost?", height: 8, tiles: []tile{
				{41, 12, handshakeTimes()},
				{42, 12, costByKind(s)},
			}},
			{id: 50, title: "Who talks, and for how long?", height: 8, tiles: []tile{
				{51, 12, protocols()},
				{52, 12, age()},
				{53, 12, openConnections()},
				{54, 12, portHeadroom()},
			}},
			{id: 60, title: "Encrypted traffic without keys: estimated, in no figure above", height: 8, collapsed: true, tiles: []tile{
				{61, 12, estimatedRequests()},
				{62, 12, estimatedWasted()},
			}},
		},
	})
}

func requestsPerConnection() *heatmap.PanelBuilder {
	return density(text{
		title: "Requests per connection",
		unit:  unitNumber,
		about: "Each column is a moment, each row a number of requests; the brighter (on a light page: the darker), the more connections ended with it. Good: far up. A bright line at 1 is a client or a server that does not keep connections; one at a round number is a limit of the server. Drawn from native histograms where there are any, from classic buckets else.",
		empty: "No connection that carried a request ended in this time",
	}, query{expr: serverScope.buckets(exporter.ConnectionRequests), legend: legendOf(labelLe)})
}

func requestsPerConnectionQuantiles() *timeseries.PanelBuilder {
	s, m := serverScope, exporter.ConnectionRequests
	return paint(logLines(text{
		title: "Requests per connection: mean and quantiles",
		unit:  unitNumber,
		about: "Of the connections that ended: the mean, and the number that half (p50), 90 % and 99 % of them did not exceed. Good: the mean well above 10. A p50 of 1 with a high p99 means that some clients keep connections and others don't.",
		empty: "No connection that carried a request ended in this time",
	},
		query{expr: s.mean(rateInterval, nil, m), legend: "mean"},
		query{expr: s.quantile(0.5, rateInterval, nil, m), legend: "p50"},
		query{expr: s.quantile(0.9, rateInterval, nil, m), legend: "p90"},
		query{expr: s.quantile(0.99, rateInterval, nil, m), legend: "p99"},
	),
		style{series: "mean", color: blue},
		style{series: "p50", color: green},
		style{series: "p90", color: orange},
		style{series: "p99", color: purple})
}

// endings stacks by who closed, then by reason: the client's closings lie below
// the server's, and those below what the tracker gave up.
func endings() *timeseries.PanelBuilder {
	reasons := exporter.Values(exporter.LabelReason)
	closers := []struct {
		side     string
		closedBy []string
		colors   []string
	}{
		{"client", []string{"client"}, clientTones},
		{"server", []string{"server"}, serverTones},
		{"neither", neither(), otherTones},
	}
	var queries []query
	var styles []style
	for _, by := range closers {
		ended := serverScope.rate(rateInterval, exporter.ConnectionsClosed, oneOf(exporter.LabelClosedBy, by.closedBy...))
		queries = append(queries, query{
			expr:   sum([]string{exporter.LabelReason}, ended) + orNone(exporter.LabelReason, ended),
			legend: by.side + ": " + legendOf(exporter.LabelReason),
		})
		styles = append(styles, tones(by.side+": ", append(slices.Clone(reasons), "none"), cycle(by.colors))...)
	}
	return paint(stacked(common.StackingModeNormal, text{
		title: "Why connections end, by who closed them",
		unit:  unitConnections,
		about: "Connections that ended, by the reason for which no further request could ride them. Blue: the client closed first; orange: the server did; grey: neither was seen to. Good: few, and mostly client_idle, for then the client decides and no request can cross a closing. server_idle is what races are made of; server_limit and server_close are settings of the server.",
		empty: noServer,
	}, queries...).Legend(tableLegend()), styles...)
}

// neither lists who closed where it was no side of the connection.
func neither() []string {
	return slices.DeleteFunc(slices.Clone(exporter.Values(exporter.LabelClosedBy)), func(v string) bool {
		return v == "client" || v == "server"
	})
}

func negotiated() *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModePercent, text{
		title: "What request and response agreed on",
		unit:  unitRequests,
		about: "Share of exchanges by what they negotiated about the connection. Good: all keep_alive. client_close and server_close are Connection: close; no_length is a response whose end only the closing tells (add Content-Length or chunked encoding); http10_not_requested and http10_declined a client, proxy or server that speaks HTTP/1.0 without keep-alive.",
		empty: noServer,
	}, query{expr: sum(by(exporter.LabelNegotiated), serverScope.rate(rateInterval, exporter.Exchanges)), legend: legendOf(exporter.LabelNegotiated)}).
		Legend(tableLegend()), outcomes()...)
}

// idleTimes is the picture that shows a race coming: it is near where what
// clients still reuse comes close to when the server closes.
func idleTimes() *timeseries.PanelBuilder {
	s := serverScope
	limit := func(expr string) string { return aggregate("min", nil, expr) }
	closed := func(side string) string {
		return s.quantile(0.5, rateInterval, nil, exporter.CloseIdle, is(exporter.LabelClosedBy, side))
	}
	series := []struct {
		query
		style
	}{
		{query{expr: s.quantile(0.5, rateInterval, nil, exporter.ReuseIdle), legend: "reused after (p50)"}, style{color: sky}},
		{query{expr: s.quantile(0.99, rateInterval, nil, exporter.ReuseIdle), legend: "reused after (p99)"}, style{color: blue}},
		{query{expr: closed("client"), legend: "closed by the client after (p50)"}, style{color: green}},
		{query{expr: closed("server"), legend: "closed by the server after (p50)"}, style{color: orange}},
		{query{expr: limit(s.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "client"))), legend: "client's timeout, observed"},
			style{color: green, properties: []dashboard.DynamicConfigValue{dashed(10, 6)}}},
		{query{expr: limit(s.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "server"))), legend: "server's timeout, observed"},
			style{color: vermillion, properties: []dashboard.DynamicConfigValue{dashed(10, 6), property("custom.lineWidth", 3)}}},
		{query{expr: limit(s.pick(exporter.AdvertisedTimeout)), legend: "server's timeout, advertised"},
			style{color: grey, properties: []dashboard.DynamicConfigValue{dashed(2, 6), property("custom.lineWidth", 3)}}},
	}
	var queries []query
	var styles []style
	for _, one := range series {
		one.series = one.legend
		queries, styles = append(queries, one.query), append(styles, one.style)
	}
	return paint(logLines(text{
		title: "Idle times: when connections are reused, and when each side closes them",
		unit:  unitSeconds,
		about: "How long connections had idled when they were reused (blue), when the client closed them (green) and when the server did (orange); dashed, the timeouts that follow. Good: green dashed below vermillion dashed, with blue below both: the client gives connections up before the server does. Bad: blue p99 near the vermillion line: soon a request will cross a closing. Then make the client's idle timeout shorter, or the server's longer. An observed timeout needs 5 closings for idleness that agree.",
		empty: noServer,
	}, queries...).
		SpanNulls(common.BoolOrFloat64{Float64: ref(300_000.0)}), styles...)
}

func handshakeTimes() *timeseries.PanelBuilder {
	var queries []query
	var styles []style
	for _, kind := range []struct{ value, title, color string }{
		{"tcp", "TCP", blue}, {"tls_full", "TLS full", vermillion}, {"tls_resumed", "TLS resumed", green},
	} {
		m := is(exporter.LabelKind, kind.value)
		p50, p99 := kind.title+" p50", kind.title+" p99"
		queries = append(queries,
			query{expr: serverScope.quantile(0.5, rateInterval, nil, exporter.HandshakeSeconds, m), legend: p50},
			query{expr: serverScope.quantile(0.99, rateInterval, nil, exporter.HandshakeSeconds, m), legend: p99})
		styles = append(styles,
			style{series: p50, color: kind.color},
			style{p99, kind.color, []dashboard.DynamicConfigValue{dashed(8, 6)}})
	}
	return paint(logLines(text{
		title: "Handshake times",
		unit:  unitSeconds,
		about: "What a new connection costs: the TCP handshake is one round trip, TLS comes on top, and is shorter where a session is resumed. Solid: half of them; dashed: 99 %. Good: steady. A TCP p99 at 1 s or 3 s is a SYN that was sent again: a full accept queue, or loss. No TLS lines: no TLS was seen.",
		empty: "No handshake was seen in this time",
	}, queries...), styles...)
}

func protocols() *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModeNormal, text{
		title: "Requests by protocol",
		unit:  unitRequests,
		about: "Requests per second by the version of HTTP. Good: http/1.1 or h2. http/1.0 keeps a connection only where both sides say so: often it is a proxy's default towards its backends (nginx: proxy_http_version).",
		empty: noServer,
	}, query{expr: sum(by(exporter.LabelProtocol), serverScope.rate(rateInterval, exporter.Requests)), legend: legendOf(exporter.LabelProtocol)}),
		tones("", exporter.Values(exporter.LabelProtocol), cycle([]string{grey, purple, orange, blue, green}))...)
}

// age holds what is open against what ends: by Little's law their quotient is
// the mean time that connections live, those that never end included.
func age() *timeseries.PanelBuilder {
	s, m := serverScope, exporter.ConnectionDuration
	turnover := ratio(sum(nil, s.pick(exporter.ConnectionsOpen)), sum(nil, s.rate(rateInterval, exporter.ConnectionsClosed)))
	return paint(logLines(text{
		title: "How long connections live",
		unit:  unitSeconds,
		about: "The age of connections when they ended (p50, p99), and the time that those now open will take to be replaced at the rate at which they end. Good: long enough for hundreds of requests, shorter than your rollouts: clients that stick to old connections don't find new backends. If too long, limit the age (HAProxy, Envoy: max connection duration; nginx: keepalive_time) rather than the number of requests.",
		empty: "No connection ended in this time",
	},
		query{expr: s.quantile(0.5, rateInterval, nil, m), legend: "p50"},
		query{expr: s.quantile(0.99, rateInterval, nil, m), legend: "p99"},
		query{expr: turnover, legend: "until all are replaced"},
	),
		style{series: "p50", color: blue}, style{series: "p99", color: purple},
		style{"until all are replaced", orange, []dashboard.DynamicConfigValue{dashed(10, 6)}})
}

func openConnections() *timeseries.PanelBuilder {
	return lines(text{
		title: "Open connections",
		unit:  unitNumber,
		about: "Connections that have carried a request or a ClientHello and are open. Good: steady, as large as the number of requests at once. A saw-tooth is a pool that is emptied again and again; a slope without end is a leak.",
		empty: noServer,
	}, query{expr: sum(nil, serverScope.pick(exporter.ConnectionsOpen)), legend: "open"})
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
	own := oneOf(exporter.LabelDirection, "outbound", "loopback")
	waiting := fmt.Sprintf("%d * %s", timeWait, s.rate(window, exporter.ConnectionsClosed, own, is(exporter.LabelClosedBy, "client")))
	return fmt.Sprintf("%s / %d", sum(labels, either(s.pick(exporter.ConnectionsOpen, own), waiting)), ephemeralPorts)
}

func portHeadroom() *timeseries.PanelBuilder {
	used := serverScope.portsInUse(rateInterval, by(labelInstance))
	return lines(text{
		title: "Local ports left",
		unit:  unitShare,
		about: "Share of the ephemeral ports (Linux' default: 28 232 for one address and port of a server) that the fullest hosts have left towards this server, counting TIME-WAIT. Good: above 50 %. At 0 no new connection can be opened: keep connections (then none are needed), or widen net.ipv4.ip_local_port_range. Only for outbound and loopback: elsewhere the ports are not this host's.",
		empty: "No outbound connections: the ports of inbound ones are their clients'",
	}, query{expr: "bottomk(5, 1 - " + used + ")", legend: legendOf(labelInstance)}).
		Min(0).Max(1).
		ColorScheme(shades(blue)).
		Thresholds(levels(bad, level{0.3, warning}, level{0.5, slate})).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}

const noTLS = "No encrypted connection without keys was seen in this time"

func estimatedRequests() *timeseries.PanelBuilder {
	return paint(stacked(common.StackingModeNormal, text{
		title: "Requests, estimated",
		unit:  unitRequests,
		about: "Requests guessed from bursts of encrypted records, by whether they rode a connection that had carried one before. Good: nearly all reused. A guess: give --keylog to count.",
		empty: noTLS,
	}, query{expr: sum(by(exporter.LabelReused), serverScope.rate(rateInterval, exporter.EstimatedRequests)), legend: "reused: " + legendOf(exporter.LabelReused)}),
		style{series: "reused: true", color: green}, style{series: "reused: false", color: orange}, style{series: "reused: unknown", color: grey})
}

func estimatedWasted() *timeseries.PanelBuilder {
	wasted := serverScope.rate(rateInterval, exporter.EstimatedWasted)
	return causes(stacked(common.StackingModeNormal, text{
		title: "Wasted handshakes by cause, estimated",
		unit:  unitConnections,
		about: "Handshakes of encrypted connections that were not needed, as far as can be told without keys: how busy a connection was is a guess. Good: nothing to see. Never part of the figures above.",
		empty: noTLS,
	}, query{expr: sum(by(exporter.LabelCause), wasted) + orNone(exporter.LabelCause, wasted), legend: legendOf(exporter.LabelCause)}))
}
