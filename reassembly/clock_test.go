package reassembly

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

func TestClock(t *testing.T) {
	const year = 365 * 24 * 3600
	tests := []struct {
		name    string
		in, out []int64 // seconds
		mended  uint64
	}{
		{name: "in order", in: []int64{100, 101, 103}, out: []int64{100, 101, 103}},
		{name: "a little out of order", in: []int64{100, 102, 101, 103}, out: []int64{100, 102, 101, 103}},
		{name: "a pause", in: []int64{100, 4000, 4001}, out: []int64{100, 4000, 4001}},
		{name: "a pause before the last", in: []int64{100, 101, 4000}, out: []int64{100, 101, 4000}},
		{name: "pauses", in: []int64{100, 4000, 8000, 8000, 12000}, out: []int64{100, 4000, 8000, 8000, 12000}},
		{name: "one far ahead", in: []int64{100, 100 + year, 101, 102}, out: []int64{100, 100, 101, 102}, mended: 1},
		{name: "one far back", in: []int64{5000, 5001, 1, 5002, 5003}, out: []int64{5000, 5001, 5001, 5002, 5003}, mended: 1},
		{name: "zero", in: []int64{5000, 0, 5001}, out: []int64{5000, 5000, 5001}, mended: 1},
		{name: "each second one from a clock that is wrong", in: []int64{100, 4000, 101, 4001, 102, 4002, 103}, out: []int64{100, 100, 101, 101, 102, 102, 103}, mended: 3},
		{name: "a clock that was set back", in: []int64{5000, 5001, 100, 101, 102, 103}, out: []int64{5000, 5001, 100, 101, 102, 103}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frames := make([]sniffer.Frame, len(tt.in))
			for i, s := range tt.in {
				frames[i].Time = s * int64(time.Second)
			}
			var k Clock
			k.Mend(frames)
			var out []int64
			newest := int64(0)
			for _, f := range frames {
				out = append(out, f.Time/int64(time.Second))
				newest = f.Time
			}
			if d := cmp.Diff(tt.out, out); d != "" || k.Mended != tt.mended {
				t.Errorf("%d mended, want %d; times (-want +got):\n%s", k.Mended, tt.mended, d)
			}
			if k.Now() != newest {
				t.Errorf("now is %d, want %d", k.Now(), newest)
			}
		})
	}
}

// TestClockKeepsTheLiving gives one frame of each connection in turn a time that
// is far off: with its time mended all connections live on, and say the same.
func TestClockKeepsTheLiving(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour, 1 << 61, -(1 << 61)} {
		_, ks, s := opened(8)
		var frames []sniffer.Frame
		var segs []sniffer.Segment
		for i := range 400 {
			s.Time += ms
			ks[i%len(ks)].send(s, Dir(i/len(ks)%2), ack, request)
			seg := *s
			if i%9 == 4 {
				seg.Time += int64(off)
			}
			segs = append(segs, seg)
			frames = append(frames, sniffer.Frame{Time: seg.Time})
		}
		var k Clock
		k.Mend(frames)
		h := &counter{}
		a := New(Config{}, h)
		for i := range segs {
			segs[i].Time = frames[i].Time
			a.Process(&segs[i])
			a.Sweep(k.Now())
		}
		if st := a.Stats(); st.Open != len(ks) || st.TimedOut != 0 || h.ends != 0 {
			t.Errorf("by %v: %d open and %d timed out, want %d and 0", off, st.Open, st.TimedOut, len(ks))
		}
		if k.Mended != 44 {
			t.Errorf("by %v: %d mended, want 44", off, k.Mended)
		}
	}
}

// BenchmarkClock holds the cost of frames in order, and of a capture in which
// half of them are far off.
func BenchmarkClock(b *testing.B) {
	for name, off := range map[string]int64{"InOrder": 0, "HalfFarOff": int64(time.Hour)} {
		b.Run(name, func(b *testing.B) {
			frames := make([]sniffer.Frame, 1024)
			for b.Loop() {
				var k Clock
				for i := range frames {
					frames[i].Time = 1e18 + int64(i)*1000 + int64(i%2)*off
				}
				k.Mend(frames)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N*len(frames)), "ns/frame")
		})
	}
}
