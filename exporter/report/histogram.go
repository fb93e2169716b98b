package report

import "math/bits"

// A histogram counts integers in log-linear buckets: 128 for every power of
// two, so values below 256 have a bucket each and a wider bucket spans less
// than 0.8 % of its value. A bucket keeps its sum, so its mean can be given
// back: five closings at about 5 s print as 5 s, not as a bucket's edge.
//
// A bucket has a cell once it counts something. Where that is, a table tells that
// spans the buckets in use. A hash table of the cells alone takes twice as many
// instructions; to search sorted cells and to insert there took two fifths of a
// report's time (BenchmarkConnection). The zero value is empty and ready.
type histogram struct {
	cells  []cell
	places []uint16 // of the cells of the buckets from base on, plus 1; 0 without
	base   uint16
	max    int64
}

type cell struct {
	n   uint64
	sum int64
}

const subBits = 7 // 128 buckets for each power of two

// bucketOf is monotonic and continuous: 0..255 map to themselves.
func bucketOf(v int64) uint16 {
	shift := max(bits.Len64(uint64(v))-subBits-1, 0)
	return uint16(shift<<subBits + int(v>>shift))
}

// add counts v once; a negative value, which only a capture whose clock ran
// backwards has, counts as 0.
func (h *histogram) add(v int64) {
	v = max(v, 0)
	h.max = max(h.max, v)
	c := h.cell(bucketOf(v))
	c.n++
	c.sum += v
}

// cell returns the cell of a bucket, which it adds where needed.
func (h *histogram) cell(bucket uint16) *cell {
	if i := uint(bucket) - uint(h.base); i < uint(len(h.places)) {
		if at := uint(h.places[i]) - 1; at < uint(len(h.cells)) {
			return &h.cells[at]
		}
	}
	return h.newCell(bucket)
}

func (h *histogram) newCell(bucket uint16) *cell {
	h.span(bucket)
	h.cells = append(h.cells, cell{})
	h.places[bucket-h.base] = uint16(len(h.cells))
	return &h.cells[len(h.cells)-1]
}

// span makes the table of places reach a bucket, a power of two's buckets at a
// time and at least twice as many as before.
func (h *histogram) span(bucket uint16) {
	const step = 1 << subBits
	begin, n := int(h.base), len(h.places)
	end := begin + n
	switch b := int(bucket); {
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

// ascending goes through the cells in the order of their buckets.
func (h *histogram) ascending(yield func(bucket uint16, c *cell) bool) {
	for i, at := range h.places {
		if at != 0 && !yield(h.base+uint16(i), &h.cells[at-1]) {
			return
		}
	}
}

// count returns how many values were counted, and sum what they sum up to.
func (h *histogram) count() (n uint64) {
	for i := range h.cells {
		n += h.cells[i].n
	}
	return n
}

func (h *histogram) sum() (sum int64) {
	for i := range h.cells {
		sum += h.cells[i].sum
	}
	return sum
}

func (h *histogram) merge(o *histogram) {
	h.max = max(h.max, o.max)
	if len(h.cells) == 0 {
		h.cells, h.places, h.base = append(h.cells, o.cells...), append(h.places[:0], o.places...), o.base
		return
	}
	for bucket, c := range o.ascending {
		to := h.cell(bucket)
		to.n += c.n
		to.sum += c.sum
	}
}

// reset empties the histogram and keeps its memory.
func (h *histogram) reset() {
	clear(h.places)
	h.cells, h.max = h.cells[:0], 0
}

// quantile returns the value of rank ceil(percent/100 × n), as its bucket's
// mean; the highest rank is the maximum itself. It is 0 on an empty histogram.
func (h *histogram) quantile(percent uint64) int64 {
	n := h.count()
	rank := max((n*percent+99)/100, 1)
	if rank >= n {
		return h.max
	}
	return h.ranked(rank)
}

// median returns the mean of the bucket that holds the middle value.
func (h *histogram) median() int64 { return h.ranked((h.count() + 1) / 2) }

// ranked returns the mean of the bucket that holds the value of a rank, 0 where
// there is none.
func (h *histogram) ranked(rank uint64) int64 {
	for _, c := range h.ascending {
		if rank <= c.n {
			return c.mean()
		}
		rank -= c.n
	}
	return 0
}

func (c *cell) mean() int64 { return c.sum / int64(c.n) }

// near counts the values within tenth of v, to the precision of a bucket.
func (h *histogram) near(v int64) uint64 {
	var n uint64
	for i := range h.cells {
		if m := h.cells[i].mean(); m >= v-v/10 && m <= v+v/10 {
			n += h.cells[i].n
		}
	}
	return n
}

// below counts the values under limit, exactly for limits up to 256.
func (h *histogram) below(limit int64) uint64 {
	var n uint64
	for bucket, c := range h.ascending {
		if bucket >= bucketOf(limit) {
			break
		}
		n += c.n
	}
	return n
}
