package dns

// An lru is a map of bounded size. It has two rings, of the entries that were
// touched since they came and of those that were not, each from the newest to
// the oldest. Where it is full, the oldest that was never touched goes; only
// where few such are left, the oldest of the others does. So however many
// entries come, those in use stay. Its memory grows with use, up to the bound.
type lru[K comparable, V any] struct {
	index map[K]int32
	slots []slot[K, V] // slots[fresh] and slots[used] are the heads of the rings: next is the newest
	count [2]int       // entries of each ring
	free  int32        // first of the free slots, linked by next; 0 without
	max   int
}

// The rings of an lru.
const (
	fresh = 0
	used  = 1
)

type slot[K comparable, V any] struct {
	key        K
	value      V
	prev, next int32
	ring       int32
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	l := &lru[K, V]{index: make(map[K]int32), slots: make([]slot[K, V], 2), max: limit}
	l.slots[used] = slot[K, V]{prev: used, next: used}
	return l
}

// get returns what k has, nil without. It is valid until the next add.
func (l *lru[K, V]) get(k K) *V {
	if i, ok := l.index[k]; ok {
		return &l.slots[i].value
	}
	return nil
}

// touch makes k, which is there, the newest of those in use.
func (l *lru[K, V]) touch(k K) {
	i := l.index[k]
	l.unlink(i)
	l.link(i, used)
}

// An eviction is what a put cost another entry.
type eviction uint8

const (
	evictedNone eviction = iota
	evictedFresh
	evictedUsed
)

// put sets k, as the newest of its ring, and says which entry had to go for it.
func (l *lru[K, V]) put(k K, v V) (gone eviction) {
	value, gone := l.add(k)
	*value = v
	return gone
}

// add makes k the newest of its ring and returns what it has, which is zero
// where it is new, and says which entry had to go for it. The value is valid
// until the next add.
func (l *lru[K, V]) add(k K) (value *V, gone eviction) {
	i, known := l.index[k]
	if known {
		ring := l.slots[i].ring
		l.unlink(i)
		l.link(i, ring)
		return &l.slots[i].value, evictedNone
	}
	if len(l.index) == l.max {
		gone = l.evict()
	}
	if i = l.free; i != 0 {
		l.free = l.slots[i].next
	} else {
		i = int32(len(l.slots))
		l.slots = append(l.slots, slot[K, V]{})
	}
	l.slots[i].key = k
	l.link(i, fresh)
	l.index[k] = i
	return &l.slots[i].value, gone
}

func (l *lru[K, V]) evict() eviction {
	ring, gone := fresh, evictedFresh
	if l.count[fresh] <= l.max/8 && l.count[used] > 0 {
		ring, gone = used, evictedUsed
	}
	l.remove(l.slots[l.slots[ring].prev].key)
	return gone
}

// remove forgets k, which is there.
func (l *lru[K, V]) remove(k K) {
	i := l.index[k]
	l.unlink(i)
	delete(l.index, k)
	l.slots[i] = slot[K, V]{next: l.free}
	l.free = i
}

func (l *lru[K, V]) link(i, ring int32) {
	first := l.slots[ring].next
	s := &l.slots[i]
	s.prev, s.next, s.ring = ring, first, ring
	l.slots[first].prev = i
	l.slots[ring].next = i
	l.count[ring]++
}

func (l *lru[K, V]) unlink(i int32) {
	s := &l.slots[i]
	l.slots[s.prev].next = s.next
	l.slots[s.next].prev = s.prev
	l.count[s.ring]--
}
