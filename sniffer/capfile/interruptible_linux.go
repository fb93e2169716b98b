package capfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OpenInterruptible is Open for what may wait: where a capture is no regular file
// neither opening nor reading it waits any longer once ctx is done. Reading is at its
// end then. "-" is standard input. Only Linux has it.
func OpenInterruptible(ctx context.Context, path string) (*File, error) {
	name, file := path, os.Stdin
	var info fs.FileInfo
	var err error
	if path == "-" {
		name = "standard input"
		info, err = file.Stat()
	} else {
		info, err = os.Stat(path)
	}
	if err != nil || info.Mode().IsRegular() || info.IsDir() {
		return Open(path) // at once, or with words for why not
	}
	type opened struct {
		file *File
		err  error
	}
	done := make(chan opened, 1)
	go func() { // opening a pipe waits for its writer
		file, err := openStream(ctx, path, name)
		done <- opened{file, err}
	}()
	select {
	case o := <-done:
		if o.err != nil && ctx.Err() != nil {
			return nil, errInterrupted(name)
		}
		return o.file, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-done: // what had been read may be enough
		if o.err == nil {
			return o.file, nil
		}
	default:
	}
	return nil, errInterrupted(name)
}

func errInterrupted(name string) error {
	return fmt.Errorf("%s: interrupted before there was a capture to read", name)
}

func openStream(ctx context.Context, path, name string) (*File, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return Open(path) // says why
		}
	}
	r, err := Interruptible(ctx, file)
	if err != nil {
		return nil, err
	}
	return NewReader(r, name)
}

// An interruptible reads a file that may say nothing for ever, as a pipe or a
// terminal does, and is at its end once a context is done.
type interruptible struct {
	file *os.File
	wake *os.File // an eventfd
	fds  []unix.PollFd
}

// Interruptible returns what reads a file, which may be silent for ever, until ctx is
// done: then it is at its end. The file must be readable for as long as the program
// runs. Only Linux has it.
func Interruptible(ctx context.Context, file *os.File) (io.Reader, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("wait for input: %w", err)
	}
	r := &interruptible{file: file, wake: os.NewFile(uintptr(fd), "eventfd")}
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	// Fd would make the file blocking for all who share it.
	if err := conn.Control(func(from uintptr) {
		r.fds = []unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}, {Fd: int32(fd), Events: unix.POLLIN}}
	}); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		_, _ = r.wake.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // it has room for one
	})
	return r, nil
}

// Read implements io.Reader.
func (r *interruptible) Read(b []byte) (int, error) {
	for {
		_, err := unix.Poll(r.fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("wait for input: %w", err)
		case r.fds[1].Revents != 0:
			return 0, io.EOF
		}
		return r.file.Read(b)
	}
}
