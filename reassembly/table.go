package reassembly

import (
	"encoding/binary"
	"math/bits"

	"github.com/keepscope/keepscope/sniffer"
)

// minSlots is the table's smallest size.
const minSlots = 1 << 10

// A slot maps the hash of a 4-tuple to a record: 0 for none, a connection's ID
// plus one, or closedRef plus an index of the closed ring.
type slot struct {
	hash uint32
	ref  uint32
}

const closedRef = 1 << 31

// A table is an open-addressing hash table with linear probing. A slot's home
// is its hash modulo the size, so removal (by shifting back) and growth never
// look at the records.
type table struct {
	slots []slot
	mask  uint32
	used  int
}

func newTable() table { return table{slots: make([]slot, minSlots), mask: minSlots - 1} }

// reset empties the table and gives up what it has grown to.
func (t *table) reset() {
	if len(t.slots) > minSlots {
		*t = newTable()
		return
	}
	clear(t.slots)
	t.used = 0
}

// next returns the first entry with the hash from the slot at on, and where it
// is; a ref of 0 ends the run.
func (t *table) next(at, hash uint32) (i, ref uint32) {
	for ; ; at++ {
		at &= t.mask
		if e := &t.slots[at]; e.hash == hash || e.ref == 0 {
			return at, e.ref
		}
	}
}

// limit is how many entries the table takes before it grows. Half empty, few
// probes go further than the processor guessed; a large one is a cache miss
// anyway, and better small.
func (t *table) limit() int {
	if len(t.slots) <= 1<<16 {
		return len(t.slots) / 2
	}
	return len(t.slots) / 16 * 13
}

// insert adds an entry that is known to be absent.
func (t *table) insert(hash, ref uint32) {
	if t.used >= t.limit() {
		t.resize(2 * len(t.slots))
	}
	t.used++
	t.put(slot{hash, ref})
}

func (t *table) put(s slot) {
	i := s.hash & t.mask
	for t.slots[i].ref != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = s
}

// find returns the index of the entry with that hash and ref, which exists.
func (t *table) find(hash, ref uint32) uint32 {
	i := hash & t.mask
	for t.slots[i].ref != ref {
		i = (i + 1) & t.mask
	}
	return i
}

// remove deletes the entry at i and shifts its followers back, so that no
// tombstone is ever needed.
func (t *table) remove(i uint32) {
	j := i
	for {
		j = (j + 1) & t.mask
		s := t.slots[j]
		if s.ref == 0 {
			break
		}
		// s may fill the hole unless its home lies cyclically in (i, j].
		if (j-s.hash)&t.mask >= (j-i)&t.mask {
			t.slots[i] = s
			i = j
		}
	}
	t.slots[i] = slot{}
	t.used--
	if len(t.slots) > minSlots && t.used < len(t.slots)/32 {
		t.resize(len(t.slots) / 4)
	}
}

func (t *table) resize(n int) {
	old := t.slots
	n = max(n, minSlots)
	t.slots, t.mask = make([]slot, n), uint32(n-1)
	faultIn(t.slots)
	for _, s := range old {
		if s.ref != 0 {
			t.put(s)
		}
	}
}

// A hasher hashes 4-tuples with a secret, so that nobody can choose addresses
// and ports that fall into one place.
type hasher struct{ pair, hi, lo uint64 }

func newHasher(seed uint64) hasher {
	// splitmix64: three well-mixed odd words from any seed.
	next := func() uint64 {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return (z ^ z>>31) | 1
	}
	return hasher{next(), next(), next()}
}

// hash is the same for both directions: one secret masks both endpoints, and a
// product does not tell its factors' order. What follows it breaks the steps in
// which the products of consecutive ports go up.
func (h *hasher) hash(src, dst *sniffer.Endpoint) uint32 {
	return h.both(h.endpoint(src), h.endpoint(dst))
}

// both is hash of two endpoints that are folded. The compiler puts each part in
// its caller's place, hash as a whole in few.
func (h *hasher) both(src, dst uint64) uint32 {
	v := mum(src^h.pair, dst^h.pair)
	return uint32((v ^ v>>32) * h.lo >> 32)
}

// endpoint folds an endpoint into a word. An IPv4 address has room for the port
// in what all of them have in common. In IPv6 the port must not meet the address
// before that is mixed: one could make up for the other.
func (h *hasher) endpoint(e *sniffer.Endpoint) uint64 {
	hi, lo := binary.LittleEndian.Uint64(e.Addr[:8]), binary.LittleEndian.Uint64(e.Addr[8:])
	if hi != 0 || uint32(lo) != 0xffff0000 {
		lo = mum(hi^h.hi, lo^h.lo)
	}
	return lo ^ uint64(e.Port)
}

// mum folds the 128-bit product of two words.
func mum(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// same compares two endpoints by words.
func same(a, b *sniffer.Endpoint) bool {
	return binary.LittleEndian.Uint64(a.Addr[8:]) == binary.LittleEndian.Uint64(b.Addr[8:]) &&
		a.Port == b.Port &&
		binary.LittleEndian.Uint64(a.Addr[:8]) == binary.LittleEndian.Uint64(b.Addr[:8])
}
