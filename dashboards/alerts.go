package dashboards

import (
	"strings"

	"github.com/keepscope/keepscope/exporter"
)

// AlertingRules returns the alerts. They use what RecordingRules record. Each
// has a chapter in runbook.md.
func AlertingRules(c Config) []Group {
	c = c.withDefaults()
	group := Group{Name: "keepscope-alerts"}
	for _, alert := range []func() Rule{
		effectivenessLow, wastedBurning, raceRisk, races, portsRunOut, tooSticky, captureDropping, down,
	} {
		r := alert()
		r.Annotations["runbook_url"] = c.Runbook + "#" + strings.ToLower(r.Alert)
		group.Rules = append(group.Rules, r)
	}
	return []Group{group}
}

// alert returns a rule. What begins an alert's summary is what it is about.
func alert(name, severity, wait, expr, summary, description string) Rule {
	return Rule{
		Alert:  name,
		Expr:   expr,
		For:    wait,
		Labels: map[string]string{"severity": severity},
		Annotations: map[string]string{
			"summary":     summary,
			"description": description,
		},
	}
}

const busy = " and " + recordRequests + " > 1" // ratios of a few requests mean nothing

func effectivenessLow() Rule {
	return alert("KeepscopeEffectivenessLow", "warning", "15m",
		recordEffectiveness+" < 0.8"+busy,
		"Requests to {{ $labels.server }} open new connections where one was at hand",
		"Keep-alive effectiveness is {{ $value | humanizePercentage }} ({{ $labels.direction }}), below 80 % for 15 minutes: of five requests for which an open connection could have been at hand, one or more opened another.")
}

func wastedBurning() Rule {
	return alert("KeepscopeWastedHandshakes", "warning", "15m",
		recordSeconds+" > 0.5",
		"Needless handshakes with {{ $labels.server }} take {{ $value | humanize }} s every second",
		"For 15 minutes, requests ({{ $labels.direction }}) together have waited more than half a second in every second for handshakes that were not needed.")
}

// raceRisk compares the server's idle timeout with the client's; where the
// client's is not known, for the server always comes first, with a quarter more
// than the idle times after which connections are still reused.
func raceRisk() Rule {
	server := aggregate("min", serverLevel, noScope.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "server")))
	client := aggregate("max", serverLevel, noScope.pick(exporter.ObservedTimeout, is(exporter.LabelSide, "client")))
	reused := noScope.quantile(0.99, "1h", serverLevel, exporter.ReuseIdle)
	return alert("KeepscopeRaceRisk", "warning", "15m",
		server+" <= ("+client+" or 1.25 * ("+reused+"))",
		"{{ $labels.server }} closes idle connections that its clients still use",
		"The server's observed idle timeout, {{ $value | humanizeDuration }}, is not above the time for which clients keep idle connections ({{ $labels.direction }}). Sooner or later a request crosses the closing and fails.")
}

func races() Rule {
	return alert("KeepscopeRaces", "warning", "",
		sum(serverLevel, noScope.races("10m"))+" > 0",
		"Requests to {{ $labels.server }} cross its closing of their connection",
		"About {{ $value | humanize }} requests ({{ $labels.direction }}) in 10 minutes were sent on a connection that the server was closing. Behind a load balancer each is a 502, unless it is sent again.")
}

func portsRunOut() Rule {
	return alert("KeepscopePortsRunOut", "critical", "5m",
		recordPorts+" > 0.8 or ("+recordPorts+" > 0.3 and predict_linear("+recordPorts+"[30m], 3600) > 1)",
		"{{ $labels.instance }} runs out of local ports towards {{ $labels.server }}",
		"{{ $value | humanizePercentage }} of the ephemeral ports are open or in TIME-WAIT; above 80 %, or on the way to none left within an hour. Then new connections fail with EADDRNOTAVAIL.")
}

// tooSticky uses Little's law: what is open divided by the rate at which it ends
// is the mean time that a connection lives. Where none ends that is forever.
func tooSticky() Rule {
	named := scope{isNot(exporter.LabelServer, exporter.Other)}
	lifetime := sum(serverLevel, named.pick(exporter.ConnectionsOpen)) + " / " +
		sum(serverLevel, named.rate("1h", exporter.ConnectionsClosed))
	return alert("KeepscopeTooSticky", "info", "1h",
		lifetime+" > 7200"+busy,
		"Connections to {{ $labels.server }} hardly ever end",
		"At the rate at which connections ({{ $labels.direction }}) end, those now open take {{ $value | humanizeDuration }} to be replaced, more than 2 hours. New backends get no share of the traffic, and draining old ones takes as long.")
}

func captureDropping() Rule {
	return alert("KeepscopeCaptureDropping", "warning", "5m",
		recordLost+" > 0.01",
		"Keepscope on {{ $labels.instance }} loses packets",
		"{{ $value | humanizePercentage }} of the packets are dropped before they can be analysed: this sidecar's counts are too low.")
}

func down() Rule {
	known := "last_over_time(" + noScope.pick(exporter.BuildInfo) + "[1d])"
	return alert("KeepscopeDown", "warning", "5m",
		metricUp+" == 0 and on ("+joined(perInstance)+") "+known+" or "+noScope.pick(metricUp, oneOf(labelJob, ".*keepscope.*"))+" == 0",
		"Keepscope on {{ $labels.instance }} does not answer",
		"Prometheus has not been able to scrape it for 5 minutes: its connections are missing from all figures.")
}
