package privileges

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Drop gives up all rights: it changes to another user, clears all capabilities,
// forbids to gain new ones by execve, and confines the process to its files. All of
// the process's threads take part.
func Drop(to *User, files Confinement) error {
	rights.Lock()
	defer rights.Unlock()
	if err := clearBounding(); err != nil {
		return fmt.Errorf("clear the capability bounding set: %w", err)
	}
	if to != nil {
		if err := to.become(); err != nil {
			return err
		}
	}
	if err := clearCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return files.landlock()
}

// prctl is made on every thread.
func prctl(option, arg uintptr) error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, option, arg, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// clearBounding empties the set of capabilities that execve could give, where
// it may: it takes CAP_SETPCAP.
func clearBounding() error {
	for c := uintptr(0); c <= 63; c++ {
		switch err := prctl(unix.PR_CAPBSET_DROP, c); {
		case err == nil, errors.Is(err, unix.EPERM):
		case errors.Is(err, unix.EINVAL): // the kernel has no such capability
			return nil
		default:
			return err
		}
	}
	return nil
}

// clearCapabilities empties the effective, permitted and inheritable sets, and
// with them the ambient one.
func clearCapabilities() error {
	// The pid of 0 is each thread's own. The memory is shared by the threads,
	// which only read it.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
