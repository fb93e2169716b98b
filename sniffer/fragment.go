package sniffer

import (
	"slices"
	"time"
)

const (
	defaultDatagrams       = 256
	defaultFragmentBytes   = 4 << 20
	defaultFragmentTimeout = 30 * time.Second // Linux, net.ipv4.ipfrag_time

	maxParts     = 256
	maxDatagram  = 65535
	partOverhead = 64 // what a part costs besides its bytes, rounded up
	unknownTotal = -1
)

// A fragmentKey tells a datagram from others (RFC 791 §3.2, RFC 8200 §4.5).
// The interface is part of it: a copy of a fragment from elsewhere belongs to
// another copy of the datagram.
type fragmentKey struct {
	src, dst  Addr
	id, iface uint32
	protocol  uint8 // protoFragment for IPv6
}

func (p *packet) fragmentKey(id uint32, protocol uint8) fragmentKey {
	s := p.segment
	return fragmentKey{
		src: s.Src.Addr, dst: s.Dst.Addr, id: id, iface: s.Interface, protocol: protocol,
	}
}

// A fragment is one that has arrived.
type fragment struct {
	key          fragmentKey
	data         []byte // what was captured of it
	offset, wire int
	more         bool
	next         uint8 // protocol of the datagram, binding in the first fragment
}

// A part is a fragment that is kept.
type part struct {
	offset, wire int
	data         []byte
}

// A datagram is what has arrived of one.
type datagram struct {
	key          fragmentKey
	first        int64 // time of the first fragment that arrived
	parts        []part
	covered      int // bytes on the wire of the parts
	total        int // bytes of the whole, unknownTotal until the last part is there
	memory       int
	next         uint8
	dead         bool // nothing more is kept: given up, or not of interest
	older, newer *datagram
}

// A fragmentTable holds datagrams that are not complete, from the oldest to
// the newest.
type fragmentTable struct {
	byKey          map[fragmentKey]*datagram
	oldest, newest *datagram
	memory         int
}

// fragment takes a fragment and decodes the datagram that it completes, if it
// does.
func (d *Decoder) fragment(p *packet, f fragment) outcome {
	if f.wire <= 0 || f.more && f.wire%8 != 0 || f.offset+f.wire > maxDatagram {
		d.giveUp(d.fragments.byKey[f.key])
		return BadFragment
	}
	now := p.frame.Time
	d.expireFragments(now)
	g := d.datagram(f.key, now)
	if g.dead {
		return isFragment
	}
	if f.offset == 0 {
		g.next = f.next
		if !d.worthKeeping(f) {
			d.giveUp(g)
			return isFragment
		}
	}
	if !f.more {
		if g.total != unknownTotal && g.total != f.offset+f.wire {
			d.giveUp(g)
			return BadFragment
		}
		g.total = f.offset + f.wire
	}
	copied, fits := g.insert(f)
	if !fits {
		d.giveUp(g)
		return BadFragment
	}
	d.fragments.memory += copied
	d.limitFragmentBytes()
	if g.dead || g.covered != g.total {
		return isFragment
	}
	payload, next := g.assemble(), g.next
	wire := g.total
	d.fragments.remove(g)
	d.stats.Reassembled++
	if f.key.protocol == protoFragment {
		return d.ipv6Next(p, next, payload, wire)
	}
	return d.transport(p, next, payload, wire)
}

// worthKeeping says whether the datagram that begins with f may hold a
// segment: of UDP only few ports do.
func (d *Decoder) worthKeeping(f fragment) bool {
	if f.next != protoUDP || len(f.data) < 4 {
		return true
	}
	return d.udpLayer(uint16(f.data[0])<<8|uint16(f.data[1]), uint16(f.data[2])<<8|uint16(f.data[3])) != noLayer
}

// datagram finds or begins the datagram of the key.
func (d *Decoder) datagram(key fragmentKey, now int64) *datagram {
	t := &d.fragments
	if g := t.byKey[key]; g != nil {
		return g
	}
	if len(t.byKey) >= orDefault(d.config.MaxDatagrams, defaultDatagrams) {
		d.evictOldest()
	}
	if t.byKey == nil {
		t.byKey = make(map[fragmentKey]*datagram)
	}
	g := &datagram{key: key, first: now, total: unknownTotal, older: t.newest}
	t.byKey[key] = g
	if t.newest == nil {
		t.oldest = g
	} else {
		t.newest.newer = g
	}
	t.newest = g
	return g
}

// insert keeps a copy of f in its place and returns the memory that took. It
// says no where f overlaps another fragment, lies beyond the end, or is one
// too many. A copy of a fragment that is there fits and takes nothing.
func (g *datagram) insert(f fragment) (int, bool) {
	end := f.offset + f.wire
	if g.total != unknownTotal && max(end, g.lastEnd()) > g.total {
		return 0, false
	}
	i, found := slices.BinarySearchFunc(g.parts, f.offset, func(q part, offset int) int { return q.offset - offset })
	if found {
		return 0, g.parts[i].wire == f.wire
	}
	switch {
	case len(g.parts) >= maxParts,
		i > 0 && g.parts[i-1].offset+g.parts[i-1].wire > f.offset,
		i < len(g.parts) && end > g.parts[i].offset:
		return 0, false
	}
	g.parts = slices.Insert(g.parts, i, part{offset: f.offset, wire: f.wire, data: slices.Clone(f.data)})
	g.covered += f.wire
	memory := len(f.data) + partOverhead
	g.memory += memory
	return memory, true
}

// lastEnd returns where the last part ends.
func (g *datagram) lastEnd() int {
	if len(g.parts) == 0 {
		return 0
	}
	q := g.parts[len(g.parts)-1]
	return q.offset + q.wire
}

// assemble returns the bytes of a complete datagram up to the first that a
// snaplen cut off.
func (g *datagram) assemble() []byte {
	b := make([]byte, 0, g.total)
	for _, q := range g.parts {
		b = append(b, q.data...)
		if len(q.data) < q.wire {
			break
		}
	}
	return b
}

// giveUp drops what has arrived of g and keeps only its name, so that what
// comes later is not taken for the beginning of another.
func (d *Decoder) giveUp(g *datagram) {
	if g == nil {
		return
	}
	d.fragments.memory -= g.memory
	g.memory, g.parts, g.dead = 0, nil, true
}

func (d *Decoder) expireFragments(now int64) {
	timeout := int64(orDefault(d.config.FragmentTimeout, defaultFragmentTimeout))
	for g := d.fragments.oldest; g != nil && now-g.first > timeout; g = d.fragments.oldest {
		if !g.dead {
			d.stats.FragmentsExpired++
		}
		d.fragments.remove(g)
	}
}

// limitFragmentBytes gives up the oldest datagrams, if need be the one just
// added to as well.
func (d *Decoder) limitFragmentBytes() {
	limit := orDefault(d.config.MaxFragmentBytes, defaultFragmentBytes)
	for d.fragments.memory > limit {
		d.evictOldest()
	}
}

func (d *Decoder) evictOldest() {
	g := d.fragments.oldest
	if !g.dead {
		d.stats.FragmentsEvicted++
		g.dead = true
	}
	d.fragments.remove(g)
}

func (t *fragmentTable) remove(g *datagram) {
	delete(t.byKey, g.key)
	t.memory -= g.memory
	if g.older == nil {
		t.oldest = g.newer
	} else {
		g.older.newer = g.newer
	}
	if g.newer == nil {
		t.newest = g.older
	} else {
		g.newer.older = g.older
	}
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}
