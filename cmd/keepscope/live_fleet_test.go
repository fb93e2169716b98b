package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
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

// TestLiveFolderOfTwoNodes has 'keepscope run' keep records on both ends of a wire, in
// one folder. What is beside them merges to the sum of the records.
func TestLiveFolderOfTwoNodes(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "curl")
	liveNginx(t, l, "")
	dir := t.TempDir() + "/"
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*exec.Cmd
	for name, n := range map[string]*lab.Namespace{"client": l.Client, "server": l.Server} {
		cmd := n.Command(t.Context(), path, "run", "-i", n.Interface, "--ports=8100", "--user=root", "--log-connections="+dir, "--connections-format=parquet")
		cmd.Env = append(os.Environ(), "OTEL_RESOURCE_ATTRIBUTES=k8s.node.name="+name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, cmd)
		eventually(t, 20*time.Second, func() error {
			status, body, err := ask(t, inside(n), "http://127.0.0.1:9737/readyz")
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%d: %s", status, body)
			}
			return err
		})
	}
	for range 12 {
		curl(t, l, "http://"+l.Server.Addrs[0].String()+":8100/1k.html")
	}
	for _, cmd := range nodes {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	files, err := filepath.Glob(filepath.Join(dir, "dt=*", "node=*", "*.parquet"))
	for _, file := range files {
		rows += len(readRows(t, must(os.ReadFile(file))))
	}
	var merged struct {
		Totals struct{ Connections, Requests int }
	}
	if err := json.Unmarshal(printed(t, "merge", "--output=json", dir), &merged); err != nil {
		t.Fatal(err)
	}
	if err != nil || len(files) != 2 || rows != 24 || merged.Totals.Connections != rows || merged.Totals.Requests != 24 {
		t.Errorf("%d rows in %v, %v; merged %+v", rows, files, err, merged)
	}
}
