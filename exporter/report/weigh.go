package report

import (
	"cmp"
	"math"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

// A weigher brings what was counted into the form that findings rest on.
type weigher struct {
	capture   *Capture
	list      []*group // those to report on
	all       []*group
	endpoints []*tally.Endpoint
	records   []*at            // of all servers, by client, in the order of their starts
	own       map[*group][]*at // of one, in the same order
	proxies   map[sniffer.Addr]software.ID
	scanners  map[sniffer.Addr]bool
}

const second = int64(1e9)

func newWeigher(c *Capture, list []*group, endpoints []*tally.Endpoint) *weigher {
	w := &weigher{capture: c, list: list, all: list, endpoints: endpoints, own: map[*group][]*at{}, scanners: map[sniffer.Addr]bool{}, proxies: proxiesOf(list)}
	for _, g := range list {
		own := recordsOf(g)
		slices.SortFunc(own, (*at).compare)
		w.records = append(w.records, own...)
		w.own[g] = own
	}
	slices.SortFunc(w.records, (*at).compare)
	return w
}

// figures returns what the findings rest on.
func (w *weigher) figures(total *tally.Figures, probers []prober) *findings.Figures {
	f := &findings.Figures{Scans: w.scans(), Totals: w.server(&group{sum: *total, probers: probers})}
	f.Totals.Clients = nil
	if w.capture.Server != "" {
		f.Scans = nil // they are of no one server
	}
	f.Capture = findings.Capture{
		Seconds: w.seconds(), Packets: w.capture.Packets, Dropped: w.capture.Dropped.Total(),
		Bytes: total.Bytes[0] + total.Bytes[1], Missing: max(w.capture.Reassembly.MissingBytes, total.Missing),
		Incomplete: total.Incomplete, Midstream: total.Handshakes[fact.HandshakeMidstream], Open: total.Ended(fact.ReasonOpen),
		OneWay: tally.OneWay(total.Packets, total.Bytes),
	}
	for _, g := range w.list {
		f.Servers = append(f.Servers, w.server(g))
	}
	f.Singles = w.singles()
	return f
}

// window is how long an ideal pool keeps what idles.
func (w *weigher) window() int64 { return int64(w.capture.ReuseWindow * 1e9) }

func (w *weigher) seconds() float64 {
	return w.capture.LastPacket.Sub(w.capture.FirstPacket).Seconds()
}

func (w *weigher) server(g *group) findings.Server {
	f := &g.sum
	p := probes(g.probers)
	s := findings.Server{
		Name: g.name, AddressCount: len(g.members), Software: mostly(f.Software[:]),
		Counted:     w.traffic(g, &f.Counted, false),
		Connections: f.Connections() - min(p.Connections, f.Connections()),
		Errors:      f.StatusClasses[5],
		ErrorsClose: errorsClose(f),
		CutHeads:    f.Outcomes[fact.UnknownOutcome], CutLost: f.Lost,
		UnreadBodies: lossOf(&f.Unread), NeverUsed: lossOf(&f.Silent), UnusedTLS: lossOf(&f.UnusedTLS),
		Encrypted: f.Estimated != nil && f.Counted.AllRequests() == 0,
		Age:       seconds(f.Age.Median()), Attempts: w.attempts(g), Mass: w.mass(g), Stalled: w.stalled(f),
		Idle: w.idle(g), Cut: cut(g), Path: w.path(g), H2: http2(f), Tunnels: tunnels(f), Probers: proberList(g.probers),
		Clients: w.clients(g),
	}
	if f.Estimated != nil {
		s.Estimated = w.traffic(g, f.Estimated, true)
	}
	if share := g.busiest(); share != nil {
		s.BusiestShare = *share
	}
	if f.AdvertisedTimeouts.Count() > 0 {
		s.Advertised = float64(f.AdvertisedTimeouts.Median())
	}
	if t := g.ports; t != nil {
		s.Ports = findings.Ports{
			Peak: t.Busiest, Range: tally.EphemeralPorts, Client: t.Client.Netip().String(), Server: t.Server.String(),
			HeldByClient: t.TimeWait.Client, Closed: t.TimeWait.Client + t.TimeWait.Server + t.TimeWait.None,
		}
	}
	for r, n := range f.Ignored {
		if n > f.Ignored[s.IgnoredAfter] {
			s.IgnoredAfter = fact.Reason(r)
		}
	}
	return s
}

// mostly returns the software that most connections showed.
func mostly(counts []uint32) (most software.ID) {
	for id := range counts {
		if id > 0 && counts[id] > 0 && (most == software.Unknown || counts[id] > counts[most]) {
			most = software.ID(id)
		}
	}
	return most
}

func example(e *tally.Example) findings.Example {
	return findings.Example{ID: e.ID, Client: e.Client, Server: e.Server}
}

func lossOf(n *tally.Counted) findings.Loss {
	return findings.Loss{N: n.N, Seconds: seconds(n.NS), Example: example(&n.Example)}
}

// cluster says how near values lie to their median, within so many hundredths.
func cluster(h *tally.Histogram, hundredths int64, per float64) findings.Cluster {
	m := h.Median()
	return findings.Cluster{N: h.Count(), Near: h.Within(m, hundredths), Median: float64(m) / per}
}

// traffic leaves health checks out.
func (w *weigher) traffic(g *group, t *tally.Traffic, estimated bool) findings.Traffic {
	out := findings.Traffic{
		Connections: t.Connections, Single: t.PerConnection.Below(2), Requests: t.AllRequests(), Reused: t.Reuse(fact.ReusedRequest),
		ReuseIdleMax: seconds(t.ReuseIdle.Max), Crossed: cluster(&t.Crossed, 10, 1e9),
	}
	if n := t.PerConnection.Count(); n > 0 {
		out.RequestsPerConn = float64(t.PerConnection.Sum()) / float64(n)
	}
	for cause, n := range t.Wasted {
		out.Wasted[cause] = findings.Loss{N: n, Seconds: seconds(t.WastedNS[cause]), Example: example(&t.WastedBy[cause])}
	}
	for _, c := range g.probers {
		if c.Estimated != estimated {
			continue
		}
		out.Connections -= min(c.Once, out.Connections)
		out.Single -= min(c.Once, out.Single)
		out.Requests -= min(c.Requests, out.Requests)
		for _, waste := range c.Wasted {
			l := &out.Wasted[waste.Cause]
			l.N -= min(waste.N, l.N)
			l.Seconds = max(l.Seconds-seconds(waste.NS), 0)
		}
	}
	for how := range t.Failed {
		f := &t.Failed[how]
		out.Failed[how] = findings.Failed{
			N: f.N, Idle: seconds(f.Idle.Median()), GivenUp: cluster(&f.GivenUp, 2, 1e9), Example: example(&f.Example),
		}
	}
	announced, drained, discarded, once := ages{}, ages{}, ages{}, 0
	for k := range g.sum.Newest.All() {
		switch {
		case k.Estimated != estimated || k.Handshake == fact.HandshakeMidstream:
		case k.Requests < 2:
			if k.Reason == fact.ReasonClientDiscard {
				once++ // and not for its age
			}
		case k.Reason == fact.ReasonServerLimit:
			announced.add(k)
		case k.Reason == fact.ReasonServerGoaway:
			drained.add(k)
		case k.Reason == fact.ReasonClientDiscard:
			discarded.add(k)
		}
	}
	out.LimitAge, out.GoawayAge = announced.limit(), drained.limit()
	if n := len(discarded.at); float64(n) >= findings.MinLimitNear*float64(n+once) {
		out.DiscardAge = discarded.limit()
	}
	w.massWasted(g, &out, estimated)
	w.beside(g, &out, estimated)
	if estimated {
		out.ClosedAt = cluster(&t.ClosedAfter, 10, 1)
	} else {
		out.LimitAt = cluster(&g.sum.Limited, 10, 1)
	}
	return out
}

// ages are those at which connections ended, and their numbers of requests.
type ages struct{ at, requests []int64 }

func (a *ages) add(k *tally.Record) {
	a.at, a.requests = append(a.at, k.At-k.Start), append(a.requests, int64(k.Requests))
}

// limit returns the age in seconds at which connections end, where they end at one age and
// not after one number of requests; else 0. A limit is met by the first request that comes
// after it: most ages are about the lowest tenth's, or up to a third above. Where the numbers
// are near one another, too, it is a tenth.
func (a *ages) limit() float64 {
	n := len(a.at)
	if n < findings.MinLimitClosings {
		return 0
	}
	enough := int(math.Ceil(findings.MinLimitNear * float64(n)))
	slices.Sort(a.at)
	slices.Sort(a.requests)
	least, number := a.at[n/10], a.requests[n/2]
	within := func(list []int64, from, below, above int64) (near int) {
		for _, v := range list {
			if below*(from-v) <= from && above*(v-from) <= from {
				near++
			}
		}
		return near
	}
	from, _ := slices.BinarySearch(a.requests, number)
	to, _ := slices.BinarySearch(a.requests, number+1)
	above := int64(3)
	if within(a.requests, number, 10, 10) >= enough {
		above = 10
	}
	if to-from >= enough || within(a.at, least, 10, above) < enough {
		return 0
	}
	return seconds(least)
}

// massWasted counts the handshakes that replaced what a closing of many at once took.
func (w *weigher) massWasted(g *group, out *findings.Traffic, estimated bool) {
	ended := map[uint64]bool{}
	for _, m := range w.masses(g) {
		for _, k := range m.Members {
			ended[k.ID] = true
		}
	}
	if len(ended) == 0 {
		return
	}
	for k := range g.sum.Newest.All() {
		if k.Estimated == estimated && k.Cause != fact.NoCause && ended[k.Could] {
			l := &out.MassWasted[k.Cause]
			l.N++
			l.Seconds += seconds(k.Cost)
		}
	}
}

// masses are the closings of many at once at the group's addresses, with its own
// connections alone.
func (w *weigher) masses(g *group) (list []tally.Mass) {
	own := map[uint64]bool{}
	for _, k := range w.own[g] {
		own[k.ID] = true
	}
	for _, e := range w.endpoints {
		for _, m := range e.Masses {
			if m = m.Of(own); len(m.Members) > 0 {
				list = append(list, m)
			}
		}
	}
	return list
}

// beside counts the client's closings right after a response, and those of them at
// which another connection of it was open. A connection that was opened past an idle
// one does not count there: its pool had room.
func (w *weigher) beside(g *group, out *findings.Traffic, estimated bool) {
	for k := range g.sum.Newest.All() {
		if k.Reason != fact.ReasonClientDiscard || k.Estimated != estimated {
			continue
		}
		out.Discards++
		if w.closedBeside(k, g) {
			out.Beside++
		}
	}
}

// closedBeside says whether another connection of the client was open when one ended that
// was not opened past an idle one.
func (w *weigher) closedBeside(k *tally.Record, g *group) bool {
	return !k.PassedOver && slices.ContainsFunc(by(k.Client, w.own[g]), func(o *at) bool {
		return o.ID != k.ID && o.Start < k.At && o.At > k.At
	})
}

func (w *weigher) mass(g *group) (out findings.Mass) {
	for _, m := range w.masses(g) {
		out.Closings++
		out.Connections += uint64(len(m.Members))
		out.Failed += m.Failed
		if m.Goaway {
			out.Goaways += uint64(len(m.Members))
		}
		out.Example.ID = m.Members[0].ID
	}
	return out
}

// stalled counts a stall to the end where it was longer than 10 s, or half of the
// capture.
func (w *weigher) stalled(f *tally.Figures) findings.Stalled {
	limit := min(10*second, int64(w.seconds()*1e9/2))
	return findings.Stalled{
		ToEnd: f.StallsToEnd.Count() - f.StallsToEnd.Below(limit) + f.StallsOpen.Since(w.capture.LastPacket.UnixNano(), limit), WentOn: f.StallsOver.Count(),
		Seconds: seconds(f.Stalled.NS), Example: example(&f.Stalled.Example),
	}
}

// errorsClose are the statuses of most error responses that announced the closing, commonest
// first; none where others are as many.
func errorsClose(f *tally.Figures) (statuses []uint16) {
	var all, told uint64
	order := make([]int, len(f.Errors))
	for i, n := range f.Errors {
		all, order[i] = all+n, i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(f.Errors[b], f.Errors[a]) })
	for _, i := range order[:3] {
		if n := f.Errors[i]; i > 0 && 10*n >= all && n > 0 {
			statuses, told = append(statuses, tally.ErrorStatuses[i]), told+n
		}
	}
	if 2*told < all {
		return nil
	}
	return statuses
}

func (w *weigher) path(g *group) (p findings.Path) {
	f := &g.sum
	dropped, reset := 0, 0
	for k := range f.Newest.All() {
		if k.Reason == fact.ReasonPathDropped {
			dropped++
			if k.ClosedBy == fact.ByServer {
				reset++
			}
		}
	}
	p.Reset = 2*reset > dropped
	if survived, dropped, ok := f.PathTimeout(); ok {
		p.Survived, p.Dropped = seconds(survived), seconds(dropped)
	}
	p.Probes = f.Path.Probes[0]+f.Path.Probes[1] > 0
	p.ProbeInterval = seconds(f.Path.Intervals.Median())
	return p
}

func http2(f *tally.Figures) (out findings.H2) {
	out.Connections, out.Unread = f.UnreadHTTP2.N, f.UnreadHTTP2.N
	h := f.HTTP2
	if h == nil {
		return out
	}
	out = findings.H2{
		Connections: f.Protocols[fact.ProtocolH2], Unread: f.UnreadHTTP2.N, StreamsP50: float64(h.Requests.Median()),
		Goaways: h.Drained.N, GoawayRequests: float64(h.DrainedAfter.Median()), GoawayAge: seconds(h.DrainedAge.Median()),
		OpenSeconds: seconds(h.OpenNS), AtLimitSeconds: seconds(h.AtLimitNS), Limit: uint64(h.Limit),
		TooManyPings: lossOf(&h.TooManyPings), PingInterval: seconds(h.PingIntervals.Median()),
		Errors: lossOf(&h.Errors), Codes: goawayErrors(h), HTTP11: lossOf(&h.HTTP11), Ignored: lossOf(&h.Ignored), Aborted: lossOf(&h.Aborted),
		AtLimit: example(&h.AtLimit), Goaway: example(&h.Drained.Example),
	}
	for code, n := range h.AbortedWith {
		if n > h.AbortedWith[out.AbortedWith] {
			out.AbortedWith = http.Code(code)
		}
	}
	for cause := range h.Wasted {
		out.Wasted[cause] = lossOf(&h.Wasted[cause])
	}
	return out
}

// goawayErrors are the GOAWAYs with an error, but for those that too many PINGs brought about.
func goawayErrors(h *tally.HTTP2) (list []findings.GoawayCode) {
	for by := range h.Goaways {
		for code, n := range h.Goaways[by] {
			g := findings.GoawayCode{Code: http.Code(code), By: fact.ClosedBy(by), N: n}
			if g.Code == http.EnhanceYourCalm && g.By == fact.ByServer {
				g.N -= min(n, h.TooManyPings.N)
			}
			if g.N > 0 && g.Code != http.NoError {
				list = append(list, g)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b findings.GoawayCode) int { return cmp.Compare(b.N, a.N) })
	return list
}

func tunnels(f *tally.Figures) (list []findings.Tunnel) {
	for target, t := range f.Tunnels {
		out := findings.Tunnel{Target: naming.Clean(target), Opened: t.Opened}
		for cause := range t.Wasted {
			l := lossOf(&t.Wasted[cause])
			out.Cause[cause] = l
			if l.N > 0 && out.Wasted.N == 0 {
				out.Wasted.Example = l.Example
			}
			out.Wasted.N += l.N
			out.Wasted.Seconds += l.Seconds
		}
		list = append(list, out)
	}
	slices.SortFunc(list, func(a, b findings.Tunnel) int { return cmp.Compare(a.Target, b.Target) })
	return list
}

func proberList(probers []prober) (list []findings.Prober) {
	for _, c := range probers {
		list = append(list, findings.Prober{
			Address: c.Addr.Netip().String(), Software: c.Software, Connections: c.Connections, Interval: seconds(c.interval),
			Example: findings.Example(c.Example),
		})
	}
	return list
}

const maxSingles = 8

// singles are the first wasted handshakes, health checks left out, one by one, with what
// was lost before each.
func (w *weigher) singles() (list []findings.Single) {
	var wasted []*at
	for _, g := range w.list {
		for _, k := range w.own[g] {
			if k.Cause != fact.NoCause && !g.probedBy(k.Client) {
				wasted = append(wasted, k)
			}
		}
	}
	slices.SortFunc(wasted, func(a, b *at) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID)) })
	wasted = wasted[:min(len(wasted), maxSingles)]
	byID := map[uint64]*tally.Record{}
	for _, o := range w.records {
		if slices.ContainsFunc(wasted, func(k *at) bool { return k.Could == o.ID }) {
			byID[o.ID] = o.Record
		}
	}
	for _, k := range wasted {
		s := findings.Single{
			Server: k.group.name, Client: k.Client.Netip().String(), Several: several(k.group.sum.Newest.All())[k.Client], Cause: k.Cause, Seconds: seconds(k.Cost), Estimated: k.Estimated,
			Clients: []software.ID{w.proxy(k.Client, k.group), k.Software}, Servers: []software.ID{mostly(k.group.sum.Software[:])},
		}
		lost := byID[k.Could]
		if k.Could == 0 {
			lost = w.lostBefore(k)
		}
		if lost != nil {
			s.Requests, s.Idle = uint64(lost.Requests), seconds(max(lost.Idle, 0))
			s.Beside = lost.Reason == fact.ReasonClientDiscard && w.closedBeside(lost, k.group)
		}
		list = append(list, s)
	}
	return list
}

// lostBefore returns what the client lost last for the cause of a handshake.
func (w *weigher) lostBefore(k *at) (lost *tally.Record) {
	for _, o := range by(k.Client, w.records) {
		if o.endpoint == k.endpoint && fact.Cause(o.Reason) == k.Cause && o.At <= k.Start && (lost == nil || o.At > lost.At) {
			lost = o.Record
		}
	}
	return lost
}
