package recordlog

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keepscope/keepscope/exporter/events/columnar"
	"github.com/keepscope/keepscope/exporter/wholefile"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

const (
	checkEvery = 10 * time.Second // whether the file has come of age
	jumpLeast  = time.Minute      // by which a clock that is set shows
)

// A FolderConfig says where files of records go.
type FolderConfig struct {
	Path    string
	Parquet bool             // rows of Parquet files, not lines of NDJSON
	MaxSize int64            // bytes of a file
	From    columnar.Place   // where records come from
	Version string           // of the program that writes rows
	User    *privileges.User // whose the files are
	Log     *slog.Logger
	// Report writes the report of all that was seen, which 'keepscope merge' adds up with
	// those of other nodes. It is kept beside the records, where it is not nil.
	Report func(io.Writer) error
}

// A folderLog writes records to files below a folder, dt=DAY/node=NODE/, one for
// each hour of writing and each size. A file gets its name once it is whole and on
// the disk: no reader sees half of one, and whatever ends the process leaves whole
// files, and at most one without a name, which the next start removes. Nothing else
// is ever removed: that is for those who collect them. Beside the first file is the
// report of the process, report-*.json, which is replaced when a file is completed.
//
// It never keeps a worker waiting. A file that cannot be completed (the disk is
// full, the folder gone) is given up, its records are counted as dropped, and
// another one is tried a second later.
type folderLog struct {
	*Log
	dir     string
	max     int64 // bytes of a file
	parquet bool
	from    columnar.Place
	version string // of this program
	user    *privileges.User
	report  func(io.Writer) error
	now     func() (wall time.Time, elapsed time.Duration)

	file     *recordFile // nil without
	reportAt string      // where the report is, once there is one
	retry    time.Duration
}

// A recordFile is one that has no name yet.
type recordFile struct {
	*os.File
	dir, name string
	opened    time.Time
	elapsed   time.Duration
	out       *bufio.Writer
	rows      recordWriter
	size      int64
	records   uint64
}

// A recordWriter writes records to a file.
type recordWriter interface {
	Write(record []byte) error
	Close() error
}

// lineRecords are records that are lines.
type lineRecords struct{ io.Writer }

// Write implements recordWriter.
func (l lineRecords) Write(line []byte) error {
	_, err := l.Writer.Write(line)
	return err
}

// Close implements recordWriter.
func (lineRecords) Close() error { return nil }

// OpenFolder starts a log, of which it removes what an earlier one left without a
// name.
func OpenFolder(c FolderConfig) (*Log, error) {
	l := newFolderLog(c)
	if err := l.open(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: %v must be allowed to make folders and files in %s", err, l.user, l.dir)
		}
		return nil, err
	}
	l.Start(l, checkEvery)
	return l.Log, nil
}

func newFolderLog(c FolderConfig) *folderLog {
	start := time.Now()
	appendTo := AppendLine
	if c.Parquet {
		appendTo = columnar.Connections().Append
	}
	l := &folderLog{
		Log: New(appendTo, batchAfter, Words{Fails: "connection log: records are dropped", Again: "connection log: writing again"}, c.Log),
		dir: filepath.Clean(c.Path), max: c.MaxSize, parquet: c.Parquet, from: c.From, version: c.Version, user: c.User, report: c.Report,
		now: func() (time.Time, time.Duration) { return time.Now(), time.Since(start) },
	}
	l.Folder = l.dir
	return l
}

// Reopen implements Writer.
func (l *folderLog) Reopen() { l.complete() }

// Tick implements Writer.
func (l *folderLog) Tick() { l.rotate() }

// Close implements Writer.
func (l *folderLog) Close() { l.complete() }

// Write implements Writer.
func (l *folderLog) Write(records *Batch) {
	l.rotate()
	for i := range records.Len() {
		l.writeOne(records.Bytes(i, i+1))
	}
}

func (l *folderLog) writeOne(record []byte) {
	if l.file != nil && l.file.size >= l.max {
		l.complete()
	}
	if l.file == nil && !l.reopened() {
		l.dropped.Add(1)
		return
	}
	l.file.records++
	if err := l.file.rows.Write(record); err != nil {
		l.failed(err)
	}
}

// rotate completes a file of another hour.
func (l *folderLog) rotate() {
	f := l.file
	if f == nil {
		return
	}
	wall, elapsed := l.now()
	if hourOf(wall).Equal(hourOf(f.opened)) {
		return
	}
	if jump := wall.Round(0).Sub(f.opened.Round(0)) - (elapsed - f.elapsed); jump.Abs() >= jumpLeast {
		l.say.Warn("connection log: the clock was set, and files are named by it", "seconds", jump.Seconds())
	}
	l.complete()
}

func hourOf(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }

// reopened begins a file, unless one failed just now.
func (l *folderLog) reopened() bool {
	if _, elapsed := l.now(); l.failing && elapsed < l.retry {
		return false
	}
	if err := l.open(); err != nil {
		l.failed(err)
		return false
	}
	return true
}

// open begins a file.
func (l *folderLog) open() error {
	wall, elapsed := l.now()
	node := "node=" + url.PathEscape(cmp.Or(l.from.Node, "unknown"))
	kind := ".ndjson"
	if l.parquet {
		kind = ".parquet"
	}
	f := &recordFile{
		dir:    filepath.Join(l.dir, "dt="+wall.UTC().Format(time.DateOnly), node),
		name:   fmt.Sprintf("connections-%s-%08x%s", hourOf(wall).Format("20060102T15"), rand.Uint32(), kind),
		opened: wall, elapsed: elapsed,
	}
	if err := l.user.Do(func() (err error) {
		l.removeLeft(node)
		if err = os.MkdirAll(f.dir, 0o755); err != nil {
			return err
		}
		f.File, err = os.OpenFile(f.path(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		return err
	}); err != nil {
		return err
	}
	// It says that the file is somebody's. Where it can't be had, none is removed.
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	f.out = bufio.NewWriterSize(countedFile{f}, 64<<10)
	f.rows = lineRecords{f.out}
	if l.parquet {
		f.rows = columnar.Connections().NewWriter(f.out, l.from, l.version)
	}
	l.file = f
	return nil
}

// path is where the file is until it has its name.
func (f *recordFile) path() string { return filepath.Join(f.dir, "."+f.name+wholefile.Temporary) }

// countedFile counts what is written to a file.
type countedFile struct{ *recordFile }

// Write implements io.Writer.
func (c countedFile) Write(b []byte) (int, error) {
	n, err := c.File.Write(b)
	c.size += int64(n)
	return n, err
}

// removeLeft removes the files of a node that never got their names, and that no
// process holds.
func (l *folderLog) removeLeft(node string) {
	left, _ := filepath.Glob(filepath.Join(l.dir, "dt=*", node, ".*"+wholefile.Temporary)) // the pattern is right
	for _, path := range left {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.Remove(path) // it stays for another time
		}
		_ = f.Close() // it was not written
	}
}

// complete gives the file its name. One without records is removed.
func (l *folderLog) complete() {
	f := l.file
	if f == nil {
		return
	}
	if f.records == 0 {
		l.giveUp()
		return
	}
	if err := errors.Join(f.rows.Close(), f.out.Flush(), f.Sync()); err != nil {
		l.failed(err)
		return
	}
	if err := l.user.Do(func() error {
		if err := os.Rename(f.path(), filepath.Join(f.dir, f.name)); err != nil {
			return err
		}
		return wholefile.SyncNames(f.dir)
	}); err != nil {
		l.failed(err)
		return
	}
	_ = f.Close() // everything is on the disk
	l.file = nil
	l.Wrote(f.records, 0, nil)
	if err := l.keepReport(f); err != nil {
		l.say.Warn("connection log: the report beside the records is not written", "error", err)
	}
}

// keepReport writes the report of the process, beside its first file.
func (l *folderLog) keepReport(f *recordFile) error {
	if l.report == nil {
		return nil
	}
	var text bytes.Buffer
	if err := l.report(&text); err != nil {
		return err
	}
	if l.reportAt == "" {
		name := strings.TrimSuffix(f.name, filepath.Ext(f.name)) + ".json"
		l.reportAt = filepath.Join(f.dir, strings.Replace(name, "connections", "report", 1))
	}
	return l.user.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(l.reportAt), 0o755); err != nil {
			return err
		}
		return wholefile.Write(l.reportAt, 0o640, func(w io.Writer) error {
			_, err := text.WriteTo(w)
			return err
		})
	})
}

// giveUp removes the file.
func (l *folderLog) giveUp() {
	f := l.file
	l.file = nil
	_ = f.Close() // what it held is counted
	_ = l.user.Do(func() error { return os.Remove(f.path()) })
}

// failed gives the file up, with what it held; another is tried later.
func (l *folderLog) failed(err error) {
	lost := uint64(0)
	if l.file != nil {
		lost = l.file.records
		l.giveUp()
	}
	l.Wrote(0, lost, err)
	_, elapsed := l.now()
	l.retry = elapsed + reopenWait
}
