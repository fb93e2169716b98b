package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// A step of a conversation with a parser: a segment, or a gap.
type step struct {
	in   string
	gap  int64
	want string // events, comma-separated; of a gap: ended, lost, both, or nothing
}

func TestGapAndResync(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	const next = "HTTP/1.1 204 x\r\n\r\n"
	for _, c := range []struct {
		name  string
		kind  Kind
		mid   bool
		steps []step
	}{
		{"gap of nothing", rs, false, []step{{in: head, want: "200 1.1 length=10"}, {gap: 0}, {gap: -1}, {in: "0123456789", want: "end"}}},
		{"gap inside a body", rs, false, []step{{in: head + "01", want: "200 1.1 length=10"}, {gap: 5}, {in: "789" + next, want: "end,204 1.1 none,end"}}},
		{"gap to the end of a body", rs, false, []step{{in: head + "01", want: "200 1.1 length=10"}, {gap: 8, want: "ended"}, {in: next, want: "204 1.1 none,end"}}},
		{"gap beyond a body", rs, false, []step{{in: head + "01", want: "200 1.1 length=10"}, {gap: 9, want: "both"}, {in: "xyz"}, {in: next, want: "204 1.1 none,end"}}},
		{"gap of a whole body", rs, false, []step{{in: head, want: "200 1.1 length=10"}, {gap: 10, want: "ended"}}},
		{"gap between messages", rs, false, []step{{in: next, want: "204 1.1 none,end"}, {gap: 1, want: "lost"}, {gap: 1}, {in: next, want: "204 1.1 none,end"}}},
		{"gap in a head", rs, false, []step{{in: head[:20]}, {gap: 1, want: "lost"}, {in: head[21:]}, {in: next, want: "204 1.1 none,end"}}},
		{"gap until close", rs, false, []step{{in: "HTTP/1.1 200 x\r\n\r\n", want: "200 1.1 close"}, {gap: 1 << 40}, {in: next}}},
		{"gap in a tunnel", rs, false, []step{{in: "HTTP/1.1 101 x\r\n\r\n", want: "101 1.1 tunnel"}, {gap: 9}, {in: next}}},
		{"gap inside a chunk", rs, false, []step{{in: chunkedHead + "5\r\n0", want: "200 1.1 chunked"}, {gap: 3}, {in: "4\r\n0\r\n\r\n", want: "end"}}},
		{"gap to the end of a chunk", rs, false, []step{{in: chunkedHead + "5\r\n0", want: "200 1.1 chunked"}, {gap: 4}, {in: "\r\n0\r\n\r\n", want: "end"}}},
		{"gap to a chunk's LF", rs, false, []step{{in: chunkedHead + "5\r\n0", want: "200 1.1 chunked"}, {gap: 5}, {in: "\n0\r\n\r\n", want: "end"}}},
		{"gap over a chunk's CRLF", rs, false, []step{{in: chunkedHead + "5\r\n0", want: "200 1.1 chunked"}, {gap: 6}, {in: "0\r\n\r\n", want: "end"}}},
		{"gap of a chunk's CRLF", rs, false, []step{{in: chunkedHead + "1\r\n0", want: "200 1.1 chunked"}, {gap: 2}, {in: "0\r\n\r\n", want: "end"}}},
		{"gap of a chunk's LF", rs, false, []step{{in: chunkedHead + "1\r\n0\r", want: "200 1.1 chunked"}, {gap: 1}, {in: "0\r\n\r\n", want: "end"}}},
		{"gap into a size line", rs, false, []step{{in: chunkedHead + "5\r\n0", want: "200 1.1 chunked"}, {gap: 7, want: "lost"}, {in: "\r\n\r\n"}, {in: next, want: "204 1.1 none,end"}}},
		{"gap in a size line", rs, false, []step{{in: chunkedHead + "5", want: "200 1.1 chunked"}, {gap: 1, want: "lost"}}},
		{"gap in trailers", rs, false, []step{{in: chunkedHead + "0\r\n", want: "200 1.1 chunked"}, {gap: 1, want: "lost"}}},
		{"gap in the greatest chunk", rs, false, []step{{in: chunkedHead + "ffffffffffffffff\r\n", want: "200 1.1 chunked"}, {gap: 1 << 62}, {in: "x"}}},
		{"gap wrongly landed on", rs, false, []step{{in: chunkedHead + "5\r\n0", want: "200 1.1 chunked"}, {gap: 6}, {in: "x", want: "lost"}}},
		{"garbage, then a message in the same segment", rq, false, []step{{in: "\x00GET / HTTP/1.1\r\n\r\n", want: "lost"}, {in: "GET / HTTP/1.1\r\n\r\n", want: "GET 1.1 none,end"}}},
		{"midstream, at a message", rq, true, []step{{in: "GET / HTTP/1.1\r\n\r\n", want: "GET 1.1 none,end"}}},
		{"midstream, in a body", rq, true, []step{{in: "some body"}, {in: "GET the milk\n"}, {in: "\r\n"}, {in: "get / HTTP/1.1\r\n\r\n"}, {in: "FOO / HTTP/1.1\r\n\r\n", want: "OTHER 1.1 none,end"}}},
		{"midstream, known method without line end", rq, true, []step{{in: "FOO /"}, {in: "POST /"}, {in: " HTTP/1.1\r\n\r\n", want: "POST 1.1 none,end"}}},
		{"midstream, 0.9 is no beginning", rq, true, []step{{in: "GET /\r\n"}, {in: "GET / HTTP/1.0\r\n\r\n", want: "GET 1.0 none,end"}}},
		{"midstream, token alone", rq, true, []step{{in: "GET"}, {in: " / HTTP/1.0\r\n\r\n"}}},
		{"midstream preface", rq, true, []step{{in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", want: "preface"}}},
		{"midstream response", rs, true, []step{{in: "HTTP/1.1 20"}, {in: "HTTP/1.1 2x0 OK\r\n"}, {in: "HTTP/2.0 200 OK\r\n\r\n"}, {in: "HTTP/1.0 204 x\r\n\r\n", want: "204 1.0 none,end"}}},
		{"gap while midstream", rs, true, []step{{gap: 3}, {in: next, want: "204 1.1 none,end"}}},
		{"lost again", rs, true, []step{{in: "HTTP/1.1 2000\r\n", want: "lost"}, {in: next, want: "204 1.1 none,end"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Parser{}
			p.Reset(c.kind, c.mid)
			for i, s := range c.steps {
				var got string
				if s.in == "" {
					ended, isLost := p.Gap(s.gap)
					got = map[[2]bool]string{{true, false}: "ended", {false, true}: "lost", {true, true}: "both"}[[2]bool{ended, isLost}]
				} else {
					got = strings.Join(feed(p, askedGET, []byte(s.in)), ",")
				}
				if got != s.want {
					t.Fatalf("step %d %.40q: %q, want %q", i, s.in, got, s.want)
				}
			}
		})
	}
}

// TestCut holds what is told of a head that a snaplen cut.
func TestCut(t *testing.T) {
	const next = "GET / HTTP/1.1\r\nHost: b\r\n\r\n"
	for _, c := range []struct {
		name string
		kind Kind
		in   string
		want string // "" is no head
	}{
		{"in a field", rq, "GET /a HTTP/1.1\r\nUser-Agent: go\r\nHost: a\r\nAccep", "GET 1.1 unframed host=a agent=go partial"},
		{"in the host", rq, "GET /a HTTP/1.1\r\nHost: exam", "GET 1.1 unframed partial"},
		{"after the start line", rq, "POST /a HTTP/1.0\r\n", "POST 1.0 unframed partial"},
		{"in the target", rq, "GET /abc", "GET ? unframed partial"},
		{"in the target of an unknown method", rq, "MKCOL /abc", ""},
		{"in the method", rq, "GE", ""},
		{"in the method's blank", rq, "DELETE ", "DELETE ? unframed partial"},
		{"of a response", rs, "HTTP/1.1 200 OK\r\nServer: nginx\r\nConnection: close\r\nContent-Length: 1", "200 1.1 unframed close server=nginx partial"},
		{"in the reason", rs, "HTTP/1.0 404 No", "404 1.0 unframed partial"},
		{"in the status", rs, "HTTP/1.1 20", ""},
		{"of a proxy's response", rs, "HTTP/1.1 200 OK\r\nProxy-Connection: close\r\nX", "200 1.1 unframed close partial"},
		{"nothing", rq, "", ""},
		{"blank lines", rq, "\r\n", ""},
		{"in a body", rq, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na", ""},
		{"whole", rq, next, ""},
		{"lost", rq, "\x00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Parser{Pool: new(Pool)}
			p.Reset(c.kind, false)
			p.Identify()
			feed(p, askedGET, []byte(c.in))
			before := *p
			var m Message
			got := ""
			if p.Cut(&m) {
				got = m.text()
			} else if *p != before {
				t.Errorf("without a head the parser changed from %+v to %+v", before, *p)
			}
			if got != c.want {
				t.Fatalf("%q, want %q", got, c.want)
			}
			if got == "" {
				return
			}
			if p.Cut(&m) {
				t.Error("cut twice")
			}
			if ended, isLost := p.Gap(99); ended || isLost || !p.IsLost() {
				t.Errorf("gap: ended %v, lost %v, IsLost %v", ended, isLost, p.IsLost())
			}
			if got := feed(p, askedGET, []byte(next)); c.kind == rq && len(got) != 2 {
				t.Errorf("afterwards: %q", got)
			}
		})
	}
}

// A gap before the End of a message without body was asked for.
func TestGapAtEnd(t *testing.T) {
	var p Parser
	var m Message
	if _, ev := p.Next([]byte("GET / HTTP/1.1\r\n\r\n"), &m); ev != Head {
		t.Fatal(ev)
	}
	if ended, isLost := p.Gap(1); !ended || !isLost {
		t.Errorf("ended %v, lost %v, want both", ended, isLost)
	}
}

func TestState(t *testing.T) {
	type said struct {
		InMessage, Idle, Lost, Tunneling bool
		Remaining                        uint64
		Known                            bool
	}
	const length = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
	for _, c := range []struct {
		name, in string
		want     said
	}{
		{"nothing", "", said{Idle: true}},
		{"blank lines", "\r\n\r\n\r", said{Idle: true}},
		{"one byte", "G", said{InMessage: true}},
		{"head", "GET / HTTP/1.1\r\n", said{InMessage: true}},
		{"body", length, said{InMessage: true, Remaining: 3, Known: true}},
		{"in a body", length + "a", said{InMessage: true, Remaining: 2, Known: true}},
		{"after a body", length + "abc", said{Idle: true}},
		{"after a body and a blank line", length + "abc\r\n", said{Idle: true}},
		{"chunk", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", said{InMessage: true}},
		{"garbage", "\x00", said{Lost: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Parser{}
			feed(p, askedGET, []byte(c.in))
			got := said{InMessage: p.InMessage(), Idle: p.Idle(), Lost: p.IsLost(), Tunneling: p.Tunneling()}
			got.Remaining, got.Known = p.InBody()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTunnelFrom(t *testing.T) {
	p := &Parser{}
	feed(p, askedGET, []byte("CONNECT a:1 HTTP/1.1\r\n\r\nGE"))
	p.TunnelFrom()
	if got := feed(p, askedGET, []byte("\x16\x03\x01")); got != nil || !p.Tunneling() || p.InMessage() || p.Finish() != NeedMore {
		t.Errorf("events %v, tunneling %v", got, p.Tunneling())
	}
}

// TestPreface holds that the first line of the preface is consumed, and no more.
func TestPreface(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for cut := range 16 {
		var p Parser
		var m Message
		if _, ev := p.Next([]byte(preface[:cut]), &m); ev != NeedMore {
			t.Fatalf("cut at %d: %v", cut, ev)
		}
		n, ev := p.Next([]byte(preface[cut:]), &m)
		if ev != Lost || !p.Preface() || cut+n != 16 {
			t.Errorf("cut at %d: event %v after %d bytes, preface %v", cut, ev, cut+n, p.Preface())
		}
		p.Reset(Request, false)
		if p.Preface() {
			t.Error("preface after Reset")
		}
	}
}

func TestPoolCap(t *testing.T) {
	pool := &Pool{Max: 160 * (partialSize + minBuffer)}
	var m Message
	parsers := make([]Parser, 4000)
	lost := 0
	for i := range parsers {
		p := &parsers[i]
		p.Pool = pool
		if _, ev := p.Next([]byte("GET /abc"), &m); ev == Lost {
			lost++
		}
		if pool.Held() > pool.Max {
			t.Fatalf("%d bytes held", pool.Held())
		}
	}
	if lost == 0 || uint64(lost) != pool.Full {
		t.Errorf("%d lost, %d counted", lost, pool.Full)
	}
	for i := range parsers {
		parsers[i].Release()
	}
	spare := maxSpare * (partialSize + minBuffer)
	if pool.Held() != spare {
		t.Errorf("%d bytes held after release, want the spare %d", pool.Held(), spare)
	}
	// A long line takes what the spare ones held, and the cap still holds.
	p := &Parser{Pool: pool}
	_, _ = p.Next([]byte("GET /"+strings.Repeat("x", 30<<10)), &m)
	if p.IsLost() || pool.Held() > pool.Max {
		t.Errorf("lost %v, %d bytes held", p.IsLost(), pool.Held())
	}
	_, ev := p.Next(bytes.Repeat([]byte("x"), 40<<10), &m)
	if ev != Lost || pool.Held() != 0 {
		t.Errorf("%v, %d bytes held", ev, pool.Held())
	}
	if got := feed(p, askedGET, []byte("GET / HTTP/1.1\r\n\r\n")); len(got) != 2 {
		t.Errorf("after the cap: %v", got)
	}
}

// TestUninterestingLine holds that a cut line that does not matter is not kept.
func TestUninterestingLine(t *testing.T) {
	pool := &Pool{Max: 2 << 10}
	p := &Parser{Pool: pool}
	in := longRequest(MaxHead)
	var got []string
	for i := 0; i < len(in); i += 1000 {
		got = append(got, feed(p, askedGET, []byte(in[i:min(i+1000, len(in))]))...)
	}
	if diff := cmp.Diff([]string{"GET 1.1 none host=a", "end"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParserSize(t *testing.T) {
	if n := unsafe.Sizeof(Parser{}); n > 32 {
		t.Errorf("a Parser has %d bytes, two are held for each connection", n)
	}
}

func TestAllocs(t *testing.T) {
	for _, c := range []struct {
		name string
		kind Kind
		in   string
		size int
	}{
		{"request", Request, benchRequest, 1 << 20},
		{"response", Response, benchResponse, 1 << 20},
		{"request cut", Request, benchRequest, 7},
		{"response cut", Response, benchResponse, 7},
		{"named request cut", Request, strings.Replace(benchRequest, "\r\n\r\n", "\r\nVia: 1.1 a\r\n\r\n", 1), 7},
		{"malformed", Request, "GET /\r\nGET x\r\n", 3},
		{"chunked", Response, chunkedHead + "5;x\r\nabcde\r\n0\r\nA: b\r\n\r\n", 1 << 20},
		{"lost", Request, "\x00\x01", 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Parser{Pool: new(Pool)}
			in := []byte(c.in)
			var m Message
			n := testing.AllocsPerRun(100, func() {
				p.Reset(c.kind, false)
				p.Identify()
				for i := 0; i < len(in); i += c.size {
					drain(p, in[i:min(i+c.size, len(in))], &m)
				}
			})
			if n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func drain(p *Parser, b []byte, m *Message) (events int) {
	for {
		n, ev := p.Next(b, m)
		b = b[n:]
		if ev == NeedMore {
			return events
		}
		events++
	}
}

func Example() {
	pool := new(Pool)
	p := Parser{Pool: pool}
	p.Reset(Request, false)
	var m Message
	for _, segment := range []string{"GET / HTTP/1.1\r\nHo", "st: example.com\r\n\r\n"} {
		for b := []byte(segment); ; {
			n, ev := p.Next(b, &m)
			b = b[n:]
			if ev == NeedMore {
				break
			}
			if ev == Head {
				fmt.Printf("request for %s\n", m.Host)
			}
			if ev == End {
				fmt.Println("end")
			}
		}
	}
	// Output:
	// request for example.com
	// end
}
