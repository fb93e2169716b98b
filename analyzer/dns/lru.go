package dns

// An lru is a map of bounded size that forgets the entry that was put or
// touched longest ago. Its memory grows with use, up to the bound.
type lru[K comparable, V any] struct {
	index map[K]int32
	slots []slot[K, V] // slots[0] is the head of the ring: next is the newest
	free  int32        // first of the free slots, linked by next; 0 without
	max   int
}

type slot[K comparable, V any] struct {
	key        K
	value      V
	prev, next int32
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{index: make(map[K]int32), slots: make([]slot[K, V], 1), max: limit}
}

// get returns what k has, nil without. It is valid until the next put.
func (l *lru[K, V]) get(k K) *V {
	if i, ok := l.index[k]; ok {
		return &l.slots[i].value
	}
	return nil
}

// touch makes k, which is there, the newest.
func (l *lru[K, V]) touch(k K) {
	i := l.index[k]
	l.unlink(i)
	l.link(i)
}

// put sets k, as the newest, and says whether another had to go for it.
func (l *lru[K, V]) put(k K, v V) (evicted bool) {
	if i, ok := l.index[k]; ok {
		l.slots[i].value = v
		l.touch(k)
		return false
	}
	if len(l.index) == l.max {
		l.remove(l.slots[l.slots[0].prev].key)
		evicted = true
	}
	i := l.free
	if i != 0 {
		l.free = l.slots[i].next
	} else {
		i = int32(len(l.slots))
		l.slots = append(l.slots, slot[K, V]{})
	}
	l.slots[i].key, l.slots[i].value = k, v
	l.link(i)
	l.index[k] = i
	return evicted
}

// remove forgets k, which is there.
func (l *lru[K, V]) remove(k K) {
	i := l.index[k]
	l.unlink(i)
	delete(l.index, k)
	l.slots[i] = slot[K, V]{next: l.free}
	l.free = i
}

func (l *lru[K, V]) link(i int32) {
	first := l.slots[0].next
	l.slots[i].prev, l.slots[i].next = 0, first
	l.slots[first].prev = i
	l.slots[0].next = i
}

func (l *lru[K, V]) unlink(i int32) {
	s := &l.slots[i]
	l.slots[s.prev].next = s.next
	l.slots[s.next].prev = s.prev
}
