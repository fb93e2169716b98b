package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
// them at once, and each another. 5 µs a record are 5 % of a core. What "none" takes is
// the benchmark's own. The first second, in which memory is made that is kept, does not
// count; a file's completion does. The collector is a process of its own, and reads what
// it gets.
func BenchmarkRecords(b *testing.B) {
	if os.Getenv(collectorChild) != "" {
		collect(b)
		return
	}
	collector := startCollector(b)
	told := demoConnections(b)
	folder := func(parquet bool) func(b *testing.B) (*recordlog.Log, error) {
		return func(b *testing.B) (*recordlog.Log, error) {
			return recordlog.OpenFolder(recordlog.FolderConfig{Path: b.TempDir(), Parquet: parquet, MaxSize: 1 << 30, Log: slog.New(slog.DiscardHandler)})
		}
	}
	push := func(*testing.B) (*recordlog.Log, error) {
		return otlp.OpenLog(otlp.Target{Endpoint: collector, Own: &otlp.OwnTraffic{Local: func(sniffer.Addr) bool { return false }}, Log: slog.New(slog.DiscardHandler)})
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
			const atOnce, every, warm = 500, 50 * time.Millisecond, 10_000
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
			n := 0
			tell := func() {
				if n%atOnce == 0 {
					<-tick.C
				}
				if o != nil {
					c := told[n%len(told)]
					c.ID += 0x9e3779b97f4a7c15 // each is new, and the time goes on
					c.Client.Port = uint16(c.ID >> 32)
					c.Start += int64(time.Second)
					c.End += int64(time.Second)
					o.Connection(c)
				}
				n++
			}
			for n < warm {
				tell()
			}
			if l != nil {
				l.Reopen() // nothing of these is left to be written
				for written, dropped := l.Counts(); written+dropped < warm; written, dropped = l.Counts() {
					<-tick.C
				}
			}
			before := cpuTime(b)
			for b.Loop() {
				tell()
			}
			if l != nil {
				l.Close(b.Context())
				if written, dropped := l.Counts(); dropped > 0 || written != uint64(n) {
					b.Errorf("%d written and %d dropped of %d", written, dropped, n)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(n-warm), "cpu-µs/record")
		})
	}
}

// collectorChild has the test's own program take what is pushed, until its input ends.
const collectorChild = "TEST_COLLECTOR"

// startCollector starts a collector in a process of its own, and returns its address.
func startCollector(b *testing.B) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkRecords$")
	cmd.Env = append(os.Environ(), collectorChild+"=1")
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // it was to end
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if at := strings.Index(lines.Text(), "http://"); at >= 0 {
			return lines.Text()[at:]
		}
	}
	b.Fatal("the collector did not say where it is")
	return ""
}

// collect is the collector.
func collect(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
	}))
	defer s.Close()
	if _, err := fmt.Println(s.URL); err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// cpuTime returns the CPU time that this process took so far.
func cpuTime(b testing.TB) time.Duration {
	b.Helper()
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
