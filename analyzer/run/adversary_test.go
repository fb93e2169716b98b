package run

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

const (
	honestClients = 12
	honestRounds  = 10 // connections of each, one after the other
	roundEvery    = 2 * time.Second
)

// honestTraffic is that of clients whose server ends each connection after its third
// request, so that all handshakes but the first are wasted.
func honestTraffic() []sniffer.Segment {
	var s sniffertest.Script
	for round := range honestRounds {
		for i := range honestClients {
			at := time.Duration(round)*roundEvery + time.Duration(i)*time.Millisecond
			c := s.Conn(fmt.Sprintf("10.1.0.%d:%d", 1+i, 40000+round), "10.2.0.1:80", sniffertest.ConnConfig{})
			c.Handshake(at, time.Millisecond)
			for _, response := range []string{response11, response11, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"} {
				at += 500 * time.Millisecond
				c.Client(at, []byte(request11))
				c.Server(at+time.Millisecond, []byte(response))
			}
			c.Close(at+2*time.Millisecond, sniffertest.Server, time.Millisecond)
		}
	}
	segments := s.Segments()
	sortByTime(segments)
	return segments
}

func sortByTime(segments []sniffer.Segment) {
	slices.SortStableFunc(segments, func(x, y sniffer.Segment) int { return cmp.Compare(x.Time, y.Time) })
}

// honest hears what is told of the honest clients.
type honest struct {
	lines          []string
	needed, wasted int
}

func (h *honest) Connection(c *fact.Connection) {
	if c.Client.Addr[12] != 10 || c.Client.Addr[13] != 1 || c.Requests == 0 { // the forged ones have none
		return
	}
	copied := *c
	copied.Packets = [2]uint32{} // forged ones count
	h.lines = append(h.lines, line(&copied))
	switch c.Verdict {
	case fact.VerdictNeeded:
		h.needed++
	case fact.VerdictWasted:
		h.wasted++
	}
}

// An adversary is who makes segments: the i-th of them is for make to say. A TCP stream
// goes on where it was.
type adversary struct {
	*rand.Rand
	next map[sniffer.Endpoint]uint32
	to   sniffer.Endpoint
}

func (a *adversary) anyone() sniffer.Endpoint {
	e := sniffer.Endpoint{Port: uint16(1024 + a.IntN(60000))}
	e.Addr[10], e.Addr[11], e.Addr[12] = 0xff, 0xff, 11
	e.Addr[13], e.Addr[14], e.Addr[15] = byte(a.IntN(256)), byte(a.IntN(256)), byte(a.IntN(256))
	return e
}

// one is the n-th of some few clients.
func (*adversary) one(n int) sniffer.Endpoint {
	e := sniffer.Endpoint{Port: uint16(2000 + n)}
	e.Addr[10], e.Addr[11], e.Addr[12], e.Addr[15] = 0xff, 0xff, 12, 1
	return e
}

func (a *adversary) says(from sniffer.Endpoint, b string) sniffer.Segment {
	s := sniffer.Segment{Protocol: sniffer.TCP, Src: from, Dst: a.to, Seq: 1 + a.next[from], Flags: sniffer.ACK, Window: 1000, Payload: []byte(b), Length: uint32(len(b))}
	a.next[from] += s.Length
	return s
}

func (a *adversary) syn(from, to sniffer.Endpoint) sniffer.Segment {
	return sniffer.Segment{Protocol: sniffer.TCP, Src: from, Dst: to, Seq: a.Uint32(), Flags: sniffer.SYN, Window: 1000}
}

func frame2(kind, flags byte, stream uint32, payload string) string {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

// unaskedAnswer is a DNS answer of many long names, and a chain of CNAMEs in reverse.
func unaskedAnswer() []byte {
	name := func(labels ...string) (b []byte) {
		for _, l := range labels {
			b = append(append(b, byte(len(l))), l...)
		}
		return append(b, 0)
	}
	b := append([]byte{0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, name("c0")...)
	b = append(b, 0, 1, 0, 1)
	long := byte(len(b))
	b = append(b, strings.Repeat("\x01x", 126)...)
	b = append(b, 0, 0, 16, 0, 1, 0, 0, 0, 9, 0, 0)
	for range 80 {
		b = append(b, 0xc0, long, 0, 16, 0, 1, 0, 0, 0, 9, 0, 0)
	}
	for j := 15; j >= 0; j-- {
		to := name(fmt.Sprintf("c%d", j+1))
		b = append(append(b, name(fmt.Sprintf("c%d", j))...), 0, 5, 0, 1, 0, 0, 0, 9, 0, byte(len(to)))
		b = append(b, to...)
	}
	b[7] = 97
	return b
}

// attacks are what is played beside the honest clients.
var attacks = []struct {
	name string
	make func(a *adversary, i int) sniffer.Segment
	work time.Duration // ordinary segments that one of it is worth, 0 for one
}{
	{"SYN flood", func(a *adversary, _ int) sniffer.Segment { return a.syn(a.anyone(), a.to) }, 0},
	{"ACK flood", func(a *adversary, _ int) sniffer.Segment { return a.says(a.anyone(), "") }, 0},
	{"port scan", func(a *adversary, i int) sniffer.Segment {
		to := a.to
		to.Port = uint16(i / 2)
		s := a.syn(a.one(0), to)
		if s.Seq = uint32(i / 2); i%2 == 1 {
			s.Src, s.Dst, s.Seq, s.Ack, s.Flags = s.Dst, s.Src, 0, s.Seq+1, sniffer.RST|sniffer.ACK
		}
		return s
	}, 0},
	{"DNS answers nobody asked for", func(a *adversary, i int) sniffer.Segment {
		b := unasked
		b[0], b[1] = byte(i>>8), byte(i)
		return sniffer.Segment{Protocol: sniffer.DNS, Src: sniffer.Endpoint{Addr: a.to.Addr, Port: 53}, Dst: a.anyone(), Payload: b, Length: uint32(len(b))}
	}, 0},
	{"RSTs that are not exact", func(a *adversary, i int) sniffer.Segment {
		e := sniffer.Endpoint{Port: uint16(40000 + i%honestRounds)}
		e.Addr[10], e.Addr[11], e.Addr[12], e.Addr[13], e.Addr[15] = 0xff, 0xff, 10, 1, byte(1+i%honestClients)
		return sniffer.Segment{Protocol: sniffer.TCP, Src: e, Dst: a.to, Seq: 2000 + uint32(a.IntN(1<<19)), Flags: sniffer.RST}
	}, 0},
	{"requests with a Host each", func(a *adversary, i int) sniffer.Segment {
		return a.says(a.anyone(), fmt.Sprintf("GET / HTTP/1.1\r\nHost: h%d.example\r\n\r\n", i))
	}, 0},
	{"PROXY headers of anybody", func(a *adversary, i int) sniffer.Segment {
		return a.says(a.anyone(), fmt.Sprintf("PROXY TCP4 192.0.%d.%d 10.2.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", i>>8&255, i&255))
	}, 0},
	{"PROXY junk", func(a *adversary, i int) sniffer.Segment {
		return a.says(a.anyone(), []string{"PROXY " + strings.Repeat(" ", 1000), "\r\n\r\n\x00\r\nQUIT\n\x21\x21\xff\xff" + strings.Repeat("\x00", 1000)}[i%2])
	}, 0},
	{"rapid reset", func(a *adversary, i int) sniffer.Segment {
		c := a.one(i % 50)
		if i < 50 {
			return a.says(c, preface+settings)
		}
		id := uint32(i/50)*2 - 1
		return a.says(c, frame2(1, 5, id, get1[9:])+frame2(3, 0, id, "\x00\x00\x00\x08"))
	}, 0},
	{"CONTINUATION flood", func(a *adversary, i int) sniffer.Segment {
		c := a.one(i % 50)
		switch {
		case i < 50:
			return a.says(c, preface+settings)
		case i < 100:
			return a.says(c, frame2(1, 1, 1, get1[9:]))
		}
		return a.says(c, frame2(9, 0, 1, strings.Repeat("\x40\x01x\x01y", 250)))
	}, 0},
	{"HPACK tables", func(a *adversary, i int) sniffer.Segment {
		c := a.one(i % 1000)
		if i < 1000 {
			return a.says(c, preface+settings)
		}
		return a.says(c, frame2(1, 5, uint32(i/1000)*2-1, "\x82\x84\x86"+strings.Repeat("\x40\x02xx\x7f\x09"+strings.Repeat("y", 136), 9)))
	}, 0},
	{"TLS records of nothing", func(a *adversary, i int) sniffer.Segment {
		c := a.one(i % 50)
		if i < 50 {
			return a.says(c, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03")
		}
		return a.says(c, strings.Repeat("\x17\x03\x03\x00\x00", 200))
	}, 0},
	{"ClientHellos of anybody", func(a *adversary, i int) sniffer.Segment {
		return a.says(a.anyone(), "\x16\x03\x01\x00\x49\x01\x00\x00\x45\x03\x03"+strings.Repeat("r", 32)+"\x00\x00\x02\x13\x01\x01\x00\x00\x1a\x00\x00\x00\x16\x00\x14\x00\x00\x11"+fmt.Sprintf("h%08d.example", i))
	}, 0},
	{"pipelined requests", func(a *adversary, i int) sniffer.Segment { return a.says(a.one(i%50), strings.Repeat(request11, 30)) }, 60},
	{"heads without an end", func(a *adversary, i int) sniffer.Segment {
		return a.says(a.one(i%5000), "GET / HTTP/1.1\r\nX: "+strings.Repeat("x", 1000))
	}, 0},
	{"holes", func(a *adversary, i int) sniffer.Segment {
		c := a.one(i % 500)
		a.next[c] += 3
		return a.says(c, "x")
	}, 0},
	{"chunks of one byte", func(a *adversary, i int) sniffer.Segment {
		if c := a.one(i % 50); i >= 50 {
			return a.says(c, strings.Repeat("1\r\nx\r\n", 200))
		}
		return a.says(a.one(i%50), "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
	}, 0},
}

var unasked = unaskedAnswer()

// besides plays an attack of n segments, nil for none, beside the honest clients. It
// returns what was told of those, the CPU time that each segment took, and the memory that
// was held at the end.
func besides(t *testing.T, n int, attack func(*adversary, int) sniffer.Segment) (h *honest, each time.Duration, held int64, w *Worker) {
	h = &honest{}
	w = NewWorker(reassembly.Config{MaxConnections: 1 << 16}, analyzer.Config{MaxConnections: 1 << 16}, h)
	segments := honestTraffic()
	start := segments[0].Time
	length := segments[len(segments)-1].Time - start
	a := &adversary{Rand: rand.New(rand.NewPCG(1, 2)), next: map[sniffer.Endpoint]uint32{}, to: endpointOf("10.2.0.1:80")}
	next := start
	process := func(s sniffer.Segment) {
		if s.Time >= next {
			w.sweep(s.Time)
			next = s.Time + sweepEvery
		}
		w.Process(s)
	}
	before := heap()
	var spent time.Duration
	batch := make([]sniffer.Segment, 0, 1024)
	for i := 0; i < n; {
		batch = batch[:0]
		for ; i < n && len(batch) < cap(batch); i++ {
			s := attack(a, i)
			s.Payload = slices.Clone(s.Payload)
			s.Time = start + length*int64(i)/int64(n)
			for len(segments) > 0 && segments[0].Time <= s.Time {
				batch = append(batch, segments[0])
				segments = segments[1:]
			}
			batch = append(batch, s)
		}
		began := cpuTime(t)
		for _, s := range batch {
			process(s)
		}
		spent += cpuTime(t) - began
	}
	for _, s := range segments {
		process(s)
	}
	a.next = nil
	held = heap() - before
	w.Flush()
	return h, spent / time.Duration(max(n, 1)), held, w
}

func endpointOf(s string) sniffer.Endpoint {
	var script sniffertest.Script
	script.Conn("10.0.0.1:1", s, sniffertest.ConnConfig{}).Handshake(0, time.Millisecond)
	return script.Segments()[0].Dst
}

func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestAdversary plays each attack beside honest clients: what is told of those stays as it
// is without, a segment of the attack costs at most 80 times an ordinary one, which includes to open a
// connection, or twice what its requests are worth, and what is
// held is bounded.
func TestAdversary(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 20_000
	}
	alone, _, _, _ := besides(t, 0, nil)
	if alone.needed != honestClients || alone.wasted != honestClients*(honestRounds-1) {
		t.Fatalf("alone: %d needed, %d wasted", alone.needed, alone.wasted)
	}
	exchange := newLoop(request11, response11)
	_, ordinary, _, _ := besides(t, n, func(_ *adversary, i int) sniffer.Segment {
		if i < len(exchange.open) {
			return exchange.open[i]
		}
		if i -= len(exchange.open); i%2 == 0 && i > 0 {
			exchange.next()
		}
		return exchange.exchange[i%2]
	})
	const most = 80
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			h, each, held, w := besides(t, n, attack.make)
			bound := max(most, 2*attack.work) * ordinary
			for range 2 { // whoever else uses the machine slows a run by its caches
				if each > bound {
					_, again, _, _ := besides(t, n, attack.make)
					each = min(each, again)
				}
			}
			t.Logf("%v a segment, an ordinary one %v, %d MiB held; limits %v", each, ordinary, held>>20, met(w))
			for _, l := range difference(h.lines, alone.lines) {
				t.Errorf("beside it: %s", l)
			}
			for _, l := range difference(alone.lines, h.lines) {
				t.Errorf("without it: %s", l)
			}
			if each > bound {
				t.Errorf("%v a segment, where an ordinary one takes %v", each, ordinary)
			}
			if held > 160<<20 {
				t.Errorf("%d MiB are held", held>>20)
			}
		})
	}
}

// difference returns the lines of x that y has not.
func difference(x, y []string) []string {
	return slices.DeleteFunc(slices.Clone(x), func(l string) bool { return slices.Contains(y, l) })
}

// met returns the limits that were met.
func met(w *Worker) (all []string) {
	for _, l := range w.Limits() {
		if l.Count > 0 {
			all = append(all, fmt.Sprintf("%s %d", l.Name, l.Count))
		}
	}
	return all
}
