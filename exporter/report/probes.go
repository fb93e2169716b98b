package report

import (
	"cmp"
	"iter"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/clients"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

// steadyShare is how many of a health check's intervals are near their median.
const steadyShare = 0.9

// A prober is a client that checks a server's health.
type prober struct {
	*clients.Client
	interval int64 // median, ns; 0 where it is not known
}

// A habit is what a client address does in the whole capture.
type habit struct {
	single, other uint64 // connections of at most one request, and of more
}

// A trip is from a client to an address and port.
type trip struct {
	client sniffer.Addr
	to     sniffer.Endpoint
}

// habits looks at all clients of all servers. Traffic are those trips of which a named
// server's connections carry several requests.
func habits(list []*group) (all map[sniffer.Addr]habit, traffic map[trip]bool) {
	all, traffic = map[sniffer.Addr]habit{}, map[trip]bool{}
	for _, g := range list {
		for _, c := range g.sum.Clients.Worst() {
			h := all[c.Addr]
			h.single += c.Connections - min(c.More, c.Connections)
			h.other += c.More
			all[c.Addr] = h
		}
		for _, m := range g.members {
			for _, r := range m.rows {
				for _, c := range r.Clients.Worst() {
					if r.Name != "" && c.More > 0 {
						traffic[trip{c.Addr, m.Endpoint}] = true
					}
				}
			}
		}
	}
	return all, traffic
}

// checksBeside says whether a client has traffic with a named server at the address of
// requests that name none: a proxy's checks come from where its traffic comes from, and
// ask for no name.
func (g *group) checksBeside(a sniffer.Addr, traffic map[trip]bool) bool {
	for _, m := range g.all {
		if m.rows[0].Name != "" || !traffic[trip{a, m.Endpoint}] {
			return false
		}
	}
	return len(g.all) > 0
}

// findProbers finds those that check health: by a prober's own words, or at a steady
// interval by a client that leaves no connection open and does nothing else, towards a
// server whose other clients keep their connections, or by one that keeps its own for
// requests with a name.
func (g *group) findProbers(all map[sniffer.Addr]habit, traffic map[trip]bool) {
	starts, left := map[sniffer.Addr][]int64{}, map[sniffer.Addr]bool{}
	for k := range g.sum.Newest.All() {
		starts[k.Client] = append(starts[k.Client], k.Start)
		if tally.Idled(k.Reason) {
			left[k.Client] = true
		}
	}
	kept := g.sum.Counted.Reuse(fact.ReusedRequest) > 0 || g.sum.Estimated != nil && g.sum.Estimated.Reuse(fact.ReusedRequest) > 0
	for _, c := range g.sum.Clients.Worst() {
		interval, even := intervalOf(starts[c.Addr])
		switch {
		case c.Connections < tally.MinProbes || c.More > 0:
		case c.Software.IsProber(),
			even && interval >= tally.MinProbeInterval && c.InVain == 0 && !left[c.Addr] &&
				(kept && all[c.Addr].other == 0 || g.checksBeside(c.Addr, traffic)):
			g.probers = append(g.probers, prober{c, interval})
		}
	}
}

// probedBy says whether a client checks the server's health.
func (g *group) probedBy(a sniffer.Addr) bool {
	return slices.ContainsFunc(g.probers, func(p prober) bool { return p.Addr == a })
}

// intervalOf returns the median time from one start to the next, and whether nearly
// all are near it.
func intervalOf(starts []int64) (median int64, even bool) {
	if len(starts) < tally.MinProbes {
		return 0, false
	}
	slices.Sort(starts)
	gaps := make([]int64, 0, len(starts))
	for i := range starts[1:] {
		gaps = append(gaps, starts[i+1]-starts[i])
	}
	slices.Sort(gaps)
	median = gaps[len(gaps)/2]
	near := 0
	for _, gap := range gaps {
		if tally.SteadyWith(gap, median) {
			near++
		}
	}
	return median, float64(near) >= steadyShare*float64(len(gaps))
}

// probes sums up what probers did.
func probes(list []prober) (p Probes) {
	for _, c := range list {
		n, _ := c.Lost()
		p.Connections += c.Connections
		p.Requests += c.Requests
		p.Wasted += n
	}
	return p
}

const maxClients = 10

// clientsOf lists the clients that wasted most.
func clientsOf(f *tally.Figures) (list []Client) {
	for _, c := range f.Clients.Worst() {
		if len(list) == maxClients {
			break
		}
		out := Client{Address: c.Addr.Netip().String(), Connections: c.Connections, Wasted: map[string]uint64{}, Estimated: c.Estimated}
		for _, w := range c.Wasted {
			out.Wasted[w.Cause.String()] = w.N
		}
		if c.Software != software.Unknown {
			out.Software = c.Software.String()
		}
		list = append(list, out)
	}
	return list
}

// several says of which client addresses of a server look like several clients: at
// least 8 connections open at once, or 10 that overlap and carry two requests or more
// each.
func several(records iter.Seq[*tally.Record]) map[sniffer.Addr]bool {
	found := map[sniffer.Addr]bool{}
	byClient := map[sniffer.Addr][]*tally.Record{}
	for k := range records {
		if k.Handshake != fact.HandshakeRefused && k.Handshake != fact.HandshakeUnanswered {
			byClient[k.Client] = append(byClient[k.Client], k)
		}
	}
	for client, list := range byClient {
		found[client] = overlap(list, 1) >= 8 || overlap(list, 2) >= 10
	}
	return found
}

// overlap returns how many connections with at least so many requests were open at
// once.
func overlap(list []*tally.Record, requests uint32) (most int) {
	type edge struct {
		at   int64
		step int
	}
	var edges []edge
	for _, k := range list {
		if k.Requests >= requests {
			edges = append(edges, edge{k.Start, 1}, edge{k.At, -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.step, b.step)) })
	open := 0
	for _, e := range edges {
		open += e.step
		most = max(most, open)
	}
	return most
}
