package main

import (
	"errors"
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
	if err := (&userIDs{nobody, nobody}).do(func() error {
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

// dropsVariable has a process of its own give up all rights: see TestMain.
const dropsVariable = "KEEPSCOPE_DROPS"

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
	drop, err := confinement{}.prepare("")
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
				failed[i] = errors.Join(failed[i], (&userIDs{nobody, nobody}).do(func() error { return nil }))
				first()
			}
			first()
		})
	}
	begun.Wait()
	err = drop()
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
