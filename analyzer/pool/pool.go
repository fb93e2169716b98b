// Package pool tells which TCP handshakes a client could have saved. Beside the
// traffic that was seen it runs the connection pool that an ideal client would
// have had: one that keeps every connection, towards a server that lets it.
//
// # Definition
//
// There is a pool for each [Pair] of client and server. It has slots; a slot
// stands for a connection that the ideal client would have.
//
//   - A slot is held by at most one connection: from its SYN, or on a reused
//     connection from the request's first byte, until nothing is outstanding on
//     it any more. Then the slot is idle. Pipelined requests hold it together.
//   - The rider of a slot is the connection whose request held it last.
//   - An idle slot is alive up to and including Window after it became idle, and
//     for as long as its rider is really open. A slot found dead is gone.
//   - A SYN takes the alive slot that became idle last: the handshake is Wasted,
//     and its cause is why the rider of that slot could not be used: what closed
//     it or, before that is seen, what announced the closing; [PoolMiss] where
//     it could have been used. Without an alive slot the handshake is Needed and
//     the pool grows by one.
//   - A later request takes the slot that its connection held last. Where another
//     connection holds that one, or it is gone, it takes the alive slot that
//     became idle last, else the pool grows; no handshake is counted for it, so
//     the pool never needs more handshakes than were seen. The first request that
//     is seen of a midstream connection does the same.
//   - A connection that ends without a request is withdrawn: the slot goes back
//     to its place among the idle ones, with the rider and the idle time that it
//     had; if the pool grew for it, the slot vanishes. Verdicts that others were
//     given in between stay as they are: they may have been reported.
//   - An exchange that is never completed ends with its connection.
//   - A TLS connection names its server only after the SYN: [Pools.Move]
//     withdraws it from the nameless pair and judges it in the right one as of its
//     SYN: of the slots idle now, it may take one that was idle and alive then.
//
// In random streams a longer window never made more handshakes needed where each
// connection carries one request, closed with it or later. It can where
// connections are reused (TestLongerWindowMayNeedMoreWithReuse: 5 become 6): whose
// slot a SYN takes depends on the window, so in the one pool a reused request
// finds its slot held and makes the pool grow uncounted, in the other it does not.
//
// # Cost and limits
//
// A request and its end cost a constant, for the slot of a connection that is
// reused stays where it is in the pairing heap of its pair's slots until one is
// asked for, and so does one that is alone there when a SYN takes it; taking a slot
// out of the heap is O(log n), amortised. A Move also steps past the slots that
// became idle since its SYN. Each SYN looks at two slots for dead ones, until all
// were seen; an eighth of Window later that begins anew. Nothing is allocated in
// the steady state.
//
// Instructions on amd64, counted where captures of nginx are read: 250 for the
// five events of a one-request connection (BenchmarkChurn), 90 for the two of a
// reused request (BenchmarkReuse), and 85 and 15 in their caller. The CPU time of
// reading a file for a report, over that without verdicts (BenchmarkCostOfVerdicts
// of package exporter, medians of several runs): 1.045 where a connection carries 17
// small requests, 1.00 with large bodies, 1.044 where it carries one, 1.045 with
// 100 000 of those open; single runs are 0.01 to 0.02 off. Of the whole program, over
// one built without verdicts, where the rest of the code lies elsewhere, too: 1.05,
// 1.00, 1.02 to 1.06 and 1.04 to 1.06.
// The time of a connection withdrawn among 50 000 slots is BenchmarkWithdraw's.
// A connection takes 24 bytes, a slot 48.
//
//	what                  cap           default  when full
//	pairs                 MaxPairs       65 536  a pair not used lately is forgotten, counted
//	slots of all pairs    MaxSlots      262 144  the same; with no other pair left, as in the next line
//	slots of one pair     MaxPairSlots   65 536  the handshake is needed, the exchange rides no slot, counted
//	slots that Move skips lookBack        1 024  the handshake is needed
//	slots out of place    maxStale        1 024  all are put in their places
//
// Which pair is forgotten is a second chance's choice, O(1) amortised: they stand
// in the order in which they were made, the first goes, and one in which an
// exchange has ended since it was made or last spared is spared and goes to the
// end. A forgotten pair starts again with an empty pool. Its open connections keep
// their verdicts, and their next request counts in the new pool.
//
// HTTP/2 fits in where a slot has one holder: a slot that carries n exchanges at
// once counts its holders, and stays in the heap until it has n.
package pool

// A Pair is a client and a server as it is known to that client.
type Pair struct {
	Client, Server [16]byte
	Port           uint16
	Name           uint32 // the caller's number for the SNI, 0 without
}

// A Verdict says whether the ideal pool needed a handshake.
type Verdict uint8

// The verdicts.
const (
	None Verdict = iota
	Needed
	Wasted
)

// A Reason is the caller's number for why a connection cannot be reused, and so
// the cause of a wasted handshake.
type Reason uint8

// PoolMiss is the cause where the connection could have been reused.
const PoolMiss Reason = 255

// A Config sets up Pools. A number that is not positive has its default.
type Config struct {
	Window       int64 // ns that an idle slot lives whose rider is closed, default 60 s
	MaxPairs     int
	MaxSlots     int
	MaxPairSlots int

	// Conn returns the Conn of a connection that is not released. It must be set.
	Conn func(id uint32) *Conn

	// Open says whether a connection that was not reported Closed is really open
	// at time now, so that a lazy tracker need not time connections out at once;
	// one that is not open must have no other event than Closed and Release. It
	// is asked of idle slots past Window only, and must not call Pools. Without
	// it they all are.
	Open func(conn uint32, now int64) bool
}

// Stats says how large the pools are, and how often a cap was met.
type Stats struct {
	Pairs, Slots int    // now, dead slots not swept yet included
	Evicted      uint64 // pairs forgotten
	Slotless     uint64 // exchanges that got no slot
}

// Pools are the ideal pools of all pairs. A connection has a number that is its own
// from SYN or Midstream to Release, and a Conn, which lies where its owner has it at
// hand: to look for it took a sixth of all. Times are nanoseconds. An event of an
// unknown connection is ignored. Pools keep no pointer that they are given, and are
// not safe for concurrent use.
type Pools struct {
	cfg      Config
	slots    arena[slot]
	pairs    arena[pair] // pairs[0] is the head of the ring
	byKey    map[Pair]int32
	near     [64]*pair // found last, by a cheap hash
	stale    []int32   // slots that are, or were since this was empty
	seq      uint32    // of the last slot that became idle
	hand     int32     // the slot swept last, 0 between rounds
	next     int64     // when the next round begins
	evicted  uint64
	slotless uint64
}

// New returns empty pools.
func New(cfg Config) *Pools {
	cfg.Window = orDefault(cfg.Window, 60e9)
	cfg.MaxPairs = orDefault(cfg.MaxPairs, 1<<16)
	cfg.MaxSlots = orDefault(cfg.MaxSlots, 1<<18)
	cfg.MaxPairSlots = orDefault(cfg.MaxPairSlots, 1<<16)
	p := &Pools{cfg: cfg, byKey: make(map[Pair]int32), stale: make([]int32, 0, maxStale)}
	*p.slots.at(p.slots.get()) = slot{rider: gone, held: true} // in place of none
	p.pairs.get()
	return p
}

func orDefault[T int | int64](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// Stats returns the sizes and counts of now.
func (p *Pools) Stats() Stats {
	return Stats{Pairs: len(p.byKey), Slots: p.slots.len(), Evicted: p.evicted, Slotless: p.slotless}
}

// SYN opens a connection. The verdict is provisional: it holds if a request comes
// before Closed. The reason is the cause of a Wasted handshake.
func (p *Pools) SYN(c *Conn, id uint32, key *Pair, t int64) (Verdict, Reason) {
	p.begin(c, id, t)
	return p.judge(c, p.enter(c, key), t)
}

// Move puts a connection that has had no request yet into another pair and
// returns the verdict that replaces the one of its SYN, which was at time syn;
// None, and nothing is changed, if it has had a request or is closed.
func (p *Pools) Move(c *Conn, key *Pair, syn int64) (Verdict, Reason) {
	if !c.provisional {
		return None, 0
	}
	p.withdraw(c)
	old := c.pair
	r := p.enter(c, key)
	p.leave(old)
	return p.judge(c, r, syn)
}

// judge gives a connection a slot of its pair r as of its SYN.
func (p *Pools) judge(c *Conn, r *pair, syn int64) (Verdict, Reason) {
	c.provisional = true
	i, s := r.idle, p.slots.at(r.idle) // slot 0 is held
	switch {
	case s.held || s.since > syn || syn-s.since > p.cfg.Window || len(p.stale) > 0: // rarely
		i, s = p.newest(r, syn)
	case s.child != 0:
		p.pop(i, s, r)
	}
	if i != 0 {
		c.hold(i, s)
		return Wasted, p.why(s)
	}
	c.hold(p.grow(c.pair))
	return Needed, 0
}

// Midstream is the first request that is seen of a connection without a SYN.
func (p *Pools) Midstream(c *Conn, id uint32, key *Pair, t int64) {
	p.begin(c, id, t)
	p.enter(c, key)
	p.Request(c, t)
}

// Request is the first byte of a request. It confirms a provisional verdict, and
// takes back what Unusable said: only the last exchange's word counts.
func (p *Pools) Request(c *Conn, t int64) {
	if !c.closed {
		c.reason = PoolMiss
	}
	c.provisional = false
	if !c.holds {
		p.again(c, t)
	}
}

// again gives a connection that holds none a slot for a request.
func (p *Pools) again(c *Conn, t int64) {
	s := p.slots.at(c.slot)
	switch {
	case s.rider == c.me && !s.held && !c.closed: // nearly every reused request
		s.held, c.holds = true, true
	case c.pair != 0:
		p.find(c, s, t)
	}
}

// find finds a slot for a request of a connection that cannot simply have its own,
// the one that it held last.
func (p *Pools) find(c *Conn, own *slot, t int64) {
	r := p.pairs.at(c.pair)
	if !r.listed {
		old := c.pair
		r = p.enter(c, &r.key) // anew
		p.leave(old)
	}
	if c.slot != 0 && own.gen == c.gen && !own.held && p.alive(own, t) {
		c.hold(c.slot, own)
		return
	}
	i, s := p.newest(r, t)
	if i == 0 {
		i, s = p.grow(c.pair)
	}
	if own.rider == c.me { // and is no more than lent to who holds it
		p.lend(c.slot, c)
	}
	c.hold(i, s)
}

// Idle is the last byte of a response that leaves no exchange outstanding. Saying
// so again later, with no request between, moves the time.
func (p *Pools) Idle(c *Conn, t int64) {
	if c.provisional {
		return
	}
	s := p.slots.at(c.slot)
	if !c.holds && (s.rider != c.me || s.held || s.since >= t || c.closed && !p.alive(s, t)) {
		return
	}
	c.holds = false
	p.rest(c, s, t)
}

// Unusable records why a connection will not take another request, as soon as
// that is known. The latest reason counts.
func (p *Pools) Unusable(c *Conn, why Reason) { c.reason = why }

// Reason returns why a connection will not take another request, as was said
// last; PoolMiss if nothing was.
func (p *Pools) Reason(c *Conn) Reason { return c.reason }

// Closed is the end of a connection: its first FIN or RST, or the tracker's. It
// ends what is outstanding, or withdraws the connection if it had no request.
// Both a request that crosses the closing and the rest of a response may follow.
func (p *Pools) Closed(c *Conn, t int64, why Reason) {
	c.reason = why
	p.end(c, t)
}

// Release closes a connection, if it is not yet, for the reason last given, and
// frees its number.
func (p *Pools) Release(c *Conn, t int64) {
	if c.pair == 0 {
		return
	}
	if c.holds {
		p.letGo(c, t)
	}
	if s := p.slots.at(c.slot); s.rider == c.me {
		s.rider, s.why = gone, c.reason
	}
	if c.lent != 0 {
		p.unlend(c)
	}
	p.leave(c.pair)
	*c = Conn{}
}

func (p *Pools) end(c *Conn, t int64) {
	c.closed = true
	if c.holds {
		p.letGo(c, t)
	}
	c.provisional = false
}

func (p *Pools) letGo(c *Conn, t int64) {
	if c.provisional {
		p.withdraw(c)
		return
	}
	c.holds = false
	p.rest(c, p.slots.at(c.slot), t)
}

// withdraw undoes judge.
func (p *Pools) withdraw(c *Conn) {
	i := c.slot
	c.slot, c.holds = 0, false
	switch s := p.slots.at(i); {
	case i == 0: // the pool was full
	case s.rider == 0:
		p.drop(i, s)
	default:
		s.held = false
		if s.heap == outside {
			p.push(i, s, p.pairs.at(s.pair))
		}
	}
}
