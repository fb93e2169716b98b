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
// Only buckets in use are stored, in the order of their first value: a hash table
// finds them, and who asks for ranks sorts them. To search sorted cells and to
// insert there took two fifths of a report's time (BenchmarkConnection). The zero
// value is empty and ready.
type histogram struct {
	index  []uint16 // the buckets of cells
	cells  []cell
	places []uint16 // of cells by a hash of their bucket, plus 1; 0 is free
	shift  uint8    // places has 2^(16-shift) entries, half of them free
	n      uint64
	sum    int64
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
	h.n++
	h.sum += v
	h.max = max(h.max, v)
	c := h.cell(bucketOf(v))
	c.n++
	c.sum += v
}

// cell returns the cell of a bucket, which it adds where needed.
func (h *histogram) cell(bucket uint16) *cell {
	places, index := h.places, h.index
	for i := h.hash(bucket); len(places) > 0; i++ {
		at := places[i&uint(len(places)-1)]
		if at == 0 {
			break
		}
		if index[at-1] == bucket {
			return &h.cells[at-1]
		}
	}
	h.index = append(h.index, bucket)
	h.cells = append(h.cells, cell{})
	if 2*len(h.cells) > len(h.places) {
		h.places = make([]uint16, max(2*len(h.places), 8))
		h.shift = uint8(17 - bits.Len(uint(len(h.places))))
		for i := range h.index {
			h.place(i + 1)
		}
	} else {
		h.place(len(h.index))
	}
	return &h.cells[len(h.cells)-1]
}

func (h *histogram) hash(bucket uint16) uint {
	const prime = 40503 // 2^16 divided by the golden ratio
	return uint(bucket * prime >> (h.shift & 15))
}

// place notes where the cell of a bucket is that has no place yet.
func (h *histogram) place(at int) {
	i, last := h.hash(h.index[at-1]), uint(len(h.places)-1)
	for h.places[i&last] != 0 {
		i++
	}
	h.places[i&last] = uint16(at)
}

func (h *histogram) merge(o *histogram) {
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
	if len(h.cells) == 0 {
		h.index, h.cells = append(h.index, o.index...), append(h.cells, o.cells...)
		h.places, h.shift = append(h.places[:0], o.places...), o.shift
		return
	}
	for i, bucket := range o.index {
		c := h.cell(bucket)
		c.n += o.cells[i].n
		c.sum += o.cells[i].sum
	}
}

// reset empties the histogram and keeps its memory.
func (h *histogram) reset() {
	clear(h.places)
	*h = histogram{index: h.index[:0], cells: h.cells[:0], places: h.places, shift: h.shift}
}

// quantile returns the value of rank ceil(percent/100 × n), as its bucket's
// mean; the highest rank is the maximum itself. It is 0 on an empty histogram.
func (h *histogram) quantile(percent uint64) int64 {
	rank := max((h.n*percent+99)/100, 1)
	if rank >= h.n {
		return h.max
	}
	return h.ranked(rank)
}

// median returns the mean of the bucket that holds the middle value.
func (h *histogram) median() int64 { return h.ranked((h.n + 1) / 2) }

// ranked returns the mean of the bucket that holds the value of a rank, 0 where
// there is none.
func (h *histogram) ranked(rank uint64) int64 {
	ascending := slices.Clone(h.index)
	slices.Sort(ascending)
	for _, bucket := range ascending {
		c := h.cell(bucket)
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
	for i, bucket := range h.index {
		if bucket < bucketOf(limit) {
			n += h.cells[i].n
		}
	}
	return n
}
