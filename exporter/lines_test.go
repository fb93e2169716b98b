package exporter

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/tally"
)

// The bounds on lines that the package's documentation tells.
const (
	mostLines   = 21_200 // of a page with 200 servers, the process's own included
	mostSeries  = 650    // of a server that does all that there is to count
	mostServers = 200
)

// TestLines counts the lines of a whole page, as the program serves it, at the cap on
// servers, with and without networks of clients.
func TestLines(t *testing.T) {
	process := prometheus.NewRegistry()
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, byNetwork := range []bool{false, true} {
		e, r := attached(Config{Also: process}, tally.Config{MaxServers: mostServers, ByNetwork: byNetwork})
		for i := range 3 * mostServers {
			for network := range 3 {
				for by := range fact.ByServer + 1 {
					f := factsOf(fmt.Sprintf("10.0.%d.1:40000", network), "10.9.0.1:80", fmt.Sprintf("host-%d.example", i), 1e18)
					f.closed.ClosedBy, f.closed.Reason = by, fact.ReasonClientIdle+fact.Reason(by)
					f.tell(r)
				}
			}
		}
		most, rows := mostLines, mostServers+2 // "other", inbound and outbound
		if byNetwork {
			most, rows = 2*mostLines, 2*rows
		}
		plain := page(t, e, text)
		if got := strings.Count(plain, "\n"); got > most {
			t.Errorf("networks %t: %d lines, want at most %d", byNetwork, got, most)
		} else {
			t.Logf("networks %t: %d lines, %d bytes", byNetwork, got, len(plain))
		}
		if got := len(serversOf(t, e)); got > rows || got < mostServers {
			t.Errorf("networks %t: %d rows, want %d to %d", byNetwork, got, mostServers, rows)
		}
	}
}

// TestMostSeries has a server do all that there is to count.
func TestMostSeries(t *testing.T) {
	f := tally.Figures{Estimated: new(tally.Traffic), HTTP2: new(tally.HTTP2), Probed: new(tally.Probed), Encrypted: true, AdvertisedAt: 1}
	fill(reflect.ValueOf(&f).Elem())
	b := newBuilder(&Config{})
	b.server(&server{direction: "inbound", name: "a.example", Figures: &f})
	n := 0
	for _, family := range b.families() {
		for _, m := range family.Metric {
			n += lines(m)
		}
	}
	t.Logf("%d series", n)
	if n > mostSeries || n < mostSeries*9/10 {
		t.Errorf("%d series, want %d at most", n, mostSeries)
	}
}

// lines returns how many lines of a page a metric takes.
func lines(m *dto.Metric) int {
	if m.Histogram != nil {
		return len(m.Histogram.Bucket) + 2
	}
	return 1
}

// fill sets every number to one, and adds a value to every histogram.
func fill(v reflect.Value) {
	if h, ok := v.Addr().Interface().(*tally.Histogram); ok {
		h.Add(1)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Uint64:
		v.SetUint(1)
	case reflect.Int64:
		v.SetInt(1)
	default:
	}
}
