package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// told runs the program and returns what it wrote.
func told(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, console{out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestHelp(t *testing.T) {
	_, all, _ := told(t, "--help")
	_, ofRun, _ := told(t, "run", "--help")
	tests := []struct {
		name      string
		args      []string
		code      int
		out, errs string // how they begin
	}{
		{"alone", nil, exitUsage, "", all},
		{"help", []string{"help"}, exitDone, all, ""},
		{"help of a command", []string{"help", "run"}, exitDone, ofRun, ""},
		{"help of a command's command", []string{"help", "config", "check"}, exitDone, "Usage: keepscope config check <file>", ""},
		{"help of none", []string{"help", "nope"}, exitUsage, "", "keepscope: unexpected argument nope"},
		{"version", []string{"--version"}, exitDone, "keepscope ", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := told(t, tt.args...)
			if code != tt.code || !strings.HasPrefix(out, tt.out) || !strings.HasPrefix(errs, tt.errs) || (out == "") != (tt.out == "") || (errs == "") != (tt.errs == "") {
				t.Errorf("exit status %d: %s%s", code, out, errs)
			}
		})
	}
}

// TestHelpTellsDefaults looks for the default of each flag that has one, and for
// its group.
func TestHelpTellsDefaults(t *testing.T) {
	app, err := commandLine(t.Context(), console{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range app.Leaves(true) {
		_, text, _ := told(t, append(strings.Fields(pathOf(n)), "--help")...)
		text = strings.Join(strings.Fields(text), " ")
		for _, f := range n.Flags {
			if f.HasDefault && !f.IsBool() && !strings.Contains(text, "--"+f.Name+"="+f.FormatPlaceHolder()) {
				t.Errorf("%s: no --%s=%s", n.Name, f.Name, f.FormatPlaceHolder())
			}
			if f.HasDefault && !f.IsBool() && f.PlaceHolder != "" && !strings.Contains(text, "Default: "+f.Default+".") {
				t.Errorf("%s: the default of --%s is not told", n.Name, f.Name)
			}
			if len(n.Flags) > 10 && f.Group == nil && !slices.Contains([]string{"config", "linger"}, f.Name) {
				t.Errorf("%s: --%s is in no group", n.Name, f.Name)
			}
		}
	}
}

func TestWordsForValues(t *testing.T) {
	for args, want := range map[string]string{
		"watch --duration=-5s":    "--duration=-5s: it takes a time above 0",
		"watch --duration -5s":    "--duration=-5s: it takes a time above 0",
		"watch --duration 0s":     "--duration=0s: it takes a time above 0",
		"watch --duration 10":     `--duration: "10" is no time: write 10s`,
		"watch --duration":        "--duration",
		"watch --requests -1":     `--requests: "-1" is no whole number from 0 on`,
		"watch --ports http":      `--ports: "http" is no port`,
		"watch --ports 80,0":      `--ports: "0" is no port`,
		"watch --ports 65536":     `--ports: "65536" is no port`,
		"run --max-servers many":  `--max-servers: "many" is no whole number`,
		"run --listen":            "--listen: it takes a value\nRun 'keepscope run --help' for its flags.\n",
		"run --listen --pprof":    "--listen: it takes a value",
		"config check":            "expected \"<file>\"\nRun 'keepscope config check --help' for its flags.\n",
		"--nosuch read":           "unknown flag --nosuch\nRun 'keepscope --help' for the commands and their flags.\n",
		"run --workers --pprof":   "--workers: it takes a value",
		"run --memory-limit=1KiB": "--memory-limit=1KiB: it takes at least 112MiB",
		"run --health-listen=no":  "--health-listen=no: it takes an address and a port",
	} {
		if code, _, errs := told(t, strings.Fields(args)...); code != exitUsage || !strings.HasPrefix(errs, "keepscope: "+want) {
			t.Errorf("%s: exit status %d: %s", args, code, errs)
		}
	}
}

// TestCompletion has shells read their scripts, and bash complete by it.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			code, script, errs := told(t, "completion", shell)
			if code != exitDone {
				t.Fatal(errs)
			}
			for _, want := range []string{"watch", "health-listen", "ndjson", "no-decode-tunnels"} {
				if !strings.Contains(script, want) {
					t.Errorf("it does not know %s", want)
				}
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not here to read it", shell)
			}
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	_, script, _ := told(t, "completion", "bash")
	for line, want := range map[string]string{
		"keepscope wat":                 "watch",
		"keepscope --log-level debug r": "read run",
		"keepscope config ":             "check",
		"keepscope completion z":        "zsh",
		"keepscope read --out":          "--output",
		"keepscope read --output n":     "ndjson",
		"keepscope run --health":        "--health-listen",
		"keepscope run --no-n":          "--no-native-histograms",
	} {
		words := strings.Fields(line)
		if strings.HasSuffix(line, " ") {
			words = append(words, "")
		}
		cmd := exec.Command("bash", append([]string{"-c", script + "\nCOMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)); _keepscope; echo \"${COMPREPLY[*]}\"", "bash"}, words...)...)
		out, err := cmd.Output()
		got := strings.Fields(string(out))
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
}

// TestManual has troff read the manual page.
func TestManual(t *testing.T) {
	code, page, errs := told(t, "man")
	if code != exitDone {
		t.Fatal(errs)
	}
	app, err := commandLine(t.Context(), console{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range allFlags(app) {
		if !strings.Contains(page, roff("--"+f.Name)) {
			t.Errorf("it does not tell of --%s", f.Name)
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not here to read it")
	}
	cmd := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestChartKnowsVariables compares the variables that the chart's schema takes
// with the flags of 'keepscope run'; -update renews the schema.
func TestChartKnowsVariables(t *testing.T) {
	const path = "../../deploy/helm/keepscope/values.schema.json"
	app, err := commandLine(t.Context(), console{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	run := app.Children[slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == "run" })]
	for _, f := range flagsOf(run) {
		for _, env := range f.Envs {
			names = append(names, strings.TrimPrefix(env, envPrefix))
		}
	}
	slices.Sort(names)
	want := `^(KEEPSCOPE_(` + strings.Join(names, "|") + `)|OTEL_[A-Z0-9_]+|GO[A-Z]+)$`
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		text = regexp.MustCompile(`"\^\(KEEPSCOPE_.*\$"`).ReplaceAllLiteral(text, []byte(`"`+want+`"`))
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var schema struct {
		Properties struct {
			Env struct {
				PatternProperties map[string]any
			}
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	if _, ok := schema.Properties.Env.PatternProperties[want]; !ok {
		t.Errorf("values.schema.json has %v, want %s: go test ./cmd/keepscope -run ChartKnows -update", schema.Properties.Env.PatternProperties, want)
	}
}
