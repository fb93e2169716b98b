package main

import (
	"bufio"
	"io"
	"testing"
)

// TestLiveLines reads a line while the capture goes on: nothing flushes it but
// time.
func TestLiveLines(t *testing.T) {
	r, w := io.Pipe()
	l := newLiveLines(w)
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
}
