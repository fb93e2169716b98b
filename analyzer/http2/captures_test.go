package http2

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
)

// shared returns the path of what is shared of a kind, or skips.
func shared(t *testing.T, kind string) string {
	t.Helper()
	dir := os.Getenv("KEEPSCOPE_" + strings.ToUpper(kind))
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", kind)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no %s to compare with: set KEEPSCOPE_%s", kind, strings.ToUpper(kind))
	}
	return dir
}

// replay hands the segments of a capture to a handler, with the time of each in clock.
func replay(t *testing.T, path string, h reassembly.Handler, clock *int64) {
	t.Helper()
	f, err := capfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var (
		d sniffer.Decoder
		b sniffer.Batch
		s sniffer.Segment
		a = reassembly.New(reassembly.Config{}, h)
	)
	for {
		err := f.Read(&b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Frames {
			if d.Decode(&b.Frames[i], &s) {
				*clock = s.Time
				a.Process(&s)
			}
		}
	}
	a.Flush()
}

// A tally is what is told of one connection.
type tally struct {
	counter
	conn      *Conn
	requests  map[http.Stream]bool
	responses int
	resets    [2]int
	goaways   []string
	grpc      bool
	limit     uint32
}

func (k *tally) Request(s http.Stream, h *http.Head, _ int64) {
	k.requests[s] = true
	k.grpc = k.grpc || h.GRPC
}
func (k *tally) Response(_ http.Stream, h *http.Head, _ int64) {
	if !h.Interim() {
		k.responses++
	}
}
func (k *tally) Reset(_ http.Stream, from http.Side, _ http.Code, _ int64) { k.resets[from]++ }
func (k *tally) Settings(from http.Side, n uint32, _ int64) {
	if from == http.Server && n != http.Unlimited {
		k.limit = n
	}
}
func (k *tally) Goaway(from http.Side, _ http.Stream, code http.Code, _ int64) {
	k.goaways = append(k.goaways, from.String()+" "+code.String())
}

// A tracker reads every connection that begins like HTTP/2, by its client's first bytes, or, where
// its SYN was not captured, by a segment.
type tracker struct {
	clock int64
	pool  Pool
	open  map[*reassembly.Conn]*tally
	done  map[string]*tally
}

func (r *tracker) Open(*reassembly.Conn) {}

func (r *tracker) Data(c *reassembly.Conn, dir reassembly.Dir, b []byte) {
	k := r.open[c]
	if k == nil {
		if strings.HasPrefix(string(b), "HTTP/1.1 ") || strings.HasPrefix(string(b), "GET ") && !strings.Contains(string(b), "Upgrade: h2c") {
			return // it is HTTP/1
		}
		k = &tally{requests: map[http.Stream]bool{}}
		r.open[c] = k
		k.conn = new(Conn)
		start := Prior
		switch {
		case !c.SYNSeen():
			start = Midstream
		case strings.HasPrefix(string(b), "GET "):
			start = Upgraded
		}
		k.conn.Reset(&r.pool, k, start)
		if start == Upgraded {
			k.requests[1] = true
			return
		}
	}
	if strings.HasPrefix(string(b), "HTTP/1.1 101 ") {
		i := strings.Index(string(b), "\r\n\r\n")
		b = b[i+4:]
	}
	k.conn.Data(http.Side(dir), b, r.clock)
}

func (r *tracker) Gap(c *reassembly.Conn, dir reassembly.Dir, n int64, _ reassembly.GapKind) {
	if k := r.open[c]; k != nil {
		k.conn.Gap(http.Side(dir), n, r.clock)
	}
}

func (r *tracker) End(c *reassembly.Conn, dir reassembly.Dir, e reassembly.End) {
	k := r.open[c]
	if k == nil {
		return
	}
	k.conn.Close(http.Side(dir), r.clock)
	if e < reassembly.EndClosed {
		return
	}
	k.conn.Close(http.Server, r.clock)
	k.conn.Release()
	delete(r.open, c)
	name := func(d reassembly.Dir) string {
		s := c.Endpoint[d].String()
		return s[strings.LastIndex(s, ":")+1:]
	}
	r.done[name(reassembly.Client)+"-"+name(reassembly.Server)] = k
}

// TestCaptures reads captures of real clients and servers, and compares with their truth.
func TestCaptures(t *testing.T) {
	dir := shared(t, "protocols")
	for _, pattern := range []string{"h2c_*.json", "grpc_*.json"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) { compareCapture(t, file) })
		}
	}
}

func compareCapture(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var truth struct {
		File  string
		Conns map[string]map[string]any
	}
	if err := json.Unmarshal(text, &truth); err != nil {
		t.Fatal(err)
	}
	r := tracker{open: map[*reassembly.Conn]*tally{}, done: map[string]*tally{}}
	replay(t, filepath.Join(filepath.Dir(file), truth.File), &r, &r.clock)
	for name, want := range truth.Conns {
		if want["protocol"] != "h2" {
			continue
		}
		k := r.done[name]
		if k == nil {
			t.Errorf("%s: not found", name)
			continue
		}
		got := map[string]any{
			"requests": len(k.requests), "responses": k.responses, "grpc": k.grpc, "limit": k.limit,
			"reset_by_client": k.resets[0], "reset_by_server": k.resets[1],
		}
		t.Logf("%s: %v, goaways %v, lost %d", name, got, k.goaways, k.lost)
		for field, value := range got {
			if w, ok := want[field]; ok && !holds(w, value) {
				t.Errorf("%s: %s is %v, want %v", name, field, value, w)
			}
		}
		if w, ok := want["goaway"].([]any); ok {
			g := w[len(w)-1].(map[string]any)
			last := g["by"].(string) + " " + g["code"].(string)
			if len(k.goaways) == 0 || k.goaways[len(k.goaways)-1] != last {
				t.Errorf("%s: goaways %v, want %s", name, k.goaways, last)
			}
		}
		if !strings.Contains(name, "loss") && want["incomplete"] == nil && !strings.Contains(file, "snaplen") && k.lost != 0 {
			t.Errorf("%s: lost %d", name, k.lost)
		}
	}
	if r.pool.Stats != (Stats{}) {
		t.Errorf("caps met: %+v", r.pool.Stats)
	}
	checkReleased(t, &r.pool)
}

// TestPublicCaptures compares how many streams have HEADERS in captures of others' software.
func TestPublicCaptures(t *testing.T) {
	dir := shared(t, "captures")
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Captures []struct {
			File  string
			Truth []struct {
				Client, Server string
				HTTP           struct {
					HTTP2 struct {
						Streams int  `json:"streams_with_headers"`
						InTLS   bool `json:"in_tls"`
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, capture := range m.Captures {
		for _, tr := range capture.Truth {
			want := tr.HTTP.HTTP2.Streams
			if want == 0 || tr.HTTP.HTTP2.InTLS {
				continue
			}
			compared++
			r := tracker{open: map[*reassembly.Conn]*tally{}, done: map[string]*tally{}}
			replay(t, filepath.Join(dir, capture.File), &r, &r.clock)
			port := func(s string) string { return s[strings.LastIndex(s, ":")+1:] }
			k := r.done[port(tr.Client)+"-"+port(tr.Server)]
			if k == nil {
				t.Fatalf("%s: %s not found", capture.File, tr.Client)
			}
			t.Logf("%s %s: requests %d, responses %d, lost %d", capture.File, tr.Client, len(k.requests), k.responses, k.lost)
			if len(k.requests) != want || k.lost != 0 {
				t.Errorf("%s %s: %d requests, lost %d; want %d", capture.File, tr.Client, len(k.requests), k.lost, want)
			}
		}
	}
	if compared == 0 {
		t.Error("nothing to compare with")
	}
}

// holds reports whether a value is what a truth wants: a value, {"any": …} or {"min", "max"}.
func holds(want, got any) bool {
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	m, ok := want.(map[string]any)
	if !ok {
		return text(want) == text(got)
	}
	if anyOf, ok := m["any"].([]any); ok {
		for _, w := range anyOf {
			if text(w) == text(got) {
				return true
			}
		}
		return false
	}
	n := float64(got.(int))
	if low, ok := m["min"].(float64); ok && n < low {
		return false
	}
	high, ok := m["max"].(float64)
	return !ok || n <= high
}

// A watcher asks Recognise of every segment of connections.
type watcher struct {
	clock    int64
	segments int
	yes      map[string]int // by the connection's endpoints
}

func (w *watcher) Open(*reassembly.Conn)                                           {}
func (w *watcher) Gap(*reassembly.Conn, reassembly.Dir, int64, reassembly.GapKind) {}
func (w *watcher) End(*reassembly.Conn, reassembly.Dir, reassembly.End)            {}
func (w *watcher) Data(c *reassembly.Conn, _ reassembly.Dir, b []byte) {
	w.segments++
	if Recognise(b) {
		w.yes[c.Endpoint[0].String()+" "+c.Endpoint[1].String()]++
	}
}

// TestRecogniseCaptures asks Recognise of every segment of real traffic: only captures that hold
// HTTP/2 in clear have any.
func TestRecogniseCaptures(t *testing.T) {
	inClear := map[string]bool{}
	for _, name := range strings.Fields(clearHTTP2) {
		inClear[name] = true
	}
	segments := 0
	for _, kind := range []string{"captures", "cases", "protocols"} {
		dir := shared(t, kind)
		files, err := filepath.Glob(filepath.Join(dir, "*.*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			if !strings.Contains(name, ".pcap") && !strings.Contains(name, ".dmp") {
				continue
			}
			w := watcher{yes: map[string]int{}}
			replay(t, file, &w, &w.clock)
			segments += w.segments
			is := kind == "protocols" && (strings.HasPrefix(name, "h2c_") || strings.HasPrefix(name, "grpc_")) || inClear[name]
			if name == "h2c_one_byte_segments.pcap" {
				is = false
			}
			if d := cmp.Diff(is, len(w.yes) > 0); d != "" {
				t.Errorf("%s/%s: HTTP/2 in clear (-is +recognised):\n%s%v", kind, name, d, w.yes)
			}
		}
	}
	t.Logf("%d segments", segments)
}

// clearHTTP2 names the captures that hold HTTP/2 in clear.
const clearHTTP2 = `
	suricata-verify__dns_over_https_POST.pcap suricata-verify__http2-continuation.pcap
	suricata-verify__http2-deflate-case.pcap suricata-verify__http2-keywords.pcap
	suricata-verify__http2_deflate.pcap wireshark__grpc_web.pcapng.gz
	grpc_channel_per_call.pcap.gz grpc_one_busy_of_three.pcap.gz grpc_too_many_pings.pcap.gz
	h2_goaway_after_five.pcap.gz h2_stream_limit.pcap.gz h2c_and_websocket.pcap.gz
`
