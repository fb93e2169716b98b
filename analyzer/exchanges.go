package analyzer

import (
	"sort"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
)

// An exchange is a request that awaits the end of its response.
type exchange struct {
	start    int64 // first byte
	idle     int64 // response end before to start, Absent where there is none
	stream   http.Stream
	index    uint32
	status   uint16 // of the response, once its head is complete
	method   http.Method
	version  http.Version
	tokens   http.Tokens
	outcome  fact.Outcome
	reuse    fact.Reuse
	headed   bool // its final response's head is complete
	answered bool // bytes of its response were seen
}

// A ledger takes what is read on the connection that a packet belongs to. It
// knows no framing, and is the only one that keeps the ideal pool's books.
type ledger struct {
	*Analyzer
	transport // of the connection
	conn      *conn
}

// open returns a connection's exchanges under way, the oldest first.
func (s *conn) open() []exchange {
	if s.flight == nil {
		return nil
	}
	return s.flight.open
}

// find returns where an exchange under way is, -1 where it is not.
func (f *flight) find(stream http.Stream) int {
	n := len(f.open)
	if n > 0 && f.open[0].stream == stream {
		return 0
	}
	i := sort.Search(n, func(i int) bool { return f.open[i].stream >= stream })
	if i < n && f.open[i].stream == stream {
		return i
	}
	return -1
}

// Begin implements [http.Sink].
func (l *ledger) Begin(_ http.Stream, at int64) {
	s := l.conn
	s.flight.begun = at
	if s.requests > 0 && s.is(pooled) {
		l.pools.Request(&s.pool, at)
	}
}

// Request implements [http.Sink].
func (l *ledger) Request(stream http.Stream, m *http.Head, at int64) {
	s := l.conn
	f := s.flight
	start := f.begun
	if start == never {
		start = at
	}
	f.begun = never
	q := exchange{
		start: start, idle: fact.Absent, stream: stream, index: s.requests + 1,
		method: m.Method, version: m.Version, tokens: m.Connection, outcome: fact.Incomplete,
	}
	switch {
	case s.requests > 0:
		q.reuse = fact.ReusedRequest
	case l.midstream():
		q.reuse = fact.UnknownReuse
		fallthrough
	default:
		l.firstRequest(m, start)
	}
	s.requests++
	s.versions |= 1 << m.Version
	if m.Pipelined {
		l.table.rare(s).pipelined++
	}
	if len(f.open) == 0 && s.lastEnd != never {
		q.idle = max(start-s.lastEnd, 0)
		l.reuseIdle(s, q.idle)
	}
	f.open = append(f.open, q)
	if s.is(unanswerable) {
		l.closing(at)
	}
}

// firstRequest names the connection and confirms its verdict.
func (l *ledger) firstRequest(m *http.Head, start int64) {
	s := l.conn
	s.set(sided)
	switch m.Version {
	case http.HTTP09:
		s.protocol = fact.ProtocolHTTP09
	case http.HTTP10:
		s.protocol = fact.ProtocolHTTP10
	default:
		s.protocol = fact.ProtocolHTTP11
	}
	if len(m.Host) > 0 {
		s.name = l.names.host(m.Host)
	}
	l.confirm(start)
	l.opened()
}

// reuseIdle lists the idle time before a reuse.
func (a *Analyzer) reuseIdle(s *conn, idle int64) {
	if a.cfg.MaxReuseIdle > 0 {
		a.table.rare(s).addIdle(idle, a.cfg.MaxReuseIdle)
	}
}

// Responds implements [http.Sink].
func (l *ledger) Responds(stream http.Stream, _ int64) {
	if i := l.conn.flight.find(stream); i >= 0 {
		l.conn.flight.open[i].answered = true
	}
}

// Response implements [http.Sink].
func (l *ledger) Response(stream http.Stream, m *http.Head, _ int64) {
	if m.Interim() {
		return
	}
	s := l.conn
	s.responses++
	i := s.flight.find(stream)
	if i < 0 {
		l.table.rare(s).unsolicited++
		return
	}
	q := &s.flight.open[i]
	l.advertised(m)
	q.headed, q.status = true, m.Status
	q.outcome = negotiate(q, m)
	if q.outcome != fact.KeepAlive {
		s.last = announced(q.outcome, m.Status, s.kept)
		l.unusable(s.last)
	} else {
		s.last = fact.ReasonOpen
	}
	l.table.count(s, q.outcome)
	if q.outcome == fact.Upgraded {
		s.set(upgraded)
	}
}

// advertised notes what the server's Keep-Alive field offers: the newest
// timeout and the first max, which servers count down.
func (l *ledger) advertised(m *http.Head) {
	s := l.conn
	if m.HasKeepAliveTimeout {
		l.table.rare(s).advertTimeout = m.KeepAliveTimeout
		s.set(advTimeout)
	}
	if m.HasKeepAliveMax && !s.is(advMax) {
		l.table.rare(s).advertMax = m.KeepAliveMax
		s.set(advMax)
	}
}

// End implements [http.Sink].
func (l *ledger) End(stream http.Stream, from http.Side, at int64) {
	s := l.conn
	i := s.flight.find(stream)
	if i < 0 || from != http.Server {
		return
	}
	s.lastEnd = at
	l.tellExchange(&s.flight.open[i], at)
	l.judged()
	s.flight.take(i)
	if len(s.flight.open) > 0 {
		return
	}
	l.idle(at)
	if s.flags&(pooled|upgraded) == pooled && l.isClosed() {
		l.closing(l.now())
	}
}

// Reset implements [http.Sink].
func (l *ledger) Reset(stream http.Stream, _ http.Side, _ http.Code, at int64) {
	l.Unanswered(stream, at)
}

// Unanswered implements [http.Sink].
func (l *ledger) Unanswered(stream http.Stream, at int64) {
	f := l.conn.flight
	i := f.find(stream)
	if i < 0 {
		return
	}
	l.unanswered(i)
	if len(f.open) == 0 {
		l.idle(at)
	}
}

// unanswered gives up an exchange under way.
func (l *ledger) unanswered(i int) {
	q := &l.conn.flight.open[i]
	if !q.headed {
		l.table.count(l.conn, fact.Incomplete)
	}
	l.tellExchange(q, 0)
	l.conn.flight.take(i)
}

// Lost implements [http.Sink].
func (l *ledger) Lost(from http.Side, _ uint32) {
	l.conn.set(incomplete)
	if from == http.Client {
		l.conn.flight.begun = never
	}
}

// take takes an exchange out.
func (f *flight) take(i int) { f.open = append(f.open[:i], f.open[i+1:]...) }

func (l *ledger) tellExchange(q *exchange, end int64) {
	s := l.conn
	e := &l.exchange // every field is written, in place: see fill
	client, server := l.sides()
	e.Client, e.Server = l.tcp.Endpoint[client], l.tcp.Endpoint[server]
	e.Mark, e.ServerName = s.mark, s.serverName()
	e.Opened, e.Index, e.Stream = l.tcp.Start, q.index, q.stream
	e.Start, e.End, e.Idle = q.start, end, q.idle
	e.Method, e.Version, e.Status = q.method, q.version, q.status
	e.Outcome, e.Reuse, e.GivenUp = q.outcome, q.reuse, fact.Absent
	for _, o := range l.obs {
		o.Exchange(e)
	}
}
