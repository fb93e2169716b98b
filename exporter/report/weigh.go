package report

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"slices"
	"sort"

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

// An at is a connection and where it went.
type at struct {
	*tally.Record
	group    *group
	endpoint sniffer.Endpoint
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

// compare orders by client, then by start.
func (k *at) compare(o *at) int {
	return cmp.Or(slices.Compare(k.Client[:], o.Client[:]), cmp.Compare(k.Start, o.Start), cmp.Compare(k.ID, o.ID))
}

// recordsOf returns the connections of a server that are remembered.
func recordsOf(g *group) []*at {
	var list []at
	for _, m := range g.all {
		for _, r := range m.rows {
			list = slices.Grow(list, r.Newest.Len())
			for k := range r.Newest.All() {
				list = append(list, at{k, g, m.Endpoint})
			}
		}
	}
	pointers := make([]*at, len(list))
	for i := range list {
		pointers[i] = &list[i]
	}
	return pointers
}

// by returns a client's connections of those.
func by(client sniffer.Addr, list []*at) []*at {
	first := sort.Search(len(list), func(i int) bool { return slices.Compare(list[i].Client[:], client[:]) >= 0 })
	n := sort.Search(len(list)-first, func(i int) bool { return list[first+i].Client != client })
	return list[first : first+n]
}

// eachClient goes through the connections of each client.
func eachClient(list []*at) iter.Seq[[]*at] {
	return func(yield func([]*at) bool) {
		for len(list) > 0 {
			own := by(list[0].Client, list)
			if !yield(own) {
				return
			}
			list = list[len(own):]
		}
	}
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
	above := int64(3)
	if within(a.requests, number, 10, 10) >= enough {
		above = 10
	}
	if within(a.requests, number, 1e6, 1e6) >= enough || within(a.at, least, 10, above) < enough {
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

const (
	young     = 3 * second // a SYN may be answered yet
	elsewhere = 2 * second // within which a client reaches another address
)

// attempts leaves out those after which the client reached the same port elsewhere,
// those of scans, and those that are too young.
func (w *weigher) attempts(g *group) findings.Attempts {
	f := &g.sum
	a := findings.Attempts{
		Refused: f.Handshakes[fact.HandshakeRefused], Unanswered: f.Handshakes[fact.HandshakeUnanswered],
		Repeated: f.Repeated.N, RepeatDelay: seconds(f.RepeatDelay.Median()), Repeat: example(&f.Repeated.Example),
	}
	a.All = f.Connections() - f.Handshakes[fact.HandshakeMidstream] + w.besides(g)
	var first, last, refused, silent int64
	for _, k := range w.own[g] {
		n := &a.Refused
		switch k.Handshake {
		case fact.HandshakeRefused:
			if k.At >= refused {
				refused, a.Refusal.ID = k.At, k.ID
			}
		case fact.HandshakeUnanswered:
			n = &a.Unanswered
			if k.At >= silent {
				silent, a.Silence.ID = k.At, k.ID
			}
		default:
			continue
		}
		switch {
		case w.scanners[k.Client] || w.reachedElsewhere(k):
			*n -= min(*n, 1)
			a.All -= min(a.All, 1)
		case k.Handshake == fact.HandshakeUnanswered && w.capture.LastPacket.UnixNano()-k.Start < young:
			*n -= min(*n, 1)
			a.TooYoung++
		default:
			if first == 0 || k.Start < first {
				first = k.Start
			}
			last = max(last, k.Start)
		}
	}
	a.Since = seconds(last - first)
	return a
}

// besides counts the handshakes at a group's addresses that are another's, for a handshake
// that fails has no name.
func (w *weigher) besides(g *group) (n uint64) {
	own := map[sniffer.Endpoint]bool{}
	for _, m := range g.all {
		own[m.Endpoint] = true
	}
	for _, o := range w.all {
		for _, m := range o.all {
			if o == g || !own[m.Endpoint] {
				continue
			}
			for _, r := range m.rows {
				n += r.Connections() - r.Handshakes[fact.HandshakeMidstream]
			}
		}
	}
	return n
}

// reachedElsewhere says whether the client came through to the same port of another
// address soon after: ::1, then 127.0.0.1.
func (w *weigher) reachedElsewhere(k *at) bool {
	known := by(k.Client, w.records)
	i, _ := slices.BinarySearchFunc(known, k.Start, func(o *at, t int64) int { return cmp.Compare(o.Start, t) })
	for ; i < len(known) && known[i].Start <= k.Start+elsewhere; i++ {
		o := known[i]
		if o.Handshake == fact.HandshakeComplete && o.endpoint.Port == k.endpoint.Port && o.endpoint.Addr != k.endpoint.Addr {
			return true
		}
	}
	return false
}

const minScanned = 10

// scans finds the clients that tried many endpoints, most of them in vain.
func (w *weigher) scans() (list []findings.Scan) {
	for records := range eachClient(w.records) {
		client, reached := records[0].Client, map[sniffer.Endpoint]bool{}
		for _, k := range records {
			failed := k.Handshake == fact.HandshakeRefused || k.Handshake == fact.HandshakeUnanswered
			reached[k.endpoint] = reached[k.endpoint] || !failed
		}
		vain := 0
		for _, ok := range reached {
			if !ok {
				vain++
			}
		}
		if len(reached) >= minScanned && 2*vain > len(reached) {
			w.scanners[client] = true
			list = append(list, findings.Scan{Client: client.Netip().String(), Endpoints: uint64(len(reached)), InVain: uint64(vain)})
		}
	}
	slices.SortFunc(list, func(a, b findings.Scan) int {
		return cmp.Or(cmp.Compare(b.InVain, a.InVain), cmp.Compare(a.Client, b.Client))
	})
	return list
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

func (w *weigher) idle(g *group) (out findings.Idle) {
	f := &g.sum
	side := func(by fact.ClosedBy) (timeout float64, short bool) {
		if ns, ok := f.IdleClosings[by].Timeout(); ok {
			return seconds(ns), false
		}
		if ns, ok := f.Discards[by].ShortTimeout(); ok {
			return seconds(ns), true
		}
		return 0, false
	}
	out.Server, out.ServerShort = side(fact.ByServer)
	out.Client, out.ClientShort = side(fact.ByClient)
	out.ServerClosings = f.IdleClosings[fact.ByServer].N
	out.ClientAtMost = w.closesWhenItOpens(g)
	if !out.ClientShort && ended(g) {
		out.Client = 0
	}
	if out.Client == 0 {
		out.ClientFrom, out.ClientTo = late(g)
	}
	return out
}

// ended says whether the client closed all that idled at one instant, after times that
// differ: it ended, and no timer did.
func ended(g *group) bool {
	const instant = int64(50e6)
	var at, idle []int64
	for k := range g.sum.Newest.All() {
		if k.Reason == fact.ReasonClientIdle {
			at, idle = append(at, k.At), append(idle, k.Idle)
		}
	}
	return len(at) > 1 && slices.Max(at)-slices.Min(at) <= instant && 50*(slices.Max(idle)-slices.Min(idle)) > slices.Max(idle)
}

// late returns between which times after its last response the client closes what idles,
// where that is within a second now and then, and seldom right after it; else 0.
func late(g *group) (from, to float64) {
	trips := map[sniffer.Addr]int64{} // on which nothing idles
	for _, c := range g.sum.Clients.Worst() {
		trips[c.Addr] = max(trips[c.Addr], c.Trip)
	}
	var idle []int64
	short, near := 0, 0
	for k := range g.sum.Newest.All() {
		switch {
		case k.Estimated:
		case k.Reason == fact.ReasonClientIdle:
			idle = append(idle, k.Idle)
		case k.Reason != fact.ReasonClientDiscard:
		case seconds(k.Idle-trips[k.Client]) < findings.MinLateIdle:
			near++
		default:
			short++
			idle = append(idle, k.Idle)
		}
	}
	if n := len(idle); short == 0 || n < findings.MinLate || float64(short) < findings.MinLimitNear*float64(short+near) {
		return 0, 0
	}
	return seconds(slices.Min(idle)), seconds(slices.Max(idle))
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

// cut says after what silence the server ended upgraded connections.
func cut(g *group) findings.Cluster {
	var silences tally.Histogram
	for k := range g.sum.Newest.All() {
		if k.Reason == fact.ReasonUpgraded && k.ClosedBy == fact.ByServer && k.Idle >= second {
			silences.Add(k.Idle)
		}
	}
	return cluster(&silences, 2, 1e9)
}

// closesWhenItOpens says whether most of the clients' idle closings come with their next
// connections: then they tell an upper bound of the timeout.
func (w *weigher) closesWhenItOpens(g *group) bool {
	closings, together := 0, 0
	for own := range eachClient(w.own[g]) {
		n, with := replaced(own)
		closings, together = closings+n, together+with
	}
	return closings > 0 && 2*together > closings
}

// replaced counts the idle closings by a client, and those that come with its next
// connection.
func replaced(own []*at) (closings, together int) {
	for _, k := range own {
		if k.Reason != fact.ReasonClientIdle {
			continue
		}
		closings++
		if k.opensAnother(own, func(*at) bool { return true }) {
			together++
		}
	}
	return closings, together
}

// moved counts the closings by a client, and those of a connection that had idled which come
// with its next one, to another address.
func moved(own []*at) (closings, together uint64) {
	for _, k := range own {
		if k.Reason != fact.ReasonClientIdle && k.Reason != fact.ReasonClientDiscard {
			continue
		}
		closings++
		if k.Idle >= withNext && k.opensAnother(own, func(o *at) bool { return o.endpoint != k.endpoint }) {
			together++
		}
	}
	return closings, together
}

// withNext is within what time a closing comes with an opening.
const withNext = int64(10e6)

// opensAnother says whether the client opened such a connection when it closed one.
func (k *at) opensAnother(own []*at, such func(*at) bool) bool {
	i, _ := slices.BinarySearchFunc(own, k.At-withNext, func(o *at, t int64) int { return cmp.Compare(o.Start, t) })
	for ; i < len(own) && own[i].Start <= k.At+withNext; i++ {
		if own[i].ID != k.ID && such(own[i]) {
			return true
		}
	}
	return false
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

// clients leaves health checks out.
func (w *weigher) clients(g *group) (list []findings.Client) {
	if len(g.members) == 0 {
		return nil
	}
	several := several(g.sum.Newest.All())
	served := 0
	for _, m := range g.members {
		if m.counted+m.estimated > 0 {
			served++
		}
	}
	probing := map[string]bool{}
	for _, c := range g.probers {
		probing[c.Addr.Netip().String()] = true
	}
	for _, c := range findings.Clients(&g.sum.Clients) {
		if probing[c.Address] {
			continue
		}
		addr := sniffer.Addr(netip.MustParseAddr(c.Address).As16())
		c.Several = several[addr]
		c.Gap, c.Response = seconds(g.sum.Counted.ReuseIdle.Median()), seconds(g.sum.Exchanges.Median())
		if c.Gap == 0 {
			c.Busy = 0 // nothing was reused, so that nothing can have queued
		}
		c.Busy = min(c.Busy, busy(&g.sum, c.Trip))
		c.Proxy = w.proxy(addr, g)
		relays := w.relays(addr, g) || c.Proxy != software.Unknown && w.forwards(addr, c.Software)
		switch {
		case relays:
			c.Software = software.Unknown
		case c.Software == software.Unknown:
			c.Software = wasting(by(addr, w.own[g]))
		}
		// What it calls itself may be what this server does, passed on.
		c.Unnamed = c.Software == software.Unknown &&
			(relays && c.Proxy == software.Unknown || c.Proxy != software.Unknown && c.Proxy == mostly(g.sum.Software[:]))
		c.SYNs, c.Spread = w.spread(g, addr)
		c.Ended, c.Moved = moved(by(addr, w.own[g]))
		closings, together := replaced(by(addr, w.own[g]))
		c.Replaces = closings > 0 && 2*together > closings
		c.GRPCAddresses, c.GRPCOtherServed = len(g.members), served > 1
		list = append(list, c)
	}
	return list
}

// busy is the share of its time that a server's mean connection did not idle between
// requests, where each pause has a round trip of so many seconds in it: connections do not
// list their pauses for every output.
func busy(f *tally.Figures, trip float64) float64 {
	var open int64
	for k := range f.Newest.All() {
		if !k.Estimated {
			open += k.At - k.Start
		}
	}
	idle := seconds(f.Counted.ReuseIdle.Sum()) - trip*float64(f.Counted.ReuseIdle.Count())
	if open <= 0 {
		return 1
	}
	return 1 - max(idle, 0)/seconds(open)
}

// wasting returns the one software, of several that an address shows, whose connections
// waste handshakes: the others would have wasted minExpected at its rate, and did not a
// fifth. A proxy that passes on the User-Agent of others wastes alike for all.
func wasting(own []*at) software.ID {
	const minExpected = 5
	var wasted, requests [software.NumIDs]uint32
	shown := 0
	for _, k := range own {
		if k.Software != software.Unknown && requests[k.Software] == 0 {
			shown++
		}
		requests[k.Software] += k.Requests
	}
	if shown < 2 {
		return software.Unknown
	}
	byID := map[uint64]*at{}
	for _, k := range own {
		byID[k.ID] = k
	}
	for _, k := range own {
		lost := byID[k.Could]
		if k.Cause == fact.PoolMiss {
			lost = k // what idled is not at fault
		}
		if k.Cause != fact.NoCause && lost != nil {
			wasted[lost.Software]++
		}
	}
	worst := mostly(wasted[:])
	var others, asked float64
	for id := range wasted {
		if software.ID(id) != worst {
			others, asked = others+float64(wasted[id]), asked+float64(requests[id])
		}
	}
	expected := asked * float64(wasted[worst]) / float64(max(requests[worst], 1))
	if expected >= minExpected && 5*others <= expected {
		return worst
	}
	return software.Unknown
}

// proxy returns what a client's address calls itself as a server, where that is a proxy,
// and not this server itself: a host that talks to itself may be anybody.
func (w *weigher) proxy(client sniffer.Addr, g *group) software.ID {
	for _, m := range g.all {
		if m.Addr == client {
			return software.Unknown
		}
	}
	return w.proxies[client]
}

// relays says whether a client's address serves the same name itself, at the hop before: then
// it sends on what others ask, with their User-Agent, and maybe what its server calls itself.
func (w *weigher) relays(client sniffer.Addr, g *group) bool {
	for _, o := range w.all {
		if o != g && len(o.members) > 0 && len(g.members) > 0 && o.members[0].rows[0].Label() == g.members[0].rows[0].Label() &&
			slices.ContainsFunc(o.members, func(m *member) bool { return m.Addr == client && g.members[0].hop > m.hop }) {
			return true
		}
	}
	return false
}

// forwards says whether a proxy's address shows as a client no software, or that of clients
// which it serves by any name: it sends on what they ask.
func (w *weigher) forwards(client sniffer.Addr, shown software.ID) bool {
	if shown == software.Unknown {
		return true
	}
	for _, o := range w.all {
		if slices.ContainsFunc(o.members, func(m *member) bool { return m.Addr == client }) &&
			slices.ContainsFunc(findings.Clients(&o.sum.Clients), func(c findings.Client) bool { return c.Software == shown }) {
			return true
		}
	}
	return false
}

// proxiesOf lists the addresses that serve requests as a proxy, by what most of their
// connections say.
func proxiesOf(list []*group) map[sniffer.Addr]software.ID {
	counts := map[sniffer.Addr]*[software.NumIDs]uint32{}
	for _, g := range list {
		for _, m := range g.members {
			for _, r := range m.rows {
				if counts[m.Addr] == nil {
					counts[m.Addr] = new([software.NumIDs]uint32)
				}
				for id, n := range r.Software {
					counts[m.Addr][id] += n
				}
			}
		}
	}
	proxies := map[sniffer.Addr]software.ID{}
	for addr, n := range counts {
		if id := mostly(n[:]); id.IsProxy() {
			proxies[addr] = id
		}
	}
	return proxies
}

// spread counts a client's SYNs to a name, and those that pooling by name would have
// spared: needed by their address, while what the client last used of another address
// of that name idled, or would have in the ideal pool.
func (w *weigher) spread(g *group, client sniffer.Addr) (syns, beside uint64) {
	if len(g.members) < 2 {
		return 0, 0
	}
	own := by(client, w.own[g])
	for _, k := range own {
		if k.Handshake == fact.HandshakeMidstream {
			continue
		}
		syns++
		if k.Cause != fact.NoCause || k.Requests == 0 {
			continue
		}
		for _, o := range own {
			last := o.At - o.Idle
			if o.endpoint != k.endpoint && o.Requests > 0 && o.Idle >= 0 && last <= k.Start && k.Start-last <= w.window() {
				beside++
				break
			}
		}
	}
	return syns, beside
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
