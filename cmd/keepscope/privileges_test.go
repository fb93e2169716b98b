package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// onMainThread, in the environment, has the test's program be doOnMainThread.
const onMainThread = "KEEPSCOPE_ON_MAIN_THREAD"

func init() {
	if os.Getenv(onMainThread) != "" {
		runtime.LockOSThread() // before main, it is the main thread that this gets
	}
}

// TestDoOnMainThread has do called where its goroutine finds itself on the main
// thread, which does not end with it: that must not be the one without rights.
func TestDoOnMainThread(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has rights to lose")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	// With one processor, what waits leaves its thread to what it has started.
	cmd.Env = append(os.Environ(), onMainThread+"=1", "GOMAXPROCS=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func doOnMainThread() (status int) {
	runtime.UnlockOSThread()
	thread := make(chan int)
	go func() { thread <- unix.Gettid() }()
	if id := <-thread; id != os.Getpid() {
		fmt.Printf("a goroutine began on thread %d, want the main one, %d\n", id, os.Getpid())
		return exitFailed
	}
	before := mainThreadRights()
	var id int
	err := (&userIDs{nobody, nobody}).do(func() error {
		id = unix.Gettid()
		return nil
	})
	if after := mainThreadRights(); err != nil || id == os.Getpid() || after != before {
		fmt.Printf("do: %v on thread %d; the main one, %d, has now %s, had %s\n", err, id, os.Getpid(), after, before)
		return exitFailed
	}
	return exitDone
}

// mainThreadRights returns the capabilities and the ids of the main thread.
func mainThreadRights() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%q", regexp.MustCompile(`(?m)^(CapEff|Uid|Gid):.*$`).FindAllString(string(text), -1))
}
