package pool

import (
	"cmp"
	"slices"
)

// A model is the definition in the package doc, written down again with lists and
// linear scans. Nothing is shared with the code under test but the types of the
// events.
type model struct {
	window int64
	limit  int64 // a connection silent for longer is not open; 0 for none
	slots  []*modelSlot
	conns  map[uint32]*modelConn
	turn   int
}

type modelConn struct {
	pair                Pair
	syn, last           int64
	slot                *modelSlot
	why                 Reason
	provisional, closed bool
}

type modelSlot struct {
	pair          Pair
	since         int64
	turn          int
	rider, holder *modelConn
}

func (m *model) open(c *modelConn, now int64) bool {
	return !c.closed && (m.limit == 0 || now-c.last <= m.limit)
}

func (m *model) alive(s *modelSlot, now int64) bool {
	return now-s.since <= m.window || m.open(s.rider, now)
}

func (m *model) remove(s *modelSlot) {
	m.slots = slices.DeleteFunc(m.slots, func(o *modelSlot) bool { return o == s })
}

// take finds the most recently used slot for a connection.
func (m *model) take(c *modelConn, now int64) bool {
	var idle []*modelSlot
	for _, s := range m.slots {
		if s.pair == c.pair && s.holder == nil && s.since <= now {
			idle = append(idle, s)
		}
	}
	slices.SortFunc(idle, func(a, b *modelSlot) int {
		return cmp.Or(cmp.Compare(b.since, a.since), cmp.Compare(b.turn, a.turn))
	})
	for _, s := range idle {
		if m.alive(s, now) {
			c.slot, s.holder = s, c
			return true
		}
		m.remove(s)
	}
	return false
}

func (m *model) grow(c *modelConn) {
	c.slot = &modelSlot{pair: c.pair, holder: c}
	m.slots = append(m.slots, c.slot)
}

func (m *model) judge(c *modelConn) (Verdict, Reason) {
	c.provisional = true
	if m.take(c, c.syn) {
		return Wasted, c.slot.rider.why
	}
	m.grow(c)
	return Needed, 0
}

func (m *model) withdraw(c *modelConn) {
	if c.slot.rider == nil {
		m.remove(c.slot)
	}
	c.slot.holder, c.slot, c.provisional = nil, nil, false
}

func (m *model) SYN(id uint32, pair Pair, t int64) (Verdict, Reason) {
	c := &modelConn{pair: pair, syn: t, last: t, why: PoolMiss}
	m.conns[id] = c
	return m.judge(c)
}

func (m *model) Midstream(id uint32, pair Pair, t int64) {
	m.conns[id] = &modelConn{pair: pair, last: t, why: PoolMiss}
	m.Request(id, t)
}

func (m *model) Move(id uint32, pair Pair) (Verdict, Reason) {
	c := m.conns[id]
	if !c.provisional {
		return None, 0
	}
	m.withdraw(c)
	c.pair = pair
	return m.judge(c)
}

func (m *model) Request(id uint32, t int64) {
	c := m.conns[id]
	defer func() { c.last = t }()
	c.provisional = false
	if !c.closed {
		c.why = PoolMiss
	}
	own := c.slot
	switch {
	case own != nil && own.holder == c:
	case own != nil && own.holder == nil && slices.Contains(m.slots, own) && (own.rider == c && !c.closed || m.alive(own, t)):
		own.holder = c
	case m.take(c, t):
	default:
		m.grow(c)
	}
	c.slot.rider = c
}

func (m *model) rest(c *modelConn, t int64) {
	m.turn++
	c.slot.since, c.slot.turn, c.slot.holder = t, m.turn, nil
}

func (m *model) Idle(id uint32, t int64) {
	c := m.conns[id]
	defer func() { c.last = t }()
	if c.slot == nil || c.provisional {
		return
	}
	again := c.slot.holder == nil && c.slot.rider == c && t > c.slot.since &&
		slices.Contains(m.slots, c.slot) && (!c.closed || m.alive(c.slot, t))
	if c.slot.holder == c || again {
		m.rest(c, t)
	}
}

func (m *model) Unusable(id uint32, why Reason) { m.conns[id].why = why }

func (m *model) Closed(id uint32, t int64, why Reason) {
	m.conns[id].why = why
	m.end(m.conns[id], t)
}

func (m *model) end(c *modelConn, t int64) {
	c.closed = true
	if c.provisional {
		m.withdraw(c)
	} else if c.slot != nil && c.slot.holder == c {
		m.rest(c, t)
	}
}

func (m *model) Release(id uint32, t int64) {
	m.end(m.conns[id], t)
	delete(m.conns, id)
}
