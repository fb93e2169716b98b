package dashboards

import (
	"bytes"
	"slices"

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

// whyLevel tells causes apart.
var whyLevel = append(slices.Clone(serverLevel), labelWhy)

// The names of recorded series, by the convention level:metric:operation. What
// is estimated, of TLS without keys, has a twin of each that is counted; "all"
// is both.
const (
	recordRequests      = "server:keepscope_requests:rate5m"
	recordReused        = "server:keepscope_reused_requests:rate5m"
	recordWasted        = "server:keepscope_wasted_handshakes:rate5m"
	recordNeeded        = "server:keepscope_needed_handshakes:rate5m"
	recordSeconds       = "server:keepscope_wasted_handshake_seconds:rate5m"
	recordEffectiveness = "server:keepscope_effectiveness:ratio_rate5m"
	recordWaste         = "server:keepscope_waste:ratio_rate5m"

	recordEstReused        = "server:keepscope_estimated_reused_requests:rate5m"
	recordEstWasted        = "server:keepscope_estimated_wasted_handshakes:rate5m"
	recordEstSeconds       = "server:keepscope_estimated_wasted_handshake_seconds:rate5m"
	recordEstEffectiveness = "server:keepscope_estimated_effectiveness:ratio_rate5m"

	recordAllSeconds = "server:keepscope_all_wasted_handshake_seconds:rate5m"
	recordCost       = "server:keepscope_all_wasted_seconds_per_request:ratio_rate5m"

	recordWhy    = "server_why:keepscope_wasted_handshakes:rate5m"
	recordEstWhy = "server_why:keepscope_estimated_wasted_handshakes:rate5m"
	recordAllWhy = "server_why:keepscope_all_wasted_handshakes:rate5m"

	recordJobReused           = "job:keepscope_reused_requests:rate5m"
	recordJobWasted           = "job:keepscope_wasted_handshakes:rate5m"
	recordJobAllSeconds       = "job:keepscope_all_wasted_handshake_seconds:rate5m"
	recordJobEffectiveness    = "job:keepscope_effectiveness:ratio_rate5m"
	recordJobEstReused        = "job:keepscope_estimated_reused_requests:rate5m"
	recordJobEstWasted        = "job:keepscope_estimated_wasted_handshakes:rate5m"
	recordJobEstEffectiveness = "job:keepscope_estimated_effectiveness:ratio_rate5m"

	recordPorts = "instance_server:keepscope_local_ports_in_use:ratio_rate5m"
	recordLost  = "instance:keepscope_packets_lost:ratio_rate5m"
)

// RecordingRules returns the rules that compute what is not exported because
// ratios of sums can't be summed: effectiveness, the share of handshakes that
// were wasted, and their cost. Each is computed from sums over all pods. Health
// checks are left out.
func RecordingRules(Config) []Group {
	w, reused := noScope.rates(ruleWindow), is(exporter.LabelReused, "true")
	of := func(part, other string) string { return ratio(part, "("+part+" + "+other+")") }
	return []Group{
		{Name: "keepscope-servers", Rules: []Rule{
			{Record: recordRequests, Expr: sum(serverLevel, w(exporter.Requests, application))},
			{Record: recordReused, Expr: sum(serverLevel, w(exporter.Requests, application, reused))},
			{Record: recordWasted, Expr: sum(serverLevel, w(exporter.WastedHandshakes, application))},
			{Record: recordNeeded, Expr: sum(serverLevel, w(exporter.NeededHandshakes, application))},
			{Record: recordSeconds, Expr: sum(serverLevel, w(exporter.WastedSeconds, application))},
			{Record: recordEffectiveness, Expr: of(recordReused, recordWasted)},
			{Record: recordWaste, Expr: of(recordWasted, recordNeeded)},
			{Record: recordEstReused, Expr: sum(serverLevel, w(exporter.EstimatedRequests, reused))},
			{Record: recordEstWasted, Expr: sum(serverLevel, w(exporter.EstimatedWasted))},
			{Record: recordEstSeconds, Expr: sum(serverLevel, w(exporter.EstimatedSeconds))},
			{Record: recordEstEffectiveness, Expr: of(recordEstReused, recordEstWasted)},
			{Record: recordAllSeconds, Expr: sum(serverLevel, w.seconds())},
			{Record: recordCost, Expr: ratio(recordAllSeconds, sum(serverLevel, w.requests()))},
			{Record: recordWhy, Expr: sum(whyLevel, w.counted())},
			{Record: recordEstWhy, Expr: sum(whyLevel, w.guessed())},
			{Record: recordAllWhy, Expr: sum(whyLevel, either(w.counted(), w.guessed()))},
		}},
		{Name: "keepscope-jobs", Rules: []Rule{
			{Record: recordJobReused, Expr: sum(jobLevel, w(exporter.Requests, application, reused))},
			{Record: recordJobWasted, Expr: sum(jobLevel, w(exporter.WastedHandshakes, application))},
			{Record: recordJobAllSeconds, Expr: sum(jobLevel, w.seconds())},
			{Record: recordJobEffectiveness, Expr: of(recordJobReused, recordJobWasted)},
			{Record: recordJobEstReused, Expr: sum(jobLevel, w(exporter.EstimatedRequests, reused))},
			{Record: recordJobEstWasted, Expr: sum(jobLevel, w(exporter.EstimatedWasted))},
			{Record: recordJobEstEffectiveness, Expr: of(recordJobEstReused, recordJobEstWasted)},
		}},
		{Name: "keepscope-hosts", Rules: []Rule{
			{Record: recordPorts, Expr: scope{isNot(exporter.LabelServer, exporter.Other)}.portsInUse(ruleWindow,
				append(append([]string{}, hostLevel...), exporter.LabelDirection, exporter.LabelServer))},
			{Record: recordLost, Expr: noScope.lost(ruleWindow, hostLevel)},
		}},
	}
}
