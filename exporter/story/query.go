package story

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
)

// A Query chooses stories. What is zero does not matter.
type Query struct {
	Server     string                   // as naming.IsCalled has it
	Of         func(naming.Server) bool // says whether it is one of those wanted
	Cause      fact.Cause               // of a wasted handshake, or the reason by which a connection was lost
	Connection uint64
	Client     netip.AddrPort // port 0 is any
	Limit      int            // how many stories at most
}

// matches says whether a connection is what is asked for.
func (q *Query) matches(l *lane, cause fact.Cause) bool {
	if q.Server != "" && !naming.IsCalled(q.Server, l.name, l.server) ||
		q.Of != nil && !q.Of(l.who) ||
		q.Cause != fact.NoCause && q.Cause != cause ||
		q.Connection != 0 && q.Connection != l.id {
		return false
	}
	c := q.Client
	return !c.IsValid() || c.Addr().Unmap() == l.asked().Addr.Netip() && (c.Port() == 0 || c.Port() == l.asked().Port)
}

// Stores are those of all workers.
type Stores []*Store

// A choice is a story that may be told.
type choice struct {
	held  *held
	shelf *shelf
	round int // of its cause: the first of each comes first
}

// Pick returns the stories that answer a query, what is most worth knowing first: of
// each cause, the one that costs most first, the server that it costs most, as the
// pair shows it that shows it best; then the others.
func (s Stores) Pick(q Query) []*Story {
	for _, st := range s {
		st.mu.Lock()
		defer st.mu.Unlock()
	}
	var all []choice
	costs := map[fact.Cause]int64{}
	for _, st := range s {
		for key, sh := range st.shelves {
			costs[key.cause] += sh.cost
			for _, h := range sh.held {
				if q.matches(h.focus, key.cause) {
					all = append(all, choice{held: h, shelf: sh})
				}
			}
		}
	}
	all = s.keep(all)
	slices.SortFunc(all, func(a, b choice) int {
		return cmp.Or(
			cmp.Compare(class(a.held.key.cause), class(b.held.key.cause)),
			cmp.Compare(costs[b.held.key.cause], costs[a.held.key.cause]), cmp.Compare(a.held.key.cause, b.held.key.cause),
			cmp.Compare(s.cost(b.held.key), s.cost(a.held.key)), cmp.Compare(a.held.key.server, b.held.key.server),
			a.held.rank.compare(b.held.rank))
	})
	round := map[fact.Cause]int{}
	for i := range all {
		c := all[i].held.key.cause
		all[i].round = min(round[c], 1)
		round[c]++
	}
	slices.SortStableFunc(all, func(a, b choice) int { return cmp.Compare(a.round, b.round) })
	if q.Limit > 0 {
		all = all[:min(len(all), q.Limit)]
	}
	stories := make([]*Story, 0, len(all))
	for _, c := range all {
		stories = append(stories, c.held.story())
	}
	return stories
}

// keep leaves of each server's cause as many as one store would have kept.
func (s Stores) keep(all []choice) []choice {
	if len(s) < 2 {
		return all
	}
	slices.SortFunc(all, func(a, b choice) int { return s[0].compare(b.held, a.held) })
	n := map[shelfKey]int{}
	return slices.DeleteFunc(all, func(c choice) bool {
		n[c.held.key]++
		return n[c.held.key] > s[0].most(c.held.key.cause)
	})
}

// cost is what a server's cause cost, over all workers.
func (s Stores) cost(key shelfKey) (sum int64) {
	for _, st := range s {
		if sh := st.shelves[key]; sh != nil {
			sum += sh.cost
		}
	}
	return sum
}

// class orders subjects: first waste, then what else was lost, and last what is well.
func class(c fact.Cause) int {
	switch {
	case c == fact.NoCause:
		return 1
	case c.Possible():
		return 0
	}
	return 2
}

// Connection returns a story with the connection, nil where none is kept.
func (s Stores) Connection(id uint64) *Story {
	for _, st := range s {
		if h := st.with(id); h != nil {
			return h
		}
	}
	return nil
}

// with returns the story that is told of a connection, or one in which it is.
func (s *Store) with(id uint64) *Story {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in *held
	for e := s.order.Back(); e != nil; e = e.Prev() {
		h := e.Value.(*held)
		if h.focus.id == id {
			return h.story()
		}
		if in == nil && slices.ContainsFunc(h.lanes, func(l *lane) bool { return l.id == id }) {
			in = h
		}
	}
	if in == nil {
		return nil
	}
	return in.story()
}

// An Entry is a connection of which a story is kept, as a list shows it.
type Entry struct {
	ID        ID            `json:"id"`
	Who       naming.Server `json:"-"`
	Client    string        `json:"client"` // address and port
	Start     time.Time     `json:"start"`
	Length    Moment        `json:"seconds"`
	Protocol  string        `json:"protocol"`
	Requests  uint32        `json:"requests"`
	Reused    uint32        `json:"reused_requests"`
	Verdict   string        `json:"verdict"`
	Subject   string        `json:"subject"` // the cause or the reason that it shows; "" for an ordinary one
	Cost      Moment        `json:"cost"`
	Estimated bool          `json:"estimated,omitempty"`
}

// List returns the connections that answer a query and of which stories are kept, the
// newest first. It is much cheaper than Pick.
func (s Stores) List(q Query) []Entry {
	list := []Entry{}
	for _, st := range s {
		st.mu.Lock()
		for e := st.order.Front(); e != nil; e = e.Next() {
			if h := e.Value.(*held); q.matches(h.focus, h.key.cause) {
				list = append(list, h.entry())
			}
		}
		st.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Or(b.Start.Compare(a.Start), cmp.Compare(a.ID, b.ID)) })
	if q.Limit > 0 {
		list = list[:min(len(list), q.Limit)]
	}
	return list
}

func (h *held) entry() Entry {
	l := h.focus
	e := Entry{
		ID: ID(l.id), Who: l.who, Client: l.asked().String(), Start: time.Unix(0, l.start).UTC(), Length: Moment(l.end - l.start),
		Protocol: l.protocol.String(), Requests: l.requests, Reused: l.reused, Verdict: l.verdict.String(),
		Cost: Moment(l.opened()), Estimated: l.estimated,
	}
	if h.key.cause != fact.NoCause {
		e.Subject = h.key.cause.String()
	}
	return e
}

// Usage sums up what all hold.
func (s Stores) Usage() (sum Usage) {
	for _, st := range s {
		u := st.Usage()
		sum.Stories += u.Stories
		sum.Bytes += u.Bytes
		sum.Evicted += u.Evicted
	}
	return sum
}

// Limits returns the cap on stories, with how often it was met.
func (s Stores) Limits() fact.Limits {
	if len(s) == 0 {
		return nil
	}
	return fact.Limits{{Name: "stories", Count: s.Usage().Evicted, Means: "a connection that could be drawn cannot any more"}}
}
