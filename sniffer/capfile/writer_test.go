package capfile

import (
	"bytes"
	"io"
	"math"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
)

func TestWriter(t *testing.T) {
	frames := someFrames(500)
	frames[3].Time += 789
	frames[4].Time = -5
	frames[5].Time = math.MaxInt64
	var out bytes.Buffer
	w, err := NewWriter(&out, 1, 900)
	if err != nil {
		t.Fatal(err)
	}
	want := appendClones(nil, frames)
	for i := range frames {
		if err := w.Write(&frames[i]); err != nil {
			t.Fatal(err)
		}
		want[i].Data = want[i].Data[:min(900, len(want[i].Data))]
	}
	want[4].Time, want[5].Time = 0, 1<<32*second-1
	if err := w.Write(&sniffer.Frame{Link: 113}); err == nil {
		t.Error("a frame of another link type was written")
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	wantFrames(t, mustOpen(t, out.Bytes()), want)
	if n := testing.AllocsPerRun(100, func() { err = w.Write(&frames[7]) }); n != 0 || err != nil {
		t.Errorf("%v allocations per Write, %v", n, err)
	}
}

func TestWriterErrors(t *testing.T) {
	r, pipe := io.Pipe()
	r.Close()
	w, err := NewWriter(pipe, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err == nil {
		t.Error("Flush: no error")
	}
	if err := w.Write(&sniffer.Frame{Link: 1}); err == nil {
		t.Error("Write: no error")
	}
}
