package analyzer

import (
	"hash/fnv"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"

	"github.com/keepscope/keepscope/analyzer/tls"
)

// detectTLS says whether a connection that has carried nothing known carries
// TLS from this payload on.
func (l *ledger) detectTLS(payload []byte) bool {
	if !tls.IsClientHello(payload) && (!l.midstream() || !tls.IsApplicationData(payload)) {
		return false
	}
	s := l.conn
	s.protocol = fact.ProtocolTLS
	l.table.land(s)
	r := l.table.rare(s)
	r.hello.Handshake = -1
	if !tls.IsClientHello(payload) {
		r.tls.Midstream()
	}
	return true
}

// encrypted follows the records of a TLS connection, and counts as one
// estimated exchange each burst of the client's application data that a burst
// of the server's answers.
func (l *ledger) encrypted(from http.Side, b []byte) {
	r := l.conn.rare
	for {
		n, ev := r.tls.Next(tls.Dir(from), b, &l.info)
		b = b[n:]
		if ev == tls.NeedMore {
			return
		}
		l.record(from, ev)
	}
}

// encryptedGap is encrypted for n bytes that were not captured.
func (l *ledger) encryptedGap(from http.Side, n int64) {
	for {
		used, ev := l.conn.rare.tls.Gap(tls.Dir(from), n, &l.info)
		n -= used
		if ev == tls.NeedMore {
			return
		}
		l.record(from, ev)
	}
}

// record takes what the TLS observer found.
func (l *ledger) record(from http.Side, ev tls.Event) {
	s := l.conn
	r := s.rare
	switch ev {
	case tls.ClientHello:
		if r.helloAt == 0 {
			r.helloAt = l.now()
			l.clientHello()
		}
	case tls.ServerHello:
		r.hello.Version, r.hello.Resumed = l.info.Version, l.info.Resumed
		if len(l.info.ALPN) > 0 {
			r.hello.ALPN = l.alpn(l.info.ALPN)
		}
	case tls.HandshakeDone:
		r.hello.Version, r.hello.Resumed = l.info.Version, l.info.Resumed
		if r.helloAt != 0 {
			r.hello.Handshake = max(l.now()-r.helloAt, 0)
		}
	case tls.ApplicationData:
		if from == http.Client {
			l.asks()
		} else {
			l.answers()
		}
	case tls.ApplicationEnd:
		if from == http.Server {
			l.answers()
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
func (l *ledger) clientHello() {
	if sni := l.info.SNI; len(sni) > 0 {
		s := l.conn
		s.name = l.names.host(sni)
		s.rare.hello.SNI = *s.name
		h := fnv.New32a()
		h.Write(sni)
		l.move(h.Sum32() | 1)
	}
	l.opened()
}

// minEstimatedIdle is how many idle times an encrypted connection lists at least:
// no exchange of it is told, so they would be known from nowhere else.
const minEstimatedIdle = 32

// asks takes application data of the client: the first of a burst begins an
// exchange.
func (l *ledger) asks() {
	s := l.conn
	if l.waiting() > 0 {
		return
	}
	now := l.now()
	q := exchange{start: now, idle: fact.Absent}
	switch {
	case s.requests > 0:
		q.reuse, q.idle = fact.ReusedRequest, max(now-s.lastEnd, 0)
		s.rare.addIdle(q.idle, max(l.cfg.MaxReuseIdle, minEstimatedIdle))
		if s.is(pooled) {
			l.pools.Request(&s.pool, now)
		}
	default:
		l.opened()
		l.confirm(now)
	}
	s.requests++
	f := l.table.takeOff(s, false)
	f.open = append(f.open, q)
	if s.is(unanswerable) {
		l.closing(now)
	}
}

// answers takes application data of the server: the exchange ends with the
// last of it before the client's next.
func (l *ledger) answers() {
	s := l.conn
	if s.requests == 0 {
		return
	}
	s.lastEnd = l.now()
	if l.waiting() > 0 {
		l.table.land(s)
		s.responses++
		l.judged()
	}
	if s.is(pooled) {
		l.pools.Idle(&s.pool, l.now())
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
