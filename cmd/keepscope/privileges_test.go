package main

import (
	"os"
	"regexp"
	"runtime"
	"strings"
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

// threadRights returns the ids and the capabilities of the calling thread.
func threadRights(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`(?m)^(Cap...|Uid|Gid|Groups):.*\n`).FindAllString(string(text), -1), "")
}
