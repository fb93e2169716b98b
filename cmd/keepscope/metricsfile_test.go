package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// readMetrics reads the demo's capture with --metrics-file and returns what the
// program says.
func readMetrics(t *testing.T, path string) (code int, report, said string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), []string{"read", "--metrics-file=" + path, "demo.pcapng.zst"}, console{out: &out, err: &errs})
	return code, out.String(), errs.String()
}

// TestMetricsFileThroughLinks replaces what a link leads to, there or not, and
// leaves the link.
func TestMetricsFileThroughLinks(t *testing.T) {
	for _, exists := range []bool{true, false} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
			t.Fatal(err)
		}
		// The second link is relative to where it lies, behind a linked directory.
		target, first, second := filepath.Join(dir, "a", "target"), filepath.Join(dir, "first"), filepath.Join(dir, "a", "b", "second")
		for link, to := range map[string]string{first: "dir/second", filepath.Join(dir, "dir"): "a/b", second: "../target"} {
			if err := os.Symlink(to, link); err != nil {
				t.Fatal(err)
			}
		}
		if exists {
			if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if code, _, said := readMetrics(t, first); code != exitDone {
			t.Fatalf("exit status %d: %s", code, said)
		}
		for _, link := range []string{first, second} {
			if _, err := os.Readlink(link); err != nil {
				t.Errorf("the link is gone: %v", err)
			}
		}
		if text, err := os.ReadFile(target); err != nil || !strings.Contains(string(text), "keepscope_build_info") {
			t.Errorf("the target holds %.40q: %v", text, err)
		}
	}
}

func TestMetricsFileToPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		got <- string(text)
	}()
	code, _, said := readMetrics(t, path)
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Fatalf("the pipe is gone: %v", err) // nobody would end the goroutine
	}
	if text := <-got; code != exitDone || !strings.Contains(text, "keepscope_build_info") {
		t.Errorf("exit status %d: %s; the pipe was given %.40q", code, said, text)
	}
}

// TestMetricsFileToOpenPipe names a pipe as /dev/stdout does, by a link that
// leads nowhere by its name.
func TestMetricsFileToOpenPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		got <- string(text)
	}()
	link := filepath.Join(t.TempDir(), "out")
	if err := os.Symlink("/proc/self/fd/"+strconv.Itoa(int(w.Fd())), link); err != nil {
		t.Fatal(err)
	}
	code, _, said := readMetrics(t, link)
	w.Close()
	if text := <-got; code != exitDone || !strings.Contains(text, "keepscope_build_info") {
		t.Errorf("exit status %d: %s; the pipe was given %.40q", code, said, text)
	}
}

func TestMetricsFileRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		want       string
		report     bool // what was read is reported all the same
	}{
		{"directory", dir, "keepscope: --metrics-file: " + dir + " is neither a file nor a pipe: name a file\n", false},
		{"links in a circle", dir + "/loop", "keepscope: --metrics-file: " + dir + "/loop: too many symbolic links\n", false},
		{"in no directory", dir + "/no/file", "keepscope: --metrics-file: open " + dir + "/no/", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, report, said := readMetrics(t, tt.path)
			if code != exitFailed || !strings.HasPrefix(said, tt.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("exit status %d: %s", code, said)
			}
			if tt.report != strings.Contains(report, "effectiveness") {
				t.Errorf("the report: %q", report)
			}
		})
	}
	if left, _ := filepath.Glob(dir + "/.*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
