package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http2"
	"github.com/keepscope/keepscope/analyzer/tls"
)

// A tlsLayer is a TLS connection on a layer. With keys it is decrypted, and what is
// inside is the next layer; without, exchanges are estimated: a burst of the client's
// application data that a burst of the server's answers.
type tlsLayer struct {
	observer  tls.Observer
	decrypter *tls.Decrypter // nil without a key log
	hello     fact.TLS
	helloAt   int64
	keys      fact.Keys
	http2     bool      // by ALPN, or as it seems: nothing is estimated
	sent      int       // records of the client that can hold a request of HTTP/2
	alert     [2]notice // the side's last record may be one, close_notify say
	listed    bool      // in Analyzer.holding
}

// A notice is a TLS closing: an alert.
type notice struct {
	at       int64 // never where there is none: 0 says that too
	seq, ack uint32
	hasAck   bool
}

// openTLS makes a layer one of TLS.
func (l *ledger) openTLS(layer int, b []byte) {
	s := l.conn
	s.layers[layer] = readTLS
	s.set(rolesKnown) // or taken for known: connections that wait for keys are listed by their sides
	if s.protocol == fact.ProtocolUnknown {
		s.protocol = fact.ProtocolTLS
	}
	l.abandon(l.now())
	t := &tlsLayer{hello: fact.TLS{Handshake: fact.Absent}}
	l.table.coldOf(s).tls[layer] = t
	mid := !tls.IsClientHello(b)
	if l.decryption == nil {
		t.observer.Hellos = &l.table.hellos
		if mid {
			t.observer.Midstream()
		}
		return
	}
	t.decrypter = l.decryption.New(&l.inside[layer], &l.inside[layer])
	if mid {
		t.decrypter.Midstream(l.now())
	}
}

// inside is what a layer of TLS hides, of the connection that the ledger is of.
type inside struct {
	*ledger
	layer int
}

// Data implements [http.Conn].
func (i *inside) Data(from http.Side, b []byte, at int64) {
	i.conn.set(insideTLS)
	i.ledger.data(i.layer+1, from, b, at)
}

// Gap implements [http.Conn].
func (i *inside) Gap(from http.Side, n int64, at int64) {
	i.ledger.gap(i.layer+1, from, n, false, at)
}

// Close implements [http.Conn].
func (i *inside) Close(from http.Side, at int64) { i.ledger.close(i.layer+1, from, at) }

// Skippable implements [tls.Skipper].
func (i *inside) Skippable(from http.Side) int64 {
	s := i.conn
	switch s.layers[i.layer+1] {
	case readHTTP1:
		if s.active != nil {
			return s.active.http1.Skippable(from)
		}
	case readHTTP2:
		return s.cold.h2.Skippable(from)
	}
	return 0
}

// Skip implements [tls.Skipper].
func (i *inside) Skip(from http.Side, n int64, at int64) { i.Gap(from, n, at) }

// TLS implements [tls.Listener].
func (i *inside) TLS(from http.Side, e tls.Event, info *tls.Info, at int64) {
	i.record(i.layer, from, e, info, at)
}

// outermostTLS returns the connection's first layer of TLS, nil without.
func (l *ledger) outermostTLS() *tlsLayer {
	if c := l.conn.cold; c != nil {
		for _, t := range c.tls {
			if t != nil {
				return t
			}
		}
	}
	return nil
}

func (l *ledger) tlsData(layer int, from http.Side, b []byte, at int64) {
	t := l.conn.cold.tls[layer]
	if t.decrypter != nil {
		l.decrypt(t, from, b, at)
		return
	}
	for {
		n, ev := t.observer.Next(from, b, &l.info)
		b = b[n:]
		if ev == tls.NeedMore {
			return
		}
		l.record(layer, from, ev, &l.info, at)
	}
}

// decrypt hands bytes to the layer's decrypter.
func (l *ledger) decrypt(t *tlsLayer, from http.Side, b []byte, at int64) {
	waited := t.decrypter.NeedsKeys()
	t.decrypter.Data(from, b, at)
	if t.decrypter.Holds() && !t.listed {
		t.listed = true
		l.holding = append(l.holding, l.conn.ref())
	}
	if t.decrypter.NeedsKeys() && !waited {
		l.beginLine()
	}
}

func (l *ledger) tlsGap(layer int, from http.Side, n int64, at int64) {
	t := l.conn.cold.tls[layer]
	if t.decrypter != nil {
		t.decrypter.Gap(from, n, at)
		return
	}
	for {
		used, ev := t.observer.Gap(from, n, &l.info)
		n -= used
		if ev == tls.NeedMore {
			return
		}
		l.record(layer, from, ev, &l.info, at)
	}
}

func (l *ledger) tlsClose(layer int, from http.Side, at int64) {
	t := l.conn.cold.tls[layer]
	if t.decrypter != nil {
		t.decrypter.Close(from, at)
		if t.decrypter.Holds() {
			l.tcp.Linger() // a short connection is over before its keys are read
		}
	}
	l.noticed(from)
}

// askAgain looks for the keys of what is held: a connection that is silent, or over, has
// no packet at which that is done.
func (a *Analyzer) askAgain(now int64) {
	a.asked, a.keysSeen = now, a.cfg.Keys.Version()
	asking := a.holding
	a.holding = nil
	for _, ref := range asking {
		s := a.table.byRef(ref)
		if s == nil {
			continue
		}
		l := a.on(s.tcp, s)
		l.segment.known = false
		if l.stillHolds(now) {
			a.holding = append(a.holding, ref)
		}
		k := l.lineKey()
		if w := a.lines[k]; w != nil && w.head == ref {
			a.advance(k, w, now)
		}
	}
}

// stillHolds lets time pass for the connection's decrypters, and reports whether one of
// them holds bytes.
func (l *ledger) stillHolds(now int64) (holds bool) {
	for _, t := range l.conn.cold.tls {
		if t == nil || !t.listed {
			continue
		}
		t.decrypter.Tick(now)
		t.listed = t.decrypter.Holds()
		holds = holds || t.listed
	}
	return holds
}

// noticed makes a side's last record a closing, if it was an alert: its FIN or RST
// followed.
func (l *ledger) noticed(from http.Side) {
	if l.conn.cold == nil {
		return
	}
	for _, t := range l.conn.cold.tls {
		if t != nil && t.alert[from].at != 0 {
			l.conn.cold.notified[from] = t.alert[from]
		}
	}
}

// endTLS tells the layers of TLS that the connection is over.
func (l *ledger) endTLS() {
	if l.conn.cold == nil {
		return
	}
	l.leaveLine()
	for _, t := range l.conn.cold.tls {
		if t != nil {
			t.end(l.now())
		}
	}
}

// end gives back what the layer holds.
func (t *tlsLayer) end(at int64) {
	if t.decrypter != nil {
		t.decrypter.End(at)
	} else {
		t.observer.Release()
	}
}

// record takes what a record showed.
func (l *ledger) record(layer int, from http.Side, ev tls.Event, info *tls.Info, at int64) {
	s := l.conn
	t := s.cold.tls[layer]
	if t == nil { // a decrypter tells what it held of what is no TLS
		return
	}
	switch ev {
	case tls.ClientHello:
		if t.helloAt == 0 {
			t.helloAt = at
			if s.trace != nil && s.trace.Hello == fact.Absent {
				s.trace.Hello = at
			}
			l.clientHello(layer, t, info)
		}
	case tls.ServerHello, tls.Chosen:
		l.serverHello(t, info)
	case tls.HandshakeDone:
		t.hello.Version, t.hello.Resumed = info.Version, info.Resumed
		switch {
		case info.Early: // the request rode in it
			t.hello.Handshake = 0
		case t.helloAt != 0:
			t.hello.Handshake = max(at-t.helloAt, 0)
		}
		if s.trace != nil && s.trace.Secured == fact.Absent {
			s.trace.Secured = at
		}
	case tls.Decryptable:
		t.keys = fact.KeysDecrypted
		if t.hello.ALPN == "h2" && s.layers[layer+1] == unrecognised {
			l.openHTTP2(layer+1, http2.Prior)
		}
	case tls.Undecrypted:
		if t.keys = fact.KeysMissing; t.decrypter.State() == tls.Mismatched {
			t.keys = fact.KeysMismatched
		}
		l.opened()
	case tls.ApplicationData:
		t.alert[from] = notice{}
		if !t.http2 && t.looksHTTP2() {
			l.becomesHTTP2(t)
		}
		l.applicationData(t, from, info, at)
	case tls.ApplicationEnd:
		if from == http.Server && !t.http2 {
			l.answers(at)
		}
	case tls.Alert, tls.MaybeAlert:
		t.alert[from] = l.noticeOf(from, at)
	case tls.Lost:
		if t.helloAt == 0 && !l.midstream() {
			l.notTLS(layer)
		} else {
			s.set(incomplete)
		}
	case tls.NeedMore, tls.HelloRetry:
	}
}

// notTLS takes it back that a layer is TLS: it began like it, and went on otherwise.
func (l *ledger) notTLS(layer int) {
	s := l.conn
	s.cold.tls[layer].end(l.now())
	s.layers[layer], s.cold.tls[layer] = unread, nil
	if s.protocol == fact.ProtocolTLS {
		s.protocol = fact.ProtocolUnknown
	}
}

// noticeOf returns where a side stands that may have sent its last.
func (l *ledger) noticeOf(from http.Side, at int64) notice {
	dir := l.dir(from)
	n := notice{at: at, seq: l.next(dir)}
	n.ack, n.hasAck = l.tcp.Acknowledges(dir)
	return n
}

// clientHello names the connection. What its first request asks for names it better, where
// that may be decrypted.
func (l *ledger) clientHello(layer int, t *tlsLayer, info *tls.Info) {
	s := l.conn
	if sni := info.SNI; len(sni) > 0 {
		name := l.names.host(sni)
		t.hello.SNI = *name
		if layer == 0 {
			s.name = name
		}
	}
	if t.decrypter == nil {
		l.opened()
	}
}

// serverHello notes what was chosen.
func (l *ledger) serverHello(t *tlsLayer, info *tls.Info) {
	if info.Version != 0 {
		t.hello.Version, t.hello.Resumed = info.Version, info.Resumed
	}
	if len(info.ALPN) == 0 {
		return
	}
	t.hello.ALPN = l.alpn(info.ALPN)
	if t.hello.ALPN != "h2" {
		return
	}
	l.becomesHTTP2(t)
}

// alpn returns the name of a protocol (RFC 7301 §6) fit to be shown; unlike a
// host's it may have a slash.
func (a *Analyzer) alpn(name []byte) string {
	switch string(name) {
	case "h2":
		return "h2"
	case "http/1.1":
		return "http/1.1"
	case "http/1.0":
		return "http/1.0"
	}
	return *a.names.intern(name)
}

// looksHTTP2 says whether the connection carries HTTP/2, by ALPN or as it seems.
func (t *tlsLayer) looksHTTP2() bool {
	if t.decrypter != nil {
		return t.decrypter.LooksHTTP2()
	}
	return t.observer.LooksHTTP2()
}

// becomesHTTP2 takes back what was estimated of a connection that turns out to carry
// HTTP/2.
func (l *ledger) becomesHTTP2(t *tlsLayer) {
	s := l.conn
	t.http2 = true
	if s.protocol == fact.ProtocolTLS {
		s.protocol = fact.ProtocolH2
		if t.hello.ALPN != "h2" {
			s.set(guessed)
		}
	}
	if !s.is(estimated) {
		return
	}
	t.sent = int(s.requests)
	if s.trace != nil {
		s.trace.Exchanges, s.trace.More = s.trace.Exchanges[:0], 0
	}
	s.unset(estimated)
	s.requests, s.responses, s.reused, s.verdict, s.cause = 0, 0, 0, fact.VerdictNone, fact.NoCause
	s.cold.reuseIdle, s.cold.moreReuseIdle, s.cold.waits, s.could = s.cold.reuseIdle[:0], 0, nil, nil
	l.table.deactivate(s)
	if s.is(pooled) {
		l.pools.Release(&s.pool, l.now())
		s.unset(pooled)
	}
}

// applicationData takes the beginning of a record that carries it.
func (l *ledger) applicationData(t *tlsLayer, from http.Side, info *tls.Info, at int64) {
	switch {
	case t.http2: // what it carries is not known
		l.conn.lastEnd = at
		if info.Request {
			t.sent++
		}
	case from == http.Client && info.Request:
		l.asks(at)
	case from == http.Server && !info.Interim:
		l.answers(at)
	}
}

// minEstimatedIdle is how many idle times an encrypted connection lists at least:
// no exchange of it is told, so they would be known from nowhere else.
const minEstimatedIdle = 32

// asks takes application data of the client: the first of a burst begins an
// exchange.
func (l *ledger) asks(at int64) {
	s := l.conn
	if l.waiting() > 0 {
		return
	}
	q := exchange{begun: l.segment, idle: fact.Absent, first: never}
	q.at = at
	switch {
	case s.is(tunneled): // what is inside is not counted with the CONNECT that opened the way
		s.cold.tunnel.requests++
		if q.reuse = fact.ReusedRequest; s.cold.tunnel.requests == 1 {
			q.reuse = fact.FirstRequest
		}
		l.again(at)
	case s.requests > 0:
		q.reuse, q.idle = fact.ReusedRequest, max(at-s.lastEnd, 0)
		l.reuseIdle(q.idle, max(l.cfg.MaxReuseIdle, minEstimatedIdle))
		s.requests++
		s.reused++
		l.again(at)
	default:
		s.set(estimated)
		s.requests++
		l.opened()
		l.judge(s.name, true, at)
	}
	if s.trace != nil {
		l.traceEstimate(&q)
	}
	f := l.activeOf()
	f.open = append(f.open, q)
	if s.is(unanswerable) {
		l.closing()
	}
}

// answers takes application data of the server: the exchange ends with the
// last of it before the client's next.
func (l *ledger) answers(at int64) {
	s := l.conn
	if s.requests == 0 || l.waiting() > 0 && l.closingOf(http.Client).with != fact.WithNothing {
		return // no client of TLS closes its half alone and waits for an answer
	}
	s.lastEnd = at
	if s.trace != nil {
		l.traceAnswer(at)
	}
	if l.waiting() > 0 {
		l.table.deactivate(s)
		if !s.is(tunneled) {
			s.responses++
		}
		l.judged()
		l.done(at)
		return
	}
	if s.is(pooled) { // it was not the response's end yet
		l.pools.Busy(&s.pool, at)
		l.pools.End(&s.pool, at)
	}
}

// asked says whether the client sent what may be a request of HTTP/2.
func (t *tlsLayer) asked() bool { return t.sent > 0 }
