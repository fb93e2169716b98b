package privileges

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// A Confinement says which files a process may use once it has given up its
// rights, where the kernel has Landlock. Nothing else of the file system can be
// opened then. What is missing is left out.
type Confinement struct {
	Read  []string // files, and directories with all in them
	Write []string // the same, to read, write, create and remove
}

// alwaysRead is what libraries read while they run: a process's own figures,
// and the counters of its interfaces.
var alwaysRead = []string{"/proc", "/sys/class/net", "/sys/devices"}

// What the rules of Landlock grant.
const (
	readFile  = landlock.AccessFSSet(ll.AccessFSReadFile)
	readDir   = readFile | landlock.AccessFSSet(ll.AccessFSReadDir)
	writeFile = readFile | landlock.AccessFSSet(ll.AccessFSWriteFile|ll.AccessFSTruncate)
	writeDir  = readDir | writeFile | landlock.AccessFSSet(ll.AccessFSMakeReg|ll.AccessFSMakeDir|ll.AccessFSRemoveFile)
)

// landlock confines the process to its files, as far as the kernel can.
func (c Confinement) landlock() error {
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
