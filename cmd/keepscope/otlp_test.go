package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
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
	got, attributes, units := map[string]float64{}, map[string]string{}, map[string]string{}
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
		if req.Header.Get("Content-Encoding") != "gzip" {
			t.Error("the push is not compressed")
		}
		for _, rm := range pushed.ResourceMetrics {
			for _, a := range rm.Resource.Attributes {
				attributes[a.Key] = a.Value.GetStringValue()
			}
			for _, sm := range rm.ScopeMetrics {
				if sm.Scope.Name == "" || sm.Scope.Version == "" {
					t.Errorf("the scope is %v", sm.Scope)
				}
				for _, m := range sm.Metrics {
					add(got, m)
					units[m.Name] = m.Unit
				}
			}
		}
	}))
	defer server.Close()
	own := &ownTraffic{local: func(a sniffer.Addr) bool { return a.Netip().IsLoopback() }}
	stop, err := (&runCmd{OTLPEndpoint: server.URL, OTLPInterval: time.Hour}).startPush(e, own, quiet)
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
	for _, key := range []string{"service.name", "service.version", "service.instance.id", "host.name"} {
		if attributes[key] == "" {
			t.Errorf("the resource has no %s: %v", key, attributes)
		}
	}
	if units[exporter.Requests] != "" || units[exporter.ReuseIdle] != "s" || units[exporter.BufferedBytes] != "By" {
		t.Errorf("units: %v", units)
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

// TestInstances holds that each process that pushes has an id of its own, the same
// after a restart where that can be.
func TestInstances(t *testing.T) {
	id := func(listen, attributes string) string {
		t.Setenv("OTEL_RESOURCE_ATTRIBUTES", attributes)
		merged, err := resource.Merge(resource.Environment(), pushResource(listen))
		if err != nil {
			t.Fatal(err)
		}
		v, _ := merged.Set().Value("service.instance.id")
		return v.AsString()
	}
	pod := "k8s.pod.name=web-1,k8s.namespace.name=shop"
	for attributes, want := range map[string]string{
		pod: "shop.web-1", pod + ",k8s.pod.uid=u-1": "u-1", pod + ",service.instance.id=mine": "mine",
	} {
		if got := id(":1", attributes); got != want {
			t.Errorf("%s: %q, want %q", attributes, got, want)
		}
	}
	one, other := id(":1", ""), id(":2", "")
	if one == other || len(one) < 16 {
		t.Errorf("two processes of a host are %q and %q", one, other)
	}
	if machine, err := os.ReadFile(machineID); err == nil && len(machine) >= 32 && id(":1", "") != one {
		t.Error("a process is another after a restart")
	}
}

// TestConventionalNames compares what is pushed by the names of OpenTelemetry.
func TestConventionalNames(t *testing.T) {
	set := tally.New(tally.Config{})
	e, r := exporter.New(set, exporter.Config{}), set.Worker(nil)
	x := exchangeTo(1, 2e9)
	x.ServerName = "shop.example:8080"
	r.Exchange(x)
	before, err := e.Gather()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(before)
	list, err := newPushed(e, true).Produce(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	found := map[string]string{}
	for _, m := range list[0].Metrics {
		found[m.Name] = m.Unit
		if sum, ok := m.Data.(metricdata.Sum[float64]); ok && m.Name == "keepscope.requests" {
			got := map[string]string{}
			for _, a := range sum.DataPoints[len(sum.DataPoints)-1].Attributes.ToSlice() { // the newest version of HTTP
				got[string(a.Key)] = a.Value.AsString()
			}
			for key, want := range map[string]string{
				"server.address": "shop.example", "server.port": "8080", "network.protocol.name": "http", "network.protocol.version": "1.1",
			} {
				if got[key] != want {
					t.Errorf("%s is %q, want %q", key, got[key], want)
				}
			}
		}
		if sum, ok := m.Data.(metricdata.Sum[float64]); m.Name == "http.client.open_connections" && (!ok || sum.IsMonotonic) {
			t.Errorf("%s is no sum of what comes and goes: %T", m.Name, m.Data)
		}
	}
	for name, unit := range map[string]string{"keepscope.requests": "", "http.client.open_connections": "", "keepscope.reuse_idle": "s"} {
		if got, ok := found[name]; !ok || got != unit {
			t.Errorf("%s: there %t, unit %q", name, ok, got)
		}
	}
	if after, _ := e.Gather(); fmt.Sprint(after) != text {
		t.Error("what others scrape has changed")
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
		if _, err := (&runCmd{OTLPEndpoint: endpoint, OTLPInterval: time.Second}).startPush(nil, nil, quiet); err == nil {
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
