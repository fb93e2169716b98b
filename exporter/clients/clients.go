// Package clients counts what each client address of a server does with its
// connections, so that a finding can name who has a habit.
//
// A [Table] is one server's. It is filled when connections end. Which clients are in it
// depends on their addresses alone and not on the order or the worker in which facts
// are told: of more than Max it keeps those whose addresses have the lowest hashes.
//
//	what                                    cap            when beyond
//	clients of a server, told apart         Max            counted in Table.Untold
//	numbers of requests at closings         maxCounts      the larger ones are one number
//	connections that tell several clients   maxSpans       the newest count
package clients

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	// Max is how many clients of a server are told apart.
	Max = 32

	maxCounts = 16
	maxSpans  = 32

	// An address looks like several clients where so many of its connections were open
	// at once, or so many that carried two requests or more overlapped others.
	openAtOnce  = 8
	overlapping = 10
)

// A Table has the clients of one server. The zero value is empty.
type Table struct {
	Untold uint64 // connections of clients that are not told apart
	list   []*Client
}

// A Client is an address, with either the connections whose requests were counted or
// those whose requests are estimated.
type Client struct {
	Addr      sniffer.Addr
	Estimated bool
	Software  software.ID // Unknown where it shows several

	Connections, Requests uint64
	Wasted                []Waste // by cause, ascending
	Failed                [fact.NumFailures]uint64
	Unread, Stalled       uint64  // connections with a body left half read, with one that stood still to the end
	InVain                uint64  // handshakes
	Once, More            uint64  // connections with one request, with more
	IdleShare             float64 // of a connection's time, of the one that idled most; what was on the way from and to the client is no idling
	Trip                  int64   // the shortest round trip from the capture point to it, nanoseconds; 0 where none is known
	Upgrades, Short       uint64  // to other protocols; of them those under 1 s, or of one message a side
	Streams, Pinged       uint64  // of HTTP/2; connections that ended for its pings
	GRPC, GRPCBusiest     uint64  // streams, on all connections and on the busiest
	Example, GRPCExample  Example
	closings              []count // by requests, ascending
	spans                 []span  // the newest, by their ends
	rank                  uint64
	several               bool // softwares
}

// A Waste is what a client wasted by one cause, in nanoseconds.
type Waste struct {
	Cause   fact.Cause
	N       uint64
	NS      int64
	Example Example
}

// An Example is a connection.
type Example struct {
	ID             uint64
	Client, Server sniffer.Endpoint
}

func exampleOf(c *fact.Connection) Example { return Example{c.ID, c.Client, c.Server} }

// A count is how many connections the client closed after a number of requests.
type count struct {
	requests uint32
	n        uint64
}

// Add counts a connection that has ended. Id is the software of its client.
func (t *Table) Add(c *fact.Connection, id software.ID) {
	who := c.Client.Addr
	if c.Proxied != (sniffer.Endpoint{}) {
		who = c.Proxied.Addr
	}
	k := t.get(who, c.Estimated)
	if k == nil {
		t.Untold++
		return
	}
	k.add(c, id)
}

// get returns a client's figures, nil where it is not one that is told apart.
func (t *Table) get(a sniffer.Addr, estimated bool) *Client {
	for _, c := range t.list {
		if c.Addr == a && c.Estimated == estimated {
			return c
		}
	}
	r := rank(a, estimated)
	if len(t.list) < Max {
		t.list = append(t.list, &Client{Addr: a, Estimated: estimated, rank: r})
		return t.list[len(t.list)-1]
	}
	top := 0
	for i, c := range t.list {
		if c.compare(t.list[top]) > 0 {
			top = i
		}
	}
	if probe := (Client{Addr: a, rank: r}); probe.compare(t.list[top]) > 0 {
		return nil
	}
	t.Untold += t.list[top].Connections
	t.list[top] = &Client{Addr: a, Estimated: estimated, rank: r}
	return t.list[top]
}

// rank is a hash of an address (splitmix64's finalizer): it scatters neighbours.
func rank(a sniffer.Addr, estimated bool) uint64 {
	h := binary.LittleEndian.Uint64(a[:8])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(a[8:])
	if estimated {
		h++
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

func (c *Client) compare(o *Client) int {
	return cmp.Or(cmp.Compare(c.rank, o.rank), slices.Compare(c.Addr[:], o.Addr[:]))
}

func (c *Client) add(f *fact.Connection, id software.ID) {
	c.name(id)
	c.Connections++
	c.Requests += uint64(f.Requests)
	if c.Example.ID == 0 {
		c.Example = exampleOf(f)
	}
	switch f.Requests {
	case 0:
	case 1:
		c.Once++
	default:
		c.More++
	}
	if f.Handshake == fact.HandshakeRefused || f.Handshake == fact.HandshakeUnanswered {
		c.InVain++
	}
	if f.BodyUnread {
		c.Unread++
	}
	if f.Path != nil && f.Path.StalledAtEnd[fact.ByClient] {
		c.Stalled++
	}
	for i, n := range f.Failed {
		c.Failed[i] += uint64(n)
	}
	if f.Verdict == fact.VerdictWasted {
		w := c.wasteBy(f.Cause)
		if w.N == 0 {
			w.Example = exampleOf(f)
		}
		w.N++
		w.NS += f.Cost.TCP + f.Cost.TLS + f.Cost.DNS + f.Cost.Connect
	}
	if f.Requests > 0 {
		c.span(span{f.Start, f.End, f.Requests > 1})
	}
	c.trip(f.ClientTrip)
	c.idle(f)
	c.closed(f)
	c.upgraded(f)
	c.streams(f)
}

// name notes the software that a connection showed.
func (c *Client) name(id software.ID) {
	switch {
	case id == software.Unknown || c.several || id == c.Software:
	case c.Software == software.Unknown:
		c.Software = id
	default:
		c.several, c.Software = true, software.Unknown
	}
}

// wasteBy returns what the client wastes by a cause, to be added to.
func (c *Client) wasteBy(cause fact.Cause) *Waste {
	i := 0 // they are few
	for i < len(c.Wasted) && c.Wasted[i].Cause < cause {
		i++
	}
	if i == len(c.Wasted) || c.Wasted[i].Cause != cause {
		c.Wasted = slices.Insert(c.Wasted, i, Waste{Cause: cause})
	}
	return &c.Wasted[i]
}

// idle notes how long a connection with requests did nothing.
func (c *Client) idle(f *fact.Connection) {
	total := f.End - f.Start
	if f.Requests < 2 || total <= 0 {
		return
	}
	var idle int64
	for _, ns := range f.ReuseIdle {
		idle += max(ns-f.ClientTrip, 0)
	}
	if n := int64(len(f.ReuseIdle)); n > 0 {
		idle += idle / n * int64(f.MoreReuseIdle)
	}
	c.IdleShare = max(c.IdleShare, float64(idle+max(f.CloseIdle, 0))/float64(total))
}

// trip keeps the shortest of those that are known.
func (c *Client) trip(ns int64) {
	if ns > 0 && (c.Trip == 0 || ns < c.Trip) {
		c.Trip = ns
	}
}

// closed notes after how many requests the client closed, or asked the server to.
func (c *Client) closed(f *fact.Connection) {
	asked := f.Reason == fact.ReasonClientClose
	if f.ClosedBy != fact.ByClient && !asked || f.Requests == 0 || f.Handshake == fact.HandshakeMidstream {
		return // of one joined midstream nobody knows how many came before
	}
	c.closing(count{f.Requests, 1})
}

// closing keeps the smallest numbers; the larger ones count as the largest of those.
func (c *Client) closing(k count) {
	i, found := slices.BinarySearchFunc(c.closings, k.requests, func(k count, n uint32) int { return cmp.Compare(k.requests, n) })
	if found {
		c.closings[i].n += k.n
		return
	}
	c.closings = slices.Insert(c.closings, i, k)
	if n := len(c.closings); n > maxCounts {
		c.closings[n-2] = count{c.closings[n-1].requests, c.closings[n-2].n + c.closings[n-1].n}
		c.closings = c.closings[:n-1]
	}
}

// A span is when a connection with requests was open, and whether it carried two or
// more.
type span struct {
	start, end int64
	reused     bool
}

func (s span) compare(o span) int {
	if s.end != o.end {
		return cmp.Compare(s.end, o.end)
	}
	return cmp.Or(cmp.Compare(s.start, o.start), cmp.Compare(b2i(s.reused), b2i(o.reused)))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// span keeps the newest, in order.
func (c *Client) span(s span) {
	if len(c.spans) == maxSpans {
		if s.compare(c.spans[0]) <= 0 {
			return
		}
		c.spans = c.spans[:copy(c.spans, c.spans[1:])]
	}
	i := len(c.spans)
	for i > 0 && s.compare(c.spans[i-1]) < 0 { // they come nearly in order
		i--
	}
	c.spans = slices.Insert(c.spans, i, s)
}

// Several reports whether the address looks like several clients: then waste of one may
// be another's first connection.
func (c *Client) Several() bool {
	reused := 0
	for i, s := range c.spans {
		open, overlaps := 0, false
		for j, o := range c.spans {
			if o.start <= s.start && s.start < o.end {
				open++ // when s began, s with it
			}
			overlaps = overlaps || i != j && o.start < s.end && s.start < o.end
		}
		if s.reused && overlaps {
			reused++
		}
		if open >= openAtOnce || reused >= overlapping {
			return true
		}
	}
	return false
}

// second is what a message or a socket takes that was opened for it.
const second = 1e9

func (c *Client) upgraded(f *fact.Connection) {
	u := f.Upgrade
	if u == nil {
		return
	}
	c.Upgrades++
	if f.End-u.At < second || u.Segments[fact.ByClient] <= 1 && u.Segments[fact.ByServer] <= 1 {
		c.Short++
	}
}

func (c *Client) streams(f *fact.Connection) {
	s := f.Streams
	if s == nil {
		return
	}
	c.Streams += uint64(f.Requests)
	if s.TooManyPings() {
		c.Pinged++
	}
	if !s.GRPC {
		return
	}
	c.GRPC += uint64(f.Requests)
	if n := uint64(f.Requests); n > c.GRPCBusiest {
		c.GRPCBusiest, c.GRPCExample = n, exampleOf(f)
	}
}

// ClosedAt returns after how many requests the client ended its connections: how many
// there were, their median, and how many lie within a tenth of it.
func (c *Client) ClosedAt() (n, near uint64, median float64) {
	for _, k := range c.closings {
		n += k.n
	}
	seen := uint64(0)
	for _, k := range c.closings {
		if seen += k.n; 2*seen >= n {
			median = float64(k.requests)
			break
		}
	}
	for _, k := range c.closings {
		if v := float64(k.requests); v >= 0.9*median && v <= 1.1*median {
			near += k.n
		}
	}
	return n, near, median
}

// WastedBy returns what the client wasted by a cause.
func (c *Client) WastedBy(cause fact.Cause) Waste {
	for _, w := range c.Wasted {
		if w.Cause == cause {
			return w
		}
	}
	return Waste{Cause: cause}
}

// Lost returns all that the client wasted.
func (c *Client) Lost() (n uint64, ns int64) {
	for _, w := range c.Wasted {
		n += w.N
		ns += w.NS
	}
	return n, ns
}

// Worst returns the clients, those first that wasted the most time, then handshakes,
// then had the most requests fail.
func (t *Table) Worst() []*Client {
	list := slices.Clone(t.list)
	slices.SortFunc(list, func(a, b *Client) int {
		n, ns := a.Lost()
		m, ms := b.Lost()
		return cmp.Or(cmp.Compare(ms, ns), cmp.Compare(m, n), cmp.Compare(b.fails(), a.fails()), slices.Compare(a.Addr[:], b.Addr[:]),
			cmp.Compare(a.rank, b.rank))
	})
	return list
}

func (c *Client) fails() (n uint64) {
	for _, k := range c.Failed {
		n += k
	}
	return n
}

// Merge adds what another worker counted of the same server.
func (t *Table) Merge(o *Table) {
	t.Untold += o.Untold
	for _, c := range o.list {
		if k := t.get(c.Addr, c.Estimated); k != nil {
			k.merge(c)
		} else {
			t.Untold += c.Connections
		}
	}
}

func (c *Client) merge(o *Client) {
	if c.name(o.Software); o.several {
		c.several, c.Software = true, software.Unknown
	}
	c.Connections += o.Connections
	c.Requests += o.Requests
	for _, w := range o.Wasted {
		k := c.wasteBy(w.Cause)
		if k.N == 0 {
			k.Example = w.Example
		}
		k.N += w.N
		k.NS += w.NS
	}
	for i, n := range o.Failed {
		c.Failed[i] += n
	}
	for _, k := range o.closings {
		c.closing(k)
	}
	for _, s := range o.spans {
		c.span(s)
	}
	c.Unread += o.Unread
	c.Stalled += o.Stalled
	c.InVain += o.InVain
	c.Once += o.Once
	c.More += o.More
	c.IdleShare = max(c.IdleShare, o.IdleShare)
	c.trip(o.Trip)
	c.Upgrades += o.Upgrades
	c.Short += o.Short
	c.Streams += o.Streams
	c.Pinged += o.Pinged
	c.GRPC += o.GRPC
	if o.GRPCBusiest > c.GRPCBusiest {
		c.GRPCBusiest, c.GRPCExample = o.GRPCBusiest, o.GRPCExample
	}
	if c.Example.ID == 0 {
		c.Example = o.Example
	}
}

// Reset empties the table.
func (t *Table) Reset() { *t = Table{list: t.list[:0]} }
