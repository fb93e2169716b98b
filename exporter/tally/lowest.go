package tally

// lowest keeps items as a heap whose top has the highest hash, so that a full
// table can tell in O(1) whether a new key belongs to it. Which keys stay
// depends on their hashes alone: any order of arrival, and any division over
// workers that are merged later, keeps the same ones.
type lowest[T interface{ outranks(T) bool }] struct {
	items []T
	spare T // the item that was displaced last, for its memory
}

func (l *lowest[T]) top() T { return l.items[0] }

func (l *lowest[T]) push(x T) {
	l.items = append(l.items, x)
	for i := len(l.items) - 1; i > 0; {
		parent := (i - 1) / 2
		if !l.items[i].outranks(l.items[parent]) {
			return
		}
		l.items[i], l.items[parent] = l.items[parent], l.items[i]
		i = parent
	}
}

func (l *lowest[T]) replaceTop(x T) {
	l.items[0] = x
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(l.items) {
			return
		}
		if child+1 < len(l.items) && l.items[child+1].outranks(l.items[child]) {
			child++
		}
		if !l.items[child].outranks(l.items[i]) {
			return
		}
		l.items[i], l.items[child] = l.items[child], l.items[i]
		i = child
	}
}

// FNV-1a, with a final mix (as in MurmurHash3) because FNV's high bits, which
// decide the rank, hardly depend on the last bytes. Not seeded: reports must
// be reproducible.
const (
	hashSeed  = 14695981039346656037
	hashPrime = 1099511628211
)

func hashBytes[B ~string | ~[]byte](h uint64, b B) uint64 {
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * hashPrime
	}
	return h
}

func hashPort(h uint64, port uint16) uint64 {
	h = (h ^ uint64(port>>8)) * hashPrime
	return mix((h ^ uint64(port&0xff)) * hashPrime)
}

func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
