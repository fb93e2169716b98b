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

	"github.com/keepscope/keepscope/exporter/tally"
)

// TestHistogramsLikeClientGolang puts the same values into a histogram of
// client_golang, classic and native, and expects the same buckets.
func TestHistogramsLikeClientGolang(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	around := func(v int64) int64 { return max(v+rnd.Int64N(3)-1, 0) }
	tests := []struct {
		name   string
		unit   *tally.Unit
		bounds []float64
		value  func() int64
	}{
		{"handshakes", tally.Seconds, tally.HandshakeBounds, func() int64 { return rnd.Int64N(10e9) }},
		{"idle, all magnitudes", tally.Seconds, tally.IdleBounds, func() int64 { return rnd.Int64N(1 << (1 + rnd.IntN(50))) }},
		{"at the bounds of cells", tally.Seconds, tally.DurationBounds, func() int64 {
			return around(int64(math.Round(tally.DurationBounds[rnd.IntN(len(tally.DurationBounds))] * 1e9)))
		}},
		{"round times", tally.Seconds, tally.IdleBounds, func() int64 { return rnd.Int64N(200) * 500e6 }},
		{"requests", tally.Things, tally.RequestBounds, func() int64 { return 1 + rnd.Int64N(1<<rnd.IntN(31)) }},
		{"requests at bounds", tally.Things, tally.RequestBounds, func() int64 { return max(1, around(int64(tally.RequestBounds[rnd.IntN(len(tally.RequestBounds))]))) }},
		{"few requests", tally.Things, tally.RequestBounds, func() int64 { return 1 + rnd.Int64N(12) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := prometheus.NewHistogram(prometheus.HistogramOpts{
				Name: "h", Buckets: tt.bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: tt.unit.Zero,
			})
			var h tally.Histogram
			for range 50_000 {
				v := tt.value()
				h.Add(v)
				ref.Observe(float64(v) / tt.unit.Per)
			}
			var want dto.Metric
			if err := ref.Write(&want); err != nil {
				t.Fatal(err)
			}
			want.Histogram.CreatedTimestamp = nil
			got := gatherHistogram(tt.unit, &h, tt.bounds, maxNative)
			unlimited := gatherHistogram(tt.unit, &h, tt.bounds, math.MaxInt)
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
func gatherHistogram(u *tally.Unit, h *tally.Histogram, bounds []float64, limit int) *dto.Histogram {
	n, sum := h.Count(), float64(h.Sum())/u.Per
	d := &dto.Histogram{SampleCount: &n, SampleSum: &sum, Bucket: classic(u, h, bounds)}
	nativeBuckets(u, h, d, limit)
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
