package findings

import "github.com/keepscope/keepscope/exporter/clients"

// Clients returns the figures of a server's clients, worst first. What a client's own
// connections to this server do not tell is left to be set: OnceErr, Replaces, Gap, Response, SYNs,
// Spread, GRPCOtherServed and GRPCAddresses.
func Clients(t *clients.Table) []Client {
	list := t.Worst()
	out := make([]Client, 0, min(len(list), MaxClients))
	for _, c := range list[:min(len(list), MaxClients)] {
		out = append(out, fromTable(c))
	}
	return out
}

func fromTable(c *clients.Client) Client {
	k := Client{
		Address: c.Addr.Netip().String(), Software: c.Software, Estimated: c.Estimated, Several: c.Several(),
		Connections: c.Connections, Requests: c.Requests, Failed: c.Failed,
		Unread: c.Unread, Stalled: c.Stalled, InVain: c.InVain, Once: c.Once, More: c.More, Busy: 1 - c.IdleShare, Trip: float64(c.Trip) / 1e9,
		Upgrades: c.Upgrades, Short: c.Short, Streams: c.Streams, Pinged: c.Pinged, GRPC: c.GRPC, GRPCBusiest: c.GRPCBusiest,
		Example: Example(c.Example), GRPCExample: Example(c.GRPCExample),
	}
	k.ClosedAt.N, k.ClosedAt.Near, k.ClosedAt.Median = c.ClosedAt()
	for _, w := range c.Wasted {
		k.Wasted.Add(w.Cause, Loss{w.N, float64(w.NS) / 1e9, Example(w.Example)})
	}
	return k
}
