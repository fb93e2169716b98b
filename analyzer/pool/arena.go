package pool

// chunkLen is how many values are allocated at a time, so that growth copies nothing.
const chunkLen = 256

// An arena makes values in places that never move, and gives freed ones out again.
type arena[T any] struct {
	chunks []*[chunkLen]T
	free   []*T
	made   int // values in chunks that were ever given out
	live   int // those that are not free
}

// get returns a value as it was put, zero at first.
func (a *arena[T]) get() *T {
	a.live++
	if n := len(a.free) - 1; n >= 0 {
		v := a.free[n]
		a.free = a.free[:n]
		return v
	}
	if a.made == len(a.chunks)*chunkLen {
		a.chunks = append(a.chunks, new([chunkLen]T))
	}
	a.made++
	return a.at(a.made - 1)
}

// put frees a value.
func (a *arena[T]) put(v *T) {
	a.live--
	a.free = append(a.free, v)
}

// at returns one of the values ever given out.
func (a *arena[T]) at(i int) *T { return &a.chunks[i/chunkLen][i%chunkLen] }

// random is SplitMix64. Its numbers are the same for the same seed, so that a capture
// gives the same verdicts each time.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number below n.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }
