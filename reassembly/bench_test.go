//go:build unix

package reassembly

import (
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

// A counter is the cheapest Handler that still looks at what it gets.
type counter struct{ bytes, gaps, opens, ends int }

func (k *counter) Open(*Conn)                             { k.opens++ }
func (k *counter) Data(_ *Conn, _ Dir, p []byte)          { k.bytes += len(p) }
func (k *counter) Gap(_ *Conn, _ Dir, n int64, _ GapKind) { k.gaps += int(n) }
func (k *counter) End(*Conn, Dir, End)                    { k.ends++ }

// A talk is one connection of a benchmark.
type talk struct {
	from sniffer.Endpoint
	seq  [2]uint32
}

func talks(n int) []talk {
	rng := rand.New(rand.NewPCG(1, 1))
	out := make([]talk, n)
	for i := range out {
		e := client
		e.Addr[14], e.Addr[13] = byte(i>>16), byte(i>>24)
		e.Port = uint16(i)
		out[i] = talk{from: e, seq: [2]uint32{rng.Uint32(), rng.Uint32()}}
	}
	return out
}

// send makes a segment of the talk's side d.
func (k *talk) send(s *sniffer.Segment, d Dir, flags sniffer.Flags, p []byte) {
	*s = sniffer.Segment{Time: s.Time + 1000, Src: k.from, Dst: server, Seq: k.seq[d], Ack: k.seq[d^1], Flags: flags, Window: 64240, Payload: p, Length: uint32(len(p))}
	if d == Server {
		s.Src, s.Dst = s.Dst, s.Src
	}
	k.seq[d] += uint32(len(p))
	if flags&(syn|fin) != 0 {
		k.seq[d]++
	}
}

func established(c *Conn) bool { return c.SYNSeen() && c.SYNACKSeen() && c.ACKSeen() }

func (k *talk) open(a *Assembler, s *sniffer.Segment) {
	k.send(s, Client, syn, nil)
	a.Process(s)
	k.send(s, Server, syn|ack, nil)
	a.Process(s)
	k.send(s, Client, ack, nil)
	a.Process(s)
}

func (k *talk) close(a *Assembler, s *sniffer.Segment) {
	k.send(s, Server, fin|ack, nil)
	a.Process(s)
	k.send(s, Client, fin|ack, nil)
	a.Process(s)
	k.send(s, Server, ack, nil)
	a.Process(s)
}

var (
	request  = make([]byte, 120)
	response = make([]byte, 1300)
)

// opened returns an Assembler with n established connections that have each
// sent a request and a response.
func opened(n int) (*Assembler, []talk, *sniffer.Segment) {
	a, ks, s := New(Config{}, &counter{}), talks(n), &sniffer.Segment{}
	for i := range ks {
		ks[i].open(a, s)
		ks[i].exchange(a, s)
	}
	return a, ks, s
}

func (k *talk) exchange(a *Assembler, s *sniffer.Segment) {
	k.send(s, Client, ack, request)
	a.Process(s)
	k.send(s, Server, ack, response)
	a.Process(s)
	k.send(s, Client, ack, nil)
	a.Process(s)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkProcess(b *testing.B) {
	var start time.Duration // CPU time: other work on the machine does not count
	perSegment := func(b *testing.B, n int) {
		b.ReportMetric(float64(cpuTime()-start)/float64(b.N*n), "cpu-ns/segment")
	}
	for name, n := range map[string]int{"InOrder100": 100, "InOrder100000": 100000} {
		b.Run(name, func(b *testing.B) {
			a, ks, s := opened(n)
			b.ReportAllocs()
			start = cpuTime()
			for i := 0; b.Loop(); i++ {
				ks[i*7919%n].exchange(a, s)
				if i%85 == 0 {
					a.Sweep(s.Time)
				}
			}
			perSegment(b, 3)
		})
	}
	b.Run("OutOfOrder", func(b *testing.B) {
		a, ks, s := opened(100)
		b.ReportAllocs()
		start = cpuTime()
		for i := 0; b.Loop(); i++ {
			k := &ks[i%100]
			base := k.seq[Server]
			for _, place := range [...]uint32{1, 2, 3, 0} {
				k.seq[Server] = base + place*uint32(len(response))
				k.send(s, Server, ack, response)
				a.Process(s)
			}
			k.seq[Server] = base + 4*uint32(len(response))
		}
		perSegment(b, 4)
	})
	b.Run("Churn", func(b *testing.B) {
		a, ks, s := New(Config{}, &counter{}), talks(1<<17), &sniffer.Segment{}
		b.ReportAllocs()
		start = cpuTime()
		for i := 0; b.Loop(); i++ {
			k := &ks[i%len(ks)]
			k.open(a, s)
			k.exchange(a, s)
			k.close(a, s)
			if i%28 == 0 {
				a.Sweep(s.Time)
			}
		}
		perSegment(b, 9)
	})
	b.Run("SYNFlood", func(b *testing.B) {
		a, ks, s := New(Config{MaxConnections: 1 << 14}, &counter{}), talks(1<<18), &sniffer.Segment{}
		b.ReportAllocs()
		start = cpuTime()
		for i := 0; b.Loop(); i++ {
			ks[i%len(ks)].send(s, Client, syn, nil)
			a.Process(s)
		}
		perSegment(b, 1)
	})
}

// BenchmarkSmallPages sends early bytes, each alone between two holes, to a
// direction whose pages are nearly used up with such bytes: the search for their
// place must not read them all.
func BenchmarkSmallPages(b *testing.B) {
	const places = 480
	a, ks, s := opened(1)
	k := &ks[0]
	base := k.seq[Server] + 1
	send := func(place uint32) {
		k.seq[Server] = base + 2*place
		k.send(s, Server, ack, request[:1])
		a.Process(s)
	}
	for i := range uint32(places) {
		send(i * 7 % places)
	}
	start := cpuTime()
	for i := 0; b.Loop(); i++ {
		send(uint32(i*131) % places) // it is there: only the search is left
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/segment")
	if st := a.Stats(); st.Buffered != places*pageSize || st.MissingBytes != 0 {
		b.Errorf("%+v", st)
	}
}

func TestAllocations(t *testing.T) {
	a, ks, s := opened(1000)
	i := 0
	tests := []struct {
		name string
		do   func(k *talk)
	}{
		{"in order", func(k *talk) { k.exchange(a, s) }},
		{"out of order", func(k *talk) {
			base := k.seq[Server]
			k.seq[Server] += uint32(len(response))
			k.send(s, Server, ack, response)
			a.Process(s)
			k.seq[Server] = base
			k.send(s, Server, ack, response)
			a.Process(s)
			k.seq[Server] += uint32(len(response))
		}},
		{"close and open", func(k *talk) { k.close(a, s); k.open(a, s); k.exchange(a, s) }},
		{"sweep", func(*talk) { s.Time += 1e6; a.Sweep(s.Time) }},
	}
	for range 20000 { // fills the closed ring
		ks[0].close(a, s)
		ks[0].open(a, s)
		ks[0].exchange(a, s)
	}
	for _, tt := range tests {
		if n := testing.AllocsPerRun(2000, func() { i++; tt.do(&ks[i%len(ks)]) }); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
	if st := a.Stats(); st.Open != 1000 || st.MissingBytes != 0 {
		t.Errorf("%+v", st)
	}
}

// TestMemory holds the promise of the package documentation.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a, _, _ := opened(100000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if mib := float64(after.HeapAlloc-before.HeapAlloc) / (1 << 20); mib > 15 {
		t.Errorf("100 000 connections take %.1f MiB, more than 15", mib)
	} else {
		t.Logf("100 000 connections take %.1f MiB", mib)
	}
	a.Flush()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if mib := float64(after.HeapAlloc) / (1 << 20); mib > float64(before.HeapAlloc)/(1<<20)+1 {
		t.Errorf("%.1f MiB are left after Flush", mib)
	}
	runtime.KeepAlive(a)
}

// TestCaps fills each table and buffer past its cap.
func TestCaps(t *testing.T) {
	t.Run("connections", func(t *testing.T) {
		k := &counter{}
		a, ks, s := New(Config{MaxConnections: 1000}, k), talks(5000), &sniffer.Segment{}
		ks[0].open(a, s) // established before the flood, and used during it
		for i := 1; i < len(ks); i++ {
			ks[i].send(s, Client, syn, nil)
			a.Process(s)
			if i%100 == 0 {
				ks[0].exchange(a, s)
			}
			if st := a.Stats(); st.Open > 1000 {
				t.Fatalf("%d connections open", st.Open)
			}
		}
		if st := a.Stats(); st.Evicted != 4000 || st.Connections != 5000 {
			t.Errorf("%d evicted of %d, want 4000 of 5000: the flood is to pay", st.Evicted, st.Connections)
		}
		a.Flush()
		if k.opens != k.ends {
			t.Errorf("%d opens and %d ends", k.opens, k.ends)
		}
	})
	t.Run("longest silent goes first", func(t *testing.T) {
		a, ks, s := New(Config{MaxConnections: 20}, &counter{}), talks(21), &sniffer.Segment{}
		for i := range 20 {
			ks[i].open(a, s)
		}
		for i := range 20 {
			if i != 13 {
				ks[i].exchange(a, s)
			}
		}
		ks[20].open(a, s)
		if c := a.Conn(13); c.Endpoint[Client] != ks[20].from {
			t.Errorf("the place of %v was not taken", c.Endpoint[Client])
		}
	})
	t.Run("overdue before evicted", func(t *testing.T) {
		a, ks, s := New(Config{MaxConnections: 2}, &counter{}), talks(3), &sniffer.Segment{}
		ks[0].open(a, s)
		s.Time += int64(time.Hour)
		ks[1].open(a, s)
		ks[2].open(a, s)
		if st := a.Stats(); st.Evicted != 0 || st.TimedOut != 1 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("closed", func(t *testing.T) {
		a, ks, s := New(Config{MaxClosed: 64}, &counter{}), talks(1000), &sniffer.Segment{}
		for i := range ks {
			ks[i].open(a, s)
			ks[i].close(a, s)
			a.Process(s) // the last ACK again
			if st := a.Stats(); st.Closed > 64 || st.Open != 0 {
				t.Fatalf("%+v", st)
			}
		}
		if st := a.Stats(); st.Late != 1000 {
			t.Errorf("%d late segments, want the 1000 last ACKs' copies", st.Late)
		}
		a.Sweep(s.Time + int64(time.Hour))
		if st := a.Stats(); st.Closed != 0 {
			t.Errorf("%d closed records after an hour", st.Closed)
		}
	})
	t.Run("established, then a flood", func(t *testing.T) {
		k := &counter{}
		a, ks, s := New(Config{MaxConnections: 1000}, k), talks(100000), &sniffer.Segment{}
		for i := range 1000 {
			ks[i].open(a, s)
			ks[i].exchange(a, s)
		}
		for i := 1000; i < len(ks); i++ {
			ks[i].send(s, Client, [...]sniffer.Flags{syn, ack, syn | ack}[i%3], nil)
			a.Process(s)
		}
		if st := a.Stats(); st.Evicted-st.EvictedHalfOpen > 1 || st.Evicted != 99000 {
			t.Errorf("%d evicted, %d of them half open: the flood took more than one place", st.Evicted, st.EvictedHalfOpen)
		}
	})
	t.Run("handshakes in a flood", func(t *testing.T) {
		const honest, between = 50, 500
		a, ks, s := New(Config{MaxConnections: 1000}, &counter{}), talks(honest+3*honest*between), &sniffer.Segment{}
		flood := ks[honest:]
		for i := range honest {
			for _, step := range []struct {
				d Dir
				f sniffer.Flags
			}{{Client, syn}, {Server, syn | ack}, {Client, ack}} {
				ks[i].send(s, step.d, step.f, nil)
				a.Process(s)
				for range between {
					flood[0].send(s, Client, syn, nil)
					a.Process(s)
					flood = flood[1:]
				}
			}
		}
		whole := 0
		for id := range a.arena.span() {
			if c := a.Conn(id); c != nil && established(c) {
				whole++
			}
		}
		if st := a.Stats(); whole != honest || st.Evicted != st.EvictedHalfOpen {
			t.Errorf("%d of %d handshakes are whole; %d evicted, %d of them half open", whole, honest, st.Evicted, st.EvictedHalfOpen)
		}
	})
	t.Run("the oldest hole goes first", func(t *testing.T) {
		var r recorder
		a, ks, s := New(Config{MaxBuffered: 3 * pageSize}, &r), talks(4), &sniffer.Segment{}
		for i := range ks {
			ks[i].open(a, s)
		}
		for i := range ks {
			ks[i].seq[Server]++ // a hole
			ks[i].send(s, Server, ack, []byte{'a' + byte(i)})
			a.Process(s)
		}
		want := []string{"1 s lost 1", "1 s data a"}
		if d := cmp.Diff(want, r.lines[len(ks):]); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
		if st := a.Stats(); st.HolesGivenUp != 1 || st.Buffered != 3*pageSize {
			t.Errorf("%+v", st)
		}
	})
	for _, tt := range []struct {
		name              string
		talks, most, each int // pages
	}{
		{"buffered of a direction", 2, 60, 30},
		{"buffered in total", 50, 100, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{MaxBuffered: 100 * pageSize, MaxBufferedPerDirection: 30 * pageSize}
			a, ks, s := New(cfg, &counter{}), talks(tt.talks), &sniffer.Segment{}
			for i := range ks {
				ks[i].open(a, s)
			}
			most, each := 0, 0
			for j := range 200 {
				for i := range ks {
					ks[i].seq[Server] += 2 // a hole before each segment
					ks[i].send(s, Server, ack, request[:1+j%2*100])
					a.Process(s)
					most = max(most, a.Stats().Buffered)
					for id := range uint32(len(ks)) {
						if r := a.Conn(id).cold; r != nil && r.queue[Server] != nil {
							each = max(each, len(r.queue[Server].live()))
						}
					}
				}
			}
			if most != tt.most*pageSize || each != tt.each {
				t.Errorf("at most %d bytes, and %d pages of one direction, want %d and %d", most, each, tt.most*pageSize, tt.each)
			}
			a.Flush()
			if st := a.Stats(); st.Buffered != 0 || st.MissingBytes != uint64(2*200*len(ks)) {
				t.Errorf("%+v", st)
			}
		})
	}
	t.Run("idle connections are swept", func(t *testing.T) {
		a, _, s := opened(5000)
		for range 100 {
			a.Sweep(s.Time + int64(10*time.Minute))
		}
		if st := a.Stats(); st.Open != 5000 {
			t.Errorf("%d left before the time", st.Open)
		}
		a.Sweep(s.Time + int64(12*time.Minute))
		if st := a.Stats(); st.Open != 0 || st.TimedOut != 5000 {
			t.Errorf("%+v", st)
		}
	})
}
