package privileges

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// rights is held by who changes them. A thread's are its own (capabilities(7),
// setfsuid(2)), and a process that gives them up where its threads' differ is
// killed by the libraries that see to it (libpsx, libc).
var rights sync.Mutex

// Do calls f with the user's rights to the file system and no others, not even
// those that root has only by its capabilities. Root, who becomes the user only
// later, learns from it what that one may do, and leaves files that belong to it.
func (u *User) Do(f func() error) error {
	if u == nil {
		return f()
	}
	rights.Lock()
	defer rights.Unlock()
	if os.Geteuid() != 0 { // it has become the user
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore, err := u.becomeForFiles()
	if err == nil {
		err = f()
	}
	return errors.Join(err, restore())
}

// becomeForFiles gives the calling thread the user's rights to files and takes
// all others, until they are restored. unix.Setgroups is the thread's alone,
// libc's would reach all.
func (u *User) becomeForFiles() (restore func() error, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	groups, err := unix.Getgroups()
	if err = errors.Join(err, unix.Capget(&header, &caps[0])); err != nil {
		return func() error { return nil }, fmt.Errorf("read own rights: %w", err)
	}
	leftGroups := unix.Setgroups(nil)
	restore = func() (err error) {
		setFileIDs(os.Geteuid(), os.Getegid())
		err = unix.Capset(&header, &caps[0])
		if leftGroups == nil {
			err = errors.Join(err, unix.Setgroups(groups))
		}
		if err != nil {
			err = fmt.Errorf("be root again: %w", err)
		}
		return err
	}
	if leftGroups != nil && !errors.Is(leftGroups, unix.EPERM) {
		return restore, fmt.Errorf("leave the supplementary groups: %w", leftGroups)
	}
	setFileIDs(u.UID, u.GID)
	if is, _ := unix.SetfsuidRetUid(-1); is != u.UID {
		return restore, u.refused(unix.EPERM)
	}
	// Those that are permitted stay: they can be taken again.
	none := caps
	none[0].Effective, none[1].Effective = 0, 0
	if err := unix.Capset(&header, &none[0]); err != nil {
		return restore, fmt.Errorf("drop capabilities: %w", err)
	}
	return restore, nil
}

// setFileIDs sets by whose rights the calling thread uses files. The calls don't
// say whether they did it, only what there was before.
func setFileIDs(uid, gid int) {
	_ = unix.Setfsgid(gid)
	_ = unix.Setfsuid(uid)
}
