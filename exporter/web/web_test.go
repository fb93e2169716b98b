package web

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
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

// site serves a report.
func site(r *report.Report) *Site {
	return New(Source{
		Latest:    func() Latest { return Latest{Report: r} },
		Mergeable: func() (*report.Report, error) { return r, nil },
	})
}

func get(t *testing.T, h http.Handler) (string, http.Header) {
	t.Helper()
	return getAt(t, h, "/")
}

func getAt(t *testing.T, h http.Handler, path string) (string, http.Header) {
	t.Helper()
	w := ask(h, path)
	if w.Code != http.StatusOK {
		t.Fatal(path, w.Code, w.Body)
	}
	return w.Body.String(), w.Header()
}

func ask(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestPage(t *testing.T) {
	for name, r := range map[string]*report.Report{"full": sample(), "encrypted": encryptedOnly(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			body, _ := get(t, site(r))
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
	void := map[string]bool{"meta": true, "link": true, "br": true, "input": true, "path": true, "rect": true, "line": true, "circle": true}
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
				within := strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "//") || a.Val == "#content" || a.Val == "data:,"
				if a.Key == "src" || a.Key == "style" || strings.HasPrefix(a.Key, "on") ||
					(a.Key == "href" || a.Key == "action") && !within {
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
	body, header := get(t, site(sample()))
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

// TestServersByPage filters, sorts and leafs through many servers.
func TestServersByPage(t *testing.T) {
	r := &report.Report{Totals: report.Summary{Connections: 1}}
	for i := range 1000 {
		r.Servers = append(r.Servers, report.Server{
			Name: fmt.Sprintf("s%03d.example", i), Addresses: []string{fmt.Sprintf("10.0.%d.%d:80", i/250, i%250)},
			Summary: report.Summary{Requests: uint64(i), Wasted: report.Wasted{Total: uint64(i % 10), Seconds: float64(i % 10)}},
		})
	}
	s := site(r)
	name := regexp.MustCompile(`<th scope="row"><a href="/server/[^"]*">([^<]*)<`)
	for _, c := range []struct {
		query       string
		first, last string
		n           int
		says        string
	}{
		{"", "s999.example", "s509.example", 50, "1000\u00a0servers, 1 to 50"},
		{"?page=2", "s499.example", "s009.example", 50, "51 to 100"},
		{"?page=20", "s490.example", "s000.example", 50, "951 to 1000"},
		{"?page=21&x=y", "s490.example", "s000.example", 50, "951 to 1000"},
		{"?sort=server", "s000.example", "s049.example", 50, "1 to 50"},
		{"?sort=-server", "s999.example", "s950.example", 50, "1 to 50"},
		{"?sort=requests&page=2", "s949.example", "s900.example", 50, "51 to 100"},
		{"?sort=evil%22", "s999.example", "s509.example", 50, "1 to 50"},
		{"?filter=S99", "s999.example", "s990.example", 10, "10 of 1000\u00a0servers"},
		{"?filter=10.0.3.24+example", "s999.example", "s990.example", 11, "11 of"},
		{"?filter=%22%3E%3Cscript%3E", "", "", 0, "0 of 1000\u00a0servers"},
	} {
		body, _ := getAt(t, s, "/"+c.query)
		wellFormed(t, body)
		var got []string
		for _, m := range name.FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		if len(got) != c.n || c.n > 0 && (got[0] != c.first || got[c.n-1] != c.last) || !strings.Contains(body, c.says) {
			t.Errorf("%q: %d servers, %v", c.query, len(got), got)
		}
	}
}

// TestAddress: what makes no difference to an answer is no part of its address.
func TestAddress(t *testing.T) {
	for address, want := range map[string]string{
		"/":                                   "/",
		"/?a=b&page=1&window=2m&sort=x":       "/",
		"/?window=5m&filter=a+b&sort=-failed": "/?filter=a+b&sort=-failed&window=5m",
		"/?page=-1&page=7":                    "/",
		"/?filter=" + strings.Repeat("ä", 99): "/?filter=" + strings.Repeat("%C3%A4", 50),
		"/server/a%2Fb?page=3":                "/server/a%2Fb?page=3",
		"/?filter=%ff":                        "/",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := Address(u).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// TestServer looks at the pages of servers with all kinds of names.
func TestServer(t *testing.T) {
	r := sample()
	for _, name := range []string{"other", "a b → 10.0.0.1:80", "[::1]:8080", "data.json", "100%25", "a/../../b", "?x=1#y"} {
		r.Servers = append(r.Servers, report.Server{Name: name, Summary: report.Summary{Connections: 7}})
	}
	s := site(r)
	front, _ := get(t, s)
	for i := range r.Servers {
		name := r.Servers[i].Name
		path := serverPath(name)
		if !strings.Contains(front, `<a href="`+template.HTMLEscapeString(path)) {
			t.Errorf("no link to %s", path)
		}
		body, _ := getAt(t, s, path)
		wellFormed(t, body)
		if !strings.Contains(html.UnescapeString(body), "<h1>"+name+"</h1>") || strings.Contains(body, "<script>alert") {
			t.Errorf("%q has no page", name)
		}
		body, header := getAt(t, s, serverPath(name+".json"))
		var got struct {
			Server      struct{ Server string }
			Findings    []struct{ Servers []struct{ Server string } }
			Connections []any
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Server.Server != name || got.Connections == nil || header.Get("Content-Type") != "application/json" {
			t.Errorf("%q: %v, %s", name, err, body)
		}
		for _, f := range got.Findings {
			if len(f.Servers) != 1 || f.Servers[0].Server != name {
				t.Errorf("%q: a finding about %v", name, f.Servers)
			}
		}
	}
	for _, path := range []string{"/server/none", "/server/none.json", "/connection/0123456789abcdef", "/connection/x", "/connection/0123456789abcdef.json"} {
		if w := ask(s, path); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "<script>alert") {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestServerOfMetrics leads from a name as metrics have it to the page, or to those that
// it may be.
func TestServerOfMetrics(t *testing.T) {
	in, out := naming.Server{Name: "a", Direction: naming.Inbound}, naming.Server{Name: "a", Direction: naming.Outbound}
	s := site(&report.Report{Servers: []report.Server{
		{Name: "a (inbound)", Members: []naming.Server{in}}, {Name: "a (outbound)", Members: []naming.Server{out}},
		{Name: "b (inbound)", Members: []naming.Server{{Name: "b"}}},
	}})
	if w := ask(s, "/server/a"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/?filter=a" {
		t.Errorf("%d, to %s", w.Code, w.Header().Get("Location"))
	}
	if body, _ := getAt(t, s, "/server/b"); !strings.Contains(body, "<h1>b (inbound)</h1>") {
		t.Error("one that it can be is not shown")
	}
}

// shop is a capture of a client that throws connections away.
const shop = `
conn c1 10.0.0.1:40000 10.0.0.2:80
conn c2 10.0.0.1:40001 10.0.0.2:80
@0s    c1 handshake
@10ms  c1 > "GET /secret HTTP/1.1\r\nHost: shop.example\r\n\r\n"
@20ms  c1 < "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
@30ms  c1 > close
@1s    c2 handshake
@1010ms  c2 > "GET /secret HTTP/1.1\r\nHost: shop.example\r\n\r\n"
@1020ms  c2 < "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
@1030ms  c2 > close
`

// captured serves what a script says.
func captured(t *testing.T, script string) *Site {
	t.Helper()
	store, set := story.New(story.Config{Newest: true}), tally.New(tally.Config{})
	w := run.NewWorker(reassembly.Config{}, analyzer.Config{Traces: 8}, set.Worker(nil), store)
	w.Process(sniffertest.MustParse(script).Segments()...)
	w.Flush()
	return New(Source{Stories: story.Stores{store}, Latest: func() (l Latest) {
		set.Detail(func(sum *tally.Sum) {
			l.Report = report.Build(sum, report.Capture{Packets: 20}, false)
		})
		return l
	}})
}

// TestFromFigureToConnection follows links from the front page to a drawing.
func TestFromFigureToConnection(t *testing.T) {
	s := captured(t, shop)
	for _, path := range []string{"/", "/?window=5m", "/?window=1h"} {
		body, _ := getAt(t, s, path)
		wellFormed(t, body)
		if !strings.Contains(body, `<a href="`+strings.Replace(path, "/", "/server/shop.example", 1)) || !strings.Contains(body, "client_discard") {
			t.Errorf("%s: no link to the server, or no cause in %s", path, body)
		}
	}
	body, _ := getAt(t, s, "/server/shop.example?subject=client_discard")
	wellFormed(t, body)
	links := regexp.MustCompile(`/connection/[0-9a-f]{16}`).FindAllString(body, -1)
	if len(links) != 2 { // of the table, and of the client's
		t.Fatalf("%v in %s", links, body)
	}
	all, _ := getAt(t, s, "/server/shop.example")
	if n := strings.Count(all, `<tr id="c`); n != 2 {
		t.Errorf("%d connections", n)
	}
	told, header := getAt(t, s, links[0])
	wellFormed(t, told)
	for _, want := range []string{"<h1>shop.example: a handshake that was not needed: client_discard</h1>", "<svg ", "c1 could have carried its request", `<a href="/server/shop.example">`, "tcp.port in {40000, 40001}"} {
		if !strings.Contains(html.UnescapeString(told), want) {
			t.Errorf("the story lacks %s", want)
		}
	}
	if strings.Contains(told+all, "secret") {
		t.Error("a path is shown")
	}
	for _, m := range regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(told, -1) {
		if !strings.Contains(header.Get("Content-Security-Policy"), hashOf(m[1])) {
			t.Error("the policy does not allow a style of the page")
		}
	}
	body, _ = getAt(t, s, links[0]+".json")
	var got struct{ Stories []struct{ Connection string } }
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Stories) != 1 || "/connection/"+got.Stories[0].Connection != links[0] {
		t.Errorf("%v: %s", err, body)
	}
}

// TestFindingLeadsToConnections takes a finding's example for a link where it can be
// drawn, and else its server's connections.
func TestFindingLeadsToConnections(t *testing.T) {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "conn c%d 10.0.0.1:%d 10.0.0.2:80\n@%dms c%[1]d handshake\n", i, 30000+i, 100*i)
		fmt.Fprintf(&b, "@%dms c%d > \"GET / HTTP/1.1\\r\\nHost: shop.example\\r\\n\\r\\n\"\n", 100*i+10, i)
		fmt.Fprintf(&b, "@%dms c%d < \"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok\"\n@%dms c%[2]d > close\n", 100*i+20, i, 100*i+30)
	}
	s := captured(t, b.String())
	body, _ := getAt(t, s, "/")
	if !regexp.MustCompile(`<a href="/connection/[0-9a-f]{16}">a connection that shows it</a>`).MatchString(body) {
		t.Errorf("no link to an example: %s", body)
	}
	latest := s.src.Latest
	s.src.Latest = func() Latest {
		l := latest()
		for i := range l.Report.Findings {
			l.Report.Findings[i].Servers[0].Example = "0123456789abcdef"
		}
		return l
	}
	s.seen = nil
	body, _ = getAt(t, s, "/")
	if !strings.Contains(body, `<a href="/server/shop.example#connections">its connections, drawn</a>`) {
		t.Errorf("no link to the connections: %s", body)
	}
}

// TestReportJSON: the object of files can be read back.
func TestReportJSON(t *testing.T) {
	body, header := getAt(t, site(sample()), "/report.json")
	r, err := report.ReadJSON(strings.NewReader(body))
	if err != nil || len(r.Servers) != 3 || header.Get("Content-Type") != "application/json" {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestQuietFinding: a finding of a server that does well now says so.
func TestQuietFinding(t *testing.T) {
	server := func(name string, wasted uint64) report.Server {
		return report.Server{Name: name, Summary: report.Summary{Requests: wasted, Wasted: report.Wasted{Total: wasted}}}
	}
	r := func(b uint64) *report.Report {
		return &report.Report{
			Totals:   report.Summary{Connections: 9, Requests: 9},
			Servers:  []report.Server{server("a", 7), server("b", b)},
			Findings: []findings.Finding{{Code: "x", Severity: findings.Warning, Summary: "A.", Servers: []findings.OnServer{{Server: "a"}}}, {Code: "y", Severity: findings.Warning, Summary: "B.", Servers: []findings.OnServer{{Server: "b"}}}},
		}
	}
	var grown history.History
	for i := range history.Points + 1 {
		grown.Add(time.Now().Add(time.Duration(i-history.Points)*history.FiveMinutes.Step()), r(3))
	}
	s := New(Source{Latest: func() Latest { return Latest{Report: r(5), Grown: &grown} }})
	for path, want := range map[string]int{"/": 0, "/?window=5m": 1, "/?window=1h": 0} {
		if body, _ := getAt(t, s, path); strings.Count(body, "nothing was wasted or failed there") != want {
			t.Errorf("%s: not %d quiet findings", path, want)
		}
	}
	body, _ := getAt(t, s, "/server/b?window=5m")
	if !strings.Contains(body, `<span class="value">2</span><span class="name">wasted handshakes`) || !strings.Contains(body, "since ") {
		t.Errorf("not 2 wasted lately: %s", body)
	}
}

// TestEmpty says why there is nothing.
func TestEmpty(t *testing.T) {
	for want, c := range map[string]report.Capture{
		"No packet was seen yet.": {},
		"28\u202f381\u00a0packets seen, and no TCP connection among them that is analysed, by the filter tcp port 1.": {Packets: 28381, Filter: "tcp port 1"},
		"28\u202f381\u00a0packets seen, and no TCP connection among them on port 1, 2.":                               {Packets: 28381, Ports: []uint16{1, 2}},
	} {
		body, _ := get(t, site(&report.Report{Capture: c}))
		if !strings.Contains(strings.ReplaceAll(body, "\u202f", "\u00a0"), strings.ReplaceAll(want, "\u202f", "\u00a0")) {
			t.Errorf("it lacks %q", want)
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
			want: []string{"~50.0\u00a0%", "~10", "~5", "~pool_miss", "encrypted, estimated from the pattern of its records", "~2\u00a0keep-alive\u00a0races"},
			none: []string{"–", "10", "5", "pool_miss", "50.0\u00a0%"},
		},
		{
			name: "nothing estimated", report: &report.Report{Totals: report.Summary{Connections: 1, Requests: 1}},
			none: []string{"~", "~0"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, _ := get(t, site(tt.report))
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
		{"advice", []findings.Finding{{Severity: findings.Warning, Servers: []findings.OnServer{{Server: "a"}}}}, []string{"<h2>What to change</h2>", `<li class="warning"><details>`}},
		{"estimated", []findings.Finding{{Severity: findings.Warning, Servers: []findings.OnServer{{Server: "a", Estimated: true}}}}, []string{`<b>~</b> <span class="severity">warning`}},
		{"nothing stands out", []findings.Finding{{Severity: findings.Info, Code: "nothing_stands_out"}}, []string{"<h2>In short</h2>", `<li class="info">`}},
		{"all is well", []findings.Finding{{Severity: findings.OK, Code: "all_is_well"}}, []string{"<h2>In short</h2>", `<li class="ok">`}},
		{"too little", nil, []string{report.TooLittle()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, _ := get(t, site(&report.Report{Totals: total, Findings: tt.finding}))
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
	body, _ := get(t, site(r))
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
	body, _ := get(t, site(r))
	if want := "Ports: 50.0\u00a0% of 28\u00a0232 to 10.0.0.1:80 in 60\u00a0s"; !strings.Contains(body, want) {
		t.Errorf("it lacks %q", want)
	}
}

// TestOneReportForManyVisitors counts how often the report is made.
func TestOneReportForManyVisitors(t *testing.T) {
	var made atomic.Int32
	h := New(Source{Latest: func() Latest { made.Add(1); return Latest{Report: &report.Report{}} }})
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
