package report

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
)

// stats are the figures of one server: counts, and sums in nanoseconds.
type stats struct {
	connections, midstream, incomplete, evicted, unread uint64
	unsolicited, pipelined                              uint64
	missing, truncated                                  uint64
	bytes, packets                                      [2]uint64
	handshakes                                          [fact.HandshakeMidstream + 1]uint64
	protocols                                           [fact.ProtocolTLS + 1]uint64
	versions                                            [http.NumVersions]uint64

	counted, estimated traffic

	reasons     [fact.NumReasons]uint64
	negotiated  [fact.NumOutcomes]uint64
	silent      uint64 // connections that carried nothing
	silentNS    int64  // their handshakes
	holds       holders
	statusClass [6]uint64 // by the first digit; 0 is no response

	tcp, tlsFull, tlsResumed         histogram    // handshake times
	closeIdle                        [2]histogram // by who closed, all closings
	idleClosing                      [2]histogram // by who closed, those for idleness
	advertisedTimeout, advertisedMax histogram    // seconds, and max=
	age                              histogram    // of connections that carried a request
	exchanges                        histogram    // request's first byte to response's last
	limited                          histogram    // requests on connections that the server's limit ended
}

// traffic is what is either counted or estimated from encrypted records.
type traffic struct {
	connections, requests, responses, reused, unknown, races uint64
	needed                                                   uint64
	perConnection                                            histogram
	wasted                                                   [fact.NumCauses]uint64
	wastedNS                                                 [fact.NumCauses]int64
	tcpNS, tlsNS, dnsNS                                      int64
	reuseIdle, raceIdle                                      histogram
	unlisted                                                 uint64 // reuses whose idle time the analyzer did not list
}

func (s *stats) exchange(e *fact.Exchange) {
	s.statusClass[min(e.Status/100, 5)]++
	if e.End != 0 {
		s.exchanges.add(e.End - e.Start)
	}
	if e.Idle >= 0 {
		s.counted.reuseIdle.add(e.Idle)
	}
}

func (s *stats) connection(c *fact.Connection) {
	s.connections++
	s.count(c)
	s.traffic(c).connection(c)
	s.idle(c)
	s.times(c)
}

func (s *stats) traffic(c *fact.Connection) *traffic {
	if c.Estimated {
		return &s.estimated
	}
	return &s.counted
}

func (s *stats) count(c *fact.Connection) {
	if c.Handshake == fact.HandshakeMidstream {
		s.midstream++
	}
	if c.Incomplete {
		s.incomplete++
	}
	if c.ClosedBy == fact.ByEviction {
		s.evicted++
	}
	if c.BodyUnread {
		s.unread++
	}
	s.unsolicited += uint64(c.Unsolicited)
	s.pipelined += uint64(c.Pipelined)
	s.missing += c.Missing
	s.truncated += c.Truncated
	for i := range c.Bytes {
		s.bytes[i] += c.Bytes[i]
		s.packets[i] += uint64(c.Packets[i])
	}
	if int(c.Handshake) < len(s.handshakes) {
		s.handshakes[c.Handshake]++
	}
	if int(c.Protocol) < len(s.protocols) {
		s.protocols[c.Protocol]++
	}
	for v, seen := range c.Versions {
		if seen {
			s.versions[v]++
		}
	}
	if int(c.Reason) < len(s.reasons) {
		s.reasons[c.Reason]++
	}
	if c.Reason == fact.ReasonServerLimit && c.Handshake != fact.HandshakeMidstream {
		s.limited.add(int64(c.Requests)) // of one joined midstream nobody knows how many came before
	}
	if isSilent(c) {
		s.silent++
		s.silentNS += c.Cost.TCP + c.Cost.TLS + c.Cost.DNS
	}
	for i, n := range c.Negotiated {
		s.negotiated[i] += uint64(n)
	}
	s.holds.add(c)
}

// isSilent says whether a connection was opened and carried nothing at all. One
// that was never used may have carried another protocol than HTTP/1, and one
// joined midstream something before.
func isSilent(c *fact.Connection) bool {
	return c.Reason == fact.ReasonNeverUsed && c.Handshake != fact.HandshakeMidstream &&
		c.Bytes[0]|c.Bytes[1]|c.Missing|c.Truncated == 0
}

func (s *stats) idle(c *fact.Connection) {
	if c.Estimated { // the others' idle times came with their exchanges
		for _, ns := range c.ReuseIdle {
			s.estimated.reuseIdle.add(ns)
		}
		s.estimated.unlisted += uint64(c.MoreReuseIdle)
	}
	if c.CloseIdle >= 0 && c.ClosedBy <= fact.ByServer {
		s.closeIdle[c.ClosedBy].add(c.CloseIdle)
		if c.Reason == fact.ReasonClientIdle || c.Reason == fact.ReasonServerIdle {
			s.idleClosing[c.ClosedBy].add(c.CloseIdle)
		}
	}
	if c.HasAdvertisedTimeout {
		s.advertisedTimeout.add(int64(c.AdvertisedTimeout))
	}
	if c.HasAdvertisedMax {
		s.advertisedMax.add(int64(c.AdvertisedMax))
	}
}

func (s *stats) times(c *fact.Connection) {
	if c.Handshake == fact.HandshakeComplete && c.HandshakeTime >= 0 {
		s.tcp.add(c.HandshakeTime)
	}
	if c.Requests > 0 {
		s.age.add(c.End - c.Start)
	}
	if c.TLS == nil || c.TLS.Handshake < 0 {
		return
	}
	if c.TLS.Resumed {
		s.tlsResumed.add(c.TLS.Handshake)
	} else {
		s.tlsFull.add(c.TLS.Handshake)
	}
}

func (t *traffic) connection(c *fact.Connection) {
	t.requests += uint64(c.Requests)
	t.responses += uint64(c.Responses)
	t.reused += uint64(c.Reused)
	if c.Race {
		t.races++
		t.raceIdle.add(c.RaceIdle)
	}
	if c.Requests > 0 {
		t.connections++
		t.perConnection.add(int64(c.Requests))
		if c.Handshake == fact.HandshakeMidstream {
			t.unknown++
		}
	}
	switch c.Verdict {
	case fact.VerdictNeeded:
		t.needed++
	case fact.VerdictWasted:
		if c.Cause >= fact.NumCauses {
			return
		}
		t.wasted[c.Cause]++
		t.wastedNS[c.Cause] += c.Cost.TCP + c.Cost.TLS + c.Cost.DNS
		t.tcpNS += c.Cost.TCP
		t.tlsNS += c.Cost.TLS
		t.dnsNS += c.Cost.DNS
	}
}

// reset empties t and keeps the memory of its histograms.
func (t *traffic) reset() {
	t.perConnection.reset()
	t.reuseIdle.reset()
	t.raceIdle.reset()
	*t = traffic{perConnection: t.perConnection, reuseIdle: t.reuseIdle, raceIdle: t.raceIdle}
}

func (t *traffic) totalWasted() (n uint64, ns int64) {
	for i := range t.wasted {
		n += t.wasted[i]
		ns += t.wastedNS[i]
	}
	return n, ns
}

func (t *traffic) merge(o *traffic) {
	t.connections += o.connections
	t.requests += o.requests
	t.responses += o.responses
	t.reused += o.reused
	t.unknown += o.unknown
	t.races += o.races
	t.needed += o.needed
	t.perConnection.merge(&o.perConnection)
	addAll(t.wasted[:], o.wasted[:])
	addAll(t.wastedNS[:], o.wastedNS[:])
	t.tcpNS += o.tcpNS
	t.tlsNS += o.tlsNS
	t.dnsNS += o.dnsNS
	t.reuseIdle.merge(&o.reuseIdle)
	t.raceIdle.merge(&o.raceIdle)
	t.unlisted += o.unlisted
}

func (s *stats) merge(o *stats) {
	s.connections += o.connections
	s.midstream += o.midstream
	s.incomplete += o.incomplete
	s.evicted += o.evicted
	s.unread += o.unread
	s.unsolicited += o.unsolicited
	s.pipelined += o.pipelined
	s.missing += o.missing
	s.truncated += o.truncated
	addAll(s.bytes[:], o.bytes[:])
	addAll(s.packets[:], o.packets[:])
	addAll(s.handshakes[:], o.handshakes[:])
	addAll(s.protocols[:], o.protocols[:])
	addAll(s.versions[:], o.versions[:])
	s.counted.merge(&o.counted)
	s.estimated.merge(&o.estimated)
	addAll(s.reasons[:], o.reasons[:])
	addAll(s.negotiated[:], o.negotiated[:])
	s.silent += o.silent
	s.silentNS += o.silentNS
	s.holds.merge(o.holds)
	addAll(s.statusClass[:], o.statusClass[:])
	theirs := o.histograms()
	for i, h := range s.histograms() {
		h.merge(theirs[i])
	}
}

// histograms lists those of s itself, not those of its traffic.
func (s *stats) histograms() [12]*histogram {
	return [...]*histogram{
		&s.tcp, &s.tlsFull, &s.tlsResumed,
		&s.closeIdle[0], &s.closeIdle[1], &s.idleClosing[0], &s.idleClosing[1],
		&s.advertisedTimeout, &s.advertisedMax,
		&s.age, &s.exchanges, &s.limited,
	}
}

// reset empties s and keeps the memory of its histograms.
func (s *stats) reset() {
	var kept stats
	to, from := kept.histograms(), s.histograms()
	for i := range from {
		from[i].reset()
		*to[i] = *from[i]
	}
	s.counted.reset()
	s.estimated.reset()
	kept.counted, kept.estimated = s.counted, s.estimated
	*s = kept
}

func addAll[T uint64 | int64](to, from []T) {
	for i := range to {
		to[i] += from[i]
	}
}

// observedTimeout is the idle timeout that a side really applies: the median
// of its idle closings where at least five fall within a tenth of it.
func observedTimeout(h *histogram) (ns int64, ok bool) {
	m := h.median()
	return m, h.near(m) >= minIdleClosings
}

const minIdleClosings = 5
