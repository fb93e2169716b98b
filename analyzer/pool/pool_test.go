package pool

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ids = 24 // connections at once in random streams

// check holds the structure against itself, and against all connections.
func check(t testing.TB, p *Pools, conns []*Conn) {
	t.Helper()
	load, refs := map[*slot]int32{}, map[*pair]int32{}
	holdings := 0
	for _, c := range conns {
		if c.pair == nil {
			continue
		}
		refs[c.pair]++
		if c.load > 0 {
			load[c.slot] += c.load
		}
		if c.load == 0 && c.left != nil || c.load > 0 && c.gen != c.slot.gen {
			t.Fatalf("connection %d: %+v", c.Ref, c)
		}
		for h := c.left; h != nil; h = h.next {
			holdings++
			load[h.slot] += h.load
		}
	}
	free := map[*slot]bool{}
	losses := 0
	for i, r := range p.listed {
		refs[r]++
		if int(r.index) != i || !r.listed || r.into != nil {
			t.Fatalf("pair %d is listed: %+v", i, r)
		}
		checkOrder(t, r, free)
		losses += checkLosses(t, r)
	}
	checkAddresses(t, p)
	live, slots := 0, map[*pair]int32{}
	for i := range p.slots.made {
		s := p.slots.at(i)
		if s.pair == nil {
			continue
		}
		live++
		refs[s.pair]++
		slots[s.pair.joined()]++
		if s.load != load[s] || s.free != free[s] {
			t.Fatalf("slot %d carries %d, is in an order %t: %+v", i, load[s], free[s], s)
		}
		if !s.free && s.load < s.room && s.pair.joined().listed {
			t.Fatalf("slot %d has room and is in no order: %+v", i, s)
		}
	}
	pairs := 0
	for i := range p.pairs.made {
		r := p.pairs.at(i)
		if r.into != nil {
			refs[r.into]++
		}
	}
	for i := range p.pairs.made {
		r := p.pairs.at(i)
		if r.refs > 0 {
			pairs++
		}
		if r.refs != refs[r] || r.into == nil && r.slots != slots[r] {
			t.Fatalf("pair %d has %d slots and %d references: %+v", i, slots[r], refs[r], r)
		}
	}
	got := [4]int{p.slots.live, p.holdings.live, p.losses.live, p.pairs.live}
	if want := [4]int{live, holdings, losses, pairs}; got != want {
		t.Fatalf("slots, holdings, losses, pairs: %d counted, %d there", got, want)
	}
}

// checkAddresses holds the lists of addresses against the list of all pairs.
func checkAddresses(t testing.TB, p *Pools) {
	t.Helper()
	n := 0
	for at, first := range p.first {
		for r, prev := first, (*pair)(nil); r != nil; r, prev = r.next, r {
			n++
			if r.prev != prev || !r.listed || r.key.address() != at || r.anyOrigin && (prev != nil || r.next != nil) {
				t.Fatalf("a list of %+v is broken at %+v", at, r)
			}
		}
	}
	if n != len(p.listed) {
		t.Fatalf("%d pairs in lists of addresses, %d in all", n, len(p.listed))
	}
}

func checkLosses(t testing.TB, r *pair) int {
	t.Helper()
	n := 0
	for l, next := r.newestLoss, (*loss)(nil); l != nil; l, next = l.older, l {
		n++
		if l.newer != next || next != nil && l.since > next.since || l.older == nil && r.oldestLoss != l {
			t.Fatalf("the list of losses is broken at %+v", l)
		}
	}
	if n != int(r.losses) || n > maxLost {
		t.Fatalf("%d losses, %d counted", n, r.losses)
	}
	return n
}

// checkOrder walks the tree of a pair.
func checkOrder(t testing.TB, r *pair, free map[*slot]bool) {
	t.Helper()
	var last *slot
	var walk func(s, up *slot)
	walk = func(s, up *slot) {
		if s == nil {
			return
		}
		if s.up != up || up != nil && s.priority > up.priority {
			t.Fatalf("link or priority broken at %+v", s)
		}
		walk(s.child[older], s)
		if last != nil && !s.after(last) {
			t.Fatalf("%+v is not after %+v", s, last)
		}
		last = s
		free[s] = true
		if s.pair.joined() != r {
			t.Fatalf("%+v is in the order of %+v", s, r)
		}
		walk(s.child[newer], s)
	}
	root := r.free.newest
	for root != nil && root.up != nil {
		root = root.up
	}
	walk(root, nil)
	if last != r.free.newest {
		t.Fatalf("the newest is %+v, said to be %+v", last, r.free.newest)
	}
}

// A stream is a sequence of events drawn from bytes, three an event.
type stream struct {
	t     testing.TB
	p     *Pools
	m     *model // nil where caps are met
	now   int64
	refs  uint64
	conns []*Conn
	seen  []int64
	alive []bool
	count [3]int // verdicts
}

func newStream(t testing.TB, cfg Config, compare bool) *stream {
	s := &stream{t: t, p: New(cfg), now: 100, conns: make([]*Conn, ids), seen: make([]int64, ids), alive: make([]bool, ids)}
	for i := range s.conns {
		s.conns[i] = &Conn{}
	}
	if compare {
		s.m = &model{window: cfg.Window, limit: cfg.IdleLimit, conns: map[uint64]*modelConn{}}
	}
	return s
}

func (s *stream) run(data []byte) {
	for n := 0; len(data) >= 3; n++ {
		id, arg := int(data[1])%ids, data[2]
		if arg&1 != 0 {
			s.now += int64(arg >> 4)
		}
		switch op := data[0]; {
		case op >= 253:
			s.join(Pair{Port: uint16(op & 1)})
		case !s.alive[id]:
			s.first(id, op, arg)
		default:
			s.event(id, op, arg)
		}
		if data = data[3:]; n%8 == 0 || len(data) < 3 {
			check(s.t, s.p, s.conns)
		}
	}
}

func (s *stream) join(key Pair) {
	s.p.Join(key.Client, key.Server, key.Port)
	if s.m != nil {
		s.m.Join(key)
	}
}

func (s *stream) first(id int, op, arg byte) {
	s.refs++
	s.alive[id], s.seen[id] = true, s.now
	c := s.conns[id]
	c.Ref, c.Seen = s.refs, &s.seen[id]
	if s.m != nil {
		s.m.conns[c.Ref] = &modelConn{ref: c.Ref, seen: s.now}
	}
	if op&0x30 == 0 {
		s.room(c, arg, s.now-2)
	}
	key := Pair{Port: uint16(arg>>1) & 1, Origin: uint32(arg>>2) % 3, TLS: op&0x40 != 0}
	syn := s.now - int64(op&15)
	if op&0x80 != 0 && op&0x70 == 0 {
		syn = -1
	}
	j := s.p.First(c, key, syn, s.now)
	s.count[j.Verdict]++
	if s.m == nil {
		return
	}
	if want := s.m.First(c.Ref, key, syn, s.now); want != j {
		s.t.Fatalf("at %d connection %d, SYN at %d (-model +got):\n%s", s.now, c.Ref, syn, cmp.Diff(want, j))
	}
}

func (s *stream) room(c *Conn, arg byte, t int64) {
	s.p.Room(c, uint32(arg>>4)%4, t)
	if s.m != nil {
		s.m.Room(c.Ref, int(arg>>4)%4, t)
	}
}

func (s *stream) event(id int, op, arg byte) {
	c, m := s.conns[id], s.m
	if m == nil {
		m = &model{conns: map[uint64]*modelConn{c.Ref: {ref: c.Ref, pool: &modelPool{}, own: &modelSlot{}}}}
	}
	op %= 16
	if limit := s.p.cfg.IdleLimit; limit > 0 && s.now-s.seen[id] > limit {
		op = 15 // the tracker has given it up
	}
	t := s.now - int64(arg>>1)&7 // out of order
	if op < 14 {
		s.seen[id], m.conns[c.Ref].seen = s.now, s.now
	}
	switch op {
	case 0, 1, 2, 3:
		s.p.Request(c, t)
		m.Request(c.Ref, t)
	case 4, 5, 6, 7:
		s.p.End(c, t)
		m.End(c.Ref, t)
	case 8:
		s.p.Busy(c, t)
		m.Busy(c.Ref, t)
	case 9, 10:
		s.p.Room(c, uint32(arg>>4)%4, t)
		m.Room(c.Ref, int(arg>>4)%4, t)
	case 11, 12:
		s.now++ // after every SYN that was told
		s.p.Lost(c, s.now, arg&2 != 0, Note{})
		m.Lost(c.Ref, s.now, arg&2 != 0)
	case 13:
		s.p.Usable(c)
		m.Usable(c.Ref)
	case 14:
		s.p.Close(c, t)
		m.Close(c.Ref, t)
	case 15:
		s.alive[id] = false
		s.p.Release(c, t)
		m.Release(c.Ref, t)
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// modelConfig has a window of at least what streams tell late.
func modelConfig(a, b uint64) Config {
	return Config{Window: 24 + int64(a%60), IdleLimit: int64(b%4) * 50, Seed: a}
}

func TestAgainstModel(t *testing.T) {
	var count [3]int
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newStream(t, modelConfig(r.Uint64(), r.Uint64()), true)
		s.run(randomBytes(r, 3*1200))
		for i := range count {
			count[i] += s.count[i]
		}
	}
	for v, n := range count {
		if n < 1000 {
			t.Errorf("verdict %v was given %d times, too few to compare", Verdict(v), n)
		}
	}
}

// oneRequest runs connections of one request each, closed with the response or,
// if they linger, some time later, and returns how many handshakes were needed.
func oneRequest(seed uint64, window int64, linger bool) (needed int) {
	r := rand.New(rand.NewPCG(seed, 3))
	p := New(Config{Window: window})
	var conns [8]Conn
	var state [8]int
	now := int64(0)
	for i := range 60 {
		now += r.Int64N(8)
		id := r.IntN(8)
		c := &conns[id]
		switch state[id] {
		case 0:
			c.Ref = uint64(i + 1)
			if p.First(c, Pair{}, now, now).Verdict == Needed {
				needed++
			}
			state[id] = 1
			continue
		case 1:
			p.End(c, now)
			if linger {
				state[id] = 2
				continue
			}
		}
		p.Release(c, now)
		state[id] = 0
	}
	return needed
}

// Where connections carry one request each, a longer window never makes more
// handshakes needed. (Where they are reused it can: whose slot a handshake takes
// depends on the window, and so does whether a later request finds its own.)
func TestLongerWindowNeedsNoMore(t *testing.T) {
	for seed := range uint64(500) {
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

func FuzzPools(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 4))
	for range 8 {
		f.Add(randomBytes(r, 300), r.Uint64(), r.Uint64())
	}
	f.Fuzz(func(t *testing.T, data []byte, a, b uint64) {
		newStream(t, modelConfig(a, b), true).run(data[:min(len(data), 1000)])
	})
}
