package reassembly

import (
	"bytes"
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/keepscope/keepscope/sniffer"
)

// A Config holds the limits of an Assembler. A zero field takes its default;
// the package documentation lists them.
type Config struct {
	MaxConnections int // connections tracked at once
	MaxClosed      int // closed 4-tuples remembered, rounded up to a power of two

	MaxBuffered             int // bytes of out-of-order pages in total
	MaxBufferedPerDirection int // bytes of out-of-order pages of one direction

	IdleTimeout  time.Duration // a connection without a packet for longer is over
	SYNTimeout   time.Duration // a connection that is nothing but SYNs of one side is over after a longer silence
	GapWait      time.Duration // a hole older than this is declared lost
	ResetLinger  time.Duration // silence after a RST that ends the connection
	ClosedLinger time.Duration // silence after which segments of a closed connection are no more absorbed

	// Seed makes the table's hash secret, so that nobody can choose 4-tuples
	// that collide. What the Handler hears does not depend on it.
	Seed uint64
}

func (c Config) withDefaults() Config {
	idle := cmp.Or(max(c.IdleTimeout, 0), 10*time.Minute)
	return Config{
		MaxConnections:          cmp.Or(max(c.MaxConnections, 0), 1<<18),
		MaxClosed:               cmp.Or(max(c.MaxClosed, 0), 1<<14),
		MaxBuffered:             cmp.Or(max(c.MaxBuffered, 0), 16<<20),
		MaxBufferedPerDirection: cmp.Or(max(c.MaxBufferedPerDirection, 0), 1<<20),
		IdleTimeout:             idle,
		SYNTimeout:              min(cmp.Or(max(c.SYNTimeout, 0), 130*time.Second), idle),
		GapWait:                 cmp.Or(max(c.GapWait, 0), 10*time.Second),
		ResetLinger:             cmp.Or(max(c.ResetLinger, 0), 2*time.Second),
		ClosedLinger:            cmp.Or(max(c.ClosedLinger, 0), 2*time.Minute),
		Seed:                    c.Seed,
	}
}

// Stats are an Assembler's counters. Open, Closed and Buffered say how much is
// held now; all others only grow.
type Stats struct {
	Open     int // connections tracked now
	Closed   int // closed 4-tuples remembered now
	Buffered int // bytes of out-of-order pages now

	Connections     uint64 // connections begun
	Segments        uint64 // TCP segments given to Process
	OutOfOrder      uint64 // segments that came before their turn
	Retransmissions uint64 // segments without a new byte
	StrayResets     uint64 // RSTs that no TCP would obey, or after which their side went on
	StraySYNs       uint64 // SYNs of live connections that nothing answered
	StaleACKs       uint64 // answers of an earlier incarnation to a SYN
	Overlaps        uint64 // segments that were new in part
	Conflicts       uint64 // segments whose bytes differ from queued ones
	Probes          uint64 // keep-alive probes
	MissingBytes    uint64 // stream bytes declared lost
	SkippedBytes    uint64 // sequence numbers that jumps of more than 16 MiB passed over
	HolesGivenUp    uint64 // holes declared lost because the out-of-order pages in total were used up
	TruncatedBytes  uint64 // stream bytes cut by a snaplen
	Late            uint64 // segments of closed connections
	Copies          uint64 // segments of another interface than their direction's
	Invalid         uint64 // segments with a sequence number that cannot be
	TimedOut        uint64 // connections ended by the idle limit
	Evicted         uint64 // connections ended because the table was full
	EvictedHalfOpen uint64 // of these, the ones that no handshake was seen of, and no byte or one side alone
	Resumed         uint64 // connections that went on after a RST was believed
}

// An Assembler turns segments into ordered bytes, gaps and ends. It is for one
// goroutine.
type Assembler struct {
	handler Handler
	unseen  UnseenHandler // the handler, if it wants to know
	idle    int64         // the limits, in nanoseconds
	table   table
	hasher  hasher
	arena   arena
	now     int64 // newest packet time seen or told
	stats   Stats
	frame   uint32 // of the newest segment

	pool         pagePool
	closed       closedRing
	gapWait      int64
	synTimeout   int64
	resetLinger  int64
	closedLinger int64
	soonest      int64 // silence before which no connection is overdue
	max          int

	touched   uint32 // what was loaded before it was needed, so that the loads are not left out
	swept     int64  // packet time up to which Sweep has visited
	sweepHand uint32 // ID that Sweep visits next
	evictHand uint32 // ID that eviction looks at next

	newest  beginRing
	resumes bool // the next connection goes on after a RST
}

// New returns an Assembler that tells h what happens.
func New(cfg Config, h Handler) *Assembler {
	cfg = cfg.withDefaults()
	ring := uint32(1) << bits.Len32(uint32(min(cfg.MaxClosed, 1<<30)-1))
	unseen, _ := h.(UnseenHandler)
	return &Assembler{
		handler:      h,
		unseen:       unseen,
		idle:         int64(cfg.IdleTimeout),
		synTimeout:   int64(cfg.SYNTimeout),
		table:        newTable(),
		hasher:       newHasher(cfg.Seed),
		pool:         pagePool{max: cfg.MaxBuffered / pageSize, perDir: cfg.MaxBufferedPerDirection / pageSize},
		closed:       closedRing{mask: ring - 1},
		gapWait:      int64(cfg.GapWait),
		resetLinger:  int64(cfg.ResetLinger),
		closedLinger: int64(cfg.ClosedLinger),
		soonest:      min(int64(min(cfg.ResetLinger, cfg.SYNTimeout))+lingerSlack, int64(cfg.IdleTimeout)+idleSlack),
		max:          min(cfg.MaxConnections, 1<<28),
	}
}

// Stats returns the counters.
func (a *Assembler) Stats() Stats {
	s := a.stats
	s.Open = a.arena.used
	s.Closed = a.closed.count
	s.Buffered = a.pool.used * pageSize
	return s
}

// Frame returns the number of the frame that carried the newest segment
// ([sniffer.Segment.Number]): during Data and EndFIN the one that is told of.
func (a *Assembler) Frame() uint32 { return a.frame }

// Conn returns the tracked connection with an ID, or nil.
func (a *Assembler) Conn(id uint32) *Conn {
	if c := a.arena.get(id); c != nil && c.state&live != 0 {
		return c
	}
	return nil
}

// Process takes one segment. Segments that are not TCP are ignored.
func (a *Assembler) Process(s *sniffer.Segment) {
	if s.Protocol == sniffer.TCP {
		a.count(s)
		a.process(s, a.hasher.hash(&s.Src, &s.Dst))
	}
}

// groupLen is how many segments are looked up together.
const groupLen = 64

// ProcessAll takes segments in their order, as Process does. It asks the table for
// many at once: what is in no cache is waited for together, which takes 1 to 4 %
// off reading a file of small requests, of connections of one, or of 100 000 open
// ones.
func (a *Assembler) ProcessAll(segments []sniffer.Segment) {
	for len(segments) > 0 {
		n := min(len(segments), groupLen)
		a.group(segments[:n])
		segments = segments[n:]
	}
}

// group is ProcessAll of at most groupLen segments.
func (a *Assembler) group(segments []sniffer.Segment) {
	var room [groupLen]uint32
	hashes := room[:len(segments)]
	for i := range segments {
		s := &segments[i]
		hashes[i] = a.hasher.both(a.hasher.endpoint(&s.Src), a.hasher.endpoint(&s.Dst))
	}
	slots, touched := a.table.slots, uint32(0)
	for _, h := range hashes {
		touched += slots[h&uint32(len(slots)-1)].ref
	}
	a.touched += touched
	for i, h := range hashes {
		if s := &segments[i]; s.Protocol == sniffer.TCP {
			a.count(s)
			a.process(s, h)
		}
	}
}

func (a *Assembler) count(s *sniffer.Segment) {
	a.stats.Segments++
	a.now = max(a.now, s.Time)
	a.frame = s.Number
}

func (a *Assembler) process(s *sniffer.Segment, hash uint32) {
	slots := a.table.slots
	for at := hash; ; at++ {
		at &= uint32(len(slots) - 1)
		e := slots[at]
		switch {
		case e.ref == 0:
			a.begin(s, hash)
			return
		case e.hash != hash: // another 4-tuple's
		case e.ref >= closedRef:
			if a.late(s, e.ref-closedRef, at, hash) {
				return
			}
		default:
			id := e.ref - 1
			c := &a.arena.chunks[id/chunkConns][id%chunkConns]
			if same(&s.Src, &c.Endpoint[Client]) && same(&s.Dst, &c.Endpoint[Server]) {
				a.segment(c, Client, s, hash)
				return
			}
			if same(&s.Src, &c.Endpoint[Server]) && same(&s.Dst, &c.Endpoint[Client]) {
				a.segment(c, Server, s, hash)
				return
			}
		}
	}
}

// segment takes a segment of a tracked connection. What nearly every segment
// is comes first: both sides known, in order, whole, acknowledging what was
// seen, with room for more, and not one of the connection's last.
func (a *Assembler) segment(c *Conn, dir Dir, s *sniffer.Segment, hash uint32) {
	if c.state&(bothKnown|anyReset|slow|ended.of(dir)) == bothKnown &&
		s.Flags&(sniffer.SYN|sniffer.RST) == 0 &&
		s.Seq == c.next[dir&1] && s.Time-c.Last <= a.idle && s.Window != 0 &&
		c.owner[dir&1] == owner(s.Interface) && uint32(len(s.Payload)) == s.Length &&
		(s.Flags&sniffer.ACK == 0 || !after(s.Ack, c.next[dir&1^1])) {
		c.Last = max(c.Last, s.Time)
		c.Packets[dir&1]++
		if s.Flags&sniffer.ACK != 0 {
			if after(s.Ack, c.acked[dir&1^1]) {
				c.acked[dir&1^1] = s.Ack
			}
			if c.state&handshakeDone == 0 {
				a.settle(c, dir, s)
			}
		}
		if s.Length > 0 {
			c.next[dir&1] += s.Length
			c.Bytes[dir&1] += uint64(s.Length)
			a.handler.Data(c, dir, s.Payload)
		}
		if s.Flags&sniffer.FIN != 0 {
			a.close(c, dir, newClosing(s, ByFIN, c.next[dir]))
			a.endDir(c, dir)
			a.await(c)
		}
		return
	}
	a.slowPath(c, dir, s, hash)
}

// owner folds an interface into what a Conn has room for, never 0. Two that
// fall together by chance only turn copies into retransmissions.
func owner(n uint32) uint16 { return uint16(n*0x9e3779b1>>16) | 1 }

// slowPath takes any segment of a tracked connection.
func (a *Assembler) slowPath(c *Conn, dir Dir, s *sniffer.Segment, hash uint32) {
	// Deadlines are judged before this packet moves the connection's clock: what
	// Sweep would have told sooner is told with the same "now".
	if c.state&slow != 0 {
		a.stopWaiting(c, s.Time)
		if a.complete(c) {
			a.finish(c, EndClosed)
			a.process(s, hash)
			return
		}
	}
	if a.expired(c, s.Time) {
		a.expire(c)
		a.process(s, hash)
		return
	}
	switch c.owner[dir&1] {
	case owner(s.Interface):
	case 0:
		c.owner[dir&1] = owner(s.Interface)
	default:
		a.stats.Copies++
		return
	}
	if c.state&anyReset != 0 && c.contradicted(dir, s) {
		a.finish(c, EndClosed)
		a.resume(s, hash)
		return
	}
	if c.state&slow != 0 && a.proved(c, dir, s, hash) || s.Flags&sniffer.SYN != 0 && !a.synBelongs(c, dir, s, hash) {
		return
	}
	c.Last = max(c.Last, s.Time)
	a.take(c, dir, s, hash)
}

// synBelongs works a SYN in, and reports whether the segment is the
// connection's own for the rest of its life, too.
func (a *Assembler) synBelongs(c *Conn, dir Dir, s *sniffer.Segment, hash uint32) bool {
	switch a.syn(c, dir, s) {
	case replaces:
		a.replace(c, s, hash)
		return false
	case stray:
		a.stats.StraySYNs++
		return false
	case waits:
		a.open(c, dir, s)
		c.state |= slow
		return false
	case another:
		c.Last = max(c.Last, s.Time)
		c.Packets[dir&1]++
		c.state |= slow
		return false
	case repeated:
		a.stats.Retransmissions++
	}
	return true
}

// resume begins what follows on a connection that was taken for closed.
func (a *Assembler) resume(s *sniffer.Segment, hash uint32) {
	if at, r := a.lookupClosed(s, hash); r != nil {
		a.forget(r, at)
	}
	a.stats.Resumed++
	a.resumes = true
	a.begin(s, hash)
}

// take works a segment's acknowledgment, bytes, FIN and RST into a connection.
func (a *Assembler) take(c *Conn, dir Dir, s *sniffer.Segment, hash uint32) {
	c.Packets[dir&1]++
	switch {
	case s.Flags&sniffer.RST != 0:
		a.rst(c, dir, s)
	case c.state&(synackSeen|ackSeen) == 0 && c.stale(dir, s):
		a.stats.StaleACKs++
	default:
		if c.cold != nil {
			c.cold.repeats[dir.Other()] = 0
		}
		if s.Flags&sniffer.ACK != 0 {
			a.acknowledge(c, dir, s)
		}
		if !a.bytes(c, dir, s) {
			a.replace(c, s, hash)
			return
		}
		if s.Window == 0 || c.state&slow != 0 {
			a.window(c, dir, s)
			a.doubtReset(c, dir, s)
		}
	}
	if a.complete(c) {
		a.finishAt(c, EndClosed, hash)
		return
	}
	a.mark(c)
}

// mark notes whether the next segment must be seen with what cold holds, and
// lets go of one that holds nothing.
func (a *Assembler) mark(c *Conn) {
	c.state &^= slow
	switch r := c.cold; {
	case r == nil:
		return
	case r.pending():
		c.state |= slow
	case r.idle(c):
		a.pool.putCold(r)
		c.cold = nil
		return
	}
	a.await(c)
}

// complete reports whether no more can come: both FINs were delivered and the
// last one acknowledged, the SYN was refused, or one side sent its FIN and the
// other a RST. Without that acknowledgment a connection lingers as after a RST, and
// so does one whose Handler asked for it. Where the SYN-ACK was captured and the SYN
// was not, a capture out of order may bring the SYN yet; such a connection lingers, too.
func (a *Assembler) complete(c *Conn) bool {
	if c.state&lingers != 0 {
		return false
	}
	if c.state&bothEnded == bothEnded {
		return c.state&(lastACK|anyReset) != 0 && c.state&(synSeen|synackSeen) != synackSeen
	}
	if c.state&refused != 0 {
		return true
	}
	if c.state&bothEnded == 0 || c.state&anyReset == 0 {
		return false
	}
	for d := range Dir(2) {
		if c.state&ended.of(d) == 0 {
			if c.state&reset.of(d) == 0 {
				return false
			}
			if c.cold != nil {
				if _, waits := c.cold.first(d); waits {
					return false
				}
			}
		}
	}
	return true
}

// begin starts a connection with its first segment.
func (a *Assembler) begin(s *sniffer.Segment, hash uint32) {
	if a.arena.used >= a.max {
		a.evict()
	}
	c := a.arena.alloc()
	dir := role(s)
	c.Endpoint[dir] = s.Src
	c.Endpoint[dir^1] = s.Dst
	c.owner[dir] = owner(s.Interface)
	c.Start, c.Last = s.Time, s.Time
	c.state = live | handshakeDone
	if a.resumes {
		c.state |= resumed
		a.resumes = false
	}
	a.table.insert(hash, c.ID+1)
	a.stats.Connections++
	if s.Flags&sniffer.SYN != 0 {
		a.syn(c, dir, s)
	}
	a.newest.push(c.ID)
	a.handler.Open(c)
	a.take(c, dir, s, hash)
}

// role returns who sent the first segment of a connection.
func role(s *sniffer.Segment) Dir {
	switch {
	case s.Flags&(sniffer.SYN|sniffer.ACK) == sniffer.SYN:
		return Client
	case s.Flags&sniffer.SYN != 0:
		return Server
	case s.Src.Port < s.Dst.Port:
		return Server
	}
	return Client
}

// replace ends a connection for a new one that its 4-tuple carries, which
// begins with s.
func (a *Assembler) replace(c *Conn, s *sniffer.Segment, hash uint32) {
	a.finish(c, EndReplaced)
	if at, r := a.lookupClosed(s, hash); r != nil {
		a.forget(r, at)
	}
	a.begin(s, hash)
}

// finish ends a connection and releases it.
func (a *Assembler) finish(c *Conn, e End) {
	a.finishAt(c, e, a.hasher.hash(&c.Endpoint[Client], &c.Endpoint[Server]))
}

// finishAt is finish where the hash is known.
func (a *Assembler) finishAt(c *Conn, e End, hash uint32) {
	e = a.conclude(c, e)
	if e == EndClosed {
		a.remember(c, hash)
	} else {
		a.table.remove(a.table.find(hash, c.ID+1))
	}
	if c.cold != nil {
		a.pool.putCold(c.cold)
	}
	a.arena.release(c)
}

// conclude tells what is left of a connection and its end, which it returns: one
// that was over, but for bytes still in flight, ends as EndClosed whatever the
// occasion.
func (a *Assembler) conclude(c *Conn, e End) End {
	if c.cold != nil {
		if d := c.doubts(); d != nil {
			a.concludeDoubts(c, d, e)
		}
		a.drain(c)
		c.inferFIN()
	}
	if c.over() {
		e = EndClosed
	}
	switch e {
	case EndTimeout:
		a.stats.TimedOut++
	case EndEvicted:
		a.stats.Evicted++
		if c.carriesNothing() {
			a.stats.EvictedHalfOpen++
		}
	default:
	}
	a.handler.End(c, Client, e)
	return e
}

// concludeDoubts believes the doubtful RSTs, where the side was silent after them
// or a new connection took its place, and counts what stays unproved.
func (a *Assembler) concludeDoubts(c *Conn, d *doubts, e End) {
	if d.opening.flags != 0 {
		a.stats.StraySYNs++
	}
	switch e {
	case EndCapture, EndEvicted:
		a.stopWaiting(c, a.now)
	case EndTimeout, EndReplaced:
		a.stopWaiting(c, math.MaxInt64)
	default: // believed by then
	}
	for dir := range d.reset {
		if d.reset[dir].With != NotClosed {
			a.stats.StrayResets++
		}
	}
}

// late absorbs a segment of a closed connection. It reports false where the
// record is another 4-tuple's.
func (a *Assembler) late(s *sniffer.Segment, i, at, hash uint32) bool {
	r := a.closed.at(i)
	if !r.is(s) {
		return false
	}
	switch {
	case a.goesOn(r, s):
		a.resume(s, hash)
	case a.absorbs(r, s):
		a.stats.Late++
		r.last = max(r.last, s.Time)
	default:
		a.forget(r, at)
		a.begin(s, hash)
	}
	return true
}

// Flush tells every open connection its end, in order of Start: EndCapture, or
// EndTimeout where the newest packet of all is past the connection's deadline.
// Where several Assemblers share a capture, give each the capture's last time
// by Sweep first. The Assembler is then as new but for its counters.
func (a *Assembler) Flush() {
	type began struct {
		at int64
		id uint32
	}
	order := make([]began, 0, a.arena.used)
	for _, ch := range a.arena.chunks {
		if ch == nil {
			continue
		}
		for i := range ch {
			if c := &ch[i]; c.state&live != 0 {
				order = append(order, began{c.Start, c.ID})
			}
		}
	}
	slices.SortFunc(order, func(x, y began) int {
		if x.at != y.at {
			return cmp.Compare(x.at, y.at)
		}
		return byAddress(a.Conn(x.id), a.Conn(y.id))
	})
	for _, o := range order {
		c, e := a.Conn(o.id), EndCapture
		if a.overdue(c, a.now) {
			e = EndTimeout
		}
		a.conclude(c, e)
		c.state = 0
		if c.cold != nil {
			a.pool.putCold(c.cold)
			c.cold = nil
		}
	}
	// All at once: to take each out of the table costs as much as its end.
	a.table.reset()
	a.arena.reset()
	a.closed.reset()
	a.now, a.swept, a.sweepHand, a.evictHand = 0, 0, 0, 0
	a.newest = beginRing{}
}

// byAddress orders connections that began at the same time: not by ID, which
// depends on when others were collected.
func byAddress(x, y *Conn) int {
	for d := range Dir(2) {
		if n := bytes.Compare(x.Endpoint[d].Addr[:], y.Endpoint[d].Addr[:]); n != 0 {
			return n
		}
		if n := cmp.Compare(x.Endpoint[d].Port, y.Endpoint[d].Port); n != 0 {
			return n
		}
	}
	return 0
}

// is reports whether a segment has the closed connection's 4-tuple.
func (r *closed) is(s *sniffer.Segment) bool {
	return same(&s.Src, &r.endpoint[Client]) && same(&s.Dst, &r.endpoint[Server]) ||
		same(&s.Src, &r.endpoint[Server]) && same(&s.Dst, &r.endpoint[Client])
}

// lookupClosed finds the closed record of a segment's 4-tuple.
func (a *Assembler) lookupClosed(s *sniffer.Segment, hash uint32) (uint32, *closed) {
	for at := hash; ; at++ {
		var ref uint32
		at, ref = a.table.next(at, hash)
		if ref == 0 {
			return 0, nil
		}
		if ref >= closedRef {
			if r := a.closed.at(ref - closedRef); r.is(s) {
				return at, r
			}
		}
	}
}
