// Package wholefile writes files of which nobody ever reads half: a file has another
// name until it is complete and on the disk.
package wholefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Temporary is the end of the name that a file has until it is whole. It begins with
// a dot.
const Temporary = ".tmp"

// Write has write write the file at path, with these permissions, in the place of one
// that is there. After an error that one is still there.
func Write(path string, perm os.FileMode, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+Temporary)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(perm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		return SyncNames(filepath.Dir(path))
	}
	_ = os.Remove(f.Name()) // the error that we have says more
	return err
}

// SyncNames brings the names in a folder to the disk.
func SyncNames(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
