package http1

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A wireCase is a stream, and the events that it gives however it is cut.
type wireCase struct {
	name   string
	kind   Kind
	asked  asking // by the requests that the responses answer
	named  bool   // the software of each message is asked for
	in     string
	want   []string
	finish string // what Finish says at the end, where not NeedMore
}

type asking uint8

const (
	askedGET asking = iota
	askedHEAD
	askedCONNECT
	asked09
)

const (
	rq = Request
	rs = Response
)

var wireCases = []wireCase{
	// Request lines.
	{name: "nothing", kind: rq, in: ""},
	{name: "get", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "no fields", kind: rq, in: "GET / HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "every known method", kind: rq,
		in: "GET / HTTP/1.1\n\nHEAD / HTTP/1.1\n\nPOST / HTTP/1.1\n\nPUT / HTTP/1.1\n\nDELETE / HTTP/1.1\n\n" +
			"CONNECT a:1 HTTP/1.1\n\nOPTIONS * HTTP/1.1\n\nTRACE / HTTP/1.1\n\nPATCH / HTTP/1.1\n\n",
		want: []string{"GET 1.1 none", "end", "HEAD 1.1 none", "end", "POST 1.1 none", "end", "PUT 1.1 none", "end", "DELETE 1.1 none", "end",
			"CONNECT 1.1 none host=a:1", "end", "OPTIONS 1.1 none", "end", "TRACE 1.1 none", "end", "PATCH 1.1 none", "end"}},
	{name: "unknown method", kind: rq, in: "VERSION-CONTROL /x HTTP/1.1\r\n\r\n", want: []string{"OTHER 1.1 none", "end"}},
	{name: "methods are case-sensitive", kind: rq, in: "get /x HTTP/1.1\r\n\r\n", want: []string{"OTHER 1.1 none", "end"}},
	{name: "odd token as method", kind: rq, in: "!#$%&'*+-.^_`|~09 /x HTTP/1.0\r\n\r\n", want: []string{"OTHER 1.0 none", "end"}},
	{name: "longest method", kind: rq, in: strings.Repeat("M", 64) + " / HTTP/1.1\r\n\r\n", want: []string{"OTHER 1.1 none", "end"}},
	{name: "method too long", kind: rq, in: strings.Repeat("M", 65) + " / HTTP/1.1\r\n\r\n", want: []string{"lost"}},
	{name: "version 1.0", kind: rq, in: "GET / HTTP/1.0\r\n\r\n", want: []string{"GET 1.0 none", "end"}},
	{name: "version 1.2 counts as 1.1", kind: rq, in: "GET / HTTP/1.2\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "version 0.9 spelled out", kind: rq, in: "GET / HTTP/0.9\r\n\r\n", want: []string{"GET 0.9 none", "end"}},
	{name: "version 2.0", kind: rq, in: "GET / HTTP/2.0\r\n\r\n", want: []string{"GET ? unframed malformed", "lost"}},
	{name: "version without minor", kind: rq, in: "GET / HTTP/1\r\n\r\n", want: []string{"GET ? unframed malformed", "lost"}},
	{name: "version in lower case", kind: rq, in: "GET / http/1.1\r\n\r\n", want: []string{"GET ? unframed malformed", "lost"}},
	{name: "method and version in lower case", kind: rq, in: "get / http/1.1\r\n\r\n", want: []string{"lost"}},
	{name: "malformed after a request", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /\x00 HTTP/x\r\n\r\n",
		want: []string{"GET 1.1 none host=a", "end", "GET ? unframed malformed", "lost"}},
	{name: "another protocol's version", kind: rq, in: "OPTIONS * SIP/2.0\r\n\r\n", want: []string{"lost"}},
	{name: "0.9", kind: rq, in: "GET /index.html\r\n", want: []string{"GET 0.9 none", "end"}},
	{name: "0.9 bare LF, absolute", kind: rq, in: "GET http://h/x\n", want: []string{"GET 0.9 none host=h", "end"}},
	{name: "0.9 with a space in it", kind: rq, in: "GET /a b\r\n", want: []string{"GET ? unframed malformed", "lost"}},
	{name: "0.9 is GET only", kind: rq, in: "POST /a\r\n", want: []string{"POST ? unframed malformed", "lost"}},
	{name: "0.9 target must begin with a slash", kind: rq, in: "GET a\r\n", want: []string{"GET ? unframed malformed", "lost"}},
	{name: "0.9 cut", kind: rq, in: "GET /a", finish: "lost"},
	{name: "space in the target", kind: rq, in: "GET /a b c HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "much white space", kind: rq, in: "GET \t /a \t HTTP/1.1 \t\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "tab after the method", kind: rq, in: "POST\t/a\tHTTP/1.1\r\n\r\n", want: []string{"POST 1.1 none", "end"}},
	{name: "high bytes in the target", kind: rq, in: "GET /\xc3\xa4 HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "no target", kind: rq, in: "GET  HTTP/1.1\r\n\r\n", want: []string{"GET ? unframed malformed", "lost"}},
	{name: "no target of CONNECT", kind: rq, in: "CONNECT  HTTP/1.1\r\n\r\n", want: []string{"CONNECT ? unframed malformed", "lost"}},
	{name: "leading blank lines", kind: rq, in: "\r\n\n\r\nGET / HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "only blank lines", kind: rq, in: "\r\n\r\n\r\n"},
	{name: "blank line after a body", kind: rq, in: "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\r\nGET / HTTP/1.1\r\n\r\n",
		want: []string{"POST 1.1 length=1", "end", "GET 1.1 none", "end"}},
	{name: "bare LF", kind: rq, in: "GET / HTTP/1.1\nHost: a\nConnection: close\n\n", want: []string{"GET 1.1 none close host=a", "end"}},
	{name: "mixed line ends", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "pipelined", kind: rq, in: strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 3),
		want: []string{"GET 1.1 none host=a", "end", "GET 1.1 none host=a", "end", "GET 1.1 none host=a", "end"}},
	{name: "head cut", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\r\n", finish: "lost"},

	// Host.
	{name: "absolute-form goes before Host", kind: rq, in: "GET http://b:80/x HTTP/1.1\r\nHost: a\r\n\r\n", want: []string{"GET 1.1 none host=b:80", "end"}},
	{name: "absolute-form with user", kind: rq, in: "GET http://u:p@b/x@y HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none host=b", "end"}},
	{name: "absolute-form with query only", kind: rq, in: "GET http://b?x HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none host=b", "end"}},
	{name: "absolute-form without path, IPv6", kind: rq, in: "GET http://[::1]:8 HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none host=[::1]:8", "end"}},
	{name: "absolute-form without authority", kind: rq, in: "GET file:///x HTTP/1.1\r\nHost: a\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "a URL in the query is no authority", kind: rq, in: "GET /r?u=http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "authority-form", kind: rq, in: "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", want: []string{"CONNECT 1.1 none host=b:443", "end"}},
	{name: "asterisk-form", kind: rq, in: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", want: []string{"OPTIONS 1.1 none host=a", "end"}},
	{name: "first of two Hosts", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "Host without space, upper case", kind: rq, in: "GET / HTTP/1.1\r\nHOST:a \t\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "space before the colon", kind: rq, in: "GET / HTTP/1.1\r\nHost \t: a\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "Host in a response is nothing", kind: rs, in: "HTTP/1.1 204 x\r\nHost: a\r\n\r\n", want: []string{"204 1.1 none", "end"}},

	// Who sent it.
	{name: "not asked who it is", kind: rq, in: "GET / HTTP/1.1\r\nUser-Agent: a/1\r\nVia: 1.1 x\r\nUpgrade: h2c\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "agent of the first request only", kind: rq, named: true, in: strings.Repeat("GET / HTTP/1.1\r\nuser-agent:  a/1 (b) \r\nHost: h\r\n\r\n", 2),
		want: []string{"GET 1.1 none host=h agent=a/1 (b)", "end", "GET 1.1 none host=h", "end"}},
	{name: "first of two agents", kind: rq, named: true, in: "GET / HTTP/1.1\r\nUser-Agent:\r\nUSER-AGENT: a\r\nUser-Agent: b\r\n\r\n", want: []string{"GET 1.1 none agent=a", "end"}},
	{name: "names that begin like the agent's", kind: rq, named: true, in: "GET / HTTP/1.1\r\nUser-Agents: a\r\nUser-Agen: b\r\nServer: c\r\nUpgrade: h2c\r\nForwarded-By: d\r\nX-Forwarded-Host: e\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "folded agent", kind: rq, named: true, in: "GET / HTTP/1.1\r\nUser-Agent: a\r\n\tb\r\nHost: h\r\n\r\n", want: []string{"GET 1.1 none host=h agent=a\r\n\tb", "end"}},
	{name: "long agent", kind: rq, named: true, in: "GET / HTTP/1.1\r\nUser-Agent: " + strings.Repeat("ab", 100) + "\r\nHost: h\r\n\r\n",
		want: []string{"GET 1.1 none host=h agent=" + strings.Repeat("ab", 80), "end"}},
	{name: "forwarded", kind: rq, named: true, in: "GET / HTTP/1.1\r\nUser-Agent: a\r\nForwarded: for=1.2.3.4\r\n\r\n", want: []string{"GET 1.1 none agent=a forwarded", "end"}},
	{name: "x-forwarded-for", kind: rq, named: true, in: "GET / HTTP/1.1\r\nX-FORWARDED-FOR: 1.2.3.4\r\n\r\n", want: []string{"GET 1.1 none forwarded", "end"}},
	{name: "via of a request", kind: rq, named: true, in: "GET / HTTP/1.1\r\nVia: 1.1 a\r\nVia: 1.1 b (squid/5)\r\n\r\n", want: []string{"GET 1.1 none via=1.1 b (squid/5) forwarded", "end"}},
	{name: "server and via", kind: rs, named: true, in: "HTTP/1.1 204 x\r\nServer: nginx\r\nserver: other\r\nUser-Agent: c\r\nForwarded: x\r\nvia: 1.1 v\r\n\r\n", want: []string{"204 1.1 none server=nginx via=1.1 v", "end"}},
	{name: "end of a long via", kind: rs, named: true, in: "HTTP/1.1 204 x\r\nVia: " + strings.Repeat("1.1 a, ", 40) + "1.1 z\r\n\r\n",
		want: []string{"204 1.1 none via=" + (strings.Repeat("1.1 a, ", 40) + "1.1 z")[125:], "end"}},
	{name: "server of an interim response", kind: rs, named: true, in: "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 204 x\r\nServer: nginx\r\n\r\n", want: []string{"100 1.1 none", "end", "204 1.1 none", "end"}},

	// Upgrades.
	{name: "upgrade to h2c", kind: rs, in: "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", want: []string{"101 1.1 tunnel upgrade h2c"}},
	{name: "upgrade to h2c in upper case", kind: rs, in: "HTTP/1.1 101 x\r\nUPGRADE:H2C\r\n\r\n", want: []string{"101 1.1 tunnel h2c"}},
	{name: "upgrade to a websocket", kind: rs, in: "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nUpgrade-Insecure: h2c\r\n\r\n", want: []string{"101 1.1 tunnel"}},
	{name: "an offer of h2c is no upgrade", kind: rs, named: true, in: "HTTP/1.1 204 x\r\nUpgrade: h2c\r\n\r\n", want: []string{"204 1.1 none", "end"}},

	// Connection.
	{name: "connection close", kind: rq, in: "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", want: []string{"GET 1.1 none close", "end"}},
	{name: "connection list", kind: rq, in: "GET / HTTP/1.1\r\nConnection: , Upgrade ,x,KEEP-Alive,\r\n\r\n", want: []string{"GET 1.1 none keep-alive upgrade", "end"}},
	{name: "connection over several lines", kind: rq, in: "GET / HTTP/1.1\r\nconnection: TE\r\nCONNECTION: close\r\n\r\n", want: []string{"GET 1.1 none close", "end"}},
	{name: "close as part of a token", kind: rq, in: "GET / HTTP/1.1\r\nConnection: closed, not-close\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "proxy-connection alone", kind: rq, in: "GET / HTTP/1.1\r\nProxy-Connection: Keep-Alive\r\n\r\n", want: []string{"GET 1.1 none keep-alive", "end"}},
	{name: "proxy-connection beside connection", kind: rq, in: "GET / HTTP/1.1\r\nProxy-Connection: close\r\nConnection: keep-alive\r\n\r\n", want: []string{"GET 1.1 none keep-alive", "end"}},
	{name: "connection beside proxy-connection, empty", kind: rq, in: "GET / HTTP/1.1\r\nConnection:\r\nProxy-Connection: close\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "folded connection", kind: rq, in: "GET / HTTP/1.1\r\nConnection: x,\r\n\t close\r\n\r\n", want: []string{"GET 1.1 none close", "end"}},
	{name: "folded twice, bare LF", kind: rq, in: "GET / HTTP/1.1\nConnection:\n \n close,\n upgrade\nHost: a\n\n", want: []string{"GET 1.1 none close upgrade host=a", "end"}},
	{name: "a fold of another field is its value", kind: rq, in: "GET / HTTP/1.1\r\nCookie: a\r\n Connection: close\r\n\tHost: b\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "a fold of blanks is not the empty line", kind: rq, in: "GET / HTTP/1.1\r\nCookie: a\r\n \r\nHost: b\r\n\r\n", want: []string{"GET 1.1 none host=b", "end"}},
	{name: "blank before the first field", kind: rq, in: "GET / HTTP/1.1\r\n Host: x\r\nHost: b\r\n\r\n", want: []string{"GET 1.1 none host=b", "end"}},
	{name: "names that begin like ours", kind: rq, in: "GET / HTTP/1.1\r\nConnection-X: close\r\nContent-Length-X: 4\r\nHos: x\r\nHosts: y\r\nTransfer-Encodin: z\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "a line without a colon", kind: rq, in: "GET / HTTP/1.1\r\nConnection close\r\nxyz\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "a bare CR in a name", kind: rq, in: "GET / HTTP/1.1\r\nKeep\ralive: timeout=1\r\n\r\n", want: []string{"GET 1.1 none", "end"}},

	// Lines that differ little from those that nearly every message has.
	{name: "usual lines", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", want: []string{"GET 1.1 length=1 keep-alive host=a", "end"}},
	{name: "usual lines in upper case", kind: rq, in: "GET / HTTP/1.1\r\nHOST: A\r\nCONNECTION: KEEP-ALIVE\r\nCONTENT-LENGTH: 1\r\n\r\nx", want: []string{"GET 1.1 length=1 keep-alive host=A", "end"}},
	{name: "usual lines in lower case", kind: rq, in: "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx", want: []string{"GET 1.1 length=1 close host=a", "end"}},
	{name: "usual lines in mixed case", kind: rq, in: "GET / HTTP/1.1\r\nhOsT: a\r\ncOnNeCtIoN: cLoSe\r\ncOnTeNt-LeNgTh: 1\r\n\r\nx", want: []string{"GET 1.1 length=1 close host=a", "end"}},
	{name: "usual lines with bare LF", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\nConnection: keep-alive\nContent-Length: 1\n\r\nx", want: []string{"GET 1.1 length=1 keep-alive host=a", "end"}},
	{name: "bare LF, then CR LF", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\nConnection: close\r\nHost: b\r\n\r\n", want: []string{"GET 1.1 none close host=a", "end"}},
	{name: "blanks before the colon", kind: rq, in: "GET / HTTP/1.1\r\nHost : a\r\nConnection\t: close\r\nContent-Length \t: 1\r\n\r\nx", want: []string{"GET 1.1 length=1 close host=a", "end"}},
	{name: "no blank after the colon", kind: rq, in: "GET / HTTP/1.1\r\nHost:a\r\nConnection:close\r\nContent-Length:1\r\n\r\nx", want: []string{"GET 1.1 length=1 close host=a", "end"}},
	{name: "two blanks after the colon", kind: rq, in: "GET / HTTP/1.1\r\nHost:  a\r\nConnection: \tclose\r\nContent-Length:  1\r\n\r\nx", want: []string{"GET 1.1 length=1 close host=a", "end"}},
	{name: "blanks after the value", kind: rq, in: "GET / HTTP/1.1\r\nHost: a \r\nConnection: close\t\r\nContent-Length: 1 \r\n\r\nx", want: []string{"GET 1.1 length=1 close host=a", "end"}},
	{name: "two CRs after the value", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\r\r\nConnection: close\r\r\nContent-Length: 1\r\r\n\r\nx", want: []string{"GET 1.1 length=1 close host=a", "end"}},
	{name: "no values", kind: rq, in: "GET / HTTP/1.1\r\nHost: \r\nConnection: \r\nProxy-Connection: close\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "folds after usual lines", kind: rq, in: "GET / HTTP/1.1\r\nConnection: keep-alive\r\n , close\r\nConnection: close\r\n\t, upgrade\r\nHost: a\r\n\t\r\n\r\n", want: []string{"GET 1.1 none close keep-alive upgrade host=a", "end"}},
	{name: "folds that break tokens", kind: rq, in: "GET / HTTP/1.1\r\nConnection: keep-alive\r\n x\r\nConnection: close\r\n\tx\r\nHost: a\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "tokens that begin like the usual", kind: rq, in: "GET / HTTP/1.1\r\nConnection: keep-alive, x\r\nConnection: closer\r\nConnection: keep-alives\r\n\r\n", want: []string{"GET 1.1 none keep-alive", "end"}},
	{name: "bare CR for a hyphen", kind: rq, in: "GET / HTTP/1.1\r\nContent\rLength: 1\r\nProxy\rConnection: close\r\nTransfer\rEncoding: chunked\r\nConnection: keep\ralive\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "control characters for letters", kind: rq, in: "GET / HTTP/1.1\r\n\x03onnection: close\r\nConnectio\x0e: close\r\n\x08ost: a\r\nContent-Lengt\x08: 1\r\nConnection: \x0beep-alive\r\nConnection: clos\x05\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "control characters for punctuation", kind: rq, in: "GET / HTTP/1.1\r\nConnection\x1a close\r\nConnection:\x00close\r\nHost\x1a a\r\nContent-Length\x1a 1\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "high bytes for letters", kind: rq, in: "GET / HTTP/1.1\r\n\xc3onnection: close\r\nHos\xd4: a\r\n\xe3ontent-length: 1\r\nConnection: keep-aliv\xc5\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "first bytes that share five bits with ours", kind: rq, in: "GET / HTTP/1.1\r\n#onnection: close\r\n(ost: a\r\n+eep-Alive: max=1\r\n0roxy-Connection: close\r\n4ransfer-Encoding: chunked\r\n*: a\r\n-: b\r\nM: c\r\nj: d\r\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "short lines", kind: rq, in: "GET / HTTP/1.1\r\nh\r\nc\r\nHost\r\nh:\r\nc:\nt\n\rx\r\n\r\r\nk\r\nHost:a\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "Content- but not Length", kind: rq, in: "GET / HTTP/1.1\r\nContent-Type: a\r\n Content-Length: 1\r\nContent-L: 1\r\nContent-Lengths: 1\r\nContent-\r\nContent-\nHost: a\r\n\r\n", want: []string{"GET 1.1 none host=a", "end"}},
	{name: "length of 18 digits", kind: rq, in: "GET / HTTP/1.1\r\nContent-Length: 000000000000000001\r\n\r\nx", want: []string{"GET 1.1 length=1", "end"}},
	{name: "length of 19 digits", kind: rq, in: "GET / HTTP/1.1\r\nContent-Length: 0000000000000000001\r\n\r\nx", want: []string{"GET 1.1 length=1", "end"}},
	{name: "length of 30 digits", kind: rq, in: "GET / HTTP/1.1\r\nContent-Length: 000000000000000000000000000001\r\n\r\nx", want: []string{"GET 1.1 length=1", "end"}},
	{name: "length, then blank and digit", kind: rq, in: "GET / HTTP/1.1\r\nContent-Length: 1 1\r\n\r\n", want: []string{"GET 1.1 unframed", "lost"}},
	{name: "length, then CR and digit", kind: rq, in: "GET / HTTP/1.1\r\nContent-Length: 1\r1\r\n\r\n", want: []string{"GET 1.1 unframed", "lost"}},
	{name: "length, then letter", kind: rq, in: "GET / HTTP/1.1\r\nContent-Length: 1a\r\n\r\n", want: []string{"GET 1.1 unframed", "lost"}},
	{name: "host with CR in it", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", want: []string{"GET 1.1 none host=a\rb", "end"}},
	{name: "host that is folded", kind: rq, in: "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", want: []string{"GET 1.1 none host=a\r\n b", "end"}},

	// Keep-Alive.
	{name: "keep-alive", kind: rs, in: "HTTP/1.1 204 x\r\nKeep-Alive: timeout=5, max=100\r\n\r\n", want: []string{"204 1.1 none timeout=5 max=100", "end"}},
	{name: "keep-alive quoted, semicolon", kind: rs, in: "HTTP/1.1 204 x\r\nkeep-alive: Timeout = \"15\" ;MAX=7\r\n\r\n", want: []string{"204 1.1 none timeout=15 max=7", "end"}},
	{name: "keep-alive zero", kind: rs, in: "HTTP/1.1 204 x\r\nKeep-Alive: max=0\r\n\r\n", want: []string{"204 1.1 none max=0", "end"}},
	{name: "keep-alive too great", kind: rs, in: "HTTP/1.1 204 x\r\nKeep-Alive: timeout=99999999999999999999\r\n\r\n", want: []string{"204 1.1 none timeout=4294967295", "end"}},
	{name: "keep-alive nonsense", kind: rs, in: "HTTP/1.1 204 x\r\nKeep-Alive: 300, timeout, max=, timeout=x, =5\r\n\r\n", want: []string{"204 1.1 none", "end"}},

	// Content-Length.
	{name: "length", kind: rq, in: "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", want: []string{"POST 1.1 length=3", "end"}},
	{name: "length zero", kind: rq, in: "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", want: []string{"POST 1.1 length=0", "end"}},
	{name: "body that looks like a request", kind: rq, in: "PUT / HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n", want: []string{"PUT 1.1 length=18", "end"}},
	{name: "body cut", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", want: []string{"200 1.1 length=3"}, finish: "lost"},
	{name: "equal lengths in a list", kind: rq, in: "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\na", want: []string{"POST 1.1 length=1", "end"}},
	{name: "equal lengths in lines", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 01\r\n\r\na", want: []string{"200 1.1 length=1", "end"}},
	{name: "conflicting lengths, request", kind: rq, in: "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", want: []string{"POST 1.1 unframed", "lost"}},
	{name: "conflicting lengths, response", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "negative length, request", kind: rq, in: "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\nab", want: []string{"POST 1.1 unframed", "lost"}},
	{name: "signed length, response", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "empty length", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\na", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "greatest length", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\na", want: []string{"200 1.1 length=9223372036854775807"}, finish: "lost"},
	{name: "length overflows", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\na", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "length overflows 64 bits", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\na", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "folded length", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length:\r\n 1\r\n\r\na", want: []string{"200 1.1 length=1", "end"}},
	{name: "folded length of two", kind: rs, in: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 1\r\n\r\na", want: []string{"200 1.1 close"}, finish: "end"},

	// Transfer-Encoding.
	{name: "chunked", kind: rs, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "chunked request, then another", kind: rq, in: "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", want: []string{"POST 1.1 chunked", "end", "GET 1.1 none", "end"}},
	{name: "chunked goes before length", kind: rq, in: "POST / HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: []string{"POST 1.1 chunked", "end"}},
	{name: "chunked goes before bad length", kind: rq, in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n", want: []string{"POST 1.1 chunked", "end"}},
	{name: "codings end in chunked", kind: rs, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "codings end in chunked, in lines", kind: rs, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "codings end in gzip, response", kind: rs, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\nContent-Length: 1\r\n\r\nx", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "codings end in gzip, request", kind: rq, in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nx", want: []string{"POST 1.1 unframed", "lost"}},
	{name: "unframed request with nothing after it", kind: rq, in: "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", want: []string{"POST 1.1 unframed", "lost"}},
	{name: "identity is as if absent", kind: rs, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", want: []string{"200 1.1 length=1", "end"}},
	{name: "coding on 1.0", kind: rs, in: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n", want: []string{"200 1.0 chunked", "end"}},
	{name: "xchunked", kind: rs, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "folded coding", kind: rs, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked\r\n\r\n0\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},

	// Chunks.
	{name: "chunk extensions", kind: rs, in: chunkedHead + "1;a=b;c=\"d;e\"\r\nx\r\n2 ; y\r\nxx\r\n0;z\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "trailers", kind: rs, in: chunkedHead + "0\r\nA: b\r\n c\r\nTransfer-Encoding: gzip\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "chunks with bare LF", kind: rs, in: chunkedHead + "1\nx\n0\nA: b\n\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "padded sizes", kind: rs, in: chunkedHead + "1    \r\nx\r\n0\t\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "leading zeros", kind: rs, in: chunkedHead + "00000000000000000001\r\nx\r\n000\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "hexadecimal in both cases", kind: rs, in: chunkedHead + "1a\r\n" + strings.Repeat("x", 26) + "\r\n1A\r\n" + strings.Repeat("\n", 26) + "\r\n0\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "greatest chunk", kind: rs, in: chunkedHead + "ffffffffffffffff\r\nx", want: []string{"200 1.1 chunked"}, finish: "lost"},
	{name: "chunk overflows", kind: rs, in: chunkedHead + "10000000000000000\r\nx", want: []string{"200 1.1 chunked", "lost"}},
	{name: "chunk without size", kind: rs, in: chunkedHead + "\r\nx", want: []string{"200 1.1 chunked", "lost"}},
	{name: "chunk extension without size", kind: rs, in: chunkedHead + ";a\r\nx", want: []string{"200 1.1 chunked", "lost"}},
	{name: "chunk with negative size", kind: rs, in: chunkedHead + "-1\r\nx", want: []string{"200 1.1 chunked", "lost"}},
	{name: "chunk with 0x", kind: rs, in: chunkedHead + "0x1\r\nx", want: []string{"200 1.1 chunked", "lost"}},
	{name: "chunk data too long", kind: rs, in: chunkedHead + "1\r\nxy\r\n", want: []string{"200 1.1 chunked", "lost"}},
	{name: "CR LF wrong after data", kind: rs, in: chunkedHead + "1\r\nx\rx", want: []string{"200 1.1 chunked", "lost"}},
	{name: "CR LF wrong after size", kind: rs, in: chunkedHead + "1\rx", want: []string{"200 1.1 chunked", "lost"}},
	{name: "CR begins a trailer line", kind: rs, in: chunkedHead + "0\r\n\rx\r\n\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "last chunk, then FIN", kind: rs, in: chunkedHead + "0\r\n", want: []string{"200 1.1 chunked"}, finish: "end"},
	{name: "in a trailer, then FIN", kind: rs, in: chunkedHead + "0\r\nA: b\r\n\r", want: []string{"200 1.1 chunked"}, finish: "end"},
	{name: "between chunks, then FIN", kind: rs, in: chunkedHead + "1\r\nx\r\n", want: []string{"200 1.1 chunked"}, finish: "lost"},
	{name: "longest chunk line", kind: rs, in: chunkedHead + "0;" + strings.Repeat("x", maxChunkLine-3) + "\n\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "chunk line too long", kind: rs, in: chunkedHead + "0;" + strings.Repeat("x", maxChunkLine-2) + "\n\n", want: []string{"200 1.1 chunked", "lost"}},
	{name: "zeros without end", kind: rs, in: chunkedHead + strings.Repeat("0", maxChunkLine+1), want: []string{"200 1.1 chunked", "lost"}},

	// Responses.
	{name: "until close", kind: rs, in: "HTTP/1.1 200 OK\r\n\r\nanything\r\nHTTP/1.1 200 OK\r\n\r\n", want: []string{"200 1.1 close"}, finish: "end"},
	{name: "until close, empty", kind: rs, in: "HTTP/1.0 200 OK\r\n\r\n", want: []string{"200 1.0 close"}, finish: "end"},
	{name: "no reason phrase", kind: rs, in: "HTTP/1.1 204\r\n\r\nHTTP/1.1 204 \r\n\r\n", want: []string{"204 1.1 none", "end", "204 1.1 none", "end"}},
	{name: "two spaces before the status", kind: rs, in: "HTTP/1.1  204 x\r\n\r\n", want: []string{"204 1.1 none", "end"}},
	{name: "blank lines before a response", kind: rs, in: "\r\n\r\nHTTP/1.1 204 x\r\n\r\n", want: []string{"204 1.1 none", "end"}},
	{name: "status of four digits", kind: rs, in: "HTTP/1.1 2000 x\r\n\r\n", want: []string{"lost"}},
	{name: "status of two digits", kind: rs, in: "HTTP/1.1 20 x\r\n\r\n", want: []string{"lost"}},
	{name: "status is no number", kind: rs, in: "HTTP/1.1 +20 x\r\n\r\n", want: []string{"lost"}},
	{name: "status 999", kind: rs, in: "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", want: []string{"999 1.1 length=0", "end"}},
	{name: "no status", kind: rs, in: "HTTP/1.1\r\n\r\n", want: []string{"lost"}},
	{name: "HTTP/2.0 in text", kind: rs, in: "HTTP/2.0 200 OK\r\n\r\n", want: []string{"lost"}},
	{name: "icecast", kind: rs, in: "ICY 200 OK\r\n\r\n", want: []string{"lost"}},
	{name: "many 1xx", kind: rs, in: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 x\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
		want: []string{"100 1.1 none", "end", "103 1.1 none", "end", "102 1.1 none", "end", "200 1.1 length=1", "end"}},
	{name: "204 with a length", kind: rs, in: "HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 x\r\n\r\n", want: []string{"204 1.1 none", "end", "204 1.1 none", "end"}},
	{name: "304 with a coding", kind: rs, in: "HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 204 x\r\n\r\n", want: []string{"304 1.1 none", "end", "204 1.1 none", "end"}},
	{name: "101", kind: rs, in: "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00HTTP/1.1 200 OK\r\n\r\n", want: []string{"101 1.1 tunnel upgrade"}},
	{name: "HEAD, length", kind: rs, asked: askedHEAD, in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 x\r\n\r\nHTTP/1.1 304 x\r\n\r\n",
		want: []string{"200 1.1 length=5", "end", "200 1.1 chunked", "end", "200 1.1 close", "end", "100 1.1 none", "end", "304 1.1 none", "end"}},
	{name: "HEAD answered by 101", kind: rs, asked: askedHEAD, in: "HTTP/1.1 101 x\r\n\r\nabc", want: []string{"101 1.1 tunnel"}},
	{name: "CONNECT refused, then not", kind: rs, asked: askedCONNECT, in: "HTTP/1.1 407 x\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\x16\x03\x01",
		want: []string{"407 1.1 length=1", "end", "200 1.1 length=1"}},

	// HTTP/0.9 responses.
	{name: "0.9 response", kind: rs, asked: asked09, in: "<html>\r\nHTTP/1.1 200 OK\r\n\r\n", want: []string{"0 0.9 close"}, finish: "end"},
	{name: "0.9 response begins with a blank line", kind: rs, asked: asked09, in: "\r\n<html>", want: []string{"0 0.9 close"}, finish: "end"},
	{name: "0.9 response begins like HTTP", kind: rs, asked: asked09, in: "HTTP/x is a protocol", want: []string{"0 0.9 close"}, finish: "end"},
	{name: "0.9 request, 1.1 response", kind: rs, asked: asked09, in: "HTTP/1.1 400 x\r\nContent-Length: 1\r\n\r\nx", want: []string{"400 1.1 length=1", "end"}},
	{name: "0.9 response, empty", kind: rs, asked: asked09, in: ""},
	{name: "0.9 response, one H", kind: rs, asked: asked09, in: "H", finish: "lost"},

	// What is not HTTP.
	{name: "TLS", kind: rq, in: "\x16\x03\x01\x02\x00\x01\x00", want: []string{"lost"}},
	{name: "SSH client", kind: rq, in: "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", want: []string{"lost"}},
	{name: "SSH server", kind: rs, in: "SSH-2.0-OpenSSH_9.2\r\n", want: []string{"lost"}},
	{name: "SMTP banner", kind: rq, in: "220 mail.example.com ESMTP\r\n", want: []string{"lost"}},
	{name: "SMTP client", kind: rq, in: "EHLO example.com\r\n", want: []string{"lost"}},
	{name: "FTP client", kind: rq, in: "USER anonymous\r\n", want: []string{"lost"}},
	{name: "SOCKS5", kind: rq, in: "\x05\x01\x00", want: []string{"lost"}},
	{name: "SOCKS4", kind: rq, in: "\x04\x01\x00\x50\x01\x02\x03\x04", want: []string{"lost"}},
	{name: "RTSP", kind: rq, in: "OPTIONS rtsp://h/ RTSP/1.0\r\n\r\n", want: []string{"lost"}},
	{name: "SIP", kind: rq, in: "INVITE sip:b@h SIP/2.0\r\n\r\n", want: []string{"lost"}},
	{name: "Redis", kind: rq, in: "*1\r\n$4\r\nPING\r\n", want: []string{"lost"}},
	{name: "zeros", kind: rq, in: "\x00\x00\x00\x00", want: []string{"lost"}},
	{name: "base64", kind: rq, in: strings.Repeat("QUJD", 30), want: []string{"lost"}},
	{name: "HTTP/2 preface", kind: rq, in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00", want: []string{"preface"}},
	{name: "another protocol after a message", kind: rq, in: "GET / HTTP/1.1\r\n\r\n\x81\x85abcd", want: []string{"GET 1.1 none", "end", "lost"}},
	{name: "a response among requests", kind: rq, in: "HTTP/1.1 200 OK\r\n\r\n", want: []string{"lost"}},

	// Sizes.
	{name: "longest head", kind: rq, in: longRequest(MaxHead) + "GET / HTTP/1.1\r\n\r\n", want: []string{"GET 1.1 none host=a", "end", "GET 1.1 none", "end"}},
	{name: "head too long", kind: rq, in: longRequest(MaxHead + 1), want: []string{"lost"}},
	{name: "longest target", kind: rq, in: "GET /" + strings.Repeat("x", MaxHead-5-11-2) + " HTTP/1.1\n\r\n", want: []string{"GET 1.1 none", "end"}},
	{name: "target too long", kind: rq, in: "GET /" + strings.Repeat("x", MaxHead), want: []string{"lost"}},
	{name: "longest trailers", kind: rs, in: chunkedHead + "0\r\n" + strings.Repeat("A: b\r\n", (MaxHead-2)/6) + "\r\n", want: []string{"200 1.1 chunked", "end"}},
	{name: "trailers too long", kind: rs, in: chunkedHead + "0\r\n" + strings.Repeat("A: b\r\n", MaxHead/6+1) + "\r\n", want: []string{"200 1.1 chunked", "lost"}},
}

const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

// longRequest returns a request with a head of n bytes.
func longRequest(n int) string {
	const before, after = "GET / HTTP/1.1\r\nCookie: ", "\r\nHost: a\r\n\r\n"
	return before + strings.Repeat("c", n-len(before)-len(after)) + after
}

func (m *Message) text() string {
	var s strings.Builder
	if m.Kind == Request {
		s.WriteString(m.Method.String())
	} else {
		fmt.Fprint(&s, m.Status)
	}
	s.WriteString([...]string{" ?", " 0.9", " 1.0", " 1.1"}[m.Version])
	if m.Framing == Length {
		fmt.Fprintf(&s, " length=%d", m.ContentLength)
	} else {
		s.WriteString([...]string{" none", "", " chunked", " close", " tunnel", " unframed"}[m.Framing])
	}
	for i, name := range []string{"close", "keep-alive", "upgrade"} {
		if m.Connection&(1<<i) != 0 {
			s.WriteString(" " + name)
		}
	}
	if m.HasKeepAliveTimeout {
		fmt.Fprintf(&s, " timeout=%d", m.KeepAliveTimeout)
	}
	if m.HasKeepAliveMax {
		fmt.Fprintf(&s, " max=%d", m.KeepAliveMax)
	}
	for _, v := range []struct {
		name  string
		value []byte
	}{{"host", m.Host}, {"agent", m.Agent}, {"server", m.Server}, {"via", m.Via}} {
		if len(v.value) > 0 {
			fmt.Fprintf(&s, " %s=%s", v.name, v.value)
		}
	}
	for _, v := range []struct {
		name string
		is   bool
	}{{"forwarded", m.Forwarded}, {"h2c", m.H2C}, {"malformed", m.Malformed}, {"partial", m.Partial}} {
		if v.is {
			s.WriteString(" " + v.name)
		}
	}
	return s.String()
}

// feed gives a parser the segment b and returns its events.
func feed(p *Parser, a asking, b []byte) (events []string) {
	var m Message
	for {
		n, ev := p.Next(b, &m)
		b = b[n:]
		switch ev {
		case NeedMore:
			if len(b) > 0 {
				panic("NeedMore with bytes left")
			}
			return events
		case Head:
			events = append(events, m.text())
			switch {
			case a == askedHEAD:
				p.Bodyless()
			case a == askedCONNECT && m.Status/100 == 2:
				p.TunnelFrom()
			}
		case End:
			events = append(events, "end")
		case Lost:
			if p.Preface() {
				return append(events, "preface")
			}
			return append(events, "lost")
		}
	}
}

// A rest is what a parser says of itself after the last segment.
type rest struct {
	InMessage, Idle bool
	Remaining       uint64
	Known           bool
	Finish          string // "" is NeedMore
}

// run parses in, cut before each of cuts, up to the first Lost.
func run(p *Parser, c wireCase, cuts ...int) (events []string, after rest) {
	p.Reset(c.kind, false)
	if c.asked == asked09 {
		p.Expect09()
	}
	if c.named {
		p.Identify()
	}
	at := 0
	for _, cut := range append(cuts, len(c.in)) {
		// A copy, so that a view of an earlier segment shows as garbage.
		segment := []byte(c.in[at:cut])
		events = append(events, feed(p, c.asked, segment)...)
		clear(segment)
		at = cut
		if p.IsLost() {
			return events, rest{}
		}
	}
	after = rest{InMessage: p.InMessage(), Idle: p.Idle()}
	after.Remaining, after.Known = p.InBody()
	after.Finish = [...]string{"", "head", "end", "lost"}[p.Finish()]
	return events, after
}

func TestWire(t *testing.T) {
	names := map[string]bool{}
	for _, c := range wireCases {
		if names[c.name] {
			t.Fatalf("two cases named %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			got, after := run(&Parser{}, c)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if after.Finish != c.finish {
				t.Errorf("Finish: %q, want %q", after.Finish, c.finish)
			}
		})
	}
}

// TestSplit holds that no segmentation changes the events.
func TestSplit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range wireCases {
		t.Run(c.name, func(t *testing.T) {
			checkSplits(t, c, rnd)
		})
	}
}

func checkSplits(t *testing.T, c wireCase, rnd *rand.Rand) {
	t.Helper()
	check := splits(t, c)
	step := max(1, len(c.in)/300)
	for i := 0; i <= len(c.in); i += step {
		check([]int{i})
	}
	if len(c.in) < 4<<10 {
		check(everyByte(len(c.in)))
	}
	for range 50 {
		check(randomCuts(rnd, len(c.in)))
	}
}

// splits returns what holds that a stream which is cut at some places gives the events of
// the whole.
func splits(t *testing.T, c wireCase) func(cuts []int) {
	p := &Parser{Pool: new(Pool)}
	want, wantAfter := run(p, c)
	return func(cuts []int) {
		t.Helper()
		got, after := run(p, c, cuts...)
		if !slices.Equal(want, got) || after != wantAfter {
			t.Fatalf("%.200q cut at %v: %+v, want %+v (-whole +cut):\n%s", c.in, cuts, after, wantAfter, cmp.Diff(want, got))
		}
	}
}

func everyByte(n int) []int {
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

func randomCuts(rnd *rand.Rand, n int) (cuts []int) {
	size := 1 + rnd.IntN(max(1, min(n, 1500)))
	for at := rnd.IntN(size); at < n; at += 1 + rnd.IntN(size) {
		cuts = append(cuts, at)
	}
	return cuts
}
