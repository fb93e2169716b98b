package dashboards_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/dashboards"
	"github.com/keepscope/keepscope/dashboards/dashboardstest"
	"github.com/keepscope/keepscope/exporter"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestAgainstPrometheus has a real Prometheus scrape every metric that the
// exporter declares, once with classic and once with native histograms, from
// a host without Kubernetes labels, and looks at every dashboard.
func TestAgainstPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the time of several scrapes")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("prometheus is not installed")
	}
	for name, native := range map[string]bool{"classic histograms": false, "native histograms": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := startPrometheus(t, newStandIn(), native)
			session := &dashboardstest.Session{
				URL: url, End: time.Now(), Range: 10 * time.Second, ScrapeInterval: time.Second,
			}
			results := look(t, session)
			shown := slices.ContainsFunc(results, func(r dashboardstest.Result) bool {
				return len(r.Series) > 0 && r.Series[0].Histograms > 0
			})
			if shown != native {
				t.Errorf("the heatmap shows native histograms: %v", shown)
			}
			expect(t, results)
			drawnOnce(t, results, time.Second, session.Range, 0.5)
		})
	}
}

// look asks every dashboard and fails where a panel stays empty.
func look(t *testing.T, session *dashboardstest.Session) (all []dashboardstest.Result) {
	boards, err := dashboards.Dashboards(dashboards.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range boards {
		results, err := session.Look(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Empty() && r.Panel != "Uneven load of backends" { // takes two sidecars; see testdata/rules.yaml
				t.Errorf("%v: no data\n%s", r, r.Expr)
			}
		}
		all = append(all, results...)
	}
	return all
}

// drawnOnce holds that bars of events a minute add up to the events.
func drawnOnce(t *testing.T, results []dashboardstest.Result, step, span time.Duration, perSecond float64) {
	for _, r := range results {
		if r.Panel != "Keep-alive races a minute" || r.RefID != "A" {
			continue
		}
		events := 0.0
		for _, v := range r.Series[0].Values {
			events += v * step.Minutes()
		}
		if want := perSecond * span.Seconds(); math.Abs(events-want) > 0.25*want {
			t.Errorf("%v: bars add up to %.1f, %.1f happened", r, events, want)
		}
	}
}

// expect holds the main panels against what the stand-in exports.
func expect(t *testing.T, results []dashboardstest.Result) {
	outbound := map[string]string{"server": "shop.example:8080", "direction": "outbound"}
	want := []struct {
		panel, ref string
		labels     map[string]string
		value      float64
	}{
		{"Keep-alive effectiveness", "A", nil, 0.9},
		{"Keep-alive effectiveness", "B", nil, 0.8},
		{"Wasted handshakes", "A", nil, 1},
		{"Wasted handshakes", "B", nil, 1},
		{"Wasted handshakes", "C", nil, 0.4 / 17},
		{"Failed requests, races, failed handshakes", "A", nil, 10},
		{"Can these be trusted?", "A", nil, 3}, // lost, incomplete, given up
		{"Keep-alive effectiveness over time", "B", nil, 9 / 9.4},
		{"New connections against requests", "A", nil, 17},
		{"Wasted handshakes by cause", "A", map[string]string{"why": "pool_miss"}, 0.6},
		{"Wasted handshakes by cause", "B", map[string]string{"why": "closes_after_response"}, 1},
		{"Keep-alive races a minute", "A", nil, 60 * 0.5},
		{"Failed requests a minute, by how", "A", map[string]string{"why": "server_abort"}, 60},
		{"Causes, and what to change", "D", map[string]string{"why": "server_idle", "change": "server_idle"}, 0.4},
		{"Servers, worst first", "A", outbound, 0.9},
		{"Servers, worst first", "B", outbound, 0.8},
		{"Servers, worst first", "C", outbound, 2},
		{"Servers, worst first", "D", outbound, 0.4 + 1 + 2},
		{"Servers, worst first", "E", map[string]string{"why": "refused", "server": "shop.example:8080"}, 20},
		{"Servers, worst first", "F", map[string]string{"change": "refused", "server": "shop.example:8080"}, 20},
		{"Servers, worst first", "G", outbound, 30},
		{"Health checks", "A", outbound, 7},
		{"Sidecars, those that miss most first", "A", nil, 1},
		{"Sidecars, those that miss most first", "B", nil, 0.03},
		{"Requests per connection: mean and quantiles", "A", nil, 4},
		{"Requests by their connection", "A", nil, 0.75},
		{"How long connections live", "C", nil, 7.5},
		{"Local ports left", "A", nil, 1 - (30+60*3.0)/28232},
		{"Server names in use", "A", nil, 0.01},
	}
	for _, w := range want {
		found := false
		for _, r := range results {
			if r.Panel != w.panel || r.RefID != w.ref {
				continue
			}
			for _, s := range r.Series {
				if !contains(s.Labels, w.labels) {
					continue
				}
				found = true
				if got := s.Last(); math.Abs(got-w.value) > 0.05*w.value+1e-9 {
					t.Errorf("%v shows %v %v, want %v", r, s.Labels, got, w.value)
				}
			}
		}
		if !found {
			t.Errorf("%s %s shows nothing of %v", w.panel, w.ref, w.labels)
		}
	}
}

func contains(labels, part map[string]string) bool {
	for k, v := range part {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// A standIn exports everything that exporter.Metrics declares, with counters
// that grow by known rates: for each panel there is a figure to expect.
type standIn struct {
	start      time.Time
	registry   *prometheus.Registry
	mu         sync.Mutex
	histograms []prometheus.Observer
	requests   []prometheus.Observer
}

func newStandIn() *standIn {
	s := &standIn{start: time.Now(), registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), s)
	for _, m := range exporter.Metrics {
		if m.Kind != exporter.Histogram {
			continue
		}
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: m.Name, Help: m.Help,
			Buckets: []float64{0.001, 0.01, 0.1, 1, 2, 3, 5, 10, 50}, NativeHistogramBucketFactor: 1.1,
		}, m.AllLabels())
		s.registry.MustRegister(v)
		for _, labels := range combinations(m) {
			o := v.WithLabelValues(labels...)
			if m.Name == exporter.ConnectionRequests {
				s.requests = append(s.requests, o)
				continue
			}
			s.histograms = append(s.histograms, o)
		}
	}
	return s
}

// ServeHTTP is /metrics: each scrape finds some connections more.
func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.histograms {
		o.Observe(0.0004)
		o.Observe(3)
	}
	for _, o := range s.requests {
		o.Observe(1)
		o.Observe(7)
	}
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// Describe leaves the collector unchecked.
func (s *standIn) Describe(chan<- *prometheus.Desc) {}

// Collect exports counters and gauges.
func (s *standIn) Collect(ch chan<- prometheus.Metric) {
	elapsed := time.Since(s.start).Seconds()
	for _, m := range exporter.Metrics {
		kind, grown := prometheus.GaugeValue, 1.0
		switch m.Kind {
		case exporter.Histogram:
			continue
		case exporter.Counter:
			kind, grown = prometheus.CounterValue, elapsed
		}
		desc := prometheus.NewDesc(m.Name, m.Help, m.AllLabels(), nil)
		for _, labels := range combinations(m) {
			ch <- prometheus.MustNewConstMetric(desc, kind, grown*figure(m.Name, labels[len(labels)-len(m.Labels):]), labels...)
		}
	}
}

// figure is the rate of a counter, or the value of a gauge.
func figure(metric string, labels []string) float64 {
	known, ok := map[string]map[string]float64{
		exporter.Requests:          {"http/1.1 true application": 9, "http/1.1 false application": 3, "http/1.1 false probe": 7, "h2 true application": 0, "h2 false application": 1e-9},
		exporter.WastedHandshakes:  {"pool_miss application": 0.6, "server_idle application": 0.4, "pool_miss probe": 5},
		exporter.WastedSeconds:     {"tcp application": 0.1, "tls application": 0.2, "tls probe": 5},
		exporter.ConnectionsOpened: {"complete": 3},
		exporter.ConnectionsClosed: {"client client_idle application": 2, "server server_idle application": 1, "client never_used probe": 1},
		exporter.ConnectionsOpen:   {"": 30},
		exporter.FailedRequests:    {"server_abort": 1},
		exporter.EstimatedFailed:   {},
		exporter.HandshakeAttempts: {"refused": 2, "repeated": 1},
		exporter.EstimatedRequests: {"true": 4, "false": 1},
		exporter.EstimatedWasted:   {"client_discard": 0.7, "server_discard": 0.3},
		exporter.EstimatedSeconds:  {"tls": 0.1},
		exporter.CapturePackets:    {"eth0": 97},
		exporter.CaptureDropped:    {"eth0 kernel": 2, "eth0 interface": 1},
		exporter.Servers:           {"": 2},
		exporter.ServerLimit:       {"": 200},
		exporter.BuildInfo:         {"dev c go": 1},
		exporter.LastPacket:        {"": float64(time.Now().Unix())},
		exporter.PathTimeout:       {"survived": 200, "dropped": 350},
	}[metric]
	if !ok {
		return 0.5
	}
	return known[strings.Join(labels, " ")]
}

// combinations returns all values of a metric's labels.
func combinations(m exporter.Metric) [][]string {
	all := [][]string{nil}
	for _, label := range m.AllLabels() {
		var next [][]string
		for _, before := range all {
			for _, v := range values(m.Name, label) {
				next = append(next, append(slices.Clone(before), v))
			}
		}
		all = next
	}
	return all
}

func values(metric, label string) []string {
	switch label {
	case exporter.LabelDirection:
		return []string{"outbound"}
	case exporter.LabelServer:
		return []string{"shop.example:8080"}
	case exporter.LabelInterface:
		return []string{"eth0"}
	case exporter.LabelLayer:
		return []string{"ip", "tcp"}
	case exporter.LabelVersion:
		return []string{"dev"}
	case exporter.LabelCommit:
		return []string{"c"}
	case exporter.LabelGoVersion:
		return []string{"go"}
	case exporter.LabelKind:
		switch metric {
		case exporter.HandshakeSeconds:
			return []string{"tcp", "tls_full", "tls_resumed"}
		case exporter.KeylogLines:
			return []string{"used"}
		}
		return []string{"tcp", "tls", "dns", "connect"}
	case exporter.LabelResult:
		return []string{"refused", "unanswered", "repeated"}
	case exporter.LabelBound:
		return []string{"survived", "dropped"}
	case exporter.LabelCode:
		return []string{"NO_ERROR"}
	case exporter.LabelCap:
		return []string{"connections"}
	}
	return exporter.Values(label)
}

// startPrometheus has a Prometheus scrape the handler once a second, and
// returns its address when it has done so for 10 seconds.
func startPrometheus(t *testing.T, handler http.Handler, native bool) string {
	scrapes := make(chan time.Time, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		scrapes <- time.Now()
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	address := freeAddress(t)
	args, err := dashboardstest.Server{
		Listen: address, Targets: []string{server.Listener.Addr().String()}, Interval: time.Second, Native: native,
	}.Arguments(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "prometheus", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus: %v\n%s", err, &output)
		}
	})
	deadline := time.After(90 * time.Second)
	var at []time.Time
	for !even(at) {
		select {
		case moment := <-scrapes:
			at = append(at, moment)
		case <-deadline:
			t.Fatalf("prometheus does not scrape once a second: %v", at)
		}
	}
	return "http://" + address
}

// even tells whether there were 12 scrapes, the newest of them a second apart: on
// a busy machine they are not always, and then rates are what extrapolation makes
// of them.
func even(at []time.Time) bool {
	const enough, newest = 12, 7
	if len(at) < enough {
		return false
	}
	at = at[len(at)-newest:]
	for i := range newest - 1 {
		if apart := at[i+1].Sub(at[i]); apart < 800*time.Millisecond || apart > 1200*time.Millisecond {
			return false
		}
	}
	return true
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
