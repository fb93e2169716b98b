package dashboardstest_test

import (
	"encoding/json"
	"maps"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/dashboards"
	"github.com/keepscope/keepscope/dashboards/dashboardstest"
	"github.com/keepscope/keepscope/exporter"
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
	Requests      float64
	Reused        float64 `json:"reused_requests"`
	Effectiveness *float64
	Wasted        struct {
		Total   float64
		ByCause map[string]float64 `json:"by_cause"`
	} `json:"wasted_handshakes"`
	Failed   map[string]float64 `json:"failed_requests"`
	Races    float64
	Attempts struct{ Refused, Unanswered float64 } `json:"handshake_attempts"`
	Probes   struct {
		Requests float64
		Wasted   float64 `json:"wasted_handshakes"`
	}
	Protocols  map[string]float64 // connections
	Decryption map[string]float64 // connections of TLS, by what became of their keys
	Estimated  *figures
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

// wasted leaves health checks out, as the panels do.
func wasted(f *figures) float64 { return f.Wasted.Total - f.Probes.Wasted }

func races(f *figures) float64 { return f.Races }

// A comparison is of what panels show with what the report has: each is a line of the
// test's output.
type comparison struct {
	*testing.T
	results []dashboardstest.Result
	seconds float64
	unseen  float64 // the share of the time that may have passed before a series' first scrape
}

// of compares what a query of a panel shows of something, which is a label's value, or
// of all: a rate or a share. It may be off by what a few events are worth.
func (c *comparison) of(panel, ref, what string, want float64) {
	c.within(panel, ref, what, want, 3/c.seconds)
}

// count compares a number of events.
func (c *comparison) count(panel, ref, what string, want float64) {
	c.within(panel, ref, what, want, 3)
}

func (c *comparison) within(panel, ref, what string, want, few float64) {
	got := shown(c.T, c.results, panel, ref, what)
	c.Logf("%-45s %s %-22s %9.4f, the report has %9.4f", panel, ref, what, got, want)
	if math.Abs(got-want) > (0.02+c.unseen)*want+few {
		c.Errorf("%s %s %s shows %v, the report has %v", panel, ref, what, got, want)
	}
}

// holdAgainstReport compares the panels of the overview, and of some servers, with
// what 'keepscope read' says of the same packets. They look back over all of the
// traffic: their interval is a quarter of it. A rate lacks what was before a series'
// first scrape: that of three intervals at most, and some events of each.
func holdAgainstReport(t *testing.T, session dashboardstest.Session, l *lab.Lab, binary, capture, keylog string) {
	out, err := exec.Command(binary, "read", "--output=json", "--keylog="+keylog, capture).Output()
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
	unseen := 3 * session.ScrapeInterval
	session.ScrapeInterval = (session.Range/4 + time.Second).Truncate(time.Second)
	session.Range = 4 * session.ScrapeInterval
	session.Variables = map[string]string{exporter.LabelDirection: "outbound"} // as the capture is of the clients
	look := func(build func(dashboards.Config) (dashboard.Dashboard, error)) *comparison {
		board, err := build(dashboards.Config{})
		if err != nil {
			t.Fatal(err)
		}
		results, err := session.Look(t.Context(), board)
		if err != nil {
			t.Fatal(err)
		}
		return &comparison{t, results, session.Range.Seconds(), unseen.Seconds() / session.Range.Seconds()}
	}
	c := look(dashboards.Overview)
	c.totals(&report.Totals)
	for i := range report.Servers {
		c.row(&report.Servers[i])
	}
	for i := range report.Servers {
		s := &report.Servers[i]
		for _, port := range []int{portMixed, portHurries, portTLS, portSlow, portHTTP2, portH2load, portKeys, portEven} {
			if s.Server == address(l, port) {
				session.Variables[exporter.LabelServer] = s.Server
				look(dashboards.Server).detail(s)
			}
		}
	}
}

// totals are of all servers.
func (c *comparison) totals(f *figures) {
	const effectiveness, waste, failed = "Keep-alive effectiveness", "Wasted handshakes", "Failed requests, races, failed handshakes"
	c.of(effectiveness, "A", "", *f.Effectiveness)
	c.of(effectiveness, "B", "", *f.Estimated.Effectiveness)
	c.of(waste, "A", "", wasted(f)/c.seconds)
	c.of(waste, "B", "", wasted(f.Estimated)/c.seconds)
	c.count(failed, "A", "", f.failed())
	c.count(failed, "B", "", f.Estimated.failed())
	c.count(failed, "C", "", f.either(races))
	// What nobody answers is given up after 130 s, and at the end of a capture.
	given := max(0, 1-(130*time.Second).Seconds()/c.seconds)
	c.count(failed, "D", "", f.Attempts.Refused+given*f.Attempts.Unanswered)
	for keys, n := range f.Decryption {
		c.of("TLS connections, by whether they were read", "A", keys, n/c.seconds)
	}
	c.of("Requests, estimated", "A", "true", f.Estimated.Reused/c.seconds)
	c.of("Requests, estimated", "A", "false", (f.Estimated.Requests-f.Estimated.Reused)/c.seconds)
}

// row is of the tables that have a row for each server.
func (c *comparison) row(f *figures) {
	if f.Effectiveness != nil {
		c.of(worstFirst, "A", f.Server, *f.Effectiveness)
	}
	if f.Estimated != nil && f.Estimated.Effectiveness != nil {
		c.of(worstFirst, "B", f.Server, *f.Estimated.Effectiveness)
	}
	if n := f.either(wasted); n > 0 {
		c.of(worstFirst, "C", f.Server, n/c.seconds)
	}
	if f.Probes.Requests > 0 {
		c.of("Health checks", "A", f.Server, f.Probes.Requests/c.seconds)
		c.of("Health checks", "C", f.Server, f.Probes.Wasted/c.seconds)
	}
}

// detail is of one server's own dashboard.
func (c *comparison) detail(f *figures) {
	c.Log(f.Server)
	const causes = "Causes, and what to change"
	for cause, n := range f.Wasted.ByCause {
		c.of(causes, "A", cause, n/c.seconds)
	}
	if f.Estimated != nil {
		const either = "closes_after_response" // who asked for that is not known
		c.of(causes, "B", either, (f.Estimated.Wasted.ByCause["client_discard"]+f.Estimated.Wasted.ByCause["server_discard"])/c.seconds)
	}
	for how, n := range f.Failed {
		c.count(causes, "C", how, n)
	}
	if f.Protocols["h2"] > 0 {
		c.of("HTTP/2 requests on a used connection", "A", "", f.Reused/f.Requests)
	}
}

// shown is what a query of a panel says, of what has a label of that value where that
// is not empty: 0 where it has none.
func shown(t *testing.T, results []dashboardstest.Result, panel, ref, what string) float64 {
	for _, r := range results {
		if r.Panel != panel || r.RefID != ref {
			continue
		}
		for _, s := range r.Series {
			if what == "" || slices.Contains(slices.Collect(maps.Values(s.Labels)), what) {
				return s.Last()
			}
		}
		return 0
	}
	t.Fatalf("no panel %q asks %s", panel, ref)
	return 0
}
