package report

import (
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

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
