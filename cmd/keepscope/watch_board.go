package main

import (
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/sniffer"
)

// maxBoardServers bounds a board; traffic of further servers is summed up as
// "other".
const maxBoardServers = 1000

// A board keeps the figures of a live view for one worker: what the report
// counts when a connection ends, it counts at once. It is an analyzer.Watcher.
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

// A boardServer holds one server's figures since the start.
type boardServer struct {
	key             boardKey
	name            string // as shown
	opened, open    uint64 // connections
	requests        uint64
	reused          uint64
	used            uint64 // connections with a request
	wasted, needed  uint64 // handshakes
	wastedNS        int64
	causes          [analyzer.NumCauses]uint64
	estimated       uint64 // requests that were guessed from encrypted records
	estimatedReused uint64
	estimatedUsed   uint64
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

// Opened implements analyzer.Watcher.
func (b *board) Opened(c *analyzer.Connection) {
	s := b.find(c.Server, c.ServerName)
	s.opened++
	s.open++
}

// Judged implements analyzer.Watcher.
func (b *board) Judged(c *analyzer.Connection) {
	s := b.find(c.Server, c.ServerName)
	switch c.Verdict {
	case analyzer.VerdictWasted:
		s.wasted++
		s.causes[c.Cause]++
		s.wastedNS += c.Cost.TCP + c.Cost.TLS + c.Cost.DNS
	case analyzer.VerdictNeeded:
		s.needed++
	}
}

// Exchange implements analyzer.Observer.
func (b *board) Exchange(e *analyzer.Exchange) {
	s := b.find(e.Server, e.ServerName)
	s.requests++
	if e.Reuse == analyzer.ReusedRequest {
		s.reused++
	}
	if e.Index == 1 {
		s.used++
	}
	b.requests.Add(1)
}

// Connection implements analyzer.Observer.
func (b *board) Connection(c *analyzer.Connection) {
	s := b.find(c.Server, c.ServerName)
	if s.open > 0 {
		s.open--
	}
	if c.Estimated {
		s.estimated += uint64(c.Requests)
		s.estimatedReused += uint64(c.Reused)
		if c.Requests > 0 {
			s.estimatedUsed++
		}
		b.requests.Add(uint64(c.Requests))
	}
}

// add sums up.
func (s *boardServer) add(o *boardServer) {
	s.opened += o.opened
	s.open += o.open
	s.requests += o.requests
	s.reused += o.reused
	s.used += o.used
	s.wasted += o.wasted
	s.needed += o.needed
	s.wastedNS += o.wastedNS
	s.estimated += o.estimated
	s.estimatedReused += o.estimatedReused
	s.estimatedUsed += o.estimatedUsed
	for i, n := range o.causes {
		s.causes[i] += n
	}
}

// effectiveness is the share of requests that rode an open connection, of those
// for which one could have been at hand; ok is false where there were none.
func (s *boardServer) effectiveness() (v float64, ok bool) {
	reused := s.reused + s.estimatedReused
	if reused+s.wasted == 0 {
		return 0, false
	}
	return float64(reused) / float64(reused+s.wasted), true
}

// perConnection is the mean number of requests on connections with any.
func (s *boardServer) perConnection() (v float64, ok bool) {
	used := s.used + s.estimatedUsed
	if used == 0 {
		return 0, false
	}
	return float64(s.allRequests()) / float64(used), true
}

func (s *boardServer) allRequests() uint64 { return s.requests + s.estimated }

// topCause names what wasted most handshakes, "" without any.
func (s *boardServer) topCause() string {
	best, most := analyzer.Cause(0), uint64(0)
	for i, n := range s.causes {
		if n > most {
			best, most = analyzer.Cause(i), n
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
