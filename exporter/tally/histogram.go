package tally

import (
	"math"
	"slices"
)

// A Histogram counts integers of at least 0 in the cells of scale. Each cell that
// counts something keeps the sum of its values, so that its mean can be given
// back: five closings at about 5 s print as 5 s, not as a bucket's edge.
//
// A table that spans the cells in use tells where each is. A hash table of the
// cells alone takes twice as many instructions; to search sorted cells and to
// insert there took two fifths of a report's time (BenchmarkConnection). The zero
// value is empty and ready.
type Histogram struct {
	used   []cell
	places []uint16 // of the cells from base on in used, plus 1; 0 without
	base   uint16
	Max    int64
}

type cell struct {
	n   uint64
	sum int64
}

// Add counts v once; a negative value, which only a capture whose clock ran
// backwards has, counts as 0.
func (h *Histogram) Add(v int64) {
	v = max(v, 0)
	h.Max = max(h.Max, v)
	c := h.cell(uint16(cells.cell(v)))
	c.n++
	c.sum += v
}

// Take undoes an Add of v, but for Max; it says whether v's cell had counted any.
func (h *Histogram) Take(v int64) bool {
	i := cells.cell(v) - int(h.base)
	if i < 0 || i >= len(h.places) || h.places[i] == 0 {
		return false
	}
	at, last := h.places[i], uint16(len(h.used))
	c := &h.used[at-1]
	c.n--
	c.sum -= v
	if c.n == 0 { // no cell is empty: the last takes its place
		h.places[slices.Index(h.places, last)], h.places[i] = at, 0
		*c, h.used = h.used[last-1], h.used[:last-1]
	}
	return true
}

// cell returns a cell by its number, and adds it where needed.
func (h *Histogram) cell(number uint16) *cell {
	if i := uint(number) - uint(h.base); i < uint(len(h.places)) {
		if at := uint(h.places[i]) - 1; at < uint(len(h.used)) {
			return &h.used[at]
		}
	}
	return h.newCell(number)
}

func (h *Histogram) newCell(number uint16) *cell {
	h.span(number)
	h.used = append(h.used, cell{})
	h.places[number-h.base] = uint16(len(h.used))
	return &h.used[len(h.used)-1]
}

// span makes the table of places reach a cell, some 128 cells at a time and at
// least twice as many as before.
func (h *Histogram) span(number uint16) {
	const step = 1 << subBits
	begin, n := int(h.base), len(h.places)
	end := begin + n
	switch b := int(number); {
	case n == 0:
		begin, end = b&^(step-1), (b|(step-1))+1
	case b < begin:
		begin = max(min(b&^(step-1), begin-n), 0)
	case b >= end:
		end = max((b|(step-1))+1, end+n)
	default:
		return
	}
	places := make([]uint16, end-begin)
	copy(places[max(int(h.base)-begin, 0):], h.places)
	h.places, h.base = places, uint16(begin)
}

// ascending goes through the cells in their order.
func (h *Histogram) ascending(yield func(number uint16, c *cell) bool) {
	for i, at := range h.places {
		if at != 0 && !yield(h.base+uint16(i), &h.used[at-1]) {
			return
		}
	}
}

// buckets goes through the log-linear buckets in their order: a quantile does not
// depend on where the bounds of metrics happen to be.
func (h *Histogram) buckets(yield func(bucket uint16, c cell) bool) {
	var sum cell
	var at uint16
	for number, c := range h.ascending {
		bucket := cells.fine[number]
		if bucket != at && sum.n > 0 {
			if !yield(at, sum) {
				return
			}
			sum = cell{}
		}
		at = bucket
		sum.n += c.n
		sum.sum += c.sum
	}
	if sum.n > 0 {
		yield(at, sum)
	}
}

// Count returns how many values were counted.
func (h *Histogram) Count() (n uint64) {
	for i := range h.used {
		n += h.used[i].n
	}
	return n
}

// Sum returns what the values sum up to.
func (h *Histogram) Sum() (sum int64) {
	for i := range h.used {
		sum += h.used[i].sum
	}
	return sum
}

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	h.Max = max(h.Max, o.Max)
	if len(h.used) == 0 {
		h.used, h.places, h.base = append(h.used, o.used...), append(h.places[:0], o.places...), o.base
		return
	}
	for number, c := range o.ascending {
		to := h.cell(number)
		to.n += c.n
		to.sum += c.sum
	}
}

// reset empties the histogram and keeps its memory.
func (h *Histogram) reset() {
	h.used, h.places, h.base, h.Max = h.used[:0], h.places[:0], 0, 0
}

// Quantile returns the value of rank ceil(percent/100 × n), as its bucket's
// mean; the highest rank is the maximum itself. It is 0 on an empty histogram.
func (h *Histogram) Quantile(percent uint64) int64 {
	n := h.Count()
	rank := max((n*percent+99)/100, 1)
	if rank >= n {
		return h.Max
	}
	return h.ranked(rank)
}

// Median returns the mean of the bucket that holds the middle value.
func (h *Histogram) Median() int64 { return h.ranked((h.Count() + 1) / 2) }

// ranked returns the mean of the bucket that holds the value of a rank, 0 where
// there is none.
func (h *Histogram) ranked(rank uint64) int64 {
	for _, c := range h.buckets {
		if rank <= c.n {
			return c.mean()
		}
		rank -= c.n
	}
	return 0
}

func (c *cell) mean() int64 { return c.sum / int64(c.n) }

// Least returns the smallest value, to the precision of a bucket.
func (h *Histogram) Least() int64 { return h.ranked(1) }

// Within counts the values within so many hundredths of v, to the precision of a
// bucket.
func (h *Histogram) Within(v, hundredths int64) (n uint64) {
	near := v / 100 * hundredths
	if v < 100 {
		near = v * hundredths / 100
	}
	for _, c := range h.buckets {
		if m := c.mean(); m >= v-near && m <= v+near {
			n += c.n
		}
	}
	return n
}

// Below counts the values under limit, exactly for limits up to 256.
func (h *Histogram) Below(limit int64) (n uint64) {
	for bucket, c := range h.buckets {
		if bucket >= fineOf(limit) {
			break
		}
		n += c.n
	}
	return n
}

// Cumulative returns how many values are at or below each of the bounds, which
// are classic ones of the unit, exactly.
func (h *Histogram) Cumulative(u *Unit, bounds []float64) []uint64 {
	counts := make([]uint64, 0, len(bounds))
	var n uint64
	at := 0
	next := func() int64 {
		if at < len(bounds) {
			return u.integer(bounds[at])
		}
		return math.MaxInt64
	}
	for number, c := range h.ascending {
		for cells.upper[number] > next() {
			counts = append(counts, n)
			at++
		}
		n += c.n
	}
	for ; at < len(bounds); at++ {
		counts = append(counts, n)
	}
	return counts
}

// A NativeBucket is one of a native histogram.
type NativeBucket struct {
	Index int
	N     uint64
}

// Native returns the native buckets that hold values, in ascending order, and
// apart from them how many values are in the zero bucket.
func (h *Histogram) Native(u *Unit) (zero uint64, list []NativeBucket) {
	for number, c := range h.ascending {
		k := u.nativeOf(cells.upper[number])
		switch last := len(list) - 1; {
		case u.zero && k == u.low*perOctave:
			zero += c.n
		case last >= 0 && list[last].Index == k:
			list[last].N += c.n
		default:
			list = append(list, NativeBucket{k, c.n})
		}
	}
	return zero, list
}
