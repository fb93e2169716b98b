package report

import (
	"cmp"
	"iter"
	"slices"
	"sort"

	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

// An at is a connection and where it went.
type at struct {
	*tally.Record
	group    *group
	endpoint sniffer.Endpoint
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
	first, _ := slices.BinarySearchFunc(list, client, func(k *at, c sniffer.Addr) int { return slices.Compare(k.Client[:], c[:]) })
	list = list[first:]
	n := sort.Search(len(list), func(i int) bool { return list[i].Client != client })
	return list[:n]
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
