package tally

import "github.com/keepscope/keepscope/analyzer/fact"

// Resettled returns how many reasons were shown, when a report was made last, to be
// others than those that were counted.
func (s *Sum) Resettled() uint64 { return s.set.resettled }

// Limits returns the tally's own caps, each with how often it was met.
func (s *Sum) Limits() fact.Limits {
	var unwatched, forgotten, clients uint64
	for _, source := range s.set.sources {
		source.do(func() {
			unwatched += source.worker.pairs.untracked
			forgotten += source.worker.forgotten
		})
	}
	for _, r := range s.Rows {
		clients += r.Clients.Untold
	}
	return fact.Limits{
		{Name: "server_names", Count: s.set.folded + s.set.evicted, Means: "a server was counted as \"other\""},
		{Name: "server_rows", Count: s.set.displaced.Load(), Means: "a name was counted for its address, or an address for \"other\""},
		{Name: "port_pairs", Count: unwatched, Means: "a connection is of a client and server whose ports are not watched"},
		{Name: "remembered_connections", Count: forgotten, Means: "a connection was forgotten that could have told a race by timer or a closing of many"},
		{Name: "server_clients", Count: clients, Means: "a connection is of a client that is not told apart"},
	}
}
