package main

import (
	"maps"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// TestLiveOverload keeps the program from running while far more arrives than
// the kernel's buffer holds. It must say what was dropped, stay within its
// memory, and count exactly again once it runs.
func TestLiveOverload(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "wrk", "ab", "curl", "sysctl")
	nginx := liveNginx(t, l, "")
	w := watch(t, l.Server, "-i", l.Server.Interface, "--buffer-size=2MiB", "--max-memory=16MiB")
	addr := l.Server.Addrs[0].String()
	signal := func(s syscall.Signal) {
		if err := w.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}

	signal(syscall.SIGSTOP)
	wrk(t, l, "http://"+addr+":8100/1k.html", 5000, 1)
	signal(syscall.SIGCONT)
	// While the buffer is full, what comes is dropped: nothing until it is empty.
	time.Sleep(500 * time.Millisecond)
	wrk(t, l, "http://"+addr+":8001/1k.html", 500, 1)

	if rss := residentKiB(t, w.cmd.Process.Pid); rss > 80<<10 {
		t.Errorf("%d KiB resident", rss)
	}
	signal(syscall.SIGINT)
	select {
	case err := <-w.done:
		if err != nil {
			t.Errorf("keepscope watch: %v: %s", err, &w.err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("keepscope watch does not end")
	}
	if !regexp.MustCompile(`packets were dropped.* kernel=[1-9]`).MatchString(w.err.String()) {
		t.Errorf("drops are not told: %s", &w.err)
	}

	after := func(p perTuple) perTuple {
		maps.DeleteFunc(p, func(tuple string, _ []int) bool { return !strings.HasSuffix(tuple, ">8001") })
		return p
	}
	compareCounts(t, after(seen(w.lines(t))), after(logged(t, nginx)))
}
