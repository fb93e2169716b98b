package pool

// An order holds the free slots of a pair by the time from which they are free. It
// is a treap: a search tree that is also a heap by random priorities, and so of
// depth O(log n), expected. Slots become free in about the order of their times, so
// every search begins at the newest slot: to add one there, or to remove one, costs
// a constant, expected.
type order struct{ newest *slot }

// The sides of a slot in the tree.
const (
	older = 0
	newer = 1
)

// after says whether s became free after o; of equal times, whether it was added
// later.
func (s *slot) after(o *slot) bool {
	return s.since > o.since || s.since == o.since && s.turn > o.turn
}

// floor returns the newest slot that was free at t, nil if there is none.
func (o *order) floor(t int64) *slot {
	n := o.newest
	for n != nil && n.since > t && n.up != nil { // along the newest edge
		n = n.up
	}
	var found *slot
	for n != nil {
		if n.since <= t {
			found, n = n, n.child[newer]
		} else {
			n = n.child[older]
		}
	}
	return found
}

// add puts a slot in, whose links are nil.
func (o *order) add(s *slot) {
	n := o.newest
	if n == nil || s.after(n) {
		o.newest = s
	}
	if n == nil {
		return
	}
	for n.up != nil && n.up.after(s) { // along the newest edge
		n = n.up
	}
	for next := n; next != nil; {
		n = next
		next = n.child[s.side(n)]
	}
	n.child[s.side(n)], s.up = s, n
	for s.up != nil && s.priority > s.up.priority {
		s.rotateUp()
	}
}

// remove takes a slot out.
func (o *order) remove(s *slot) {
	if o.newest == s { // it has no newer child
		o.newest = s.up
		for n := s.child[older]; n != nil; n = n.child[newer] {
			o.newest = n
		}
	}
	a, b := s.child[older], s.child[newer]
	for a != nil && b != nil {
		if a.priority > b.priority {
			a.rotateUp()
		} else {
			b.rotateUp()
		}
		a, b = s.child[older], s.child[newer]
	}
	if a == nil {
		a = b
	}
	s.replaceBy(a)
	s.up, s.child = nil, [2]*slot{}
}

// side says on which side of another slot s belongs.
func (s *slot) side(of *slot) int {
	if s.after(of) {
		return newer
	}
	return older
}

// rotateUp puts a slot in the place of its parent, and that below it.
func (s *slot) rotateUp() {
	parent := s.up
	side := s.side(parent)
	inner := s.child[1-side]
	parent.replaceBy(s)
	parent.child[side], parent.up, s.child[1-side] = inner, s, parent
	if inner != nil {
		inner.up = parent
	}
}

// replaceBy puts a slot, or nil, in the place of s below the parent of s.
func (s *slot) replaceBy(o *slot) {
	if s.up != nil {
		s.up.child[s.side(s.up)] = o
	}
	if o != nil {
		o.up = s.up
	}
}
