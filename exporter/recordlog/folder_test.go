package recordlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events/columnar"
	"github.com/keepscope/keepscope/exporter/wholefile"
)

// A setClock is a clock that tests set.
type setClock struct {
	wall    time.Time
	elapsed time.Duration
}

func (c *setClock) now() (time.Time, time.Duration) { return c.wall, c.elapsed }

func (c *setClock) pass(d time.Duration) { c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d }

var node = columnar.Place{Node: "n/1"}

// folderLogAt returns a log that nobody writes but the test, by record.
func folderLogAt(t *testing.T, dir string, maximum int64) (*folderLog, *setClock, *bytes.Buffer) {
	t.Helper()
	var said bytes.Buffer
	l := newFolderLog(FolderConfig{
		Path: dir, Parquet: true, MaxSize: maximum, From: node, Log: slog.New(slog.NewTextHandler(&said, nil)),
	})
	clock := &setClock{wall: time.Date(2026, 11, 22, 23, 59, 30, 0, time.UTC)}
	l.now = clock.now
	return l, clock, &said
}

func (l *folderLog) add(n int) {
	var b Batch
	for i := range n {
		b.Add(l.appendTo(nil, &fact.Connection{ID: uint64(i + 1), Requests: uint32(i), HandshakeTime: -1, CloseIdle: -1}))
	}
	l.Write(&b)
}

// filesBelow lists the files below a folder, each with its rows; one without a name
// has -1.
func filesBelow(t *testing.T, dir string) map[string]int {
	t.Helper()
	files := map[string]int{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		in, _ := filepath.Rel(dir, path)
		key, _, _ := strings.Cut(in, "T")
		if strings.HasSuffix(path, wholefile.Temporary) {
			files[key] = -1
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			rows, failed := parquet.OpenFile(bytes.NewReader(text), int64(len(text)))
			if failed != nil {
				return failed
			}
			files[key+in[len(key):len(key)+3]] += int(rows.NumRows())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFolderByHour(t *testing.T) {
	dir := t.TempDir()
	l, clock, said := folderLogAt(t, dir, 1<<30)
	l.add(2)
	if diff := cmp.Diff(map[string]int{"dt=2026-11-22/node=n%2F1/.connections-20261122": -1}, filesBelow(t, dir)); diff != "" {
		t.Error("a file has a name before it is whole", diff)
	}
	clock.pass(time.Minute)
	l.rotate()
	l.add(3)
	clock.wall = clock.wall.Add(-2 * time.Hour) // the clock is set
	l.add(1)
	l.complete()
	want := map[string]int{
		"dt=2026-11-22/node=n%2F1/connections-20261122T23": 2,
		"dt=2026-11-23/node=n%2F1/connections-20261123T00": 3,
		"dt=2026-11-22/node=n%2F1/connections-20261122T22": 1,
	}
	if diff := cmp.Diff(want, filesBelow(t, dir)); diff != "" {
		t.Error(diff)
	}
	if written, dropped := l.Counts(); written != 6 || dropped != 0 {
		t.Errorf("%d written, %d dropped", written, dropped)
	}
	if n := strings.Count(said.String(), "the clock was set"); n != 1 {
		t.Errorf("it said %d times that the clock was set: %s", n, said)
	}
}

// The report of the process is kept beside its first file, whole, and the newest. A
// report that can't be written loses no record.
func TestFolderReport(t *testing.T) {
	dir := t.TempDir()
	l, clock, said := folderLogAt(t, dir, 1<<30)
	told := 0
	l.report = func(w io.Writer) error {
		if told++; told == 2 {
			return errors.New("not now")
		}
		_, err := fmt.Fprint(w, "report ", told)
		return err
	}
	for range 3 {
		l.add(2)
		l.complete()
		clock.pass(time.Hour)
	}
	files, err := filepath.Glob(filepath.Join(dir, "dt=*", "node=*", "report-*"))
	if err != nil || len(files) != 1 || !strings.HasPrefix(files[0], filepath.Join(dir, "dt=2026-11-22", "node=n%2F1", "report-20261122T23")) {
		t.Fatalf("reports %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	info, failed := os.Stat(files[0])
	if err != nil || failed != nil || string(text) != "report 3" || info.Mode() != 0o640 {
		t.Errorf("it is %q, %v, %v, %v", text, err, info, failed)
	}
	if written, dropped := l.Counts(); written != 6 || dropped != 0 || !strings.Contains(said.String(), "not now") {
		t.Errorf("%d written, %d dropped, %s", written, dropped, said)
	}
}

func TestFolderBySize(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := folderLogAt(t, dir, 1)
	l.parquet = false
	l.appendTo = AppendLine
	l.add(400)
	l.complete()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "connections-*.ndjson"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	lines := 0
	for _, f := range files {
		lines += len(linesOf(t, f))
	}
	if lines != 400 {
		t.Errorf("%d lines in all", lines)
	}
}

// The folder goes, and is made anew; a disk that is full takes records again once
// there is room. What was lost is counted, and said once.
func TestFolderGoesOn(t *testing.T) {
	t.Run("folder removed", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		l, clock, said := folderLogAt(t, dir, 1<<30)
		l.add(5)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		l.complete()
		l.add(1) // too early
		clock.pass(reopenWait)
		l.add(2)
		l.complete()
		checkGoesOn(t, l, said, dir, 2, 6)
	})
	t.Run("disk full", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("none", dir, "tmpfs", 0, "size=256k"); err != nil {
			t.Skip("it takes the right to mount a small disk:", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
		l, clock, said := folderLogAt(t, dir, 1<<30)
		l.add(1)
		other := filepath.Join(dir, "other")
		_ = os.WriteFile(other, make([]byte, 1<<20), 0o600) // it takes what there is
		l.complete()
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		clock.pass(reopenWait)
		l.add(3)
		l.complete()
		checkGoesOn(t, l, said, dir, 3, 1)
	})
}

func checkGoesOn(t *testing.T, l *folderLog, said *bytes.Buffer, dir string, written, dropped uint64) {
	t.Helper()
	if w, d := l.Counts(); w != written || d != dropped {
		t.Errorf("%d written and %d dropped, want %d and %d", w, d, written, dropped)
	}
	rows := 0
	for _, n := range filesBelow(t, dir) {
		rows += n
	}
	if uint64(rows) != written {
		t.Errorf("%d rows in the files", rows)
	}
	if strings.Count(said.String(), "records are dropped") != 1 || strings.Count(said.String(), "writing again") != 1 {
		t.Error(said)
	}
}

// folderLogChild has the test's own program write until it is killed.
const folderLogChild = "KEEPSCOPE_TEST_FOLDER_LOG"

// Whenever the process is killed, files are whole; what it left is removed by the
// next one, and what another process writes is not.
func TestFolderKilled(t *testing.T) {
	if dir := os.Getenv(folderLogChild); dir != "" {
		l, err := OpenFolder(FolderConfig{Path: dir, Parquet: true, MaxSize: 1, From: node, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		o := l.Observer()
		_, _ = os.Stdout.WriteString("\n")
		for i := uint64(1); ; i++ {
			o.Connection(&fact.Connection{ID: i, HandshakeTime: -1, CloseIdle: -1})
			l.Reopen()
		}
	}
	dir := t.TempDir()
	held := newFolderLog(FolderConfig{Path: dir, Parquet: true, MaxSize: 1 << 30, From: node, Log: quiet})
	if err := held.open(); err != nil {
		t.Fatal(err)
	}
	held.Start(held, 0)
	for range 5 {
		killAWriter(t, dir)
	}
	for name, rows := range filesBelow(t, dir) {
		if rows == 0 {
			t.Errorf("%s has no row", name)
		}
	}
	last := newFolderLog(FolderConfig{Path: dir, Parquet: true, MaxSize: 1, From: node, Log: quiet})
	if err := last.open(); err != nil {
		t.Fatal(err)
	}
	last.giveUp()
	left, _ := filepath.Glob(filepath.Join(dir, "*", "*", ".connections-*"))
	if len(left) != 1 || left[0] != held.file.path() {
		t.Errorf("it left %v, want %s", left, held.file.path())
	}
	held.Log.Close(context.Background())
}

func killAWriter(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFolderKilled$")
	cmd.Env = append(os.Environ(), folderLogChild+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Read(make([]byte, 1))
	timer := time.AfterFunc(time.Duration(rand.Int64N(int64(80*time.Millisecond))), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // it was killed
}
