package http1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A teller writes down what a Conn tells, without what the Parser's tests hold.
type teller struct{ events []string }

func (t *teller) add(format string, a ...any) { t.events = append(t.events, fmt.Sprintf(format, a...)) }

func (t *teller) head(what string, s http.Stream, h *http.Head, at int64) {
	text := fmt.Sprintf("%s %d at %d", what, s, at)
	for _, v := range []struct {
		name string
		is   bool
	}{{" by " + string(h.Agent) + string(h.Server), len(h.Agent)+len(h.Server) > 0}, {" malformed", h.Malformed}, {" partial", h.Partial}, {" pipelined", h.Pipelined}} {
		if v.is {
			text += v.name
		}
	}
	t.events = append(t.events, text)
}

func (t *teller) Begin(s http.Stream, at int64)                  { t.add("begin %d at %d", s, at) }
func (t *teller) Request(s http.Stream, h *http.Head, at int64)  { t.head("request", s, h, at) }
func (t *teller) Responds(s http.Stream, at int64)               {}
func (t *teller) Response(s http.Stream, h *http.Head, at int64) { t.head("response", s, h, at) }
func (t *teller) End(s http.Stream, _ http.Side, at int64)       { t.add("end %d at %d", s, at) }
func (t *teller) Reset(http.Stream, http.Side, http.Code, int64) {}
func (t *teller) Unanswered(s http.Stream, at int64)             { t.add("unanswered %d at %d", s, at) }
func (t *teller) Lost(from http.Side, _ uint32)                  { t.add("lost by %s", from) }

// A said is what a side sends at once. Cut follows what a snaplen cut.
type said struct {
	from http.Side
	in   string
	cut  int64
}

func TestConnPartialAndMalformed(t *testing.T) {
	const (
		get  = "GET / HTTP/1.1\r\n\r\n"
		no   = "HTTP/1.1 204 x\r\n\r\n"
		long = "HTTP/1.1 200 x\r\nContent-Length: 500\r\n\r\n"
		bad  = "HTTP/1.1 400 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	)
	for _, c := range []struct {
		name string
		said []said
		want string // events, a line each
	}{
		{"malformed first, answered", []said{{in: "GET / HTTP/9\r\n\r\n"}, {from: http.Server, in: bad}},
			"begin 1 at 1\nrequest 1 at 1 malformed\nresponse 1 at 2\nend 1 at 2"},
		{"malformed first, answered by no HTTP", []said{{in: "GET the milk\r\n"}, {from: http.Server, in: "+OK\r\n"}}, ""},
		{"malformed first, then a request", []said{{in: "GET / HTTP/9\r\n\r\n"}, {in: get}, {from: http.Server, in: no}},
			"begin 1 at 2\nrequest 1 at 2\nresponse 1 at 3\nend 1 at 3"},
		{"malformed second", []said{{in: get}, {from: http.Server, in: no}, {in: "GET / HTTP/9\r\n\r\n"}, {from: http.Server, in: bad}},
			"begin 1 at 1\nrequest 1 at 1\nresponse 1 at 2\nend 1 at 2\n" +
				"begin 2 at 3\nrequest 2 at 3 malformed\nlost by client\nresponse 2 at 4\nend 2 at 4"},
		{"idle 408 is nobody's", []said{{from: http.Server, in: bad}}, "response 0 at 1"},
		{"cut heads of both sides", []said{
			{in: "GET / HTTP/1.1\r\nHost: exam", cut: 30}, {from: http.Server, in: "HTTP/1.1 200 OK\r\nContent-Le", cut: 99},
			{in: "GET / HTTP/1.1\r\nHost: exam", cut: 30}, {from: http.Server, in: "HTTP/1.1 200 OK\r\nContent-Le", cut: 99},
		},
			"begin 1 at 1\nrequest 1 at 1 partial\nlost by client\nresponse 1 at 2 partial\nend 1 at 2\nlost by server\n" +
				"begin 2 at 3\nrequest 2 at 3 partial\nlost by client\nresponse 2 at 4 partial\nend 2 at 4\nlost by server"},
		{"cut before anything is known", []said{{in: "GE", cut: 30}}, "begin 1 at 1\nlost by client"},
		{"software, once a side", []said{
			{in: "GET / HTTP/1.1\r\nUser-Agent: curl\r\n\r\n"}, {from: http.Server, in: "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 204 x\r\nServer: nginx\r\n\r\n"},
			{in: "GET / HTTP/1.1\r\nUser-Agent: curl\r\n\r\n"}, {from: http.Server, in: "HTTP/1.1 204 x\r\nServer: nginx\r\n\r\n"},
		},
			"begin 1 at 1\nrequest 1 at 1 by curl\nresponse 1 at 2\nresponse 1 at 2 by nginx\nend 1 at 2\n" +
				"begin 2 at 3\nrequest 2 at 3\nresponse 2 at 4\nend 2 at 4"},
		{"HEAD that was lost", []said{{in: get}, {from: http.Server, in: no}, {cut: 18}, {from: http.Server, in: long}, {in: get}, {from: http.Server, in: no}},
			"begin 1 at 1\nrequest 1 at 1\nresponse 1 at 2\nend 1 at 2\nlost by client\nresponse 0 at 4\n" +
				"begin 2 at 5\nrequest 2 at 5\nresponse 2 at 6\nend 2 at 6"},
		{"answer lost behind that to a lost request", []said{{in: get}, {from: http.Server, in: no}, {cut: 18}, {from: http.Server, in: long},
			{in: get}, {from: http.Server, cut: 18}, {in: get}, {from: http.Server, in: no}},
			"begin 1 at 1\nrequest 1 at 1\nresponse 1 at 2\nend 1 at 2\nlost by client\nresponse 0 at 4\n" +
				"begin 2 at 5\nrequest 2 at 5\nlost by server\nbegin 3 at 7\nrequest 3 at 7\nunanswered 2 at 8\nresponse 3 at 8\nend 3 at 8"},
		{"the same, and nothing tells what the client had read", []said{{in: get}, {from: http.Server, in: no}, {cut: 18}, {from: http.Server, in: long},
			{in: get + get}, {from: http.Server, cut: 18}, {from: http.Server, in: no}},
			"begin 1 at 1\nrequest 1 at 1\nresponse 1 at 2\nend 1 at 2\nlost by client\nresponse 0 at 4\n" +
				"begin 2 at 5\nrequest 2 at 5\nbegin 3 at 5\nrequest 3 at 5 pipelined\nlost by server\nunanswered 2 at 7\nresponse 3 at 7\nend 3 at 7"},
		{"cut body of a known length", []said{{in: "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12", cut: 7}, {in: get}},
			"begin 1 at 1\nrequest 1 at 1\nbegin 2 at 2\nrequest 2 at 2 pipelined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k teller
			conn := &Conn{}
			conn.Reset(&Pool{}, &k, Fresh, 0)
			for i, s := range c.said {
				at := int64(i + 1)
				conn.Sight = Sight{Read: uint32(i)}
				conn.Data(s.from, []byte(s.in), at)
				if s.cut > 0 {
					conn.Cut(s.from, at)
					conn.Gap(s.from, s.cut, at)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(k.events, "\n")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
