package pool

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// client returns the address of a client by its number.
func client(i int) (a [16]byte) {
	binary.BigEndian.PutUint32(a[12:], uint32(i))
	return a
}

// At the caps the model no longer applies; the structure and the caps do.
func TestCaps(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		cfg := Config{Window: 40, MaxPairs: 1 + r.IntN(4), MaxSlots: 1 + r.IntN(8), MaxPairSlots: 1 + r.IntN(8), Seed: seed}
		s := newStream(t, cfg, false)
		s.run(randomBytes(r, 3*600))
		p := s.p
		if p.slots.live > cfg.MaxSlots || len(p.listed) > cfg.MaxPairs || p.losses.live > cfg.MaxSlots || p.holdings.live > cfg.MaxSlots {
			t.Fatalf("seed %d, caps %+v: %+v, %d losses, %d holdings", seed, cfg, p.Stats(), p.losses.live, p.holdings.live)
		}
		for _, c := range s.conns {
			p.Release(c, s.now)
		}
		check(t, p, s.conns)
		for range 1000 { // all is dead, and is swept
			s.now += 10 * cfg.Window
			p.sweep(s.now)
		}
		for _, r := range p.listed {
			if !r.anyOrigin {
				t.Fatalf("seed %d: left over: %+v of %+v", seed, r, p.Stats())
			}
		}
		if p.slots.live+p.losses.live+p.holdings.live != 0 || p.pairs.live != len(p.listed) {
			t.Fatalf("seed %d: left over: %+v", seed, p.Stats())
		}
	}
}

// Each cap has a counter.
func TestCounters(t *testing.T) {
	open := func(p *Pools, n int, key func(int) Pair) {
		for i := range n {
			c := &Conn{Ref: uint64(i + 1)}
			p.First(c, key(i), 0, 0)
			p.End(c, 1)
			p.Lost(c, 1, false, Note{})
		}
	}
	same := func(int) Pair { return Pair{} }
	clients := func(i int) Pair { return Pair{Client: client(i)} }
	for _, tc := range []struct {
		name string
		cfg  Config
		n    int
		key  func(int) Pair
		got  func(Stats) int
		want int
	}{
		{"Evicted", Config{MaxPairs: 20}, 100, clients, func(s Stats) int { return int(s.Evicted) }, 80},
		{"Pairs", Config{MaxPairs: 20}, 100, clients, func(s Stats) int { return s.Pairs }, 20},
		{"SlotsEvicted", Config{MaxSlots: 20}, 100, clients, func(s Stats) int { return int(s.SlotsEvicted) }, 80},
		{"Slots", Config{MaxSlots: 20}, 100, clients, func(s Stats) int { return s.Slots }, 20},
		{"Slotless", Config{MaxPairSlots: 20}, 100, same, func(s Stats) int { return int(s.Slotless) }, 80},
		{"JoinedByCap", Config{}, 300, func(i int) Pair { return Pair{Origin: uint32(i)} }, func(s Stats) int { return int(s.JoinedByCap) }, 1},
		{"JoinedByCap, Pairs", Config{}, 300, func(i int) Pair { return Pair{Origin: uint32(i)} }, func(s Stats) int { return s.Pairs }, 1},
		{"no JoinedByCap", Config{}, maxOrigins, func(i int) Pair { return Pair{Origin: uint32(i)} }, func(s Stats) int { return s.Pairs }, maxOrigins},
	} {
		p := New(tc.cfg)
		open(p, tc.n, tc.key)
		if got := tc.got(p.Stats()); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// A loss that is forgotten counts where a handshake may replace it.
func TestLossesForgotten(t *testing.T) {
	for _, tc := range []struct {
		name    string
		clients int
		cfg     Config
		want    uint64
	}{
		{"of one pair", 1, Config{}, 100 - maxLost},
		{"of all", 100, Config{MaxSlots: 20}, 20},
	} {
		p := New(tc.cfg)
		conns := make([]*Conn, 100)
		round := func(at int64) {
			for i := range conns {
				conns[i] = &Conn{Ref: uint64(at) + uint64(i) + 1}
				p.First(conns[i], Pair{Client: client(i % tc.clients)}, at, at)
			}
			for _, c := range conns {
				p.End(c, at+1)
				p.Lost(c, at+1, false, Note{})
			}
		}
		round(0)
		if n := p.Stats().LossesForgotten; n != 0 {
			t.Errorf("%s: %d count before anything was wasted", tc.name, n)
		}
		round(1000)
		if n := p.Stats().LossesForgotten; n != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, n, tc.want)
		}
	}
}

// When all slots are busy, those that follow get none, and nothing else is lost.
func TestBusySlotsStay(t *testing.T) {
	p := New(Config{MaxSlots: 100})
	conns := make([]*Conn, 300)
	for i := range conns {
		conns[i] = &Conn{Ref: uint64(i + 1)}
		p.First(conns[i], Pair{Client: client(i)}, 0, 0)
	}
	if s := p.Stats(); s.Slots != 100 || s.Slotless != 200 || s.Evicted != 0 {
		t.Errorf("%+v", s)
	}
	for i, c := range conns {
		p.End(c, 1)
		other := &Conn{Ref: uint64(1000 + i)}
		conns = append(conns, other)
		j := p.First(other, Pair{Client: client(i)}, 2, 2)
		if want := i < 100; (j.Verdict == Wasted) != want {
			t.Errorf("connection %d: %v", i, j.Verdict)
		}
	}
	check(t, p, conns)
}

// What connections leave behind on slots that others fill is bounded, too.
func TestHoldings(t *testing.T) {
	p := New(Config{MaxSlots: 2})
	conns := make([]*Conn, 3)
	for i := range conns {
		conns[i] = &Conn{Ref: uint64(i + 1)}
		p.Room(conns[i], 3, 0)
		p.First(conns[i], Pair{}, int64(i), int64(i))
	}
	for i, want := range []uint64{0, 0, 1} { // the first slot is full, the second has room
		p.Request(conns[i], 3)
		if s := p.Stats(); s.Slotless != want || s.Slots != 2 {
			t.Errorf("connection %d goes on: %+v, want %d slotless", i, s, want)
		}
		check(t, p, conns)
	}
	for _, c := range conns {
		p.End(c, 4)
		p.End(c, 4)
		p.End(c, 4)
		check(t, p, conns)
	}
	if p.holdings.live != 0 {
		t.Errorf("%d holdings are left", p.holdings.live)
	}
}

// returning lets clients come, each with a connection of a number of requests, and
// all again in the same order, and returns how many handshakes were wasted.
func returning(p *Pools, clients, requests int) (wasted int) {
	now, ref := int64(0), uint64(0)
	for range 2 {
		for i := range clients {
			now += 100e3
			ref++
			c := &Conn{Ref: ref}
			if p.First(c, Pair{Client: client(i), Port: 80}, now, now).Verdict == Wasted {
				wasted++
			}
			p.End(c, now+1)
			for range requests - 1 {
				p.Request(c, now+2)
				p.End(c, now+3)
			}
			p.Lost(c, now+4, false, Note{})
			p.Close(c, now+4)
			p.Release(c, now+4)
		}
	}
	return wasted
}

// A few more clients than pairs, or than slots, are nearly all found again; twice as
// many, some.
func TestEvictionIsGradual(t *testing.T) {
	pairs, slots := Config{}, Config{MaxPairs: 1 << 20, MaxSlots: 1 << 16}
	for _, tc := range []struct {
		name              string
		cfg               Config
		clients, requests int
		atLeast           float64 // share found again
	}{
		{"pairs, at the cap", pairs, 65_536, 1, 1},
		{"pairs", pairs, 65_600, 1, 0.99},
		{"pairs", pairs, 70_000, 1, 0.85},
		{"pairs", pairs, 100_000, 1, 0.35},
		{"pairs", pairs, 130_000, 1, 0.2},
		{"pairs, reused", pairs, 65_600, 3, 0.98},
		{"pairs, reused", pairs, 100_000, 3, 0.2},
		{"slots", slots, 65_600, 1, 0.99},
		{"slots", slots, 100_000, 1, 0.35},
	} {
		p := New(tc.cfg)
		wasted := returning(p, tc.clients, tc.requests)
		t.Logf("%s: %d clients of %d requests come back: %d wasted", tc.name, tc.clients, tc.requests, wasted)
		if share := float64(wasted) / float64(tc.clients); share < tc.atLeast {
			t.Errorf("%s: of %d clients of %d requests %.3f are found again, want %.2f: %+v", tc.name, tc.clients, tc.requests, share, tc.atLeast, p.Stats())
		}
		s := p.Stats()
		if met := s.Evicted + s.SlotsEvicted; (met > 0) != (tc.clients > 65_536) {
			t.Errorf("%s: %d clients: %d evictions are said", tc.name, tc.clients, met)
		}
	}
}

// A pair whose connections are reused outlives a flood of others, and one that no
// request concerned for long goes before those of now.
func TestEvictionSpares(t *testing.T) {
	found := 0
	for seed := range uint64(100) {
		p := New(Config{MaxPairs: 200, Seed: seed})
		c := &Conn{Ref: 1}
		p.First(c, Pair{Port: 1}, 0, 0)
		p.End(c, 0)
		for i := range 2000 {
			if i%20 == 0 {
				p.Request(c, 1)
				p.End(c, 1)
			}
			p.First(&Conn{Ref: uint64(i + 2)}, Pair{Client: client(i)}, 1, 1)
		}
		if p.Stats().Evicted > 0 && p.First(&Conn{Ref: 9999}, Pair{Port: 1}, 2, 2).Verdict == Wasted {
			found++
		}
	}
	if found < 95 {
		t.Errorf("the pair in use was found %d times of 100", found)
	}
	found = 0
	for seed := range uint64(100) { // the same, used no more
		p := New(Config{MaxPairs: 200, Seed: seed})
		c := &Conn{Ref: 1}
		p.First(c, Pair{Port: 1}, 0, 0)
		p.Request(c, 0)
		p.Close(c, 0)
		for i := range 2000 {
			p.First(&Conn{Ref: uint64(i + 2)}, Pair{Client: client(i)}, 1, 1)
		}
		if p.First(&Conn{Ref: 9999}, Pair{Port: 1}, 2, 2).Verdict == Wasted {
			found++
		}
	}
	if found > 5 {
		t.Errorf("the pair used no more was found %d times of 100", found)
	}
	found = 0
	for seed := range uint64(100) {
		p := New(Config{MaxPairs: 200, Window: 60, Seed: seed})
		for i := range 240 { // open all the time
			now := int64(0)
			if i >= 100 {
				now = 1000
			}
			c := &Conn{Ref: uint64(i + 1)}
			p.First(c, Pair{Client: client(i)}, now, now)
			p.End(c, now)
		}
		for i := 100; i < 240; i++ {
			if p.First(&Conn{Ref: uint64(1000 + i)}, Pair{Client: client(i)}, 1000, 1000).Verdict == Wasted {
				found++
			}
		}
	}
	if found < 13_900 {
		t.Errorf("%d of 14000 pairs of now were found", found)
	}
}

// A window's worth of dead pairs goes while others go on.
func TestSweep(t *testing.T) {
	p := New(Config{Window: 10})
	ref := uint64(0)
	serve := func(port int, t int64) {
		ref++
		c := &Conn{Ref: ref}
		p.First(c, Pair{Port: uint16(port)}, t, t)
		p.End(c, t)
		p.Lost(c, t, false, Note{})
		p.Release(c, t)
	}
	for i := range 1000 {
		serve(i, 0)
	}
	for i := range int64(2100) {
		serve(0, 100+i)
	}
	if s := p.Stats(); s.Slots != 1 || s.Pairs != 1 || p.losses.live > 25 {
		t.Errorf("left over: %+v, %d losses", s, p.losses.live)
	}
}

// The package doc says how much memory a cap is worth.
func TestSizes(t *testing.T) {
	for name, size := range map[string][2]uintptr{
		"connection": {unsafe.Sizeof(Conn{}), 72},
		"slot":       {unsafe.Sizeof(slot{}), 96},
		"pair":       {unsafe.Sizeof(pair{}), 160},
		"loss":       {unsafe.Sizeof(loss{}), 72},
	} {
		if unsafe.Sizeof(uintptr(0)) == 8 && size[0] != size[1] {
			t.Errorf("a %s takes %d bytes, want %d", name, size[0], size[1])
		}
	}
}

func TestNoAllocations(t *testing.T) {
	p := New(Config{Window: 1000, MaxPairs: 50, MaxSlots: 100})
	conns := make([]Conn, 20)
	var now int64
	var ref uint64
	round := func() {
		for i := range 200 {
			now += 7
			ref++
			c := &conns[i%len(conns)]
			p.Release(c, now)
			c.Ref = ref
			p.First(c, Pair{Port: uint16(i % 60), Origin: uint32(i) % 3}, now-3, now)
			p.Room(c, 1+uint32(i)%3, now)
			p.Request(c, now)
			p.End(c, now)
			o := &conns[i*7%len(conns)]
			p.Request(o, now)
			p.Lost(o, now, true, Note{})
		}
	}
	for range 20 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round, want 0", n)
	}
	if s := p.Stats(); s.Evicted == 0 || s.Slots == 0 {
		t.Errorf("no cap was met: %+v", s)
	}
}

// TestLateFirst judges handshakes whose first request comes long after: what other pairs
// there are, and so what is dropped by then, changes no verdict.
func TestLateFirst(t *testing.T) {
	judge := func(late int64, others uint64) Judgement {
		p := New(Config{Window: 60})
		a, b := &Conn{Ref: 1}, &Conn{Ref: 2}
		p.First(a, Pair{Port: 80}, 0, 1)
		p.End(a, 2)
		p.Lost(a, 3, false, Note{Port: 1})
		p.Release(a, 3)
		for i := range others {
			p.First(&Conn{Ref: 3 + i}, Pair{Port: 81}, 4, 5)
		}
		return p.First(b, Pair{Port: 80}, 30, 30+late)
	}
	for _, late := range []int64{0, 1, 10, 30, 59, 60, 61, 70, 91, 92, 93, 120, 121, 200, 1000} {
		alone, beside := judge(late, 0), judge(late, 1000)
		if alone != beside {
			t.Errorf("%d after its SYN: %+v alone, %+v beside others", late, alone, beside)
		}
		if wasted := alone.Verdict == Wasted; wasted != (30+late-60 <= 2+60) {
			t.Errorf("%d after its SYN: %+v", late, alone)
		}
	}
}
