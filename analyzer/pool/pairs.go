package pool

// maxOrigins is how many origins of one client at one address have pools of their own.
const maxOrigins = 256

// An address is a Pair but for its origin.
type address struct {
	client, server [16]byte
	port           uint16
	tls            bool
}

func (k *Pair) address() address { return address{k.Client, k.Server, k.Port, k.TLS} }

// A pair is a pool. It is listed until it is forgotten or joined into another. It
// is kept until nothing refers to it any more.
type pair struct {
	free                   order
	newestLoss, oldestLoss *loss
	next, prev             *pair // of its address
	into                   *pair // what it was joined into
	refs                   int32 // connections, slots, pairs joined into it, and being listed
	slots, losses          int32
	index                  int32 // in Pools.listed
	lastSYN                int64 // the newest
	active                 int64 // when a request began last
	forgot                 int64 // when the newest loss that is forgotten was lost
	reused                 int64 // when a second or later request of a connection did
	kept                   *Conn // whose that was; still that connection only while its Ref is keptRef
	keptRef                uint64
	key                    Pair
	listed                 bool
	busy                   bool // a connection was reused since its worth was asked
	judged                 bool // a handshake was
	anyOrigin              bool // all pairs of its address were joined into it
}

// joined returns what a pair was joined into, or the pair itself.
func (r *pair) joined() *pair {
	if r.into != nil {
		return r.into
	}
	return r
}

// enter puts a connection into the pool of a pair.
func (p *Pools) enter(c *Conn, key *Pair) *pair {
	r := p.lookup(key)
	c.pair = r
	r.refs++
	return r
}

// pairOf returns the pool of a connection, which enters it anew if it was forgotten.
func (p *Pools) pairOf(c *Conn) *pair {
	old := c.pair
	if r := old.joined(); r.listed {
		return r
	}
	r := p.enter(c, &old.key)
	r.judged = r.judged || old.judged
	p.unref(old)
	return r
}

// lookup returns the pool of a pair, and makes it if there is none. The first pair of
// an address stays where it is; behind it is the one that was found last.
func (p *Pools) lookup(key *Pair) *pair {
	first := p.first[key.address()]
	n := 0
	for r := first; r != nil; r = r.next {
		if r.key.Origin == key.Origin || r.anyOrigin {
			if n > 1 {
				p.unlink(r)
				first.link(r)
			}
			return r
		}
		n++
	}
	if n >= maxOrigins {
		p.stats.JoinedByCap++
		p.join(first)
		return p.first[key.address()]
	}
	return p.list(key, first)
}

// list makes a pair, behind the first of its address.
func (p *Pools) list(key *Pair, first *pair) *pair {
	r := p.pairs.get()
	*r = pair{key: *key, index: int32(len(p.listed)), refs: 1, lastSYN: before, reused: before, forgot: before, listed: true}
	p.listed = append(p.listed, r)
	if first != nil {
		first.link(r)
	} else {
		p.first[key.address()] = r
	}
	if len(p.listed) > p.cfg.MaxPairs {
		p.evict()
	}
	return r
}

// link puts a pair behind the first of its address.
func (r *pair) link(o *pair) {
	if o.prev, o.next = r, r.next; o.next != nil {
		o.next.prev = o
	}
	r.next = o
}

// unlink takes a pair out of those of its address.
func (p *Pools) unlink(r *pair) {
	switch {
	case r.prev != nil:
		r.prev.next = r.next
	case r.next != nil:
		p.first[r.key.address()] = r.next
	default:
		delete(p.first, r.key.address())
	}
	if r.next != nil {
		r.next.prev = r.prev
	}
}

// unlist takes a pair out of all lists.
func (p *Pools) unlist(r *pair) {
	n := len(p.listed) - 1
	last := p.listed[n]
	p.listed[r.index], last.index = last, r.index
	p.listed[n] = nil
	p.listed = p.listed[:n]
	p.unlink(r)
	r.listed = false
}

// forget forgets a pair. Slots that carry something go when it ends.
func (p *Pools) forget(r *pair) {
	for r.oldestLoss != nil {
		p.forgetLoss(r, r.oldestLoss)
	}
	for s := r.free.newest; s != nil; s = r.free.newest {
		if s.load == 0 {
			p.drop(s)
			continue
		}
		r.free.remove(s)
		s.free = false
	}
	p.unlist(r)
	p.unref(r)
}

// unref takes one reference from a pair.
func (p *Pools) unref(r *pair) {
	if r.refs--; r.refs > 0 {
		return
	}
	into := r.into
	*r = pair{}
	p.pairs.put(r)
	if into != nil {
		p.unref(into)
	}
}

// evict forgets the pair of the least worth of some taken at random; the last one
// listed is not among them.
func (p *Pools) evict() {
	var victim *pair
	for least, i := 3, 0; i < 8 && least > 0; i++ {
		r := p.listed[p.random.below(len(p.listed)-1)]
		if w := p.worth(r); w < least {
			victim, least = r, w
		}
		r.busy = false
	}
	p.stats.Evicted++
	p.forget(victim)
}

// worth says how much a pair is worth: 2 where a connection was reused since this was
// last asked, 1 where one carried a request within Window, else 0; and 0 where no handshake
// was judged, for who makes addresses up has none.
func (p *Pools) worth(r *pair) int {
	switch {
	case r.busy:
		return 2
	case !r.judged:
		return 0
	case p.now-r.active <= p.cfg.Window:
		return 1
	default:
		return 0
	}
}

// join makes one pool of the pairs of an address: the one with the most slots takes
// in what the others have.
func (p *Pools) join(first *pair) {
	into := first
	for r := first; r != nil; r = r.next {
		if r.slots > into.slots {
			into = r
		}
	}
	into.anyOrigin = true
	for r := first; r != nil; {
		next := r.next
		if r != into {
			p.merge(into, r)
		}
		r = next
	}
}

// merge moves what a pair has into another of its address.
func (p *Pools) merge(into, r *pair) {
	for s := r.free.newest; s != nil; s = r.free.newest {
		r.free.remove(s)
		into.free.add(s)
	}
	for l := r.newestLoss; l != nil; l = r.newestLoss {
		r.unlinkLoss(l)
		p.linkLoss(into, l)
	}
	into.slots += r.slots
	if r.reused > into.reused || r.reused == into.reused && r.keptRef > into.keptRef {
		into.reused, into.kept, into.keptRef = r.reused, r.kept, r.keptRef
	}
	into.lastSYN, into.active = max(into.lastSYN, r.lastSYN), max(into.active, r.active)
	into.forgot = max(into.forgot, r.forgot)
	into.busy, into.judged = into.busy || r.busy, into.judged || r.judged
	p.unlist(r)
	r.into = into
	into.refs++
	p.unref(r)
}
