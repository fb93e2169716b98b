package tally

import (
	"cmp"
	"math"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	millisecond = int64(1e6)
	second      = int64(1e9)

	massWithin    = 50 * millisecond
	massLeastIdle = 10 * millisecond
	massLeast     = 3

	goawayWithin = 10 * millisecond
	leastApart   = 5 * millisecond
)

// A Mass is a server's closing of many connections at once: a reload, a restart or a
// scale-down.
type Mass struct {
	At      int64
	Members []*Record
	Failed  uint64 // requests lost in it
	Goaway  bool   // by GOAWAY
}

// Of returns a closing with those connections of it alone that have one of the ids.
func (m *Mass) Of(ids map[uint64]bool) Mass {
	out := Mass{At: m.At, Goaway: m.Goaway}
	for _, k := range m.Members {
		if ids[k.ID] {
			out.add(k)
		}
	}
	return out
}

func (m *Mass) add(k *Record) {
	m.Members = append(m.Members, k)
	if k.failed() {
		m.Failed++
	}
}

// An Endpoint is one address and port of servers, with what its connections tell
// together.
type Endpoint struct {
	sniffer.Endpoint
	Rows     []*Row
	Masses   []Mass
	records  []*Record
	timeout  int64 // that the server really applies, 0 where it is not known
	survived int64 // median idle time after which a request came
}

// Endpoints joins the rows of each address and port and finds the closings of many
// connections at once. With settle it answers the questions that only a server's other
// connections answer: a server's abort becomes a race where its idle timer made it, or
// where it is one of many closings. That changes the sum's figures and not what the
// workers counted; the reason, the failed request, the count of races and the cause of
// the handshake that it made change, and nothing else. It returns how many reasons had
// been told otherwise. The sum must have details.
func (s *Sum) Endpoints(settle bool) (endpoints []*Endpoint, changed uint64) {
	byEndpoint := map[sniffer.Endpoint]*Endpoint{}
	for _, r := range s.Rows {
		if r.Fold >= Others {
			continue
		}
		e := byEndpoint[r.Endpoint]
		if e == nil {
			e = &Endpoint{Endpoint: r.Endpoint}
			byEndpoint[r.Endpoint] = e
			endpoints = append(endpoints, e)
		}
		e.Rows = append(e.Rows, r)
	}
	for _, e := range endpoints {
		e.join()
		if settle {
			changed += e.settle()
		}
	}
	s.set.resettled = max(s.set.resettled, changed)
	return endpoints, changed
}

// Answers returns what a final report answers to the open questions that are
// remembered, by connection: whether it is a race. The others keep the answers that
// they got when they were told. The sum must have details, and its figures change.
func (s *Sum) Answers() map[uint64]bool {
	answers := map[uint64]bool{}
	endpoints, _ := s.Endpoints(true)
	for _, e := range endpoints {
		for _, r := range e.Rows {
			for i := range r.Newest.list {
				if k := &r.Newest.list[i]; k.Unheard {
					answers[k.ID] = k.Reason == fact.ReasonRace
				}
			}
		}
	}
	return answers
}

func (e *Endpoint) join() {
	var closings Recent
	var reuses Histogram
	for _, r := range e.Rows {
		reuses.Merge(&r.Counted.ReuseIdle)
		e.records = slices.AppendSeq(e.records, r.Newest.All())
		closings.merge(&r.IdleClosings[fact.ByServer])
	}
	slices.SortFunc(e.records, (*Record).compare)
	e.timeout, e.survived = closings.applied(), reuses.Median()
	e.masses()
}

func (e *Endpoint) settle() (changed uint64) {
	inMass := e.inMass()
	races := map[uint64]bool{}
	for _, r := range e.Rows {
		for i := range r.Newest.list {
			k := &r.Newest.list[i]
			if !k.Unheard || k.Reason != fact.ReasonServerAbort {
				continue
			}
			race := inMass[k.ID] || k.byTimer(e.timeout)
			if race != k.Raced {
				changed++
				r.retell(k, race)
			}
			if race {
				k.Reason = fact.ReasonRace
				races[k.ID] = true
				r.failedByRace(k)
			}
		}
	}
	for _, r := range e.Rows {
		r.causes(races)
	}
	return changed
}

// byTimer says whether a closing came at about the idle timeout that the server
// applies, or advertises.
func (k *Record) byTimer(observed int64) bool {
	near := func(timeout int64) bool {
		return timeout > 0 && k.Idle >= timeout-timeout/10 && k.Idle <= timeout+timeout/10
	}
	return came(k.Waited, k.Idle) && (near(observed) || near(k.Advertised))
}

func (f *Figures) traffic(k *Record) *Traffic {
	if k.Estimated {
		return f.estimate()
	}
	return &f.Counted
}

// retell counts a connection as ended by a race, or no more.
func (f *Figures) retell(k *Record, race bool) {
	t, closed := f.traffic(k), &f.Closed[min(k.ClosedBy, fact.NumClosedBy-1)]
	from, to := fact.ReasonServerAbort, fact.ReasonRace
	if race {
		t.Races++
		t.RaceIdle.Add(k.Idle)
	} else {
		from, to = to, from
		t.Races -= min(t.Races, 1)
	}
	if closed[from] > 0 {
		closed[from]--
		closed[to]++
	}
}

// failedByRace counts the request of such a connection as failed by it.
func (f *Figures) failedByRace(k *Record) {
	t := f.traffic(k)
	from, to := &t.Failed[fact.FailServerAbort], &t.Failed[fact.FailRace]
	if from.N == 0 {
		return
	}
	from.N--
	to.N++
	to.Idle.Add(k.Idle)
	if k.Waited > 0 && from.GivenUp.Take(k.Waited) {
		to.GivenUp.Add(k.Waited)
	}
	to.Example = Example{ID: k.ID, Client: from.Example.Client, Server: from.Example.Server, Time: k.At}
}

// causes gives the handshakes that replaced what a race ended that cause.
func (r *Row) causes(races map[uint64]bool) {
	for i := range r.Newest.list {
		k := &r.Newest.list[i]
		if k.Cause != fact.Cause(fact.ReasonServerAbort) || !races[k.Could] {
			continue
		}
		t := r.traffic(k)
		from, to := k.Cause, fact.Cause(fact.ReasonRace)
		if t.Wasted[from] == 0 {
			continue
		}
		k.Cause = to
		t.Wasted[from]--
		t.Wasted[to]++
		t.WastedNS[from] -= k.Cost
		t.WastedNS[to] += k.Cost
		t.WastedBy[to] = t.WastedBy[from]
	}
}

// unannounced says whether the server closed without a word.
func (k *Record) unannounced() bool {
	switch k.Reason {
	case fact.ReasonServerIdle, fact.ReasonServerDiscard, fact.ReasonServerAbort, fact.ReasonRace, fact.ReasonStaleReuse:
		return k.ClosedBy == fact.ByServer
	default:
		return false
	}
}

// masses finds the closings of many connections at once, without a word or by GOAWAY.
func (e *Endpoint) masses() {
	e.closings((*Record).unannounced, massWithin, e.isMass)
	told := e.inMass()
	e.closings(func(k *Record) bool { return k.Goaway && !told[k.ID] }, goawayWithin, e.isDrain)
	slices.SortStableFunc(e.Masses, func(a, b Mass) int { return cmp.Compare(a.At, b.At) })
}

// inMass returns the connections that were closed in masses, by id.
func (e *Endpoint) inMass() map[uint64]bool {
	ids := map[uint64]bool{}
	for i := range e.Masses {
		for _, k := range e.Masses[i].Members {
			ids[k.ID] = true
		}
	}
	return ids
}

// closings finds masses among connections that were closed so: all within a time, and open
// when the first was closed.
func (e *Endpoint) closings(so func(*Record) bool, within int64, isMass func(*Mass) bool) {
	var closed []*Record
	for _, k := range e.records {
		if so(k) {
			closed = append(closed, k)
		}
	}
	for i := 0; i < len(closed); {
		j := i
		m := Mass{At: closed[i].At, Goaway: closed[i].Goaway}
		for ; j < len(closed) && closed[j].At-m.At <= within; j++ {
			if closed[j].Start < m.At {
				m.add(closed[j])
			}
		}
		if isMass(&m) {
			e.Masses = append(e.Masses, m)
			i = j
		} else {
			i++
		}
	}
}

// canBeMass says whether a closing may be one of many at once, whatever the others are.
func (k *Record) canBeMass() bool {
	return k.unannounced() && (k.Idle >= massLeastIdle || k.failed())
}

// failed says whether a request was under way when the connection was closed.
func (k *Record) failed() bool { return k.Waited >= 0 && k.Failed }

// isMass says whether closings without a word are one of many at once: at least 3, or 2 that
// are all there are with a failed request among them. No timer makes them: each idled for at
// least 10 ms, or with a request that nobody answered, and the shortest of these times is
// below half of the longest; or they are all there are, and idled for a time shorter by a
// tenth than most after which a request came. Nor does a limit: requests under way on all of
// them had not waited for the same time.
func (e *Endpoint) isMass(m *Mass) bool {
	n, open := len(m.Members), e.open(m.At)
	if n < massLeast && (n < 2 || m.Failed == 0 || open > n) || m.byLimit() {
		return false
	}
	lasting := 0
	shortest, longest := int64(math.MaxInt64), int64(0)
	for _, k := range m.Members {
		longest = max(longest, k.Idle)
		if k.canBeMass() {
			lasting++
			shortest = min(shortest, max(k.Idle, 0))
		}
	}
	return 2*shortest < longest && (lasting >= massLeast || lasting == n) || n == open && longest+longest/10 < e.survived
}

// isDrain says whether GOAWAYs are those of one reload, restart or scale-down: at least 3, of
// most of the connections that were open. No limit of requests makes them, for at least 3 had
// idled for 10 ms; nor an idle timeout, for they had idled for less than 1 s, or the shortest
// for less than half of the longest; nor a limit of age, whose GOAWAYs lie as far apart as the
// openings: those do by four times the time, and by 5 ms at least.
func (e *Endpoint) isDrain(m *Mass) bool {
	n, lasting := len(m.Members), 0
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	shortest, longest := int64(math.MaxInt64), int64(0)
	for _, k := range m.Members {
		first, last = min(first, k.Start), max(last, k.Start)
		shortest, longest = min(shortest, k.Idle), max(longest, k.Idle)
		if k.Idle >= massLeastIdle {
			lasting++
		}
	}
	return lasting >= massLeast && 2*n > e.open(m.At) && (longest < second || 2*shortest < longest) &&
		last-first >= max(4*(m.Members[n-1].At-m.At), leastApart)
}

// byLimit says whether a time limit of requests can have made the closings: requests were
// under way on all, for about the same time.
func (m *Mass) byLimit() bool {
	shortest, longest := int64(math.MaxInt64), int64(0)
	for _, k := range m.Members {
		if !k.failed() {
			return false
		}
		shortest, longest = min(shortest, k.Waited), max(longest, k.Waited)
	}
	return 2*shortest > longest
}

// open counts the connections that were open at a time.
func (e *Endpoint) open(at int64) (n int) {
	for _, k := range e.records {
		if k.Start < at && k.At >= at && k.Handshake != fact.HandshakeRefused && k.Handshake != fact.HandshakeUnanswered {
			n++
		}
	}
	return n
}
