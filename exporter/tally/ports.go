package tally

import (
	"github.com/keepscope/keepscope/sniffer"
)

// A Pair is what one client address did to one server address and port, which
// share one range of ephemeral ports.
type Pair struct {
	Client   sniffer.Addr
	Server   sniffer.Endpoint
	Busiest  uint64 // connections opened in the busiest 60 s, by steps of 5 s
	TimeWait TimeWait
}

// Pairs returns the pairs that were watched, and how many connections are of
// others.
func (s *Sum) Pairs() (list []Pair, unwatched uint64) {
	sum := s.watched()
	for _, p := range sum.kept.items {
		list = append(list, Pair{p.key.client, p.key.server, p.busiest(), p.holds})
	}
	return list, sum.untracked
}

// watched adds up the workers' pairs.
func (s *Sum) watched() *pairs {
	sum := &pairs{max: s.set.cfg.MaxPairs, byKey: map[pairKey]*pair{}}
	for _, source := range s.set.sources {
		source.do(func() { sum.merge(&source.worker.pairs) })
	}
	return sum
}
