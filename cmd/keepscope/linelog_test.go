package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keepscope/keepscope/analyzer"
)

var quiet = slog.New(slog.DiscardHandler)

// logLines writes n lines and returns the log after its end.
func logLines(t *testing.T, path string, out io.Writer, maximum int64, keep, n int) *lineLog {
	t.Helper()
	l, err := openLog(path, out, maximum, keep, quiet)
	if err != nil {
		t.Fatal(err)
	}
	o := l.observer()
	for i := range n {
		o.Connection(&analyzer.Connection{Requests: uint32(i), HandshakeTime: -1, CloseIdle: -1})
	}
	l.close()
	return l
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestLineLogRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.ndjson")
	size := int64(len(linesOf(t, func() string {
		one := filepath.Join(t.TempDir(), "one")
		logLines(t, one, nil, 1<<20, 1, 1)
		return one
	}())[0]) + 1)
	l := logLines(t, path, nil, 10*size, 2, 45)
	if l.written.Load() != 45 || l.dropped.Load() != 0 {
		t.Errorf("%d lines written, %d dropped", l.written.Load(), l.dropped.Load())
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v, %v: want the log and 2 rotated ones", files, err)
	}
	var kept int
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Size() > 10*size {
			t.Errorf("%s has %d bytes, more than %d", f, info.Size(), 10*size)
		}
		kept += len(linesOf(t, f))
	}
	if newest := linesOf(t, path); !strings.Contains(newest[len(newest)-1], `"requests":44,`) {
		t.Errorf("the newest line is %s", newest[len(newest)-1])
	}
	if kept >= 45 || kept < 21 {
		t.Errorf("%d lines kept", kept)
	}
	logLines(t, path, nil, 1<<20, 2, 1) // a restart goes on in the same file
	if newest := linesOf(t, path); len(newest) < 2 {
		t.Error("a restart began the file anew")
	}
}

func TestLineLogKeepsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.ndjson")
	logLines(t, path, nil, 2000, 0, 50)
	if files, _ := filepath.Glob(path + "*"); len(files) != 1 {
		t.Errorf("files %v", files)
	}
}

// A stuck is a writer that takes nothing until it is released.
type stuck struct {
	release chan struct{}
	once    sync.Once
	entered chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.entered) })
	<-s.release
	return s.Buffer.Write(b)
}

// TestLineLogNeverWaits has a disk that hangs: workers go on, and what is lost
// is counted.
func TestLineLogNeverWaits(t *testing.T) {
	w := &stuck{release: make(chan struct{}), entered: make(chan struct{})}
	l, err := openLog("-", w, 1, 1, quiet)
	if err != nil {
		t.Fatal(err)
	}
	o := l.observer()
	c := &analyzer.Connection{HandshakeTime: -1, CloseIdle: -1}
	o.Connection(c)
	<-w.entered
	const more = 3 * maxQueued
	for range more {
		o.Connection(c)
	}
	if n := l.dropped.Load(); n < more-maxQueued || n >= more {
		t.Errorf("%d of %d lines dropped, with room for %d", n, more, maxQueued)
	}
	close(w.release)
	l.close()
	if n := uint64(bytes.Count(w.Bytes(), []byte("\n"))); n != l.written.Load() || n+l.dropped.Load() != more+1 {
		t.Errorf("%d lines in the file, %d counted as written, %d as dropped", n, l.written.Load(), l.dropped.Load())
	}
}

// A full is a writer whose disk is full for a while.
type full struct {
	fails int
	bytes.Buffer
}

func (f *full) Write(b []byte) (int, error) {
	if f.fails > 0 {
		f.fails--
		return 0, errors.New("no space left on device")
	}
	return f.Buffer.Write(b)
}

func TestLineLogSurvivesErrors(t *testing.T) {
	var said bytes.Buffer
	w := &full{fails: 1}
	l, err := openLog("-", w, 1, 1, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	o := l.observer()
	const n = 5000 // more than one buffer
	for i := range n {
		for len(l.queue) > maxQueued/2 {
			<-l.free
		}
		o.Connection(&analyzer.Connection{Requests: uint32(i), HandshakeTime: -1, CloseIdle: -1})
	}
	l.close()
	if l.dropped.Load() == 0 || l.written.Load() == 0 || l.dropped.Load()+l.written.Load() != n {
		t.Errorf("%d dropped and %d written of %d", l.dropped.Load(), l.written.Load(), n)
	}
	if !strings.Contains(said.String(), "lines are dropped") || !strings.Contains(said.String(), "writing again") {
		t.Errorf("it said %q", said.String())
	}
	for i, line := range strings.Split(strings.TrimSuffix(w.String(), "\n"), "\n") {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}}") {
			t.Fatalf("line %d is torn: %s", i, line)
		}
	}
}

func TestLineLogPathFails(t *testing.T) {
	_, err := openLog(filepath.Join(t.TempDir(), "no", "such", "dir"), nil, 1, 1, quiet)
	if err == nil || !strings.Contains(err.Error(), "--log-connections") {
		t.Error(err)
	}
}

func BenchmarkLineLog(b *testing.B) {
	l, err := openLog("-", io.Discard, 1, 1, quiet)
	if err != nil {
		b.Fatal(err)
	}
	o := l.observer()
	c := &analyzer.Connection{HandshakeTime: -1, CloseIdle: -1}
	for b.Loop() {
		o.Connection(c)
	}
	l.close()
	b.ReportMetric(float64(l.dropped.Load())/float64(b.N), "dropped/op")
}
