package http2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A recorder writes down what it is told.
type recorder struct {
	events   []string
	times    bool
	responds bool // the first bytes of the server's are written down, too
}

func (r *recorder) add(at int64, format string, args ...any) {
	e := fmt.Sprintf(format, args...)
	if r.times {
		e += fmt.Sprintf(" @%d", at)
	}
	r.events = append(r.events, e)
}

func (r *recorder) take() string {
	s := strings.Join(r.events, ", ")
	r.events = nil
	return s
}

func describe(h *http.Head) string {
	var b strings.Builder
	for _, f := range []struct {
		name  string
		value []byte
	}{{"host", h.Host}, {"agent", h.Agent}, {"server", h.Server}, {"via", h.Via}} {
		if len(f.value) > 0 {
			fmt.Fprintf(&b, " %s=%s", f.name, f.value)
		}
	}
	for _, f := range []struct {
		name string
		is   bool
	}{{"forwarded", h.Forwarded}, {"grpc", h.GRPC}, {"extended", h.Extended}, {"partial", h.Partial}, {"version?", h.Version != http.HTTP2}} {
		if f.is {
			b.WriteString(" " + f.name)
		}
	}
	return b.String()
}

func (r *recorder) Begin(s http.Stream, at int64) { r.add(at, "begin %d", s) }
func (r *recorder) Request(s http.Stream, h *http.Head, at int64) {
	r.add(at, "request %d %v%s", s, h.Method, describe(h))
}
func (r *recorder) Responds(s http.Stream, at int64) {
	if r.responds {
		r.add(at, "responds %d", s)
	}
}
func (r *recorder) Unanswered(s http.Stream, at int64) { r.add(at, "unanswered %d", s) }
func (r *recorder) Response(s http.Stream, h *http.Head, at int64) {
	r.add(at, "response %d %d%s", s, h.Status, describe(h))
}
func (r *recorder) End(s http.Stream, from http.Side, at int64) { r.add(at, "end %d %v", s, from) }
func (r *recorder) Reset(s http.Stream, from http.Side, code http.Code, at int64) {
	r.add(at, "reset %d %v %v", s, from, code)
}
func (r *recorder) Lost(from http.Side, requests uint32) {
	r.events = append(r.events, fmt.Sprintf("lost %v %d", from, requests))
}
func (r *recorder) Settings(from http.Side, streams uint32, at int64) {
	if streams == http.Unlimited {
		r.add(at, "settings %v", from)
		return
	}
	r.add(at, "settings %v %d", from, streams)
}
func (r *recorder) Goaway(from http.Side, last http.Stream, code http.Code, at int64) {
	r.add(at, "goaway %v %d %v", from, last, code)
}
func (r *recorder) Ping(from http.Side, at int64) { r.add(at, "ping %v", from) }
func (r *recorder) Push(at int64)                 { r.add(at, "push") }
func (r *recorder) GRPCStatus(s http.Stream, status http.GRPCStatus, at int64) {
	r.add(at, "grpc %d %v", s, status)
}

// Frames, as they are on the wire.
func frame(kind frameType, flags frameFlags, id uint32, payload string) string {
	n := len(payload)
	return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), byte(kind), byte(flags)}) + be32(id) + payload
}

func be32(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }

func setting(id uint16, v uint32) string {
	return string(binary.BigEndian.AppendUint16(nil, id)) + be32(v)
}

func heads(id uint32, block string) string { return frame(headersFrame, flagEndHeaders, id, block) }
func headsEnd(id uint32, block string) string {
	return frame(headersFrame, flagEndHeaders|flagEndStream, id, block)
}
func data(id uint32, body string) string    { return frame(dataFrame, 0, id, body) }
func dataEnd(id uint32, body string) string { return frame(dataFrame, flagEndStream, id, body) }
func rst(id uint32, code http.Code) string {
	return frame(rstStreamFrame, 0, id, be32(uint32(code)))
}

// fields is a header block of literals that are not indexed: name, value, name, value.
func fields(nv ...string) string {
	var b strings.Builder
	for i := 0; i < len(nv); i += 2 {
		b.WriteString("\x00" + plain(nv[i]) + plain(nv[i+1]))
	}
	return b.String()
}

// plain is a string literal without Huffman's code.
func plain(s string) string {
	if len(s) < 127 {
		return string(rune(len(s))) + s
	}
	b := []byte{127}
	n := len(s) - 127
	for ; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return string(append(b, byte(n))) + s
}

func coded(s string) string {
	b := hpack.AppendHuffmanString(nil, s)
	return string([]byte{byte(len(b)) | 0x80}) + string(b)
}

const (
	get      = "\x82"
	post     = "\x83"
	ok       = "\x88"
	notFound = "\x8d"
	hostA    = "\x41\x01a" // :authority: a, indexed
)

var (
	noSettings = frame(settingsFrame, 0, 0, "")
	ack        = frame(settingsFrame, flagACK, 0, "")
)

// A step is bytes or a gap of one side, and what is told of it.
type step struct {
	from http.Side
	in   string
	gap  int64
	want string
}

func cl(in, want string) step { return step{http.Client, in, 0, want} }
func sv(in, want string) step { return step{http.Server, in, 0, want} }

func clGap(n int64, want string) step { return step{http.Client, "", n, want} }
func svGap(n int64, want string) step { return step{http.Server, "", n, want} }

// closing closes both sides.
func closing(want string) step { return step{http.Client, "", 0, want} }

func (s *step) do(c *Conn, at int64) {
	switch {
	case s.gap != 0:
		c.Gap(s.from, s.gap, at)
	case s.in != "":
		c.Data(s.from, []byte(s.in), at)
	default:
		c.Close(http.Client, at)
		c.Close(http.Server, at)
	}
}

const (
	asked1    = "begin 1, request 1 GET, end 1 client"
	asked3    = "begin 3, request 3 GET, end 3 client"
	asked5    = "begin 5, request 5 GET, end 5 client"
	asked7    = "begin 7, request 7 GET, end 7 client"
	answered1 = "response 1 200, end 1 server"
	answered3 = "response 3 200, end 3 server"
	answered5 = "response 5 200, end 5 server"
	answered7 = "response 7 200, end 7 server"
)

// A wireCase is a conversation. Those without gaps are also cut at every byte.
type wireCase struct {
	name  string
	start Start
	steps []step
}

var wireCases = []wireCase{
	{"preface and settings", Prior, []step{
		cl(Preface+noSettings, "settings client"),
		sv(frame(settingsFrame, 0, 0, setting(3, 100)+setting(4, 1<<20))+ack, "settings server 100"),
		sv(frame(settingsFrame, 0, 0, setting(1, 0)), "settings server 100"),
		cl(ack, ""),
	}},
	{"server first", Prior, []step{
		sv(noSettings, "settings server"),
		cl(Preface+noSettings, "settings client"),
		cl(headsEnd(1, get), asked1),
		sv(headsEnd(1, ok), answered1),
	}},
	{"preface line read elsewhere", PriorLine, []step{
		cl(Preface[prefaceLine:]+noSettings+headsEnd(1, get), "settings client, "+asked1),
	}},
	{"upgraded", Upgraded, []step{
		sv(noSettings+heads(1, ok), "settings server, response 1 200"),
		cl(Preface+noSettings, "settings client"),
		sv(dataEnd(1, "hello"), "end 1 server"),
		cl(headsEnd(3, get), asked3),
		sv(headsEnd(3, ok), answered3),
	}},
	{"no preface", Prior, []step{
		cl("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "lost client 0"),
		sv("HTTP/1.1 400 Bad Request\r\n\r\n", "lost server 0"),
		cl("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
	}},
	{"preface that goes wrong", Prior, []step{cl(Preface[:20]+"xxxx", "lost client 0"), cl(Preface+noSettings, "settings client")}},
	{"request with body, response with body", Prior, []step{
		cl(Preface+heads(1, post)+data(1, "abc")+dataEnd(1, "def"), "begin 1, request 1 POST, end 1 client"),
		sv(heads(1, ok)+data(1, "abc"), "response 1 200"),
		sv(dataEnd(1, ""), "end 1 server"),
	}},
	{"padded and with priority", Prior, []step{
		cl(Preface+frame(headersFrame, flagEndStream|flagEndHeaders|flagPadded|flagPriority, 1, "\x03\x00\x00\x00\x00\x10"+get+"\x00\x00\x00"), asked1),
		cl(frame(headersFrame, flagEndStream|flagEndHeaders|flagPriority, 3, "\x00\x00\x00\x00\x10"+get), asked3),
		cl(frame(headersFrame, flagEndStream|flagEndHeaders|flagPadded, 5, "\x00"+get), asked5),
		sv(frame(headersFrame, flagEndHeaders|flagPadded, 1, "\x01"+ok+"\x00"), "response 1 200"),
		sv(frame(dataFrame, flagEndStream|flagPadded, 1, "\x02x\x00\x00"), "end 1 server"),
		sv(frame(dataFrame, flagEndStream|flagPadded, 3, "\x00"), "end 3 server"),
	}},
	{"padding longer than the frame", Prior, []step{
		cl(Preface+frame(headersFrame, flagEndStream|flagEndHeaders|flagPadded, 1, "\x02"+get), "lost client 0, begin 1, request 1 OTHER partial, end 1 client"),
		cl(frame(headersFrame, flagEndStream|flagEndHeaders|flagPadded, 3, ""), "lost client 0, begin 3, request 3 OTHER partial, end 3 client"),
		cl(frame(headersFrame, flagEndStream|flagPriority, 5, "\x00\x00\x00\x00"), "lost client 0"),
		cl(frame(continuationFrame, flagEndHeaders, 5, get), "begin 5, request 5 OTHER partial, end 5 client"),
	}},
	{"continuation", Prior, []step{
		cl(Preface+frame(headersFrame, flagEndStream, 1, "\x41\x05ab"), ""),
		cl(frame(continuationFrame, 0, 1, ""), ""),
		cl(frame(continuationFrame, 0, 1, "cde"), ""),
		cl(frame(continuationFrame, flagEndHeaders, 1, get), "begin 1, request 1 GET host=abcde, end 1 client"),
		cl(headsEnd(3, get+"\xbe"), "begin 3, request 3 GET host=abcde, end 3 client"),
	}},
	{"continuation of an empty beginning, padded", Prior, []step{
		cl(Preface+frame(headersFrame, flagEndStream|flagPadded, 1, "\x01\x00")+frame(continuationFrame, flagEndHeaders, 1, get), asked1),
	}},
	{"continuation of nothing", Prior, []step{cl(Preface+frame(continuationFrame, flagEndHeaders, 1, get), "lost client 0")}},
	{"continuation of another stream", Prior, []step{
		cl(Preface+frame(headersFrame, 0, 1, get)+frame(continuationFrame, flagEndHeaders, 3, get), "lost client 0")}},
	{"a frame inside a header block", Prior, []step{cl(Preface+frame(headersFrame, 0, 1, get)+noSettings, "lost client 0")}},
	{"interim responses", Prior, []step{
		cl(Preface+headsEnd(1, get), asked1),
		sv(heads(1, fields(":status", "103")), "response 1 103"),
		sv(heads(1, fields(":status", "100")), "response 1 100"),
		sv(heads(1, ok)+dataEnd(1, "x"), answered1),
	}},
	{"trailers", Prior, []step{
		cl(Preface+heads(1, post)+data(1, "x")+headsEnd(1, fields("checksum", "1")), "begin 1, request 1 POST, end 1 client"),
		sv(heads(1, ok)+data(1, "x")+headsEnd(1, fields("checksum", "1")), answered1),
	}},
	{"gRPC", Prior, []step{
		cl(Preface+heads(1, post+fields("content-type", "application/grpc+proto"))+dataEnd(1, "x"), "begin 1, request 1 POST grpc, end 1 client"),
		sv(heads(1, ok)+data(1, "x")+headsEnd(1, fields("grpc-status", "0")), "response 1 200, grpc 1 OK, end 1 server"),
		cl(heads(3, post+fields("content-type", "application/grpc"))+dataEnd(3, "x"), "begin 3, request 3 POST grpc, end 3 client"),
		sv(headsEnd(3, ok+fields("grpc-status", "14", "grpc-message", "x")), "response 3 200, grpc 3 UNAVAILABLE, end 3 server"),
	}},
	{"gRPC statuses that are none", Prior, []step{
		cl(Preface+headsEnd(1, get)+headsEnd(3, get)+headsEnd(5, get), asked1+", "+asked3+", "+asked5),
		sv(headsEnd(1, ok+fields("grpc-status", "17")), "response 1 200, grpc 1 UNKNOWN, end 1 server"),
		sv(headsEnd(3, ok+fields("grpc-status", "")), "response 3 200, grpc 3 UNKNOWN, end 3 server"),
		sv(headsEnd(5, ok+fields("grpc-status", "-1")), "response 5 200, grpc 5 UNKNOWN, end 5 server"),
	}},
	{"grpc-status in a head that is not all", Prior, []step{
		cl(Preface+headsEnd(1, get), asked1),
		sv(heads(1, ok+fields("grpc-status", "5")), "response 1 200"),
	}},
	{"content types that are not gRPC", Prior, []step{
		cl(Preface+headsEnd(1, get+fields("content-type", "application/grp"))+headsEnd(3, get+fields("content-type", "text/html")), asked1+", "+asked3),
		sv(headsEnd(1, ok+fields("content-type", "application/grpc")), answered1),
	}},
	{"resets", Prior, []step{
		cl(Preface+headsEnd(1, get)+headsEnd(3, get)+headsEnd(5, get), asked1+", "+asked3+", "+asked5),
		cl(rst(1, http.Cancel), "reset 1 client CANCEL"),
		sv(rst(1, http.NoError)+rst(3, http.RefusedStream)+rst(3, http.RefusedStream), "reset 3 server REFUSED_STREAM"),
		cl(rst(3, http.Cancel), ""),
		sv(headsEnd(1, ok), ""),
		sv(dataEnd(1, "x"), ""),
		sv(headsEnd(5, ok)+rst(5, http.NoError), answered5),
		cl(rst(7, http.Cancel), ""),
	}},
	{"reset after the response, of an unfinished request", Prior, []step{
		cl(Preface+heads(1, post), "begin 1, request 1 POST"),
		sv(headsEnd(1, ok)+rst(1, http.NoError), answered1+", reset 1 server NO_ERROR"),
		cl(data(1, "x")+dataEnd(1, "x"), ""),
	}},
	{"a code that is not defined", Prior, []step{
		cl(Preface+headsEnd(1, get)+rst(1, 99), asked1+", reset 1 client UNKNOWN"),
	}},
	{"goaway", Prior, []step{
		sv(frame(goawayFrame, 0, 0, be32(1<<31-1)+be32(0)), "goaway server 2147483647 NO_ERROR"),
		sv(frame(goawayFrame, 0, 0, be32(1<<31|5)+be32(11)+"too_many_pings"), "goaway server 5 ENHANCE_YOUR_CALM"),
		cl(Preface+frame(goawayFrame, 0, 0, be32(0)+be32(0)), "goaway client 0 NO_ERROR"),
	}},
	{"ping", Prior, []step{
		cl(Preface+frame(pingFrame, 0, 0, "12345678"), "ping client"),
		sv(frame(pingFrame, flagACK, 0, "12345678")+frame(pingFrame, 0, 0, "abcdefgh"), "ping server"),
	}},
	{"push", Prior, []step{
		cl(Preface+headsEnd(1, get), asked1),
		sv(frame(pushPromiseFrame, flagEndHeaders, 1, be32(2)+get+"\x41\x01p"), "push"),
		sv(frame(pushPromiseFrame, flagPadded, 1, "\x01"+be32(4)+get+"\x00")+frame(continuationFrame, flagEndHeaders, 1, "\xbe"), "push"),
		sv(heads(2, ok+"\x76\x01n")+dataEnd(2, "pushed"), ""),
		sv(headsEnd(1, ok+"\xbe"), "response 1 200 server=n, end 1 server"),
		cl(rst(2, http.Cancel), ""),
		cl(frame(pushPromiseFrame, flagEndHeaders, 1, be32(2)+get), ""),
	}},
	{"what is skipped", Prior, []step{
		cl(Preface+frame(windowUpdateFrame, 0, 0, be32(9))+frame(priorityFrame, 0, 3, "12345")+frame(0xfa, 0xff, 77, "grease")+
			frame(0x10, 0, 0, be32(1)+"u=1")+headsEnd(1, get), asked1),
		sv(frame(settingsFrame, 0, 0, "12345")+frame(settingsFrame, flagACK, 0, setting(3, 1))+frame(pingFrame, 0, 0, "1")+
			frame(goawayFrame, 0, 0, "1234567")+frame(rstStreamFrame, 0, 1, "123")+frame(rstStreamFrame, 0, 1, "")+headsEnd(1, ok), answered1),
	}},
	{"streams that clients do not open", Prior, []step{
		cl(Preface+headsEnd(0, get)+headsEnd(2, get+hostA)+dataEnd(0, "x")+dataEnd(2, "x"), ""),
		cl(headsEnd(1, get+"\xbe"), "begin 1, request 1 GET host=a, end 1 client"),
	}},
	{"ids with the reserved bit", Prior, []step{
		cl(Preface+headsEnd(1<<31|1, get), asked1), sv(headsEnd(1<<31|1, ok), answered1)}},
	{"ids that jump", Prior, []step{
		cl(Preface+headsEnd(1, get)+headsEnd(2001, get), asked1+", begin 2001, request 2001 GET, end 2001 client"),
		sv(headsEnd(5, ok), ""),
		sv(headsEnd(2001, ok)+headsEnd(1, ok), "response 2001 200, end 2001 server, "+answered1),
		closing(""),
	}},
	{"an id that goes back", Prior, []step{
		cl(Preface+headsEnd(5, get)+headsEnd(3, get), asked5), sv(headsEnd(3, ok)+headsEnd(5, ok), answered5)}},
	{"many at once", Prior, []step{
		cl(Preface+headsEnd(1, get)+headsEnd(3, get)+headsEnd(5, get)+headsEnd(7, get), asked1+", "+asked3+", "+asked5+", "+asked7),
		sv(headsEnd(5, ok)+headsEnd(1, ok)+headsEnd(7, ok)+headsEnd(3, ok), answered5+", "+answered1+", "+answered7+", "+answered3),
	}},
	{"methods and statuses", Prior, []step{
		cl(Preface+headsEnd(1, fields(":method", "PATCH"))+headsEnd(3, fields(":method", "BREW"))+headsEnd(5, fields(":path", "/")),
			"begin 1, request 1 PATCH, end 1 client, begin 3, request 3 OTHER, end 3 client, begin 5, request 5 OTHER partial, end 5 client"),
		sv(headsEnd(1, notFound)+headsEnd(3, fields(":status", "20x"))+headsEnd(5, fields(":status", "1000")),
			"response 1 404, end 1 server, response 3 0 partial, end 3 server, response 5 0 partial, end 5 server"),
	}},
	{"fields that are read", Prior, []step{
		cl(Preface+headsEnd(1, get+fields("host", "h", ":authority", "a", "user-agent", "curl/8", "via", "1.1 x", "server", "s")), "begin 1, request 1 GET host=a agent=curl/8 via=1.1 x forwarded, end 1 client"),
		cl(headsEnd(3, get+fields(":authority", "a", "host", "h", "user-agent", "1", "user-agent", "2")), "begin 3, request 3 GET host=a agent=1, end 3 client"),
		cl(headsEnd(5, get+fields("host", "h", "Host", "H")), "begin 5, request 5 GET host=h, end 5 client"),
		cl(headsEnd(7, get+fields("forwarded", "for=1"))+headsEnd(9, get+fields("x-forwarded-for", "1")),
			"begin 7, request 7 GET forwarded, end 7 client, begin 9, request 9 GET forwarded, end 9 client"),
		sv(headsEnd(3, ok+fields("via", "1", "via", "2", "server", "a", "server", "b")), "response 3 200 server=a via=2, end 3 server"),
		sv(headsEnd(5, ok+fields("x-forwarded-for", "1", "via", strings.Repeat("x", 400)+strings.Repeat("y", http.MaxName), "server", strings.Repeat("s", 400))),
			"response 5 200 server="+strings.Repeat("s", http.MaxName)+", end 5 server"),
		sv(headsEnd(7, ok+fields("via", strings.Repeat("x", 100)+strings.Repeat("y", http.MaxName))), "response 7 200 via="+strings.Repeat("y", http.MaxName)+", end 7 server"),
		sv(headsEnd(1, ok+fields("server", "nginx", "via", "2 proxy", "user-agent", "u", "host", "h")), "response 1 200 server=nginx via=2 proxy, end 1 server"),
	}},
	{"extended CONNECT", Prior, []step{
		cl(Preface+heads(1, fields(":method", "CONNECT", ":protocol", "websocket", ":authority", "a")), "begin 1, request 1 CONNECT host=a extended"),
		sv(heads(1, ok)+data(1, "x"), "response 1 200"),
		cl(heads(3, fields(":method", "CONNECT", ":authority", "b:443")), "begin 3, request 3 CONNECT host=b:443"),
		cl(dataEnd(1, "x"), "end 1 client"),
	}},
	{"a frame longer than announced", Prior, []step{
		cl(Preface+noSettings, "settings client"),
		sv(data(1, strings.Repeat("x", minLimit)), ""),
		sv(data(1, strings.Repeat("x", minLimit+1)), "lost server 0"),
	}},
	{"a frame as long as announced", Prior, []step{
		cl(Preface+frame(settingsFrame, 0, 0, setting(5, minLimit+5)), "settings client"),
		cl(frame(settingsFrame, 0, 0, setting(5, minLimit)), "settings client"),
		cl(headsEnd(1, get), asked1),
		sv(heads(1, ok)+data(1, strings.Repeat("x", minLimit+5))+dataEnd(1, ""), answered1),
		cl(data(1, strings.Repeat("x", minLimit+5)), "lost client 0"),
	}},
	{"a second final response", Prior, []step{
		cl(Preface+headsEnd(1, get), asked1), sv(heads(1, ok)+headsEnd(1, notFound), answered1)}},
	{"trailers without a head", Prior, []step{
		cl(Preface+headsEnd(1, get), asked1),
		sv(headsEnd(1, fields("grpc-status", "1")), "grpc 1 CANCELLED, end 1 server")}},
}

func TestWire(t *testing.T) {
	for _, w := range wireCases {
		t.Run(w.name, func(t *testing.T) { w.run(t) })
	}
}

func (w *wireCase) run(t *testing.T) {
	t.Helper()
	var c Conn
	r := new(recorder)
	q := new(Pool)
	c.Reset(q, r, w.start)
	for i, s := range w.steps {
		s.do(&c, int64(i))
		if d := cmp.Diff(s.want, r.take()); d != "" {
			t.Fatalf("step %d %.60q (-want +got):\n%s", i, s.in, d)
		}
	}
	c.Release()
	checkReleased(t, q)
}

// checkReleased checks that a Pool holds nothing but what is spare.
func checkReleased(t *testing.T, q *Pool) {
	t.Helper()
	q.Max, q.MaxStreams = 1, 1
	q.take(0)
	q.takeStreams(0)
	if q.held != 0 || q.heldStreams != 0 {
		t.Errorf("held %d bytes and %d of streams after Release", q.held, q.heldStreams)
	}
}

// TestSplit cuts each conversation in two at every byte, and into single bytes: what is
// told is the same.
func TestSplit(t *testing.T) {
	for _, w := range wireCases {
		want := w.split(func(int) bool { return false })
		if strings.Contains(strings.Join(want, ","), "lost") {
			continue // the rest of that segment is lost too
		}
		t.Run(w.name, func(t *testing.T) {
			check := func(what string, before func(int) bool) {
				if d := cmp.Diff(want, w.split(before)); d != "" {
					t.Fatalf("%s (-whole +cut):\n%s", what, d)
				}
			}
			check("single bytes", func(int) bool { return true })
			for at := range min(w.length(), 4000) {
				check(fmt.Sprint("cut at ", at), func(i int) bool { return i == at })
			}
		})
	}
}

func (w *wireCase) length() (n int) {
	for _, s := range w.steps {
		n += len(s.in)
	}
	return n
}

// split returns what is told where the conversation is cut before some of its bytes. What was
// handed over is overwritten after the call.
func (w *wireCase) split(before func(i int) bool) []string {
	var c Conn
	r := new(recorder)
	c.Reset(new(Pool), r, w.start)
	offset := 0
	for _, s := range w.steps {
		start := 0
		for j := 1; j <= len(s.in); j++ {
			if j == len(s.in) || before(offset+j) {
				b := []byte(s.in[start:j])
				c.Data(s.from, b, 0)
				copy(b, bytes.Repeat([]byte{0xff}, len(b)))
				start = j
			}
		}
		offset += len(s.in)
	}
	return r.events
}

// TestResponds says when the server's first byte on a stream is told.
func TestResponds(t *testing.T) {
	whole := heads(1, ok+hostA) + dataEnd(1, "x")
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"a response", whole, []string{"responds 1 @0", "response 1 200 @12", "end 1 server @22"}},
		{"cut in its head's frame", whole[:10], []string{"responds 1 @0"}},
		{"cut before its stream is known", whole[:8], nil},
		{"an interim one before it", heads(1, fields(":status", "103")) + whole[:13], []string{"responds 1 @0", "response 1 103 @21", "response 1 200 @34"}},
		{"the body of a head that was not seen", data(1, "x") + data(1, "y"), []string{"responds 1 @0"}},
		{"continued", frame(headersFrame, 0, 1, ok) + frame(continuationFrame, flagEndHeaders, 1, ""), []string{"responds 1 @0", "response 1 200 @18"}},
		{"a reset is no response", rst(1, http.Cancel), []string{"reset 1 server CANCEL @12"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, len(c.in)} {
				var conn Conn
				r := &recorder{times: true, responds: true}
				conn.Reset(new(Pool), r, Prior)
				conn.Data(http.Client, []byte(Preface+headsEnd(1, get)), 0)
				r.take()
				for i := 0; i < len(c.in); i += size {
					conn.Data(http.Server, []byte(c.in[i:i+size]), int64(i))
				}
				got, want := strings.Join(r.events, ", "), strings.Join(c.want, ", ")
				if size > 1 {
					got, want = withoutTimes(got), withoutTimes(want)
				}
				if got != want {
					t.Errorf("by %d: %q, want %q", size, got, want)
				}
			}
		})
	}
}

func withoutTimes(s string) string { return regexp.MustCompile(` @\d+`).ReplaceAllString(s, "") }

// TestTimes feeds a byte at each time: a request begins with the first byte of its HEADERS frame, and
// all else is told with the last byte of what says it.
func TestTimes(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string // of the client
		want []string
	}{
		{"one frame", headsEnd(1, get+hostA), []string{"begin 1 @0", "request 1 GET host=a @12", "end 1 client @12"}},
		{"continuation", frame(headersFrame, flagEndStream, 1, get) + frame(continuationFrame, flagEndHeaders, 1, hostA),
			[]string{"begin 1 @0", "request 1 GET host=a @21", "end 1 client @21"}},
		{"body", heads(1, get) + dataEnd(1, "abc"), []string{"begin 1 @0", "request 1 GET @9", "end 1 client @21"}},
		{"after another frame", ack + headsEnd(1, get), []string{"begin 1 @9", "request 1 GET @18", "end 1 client @18"}},
		{"others", noSettings + frame(pingFrame, 0, 0, "12345678") + frame(goawayFrame, 0, 0, be32(0)+be32(0)+"bye"),
			[]string{"settings client @8", "ping client @25", "goaway client 0 NO_ERROR @42"}},
		{"reset", heads(1, get) + rst(1, http.Cancel), []string{"begin 1 @0", "request 1 GET @9", "reset 1 client CANCEL @22"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conn Conn
			r := &recorder{times: true}
			conn.Reset(new(Pool), r, Prior)
			conn.Data(http.Client, []byte(Preface), 0)
			for i := range len(c.in) {
				conn.Data(http.Client, []byte(c.in[i:i+1]), int64(i))
			}
			if d := cmp.Diff(c.want, r.events); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
