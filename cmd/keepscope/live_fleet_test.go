package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// TestLiveTwoNodes captures on both ends of a wire, each a machine of its own. What
// their records say merges to the sum, and both give a connection the same name.
func TestLiveTwoNodes(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "curl")
	liveNginx(t, l, "")
	dir := t.TempDir()
	nodes := map[string]*watching{}
	for name, n := range map[string]*lab.Namespace{"client": l.Client, "server": l.Server} {
		nodes[name] = watch(t, n, "-i", n.Interface, "--output=parquet", "--ports=8100")
	}
	for range 12 {
		curl(t, l, "http://"+l.Server.Addrs[0].String()+":8100/1k.html")
	}

	type totals struct {
		Totals  struct{ Connections, Requests int }
		Capture struct{ Packets int }
	}
	read := func(path string) (r totals) {
		if err := json.Unmarshal(printed(t, "merge", "--output=json", path), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	ids := map[string]int{}
	var sum totals
	for name, w := range nodes {
		if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-w.done:
			if err != nil {
				t.Fatalf("%s: %v: %s", name, err, &w.err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("keepscope watch does not end")
		}
		path := filepath.Join(dir, name+".parquet")
		if err := os.WriteFile(path, w.out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		rows := readRows(t, w.out.Bytes())
		for i := range rows {
			ids[rows[i].CommunityID]++
		}
		one := read(path)
		if one.Totals.Connections != len(rows) || one.Totals.Connections != 12 {
			t.Errorf("%s: %+v, %d rows", name, one, len(rows))
		}
		sum.Totals.Connections += one.Totals.Connections
		sum.Totals.Requests += one.Totals.Requests
		sum.Capture.Packets += one.Capture.Packets
	}
	if merged := read(dir); merged != sum || sum.Totals.Requests != 24 {
		t.Errorf("merged %+v, want the sum %+v", merged, sum)
	}
	for id, n := range ids {
		if n != 2 {
			t.Errorf("connection %s is told of by %d nodes", id, n)
		}
	}
}
