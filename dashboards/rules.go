package dashboards

import (
	"bytes"

	"github.com/keepscope/keepscope/exporter"
	"go.yaml.in/yaml/v3"
)

// A Group is a group of Prometheus rules, in the form of its rule files.
type Group struct {
	Name  string `yaml:"name"`
	Rules []Rule `yaml:"rules"`
}

// A Rule is a recording rule, where Record is set, or an alerting rule.
type Rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// encodeRules returns the groups as a rule file.
func encodeRules(groups []Group) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by keepscope dashboards. Alerts are explained in dashboards/runbook.md.\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(map[string]any{"groups": groups}); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// The levels at which rules add up. Pods and instances are summed away, but
// for what is one host's own affair.
var (
	serverLevel = []string{labelCluster, labelNamespace, labelJob, exporter.LabelDirection, exporter.LabelServer}
	jobLevel    = []string{labelCluster, labelNamespace, labelJob, exporter.LabelDirection}
	hostLevel   = []string{labelCluster, labelNamespace, labelJob, labelPod, labelInstance}
)

// ruleWindow is what recorded rates look back.
const ruleWindow = "5m"

// The names of recorded series, by the convention level:metric:operation.
const (
	recordRequests      = "server:keepscope_requests:rate5m"
	recordReused        = "server:keepscope_reused_requests:rate5m"
	recordWasted        = "server:keepscope_wasted_handshakes:rate5m"
	recordNeeded        = "server:keepscope_needed_handshakes:rate5m"
	recordSeconds       = "server:keepscope_wasted_handshake_seconds:rate5m"
	recordEffectiveness = "server:keepscope_effectiveness:ratio_rate5m"
	recordWaste         = "server:keepscope_waste:ratio_rate5m"
	recordCost          = "server:keepscope_wasted_seconds_per_request:ratio_rate5m"

	recordJobReused        = "job:keepscope_reused_requests:rate5m"
	recordJobWasted        = "job:keepscope_wasted_handshakes:rate5m"
	recordJobSeconds       = "job:keepscope_wasted_handshake_seconds:rate5m"
	recordJobEffectiveness = "job:keepscope_effectiveness:ratio_rate5m"

	recordPorts = "instance_server:keepscope_local_ports_in_use:ratio_rate5m"
	recordLost  = "instance:keepscope_packets_lost:ratio_rate5m"
)

// RecordingRules returns the rules that compute what is not exported because
// ratios of sums can't be summed: effectiveness, the share of handshakes that
// were wasted, and their cost. Each is computed from sums over all pods.
func RecordingRules(Config) []Group {
	rate := func(labels []string, metric string, matchers ...string) string {
		return sum(labels, noScope.rate(ruleWindow, metric, matchers...))
	}
	of := func(part, other string) string { return ratio(part, "("+part+" + "+other+")") }
	return []Group{
		{Name: "keepscope-servers", Rules: []Rule{
			{Record: recordRequests, Expr: rate(serverLevel, exporter.Requests)},
			{Record: recordReused, Expr: rate(serverLevel, exporter.Requests, is(exporter.LabelReused, "true"))},
			{Record: recordWasted, Expr: rate(serverLevel, exporter.WastedHandshakes)},
			{Record: recordNeeded, Expr: rate(serverLevel, exporter.NeededHandshakes)},
			{Record: recordSeconds, Expr: rate(serverLevel, exporter.WastedSeconds)},
			{Record: recordEffectiveness, Expr: of(recordReused, recordWasted)},
			{Record: recordWaste, Expr: of(recordWasted, recordNeeded)},
			{Record: recordCost, Expr: ratio(recordSeconds, recordRequests)},
		}},
		{Name: "keepscope-jobs", Rules: []Rule{
			{Record: recordJobReused, Expr: rate(jobLevel, exporter.Requests, is(exporter.LabelReused, "true"))},
			{Record: recordJobWasted, Expr: rate(jobLevel, exporter.WastedHandshakes)},
			{Record: recordJobSeconds, Expr: rate(jobLevel, exporter.WastedSeconds)},
			{Record: recordJobEffectiveness, Expr: of(recordJobReused, recordJobWasted)},
		}},
		{Name: "keepscope-hosts", Rules: []Rule{
			{Record: recordPorts, Expr: scope{isNot(exporter.LabelServer, exporter.Other)}.portsInUse(ruleWindow,
				append(append([]string{}, hostLevel...), exporter.LabelDirection, exporter.LabelServer))},
			{Record: recordLost, Expr: noScope.lost(ruleWindow, hostLevel)},
		}},
	}
}
