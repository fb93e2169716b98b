package analyzer

import (
	"encoding/binary"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
)

// A tracer keeps the traces of connections that are open.
type tracer struct {
	assembler *reassembly.Assembler // whose frames are counted; nil for none
	all       []*trace              // up to max
	free      []*trace              // of connections that ended
	max, next int                   // who of all loses its connection next

	second int64 // that is being sampled
	begun  int   // connections taken in it
	mask   uint32
	turn   int64                  // the minute in which first counts
	first  [firstPairs]firstTaken // by a part of the pair's hash
}

// A firstTaken says how many of a pair's first connections were taken.
type firstTaken struct {
	pair uint32
	n    uint8
}

// The numbers of a sample: for how many seconds the same pairs are taken; and of how
// many pairs how many connections in a row are taken first, each minute.
const (
	samplePhase = 8
	firstPairs  = 1024
	firstOfPair = 6
)

// sample says whether a connection is one of the about rate in a second that are traced,
// twice as many at most. Each minute some connections of each pair of a client and a
// server are taken, as soon as there is room. Beside that pairs take turns, so that the
// connections of one are taken together.
func (t *tracer) sample(c *reassembly.Conn, rate int) bool {
	if s := c.Start / 1e9; s != t.second {
		switch {
		case t.begun >= rate:
			t.mask = (t.mask<<1 | 1) & 0xffff
		case t.begun < rate/4:
			t.mask >>= 1
		}
		t.second, t.begun = s, 0
	}
	if t.begun >= 2*rate {
		return false
	}
	turn, pair := uint32(t.second/samplePhase)*0x9e3779b1>>16, pairHash(c)
	if (pair^turn)&t.mask != 0 && !t.isFirst(pair) {
		return false
	}
	t.begun++
	return true
}

// isFirst says whether a connection is one of its pair's first in a minute.
func (t *tracer) isFirst(pair uint32) bool {
	if minute := t.second / 60; minute != t.turn {
		t.turn = minute
		clear(t.first[:])
	}
	f := &t.first[pair%firstPairs]
	if f.pair != pair {
		*f = firstTaken{pair: pair}
	}
	if f.n >= firstOfPair {
		return false
	}
	f.n++
	return true
}

// pairHash is a number for the two hosts, the server's port included.
func pairHash(c *reassembly.Conn) uint32 {
	h := uint64(c.Endpoint[reassembly.Server].Port)
	for d := range c.Endpoint {
		a := &c.Endpoint[d].Addr
		h = (h ^ binary.LittleEndian.Uint64(a[:8])) * 0x9e3779b97f4a7c15
		h = (h ^ binary.LittleEndian.Uint64(a[8:]) ^ h>>32) * 0x9e3779b97f4a7c15
	}
	return uint32(h >> 40)
}

// A trace is that of a connection, which owner names (conn.ref). While the connection is
// open the second half of a full list of exchanges is a ring.
type trace struct {
	fact.Trace
	owner  uint64
	newest int // place of the exchange that was added last
}

// add makes room for one more exchange: of a full list the oldest of the second half goes.
func (t *trace) add() *fact.Traced {
	switch n := len(t.Exchanges); {
	case n < cap(t.Exchanges):
		t.Exchanges, t.newest = t.Exchanges[:n+1], n
	case t.newest == n-1:
		t.newest = n / 2
		t.More++
	default:
		t.newest++
		t.More++
	}
	return &t.Exchanges[t.newest]
}

// order makes of the ring a list.
func (t *trace) order() {
	if t.More > 0 {
		ring := t.Exchanges[len(t.Exchanges)/2:]
		oldest := t.newest + 1 - len(t.Exchanges)/2
		slices.Reverse(ring[:oldest])
		slices.Reverse(ring[oldest:])
		slices.Reverse(ring)
	}
}

// Frames has the assembler tell from which frames of the capture it is given what it
// hands over. Without it traces have no numbers of frames.
func (a *Analyzer) Frames(r *reassembly.Assembler) { a.tracer.assembler = r }

// frame returns the number of the frame that is being read.
func (l *ledger) frame() uint32 {
	if l.late != nil {
		return l.late.segment.frame
	}
	if l.tracer.assembler == nil {
		return 0
	}
	return l.tracer.assembler.Frame()
}

// startTrace begins a connection's trace. Where there are most already another one
// loses its own, each in turn, so that idle connections do not keep new ones out.
func (l *ledger) startTrace() {
	s, t := l.conn, &l.tracer
	switch n := len(t.free); {
	case n > 0:
		s.trace, t.free = t.free[n-1], t.free[:n-1]
	case len(t.all) < t.max:
		s.trace = &trace{Trace: fact.Trace{Exchanges: make([]fact.Traced, 0, l.cfg.Traces)}}
		t.all = append(t.all, s.trace)
	default:
		s.trace = t.all[t.next]
		t.next = (t.next + 1) % t.max
		l.table.byRef(s.trace.owner).trace = nil
		l.limits.traces++
	}
	s.trace.owner = s.ref()
	s.trace.Trace = fact.Trace{
		Frame: l.frame(), SYN: fact.Absent, SYNACK: fact.Absent, ACK: fact.Absent, Hello: fact.Absent, Secured: fact.Absent,
		Advertised: fact.Absent, Exchanges: s.trace.Exchanges[:0],
	}
}

// endTrace takes a connection's trace back, when it was told.
func (l *ledger) endTrace() {
	if l.conn.trace != nil {
		l.tracer.free = append(l.tracer.free, l.conn.trace)
	}
}

// firstByte notes the first byte that answers a request.
func (l *ledger) firstByte(q *exchange, at int64) {
	if q.first != never {
		return
	}
	q.first = at
	if l.conn.trace != nil {
		q.answer = l.frame()
	}
}

// traceExchange adds an exchange that is told to the trace; end is 0 where it was not seen.
func (l *ledger) traceExchange(q *exchange, end int64) {
	x := l.conn.trace.add() // every field is written, in place: see fill
	x.Start, x.FirstByte, x.End, x.Idle = q.at, q.first, fact.Absent, q.idle
	x.Stream, x.Index = q.stream, q.index
	x.Frames[0], x.Frames[1], x.Frames[2] = q.frame, q.answer, 0 // a literal is made elsewhere and copied
	x.Status, x.Method, x.Version, x.Outcome = q.status, q.method, q.version, q.outcome
	x.Failure, x.Reuse, x.Interim, x.Estimated = q.failure, q.reuse, q.interim, false
	if end != 0 {
		x.End, x.Frames[2] = end, l.frame()
	}
}

// traceEstimate adds the beginning of an exchange that is estimated.
func (l *ledger) traceEstimate(q *exchange) {
	*l.conn.trace.add() = fact.Traced{
		Start: q.at, FirstByte: fact.Absent, End: fact.Absent, Idle: q.idle, Index: l.conn.requests,
		Frames: [3]uint32{l.frame()}, Outcome: fact.Incomplete, Reuse: q.reuse, Estimated: true,
	}
}

// traceAnswer notes what answers the estimated exchange, as long as more comes.
func (l *ledger) traceAnswer(at int64) {
	t := l.conn.trace
	if len(t.Exchanges) == 0 {
		return
	}
	x := &t.Exchanges[t.newest]
	if !x.Estimated {
		return
	}
	if x.FirstByte == fact.Absent {
		x.FirstByte, x.Frames[1] = at, l.frame()
	}
	x.End, x.Frames[2], x.Outcome = at, l.frame(), fact.KeepAlive
}

// traceClosing notes the frame that carried a side's first closing.
func (l *ledger) traceClosing(from http.Side) {
	t := l.conn.trace
	if t == nil || t.Closings[from].Frame != 0 {
		return
	}
	if k := l.tcp.Closing(l.dir(from)); k.At == l.now() { // a RST may be believed later
		t.Closings[from].Frame = l.frame()
	}
}

// fillTrace writes what is known when the connection is over.
func (l *ledger) fillTrace() *fact.Trace {
	t, c := l.conn.trace, l.tcp
	t.order()
	if c.SYNSeen() {
		t.SYN = c.SYN
	}
	if c.SYNACKSeen() {
		t.SYNACK = c.SYNACK()
	}
	if c.ACKSeen() {
		t.ACK = c.Established
	}
	for _, side := range []http.Side{http.Client, http.Server} {
		k := l.closingOf(side)
		t.Closings[side].At, t.Closings[side].With = k.at, k.with
		if k.with == fact.WithNothing {
			t.Closings[side].At = fact.Absent
		}
		p := c.Probes(l.dir(side))
		t.Probes[side] = fact.Probed{Count: uint32(p.Count), First: p.First, Last: p.Last, Interval: fact.Absent}
		if p.Gaps > 0 {
			t.Probes[side].Interval = p.Gap
		}
	}
	t.Retransmissions = uint8(c.Retransmissions())
	return &t.Trace
}
