package exporter

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// capture runs a conversation through workers that an Exporter listens to.
func capture(t testing.TB, script *sniffertest.Script, workers int) *Exporter {
	t.Helper()
	frames, err := script.Frames(sniffer.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	decoder := sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true})
	cfg := Config{ReuseWindow: time.Minute, Version: "v1", Commit: "abc", GoVersion: "go1"}
	r := run.Reader{Source: &sniffertest.Source{Frames: frames}, Decoder: decoder}
	cfg.Stages = func() Stages {
		s := Stages{Interfaces: []InterfaceStats{{Name: "eth0", Packets: uint64(len(frames))}}, Decode: decoder.Stats().Errors}
		for _, f := range frames {
			s.Interfaces[0].Bytes += uint64(f.Length)
			s.LastPacket = max(s.LastPacket, f.Time)
		}
		for _, w := range r.Workers {
			stats := w.Assembler.Stats()
			s.Reassembly.Open += stats.Open
			s.Reassembly.OutOfOrder += stats.OutOfOrder
			s.Reassembly.MissingBytes += stats.MissingBytes
		}
		return s
	}
	set := tally.New(tally.Config{Desk: naming.Desk{Local: local, Inbound: true}})
	for range workers {
		var w *run.Worker
		counts := set.Worker(func(f func()) { w.Do(f) })
		w = run.NewWorker(reassembly.Config{}, analyzer.Config{}, counts)
		r.Workers = append(r.Workers, w)
	}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return New(set, cfg)
}

// local is a Config.Local that knows 10.0.0.1 and the loopback addresses.
func local(a sniffer.Addr) bool {
	ip := a.Netip()
	return ip.IsLoopback() || ip == netip.MustParseAddr("10.0.0.1")
}

// page writes what is gathered as a scraper would see it.
func page(t testing.TB, g prometheus.Gatherer, format expfmt.Format) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	enc := expfmt.NewEncoder(&out, format, expfmt.WithCreatedLines())
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	if c, ok := enc.(expfmt.Closer); ok {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

var (
	text        = expfmt.NewFormat(expfmt.TypeTextPlain)
	openMetrics = expfmt.NewFormat(expfmt.TypeOpenMetrics)
)

// TestPages compares the pages of conversations with what is expected of them,
// for one worker and several, and has every judge of metrics look at them.
func TestPages(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script := sniffertest.MustParse(string(archive.Files[0].Data))
			var pages []string
			for _, workers := range []int{1, 3} {
				e := capture(t, script, workers)
				pages = append(pages, interesting(page(t, e, openMetrics)))
				judge(t, e)
			}
			if diff := cmp.Diff(pages[0], pages[1]); diff != "" {
				t.Errorf("one worker and three differ: %s", diff)
			}
			if *update {
				archive.Files = []txtar.File{archive.Files[0], {Name: "metrics", Data: []byte(pages[0])}}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), pages[0]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// interesting leaves out the series that are 0 and lines that are the same in
// every page, so that a golden page can be reviewed.
func interesting(page string) string {
	var b strings.Builder
	for line := range strings.Lines(page) {
		plain, _, _ := strings.Cut(strings.TrimSpace(line), " # ")
		value := plain[strings.LastIndexByte(plain, ' ')+1:]
		switch {
		case strings.HasPrefix(line, "#"), strings.Contains(line, "_bucket{"), strings.Contains(line, "_created"):
		case value == "0", value == "0.0":
		case strings.HasPrefix(line, BuildInfo), strings.HasPrefix(line, ReuseWindow), strings.HasPrefix(line, ServerLimit):
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}

// judge has the page checked by client_golang's own checks, by promlint, by
// promtool where it is installed, and against the table of metrics.
func judge(t *testing.T, e *Exporter) {
	t.Helper()
	if _, err := (prometheus.Gatherers{e}).Gather(); err != nil {
		t.Error(err)
	}
	plain := page(t, e, text)
	problems, err := promlint.New(strings.NewReader(plain)).Lint()
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(plain)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	}
	families, _ := e.Gather()
	table := map[string]Metric{}
	for _, m := range Metrics {
		table[m.Name] = m
	}
	for _, f := range families {
		m := table[f.GetName()]
		for _, series := range f.Metric {
			var labels []string
			for _, l := range series.Label {
				labels = append(labels, l.GetName())
				if v := Values(l.GetName()); v != nil && !slices.Contains(v, l.GetValue()) {
					t.Errorf("%s: %q is no value of %s", f.GetName(), l.GetValue(), l.GetName())
				}
			}
			want := m.AllLabels()
			slices.Sort(labels)
			slices.Sort(want)
			if !slices.Equal(labels, want) {
				t.Errorf("%s has labels %v, the table says %v", f.GetName(), labels, want)
			}
			if h := series.Histogram; h != nil {
				checkHistogram(t, f.GetName(), h)
			}
		}
	}
}

// series returns the values of a metric, by its labels but direction and
// server.
func series(t testing.TB, e *Exporter, name string) map[string]float64 {
	t.Helper()
	families, err := e.Gather()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, s := range f.Metric {
			m[labelText(s)] = value(s)
		}
	}
	return m
}

func labelText(m *dto.Metric) string {
	var parts []string
	for _, l := range m.Label {
		parts = append(parts, l.GetName()+"="+l.GetValue())
	}
	return strings.Join(parts, " ")
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return float64(m.Histogram.GetSampleCount())
}

// seriesCount counts the series of a page, and those of single servers.
func seriesCount(e *Exporter) int {
	families, _ := e.Gather()
	n := 0
	for _, f := range families {
		for _, m := range f.Metric {
			n++
			if m.Histogram != nil {
				n += len(m.Histogram.Bucket) + 1
			}
		}
	}
	return n
}

func serversOf(t testing.TB, e *Exporter) []string {
	t.Helper()
	var list []string
	for labels := range series(t, e, ConnectionsOpen) {
		list = append(list, labels)
	}
	slices.Sort(list)
	return list
}
