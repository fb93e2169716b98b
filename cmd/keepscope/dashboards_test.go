package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDashboards holds what the command writes against what is committed.
func TestDashboards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "anew")
	var out, stderr strings.Builder
	if status := run(t.Context(), []string{"dashboards", "--out", dir}, console{out: &out, err: &stderr}); status != exitDone {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	committed, err := filepath.Glob("../../dashboards/generated/*.[jy]*")
	if err != nil || len(committed) == 0 {
		t.Fatalf("nothing is committed: %v", err)
	}
	listed := strings.Fields(out.String())
	if len(listed) != len(committed) {
		t.Errorf("wrote %q, committed are %q", listed, committed)
	}
	for _, path := range committed {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-committed +written):\n%s", path, diff)
		}
	}
}

func TestDashboardsFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"no directory named", []string{"dashboards"}, exitUsage},
		{"a file in the way", []string{"dashboards", "--out", file}, exitFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, stderr strings.Builder
			if status := run(t.Context(), tt.args, console{out: &out, err: &stderr}); status != tt.want || stderr.Len() == 0 {
				t.Errorf("status %d, want %d: %s", status, tt.want, &stderr)
			}
		})
	}
}
