package keyfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Interval is how often Run polls.
const Interval = 20 * time.Millisecond

const (
	maxFiles    = 1024
	maxPoll     = 1 << 20
	maxWarnings = 4096
	listEvery   = 50                    // polls, for a folder that does not seem to have changed
	coarse      = 50 * time.Millisecond // a folder may change again within it and keep its time
)

// A Problem is what a Warning is about.
type Problem uint8

// The problems.
const (
	Absent   Problem = iota // the path does not exist yet
	Readable                // others may read the file: who has it can read the connections
	Unopened                // it cannot be opened, or opened again after it was replaced
	Unread                  // reading failed
	TooMany                 // the folder has more files than are followed
	Unfit                   // neither a file, a folder nor a named pipe
)

// A Warning says what is wrong with a key log. It holds nothing of what is in it.
type Warning struct {
	Path    string
	Problem Problem
	Err     error // nil where Problem says it all
}

// String returns a sentence without a full stop.
func (w Warning) String() string {
	switch w.Problem {
	case Absent:
		return fmt.Sprintf("key log %s does not exist yet", w.Path)
	case Readable:
		return fmt.Sprintf("key log %s is readable by others: whoever reads it can read the connections", w.Path)
	case Unopened:
		return fmt.Sprintf("key log %s cannot be opened: %v", w.Path, w.Err)
	case Unread:
		return fmt.Sprintf("key log %s cannot be read: %v", w.Path, w.Err)
	case TooMany:
		return fmt.Sprintf("key log folder %s has more than %d files; the others are left out", w.Path, maxFiles)
	default:
		return fmt.Sprintf("key log %s is no file, folder or named pipe", w.Path)
	}
}

// A Sink takes the bytes of one file from its beginning on. Close says that no more come,
// as when it was truncated or replaced.
type Sink = io.WriteCloser

// A Follower reads key logs as they grow. It is not safe for concurrent use.
type Follower struct {
	sink     func() Sink
	files    []*file
	folders  []*folder
	warned   map[Warning]bool
	warnings []Warning
	buf      []byte
}

// Open opens what paths name: files, folders and named pipes, which are then read by
// Poll. A sink is asked for once for each file. Nothing that may come later is an error; what a
// path is not fit for is a Warning of the first Poll.
func Open(paths []string, sink func() Sink) *Follower {
	f := &Follower{sink: sink, warned: make(map[Warning]bool), buf: make([]byte, 64<<10)}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			d := &folder{path: path, known: make(map[string]bool)}
			f.folders = append(f.folders, d)
			f.list(d)
			continue
		}
		s := &file{path: path}
		f.files = append(f.files, s)
		f.open(s)
	}
	return f
}

// Poll reads what came since, and returns what is wrong, each once. More says that there
// is more to read now.
func (f *Follower) Poll() (warnings []Warning, more bool) {
	for _, d := range f.folders {
		if d.changed() {
			f.list(d)
		}
	}
	kept := f.files[:0]
	for _, s := range f.files {
		if f.poll(s) {
			more = true
		}
		if s.opened || !s.listed {
			kept = append(kept, s)
		} else {
			s.folder.gone(s.path)
		}
	}
	clear(f.files[len(kept):])
	f.files = kept
	warnings, f.warnings = f.warnings, nil
	return warnings, more
}

// Run polls until the context is done, and once more then: packets from before are still
// read. Warn is called for each warning.
func (f *Follower) Run(ctx context.Context, warn func(Warning)) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for done := false; ; {
		warnings, more := f.Poll()
		for _, w := range warnings {
			warn(w)
		}
		if done {
			return
		}
		if more && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		}
	}
}

// Close closes all files and sinks.
func (f *Follower) Close() {
	for _, s := range f.files {
		s.close()
	}
	f.files, f.folders = nil, nil
	clear(f.buf)
}

func (f *Follower) warn(path string, p Problem, err error) {
	w := Warning{Path: path, Problem: p, Err: err}
	key := Warning{Path: path, Problem: p}
	if f.warned[key] || len(f.warned) >= maxWarnings {
		return
	}
	f.warned[key] = true
	f.warnings = append(f.warnings, w)
}

// A file is a file or a named pipe.
type file struct {
	path   string
	fd     int
	opened bool
	id     identity
	offset int64
	sink   Sink
	folder *folder
	listed bool // in a folder: when it is gone it is forgotten
	pipe   bool
}

// An identity is what a path leads to.
type identity struct{ device, inode uint64 }

func identityOf(st *syscall.Stat_t) identity { return identity{st.Dev, st.Ino} }

// open opens what is at the path now.
func (f *Follower) open(s *file) {
	fd, err := syscall.Open(s.path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC|syscall.O_NOCTTY, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			f.warn(s.path, Absent, nil)
		} else {
			f.warn(s.path, Unopened, err)
		}
		return
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		f.warn(s.path, Unopened, err)
		_ = syscall.Close(fd)
		return
	}
	kind := st.Mode & syscall.S_IFMT
	if kind != syscall.S_IFREG && kind != syscall.S_IFIFO {
		f.warn(s.path, Unfit, nil)
		_ = syscall.Close(fd)
		return
	}
	if st.Mode&0o004 != 0 {
		f.warn(s.path, Readable, nil)
	}
	s.close()
	s.fd, s.opened, s.id, s.offset, s.pipe = fd, true, identityOf(&st), 0, kind == syscall.S_IFIFO
	s.sink = f.sink()
}

func (s *file) close() {
	if s.opened {
		_ = syscall.Close(s.fd)
		_ = s.sink.Close()
		s.opened = false
	}
}

// poll reads what is new of a file, and opens the one that replaced it. It says
// whether there is more.
func (f *Follower) poll(s *file) (more bool) {
	if !s.opened {
		var st syscall.Stat_t
		if syscall.Stat(s.path, &st) == nil {
			f.open(s)
		} else if s.listed {
			return false
		}
		if !s.opened {
			return false
		}
	}
	var st syscall.Stat_t
	if !s.pipe && syscall.Fstat(s.fd, &st) == nil && st.Size < s.offset {
		_ = s.sink.Close() // truncated
		s.sink, s.offset = f.sink(), 0
	}
	if more = f.read(s); more {
		return true
	}
	err := syscall.Stat(s.path, &st)
	switch {
	case err == nil && identityOf(&st) != s.id:
		f.open(s)
		return s.opened && identityOf(&st) == s.id
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		f.warn(s.path, Unopened, err) // it may have been replaced
	case err != nil && s.listed:
		s.close()
	}
	return false
}

// read reads a file to its end, or as much as one poll may.
func (f *Follower) read(s *file) (more bool) {
	for n := 0; n < maxPoll; {
		var k int
		var err error
		if s.pipe {
			k, err = syscall.Read(s.fd, f.buf)
		} else {
			k, err = syscall.Pread(s.fd, f.buf, s.offset)
		}
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil && !errors.Is(err, syscall.EAGAIN):
			f.warn(s.path, Unread, err)
			return false
		case k <= 0: // a pipe that nobody writes to ends, and goes on when somebody does
			return false
		}
		_, _ = s.sink.Write(f.buf[:k])
		clear(f.buf[:k])
		n += k
		s.offset += int64(k)
	}
	return true
}

// A folder is one of which every file is followed.
type folder struct {
	path   string
	known  map[string]bool
	mtime  time.Time
	polled int
}

// changed says whether the folder has to be listed again.
func (d *folder) changed() bool {
	d.polled++
	info, err := os.Stat(d.path)
	if err != nil {
		return false
	}
	if info.ModTime().Equal(d.mtime) && time.Since(d.mtime) > coarse && d.polled < listEvery {
		return false
	}
	d.mtime, d.polled = info.ModTime(), 0
	return true
}

func (d *folder) gone(path string) {
	if d != nil {
		delete(d.known, path)
	}
}

// list opens the files of a folder that are new.
func (f *Follower) list(d *folder) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		f.warn(d.path, Unopened, err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(d.path, e.Name())
		if d.known[path] || e.IsDir() {
			continue
		}
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		}
		if len(d.known) >= maxFiles {
			f.warn(d.path, TooMany, nil)
			return
		}
		d.known[path] = true
		s := &file{path: path, folder: d, listed: true}
		f.open(s)
		f.files = append(f.files, s)
	}
}

// ReadAll reads what paths name to its end, as before a capture file is read. A pipe is read
// until its writers close it. A path that cannot be read is an error, a file of a
// folder that cannot be read a Warning.
func ReadAll(paths []string, sink func() Sink) ([]Warning, error) {
	var warnings []Warning
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return warnings, fmt.Errorf("read key log: %w", err)
		}
		if !info.IsDir() {
			w, err := readFile(path, info, sink)
			warnings = append(warnings, w...)
			if err != nil {
				return warnings, fmt.Errorf("read key log: %w", err)
			}
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return warnings, fmt.Errorf("read key log folder: %w", err)
		}
		for _, e := range entries {
			file := filepath.Join(path, e.Name())
			info, err := os.Stat(file)
			if err != nil || !info.Mode().IsRegular() {
				continue // a pipe in a folder might never end
			}
			w, err := readFile(file, info, sink)
			warnings = append(warnings, w...)
			if err != nil {
				warnings = append(warnings, Warning{file, Unopened, err})
			}
		}
	}
	return warnings, nil
}

func readFile(path string, info fs.FileInfo, sink func() Sink) (warnings []Warning, err error) {
	if info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		warnings = append(warnings, Warning{Path: path, Problem: Readable})
	}
	in, err := os.Open(path)
	if err != nil {
		return warnings, err
	}
	defer func() { _ = in.Close() }()
	out := sink()
	defer func() { _ = out.Close() }()
	buf := make([]byte, 64<<10)
	defer clear(buf)
	for {
		n, err := in.Read(buf)
		_, _ = out.Write(buf[:n])
		if err == io.EOF {
			return warnings, nil
		}
		if err != nil {
			return warnings, err
		}
	}
}
