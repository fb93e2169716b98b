package main

import (
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

// TestPush pushes to a collector of this test and compares what arrives.
func TestPush(t *testing.T) {
	set := tally.New(tally.Config{})
	e, r := exporter.New(set, exporter.Config{}), set.Worker(nil)
	for range 3 {
		r.Exchange(exchangeTo(1, 2e9))
	}
	var mu sync.Mutex
	got := map[string]float64{}
	var from []netip.AddrPort
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body := io.Reader(req.Body)
		if req.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		text, err := io.ReadAll(body)
		var pushed collector.ExportMetricsServiceRequest
		if err != nil || proto.Unmarshal(text, &pushed) != nil || req.URL.Path != "/v1/metrics" {
			t.Error(req.URL, err)
		}
		mu.Lock()
		defer mu.Unlock()
		from = append(from, netip.MustParseAddrPort(req.RemoteAddr))
		for _, rm := range pushed.ResourceMetrics {
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					add(got, m)
				}
			}
		}
	}))
	defer server.Close()
	own := &ownTraffic{local: func(a sniffer.Addr) bool { return a.Netip().IsLoopback() }}
	stop, err := startPush(server.URL, time.Hour, e, own, quiet)
	if err != nil {
		t.Fatal(err)
	}
	stop(context.Background()) // pushes
	want := map[string]float64{exporter.Requests: 3, exporter.Exchanges: 3, exporter.ReuseIdle: 3, exporter.Servers: 1}
	for name := range got {
		if _, ok := want[name]; !ok {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, a := range from {
		client := sniffer.Endpoint{Addr: sniffer.Addr(a.Addr().As16()), Port: a.Port()}
		if !own.opened(client, time.Now().UnixNano()) {
			t.Errorf("the push from %v is not known as the program's own", a)
		}
		if own.opened(client, time.Now().Add(time.Hour).UnixNano()) {
			t.Errorf("a later connection from %v is taken for the program's own", a)
		}
		client.Addr = sniffer.Addr(netip.MustParseAddr("192.0.2.1").As16())
		if own.opened(client, time.Now().UnixNano()) {
			t.Error("another host's connection is taken for the program's own")
		}
	}
}

// add sums up a metric's points: counters, gauges, and counts of histograms.
func add(sum map[string]float64, m *metrics.Metric) {
	var points []*metrics.NumberDataPoint
	switch data := m.Data.(type) {
	case *metrics.Metric_Sum:
		points = data.Sum.DataPoints
	case *metrics.Metric_Gauge:
		points = data.Gauge.DataPoints
	case *metrics.Metric_Histogram:
		for _, p := range data.Histogram.DataPoints {
			sum[m.Name] += float64(p.Count)
		}
	case *metrics.Metric_ExponentialHistogram:
		for _, p := range data.ExponentialHistogram.DataPoints {
			sum[m.Name] += float64(p.Count)
		}
	}
	for _, p := range points {
		sum[m.Name] += p.GetAsDouble()
	}
}

// TestRefusedPushIsOwn checks that a connection that never came about is known
// as well, and so is not among the server's failed handshakes.
func TestRefusedPushIsOwn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	own := &ownTraffic{local: func(sniffer.Addr) bool { return true }}
	conn, err := own.transport().DialContext(t.Context(), "tcp", address)
	if err == nil {
		conn.Close()
		t.Fatal("somebody listens on a port that was free")
	}
	if own.next != 1 || own.newest[0].port == 0 {
		t.Errorf("%d connections known: %v", own.next, own.newest[0])
	}
}

func TestPushUsage(t *testing.T) {
	for _, endpoint := range []string{"collector:4318", "ftp://collector", "http://", "::"} {
		if _, err := startPush(endpoint, time.Second, nil, nil, quiet); err == nil {
			t.Errorf("%q is taken", endpoint)
		}
	}
}

// TestOwnIsLeftOut counts what an observer hears of own connections and others.
func TestOwnIsLeftOut(t *testing.T) {
	own := &ownTraffic{local: func(sniffer.Addr) bool { return true }}
	own.newest[0] = dialed{port: 5, at: 1e18}
	own.any.Store(true)
	var heard, watched []uint16
	o, w := own.leftOut(heardObserver{&heard}), own.leftOut(heardWatcher{heardObserver{&watched}}).(fact.Watcher)
	if _, ok := o.(fact.Watcher); ok {
		t.Error("an Observer is a Watcher now")
	}
	for _, port := range []uint16{4, 5, 6} {
		c := &fact.Connection{Client: sniffer.Endpoint{Port: port}, Start: 1e18 + 1}
		w.Opened(c)
		w.Judged(c)
		for _, o := range []fact.Observer{o, w} {
			o.Exchange(&fact.Exchange{Client: c.Client, Opened: c.Start})
			o.Connection(c)
		}
	}
	if diff := cmp.Diff([][]uint16{{4, 4, 6, 6}, {4, 4, 4, 4, 6, 6, 6, 6}}, [][]uint16{heard, watched}); diff != "" {
		t.Error(diff)
	}
}

type heardObserver struct{ ports *[]uint16 }

func (h heardObserver) Exchange(e *fact.Exchange)     { *h.ports = append(*h.ports, e.Client.Port) }
func (h heardObserver) Connection(c *fact.Connection) { *h.ports = append(*h.ports, c.Client.Port) }

type heardWatcher struct{ heardObserver }

func (h heardWatcher) Opened(c *fact.Connection) { *h.ports = append(*h.ports, c.Client.Port) }
func (h heardWatcher) Judged(c *fact.Connection) { *h.ports = append(*h.ports, c.Client.Port) }
