package dashboards

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRules has promtool check the rules and run testdata/rules.yaml.
func TestRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	for _, args := range [][]string{
		{"check", "rules", "generated/keepscope-recording-rules.yaml", "generated/keepscope-alerting-rules.yaml"},
		{"test", "rules", "testdata/rules.yaml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestRulesTested holds that each alert is tested firing, and each recorded
// series used: by an alert, another rule, or a test.
func TestRulesTested(t *testing.T) {
	tests, err := os.ReadFile("testdata/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	used := string(tests)
	for _, r := range AlertingRules(Config{})[0].Rules {
		if !strings.Contains(string(tests), "{alertname: "+r.Alert+", eval_time:") {
			t.Errorf("nothing tests that %s does not fire for healthy servers", r.Alert)
		}
		fires := false
		for _, test := range strings.Split(string(tests), "- alertname: ")[1:] {
			name, rest, _ := strings.Cut(test, "\n")
			fires = fires || name == r.Alert && strings.Contains(rest, "exp_alerts:")
		}
		if !fires {
			t.Errorf("nothing tests that %s fires", r.Alert)
		}
		used += r.Expr
	}
	for _, g := range RecordingRules(Config{}) {
		for _, r := range g.Rules {
			used += r.Expr
		}
	}
	for _, g := range RecordingRules(Config{}) {
		for _, r := range g.Rules {
			if !strings.Contains(used, r.Record) {
				t.Errorf("%s is neither used nor tested", r.Record)
			}
		}
	}
}
