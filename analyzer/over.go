package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
)

// over tells everything about a connection that has ended and forgets it.
func (l *ledger) over(end reassembly.End) {
	s := l.conn
	reason := l.lastReason(end)
	race := reason == fact.ReasonRace || reason == fact.ReasonUpgraded && l.raced()
	raceIdle := fact.Absent
	if race {
		raceIdle = max(l.oldest().idle, 0) // where pipelined, none
	}
	unread := l.waiting() > 0 && s.flight.http1.InFinal() && l.oldest().outcome == fact.KeepAlive
	if end != reassembly.EndCapture { // or the pools go as a whole: see Worker.flush
		l.leavePool(reason)
	}
	if s.requests == 0 || !l.mayJudge() {
		s.verdict = fact.VerdictNone
	}
	l.opened()
	l.judged()
	for s.protocol != fact.ProtocolTLS && l.waiting() > 0 { // estimated ones are never told one by one
		l.unanswered(0)
	}
	o := &l.Analyzer.conn
	l.fill(o)
	o.End, o.Reason = l.now(), reason
	o.ClosedBy, o.ClosedWith = l.closeOf(end)
	if l.isClosed() && s.lastEnd != never {
		o.CloseIdle = max(l.tcp.ClosedAt-s.lastEnd, 0)
	}
	if race {
		o.Race, o.RaceIdle = true, raceIdle
	}
	o.BodyUnread = unread && o.ClosedBy == fact.ByClient
	for _, obs := range l.obs {
		obs.Connection(o)
	}
	l.table.release(s)
}

// lastReason is reason at a connection's end. Where the pools were told at its
// closing and nothing has come since, they still know.
func (l *ledger) lastReason(end reassembly.End) fact.Reason {
	if s := l.conn; s.is(discharged) && s.requests > 0 {
		return fact.Reason(l.pools.Reason(&s.pool))
	}
	return l.reason(end)
}

// closeOf says who ended the connection, and how.
func (l *ledger) closeOf(end reassembly.End) (fact.ClosedBy, fact.ClosedWith) {
	by, closed := l.closer()
	switch {
	case closed && by == http.Server:
		return fact.ByServer, fact.ClosedWith(l.tcp.ClosedWith)
	case closed:
		return fact.ByClient, fact.ClosedWith(l.tcp.ClosedWith)
	case end == reassembly.EndEvicted:
		return fact.ByEviction, fact.WithNothing
	case end == reassembly.EndTimeout, end == reassembly.EndReplaced:
		return fact.ByTimeout, fact.WithNothing
	}
	return fact.ByEnd, fact.WithNothing
}

// opened tells of the connection, once.
func (l *ledger) opened() {
	s := l.conn
	if len(l.watchers) == 0 || s.is(opened) {
		return
	}
	s.set(opened)
	o := &l.Analyzer.conn
	l.identify(o)
	for _, w := range l.watchers {
		w.Opened(o)
	}
	s.mark = o.Mark
}

// judged tells the verdict, once. With data in the SYN (RFC 7413) a response
// may come before the handshake is complete.
func (l *ledger) judged() {
	s := l.conn
	if len(l.watchers) == 0 || s.is(judged) || s.verdict == fact.VerdictNone || !l.mayJudge() {
		return
	}
	s.set(judged)
	o := &l.Analyzer.conn
	l.identify(o)
	o.Verdict, o.Cause = s.verdict, s.cause
	for _, w := range l.watchers {
		w.Judged(o)
	}
}

// identify writes into o what is known of a connection when it opens, and its
// costs. Other fields may be of an earlier connection.
func (l *ledger) identify(o *fact.Connection) {
	s := l.conn
	client, server := l.sides()
	o.Client = l.tcp.Endpoint[client] // one by one: both at once would be copied twice
	o.Server = l.tcp.Endpoint[server]
	o.Mark, o.ServerName, o.Start, o.End = s.mark, s.serverName(), l.tcp.Start, l.now()
	o.Handshake, o.HandshakeTime, o.Cost = fact.HandshakeComplete, l.handshakeTime(), fact.Cost{}
	if o.HandshakeTime < 0 {
		o.Handshake = l.handshake()
	} else {
		o.Cost.TCP = o.HandshakeTime
	}
	o.Estimated, o.TLS = false, nil
	if s.rare != nil {
		l.identifyRare(s, o)
	}
}

// fill writes what is known of a connection so far into o. It is written field
// by field: a composite literal would be made elsewhere and then copied
// (BenchmarkVerdicts, BenchmarkExchange).
func (l *ledger) fill(o *fact.Connection) {
	s, c := l.conn, l.tcp
	client, server := l.sides()
	*o = fact.Connection{}
	l.identify(o)
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
