package analyzer

import (
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
)

// defaultRoom is how many streams a connection is taken to carry at once where its
// server sets no limit (RFC 9113 §6.5.2).
const defaultRoom = 100

// maxPings is how many of the newest gaps between pings are kept.
const maxPings = 8

// streams is what HTTP/2 adds to a connection.
type streams struct {
	fact.Streams
	fullSince int64 // since when the client stands at its limit, or never
	fullUntil int64 // until when it stood there before
	pinged    int64 // the client's newest PING, or never
	gaps      [maxPings]int64
	numGaps   int
}

// streamsOf gives a connection what HTTP/2 adds.
func (l *ledger) streamsOf(s *conn) *streams {
	c := l.table.coldOf(s)
	if c.streams == nil {
		c.streams = &streams{fullSince: never, pinged: never}
		c.streams.Limit = http.Unlimited
	}
	return c.streams
}

// streamOpens counts a stream that was just opened beside those open.
func (l *ledger) streamOpens(stream http.Stream, m *http.Head, at int64) {
	t := l.conn.cold.streams
	n := uint32(l.waiting())
	if n > 1 {
		t.Concurrent++
	}
	t.MaxConcurrent = max(t.MaxConcurrent, n)
	t.GRPC = t.GRPC || m.GRPC
	if n >= t.Limit && t.fullSince == never {
		toClient, _ := l.halfTrips()
		t.fullSince = max(at-toClient/2, t.fullUntil)
	}
	if g := &t.Goaway[http.Server]; g.Seen && stream > g.Last {
		if c, _ := l.halfTrips(); at > g.At+c+crossSlack {
			t.Ignored++
		}
	}
}

// streamEnds counts a stream that ended. What stands at the limit is the client: it opened
// the stream before the capture saw it, and learns later that it ended.
func (l *ledger) streamEnds(at int64) {
	t := l.conn.cold.streams
	if t.fullSince != never && uint32(l.waiting()) < t.Limit {
		toClient, _ := l.halfTrips()
		t.fullUntil = at + toClient/2
		t.AtLimit += max(t.fullUntil-t.fullSince, 0)
		t.fullSince = never
	}
}

// Settings implements [http.StreamSink]: the server's limit is the connection's room.
func (l *ledger) Settings(from http.Side, n uint32, at int64) {
	if from != http.Server {
		return
	}
	s := l.conn
	t := l.streamsOf(s)
	t.Limit = n
	if n == http.Unlimited {
		n = defaultRoom
	}
	if l.pools != nil {
		l.pools.Room(&s.pool, n, at)
	}
}

// Goaway implements [http.StreamSink].
func (l *ledger) Goaway(from http.Side, last http.Stream, code http.Code, at int64) {
	s := l.conn
	t := l.streamsOf(s)
	first := !t.Goaway[http.Client].Seen && !t.Goaway[http.Server].Seen
	if g := &t.Goaway[from]; g.Code == http.NoError || code != http.NoError { // an error says why, and what follows it does not
		if !g.Seen {
			g.First = at
		}
		g.Seen, g.Code, g.Last, g.At = true, code, last, at
	}
	answers := l.closingOf(from.Other()).with != fact.WithNothing // and ends nothing
	if first && !answers || code != http.NoError {
		s.last = l.goawayReason(from, code, at)
		s.announced = l.next(l.dir(http.Server))
		l.unusable(s.last, at)
	}
	if from == http.Server {
		l.refuseAbove(last, at)
	}
}

// goawayReason says why a GOAWAY ended the connection's use: without an error it is an
// idle closing where nothing had been under way for a second (RFC 9113 §6.8).
func (l *ledger) goawayReason(from http.Side, code http.Code, at int64) fact.Reason {
	s := l.conn
	idle := l.waiting() == 0 && s.lastEnd != never && at-s.lastEnd >= discardLimit
	switch {
	case code != http.NoError:
		return fact.ReasonGoawayError
	case from == http.Server && idle:
		return fact.ReasonServerIdle
	case from == http.Server:
		return fact.ReasonServerGoaway
	case idle:
		return fact.ReasonClientIdle
	}
	return fact.ReasonClientGoaway
}

// refuseAbove ends the streams that the server's GOAWAY says were not processed: the
// client may safely send them again (RFC 9113 §6.8).
func (l *ledger) refuseAbove(last http.Stream, at int64) {
	for i := len(l.conn.open()) - 1; i >= 0; i-- {
		if q := &l.conn.active.open[i]; q.stream > last && !q.finalHead {
			l.refuse(i, at)
		}
	}
}

// refuse ends an exchange that the server did not process.
func (l *ledger) refuse(i int, at int64) {
	q := &l.conn.active.open[i]
	q.outcome, q.failure = fact.RefusedStream, fact.FailRefusedStream
	l.conn.cold.streams.Refused++
	l.unanswered(i)
	l.endExchange(i, at)
}

// Reset implements [http.Sink].
func (l *ledger) Reset(stream http.Stream, from http.Side, code http.Code, at int64) {
	s := l.conn
	t := l.streamsOf(s)
	t.Reset[from]++
	if from == http.Server && code == http.HTTP11Required {
		t.HTTP11++
	}
	i := s.find(stream)
	if i < 0 {
		return
	}
	q := &s.active.open[i]
	switch {
	case from == http.Server && code == http.RefusedStream && !q.finalHead:
		l.refuse(i, at)
		return
	case from == http.Server && code == http.NoError && q.finalHead: // its response is complete, and it wants no more of the request (RFC 9113 §8.1)
		l.End(stream, http.Server, at)
		return
	case from == http.Client && !q.answered:
		q.failure = fact.FailClientAbort
	case from == http.Server:
		q.failure = fact.FailServerAbort
		if code != http.HTTP11Required {
			t.Aborted++
			t.AbortedWith = min(code, http.NumCodes)
		}
	}
	s.lastEnd = at
	l.unanswered(i)
	l.endExchange(i, at)
}

// Ping implements [http.StreamSink].
func (l *ledger) Ping(from http.Side, at int64) {
	t := l.streamsOf(l.conn)
	t.Pings[from]++
	if from != http.Client {
		return
	}
	if t.pinged != never {
		t.gaps[t.numGaps%maxPings] = at - t.pinged
		t.numGaps++
	}
	t.pinged = at
}

// Push implements [http.StreamSink].
func (l *ledger) Push(int64) { l.streamsOf(l.conn).Pushed++ }

// GRPCStatus implements [http.StreamSink].
func (l *ledger) GRPCStatus(_ http.Stream, status http.GRPCStatus, _ int64) {
	if status >= http.NumGRPCStatuses {
		status = http.GRPCUnknown
	}
	l.streamsOf(l.conn).GRPCStatus[status]++
}

// facts returns what is told of the streams when the connection is over.
func (t *streams) facts(now int64) *fact.Streams {
	if t.fullSince != never {
		t.AtLimit += max(now-t.fullSince, 0)
		t.fullSince = never
	}
	t.PingInterval = fact.Absent
	if n := min(t.numGaps, maxPings); n > 0 {
		gaps := t.gaps
		slices.Sort(gaps[:n])
		t.PingInterval = gaps[n/2]
	}
	return &t.Streams
}

var _ http.StreamSink = (*ledger)(nil)
