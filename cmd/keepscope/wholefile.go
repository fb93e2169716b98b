package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// wholeFile calls write with a console whose output is the file at path, which gets
// its name once all is written and on the disk; without a path it is out.
func wholeFile(path string, out io.Writer, write func(console) error) (err error) {
	if path == "" {
		return write(console{out: out})
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+temporary)
	if err != nil {
		return err
	}
	err = errors.Join(write(console{out: f}), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		return syncFolder(filepath.Dir(path))
	}
	_ = os.Remove(f.Name()) // the error that we have says more
	return err
}
