package wholefile

import (
	"fmt"
	"os"
	"path/filepath"
)

// maxLinks is how many symbolic links Linux follows, too (path_resolution(7)).
const maxLinks = 40

// FollowLinks returns where the symbolic link path leads to, or path where it is
// none, or leads to something else than a file. What is there need not exist. It
// serves those that replace a file by another, for renaming would replace the
// link.
func FollowLinks(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return path, nil // a pipe's link in /proc/self/fd, say, is not to be followed by its name
	}
	for at, n := path, 0; ; n++ {
		to, err := os.Readlink(at)
		switch {
		case err != nil: // no link, or what opening it will tell
			return at, nil
		case n == maxLinks:
			return "", fmt.Errorf("%s: too many symbolic links", path)
		case filepath.IsAbs(to):
			at = to
		default:
			// Join would shorten dir/../x to x, which is another where dir is a link.
			at = filepath.Dir(at) + string(filepath.Separator) + to
		}
	}
}
