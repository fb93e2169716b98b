package pool

// A slot is free, and then in the order of its pair, or full.
type slot struct {
	since         int64 // from when it is free, if it is
	turn          uint64
	idle          int64 // from when it is idle, if it is
	pair          *pair // nil when it is no slot any more
	lastUser      *Conn // still that connection only while its Ref is ref
	ref           uint64
	up            *slot    // in the order
	child         [2]*slot // the older and the newer
	load, room    int32
	gen, priority uint32 // gen tells the uses of this place apart
	free          bool
}

// A holding is what a connection has on a slot that it took before its last.
type holding struct {
	slot *slot
	load int32
	next *holding
}

// alive says whether a slot can be taken at t.
func (p *Pools) alive(s *slot, t int64) bool {
	return s.load > 0 || t-s.idle <= p.cfg.Window || p.open(s, t)
}

// open says whether the last user of a slot is really open.
func (p *Pools) open(s *slot, t int64) bool { return p.isOpen(s.lastUser, s.ref, t) }

// isOpen says whether a connection is, and still the one that had ref.
func (p *Pools) isOpen(c *Conn, ref uint64, t int64) bool {
	return c.Ref == ref && c.pair != nil && !c.closed &&
		(p.cfg.IdleLimit <= 0 || c.Seen == nil || t-*c.Seen <= p.cfg.IdleLimit)
}

// idled says whether the connection of a pair that was reused last idled from syn until
// t, and could have carried a request.
func (p *Pools) idled(r *pair, syn, t int64) bool {
	c := r.kept
	return c != nil && p.isOpen(c, r.keptRef, t) && !c.lost && !c.outstanding() && c.since <= syn
}

// newest returns the slot of a pair that became free last of those that were free
// at t, and alive then and at past, nil if there is none. What it finds dead is
// dropped.
func (p *Pools) newest(r *pair, t, past int64) *slot {
	for {
		s := r.free.floor(t)
		if s == nil || p.alive(s, max(t, past)) {
			return s
		}
		p.drop(s)
	}
}

// take finds a slot for a request: the newest free one, or else a new one.
func (p *Pools) take(c *Conn, r *pair, t int64) {
	if c.load > 0 && p.holdings.live >= p.cfg.MaxSlots {
		p.hold(c, nil)
		return
	}
	s := p.newest(r, t, t)
	if s == nil {
		s = p.grow(r)
	}
	if s != nil && c.load > 0 {
		h := p.holdings.get()
		*h = holding{slot: c.slot, load: c.load, next: c.left}
		c.left, c.load = h, 0
	}
	p.hold(c, s)
	p.tellRoom(c, t)
}

// again finds a slot for a request of a connection that had one before.
func (p *Pools) again(c *Conn, r *pair, t int64) {
	s := c.slot
	if s != nil && s.gen == c.gen && (c.load > 0 && s.load == c.load ||
		s.free && p.alive(s, t)) {
		p.hold(c, s)
		return
	}
	p.take(c, r, t)
}

// grow adds a slot to a pair, which is not free yet, or returns nil where a cap is met.
func (p *Pools) grow(r *pair) *slot {
	if int(r.slots) >= p.cfg.MaxPairSlots || p.slots.live >= p.cfg.MaxSlots && !p.evictSlot() {
		return nil
	}
	s := p.slots.get()
	*s = slot{pair: r, room: 1, gen: s.gen, priority: uint32(p.random.next())}
	r.slots++
	r.refs++
	return s
}

// evictSlot drops an idle slot, if it finds one where it looks.
func (p *Pools) evictSlot() bool {
	for range 8 {
		s := p.slots.at(p.random.below(p.slots.made))
		if s.pair != nil && s.load == 0 {
			p.stats.SlotsEvicted++
			p.drop(s)
			return true
		}
	}
	return false
}

// drop forgets a slot that carries nothing.
func (p *Pools) drop(s *slot) {
	r := s.pair.joined()
	if s.free {
		r.free.remove(s)
	}
	r.slots--
	p.unref(s.pair)
	*s = slot{gen: s.gen + 1}
	p.slots.put(s)
}

// hold puts one exchange of a connection on a slot, or on none where s is nil.
func (p *Pools) hold(c *Conn, s *slot) {
	if s == nil {
		p.stats.Slotless++
		c.slotless++
		return
	}
	c.slot, c.gen = s, s.gen
	c.load++
	s.load++
	s.lastUser, s.ref = c, c.Ref
	if s.free && s.load >= s.room {
		s.pair.joined().free.remove(s)
		s.free = false
	}
}

// releaseLast takes n exchanges of a connection off the slot that it took last.
func (p *Pools) releaseLast(c *Conn, n int32, t int64) {
	s := c.slot
	c.load -= n
	s.load -= n
	s.idle = t // if it is
	p.release(s, t)
	if h := c.left; c.load == 0 && h != nil {
		c.slot, c.gen, c.load, c.left = h.slot, h.slot.gen, h.load, h.next
		*h = holding{}
		p.holdings.put(h)
	}
}

// release makes a slot free from t on that has room and is full as yet.
func (p *Pools) release(s *slot, t int64) {
	r := s.pair.joined()
	switch {
	case s.free || s.load >= s.room:
	case r.listed:
		p.turn++
		s.free, s.since, s.turn = true, t, p.turn
		r.free.add(s)
	case s.load == 0: // its pair is forgotten
		p.drop(s)
	}
}

// tellRoom tells a connection's slot the room that is known from t on.
func (p *Pools) tellRoom(c *Conn, t int64) {
	s := c.slot
	if s == nil || s.gen != c.gen || c.room == 0 {
		return
	}
	if s.room = c.room; s.free && s.load >= s.room {
		s.pair.joined().free.remove(s)
		s.free = false
	}
	p.release(s, t)
}

// outstanding says whether a connection has exchanges.
func (c *Conn) outstanding() bool { return c.load > 0 || c.slotless > 0 }

// endAll ends what a connection has outstanding.
func (p *Pools) endAll(c *Conn, t int64) {
	if c.outstanding() {
		c.since = t
	}
	c.unseen, c.slotless = false, 0
	for c.load > 0 {
		p.releaseLast(c, c.load, t)
	}
}

// past returns the time up to which nothing that was dead counts any more at t; times
// that are told a little out of order are allowed for, by 2 s of the default window.
func (p *Pools) past(t int64) int64 { return t - p.cfg.Window - p.cfg.Window/32 }

// sweep looks at two slots and a pair, and drops what was dead a window ago. That
// changes no verdict.
func (p *Pools) sweep(t int64) {
	past := p.past(t)
	for range min(2, p.slots.made) {
		p.nextSlot = (p.nextSlot + 1) % p.slots.made
		if s := p.slots.at(p.nextSlot); s.pair != nil && s.load == 0 && !p.alive(s, past) {
			p.drop(s)
		}
	}
	if len(p.listed) > 0 {
		p.nextPair = (p.nextPair + 1) % len(p.listed)
		r := p.listed[p.nextPair]
		p.trim(r, past)
		if r.refs == 1 && r.newestLoss == nil && !r.anyOrigin {
			p.forget(r)
		}
	}
}
