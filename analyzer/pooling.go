package analyzer

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// lookedUp notes the look-up that led to the connection, if it is known.
func (l *ledger) lookedUp() {
	if l.dns.Len() == 0 {
		return
	}
	s := l.conn
	client, server := l.sides()
	name, cost, ok := l.dns.Lookup(l.tcp.Endpoint[client].Addr, l.tcp.Endpoint[server].Addr, l.tcp.SYN)
	if ok && s.name == nil {
		s.name = l.names.host([]byte(name))
	}
	if cost > 0 {
		l.table.coldOf(s).dnsCost = cost
	}
}

// pair returns whose pool the connection belongs to: the client's address, or the one
// that a PROXY header names together with the address that sent it, for a balancer's
// connections cannot be had from another; the server; and the origin.
func (l *ledger) pair(origin *string, tls bool) pool.Pair {
	client, server := l.sides()
	to := &l.tcp.Endpoint[server]
	k := pool.Pair{Client: l.tcp.Endpoint[client].Addr, Server: to.Addr, Port: to.Port, TLS: tls}
	if c := l.conn.cold; c != nil && c.proxied != (sniffer.Endpoint{}) {
		k.Client = mixed(k.Client, c.proxied.Addr)
	}
	if origin != nil {
		k.Origin = hashOf(*origin)
	}
	return k
}

// hashOf is a number for a name (FNV-1a), never 0.
func hashOf(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h | 1
}

// mixed makes one address of two.
func mixed(a, b sniffer.Addr) (m sniffer.Addr) {
	h := uint64(0)
	for _, half := range [...][]byte{a[:8], a[8:], b[:8], b[8:]} {
		h = mix(h, binary.LittleEndian.Uint64(half))
	}
	binary.LittleEndian.PutUint64(m[:8], h)
	binary.LittleEndian.PutUint64(m[8:], mix(h, 0))
	return m
}

// judge tells the pools of a connection's first request, which judges its handshake.
func (l *ledger) judge(origin *string, tls bool, at int64) {
	if l.pools == nil {
		return
	}
	s := l.conn
	s.set(pooled)
	s.pool.Ref, s.pool.Seen = s.ref(), &l.tcp.Last
	syn := fact.Absent
	if l.tcp.SYNSeen() && !l.shared() {
		syn = l.tcp.SYN
	}
	j := l.pools.First(&s.pool, l.pair(origin, tls), syn, at)
	switch j.Verdict {
	case pool.Needed:
		s.verdict = fact.VerdictNeeded
	case pool.Wasted:
		s.verdict = fact.VerdictWasted
		l.replace(&j)
	case pool.None:
	}
}

// shared says whether the client's address is known to hide many (Config.SharedClients).
func (l *ledger) shared() bool {
	if len(l.cfg.SharedClients) == 0 {
		return false
	}
	client, _ := l.sides()
	a := l.tcp.Endpoint[client].Addr.Netip()
	for _, p := range l.cfg.SharedClients {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// again tells the pools of a later request.
func (l *ledger) again(at int64) {
	if l.conn.is(pooled) {
		l.pools.Request(&l.conn.pool, at)
	}
}

// done tells the pools of an exchange's end.
func (l *ledger) done(at int64) {
	if l.conn.is(pooled) {
		l.pools.End(&l.conn.pool, at)
	}
}

// unusable notes why the connection takes no further request, as far as is known.
func (l *ledger) unusable(why fact.Reason, at int64) {
	s := l.conn
	s.why = why
	if s.cold != nil && s.cold.replacedBy != nil {
		if u := s.cold.replacedBy; u.learn(why, s.is(ended), l.now()) {
			l.settle(u)
		}
	}
	if !s.is(pooled) {
		return
	}
	client, _ := l.sides()
	l.pools.Lost(&s.pool, at, why == fact.ReasonClientIdle || why == fact.ReasonServerIdle, pool.Note{
		ID: s.id, Start: l.tcp.Start, Port: l.tcp.Endpoint[client].Port, Reason: uint8(why), Over: s.is(ended),
	})
}

// usable takes unusable back: only the last exchange's word counts.
func (l *ledger) usable() {
	s := l.conn
	s.why = fact.ReasonOpen
	if s.is(pooled) {
		l.pools.Usable(&s.pool)
	}
}

// closing tells the pools that a connection is no longer open, or why anew
// where a request crossed the closing. Until the server's FIN, or a RST, a
// response may come on a connection that its client has half closed, but on one
// that something between the two has forgotten.
func (l *ledger) closing() {
	s := l.conn
	_, at, _, closed := l.closer()
	if !s.is(pooled) || !closed {
		return
	}
	l.unusable(l.reason(reassembly.EndClosed), at)
	if l.waiting() == 0 || s.is(unanswerable) || s.why == fact.ReasonPathDropped {
		l.pools.Close(&s.pool, at)
	}
}

// leavePool ends the connection's part in the pools. One that the tracker gave up is
// lost for nobody: when it does so is no fact of the connection.
func (l *ledger) leavePool(reason fact.Reason) {
	s := l.conn
	s.set(ended)
	if _, at, _, closed := l.closer(); closed {
		l.unusable(reason, at)
	} else {
		s.why = reason
		if s.cold != nil && s.cold.replacedBy != nil { // no more will be known
			l.settle(s.cold.replacedBy)
		}
	}
	if s.is(pooled) {
		l.pools.Release(&s.pool, l.now())
	}
}

// Unseen implements [reassembly.UnseenHandler]: something is under way that was not
// captured, so that the connection is busy. One number alone may be a FIN's.
func (a *Analyzer) Unseen(c *reassembly.Conn, dir reassembly.Dir) {
	s := a.table.at(c.ID)
	l := a.on(c, s)
	acked, _ := c.Acked(dir)
	if s.is(pooled) && l.side(dir) == http.Client && !l.isClosed() && acked-c.Next(dir) > 1 {
		a.pools.Busy(&s.pool, c.Last)
	}
}
