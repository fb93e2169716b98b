package analyzer

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// last hears the last connection of a script.
type last struct {
	c         fact.Connection
	exchanges uint32
}

func (l *last) Exchange(*fact.Exchange)       { l.exchanges++ }
func (l *last) Connection(c *fact.Connection) { l.c = *c }

// A player is an Analyzer with an Assembler before it.
type player struct {
	*Analyzer
	assembler *reassembly.Assembler
}

func newPlayer(cfg Config, obs ...fact.Observer) player {
	a := New(cfg, obs...)
	return player{a, reassembly.New(reassembly.Config{}, a)}
}

func (p player) play(segments []sniffer.Segment) {
	for i := range segments {
		p.assembler.Process(&segments[i])
	}
}

func playScript(s *sniffertest.Script, cfg Config) (fact.Connection, player) {
	l, p := playAll(s, cfg)
	return l.c, p
}

func playAll(s *sniffertest.Script, cfg Config) (last, player) {
	var l last
	p := newPlayer(cfg, &l)
	p.play(s.Segments())
	p.assembler.Flush()
	return l, p
}

func TestMostOutstandingRequests(t *testing.T) {
	const request, response = "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"
	const n = http1.MaxOutstanding + 6
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:40000", "10.0.0.2:80", sniffertest.ConnConfig{})
	c.Handshake(0, time.Millisecond)
	c.Client(2*time.Millisecond, bytes.Repeat([]byte(request), n))
	c.Server(3*time.Millisecond, bytes.Repeat([]byte(response), n))
	l, _ := playAll(&s, Config{})
	got := l.c
	if l.exchanges != n {
		t.Errorf("%d exchanges told, want %d", l.exchanges, n)
	}
	if got.Requests != n || got.Responses != n || got.Unsolicited != 6 || !got.Incomplete {
		t.Errorf("%d requests, %d responses, %d of them unsolicited, incomplete %t", got.Requests, got.Responses, got.Unsolicited, got.Incomplete)
	}
	if got.Negotiated[fact.KeepAlive] != http1.MaxOutstanding || got.Negotiated[fact.Incomplete] != 6 {
		t.Errorf("negotiated %v", got.Negotiated)
	}
}

func TestMostQueuedRequests(t *testing.T) {
	const request = "GET / HTTP/1.1\r\n\r\n"
	var l last
	w := newPlayer(Config{}, &l)
	pipelined := bytes.Repeat([]byte(request), http1.MaxOutstanding)
	for i := range 300 {
		var s sniffertest.Script
		c := s.Conn(fmt.Sprintf("10.0.0.1:%d", 40000+i), "10.0.0.2:80", sniffertest.ConnConfig{})
		c.Handshake(0, time.Millisecond)
		c.Client(2*time.Millisecond, pipelined)
		w.play(s.Segments())
	}
	w.assembler.Flush()
	if l.c.Requests != http1.MaxOutstanding || l.c.Negotiated[fact.Incomplete] != http1.MaxOutstanding || !l.c.Incomplete {
		t.Errorf("%d requests, %v, incomplete %t", l.c.Requests, l.c.Negotiated, l.c.Incomplete)
	}
	if w.table.heads.Crowded == 0 {
		t.Error("the cap that was met is not counted")
	}
}

func TestMostReuseIdleTimes(t *testing.T) {
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:40000", "10.0.0.2:80", sniffertest.ConnConfig{})
	c.Handshake(0, time.Millisecond)
	for i := range 8 {
		at := time.Duration(i+1) * time.Second
		c.Client(at, []byte("GET / HTTP/1.1\r\n\r\n"))
		c.Server(at, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	}
	got, _ := playScript(&s, Config{MaxReuseIdle: 3})
	if len(got.ReuseIdle) != 3 || got.MoreReuseIdle != 4 {
		t.Errorf("%d idle times and %d more of 7", len(got.ReuseIdle), got.MoreReuseIdle)
	}
}

func TestMostEstimatedIdleTimes(t *testing.T) {
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:40000", "10.0.0.2:443", sniffertest.ConnConfig{})
	record := []byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)) // application data (RFC 8446 §5.1)
	const reuses = minEstimatedIdle + 5
	for i := range reuses + 1 {
		at := time.Duration(i+1) * time.Second
		c.Client(at, record)
		c.Server(at, record)
	}
	got, _ := playScript(&s, Config{})
	if !got.Estimated || len(got.ReuseIdle) != minEstimatedIdle || got.MoreReuseIdle != 5 {
		t.Errorf("estimated %t: %d idle times and %d more of %d", got.Estimated, len(got.ReuseIdle), got.MoreReuseIdle, reuses)
	}
}

func TestMostHeaderBytes(t *testing.T) {
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:40000", "10.0.0.2:80", sniffertest.ConnConfig{})
	c.Handshake(0, time.Millisecond)
	c.Client(time.Second, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	c.Server(time.Second, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	c.Client(2*time.Second, []byte("GET / HTTP/1.1\r\nHost: "+strings.Repeat("a", 60000)))
	c.Client(2*time.Second, []byte(strings.Repeat("a", 60000)+"\r\n\r\n"))
	c.Client(3*time.Second, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	c.Server(3*time.Second, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	got, w := playScript(&s, Config{MaxHeaderBytes: 10000})
	if got.Requests != 2 || got.Responses != 2 || !got.Incomplete {
		t.Errorf("%d requests, %d responses, incomplete %t", got.Requests, got.Responses, got.Incomplete)
	}
	if full := w.table.heads.Full; full != 1 {
		t.Errorf("the pool was full %d times", full)
	}
}

func TestMostNames(t *testing.T) {
	names := names{known: map[string]*string{}}
	kept := names.intern([]byte("kept.example"))
	for i := range 3 * maxNames {
		names.intern(fmt.Appendf(nil, "%d.example", i))
	}
	if len(names.known) > maxNames || *kept != "kept.example" {
		t.Errorf("%d names, kept %q", len(names.known), *kept)
	}
	if got := *names.intern([]byte("A.Example:80/<script>\x1b" + strings.Repeat("x", 1000))); len(got) > maxName || !strings.HasPrefix(got, "a.example:80%2F%3Cscript%3E%1Bxxx") {
		t.Errorf("name %q", got)
	}
}

// TestHostNamesTellNothingElse has host names that came with other parts of a
// URI.
func TestHostNamesTellNothingElse(t *testing.T) {
	names := names{known: map[string]*string{}}
	for from, want := range map[string]string{
		"Shop.example:8080":                   "shop.example:8080",
		"[2001:db8::1]:80":                    "[2001:db8::1]:80",
		"user:hunter2@shop.example/reset?t=1": "shop.example",
		"user:hunter2@shop.example":           "shop.example",
		"u:p@ss@shop.example":                 "shop.example",
		"shop.example/reset":                  "shop.example",
		"shop.example?token=s3cr3t":           "shop.example",
		"shop.example#me@home":                "shop.example",
		`shop.example\reset`:                  "shop.example",
		strings.Repeat("p", 300) + "@a":       "a",
		"/reset":                              "",
		"h11\r\n Cookie: secret":              "h11",
		"h5;secret=1":                         "h5",
		"h6 secretword":                       "h6",
		"h8%2Fsecret":                         "h8",
		"h10:80:secret":                       "h10:80",
		"h10:secret":                          "h10",
		"h12&secret=1":                        "h12",
		"my_shop.example":                     "my_shop.example",
		"例え.jp:80":                            "%E4%BE%8B%E3%81%88.jp:80",
		"異な.jp:80":                            "%E7%95%B0%E3%81%AA.jp:80",
		"[2001:db8::1]secret":                 "[2001:db8::1]",
		"[secret]":                            "[",
		"hunter2@":                            "",
		"":                                    "",
	} {
		if got := *names.host([]byte(from)); got != want {
			t.Errorf("%q is shown as %q, want %q", from, got, want)
		}
	}
}

// TestNamesForgottenJoinNothing has names forgotten for their number while a connection is
// open that goes on with its own: its client is none that pools by address.
func TestNamesForgottenJoinNothing(t *testing.T) {
	var s sniffertest.Script
	exchange := func(c *sniffertest.Conn, at time.Duration, host string) {
		c.Client(at, []byte("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"))
		c.Server(at+time.Millisecond, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	}
	first := s.Conn("10.0.0.1:40000", "10.0.0.2:80", sniffertest.ConnConfig{})
	first.Handshake(0, time.Millisecond)
	exchange(first, 2*time.Millisecond, "a.example")
	others := s.Conn("10.0.0.3:40000", "10.0.0.2:80", sniffertest.ConnConfig{})
	others.Handshake(4*time.Millisecond, time.Millisecond)
	for i := range maxNames {
		exchange(others, 10*time.Millisecond, fmt.Sprintf("%d.example", i))
	}
	exchange(first, 20*time.Millisecond, "A.example")
	second := s.Conn("10.0.0.1:40001", "10.0.0.2:80", sniffertest.ConnConfig{})
	second.Handshake(30*time.Millisecond, time.Millisecond)
	exchange(second, 40*time.Millisecond, "b.example")
	verdicts := map[uint16]fact.Verdict{}
	p := newPlayer(Config{}, toldVerdicts(verdicts))
	p.play(s.Segments())
	p.assembler.Flush()
	if p.names.emptied == 0 {
		t.Error("no names were forgotten")
	}
	if got := verdicts[40001]; got != fact.VerdictNeeded {
		t.Errorf("a connection of another name is %v", got)
	}
}

// toldVerdicts has the verdicts on connections by their clients' ports.
type toldVerdicts map[uint16]fact.Verdict

func (v toldVerdicts) Connection(c *fact.Connection) { v[c.Client.Port] = c.Verdict }

// TestSparePartsGoBack has requests under way on more connections than parts are kept for,
// again and again.
func TestSparePartsGoBack(t *testing.T) {
	const n = 3 * maxSpares
	requests := []byte(strings.Repeat("GET / HTTP/1.1\r\n\r\n", 17))
	p := newPlayer(Config{}, toldVerdicts{})
	for round := range 10 {
		var s sniffertest.Script
		for i := range n {
			at := time.Duration(round) * time.Second
			c := s.Conn(fmt.Sprintf("10.0.%d.1:%d", round, 1024+i), "10.0.0.2:80", sniffertest.ConnConfig{})
			c.Handshake(at, time.Millisecond)
			c.Client(at+2*time.Millisecond, requests)
		}
		p.play(s.Segments())
		if p.table.used != n {
			t.Errorf("%d parts are in use", p.table.used)
		}
		p.assembler.Flush()
		if got := len(p.table.actives); got > maxSpares || p.table.used != 0 {
			t.Errorf("%d parts are kept, %d in use", got, p.table.used)
		}
	}
	if n := p.table.heads.Crowded; n > 0 {
		t.Errorf("%d requests found no room that others had given back", n)
	}
}
