package reassembly

import "slices"

// maxGaps is how many of the newest gaps between keep-alive probes are kept.
const maxGaps = 8

// Probes are one direction's TCP keep-alive probes (RFC 9293 §3.8.4).
type Probes struct {
	Count       int   // all of them
	First, Last int64 // packet times
	Gap         int64 // median of the newest gaps between two without data between, nanoseconds
	Gaps        int   // how many of those there are, at most 8
}

// A probeLog is what is kept of a direction's probes.
type probeLog struct {
	count       uint32
	first, last int64
	bytes       uint64 // stream bytes of both directions up to the last probe
	gaps        [maxGaps]int64
	n           int // gaps, also those that were overwritten
}

// Probes returns the keep-alive probes of a direction. Probes of a window that
// stands at zero, which look the same, are left out.
func (c *Conn) Probes(d Dir) Probes {
	if c.cold == nil || c.cold.probes == nil {
		return Probes{}
	}
	l := &c.cold.probes[d]
	p := Probes{Count: int(l.count), First: l.first, Last: l.last, Gaps: min(l.n, maxGaps)}
	if p.Gaps > 0 {
		gaps := l.gaps
		slices.Sort(gaps[:p.Gaps])
		p.Gap = gaps[p.Gaps/2]
	}
	return p
}

// probe notes a keep-alive probe of dir.
func (a *Assembler) probe(c *Conn, dir Dir) {
	a.stats.Probes++
	if _, zero := c.ZeroWindow(dir.Other()); zero {
		return
	}
	r := a.coldOf(c)
	if r.probes == nil {
		r.probes = new([2]probeLog)
	}
	l := &r.probes[dir]
	bytes := c.Bytes[Client] + c.Bytes[Server]
	if l.count == 0 {
		l.first = c.Last
	} else if l.bytes == bytes {
		l.gaps[l.n%maxGaps] = c.Last - l.last
		l.n++
	}
	if l.count++; l.count == 0 {
		l.count--
	}
	l.last, l.bytes = c.Last, bytes
}
