package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

// A group is the rows that the report lists as one server: those of one name and
// direction, at one hop.
type group struct {
	name    string
	rows    []*tally.Row
	sum     tally.Figures // of all rows; read only
	members []*member     // to which requests went, the busiest first; all where to none
	all     []*member
	ports   *tally.Pair
	probers []prober
}

// A member is one address and port of a group.
type member struct {
	sniffer.Endpoint
	rows               []*tally.Row
	clients            map[sniffer.Addr]bool
	counted, estimated uint64 // requests
	hop                int
}

// groups joins rows, in an order that does not depend on anything but them. With
// several hops the first keeps the name, and the others add where they lead.
func groups(rows []*tally.Row) (list []*group) {
	byLabel := map[tally.Label][]*tally.Row{}
	var labels []tally.Label
	for _, r := range rows {
		l := tally.Label{Direction: r.Direction, Name: r.Label()}
		if r.Fold >= tally.Others {
			l = tally.Label{Direction: naming.NumDirections, Name: naming.Other}
		}
		if byLabel[l] == nil {
			labels = append(labels, l)
		}
		byLabel[l] = append(byLabel[l], r)
	}
	names := map[string]int{}
	for _, l := range labels {
		names[l.Name]++
	}
	for _, l := range labels {
		for _, g := range hops(l.Name, byLabel[l]) {
			if names[l.Name] > 1 && l.Direction < naming.NumDirections {
				g.name += " (" + l.Direction.String() + ")"
			}
			list = append(list, g)
		}
	}
	return list
}

// hops parts the rows of one name: an address that is a client of another address of
// the same name is not the same server.
func hops(name string, rows []*tally.Row) (list []*group) {
	if rows[0].Fold >= tally.Others {
		g := &group{name: name}
		for _, r := range rows {
			g.add(r)
		}
		return []*group{g}
	}
	members := membersOf(rows)
	depths(name, members)
	slices.SortStableFunc(members, func(a, b *member) int { return cmp.Compare(a.hop, b.hop) })
	for i, m := range members {
		if i == 0 || m.hop != members[i-1].hop {
			list = append(list, &group{name: name})
		}
		g := list[len(list)-1]
		g.members = append(g.members, m)
		for _, r := range m.rows {
			g.add(r)
		}
	}
	for i, g := range list {
		g.all = slices.Clone(g.members)
		g.sort()
		if i > 0 {
			g.name = fmt.Sprintf("%s → %v", name, g.members[0].Endpoint)
		}
	}
	return list
}

// is says whether the group is the server that somebody asks for.
func (g *group) is(asked string) bool {
	return slices.ContainsFunc(g.all, func(m *member) bool { return naming.IsCalled(asked, m.rows[0].Label(), m.Endpoint) })
}

// add adds a row. What a group of one row has is its own figures, not a copy.
func (g *group) add(r *tally.Row) {
	g.rows = append(g.rows, r)
	if len(g.rows) == 1 {
		g.sum = r.Figures
		return
	}
	if len(g.rows) == 2 {
		g.sum = tally.Figures{}
		g.merge(g.rows[0])
	}
	g.merge(r)
}

func (g *group) merge(r *tally.Row) {
	g.sum.Merge(&r.Figures)
	g.sum.MergeDetail(&r.Figures)
}

func membersOf(rows []*tally.Row) (list []*member) {
	at := map[sniffer.Endpoint]*member{}
	for _, r := range rows {
		m := at[r.Endpoint]
		if m == nil {
			m = &member{Endpoint: r.Endpoint, clients: map[sniffer.Addr]bool{}}
			at[r.Endpoint] = m
			list = append(list, m)
		}
		m.rows = append(m.rows, r)
		m.counted += r.Counted.AllRequests()
		if e := r.Estimated; e != nil {
			m.estimated += e.AllRequests()
		}
		for _, c := range r.Clients.Worst() {
			m.clients[c.Addr] = true
		}
		for k := range r.Newest.All() {
			m.clients[k.Client] = true
		}
	}
	return list
}

// depths says how many members of the same name a request passes before each.
// Addresses that are clients of each other are peers. On one address that calls
// itself, those ports are behind that the name does not ask for.
func depths(name string, members []*member) {
	for range members { // a longer path than this is a circle
		changed := false
		for _, a := range members {
			for _, b := range members {
				if a.before(b, name) && b.hop <= a.hop && a.hop < len(members) {
					b.hop, changed = a.hop+1, true
				}
			}
		}
		if !changed {
			return
		}
	}
}

// before says whether a passes on to b what it is asked for.
func (m *member) before(b *member, name string) bool {
	if m.Addr == b.Addr {
		return m.clients[m.Addr] && b.clients[m.Addr] && m.Port == portOf(name) && b.Port != m.Port
	}
	return b.clients[m.Addr] && !m.clients[b.Addr]
}

// portOf returns the port that a name asks for; 80 where it names none.
func portOf(name string) uint16 {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		if n, err := strconv.ParseUint(name[i+1:], 10, 16); err == nil {
			return uint16(n)
		}
	}
	return 80
}

// sort puts the busiest member first, and leaves out those that no request went to
// where there are others.
func (g *group) sort() {
	estimated := g.sum.Counted.AllRequests() == 0
	slices.SortFunc(g.members, func(a, b *member) int {
		return cmp.Or(cmp.Compare(b.load(estimated), a.load(estimated)), naming.CompareEndpoints(a.Endpoint, b.Endpoint))
	})
	if used := slices.IndexFunc(g.members, func(m *member) bool { return m.load(estimated) == 0 }); used > 0 {
		g.members = g.members[:used]
	}
}

// load returns what the balance between addresses is judged by: requests of one
// kind.
func (m *member) load(estimated bool) uint64 {
	if estimated {
		return m.estimated
	}
	return m.counted
}

const maxAddresses = 8

func (g *group) server() Server {
	out := Server{Name: g.name, Summary: summary(&g.sum, g.probers), AddressCount: len(g.members), Clients: clientsOf(&g.sum)}
	for _, m := range g.members[:min(len(g.members), maxAddresses)] {
		out.Addresses = append(out.Addresses, m.String())
	}
	for _, m := range g.all {
		for _, r := range m.rows {
			if !slices.Contains(out.Members, r.Server) { // they differ by networks of clients
				out.Members = append(out.Members, r.Server)
			}
		}
	}
	out.BusiestShare = g.busiest()
	if g.ports != nil {
		out.Ports = ports(g.ports)
	}
	return out
}

// busiest returns the share of the busiest of several addresses.
func (g *group) busiest() *float64 {
	if len(g.members) < 2 {
		return nil
	}
	estimated := g.sum.Counted.AllRequests() == 0
	all := uint64(0)
	for _, m := range g.members {
		all += m.load(estimated)
	}
	return ratio(g.members[0].load(estimated), all)
}

// assignPorts gives every pair to the server with most connections on its endpoint:
// ports are shared by all names of an address, and a finding about them should appear
// once.
func assignPorts(list []*group, pairs []tally.Pair) {
	type owned struct {
		*group
		connections uint64
	}
	owner := map[sniffer.Endpoint]owned{}
	for _, g := range list {
		for _, m := range g.members {
			for _, r := range m.rows {
				n := r.Connections()
				if o := owner[m.Endpoint]; o.group == nil || n > o.connections || n == o.connections && g.name < o.name {
					owner[m.Endpoint] = owned{g, n}
				}
			}
		}
	}
	for i := range pairs {
		p := &pairs[i]
		if g := owner[p.Server].group; g != nil && (g.ports == nil || busier(p, g.ports)) {
			g.ports = p
		}
	}
}

func busier(p, o *tally.Pair) bool {
	return cmp.Or(cmp.Compare(o.Busiest, p.Busiest), slices.Compare(p.Client[:], o.Client[:]), naming.CompareEndpoints(p.Server, o.Server)) < 0
}

func ports(p *tally.Pair) *Ports {
	return &Ports{
		Peak: p.Busiest, Range: tally.EphemeralPorts,
		Client: p.Client.Netip().String(), Server: p.Server.String(), TimeWait: timeWait(p.TimeWait),
	}
}
