// Package privilegestest makes directories in which a test can tell users apart.
package privilegestest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keepscope/keepscope/sniffer/privileges"
)

// Dirs returns a directory of root, one of another user, and a sticky one
// that everybody may write in, as well as that user. It takes root.
func Dirs(t *testing.T) (root, own, sticky string, user *privileges.User) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	user = &privileges.User{UID: privileges.Nobody, GID: privileges.Nobody}
	base := t.TempDir()
	root, own, sticky = filepath.Join(base, "root"), filepath.Join(base, "own"), filepath.Join(base, "sticky")
	for _, dir := range []string{root, own, sticky} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The directory above base is made for this user alone.
	if err := errors.Join(os.Chmod(filepath.Dir(base), 0o755), os.Chown(own, user.UID, user.GID), os.Chmod(sticky, 0o777|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	return root, own, sticky, user
}
