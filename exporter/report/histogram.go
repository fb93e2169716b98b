package report

import (
	"math/bits"
	"slices"
)

// A histogram counts integers in log-linear buckets: 128 for every power of
// two, so values below 256 have a bucket each and a wider bucket spans less
// than 0.8 % of its value. A bucket keeps its sum, so its mean can be given
// back: five closings at about 5 s print as 5 s, not as a bucket's edge.
//
// Only buckets in use are stored, sorted by index; the indices stand apart from
// the counts so that the search touches few cache lines. The zero value is
// empty and ready.
type histogram struct {
	index []uint16
	cells []cell
	hint  [hints]uint16 // where buckets were found last, by their low bits
	n     uint64
	sum   int64
	max   int64
}

type cell struct {
	n   uint64
	sum int64
}

// hints is how many places a histogram remembers: values come in clusters, and
// a remembered place saves the search (BenchmarkConnection).
const hints = 64

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
	h.n++
	h.sum += v
	h.max = max(h.max, v)
	c := h.cell(bucketOf(v))
	c.n++
	c.sum += v
}

// cell returns the cell of a bucket, which it inserts where needed.
func (h *histogram) cell(bucket uint16) *cell {
	hint := &h.hint[bucket%hints]
	if at := int(*hint); at < len(h.index) && h.index[at] == bucket {
		return &h.cells[at]
	}
	at := h.search(bucket)
	*hint = uint16(at)
	if at == len(h.index) || h.index[at] != bucket {
		h.index = slices.Insert(h.index, at, bucket)
		h.cells = slices.Insert(h.cells, at, cell{})
	}
	return &h.cells[at]
}

// search returns the position of the first index not below bucket. It halves
// without a branch on the comparison's outcome, which a random value would
// mispredict (BenchmarkExchange).
func (h *histogram) search(bucket uint16) int {
	base, n := 0, len(h.index)
	for n > 1 {
		half := n >> 1
		if h.index[base+half-1] < bucket {
			base += half
		}
		n -= half
	}
	if n == 1 && h.index[base] < bucket {
		base++
	}
	return base
}

func (h *histogram) merge(o *histogram) {
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
	for i, bucket := range o.index {
		c := h.cell(bucket)
		c.n += o.cells[i].n
		c.sum += o.cells[i].sum
	}
}

// reset empties the histogram and keeps its memory.
func (h *histogram) reset() {
	*h = histogram{index: h.index[:0], cells: h.cells[:0]}
}

// quantile returns the value of rank ceil(percent/100 × n), as its bucket's
// mean; the highest rank is the maximum itself. It is 0 on an empty histogram.
func (h *histogram) quantile(percent uint64) int64 {
	rank := max((h.n*percent+99)/100, 1)
	if rank >= h.n {
		return h.max
	}
	for i := range h.cells {
		c := &h.cells[i]
		if rank <= c.n {
			return c.mean()
		}
		rank -= c.n
	}
	return h.max
}

func (c *cell) mean() int64 { return c.sum / int64(c.n) }

// median returns the mean of the bucket that holds the middle value.
func (h *histogram) median() int64 {
	rank := (h.n + 1) / 2
	for i := range h.cells {
		c := &h.cells[i]
		if rank <= c.n {
			return c.mean()
		}
		rank -= c.n
	}
	return 0
}

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
	for i, bucket := range h.index {
		if bucket < bucketOf(limit) {
			n += h.cells[i].n
		}
	}
	return n
}
