package exporter

import (
	"math"
	"slices"
)

// schema is the resolution of native histograms: 8 buckets for each power of
// two, each 9 % wider than the one before.
const (
	schema         = 3
	perOctave      = 1 << schema
	maxNative      = 160 // populated buckets; what agents commonly accept
	coarsestSchema = -4
)

// A scale divides the values of a histogram into cells. A cell ends at every
// bound of the native histogram and at every bound that any classic histogram
// of the scale has, so one increment serves both, and they can't disagree.
type scale struct {
	per    float64 // how many make 1 of the exported unit
	upper  []int64 // inclusive upper bound of each cell but the last
	native []int32 // index of each cell's native bucket
	zero   float64 // threshold of the native zero bucket
	first  [octaves << subBits]uint16
}

// subBits is how many bits below a value's highest select its entry in
// scale.first; with 32 entries for at most 12 cells a power of two, one
// comparison mostly settles the cell.
const subBits = 5

// octaves is how many powers of two scale.first covers: up to 2^53 floats have
// all integers.
const octaves = 53

// newScale makes the scale for values from 2^low to 2^high exported units.
// Values of at most 2^low count as zero if zero is set.
func newScale(per float64, low, high int, zero bool, classic ...[]float64) *scale {
	s := &scale{per: per, zero: math.Ldexp(1, -128)}
	for k := low * perOctave; k <= high*perOctave; k++ {
		s.upper = append(s.upper, int64(math.Floor(nativeBound(k)*per)))
	}
	for _, bounds := range classic {
		for _, b := range bounds {
			s.upper = append(s.upper, s.integer(b))
		}
	}
	slices.Sort(s.upper)
	s.upper = slices.Compact(s.upper)
	for _, u := range s.upper {
		s.native = append(s.native, int32(nativeIndex(float64(u)/per)))
	}
	s.native = append(s.native, int32(high*perOctave+1))
	if zero {
		s.zero = math.Ldexp(1, low)
	}
	for i := range s.first {
		s.first[i] = uint16(s.search(lowest(i)))
	}
	return s
}

// integer returns an exported bound in the unit of the values.
func (s *scale) integer(bound float64) int64 { return int64(math.Round(bound * s.per)) }

// search returns the first cell that may hold v.
func (s *scale) search(v int64) int {
	i, _ := slices.BinarySearch(s.upper, v)
	return i
}

// entry returns the index in scale.first of a value of at least 0, which is
// monotonic: it is the exponent of v+1 as a float and the highest bits of its
// mantissa. One that is beyond the table is larger than all bounds.
func entry(v int64) uint64 {
	return math.Float64bits(float64(v+1))>>(52-subBits) - 1023<<subBits
}

// lowest returns the lowest value that has an entry, or one below it.
func lowest(entry int) int64 {
	octave, sub := entry>>subBits, int64(entry&(1<<subBits-1))
	return (1<<subBits+sub)<<octave>>subBits - 1
}

// cell returns the cell of a value of at least 0.
func (s *scale) cell(v int64) int {
	i := entry(v)
	if i >= uint64(len(s.first)) {
		return len(s.upper)
	}
	c := int(s.first[i])
	for c < len(s.upper) && v > s.upper[c] {
		c++
	}
	return c
}

// nativeBound returns the upper bound of a native bucket.
func nativeBound(k int) float64 {
	return math.Ldexp(fractions[k&(perOctave-1)], k>>schema)
}

// nativeIndex returns the native bucket of v: the lowest whose bound is not
// below it.
func nativeIndex(v float64) int {
	frac, exp := math.Frexp(v) // frac is in [0.5, 1)
	at, _ := slices.BinarySearch(fractions[:], frac*2)
	return (exp-1)*perOctave + at
}

// fractions are 2^(i/8).
var fractions = func() (f [perOctave]float64) {
	for i := range f {
		f[i] = math.Exp2(float64(i) / perOctave)
	}
	return f
}()

// The upper bounds of classic buckets. Those of idle times hold the timeouts
// that servers and balancers come with.
var (
	requestBounds   = []float64{1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 10000}
	durationBounds  = []float64{0.001, 0.01, 0.1, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400}
	handshakeBounds = []float64{0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10}
	idleBounds      = []float64{0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 90, 120, 300, 600}
)

var (
	countScale = newScale(1, 0, 32, false, requestBounds)
	timeScale  = newScale(1e9, -20, 21, true, durationBounds, handshakeBounds, idleBounds)
)

// A histogram counts values of a scale. Its cells are taken at the first value.
type histogram struct {
	cells []uint64
	n     uint64
	sum   int64
}

func (h *histogram) add(s *scale, v int64) {
	v = max(v, 0) // clocks may be set back
	c := s.cell(v)
	if cells := h.cells; uint(c) < uint(len(cells)) {
		cells[c]++
	} else {
		h.begin(s, c)
	}
	h.n++
	h.sum += v
}

// begin takes the cells and counts the first value.
func (h *histogram) begin(s *scale, cell int) {
	h.cells = make([]uint64, len(s.native))
	h.cells[cell]++
}

func (h *histogram) merge(o *histogram) {
	h.n += o.n
	h.sum += o.sum
	if len(h.cells) == 0 {
		h.cells = append(h.cells, o.cells...)
		return
	}
	for i, n := range o.cells {
		h.cells[i] += n
	}
}

// copyTo copies h into to, whose memory it uses.
func (h *histogram) copyTo(to *histogram) {
	to.cells = append(to.cells[:0], h.cells...)
	to.n, to.sum = h.n, h.sum
}

// A recent holds the newest values.
type recent struct {
	values [maxRecent]int64
	n      uint64 // ever
}

const maxRecent = 64

func (r *recent) add(v int64) {
	r.values[r.n%maxRecent] = v
	r.n++
}

func (r *recent) list() []int64 { return r.values[:min(r.n, maxRecent)] }

// minIdleClosings is how many closings make a timeout.
const minIdleClosings = 5

// timeout returns the median of the values, if enough of them are near it. It
// reorders the values.
func timeout(values []int64) (ns int64, ok bool) {
	if len(values) < minIdleClosings {
		return 0, false
	}
	slices.Sort(values)
	m := values[(len(values)-1)/2]
	near := 0
	for _, v := range values {
		if v >= m-m/10 && v <= m+m/10 {
			near++
		}
	}
	return m, near >= minIdleClosings
}
