package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
)

// The documented line, byte for byte.
func TestConnectionLine(t *testing.T) {
	const want = `{"type":"connection","id":"00c0ffee00000001","community_id":"1:q7rbaIzg517zw97x0kya1QsO/lE=",
 "client":{"ip":"10.0.0.7","port":40112},"server":{"ip":"10.0.0.9","port":8080},"server_name":"shop.example:8080",
 "start":"2026-11-22T10:00:00.000000001Z","end":"2026-11-22T10:00:05.1Z",
 "handshake":"complete","handshake_seconds":0.00031,
 "tls":{"version":"1.3","sni":"shop.example","alpn":"h2","resumed":false,"handshake_seconds":0.0021},"decrypted":true,"software":{"client":"curl"},
 "protocol":"http/1.1","http_versions":["HTTP/1.1"],
 "requests":3,"responses":3,"reused_requests":2,"unsolicited_responses":0,"pipelined_requests":0,"estimated":false,
 "negotiated":{"keep_alive":2,"client_close":1},
 "advertised":{"timeout_seconds":5,"max":100},
 "reuse_idle_seconds":[0.51,1.02],"close_idle_seconds":0.0004,
 "closed_by":"client","closed_with":"fin","reason":"client_close",
 "verdict":"wasted","cause":"server_close","cost_seconds":0.0024,
 "race":false,"incomplete":false,"missing_bytes":0,
 "bytes":{"client":412,"server":9120},"packets":{"client":9,"server":8}}`
	c := sample()
	c.ID, c.Keys, c.Software = 0xc0ffee00000001, fact.KeysDecrypted, [2]software.ID{software.Curl}
	got := string(AppendConnection(nil, c))
	if diff := cmp.Diff(strings.ReplaceAll(want, "\n ", ""), got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// Everything that few connections have, byte for byte.
func TestRareFields(t *testing.T) {
	c := sample()
	c.TLS, c.ReuseIdle, c.HasAdvertisedTimeout, c.HasAdvertisedMax = nil, nil, false, false
	c.Protocol, c.Guessed, c.RequestsLost = fact.ProtocolH2, true, 4
	c.Tunnel = &fact.Tunnel{Target: "shop.example:443", Requests: 2, TLS: &fact.TLS{Version: 0x0303, Handshake: fact.Absent}}
	c.Streams = &fact.Streams{
		MaxConcurrent: 9, Limit: http.Unlimited, AtLimit: 2e9, Reset: [2]uint32{1, 2}, Refused: 3, Pushed: 4, Concurrent: 5,
		Pings: [2]uint32{6, 0}, GRPC: true, GRPCStatus: [http.NumGRPCStatuses]uint32{0: 7, 14: 1},
	}
	c.Streams.Goaway[fact.ByServer] = fact.Goaway{Seen: true, Code: http.EnhanceYourCalm, Last: 17, At: epoch + 3e9}
	c.Path = &fact.Path{Probes: [2]uint32{0, 8}, Interval: 15e9}
	c.CouldReuse = &fact.CouldReuse{ID: 0xabc, Port: 40000, Start: epoch, UsableUntil: fact.Absent}
	line := string(AppendConnection(nil, c))
	for _, want := range []string{
		`"guessed":true,"grpc":true,"requests":3,`, `"requests_lost":4,`,
		`"tunnel":{"target":"shop.example:443","requests":2,"tls":{"version":"1.2","resumed":false}},`,
		`"streams":{"max_concurrent":9,"at_limit_seconds":2,"reset_by_client":1,"reset_by_server":2,"refused":3,"pushed":4,"concurrent_requests":5},`,
		`"goaway":[{"by":"server","code":"ENHANCE_YOUR_CALM","last_stream":17,"age_seconds":3}],`,
		`"grpc_status":{"UNAVAILABLE":1},"pings":{"client":6,"server":0},"keepalive_probes":{"client":0,"server":8,"interval_seconds":15},`,
		`"could_reuse":{"id":"0000000000000abc","client_port":40000,"start":"2026-11-22T10:00:00.000000001Z"},`,
	} {
		if !strings.Contains(line, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	if !json.Valid([]byte(line)) || strings.Contains(line, `"decrypted"`) {
		t.Error(line)
	}
}

// The Community ID of the specification's example, from either side.
func TestCommunityID(t *testing.T) {
	a, b := address("128.232.110.120:34855"), address("66.35.250.204:80")
	for _, c := range []connection{{Client: a, Server: b}, {Client: b, Server: a}} {
		var v Value
		if communityID(&c, &v); string(v.Identity) != "1:LQU9qZlK+B5F3KDmev6m5PMibrg=" {
			t.Errorf("got %s", v.Identity)
		}
	}
}

func TestConnectionLineLeavesOut(t *testing.T) {
	c := &fact.Connection{
		Client: address("[fe80::1]:5"), Server: address("[2001:db8::2]:80"), Start: epoch, End: epoch,
		Handshake: fact.HandshakeMidstream, HandshakeTime: -1, CloseIdle: -1,
		ClosedBy: fact.ByEnd, Reason: fact.ReasonOpen,
	}
	var m map[string]any
	if err := json.Unmarshal(AppendConnection(nil, c), &m); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"tls", "advertised", "cause", "cost_seconds", "close_idle_seconds", "reuse_idle_seconds",
		"http_versions", "handshake_seconds", "server_name"} {
		if v, ok := m[field]; ok {
			t.Errorf("%s is %v, want it left out", field, v)
		}
	}
	if m["closed_with"] != "" || m["verdict"] != "none" {
		t.Errorf("closed_with %v, verdict %v", m["closed_with"], m["verdict"])
	}
}

func TestExchangeLine(t *testing.T) {
	x := exchangeOf(sample(), 1)
	x.Reuse, x.Idle = fact.ReusedRequest, 700_000
	const want = `{"type":"exchange","client":{"ip":"10.0.0.7","port":40112},"server":{"ip":"10.0.0.9","port":8080},` +
		`"server_name":"shop.example:8080","connection_start":"2026-11-22T10:00:00.000000001Z","index":2,"start":"2026-11-22T10:00:00.001000001Z","end":"2026-11-22T10:00:00.001300001Z",` +
		`"seconds":0.0003,"method":"GET","http_version":"HTTP/1.1","status":200,"outcome":"keep_alive","reused":true,"idle_before_seconds":0.0007}`
	if diff := cmp.Diff(want, string(AppendExchange(nil, x))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	x.End, x.Status, x.Reuse, x.Method, x.Version = 0, 0, fact.UnknownReuse, 200, 200
	if line := AppendExchange(nil, x); !json.Valid(line) || bytes.Contains(line, []byte(`"end"`)) {
		t.Errorf("line of an exchange without an end: %s", line)
	}
}

func TestLinesAreJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var c fact.Connection
	for range 500 {
		randomConnection(r, &c, 3)
		c.Protocol, c.Verdict, c.ClosedWith = fact.Protocol(r.IntN(256)), fact.Verdict(r.IntN(256)), fact.ClosedWith(r.IntN(256))
		c.Start, c.End = int64(r.Uint64()), int64(r.Uint64())
		if line := AppendConnection(nil, &c); !json.Valid(line) {
			t.Fatalf("not JSON: %s", line)
		}
	}
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "shop.example", "\"\\\x00\x1f\x7f", "\xff\xc3(", "caf\u00e9 \u2028 \u202e \u0085", "\U0001f600"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back != want {
			t.Fatalf("%q came back as %q", s, back)
		}
		for _, r := range string(b) {
			if r < 0x20 || r >= 0x7f && r < 0xa0 {
				t.Fatalf("%q holds a control character", b)
			}
		}
	})
}

func FuzzSeconds(f *testing.F) {
	for _, n := range []int64{0, 1, -1, 310_000, 1e9, 5_100_000_000, 1<<63 - 1, -1 << 63} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, ns int64) {
		b := appendSeconds(nil, ns)
		if !json.Valid(b) {
			t.Fatalf("%s", b)
		}
		if d, err := time.ParseDuration(string(b) + "s"); ns != -1<<63 && (err != nil || int64(d) != ns) {
			t.Fatalf("%d is %s, read back %d, %v", ns, b, d, err)
		}
	})
}

func TestEncoder(t *testing.T) {
	var out bytes.Buffer
	e := Encoder{W: &out}
	c := sample()
	e.Exchange(exchangeOf(c, 0))
	e.Connection(c)
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 || e.Err() != nil {
		t.Errorf("%d lines, %v; exchanges were not asked for", n, e.Err())
	}
	e.W = io.Discard
	if n := testing.AllocsPerRun(1000, func() { e.Connection(c) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
	e.W = failing{}
	e.Connection(c)
	e.W = io.Discard
	e.Connection(c)
	if !errors.Is(e.Err(), os.ErrClosed) {
		t.Errorf("error %v", e.Err())
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

// Lines come out in one order for any number of sorters, with and without
// runs on disk.
func TestSorter(t *testing.T) {
	sorted := func(workers, maxBytes int) string {
		dir := t.TempDir()
		all := make([]*Sorter, workers)
		for i := range all {
			all[i] = NewSorter(maxBytes, dir)
			defer all[i].Close()
		}
		r := rand.New(rand.NewPCG(7, 8))
		var c fact.Connection
		for range 2000 {
			randomConnection(r, &c, 3)
			c.Start = epoch + r.Int64N(300) // many starts are equal
			s := all[int(c.Client.Addr[15])%workers]
			s.Connection(&c)
			for i := range c.Requests {
				s.Exchange(exchangeOf(&c, i))
			}
		}
		var out bytes.Buffer
		if err := WriteSorted(&out, nil, all...); err != nil {
			t.Fatal(err)
		}
		if maxBytes > 0 && len(all[0].runs) < 5 {
			t.Errorf("%d runs, want the sorter to spill", len(all[0].runs))
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s is left behind", left[0].Name())
		}
		return out.String()
	}
	want := sorted(1, 0)
	last := ""
	for l := range strings.Lines(want) {
		var v struct{ Start time.Time }
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatal(err)
		}
		start := v.Start.Format("2006-01-02T15:04:05.000000000")
		if start < last {
			t.Fatalf("%s after %s", start, last)
		}
		last = start
	}
	for _, test := range []struct{ workers, maxBytes int }{{1, 50_000}, {2, 0}, {4, 20_000}} {
		if got := sorted(test.workers, test.maxBytes); got != want {
			t.Errorf("%+v: the output differs", test)
		}
	}
}

// TestAnswers: of the lines of a connection, of what replaced it, and of its request
// those are written that fit the answer, also from disk.
func TestAnswers(t *testing.T) {
	for _, maxBytes := range []int{0, 3000} {
		for _, tt := range []struct {
			answers Answers
			want    fact.Reason
		}{
			{nil, fact.ReasonServerAbort}, // as told
			{Answers{1: false}, fact.ReasonServerAbort},
			{Answers{1: true, 2: false}, fact.ReasonRace},
		} {
			s := NewSorter(maxBytes, t.TempDir())
			defer s.Close()
			c := sample()
			c.ID, c.Reason, c.Unheard = 1, fact.ReasonServerAbort, true
			s.Connection(c)
			x := exchangeOf(c, 2)
			x.Connection, x.Failure, x.Unheard = 1, fact.FailServerAbort, true
			s.Exchange(x)
			next := sample()
			next.ID, next.Start, next.Reason, next.Unheard = 2, c.Start+1, fact.ReasonServerAbort, true
			next.Verdict, next.Cause = fact.VerdictWasted, fact.Cause(fact.ReasonServerAbort)
			next.CouldReuse = &fact.CouldReuse{ID: 1, Reason: fact.ReasonServerAbort}
			s.Connection(next)
			if c.Reason != fact.ReasonServerAbort || next.CouldReuse.Reason != fact.ReasonServerAbort {
				t.Error("what was told has changed")
			}
			var out strings.Builder
			if err := WriteSorted(&out, tt.answers, s); err != nil {
				t.Fatal(err)
			}
			type line struct {
				ID, Reason, Cause, Failure string
				Race, Unsettled            bool
				Could                      struct{ Reason string } `json:"could_reuse"`
			}
			var got []line // by their starts
			for text := range strings.Lines(out.String()) {
				var l line
				if err := json.Unmarshal([]byte(text), &l); err != nil {
					t.Fatal(err)
				}
				got = append(got, l)
			}
			want := tt.want.String()
			lines := []line{
				{ID: "0000000000000001", Reason: want, Race: tt.want == fact.ReasonRace, Cause: got[0].Cause, Could: got[0].Could},
				{ID: "0000000000000002", Reason: "server_abort", Cause: want, Could: struct{ Reason string }{want}},
				{Failure: want},
			}
			if diff := cmp.Diff(lines, got); diff != "" {
				t.Errorf("%d bytes, %v (-want +got):\n%s", maxBytes, tt.answers, diff)
			}
		}
	}
}

func TestSorterLineLongerThanItsMemory(t *testing.T) {
	s := NewSorter(1000, t.TempDir())
	defer s.Close()
	long := strings.Repeat("x", 2*blockBytes) + "\n"
	for i, text := range []string{"b\n", long, "a\n"} {
		if err := s.Add(Key{Start: int64(2 - i)}, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := WriteSorted(&out, nil, s); err != nil {
		t.Fatal(err)
	}
	if out.String() != "a\n"+long+"b\n" {
		t.Errorf("%d bytes, in another order", out.Len())
	}
}

func TestSorterWithoutDirectory(t *testing.T) {
	s := NewSorter(1000, "/nonexistent")
	for range 10 {
		s.Connection(sample())
	}
	if err := WriteSorted(io.Discard, nil, s); err == nil {
		t.Error("no error where nothing can be spilled")
	}
}

func BenchmarkEncoder(b *testing.B) {
	e := Encoder{W: io.Discard}
	c := sample()
	b.ReportAllocs()
	for range b.N {
		e.Connection(c)
	}
}

func BenchmarkSorter(b *testing.B) {
	s := NewSorter(0, b.TempDir())
	defer s.Close()
	r := rand.New(rand.NewPCG(7, 8))
	c := sample()
	b.ReportAllocs()
	for range b.N {
		c.Start = epoch + r.Int64N(1e12)
		s.Connection(c)
	}
	if err := WriteSorted(io.Discard, nil, s); err != nil {
		b.Fatal(err)
	}
}
