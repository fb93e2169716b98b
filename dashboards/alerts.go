package dashboards

import (
	"fmt"
	"strings"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

// AlertingRules returns the alerts. They use what RecordingRules record, and the
// thresholds of the findings where there are any. Each names the main cause and
// its figures, leads to the dashboard that shows it, and has a chapter in
// runbook.md.
func AlertingRules(c Config) []Group {
	c = c.withDefaults()
	group := Group{Name: "keepscope-alerts"}
	for _, alert := range []func() Rule{
		effectivenessLow, estimatedEffectivenessLow, wastedHandshakes, requestsFail, handshakesFail, raceRisk, races, pathForgets,
		portsRunOut, tooSticky, captureDropping, down,
	} {
		r := alert()
		r.Annotations["runbook_url"] = c.Runbook + "#" + strings.ToLower(r.Alert)
		r.Annotations["dashboard_url"] = c.alertLink(r.Annotations["dashboard_url"])
		group.Rules = append(group.Rules, r)
	}
	return []Group{group}
}

// The dashboards that alerts lead to.
const (
	toServer  = "server"
	toCapture = "capture"
)

// alertLink returns the address of a dashboard with the alert's labels in its
// variables: those that it has.
func (c Config) alertLink(name string) string {
	labels := []string{labelCluster, labelNamespace, labelJob}
	if name == toServer {
		labels = append(labels, exporter.LabelDirection, exporter.LabelServer)
	} else {
		labels = append(labels, labelPod)
	}
	link := c.Grafana + "/d/" + c.uid(name) + "?from=now-1h&to=now"
	for _, l := range labels {
		link += fmt.Sprintf("{{ with $labels.%s }}&var-%s={{ . | urlquery }}{{ end }}", l, l)
	}
	return link
}

// alert returns a rule. What begins an alert's summary is what it is about.
func alert(name, severity, wait, dashboard, expr, summary, description string) Rule {
	return Rule{
		Alert:  name,
		Expr:   expr,
		For:    wait,
		Labels: map[string]string{"severity": severity},
		Annotations: map[string]string{
			"summary":       summary,
			"description":   description,
			"dashboard_url": dashboard,
		},
	}
}

// ask begins a template of what a query by serverLevel has for the alert's
// labels; format is of its first %s, the matchers.
func ask(format, then string) string {
	var matchers, values []string
	for _, l := range serverLevel {
		matchers = append(matchers, l+"=%q")
		values = append(values, "$labels."+l)
	}
	expr := strings.ReplaceAll(fmt.Sprintf(format, strings.Join(matchers, ",")), "`", "")
	return "{{ with printf `" + expr + "` " + strings.Join(values, " ") + " | query }}" + then + "{{ end }}"
}

const firstValue = "{{ . | first | value | printf `%.3g` }}"

// perSecond is the value of a recorded rate.
func perSecond(record string) string { return ask(record+"{%s}", firstValue) }

// mostly names the main cause, with its figure.
func mostly(record string) string {
	return ask("topk(1, "+record+"{%s} > 0)", " Mostly {{ . | first | label `"+labelWhy+"` }}, "+firstValue+" a second.")
}

// busy leaves out servers with a request a second or less: ratios mean little.
const busy = " and " + recordRequests + " > 1"

// shown is a share as text.
func shown(share float64) string { return fmt.Sprintf("%g %%", 100*share) }

func effectivenessLow() Rule {
	return alert("KeepscopeEffectivenessLow", "warning", "15m", toServer,
		fmt.Sprintf("%s < %g%s", recordEffectiveness, lowEffectiveness, busy),
		"Requests to {{ $labels.server }} open new connections where one was at hand",
		"Keep-alive effectiveness is {{ $value | humanizePercentage }} ({{ $labels.direction }}), below "+shown(lowEffectiveness)+" for 15 minutes: "+
			perSecond(recordReused)+" requests a second rode an open connection, "+perSecond(recordWasted)+" opened another one that was not needed."+mostly(recordWhy))
}

// minEstimated is how many wasted handshakes a second an alert takes where
// requests are estimated: those of a connection are counted when it ends, so the
// effectiveness of a pool that lives long is too low.
const minEstimated = 0.2

func estimatedEffectivenessLow() Rule {
	return alert("KeepscopeEstimatedEffectivenessLow", "warning", "15m", toServer,
		fmt.Sprintf("%s < %g and %s > %g", recordEstEffectiveness, lowEffectiveness, recordEstWasted, minEstimated),
		"Encrypted requests to {{ $labels.server }} open new connections where one was at hand, by estimate",
		"TLS without keys: effectiveness is about {{ $value | humanizePercentage }} ({{ $labels.direction }}), below "+shown(lowEffectiveness)+" for 15 minutes: about "+
			perSecond(recordEstReused)+" requests a second rode an open connection, "+perSecond(recordEstWasted)+" opened another one that was not needed."+mostly(recordEstWhy))
}

// What a request may wait for needless handshakes, on average, and what all of
// them together, per second.
const (
	maxWait    = 0.005
	minAllWait = 0.05
)

func wastedHandshakes() Rule {
	return alert("KeepscopeWastedHandshakes", "warning", "15m", toServer,
		fmt.Sprintf("%s > %g and %s > %g", recordCost, maxWait, recordAllSeconds, minAllWait),
		"Requests to {{ $labels.server }} wait {{ $value | humanizeDuration }} each for needless handshakes",
		fmt.Sprintf("For 15 minutes, a request ({{ $labels.direction }}) has waited more than %g ms on average for handshakes that were not needed, those of TLS included; all together wait ", 1000*maxWait)+
			perSecond(recordAllSeconds)+" s in each second."+mostly(recordAllWhy))
}

// window10m is what alerts about single events look back.
const window10m = "10m"

// sharing keeps of an expression by labels what is at least n, and a share of
// whole by serverLevel.
func sharing(expr string, n int, share float64, whole string) string {
	return atLeast(expr, float64(n), share, whole, serverLevel)
}

// requestsFail leaves out what has alerts of its own, what never alerts (stale
// reuse), and what a client's user may have wanted.
func requestsFail() Rule {
	w := noScope.increases(window10m)
	how := oneOf(exporter.LabelHow, fact.FailRefusedStream.String(), fact.FailCloseIgnored.String(), fact.FailServerAbort.String())
	failed := sum(append(append([]string{}, serverLevel...), exporter.LabelHow),
		either(w(exporter.FailedRequests, how), estimated(w(exporter.EstimatedFailed, how))))
	return alert("KeepscopeRequestsFail", "critical", "", toServer,
		sharing(failed, findings.MinFailed, findings.MinFailedShare, w.requests())+fmt.Sprintf(" or %s >= %d", failed, findings.ManyFailed),
		"Requests to {{ $labels.server }} fail: {{ $labels.how }}",
		"About {{ $value | humanize }} requests ({{ $labels.direction }}) failed in 10 minutes, at least "+shown(findings.MinFailedShare)+fmt.Sprintf(" of all or %d. ", findings.ManyFailed)+
			"{{ if eq $labels.how `server_abort` }}The server closed without a whole answer: it crashes, restarts without draining, or limits its workers.{{ end }}"+
			"{{ if eq $labels.how `refused_stream` }}The server did not process HTTP/2 streams: its limit of streams, or it drains.{{ end }}"+
			"{{ if eq $labels.how `close_ignored` }}The client sent them after the server had announced that it closes.{{ end }}")
}

func handshakesFail() Rule {
	w := noScope.increases(window10m)
	failed := sum(append(append([]string{}, serverLevel...), exporter.LabelResult), w(exporter.HandshakeAttempts, failedAttempts))
	return alert("KeepscopeHandshakesFail", "critical", "", toServer,
		sharing(failed, findings.MinAttempts, findings.MinAttemptShare, w(exporter.ConnectionsOpened)),
		"Connections to {{ $labels.server }} are {{ $labels.result }}",
		"About {{ $value | humanize }} handshakes ({{ $labels.direction }}) were {{ $labels.result }} in 10 minutes, at least "+shown(findings.MinAttemptShare)+" of all: "+
			"{{ if eq $labels.result `refused` }}nobody listens there.{{ else }}a firewall, a dead host, or a full accept queue.{{ end }}")
}

// raceRisk compares the server's idle timeout with the client's; where the
// client's is not known, for the server always comes first, with a quarter more
// than the idle times after which connections are still reused.
func raceRisk() Rule {
	server := aggregate("min", serverLevel, noScope.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "server")))
	client := aggregate("max", serverLevel, noScope.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "client")))
	reused := noScope.quantile(0.99, "1h", serverLevel, exporter.ReuseIdle)
	return alert("KeepscopeRaceRisk", "warning", "15m", toServer,
		server+" <= ("+client+" or 1.25 * ("+reused+"))",
		"{{ $labels.server }} closes idle connections that its clients still use",
		"The server's observed idle timeout, {{ $value | humanizeDuration }}, is not above the time for which clients keep idle connections ({{ $labels.direction }}). The cause is the order of the two timeouts: sooner or later a request crosses the closing and fails. There were "+
			ask("sum(increase("+exporter.Races+"{%s}[1h])) or vector(0)", firstValue)+" races in the last hour.")
}

// minRaceShare is of reused requests: below, races are the price of keep-alive.
const minRaceShare = findings.MinStaleShare

func races() Rule {
	w := noScope.increases(window10m)
	raced := sum(serverLevel, either(w(exporter.Races), estimated(w(exporter.EstimatedRaces))))
	reused := is(exporter.LabelReused, "true")
	return alert("KeepscopeRaces", "warning", "", toServer,
		sharing(raced, findings.MinRaces, minRaceShare, either(w(exporter.Requests, application, reused), w(exporter.EstimatedRequests, reused))),
		"Requests to {{ $labels.server }} cross its closing of their connection",
		"About {{ $value | humanize }} requests ({{ $labels.direction }}) in 10 minutes were sent on a connection that the server was closing, at least "+shown(minRaceShare)+" of those on a used one. Behind a load balancer each is a 502, unless it is sent again. The cause is the order of idle timeouts: the server's is"+
			ask("min("+exporter.ObservedTimeout+"{"+is(exporter.LabelSide, "server")+",%s})", " {{ . | first | value | humanizeDuration }}, observed;")+" the client's has to be shorter.")
}

func pathForgets() Rule {
	dropped := sum(serverLevel, noScope.increases("1h")(exporter.PathDrops))
	return alert("KeepscopePathForgets", "critical", "", toServer,
		fmt.Sprintf("%s >= %d", dropped, findings.MinPathDrops),
		"Something before {{ $labels.server }} forgets connections",
		"About {{ $value | humanize }} connections ({{ $labels.direction }}) in an hour were used again and answered by nothing, or by a reset of a host that did not know them: a NAT gateway, load balancer or firewall had forgotten them, or the server died without a word."+
			ask("min("+exporter.PathTimeout+"{"+is(exporter.LabelBound, "dropped")+",%s})", " They are forgotten after at most {{ . | first | value | humanizeDuration }} of idling."))
}

func portsRunOut() Rule {
	return alert("KeepscopePortsRunOut", "critical", "5m", toServer,
		fmt.Sprintf("%s > %g or (%s > 0.3 and predict_linear(%s[30m], 3600) > 1)", recordPorts, findings.CriticalPorts, recordPorts, recordPorts),
		"{{ $labels.instance }} runs out of local ports towards {{ $labels.server }}",
		"{{ $value | humanizePercentage }} of the ephemeral ports are open or in TIME-WAIT; above "+shown(findings.CriticalPorts)+", or on the way to none left within an hour. Then new connections fail with EADDRNOTAVAIL."+
			ask(recordWasted+"{%s}", " "+firstValue+" handshakes a second are wasted.")+mostly(recordAllWhy))
}

// stickyAge is how long connections live where they stick, in seconds.
const stickyAge = 7200

// tooSticky takes what harm there is: several backends of one name whose load is
// uneven, and connections of which fewer end in stickyAge than are open. A pool
// that closes nothing and has even backends, or one, does not fire.
func tooSticky() Rule {
	named := scope{isNot(exporter.LabelServer, exporter.Other)}
	ended := fmt.Sprintf("%d * %s", stickyAge, sum(serverLevel, named.rate("1h", exporter.ConnectionsClosed)))
	open := sum(serverLevel, named.pick(exporter.ConnectionsOpen))
	return alert("KeepscopeTooSticky", "info", "1h", toServer,
		fmt.Sprintf("(%s) >= %g and (%s or 0 * %s) < %s%s", named.uneven("1h", serverLevel), findings.MinUneven, ended, open, open, busy),
		"Connections to {{ $labels.server }} hardly ever end, and its backends are loaded unevenly",
		"The busiest backend has {{ $value | humanize }} times an even share of the requests, and within 2 hours fewer connections end than are open: "+
			ask("sum("+exporter.ConnectionsOpen+"{%s})", firstValue)+" are. The cause is balancing by connection: new backends get no share of the traffic, and draining old ones takes as long.")
}

func captureDropping() Rule {
	return alert("KeepscopeCaptureDropping", "warning", "5m", toCapture,
		fmt.Sprintf("%s > %g", recordLost, lossWarns),
		"Keepscope on {{ $labels.instance }} loses packets",
		"{{ $value | humanizePercentage }} of the packets are dropped before they can be analysed: this sidecar's counts are too low. Mostly the cause is that it has too little CPU or captures too much.")
}

func down() Rule {
	return alert("KeepscopeDown", "warning", "5m", toCapture,
		noScope.silent()+" or "+noScope.pick(metricUp, oneOf(labelJob, ".*keepscope.*"))+" == 0",
		"Keepscope on {{ $labels.instance }} does not answer",
		"Prometheus has not been able to scrape it for 5 minutes: its connections are missing from all figures.")
}
