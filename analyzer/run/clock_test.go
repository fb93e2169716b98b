package run

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// busyFrames are those of n connections of three requests each, a packet a millisecond or
// so.
func busyFrames(t *testing.T, n int) []sniffer.Frame {
	var s sniffertest.Script
	for i := range n {
		at := time.Duration(i) * 20 * time.Millisecond
		c := s.Conn(fmt.Sprintf("10.0.0.%d:%d", 1+i%7, 10000+i), "10.0.1.2:80", sniffertest.ConnConfig{})
		c.Handshake(at, time.Millisecond)
		for range 3 {
			at += 100 * time.Millisecond
			c.Client(at, []byte(someRequests[0]))
			c.Server(at+time.Millisecond, []byte(someResponses[0]))
		}
		c.Close(at+time.Second, sniffertest.Client, time.Millisecond)
	}
	frames, err := s.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(frames, func(a, b sniffer.Frame) int { return int(a.Time - b.Time) })
	return frames
}

// TestFarTimes stamps single packets far ahead and far back: that ends nothing that is
// alive, is counted, and gives the same facts for any number of workers.
func TestFarTimes(t *testing.T) {
	honest := busyFrames(t, 100)
	for _, off := range []time.Duration{time.Hour, -time.Hour, 20 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
		frames := slices.Clone(honest)
		for i := 5; i < len(frames)-5; i += 37 {
			frames[i].Time += int64(off)
		}
		want := play(t, &sniffertest.Source{Frames: frames}, 1)
		if got := len(play(t, &sniffertest.Source{Frames: honest}, 1)); got != len(want) {
			t.Errorf("%v: %d facts, %d of right times", off, len(want), got)
		}
		for _, workers := range []int{2, 4} {
			if diff := cmp.Diff(want, play(t, &sniffertest.Source{Frames: frames}, workers)); diff != "" {
				t.Errorf("%v, %d workers:\n%s", off, workers, diff)
			}
		}
	}
}

// TestClockSetBack goes on an hour earlier in the middle: it is swept on, and what lives
// is not taken for silent.
func TestClockSetBack(t *testing.T) {
	frames := busyFrames(t, 100)
	half := len(frames) / 2
	for i := range frames[half:] {
		frames[half+i].Time -= int64(time.Hour)
	}
	r := Reader{Source: &sniffertest.Source{Frames: frames}, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{})}
	r.Workers = []*Worker{NewWorker(reassembly.Config{}, analyzer.Config{}, deaf{})}
	if err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	if s := r.Workers[0].Assembler.Stats(); s.TimedOut != 0 || s.Connections != 100 || r.Progress.Mended.Load() != 0 {
		t.Errorf("%d timed out, %d connections, %d mended", s.TimedOut, s.Connections, r.Progress.Mended.Load())
	}
	if next := r.next - frames[len(frames)-1].Time; next > sweepEvery {
		t.Errorf("the next sweep is due in %v", time.Duration(next))
	}
}
