package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keepscope/keepscope/"

// TestDependencies holds the direction of imports, and that the stages on a
// packet's way stay pure.
func TestDependencies(t *testing.T) {
	pure := []string{"net/http", "log", "log/slog", "github.com/prometheus/", "google.golang.org/", "os/exec"}
	noCgo := append([]string{"runtime/cgo"}, pure...)
	for _, c := range []struct {
		pkg   string
		ours  []string // packages of this module that it may reach
		never []string
	}{
		{"sniffer", nil, noCgo},
		{"sniffer/printable", nil, noCgo},
		{"sniffer/capfile", []string{"sniffer"}, []string{"runtime/cgo", "net/http", "log/slog"}}, // zstd's package has a logger
		{"sniffer/pcap", []string{"sniffer"}, pure},
		{"sniffer/privileges", nil, pure},
		{"sniffer/live", []string{"sniffer"}, []string{"net/http", "github.com/prometheus/"}}, // it logs
		{"reassembly", []string{"sniffer"}, noCgo},
		{"analyzer/http", nil, noCgo},
		{"analyzer/http1", []string{"analyzer/http"}, noCgo},
		{"analyzer/fact", []string{"analyzer/http", "analyzer/software", "sniffer"}, noCgo},
		{"analyzer/tls", []string{"analyzer/http", "analyzer/tls"}, noCgo},
		{"analyzer/http2", []string{"analyzer/http"}, noCgo},
		{"analyzer/software", nil, noCgo},
		{"analyzer/dns", nil, noCgo},
		{"analyzer/pool", nil, noCgo},
		{"analyzer", []string{"sniffer", "reassembly", "analyzer/"}, noCgo},
		{"analyzer/run", []string{"sniffer", "reassembly", "analyzer"}, noCgo},
		{"exporter", []string{"sniffer", "reassembly", "analyzer", "exporter"}, nil},
		{"exporter/naming", []string{"sniffer"}, pure},
		{"exporter/prose", nil, pure},
		{"exporter/tally", []string{"sniffer", "analyzer/fact", "analyzer/http", "analyzer/software", "exporter/naming", "exporter/clients"}, pure},
		{"exporter/events", []string{"sniffer", "analyzer/fact", "analyzer/http", "analyzer/software", "exporter/naming", "exporter/communityid"}, pure},
		{"exporter/events/columnar", []string{"sniffer", "analyzer/fact", "analyzer/http", "analyzer/software", "exporter/naming", "exporter/events", "exporter/communityid"}, []string{"github.com/prometheus/"}}, // parquet-go reaches net/http
		{"exporter/recordlog", []string{"sniffer", "analyzer/fact", "analyzer/http", "analyzer/software", "exporter/naming", "exporter/events", "exporter/communityid", "exporter/wholefile"}, []string{"github.com/prometheus/"}},
		{"exporter/endpoint", []string{"sniffer", "reassembly", "analyzer", "exporter"}, nil},
		{"exporter/otlp", []string{"sniffer", "reassembly", "analyzer", "exporter"}, nil},
		{"exporter/wholefile", nil, pure},
		{"exporter/report", []string{"sniffer", "reassembly", "analyzer", "exporter"}, []string{"net/http", "github.com/prometheus/"}},
		{"exporter/communityid", []string{"sniffer"}, noCgo},
		{"exporter/story", []string{"sniffer", "analyzer/", "exporter/communityid", "exporter/naming", "exporter/prose"}, []string{"net/http", "log", "github.com/prometheus/"}},
		{"dashboards", []string{"sniffer", "reassembly", "analyzer", "exporter"}, nil},
	} {
		t.Run(c.pkg, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", module+c.pkg)
			cmd.Env = append(cmd.Environ(), "CGO_ENABLED=1")
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, dep := range strings.Fields(string(out)) {
				checkDependency(t, c.pkg, dep, c.ours, c.never)
			}
		})
	}
}

func checkDependency(t *testing.T, pkg, dep string, ours, never []string) {
	t.Helper()
	if own, ok := strings.CutPrefix(dep, module); ok {
		if own != pkg && !slices.ContainsFunc(ours, func(allowed string) bool {
			return own == strings.TrimSuffix(allowed, "/") || strings.HasPrefix(own, strings.TrimSuffix(allowed, "/")+"/")
		}) {
			t.Errorf("%s reaches %s", pkg, own)
		}
		return
	}
	for _, n := range never {
		if dep == n || strings.HasSuffix(n, "/") && strings.HasPrefix(dep, n) {
			t.Errorf("%s reaches %s", pkg, dep)
		}
	}
}

// TestContributingNamesPackages looks for each package in CONTRIBUTING.md's map.
func TestContributingNamesPackages(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		if name := strings.TrimPrefix(pkg, module); !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", name)
		}
	}
}
