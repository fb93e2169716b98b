package tally

import (
	"cmp"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// byTimer says whether an idle timer can have closed the connection: it idled, or a
// request lies unanswered that came when the timer was about to run.
func byTimer(c *fact.Connection) bool {
	switch c.Reason {
	case fact.ReasonClientIdle, fact.ReasonServerIdle:
		return true
	case fact.ReasonRace, fact.ReasonStaleReuse:
		return c.ClosedBy == fact.ByServer && c.CloseIdle >= shortestTimeout
	case fact.ReasonServerAbort:
		return c.Unheard && c.CloseIdle >= shortestTimeout && came(c.Waited, c.CloseIdle)
	default:
		return false
	}
}

// shortestTimeout is the least that is taken for an idle timeout.
const shortestTimeout = 100 * millisecond

// came says whether a request that had waited so long at the closing came when an idle timer
// was about to run: with the larger part of the idle time behind it.
func came(waited, idle int64) bool { return 2*max(waited, 0) <= idle }

// asRace answers an open question when it is told, by what the worker knows of the
// server then: it returns the connection as one that a race ended, or nil.
func (f *Figures) asRace(k *Record, c *fact.Connection) *fact.Connection {
	if !k.Unheard || k.Reason != fact.ReasonServerAbort {
		return nil
	}
	if !k.byTimer(f.IdleClosings[fact.ByServer].applied()) {
		return nil
	}
	race := *c
	race.Answer(true)
	return &race
}

// ShortTimeout returns the timeout that closings within 1 s of the response tell: their
// median, where that is 100 ms or more and at least 5 of the newest 64, and half, are
// within 2 % of it.
func (r *Recent) ShortTimeout() (ns int64, ok bool) {
	m, near := r.near(50)
	return m, m >= shortestTimeout && near >= max(minIdleClosings, (len(r.list)+1)/2)
}

// A path's timeout is told by at least so many drops, and is at least so long.
const (
	minPathDrops   = 3
	minPathTimeout = 10 * second
)

// PathTimeout returns the longest idle time that a connection survived and the shortest
// that one did not, where the second is the larger and long enough to be a timeout, and
// enough connections say so.
func (f *Figures) PathTimeout() (survived, dropped int64, ok bool) {
	survived, dropped = f.Path.Survived, f.Path.Dropped.Least()
	return survived, dropped, f.Path.Dropped.Count() >= minPathDrops && dropped > survived && dropped >= minPathTimeout
}

// maxRecent is how many closings of a side tell its timeout.
const maxRecent = 64

// A Recent holds the newest idle times before closings: which ones does not depend
// on the order in which they are told.
type Recent struct {
	N uint64 // ever
	ring[closing, *closing]
}

type closing struct{ at, idle int64 }

func (c *closing) compare(o *closing) int {
	if c.at != o.at {
		return cmp.Compare(c.at, o.at)
	}
	return cmp.Compare(c.idle, o.idle)
}

func (r *Recent) add(at, idle int64) {
	r.N++
	r.keep(closing{at, idle})
}

func (r *Recent) keep(c closing) { r.ring.add(c, len(r.list) < maxRecent) }

func (r *Recent) merge(o *Recent) {
	r.N += o.N
	for c := range o.each {
		r.keep(*c)
	}
}

// Since counts those that began so long before a time. Of those that are not kept any
// more, which are older, all count.
func (r *Recent) Since(end, ago int64) uint64 {
	n := r.N - uint64(len(r.list))
	for _, c := range r.list {
		if end-c.at >= ago {
			n++
		}
	}
	return n
}

// minIdleClosings is how many closings make a timeout.
const minIdleClosings = 5

// Timeout returns the idle timeout that a side really applies: the median of its
// newest 64 closings for idleness, where at least 5 of them, and at least half,
// are within a tenth of it. There is no other definition in any view.
func (r *Recent) Timeout() (ns int64, ok bool) {
	m, near := r.near(10)
	return m, near >= max(minIdleClosings, (len(r.list)+1)/2)
}

// applied is Timeout, 0 where it is not known.
func (r *Recent) applied() int64 {
	if ns, ok := r.Timeout(); ok {
		return ns
	}
	return 0
}

// near returns the median and how many lie within a part of it: one tenth for 10.
func (r *Recent) near(part int64) (median int64, near int) {
	if len(r.list) == 0 {
		return 0, 0
	}
	idle := make([]int64, len(r.list))
	for i := range r.list {
		idle[i] = r.list[i].idle
	}
	slices.Sort(idle)
	m := idle[(len(idle)-1)/2]
	for _, v := range idle {
		if v >= m-m/part && v <= m+m/part {
			near++
		}
	}
	return m, near
}
