package web

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

var update = flag.Bool("update", false, "rewrite the golden page")

func pointer[T any](v T) *T { return &v }

// sample is a report with something of everything, and with names that try
// what clients may try.
func sample() *report.Report {
	evil := `<script>alert("1")</script>` + "\x1b[31m"
	total := report.Summary{
		Connections: 1236, Requests: 5000, ReusedRequests: 4000, Effectiveness: pointer(0.8125), Races: 1, Incomplete: 2, Midstream: 1,
		Wasted: report.Wasted{
			Total: 923, Seconds: 1.5, ByCause: map[string]uint64{"pool_miss": 23, "server_close": 900},
			SecondsByCause: map[string]float64{"pool_miss": 0.3, "server_close": 1.2},
		},
		RequestsPerConn: report.Requests{Mean: 4.1, Max: 34, Histogram: report.RequestBuckets{One: 900, Few: 300, Tens: 34}},
		Estimated:       estimated(),
	}
	encrypted := report.Summary{Connections: 2, Estimated: estimated()}
	return &report.Report{
		Capture: report.Capture{
			Interfaces: []string{"eth0", evil}, Packets: 1234567, Bytes: 987654321,
			FirstPacket: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), LastPacket: time.Date(2026, 11, 22, 10, 2, 0, 0, time.UTC),
			Dropped: report.Dropped{Kernel: 5}, DecodeErrors: map[string]uint64{"tcp": 3},
		},
		Totals: total,
		Servers: []report.Server{
			{Name: evil, Summary: total},
			{Name: "secret.example", Summary: encrypted},
			{Name: "quiet.example", Summary: report.Summary{Connections: 1, Idle: report.Idle{ObservedTimeout: report.SideSeconds{Server: pointer(75.0)}}}},
		},
		Findings: []findings.Finding{
			{Code: "x", Severity: findings.Warning, Summary: "900 handshakes were wasted & more.", Advice: "Set keepalive_timeout.", Servers: []findings.OnServer{
				{Server: evil, Clients: []findings.ByClient{{Address: "10.0.0.7", Software: "curl", Count: 900}}}, {Server: "b.example"},
			}},
			{Code: "y", Severity: findings.Warning, Summary: "Guessed.", Advice: "Set `keepalive`.", Servers: []findings.OnServer{{Server: "secret.example", Estimated: true}}},
		},
		Explained: []string{"A handshake would not have been needed."},
	}
}

func estimated() *report.Estimated {
	return &report.Estimated{
		Connections: 2, Requests: 10, ReusedRequests: 5, Races: 2, Effectiveness: pointer(0.5),
		Wasted: report.Wasted{
			Total: 5, Seconds: 0.1, ByCause: map[string]uint64{"pool_miss": 5}, SecondsByCause: map[string]float64{"pool_miss": 0.1},
		},
		RequestsPerConn: report.Requests{Mean: 5, Max: 9, Histogram: report.RequestBuckets{One: 1, Few: 1}},
	}
}

// encryptedOnly is a report in which nothing was counted.
func encryptedOnly() *report.Report {
	s := report.Summary{Connections: 2, Estimated: estimated()}
	return &report.Report{Totals: s, Servers: []report.Server{{Name: "secret.example", Summary: s}}}
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
	for name, r := range map[string]*report.Report{"full": sample(), "encrypted": encryptedOnly(), "empty": {}} {
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
		r.Findings = append(r.Findings, findings.Finding{Servers: []findings.OnServer{{Server: "finding"}}})
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

// words are the texts of a page's elements that hold nothing but text.
func words(t *testing.T, body string) (list []string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(body))
	for z.Next() != html.ErrorToken {
		if token := z.Token(); token.Type == html.TextToken {
			if text := strings.TrimSpace(token.Data); text != "" {
				list = append(list, text)
			}
		}
	}
	return list
}

// TestEstimatesAreKeptApart looks for sums of counted and estimated figures, and
// for estimated ones without their label.
func TestEstimatesAreKeptApart(t *testing.T) {
	tests := []struct {
		name       string
		report     *report.Report
		want, none []string
	}{
		{
			name: "both", report: sample(),
			want: []string{
				"81.2\u00a0%", "923", "5000", "1234", "1\u00a0keep-alive\u00a0race", "~", "~50.0\u00a0%", "~5", "~10", "~2\u00a0keep-alive\u00a0races",
				"encrypted, estimated from the pattern of its records", "encrypted, estimated", "~pool_miss", "~5.0",
			},
			none: []string{"928", "5\u202f010", "4\u202f005", "28", "50.0\u00a0%", "10", "901"},
		},
		{
			name: "estimated only", report: encryptedOnly(),
			want: []string{"~50.0\u00a0%", "~10", "~5", "~pool_miss", "encrypted, estimated from the pattern of its records", "~2"},
			none: []string{"–", "10", "5", "pool_miss", "50.0\u00a0%"},
		},
		{
			name: "nothing estimated", report: &report.Report{Totals: report.Summary{Connections: 1, Requests: 1}},
			none: []string{"~", "~0"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, _ := get(t, Handler(func() *report.Report { return tt.report }))
			got := words(t, body)
			for _, want := range tt.want {
				if !slices.Contains(got, want) {
					t.Errorf("it lacks %q", want)
				}
			}
			for _, none := range tt.none {
				if slices.Contains(got, none) {
					t.Errorf("it has %q", none)
				}
			}
			if t.Failed() {
				t.Logf("%q", got)
			}
		})
	}
}

// TestFindingsSayWhatTheyAre tells that all is well from that nothing stands out,
// and both from advice.
func TestFindingsSayWhatTheyAre(t *testing.T) {
	total := report.Summary{Connections: 1, Requests: 1}
	tests := []struct {
		name    string
		finding []findings.Finding
		want    []string
	}{
		{"advice", []findings.Finding{{Severity: findings.Warning, Servers: []findings.OnServer{{Server: "a"}}}}, []string{"<h2>What to change</h2>", `<li class="warning">`}},
		{"estimated", []findings.Finding{{Severity: findings.Warning, Servers: []findings.OnServer{{Server: "a", Estimated: true}}}}, []string{`<b>~</b> <span class="severity">warning`}},
		{"nothing stands out", []findings.Finding{{Severity: findings.Info, Code: "nothing_stands_out"}}, []string{"<h2>In short</h2>", `<li class="info">`}},
		{"all is well", []findings.Finding{{Severity: findings.OK, Code: "all_is_well"}}, []string{"<h2>In short</h2>", `<li class="ok">`}},
		{"too little", nil, []string{report.TooLittle()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, _ := get(t, Handler(func() *report.Report { return &report.Report{Totals: total, Findings: tt.finding} }))
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("it lacks %s", want)
				}
			}
		})
	}
	for _, class := range []string{".critical", ".warning", ".info", ".ok"} {
		if !strings.Contains(styleText, ".findings "+class+" { border-color: var(--") {
			t.Errorf("%s has no colour of its own", class)
		}
	}
}

// TestSaysWhatWasMissed compares the page with the text report: one that is not
// told of bytes by the assembler knows them from its connections.
func TestSaysWhatWasMissed(t *testing.T) {
	r := &report.Report{
		Capture: report.Capture{CutShort: true, Dropped: report.Dropped{Kernel: 1}},
		Totals:  report.Summary{Connections: 9, MissingBytes: 1500, TruncatedBytes: 7, Evicted: 2, Midstream: 3, Incomplete: 4},
	}
	body, _ := get(t, Handler(func() *report.Report { return r }))
	got := strings.ReplaceAll(body, "\u00a0", " ")
	for _, want := range report.Missed(&r.Capture, &r.Totals) {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q", want)
		}
	}
}

// TestSaysHowNearPortsAre looks for the notes of the text report.
func TestSaysHowNearPortsAre(t *testing.T) {
	ports := &report.Ports{Peak: 14116, Range: 28232, Server: "10.0.0.1:80", TimeWait: report.TimeWait{Client: 1}}
	s := report.Summary{Connections: 1, Ports: ports}
	r := &report.Report{Totals: s, Servers: []report.Server{{Summary: s}}}
	body, _ := get(t, Handler(func() *report.Report { return r }))
	if want := "Ports: 50.0\u00a0% of 28\u00a0232 to 10.0.0.1:80 in 60\u00a0s"; !strings.Contains(body, want) {
		t.Errorf("it lacks %q", want)
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

// TestFigures: the figures are those of every view, and no line breaks in them.
func TestFigures(t *testing.T) {
	tests := []struct{ got, want string }{
		{count(1234567), "1\u00a0234\u00a0567"}, {seconds(75), "75.0\u00a0s"}, {percent(nil), "–"},
		{percent(pointer(0.99999)), ">\u00a099.9\u00a0%"}, {byteCount(1500), "1.5\u00a0kB"}, {plural(2, "race"), "2\u00a0races"},
		{width(0), "0"}, {width(0.0001), "0.8"}, {width(2), "100.0"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
