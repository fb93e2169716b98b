package pool

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const ids = 24 // connections alive at once in random streams

// check holds the structure against itself.
func check(t testing.TB, p *numbered) {
	t.Helper()
	pairRefs := make([]int32, p.pairs.made)
	inHeap := make([]bool, p.slots.made)
	holder := make([]uint32, p.slots.made)
	lent := 0
	for i := range p.conns {
		c, me := &p.conns[i], uint32(i+1)
		if c.pair == 0 {
			continue
		}
		pairRefs[c.pair]++
		if c.holds && holder[c.slot] != 0 {
			t.Fatalf("slot %d has two holders", c.slot)
		}
		if c.holds {
			holder[c.slot] = me
		}
		if s := p.slots.at(c.slot); c.holds && c.provisional && (s.heap == stale || s.rider == me) {
			t.Fatalf("slot %d: connection %d has it by its SYN, and yet rode it or left it out of place: %+v", c.slot, me, s)
		}
		for i, before := c.lent, int32(0); i != 0; i, before = p.slots.at(i).after, i {
			lent++
			if s := p.slots.at(i); !s.lent || s.rider != me || s.before != before || i == c.slot && !c.holds {
				t.Fatalf("slot %d is in the list of connection %d: %+v", i, me, s)
			}
		}
	}
	var walk func(i, pr int32)
	walk = func(i, pr int32) {
		for c, prev := p.slots.at(i).child, i; c != 0; c, prev = p.slots.at(c).next, c {
			if o := p.slots.at(c); o.prev != prev || o.heap != stale && o.later(p.slots.at(i)) {
				t.Fatalf("slot %d below %d: link or order broken", c, i)
			}
			walk(c, pr)
		}
		if s := p.slots.at(i); inHeap[i] || s.pair != pr || s.rider == 0 {
			t.Fatalf("slot %d: in a heap twice, of another pair or never ridden", i)
		}
		inHeap[i] = true
	}
	n := 0
	for i := p.pairs.at(0).newer; i != 0; i = p.pairs.at(i).newer {
		n++
		if r := p.pairs.at(i); r.idle != 0 {
			if s := p.slots.at(r.idle); s.prev != 0 || s.next != 0 {
				t.Fatalf("top %d has siblings", r.idle)
			}
			walk(r.idle, i)
		}
	}
	if n != len(p.byKey) {
		t.Fatalf("%d pairs in the ring, %d in the map", n, len(p.byKey))
	}
	live := 0
	for i := range p.slots.made {
		s := p.slots.at(i)
		if s.pair == 0 {
			continue
		}
		live++
		if s.lent {
			lent--
		} else if s.rider != 0 && s.rider != gone && p.rider(s).slot != i {
			t.Fatalf("slot %d: connection %d rides another, and does not know of it", i, s.rider)
		}
		pairRefs[s.pair]++
		if inHeap[i] != (s.heap != outside) || s.heap == outside && !s.held {
			t.Fatalf("slot %d: neither held nor idle", i)
		}
		if s.held != (holder[i] != 0) {
			t.Fatalf("slot %d: held %t, by connection %d", i, s.held, holder[i])
		}
	}
	if live != p.slots.len() {
		t.Fatalf("%d slots, %d counted", live, p.slots.len())
	}
	if lent != 0 {
		t.Fatalf("%d more lent slots in lists than say so", lent)
	}
	for i := 1; i < len(pairRefs); i++ {
		if r := p.pairs.at(int32(i)); pairRefs[i] > 0 && r.refs != pairRefs[i] {
			t.Fatalf("pair %d: %d references, %d counted", i, pairRefs[i], r.refs)
		}
	}
}

// A stream is a legal sequence of events drawn from bytes, three an event.
type stream struct {
	data  []byte
	now   int64
	alive [ids]bool
	syn   [ids]int64
	asked [ids]bool // had a request
	mid   [ids]bool
	done  [ids]bool // closed
}

// run feeds a stream to pools and to a model, which must agree, and returns how
// many verdicts of each kind were confirmed.
func run(t testing.TB, data []byte, cfg Config, compare bool) (confirmed [3]int, seen int) {
	t.Helper()
	m := &model{window: cfg.Window, conns: map[uint32]*modelConn{}}
	if len(data) > 0 && data[0]&1 == 1 {
		m.limit = 3 * cfg.Window
		cfg.Open = func(conn uint32, now int64) bool { return now-m.conns[conn].last <= m.limit }
	}
	p := newNumbered(cfg)
	s := &stream{data: data}
	var verdict [ids]Verdict
	same := func(id uint32, v Verdict, why Reason, mv Verdict, mwhy Reason) {
		if compare && (v != mv || why != mwhy) {
			t.Fatalf("at %d connection %d: got %d, cause %d; the model says %d, cause %d", s.now, id, v, why, mv, mwhy)
		}
	}
	for len(s.data) >= 3 {
		op, id, arg := s.data[0]%10, uint32(s.data[1])%ids, s.data[2]
		s.data = s.data[3:]
		if arg&0x80 != 0 {
			s.now += int64(arg & 0x0f)
		}
		key, why := Pair{Name: uint32(arg>>4) & 1}, Reason(arg&7)
		if !s.alive[id] {
			s.alive[id], s.asked[id], s.mid[id], s.done[id], s.syn[id] = true, false, false, false, s.now
			if op == 0 {
				s.asked[id], s.mid[id], verdict[id] = true, true, None
				p.Midstream(id, &key, s.now)
				m.Midstream(id, key, s.now)
				continue
			}
			v, c := p.SYN(id, &key, s.now)
			mv, mc := m.SYN(id, key, s.now)
			same(id, v, c, mv, mc)
			verdict[id] = v
			continue
		}
		if m.limit > 0 && s.now-m.conns[id].last > m.limit {
			op = 8 // what Open denies has no more events
		}
		switch op {
		case 0, 1, 2, 3:
			if !s.asked[id] && !s.done[id] {
				confirmed[verdict[id]]++
				seen++
			}
			s.asked[id] = true
			p.Request(id, s.now)
			m.Request(id, s.now)
		case 4, 5:
			p.Idle(id, s.now)
			m.Idle(id, s.now)
		case 6:
			p.Unusable(id, why)
			m.Unusable(id, why)
		case 7:
			s.done[id] = true
			p.Closed(id, s.now, why)
			m.Closed(id, s.now, why)
		case 8:
			s.alive[id] = false
			p.Release(id, s.now)
			m.Release(id, s.now)
		case 9:
			if s.now-s.syn[id] > cfg.Window {
				continue // judged that late, the sweep may be ahead
			}
			v, c := p.Move(id, &key, s.syn[id])
			mv, mc := m.Move(id, key)
			same(id, v, c, mv, mc)
			if fresh := !s.asked[id] && !s.done[id]; (v != None) != fresh {
				t.Fatalf("at %d: Move of %d gives %d", s.now, id, v)
			} else if fresh {
				verdict[id] = v
			}
		}
		check(t, p)
	}
	return confirmed, seen
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := randomBytes(r, 3*800)
		confirmed, seen := run(t, data, Config{Window: 1 + r.Int64N(60)}, true)
		if confirmed[None] != 0 || confirmed[Needed]+confirmed[Wasted] != seen {
			t.Fatalf("seed %d: verdicts %v for %d connections with a SYN and a request", seed, confirmed, seen)
		}
	}
}

// At the caps the model no longer applies, the structure and the caps do.
func TestCaps(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		cfg := Config{Window: 30, MaxPairs: 1, MaxSlots: 1 + r.IntN(8), MaxPairSlots: 1 + r.IntN(8)}
		run(t, randomBytes(r, 3*500), cfg, false)
	}
	p := newNumbered(Config{MaxPairs: 100, MaxSlots: 150, MaxPairSlots: 20})
	for i := range uint32(10_000) {
		p.SYN(i, &Pair{Port: uint16(i % 1000)}, int64(i))
		p.Request(i, int64(i))
		if i%2 == 0 {
			p.Idle(i, int64(i))
		}
		if s := p.Stats(); s.Pairs > 100 || s.Slots > 150 {
			t.Fatalf("after %d connections: %+v", i, s)
		}
	}
	if s := p.Stats(); s.Evicted == 0 || s.Slots > 150 {
		t.Errorf("at the end: %+v", s)
	}
	for i := range uint32(10_000) {
		p.Release(i, 10_000)
	}
	check(t, p)
	one := newNumbered(Config{MaxPairSlots: 20})
	for i := range uint32(100) {
		one.SYN(i, &Pair{}, 0)
	}
	if s := one.Stats(); s.Slots != 20 || s.Slotless != 80 {
		t.Errorf("one pair: %+v", s)
	}
}

// A pair that carries exchanges outlives a flood of pairs that carry none, though
// they are newer; without any use the oldest goes.
func TestEvictionSpares(t *testing.T) {
	for _, below := range []bool{false, true} { // the slot of the connection that is used is below another's in the heap
		p := newNumbered(Config{MaxPairs: 3})
		for i := range uint32(3) {
			p.SYN(i, &Pair{Port: uint16(i)}, 0)
			p.Request(i, 0)
		}
		if below {
			p.Idle(1, 0)
			p.SYN(1000, &Pair{Port: 1}, 0)
			p.Request(1000, 0)
			p.Request(1, 0)
			p.Idle(1, 0)
			p.Idle(1000, 0)
		}
		for i := range uint32(100) {
			p.Idle(1, int64(i))
			p.SYN(3+i, &Pair{Port: 3 + uint16(i)}, int64(i))
			check(t, p)
			if p.byKey[Pair{Port: 1}] == 0 {
				t.Fatalf("below %t: the pair in use was forgotten for pair %d", below, 3+i)
			}
			p.Request(1, int64(i))
		}
		for port, want := range map[uint16]bool{0: false, 1: true, 2: false, 100: false, 101: true, 102: true} {
			if got := p.byKey[Pair{Port: port}] != 0; got != want {
				t.Errorf("below %t: pair %d is there: %t, want %t", below, port, got, want)
			}
		}
	}
}

// No more slots are stale than there is room for, however many become idle in an
// order of their own.
func TestStaleSlots(t *testing.T) {
	p := newNumbered(Config{})
	const n = 3*maxStale + 100
	for i := range uint32(n) {
		p.SYN(i, &Pair{}, 0)
		p.Request(i, 0)
	}
	for round := range int64(3) {
		for i := range uint32(n) {
			p.Request(i, round)
			p.Idle(i, round*n+int64(i))
			if len(p.stale) >= maxStale || cap(p.stale) != maxStale {
				t.Fatalf("%d slots are stale in room for %d", len(p.stale), cap(p.stale))
			}
		}
		check(t, p)
	}
	if len(p.stale) == 0 {
		t.Error("none is stale, want some")
	}
}

// Every slot that a connection rode last keeps its reason when it is released.
func TestLentSlots(t *testing.T) {
	const n = 50
	p := newNumbered(Config{Window: 100})
	p.SYN(0, &Pair{}, 0)
	p.Request(0, 0)
	for i := range uint32(n) { // each takes the slot that 0 has just made idle
		p.Idle(0, int64(i))
		p.SYN(1+i, &Pair{}, int64(i))
		p.Request(0, int64(i))
		check(t, p)
	}
	for i := uint32(0); i < n; i += 2 {
		p.Request(1+i, n)
		check(t, p)
	}
	p.Closed(0, n, 7)
	p.Release(0, n)
	check(t, p)
	for i := uint32(1); i < n; i += 2 { // without a request
		p.Release(1+i, n)
		check(t, p)
	}
	for i := range uint32(1 + n/2) {
		if v, why := p.SYN(n+i, &Pair{}, n); v != Wasted || why != 7 {
			t.Errorf("SYN %d: verdict %d, cause %d", i, v, why)
		}
	}
	if v, _ := p.SYN(0, &Pair{}, n); v != Needed {
		t.Errorf("past the slots that 0 left: verdict %d", v)
	}
}

// oneRequest runs connections of one request each, closed with the response or,
// if they linger, some time later, and returns how many handshakes were needed.
func oneRequest(seed uint64, window int64, linger bool) (needed int) {
	r := rand.New(rand.NewPCG(seed, 3))
	p := newNumbered(Config{Window: window})
	var state [8]int
	now := int64(0)
	for range 60 {
		now += r.Int64N(8)
		id := r.Uint32N(8)
		switch state[id] {
		case 0:
			if v, _ := p.SYN(id, &Pair{}, now); v == Needed {
				needed++
			}
			p.Request(id, now)
			state[id] = 1
			continue
		case 1:
			p.Idle(id, now)
			if linger {
				state[id] = 2
				continue
			}
		}
		p.Closed(id, now, 1)
		p.Release(id, now)
		state[id] = 0
	}
	return needed
}

func TestLongerWindowNeedsNoMore(t *testing.T) {
	for seed := range uint64(2000) {
		for _, linger := range []bool{false, true} {
			last := oneRequest(seed, 1, linger)
			for window := int64(2); window < 60; window += 3 {
				n := oneRequest(seed, window, linger)
				if n > last {
					t.Fatalf("seed %d, linger %v: %d needed with window %d, %d with a shorter one", seed, linger, n, window, last)
				}
				last = n
			}
		}
	}
}

// Where connections are reused the property does not hold: this is the smallest
// stream found by shrinking random ones.
func TestLongerWindowMayNeedMoreWithReuse(t *testing.T) {
	const script = `
		0 syn 1
		0 request 1
		6 syn 0
		6 request 0
		12 syn 2
		12 request 2
		16 idle 1
		23 closed 1 1
		23 release 1
		33 syn 4
		33 request 4
		38 syn 1
		38 request 1
		44 idle 4
		52 idle 0
		53 idle 2
		57 idle 1
		57 closed 1 1
		57 release 1
		59 syn 1
		59 request 1
		61 closed 4 1
		61 release 4
		64 syn 4
		64 request 4
		67 request 0
		68 idle 4
		93 idle 1
		98 request 2
		102 closed 1 1
		102 release 1
		108 syn 1
		108 request 1`
	needed := func(window int64) (n int) {
		p := newNumbered(Config{Window: window})
		for line := range strings.Lines(strings.TrimSpace(script)) {
			if play(t, p, line) == " -> needed" {
				n++
			}
		}
		return n
	}
	if short, long := needed(1), needed(2); short != 5 || long != 6 {
		t.Errorf("%d needed with the shorter window, %d with the longer one; the package doc says 5 and 6", short, long)
	}
}

func FuzzPools(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 4))
	for range 8 {
		f.Add(randomBytes(r, 300), uint8(r.Uint32()))
	}
	f.Fuzz(func(t *testing.T, data []byte, window uint8) {
		run(t, data[:min(len(data), 3000)], Config{Window: int64(window) + 1}, true)
	})
}

// Judged late, a connection skips lookBack slots and no more.
func TestLookBack(t *testing.T) {
	for later, want := range map[uint32]Verdict{lookBack: Wasted, lookBack + 1: Needed} {
		p := newNumbered(Config{})
		for i := range later + 1 {
			p.SYN(i, &Pair{Name: 1}, 0)
			p.Request(i, 0)
		}
		p.Idle(0, 1)
		p.SYN(later+1, &Pair{}, 2)
		for i := range later {
			p.Idle(i+1, 3)
		}
		if got, _ := p.Move(later+1, &Pair{Name: 1}, 2); got != want {
			t.Errorf("past %d slots: verdict %d, want %d", later, got, want)
		}
		check(t, p)
	}
}

// A window's worth of closed connections goes when SYNs go on elsewhere.
func TestSweep(t *testing.T) {
	p := newNumbered(Config{Window: 10})
	for i := range uint32(1000) {
		churn(p, i%8, Pair{Port: uint16(i)}, 0)
	}
	for i := range int64(1000) {
		churn(p, 0, Pair{}, 100+i)
	}
	if s := p.Stats(); s.Slots != 1 || s.Pairs != 1 {
		t.Errorf("left over: %+v", s)
	}
}

func churn(p *numbered, id uint32, key Pair, t int64) {
	p.SYN(id, &key, t)
	p.Request(id, t)
	p.Idle(id, t)
	p.Closed(id, t, 1)
	p.Release(id, t)
}

func TestNoAllocations(t *testing.T) {
	p := newNumbered(Config{Window: 1000})
	now := int64(0)
	round := func() {
		for i := range uint32(100) {
			now += 7
			id := i % 10
			p.SYN(id, &Pair{Port: uint16(i)}, now)
			p.Move(id, &Pair{Port: uint16(i), Name: i % 3}, now)
			p.Request(id, now)
			p.Idle(id, now)
			p.Request(id, now+1)
			p.Closed(id, now+2, 1)
		}
	}
	round()
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round, want 0", n)
	}
}

// Withdrawn in the order of their SYNs, or at random, slots return into the
// middle of the heap; ns/op is for a SYN and its withdrawal.
func BenchmarkWithdraw(b *testing.B) {
	for _, n := range []uint32{10, 1000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newNumbered(Config{MaxPairs: 1})
			for i := range n {
				p.SYN(i, &Pair{}, 0)
				p.Request(i, 0)
			}
			for i := range n {
				p.Idle(i, int64(i))
			}
			now := int64(n)
			b.ResetTimer()
			for k := 0; k < b.N; k += int(n) {
				for i := range min(n, uint32(b.N-k)) {
					p.SYN(n+i, &Pair{}, now)
				}
				for i := range min(n, uint32(b.N-k)) {
					p.Closed(n+i, now, 1)
					p.Release(n+i, now)
				}
			}
		})
	}
}

func BenchmarkChurn(b *testing.B) {
	for _, pairs := range []int{1, 1000} {
		b.Run(fmt.Sprintf("pairs=%d", pairs), func(b *testing.B) {
			p := newNumbered(Config{})
			b.ReportAllocs()
			for i := range b.N {
				churn(p, uint32(i)%64, Pair{Port: uint16(i % pairs)}, int64(i)*1e5)
			}
		})
	}
}

func BenchmarkReuse(b *testing.B) {
	const conns = 64
	p := newNumbered(Config{})
	for id := range uint32(conns) {
		p.SYN(id, &Pair{}, 0)
	}
	b.ReportAllocs()
	for i := range b.N {
		p.Request(uint32(i)%conns, int64(i))
		p.Idle(uint32(i)%conns, int64(i))
	}
}
