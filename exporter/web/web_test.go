package web

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/keepscope/keepscope/exporter/report"
)

var update = flag.Bool("update", false, "rewrite the golden page")

func pointer[T any](v T) *T { return &v }

// sample is a report with something of everything, and with names that try
// what clients may try.
func sample() *report.Report {
	evil := `<script>alert("1")</script>` + "\x1b[31m"
	total := report.Summary{
		Connections: 1234, Requests: 5000, ReusedRequests: 4000, Effectiveness: pointer(0.8125), Races: 1, Incomplete: 2, Midstream: 1,
		Wasted: report.Wasted{
			Total: 923, Seconds: 1.5, ByCause: map[string]uint64{"pool_miss": 23, "server_close": 900},
			SecondsByCause: map[string]float64{"pool_miss": 0.3, "server_close": 1.2},
		},
		RequestsPerConn: report.Requests{Mean: 4.1, Histogram: report.RequestBuckets{One: 900, Few: 300, Tens: 34}},
		Estimated: &report.Estimated{
			Requests: 10, ReusedRequests: 5, Effectiveness: pointer(0.5),
			Wasted: report.Wasted{Total: 5, Seconds: 0.1, ByCause: map[string]uint64{"pool_miss": 5}},
		},
	}
	return &report.Report{
		Capture: report.Capture{
			Interfaces: []string{"eth0", evil}, Packets: 1234567, Bytes: 987654321,
			FirstPacket: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), LastPacket: time.Date(2026, 11, 22, 10, 2, 0, 0, time.UTC),
			Dropped: report.Dropped{Kernel: 5}, DecodeErrors: map[string]uint64{"tcp": 3},
		},
		Totals: total,
		Servers: []report.Server{
			{Name: evil, Summary: total},
			{Name: "quiet.example", Summary: report.Summary{Connections: 1, Idle: report.Idle{ObservedTimeout: report.SideSeconds{Server: pointer(75.0)}}}},
		},
		Findings: []report.Finding{{Code: "x", Severity: report.Warning, Server: evil, Summary: "900 handshakes were wasted & more.", Advice: "Set keepalive_timeout."}},
	}
}

func get(t *testing.T, h http.Handler) (string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	return w.Body.String(), w.Header()
}

func TestPage(t *testing.T) {
	for name, r := range map[string]*report.Report{"full": sample(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			body, _ := get(t, Handler(func() *report.Report { return r }))
			golden := "testdata/" + name + ".html"
			if *update {
				if err := os.WriteFile(golden, []byte(body), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), body); diff != "" {
				t.Error(diff)
			}
			wellFormed(t, body)
		})
	}
}

// wellFormed checks that every element is closed where it belongs, that there
// are no scripts and styles but the page's own, and nothing from elsewhere.
func wellFormed(t *testing.T, body string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(body))
	var open []string
	void := map[string]bool{"meta": true, "link": true, "br": true}
	for {
		switch z.Next() {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) || len(open) > 0 {
				t.Errorf("%v, open: %v", z.Err(), open)
			}
			return
		case html.StartTagToken:
			token := z.Token()
			for _, a := range token.Attr {
				if a.Key == "src" || a.Key == "style" || strings.HasPrefix(a.Key, "on") ||
					a.Key == "href" && a.Val != "/metrics" && a.Val != "data:," {
					t.Errorf("<%s %s=%q>", token.Data, a.Key, a.Val)
				}
			}
			if !void[token.Data] {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			token := z.Token()
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> closes %v", token.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
}

// TestNamesAreEscaped looks for what a client may have sent in Host.
func TestNamesAreEscaped(t *testing.T) {
	body, header := get(t, Handler(sample))
	if strings.Count(body, "<script>") != 1 || strings.Contains(body, "<script>alert") {
		t.Error("a name became markup")
	}
	csp := header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", hashOf(scriptText), hashOf(styleText)} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %q", csp, want)
		}
	}
	// What the policy allows is what the page has.
	for _, element := range []string{"style", "script"} {
		_, rest, _ := strings.Cut(body, "<"+element+">")
		text, _, _ := strings.Cut(rest, "</"+element+">")
		if !strings.Contains(csp, hashOf(text)) {
			t.Errorf("the page's <%s> is not the one that the policy allows", element)
		}
	}
}

func TestManyServersAndFindings(t *testing.T) {
	r := &report.Report{Totals: report.Summary{Connections: 1}}
	for range 500 {
		r.Servers = append(r.Servers, report.Server{Name: "row"})
		r.Findings = append(r.Findings, report.Finding{Server: "finding"})
	}
	body, _ := get(t, Handler(func() *report.Report { return r }))
	if n := strings.Count(body, ">row<"); n != maxServers {
		t.Errorf("%d servers", n)
	}
	if n := strings.Count(body, ">finding<"); n != maxFindings {
		t.Errorf("%d findings", n)
	}
	for _, want := range []string{"and 450 more", "and 480 more"} {
		if !strings.Contains(body, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

// TestOneReportForManyVisitors counts how often the report is made.
func TestOneReportForManyVisitors(t *testing.T) {
	var made atomic.Int32
	h := Handler(func() *report.Report { made.Add(1); return &report.Report{} })
	var visitors sync.WaitGroup
	for range 50 {
		visitors.Go(func() { get(t, h) })
	}
	visitors.Wait()
	if n := made.Load(); n > 2 { // it is renewed once a second
		t.Errorf("%d reports for 50 visitors at once", n)
	}
}

func TestWords(t *testing.T) {
	tests := []struct{ got, want string }{
		{count(0), "0"}, {count(999), "999"}, {count(1234567), "1\u202f234\u202f567"},
		{seconds(0), "0\u00a0s"}, {seconds(0.0000123), "12.3\u00a0µs"}, {seconds(0.0051), "5.1\u00a0ms"}, {seconds(75), "75\u00a0s"}, {seconds(7.25), "7.2\u00a0s"}, {seconds(120), "2.0\u00a0min"}, {seconds(7200), "2.0\u00a0h"}, {seconds(864000), "10\u00a0d"},
		{percent(nil), "–"}, {percent(pointer(1.0)), "100\u00a0%"}, {percent(pointer(0.99999)), ">\u00a099.9\u00a0%"}, {percent(pointer(0.0001)), "<\u00a00.1\u00a0%"}, {percent(pointer(0.5)), "50.0\u00a0%"},
		{byteCount(12), "12\u00a0B"}, {byteCount(1500), "1.5\u00a0kB"}, {byteCount(2_000_000_000_000), "2.0\u00a0TB"},
		{width(0), "0"}, {width(0.0001), "0.8"}, {width(2), "100.0"}, {plural(1, "race"), "1 race"}, {plural(2, "race"), "2 races"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
