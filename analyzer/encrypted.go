package analyzer

import (
	"hash/fnv"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/reassembly"
)

// detectTLS says whether a connection that has carried nothing known carries
// TLS from this payload on.
func (a *Analyzer) detectTLS(c *reassembly.Conn, s *conn, payload []byte) bool {
	mid := !c.SYNSeen() && !c.SYNACKSeen()
	if !tls.IsClientHello(payload) && (!mid || !tls.IsApplicationData(payload)) {
		return false
	}
	s.protocol = fact.ProtocolTLS
	a.table.crash(s)
	r := a.table.rare(s)
	r.hello.Handshake = -1
	if !tls.IsClientHello(payload) {
		r.tls.Midstream()
	}
	return true
}

// encrypted follows the records of a TLS connection, and counts as one
// estimated exchange each burst of the client's application data that a burst
// of the server's answers.
func (a *Analyzer) encrypted(c *reassembly.Conn, s *conn, dir reassembly.Dir, b []byte) {
	r := s.rare
	from := tls.Dir(s.role(dir))
	if from == tls.Server {
		s.lastData = c.Last
	}
	for {
		n, ev := r.tls.Next(from, b, &a.info)
		b = b[n:]
		if ev == tls.NeedMore {
			return
		}
		a.record(c, s, from, ev)
	}
}

// encryptedGap is encrypted for n bytes that were not captured.
func (a *Analyzer) encryptedGap(c *reassembly.Conn, s *conn, dir reassembly.Dir, n int64) {
	from := tls.Dir(s.role(dir))
	for {
		used, ev := s.rare.tls.Gap(from, n, &a.info)
		n -= used
		if ev == tls.NeedMore {
			return
		}
		a.record(c, s, from, ev)
	}
}

// record takes what the TLS observer found.
func (a *Analyzer) record(c *reassembly.Conn, s *conn, from tls.Dir, ev tls.Event) {
	r := s.rare
	switch ev {
	case tls.ClientHello:
		if r.helloAt == 0 {
			r.helloAt = c.Last
			a.clientHello(c, s)
		}
	case tls.ServerHello:
		r.hello.Version, r.hello.Resumed = a.info.Version, a.info.Resumed
		if len(a.info.ALPN) > 0 {
			r.hello.ALPN = a.alpn(a.info.ALPN)
		}
	case tls.HandshakeDone:
		r.hello.Version, r.hello.Resumed = a.info.Version, a.info.Resumed
		if r.helloAt != 0 {
			r.hello.Handshake = max(c.Last-r.helloAt, 0)
		}
	case tls.ApplicationData:
		if from == tls.Client {
			a.asks(c, s)
		} else {
			a.answers(c, s)
		}
	case tls.ApplicationEnd:
		if from == tls.Server {
			a.answers(c, s)
		}
	case tls.Lost:
		s.set(incomplete)
	}
}

// alpn returns the name of a protocol (RFC 7301 §6) fit to be shown; unlike a
// host's it may have a slash.
func (a *Analyzer) alpn(name []byte) string {
	switch string(name) {
	case "http/1.1":
		return "http/1.1"
	case "http/1.0":
		return "http/1.0"
	}
	return *a.names.intern(name)
}

// clientHello names the connection and moves it to its name's pool.
func (a *Analyzer) clientHello(c *reassembly.Conn, s *conn) {
	if sni := a.info.SNI; len(sni) > 0 {
		r := s.rare
		s.name = a.names.host(sni)
		r.hello.SNI = *s.name
		if s.is(pooled) {
			h := fnv.New32a()
			h.Write(sni)
			client, server := &c.Endpoint[reassembly.Client], &c.Endpoint[reassembly.Server]
			s.verdict, s.cause = a.verdict(a.pools.Move(&s.pool, a.pairOf(client, server, h.Sum32()|1), c.SYN))
		}
	}
	a.opened(c, s)
}

// minEstimatedIdle is how many idle times an encrypted connection lists at least:
// no exchange of it is told, so they would be known from nowhere else.
const minEstimatedIdle = 32

// asks takes application data of the client: the first of a burst begins an
// exchange.
func (a *Analyzer) asks(c *reassembly.Conn, s *conn) {
	if s.outstanding > 0 {
		return
	}
	q := pending{start: c.Last, idle: -1}
	switch {
	case s.requests > 0:
		q.reuse, q.idle = fact.ReusedRequest, max(c.Last-s.lastEnd, 0)
		s.rare.addIdle(q.idle, max(a.cfg.MaxReuseIdle, minEstimatedIdle))
		if s.is(pooled) {
			a.pools.Request(&s.pool, c.Last)
		}
	default:
		a.opened(c, s)
		a.confirm(c, s, c.Last)
	}
	s.requests++
	s.outstanding = 1
	a.table.takeOff(s).front = q
	s.unset(answered)
	if s.is(unanswerable) {
		a.closing(c, s)
	}
}

// answers takes application data of the server: the exchange ends with the
// last of it before the client's next.
func (a *Analyzer) answers(c *reassembly.Conn, s *conn) {
	if s.requests == 0 {
		return
	}
	s.lastEnd = c.Last
	if s.outstanding > 0 {
		s.outstanding = 0
		a.table.land(s)
		s.responses++
		a.judged(c, s)
	}
	if s.is(pooled) {
		a.pools.Idle(&s.pool, c.Last)
	}
}

// identifyRare writes what was seen of a look-up and of a TLS handshake, where
// there were any.
func (a *Analyzer) identifyRare(s *conn, o *fact.Connection) {
	o.Cost.DNS = s.rare.dnsCost
	if s.protocol == fact.ProtocolTLS {
		o.Estimated, o.TLS = true, &s.rare.hello
		o.Cost.TLS = max(s.rare.hello.Handshake, 0)
	}
}
