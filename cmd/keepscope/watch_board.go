package main

import (
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// maxBoardServers bounds a board; traffic of further servers is summed up as
// "other".
const maxBoardServers = 1000

// A board keeps the figures of a live view for one worker: what the report
// counts when a connection ends, it counts at once, except what it guesses from
// encrypted records. It is an fact.Watcher.
type board struct {
	servers  map[boardKey]*boardServer
	other    boardServer
	requests *atomic.Uint64 // of all boards
	last     *boardServer   // of the last call, as traffic comes in runs
}

type boardKey struct {
	endpoint sniffer.Endpoint
	name     string
}

// A boardServer holds one server's figures since the start: what was counted, and
// apart from it what was estimated.
type boardServer struct {
	key                                                boardKey
	name                                               string // as shown
	opened, open                                       uint64 // connections
	encrypted, encryptedOpen                           uint64 // of them, those without keys
	midstream, incomplete, evicted, missing, truncated uint64
	boardTraffic
	estimated boardTraffic // guessed from encrypted records
}

// boardTraffic is what is either counted or estimated.
type boardTraffic struct {
	requests, reused uint64
	used             uint64 // connections with a request
	wasted, needed   uint64 // handshakes
	wastedNS         int64
	causes           [fact.NumCauses]uint64
}

// A boardPart is one kind of a server's figures: a view shows each apart, and puts
// mark before what is estimated.
type boardPart struct {
	name         string
	isEstimated  bool
	opened, open uint64
	boardTraffic
}

func newBoard(requests *atomic.Uint64) *board {
	b := &board{servers: map[boardKey]*boardServer{}, requests: requests}
	b.other.name = "other"
	return b
}

// find returns a server's figures. It allocates for a new one only.
func (b *board) find(ep sniffer.Endpoint, name string) *boardServer {
	k := boardKey{ep, name}
	if name != "" {
		k.endpoint = sniffer.Endpoint{} // a name may have many addresses
	}
	if b.last != nil && b.last.key == k {
		return b.last
	}
	s := b.servers[k]
	if s == nil {
		if len(b.servers) >= maxBoardServers {
			return &b.other
		}
		k.name = strings.Clone(k.name) // the caller's may view a buffer
		s = &boardServer{key: k, name: boardName(ep, name)}
		b.servers[k] = s
	}
	b.last = s
	return s
}

// boardName is what a screen may show: a client chose the name.
func boardName(ep sniffer.Endpoint, name string) string {
	if name == "" {
		return ep.String()
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '_'
	}, name[:min(len(name), 128)])
}

// Opened implements fact.Watcher.
func (b *board) Opened(c *fact.Connection) {
	s := b.find(c.Server, c.ServerName)
	s.opened++
	s.open++
	if c.Estimated {
		s.encrypted++
		s.encryptedOpen++
	}
	if c.Handshake == fact.HandshakeMidstream {
		s.midstream++
	}
}

// Judged implements fact.Watcher.
func (b *board) Judged(c *fact.Connection) {
	if c.Estimated { // its requests are told at its end, and the share needs both
		return
	}
	b.find(c.Server, c.ServerName).judged(c)
}

func (t *boardTraffic) judged(c *fact.Connection) {
	switch c.Verdict {
	case fact.VerdictWasted:
		t.wasted++
		t.causes[c.Cause]++
		t.wastedNS += c.Cost.TCP + c.Cost.TLS + c.Cost.DNS
	case fact.VerdictNeeded:
		t.needed++
	}
}

// Exchange implements fact.Observer.
func (b *board) Exchange(e *fact.Exchange) {
	s := b.find(e.Server, e.ServerName)
	s.requests++
	if e.Reuse == fact.ReusedRequest {
		s.reused++
	}
	if e.Index == 1 {
		s.used++
	}
	b.requests.Add(1)
}

// Connection implements fact.Observer.
func (b *board) Connection(c *fact.Connection) {
	s := b.find(c.Server, c.ServerName)
	s.open -= min(1, s.open)
	if c.Incomplete {
		s.incomplete++
	}
	if c.ClosedBy == fact.ByEviction {
		s.evicted++
	}
	s.missing += c.Missing
	s.truncated += c.Truncated
	if !c.Estimated {
		return
	}
	s.encryptedOpen -= min(1, s.encryptedOpen)
	t := &s.estimated
	t.requests += uint64(c.Requests)
	t.reused += uint64(c.Reused)
	if c.Requests > 0 {
		t.used++
	}
	t.judged(c)
	b.requests.Add(uint64(c.Requests))
}

// add sums up.
func (s *boardServer) add(o *boardServer) {
	s.opened += o.opened
	s.open += o.open
	s.encrypted += o.encrypted
	s.encryptedOpen += o.encryptedOpen
	s.midstream += o.midstream
	s.incomplete += o.incomplete
	s.evicted += o.evicted
	s.missing += o.missing
	s.truncated += o.truncated
	s.boardTraffic.add(&o.boardTraffic)
	s.estimated.add(&o.estimated)
}

func (t *boardTraffic) add(o *boardTraffic) {
	t.requests += o.requests
	t.reused += o.reused
	t.used += o.used
	t.wasted += o.wasted
	t.needed += o.needed
	t.wastedNS += o.wastedNS
	for i, n := range o.causes {
		t.causes[i] += n
	}
}

// parts returns what was counted, then what was estimated, if a connection without
// keys was seen. Where no other was, that is the only part.
func (s *boardServer) parts() []boardPart {
	counted := boardPart{s.name, false, s.opened - s.encrypted, s.open - min(s.encryptedOpen, s.open), s.boardTraffic}
	if s.encrypted == 0 {
		return []boardPart{counted}
	}
	estimated := boardPart{s.name, true, s.encrypted, s.encryptedOpen, s.estimated}
	if counted.opened == 0 {
		return []boardPart{estimated}
	}
	return []boardPart{counted, estimated}
}

// mark is what stands before an estimated figure, as in the report.
func (p *boardPart) mark() string {
	if p.isEstimated {
		return "~"
	}
	return ""
}

// missed lists what the capture missed, in the words of the report.
func (s *boardServer) missed(d pcap.Drops) []string {
	return report.Missed(&report.Capture{Dropped: report.Dropped{Kernel: d.Kernel, Interface: d.Interface}}, &report.Summary{
		Incomplete: s.incomplete, Midstream: s.midstream, Evicted: s.evicted,
		MissingBytes: s.missing, TruncatedBytes: s.truncated,
	})
}

// effectiveness is the share of requests that rode an open connection, of those
// for which one could have been at hand; ok is false where there were none.
func (t *boardTraffic) effectiveness() (v float64, ok bool) {
	if t.reused+t.wasted == 0 {
		return 0, false
	}
	return float64(t.reused) / float64(t.reused+t.wasted), true
}

// perConnection is the mean number of requests on connections with any.
func (t *boardTraffic) perConnection() (v float64, ok bool) {
	if t.used == 0 {
		return 0, false
	}
	return float64(t.requests) / float64(t.used), true
}

// allRequests are those that were counted.
func (t *boardTraffic) allRequests() uint64 { return t.requests }

// topCause names what wasted most handshakes, "" without any.
func (t *boardTraffic) topCause() string {
	best, most := fact.Cause(0), uint64(0)
	for i, n := range t.causes {
		if n > most {
			best, most = fact.Cause(i), n
		}
	}
	if most == 0 {
		return ""
	}
	return best.String()
}

// copyTo adds the board's figures to those of other workers, by shown name.
func (b *board) copyTo(sum map[string]*boardServer) {
	add := func(s *boardServer) {
		t := sum[s.name]
		if t == nil {
			t = &boardServer{name: s.name}
			sum[s.name] = t
		}
		t.add(s)
	}
	for _, s := range b.servers {
		add(s)
	}
	if b.other != (boardServer{name: b.other.name}) {
		add(&b.other)
	}
}
