package tally

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/sniffer"
)

// What makes a client one that checks health.
const (
	MinProbes        = 5      // connections of at most one request
	MinProbeInterval = second // from one to the next
	// maxSuspects is how many clients of a server are watched for it by a worker.
	maxSuspects = 64
)

// SteadyWith says whether an interval is about as long as another.
func SteadyWith(interval, other int64) bool {
	d := interval - other
	return 5*max(d, -d) <= other
}

// Idled says whether a connection ended for idleness: a client that leaves one open does not
// check health, or says so.
func Idled(r fact.Reason) bool { return r == fact.ReasonClientIdle || r == fact.ReasonServerIdle }

// A suspect is a client that may check health.
type suspect struct {
	prober   bool
	not      bool // it carried more than one request on a connection, or left one open
	last     int64
	interval int64
	steady   int // intervals in a row
}

// suspects are the clients of a server that may check health, by address.
type suspects struct {
	known map[sniffer.Addr]*suspect
	any   bool // one of them was found to: most servers have none, and are asked at each request
}

// is says whether a client checks health, as far as is known.
func (s *suspects) is(a sniffer.Addr) bool {
	if !s.any {
		return false
	}
	k := s.known[a]
	return k != nil && k.prober && !k.not
}

// asks says whether a request is a health check. A client that uses a connection again
// does more, whatever it says of itself: a proxy's checks come from where its traffic
// comes from.
func (s *suspects) asks(e *fact.Exchange) bool {
	if !s.any {
		return false
	}
	k := s.known[e.Client.Addr]
	if k == nil {
		return false
	}
	k.not = k.not || e.Reuse == fact.ReusedRequest
	return k.prober && !k.not
}

// named takes a client at its word.
func (r *row) named(a sniffer.Addr, id software.ID) {
	if !id.IsProber() {
		return
	}
	if k := r.suspect(a); k != nil {
		k.prober, r.any = true, true
	}
}

func (s *suspects) suspect(a sniffer.Addr) *suspect {
	k := s.known[a]
	if k == nil && len(s.known) < maxSuspects {
		if s.known == nil {
			s.known = map[sniffer.Addr]*suspect{}
		}
		k = new(suspect)
		s.known[a] = k
	}
	return k
}

// watch looks at a client's connection that has ended: one that comes at a steady
// interval, closes right away and does nothing else, to a server whose other clients keep
// their connections, checks health from there on.
func (r *row) watch(c *fact.Connection) {
	k := r.suspect(c.Client.Addr)
	if k == nil || k.not {
		return
	}
	if c.Requests > 1 || c.Estimated || Idled(c.Reason) && !k.prober {
		*k = suspect{not: true}
		return
	}
	gap := c.Start - k.last
	switch {
	case k.last == 0:
	case k.interval > 0 && SteadyWith(gap, k.interval):
		k.steady++
	default:
		k.interval, k.steady = gap, 1
	}
	k.last = c.Start
	if k.steady >= MinProbes-1 && k.interval >= MinProbeInterval && r.Counted.Reuse(fact.ReusedRequest) > 0 {
		k.prober, r.any = true, true
	}
}

// exchange counts a health check's request among those.
func (p *Probed) exchange(e *fact.Exchange) {
	p.Traffic.Requests[min(e.Version, http.NumVersions-1)][min(e.Reuse, fact.NumReuses-1)]++
	p.Outcomes[min(e.Outcome, fact.NumOutcomes-1)]++
}

func (p *Probed) ended(c *fact.Connection) {
	p.Closed[min(c.ClosedBy, fact.NumClosedBy-1)][min(c.Reason, fact.NumReasons-1)]++
}
