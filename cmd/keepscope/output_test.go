package main

import (
	"bufio"
	"io"
	"sync/atomic"
	"testing"
)

// TestLiveLines reads a line while the capture goes on: nothing flushes it but
// time.
func TestLiveLines(t *testing.T) {
	r, w := io.Pipe()
	var stopped atomic.Bool
	l := newLiveLines(w, func() { stopped.Store(true) })
	if _, err := l.Write([]byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(r).ReadString('\n')
	if got != "{}\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_ = r.Close() // the reader has gone
	if _, err := l.Write([]byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(); err == nil {
		t.Error("a reader that has gone is no error")
	}
	if !stopped.Load() {
		t.Error("a reader that has gone does not stop the capture")
	}
}

func TestNoColor(t *testing.T) {
	for value, want := range map[string]bool{"": true, "1": false, "0": false} {
		t.Setenv("NO_COLOR", value)
		if got := colorAllowed(); got != want {
			t.Errorf("NO_COLOR=%q: colour %t", value, got)
		}
	}
}
