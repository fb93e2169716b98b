package analyzer

import (
	"sort"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
)

// An exchange is a request that awaits the end of its response.
type exchange struct {
	begun
	idle      int64  // response end before to start, Absent where there is none
	first     int64  // first byte of a response, or never
	answer    uint32 // frame that carried it, where the connection is traced
	name      *string
	stream    http.Stream
	index     uint32
	status    uint16 // of the response, once its head is complete
	method    http.Method
	version   http.Version
	tokens    http.Tokens
	outcome   fact.Outcome
	failure   fact.Failure
	reuse     fact.Reuse
	finalHead bool // its final response's head is complete
	answered  bool // bytes of its response were seen
	partial   bool // its head was cut
	interim   uint8
	lost      bool // bytes that may have been its response, or its end, were not captured
	ended     bool // the client has ended its side, in HTTP/2
	unheard   bool // see fact.Exchange
	crossed   bool // see fact.Exchange
}

// begun is where a request began.
type begun struct {
	at       int64  // of its first byte, or never
	seq, ack uint32 // of the segment that carried it: its place in the client's stream, and how far the client had read the server's
	known    bool   // seq and ack are
	frame    uint32 // of the segment, where the connection is traced
}

// A ledger takes what is read on the connection that a packet belongs to. It
// knows no framing, and is the only one that keeps the ideal pool's books.
type ledger struct {
	*Analyzer
	transport       // of the connection
	segment   begun // of the bytes that are being read
	conn      *conn
	lostIdle  int64 // of a connection that ends: idle time before the request that was lost with it, Absent for none
	waited    int64 // see Connection.Waited
}

// find returns where an exchange under way is, -1 where it is not.
func (s *conn) find(stream http.Stream) int {
	open := s.open()
	n := len(open)
	if n > 0 && open[0].stream == stream {
		return 0
	}
	i := sort.Search(n, func(i int) bool { return open[i].stream >= stream })
	if i < n && open[i].stream == stream {
		return i
	}
	return -1
}

// Begin implements [http.Sink].
func (l *ledger) Begin(_ http.Stream, at int64) {
	f := l.activeOf()
	f.begun = l.segment
	f.begun.at = at
	if l.conn.trace != nil {
		f.begun.frame = l.frame()
	}
	if l.conn.requests > 0 {
		l.again(at)
	}
}

// Request implements [http.Sink].
func (l *ledger) Request(stream http.Stream, m *http.Head, at int64) {
	s := l.conn
	f := l.activeOf()
	if f.begun.at == never {
		l.Begin(stream, at)
	}
	q := exchange{
		begun: f.begun, idle: fact.Absent, first: never, stream: stream, index: s.requests + 1,
		method: m.Method, version: m.Version, tokens: m.Connection, outcome: fact.Incomplete, partial: m.Partial && m.Version != http.HTTP2,
	}
	f.begun.at = never
	q.name = l.hostOf(m)
	switch {
	case s.requests == 0:
		if l.midstream() || l.tcp.Missing(l.dir(http.Client)) > 0 {
			q.reuse = fact.UnknownReuse
		}
		l.firstRequest(m, q.name, q.at)
	case s.is(tunneled) && s.cold.tunnel.requests == 0: // the CONNECT opened its way
	default:
		q.reuse = fact.ReusedRequest
		s.reused++
	}
	s.requests++
	s.versions |= 1 << m.Version
	if s.is(tunneled) {
		s.cold.tunnel.requests++
	}
	if m.Pipelined {
		l.table.coldOf(s).pipelined++
	}
	if len(f.open) == 0 && s.lastEnd != never {
		q.idle = max(q.at-s.lastEnd, 0)
		l.reuseIdle(q.idle, l.cfg.MaxReuseIdle)
	}
	f.open = append(f.open, q)
	if s.cold != nil && s.cold.streams != nil {
		l.streamOpens(stream, m, q.at)
	}
	if s.is(unanswerable) {
		l.closing()
	}
}

// hostOf returns the request's own name, nil where it has none, and joins the
// client's pools where it is another than the connection's before.
func (l *ledger) hostOf(m *http.Head) *string {
	s := l.conn
	if len(m.Host) == 0 {
		return nil
	}
	name := l.names.host(m.Host)
	if s.requests > 0 && name != s.name && s.name != nil && *name != *s.name && s.flags&(joined|tunneled|pooled) == pooled && s.layers[0] != readTLS && !m.Absolute {
		s.set(joined)
		k := l.pair(nil, false)
		l.pools.Join(k.Client, k.Server, k.Port)
	}
	return name
}

// firstRequest names the connection and has its handshake judged.
func (l *ledger) firstRequest(m *http.Head, host *string, start int64) {
	s := l.conn
	s.set(rolesKnown)
	s.protocol = protocolOf(m.Version)
	s.software[http.Client] = l.software.Client(m.Agent, m.Via, m.Forwarded)
	origin, tls := host, false
	if t := l.outermostTLS(); t != nil {
		origin, tls = s.name, true
	} else if m.Absolute {
		origin = nil
	}
	if host != nil {
		s.name = host
	}
	l.judge(origin, tls, start)
	l.opened()
}

// protocolOf returns what a connection whose first request is of a version carries.
func protocolOf(v http.Version) fact.Protocol {
	switch v {
	case http.HTTP09:
		return fact.ProtocolHTTP09
	case http.HTTP10:
		return fact.ProtocolHTTP10
	case http.HTTP2:
		return fact.ProtocolH2
	default:
		return fact.ProtocolHTTP11
	}
}

// reuseIdle lists the idle time before a reuse, of most at the most.
func (l *ledger) reuseIdle(idle int64, most int) {
	if most > 0 {
		l.table.coldOf(l.conn).addIdle(idle, most)
	}
}

// Responds implements [http.Sink].
func (l *ledger) Responds(stream http.Stream, at int64) {
	if i := l.conn.find(stream); i >= 0 {
		q := &l.conn.active.open[i]
		q.answered = true
		l.firstByte(q, at)
	}
}

// Response implements [http.Sink].
func (l *ledger) Response(stream http.Stream, m *http.Head, at int64) {
	s := l.conn
	i := s.find(stream)
	if m.H2C && m.Status == 101 && i >= 0 && l.waiting() == 1 {
		s.active.open[i].stream = 1 // HTTP/2's
		return
	}
	if m.Interim() {
		if i >= 0 && s.active.open[i].interim < 255 {
			s.active.open[i].interim++
		}
		return
	}
	s.responses++
	if s.software[http.Server] == software.Unknown {
		s.software[http.Server] = l.software.Server(m.Server, m.Via)
	}
	if i < 0 {
		if stream == http.Unsolicited {
			l.table.coldOf(s).unsolicited++
			l.unasked(m)
		}
		return
	}
	s.unset(outcomeLost)
	q := &s.active.open[i]
	l.advertised(m)
	q.finalHead, q.answered, q.status = true, true, m.Status
	l.firstByte(q, at)
	q.outcome = negotiate(q, m)
	l.table.count(s, q.outcome)
	switch {
	case q.outcome == fact.KeepAlive:
		if s.last != fact.ReasonOpen && q.version != http.HTTP2 { // only the last exchange's word counts
			s.last = fact.ReasonOpen
			l.usable()
		}
	case q.outcome == fact.Upgraded && q.method == http.CONNECT:
		l.openTunnel(q)
	case q.outcome == fact.UnknownOutcome:
		s.set(outcomeLost)
	default:
		if q.outcome == fact.Upgraded {
			s.set(upgraded)
		}
		s.last = announced(q.outcome, m.Status, s.keptAlive > 0 || s.is(incomplete) && max(q.index, s.responses) > 1)
		s.announced = l.next(l.dir(http.Server))
		l.unusable(s.last, at)
	}
}

// unasked takes a response whose request is not known. Where that was not captured, a
// closing that one of them announces is heard by the other all the same; whose word that
// is, is not known.
func (l *ledger) unasked(m *http.Head) {
	if !l.bytesLost(l.dir(http.Client)) {
		return
	}
	l.conn.set(outcomeLost)
	if m.Connection&http.Close != 0 {
		l.conn.announced = l.next(l.dir(http.Server))
	}
}

// openTunnel notes where a CONNECT that was granted leads.
func (l *ledger) openTunnel(q *exchange) {
	t := &tunnel{}
	if q.name != nil {
		t.target = *q.name
	}
	l.table.coldOf(l.conn).tunnel = t
}

// A tunnel is what a CONNECT opened.
type tunnel struct {
	target   string
	requests uint32
	cost     int64 // of the CONNECT exchange
}

// advertised notes what the server's Keep-Alive field offers: the newest
// timeout and the first max, which servers count down.
func (l *ledger) advertised(m *http.Head) {
	s := l.conn
	if (m.HasKeepAliveTimeout || m.HasKeepAliveMax) && s.trace != nil && s.trace.Advertised == fact.Absent {
		s.trace.Advertised = l.now()
	}
	if m.HasKeepAliveTimeout {
		l.table.coldOf(s).advertTimeout = m.KeepAliveTimeout
		s.set(advTimeout)
	}
	if m.HasKeepAliveMax && !s.is(advMax) {
		l.table.coldOf(s).advertMax = m.KeepAliveMax
		s.set(advMax)
	}
}

// End implements [http.Sink].
func (l *ledger) End(stream http.Stream, from http.Side, at int64) {
	s := l.conn
	i := s.find(stream)
	if i < 0 {
		return
	}
	q := &s.active.open[i]
	if from == http.Client {
		q.ended = true
		return
	}
	if c := s.cold; c != nil && c.tunnel != nil && c.tunnel.cost == 0 {
		c.tunnel.cost = max(at-q.at, 0)
	}
	s.lastEnd = at
	if !l.belated(q) || !l.keepBelated(q, at) {
		l.tellExchange(q, at)
	}
	l.judged()
	l.endExchange(i, at)
	if s.is(pooled) && len(s.open()) == 0 && l.isClosed() {
		l.closing()
	}
}

// A belatedAnswer was answered after the client had closed: the connection's end tells
// whether the client still wanted that.
type belatedAnswer struct {
	exchange
	end int64
}

// belated says whether the response to a request began after the client had closed.
func (l *ledger) belated(q *exchange) bool {
	if q.version == http.HTTP2 || !l.isClosed() {
		return false
	}
	k := l.closingOf(http.Client)
	return k.with != fact.WithNothing && q.first > k.at
}

// maxBelated is how many belated answers wait for the ends of their connections; others
// are told as answered.
const maxBelated = 1 << 14

// keepBelated keeps a belated answer for the connection's end, if there is room.
func (l *ledger) keepBelated(q *exchange, at int64) bool {
	if l.table.belated >= maxBelated {
		l.limits.belated++
		return false
	}
	c := l.table.coldOf(l.conn)
	c.belated = append(c.belated, belatedAnswer{*q, at})
	l.table.belated++
	return true
}

// endBelated tells the exchanges that were answered late: to a client that had closed its half
// alone, or in vain to one that resets what comes.
func (l *ledger) endBelated() {
	s := l.conn
	if s.cold == nil {
		return
	}
	for i := range s.cold.belated {
		q := &s.cold.belated[i]
		if s.is(clientReset) {
			q.failure, q.end = fact.FailClientAbort, 0
			s.cold.failed[q.failure]++
		}
		l.tellExchange(&q.exchange, q.end)
	}
	l.table.belated -= len(s.cold.belated)
	s.cold.belated = nil
}

// endExchange takes an exchange off those under way.
func (l *ledger) endExchange(i int, at int64) {
	s := l.conn
	f := s.active
	f.open = append(f.open[:i], f.open[i+1:]...)
	l.done(at)
	if s.cold != nil && s.cold.streams != nil {
		l.streamEnds(at)
		l.table.rest(s)
	}
}

// Unanswered implements [http.Sink].
func (l *ledger) Unanswered(stream http.Stream, at int64) {
	if i := l.conn.find(stream); i >= 0 {
		l.unanswered(i)
		l.endExchange(i, at)
	}
}

// unanswered tells an exchange under way that is given up.
func (l *ledger) unanswered(i int) {
	s := l.conn
	q := &s.active.open[i]
	if !q.finalHead {
		l.table.count(s, q.outcome)
	}
	if q.failure != fact.NotFailed {
		l.table.coldOf(s).failed[q.failure]++
	}
	l.tellExchange(q, 0)
}

// Lost implements [http.Sink].
func (l *ledger) Lost(from http.Side, requests uint32) {
	s := l.conn
	s.set(incomplete)
	if requests > 0 {
		l.table.coldOf(s).lost += requests
	}
	if open := l.conn.open(); from == http.Client || len(open) != 1 || !open[0].finalHead || l.bytesLost(l.dir(http.Client)) {
		s.set(outcomeLost)
	}
	switch {
	case s.active == nil:
	case from == http.Client:
		s.active.begun.at = never
	default:
		l.responsesLost()
	}
}

// responsesLost notes which requests the bytes may have answered that the server sent up
// to here and nobody captured: not those of a client that had read them before.
func (l *ledger) responsesLost() {
	behind := l.next(l.dir(http.Server))
	for i := range l.conn.open() {
		q := &l.conn.active.open[i]
		q.lost = q.lost || !q.known || int32(q.ack-behind) < 0
	}
}

func (l *ledger) tellExchange(q *exchange, end int64) {
	s := l.conn
	e := &l.exchange // every field is written, in place: see fill
	client, server := l.sides()
	e.Client = l.tcp.Endpoint[client] // one by one: both at once would be copied twice
	e.Server = l.tcp.Endpoint[server]
	e.Mark, e.Connection, e.Opened = s.mark, s.id, l.tcp.Start
	e.ServerName = s.serverName()
	if q.name != nil {
		e.ServerName = *q.name
	}
	e.Index, e.Stream = q.index, q.stream
	e.Start, e.FirstByte, e.End, e.Idle = q.at, q.first, end, q.idle
	e.Method, e.Version, e.Status = q.method, q.version, q.status
	e.Outcome, e.Reuse, e.Failure, e.GivenUp = q.outcome, q.reuse, q.failure, fact.Absent
	e.Unheard, e.Crossed = q.unheard, q.crossed
	if q.failure != fact.NotFailed {
		e.GivenUp = max(l.now()-q.at, 0)
		if _, at, _, closed := l.closer(); closed {
			e.GivenUp = max(at-q.at, 0)
		}
	}
	if s.trace != nil {
		l.traceExchange(q, end)
	}
	for _, f := range l.followers {
		f.Exchange(e)
	}
}
