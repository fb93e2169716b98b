package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// opened tells of the connection, once.
func (l *ledger) opened() {
	s := l.conn
	if len(l.watchers) == 0 || s.is(opened) {
		return
	}
	s.set(opened)
	o := &l.connection
	l.identify(o)
	for _, w := range l.watchers {
		w.Opened(o)
	}
	s.mark = o.Mark
}

// mayJudge says whether the connection's handshake can be needed or wasted: not where
// its first request ended HTTP, for something else.
func (l *ledger) mayJudge() bool {
	return l.conn.verdict != fact.VerdictNone && !l.conn.is(upgraded) && l.established()
}

// left tells that the connection is no longer open, once.
func (l *ledger) left() {
	s := l.conn
	if len(l.leavers) == 0 || s.is(left) || !s.is(opened) {
		return
	}
	s.set(left)
	o := &l.connection
	l.identify(o)
	for _, w := range l.leavers {
		w.Left(o)
	}
}

// judged tells the verdict, once. It waits for the first answer, for that may be an
// upgrade, and for its cause.
func (l *ledger) judged() {
	s := l.conn
	s.set(answered)
	if len(l.watchers) == 0 || s.is(judged) || !l.mayJudge() || s.cold != nil && s.cold.waits != nil {
		return
	}
	s.set(judged)
	o := &l.connection
	l.identify(o)
	o.Verdict, o.Cause = s.verdict, s.cause
	for _, w := range l.watchers {
		w.Judged(o)
	}
}

// judgedLate tells the verdict of a connection that is over.
func (a *Analyzer) judgedLate(o *fact.Connection) {
	for _, w := range a.watchers {
		w.Judged(o)
	}
}

// finish tells everything about a connection that has ended and forgets it.
func (l *ledger) finish(end reassembly.End) {
	s := l.conn
	l.endTLS()
	reason := l.reason(end)
	unread := l.waiting() > 0 && s.active.http1.InFinal() && s.active.open[0].outcome == fact.KeepAlive && !l.belated(&s.active.open[0])
	l.endBelated()
	l.giveUp(reason)
	l.leavePool(reason)
	if s.requests == 0 || !l.mayJudge() {
		s.verdict = fact.VerdictNone
	}
	l.opened()
	l.left()
	l.judged()
	o := &l.connection
	l.fill(o)
	o.Left = s.is(left)
	o.Reason = reason
	l.ending(o, end)
	o.Unheard = s.is(unheard)
	o.BodyUnread = unread && o.ClosedBy == fact.ByClient
	if u := l.waits(); u != nil && s.verdict == fact.VerdictWasted {
		u.record = keep(o)
	} else {
		l.tell(o)
	}
	l.endTrace()
	l.table.release(s)
}

// waits returns what the connection's verdict waits for, nil for nothing.
func (l *ledger) waits() *unsettled {
	if l.conn.cold == nil {
		return nil
	}
	return l.conn.cold.waits
}

// tell tells the Observers of a connection that is over.
func (a *Analyzer) tell(o *fact.Connection) {
	for _, obs := range a.obs {
		obs.Connection(o)
	}
}

// giveUp ends the requests under way, each with how it failed.
func (l *ledger) giveUp(reason fact.Reason) {
	s := l.conn
	l.lostIdle, l.waited = fact.Absent, fact.Absent
	_, closed, _, _ := l.closer()
	for i := range s.open() {
		q := &s.active.open[i]
		if q.failure = l.failureOf(q); q.failure == fact.FailRefusedStream && q.outcome == fact.Incomplete {
			q.outcome = fact.RefusedStream
			s.cold.streams.Refused++
		}
		if q.failure == fact.FailServerAbort && q.reuse == fact.ReusedRequest && !q.answered && reason == fact.ReasonServerAbort {
			q.unheard = !s.is(unheard)
			s.set(unheard)
		}
		if server := l.closingOf(http.Server); q.failure == fact.FailServerAbort && q.reuse == fact.FirstRequest && !q.answered && server.hasAck && q.known {
			q.crossed = l.unreceived(q, server)
		}
		if l.lostIdle == fact.Absent {
			l.lostIdle = max(q.idle, 0) // where pipelined, none
		}
		if q.failure != fact.NotFailed && l.waited == fact.Absent {
			l.waited = max(closed-q.at, 0)
		}
	}
	for range s.open() {
		if s.active.open[0].stream == 0 { // estimated ones are never told one by one
			if f := s.active.open[0].failure; f != fact.NotFailed && !s.is(tunneled) {
				l.table.coldOf(s).failed[f]++
			}
		} else {
			l.unanswered(0)
		}
		s.active.open = s.active.open[:copy(s.active.open, s.active.open[1:])]
	}
}

// ending writes who ended the connection, when and how.
func (l *ledger) ending(o *fact.Connection, end reassembly.End) {
	s := l.conn
	o.End = l.now()
	by, at, with, closed := l.closer()
	switch {
	case closed:
		o.ClosedBy, o.ClosedWith = fact.ClosedBy(by), with // ByClient, ByServer
	case end == reassembly.EndEvicted:
		o.ClosedBy = fact.ByEviction
	case end == reassembly.EndTimeout, end == reassembly.EndReplaced:
		o.ClosedBy = fact.ByTimeout
	default:
		o.ClosedBy = fact.ByEnd
	}
	if s.cold != nil && s.cold.streams != nil {
		for _, g := range s.cold.streams.Goaway {
			if g.Seen && (!closed || g.First < at) {
				at, closed = g.First, true
			}
		}
	}
	o.ClosedAt = fact.Absent
	if closed {
		o.ClosedAt = at
	}
	if closed && s.lastEnd != never {
		o.CloseIdle = max(at-s.lastEnd, 0)
	}
	o.Waited = l.waited
	if o.Reason == fact.ReasonRace || o.Reason == fact.ReasonStaleReuse {
		o.Race, o.RaceIdle = o.Reason == fact.ReasonRace, l.lostIdle
	}
}

// identify writes into o what is known of a connection when it opens, and its
// costs. Other fields may be of an earlier connection.
func (l *ledger) identify(o *fact.Connection) {
	s := l.conn
	client, server := l.sides()
	o.ID = s.id
	o.Client = l.tcp.Endpoint[client] // one by one: both at once would be copied twice
	o.Server = l.tcp.Endpoint[server]
	o.Mark, o.ServerName, o.Start, o.End = s.mark, s.serverName(), l.tcp.Start, l.now()
	o.Handshake, o.HandshakeTime, o.Cost = fact.HandshakeComplete, l.handshakeTime(), fact.Cost{}
	if o.HandshakeTime < 0 {
		o.Handshake = l.handshake()
	} else {
		o.Cost.TCP = o.HandshakeTime
	}
	n, _ := l.tcp.SYNs()
	o.SYNs = uint8(min(n, 255))
	o.Software = s.software
	o.Estimated, o.TLS, o.Keys, o.CouldReuse = s.is(estimated), nil, fact.KeysNone, nil
	o.Proxied = sniffer.Endpoint{} // by itself: among others it would be made elsewhere and copied
	if s.verdict == fact.VerdictWasted {
		o.CouldReuse = s.could
	}
	if s.cold != nil {
		l.identifyCold(o)
	}
}

// identifyCold writes what was seen of a look-up, of TLS and of a PROXY header,
// where there were any.
func (l *ledger) identifyCold(o *fact.Connection) {
	c := l.conn.cold
	o.Cost.DNS = c.dnsCost
	o.Proxied = c.proxied
	if t := c.tls[0]; t != nil && !(l.conn.is(tunneled)) {
		o.TLS, o.Keys = &t.hello, t.keys
		o.Cost.TLS = max(t.hello.Handshake, 0)
	}
	if c.tunnel != nil {
		o.Cost.Connect = c.tunnel.cost
		if t := l.outermostTLS(); t != nil {
			o.Cost.TLS = max(t.hello.Handshake, 0)
		}
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
	o.ClientTrip, _ = l.halfTrips()
	o.Protocol, o.Guessed = l.carried(), s.is(guessed)
	o.Requests, o.Responses, o.Reused = s.requests, s.responses, s.reused
	s.negotiated(&o.Negotiated)
	o.CloseIdle, o.RaceIdle, o.Waited = fact.Absent, fact.Absent, fact.Absent
	o.Incomplete = s.is(incomplete) || c.Resumed()
	o.Missing = c.Missing(0) + c.Missing(1)
	o.Truncated = c.Truncated(0) + c.Truncated(1)
	o.Bytes[0], o.Bytes[1] = c.Bytes[client], c.Bytes[server]
	o.Packets[0], o.Packets[1] = c.Packets[client], c.Packets[server]
	o.Verdict, o.Cause, o.PassedOver = s.verdict, s.cause, s.is(passedOver)
	if o.Verdict != fact.VerdictWasted {
		o.Cause, o.CouldReuse, o.PassedOver = fact.NoCause, nil, false
	}
	for v := http.HTTP09; v < http.NumVersions; v++ {
		o.Versions[v] = s.versions&(1<<v) != 0
	}
	o.Path = l.path()
	if s.trace != nil {
		o.Trace = l.fillTrace()
	}
	if s.cold != nil {
		l.fillCold(o)
	}
}

// carried says what the connection carried, as far as was seen at its end.
func (l *ledger) carried() fact.Protocol {
	s := l.conn
	switch {
	case s.protocol == fact.ProtocolUnknown && s.is(payload) && s.responses == 0 && !l.midstream(),
		s.protocol == fact.ProtocolTLS && s.is(insideTLS) && s.requests == 0:
		return fact.ProtocolNotHTTP
	}
	return s.protocol
}

// fillCold writes what few connections have.
func (l *ledger) fillCold(o *fact.Connection) {
	s := l.conn
	r := s.cold
	o.Unsolicited, o.Pipelined, o.RequestsLost, o.Failed = r.unsolicited, r.pipelined, r.lost, r.failed
	o.ReuseIdle, o.MoreReuseIdle = r.reuseIdle, r.moreReuseIdle
	o.HasAdvertisedTimeout, o.AdvertisedTimeout = s.is(advTimeout), r.advertTimeout
	o.HasAdvertisedMax, o.AdvertisedMax = s.is(advMax), r.advertMax
	if r.streams != nil {
		o.Streams = r.streams.facts(l.now())
	}
	if s.is(upgraded) {
		o.Upgrade = &r.upgrade
	}
	if r.tunnel != nil {
		o.Tunnel = &fact.Tunnel{Target: r.tunnel.target, Requests: r.tunnel.requests}
		if t := l.outermostTLS(); t != nil {
			o.Tunnel.TLS, o.Keys = &t.hello, t.keys
		}
	}
}

// path tells what was unusual about TCP, nil where nothing was.
func (l *ledger) path() *fact.Path {
	c := l.tcp
	if !c.Unusual() && l.conn.why != fact.ReasonPathDropped {
		return nil
	}
	p := &l.unusual
	*p = fact.Path{Interval: fact.Absent, Dropped: fact.Absent}
	if n, last := c.SYNs(); n > 1 {
		p.SYNRetries = max(last-c.SYN, 0)
	}
	for _, side := range []http.Side{http.Client, http.Server} {
		d := l.dir(side)
		probes, stall := c.Probes(d), c.Stall(d)
		p.Probes[side] = uint32(probes.Count)
		if probes.Gaps > 0 {
			p.Interval = probes.Gap
		}
		p.Stalled[side], p.StalledAtEnd[side] = stall.Longest, stall.Since != 0
	}
	if l.conn.why == fact.ReasonPathDropped {
		p.Dropped = max(l.lostIdle, 0)
	}
	if *p == (fact.Path{Interval: fact.Absent, Dropped: fact.Absent}) {
		return nil
	}
	return p
}
