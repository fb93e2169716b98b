package tally

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
)

// The slots of a History, and how many servers each of them tells apart: those that
// wasted most. A server in a slot takes about 250 bytes, and 170 more once something of
// it is estimated; one of which nothing was counted takes nothing.
const (
	HistoryStep = time.Minute // how often Note is to be called
	fineSlots   = 5           // of a step each
	coarseSlots = 12          // of fineSlots steps each
	slotServers = 1024
)

// A Count is what is remembered of a Traffic.
type Count struct {
	Connections uint64 // that carried a request
	Requests    uint64
	Reused      uint64
	Races       uint64
	Failed      uint64
	Wasted      [fact.NumCauses]uint32
	WastedNS    int64
	Probed      uint64 // of the wasted handshakes, those of health checks
}

// AllWasted returns how many handshakes were wasted.
func (c *Count) AllWasted() (n uint64) {
	for _, w := range c.Wasted {
		n += uint64(w)
	}
	return n
}

// Counts are what is remembered of Figures.
type Counts struct {
	Connections uint64
	Counted     Count
	Estimated   *Count // nil where nothing was
}

// Lately is what was counted since a moment.
type Lately struct {
	Since   time.Time
	Total   Counts
	Servers map[naming.Server]*Counts
	Other   Counts // of servers that are not told apart
}

// A History remembers by how much figures grew in the last minutes and in the last
// hour.
type History struct {
	mu           sync.Mutex
	last         moment
	fine, coarse []growth // the oldest first
}

// A moment is what was counted until then.
type moment struct {
	at      time.Time
	total   Counts
	servers map[naming.Server]*Counts
}

// A growth is what was counted from one moment to another: in a slot, or in several.
type growth struct {
	since, until time.Time
	total        Counts
	servers      []serverCounts
}

type serverCounts struct {
	naming.Server
	Counts
}

// NewHistory returns a History that begins now, when nothing was counted yet.
func NewHistory(now time.Time) *History { return &History{last: moment{at: now}} }

// Note ends a slot. It is to be called each HistoryStep.
func (h *History) Note(sum *Sum, now time.Time) {
	m := momentOf(sum, now)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fine = append(h.fine, between(&h.last, &m))
	h.last = m
	if len(h.fine) == 2*fineSlots {
		h.coarse = append(h.coarse, join(h.fine[:fineSlots]))
		h.fine = slices.Clone(h.fine[fineSlots:])
	}
	if n := len(h.coarse) - coarseSlots; n > 0 {
		h.coarse = slices.Delete(h.coarse, 0, n)
	}
}

// Lately returns what was counted in about the last while, up to now: at least in that
// time where it is remembered, and at most in a slot's length more.
func (h *History) Lately(sum *Sum, now time.Time, while time.Duration) *Lately {
	m := momentOf(sum, now)
	h.mu.Lock()
	defer h.mu.Unlock()
	slots := append(slices.Concat(h.coarse, h.fine), between(&h.last, &m))
	first := len(slots) - 1
	for first > 0 && now.Sub(slots[first].since) < while {
		first--
	}
	all := join(slots[first:])
	r := &Lately{Since: all.since, Total: all.total, Other: all.total.clone(), Servers: make(map[naming.Server]*Counts, len(all.servers))}
	for i := range all.servers {
		s := &all.servers[i]
		r.Servers[s.Server] = &s.Counts
		r.Other.sub(&s.Counts)
	}
	return r
}

// momentOf adds up the rows of each server.
func momentOf(sum *Sum, now time.Time) moment {
	m := moment{at: now, servers: make(map[naming.Server]*Counts, len(sum.Rows))}
	for _, r := range sum.Rows {
		c := countsOf(&r.Figures)
		m.total.Add(&c)
		if r.Fold >= Others {
			continue
		}
		if s := m.servers[r.Server]; s != nil { // of another network
			s.Add(&c)
		} else {
			m.servers[r.Server] = &c
		}
	}
	return m
}

// between is what was counted from one moment to another.
func between(a, b *moment) growth {
	s := growth{since: a.at, until: b.at, total: b.total.clone()}
	s.total.sub(&a.total)
	for name, c := range b.servers {
		grown := c.clone()
		if before := a.servers[name]; before != nil {
			grown.sub(before)
		}
		if !grown.empty() {
			s.servers = append(s.servers, serverCounts{name, grown})
		}
	}
	s.cut()
	return s
}

// join adds up slots that follow each other.
func join(list []growth) growth {
	s := growth{since: list[0].since, until: list[len(list)-1].until}
	at := map[naming.Server]int{}
	for i := range list {
		s.total.Add(&list[i].total)
		for k := range list[i].servers {
			c := &list[i].servers[k]
			if j, ok := at[c.Server]; ok {
				s.servers[j].Add(&c.Counts)
				continue
			}
			at[c.Server] = len(s.servers)
			s.servers = append(s.servers, serverCounts{c.Server, c.clone()})
		}
	}
	s.cut()
	return s
}

// cut leaves the servers that are told apart.
func (s *growth) cut() {
	slices.SortFunc(s.servers, func(a, b serverCounts) int {
		return cmp.Or(cmp.Compare(b.weight(), a.weight()), cmp.Compare(b.Connections, a.Connections), a.Compare(&b.Server))
	})
	s.servers = slices.Clip(slices.Clone(s.servers[:min(len(s.servers), slotServers)]))
}

func (c *Counts) weight() uint64 {
	n := c.Counted.AllWasted() + c.Counted.Failed
	if c.Estimated != nil {
		n += c.Estimated.AllWasted()
	}
	return n
}

func countsOf(f *Figures) Counts {
	c := Counts{Connections: f.Connections(), Counted: countOf(&f.Counted)}
	if f.Probed != nil {
		c.Counted.Probed, _ = f.Probed.Traffic.AllWasted()
	}
	if f.Estimated != nil {
		e := countOf(f.Estimated)
		c.Estimated = &e
	}
	return c
}

func countOf(t *Traffic) Count {
	c := Count{Connections: t.Connections, Requests: t.AllRequests(), Reused: t.Reuse(fact.ReusedRequest), Races: t.Races}
	for i := range t.Failed {
		c.Failed += t.Failed[i].N
	}
	for i, n := range t.Wasted {
		c.Wasted[i] = uint32(min(n, math.MaxUint32))
	}
	_, c.WastedNS = t.AllWasted()
	return c
}

func (c *Counts) clone() Counts {
	out := *c
	if c.Estimated != nil {
		e := *c.Estimated
		out.Estimated = &e
	}
	return out
}

func (c *Counts) empty() bool {
	return c.Connections == 0 && c.Counted == (Count{}) && (c.Estimated == nil || *c.Estimated == (Count{}))
}

// Add adds what o has.
func (c *Counts) Add(o *Counts) {
	c.Connections += o.Connections
	c.Counted.add(&o.Counted)
	if o.Estimated != nil {
		if c.Estimated == nil {
			c.Estimated = &Count{}
		}
		c.Estimated.add(o.Estimated)
	}
}

// sub leaves what c has more than o. A figure that is smaller, as that of a server which
// gave its label up and came again, has grown by all that it is.
func (c *Counts) sub(o *Counts) {
	less(&c.Connections, o.Connections)
	c.Counted.sub(&o.Counted)
	if c.Estimated == nil {
		return
	}
	if o.Estimated != nil {
		c.Estimated.sub(o.Estimated)
	}
	if *c.Estimated == (Count{}) {
		c.Estimated = nil
	}
}

func (c *Count) add(o *Count) {
	c.Connections += o.Connections
	c.Requests += o.Requests
	c.Reused += o.Reused
	c.Races += o.Races
	c.Failed += o.Failed
	for i, n := range o.Wasted {
		c.Wasted[i] += n
	}
	c.WastedNS += o.WastedNS
	c.Probed += o.Probed
}

func (c *Count) sub(o *Count) {
	less(&c.Connections, o.Connections)
	less(&c.Requests, o.Requests)
	less(&c.Reused, o.Reused)
	less(&c.Races, o.Races)
	less(&c.Failed, o.Failed)
	for i, n := range o.Wasted {
		less(&c.Wasted[i], n)
	}
	less(&c.WastedNS, o.WastedNS)
	less(&c.Probed, o.Probed)
}

func less[N uint64 | uint32 | int64](n *N, by N) {
	if *n >= by {
		*n -= by
	}
}
