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
// reused stays in the pairing heap of its pair's slots until a SYN finds it on
// top; taking a slot out of the heap is O(log n), amortised. A Move also steps
// past the slots that became idle since its SYN. Each SYN looks at two slots for
// dead ones, until all were seen; an eighth of Window later that begins anew.
// Nothing is allocated in the steady state.
//
// Instructions on amd64, counted where captures of nginx are read: 1 000 for the
// five events of a one-request connection (BenchmarkChurn), 280 for the two of a
// reused request (BenchmarkReuse). That makes reading a file without an observer
// 6 % longer where it holds 17 requests a connection, 10 % where it holds one.
// The time of a connection withdrawn among 50 000 slots is BenchmarkWithdraw's.
//
//	what                  cap           default  when full
//	pairs                 MaxPairs       65 536  the least recently used pair is forgotten, counted
//	slots of all pairs    MaxSlots      262 144  the same; with no other pair left, as in the next line
//	slots of one pair     MaxPairSlots   65 536  the handshake is needed, the exchange rides no slot, counted
//	slots that Move skips lookBack        1 024  the handshake is needed
//
// A forgotten pair starts again with an empty pool. Its open connections keep
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

// A Config sets up Pools. A field that is not positive has its default.
type Config struct {
	Window       int64 // ns that an idle slot lives whose rider is closed, default 60 s
	MaxPairs     int
	MaxSlots     int
	MaxPairSlots int

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

// Pools are the ideal pools of all pairs. A connection is known by a small number
// that is its own from SYN or Midstream to Release; memory grows with the largest
// one. Times are nanoseconds. An event of an unknown connection is ignored. Pools
// are not safe for concurrent use.
type Pools struct {
	cfg      Config
	byID     chunks[int32] // index in conns, 0 for none
	conns    arena[connection]
	slots    arena[slot]
	pairs    arena[pair] // pairs[0] is the head of the list by use
	touched  int32       // the pair used last, 0 if that is gone
	byKey    map[Pair]int32
	near     [64]int32 // pairs found last, by a cheap hash
	seq      uint32    // of the last slot that became idle
	hand     int32     // the slot swept last, 0 between rounds
	swept    int64     // when the last round ended
	evicted  uint64
	slotless uint64
}

// New returns empty pools.
func New(cfg Config) *Pools {
	cfg.Window = orDefault(cfg.Window, 60e9)
	cfg.MaxPairs = orDefault(cfg.MaxPairs, 1<<16)
	cfg.MaxSlots = orDefault(cfg.MaxSlots, 1<<18)
	cfg.MaxPairSlots = orDefault(cfg.MaxPairSlots, 1<<16)
	p := &Pools{cfg: cfg, byKey: make(map[Pair]int32)}
	p.conns.get() // index 0 is none
	p.slots.get()
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
func (p *Pools) SYN(conn uint32, key Pair, t int64) (Verdict, Reason) {
	return p.judge(p.conns.at(p.begin(conn, &key, t)))
}

// Move puts a connection that has had no request yet into another pair and
// returns the verdict that replaces the one of its SYN; None, and nothing is
// changed, if it has had a request or is closed.
func (p *Pools) Move(conn uint32, key Pair) (Verdict, Reason) {
	me := p.find(conn)
	c := p.conns.at(me)
	if me == 0 || !c.provisional {
		return None, 0
	}
	p.withdraw(c)
	p.enter(c, &key)
	return p.judge(c)
}

// judge gives a connection a slot as of its SYN.
func (p *Pools) judge(c *connection) (Verdict, Reason) {
	c.provisional = true
	if s := p.newest(c.pair, c.syn); s != 0 {
		p.hold(s, c)
		return Wasted, p.conns.at(p.slots.at(s).rider).reason
	}
	p.hold(p.grow(c.pair), c)
	return Needed, 0
}

// Midstream is the first request that is seen of a connection without a SYN.
func (p *Pools) Midstream(conn uint32, key Pair, t int64) {
	p.request(p.begin(conn, &key, t), t)
}

// Request is the first byte of a request. It confirms a provisional verdict, and
// takes back what Unusable said: only the last exchange's word counts.
func (p *Pools) Request(conn uint32, t int64) {
	if me := p.find(conn); me != 0 {
		p.request(me, t)
	}
}

func (p *Pools) request(me int32, t int64) {
	c := p.conns.at(me)
	if !c.closed {
		c.reason = PoolMiss
	}
	c.provisional = false
	s := p.slots.at(c.slot)
	switch {
	case c.holds:
		p.touch(c.pair)
	case s.rider == me && !s.held && !c.closed: // nearly every reused request
		p.touch(c.pair)
		s.held, c.holds = true, true
		return
	default:
		p.hold(p.again(c, t), c)
	}
	p.ride(c.slot, me)
}

// again finds a slot for a request of a connection that holds none.
func (p *Pools) again(c *connection, t int64) int32 {
	if r := p.pairs.at(c.pair); r.evicted {
		p.enter(c, &r.key) // anew
	} else {
		p.touch(c.pair)
	}
	if s := p.slots.at(c.slot); c.slot != 0 && s.gen == c.gen && !s.held && p.alive(s, t) {
		return c.slot
	}
	if s := p.newest(c.pair, t); s != 0 {
		return s
	}
	return p.grow(c.pair)
}

// Idle is the last byte of a response that leaves no exchange outstanding. Saying
// so again later, with no request between, moves the time.
func (p *Pools) Idle(conn uint32, t int64) {
	me := p.find(conn)
	c := p.conns.at(me)
	if c.provisional {
		return
	}
	if !c.holds {
		s := p.slots.at(c.slot)
		if me == 0 || s.rider != me || s.held || s.since >= t || c.closed && !p.alive(s, t) {
			return
		}
	}
	c.holds = false
	p.rest(c.slot, t)
}

// Unusable records why a connection will not take another request, as soon as
// that is known. The latest reason counts.
func (p *Pools) Unusable(conn uint32, why Reason) {
	if me := p.find(conn); me != 0 {
		p.conns.at(me).reason = why
	}
}

// Closed is the end of a connection: its first FIN or RST, or the tracker's. It
// ends what is outstanding, or withdraws the connection if it had no request.
// Both a request that crosses the closing and the rest of a response may follow.
func (p *Pools) Closed(conn uint32, t int64, why Reason) {
	if me := p.find(conn); me != 0 {
		c := p.conns.at(me)
		c.reason = why
		p.end(c, t)
	}
}

// Release closes a connection, if it is not yet, for the reason last given, and
// frees its number.
func (p *Pools) Release(conn uint32, t int64) {
	me := p.find(conn)
	if me == 0 {
		return
	}
	c := p.conns.at(me)
	p.end(c, t)
	*p.byID.at(int32(conn)) = 0
	p.leave(c.pair)
	p.forget(me)
}

func (p *Pools) end(c *connection, t int64) {
	c.closed = true
	switch {
	case c.provisional:
		p.withdraw(c)
	case c.holds:
		c.holds = false
		p.rest(c.slot, t)
	}
}

// withdraw undoes judge.
func (p *Pools) withdraw(c *connection) {
	s := c.slot
	c.slot, c.provisional, c.holds = 0, false, false
	switch {
	case s == 0: // the pool was full
	case p.slots.at(s).rider == 0:
		p.drop(s)
	default:
		p.push(s)
	}
}
