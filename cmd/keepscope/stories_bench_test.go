package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/keepscope/keepscope/exporter/story"
)

// BenchmarkStories reads whole captures, those that KEEPSCOPE_PCAP names, as `run` does:
// with the stories that it keeps and without, by turns, in as many rounds as -benchtime 20x
// says. It reports the least CPU time without, for whatever else the machine does only
// adds to that, and how much more stories take: by the least of both, and by the median of
// the rounds. What user mode takes alone is not told: the kernel knows but the sum for sure.
func BenchmarkStories(b *testing.B) {
	files := filepath.SplitList(testVariables["KEEPSCOPE_PCAP"])
	if len(files) == 0 {
		b.Skip("KEEPSCOPE_PCAP names no capture")
	}
	kept := [2]*stories{nil, (&storyFlags{MaxStories: story.LiveStories}).stories(1)}
	for _, file := range files {
		b.Run(filepath.Base(file), func(b *testing.B) {
			var took [2][]float64 // seconds without, and with
			var more []float64    // of each round
			for b.Loop() {
				for i := range kept {
					with := (i + len(more)) % 2 // who is first is, too, by turns
					runtime.GC()
					before := cpuTime(b)
					readAll(b, file, listen{stories: kept[with]})
					took[with] = append(took[with], (cpuTime(b) - before).Seconds())
				}
				more = append(more, took[1][len(more)]-took[0][len(more)])
			}
			slices.Sort(more)
			least := slices.Min(took[0])
			b.ReportMetric(1e3*least, "ms-without")
			b.ReportMetric(100*(slices.Min(took[1])/least-1), "%more-least")
			b.ReportMetric(100*more[len(more)/2]/least, "%more-median")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// readAll reads a file with a pipeline of one worker.
func readAll(b *testing.B, file string, l listen) {
	b.Helper()
	r := readCmd{
		Files: []string{file}, metricFlags: metricFlags{MaxServers: 200},
		analysis: analysis{Workers: 1, ReuseWindow: time.Minute, MaxConnections: 1 << 18, MaxMemory: 256 << 20},
	}
	l.tally = r.metricFlags.tally(r.local)
	if _, _, err := r.analyse(context.Background(), console{out: io.Discard, err: io.Discard}, slog.New(slog.DiscardHandler), l); err != nil {
		b.Fatal(err)
	}
}
