package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// syn lets the pools judge a SYN and looks for the look-up that led to it.
func (l *ledger) syn() {
	s := l.conn
	from, to := l.sides()
	client, server := &l.tcp.Endpoint[from], &l.tcp.Endpoint[to]
	if l.dns.Len() > 0 {
		l.lookedUp(s, client.Addr, server.Addr, l.tcp.SYN)
	}
	if l.pools != nil {
		s.verdict, s.cause = verdict(l.pools.SYN(&s.pool, l.tcp.ID, l.pairOf(client, server, 0), l.tcp.SYN))
		s.set(pooled)
	}
}

// lookedUp notes the look-up that led to a connection of time t, if it is known.
func (a *Analyzer) lookedUp(s *conn, client, server sniffer.Addr, t int64) {
	name, cost, ok := a.dns.Lookup(client, server, t)
	if ok && s.name == nil {
		s.name = a.names.host([]byte(name))
	}
	if cost > 0 {
		a.table.rare(s).dnsCost = cost
	}
}

// pairOf returns the pair of two endpoints, until it is called again.
func (a *Analyzer) pairOf(client, server *sniffer.Endpoint, name uint32) *pool.Pair {
	k := &a.pair
	k.Client, k.Server, k.Port, k.Name = client.Addr, server.Addr, server.Port, name
	return k
}

// verdict translates the pools' words.
func verdict(v pool.Verdict, cause pool.Reason) (fact.Verdict, fact.Cause) {
	switch {
	case v == pool.None: // it was too late to judge
		return fact.VerdictNone, fact.NoCause
	case v == pool.Needed:
		return fact.VerdictNeeded, fact.NoCause
	case cause == pool.PoolMiss:
		return fact.VerdictWasted, fact.PoolMiss
	}
	return fact.VerdictWasted, fact.Cause(cause)
}

// move puts a connection whose name the ClientHello tells into its name's pool.
func (l *ledger) move(name uint32) {
	s := l.conn
	if s.is(pooled) {
		client, server := &l.tcp.Endpoint[reassembly.Client], &l.tcp.Endpoint[reassembly.Server]
		s.verdict, s.cause = verdict(l.pools.Move(&s.pool, l.pairOf(client, server, name), l.tcp.SYN))
	}
}

// confirm tells the pools of a connection's first request.
func (l *ledger) confirm(t int64) {
	s := l.conn
	switch {
	case l.pools == nil:
	case s.is(pooled):
		l.pools.Request(&s.pool, t)
	case l.tcp.SYNSeen(): // captured after the SYN-ACK
		l.syn()
		l.pools.Request(&s.pool, t)
	default:
		s.set(pooled)
		client, server := l.sides()
		l.pools.Midstream(&s.pool, l.tcp.ID, l.pairOf(&l.tcp.Endpoint[client], &l.tcp.Endpoint[server], 0), t)
	}
}

// unusable tells the pools that the connection takes no further request.
func (l *ledger) unusable(why fact.Reason) {
	if l.conn.is(pooled) {
		l.pools.Unusable(&l.conn.pool, pool.Reason(why))
	}
}

// idle tells the pools that nothing is under way on the connection any more.
func (l *ledger) idle(at int64) {
	if l.conn.flags&(pooled|upgraded) == pooled {
		l.pools.Idle(&l.conn.pool, at)
	}
}

// closing tells the pools that a connection is no longer open, or why anew
// where a request crossed the closing. Until the server's FIN, or a RST, a
// response may come on a connection that its client has half closed.
func (l *ledger) closing(at int64) {
	s := l.conn
	waiting := l.waiting() > 0
	if s.flags&(pooled|discharged) != pooled || waiting && !s.is(unanswerable) {
		return
	}
	if !waiting {
		s.set(discharged)
	}
	l.pools.Closed(&s.pool, at, pool.Reason(l.reason(reassembly.EndClosed)))
}

// leavePool ends the connection's part in the pools.
func (l *ledger) leavePool(reason fact.Reason) {
	s := l.conn
	if !s.is(pooled) {
		return
	}
	t := l.tcp.ClosedAt
	if !l.isClosed() || l.waiting() > 0 {
		t = l.now()
	}
	if !s.is(discharged) {
		l.pools.Closed(&s.pool, t, pool.Reason(reason))
	}
	l.pools.Release(&s.pool, t)
}

// mayJudge says whether the connection's handshake can be needed or wasted.
func (l *ledger) mayJudge() bool {
	return l.pools != nil && !l.conn.is(upgraded) && l.established()
}

var _ http.Sink = (*ledger)(nil)
