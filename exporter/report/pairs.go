package report

import (
	"slices"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	// ephemeralPorts is how many ports Linux chooses from by default:
	// net.ipv4.ip_local_port_range is 32768 to 60999.
	ephemeralPorts = 28232
	// windowNS is how long TIME_WAIT holds a port on Linux, 60 s.
	windowNS = 60e9
	// maxWindows bounds the minutes that one pair remembers.
	maxWindows = 128
)

// A pairKey is what shares one range of ephemeral ports.
type pairKey struct {
	client sniffer.Addr
	server sniffer.Endpoint
}

func (k pairKey) rank() uint64 {
	h := hashBytes(hashSeed, k.client[:])
	return hashPort(hashBytes(h, k.server.Addr[:]), k.server.Port)
}

func (k pairKey) compare(o pairKey) int {
	if c := slices.Compare(k.client[:], o.client[:]); c != 0 {
		return c
	}
	return compareEndpoints(k.server, o.server)
}

// A pair is what one client address did to one server address and port: the
// new connections of every minute of packet time, by their first packet, and
// which side was left with TIME_WAIT.
type pair struct {
	key      pairKey
	rankHash uint64
	holds    holders
	total    uint64   // connections
	peak     uint64   // of the minutes that are no longer listed
	windows  []window // ascending
}

type window struct {
	minute int64
	n      uint64
}

// holders counts which side's TIME_WAIT a connection left behind: that of the
// side whose FIN came first (RFC 9293 §3.6); a reset leaves none.
type holders struct {
	client, server, none uint64
}

func (h *holders) add(c *analyzer.Connection) {
	switch {
	case c.ClosedWith == analyzer.WithFIN && c.ClosedBy == analyzer.ByClient:
		h.client++
	case c.ClosedWith == analyzer.WithFIN && c.ClosedBy == analyzer.ByServer:
		h.server++
	case c.ClosedWith == analyzer.WithRST:
		h.none++
	}
}

func (h *holders) merge(o holders) {
	h.client += o.client
	h.server += o.server
	h.none += o.none
}

// count adds n connections to a minute. Connections are told when they end, so
// minutes come in any order; only those older than all of a full list are lost
// to the peak.
func (p *pair) count(minute int64, n uint64) {
	at := len(p.windows)
	for at > 0 && p.windows[at-1].minute > minute {
		at--
	}
	if at > 0 && p.windows[at-1].minute == minute {
		p.windows[at-1].n += n
		return
	}
	if len(p.windows) < maxWindows {
		p.windows = slices.Insert(p.windows, at, window{minute, n})
		return
	}
	if at == 0 {
		p.peak = max(p.peak, n)
		return
	}
	p.peak = max(p.peak, p.windows[0].n)
	copy(p.windows, p.windows[1:at])
	p.windows[at-1] = window{minute, n}
}

// busiest returns the most connections opened in one minute.
func (p *pair) busiest() uint64 {
	most := p.peak
	for _, w := range p.windows {
		most = max(most, w.n)
	}
	return most
}

func (p *pair) outranks(o *pair) bool {
	if p.rankHash != o.rankHash {
		return p.rankHash > o.rankHash
	}
	return p.key.compare(o.key) > 0
}

// pairs is the bounded table of pairs.
type pairs struct {
	max       int
	byKey     map[pairKey]*pair
	kept      lowest[*pair]
	last      *pair
	untracked uint64 // connections of pairs that are not kept
}

func (t *pairs) add(c *analyzer.Connection) {
	k := pairKey{c.Client.Addr, c.Server}
	p := t.last
	if p == nil || p.key != k {
		if p = t.get(k); p == nil {
			t.untracked++
			return
		}
		t.last = p
	}
	p.holds.add(c)
	p.total++
	p.count(c.Start/windowNS, 1)
}

// get returns the pair, or nil where it is not among those kept.
func (t *pairs) get(k pairKey) *pair {
	if p := t.byKey[k]; p != nil {
		return p
	}
	fresh := &t.kept.spare
	if *fresh == nil {
		*fresh = new(pair)
	}
	p := *fresh
	*p = pair{key: k, rankHash: k.rank(), windows: p.windows[:0]}
	if len(t.byKey) >= t.max {
		top := t.kept.top()
		if !top.outranks(p) {
			return nil
		}
		t.untracked += top.total
		delete(t.byKey, top.key)
		if t.last == top {
			t.last = nil
		}
		t.kept.replaceTop(p)
		*fresh = top
	} else {
		t.kept.push(p)
		*fresh = nil
	}
	t.byKey[k] = p
	return p
}

func (t *pairs) merge(o *pairs) {
	t.untracked += o.untracked
	for _, q := range o.kept.items {
		p := t.get(q.key)
		if p == nil {
			t.untracked += q.total
			continue
		}
		p.holds.merge(q.holds)
		p.total += q.total
		p.peak = max(p.peak, q.peak)
		for _, w := range q.windows {
			p.count(w.minute, w.n)
		}
	}
}
