package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

// A connectionRow has what rows and lines are compared by.
type connectionRow struct {
	Node     *string `parquet:"node"`
	Workload *string `parquet:"workload"`
	ID       string  `parquet:"id,optional"`
	// CommunityID is the name that others have for it, too.
	CommunityID string `parquet:"community_id,optional"`
	Client      struct {
		Port int64 `parquet:"port,optional"`
	} `parquet:"client"`
	Requests int64   `parquet:"requests,optional"`
	Reason   string  `parquet:"reason,optional"`
	Verdict  string  `parquet:"verdict,optional"`
	Cause    *string `parquet:"cause"`
}

// demoFile writes the embedded capture to a file.
func demoFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "demo.pcapng.gz")
	if err := os.WriteFile(path, demoCapture, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// printed runs keepscope and returns what it prints.
func printed(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, console{out: &out, err: &errs}); code != 0 {
		t.Fatalf("exit status %d: %s", code, errs.String())
	}
	return out.Bytes()
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func readRows(t *testing.T, file []byte) []connectionRow {
	t.Helper()
	rows, err := parquet.Read[connectionRow](bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Rows are the lines of NDJSON, in their order, for any number of workers and however
// little memory there is to sort them.
func TestParquetOutput(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.node.name=n1, k8s.deployment.name=shop")
	path := demoFile(t)
	file := printed(t, "read", "--output=parquet", path)
	rows := readRows(t, file)
	type key struct {
		port, requests         int64
		reason, verdict, cause string
	}
	var want, got []key
	for _, l := range connections(t, path) {
		want = append(want, key{int64(l.Client.Port), int64(l.Requests), l.Reason, l.Verdict, l.Cause})
	}
	for _, r := range rows {
		k := key{r.Client.Port, r.Requests, r.Reason, r.Verdict, ""}
		if r.Cause != nil {
			k.cause = *r.Cause
		}
		got = append(got, k)
		if len(r.ID) != 16 || r.Node == nil || *r.Node != "n1" || r.Workload == nil || *r.Workload != "shop" {
			t.Fatalf("id %q, node and workload of %+v", r.ID, r)
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(key{})); diff != "" || len(want) == 0 {
		t.Errorf("rows (-lines +rows):\n%s", diff)
	}
	for _, flags := range [][]string{{"--workers=3"}, {"--max-memory=1MiB"}} {
		if !bytes.Equal(printed(t, append([]string{"read", "--output=parquet", path}, flags...)...), file) {
			t.Errorf("%v gives another file", flags)
		}
	}
}

func TestParquetRefusals(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"read", "--output=parquet", "--exchanges", demoFile(t)}, console{out: &out, err: &errs}); code != exitUsage || out.Len() > 0 {
		t.Errorf("exit status %d, %d bytes, %s", code, out.Len(), errs.String())
	}
}
