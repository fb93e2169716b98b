package run

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// scripted plays n connections, each with a handshake of its own, in order of time.
func scripted(w *Worker, n int, play func(c *sniffertest.Conn, i int, at time.Duration)) {
	for i := range n {
		var s sniffertest.Script
		c := s.Conn(fmt.Sprintf("10.0.%d.%d:%d", i>>16, i>>8&255, 1024+i&255), "10.2.0.1:80", sniffertest.ConnConfig{})
		at := time.Duration(i) * 10 * time.Millisecond
		c.Handshake(at, time.Millisecond)
		play(c, i, at+2*time.Millisecond)
		w.Process(s.Segments()...)
	}
}

// asked plays n connections of one request each, each of another name.
func asked(name string) func(*Worker, int) {
	return func(w *Worker, n int) {
		scripted(w, n, func(c *sniffertest.Conn, i int, at time.Duration) {
			c.Client(at, fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: "+name+"\r\n\r\n", i))
			c.Server(at, []byte(response11))
			c.Close(at+time.Millisecond, sniffertest.Server, time.Millisecond)
		})
	}
}

// TestLimits meets each cap that is shown, and finds it counted.
func TestLimits(t *testing.T) {
	many := func(text func(i int) string) func(*Worker, int) {
		return func(w *Worker, n int) {
			scripted(w, n, func(c *sniffertest.Conn, i int, at time.Duration) { c.Client(at, []byte(text(i))) })
		}
	}
	dns := func(flags byte) func(*Worker, int) {
		return func(w *Worker, n int) {
			for i := range n {
				name := fmt.Sprintf("%06d", i)
				client := sniffer.Endpoint{Addr: [16]byte{15: 9}, Port: uint16(1024 + i)}
				resolver := sniffer.Endpoint{Addr: [16]byte{15: 8}, Port: 53}
				question := "\x06" + name + "\x00\x00\x01\x00\x01"
				b := string([]byte{byte(i >> 8), byte(i), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}) + question
				w.Process(sniffer.Segment{Protocol: sniffer.DNS, Time: int64(i) * 1e6, Src: client, Dst: resolver, Payload: []byte(b)})
				if flags != 0 {
					b = string([]byte{byte(i >> 8), byte(i), 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}) + question + "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + string([]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
					w.Process(sniffer.Segment{Protocol: sniffer.DNS, Time: int64(i)*1e6 + 1, Src: resolver, Dst: client, Payload: []byte(b)})
				}
			}
		}
	}
	tests := map[string]struct {
		reassembly reassembly.Config
		analyzer   analyzer.Config
		n          int
		play       func(w *Worker, n int)
	}{
		"connections": {reassembly: reassembly.Config{MaxConnections: 10}, n: 20, play: many(func(int) string { return request11 })},
		"out_of_order_bytes": {reassembly: reassembly.Config{MaxBuffered: 16 << 10}, n: 20, play: func(w *Worker, n int) {
			scripted(w, n, func(c *sniffertest.Conn, _ int, at time.Duration) {
				c.Gap(sniffertest.Client, 10)
				c.Client(at, []byte(request11))
			})
		}},
		"unsettled_handshakes": {n: 3 << 14, play: func(w *Worker, n int) {
			var s sniffertest.Script // each replaces one that a RST has closed, and that may say otherwise yet
			for i := range n {
				at := time.Duration(i) * 10 * time.Microsecond
				c := s.Conn(fmt.Sprintf("10.0.0.1:%d", 1024+i), "10.2.0.1:80", sniffertest.ConnConfig{})
				c.Handshake(at, 2*time.Microsecond)
				c.Client(at+3*time.Microsecond, []byte(request11))
				c.Server(at+4*time.Microsecond, []byte(response11))
				c.Send(sniffertest.Message{At: at + 5*time.Microsecond, From: sniffertest.Server, Flags: sniffer.RST})
			}
			w.Process(s.Segments()...)
		}},
		"traces": {analyzer: analyzer.Config{Traces: 4, MaxTraced: 5}, n: 20, play: many(func(int) string { return request11 })},
		"belated_answers": {n: 20, play: func(w *Worker, n int) {
			scripted(w, n, func(c *sniffertest.Conn, _ int, at time.Duration) {
				c.Client(at, []byte(strings.Repeat(request11, 1000)))
				c.Send(sniffertest.Message{At: at + time.Millisecond, From: sniffertest.Client, Flags: sniffer.FIN | sniffer.ACK})
				c.Server(at+2*time.Millisecond, []byte(strings.Repeat(response11, 1000)))
			})
		}},
		"host_names": {n: 20_000, play: asked("h%d.example")},
		"cut_header_bytes": {analyzer: analyzer.Config{MaxHeaderBytes: 10_000}, n: 20, play: many(func(int) string {
			return "GET / HTTP/1.1\r\nHost: " + strings.Repeat("x", 20_000)
		})},
		"cut_tls_hellos": {analyzer: analyzer.Config{MaxHeaderBytes: 10_000}, n: 20, play: many(func(int) string {
			return "\x16\x03\x01\x3f\x00\x01\x00\x3e\xfc\x03\x03" + strings.Repeat("x", 1000)
		})},
		"pipelined_requests": {n: 300, play: many(func(int) string { return strings.Repeat(request11, 1024) })},
		"hpack_tables":       {analyzer: analyzer.Config{MaxHeaderBytes: 2000}, n: 20, play: many(func(int) string { return preface + settings + get1 })},
		"header_blocks": {n: 1, play: many(func(int) string {
			return preface + settings + frame2(1, 1, 1, "\x82\x84\x86") + strings.Repeat(frame2(9, 0, 1, strings.Repeat("\x00\x01x\x01y", 3000)), 6)
		})},
		"open_streams": {n: 1, play: many(func(int) string {
			b := preface + settings
			for i := range uint32(1500) {
				b += frame2(1, 5, 2*i+1, "\x82\x84\x86")
			}
			return b
		})},
		"frame_lengths": {n: 1, play: many(func(int) string { return preface + settings + "\x00\x40\x01" + "\x01\x04\x00\x00\x00\x01" })},
		"held_tls_records": {analyzer: analyzer.Config{Keys: keylog.New(0)}, n: 1, play: func(w *Worker, n int) {
			heard := encrypted(t, []said{{fromClient, strings.Repeat("x", 200_000)}}, tls.VersionTLS13, false, &logWriter{})
			scripted(w, n, func(c *sniffertest.Conn, _ int, at time.Duration) {
				for _, m := range heard {
					c.Send(sniffertest.Message{At: at, From: sniffertest.Side(m.from), Payload: []byte(m.text)})
				}
			})
		}},
		"tls_lines": {analyzer: analyzer.Config{Keys: keylog.New(0)}, n: 1, play: func(w *Worker, _ int) {
			conns := []keyedConn{{host: 1}, {host: 1}}
			for i := range conns {
				conns[i].heard = encrypted(t, slices.Repeat(someTalks[0], 400*i), tls.VersionTLS13, false, &logWriter{})
				conns[i].gaps = make([]time.Duration, len(conns[i].heard))
			}
			for _, f := range keyedFrames(t, conns) {
				var s sniffer.Segment
				if sniffer.NewDecoder(sniffer.DecoderConfig{}).Decode(&f, &s) {
					w.Process(s)
				}
			}
		}},
		"pool_pairs": {analyzer: analyzer.Config{MaxConnections: 10}, n: 20, play: asked("a%d.example")},
		"pool_slots": {analyzer: analyzer.Config{MaxConnections: 2}, n: 20, play: many(func(int) string { return request11 })},
		"pool_origins": {n: 300, play: func(w *Worker, n int) {
			var s sniffertest.Script
			for i := range n {
				c := s.Conn(fmt.Sprintf("10.0.0.1:%d", 1024+i), "10.2.0.1:80", sniffertest.ConnConfig{})
				c.Handshake(0, time.Millisecond)
				c.Client(2*time.Millisecond, fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: h%d.example\r\n\r\n", i))
			}
			w.Process(s.Segments()...)
		}},
		"pool_losses": {n: 100, play: func(w *Worker, n int) {
			var s sniffertest.Script
			for i := range 2 * n {
				at := time.Duration(i/n) * time.Second // those of the second round replace the first
				c := s.Conn(fmt.Sprintf("10.0.0.1:%d", 1024+i), "10.2.0.1:80", sniffertest.ConnConfig{})
				c.Handshake(at, time.Millisecond)
				c.Client(at+2*time.Millisecond, []byte(request11))
				c.Server(at+3*time.Millisecond, []byte(response11))
				c.Close(at+4*time.Millisecond, sniffertest.Server, time.Millisecond)
			}
			segments := s.Segments()
			sortByTime(segments)
			w.Process(segments...)
		}},
		"dns_names":   {n: 70_000, play: dns(1)},
		"dns_queries": {n: 40_000, play: dns(0)},
		"dns_timings": {n: 40_000, play: dns(1)},
	}
	shown := NewWorker(reassembly.Config{}, analyzer.Config{Keys: keylog.New(0), Traces: 1}).Limits()
	if len(shown) != len(tests) {
		t.Errorf("%d limits are shown, %d met", len(shown), len(tests))
	}
	for _, l := range shown {
		t.Run(l.Name, func(t *testing.T) {
			tt, ok := tests[l.Name]
			if !ok {
				t.Fatal("no test meets it")
			}
			w := NewWorker(tt.reassembly, tt.analyzer, deaf{})
			tt.play(w, tt.n)
			w.Flush()
			for _, got := range w.Limits() {
				if got.Name == l.Name && got.Count == 0 {
					t.Errorf("it is not counted; %v are", met(w))
				}
			}
			if l.Means == "" {
				t.Error("what it means is not said")
			}
		})
	}
}

// requests counts those of all connections.
type requests uint32

func (r *requests) Connection(c *fact.Connection) { *r += requests(c.Requests) }

// TestOpenStreamsFollowMemory holds the lists of open streams of all connections to
// MaxHeaderBytes: connections beyond are counted, and their streams not followed.
func TestOpenStreamsFollowMemory(t *testing.T) {
	const list = 64 // bytes of the smallest, of eight streams
	var heard requests
	w := NewWorker(reassembly.Config{}, analyzer.Config{MaxHeaderBytes: 10 * list}, &heard)
	scripted(w, 15, func(c *sniffertest.Conn, _ int, at time.Duration) {
		c.Client(at, []byte(preface+settings+frame2(1, 5, 1, "\x82\x84\x86")))
	})
	for _, l := range w.Limits() {
		if l.Name == "open_streams" && l.Count != 5 {
			t.Errorf("%d streams were not followed, want 5", l.Count)
		}
	}
	w.Flush()
	if heard != 15 {
		t.Errorf("%d requests are counted, want 15", heard)
	}
}
