package report

import (
	"cmp"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/sniffer"
)

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
