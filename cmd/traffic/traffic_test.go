package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// TestMain is the program where a test's generator starts it as a holder.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hold" {
		main()
	}
	os.Exit(m.Run())
}

// TestRecord makes each kind of file, a thousandth of its size, and has the
// yardstick's readers read it.
func TestRecord(t *testing.T) {
	if err := lab.Check(t.Context(), "nginx", "tcpdump", "wrk", "ab", "curl", "sysctl"); err != nil {
		t.Skip(err)
	}
	for kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			testRecord(t, kind)
		})
	}
}

func testRecord(t *testing.T, kind string) {
	file := filepath.Join(t.TempDir(), kind+".pcap")
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-kind", kind, "-scale", "0.001", "-out", file}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, stderr.String())
	}
	text, err := os.ReadFile(file + ".truth.json")
	if err != nil {
		t.Fatal(err)
	}
	var truth truth
	if err := json.Unmarshal(text, &truth); err != nil {
		t.Fatal(err)
	}
	requests, connections := 0, 0
	for _, counts := range truth.PerConnection {
		connections += len(counts)
		for _, n := range counts {
			requests += n
		}
	}
	if requests == 0 || requests != truth.Requests || connections != truth.Connections {
		t.Errorf("the tuples sum to %d requests on %d connections, the totals say %d on %d",
			requests, connections, truth.Requests, truth.Connections)
	}
	if truth.Wasted != nil && truth.WastedTotal != truth.Connections-len(habits) {
		t.Errorf("%d wasted, want every handshake but the first of each client: %d", truth.WastedTotal, truth.Connections-len(habits))
	}
	for _, reader := range [][]string{{"walk"}, {"gopacket"}, {"gopacket", "-in-place"}} {
		stdout.Reset()
		if status := run(t.Context(), append(reader, file), &stdout, &stderr); status != 0 {
			t.Errorf("%s: status %d: %s", reader, status, stderr.String())
		}
		if reader[0] == "gopacket" && !strings.HasPrefix(stdout.String(), fmt.Sprintf("%d requests,", requests)) {
			t.Errorf("%s: %s, want %d requests", reader, stdout.String(), requests)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"-kind", "none", "-out", "x"}, {"-kind", "small"}, {"walk"}, {"gopacket"}, {"yardstick"}, {"hold", "x"}} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args, &stdout, &stderr); status != 2 || stderr.Len() == 0 {
			t.Errorf("run(%q) = %d, %q; want 2 and a message", args, status, stderr.String())
		}
	}
}
