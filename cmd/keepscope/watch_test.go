package main

import (
	"testing"
	"time"

	"github.com/keepscope/keepscope/exporter/report"
)

// TestLine: the line that stands for the screen marks what is estimated.
func TestLine(t *testing.T) {
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	at := func(seconds int, t report.Summary) *snapshot {
		return &snapshot{&report.Report{Capture: report.Capture{Packets: 1}, Totals: t}, start.Add(time.Duration(seconds) * time.Second)}
	}
	half := 0.5
	none := at(0, report.Summary{})
	counted := report.Summary{Connections: 1, Open: 1, Requests: 20, Effectiveness: &half, Wasted: report.Wasted{Total: 1, ByCause: map[string]uint64{"pool_miss": 1}}}
	encrypted := report.Summary{Connections: 1, Estimated: &report.Estimated{Connections: 1, Requests: 46}}
	both := counted
	both.Connections, both.Estimated = 3, encrypted.Estimated
	for _, tt := range []struct {
		name string
		t    report.Summary
		want string
	}{
		{"nothing", report.Summary{}, "10s  1 packet, 0 connections (0 open), 0 requests (0/s), 0 wasted handshakes"},
		{"counted", counted, "10s  1 packet, 1 connection (1 open), 20 requests (2/s), effectiveness 50.0 %, 1 wasted handshake (mostly pool_miss)"},
		{"estimated", encrypted, "10s  1 packet, 1 connection (0 open), ~46 requests (~5/s), ~0 wasted handshakes"},
		{"both", both, "10s  1 packet, 3 connections (1 open), 20 requests (2/s), effectiveness 50.0 %, 1 wasted handshake (mostly pool_miss), ~46 requests (~5/s), ~0 wasted handshakes"},
	} {
		if got := at(10, tt.t).line(none, start); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	dropped := at(10, counted)
	dropped.Capture.Dropped.Kernel = 2
	if got, want := dropped.line(none, start), ", 2 packets DROPPED"; got[len(got)-len(want):] != want {
		t.Errorf("%q", got)
	}
}
