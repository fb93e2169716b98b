package analyzer

import (
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"

	"github.com/keepscope/keepscope/reassembly"
)

const (
	// discardLimit parts a connection that was thrown away after use from one
	// that idled until somebody gave it up.
	discardLimit = int64(time.Second)
	// raceSlack is what a race may take beyond one handshake time.
	raceSlack = int64(10 * time.Millisecond)
)

// waiting returns how many requests await the end of their response.
func (l *ledger) waiting() int { return len(l.conn.open()) }

// oldest returns the oldest request that awaits the end of its response; there is
// one.
func (l *ledger) oldest() *exchange { return &l.conn.flight.open[0] }

// reason says why the connection stopped being reusable: the first rule that
// holds. end is why the tracker gave it up.
func (l *ledger) reason(end reassembly.End) fact.Reason {
	s := l.conn
	by, closed := l.closer()
	hs := l.handshake()
	used := s.requests > 0 || s.responses > 0
	switch {
	case hs == fact.HandshakeUnanswered || hs == fact.HandshakeRefused:
		return fact.ReasonHandshakeFailed
	case !used && closed:
		return fact.ReasonNeverUsed
	case s.is(upgraded):
		return fact.ReasonUpgraded
	case l.raced():
		return fact.ReasonRace
	case s.last != fact.ReasonOpen:
		return s.last
	case !closed:
		return given(end)
	}
	fromClient, fromServer := fact.ReasonClientAbort, fact.ReasonServerAbort
	switch {
	case l.waiting() > 0 && !l.endLost():
	case s.is(clientReset) && by == http.Client && s.lastEnd > l.tcp.ClosedAt: // its RST answers the response
	case l.tcp.ClosedAt-l.idleSince() < discardLimit:
		fromClient, fromServer = fact.ReasonClientDiscard, fact.ReasonServerDiscard
	default:
		fromClient, fromServer = fact.ReasonClientIdle, fact.ReasonServerIdle
	}
	if by == http.Server {
		return fromServer
	}
	return fromClient
}

// given returns the reason of a connection that the tracker gave up unclosed.
func given(end reassembly.End) fact.Reason {
	switch end {
	case reassembly.EndEvicted:
		return fact.ReasonEvicted
	case reassembly.EndTimeout, reassembly.EndReplaced:
		return fact.ReasonTimeout
	}
	return fact.ReasonOpen
}

// endLost says that all that is known of the end of the last response is that
// it was not captured.
func (l *ledger) endLost() bool {
	return l.conn.flight != nil && l.conn.flight.http1.EndLost()
}

// idleSince returns the last response's last byte; where it was not captured,
// or no request was, the server's newest data.
func (l *ledger) idleSince() int64 {
	if l.conn.lastEnd != never && !l.endLost() {
		return l.conn.lastEnd
	}
	return l.conn.lastData
}

// raced says whether the oldest outstanding request crossed the server's
// closing: it is a reused one, no byte of its response was seen, and the
// server's FIN or RST was captured before its first byte or at most one
// handshake time and raceSlack after it.
func (l *ledger) raced() bool {
	by, closed := l.closer()
	if !closed || by != http.Server || l.waiting() == 0 {
		return false
	}
	q := l.oldest()
	return q.reuse == fact.ReusedRequest && !q.answered &&
		l.tcp.ClosedAt <= q.start+max(l.handshakeTime(), 0)+raceSlack
}
