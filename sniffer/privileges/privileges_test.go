package privileges

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDo looks at its thread's rights before, within and after.
func TestDo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has rights to lose")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadRights(t)
	var within string
	if err := (&User{Nobody, Nobody}).Do(func() error {
		within = threadRights(t)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t0\t0\t0\t65534\n", "Gid:\t0\t0\t0\t65534\n", "Groups:\t \n", "CapEff:\t0000000000000000\n"} {
		if !strings.Contains(within, want) {
			t.Errorf("within, the rights are %q; want %q", within, want)
		}
	}
	if diff := cmp.Diff(before, threadRights(t)); diff != "" {
		t.Errorf("the rights after are not those before:\n%s", diff)
	}
}

// dropsVariable has a process of its own give up all rights.
const dropsVariable = "KEEPSCOPE_DROPS"

func TestMain(m *testing.M) {
	if os.Getenv(dropsVariable) == "" {
		os.Exit(m.Run())
	}
	if err := dropWhileDo(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestDropWhileDo gives all rights up, in a process of its own, while files are
// used as another user.
func TestDropWhileDo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has rights to lose")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dropsVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// dropWhileDo is run instead of tests, which could write neither their
// temporary files nor their coverage once the rights are gone.
func dropWhileDo() error {
	user, err := Find("")
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var dropped atomic.Bool
	var begun sync.WaitGroup
	failed := make([]error, 4)
	for i := range failed {
		begun.Add(1)
		wg.Go(func() {
			first := sync.OnceFunc(begun.Done)
			for !dropped.Load() {
				failed[i] = errors.Join(failed[i], (&User{Nobody, Nobody}).Do(func() error { return nil }))
				first()
			}
			first()
		})
	}
	begun.Wait()
	err = Drop(user, Confinement{})
	dropped.Store(true)
	wg.Wait()
	return errors.Join(append(failed, err)...)
}

// threadRights returns the ids and the capabilities of the calling thread.
func threadRights(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`(?m)^(Cap...|Uid|Gid|Groups):.*\n`).FindAllString(string(text), -1), "")
}
