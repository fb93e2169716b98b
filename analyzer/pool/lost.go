package pool

// maxLost is how many lost connections of a pair are remembered.
const maxLost = 64

// A loss is a connection that became unusable. Those of a pair are a list.
type loss struct {
	ref          uint64
	since        int64 // from when it was unusable
	from         int64 // from when it had idled then, since if it had not
	idle         bool  // it was an idle closing
	crowded      bool  // the pair's client sent a SYN between from and since
	note         Note
	older, newer *loss
}

// before is earlier than any time.
const before = -1 << 63

// remember adds a connection, which is not among them, to the losses of its pair.
func (p *Pools) remember(c *Conn, r *pair, t int64, idle bool, note Note) {
	p.trim(r, p.past(t))
	if p.losses.live >= p.cfg.MaxSlots && !p.evictLoss(r) {
		r.forgot = max(r.forgot, t)
		return
	}
	l := p.losses.get()
	*l = loss{ref: c.Ref, since: t, from: t, idle: idle, note: note}
	if !c.outstanding() {
		l.from = c.since
	}
	l.crowded = l.during(r.lastSYN)
	p.linkLoss(r, l)
}

// linkLoss puts a loss in its place by time. The oldest goes if there are too many.
func (p *Pools) linkLoss(r *pair, l *loss) {
	o := r.newestLoss
	for o != nil && o.since > l.since {
		o = o.older
	}
	if l.older = o; o != nil {
		l.newer, o.newer = o.newer, l
	} else {
		l.newer, r.oldestLoss = r.oldestLoss, l
	}
	if l.newer != nil {
		l.newer.older = l
	} else {
		r.newestLoss = l
	}
	if r.losses++; r.losses > maxLost {
		p.forgetOldest(r)
	}
}

// unlinkLoss takes a loss out of the list.
func (r *pair) unlinkLoss(l *loss) {
	if l.older != nil {
		l.older.newer = l.newer
	} else {
		r.oldestLoss = l.newer
	}
	if l.newer != nil {
		l.newer.older = l.older
	} else {
		r.newestLoss = l.older
	}
	l.older, l.newer = nil, nil
	r.losses--
}

// forgetLoss takes a loss out, and frees it.
func (p *Pools) forgetLoss(r *pair, l *loss) {
	r.unlinkLoss(l)
	p.losses.put(l)
}

// forgetOldest makes room for a loss.
func (p *Pools) forgetOldest(r *pair) {
	r.forgot = max(r.forgot, r.oldestLoss.since)
	p.forgetLoss(r, r.oldestLoss)
}

// evictLoss forgets the oldest loss of a pair or, where it has none, of one taken at
// random, if it finds one.
func (p *Pools) evictLoss(r *pair) bool {
	for range 8 {
		if r.oldestLoss != nil {
			p.forgetOldest(r)
			return true
		}
		r = p.listed[p.random.below(len(p.listed))]
	}
	return false
}

// trim forgets the losses that no SYN after t replaces.
func (p *Pools) trim(r *pair, t int64) {
	for l := r.oldestLoss; l != nil && t-l.since > p.cfg.Window; l = r.oldestLoss {
		p.forgetLoss(r, l)
	}
}

// lossOf returns the loss of a connection, nil if it is replaced or forgotten.
func (r *pair) lossOf(c *Conn) *loss {
	for l := r.newestLoss; l != nil; l = l.older {
		if l.ref == c.Ref {
			return l
		}
	}
	return nil
}

// during says whether a SYN was sent while the connection idled that was lost.
func (l *loss) during(syn int64) bool { return l.from < syn && syn < l.since }

// opened notes the SYN of a connection of a pair.
func (r *pair) opened(syn int64) {
	r.lastSYN = max(r.lastSYN, syn)
	for l := r.newestLoss; l != nil && syn < l.since; l = l.older {
		l.crowded = l.crowded || l.during(syn)
	}
}

// replaced returns the loss that a wasted handshake replaces, nil for none; its first
// request came at t. It is counted where one that is forgotten could have been it.
func (p *Pools) replaced(r *pair, syn, t int64) *loss {
	oldest := max(syn-p.cfg.Window, t-2*p.cfg.Window)
	leaks := r.reused == before || syn-r.reused > p.cfg.Window
	for l := r.newestLoss; l != nil && l.since >= oldest; l = l.older {
		if l.since <= syn && !(leaks && l.idle && l.crowded) {
			return l
		}
	}
	if r.forgot >= oldest {
		p.stats.LossesForgotten++
	}
	return nil
}
