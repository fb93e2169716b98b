package exporter

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer"
)

// The histograms of a server.
const (
	histRequests = iota
	histDuration
	histHandshake // and those of the other kinds
	histReuseIdle = histHandshake + numKinds
	histCloseIdle = histReuseIdle + 1 // and by the server
	numHistograms = histCloseIdle + 2
)

const (
	numHandshakes = fact.HandshakeMidstream + 1
	numProtocols  = len(protocols)
	numReuses     = fact.UnknownReuse + 1
	numSides      = fact.ByServer + 1
)

// A block is what one worker counted of one server.
type block struct {
	created int64  // time of the first fact
	active  int64  // time of the newest
	mark    uint16 // Connection.Mark of connections with the server, 0 for none

	opened      [numHandshakes]uint64
	closed      [fact.NumClosedBy][fact.NumReasons]uint64
	open        int64
	requests    [numProtocols][numReuses]uint64
	exchanges   [fact.NumOutcomes]uint64
	races       uint64
	unsolicited uint64
	counted     verdicts
	estimated   verdicts
	guesses     [numReuses]uint64 // estimated requests
	encrypted   bool              // there was TLS

	histograms  [numHistograms]histogram
	idleClosing [numSides]recent

	advertised   uint32 // seconds
	advertisedAt int64  // when, 0 if never
	raced        example
}

// verdicts sums up judged handshakes.
type verdicts struct {
	needed uint64
	wasted [fact.NumCauses]uint64
	ns     [numCosts]int64
	last   [fact.NumCauses]example
}

// An example is a connection to which an increase is due.
type example struct {
	client, server sniffer.Endpoint
	time           int64 // 0 if there is none
}

// set is field by field: an example made elsewhere would be copied twice
// (BenchmarkConnection).
func (e *example) set(c *fact.Connection) {
	e.client = c.Client
	e.server = c.Server
	e.time = c.End
}

func (v *verdicts) merge(o *verdicts) {
	v.needed += o.needed
	addAll(v.wasted[:], o.wasted[:])
	addAll(v.ns[:], o.ns[:])
	for i := range v.last {
		v.last[i].merge(&o.last[i])
	}
}

func (e *example) merge(o *example) {
	if o.time > e.time {
		*e = *o
	}
}

// merge adds what another worker counted of the server, apart from
// idleClosing.
func (b *block) merge(o *block) {
	if b.created == 0 || o.created < b.created {
		b.created = o.created
	}
	b.active = max(b.active, o.active)
	addAll(b.opened[:], o.opened[:])
	for i := range b.closed {
		addAll(b.closed[i][:], o.closed[i][:])
	}
	b.open += o.open
	for i := range b.requests {
		addAll(b.requests[i][:], o.requests[i][:])
	}
	addAll(b.exchanges[:], o.exchanges[:])
	b.races += o.races
	b.unsolicited += o.unsolicited
	b.counted.merge(&o.counted)
	b.estimated.merge(&o.estimated)
	addAll(b.guesses[:], o.guesses[:])
	b.encrypted = b.encrypted || o.encrypted
	for i := range b.histograms {
		b.histograms[i].merge(&o.histograms[i])
	}
	if o.advertisedAt > b.advertisedAt {
		b.advertised, b.advertisedAt = o.advertised, o.advertisedAt
	}
	b.raced.merge(&o.raced)
}

// copyTo copies b into to, whose memory it uses.
func (b *block) copyTo(to *block) {
	kept := to.histograms
	*to = *b
	for i := range kept {
		b.histograms[i].copyTo(&kept[i])
	}
	to.histograms = kept
}

func addAll[T uint64 | int64](to, from []T) {
	for i := range to {
		to[i] += from[i]
	}
}
