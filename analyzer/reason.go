package analyzer

import (
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/reassembly"
)

const (
	// discardLimit parts a connection that was thrown away after use from one
	// that idled until somebody gave it up.
	discardLimit = int64(time.Second)
	// raceSlack is what a race may take beyond one handshake time.
	raceSlack = int64(10 * time.Millisecond)
)

// closer returns which side's FIN or RST was captured first.
func (s *conn) closer(c *reassembly.Conn) (byServer, closed bool) {
	_, server := s.sides(c)
	return c.ClosedBy == server, c.ClosedWith != reassembly.NotClosed
}

// established says whether the whole handshake was captured.
func established(c *reassembly.Conn) bool { return c.SYNSeen() && c.SYNACKSeen() && c.ACKSeen() }

// handshakeOf says how much of the handshake was captured.
func handshakeOf(c *reassembly.Conn) fact.Handshake {
	switch {
	case established(c):
		return fact.HandshakeComplete
	case c.Refused():
		return fact.HandshakeRefused
	case !c.SYNSeen() && !c.SYNACKSeen():
		return fact.HandshakeMidstream
	case c.SYNSeen() && !c.SYNACKSeen() && c.Packets[reassembly.Server] == 0 && c.Bytes[reassembly.Client] == 0:
		return fact.HandshakeUnanswered
	}
	return fact.HandshakePartial
}

// handshakeTime returns first SYN to the client's ACK, -1 unless complete.
func handshakeTime(c *reassembly.Conn) int64 {
	if !established(c) {
		return -1
	}
	return max(c.Established-c.SYN, 0)
}

// reasonOf says why the connection stopped being reusable: the first rule that
// holds. end is why the tracker gave it up.
func reasonOf(c *reassembly.Conn, s *conn, end reassembly.End) fact.Reason {
	byServer, closed := s.closer(c)
	hs := handshakeOf(c)
	used := s.requests > 0 || s.responses > 0
	switch {
	case hs == fact.HandshakeUnanswered || hs == fact.HandshakeRefused:
		return fact.ReasonHandshakeFailed
	case !used && closed:
		return fact.ReasonNeverUsed
	case s.is(upgraded):
		return fact.ReasonUpgraded
	case raced(c, s):
		return fact.ReasonRace
	case s.last != fact.ReasonOpen:
		return s.last
	}
	if !closed {
		switch end {
		case reassembly.EndEvicted:
			return fact.ReasonEvicted
		case reassembly.EndTimeout, reassembly.EndReplaced:
			return fact.ReasonTimeout
		}
		return fact.ReasonOpen
	}
	reason := fact.ReasonClientAbort
	switch {
	case s.outstanding > 0 && !s.endLost():
	case s.is(clientReset) && !byServer && s.lastEnd > c.ClosedAt: // its RST answers the response
	case c.ClosedAt-s.idleSince() < discardLimit:
		reason = fact.ReasonClientDiscard
	default:
		reason = fact.ReasonClientIdle
	}
	if byServer {
		reason++ // each client reason is followed by the server's
	}
	return reason
}

// endLost says that all that is known of the end of the last response is that
// it was not captured.
func (s *conn) endLost() bool {
	return s.outstanding == 1 && s.is(unsynced) && !s.flight.front.after
}

// idleSince returns the last response's last byte; where it was not captured,
// or no request was, the server's newest data.
func (s *conn) idleSince() int64 {
	if s.lastEnd != never && !s.endLost() {
		return s.lastEnd
	}
	return s.lastData
}

// raced says whether the oldest outstanding request crossed the server's
// closing: it is a reused one, no byte of its response was seen, and the
// server's FIN or RST was captured before its first byte or at most one
// handshake time and raceSlack after it.
func raced(c *reassembly.Conn, s *conn) bool {
	byServer, closed := s.closer(c)
	return closed && byServer && s.outstanding > 0 && s.flight.front.reuse == fact.ReusedRequest &&
		!s.is(answered) && c.ClosedAt <= s.flight.front.start+max(handshakeTime(c), 0)+raceSlack
}
