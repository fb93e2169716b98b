package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// demoCauses are what the demo must show.
var demoCauses = []string{
	"client_abort", "client_close", "client_discard", "client_idle", "http10_declined", "http10_not_requested", "no_length",
	"pool_miss", "race", "server_abort", "server_close", "server_discard", "server_error_close", "server_idle", "server_limit",
}

// checkDemo reads a demo's report in JSON.
func checkDemo(t *testing.T, text []byte) {
	t.Helper()
	var r struct {
		Capture struct {
			Files   []string
			Dropped map[string]int
		}
		Totals struct {
			Wasted struct {
				ByCause map[string]int `json:"by_cause"`
			} `json:"wasted_handshakes"`
			Reasons map[string]int
		}
		Servers []struct {
			Server        string
			Effectiveness *float64
		}
		Findings []struct{ Code string }
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	got := slices.Sorted(maps.Keys(r.Totals.Wasted.ByCause))
	for _, cause := range demoCauses {
		if r.Totals.Wasted.ByCause[cause] == 0 {
			t.Errorf("no handshake wasted by %s; there are %v", cause, got)
		}
	}
	if r.Totals.Reasons["never_used"] == 0 {
		t.Error("no connection was never used")
	}
	for _, s := range r.Servers {
		if s.Server == "good.demo" && (s.Effectiveness == nil || *s.Effectiveness < 0.95) {
			t.Errorf("the effectiveness of good.demo is %v", *s.Effectiveness)
		}
	}
	if len(r.Findings) < 10 {
		t.Errorf("%d findings, want one for each bad habit", len(r.Findings))
	}
}

// TestDemoReplay reports on the embedded capture.
func TestDemoReplay(t *testing.T) {
	if len(demoCapture) > 300_000 {
		t.Errorf("the embedded capture has %d bytes, want at most 300 000", len(demoCapture))
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"demo", "--replay", "--output=json"}, console{out: &out, err: &errs}); code != 0 {
		t.Fatalf("status %d: %s", code, &errs)
	}
	checkDemo(t, out.Bytes())
}

// TestDemoLive captures the demo on loopback, and without the right to says so.
func TestDemoLive(t *testing.T) {
	if testing.Short() {
		t.Skip("the demo takes seconds: not with -short")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("capturing takes root here")
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("captured", func(t *testing.T) {
		t.Parallel()
		text, err := exec.Command(path, "demo", "--output=json").Output()
		if err != nil {
			var exit *exec.ExitError
			errors.As(err, &exit)
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		checkDemo(t, text)
	})
	t.Run("replayed", func(t *testing.T) {
		t.Parallel()
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip("setpriv is not installed")
		}
		cmd := exec.Command("setpriv", "--reuid=65534", "--clear-groups", "--", path, "demo", "--output=json")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, &errs)
		}
		if !strings.Contains(errs.String(), "setcap") || !strings.Contains(errs.String(), "a capture of the same habits") {
			t.Errorf("it does not say that it replays: %s", &errs)
		}
		checkDemo(t, text)
	})
}

// TestDemoHabits gives every habit a name of its own.
func TestDemoHabits(t *testing.T) {
	names := map[string]int{}
	for _, h := range habits() {
		names[h.name]++
	}
	for name, n := range names {
		if diff := cmp.Diff(1, n); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
