package privileges

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// A User is whose rights a process has. nil stands for the user that started it.
type User struct{ UID, GID int }

// String names the user as the subject of a message, which says what that user must be
// allowed to do.
func (u *User) String() string {
	if u == nil {
		return "keepscope"
	}
	name := strconv.Itoa(u.UID)
	if known, err := user.LookupId(name); err == nil {
		name = known.Username
	}
	return fmt.Sprintf("user %s, whom keepscope becomes (--user names another),", name)
}

// Nobody is the id of the user with no rights, by the number that all systems give it.
const Nobody = 65534

// Find looks a user up by name, or takes UID or UID:GID. Without a name it
// is nobody, of which an image need not know.
func Find(name string) (*User, error) {
	if name == "" {
		if u, err := user.Lookup("nobody"); err == nil {
			return parseIDs(u.Uid, u.Gid)
		}
		return &User{Nobody, Nobody}, nil
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
		return nil, err
	}
	return parseIDs(u.Uid, u.Gid)
}

func parseIDs(uid, gid string) (*User, error) {
	u, err1 := strconv.ParseUint(uid, 10, 31)
	g, err2 := strconv.ParseUint(gid, 10, 31)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &User{int(u), int(g)}, nil
}

// become changes to the user. With cgo these calls are libc's, which reach
// every thread.
func (u *User) become() error {
	if err := syscall.Setgroups(nil); err != nil && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("leave the supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil && os.Getegid() != u.GID {
		return u.refused(err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil && os.Geteuid() != u.UID {
		return u.refused(err)
	}
	return nil
}

// refused says that the process may not become the user.
func (u *User) refused(err error) error {
	return fmt.Errorf("become user %d: %w (allow it with CAP_SETUID and CAP_SETGID, or start as another user)", u.UID, err)
}
