package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkRead reports on whole captures, those that KEEPSCOPE_PCAP names (a
// list as PATH is), without metrics and with them. `make profile` records it,
// for the compiler to go by.
func BenchmarkRead(b *testing.B) {
	files := filepath.SplitList(testVariables["KEEPSCOPE_PCAP"])
	if len(files) == 0 {
		b.Skip("KEEPSCOPE_PCAP names no capture")
	}
	metrics := filepath.Join(b.TempDir(), "metrics.prom")
	for b.Loop() {
		for _, file := range files {
			for _, args := range [][]string{{"read", file}, {"read", "--metrics-file", metrics, file}} {
				if status := run(context.Background(), args, console{out: io.Discard, err: os.Stderr}); status != exitDone {
					b.Fatalf("%v: exit status %d", args, status)
				}
			}
		}
	}
}
