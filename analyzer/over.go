package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/reassembly"
)

// over tells everything about a connection that has ended and forgets it.
func (a *Analyzer) over(c *reassembly.Conn, s *conn, end reassembly.End) {
	reason := a.lastReason(c, s, end)
	race := reason == fact.ReasonRace || reason == fact.ReasonUpgraded && raced(c, s)
	raceIdle := int64(-1)
	if race {
		raceIdle = max(s.flight.front.idle, 0) // where pipelined, none
	}
	unread := s.outstanding > 0 && s.is(final) && s.flight.front.outcome == fact.KeepAlive
	if end != reassembly.EndCapture { // or the pools go as a whole: see Worker.flush
		a.leavePool(c, s, reason)
	}
	if s.requests == 0 || !a.mayJudge(c, s) {
		s.verdict = fact.VerdictNone
	}
	a.opened(c, s)
	a.judged(c, s)
	if s.protocol == fact.ProtocolTLS {
		s.outstanding = 0 // estimated exchanges are never told one by one
	}
	for s.outstanding > 0 {
		a.unanswered(c, s)
	}
	o, hello := a.newConnection()
	a.fill(c, s, o)
	o.End, o.Reason = c.Last, reason
	o.ClosedBy, o.ClosedWith = closeOf(c, s, end)
	if c.ClosedWith != reassembly.NotClosed && s.lastEnd != never {
		o.CloseIdle = max(c.ClosedAt-s.lastEnd, 0)
	}
	if race {
		o.Race, o.RaceIdle = true, raceIdle
	}
	o.BodyUnread = unread && o.ClosedBy == fact.ByClient
	if o.TLS != nil {
		*hello, o.TLS = *o.TLS, hello
	}
	if len(o.ReuseIdle) > 0 {
		a.tell() // the list is released
	}
	a.table.release(s)
}

// lastReason is reasonOf at a connection's end. Where the pools were told at its
// closing and nothing has come since, they still know.
func (a *Analyzer) lastReason(c *reassembly.Conn, s *conn, end reassembly.End) fact.Reason {
	if s.is(discharged) && s.requests > 0 {
		return fact.Reason(a.pools.Reason(&s.pool))
	}
	return reasonOf(c, s, end)
}

// leavePool ends the connection's part in the pools.
func (a *Analyzer) leavePool(c *reassembly.Conn, s *conn, reason fact.Reason) {
	if !s.is(pooled) {
		return
	}
	t := c.ClosedAt
	if c.ClosedWith == reassembly.NotClosed || s.outstanding > 0 {
		t = c.Last
	}
	if !s.is(discharged) {
		a.pools.Closed(&s.pool, t, pool.Reason(reason))
	}
	a.pools.Release(&s.pool, t)
}

// mayJudge says whether the connection's handshake can be needed or wasted.
func (a *Analyzer) mayJudge(c *reassembly.Conn, s *conn) bool {
	return a.pools != nil && !s.is(upgraded) && established(c)
}

// closeOf says who ended the connection, and how.
func closeOf(c *reassembly.Conn, s *conn, end reassembly.End) (fact.ClosedBy, fact.ClosedWith) {
	byServer, closed := s.closer(c)
	switch {
	case closed && byServer:
		return fact.ByServer, fact.ClosedWith(c.ClosedWith)
	case closed:
		return fact.ByClient, fact.ClosedWith(c.ClosedWith)
	case end == reassembly.EndEvicted:
		return fact.ByEviction, fact.WithNothing
	case end == reassembly.EndTimeout, end == reassembly.EndReplaced:
		return fact.ByTimeout, fact.WithNothing
	}
	return fact.ByEnd, fact.WithNothing
}

// opened tells of the connection, once.
func (a *Analyzer) opened(c *reassembly.Conn, s *conn) {
	if len(a.watchers) == 0 || s.is(opened) {
		return
	}
	s.set(opened)
	a.identify(c, s, &a.conn)
	for _, w := range a.watchers {
		w.Opened(&a.conn)
	}
	s.mark = a.conn.Mark
}

// judged tells the verdict, once. With data in the SYN (RFC 7413) a response
// may come before the handshake is complete.
func (a *Analyzer) judged(c *reassembly.Conn, s *conn) {
	if len(a.watchers) == 0 || s.is(judged) || s.verdict == fact.VerdictNone || !a.mayJudge(c, s) {
		return
	}
	s.set(judged)
	a.identify(c, s, &a.conn)
	a.conn.Verdict, a.conn.Cause = s.verdict, s.cause
	for _, w := range a.watchers {
		w.Judged(&a.conn)
	}
}

// identify writes into o what is known of a connection when it opens, and its
// costs. Other fields may be of an earlier connection.
func (a *Analyzer) identify(c *reassembly.Conn, s *conn, o *fact.Connection) {
	o.Client = c.Endpoint[reassembly.Client] // one by one: both at once would be copied twice
	o.Server = c.Endpoint[reassembly.Server]
	if s.is(flipped) {
		o.Client, o.Server = o.Server, o.Client
	}
	o.Mark, o.ServerName, o.Start, o.End = s.mark, s.serverName(), c.Start, c.Last
	o.Handshake, o.HandshakeTime, o.Cost = fact.HandshakeComplete, handshakeTime(c), fact.Cost{}
	if o.HandshakeTime < 0 {
		o.Handshake = handshakeOf(c)
	} else {
		o.Cost.TCP = o.HandshakeTime
	}
	o.Estimated, o.TLS = false, nil
	if s.rare != nil {
		a.identifyRare(s, o)
	}
}

// fill writes what is known of a connection so far into o. It is written field
// by field: a composite literal would be made elsewhere and then copied
// (BenchmarkVerdicts, BenchmarkExchange).
func (a *Analyzer) fill(c *reassembly.Conn, s *conn, o *fact.Connection) {
	client, server := s.sides(c)
	*o = fact.Connection{}
	a.identify(c, s, o)
	o.Protocol = s.protocol
	o.Requests, o.Responses, o.Reused = s.requests, s.responses, s.reused()
	s.negotiated(&o.Negotiated)
	o.CloseIdle, o.RaceIdle = -1, -1
	o.Incomplete = s.is(incomplete)
	o.Missing = c.Missing(0) + c.Missing(1)
	o.Truncated = c.Truncated(0) + c.Truncated(1)
	o.Bytes[0], o.Bytes[1] = c.Bytes[client], c.Bytes[server]
	o.Packets[0], o.Packets[1] = c.Packets[client], c.Packets[server]
	o.Verdict, o.Cause = s.verdict, s.cause
	o.Versions[http.HTTP09] = s.versions&(1<<http.HTTP09) != 0
	o.Versions[http.HTTP10] = s.versions&(1<<http.HTTP10) != 0
	o.Versions[http.HTTP11] = s.versions&(1<<http.HTTP11) != 0
	if r := s.rare; r != nil {
		o.Unsolicited, o.Pipelined = r.unsolicited, r.pipelined
		o.ReuseIdle, o.MoreReuseIdle = r.reuseIdle, r.moreReuseIdle
		o.HasAdvertisedTimeout, o.AdvertisedTimeout = s.is(advTimeout), r.advertTimeout
		o.HasAdvertisedMax, o.AdvertisedMax = s.is(advMax), r.advertMax
	}
}
