package dashboards

import (
	"fmt"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

const noHTTP = "No HTTP or TLS was seen in this time: choose a longer one, or other variables"

// The names of what is counted and what is estimated, wherever both are shown.
const (
	legendCounted   = "counted"
	legendEstimated = "~ TLS, estimated"
)

// lowEffectiveness is what an alert calls low; from findings.WellEffectiveness on
// all is well.
const lowEffectiveness = 0.8

var effectivenessLevels = []level{{lowEffectiveness, plain}, {findings.WellEffectiveness, good}}

// Overview returns the dashboard of the fleet: which servers waste handshakes,
// why, and what to change. That is its first screen; the rest is closed.
func Overview(c Config) (dashboard.Dashboard, error) {
	c = c.withDefaults()
	s := fleetScope
	return c.build(board{
		name:      "overview",
		title:     "Keep-alive overview",
		about:     "Which servers waste handshakes or fail requests, why, and what to change. Blue is the client's to change, orange the server's, magenta what lies between; ~ is estimated, of TLS without keys.",
		variables: append(c.targetVariables(), directionVariable()),
		bands: []band{
			{height: 4, tiles: c.headline(s)},
			{height: 10, tiles: []tile{{31, 24, c.worstServers()}}},
			{height: 8, tiles: []tile{
				{21, 12, wastedByCause(s)},
				{11, 12, effectivenessOverTime(s)},
			}},
			{id: 40, title: "Why do connections end?", height: 9, collapsed: true, tiles: []tile{
				{41, 12, endings(s)},
				{42, 12, negotiated(s)},
			}},
			{id: 50, title: "Failed requests and races", height: 8, collapsed: true, tiles: []tile{
				{51, 8, failures(s)},
				{24, 8, racesOverTime(s)},
				{52, 8, attempts(s)},
			}},
			{id: 60, title: "Requests per connection, and idle times", height: 8, collapsed: true, tiles: []tile{
				{61, 12, requestsPerConnectionQuantiles(s)},
				{62, 12, idleTimes(s)},
			}},
			{id: 70, title: "HTTP/2 and gRPC", height: 8, collapsed: true, tiles: http2Tiles(s)},
			{id: 80, title: "TLS", height: 8, collapsed: true, tiles: tlsTiles(s)},
			{id: 90, title: "Connections, ports and balance", height: 8, collapsed: true, tiles: []tile{
				{12, 8, connectionsAgainstRequests(s)},
				{91, 8, portHeadroom(s)},
				{92, 8, balance(s)},
			}},
			{id: 110, title: "Health checks: in no figure above", height: 8, collapsed: true, tiles: []tile{
				{111, 24, healthChecks(s)},
			}},
		},
	})
}

// headline is the first row of the dashboards of fleet and server.
func (c Config) headline(s scope) []tile {
	return []tile{
		{2, 6, effectivenessNow(s)},
		{3, 7, wastedNow(s)},
		{5, 7, failedInRange(s)},
		{100, 4, c.trust()},
	}
}

func effectivenessNow(s scope) *stat.PanelBuilder {
	return numbers(text{
		title: "Keep-alive effectiveness",
		unit:  unitShare,
		about: fmt.Sprintf("Of the requests for which an open connection could have been at hand, the share that rode one, now. Health checks are left out. HTTP in clear, HTTP/2 and what was decrypted is counted; other TLS is estimated. Good: from %g %% on; below %g %% an alert fires. The table says which server it is.", 100*findings.WellEffectiveness, 100*lowEffectiveness),
		empty: noHTTP,
	},
		query{expr: s.effectiveness(rateInterval, nil), legend: legendCounted},
		query{expr: s.estimatedEffectiveness(rateInterval, nil), legend: legendEstimated},
	).Decimals(1).Min(0).Max(1).Thresholds(levels(bad, effectivenessLevels...))
}

func wastedNow(s scope) *stat.PanelBuilder {
	w := s.rates(rateInterval)
	each := "wait, each request"
	return numbers(text{
		title: "Wasted handshakes",
		unit:  unitRate,
		about: "New connections per second that a client which keeps its connections, and a server that lets it, would not have needed, and how long a request waits for them on average (TCP, TLS, DNS and CONNECT). Good: near 0. Each costs at least one round trip, with TLS two or more and CPU on both sides. Estimated requests are counted when their connection ends, wasted handshakes too.",
		empty: noHTTP,
	},
		query{expr: sum(nil, w(exporter.WastedHandshakes, application)), legend: legendCounted},
		query{expr: sum(nil, w(exporter.EstimatedWasted)), legend: legendEstimated},
		query{expr: ratio(sum(nil, w.seconds()), sum(nil, w.requests())), legend: each},
	).OverrideByName(each, looks{property("unit", unitSeconds)})
}

// orZero is the expression, and 0 where it has no series but another has.
func orZero(expr, seen string) string { return expr + " or 0 * " + sum(nil, seen) }

func failedInRange(s scope) *stat.PanelBuilder {
	w := s.increases(wholeRange)
	once := func(legend, expr, seen string) query {
		return query{expr: orZero(expr, seen), legend: legend, once: true}
	}
	return numbers(text{
		title: "Failed requests, races, failed handshakes",
		unit:  unitNumber,
		about: "Within the time range: requests that failed, counted and (~) estimated; races, that is requests that crossed the server's closing of their connection (behind a load balancer, the occasional 502); handshakes that were refused or not answered. Good: 0. See the row on failed requests, and the runbook's KeepscopeRequestsFail, KeepscopeRaces and KeepscopeHandshakesFail.",
		empty: noHTTP,
	},
		once("failed", sum(nil, w(exporter.FailedRequests)), w(exporter.ConnectionsOpened)),
		once("~ failed", sum(nil, w(exporter.EstimatedFailed)), w(exporter.EstimatedRequests)),
		once("races", sum(nil, either(w(exporter.Races), estimated(w(exporter.EstimatedRaces)))), w(exporter.ConnectionsOpened)),
		once("handshakes", sum(nil, w(exporter.HandshakeAttempts, failedAttempts)), w(exporter.ConnectionsOpened)),
	).Decimals(0).Thresholds(levels(plain, level{0.5, bad}))
}

func effectivenessOverTime(s scope) *timeseries.PanelBuilder {
	return lines(text{
		title: "Keep-alive effectiveness over time",
		unit:  unitShare,
		about: fmt.Sprintf("The share of requests that rode a connection which could have been at hand; dotted: TLS, estimated. The dashed line leaves out the cause pool_miss, which a NAT or a load balancer inflates by hiding several clients behind one address: where the lines are far apart, the truth is between them. Good: above %g %%. A step down that coincides with a deploy names its reason.", 100*findings.WellEffectiveness),
		empty: noHTTP,
	},
		query{expr: s.effectiveness(rateInterval, nil), legend: legendCounted, color: violet},
		query{
			expr: s.effectiveness(rateInterval, nil, isNot(exporter.LabelCause, fact.PoolMiss.String())), legend: "without pool_miss",
			color: violet, looks: looks{dashed(8, 8), property("custom.fillOpacity", 0)},
		},
		query{
			expr: s.estimatedEffectiveness(rateInterval, nil), legend: legendEstimated,
			color: teal, looks: looks{dashed(2, 6), property("custom.fillOpacity", 0)},
		},
	).
		Min(0).Max(1).Decimals(1).
		Thresholds(levels(bad, effectivenessLevels...))
}

func connectionsAgainstRequests(s scope) *timeseries.PanelBuilder {
	return lines(text{
		title: "New connections against requests",
		unit:  unitRate,
		about: "Requests per second, counted and estimated, and the connections that were opened. Estimated requests are counted when their connection ends: they come in bursts. Good: many times more requests than connections. Lines that run together mean a connection for each request.",
		empty: noHTTP,
	},
		query{expr: sum(nil, s.rates(rateInterval).requests()), legend: "requests", color: violet},
		query{expr: sum(nil, s.rate(rateInterval, exporter.ConnectionsOpened)), legend: "new connections", color: teal},
	)
}

func wastedByCause(s scope) *timeseries.PanelBuilder {
	w, byWhy := s.rates(rateInterval), by(labelWhy)
	guessed := sum(byWhy, w.guessed()) + " > 0"
	none := called("0 * "+sum(nil, w(exporter.ConnectionsOpened)), labelWhy, whyNone) + " unless on () (" + guessed + ")"
	return causes(stacked(common.StackingModeNormal, text{
		title: "Wasted handshakes by cause",
		unit:  unitConnections,
		about: "Why the connection that could have been used was not. Blue: the client can change it, orange: the server, magenta: something between, brown: both, grey: nobody can be blamed. Dashed, with ~: TLS without keys, estimated. Good: nothing is wasted.",
		empty: noHTTP,
	},
		query{expr: sum(byWhy, w.counted()) + " > 0 or on () (" + none + ")", legend: legendOf(labelWhy), exemplars: true},
		query{expr: guessed, legend: "~ " + legendOf(labelWhy)}))
}

// orNone keeps what is above 0; where nothing is, but the expression has series,
// it is a single zero, so that a chart of what does not happen is flat and not
// without data.
func orNone(labels []string, expr, seen string) string {
	return sum(labels, expr) + " > 0 or on () " + called("0 * "+sum(nil, seen), labels[0], whyNone)
}

// causes gives causes their colours and words.
func causes(b *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	var styles []style
	for _, why := range whys() {
		styles = append(styles,
			style{why, toneOf[why], looks{property("displayName", habits[why].words)}},
			style{"~ " + why, toneOf[why], looks{
				property("displayName", "~ "+habits[why].words), dashed(4, 4), property("custom.fillOpacity", 25)}})
	}
	return paint(b.Legend(tableLegend()), styles...)
}

func costByKind(s scope) *timeseries.PanelBuilder {
	w := s.rates(rateInterval)
	kinds := tones([]string{"tcp", "tls", "dns", "connect"}, violet, teal, slate, tone(fact.ReasonNone))
	for _, k := range kinds[:4:4] {
		kinds = append(kinds, style{"~ " + k.series, k.color, looks{dashed(4, 4), property("custom.fillOpacity", 25)}})
	}
	return paint(stacked(common.StackingModeNormal, text{
		title: "Time wasted per second, by kind",
		unit:  unitSeconds,
		about: "Time that requests wait, all together, in each second, for TCP handshakes, TLS handshakes, DNS look-ups and CONNECT exchanges of connections that were not needed; dashed, with ~: TLS without keys, estimated. Good: near 0; at 1 s there is at any moment one request that waits for nothing. Mostly tls: session resumption makes what remains cheaper. Mostly dns: a cache near the client does.",
		empty: noHTTP,
	},
		query{expr: sum(by(exporter.LabelKind), w(exporter.WastedSeconds, application)) + " > 0 or on () " +
			called("0 * "+sum(nil, w(exporter.ConnectionsOpened)), exporter.LabelKind, whyNone), legend: legendOf(exporter.LabelKind)},
		query{expr: sum(by(exporter.LabelKind), w(exporter.EstimatedSeconds)) + " > 0", legend: "~ " + legendOf(exporter.LabelKind)},
	), append(kinds, style{series: whyNone, color: slate})...)
}

// barsShown is how many bars a chart of events has: one a minute where an hour
// is shown.
const barsShown = 60

// bars is a chart of events a minute. A window of $__rate_interval is no longer
// than a bar and a scrape, as the step is the panel's and not a minimum: each event
// is drawn once.
func bars(t text, queries ...query) *timeseries.PanelBuilder {
	return lines(t, queries...).
		MaxDataPoints(barsShown).
		DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).LineWidth(0).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
}

func racesOverTime(s scope) *timeseries.PanelBuilder {
	w := s.rates(rateInterval)
	return bars(text{
		title: "Keep-alive races a minute",
		unit:  unitNumber,
		about: "Requests that crossed the server's closing of their connection, a minute. Good: 0. Each fails or has to be sent again. The exemplars (diamonds) name connections, to be found in the log of connections and on the sidecar's page.",
		empty: noHTTP,
	},
		query{expr: "60 * " + sum(nil, w(exporter.Races)), legend: legendCounted, exemplars: true, color: crimson},
		query{
			expr: "60 * " + sum(nil, w(exporter.EstimatedRaces)), legend: legendEstimated, exemplars: true,
			color: crimson, looks: looks{property("custom.fillOpacity", 25)},
		},
	)
}

func failures(s scope) *timeseries.PanelBuilder {
	w := s.rates(rateInterval)
	return causes(bars(text{
		title: "Failed requests a minute, by how",
		unit:  unitNumber,
		about: "Requests that failed, each once, by the first way that holds, a minute; counted and estimated. Good: none. Blue: the client can change it, orange: the server, magenta: something between forgets connections, brown: both (races).",
		empty: noHTTP,
	}, query{expr: "60 * " + orNone(by(labelWhy), w.failed(), w(exporter.ConnectionsOpened)), legend: legendOf(labelWhy)}))
}

func attempts(s scope) *timeseries.PanelBuilder {
	w := s.rates(rateInterval)
	return causes(bars(text{
		title: "Failed handshakes a minute",
		unit:  unitNumber,
		about: "Handshakes that the server refused, those that nothing answered, and those that came about after their SYN was sent again, a minute. Good: none. Refused: nobody listens. Unanswered: a firewall, a dead host or a full accept queue; told when nothing has come for 130 s. Repeated: each waited 1 s or more.",
		empty: noHTTP,
	}, query{expr: "60 * " + orNone(by(labelWhy), replaced(w(exporter.HandshakeAttempts), labelWhy, exporter.LabelResult), w(exporter.ConnectionsOpened)), legend: legendOf(labelWhy)})).
		OverrideByName("repeated", looks{colored(teal)})
}

// balance holds the busiest sidecar of each server against the mean: behind
// long-lived connections some backends have all the traffic.
func balance(s scope) *timeseries.PanelBuilder {
	return lines(text{
		title: "Uneven load of backends",
		unit:  unitNumber,
		about: fmt.Sprintf("Where several backends of one name have a sidecar (direction inbound): requests of the busiest as a multiple of an even share, of the five most uneven servers. Good: near 1; from %g on, long-lived connections stick to some backends. Balance requests, or limit the age of connections.", findings.MinUneven),
		empty: "No server with two backends that have a sidecar, or no requests",
	}, query{expr: fullest(exporter.LabelServer, s.uneven(rateInterval, by(exporter.LabelServer))), legend: legendOf(exporter.LabelServer)}).
		FillOpacity(0).ColorScheme(shades(violet))
}

// uneven is the busiest backend's requests as a multiple of the mean, by labels,
// where there are several backends.
func (s scope) uneven(window string, labels []string) string {
	each := sum(append(slices.Clone(labels), labelInstance), s.rate(window, exporter.Requests, application, is(exporter.LabelDirection, naming.Inbound.String())))
	return fmt.Sprintf("%s / (%s > 0) and %s > 1", aggregate("max", labels, each), aggregate("avg", labels, each), aggregate("count", labels, each))
}

func healthChecks(s scope) *table.PanelBuilder {
	w, probe := s.rates(wholeRange), is(exporter.LabelTraffic, "probe")
	perServer := by(exporter.LabelDirection, exporter.LabelServer)
	return tableOf(text{
		title: "Health checks",
		unit:  unitRate,
		about: "What health checks do: clients that are known to probe, or that ask at a steady interval and do nothing else. They are in no figure above, effectiveness and waste included. Good: as often as you mean to. A client is known from the closing that shows it; what came before stays counted.",
		empty: "No health checks were seen in this time",
	}, 2, serverLabels(nil),
		column{title: "Requests", unit: unitRate, width: 100, expr: sum(perServer, w(exporter.Requests, probe)) + " > 0"},
		column{title: "Connections", unit: unitRate, width: 110, expr: sum(perServer, w(exporter.ConnectionsClosed, probe)) + " > 0"},
		column{title: "Would be wasted", unit: unitRate, width: 140, expr: sum(perServer, w(exporter.WastedHandshakes, probe))})
}

// worstServers is sorted by the time that is lost.
func (c Config) worstServers() *table.PanelBuilder {
	s, perServer := fleetScope, by(exporter.LabelDirection, exporter.LabelServer)
	rate, grown := s.rates(wholeRange), s.increases(wholeRange)
	wasted := either(rate(exporter.WastedHandshakes, application), rate(exporter.EstimatedWasted))
	why := s.mainCause(wholeRange, perServer)
	words, change := whyColumns()
	t := text{
		title: "Servers, worst first",
		unit:  unitNumber,
		about: "Servers by what is lost: the time that requests wait for needless handshakes, each failed request or handshake counting as one second, per second. Main cause is blue where the client can change it, orange: the server, magenta: something between, brown: both, grey: nobody can be blamed. ~ is TLS without keys, estimated; other columns hold both. A server's name leads to its detail. Good: nothing lost.",
		empty: noHTTP,
	}
	lost := either(rate.seconds(), rate(exporter.FailedRequests), estimated(rate(exporter.EstimatedFailed)), rate(exporter.HandshakeAttempts, failedAttempts))
	return tableOf(t, 5, serverLabels(&c),
		column{title: "Effectiveness", unit: unitShare, width: 115, bar: true, expr: s.effectiveness(wholeRange, perServer), levels: effectivenessLevels, base: bad},
		column{title: "~ TLS", unit: unitShare, width: 65, expr: s.estimatedEffectiveness(wholeRange, perServer)},
		column{title: "Wasted", unit: unitRate, width: 80, expr: sum(perServer, wasted)},
		column{title: "Lost / s", unit: unitSeconds, width: 80, expr: sum(perServer, lost)},
		column{title: "Main cause", width: 250, label: labelWhy, words: &words, expr: why},
		column{title: "What to change", width: 310, label: labelChange, words: &change,
			expr: sum(append(slices.Clone(perServer), labelChange), replaced(why, labelChange, labelWhy))},
		column{title: "Failed", unit: unitNumber, width: 65, levels: []level{{0.5, cellBad}},
			expr: sum(perServer, either(grown(exporter.FailedRequests), estimated(grown(exporter.EstimatedFailed)), grown(exporter.HandshakeAttempts, failedAttempts)))},
		column{title: "Races", unit: unitNumber, width: 65, levels: []level{{0.5, cellBad}},
			expr: sum(perServer, either(grown(exporter.Races), estimated(grown(exporter.EstimatedRaces))))},
	)
}
