package dashboards

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/exporter"
)

// A said is a text that people read, or a query, and where it is from.
type said struct{ where, text string }

// everythingSaid returns what is shipped, and the two documents beside it.
func everythingSaid(t *testing.T) (all []said) {
	files, err := Files(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text := string(f.Content)
		if strings.HasSuffix(f.Name, ".json") {
			text = strings.Join(stringsIn(decoded(t, f.Content)), "\n")
		}
		all = append(all, said{f.Name, text})
	}
	for _, name := range []string{"README.md", "runbook.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, said{name, string(text)})
	}
	return all
}

// stringsIn returns the strings in JSON, keys included.
func stringsIn(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			all = append(all, stringsIn(one)...)
		}
	case map[string]any:
		for k, one := range v {
			all = append(append(all, k), stringsIn(one)...)
		}
	}
	return all
}

var flagNamed = regexp.MustCompile(`(^|[\s(` + "`" + `"])--([a-z][a-z0-9-]+)`)

// foreignFlags are of ip, curl and others that the runbook names.
var foreignFlags = []string{"graceful-timeout"}

// TestFlagsExist holds every flag that a dashboard, a rule or a document names
// against those of the commands.
func TestFlagsExist(t *testing.T) {
	flags := flagsOf(t)
	named := 0
	for _, s := range everythingSaid(t) {
		for _, m := range flagNamed.FindAllStringSubmatch(s.text, -1) {
			named++
			if !slices.Contains(flags, m[2]) && !slices.Contains(foreignFlags, m[2]) {
				t.Errorf("%s names --%s, which no command has", s.where, m[2])
			}
		}
	}
	if named < 5 {
		t.Errorf("only %d flags found", named)
	}
}

// flagsOf asks the program.
func flagsOf(t *testing.T) (flags []string) {
	bin := filepath.Join(t.TempDir(), "keepscope")
	if out, err := exec.Command("go", "build", "-pgo=off", "-o", bin, "../cmd/keepscope").CombinedOutput(); err != nil {
		t.Fatalf("building keepscope: %v\n%s", err, out)
	}
	for _, command := range []string{"run", "read", "dashboards"} {
		help, err := exec.Command(bin, command, "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`--(?:\[no-\])?([a-z][a-z0-9-]+)`).FindAllStringSubmatch(string(help), -1) {
			flags = append(flags, m[1])
		}
	}
	return flags
}

// openValues are the values of labels that exporter.Values does not list: kind
// differs from metric to metric.
var openValues = map[string][]string{
	exporter.LabelKind:   {"tcp", "tls", "dns", "connect", "tls_full", "tls_resumed"},
	exporter.LabelResult: {"refused", "unanswered", "repeated"},
	exporter.LabelBound:  {"survived", "dropped"},
}

var matcher = regexp.MustCompile(`(\w+)(=|!=|=~|!~)"((?:[^"\\]|\\.)*)"`)

// TestValuesExist holds the values in every matcher against those that the
// label can have.
func TestValuesExist(t *testing.T) {
	held := 0
	for _, q := range slices.Concat(panelQueries(t), ruleQueries()) {
		for _, m := range matcher.FindAllStringSubmatch(q.expr, -1) {
			values := exporter.Values(m[1])
			if values == nil {
				values = openValues[m[1]]
			}
			if values == nil {
				continue // a name of somebody's
			}
			for v := range strings.SplitSeq(m[3], "|") {
				if v == ".*" {
					continue
				}
				held++
				if !slices.Contains(values, v) {
					t.Errorf("%s: %s is never %q", q.name, m[1], v)
				}
			}
		}
	}
	if held < 20 {
		t.Errorf("only %d values found", held)
	}
}

var quotedWord = regexp.MustCompile(`\b[a-z0-9]+(?:_[a-z0-9]+)+\b`)

// foreignWords are settings of other software and words of Grafana.
var foreignWords = regexp.MustCompile(`^(net|ipv4|ip_.*|tcp_tw_reuse|proxy_.*|keepalive_.*|max_connection_duration|application_name|color_.*|value_and_name|runbook_url|dashboard_url|.*_over_time|label_.*|group_.*|histogram_.*|clamp_.*|predict_linear|on_.*|rate5m|background_.*)$`)

// TestWordsExist holds words such as server_idle in texts against the values of
// labels and the names of metrics.
func TestWordsExist(t *testing.T) {
	known := append(whys(), "job", "build_info", "close_idle", "rate_interval")
	for _, label := range []string{exporter.LabelReason, exporter.LabelNegotiated, exporter.LabelHow, exporter.LabelClosedBy, exporter.LabelKeys} {
		known = append(append(known, label), exporter.Values(label)...)
	}
	for _, p := range allPanels(t) {
		for _, word := range quotedWord.FindAllString(*p.Title+" "+*p.Description+" "+*p.FieldConfig.Defaults.NoValue, -1) {
			if !slices.Contains(known, word) && !foreignWords.MatchString(word) {
				t.Errorf("%s, %s: there is no %s", p.board, p.title, word)
			}
		}
	}
	for _, r := range AlertingRules(Config{})[0].Rules {
		for _, word := range quotedWord.FindAllString(r.Annotations["summary"]+" "+templates.ReplaceAllString(r.Annotations["description"], ""), -1) {
			if !slices.Contains(known, word) {
				t.Errorf("%s: there is no %s", r.Alert, word)
			}
		}
	}
}

var templates = regexp.MustCompile(`\{\{.*?\}\}`)

// TestImports holds what Grafana 12 asks of JSON that is imported without a hand:
// no id of another Grafana's, no inputs to fill in, a uid, positions and ids of
// panels.
func TestImports(t *testing.T) {
	eachDashboardFile(t, func(t *testing.T, content []byte) {
		d := decoded(t, content)
		for _, absent := range []string{"__inputs", "__requires", "__elements"} {
			if _, ok := d[absent]; ok {
				t.Errorf("%s has to be filled in", absent)
			}
		}
		if id, ok := d["id"]; ok && id != nil {
			t.Errorf("id is %v", id)
		}
		if v, ok := d["schemaVersion"].(float64); !ok || v < 39 {
			t.Errorf("schemaVersion is %v", d["schemaVersion"])
		}
		if d["uid"] == nil || d["title"] == nil {
			t.Error("no uid or no title")
		}
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "${DS_") {
			t.Error("a data source has to be filled in")
		}
		for _, p := range d["panels"].([]any) {
			panel := p.(map[string]any)
			if panel["id"] == nil || panel["gridPos"] == nil {
				t.Errorf("%v has no id or no position", panel["title"])
			}
		}
	})
}
