package tally

// ordered is a pointer to what has an order.
type ordered[T any] interface {
	*T
	compare(*T) int
}

// A ring has the last of many in their order, from its first on. They come nearly in
// order, so that one is mostly put where the oldest was, without a move.
type ring[T any, P ordered[T]] struct {
	list  []T
	first int
	next  T // the one that comes, where comparing it allocates nothing
}

// add puts one in place of the first or, where it may grow, beside the others; it says
// whether it grew. Which ones stay does not depend on the order in which they come.
func (r *ring[T, P]) add(x T, grow bool) (grown bool) {
	n := len(r.list)
	if grow {
		r.straighten()
		r.list = append(r.list, x)
		r.settle(n)
		return true
	}
	r.next = x
	if n == 0 || P(&r.next).compare(&r.list[r.first]) <= 0 {
		return false
	}
	last := r.first
	r.list[last] = x
	if r.first++; r.first == n {
		r.first = 0
	}
	r.settle(last)
	return false
}

// settle moves the last one, which is at i, to where it belongs.
func (r *ring[T, P]) settle(i int) {
	for i != r.first {
		before := i - 1
		if before < 0 {
			before = len(r.list) - 1
		}
		if P(&r.list[before]).compare(&r.list[i]) <= 0 {
			return
		}
		r.list[before], r.list[i] = r.list[i], r.list[before]
		i = before
	}
}

// straighten has the first one stand first.
func (r *ring[T, P]) straighten() {
	if r.first > 0 {
		r.list = append(append(make([]T, 0, len(r.list)+1), r.list[r.first:]...), r.list[:r.first]...)
		r.first = 0
	}
}

// each goes through them in order.
func (r *ring[T, P]) each(yield func(P) bool) {
	for i := range r.list {
		if i += r.first; i >= len(r.list) {
			i -= len(r.list)
		}
		if !yield(&r.list[i]) {
			return
		}
	}
}

// reset empties the ring and keeps its memory.
func (r *ring[T, P]) reset() { r.list, r.first = r.list[:0], 0 }
