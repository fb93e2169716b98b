package keyfile

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A log notes what sinks are given: the bytes, and "|" where one is closed.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) sink() Sink { return sink{l} }

func (l *log) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.text.String()
	l.text.Reset()
	return s
}

type sink struct{ l *log }

func (s sink) Write(b []byte) (int, error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return s.l.text.Write(b)
}

func (s sink) Close() error {
	_, err := s.Write([]byte("|"))
	return err
}

// A step changes files; want is what the polls after it hand on.
type step struct {
	name string
	do   func(t *testing.T, dir string)
	want string
	warn string
}

func write(t *testing.T, path, text string, flags int) {
	t.Helper()
	f, err := os.OpenFile(path, flags|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
}

func create(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), text, os.O_CREATE|os.O_EXCL) }
}

func appendTo(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), text, os.O_APPEND) }
}

func truncate(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), text, os.O_TRUNC) }
}

func rename(from, to string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
}

func all(steps ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, s := range steps {
			s(t, dir)
		}
	}
}

func nothing(*testing.T, string) {}

func TestFollow(t *testing.T) {
	chmod := func(name string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	mkdir := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		path   string // followed, in the test's folder
		before func(*testing.T, string)
		steps  []step
	}{
		{"growing", "a", create("a", "1\n2"), []step{
			{"begin", nothing, "1\n2", ""},
			{"nothing new", nothing, "", ""},
			{"appended", appendTo("a", "3\n"), "3\n", ""},
			{"appended twice", all(appendTo("a", "4\n"), appendTo("a", "5\n")), "4\n5\n", ""},
		}},
		{"truncated", "a", create("a", "123456\n"), []step{
			{"begin", nothing, "123456\n", ""},
			{"emptied", truncate("a", ""), "|", ""},
			{"written again", appendTo("a", "7\n"), "7\n", ""},
			{"truncated and written", truncate("a", "8"), "|8", ""},
		}},
		{"rotated", "a", create("a", "1\n"), []step{
			{"begin", nothing, "1\n", ""},
			{"moved, and still written to", all(rename("a", "a.1"), appendTo("a.1", "2\n")), "2\n", ""},
			{"made anew, the old one written to before", all(appendTo("a.1", "3\n"), create("a", "4\n")), "3\n|4\n", ""},
			{"the old one is left alone", appendTo("a.1", "5\n"), "", ""},
			{"and the new one is followed", appendTo("a", "6\n"), "6\n", ""},
		}},
		{"replaced", "a", create("a", "1\n"), []step{
			{"begin", nothing, "1\n", ""},
			{"by one that was ready", all(create("b", "2\n"), rename("b", "a")), "|2\n", ""},
			{"removed", remove("a"), "", ""},
			{"made anew", create("a", "3\n"), "|3\n", ""},
		}},
		{"absent at first", "a", nothing, []step{
			{"begin", nothing, "", "does not exist yet"},
			{"still", nothing, "", ""},
			{"there", create("a", "1\n"), "1\n", ""},
		}},
		{"folder", "d", all(mkdir("d"), create("d/a", "1\n"), mkdir("d/sub")), []step{
			{"begin", nothing, "1\n", ""},
			{"a new file", create("d/b", "2\n"), "2\n", ""},
			{"both grow", all(appendTo("d/a", "3\n"), appendTo("d/b", "4\n")), "3\n4\n", ""},
			{"one is removed", remove("d/a"), "|", ""},
			{"and comes back", create("d/a", "5\n"), "5\n", ""},
		}},
		{"readable by others", "a", all(create("a", "1\n"), chmod("a", 0o644)), []step{
			{"begin", nothing, "1\n", "readable by others"},
			{"told once", nothing, "", ""},
		}},
		{"no file", "socket", func(t *testing.T, dir string) {
			if err := syscall.Mknod(filepath.Join(dir, "socket"), syscall.S_IFSOCK|0o600, 0); err != nil {
				t.Skip(err)
			}
		}, []step{{"begin", nothing, "", "cannot be opened"}}},
		{"device", "../../../../../../../../../../dev/null", nothing, []step{
			{"begin", nothing, "", "no file, folder or named pipe"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.before(t, dir)
			var l log
			f := Open([]string{filepath.Join(dir, tt.path)}, l.sink)
			defer f.Close()
			for _, s := range tt.steps {
				s.do(t, dir)
				var warnings []string
				for range 2*listEvery + 2 { // a folder's time may not tell
					w, _ := f.Poll()
					for _, w := range w {
						warnings = append(warnings, w.String())
					}
				}
				if diff := cmp.Diff(s.want, l.take()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", s.name, diff)
				}
				if got := strings.Join(warnings, "; "); !strings.Contains(got, s.warn) || (s.warn == "") != (got == "") {
					t.Errorf("%s: warnings %q, want %q", s.name, got, s.warn)
				}
			}
		})
	}
}

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var l log
	f := Open([]string{path}, l.sink)
	defer f.Close()
	f.Poll() // nobody writes
	for i := range 3 {
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Poll() // nothing is written
		fmt.Fprintf(w, "%d\n", i)
		f.Poll()
		if got, want := l.take(), fmt.Sprintf("%d\n", i); got != want {
			t.Errorf("writer %d: %q, want %q", i, got, want)
		}
		w.Close()
		f.Poll()
	}
}

// TestSeveralWriters has programs append to one file while it is followed.
func TestSeveralWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var l log
	f := Open([]string{path}, l.sink)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, func(Warning) {})
	}()
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			out, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
			if err != nil {
				t.Error(err)
				return
			}
			defer out.Close()
			for i := range 500 {
				fmt.Fprintf(out, "%d %d\n", w, i)
			}
		})
	}
	writers.Wait()
	cancel()
	<-done
	f.Poll()
	f.Close()
	next := [4]int{}
	for line := range strings.Lines(strings.TrimSuffix(l.take(), "|")) {
		var w, i int
		if _, err := fmt.Sscanf(line, "%d %d\n", &w, &i); err != nil || next[w] != i {
			t.Fatalf("line %q of writer %d, want its %d: %v", line, w, next[w], err)
		}
		next[w]++
	}
	if next != [4]int{500, 500, 500, 500} {
		t.Errorf("%v lines", next)
	}
}

// TestRightsDropped reads what was opened before the process lost the right to.
func TestRightsDropped(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can lose rights")
	}
	dir := t.TempDir()
	for d := dir; d != "/" && d != "."; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && info.Mode().Perm()&0o011 != 0o011 {
			if err := os.Chmod(d, info.Mode().Perm()|0o011); err != nil {
				t.Skip(err)
			}
		}
	}
	path := filepath.Join(dir, "keys")
	write(t, path, "1\n", os.O_CREATE)
	var l log
	f := Open([]string{path}, l.sink)
	defer f.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	as := func(do func()) {
		_ = syscall.Setfsuid(0)
		defer func() { _ = syscall.Setfsuid(65534) }()
		do()
	}
	defer func() { _ = syscall.Setfsuid(0) }()
	as(func() { write(t, path, "2\n", os.O_APPEND) })
	if w, _ := f.Poll(); len(w) > 0 || l.take() != "1\n2\n" {
		t.Errorf("what was open is not read: %v", w)
	}
	as(func() {
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		write(t, path, "3\n", os.O_CREATE)
	})
	w, _ := f.Poll()
	if len(w) != 1 || w[0].Problem != Unopened || w[0].Path != path {
		t.Errorf("reopening failed, and %v is said; %q", w, l.take())
	}
	as(func() { write(t, path+".1", "4\n", os.O_APPEND) })
	if f.Poll(); l.take() != "4\n" {
		t.Error("the old file is not followed any more")
	}
}

func TestReadAll(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), strings.Repeat("1\n", 100000), os.O_CREATE)
	write(t, filepath.Join(dir, "b"), "2\n", os.O_CREATE)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		if w, err := os.OpenFile(pipe, os.O_WRONLY, 0); err == nil {
			fmt.Fprint(w, "3\n")
			w.Close()
		}
	}()
	var l log
	if w, err := ReadAll([]string{dir, pipe}, l.sink); err != nil || len(w) > 0 {
		t.Fatal(w, err)
	}
	if diff := cmp.Diff(strings.Repeat("1\n", 100000)+"|2\n|3\n|", l.take()); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadAll([]string{filepath.Join(dir, "none")}, l.sink); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a key log that is not there: %v", err)
	}
}

// TestFolderCap puts more files into a folder than are followed.
func TestFolderCap(t *testing.T) {
	dir := t.TempDir()
	for i := range maxFiles + 3 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "x", os.O_CREATE)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < maxFiles+100 {
		t.Skip("too few descriptors")
	}
	var l log
	f := Open([]string{dir}, l.sink)
	defer f.Close()
	w, _ := f.Poll()
	if len(w) != 1 || w[0].Problem != TooMany || len(l.take()) != maxFiles {
		t.Errorf("%v", w)
	}
}

func Example() {
	dir, _ := os.MkdirTemp("", "keys")
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "keys.log")
	f := Open([]string{path}, func() Sink { return printer{} })
	defer f.Close()
	_ = os.WriteFile(path, []byte("CLIENT_RANDOM ...\n"), 0o600)
	f.Poll()
	// Output: CLIENT_RANDOM ...
}

type printer struct{}

func (printer) Write(b []byte) (int, error) { return os.Stdout.Write(b) }
func (printer) Close() error                { return nil }
