package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// rights is held by who changes them. A thread's are its own (capabilities(7),
// setfsuid(2)), and a process that gives them up where its threads' differ is
// killed by the libraries that see to it (libpsx, libc).
var rights sync.Mutex

// A confinement says which files a process may use once it has given up its
// rights, where the kernel has Landlock. Nothing else of the file system can be
// opened then. What is missing is left out.
type confinement struct {
	Read  []string // files, and directories with all in them
	Write []string // the same, to read, write, create and remove
}

// alwaysRead is what libraries read while they run: a process's own figures,
// and the counters of its interfaces.
var alwaysRead = []string{"/proc", "/sys/class/net", "/sys/devices"}

// prepare looks up what takes the file system, and returns what gives up all
// rights: it changes to another user where this one is root, clears all
// capabilities, forbids to gain new ones by execve, and confines the process to
// its files. All of the process's threads take part.
func (c confinement) prepare(name string) (drop func() error, err error) {
	ids, err := becomes(name)
	if err != nil {
		return nil, err
	}
	return func() error {
		rights.Lock()
		defer rights.Unlock()
		if err := clearBounding(); err != nil {
			return fmt.Errorf("clear the capability bounding set: %w", err)
		}
		if ids != nil {
			if err := ids.become(); err != nil {
				return err
			}
		}
		if err := clearCapabilities(); err != nil {
			return fmt.Errorf("drop capabilities: %w", err)
		}
		if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
		return c.landlock()
	}, nil
}

// userIDs are the ids of a user. nil stands for the one that started the process.
type userIDs struct{ uid, gid int }

// becomes returns the user that this process becomes once it captures: nil
// where it stays the one that started it.
func becomes(name string) (*userIDs, error) {
	switch {
	case os.Geteuid() == 0:
		return findUser(name)
	case name != "":
		return nil, wrong("user", fmt.Errorf("--user=%s: only root can become another user", name))
	}
	return nil, nil
}

// String names the user for a message.
func (u *userIDs) String() string {
	if u == nil {
		return "keepscope"
	}
	name := strconv.Itoa(u.uid)
	if known, err := user.LookupId(name); err == nil {
		name = known.Username
	}
	return fmt.Sprintf("user %s, whom keepscope becomes (--user names another),", name)
}

// nobody is the user with no rights, by the number that all systems give it.
const nobody = 65534

// findUser looks a user up by name, or takes UID or UID:GID. Without a name it
// is nobody, of which an image need not know.
func findUser(name string) (*userIDs, error) {
	if name == "" {
		if u, err := user.Lookup("nobody"); err == nil {
			return parseIDs(u.Uid, u.Gid)
		}
		return &userIDs{nobody, nobody}, nil
	}
	uid, gid, two := strings.Cut(name, ":")
	if _, err := strconv.Atoi(uid); err == nil {
		if !two {
			gid = uid
		}
		return parseIDs(uid, gid)
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, wrong("user", fmt.Errorf("--user: %w", err))
	}
	return parseIDs(u.Uid, u.Gid)
}

func parseIDs(uid, gid string) (*userIDs, error) {
	u, err1 := strconv.ParseUint(uid, 10, 31)
	g, err2 := strconv.ParseUint(gid, 10, 31)
	if err := errors.Join(err1, err2); err != nil {
		return nil, wrong("user", fmt.Errorf("--user: %w", err))
	}
	return &userIDs{int(u), int(g)}, nil
}

// become changes to the user. With cgo these calls are libc's, which reach
// every thread.
func (u *userIDs) become() error {
	if err := syscall.Setgroups(nil); err != nil && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("leave the supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(u.gid, u.gid, u.gid); err != nil && os.Getegid() != u.gid {
		return u.refused(err)
	}
	if err := syscall.Setresuid(u.uid, u.uid, u.uid); err != nil && os.Geteuid() != u.uid {
		return u.refused(err)
	}
	return nil
}

// do calls f with the user's rights to the file system and no others, not even
// those that root has only by its capabilities. Root, who becomes the user only
// later, learns from it what that one may do, and leaves files that belong to it.
func (u *userIDs) do(f func() error) error {
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
func (u *userIDs) becomeForFiles() (restore func() error, err error) {
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
	setFileIDs(u.uid, u.gid)
	if is, _ := unix.SetfsuidRetUid(-1); is != u.uid {
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

// refused says that the process may not become the user.
func (u *userIDs) refused(err error) error {
	return fmt.Errorf("become user %d: %w (allow it with CAP_SETUID and CAP_SETGID, or start as another user)", u.uid, err)
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

// What the rules of Landlock grant.
const (
	readFile  = landlock.AccessFSSet(ll.AccessFSReadFile)
	readDir   = readFile | landlock.AccessFSSet(ll.AccessFSReadDir)
	writeFile = readFile | landlock.AccessFSSet(ll.AccessFSWriteFile|ll.AccessFSTruncate)
	writeDir  = readDir | writeFile | landlock.AccessFSSet(ll.AccessFSMakeReg|ll.AccessFSMakeDir|ll.AccessFSRemoveFile)
)

// landlock confines the process to its files, as far as the kernel can.
func (c confinement) landlock() error {
	var rules []landlock.Rule
	add := func(paths []string, file, dir landlock.AccessFSSet) {
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil {
				rights := file
				if info.IsDir() {
					rights = dir
				}
				rules = append(rules, landlock.PathAccess(rights, path).IgnoreIfMissing())
			}
		}
	}
	add(alwaysRead, readFile, readDir)
	add(c.Read, readFile, readDir)
	add(c.Write, writeFile, writeDir)
	if err := landlock.V5.BestEffort().RestrictPaths(rules...); err != nil {
		return fmt.Errorf("confine to own files: %w", err)
	}
	return nil
}
