package pool

import "encoding/binary"

// lookBack bounds how many slots that became idle after its SYN a connection
// skips when it is judged late.
const lookBack = 1024

// A Conn is what Pools know of a connection. Its owner keeps it, one for each
// number: zero until SYN or Midstream, and again after Release.
type Conn struct {
	me          uint32 // its number plus 1, as slots know it
	pair        int32
	slot        int32  // held, or held last; 0 for none
	gen         uint32 // of that slot
	lent        int32  // the other slots that it rode last: a list, nearly always empty
	reason      Reason
	provisional bool // it holds slot by its SYN alone
	closed      bool
	holds       bool // slot is its own now; false where it got none
}

// gone is the rider of a slot whose rider is released.
const gone = ^uint32(0)

// A slot is free, or held, or idle. The idle ones are in their pair's heap. One
// that its rider holds again stays in it until it comes to the top and is looked
// at, and where it was, though it became idle anew since, until somebody asks for
// a slot: that a connection is reused costs the heap next to nothing. So does one
// that follows another, for a slot alone in the heap stays in it, too.
type slot struct {
	since             int64  // when it became idle last; while held, what a withdrawal restores
	seq               uint32 // orders slots that became idle at the same time
	gen               uint32 // tells the uses of this index apart
	pair              int32  // 0 when free
	rider             uint32 // 0 for none yet
	child, next, prev int32  // in the heap, where prev is the parent of a first child; 0 outside
	after, before     int32  // in the list of its rider's lent slots
	why               Reason // of a rider that is gone
	held              bool   // by the connection that says so
	heap              place  // where it is
	lent              bool   // it is in the list: its rider has ridden another since
}

// A place says where in the heap of its pair a slot is.
type place uint8

const (
	outside place = iota
	inOrder       // not above one that became idle later, unless that is stale
	stale         // where it was before it became idle last: it may have to be above
)

// maxStale is how many slots may be stale.
const maxStale = 1024

// A pair is kept until it has neither slots nor connections.
type pair struct {
	key          Pair
	index        int32
	idle         int32 // the slot that became idle last: the heap's top
	slots, refs  int32 // refs are slots and connections
	older, newer int32 // in the order in which they were made or spared; a ring through pairs[0]
	used         bool  // an exchange has ended in it since then
	listed       bool  // in the map and the ring; if not, its slots vanish instead of becoming idle
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

// begin makes a connection, as yet without a pair or a slot.
func (p *Pools) begin(c *Conn, id uint32, t int64) {
	if p.hand != 0 || t >= p.next {
		p.sweep(t)
	}
	if c.pair != 0 { // a number used again without release
		p.Release(c, t)
	}
	*c = Conn{me: id + 1, reason: PoolMiss}
}

// rider returns the connection that rode a slot last and is not gone.
func (p *Pools) rider(s *slot) *Conn { return p.cfg.Conn(s.rider - 1) }

// enter puts a connection into the pair of that key. A pair's connections come
// in runs, so the pairs found last are looked at before the map.
func (p *Pools) enter(c *Conn, key *Pair) *pair {
	near := &p.near[key.hash()%uint32(len(p.near))]
	r := *near
	if r == nil || !r.listed || !r.key.equals(key) {
		r = p.pairs.at(p.lookup(key))
		*near = r
	}
	r.refs++
	c.pair = r.index
	return r
}

// lookup returns a pair, and makes it if there is none.
func (p *Pools) lookup(key *Pair) int32 {
	if i := p.byKey[*key]; i != 0 {
		return i
	}
	if len(p.byKey) >= p.cfg.MaxPairs {
		p.evict(0)
	}
	i := p.pairs.get()
	r := p.pairs.at(i)
	*r = pair{key: *key, index: i, listed: true}
	p.append(i, r)
	p.byKey[*key] = i
	return i
}

// hash tells pairs apart by the last bytes of their addresses. It reads them with
// the words that equals reads: a byte alone would make that one read bytes, too.
func (k *Pair) hash() uint32 {
	client, server := binary.LittleEndian.Uint64(k.Client[8:]), binary.LittleEndian.Uint64(k.Server[8:])
	return uint32((31*client+server)>>56) ^ uint32(k.Port) ^ k.Name
}

// equals is ==, for which the compiler would call a function.
func (k *Pair) equals(o *Pair) bool {
	return k.Client == o.Client && k.Server == o.Server && k.Port == o.Port && k.Name == o.Name
}

// leave takes a slot or a connection from a pair.
func (p *Pools) leave(i int32) {
	r := p.pairs.at(i)
	if r.refs--; r.refs > 0 {
		return
	}
	if r.listed {
		p.forget(r)
	}
	p.pairs.put(i)
}

// evict forgets a pair other than keep: the first of those that no exchange has
// ended in since they were made or spared. Those before it are spared. Held slots
// go when their holders let go.
func (p *Pools) evict(keep int32) {
	p.order() // a stale slot would not say that its pair is used
	head := p.pairs.at(0)
	i, r := head.newer, p.pairs.at(head.newer)
	for r.used || i == keep {
		r.used = false
		p.remove(r)
		p.append(i, r)
		i, r = head.newer, p.pairs.at(head.newer)
	}
	p.evicted++
	p.forget(r)
	r.refs++
	for r.idle != 0 {
		j := r.idle
		s := p.slots.at(j)
		p.unlink(j, s, r)
		if !s.held {
			p.drop(j, s)
		}
	}
	p.leave(i)
}

// forget takes a pair out of the map and the ring.
func (p *Pools) forget(r *pair) {
	delete(p.byKey, r.key)
	p.remove(r)
	r.listed = false
}

// append puts a pair at the end of the ring, and remove takes it out.
func (p *Pools) append(i int32, r *pair) {
	head := p.pairs.at(0)
	r.older, r.newer = head.older, 0
	p.pairs.at(r.older).newer, head.older = i, i
}

func (p *Pools) remove(r *pair) {
	p.pairs.at(r.older).newer, p.pairs.at(r.newer).older = r.newer, r.older
}

// grow adds a slot to a pair, or returns 0 if there is no room.
func (p *Pools) grow(pr int32) (int32, *slot) {
	for p.slots.len() >= p.cfg.MaxSlots && len(p.byKey) > 1 {
		p.evict(pr)
	}
	r := p.pairs.at(pr)
	if p.slots.len() >= p.cfg.MaxSlots || int(r.slots) >= p.cfg.MaxPairSlots {
		p.slotless++
		return 0, nil
	}
	r.slots++
	r.refs++
	i := p.slots.get()
	s := p.slots.at(i)
	*s = slot{gen: s.gen, pair: pr}
	return i, s
}

// drop frees a slot that is not in the heap.
func (p *Pools) drop(i int32, s *slot) {
	if s.lent {
		p.unlist(s)
	}
	p.pairs.at(s.pair).slots--
	p.leave(s.pair)
	*s = slot{gen: s.gen + 1}
	p.slots.put(i)
}

// hold gives a connection a slot, or 0.
func (c *Conn) hold(i int32, s *slot) {
	c.slot, c.holds = i, i != 0
	if c.holds {
		s.held, c.gen = true, s.gen
	}
}

// lend puts slot i among those that its rider c lent.
func (p *Pools) lend(i int32, c *Conn) {
	s := p.slots.at(i)
	s.lent, s.after, s.before = true, c.lent, 0
	if c.lent != 0 {
		p.slots.at(c.lent).before = i
	}
	c.lent = i
}

// unlist takes a slot out of that list.
func (p *Pools) unlist(s *slot) {
	if s.after != 0 {
		p.slots.at(s.after).before = s.before
	}
	if s.before != 0 {
		p.slots.at(s.before).after = s.after
	} else {
		p.rider(s).lent = s.after
	}
	s.lent, s.after, s.before = false, 0, 0
}

// unlend takes all slots out of the list of a connection that is to go.
func (p *Pools) unlend(c *Conn) {
	for c.lent != 0 {
		s := p.slots.at(c.lent)
		p.unlist(s)
		s.rider, s.why = gone, c.reason
	}
}

// why says why the rider of a slot could not be used.
func (p *Pools) why(s *slot) Reason {
	if s.rider == gone {
		return s.why
	}
	return p.rider(s).reason
}

// rest makes the slot of a connection, which rode it, idle from t on.
func (p *Pools) rest(c *Conn, s *slot, t int64) {
	s.held = false
	if s.lent {
		p.unlist(s)
	}
	s.rider = c.me
	p.seq++
	if s.heap == stale && t >= s.since { // and its pair is used
		s.since, s.seq = t, p.seq
		return
	}
	r := p.pairs.at(s.pair)
	r.used = true
	if r.idle == c.slot && t >= s.since { // as where connections follow each other
		s.since, s.seq = t, p.seq
		return
	}
	p.place(c.slot, s, r, t)
}

// place finds a slot that became idle at t its place in the heap.
func (p *Pools) place(i int32, s *slot, r *pair, t int64) {
	if s.heap != outside && t < s.since { // what is below it may have to be above
		p.unlink(i, s, r)
	}
	s.since, s.seq = t, p.seq
	if s.heap == outside {
		p.push(i, s, r)
		return
	}
	s.heap = stale // it was in order: rest and unlink leave no other
	p.stale = append(p.stale, i)
	if len(p.stale) == maxStale {
		p.order()
	}
}

// order puts the stale slots where they belong.
func (p *Pools) order() {
	for _, i := range p.stale {
		s := p.slots.at(i)
		if s.heap != stale { // it has left the heap since
			continue
		}
		s.heap = inOrder
		if r := p.pairs.at(s.pair); r.idle != i {
			p.cut(i, s)
			p.onto(i, s, r)
		}
	}
	p.stale = p.stale[:0]
}

// alive says whether an idle slot can be taken at t.
func (p *Pools) alive(s *slot, t int64) bool {
	return t-s.since <= p.cfg.Window || p.ridden(s, t)
}

// ridden says whether the rider of a slot is really open.
func (p *Pools) ridden(s *slot, t int64) bool {
	return s.rider != gone && !p.rider(s).closed && (p.cfg.Open == nil || p.cfg.Open(s.rider-1, t))
}

// sweep drops what was dead a window ago, two slots a call, and rests between
// rounds: a slot dies once in many visits. That saves memory and changes no
// verdict, as long as none is judged later than a window after its SYN.
func (p *Pools) sweep(t int64) {
	for range 2 {
		if p.hand++; p.hand >= p.slots.made {
			p.hand, p.next = 0, t+p.cfg.Window/8
			return
		}
		s := p.slots.at(p.hand)
		if s.pair != 0 && !s.held && !p.alive(s, t-p.cfg.Window) {
			p.unlink(p.hand, s, p.pairs.at(s.pair))
			p.drop(p.hand, s)
		}
	}
}

// newest takes out of the heap the slot that became idle last of those idle and
// alive at t, 0 if there is none. One that is alone stays in: it will be the top
// again. What is dead on the way is dropped.
func (p *Pools) newest(r *pair, t int64) (taken int32, its *slot) {
	if r.idle != 0 {
		p.order()
	}
	var later int32 // a stack of those that became idle after t
	for n := 0; r.idle != 0 && n <= lookBack; {
		i := r.idle
		s := p.slots.at(i)
		if !s.held && s.since <= t && p.alive(s, t) {
			if s.child != 0 || later != 0 {
				p.pop(i, s, r)
			}
			taken, its = i, s
			break
		}
		p.pop(i, s, r)
		switch {
		case s.held: // it is idle no more
		case s.since > t:
			s.next, later = later, i
			n++
		default:
			p.drop(i, s)
		}
	}
	for later != 0 {
		i := later
		s := p.slots.at(i)
		later, s.next = s.next, 0
		p.push(i, s, r)
	}
	return taken, its
}

// push puts a slot into its pair's heap, at the place of its idle time.
func (p *Pools) push(i int32, s *slot, r *pair) {
	switch {
	case !r.listed:
		p.drop(i, s)
		return
	case r.idle == 0:
		r.idle = i
	default:
		p.onto(i, s, r)
	}
	s.heap = inOrder
}

// onto makes one heap of a pair's and of what is below s, slot i.
func (p *Pools) onto(i int32, s *slot, r *pair) {
	if top := p.slots.at(r.idle); top.later(s) {
		p.below(r.idle, top, i, s)
	} else {
		p.below(i, s, r.idle, top)
		r.idle = i
	}
}

// pop takes the top, s, slot i, out of the heap.
func (p *Pools) pop(i int32, s *slot, r *pair) {
	if r.idle = s.child; s.child != 0 {
		r.idle, _ = p.combine(s.child)
	}
	s.child, s.heap = 0, outside
}

// unlink takes s, slot i, out of the heap.
func (p *Pools) unlink(i int32, s *slot, r *pair) {
	if r.idle == i {
		p.pop(i, s, r)
		return
	}
	p.cut(i, s)
	if s.child != 0 {
		sub, o := p.combine(s.child)
		p.onto(sub, o, r)
	}
	s.child, s.heap = 0, outside
}

// cut takes s, slot i, which is not the top, and what is below it out of the heap.
func (p *Pools) cut(i int32, s *slot) {
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
func (p *Pools) combine(first int32) (int32, *slot) {
	s := p.slots.at(first)
	if s.next == 0 { // nearly always
		s.prev = 0
		return first, s
	}
	var twos int32
	for a := first; a != 0; {
		s := p.slots.at(a)
		b := s.next
		var rest int32
		if b != 0 {
			o := p.slots.at(b)
			rest = o.next
			a, s = p.meld(a, s, b, o)
		}
		s.next, twos = twos, a
		a = rest
	}
	top := twos
	s = p.slots.at(top)
	for a := s.next; a != 0; {
		o := p.slots.at(a)
		rest := o.next
		top, s = p.meld(top, s, a, o)
		a = rest
	}
	s.next, s.prev = 0, 0
	return top, s
}

// meld puts the older of the tops a and b below the newer one, and returns that.
func (p *Pools) meld(a int32, s *slot, b int32, o *slot) (int32, *slot) {
	if o.later(s) {
		p.below(b, o, a, s)
		return b, o
	}
	p.below(a, s, b, o)
	return a, s
}

// below puts the top sub below the top a.
func (p *Pools) below(a int32, top *slot, b int32, sub *slot) {
	sub.prev, sub.next = a, top.child
	if top.child != 0 {
		p.slots.at(top.child).prev = b
	}
	top.child = b
}

// later says whether s became idle after o.
func (s *slot) later(o *slot) bool {
	if s.since != o.since {
		return s.since > o.since
	}
	return int32(s.seq-o.seq) > 0
}
