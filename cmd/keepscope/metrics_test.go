package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// TestMetricsOfCases holds the metrics of every conversation case against the
// case's lines, figure by figure, and against a golden page.
func TestMetricsOfCases(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "cases", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, page := linesAndMetrics(t, path)
			want, got := figuresOfLines(t, lines), figuresOfPage(t, page)
			if why, ok := knownLater[name]; ok {
				t.Logf("figures are not compared: %s", why)
			} else if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-9, 1e-9)); diff != "" {
				t.Errorf("lines and metrics differ (-lines +metrics):\n%s", diff)
			}
			golden := filepath.Join("testdata", "metrics", name+".prom")
			page = withoutZeros(page)
			if *update {
				if err := os.WriteFile(golden, []byte(page), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err, "(go test ./cmd/keepscope -run MetricsOfCases -update writes it)")
			}
			if diff := cmp.Diff(string(expected), page); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// knownLater are the cases in which a connection's end puts something in
// another light than its first request did. A line tells the end; metrics can't
// wait for it, for good connections live for days, and counters can't go back.
var knownLater = map[string]string{
	"outcome_upgraded_connect": "a later exchange than the first upgraded the connection, so its verdict was told before",
	"handshake_fast_open":      "the request came before the handshake was complete",
	"race_by_timer":            "the server's other connections, which came later, tell that aborts were races",
	"handshake_after_data":     "the SYN was captured after the request",
}

// linesAndMetrics reads a case's conversation and returns both outputs.
func linesAndMetrics(t *testing.T, path string) (lines, page string) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	dir := t.TempDir()
	metrics, capture := filepath.Join(dir, "metrics.prom"), filepath.Join(dir, "capture")
	args := []string{"read", "--output=ndjson", "--metrics-file=" + metrics}
	for _, f := range archive.Files {
		switch f.Name {
		case "conversation":
			script, err := sniffertest.Parse(f.Data)
			if err != nil {
				t.Fatal(err)
			}
			if err := script.WritePCAPNG(&file, sniffer.LinkEthernet, sniffertest.FileOptions{}); err != nil {
				t.Fatal(err)
			}
		case "flags":
			args = append(args, strings.Fields(string(f.Data))...)
		}
	}
	if err := os.WriteFile(capture, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), append(args, capture), console{out: &out, err: &errs}); code != exitDone {
		t.Fatalf("exit status %d: %s", code, errs.String())
	}
	text, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), string(text)
}

// figuresOfLines adds up what the lines say, under the names of metrics and
// their labels but direction and server.
func figuresOfLines(t *testing.T, lines string) map[string]float64 {
	t.Helper()
	sum := map[string]float64{}
	for text := range strings.Lines(lines) {
		var l struct {
			Type         string
			Handshake    string
			Seconds      *float64 `json:"handshake_seconds"`
			Requests     float64
			Reused       float64 `json:"reused_requests"`
			Unsolicited  float64 `json:"unsolicited_responses"`
			Estimated    bool
			Negotiated   map[string]float64
			CloseIdle    *float64 `json:"close_idle_seconds"`
			ClosedBy     string   `json:"closed_by"`
			Reason       string
			Verdict      string
			Cause        string
			Cost         float64 `json:"cost_seconds"`
			Race         bool
			Incomplete   bool
			MissingBytes float64 `json:"missing_bytes"`
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.Type != "connection" {
			continue
		}
		sum[exporter.ConnectionsOpened+" "+l.Handshake]++
		sum[exporter.ConnectionsClosed+" "+l.ClosedBy+" "+l.Reason]++
		sum[exporter.ConnectionDuration+" count"]++
		sum[exporter.Unsolicited] += l.Unsolicited
		if l.Seconds != nil {
			sum[exporter.HandshakeSeconds+" tcp count"]++
			sum[exporter.HandshakeSeconds+" tcp sum"] += *l.Seconds
		}
		if l.CloseIdle != nil && (l.ClosedBy == "client" || l.ClosedBy == "server") {
			sum[exporter.CloseIdle+" "+l.ClosedBy+" count"]++
			sum[exporter.CloseIdle+" "+l.ClosedBy+" sum"] += *l.CloseIdle
		}
		if l.Race {
			sum[exporter.Races]++
		}
		if l.Incomplete {
			sum[exporter.IncompleteConnections]++
		}
		requests, wasted, needed := exporter.Requests, exporter.WastedHandshakes, exporter.NeededHandshakes
		if l.Estimated {
			requests, wasted, needed = exporter.EstimatedRequests, exporter.EstimatedWasted, exporter.EstimatedNeeded
		} else {
			for outcome, n := range l.Negotiated {
				sum[exporter.Exchanges+" "+outcome] += n
			}
			if l.Requests > 0 {
				sum[exporter.ConnectionRequests+" count"]++
				sum[exporter.ConnectionRequests+" sum"] += l.Requests
			}
		}
		sum[requests+" true"] += l.Reused
		if first := l.Requests - l.Reused; l.Handshake == "midstream" {
			sum[requests+" unknown"] += first
		} else {
			sum[requests+" false"] += first
		}
		switch l.Verdict {
		case "wasted":
			sum[wasted+" "+l.Cause]++
		case "needed":
			sum[needed]++
		}
	}
	for name, v := range sum {
		if v == 0 {
			delete(sum, name)
		}
	}
	return sum
}

// compared are the metrics that figuresOfLines knows, with the label that
// parts them, if one does.
var compared = map[string][]string{
	exporter.ConnectionsOpened: {exporter.LabelHandshake}, exporter.ConnectionsClosed: {exporter.LabelClosedBy, exporter.LabelReason},
	exporter.ConnectionDuration: {}, exporter.Unsolicited: {}, exporter.HandshakeSeconds: {exporter.LabelKind},
	exporter.CloseIdle: {exporter.LabelClosedBy}, exporter.Races: {}, exporter.IncompleteConnections: {},
	exporter.Requests: {exporter.LabelReused}, exporter.EstimatedRequests: {exporter.LabelReused},
	exporter.Exchanges: {exporter.LabelNegotiated}, exporter.ConnectionRequests: {},
	exporter.WastedHandshakes: {exporter.LabelCause}, exporter.EstimatedWasted: {exporter.LabelCause},
	exporter.NeededHandshakes: {}, exporter.EstimatedNeeded: {},
}

// figuresOfPage adds up the metrics over directions and servers.
func figuresOfPage(t *testing.T, page string) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	sum := map[string]float64{}
	add := func(name string, v float64) {
		if v != 0 {
			sum[name] += v
		}
	}
	for name, labels := range compared {
		for _, m := range families[name].GetMetric() {
			name := name
			for _, label := range labels {
				name += " " + labelOf(m, label)
			}
			switch {
			case m.Counter != nil:
				add(name, m.Counter.GetValue())
			case strings.HasPrefix(name, exporter.HandshakeSeconds) && !strings.HasSuffix(name, " tcp"):
			default:
				add(name+" count", float64(m.Histogram.GetSampleCount()))
				if !strings.HasPrefix(name, exporter.ConnectionDuration) {
					add(name+" sum", m.Histogram.GetSampleSum())
				}
			}
		}
	}
	return sum
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// withoutZeros leaves out what every page has, so that a person can review the
// rest.
func withoutZeros(page string) string {
	var b strings.Builder
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, " 0\n") && !strings.Contains(line, "_bucket{") &&
			!strings.HasPrefix(line, exporter.BuildInfo) {
			b.WriteString(line)
		}
	}
	return b.String()
}
