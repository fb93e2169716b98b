package recordlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer/privileges"
	"github.com/keepscope/keepscope/sniffer/privileges/privilegestest"
)

var quiet = slog.New(slog.DiscardHandler)

// logLines writes n lines and returns the log after its end.
func logLines(t *testing.T, path string, maximum int64, keep, n int) *Log {
	t.Helper()
	l, err := OpenFile(FileConfig{Path: path, MaxSize: maximum, Keep: keep, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	o := l.Observer()
	for i := range n {
		o.Connection(&fact.Connection{Requests: uint32(i), HandshakeTime: -1, CloseIdle: -1})
	}
	l.Close(context.Background())
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

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.ndjson")
	size := int64(len(linesOf(t, func() string {
		one := filepath.Join(t.TempDir(), "one")
		logLines(t, one, 1<<20, 1, 1)
		return one
	}())[0]) + 1)
	l := logLines(t, path, 10*size, 2, 45)
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
	logLines(t, path, 1<<20, 2, 1) // a restart goes on in the same file
	if newest := linesOf(t, path); len(newest) < 2 {
		t.Error("a restart began the file anew")
	}
}

func TestFileKeepsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.ndjson")
	logLines(t, path, 2000, 0, 50)
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

// TestFileNeverWaits has a disk that hangs: workers go on, and what is lost
// is counted.
func TestFileNeverWaits(t *testing.T) {
	w := &stuck{release: make(chan struct{}), entered: make(chan struct{})}
	l, err := OpenFile(FileConfig{Out: w, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	o := l.Observer()
	c := &fact.Connection{HandshakeTime: -1, CloseIdle: -1}
	o.Connection(c)
	<-w.entered
	const more = 3 * MaxQueued
	for range more {
		o.Connection(c)
	}
	if n := l.dropped.Load(); n < more-MaxQueued || n >= more {
		t.Errorf("%d of %d lines dropped, with room for %d", n, more, MaxQueued)
	}
	close(w.release)
	l.Close(context.Background())
	if n := uint64(bytes.Count(w.Bytes(), []byte("\n"))); n != l.written.Load() || n+l.dropped.Load() != more+1 {
		t.Errorf("%d lines in the file, %d counted as written, %d as dropped", n, l.written.Load(), l.dropped.Load())
	}
}

// A counter counts the calls that write, and the bytes.
type counter struct{ calls, bytes int }

func (c *counter) Write(b []byte) (int, error) {
	c.calls++
	c.bytes += len(b)
	return len(b), nil
}

// TestFileWritesBatches has records one at a time, as a capture tells them: they are
// written many at once, and the last ones soon, though no others come.
func TestFileWritesBatches(t *testing.T) {
	var w counter
	l, err := OpenFile(FileConfig{Out: &w, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	o := l.Observer()
	const n = 1000
	for range n {
		o.Connection(&fact.Connection{HandshakeTime: -1, CloseIdle: -1})
		runtime.Gosched() // whoever is woken may run
	}
	eventually(t, func() error {
		if got := l.written.Load(); got != n {
			return fmt.Errorf("%d lines written of %d", got, n)
		}
		return nil
	})
	l.Close(context.Background())
	if most := w.bytes/maxBatch + 10; w.calls > most {
		t.Errorf("%d bytes were written by %d calls, more than %d", w.bytes, w.calls, most)
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

func TestFileSurvivesErrors(t *testing.T) {
	var said bytes.Buffer
	w := &full{fails: 1}
	l, err := OpenFile(FileConfig{Out: w, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	o := l.Observer()
	const n = 5000 // more than one buffer
	for i := range n {
		for l.waiting.Load() > MaxQueued/2 {
			runtime.Gosched()
		}
		o.Connection(&fact.Connection{Requests: uint32(i), HandshakeTime: -1, CloseIdle: -1})
	}
	l.Close(context.Background())
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

func TestFilePathFails(t *testing.T) {
	_, err := OpenFile(FileConfig{Path: filepath.Join(t.TempDir(), "no", "such", "dir"), MaxSize: 1, Log: quiet})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestFileThroughLinks has the log behind a symbolic link, of which the files
// beside the target are rotated and the link stays.
func TestFileThroughLinks(t *testing.T) {
	dir, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "log.ndjson"), link); err != nil {
		t.Fatal(err)
	}
	logLines(t, link, 1000, 2, 10)
	if files, _ := filepath.Glob(filepath.Join(dir, "log.ndjson*")); len(files) != 3 {
		t.Errorf("files %v: want the log and 2 rotated ones", files)
	}
	if to, err := os.Readlink(link); err != nil {
		t.Errorf("the link is gone: %v (%s)", err, to)
	}
}

// TestFileToPipe has a pipe, which is written to and never renamed.
func TestFileToPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0) // at once, unlike O_RDONLY
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if l := logLines(t, path, 1000, 1, 10); l.written.Load() != 10 {
		t.Errorf("%d lines written of 10", l.written.Load())
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 1 {
		t.Errorf("files %v", files)
	}
}

// TestFileToUnreadPipe has a pipe whose reader comes later: the start does not
// wait for it, and what ends before is dropped.
func TestFileToUnreadPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	l, err := OpenFile(FileConfig{Path: path, MaxSize: 1000, Keep: 1, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	o := l.Observer()
	line := func() { o.Connection(&fact.Connection{HandshakeTime: -1, CloseIdle: -1}) }
	line()
	eventually(t, func() error {
		if l.dropped.Load() != 1 {
			return errors.New("the line is not dropped")
		}
		return nil
	})
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	eventually(t, func() error {
		if line(); l.written.Load() == 0 {
			return errors.New("no line is written")
		}
		return nil
	})
	l.Close(context.Background())
	if text := said.String(); !strings.Contains(text, "nobody reads the pipe "+path) || !strings.Contains(text, "writing again") {
		t.Errorf("it said %q", text)
	}
}

// TestFileComesBack has the log renamed, removed, cut short and made
// unwritable, with and without being told: every line is in a file or counted.
func TestFileComesBack(t *testing.T) {
	tests := []struct {
		name   string
		happen func(path string) error
		reopen bool
		kept   int // of the 10 lines before, beside the log or in it
	}{
		{"removed", os.Remove, false, 0},
		{"removed and told", os.Remove, true, 0},
		{"renamed", func(p string) error { return os.Rename(p, p+".old") }, false, 10},
		{"renamed and told", func(p string) error { return os.Rename(p, p+".old") }, true, 10},
		{"replaced", func(p string) error {
			return errors.Join(os.Rename(p, p+".old"), os.WriteFile(p, nil, 0o600))
		}, false, 10},
		{"cut short", func(p string) error { return os.Truncate(p, 0) }, false, 0},
		{"nothing, but told", func(string) error { return nil }, true, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			l, err := OpenFile(FileConfig{Path: path, MaxSize: 1 << 20, Keep: 2, Log: quiet})
			if err != nil {
				t.Fatal(err)
			}
			o := l.Observer()
			put := func(n, sum int) {
				for range n {
					o.Connection(&fact.Connection{HandshakeTime: -1, CloseIdle: -1})
				}
				eventually(t, func() error {
					if got := l.written.Load(); got != uint64(sum) {
						return fmt.Errorf("%d lines written of %d", got, sum)
					}
					return nil
				})
			}
			put(10, 10)
			if err := tt.happen(path); err != nil {
				t.Fatal(err)
			}
			if tt.reopen {
				l.Reopen()
				eventually(t, func() error {
					_, err := os.Stat(path)
					return err
				})
			}
			put(5, 15)
			l.Close(context.Background())
			files, _ := filepath.Glob(path + "*")
			lines := 0
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				lines += bytes.Count(text, []byte("\n"))
			}
			if lines != tt.kept+5 || l.dropped.Load() != 0 {
				t.Errorf("%d lines in %v, want %d; %d dropped", lines, files, tt.kept+5, l.dropped.Load())
			}
		})
	}
}

// TestFileOnFullDisk fills a small file system: what does not fit is counted,
// no line is torn, and it goes on where there is room again.
func TestFileOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no file system of its own: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	filler, path := filepath.Join(dir, "filler"), filepath.Join(dir, "log")
	if err := os.WriteFile(filler, make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	l, err := OpenFile(FileConfig{Path: path, MaxSize: 1 << 20, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	o := l.Observer()
	line := func() { o.Connection(&fact.Connection{HandshakeTime: -1, CloseIdle: -1}) }
	put := 0
	eventually(t, func() error {
		for range 50 {
			line()
			put++
		}
		if l.dropped.Load() == 0 {
			return errors.New("none is dropped")
		}
		return nil
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	before := l.written.Load()
	eventually(t, func() error {
		line()
		put++
		if l.written.Load() == before {
			return errors.New("it does not go on")
		}
		return nil
	})
	l.Close(context.Background())
	lines := linesOf(t, path)
	for i, text := range lines {
		if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}}") {
			t.Fatalf("line %d is torn: %s", i, text)
		}
	}
	if w, d := l.written.Load(), l.dropped.Load(); uint64(len(lines)) != w || w+d != uint64(put) {
		t.Errorf("%d lines in the file; %d counted as written, %d as dropped of %d", len(lines), w, d, put)
	}
	if strings.Count(said.String(), "lines are dropped") != 1 || strings.Count(said.String(), "writing again") != 1 {
		t.Errorf("it said %s", said.String())
	}
}

// TestFileForAnotherUser has root start a log that another user goes on with:
// it is rotated, or else the start says what is missing.
func TestFileForAnotherUser(t *testing.T) {
	root, own, sticky, user := privilegestest.Dirs(t)
	for _, path := range []string{root + "/writable", root + "/roots", own + "/roots", sticky + "/roots", sticky + "/rotated.1"} {
		if err := os.WriteFile(path, nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root+"/writable", 0o666); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		user       *privileges.User
		fails      string // empty where it works
	}{
		{"own directory", own + "/log", user, ""},
		{"sticky directory", sticky + "/log", user, ""},
		{"root's directory", root + "/log", user, "open " + root + "/log: permission denied"},
		{"root's directory, but a file for all", root + "/writable", user, "permission denied"},
		{"root's file", root + "/roots", user, "permission denied"},
		{"root's file in its own directory", own + "/roots", user, "permission denied"},
		{"root's file in a sticky directory", sticky + "/roots", user, "permission denied"},
		{"root's rotated file in a sticky directory", sticky + "/rotated", user, "rename " + sticky + "/rotated.1: permission denied"},
		{"root without its capabilities", root + "/log", &privileges.User{}, ""},
		{"another's directory, for root without its capabilities", own + "/other", &privileges.User{}, "open " + own + "/other: permission denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := OpenFile(FileConfig{Path: tt.path, MaxSize: 1000, Keep: 2, User: tt.user, Log: quiet})
			if tt.fails != "" {
				if err == nil {
					l.Close(context.Background())
					t.Fatal("it started")
				}
				if text := err.Error(); !strings.Contains(text, tt.fails) || !strings.Contains(text, "--user") || strings.Contains(text, "\n") {
					t.Error(text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			o := l.Observer()
			for range 10 {
				o.Connection(&fact.Connection{HandshakeTime: -1, CloseIdle: -1})
			}
			l.Close(context.Background())
			files, _ := filepath.Glob(tt.path + "*")
			if l.written.Load() != 10 || len(files) != 3 {
				t.Errorf("%d lines written of 10, files %v", l.written.Load(), files)
			}
			for _, f := range files {
				if info, err := os.Stat(f); err != nil || owner(info) != uint32(tt.user.UID) {
					t.Errorf("%s is not the user's: %v", f, err)
				}
			}
			if left, _ := filepath.Glob(filepath.Dir(tt.path) + "/.*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func BenchmarkFile(b *testing.B) {
	l, err := OpenFile(FileConfig{Out: io.Discard, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	o := l.Observer()
	c := &fact.Connection{HandshakeTime: -1, CloseIdle: -1}
	for b.Loop() {
		o.Connection(c)
	}
	l.Close(context.Background())
	b.ReportMetric(float64(l.dropped.Load())/float64(b.N), "dropped/op")
}
