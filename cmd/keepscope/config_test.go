package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeConfig(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keepscope.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCheck(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // in the error; empty where the file is fine
	}{
		{"empty", "", ""},
		{"only comments", "# nothing\n---\n", ""},
		{"everything", "interface: [eth0, lo]\nlisten: :9737\nports: [80, 8080]\ndecode-tunnels: false\nmax-memory: 64MiB\n" +
			"reuse-window: 30s\nlocal-address: [10.0.0.0/8]\nlog-level: debug\nlog-format: json\nnative-histograms: no\nfilter: 'tcp port 80 or (port 81 and not net 10.0.0.0/8)'\n", ""},
		{"unknown key", "listen: :1\nlisten_on: :2\n", `keepscope.yaml:2: unknown key "listen_on"`},
		{"unknown keys, all of them", "zzz: 1\nyyy: 1\n", "keepscope.yaml:1: unknown key \"zzz\"\nkeepscope.yaml:2: unknown key \"yyy\""},
		{"nearly right", "\n\nmax_server: 3\n", `keepscope.yaml:3: unknown key "max_server" (did you mean "max-servers"?)`},
		{"wrong type", "max-servers: many\n", "keepscope: keepscope.yaml:1: --max-servers: \"many\" is no whole number\n"},
		{"all at once, each once", "max-servers: many\nreuse-window: 10\nnope: 1\nworkers: 0\nports: [http]\nlisten:\nlog-level: loud\n",
			"keepscope: keepscope.yaml:1: --max-servers: \"many\" is no whole number\n" +
				"keepscope.yaml:2: --reuse-window: \"10\" is no time: write 10s, 5m or 1h30m, say\n" +
				"keepscope.yaml:3: unknown key \"nope\"\n" +
				"keepscope.yaml:4: --workers=0: it takes 1 to 256\n" +
				"keepscope.yaml:5: --ports: \"http\" is no port: write a number from 1 to 65535\n" +
				"keepscope.yaml:6: listen: no value\nkeepscope.yaml:7: --log-level: "},
		{"wrong word", "workers: 1\nlog-format: xml\n", `keepscope.yaml:2: --log-format: it takes one of text,json, not "xml"`},
		{"out of range", "\nmax-servers: 0\n", "keepscope.yaml:2: --max-servers=0: it takes 1 to 10000"},
		{"out of range, all of them", "workers: 0\nlog-keep: -1\nsnaplen: 10\nbuffer-size: 0\n", "keepscope: keepscope.yaml:1: --workers=0: it takes 1 to 256\n" +
			"keepscope.yaml:2: --log-keep=-1: it takes 0 to 1000\nkeepscope.yaml:3: --snaplen=10: it takes 64 to 262144\nkeepscope.yaml:4: --buffer-size=0: it takes 1 to 2147483647\n"},
		{"no histograms", "native-histograms: no\nclassic-histograms: no\n", "keepscope.yaml:1: --no-native-histograms and --no-classic-histograms leave none"},
		{"no address", "listen: not-an-address\n", "keepscope.yaml:1: --listen=not-an-address: it takes an address and a port, as 127.0.0.1:9737"},
		{"no port", "listen: localhost:none\n", "keepscope.yaml:1: --listen=localhost:none: it takes an address and a port"},
		{"no filter", "workers: 1\nfilter: prot 80\n", `keepscope.yaml:2: filter "prot 80": `},
		{"no web configuration", "web-config-file: /nonexistent\n", "keepscope.yaml:1: --web-config-file: open /nonexistent: no such file or directory"},
		{"no user", "user: no such user\n", "keepscope.yaml:1: --user: user: unknown user no such user"},
		{"no number of a user", "user: '-1:0'\n", "keepscope.yaml:1: --user: "},
		{"no URL", "otlp-endpoint: collector:4318\n", "keepscope.yaml:1: --otlp-endpoint=collector:4318: it takes a URL"},
		{"twice", "workers: 1\nworkers: 2\n", "keepscope.yaml:2"},
		{"no value", "listen:\n", "keepscope.yaml:1: listen: no value"},
		{"a mapping as value", "listen:\n  port: 1\n", "listen: no value"},
		{"a list of lists", "ports: [[1]]\n", "a list takes single values"},
		{"a list at the top", "- listen\n", "keepscope.yaml:1: it takes lines such as"},
		{"no YAML", "listen: [\n", "keepscope.yaml"},
		{"two documents", "listen: a\n---\nlisten: b\n", "more than one document"},
		{"itself", "config: other.yaml\n", `unknown key "config"`},
		{"help", "help: true\n", `unknown key "help"`},
		{"large", "# " + strings.Repeat("x", maxConfig), "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeConfig(t, tt.text)
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"config", "check", path}, console{out: &out, err: &errs})
			said := strings.ReplaceAll(errs.String(), filepath.Dir(path)+"/", "")
			if tt.want == "" {
				if code != exitDone || !strings.Contains(out.String(), "is fine") {
					t.Errorf("exit status %d: %s", code, said)
				}
				return
			}
			if code != exitFailed || !strings.Contains(said, tt.want) {
				t.Errorf("exit status %d: %s, want %s", code, said, tt.want)
			}
		})
	}
}

// TestConfigCheckEnvironment has the environment, which takes precedence, give a
// wrong value: no line of the file is to blame.
func TestConfigCheckEnvironment(t *testing.T) {
	path := writeConfig(t, "workers: 1\n")
	t.Setenv("KEEPSCOPE_WORKERS", "0")
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"config", "check", path}, console{out: &out, err: &errs})
	if want := "keepscope: --workers=0: it takes 1 to 256\n"; code != exitFailed || errs.String() != want {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
}

// TestConfigPrecedence checks that a flag wins over the environment, and that
// over the file.
func TestConfigPrecedence(t *testing.T) {
	path := writeConfig(t, "listen: file:1\nmax-servers: 7\nreuse-window: 5s\ninterface: [a, b]\nnative-histograms: false\n")
	t.Setenv("KEEPSCOPE_CONFIG", path)
	t.Setenv("KEEPSCOPE_MAX_SERVERS", "8")
	t.Setenv("KEEPSCOPE_LISTEN", "env:1")
	var c cli
	parser, err := c.parser(t.Context(), console{out: new(bytes.Buffer), err: new(bytes.Buffer)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"run", "--listen=flag:1"}); err != nil {
		t.Fatal(err)
	}
	r := &c.Run
	if r.Listen != "flag:1" || r.MaxServers != 8 || r.ReuseWindow != 5*time.Second ||
		!slices.Equal(r.Interface, []string{"a", "b"}) || r.NativeHistograms || !r.ClassicHistograms {
		t.Errorf("%+v", r)
	}
}

// TestConfigCheckVariables has variables that are misspelt, another's, or what
// Kubernetes sets for a Service of this name.
func TestConfigCheckVariables(t *testing.T) {
	path := writeConfig(t, "workers: 1\n")
	for _, tt := range []struct{ name, value, said string }{
		{"KEEPSCOPE_MAX_SERVER", "5", "keepscope: the environment has KEEPSCOPE_MAX_SERVER, for which there is no flag (did you mean KEEPSCOPE_MAX_SERVERS?)\n"},
		{"KEEPSCOPE_LISTN", ":1", "keepscope: the environment has KEEPSCOPE_LISTN, for which there is no flag (did you mean KEEPSCOPE_LISTEN?)\n"},
		{"KEEPSCOPE_PORT", "80", "keepscope: the environment has KEEPSCOPE_PORT, for which there is no flag (did you mean KEEPSCOPE_PORTS?)\n"},
		{"KEEPSCOPE_NOTHING_LIKE_IT", "", "keepscope: the environment has KEEPSCOPE_NOTHING_LIKE_IT, for which there is no flag\n"},
		{"KEEPSCOPE_PORT", "tcp://10.0.0.1:9737", ""},
		{"KEEPSCOPE_SERVICE_HOST", "10.0.0.1", ""},
		{"KEEPSCOPE_METRICS_SERVICE_PORT_HTTP", "9737", ""},
		{"KEEPSCOPE_PORT_9737_TCP_ADDR", "10.0.0.1", ""},
		{"KEEPSCOPE_MAX_SERVERS", "5", ""},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv(tt.name, tt.value)
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"config", "check", path}, console{out: &out, err: &errs})
			if errs.String() != tt.said || (code == exitDone) != (tt.said == "") {
				t.Errorf("check: exit status %d: %s", code, errs.String())
			}
			if tt.said == "" {
				return
			}
			errs.Reset()
			if code := run(t.Context(), []string{"run", "--listen=none"}, console{out: &out, err: &errs}); code != exitUsage || errs.String() != tt.said {
				t.Errorf("run: exit status %d: %s", code, errs.String())
			}
		})
	}
}

func TestRunUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--max-servers=0"}, {"--workers=0"}, {"--log-keep=-1"}, {"--log-max-size=0"}, {"--otlp-interval=1ms"}, {"--linger=-1s"},
		{"--listen=not-an-address"}, {"--filter=prot 80"}, {"--user=no such user"}, {"--snaplen=1"},
		{"--max-memory=1"}, {"--max-memory=1023KiB"}, {"--max-memory=3MiB", "--workers=4"}, {"--buffer-size=4GiB"},
		{"--no-native-histograms", "--no-classic-histograms"}, {"--config=/no/such/file"}, {"--local-address=x"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"run"}, args...), console{out: &out, err: &errs}); code != exitUsage {
			t.Errorf("%v: exit status %d: %s", args, code, errs.String())
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"listen: a\n", "a: [b, c]\n", "&a b: *a\n", "a: {b: c}\n", "? [a]\n: b\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig("f", text)
		if err == nil && c == nil {
			t.Error("neither a configuration nor an error")
		}
	})
}
