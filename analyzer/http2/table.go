package http2

import "unsafe"

// A table is a dynamic table of HPACK (RFC 7541 §2.3.2), of whose entries only what
// the reader asks for is kept: their size, which name it is, and values that are read.
type table struct {
	entries []entry // a ring; its length is a power of two
	oldest  uint32
	n       uint32
	size    uint32 // RFC 7541 §4.1

	values []byte // of the entries that have one, oldest first, from gone
	gone   uint32 // bytes at the beginning of values whose entries were evicted
	base   uint32 // where in all that was ever kept values begins

	next *table // of a Pool's spare ones
}

// An entry's size includes 32 bytes of overhead (RFC 7541 §4.1).
type entry struct {
	size  uint32
	named uint32 // the name's length, and in the highest byte which it is
	value uint32 // a number, or where in all that was ever kept the value begins
}

const (
	entryOverhead = 32
	entrySize     = int64(unsafe.Sizeof(entry{}))
	tableSize     = int64(unsafe.Sizeof(table{}))
	minEntries    = 8
	minValues     = 64
	maxName       = 1<<24 - 1
)

func newEntry(size uint32, n name, nameLength uint32, number uint32) entry {
	return entry{size: size, named: uint32(n)<<24 | nameLength, value: number}
}

func (e *entry) name() name         { return name(e.named >> 24) }
func (e *entry) nameLength() uint32 { return e.named & maxName }

// kept returns how many bytes of the value are in the table.
func (e *entry) kept() uint32 {
	if !e.name().isText() {
		return 0
	}
	return min(e.size-entryOverhead-e.nameLength(), maxValue)
}

func (t *table) memory() int64 {
	return tableSize + entrySize*int64(cap(t.entries)) + int64(cap(t.values))
}

// at returns the entry of an index that counts from 0, the newest.
func (t *table) at(i uint32) *entry {
	return &t.entries[(t.oldest+t.n-1-i)&uint32(len(t.entries)-1)]
}

// text returns the value of an entry that is text.
func (t *table) text(e *entry) []byte {
	i := e.value - t.base
	return t.values[i : i+e.kept()]
}

// evict drops the oldest entries until the size is at most limit.
func (t *table) evict(limit uint32) {
	for t.size > limit {
		e := &t.entries[t.oldest]
		t.size -= e.size
		t.gone += e.kept()
		t.oldest = (t.oldest + 1) & uint32(len(t.entries)-1)
		t.n--
	}
	if t.n == 0 {
		t.base += uint32(len(t.values))
		t.values, t.gone = t.values[:0], 0
	}
}

// add puts an entry into t, with the value if it is text. It reports whether q had
// memory for it.
func (q *Pool) add(t *table, e entry, value []byte) bool {
	if int(t.n) == len(t.entries) && !q.growEntries(t) {
		return false
	}
	if e.name().isText() {
		if len(t.values)+len(value) > cap(t.values) && !q.growValues(t, len(value)) {
			return false
		}
		e.value = t.base + uint32(len(t.values))
		t.values = append(t.values, value...)
	}
	t.entries[(t.oldest+t.n)&uint32(len(t.entries)-1)] = e
	t.n++
	t.size += e.size
	return true
}

func (q *Pool) growEntries(t *table) bool {
	size := max(minEntries, 2*len(t.entries))
	if !q.enlarge(t, entrySize*int64(size-len(t.entries))) {
		return false
	}
	grown := make([]entry, size)
	k := copy(grown, t.entries[t.oldest:])
	copy(grown[k:], t.entries[:t.oldest])
	t.entries, t.oldest = grown, 0
	return true
}

// growValues makes room for n more bytes: at the beginning, where half of it or more
// is gone, so that each byte is moved about once.
func (q *Pool) growValues(t *table, n int) bool {
	live := t.values[t.gone:]
	to := t.values[:0]
	if need := len(live) + n; need > cap(t.values) || int(t.gone) < cap(t.values)/2 {
		size := max(minValues, cap(t.values))
		for size < need || size == cap(t.values) {
			size *= 2
		}
		if !q.enlarge(t, int64(size-cap(t.values))) {
			return false
		}
		to = append(make([]byte, 0, size), live...)
		clear(t.values)
	} else {
		to = append(to, live...)
	}
	t.base += t.gone
	t.values, t.gone = to, 0
	return true
}

func (q *Pool) enlarge(t *table, n int64) bool {
	return t.memory()+n <= maxTable && q.take(n)
}
