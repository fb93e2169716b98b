package tally

import (
	"encoding/binary"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	// EphemeralPorts is how many ports Linux chooses from by default:
	// net.ipv4.ip_local_port_range is 32768 to 60999.
	EphemeralPorts = 28232
	// windowNS is how long TIME_WAIT holds a port on Linux, 60 s.
	windowNS = 60_000_000_000
	// binNS is the step by which that window slides: of the busiest 60 s, what
	// lies up to one bin beyond the best twelve is not counted.
	binNS      = 5_000_000_000
	windowBins = windowNS / binNS
	// maxBins bounds the bins that one pair remembers.
	maxBins = 256
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
	return naming.CompareEndpoints(k.server, o.server)
}

// A pair is what one client address did to one server address and port: the
// new connections of every bin of packet time, by their first packet, and which
// side was left with TIME_WAIT.
type pair struct {
	key      pairKey
	rankHash uint64
	holds    TimeWait
	total    uint64 // connections
	peak     uint64 // of the windows that begin in a bin that is no longer listed
	bins     []bin  // ascending
}

type bin struct {
	at int32  // since 1970, in bins: the nanoseconds of an int64 are fewer than 2^31
	n  uint32 // connections
}

// count adds n connections to a bin. Connections are told when they end, so bins
// come in any order; only those older than all of a full list are lost to the
// windows of later ones.
func (p *pair) count(at int32, n uint32) {
	i := len(p.bins)
	for i > 0 && p.bins[i-1].at > at {
		i--
	}
	if i > 0 && p.bins[i-1].at == at {
		p.bins[i-1].n += n
		return
	}
	if len(p.bins) < maxBins {
		p.bins = slices.Insert(p.bins, i, bin{at, n})
		return
	}
	if i == 0 {
		p.peak = max(p.peak, uint64(n))
		return
	}
	first, _ := window(p.bins)
	p.peak = max(p.peak, first)
	copy(p.bins, p.bins[1:i])
	p.bins[i-1] = bin{at, n}
}

// window returns how many connections the 60 s from the first bin on have, and
// how many bins those are.
func window(bins []bin) (n uint64, length int) {
	for length < len(bins) && int64(bins[length].at)-int64(bins[0].at) < windowBins {
		n += uint64(bins[length].n)
		length++
	}
	return n, length
}

// busiest returns the most connections opened in 60 s.
func (p *pair) busiest() uint64 {
	n, end := window(p.bins)
	most := max(p.peak, n)
	for i := range p.bins { // the window slides from behind bin i on
		n -= uint64(p.bins[i].n)
		for ; end < len(p.bins) && int64(p.bins[end].at)-int64(p.bins[i+1].at) < windowBins; end++ {
			n += uint64(p.bins[end].n)
		}
		most = max(most, n)
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
	recent    [1 << recentPairBits]*pair // what was found last, by a cheap hash
	untracked uint64                     // connections of pairs that are not kept
}

const recentPairBits = 8

// recentSlot hashes what tells the pairs of one host apart: the ends of both
// addresses and the port.
func recentSlot(client *sniffer.Addr, server *sniffer.Endpoint) uint64 {
	c, s := binary.LittleEndian.Uint64(client[8:]), binary.LittleEndian.Uint64(server.Addr[8:])
	return (c*hashPrime ^ s ^ uint64(server.Port)) * hashPrime64 >> (64 - recentPairBits)
}

func (t *pairs) add(c *fact.Connection) {
	recent := &t.recent[recentSlot(&c.Client.Addr, &c.Server)]
	p := *recent
	if p == nil || p.key.client != c.Client.Addr || p.key.server != c.Server {
		if p = t.get(pairKey{c.Client.Addr, c.Server}); p == nil {
			t.untracked++
			return
		}
		*recent = p
	}
	p.holds.add(c)
	p.total++
	p.count(int32(c.Start/binNS), 1)
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
	*p = pair{key: k, rankHash: k.rank(), bins: p.bins[:0]}
	if len(t.byKey) >= t.max {
		top := t.kept.top()
		if !top.outranks(p) {
			return nil
		}
		t.untracked += top.total
		delete(t.byKey, top.key)
		clear(t.recent[:]) // its memory will be another pair's
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
		for _, b := range q.bins {
			p.count(b.at, b.n)
		}
	}
}
