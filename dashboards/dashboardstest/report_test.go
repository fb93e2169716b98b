package dashboardstest_test

import (
	"encoding/json"
	"math"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/dashboards"
	"github.com/keepscope/keepscope/dashboards/dashboardstest"
)

// packets captures what the sidecar sees, for 'keepscope read'.
func packets(t *testing.T, l *lab.Lab) (stop func() (path string)) {
	path := filepath.Join(t.TempDir(), "traffic.pcap")
	c, err := l.Client.Capture(t.Context(), path, lab.CaptureConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		if _, err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

// A figures is what the report has of all servers, or of one.
type figures struct {
	Server        string
	Effectiveness *float64
	Wasted        struct {
		Total   float64
		Seconds float64
		ByCause map[string]float64 `json:"by_cause"`
	} `json:"wasted_handshakes"`
	Failed    map[string]float64 `json:"failed_requests"`
	Races     float64
	Attempts  struct{ Refused, Unanswered float64 } `json:"handshake_attempts"`
	Estimated *figures
}

func (f *figures) failed() (n float64) {
	for _, v := range f.Failed {
		n += v
	}
	return n
}

// either is what is counted and what is estimated, together.
func (f *figures) either(of func(*figures) float64) float64 {
	if f.Estimated == nil {
		return of(f)
	}
	return of(f) + of(f.Estimated)
}

func wasted(f *figures) float64 { return f.Wasted.Total }

// holdAgainstReport compares the tiles of the overview, and the table of servers, with
// what 'keepscope read' says of the same packets. The tiles look back over all of the
// traffic: their interval is a quarter of it. A rate lacks what was before a server's
// first scrape.
func holdAgainstReport(t *testing.T, session dashboardstest.Session, binary, capture string) {
	out, err := exec.Command(binary, "read", "--output=json", capture).Output()
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Totals  figures
		Servers []figures
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	board, err := dashboards.Overview(dashboards.Config{})
	if err != nil {
		t.Fatal(err)
	}
	seconds := session.Range.Seconds()
	session.ScrapeInterval = session.Range / 4
	results, err := session.Look(t.Context(), board)
	if err != nil {
		t.Fatal(err)
	}
	compare := func(panel, ref, server string, want float64) {
		got := shown(results, panel, ref, server)
		t.Logf("%-45s %s %-16s %9.4f, the report has %9.4f", panel, ref, server, got, want)
		if !(math.Abs(got-want) <= 0.05*want+0.02) {
			t.Errorf("%s %s %s shows %v, the report has %v", panel, ref, server, got, want)
		}
	}
	const effectiveness, waste, failed, table = "Keep-alive effectiveness", "Wasted handshakes", "Failed requests, races, failed handshakes", "Servers, worst first"
	total := &report.Totals
	compare(effectiveness, "A", "", *total.Effectiveness)
	compare(effectiveness, "B", "", *total.Estimated.Effectiveness)
	compare(waste, "A", "", total.Wasted.Total/seconds)
	compare(waste, "B", "", total.Estimated.Wasted.Total/seconds)
	compare(failed, "A", "", total.failed())
	compare(failed, "B", "", total.Estimated.failed())
	compare(failed, "C", "", total.either(func(f *figures) float64 { return f.Races }))
	compare(failed, "D", "", total.Attempts.Refused+total.Attempts.Unanswered)
	for i := range report.Servers {
		s := &report.Servers[i]
		if s.Effectiveness != nil {
			compare(table, "A", s.Server, *s.Effectiveness)
		}
		if s.Estimated != nil && s.Estimated.Effectiveness != nil {
			compare(table, "B", s.Server, *s.Estimated.Effectiveness)
		}
		if n := s.either(wasted); n > 0 {
			compare(table, "C", s.Server, n/seconds)
		}
	}
}

// shown is what a query of a panel says, of one server where that is not empty.
func shown(results []dashboardstest.Result, panel, ref, server string) float64 {
	for _, r := range results {
		if r.Panel != panel || r.RefID != ref {
			continue
		}
		for _, s := range r.Series {
			if server == "" || s.Labels["server"] == server {
				return s.Last()
			}
		}
	}
	return math.NaN()
}
