package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/otlp"
	"github.com/keepscope/keepscope/exporter/recordlog"
	"github.com/keepscope/keepscope/sniffer"
)

// BenchmarkRecords is what a record costs live, by its way out: CPU time of the whole
// process at 10 000 connections a second, told as a capture tells them, some 50 ms of
// them at once. 5 µs a record are 5 % of a core. The collector is in the process, too,
// and reads what it gets.
func BenchmarkRecords(b *testing.B) {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
	}))
	defer collector.Close()
	told := demoConnections(b)
	folder := func(parquet bool) func(b *testing.B) (*recordlog.Log, error) {
		return func(b *testing.B) (*recordlog.Log, error) {
			return recordlog.OpenFolder(recordlog.FolderConfig{Path: b.TempDir(), Parquet: parquet, MaxSize: 1 << 30, Log: slog.New(slog.DiscardHandler)})
		}
	}
	push := func(*testing.B) (*recordlog.Log, error) {
		return otlp.OpenLog(otlp.Target{Endpoint: collector.URL, Own: &otlp.OwnTraffic{Local: func(sniffer.Addr) bool { return false }}, Log: slog.New(slog.DiscardHandler)})
	}
	for _, way := range []struct {
		name string
		open func(b *testing.B) (*recordlog.Log, error)
	}{
		{"none", func(*testing.B) (*recordlog.Log, error) { return nil, nil }},
		{"NDJSON file", func(b *testing.B) (*recordlog.Log, error) {
			return recordlog.OpenFile(recordlog.FileConfig{Path: filepath.Join(b.TempDir(), "log"), MaxSize: 100 << 20, Keep: 1, Log: slog.New(slog.DiscardHandler)})
		}},
		{"NDJSON folder", folder(false)},
		{"Parquet folder", folder(true)},
		{"OTLP", push},
		{"OTLP, not compressed", func(b *testing.B) (*recordlog.Log, error) {
			b.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
			return push(b)
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			const atOnce, every = 500, 50 * time.Millisecond
			l, err := way.open(b)
			if err != nil {
				b.Fatal(err)
			}
			var o fact.Observer
			if l != nil {
				o = l.Observer()
			}
			tick := time.NewTicker(every)
			defer tick.Stop()
			before, n := cpuTime(b), 0
			for b.Loop() {
				if n%atOnce == 0 {
					<-tick.C
				}
				if o != nil {
					o.Connection(told[n%len(told)])
				}
				n++
			}
			if l != nil {
				l.Close(b.Context())
				if written, dropped := l.Counts(); dropped > 0 || written != uint64(n) {
					b.Errorf("%d written and %d dropped of %d", written, dropped, n)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(n), "cpu-µs/record")
		})
	}
}

// cpuTime returns the CPU time that this process took so far.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// A keeper keeps copies of the connections that it hears of.
type keeper struct{ list []*fact.Connection }

// Connection implements fact.Observer.
func (k *keeper) Connection(c *fact.Connection) {
	own := *c
	own.TLS, own.CouldReuse, own.Tunnel = copied(c.TLS), copied(c.CouldReuse), copied(c.Tunnel)
	own.Streams, own.Path, own.ReuseIdle = copied(c.Streams), copied(c.Path), slices.Clone(c.ReuseIdle)
	k.list = append(k.list, &own)
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	own := *p
	return &own
}

// demoConnections returns those of the demo.
func demoConnections(t testing.TB) []*fact.Connection {
	t.Helper()
	var k keeper
	read := readCmd{Files: []string{demoFile(t)}, analysis: analysis{ReuseWindow: time.Minute, MaxConnections: 1 << 16, MaxMemory: 64 << 20, Workers: 1}}
	p, _, err := read.analyse(t.Context(), console{out: io.Discard, err: io.Discard}, slog.New(slog.DiscardHandler), listen{reuseIdle: recordlog.IdleTimes, each: []func(int) fact.Observer{
		func(int) fact.Observer { return &k },
	}})
	if err != nil || p == nil || len(k.list) == 0 {
		t.Fatal(err)
	}
	return k.list
}
