package recordlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keepscope/keepscope/exporter/wholefile"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

// reopenWait passes before a file is tried again.
const reopenWait = time.Second

// A FileConfig says where lines go.
type FileConfig struct {
	Path    string           // empty for Out
	Out     io.Writer        // which is not rotated
	MaxSize int64            // bytes of a file
	Keep    int              // rotated files, as PATH.1 and so on
	User    *privileges.User // whose the files are
	Log     *slog.Logger
}

// A fileLog writes a line for each connection to a file that is rotated by size, or
// to a stream. A file that others rename, remove or cut short is seen before each
// write, and made anew; Reopen does so at once.
type fileLog struct {
	*Log
	path string    // where symbolic links lead to; empty for out
	out  io.Writer // where path is empty
	max  int64     // bytes of a file
	keep int       // rotated files
	user *privileges.User

	file    *os.File
	size    int64 // of the file
	retry   time.Time
	unsent  []byte // whole lines of a batch
	pending uint64 // how many
}

// OpenFile starts a log that is lines of NDJSON. Rotating takes the right to write in
// the file's directory: without it there is an error.
func OpenFile(c FileConfig) (*Log, error) {
	l := &fileLog{
		Log: New(AppendLine, batchAfter, Words{Fails: "connection log: lines are dropped", Again: "connection log: writing again"}, c.Log),
		out: c.Out, max: c.MaxSize, keep: c.Keep, user: c.User,
	}
	if c.Path != "" {
		if err := l.begin(c.Path); err != nil {
			return nil, err
		}
		l.Folder = filepath.Dir(l.path)
	}
	l.Start(l, 0)
	return l.Log, nil
}

// Write implements Writer.
func (l *fileLog) Write(lines *Batch) {
	from := 0
	for i := range lines.Len() {
		line := int64(len(lines.Bytes(i, i+1)))
		if size := l.size + int64(len(l.unsent)); l.path != "" && size > 0 && size+line > l.max {
			l.rotate()
			from = i
		}
		l.unsent, l.pending = lines.Bytes(from, i+1), uint64(i+1-from)
	}
	l.flush()
}

// Reopen implements Writer.
func (l *fileLog) Reopen() {
	l.closeFile()
	if l.path != "" {
		l.writable()
	}
}

// Tick implements Writer.
func (*fileLog) Tick() {}

// Close implements Writer.
func (l *fileLog) Close() { l.closeFile() }

// closeFile closes the file, if it is open, to open it anew.
func (l *fileLog) closeFile() {
	if l.file == nil {
		return
	}
	if err := l.file.Close(); err != nil {
		l.say.Warn("connection log", "error", err)
	}
	l.file = nil
}

// flush writes what waits.
func (l *fileLog) flush() {
	if l.pending == 0 {
		return
	}
	to := l.out
	if l.path != "" {
		if !l.writable() {
			l.dropped.Add(l.pending) // why is said
			l.unsent, l.pending = nil, 0
			return
		}
		to = l.file
	}
	if n, err := to.Write(l.unsent); err != nil {
		l.failed(err, n)
		return
	}
	l.size += int64(len(l.unsent))
	l.Wrote(l.pending, 0, nil)
	l.unsent, l.pending = nil, 0
}

// writable sees to it that the file is open, and is still the one that has its
// name.
func (l *fileLog) writable() bool {
	if l.file != nil && l.moved() {
		l.closeFile()
	}
	if l.file != nil {
		return true
	}
	if time.Now().Before(l.retry) {
		return false
	}
	if err := l.open(); err != nil {
		l.failed(err, 0)
		return false
	}
	return true
}

// moved says whether the open file has lost its name to another, or to none. One
// that was cut short goes on where it ends.
func (l *fileLog) moved() bool {
	if l.max == unlimited {
		return false
	}
	here, err := l.file.Stat()
	if err != nil {
		return true
	}
	var named fs.FileInfo
	if l.user.Do(func() (err error) {
		named, err = os.Stat(l.path)
		return err
	}) != nil || !os.SameFile(here, named) {
		return true
	}
	l.size = min(l.size, here.Size())
	return false
}

// failed gives up what waits, of which n bytes were written; the file is tried
// again later.
func (l *fileLog) failed(err error, n int) {
	l.Wrote(0, l.pending, err)
	l.unsent, l.pending = nil, 0
	if l.path == "" {
		return
	}
	if l.file != nil {
		if n > 0 && l.max != unlimited {
			_ = l.file.Truncate(l.size) // part of a line is of no use
		}
		_ = l.file.Close() // its error would be the one we have
		l.file = nil
	}
	l.retry = time.Now().Add(reopenWait)
}

// begin opens the file and tries whether it can be rotated, while somebody is
// there to read that it can't.
func (l *fileLog) begin(path string) (err error) {
	if l.path, err = wholefile.FollowLinks(path); err != nil {
		return err
	}
	err = l.open()
	switch {
	case errors.Is(err, errUnread): // not yet
		l.failed(err, 0)
		return nil
	case err == nil && l.max < unlimited:
		if err = l.user.Do(l.rotatable); err != nil {
			_ = l.file.Close() // nothing was written
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %v must be allowed to write, make and rename the log's files in %s", err, l.user, filepath.Dir(l.path))
	}
	return err
}

// unlimited is the size of a file that is never rotated.
const unlimited = math.MaxInt64

// errUnread is why a pipe can't be opened.
var errUnread = errors.New("nobody reads the pipe")

// open opens the file, at whose end further lines go. It does not wait for a
// pipe's reader.
func (l *fileLog) open() error {
	var f *os.File
	if err := l.user.Do(func() (err error) {
		f, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o640)
		if errors.Is(err, syscall.ENXIO) { // fifo(7), or a device that is not there
			if info, failed := os.Stat(l.path); failed == nil && info.Mode()&fs.ModeNamedPipe != 0 {
				return fmt.Errorf("%w %s", errUnread, l.path)
			}
		}
		return err
	}); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // nothing was written
		return err
	}
	if !info.Mode().IsRegular() { // a pipe or a device, which nobody wants renamed
		l.max = unlimited
	}
	l.file, l.size = f, info.Size()
	return nil
}

// rotate renames FILE to FILE.1, FILE.1 to FILE.2 and so on, and begins anew.
func (l *fileLog) rotate() {
	l.flush()
	if l.file == nil || l.size == 0 || l.max == unlimited {
		return // it failed, or others have rotated it
	}
	if err := l.user.Do(l.rename); err != nil {
		l.failed(fmt.Errorf("rotate: %w", err), 0)
		return
	}
	l.closeFile() // everything is flushed
	if err := l.open(); err != nil {
		l.failed(err, 0)
	}
}

func (l *fileLog) rename() error {
	if l.keep == 0 {
		return os.Remove(l.path)
	}
	for i := l.keep - 1; i >= 1; i-- {
		err := os.Rename(fmt.Sprintf("%s.%d", l.path, i), fmt.Sprintf("%s.%d", l.path, i+1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(l.path, l.path+".1")
}

// rotatable says why rename would fail, without renaming: the directory must
// take new names, and, where it is sticky as /tmp is, the files be one's own.
func (l *fileLog) rotatable() error {
	dir := filepath.Dir(l.path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(l.path)+".*")
	if err != nil {
		return err
	}
	own, err := f.Stat()
	if err := errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return err
	}
	switch in, err := os.Stat(dir); {
	case err != nil:
		return err
	case in.Mode()&fs.ModeSticky == 0 || owner(in) == owner(own):
		return nil
	}
	for i := range l.keep + 1 {
		path := l.path
		if i > 0 {
			path = fmt.Sprintf("%s.%d", path, i)
		}
		if old, err := os.Lstat(path); err == nil && owner(old) != owner(own) {
			return &fs.PathError{Op: "rename", Path: path, Err: fs.ErrPermission}
		}
	}
	return nil
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
