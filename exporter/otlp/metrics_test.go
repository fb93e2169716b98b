package otlp

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

var quiet = slog.New(slog.DiscardHandler)

func exchange() *fact.Exchange {
	return &fact.Exchange{
		Client: sniffer.Endpoint{Port: 40000}, Server: sniffer.Endpoint{Port: 80}, ServerName: "host-1.example",
		Start: 1e18, End: 1e18 + 1, Outcome: fact.KeepAlive, Reuse: fact.ReusedRequest, Idle: 2e9,
	}
}

// TestPush pushes to a collector of this test and compares what arrives.
func TestPush(t *testing.T) {
	set := tally.New(tally.Config{})
	e, r := exporter.New(set, exporter.Config{}), set.Worker(nil)
	for range 3 {
		r.Exchange(exchange())
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
	own := &OwnTraffic{Local: func(a sniffer.Addr) bool { return a.Netip().IsLoopback() }}
	stop, err := PushMetrics(Target{Endpoint: server.URL, Own: own, Version: "1.0", Log: quiet}, e, time.Hour, false)
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

// TestConventionalNames compares what is pushed by the names of OpenTelemetry.
func TestConventionalNames(t *testing.T) {
	set := tally.New(tally.Config{})
	e, r := exporter.New(set, exporter.Config{}), set.Worker(nil)
	x := exchange()
	x.ServerName = "shop.example:8080"
	r.Exchange(x)
	before, err := e.Gather()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(before)
	list, err := newPushed(e, true, "1.0").Produce(t.Context())
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
