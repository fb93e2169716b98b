package endpoint

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer"
	analyzerrun "github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/exporter/web"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

var quiet = slog.New(slog.DiscardHandler)

// serveTest serves an endpoint on a free port until the test ends.
func serveTest(t *testing.T, cfg Config) (address string) {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", startEndpoint(t, cfg).Ports()[0])
}

func startEndpoint(t *testing.T, cfg Config) *Endpoint {
	t.Helper()
	cfg.Listener, cfg.Log = freePort(t), quiet
	if cfg.Metrics == nil {
		cfg.Metrics = exporter.New(tally.New(tally.Config{}), exporter.Config{Version: "v1"})
	}
	if cfg.Page == nil {
		cfg.Page = web.New(web.Source{Latest: func() web.Latest { return web.Latest{Report: &report.Report{}} }})
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	e := New(cfg)
	e.Serve()
	t.Cleanup(func() { e.Stop(context.Background()) })
	return e
}

func freePort(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// configured reads a web configuration file; no file is plain HTTP.
func configured(t *testing.T, file string) *WebConfig {
	t.Helper()
	c, err := OpenWebConfig(file, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fetch asks and returns the answer with its body.
func fetch(t testing.TB, client *http.Client, method, url string, header http.Header, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestEndpoint(t *testing.T) {
	var notReady atomic.Bool
	address := serveTest(t, Config{Ready: func() error {
		if notReady.Load() {
			return errors.New("eth0 is down")
		}
		return nil
	}})
	tests := []struct {
		name, method, path, accept string
		notReady                   bool
		status                     int
		kind                       string // of the content
		want                       string // in the body
	}{
		{"metrics", "GET", "/metrics", "", false, 200, "text/plain; version=0.0.4", "keepscope_build_info"},
		{"OpenMetrics", "GET", "/metrics", "application/openmetrics-text;version=1.0.0", false, 200, "application/openmetrics-text", "# EOF"},
		{"protobuf", "GET", "/metrics", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", false, 200, "application/vnd.google.protobuf", "keepscope_build_info"},
		{"page", "GET", "/", "", false, 200, "text/html", "Keepscope"},
		{"page, head only", "HEAD", "/", "", false, 200, "text/html", ""},
		{"alive", "GET", "/healthz", "", false, 200, "text/plain", "alive"},
		{"alive while not ready", "GET", "/healthz", "", true, 200, "text/plain", "alive"},
		{"ready", "GET", "/readyz", "", false, 200, "text/plain", "capturing"},
		{"not ready", "GET", "/readyz", "", true, 503, "text/plain", "eth0 is down"},
		{"no profile", "GET", "/debug/pprof/", "", false, 404, "text/plain", ""},
		{"nothing else", "GET", "/etc/passwd", "", false, 404, "text/plain", ""},
		{"no other method", "POST", "/metrics", "", false, 405, "text/plain", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			notReady.Store(tt.notReady)
			resp, body := fetch(t, http.DefaultClient, tt.method, "http://"+address+tt.path, http.Header{"Accept": {tt.accept}}, nil)
			if resp.StatusCode != tt.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), tt.kind) || !strings.Contains(body, tt.want) {
				t.Errorf("%s, %s, %.200s", resp.Status, resp.Header.Get("Content-Type"), body)
			}
		})
	}
}

// TestCreatedLines: they are there where they were asked for.
func TestCreatedLines(t *testing.T) {
	set := tally.New(tally.Config{})
	set.Worker(nil).Exchange(exchangeTo(1, 2e9))
	for _, created := range []bool{false, true} {
		address := serveTest(t, Config{Created: created, Metrics: exporter.New(set, exporter.Config{})})
		_, body := fetch(t, http.DefaultClient, http.MethodGet, "http://"+address+"/metrics", http.Header{"Accept": {"application/openmetrics-text;version=1.0.0"}}, nil)
		if got := strings.Contains(body, "_created{"); got != created || !strings.Contains(body, exporter.Requests) {
			t.Errorf("asked for %t: there %t", created, got)
		}
	}
}

func TestEndpointProfiles(t *testing.T) {
	address := serveTest(t, Config{Pprof: true})
	if resp, _ := fetch(t, http.DefaultClient, "GET", "http://"+address+"/debug/pprof/heap?debug=1", nil, nil); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestEndpointLimits(t *testing.T) {
	address := serveTest(t, Config{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 4*maxHeaderBytes))
	// The server may close before the client has sent everything.
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a long header: %s", resp.Status)
		}
	}
	resp, _ := fetch(t, http.DefaultClient, "GET", "http://"+address+"/healthz", nil, bytes.NewReader(make([]byte, 1000)))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a body within the limit: %s", resp.Status)
	}
}

// busyWorker is a worker with many servers, whose capture is played by feed.
func busyWorker(tb testing.TB, servers int) (*exporter.Exporter, *analyzerrun.Worker, *tally.Worker) {
	tb.Helper()
	set := tally.New(tally.Config{MaxServers: servers})
	var w *analyzerrun.Worker
	r := set.Worker(func(f func()) { w.Do(f) })
	w = analyzerrun.NewWorker(reassembly.Config{}, analyzer.Config{}, r)
	for i := range servers {
		r.Exchange(exchangeTo(i, 0))
	}
	stages := func() exporter.Stages { return exporter.Stages{Reassembly: w.Assembler.Stats()} }
	return exporter.New(set, exporter.Config{Stages: stages}), w, r
}

func exchangeTo(server int, idle int64) *fact.Exchange {
	return &fact.Exchange{
		Client: sniffer.Endpoint{Port: 40000}, Server: sniffer.Endpoint{Port: 80}, ServerName: fmt.Sprintf("host-%d.example", server),
		Start: 1e18, End: 1e18 + 1, Outcome: fact.KeepAlive, Reuse: fact.ReusedRequest, Idle: idle,
	}
}

// TestScrapersDoNotHoldCapture has 20 scrapers at once, one that reads slowly
// and some that never read, while batches are worked off: none of these may
// wait for more than the copying of a few servers.
func TestScrapersDoNotHoldCapture(t *testing.T) {
	e, w, r := busyWorker(t, 200)
	address := serveTest(t, Config{Metrics: e})
	for range 5 { // ask and never read: the answer is larger than what sockets hold
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	stop, worst := make(chan struct{}), time.Duration(0)
	var capture, scrapers sync.WaitGroup
	capture.Go(func() {
		x := exchangeTo(0, 1e9)
		for {
			select {
			case <-stop:
				return
			default:
			}
			begin := time.Now()
			w.Do(func() {
				for range 256 {
					r.Exchange(x)
				}
			})
			worst = max(worst, time.Since(begin))
		}
	})
	took := make([]time.Duration, 20)
	for i := range took {
		scrapers.Go(func() {
			for range 3 {
				begin := time.Now()
				// Compressed as scrapers ask for it, and left so: what a scraper does
				// with a page is not to be measured here.
				resp, body := fetch(t, http.DefaultClient, "GET", "http://"+address+"/metrics", http.Header{"Accept-Encoding": {"gzip"}}, nil)
				took[i] = max(took[i], time.Since(begin))
				if resp.StatusCode != http.StatusOK || len(body) < 20_000 {
					t.Errorf("%s, %d bytes", resp.Status, len(body))
				}
				if _, err := bufio.NewReader(slow).Peek(1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	scrapers.Wait()
	close(stop)
	capture.Wait()
	t.Logf("slowest of 60 scrapes of 200 servers, 20 at a time: %v; longest that a batch took meanwhile: %v", slices.Max(took), worst)
	if worst > time.Second { // of which the scheduler of a busy machine has the largest part
		t.Errorf("a batch took %v", worst)
	}
}

// TestHealthServesNothingElse asks the listener for probes for figures.
func TestHealthServesNothingElse(t *testing.T) {
	file, _ := secured(t, t.TempDir())
	e := startEndpoint(t, Config{Web: configured(t, file), Health: freePort(t), Pprof: true})
	base := fmt.Sprint("http://127.0.0.1:", e.Ports()[1])
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 404, "/": 404, "/debug/pprof/": 404} {
		if resp, _ := fetch(t, http.DefaultClient, "GET", base+path, nil, nil); resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// TestScrapeWithManyConnections measures a scrape with 100 000 connections
// open.
func TestScrapeWithManyConnections(t *testing.T) {
	e, w, _ := busyWorker(t, 10)
	const n = 100_000
	w.Do(func() {
		for i := range n {
			client := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).As16()
			w.Assembler.Process(&sniffer.Segment{
				Time: 1e18 + int64(i), Seq: 1, Flags: sniffer.SYN,
				Src: sniffer.Endpoint{Addr: client, Port: 40000}, Dst: sniffer.Endpoint{Addr: sniffer.Addr(netip.MustParseAddr("192.0.2.1").As16()), Port: 80},
			})
		}
	})
	begin := time.Now()
	families, err := e.Gather()
	took := time.Since(begin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("scrape with %d connections open: %v", n, took)
	if took > time.Second {
		t.Errorf("it took %v", took)
	}
	for _, f := range families {
		if f.GetName() == exporter.TrackedConnections && f.Metric[0].Gauge.GetValue() != n {
			t.Errorf("%v connections tracked", f.Metric[0].Gauge.GetValue())
		}
	}
}
