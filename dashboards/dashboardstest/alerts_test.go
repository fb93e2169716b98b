package dashboardstest_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/dashboards"
	"github.com/keepscope/keepscope/dashboards/dashboardstest"
)

func ruleFiles(t *testing.T) (paths []string) {
	for _, name := range []string{"recording", "alerting"} {
		path, err := filepath.Abs(filepath.Join("..", "generated", "keepscope-"+name+"-rules.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// A fault is what an alert is to fire for, by the names of servers or sidecars, and
// how long the traffic takes to have it, without what the alert waits.
type fault struct {
	alert string
	after time.Duration
	of    []string
}

// faults are all of the traffic.
func faults(l *lab.Lab) []fault {
	at := func(ports ...int) (names []string) {
		for _, p := range ports {
			names = append(names, address(l, p))
		}
		return names
	}
	const (
		rates   = 6 * time.Minute // until a rate of 5 minutes is whole
		silence = 4 * time.Minute // until a handshake that nobody answers is given up
		leaked  = 10 * time.Minute
	)
	return []fault{
		{"KeepscopeEffectivenessLow", rates, at(portMixed, portHurries, portCounts, portCloses, portCurl, portH2load, portSlow, portLeaks)},
		{"KeepscopeEstimatedEffectivenessLow", rates, at(portTLS)},
		{"KeepscopeWastedHandshakes", rates, at(portSlow)},
		{"KeepscopeRequestsFail", 0, at(portAborts)},
		{"KeepscopeHandshakesFail", 0, at(portDead)},
		{"KeepscopeHandshakesFail", silence, []string{silentHost + ":80"}},
		{"KeepscopeRaceRisk", time.Minute, at(portHurries)},
		{"KeepscopeRaces", 0, at(portHurries)},
		{"KeepscopePathForgets", 0, at(portForgets)},
		{"KeepscopePortsRunOut", leaked, at(portLeaks)},
		{"KeepscopeTooSticky", 2 * time.Minute, at(portSticky)},
		{"KeepscopeCaptureDropping", rates, []string{atLosing}},
		{"KeepscopeDown", time.Minute, []string{atLosing}},
	}
}

// holdAlerts compares the alerts that fired with the faults: none may fire for
// anything else. Of those that wait for longer than the traffic took, it tells no more.
func holdAlerts(t *testing.T, session *dashboardstest.Session, l *lab.Lab, duration time.Duration) {
	fired, pending := states(t, session, "firing"), states(t, session, "pending")
	for _, rule := range dashboards.AlertingRules(dashboards.Config{})[0].Rules {
		faulty := map[string]bool{} // whether there was the time to fire
		for _, f := range faults(l) {
			for _, name := range f.of {
				if f.alert == rule.Alert {
					faulty[name] = duration > f.after+waits(t, rule)
				}
			}
		}
		if len(faulty) == 0 {
			t.Errorf("%s: nothing here has it fire", rule.Alert)
		}
		all := maps.Clone(faulty)
		maps.Copy(all, fired[rule.Alert])
		maps.Copy(all, pending[rule.Alert])
		for _, name := range slices.Sorted(maps.Keys(all)) {
			due, bad := faulty[name]
			state := "silent"
			switch {
			case fired[rule.Alert][name]:
				state = "fired"
			case pending[rule.Alert][name]:
				state = "pending"
			}
			t.Logf("%-34s %-16s fault: %-5v  long enough: %-5v  %s", rule.Alert, name, bad, due, state)
			if due && state != "fired" || !bad && state == "fired" {
				t.Errorf("%s of %s: %s", rule.Alert, name, state)
			}
		}
	}
}

// waits is for how long a rule wants its fault to last.
func waits(t *testing.T, rule dashboards.Rule) (wait time.Duration) {
	if rule.For == "" {
		return 0
	}
	wait, err := time.ParseDuration(rule.For)
	if err != nil {
		t.Fatal(err)
	}
	if rule.Alert == "KeepscopeDown" {
		wait *= 3 // the sidecar is ended for the last third
	}
	return wait
}

// states returns the servers and sidecars for which each alert was in a state at
// any time.
func states(t *testing.T, session *dashboardstest.Session, state string) map[string]map[string]bool {
	series, err := session.Ask(t.Context(), fmt.Sprintf("count by (alertname, server, instance) (count_over_time(ALERTS{alertstate=%q}[%ds]))", state, int(session.Range.Seconds())), session.End)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]bool{}
	for _, s := range series {
		name := s.Labels["server"]
		if name == "" {
			name = s.Labels["instance"]
		}
		alert := s.Labels["alertname"]
		if found[alert] == nil {
			found[alert] = map[string]bool{}
		}
		found[alert][name] = true
	}
	return found
}
