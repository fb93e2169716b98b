package report

import (
	"net/netip"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

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
