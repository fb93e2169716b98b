package pool

import (
	"cmp"
	"slices"
)

// A model is the definition in the package doc, written down again with lists and
// linear scans. Nothing is shared with the code under test but the types of what
// goes in and out.
type model struct {
	window, limit int64
	pools         []*modelPool
	conns         map[uint64]*modelConn
	turn          int
}

type modelPool struct {
	keys   []Pair
	joined bool
	slots  []*modelSlot
	losses []*modelLoss
	syns   []int64
	reuses []int64
	kept   uint64 // whose the last of them was
}

type modelConn struct {
	ref          uint64
	pool         *modelPool
	own          *modelSlot
	exchanges    []*modelSlot // where each of those outstanding is
	room         int
	told         int64 // when room was
	idle         int64
	seen         int64
	over, unseen bool
	lost         bool
}

type modelSlot struct {
	exchanges   []*modelConn // whose each is
	lastUser    *modelConn
	room        int
	since, idle int64
	turn        int
}

type modelLoss struct {
	ref           uint64
	from, since   int64
	idle, crowded bool
}

func (s *modelSlot) free() bool { return len(s.exchanges) < s.room }

func (m *model) alive(s *modelSlot, t int64) bool {
	open := !s.lastUser.over && (m.limit == 0 || t-s.lastUser.seen <= m.limit)
	return len(s.exchanges) > 0 || t-s.idle <= m.window || open
}

func (m *model) pool(key Pair) *modelPool {
	for _, p := range m.pools {
		if slices.Contains(p.keys, key) {
			return p
		}
		at := p.keys[0]
		if at.Origin = key.Origin; p.joined && at == key {
			return p
		}
	}
	p := &modelPool{keys: []Pair{key}}
	m.pools = append(m.pools, p)
	return p
}

// newest returns the slot of a pool that became free last as of t.
func (m *model) newest(p *modelPool, t int64) *modelSlot {
	var free []*modelSlot
	for _, s := range p.slots {
		if s.free() && s.since <= t {
			free = append(free, s)
		}
	}
	slices.SortFunc(free, func(a, b *modelSlot) int {
		return cmp.Or(cmp.Compare(b.since, a.since), cmp.Compare(b.turn, a.turn))
	})
	for _, s := range free {
		if m.alive(s, t) {
			return s
		}
		p.slots = slices.DeleteFunc(p.slots, func(o *modelSlot) bool { return o == s })
	}
	return nil
}

// put puts an exchange of a connection on a slot, a new one where s is nil.
func (m *model) put(c *modelConn, s *modelSlot) {
	if s == nil {
		s = &modelSlot{room: 1}
		c.pool.slots = append(c.pool.slots, s)
	}
	s.exchanges = append(s.exchanges, c)
	s.lastUser, c.own = c, s
	c.exchanges = append(c.exchanges, s)
}

// changed looks at a slot of which room or load have changed at t.
func (m *model) changed(s *modelSlot, wasFree bool, t int64) {
	if s.free() && !wasFree {
		m.turn++
		s.since, s.turn = t, m.turn
	}
}

func (m *model) tellRoom(c *modelConn, t int64) {
	if c.room == 0 || !slices.Contains(c.pool.slots, c.own) {
		return
	}
	wasFree := c.own.free()
	c.own.room = c.room
	m.changed(c.own, wasFree, t)
}

func (m *model) First(ref uint64, key Pair, syn, t int64) Judgement {
	c := m.conns[ref]
	c.pool = m.pool(key)
	if syn < 0 {
		m.put(c, m.newest(c.pool, t))
		m.tellRoom(c, t)
		return Judgement{}
	}
	c.pool.syns = append(c.pool.syns, syn)
	for _, l := range c.pool.losses {
		l.crowded = l.crowded || l.from < syn && syn < l.since
	}
	j := Judgement{Verdict: Needed}
	s := m.newest(c.pool, syn)
	if s != nil {
		j = m.cause(c.pool, syn, s.lastUser.ref)
		kept := m.conns[c.pool.kept]
		j.PassedOver = kept != nil && !kept.over && !kept.lost && len(kept.exchanges) == 0 && kept.idle <= syn &&
			(m.limit == 0 || t-kept.seen <= m.limit)
	}
	// The slot of a needed handshake is as full as its exchange makes it until its
	// room was told, which may have been before.
	m.put(c, s)
	m.tellRoom(c, c.told)
	return j
}

func (m *model) cause(p *modelPool, syn int64, lastUser uint64) Judgement {
	leaks := !slices.ContainsFunc(p.reuses, func(t int64) bool { return syn-t <= m.window })
	var found *modelLoss
	for _, l := range p.losses {
		if l.since > syn || syn-l.since > m.window || leaks && l.idle && l.crowded {
			continue
		}
		if found == nil || l.since >= found.since {
			found = l
		}
	}
	if found == nil {
		return Judgement{Verdict: Wasted, Miss: true, Ref: lastUser}
	}
	p.losses = slices.DeleteFunc(p.losses, func(o *modelLoss) bool { return o == found })
	return Judgement{Verdict: Wasted, Ref: found.ref, Since: found.since}
}

func (m *model) Request(ref uint64, t int64) {
	c := m.conns[ref]
	c.pool.reuses, c.pool.kept = append(c.pool.reuses, t), ref
	if c.unseen {
		c.unseen = false
		return
	}
	m.again(c, t)
}

func (m *model) Busy(ref uint64, t int64) {
	if c := m.conns[ref]; len(c.exchanges) == 0 {
		c.unseen = true
		m.again(c, t)
	}
}

func (m *model) again(c *modelConn, t int64) {
	s := c.own
	run := 0 // of exchanges put on this slot one after the other
	for i := len(c.exchanges) - 1; i >= 0 && c.exchanges[i] == s; i-- {
		run++
	}
	alone := run > 0 && run == len(s.exchanges)
	if alone || slices.Contains(c.pool.slots, s) && s.free() && m.alive(s, t) {
		m.put(c, s)
		return
	}
	m.put(c, m.newest(c.pool, t))
	m.tellRoom(c, t)
}

func (m *model) End(ref uint64, t int64) {
	c := m.conns[ref]
	c.unseen = false
	n := len(c.exchanges) - 1
	if n < 0 {
		return
	}
	s := c.exchanges[n]
	c.exchanges = c.exchanges[:n]
	wasFree := s.free()
	i := slices.Index(s.exchanges, c)
	s.exchanges = slices.Delete(s.exchanges, i, i+1)
	if len(s.exchanges) == 0 {
		s.idle = t
	}
	m.changed(s, wasFree, t)
	if n > 0 {
		c.own = c.exchanges[n-1]
	} else {
		c.idle = t
	}
}

func (m *model) Room(ref uint64, n int, t int64) {
	c := m.conns[ref]
	c.room, c.told = max(n, 1), t
	if c.pool != nil {
		m.tellRoom(c, t)
	}
}

func (m *model) Lost(ref uint64, t int64, idle bool) {
	c := m.conns[ref]
	if c.lost {
		for _, l := range c.pool.losses {
			if l.ref == ref {
				l.idle = idle
			}
		}
		return
	}
	c.lost = true
	l := &modelLoss{ref: ref, from: t, since: t, idle: idle}
	if len(c.exchanges) == 0 {
		l.from = c.idle
	}
	l.crowded = slices.ContainsFunc(c.pool.syns, func(syn int64) bool { return l.from < syn && syn < t })
	c.pool.losses = append(c.pool.losses, l)
	c.pool.shorten()
}

// shorten leaves the newest 64 losses, in the order of their times.
func (p *modelPool) shorten() {
	slices.SortStableFunc(p.losses, func(a, b *modelLoss) int { return cmp.Compare(a.since, b.since) })
	p.losses = p.losses[max(0, len(p.losses)-64):]
}

func (m *model) Usable(ref uint64) {
	if c := m.conns[ref]; c.lost {
		c.lost = false
		c.pool.losses = slices.DeleteFunc(c.pool.losses, func(l *modelLoss) bool { return l.ref == ref })
	}
}

func (m *model) Close(ref uint64, t int64) {
	c := m.conns[ref]
	c.over = true
	for len(c.exchanges) > 0 {
		m.End(ref, t)
	}
	c.unseen = false
}

func (m *model) Release(ref uint64, t int64) {
	m.Close(ref, t)
	delete(m.conns, ref)
}

func (m *model) Join(key Pair) {
	var into *modelPool
	for _, p := range slices.Clone(m.pools) {
		at := p.keys[0]
		if at.Origin = key.Origin; at != key {
			continue
		}
		if into == nil {
			into = p
			into.joined = true
			continue
		}
		into.keys = append(into.keys, p.keys...)
		into.slots = append(into.slots, p.slots...)
		into.losses = append(into.losses, p.losses...)
		into.syns = append(into.syns, p.syns...)
		if newest := func(p *modelPool) int64 { return slices.Max(append(p.reuses, before)) }; newest(p) > newest(into) || newest(p) == newest(into) && p.kept > into.kept {
			into.kept = p.kept
		}
		into.reuses = append(into.reuses, p.reuses...)
		into.shorten()
		for _, c := range m.conns {
			if c.pool == p {
				c.pool = into
			}
		}
		m.pools = slices.DeleteFunc(m.pools, func(o *modelPool) bool { return o == p })
	}
}
