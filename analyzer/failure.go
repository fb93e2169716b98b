package analyzer

import (
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
)

// crossSlack is what crossing may take beyond the trips between capture point and
// sides.
const crossSlack = int64(10 * time.Millisecond)

// failure says how the requests under way failed: that of the oldest that did, for
// it is the one that the connection was lost with.
func (l *ledger) failure() fact.Failure {
	for i := range l.conn.open() {
		if f := l.failureOf(&l.conn.active.open[i]); f != fact.NotFailed {
			return f
		}
	}
	return fact.NotFailed
}

// failureOf says how a request that has no complete response failed; the first that
// holds. One whose connection is open may be answered still.
func (l *ledger) failureOf(q *exchange) fact.Failure {
	s := l.conn
	server := l.closingOf(http.Server)
	switch {
	case q.failure != fact.NotFailed:
		return q.failure
	case l.refuses(q):
		return fact.FailRefusedStream
	case q.stream == 0 && s.is(tunneled) || q.outcome == fact.NoLength && server.with != fact.WithRST || l.unclear(q):
		return fact.NotFailed
	case l.pathDropped(q, server):
		return fact.FailPathDropped
	case server.with == fact.WithNothing:
	case q.answered:
	case !q.finalHead && (s.last != fact.ReasonOpen || l.heard(q)):
		return l.ignored(q)
	case l.usedBefore(q) && l.unreceived(q, server):
		return l.crossed(q, server)
	}
	by, _, _, closed := l.closer()
	switch {
	case !closed:
		return fact.NotFailed
	case l.mayBeAnnounced(q, by):
		return fact.NotFailed
	case by == http.Server:
		return fact.FailServerAbort
	case (!q.answered || l.belated(q)) && (s.is(unanswerable) || s.is(clientReset)):
		return fact.FailClientAbort
	}
	return fact.NotFailed
}

// usedBefore says whether a request is not the first of its connection, as far as was
// captured.
func (l *ledger) usedBefore(q *exchange) bool {
	return q.reuse == fact.ReusedRequest || q.reuse == fact.UnknownReuse && l.conn.responses > 0
}

// bytesLost says whether bytes are known to be missing in a direction.
func (l *ledger) bytesLost(d reassembly.Dir) bool { return l.tcp.Missing(d) > 0 || l.tcp.Behind(d) }

// unclear says whether a request may have been answered, or its connection been closed,
// by what is known not to have been captured: nothing is told of how it failed then.
func (l *ledger) unclear(q *exchange) bool {
	s := l.conn
	if q.lost || l.endLost() || s.is(incomplete) && s.cold != nil && s.cold.pipelined > 0 {
		return true // in the last case another response may be its own
	}
	server, dir := l.closingOf(http.Server), l.dir(http.Server)
	if !q.answered && l.tcp.Bytes[dir] == 0 && !l.tcp.SYNACKSeen() {
		return true // nothing tells where the server began, and how much of it is missing
	}
	return server.with == fact.WithRST && !server.hasAck && l.bytesLost(dir)
}

// refuses says whether the server's last GOAWAY says that it did not process a request
// (RFC 9113 §6.8).
func (l *ledger) refuses(q *exchange) bool {
	c := l.conn.cold
	return c != nil && c.streams != nil && c.streams.Goaway[http.Server].Seen && q.stream > c.streams.Goaway[http.Server].Last && !q.answered
}

// ignored says whether a request that follows on an announced closing was sent by a
// client that had read the announcement.
func (l *ledger) ignored(q *exchange) fact.Failure {
	if l.heard(q) {
		return fact.FailCloseIgnored
	}
	return fact.FailRace
}

// mayBeAnnounced says whether a side's closing, which left a request unanswered, may have
// been announced by a response that was not captured.
func (l *ledger) mayBeAnnounced(q *exchange, by http.Side) bool {
	return by == http.Server && l.conn.is(outcomeLost) && !q.answered
}

// heard says whether the client had read that the closing was announced when it sent a
// request.
func (l *ledger) heard(q *exchange) bool {
	at := l.conn.announced
	return q.known && at != 0 && int32(q.ack-at) >= 0
}

// unreceived says whether the server had not received a request when it closed: its
// closing acknowledges no byte of it. Where that is not known, time decides.
func (l *ledger) unreceived(q *exchange, k closing) bool {
	if k.hasAck && q.known {
		return int32(k.ack-q.seq) <= 0
	}
	_, s := l.halfTrips()
	return k.at <= q.at+s+crossSlack
}

// crossed says whether a request that the server had not received and its closing
// crossed, or the client used a connection that it could have known to be closed.
func (l *ledger) crossed(q *exchange, k closing) fact.Failure {
	c, _ := l.halfTrips()
	if q.known && int32(q.ack-k.seq) <= 0 || q.at <= k.at+c+crossSlack {
		return fact.FailRace
	}
	return fact.FailStaleReuse
}

// pathDropped says whether something between the two has forgotten the connection: a
// request on a used one is retransmitted in vain, or answered by the RST of a stack
// that knows no such connection (RFC 9293 §3.10.7.1).
func (l *ledger) pathDropped(q *exchange, server closing) bool {
	client, from := l.sides()
	if q.answered || !l.usedBefore(q) || l.conn.responses == 0 && !l.bytesLost(from) {
		return false
	}
	switch {
	case server.with == fact.WithNothing:
		return l.tcp.Unanswered(client) >= 2
	case server.with == fact.WithRST && !server.hasAck:
		k := l.tcp.Closing(client)
		return (k.With == reassembly.NotClosed || k.At > server.at) && !l.bytesLost(from)
	}
	return false
}
