package reassembly

import "math/bits"

const (
	// sweepRotation is the packet time in which Sweep visits every connection
	// once: often enough that what is silent does not pile up, seldom enough that
	// 100 000 open connections cost 25 000 visits a second, side by side in
	// memory. When it comes by is not to be heard: what a connection that timed
	// out held has been worth nothing to others for long.
	sweepRotation = 4e9

	// Sweep and Flush allow for packets that come out of time order: as long as
	// none is older by more than this than the time that Sweep is told, what
	// the Handler hears does not depend on Sweep.
	lingerSlack = 2e9
	idleSlack   = 60e9

	// evictScan is how many records eviction compares. They lie side by side,
	// so this costs one run through 4 KiB.
	evictScan = 32

	// beginRingLen is how many of the newest connections eviction remembers. A
	// handshake of 10 ms is whole before 100 000 SYNs a second have gone round.
	beginRingLen = 1 << 10
)

// over reports whether a connection is over but for what is in flight still.
func (c *Conn) over() bool {
	return c.state&anyReset != 0 || c.state&bothEnded == bothEnded
}

// expired reports whether a connection was over before its own packet of time t.
func (a *Assembler) expired(c *Conn, t int64) bool {
	if c.over() || c.state&slow != 0 && a.silentReset(c, t) {
		return t-c.Last > a.resetLinger
	}
	if c.onlySYNs() {
		return t-c.Last > a.synTimeout
	}
	return t-c.Last > a.idle
}

// onlySYNs reports whether SYNs of one side are all that was seen of a connection.
func (c *Conn) onlySYNs() bool {
	n, _ := c.SYNs()
	return n > 0 && c.Packets[Server] == 0 && c.Packets[Client] == uint32(n)
}

// overdue reports whether a connection is over, as others' packets of time now
// tell: no packet of its own can come that would not find it expired.
func (a *Assembler) overdue(c *Conn, now int64) bool {
	return now-c.Last > a.soonest && a.pastAll(c, now)
}

// pastAll is overdue of a connection that has been silent for long enough to be
// it. Most have not, which is told without a call.
func (a *Assembler) pastAll(c *Conn, now int64) bool {
	if c.over() || c.state&slow != 0 && a.silentReset(c, now-lingerSlack) {
		return now-c.Last > a.resetLinger+lingerSlack
	}
	if c.onlySYNs() {
		return now-c.Last > a.synTimeout+lingerSlack
	}
	return now-c.Last > a.idle+idleSlack
}

// expire ends a connection whose time has passed.
func (a *Assembler) expire(c *Conn) { a.finish(c, EndTimeout) }

// stopWaiting declares the holes lost that were waited for long enough at t, and
// believes the doubtful RSTs after which their side was silent for long enough,
// in the order of their deadlines: when it is called is not to be heard. c has
// a cold state.
func (a *Assembler) stopWaiting(c *Conn, t int64) {
	for {
		d, first, hole := c.cold.oldest()
		hole = hole && t-c.cold.since[d] > a.gapWait
		dir, at, doubt := c.firstDoubt()
		doubt = doubt && t-at > a.resetLinger
		switch {
		case doubt && (!hole || at+a.resetLinger <= c.cold.since[d]+a.gapWait):
			a.believeDoubtful(c, dir)
		case hole:
			a.lose(c, d, first)
		default:
			return
		}
	}
}

// await lists a connection, if time decides about it sooner than the idle limit
// does. c has a cold state.
func (a *Assembler) await(c *Conn) {
	if c.cold.conn == nil && (c.over() || c.cold.waits()) {
		a.pool.waiting.add(c)
	}
}

// Sweep collects what is past its deadline at the packet time now. Call it about
// once a second of packet time. It visits each connection that waits for lost
// bytes, or is over but for what is in flight, in the order in which they began
// to: what they tell, and in which order, does not depend on what other
// connections there are. Of all others it visits as many as time has passed.
func (a *Assembler) Sweep(now int64) {
	a.now = max(a.now, now)
	a.collectClosed(now)
	a.sweepWaiting(now)
	span := a.arena.span()
	passed := now - a.swept
	if passed <= 0 {
		return
	}
	n := span
	if passed < sweepRotation {
		n = uint32(int64(span) * passed / sweepRotation)
		if n == 0 && span > 0 {
			return
		}
	}
	a.swept = now
	for n > 0 {
		if a.sweepHand >= span {
			a.sweepHand = 0
		}
		i := a.sweepHand / chunkConns
		run := min(n, chunkConns-a.sweepHand%chunkConns)
		if a.arena.uses[i].used > 0 {
			a.sweepRun(i, a.sweepHand%chunkConns, run, now)
		}
		a.sweepHand += run
		n -= run
	}
}

// sweepRun visits n records of a chunk. It reads none that is not in use: where
// none ever was, that would cost two page faults, one to read and one to write.
func (a *Assembler) sweepRun(ch, from, n uint32, now int64) {
	for i := from; i < from+n; i++ {
		used := ^a.arena.uses[ch].free[i/64] >> (i % 64)
		if used == 0 {
			i |= 63
			continue
		}
		if i += uint32(bits.TrailingZeros64(used)); i >= from+n {
			return
		}
		if c := &a.arena.chunks[ch][i]; a.overdue(c, now) {
			a.expire(c)
		}
	}
}

// sweepWaiting visits the connections that are listed by await, and lets go of
// those that wait no more.
func (a *Assembler) sweepWaiting(now int64) {
	var next *coldState
	for r := a.pool.waiting.oldest; r != nil; r = next {
		next = r.newer // r's connection may end
		c := r.conn
		if a.overdue(c, now) {
			a.expire(c)
			continue
		}
		a.stopWaiting(c, now-lingerSlack)
		switch {
		case a.complete(c):
			a.finish(c, EndClosed)
		case !c.over() && !r.waits():
			a.pool.waiting.remove(r)
		}
	}
}

// evict makes room for a connection: of the next few records the first that is
// over, else the longest silent that carries nothing, else the newest
// connections' first that does (a flood pays for itself), else the longest
// silent.
func (a *Assembler) evict() {
	var victim *Conn
	for seen := 0; seen < min(evictScan, a.arena.used); a.evictHand++ {
		if a.evictHand >= a.arena.span() {
			a.evictHand = 0
		}
		i, at := a.evictHand/chunkConns, a.evictHand%chunkConns
		if a.arena.uses[i].free[at/64] == ^uint64(0) { // 64 unused records
			a.evictHand |= 63
			continue
		}
		c := &a.arena.chunks[i][at]
		if c.state&live == 0 {
			continue
		}
		seen++
		if a.overdue(c, a.now) {
			a.expire(c)
			return
		}
		if victim == nil || staler(c, victim) {
			victim = c
		}
	}
	if !victim.carriesNothing() {
		if c := a.newestNothing(); c != nil {
			victim = c
		}
	}
	a.finish(victim, EndEvicted)
}

// newestNothing returns the first of the newest connections that carries
// nothing, or nil. In a table full of connections that carry something, a flood
// would else push out one of those each time that no other of its own is near.
// What it passes over carries something, and is not asked again.
func (a *Assembler) newestNothing() *Conn {
	for a.newest.head != a.newest.tail {
		c := a.Conn(a.newest.pop())
		if c != nil && c.carriesNothing() {
			return c
		}
	}
	return nil
}

// A beginRing holds the IDs of the connections that began last.
type beginRing struct {
	ids        [beginRingLen]uint32
	head, tail uint32
}

func (r *beginRing) push(id uint32) {
	r.ids[r.tail%beginRingLen] = id
	r.tail++
	if r.tail-r.head > beginRingLen {
		r.head++
	}
}

func (r *beginRing) pop() uint32 {
	id := r.ids[r.head%beginRingLen]
	r.head++
	return id
}

// staler reports whether x goes before y.
func staler(x, y *Conn) bool {
	if hx, hy := x.carriesNothing(), y.carriesNothing(); hx != hy {
		return hx
	}
	return x.Last < y.Last
}

// carriesNothing reports whether neither a whole handshake was seen nor a byte of a
// connection on which both sides were heard: what a flood of SYNs, or of segments of
// no connection, with bytes or without, leaves behind.
func (c *Conn) carriesNothing() bool {
	return c.state&ackSeen == 0 &&
		(c.Bytes[Client]|c.Bytes[Server] == 0 || c.Packets[Client] == 0 || c.Packets[Server] == 0)
}
