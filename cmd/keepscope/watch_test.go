package main

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// TestWriteKeepsPorts: with --ports the file of --write has nothing of other ports, nor
// what is looked up.
func TestWriteKeepsPorts(t *testing.T) {
	s := sniffertest.MustParse("dns 10.0.0.1 10.0.0.53 query shop.example type=A")
	for i, server := range []string{"10.0.0.9:80", "10.0.0.9:81", "10.0.0.8:8080", "[2001:db8::1]:80"} {
		client := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(40000+i))
		if netip.MustParseAddrPort(server).Addr().Is6() {
			client = netip.MustParseAddrPort("[2001:db8::2]:40000")
		}
		c := s.Conn(client.String(), server, sniffertest.ConnConfig{})
		c.Handshake(time.Duration(i)*time.Second, time.Millisecond)
		c.Client(time.Duration(i)*time.Second+2*time.Millisecond, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	}
	frames, err := s.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		ports []uint16
		want  []uint16 // of servers, once for each frame
	}{
		{"all", nil, []uint16{53, 80, 80, 80, 80, 81, 81, 81, 81, 8080, 8080, 8080, 8080, 80, 80, 80, 80}},
		{"one", []uint16{80}, []uint16{80, 80, 80, 80, 80, 80, 80, 80}},
		{"two", []uint16{8080, 81}, []uint16{81, 81, 81, 81, 8080, 8080, 8080, 8080}},
		{"none seen", []uint16{443}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kept.pcap")
			file, err := newPCAPTee(path, tt.ports)
			if err != nil {
				t.Fatal(err)
			}
			src, err := file.tee(&sniffertest.Source{Frames: frames, Size: 4}, []sniffer.LinkType{sniffer.LinkRaw}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			read := portsOf(t, src)
			if err := file.close(); err != nil {
				t.Fatal(err)
			}
			if len(read) != len(frames) {
				t.Errorf("%d frames are analysed of %d", len(read), len(frames))
			}
			kept, err := capfile.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer kept.Close()
			if diff := cmp.Diff(tt.want, portsOf(t, kept)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// portsOf returns the lower port of each frame.
func portsOf(t *testing.T, src sniffer.Source) (ports []uint16) {
	t.Helper()
	d := sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true})
	for {
		var b sniffer.Batch
		err := src.Read(&b)
		for i := range b.Frames {
			var s sniffer.Segment
			if !d.Decode(&b.Frames[i], &s) {
				t.Error("a frame that is not decoded")
			}
			ports = append(ports, slices.Min([]uint16{s.Src.Port, s.Dst.Port}))
		}
		if errors.Is(err, io.EOF) {
			return ports
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

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
