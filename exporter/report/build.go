package report

import (
	"cmp"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/tally"
)

// Build makes the report of what was counted. A final one settles the reasons that a
// server's other connections tell; while packets are still read a reason counts as it
// was told. Of one server it says what the report of all says of it.
func Build(sum *tally.Sum, c Capture, final bool) *Report {
	endpoints, resettled := sum.Endpoints(final)
	list := groups(sum.Rows)
	if i := slices.IndexFunc(list, func(g *group) bool { return len(g.members) == 0 }); i >= 0 {
		c.FoldedConnections = list[i].sum.Connections()
	}
	pairs, unwatched := sum.Pairs()
	assignPorts(list, pairs)
	all, traffic := habits(list)
	r := &Report{Schema: Schema, Capture: c, Servers: []Server{}, Limits: met(slices.Concat(c.Limits, sum.Limits())), Resettled: resettled}
	r.Capture.UnwatchedPairs = unwatched
	w := newWeigher(&c, list, endpoints) // what it weighs may rest on other servers
	if c.Server != "" {
		w.list = slices.DeleteFunc(slices.Clone(list), func(g *group) bool { return !g.is(c.Server) })
	}
	var total tally.Figures
	var probers []prober
	for _, g := range w.list {
		g.findProbers(all, traffic)
		total.Merge(&g.sum)
		probers = append(probers, g.probers...)
		r.Servers = append(r.Servers, g.server())
	}
	slices.SortFunc(r.Servers, compareServers)
	r.Totals = summary(&total, probers)
	for _, s := range r.Servers {
		if s.Ports != nil && (r.Totals.Ports == nil || s.Ports.Peak > r.Totals.Ports.Peak) {
			r.Totals.Ports = s.Ports
		}
	}
	f := w.figures(&total, probers)
	r.Findings = append([]findings.Finding{}, findings.Evaluate(f)...)
	r.Explained, r.Undecided = findings.Explain(f, r.Findings), findings.Undecided(f)
	return r
}

// met lists the caps that were met.
func met(all fact.Limits) (list []Limit) {
	for _, l := range all {
		if l.Count > 0 {
			list = append(list, Limit{l.Name, l.Count, l.Means})
		}
	}
	return list
}

func summary(f *tally.Figures, probers []prober) Summary {
	t := &f.Counted
	probed := probedWaste(probers, false)
	out := Summary{
		Connections: f.Connections(), Open: uint64(max(f.Open-f.Leaving, 0)), Used: t.Connections, Midstream: f.Handshakes[fact.HandshakeMidstream], Incomplete: f.Incomplete, Evicted: f.EndedBy(fact.ByEviction),
		Requests: t.AllRequests(), Responses: t.Responses, ReusedRequests: t.Reuse(fact.ReusedRequest), UnknownRequests: t.Reuse(fact.UnknownReuse),
		Unsolicited: f.Unsolicited, Pipelined: f.Pipelined,
		RequestsLost:    f.Lost,
		RequestsPerConn: distribution(t), ReuseRatio: reuseRatio(t), Effectiveness: effectiveness(t, probed),
		FailedRequests: failed(t), StaleReuses: t.StaleReuses, Probes: probes(probers),
		Attempts:   Attempts{f.Handshakes[fact.HandshakeRefused], f.Handshakes[fact.HandshakeUnanswered], f.Repeated.N},
		Decryption: named[fact.Keys](f.Keys[:]),
		Wasted:     wastedHandshakes(t, probed), NeededHandshakes: t.Needed,
		Handshakes: Handshakes{
			TCP:        quantiles(&f.HandshakeTimes[tally.HandshakeTCP]),
			TLSFull:    quantiles(&f.HandshakeTimes[tally.HandshakeTLSFull]),
			TLSResumed: quantiles(&f.HandshakeTimes[tally.HandshakeTLSResumed]),
		},
		HandshakeKinds: named[fact.Handshake](f.Handshakes[:]),
		Protocols:      named[fact.Protocol](f.Protocols[:]),
		HTTPVersions:   named[http.Version](f.Versions[:]),
		StatusClasses:  named[statusClass](f.StatusClasses[:]),
		Reasons:        reasons(f),
		Negotiated:     named[fact.Outcome](f.Outcomes[:]),
		Races:          t.Races, Idle: idleTimes(f),
		Exchanges: quantiles(&f.Exchanges), Age: quantiles(&f.Age),
		UnreadBodies: f.Unread.N, Silent: f.Silent.N, SilentSeconds: seconds(f.Silent.NS),
		TimeWait: timeWait(f.TimeWait), MissingBytes: f.Missing, TruncatedBytes: f.Truncated,
		Bytes: Sides{f.Bytes[0], f.Bytes[1]}, Packets: Sides{f.Packets[0], f.Packets[1]},
	}
	if f.Limited.Count() > 0 {
		out.LimitRequests = pointer(f.Limited.Median())
	}
	open := f.EstimatedOpened - min(f.EstimatedEnd, f.EstimatedOpened)
	if e := f.Estimated; e != nil && e.Connections > 0 || open > 0 {
		out.Estimated = estimate(cmp.Or(e, &tally.Traffic{}), probedWaste(probers, true))
		out.Estimated.Open = open
	}
	return out
}

// A statusClass is the first digit of a status code.
type statusClass uint8

// String returns the class as documents write it, such as "2xx"; "none" is that of
// a request without a response.
func (c statusClass) String() string {
	if c == 0 {
		return "none"
	}
	return string('0'+rune(c)) + "xx"
}

func reasons(f *tally.Figures) map[string]uint64 {
	var sum [fact.NumReasons]uint64
	for r := range fact.NumReasons {
		sum[r] = f.Ended(r)
	}
	return named[fact.Reason](sum[:])
}

func estimate(t *tally.Traffic, probed uint64) *Estimated {
	return &Estimated{
		Connections: t.Connections, Requests: t.AllRequests(), Responses: t.Responses, ReusedRequests: t.Reuse(fact.ReusedRequest), Races: t.Races,
		RequestsPerConn: distribution(t), ReuseRatio: reuseRatio(t), Effectiveness: effectiveness(t, probed),
		FailedRequests: failed(t), StaleReuses: t.StaleReuses,
		Wasted: wastedHandshakes(t, probed), Needed: t.Needed,
		ReuseIdle: quantiles(&t.ReuseIdle), RaceIdle: quantiles(&t.RaceIdle), ReuseUnlisted: t.Unlisted,
	}
}

func reuseRatio(t *tally.Traffic) *float64 {
	return ratio(t.Reuse(fact.ReusedRequest), t.AllRequests()-t.Reuse(fact.UnknownReuse))
}

// effectiveness leaves out the handshakes that health checks wasted.
func effectiveness(t *tally.Traffic, probed uint64) *float64 {
	reused := t.Reuse(fact.ReusedRequest)
	wasted, _ := t.AllWasted()
	return ratio(reused, reused+wasted-min(probed, wasted))
}

// probedWaste returns how many handshakes of health checks were wasted, by what is
// counted or by what is estimated.
func probedWaste(list []prober, estimated bool) (n uint64) {
	for _, c := range list {
		if c.Estimated == estimated {
			wasted, _ := c.Lost()
			n += wasted
		}
	}
	return n
}

func failed(t *tally.Traffic) map[string]uint64 {
	var counts [fact.NumFailures]uint64
	for i := range t.Failed {
		counts[i] = t.Failed[i].N
	}
	return named[fact.Failure](counts[:])
}

func distribution(t *tally.Traffic) Requests {
	h := &t.PerConnection
	n := h.Count()
	if n == 0 {
		return Requests{}
	}
	one, ten, hundred, thousand := h.Below(2), h.Below(10), h.Below(100), h.Below(1000)
	return Requests{
		Mean: float64(h.Sum()) / float64(n),
		P50:  h.Quantile(50), P90: h.Quantile(90), P99: h.Quantile(99), Max: h.Max,
		Histogram: RequestBuckets{one, ten - one, hundred - ten, thousand - hundred, n - thousand},
	}
}

func wastedHandshakes(t *tally.Traffic, probed uint64) Wasted {
	n, ns := t.AllWasted()
	w := Wasted{
		Total: n, Probed: min(probed, n), Seconds: seconds(ns),
		ByCause:        named[fact.Cause](t.Wasted[:]),
		SecondsByCause: map[string]float64{},
		SecondsByKind:  Kinds{seconds(t.CostNS[tally.CostTCP]), seconds(t.CostNS[tally.CostTLS]), seconds(t.CostNS[tally.CostDNS]), seconds(t.CostNS[tally.CostConnect])},
	}
	for i, ns := range t.WastedNS {
		if t.Wasted[i] > 0 {
			w.SecondsByCause[fact.Cause(i).String()] = seconds(ns)
		}
	}
	return w
}

func idleTimes(f *tally.Figures) Idle {
	idle := Idle{
		Reuse: quantiles(&f.Counted.ReuseIdle), Race: quantiles(&f.Counted.RaceIdle),
		Close:        SideTimes{quantiles(&f.CloseIdle[0]), quantiles(&f.CloseIdle[1])},
		IdleClosings: SideCounts{f.IdleClosings[0].N, f.IdleClosings[1].N},
	}
	if ns, ok := f.IdleClosings[fact.ByClient].Timeout(); ok {
		idle.ObservedTimeout.Client = pointer(seconds(ns))
	}
	if ns, ok := f.IdleClosings[fact.ByServer].Timeout(); ok {
		idle.ObservedTimeout.Server = pointer(seconds(ns))
	}
	if f.AdvertisedTimeouts.Count() > 0 {
		idle.AdvertisedTimeout = pointer(float64(f.AdvertisedTimeouts.Median()))
	}
	if f.AdvertisedMax.Count() > 0 {
		idle.AdvertisedMax = pointer(f.AdvertisedMax.Median())
	}
	return idle
}

func quantiles(h *tally.Histogram) Quantiles {
	n := h.Count()
	if n == 0 {
		return Quantiles{}
	}
	q := func(p uint64) *float64 { return pointer(seconds(h.Quantile(p))) }
	return Quantiles{Count: n, P50: q(50), P90: q(90), P99: q(99), Max: pointer(seconds(h.Max))}
}

func timeWait(w tally.TimeWait) TimeWait { return TimeWait(w) }

// named makes the JSON object of the counts that are not zero.
func named[E interface {
	~uint8
	String() string
}](counts []uint64) map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range counts {
		if n > 0 {
			m[E(i).String()] = n
		}
	}
	return m
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

func pointer[T any](v T) *T { return &v }

// ratio returns a/b, or nil where b is 0.
func ratio(a, b uint64) *float64 {
	if b == 0 {
		return nil
	}
	return pointer(float64(a) / float64(b))
}
