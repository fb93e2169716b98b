package dashboards

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/exporter"
)

// A parsed is what promqlcheck says of an expression.
type parsed struct {
	Error     string
	Type      string
	Selectors []struct {
		Metric string
		Labels []string
		Range  bool
	}
	Labels []string
	Made   []string
}

// A namedQuery is an expression and where it is from.
type namedQuery struct{ name, expr string }

// TestPromQL has Prometheus' parser read every expression, and holds the
// metrics and labels against what exists.
func TestPromQL(t *testing.T) {
	queries := slices.Concat(panelQueries(t), ruleQueries(), annotationQueries(t), variableQueries(t))
	var exprs []string
	for _, q := range queries {
		exprs = append(exprs, q.expr)
	}
	known := declared()
	for i, p := range parse(t, exprs) {
		if p.Error != "" {
			t.Errorf("%s: %s\n%s", queries[i].name, p.Error, queries[i].expr)
			continue
		}
		for _, problem := range p.problems(known) {
			t.Errorf("%s: %s\n%s", queries[i].name, problem, queries[i].expr)
		}
	}
}

// TestPromQLFinds proves that the check sees what it looks for.
func TestPromQLFinds(t *testing.T) {
	tests := []struct{ name, expr, want string }{
		{"no such metric", "sum(keepscope_handshakes_total)", "keepscope_handshakes_total"},
		{"no such label", `keepscope_requests_total{method="GET"}`, "method"},
		{"label of another metric", `keepscope_requests_total{cause="pool_miss"}`, "cause"},
		{"no such grouping", "sum by (cause) (keepscope_requests_total)", "cause"},
		{"bucket of a counter", "keepscope_requests_total_bucket", "keepscope_requests_total_bucket"},
		{"counter without a rate", "sum(keepscope_requests_total)", "without a rate"},
	}
	known := declared()
	var exprs []string
	for _, tt := range tests {
		exprs = append(exprs, tt.expr)
	}
	results := parse(t, exprs)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := results[i].problems(known)
			if !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, tt.want) }) {
				t.Errorf("no problem says %q: %q", tt.want, got)
			}
		})
	}
}

// A family is the labels of a metric, and whether it only ever grows.
type family struct {
	labels  []string
	grows   bool
	targets bool // it has the labels of the target, as scraped
}

// declared returns every series name that may be asked for.
func declared() map[string]family {
	all := map[string]family{}
	for _, m := range exporter.Metrics {
		labels := m.AllLabels()
		if m.Kind != exporter.Histogram {
			all[m.Name] = family{labels, m.Kind == exporter.Counter, true}
			continue
		}
		all[m.Name] = family{labels, true, true} // native
		all[m.Name+"_sum"] = family{labels, true, true}
		all[m.Name+"_count"] = family{labels, true, true}
		all[m.Name+"_bucket"] = family{append(slices.Clone(labels), labelLe), true, true}
	}
	for _, name := range ForeignMetrics {
		all[name] = family{nil, name == metricCPU, true}
	}
	for _, g := range RecordingRules(Config{}) {
		for _, r := range g.Rules {
			level, _, _ := strings.Cut(r.Record, ":")
			labels := map[string][]string{
				"server": serverLevel, "server_why": whyLevel, "job": jobLevel, "instance": hostLevel,
				"instance_server": append(slices.Clone(hostLevel), exporter.LabelDirection, exporter.LabelServer),
			}[level]
			all[r.Record] = family{labels: labels}
		}
	}
	return all
}

// problems returns what an expression uses and does not exist.
func (p parsed) problems(known map[string]family) (problems []string) {
	usable := slices.Clone(p.Made)
	for _, s := range p.Selectors {
		f, ok := known[s.Metric]
		if !ok {
			problems = append(problems, "no such metric: "+s.Metric)
			continue
		}
		labels := slices.Clone(f.labels)
		if f.targets {
			labels = append(labels, TargetLabels...)
		}
		for _, l := range s.Labels {
			if !slices.Contains(labels, l) {
				problems = append(problems, s.Metric+" has no label "+l)
			}
		}
		if f.grows && !s.Range {
			problems = append(problems, s.Metric+" is used without a rate")
		}
		usable = append(usable, labels...)
	}
	for _, l := range p.Labels {
		if !slices.Contains(usable, l) {
			problems = append(problems, "no metric here has a label "+l)
		}
	}
	return problems
}

// substitute puts in what Grafana would. "All" is .*.
func substitute(expr string) string {
	return strings.NewReplacer(
		"$__rate_interval", "5m", "$__range", "1h", "$__interval", "1m",
		"$cluster", ".*", "$namespace", ".*", "$pod", ".*", "$job", ".*",
		"$direction", "outbound|loopback", "$server", `shop\\.example:8080`,
	).Replace(expr)
}

func panelQueries(t *testing.T) (all []namedQuery) {
	for _, p := range allPanels(t) {
		for _, q := range p.queries() {
			all = append(all, namedQuery{p.board + ", " + p.title + ", " + *q.RefId, substitute(q.Expr)})
		}
	}
	return all
}

func ruleQueries() (all []namedQuery) {
	for _, g := range slices.Concat(RecordingRules(Config{}), AlertingRules(Config{})) {
		for _, r := range g.Rules {
			all = append(all, namedQuery{r.Record + r.Alert, r.Expr})
		}
	}
	return all
}

func annotationQueries(t *testing.T) (all []namedQuery) {
	eachDashboardFile(t, func(t *testing.T, content []byte) {
		list := decoded(t, content)["annotations"].(map[string]any)["list"].([]any)
		for _, a := range list {
			target := a.(map[string]any)["target"].(map[string]any)
			if expr, ok := target["expr"].(string); ok {
				all = append(all, namedQuery{"annotation", substitute(expr)})
			}
		}
	})
	return all
}

// variableQueries returns the selectors in label_values(selector, label).
func variableQueries(t *testing.T) (all []namedQuery) {
	boards, err := Dashboards(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range boards {
		for _, v := range d.Templating.List {
			if v.Definition == nil {
				continue
			}
			inner := strings.TrimSuffix(strings.TrimPrefix(*v.Definition, "label_values("), ")")
			cut := strings.LastIndex(inner, ", ")
			all = append(all, namedQuery{"variable " + v.Name,
				"sum by (" + inner[cut+2:] + ") (last_over_time(" + substitute(inner[:cut]) + "[5m]))"})
		}
	}
	return all
}

// parse runs the parser, which is a module of its own.
func parse(t *testing.T, exprs []string) []parsed {
	t.Helper()
	input, err := json.Marshal(exprs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(checker(t))
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("promqlcheck: %v", err)
	}
	var results []parsed
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != len(exprs) {
		t.Fatalf("%d results for %d expressions", len(results), len(exprs))
	}
	return results
}

// checker builds promqlcheck.
func checker(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "promqlcheck")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = "promqlcheck"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building promqlcheck: %v\n%s", err, out)
	}
	return bin
}
