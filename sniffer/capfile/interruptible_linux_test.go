package capfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// TestOpenInterruptible has pipes that nobody opens, or that say nothing more.
func TestOpenInterruptible(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := OpenInterruptible(ctx, path); err == nil {
		t.Error("a pipe that nobody writes is open", f)
	}
	path += "2"
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0) // at once, unlike O_WRONLY
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	var text bytes.Buffer
	frames := []sniffer.Frame{{Time: 1e18, Length: 4, Data: []byte{1, 2, 3, 4}}}
	if err := sniffertest.WritePCAP(&text, sniffer.LinkEthernet, frames, sniffertest.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Write(text.Bytes()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	f, err := OpenInterruptible(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for b := (sniffer.Batch{}); ; {
		if err = f.Read(&b); err != nil {
			break
		}
		if n += len(b.Frames); n == 1 {
			cancel() // while it waits for more, or before
		}
	}
	if n != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("%d frames, %v", n, err)
	}
}
