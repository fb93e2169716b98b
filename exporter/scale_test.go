package exporter

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/testing/protocmp"
)

// TestHistogramsLikeClientGolang puts the same values into a histogram of
// client_golang, classic and native, and expects the same buckets.
func TestHistogramsLikeClientGolang(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	around := func(v int64) int64 { return max(v+rnd.Int64N(3)-1, 0) }
	tests := []struct {
		name   string
		scale  *scale
		bounds []float64
		value  func() int64
	}{
		{"handshakes", timeScale, handshakeBounds, func() int64 { return rnd.Int64N(10e9) }},
		{"idle, all magnitudes", timeScale, idleBounds, func() int64 { return rnd.Int64N(1 << (1 + rnd.IntN(50))) }},
		{"at the bounds of cells", timeScale, durationBounds, func() int64 { return around(timeScale.upper[rnd.IntN(300)]) }},
		{"round times", timeScale, idleBounds, func() int64 { return rnd.Int64N(200) * 500e6 }},
		{"requests", countScale, requestBounds, func() int64 { return 1 + rnd.Int64N(1<<rnd.IntN(31)) }},
		{"requests at bounds", countScale, requestBounds, func() int64 { return max(1, around(countScale.upper[rnd.IntN(len(countScale.upper)-1)])) }},
		{"few requests", countScale, requestBounds, func() int64 { return 1 + rnd.Int64N(12) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := prometheus.NewHistogram(prometheus.HistogramOpts{
				Name: "h", Buckets: tt.bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: tt.scale.zero,
			})
			var h histogram
			for range 50_000 {
				v := tt.value()
				h.add(tt.scale, v)
				ref.Observe(float64(v) / tt.scale.per)
			}
			var want dto.Metric
			if err := ref.Write(&want); err != nil {
				t.Fatal(err)
			}
			want.Histogram.CreatedTimestamp = nil
			got := gatherHistogram(tt.scale, &h, tt.bounds, maxNative)
			unlimited := gatherHistogram(tt.scale, &h, tt.bounds, math.MaxInt)
			// client_golang writes no +Inf bucket.
			got.Bucket, unlimited.Bucket = got.Bucket[:len(tt.bounds)], unlimited.Bucket[:len(tt.bounds)]
			opts := []cmp.Option{protocmp.Transform(), cmpopts.EquateApprox(1e-9, 0)}
			if diff := cmp.Diff(want.Histogram.Bucket, unlimited.Bucket, opts...); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(nativeCounts(want.Histogram), nativeCounts(unlimited)); diff != "" {
				t.Error(diff)
			}
			if len(got.PositiveDelta) > maxNative {
				t.Errorf("%d native buckets, more than %d", len(got.PositiveDelta), maxNative)
			}
			checkHistogram(t, tt.name, got)
		})
	}
}

// nativeCounts lists the native buckets that are not empty, by index.
func nativeCounts(h *dto.Histogram) map[int]int64 {
	m := map[int]int64{math.MinInt: int64(h.GetZeroCount()), math.MaxInt: int64(h.GetSchema())}
	index, count, at := 0, int64(0), 0
	for _, s := range h.GetPositiveSpan() {
		index += int(s.GetOffset())
		for range s.GetLength() {
			count += h.PositiveDelta[at]
			at++
			if count != 0 {
				m[index] = count
			}
			index++
		}
	}
	return m
}

// gatherHistogram makes a histogram's metric with at most limit native buckets.
func gatherHistogram(s *scale, h *histogram, bounds []float64, limit int) *dto.Histogram {
	sum := float64(h.sum) / s.per
	d := &dto.Histogram{SampleCount: &h.n, SampleSum: &sum, Bucket: s.classic(h, bounds)}
	s.nativeBuckets(h, d, limit)
	return d
}

// checkHistogram checks that classic and native buckets say the same: what is
// at or below a classic bound is between the native buckets around it, and
// both sum up to the count.
func checkHistogram(t *testing.T, name string, h *dto.Histogram) {
	t.Helper()
	type bucket struct {
		lower, upper float64
		n            uint64
	}
	native := []bucket{{0, h.GetZeroThreshold(), h.GetZeroCount()}}
	width := math.Exp2(-float64(h.GetSchema()))
	index, count, at := 0, int64(0), 0
	for _, s := range h.GetPositiveSpan() {
		index += int(s.GetOffset())
		for range s.GetLength() {
			count += h.PositiveDelta[at]
			at++
			native = append(native, bucket{math.Exp2(float64(index-1) * width), math.Exp2(float64(index) * width), uint64(count)})
			index++
		}
	}
	total := uint64(0)
	for _, b := range native {
		total += b.n
	}
	if total != h.GetSampleCount() {
		t.Errorf("%s: native buckets hold %d values of %d", name, total, h.GetSampleCount())
	}
	for _, c := range h.GetBucket() {
		surely, perhaps := uint64(0), uint64(0)
		for _, b := range native {
			if b.upper <= c.GetUpperBound()*(1+1e-12) {
				surely += b.n
			}
			if b.lower <= c.GetUpperBound() {
				perhaps += b.n
			}
		}
		if n := c.GetCumulativeCount(); n < surely || n > perhaps {
			t.Errorf("%s: %d values up to %v, native buckets say %d to %d", name, n, c.GetUpperBound(), surely, perhaps)
		}
	}
}

func TestCellsAreMonotonic(t *testing.T) {
	for name, s := range map[string]*scale{"time": timeScale, "count": countScale} {
		for i, u := range s.upper {
			if got := s.cell(u); got != i {
				t.Fatalf("%s: value %d is in cell %d, want %d", name, u, got, i)
			}
			if got := s.cell(u + 1); got != i+1 {
				t.Fatalf("%s: value %d is in cell %d, want %d", name, u+1, got, i+1)
			}
		}
		for _, v := range []int64{math.MinInt64, -1, 0, math.MaxInt64} {
			s.cell(v)
		}
		if len(s.native) > 400 {
			t.Errorf("%s: %d cells", name, len(s.native))
		}
	}
}

func TestTimeout(t *testing.T) {
	const s = int64(1e9)
	tests := []struct {
		name   string
		values []int64
		want   int64
		ok     bool
	}{
		{"none", nil, 0, false},
		{"too few", []int64{5 * s, 5 * s, 5 * s, 5 * s}, 0, false},
		{"five alike", []int64{5*s + 3, 5*s + 1, 5*s + 2, 5*s + 5, 5*s + 4}, 5*s + 3, true},
		{"most elsewhere", []int64{1 * s, 2 * s, 3 * s, 4 * s, 5 * s, 60 * s, 61 * s}, 4 * s, false},
		{"some strays", []int64{9 * s, 75 * s, 75 * s, 75 * s, 75 * s, 75 * s, 1 * s}, 75 * s, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := timeout(tt.values)
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("timeout is %d, %v; want %d, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func BenchmarkHistogram(b *testing.B) {
	var h histogram
	values := make([]int64, 4096)
	for i := range values {
		values[i] = rand.Int64N(1 << (10 + rand.IntN(30)))
	}
	i := 0
	for b.Loop() {
		h.add(timeScale, values[i&4095])
		i++
	}
}
