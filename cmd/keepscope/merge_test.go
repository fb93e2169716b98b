package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shards reads a capture in n shards and returns the folder of their reports.
func shards(t *testing.T, n int, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		part := []string{"read", "--output=json", fmt.Sprintf("--shard=%d/%d", i, n), fmt.Sprintf("--save=%s/%d.json", dir, i)}
		printed(t, append(part, args...)...)
	}
	return dir
}

// checkShards holds the report of n shards, merged, to that of one run, to the byte.
func checkShards(t *testing.T, one []byte, n int, args ...string) {
	t.Helper()
	merged := printed(t, "merge", "--output=json", shards(t, n, args...))
	if !bytes.Equal(one, merged) {
		t.Errorf("%d shards say otherwise (-one run +merged):\n%s", n, cmp.Diff(shown(t, one), shown(t, merged)))
	}
}

// shown is a report without what is only there for merging.
func shown(t *testing.T, text []byte) (r map[string]any) {
	t.Helper()
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r["mergeable"] == nil {
		t.Error("it can't be merged")
	}
	delete(r, "mergeable")
	return r
}

func TestShardsOfDemo(t *testing.T) {
	path := demoFile(t)
	one := printed(t, "read", "--output=json", path)
	for _, n := range []int{1, 2, 3, 5} {
		checkShards(t, one, n, path)
		checkShards(t, one, n, path, "--workers=2")
	}
}

// The shards of every case make one run, whoever settles what.
func TestShardsOfCases(t *testing.T) {
	files, err := filepath.Glob("../../../shared/cases/*.pcap.gz")
	if err != nil || len(files) == 0 {
		t.Skip("needs the captures of ../shared/cases")
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			args := []string{path}
			if keys := strings.TrimSuffix(path, ".pcap.gz") + ".keys"; exists(keys) {
				args = append(args, "--keylog="+keys)
			}
			one := printed(t, append([]string{"read", "--output=json"}, args...)...)
			for _, n := range []int{2, 3, 5} {
				checkShards(t, one, n, args...)
			}
		})
	}
}

// The records of all shards are those of one run, but for what only other shards'
// connections tell: records with such a question say that it is open, and so the cause
// of the handshakes that replaced those connections is.
func TestShardsShareRecords(t *testing.T) {
	var files []string
	for _, name := range []string{"busy_event_loop", "worker_recycling", "go_idle_timeout"} {
		if path := "../../../shared/cases/" + name + ".pcap.gz"; exists(path) {
			files = append(files, path)
		}
	}
	for _, path := range append(files, demoFile(t)) {
		type record struct {
			ID, Connection string
			Unsettled      bool
			CouldReuse     struct{ ID string } `json:"could_reuse"`
		}
		lines := map[string]int{} // in one run less in shards
		open := map[string]bool{}
		count := func(n int, args ...string) {
			for line := range strings.Lines(string(printed(t, append([]string{"read", "--output=ndjson", "--exchanges"}, args...)...))) {
				var r record
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				if r.Unsettled {
					open[r.ID+r.Connection] = true
				}
				if n > 0 && r.Unsettled {
					t.Errorf("a record of a whole run is unsettled: %s", line)
				}
				lines[line] += n
			}
		}
		for i := range 3 {
			count(-1, fmt.Sprintf("--shard=%d/3", i), path)
		}
		count(1, path)
		same := 0
		for line, n := range lines {
			var r record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if n != 0 && !open[r.ID+r.Connection] && !open[r.CouldReuse.ID] {
				t.Errorf("%s: %+d of %s", path, n, line)
			} else if n == 0 {
				same++
			}
		}
		if same == 0 {
			t.Errorf("%s: no record is the same", path)
		}
	}
}

// Reports of two machines add up: what both saw of one server is one row.
func TestMergeAddsUp(t *testing.T) {
	dir, path := t.TempDir(), demoFile(t)
	one := printed(t, "read", "--output=json", path, "--save="+filepath.Join(dir, "a.json"))
	if len(one) > 0 {
		t.Error("it printed what went to a file")
	}
	one, err := os.ReadFile(filepath.Join(dir, "a.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.json"), one, 0o600); err != nil {
		t.Fatal(err)
	}
	type summary struct {
		Connections int64
		Requests    int64
		Exchanges   struct{ Count, P50 float64 } `json:"exchange_seconds"`
		Wasted      struct {
			Total   int64
			Seconds float64
		} `json:"wasted_handshakes"`
	}
	var before, after struct {
		Capture struct{ Packets int64 }
		Totals  summary
		Servers []struct {
			Server string
			summary
		}
	}
	if err := json.Unmarshal(one, &before); err != nil {
		t.Fatal(err)
	}
	// A merged report can be merged again: three times the same are 2 + 1.
	twice := filepath.Join(dir, "two.json.tmp")
	printed(t, "merge", "--wait=2", "--output=json", "--save="+twice, dir)
	if err := json.Unmarshal(printed(t, "merge", "--output=json", twice, filepath.Join(dir, "a.json")), &after); err != nil {
		t.Fatal(err)
	}
	a, b := &after.Totals, &before.Totals
	if a.Connections != 3*b.Connections || a.Requests != 3*b.Requests || a.Wasted.Total != 3*b.Wasted.Total ||
		after.Capture.Packets != 3*before.Capture.Packets || a.Exchanges.P50 != b.Exchanges.P50 || b.Connections == 0 {
		t.Errorf("%+v of three times %+v", a, b)
	}
	if len(after.Servers) != len(before.Servers) {
		t.Errorf("%d servers of %d", len(after.Servers), len(before.Servers))
	}
}

// Parquet files have the report of their rows, so records merge as reports do.
func TestMergeRecords(t *testing.T) {
	path, dir := demoFile(t), t.TempDir()
	for i := range 3 {
		printed(t, "read", "--output=parquet", fmt.Sprintf("--shard=%d/3", i), fmt.Sprintf("--save=%s/%d.parquet", dir, i), path)
	}
	one := printed(t, "read", "--output=json", path)
	check := func(what string) {
		t.Helper()
		if diff := cmp.Diff(shown(t, one), shown(t, printed(t, "merge", "--output=json", dir))); diff != "" {
			t.Errorf("%s (-one run +merged):\n%s", what, diff)
		}
	}
	check("records")
	printed(t, "read", "--output=json", "--save="+filepath.Join(dir, "all.json"), path)
	check("a report, and records of the same run")
}

// What each node keeps beside its records adds up: a capture in two halves, of two nodes,
// one of which started twice.
func TestMergeFolderOfRecords(t *testing.T) {
	path, dir := demoFile(t), t.TempDir()
	var flat []string
	for i, half := range []string{"--until=3s", "--since=3s", "--since=3s"} {
		saved := filepath.Join(t.TempDir(), "report.json")
		printed(t, "read", "--output=json", half, "--save="+saved, path)
		flat = append(flat, saved)
		node := filepath.Join(dir, fmt.Sprintf("dt=2026-11-2%d", i), fmt.Sprintf("node=n%d", min(i, 1)))
		if err := os.MkdirAll(node, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(saved, filepath.Join(node, "report-20261122T10-0000000.json")); err != nil {
			t.Fatal(err)
		}
		flat[i] = filepath.Join(node, "report-20261122T10-0000000.json")
		printed(t, "read", "--output=parquet", half, "--save="+filepath.Join(node, "connections-20261122T10-00000000.parquet"), path)
	}
	type sum struct {
		Totals struct {
			Connections, Requests int64
			Wasted                struct{ Total int64 } `json:"wasted_handshakes"`
		}
	}
	parse := func(text []byte) (s sum) {
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	var want sum
	for _, file := range flat {
		one := parse(must(os.ReadFile(file)))
		if one.Totals.Requests == 0 {
			t.Error("a part has no requests")
		}
		want.Totals.Connections += one.Totals.Connections
		want.Totals.Requests += one.Totals.Requests
		want.Totals.Wasted.Total += one.Totals.Wasted.Total
	}
	merged := printed(t, "merge", "--output=json", dir)
	if got := parse(merged); got != want {
		t.Errorf("merged %+v, want %+v", got, want)
	}
	if !bytes.Equal(merged, printed(t, append([]string{"merge", "--output=json"}, flat...)...)) {
		t.Error("the reports by name say otherwise")
	}
	if got := parse(printed(t, "merge", "--output=json", filepath.Join(dir, "dt=2026-11-20"))); got == want || got.Totals.Requests == 0 {
		t.Errorf("one day is %+v", got)
	}
}

func TestMergeRefuses(t *testing.T) {
	dir, path := t.TempDir(), demoFile(t)
	save := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	shard := filepath.Join(dir, "s.json")
	printed(t, "read", "--output=json", "--shard=0/2", "--save="+shard, path)
	whole := string(printed(t, "read", "--output=json", path))
	other := string(printed(t, "read", "--output=json", "--reuse-window=5s", path))
	begin, _, _ := strings.Cut(whole, `"figures": "`)
	ofServer := filepath.Join(dir, "one.parquet")
	printed(t, "read", "--output=parquet", "--server=good.demo", "--save="+ofServer, path)
	const old = `{"capture":{},"totals":{},"servers":[]}`
	for _, c := range []struct {
		name, want string
		files      []string
	}{
		{"no file", "no such file", []string{filepath.Join(dir, "none")}},
		{"no report", "no report", []string{path}},
		{"schema 1", "schema 1, which has no histograms", []string{save("one", old)}},
		{"without histograms", "has no histograms", []string{save("two", `{"schema":2,`+old[1:])}},
		{"damaged", "damaged", []string{save("three", begin+`"figures": "AAAA"}}`)}},
		{"half of a capture", "number 1 is missing", []string{shard}},
		{"a shard twice", "there already", []string{shard, save("again", string(must(os.ReadFile(shard))))}},
		{"other windows", "reuse window", []string{save("four", whole), save("five", other)}},
		{"too few", "there are 0 of 3", []string{"--wait=3", "--timeout=1ms", filepath.Join(dir, "later")}},
		{"records of one server", "has no report of its rows", []string{ofServer}},
		{"an empty folder", "no report to merge", []string{t.TempDir()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"merge"}, c.files...), console{out: &out, err: &errs})
			if code != exitFailed || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
				t.Errorf("exit status %d: %s%s", code, errs.String(), out.String())
			}
		})
	}
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

func TestShardFlag(t *testing.T) {
	for _, wrong := range []string{"1", "2/2", "-1/2", "0/0", "a/b", "0/5000", "1/2/3"} {
		var s shard
		if err := s.UnmarshalText([]byte(wrong)); err == nil {
			t.Errorf("%s is taken for %v", wrong, s)
		}
	}
}
