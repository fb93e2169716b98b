package wholefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWrite has a file replaced once it is whole, and left alone where it is not.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path, full := filepath.Join(dir, "report"), errors.New("the disk is full")
	for _, tt := range []struct {
		text string
		err  error
		want string
	}{
		{"one", nil, "one"},
		{"half", full, "one"},
		{"two", nil, "two"},
	} {
		err := Write(path, 0o644, func(w io.Writer) error {
			_, err := io.WriteString(w, tt.text)
			return errors.Join(err, tt.err)
		})
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", tt.text, err)
		}
		if text, err := os.ReadFile(path); string(text) != tt.want {
			t.Errorf("after %q the file has %q: %v", tt.text, text, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); !cmp.Equal(left, []string{path}) {
		t.Errorf("it left %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); left != nil {
		t.Errorf("it left %v", left)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("others may not read it: %v, %v", info.Mode(), err)
	}
	if err := Write(filepath.Join(dir, "no", "file"), 0o644, func(io.Writer) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFollowLinks(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for link, to := range map[string]string{
		"one": at("file"), "relative": "one", "loop": "loop", "pipe": "/dev/null",
	} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[string]string{
		"file": at("file"), "one": at("file"), "relative": at("file"), "pipe": at("pipe"), "loop": "",
	} {
		if got, err := FollowLinks(at(from)); got != want || (err != nil) != (want == "") {
			t.Errorf("%s leads to %s, want %s: %v", from, got, want, err)
		}
	}
}
