package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// TestSoak watches a steady load, and a flood of SYNs for 2 s of each minute, for as long
// as KEEPSCOPE_SOAK says: memory and descriptors must be flat in the last two thirds, nothing dropped, and every
// connection counted as nginx logged it.
func TestSoak(t *testing.T) {
	text := testVariables["KEEPSCOPE_SOAK"]
	if text == "" {
		t.Skip("KEEPSCOPE_SOAK says how long to soak, e.g. 20m (make soak)")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, lab.Config{Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.conf.all.rp_filter": "0"}}, "nginx", "wrk", "ab", "curl", "sysctl")
	nginx := liveNginx(t, l, "")
	w := watch(t, l.Server, "-i", l.Server.Interface)
	syns := forged(t, liveAttacks[0].make, l.Server.Addrs[0])
	var rss, files []int
	floods := 0
	for start := time.Now(); time.Since(start) < length; {
		if time.Since(start) > time.Duration(floods)*time.Minute {
			floods++
			go forge(t, l.Client, l.Server.Addrs[0], syns, 10_000, time.Now().Add(2*time.Second)) // a round takes longer
		}
		load(t, l, l.Server.Addrs[0].String(), 100)
		rss = append(rss, residentKiB(t, w.cmd.Process.Pid))
		files = append(files, descriptors(t, w.cmd.Process.Pid))
	}
	if len(rss) < 6 {
		t.Fatalf("%d rounds: soak longer", len(rss))
	}
	third := len(rss) / 3
	middle, last := mean(rss[third:2*third]), mean(rss[2*third:])
	t.Logf("%d rounds, %d floods, RSS %.1f MiB in the middle third, %.1f MiB in the last", len(rss), floods, middle/1024, last/1024)
	if last > 1.05*middle {
		t.Errorf("RSS grows: %.0f KiB in the last third, %.0f KiB in the middle one", last, middle)
	}
	if files[third] != files[len(files)-1] {
		t.Errorf("descriptors: %d after a third, %d at the end", files[third], files[len(files)-1])
	}
	want := logged(t, nginx)
	compareCounts(t, seen(w.stop(t)), want)
}

func mean(values []int) float64 {
	sum := 0
	for _, v := range values {
		sum += v
	}
	return float64(sum) / float64(len(values))
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
