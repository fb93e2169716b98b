package tally

import (
	"math"
	"math/bits"
	"slices"
)

// NativeSchema is the resolution of native histograms: 8 buckets for each power
// of two, each 9 % wider than the one before.
const NativeSchema = 3

const perOctave = 1 << NativeSchema

// The upper bounds of classic buckets. Those of idle times hold the timeouts
// that servers and balancers come with; there are fewer before closings, for which a
// server has two histograms, and whose timeouts are told by themselves.
var (
	RequestBounds   = []float64{1, 2, 3, 5, 10, 20, 50, 100, 500, 1000, 10000}
	DurationBounds  = []float64{0.1, 1, 5, 10, 30, 60, 300, 600, 3600, 21600, 86400}
	HandshakeBounds = []float64{0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10}
	IdleBounds      = []float64{0.01, 0.1, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 90, 120, 300, 600}
	CloseBounds     = []float64{1, 10, 60, 300}
)

// A Unit is what the values of a histogram are exported in.
type Unit struct {
	Per       float64 // how many of the values make 1
	Zero      float64 // threshold of the native zero bucket
	low, high int     // native buckets reach from 2^low to 2^high
	zero      bool    // values of at most 2^low count as zero
	classic   [][]float64
}

// The units. Things are counted from 1 on; nanoseconds are exported as seconds,
// from about a microsecond to 24 days.
var (
	Things  = &Unit{Per: 1, Zero: math.Ldexp(1, -128), high: 32, classic: [][]float64{RequestBounds}}
	Seconds = &Unit{
		Per: 1e9, Zero: math.Ldexp(1, -20), low: -20, high: 21, zero: true,
		classic: [][]float64{DurationBounds, HandshakeBounds, IdleBounds},
	}
)

// integer returns an exported bound in the unit of the values.
func (u *Unit) integer(bound float64) int64 { return int64(math.Round(bound * u.Per)) }

// nativeUpper is the highest value in a native bucket.
func (u *Unit) nativeUpper(k int) int64 { return int64(math.Floor(nativeBound(k) * u.Per)) }

// A scale divides the integers from 0 on into cells. A cell ends at every bound
// of a log-linear histogram with 128 buckets for each power of two (so quantiles
// are told within 0.8 %, and values below 256 exactly), and at every native and
// every classic bound of either unit. One increment serves report and metrics,
// and they can't disagree.
type scale struct {
	upper []int64         // inclusive upper bound of each cell; the last is the largest integer
	fine  []uint16        // log-linear bucket of each cell
	first [numFine]uint16 // cell of each log-linear bucket, the first where several share it; see shared
}

// shared is set in scale.first where other bounds divide the bucket: most it is all of one
// cell, and upper, which is in no cache, is not asked (BenchmarkConnection).
const shared = 1 << 15

const (
	subBits = 7 // 128 buckets for each power of two
	numFine = 7296
)

// fineOf is the log-linear bucket of a value; it is monotonic and continuous, and
// 0..255 map to themselves.
func fineOf(v int64) uint16 {
	shift := max(bits.Len64(uint64(v))-subBits-1, 0)
	return uint16(shift<<subBits + int(v>>shift))
}

// fineUpper is the highest value of a log-linear bucket.
func fineUpper(bucket int) int64 {
	shift := max(bucket>>subBits-1, 0)
	return int64(uint64(bucket-shift<<subBits+1)<<shift - 1)
}

var cells = newScale(Things, Seconds)

func newScale(units ...*Unit) *scale {
	var bounds []int64 // beside those of log-linear buckets
	for _, u := range units {
		for k := u.low * perOctave; k <= u.high*perOctave; k++ {
			bounds = append(bounds, u.nativeUpper(k))
		}
		for _, list := range u.classic {
			for _, b := range list {
				bounds = append(bounds, u.integer(b))
			}
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	most := numFine + len(bounds)
	s := &scale{upper: make([]int64, 0, most), fine: make([]uint16, 0, most)}
	for bucket := range uint16(numFine) {
		first, last := uint16(len(s.upper)), fineUpper(int(bucket))
		for ; len(bounds) > 0 && bounds[0] < last; bounds = bounds[1:] {
			s.upper, s.fine = append(s.upper, bounds[0]), append(s.fine, bucket)
			first |= shared
		}
		if len(bounds) > 0 && bounds[0] == last {
			bounds = bounds[1:]
		}
		s.upper, s.fine = append(s.upper, last), append(s.fine, bucket)
		s.first[bucket] = first
	}
	return s
}

// nativeOf returns the native bucket of a cell by its upper bound; what is beyond
// the highest has one of its own.
func (u *Unit) nativeOf(v int64) int {
	highest := u.high * perOctave
	switch {
	case v > u.nativeUpper(highest):
		return highest + 1
	case v <= u.nativeUpper(u.low*perOctave):
		return u.low * perOctave
	}
	return nativeIndex(float64(v) / u.Per)
}

// cell returns the cell of a value of at least 0.
func (s *scale) cell(v int64) int {
	c := int(s.first[fineOf(v)])
	if c&shared == 0 {
		return c
	}
	c &^= shared
	for v > s.upper[c] {
		c++
	}
	return c
}

// nativeBound returns the upper bound of a native bucket.
func nativeBound(k int) float64 {
	return math.Ldexp(fractions[k&(perOctave-1)], k>>NativeSchema)
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
