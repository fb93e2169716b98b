package analyzer

import (
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
)

// discardLimit parts a connection that was thrown away after use from one
// that idled until somebody gave it up.
const discardLimit = int64(time.Second)

// waiting returns how many requests await the end of their response.
func (l *ledger) waiting() int { return len(l.conn.open()) }

// failing says whether the closing by a side let one of them down, for certain.
func (l *ledger) failing(by http.Side) bool {
	for i := range l.conn.open() {
		if q := &l.conn.active.open[i]; !l.unclear(q) && !l.heard(q) && !l.mayBeAnnounced(q, by) {
			return true
		}
	}
	return false
}

// anyUnclear says whether one of the requests under way may have been answered unseen.
func (l *ledger) anyUnclear() bool {
	for i := range l.conn.open() {
		if q := &l.conn.active.open[i]; !q.answered && l.unclear(q) {
			return true
		}
	}
	return false
}

// reason says why the connection stopped being reusable: the first rule that
// holds. end is why the tracker gave it up.
func (l *ledger) reason(end reassembly.End) fact.Reason {
	s := l.conn
	closed := l.isClosed()
	switch hs := l.handshake(); {
	case hs == fact.HandshakeUnanswered || hs == fact.HandshakeRefused:
		return fact.ReasonHandshakeFailed
	case closed && !l.used():
		return l.unused()
	case s.is(upgraded), s.is(tunneled) && s.cold.tunnel.requests == 0:
		return fact.ReasonUpgraded
	}
	failure := l.failure()
	switch {
	case failure == fact.FailPathDropped:
		return fact.ReasonPathDropped
	case s.last != fact.ReasonOpen:
		return s.last
	case failure == fact.FailRace:
		return fact.ReasonRace
	case failure == fact.FailStaleReuse:
		return fact.ReasonStaleReuse
	case !closed:
		return given(end)
	}
	return l.unannounced()
}

// unannounced is the reason of a closing that nothing had announced.
func (l *ledger) unannounced() fact.Reason {
	s := l.conn
	by, at, _, _ := l.closer()
	fromClient, fromServer := fact.ReasonClientAbort, fact.ReasonServerAbort
	switch {
	case l.failing(by):
	case s.is(clientReset) && by == http.Client && s.lastEnd > at: // its RST answers the response
	case s.is(outcomeLost) || l.anyUnclear():
		return fact.ReasonNotCaptured
	case at-l.idleSince() < discardLimit:
		fromClient, fromServer = fact.ReasonClientDiscard, fact.ReasonServerDiscard
	default:
		fromClient, fromServer = fact.ReasonClientIdle, fact.ReasonServerIdle
	}
	if by == http.Server {
		return fromServer
	}
	return fromClient
}

// used says whether the client sent a request, as far as can be known.
func (l *ledger) used() bool {
	s := l.conn
	if s.requests > 0 {
		return true
	}
	client := l.dir(http.Client)
	unseen := l.midstream() || l.tcp.Packets[client] == 0 || l.tcp.Missing(client) > 0 || l.tcp.Behind(client)
	t := l.outermostTLS()
	return s.responses > 0 && unseen || t != nil && t.http2 && t.asked() ||
		s.cold != nil && s.cold.lost > 0 || s.is(incomplete) && s.protocol == fact.ProtocolH2
}

// unused is the reason of a connection of which no request was seen: nobody used it, what
// it carried is no HTTP, or not all of it was captured.
func (l *ledger) unused() fact.Reason {
	switch {
	case l.carried() == fact.ProtocolNotHTTP, l.midstream() && l.conn.is(payload):
		return fact.ReasonNotHTTP
	case l.midstream(), l.bytesLost(l.dir(http.Client)):
		return fact.ReasonNotCaptured
	}
	return fact.ReasonNeverUsed
}

// given returns the reason of a connection that the tracker gave up unclosed.
func given(end reassembly.End) fact.Reason {
	switch end {
	case reassembly.EndEvicted:
		return fact.ReasonEvicted
	case reassembly.EndTimeout, reassembly.EndReplaced:
		return fact.ReasonTimeout
	default:
		return fact.ReasonOpen
	}
}

// endLost says that all that is known of the end of the last response is that
// it was not captured.
func (l *ledger) endLost() bool {
	return l.conn.active != nil && l.conn.active.http1.EndLost()
}

// idleSince returns the last response's last byte; where it was not captured,
// or no request was, the server's newest data.
func (l *ledger) idleSince() int64 {
	if l.conn.lastEnd != never && !l.endLost() {
		return l.conn.lastEnd
	}
	return l.conn.lastData
}
