package main

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// TestDropWhileDo gives all rights up, in a process of its own, while files are
// used as another user.
func TestDropWhileDo(t *testing.T) {
	const variable = "KEEPSCOPE_DROPS"
	switch {
	case os.Geteuid() != 0:
		t.Skip("only root has rights to lose")
	case os.Getenv(variable) == "":
		cmd := exec.Command(os.Args[0], "-test.run=^TestDropWhileDo$")
		cmd.Env = append(os.Environ(), variable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	drop, err := confinement{}.prepare("")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var dropped atomic.Bool
	for range 4 {
		wg.Go(func() {
			for !dropped.Load() {
				if err := (&userIDs{nobody, nobody}).do(func() error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	err = drop()
	dropped.Store(true)
	wg.Wait()
	if err != nil {
		t.Error(err)
	}
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
