package pool

// lookBack bounds how many slots that became idle after its SYN a connection
// skips when it is judged late.
const lookBack = 1024

// A connection is kept until it is released and no slot has it for a rider.
type connection struct {
	syn         int64
	id          uint32
	pair        int32
	slot        int32  // held, or held last; 0 for none
	gen         uint32 // of that slot
	refs        int32  // the caller's, and one for each slot that it was the last to ride
	reason      Reason
	provisional bool // it holds slot by its SYN alone
	closed      bool
	holds       bool // slot is its own now; false where it got none
}

// A slot is free, or held, or idle. The idle ones are in their pair's heap; one
// that its rider holds again stays in it, where it was, until it is idle again or
// comes to the top and is looked at: that a connection is reused costs the heap
// next to nothing.
type slot struct {
	since             int64  // when it became idle last; while held, what a withdrawal restores
	seq               uint32 // orders slots that became idle at the same time
	gen               uint32 // tells the uses of this index apart
	pair              int32  // 0 when free
	rider             int32
	child, next, prev int32 // in the heap; prev is the parent of a first child
	held              bool  // by the connection that says so
	queued            bool  // it is in the heap
}

// A pair is kept until it has neither slots nor connections.
type pair struct {
	key          Pair
	idle         int32 // the slot that became idle last: the heap's top
	slots, refs  int32 // refs are slots and connections
	older, newer int32 // by use; a ring through pairs[0]
	evicted      bool  // in no map and no ring, its slots vanish instead of becoming idle
}

// chunkLen is how many values are allocated at a time, so that growth copies
// nothing and leaves nothing behind.
const chunkLen = 1024

// chunks holds values by index, in places that never move.
type chunks[T any] []*[chunkLen]T

func (c chunks[T]) at(i int32) *T { return &c[uint32(i)/chunkLen][uint32(i)%chunkLen] }

// reach makes room for index i.
func (c *chunks[T]) reach(i int32) {
	for int(i) >= len(*c)*chunkLen {
		*c = append(*c, new([chunkLen]T))
	}
}

// An arena holds values by index, and gives freed ones out again.
type arena[T any] struct {
	chunks[T]
	made  int32 // indexes ever given out
	free  chunks[int32]
	freed int32 // length of free
}

func (a *arena[T]) len() int { return int(a.made - 1 - a.freed) }

// put frees an index.
func (a *arena[T]) put(i int32) {
	a.free.reach(a.freed)
	*a.free.at(a.freed) = i
	a.freed++
}

// get returns an index.
func (a *arena[T]) get() int32 {
	if a.freed > 0 {
		a.freed--
		return *a.free.at(a.freed)
	}
	a.reach(a.made)
	a.made++
	return a.made - 1
}

// find returns the index of a connection, 0 if it is unknown.
func (p *Pools) find(id uint32) int32 {
	if uint64(id) < uint64(len(p.byID)*chunkLen) {
		return *p.byID.at(int32(id))
	}
	return 0
}

// begin makes a connection in a pair, without a slot.
func (p *Pools) begin(id uint32, key *Pair, t int64) int32 {
	if p.find(id) != 0 { // a number used again without release
		p.Release(id, t)
	}
	p.sweep(t)
	p.byID.reach(int32(id))
	me := p.conns.get()
	*p.byID.at(int32(id)) = me
	c := p.conns.at(me)
	*c = connection{syn: t, id: id, refs: 1, reason: PoolMiss}
	p.enter(c, key)
	return me
}

// forget lets go of a connection, 0 for none.
func (p *Pools) forget(me int32) {
	if me == 0 {
		return
	}
	c := p.conns.at(me)
	if c.refs--; c.refs == 0 {
		p.conns.put(me)
	}
}

// enter puts a connection into the pair of that key, and makes it the last used.
func (p *Pools) enter(c *connection, key *Pair) {
	old := c.pair
	if old != 0 && !p.pairs.at(old).evicted && p.pairs.at(old).key == *key {
		p.touch(old)
		return
	}
	i := p.lookup(key)
	if i == 0 {
		if len(p.byKey) >= p.cfg.MaxPairs {
			p.evict(p.pairs.at(0).newer)
		}
		i = p.pairs.get()
		*p.pairs.at(i) = pair{key: *key, older: i, newer: i}
		p.byKey[*key] = i
	}
	p.pairs.at(i).refs++
	p.touch(i)
	c.pair = i
	if old != 0 {
		p.leave(old)
	}
}

// lookup returns the index of a pair, 0 if it has none. A pair's connections
// come in runs, so the ones found last are looked at before the map.
func (p *Pools) lookup(key *Pair) int32 {
	near := &p.near[(uint32(key.Client[15])*31^uint32(key.Server[15])*7^uint32(key.Port)^key.Name)%uint32(len(p.near))]
	if r := p.pairs.at(*near); *near != 0 && !r.evicted && r.refs > 0 && r.key == *key {
		return *near
	}
	i := p.byKey[*key]
	*near = i
	return i
}

// leave takes a slot or a connection from a pair.
func (p *Pools) leave(i int32) {
	r := p.pairs.at(i)
	if r.refs--; r.refs > 0 {
		return
	}
	if !r.evicted {
		p.unlist(i)
	}
	p.pairs.put(i)
}

// evict forgets a pair. Its held slots go when their holders let go.
func (p *Pools) evict(i int32) {
	p.evicted++
	p.unlist(i)
	r := p.pairs.at(i)
	r.evicted = true
	r.refs++
	for r.idle != 0 {
		s := r.idle
		p.unlink(s)
		if !p.slots.at(s).held {
			p.drop(s)
		}
	}
	p.leave(i)
}

// unlist takes a pair out of the map and the ring.
func (p *Pools) unlist(i int32) {
	r := p.pairs.at(i)
	delete(p.byKey, r.key)
	p.pairs.at(r.older).newer, p.pairs.at(r.newer).older = r.newer, r.older
	p.touched = 0
}

// touch makes a pair the last used. Nearly always it is already.
func (p *Pools) touch(i int32) {
	if i != p.touched {
		p.renew(i)
	}
}

func (p *Pools) renew(i int32) {
	r, head := p.pairs.at(i), p.pairs.at(0)
	if r.evicted {
		return
	}
	p.touched = i
	if head.older == i {
		return
	}
	p.pairs.at(r.older).newer, p.pairs.at(r.newer).older = r.newer, r.older
	r.older, r.newer = head.older, 0
	p.pairs.at(r.older).newer, head.older = i, i
}

// grow adds a slot to a pair, or returns 0 if there is no room.
func (p *Pools) grow(pr int32) int32 {
	for p.slots.len() >= p.cfg.MaxSlots && p.pairs.at(0).newer != pr {
		p.evict(p.pairs.at(0).newer)
	}
	r := p.pairs.at(pr)
	if p.slots.len() >= p.cfg.MaxSlots || int(r.slots) >= p.cfg.MaxPairSlots {
		p.slotless++
		return 0
	}
	r.slots++
	r.refs++
	i := p.slots.get()
	s := p.slots.at(i)
	*s = slot{gen: s.gen, pair: pr}
	return i
}

// drop frees a slot that is not in the heap.
func (p *Pools) drop(i int32) {
	s := p.slots.at(i)
	p.forget(s.rider)
	p.pairs.at(s.pair).slots--
	p.leave(s.pair)
	*s = slot{gen: s.gen + 1}
	p.slots.put(i)
}

// hold gives a connection a slot, or 0.
func (p *Pools) hold(i int32, c *connection) {
	c.slot, c.holds = i, i != 0
	if c.holds {
		s := p.slots.at(i)
		s.held, c.gen = true, s.gen
	}
}

// ride makes a connection the last that rode a slot.
func (p *Pools) ride(i, me int32) {
	if s := p.slots.at(i); i != 0 && s.rider != me {
		p.forget(s.rider)
		s.rider = me
		p.conns.at(me).refs++
	}
}

// rest makes a slot idle from t on.
func (p *Pools) rest(i int32, t int64) {
	s := p.slots.at(i)
	s.held = false
	if s.queued && t < s.since { // what is below it may have to be above
		p.unlink(i)
	}
	p.seq++
	s.since, s.seq = t, p.seq
	if !s.queued {
		p.push(i)
		return
	}
	if r := p.pairs.at(s.pair); r.idle != i {
		p.cut(s, i)
		r.idle = p.meld(r.idle, i)
	}
}

// alive says whether an idle slot can be taken at t.
func (p *Pools) alive(s *slot, t int64) bool {
	return t-s.since <= p.cfg.Window || p.ridden(s, t)
}

// ridden says whether the rider of a slot is really open.
func (p *Pools) ridden(s *slot, t int64) bool {
	c := p.conns.at(s.rider)
	return !c.closed && (p.cfg.Open == nil || p.cfg.Open(c.id, t))
}

// sweep drops what was dead a window ago, two slots a call, and rests between
// rounds: a slot dies once in many visits. That saves memory and changes no
// verdict, as long as none is judged later than a window after its SYN.
func (p *Pools) sweep(t int64) {
	if p.hand == 0 && t-p.swept < p.cfg.Window/8 {
		return
	}
	for range 2 {
		if p.hand++; p.hand >= p.slots.made {
			p.hand, p.swept = 0, t
			return
		}
		s := p.slots.at(p.hand)
		if s.pair != 0 && !s.held && !p.alive(s, t-p.cfg.Window) {
			p.unlink(p.hand)
			p.drop(p.hand)
		}
	}
}

// newest takes out of the heap the slot that became idle last of those idle and
// alive at t, 0 if there is none. What it finds dead on the way it drops.
func (p *Pools) newest(pr int32, t int64) (found int32) {
	var later int32 // a stack of those that became idle after t
	r := p.pairs.at(pr)
	for n := 0; n <= lookBack && found == 0 && r.idle != 0; {
		i := r.idle
		s := p.slots.at(i)
		r.idle = p.combine(s.child)
		s.child, s.queued = 0, false
		switch {
		case s.held: // it is idle no more
		case s.since > t:
			s.next, later = later, i
			n++
		case p.alive(s, t):
			found = i
		default:
			p.drop(i)
		}
	}
	for later != 0 {
		s := later
		later = p.slots.at(s).next
		p.push(s)
	}
	return found
}

// push puts a slot into its pair's heap, at the place of its idle time.
func (p *Pools) push(i int32) {
	s := p.slots.at(i)
	s.held, s.child, s.next, s.prev, s.queued = false, 0, 0, 0, true
	r := p.pairs.at(s.pair)
	if r.evicted {
		p.drop(i)
		return
	}
	r.idle = p.meld(r.idle, i)
}

// unlink takes a slot out of the heap.
func (p *Pools) unlink(i int32) {
	s := p.slots.at(i)
	r := p.pairs.at(s.pair)
	sub := p.combine(s.child)
	if r.idle == i {
		r.idle = sub
	} else {
		p.cut(s, i)
		r.idle = p.meld(r.idle, sub)
	}
	s.child, s.queued = 0, false
}

// cut takes s, slot i, which is not the top, and what is below it out of the heap.
func (p *Pools) cut(s *slot, i int32) {
	if s.next != 0 {
		p.slots.at(s.next).prev = s.prev
	}
	if up := p.slots.at(s.prev); up.child == i {
		up.child = s.next
	} else {
		up.next = s.next
	}
	s.next, s.prev = 0, 0
}

// combine makes one heap of a list of siblings: melded two by two, then into one
// from the last to the first, which is what bounds the pairing heap's cost.
func (p *Pools) combine(first int32) int32 {
	if s := p.slots.at(first); s.next == 0 { // none, or nearly always one
		s.prev = 0
		return first
	}
	var twos int32
	for a := first; a != 0; {
		b := p.slots.at(a).next
		var rest int32
		if b != 0 {
			rest = p.slots.at(b).next
		}
		top := p.meld(a, b)
		p.slots.at(top).next, twos = twos, top
		a = rest
	}
	var top int32
	for twos != 0 {
		a := twos
		twos = p.slots.at(a).next
		top = p.meld(top, a)
	}
	s := p.slots.at(top)
	s.next, s.prev = 0, 0
	return top
}

// meld puts the older of two tops below the newer one, and returns that.
func (p *Pools) meld(a, b int32) int32 {
	if a == 0 || b == 0 {
		return a | b
	}
	top, sub := p.slots.at(a), p.slots.at(b)
	if sub.later(top) {
		a, b, top, sub = b, a, sub, top
	}
	sub.prev, sub.next = a, top.child
	if top.child != 0 {
		p.slots.at(top.child).prev = b
	}
	top.child = b
	return a
}

// later says whether s became idle after o.
func (s *slot) later(o *slot) bool {
	if s.since != o.since {
		return s.since > o.since
	}
	return int32(s.seq-o.seq) > 0
}
