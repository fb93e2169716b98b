package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A seen is what both parsers say of a message.
type seen struct {
	Method  string
	Status  int
	Version string
	Framing string
	Length  int64 // of a body of known length
	Close   bool
	Name    string // User-Agent or Server, each white space one blank
	End     int    // offset of the message's end in the stream; -1 is not reached
}

// netSeen parses a stream with net/http, up to what it refuses, or what this
// package reads in another way on purpose.
func netSeen(kind Kind, in []byte) (messages []seen) {
	src := bytes.NewReader(in)
	br := bufio.NewReaderSize(src, 16)
	at := func() int { return len(in) - src.Len() - br.Buffered() }
	for at() < len(in) {
		start := at()
		s, body, ok := netHead(kind, br)
		if !ok || deviates(kind, in[start:at()]) {
			return messages
		}
		s.End = -1
		if s.Framing == "tunnel" {
			return append(messages, s)
		}
		_, err := io.Copy(io.Discard, body)
		switch {
		case err == nil && s.Framing != "close":
			s.End = at()
		case s.Framing == "chunked" && !errors.Is(err, io.ErrUnexpectedEOF):
			// It is stricter in chunks and trailers.
			return messages
		}
		messages = append(messages, s)
		if s.End < 0 {
			return messages
		}
	}
	return messages
}

func netHead(kind Kind, br *bufio.Reader) (s seen, body io.Reader, ok bool) {
	if kind == Request {
		r, err := nethttp.ReadRequest(br)
		if err != nil || r.ProtoMajor > 1 {
			return s, nil, false
		}
		s = seen{Method: r.Method, Version: r.Proto, Close: r.Close}
		s.Framing, s.Length = netFraming(r.ContentLength, r.TransferEncoding, "none")
		s.Name = netName(r.Header["User-Agent"])
		if http.MethodOf([]byte(s.Method)) == http.Other {
			s.Method = http.Other.String()
		}
		return s, r.Body, len(r.Method) <= maxMethod
	}
	r, err := nethttp.ReadResponse(br, nil) //nolint:bodyclose // the caller reads it, and has nothing to release
	if err != nil || r.ProtoMajor > 1 {
		return s, nil, false
	}
	s = seen{Status: r.StatusCode, Version: r.Proto, Close: r.Close}
	s.Framing, s.Length = netFraming(r.ContentLength, r.TransferEncoding, "close")
	s.Name = netName(r.Header["Server"])
	switch {
	case r.StatusCode == nethttp.StatusSwitchingProtocols:
		s.Framing, s.Length = "tunnel", 0
	case r.StatusCode/100 == 1, r.StatusCode == nethttp.StatusNoContent, r.StatusCode == nethttp.StatusNotModified:
		s.Framing, s.Length = "none", 0
	}
	return s, r.Body, true
}

func netFraming(length int64, coding []string, without string) (string, int64) {
	switch {
	case len(coding) > 0:
		return "chunked", 0
	case length > 0:
		return "length", length
	case length == 0:
		return "none", 0
	}
	return without, 0
}

// netName returns the first value that is not empty, as much of it as is kept.
func netName(values []string) string {
	for _, v := range values {
		if v != "" {
			return sameName(v)
		}
	}
	return ""
}

// sameName evens out what the two make of folds, and of the cap.
func sameName(v string) string {
	v = strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r < 128 && isSpace(byte(r)) }), " ")
	return v[:min(len(v), http.MaxName/2)]
}

var blankBeforeColon = regexp.MustCompile(`\n[^\r\n:]*[ \t]:`)

// deviates reports whether the head is one that this package reads otherwise than
// net/http, on purpose:
//   - Transfer-Encoding on HTTP/1.0 counts (net/http ignores it);
//   - Proxy-Connection counts where Connection is absent;
//   - blanks between a field's name and its colon are dropped, as RFC 9112 §5.1
//     asks of who reads a response; net/http reads another field's name;
//   - the status is three digits (net/http takes "+20");
//   - CONNECT has a target, too (net/http takes none for an empty authority);
//   - a head has MaxHead bytes at most.
func deviates(kind Kind, head []byte) bool {
	if blankBeforeColon.Match(head) {
		return true
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	lower := bytes.ToLower(head)
	has := func(s string) bool { return bytes.Contains(lower, []byte(s)) }
	switch {
	case len(head) > MaxHead,
		has("transfer-encoding") && bytes.Contains(line, []byte("HTTP/1.0")),
		has("transfer-encoding") && bytes.Contains(line, []byte("HTTP/0.")),
		has("proxy-connection") && !has("\nconnection:"):
		return true
	case kind == Response:
		f := strings.Fields(string(line))
		return len(f) < 2 || !digits([]byte(f[1]))
	}
	return bytes.HasPrefix(line, []byte("CONNECT  "))
}

// ourSeen parses a stream with a Parser, up to what is Lost.
func ourSeen(kind Kind, in []byte) (messages []seen) {
	p := &Parser{}
	p.Reset(kind, false)
	var m Message
	for at := 0; ; {
		p.Identify()
		n, ev := p.Next(in[at:], &m)
		at += n
		switch ev {
		case NeedMore, Lost:
			return messages
		case Head:
			messages = append(messages, ourHead(&m))
		case End:
			messages[len(messages)-1].End = at
		}
	}
}

func ourHead(m *Message) seen {
	s := seen{Version: [...]string{"", "HTTP/0", "HTTP/1.0", "HTTP/1"}[m.Version], End: -1,
		Framing: [...]string{"none", "length", "chunked", "close", "tunnel", "unframed"}[m.Framing], Length: int64(m.ContentLength)}
	if m.Framing == Length && m.ContentLength == 0 {
		s.Framing = "none"
	}
	if m.Kind == Request {
		s.Method, s.Name = m.Method.String(), sameName(string(m.Agent))
	} else {
		s.Status, s.Name = int(m.Status), sameName(string(m.Server))
	}
	s.Close = m.Connection&http.Close != 0
	switch {
	case m.Version == http.HTTP09, m.Framing == UntilClose:
		s.Close = true
	case m.Version == http.HTTP10:
		s.Close = s.Close || m.Connection&http.KeepAlive == 0
	}
	return s
}

// sameVersion folds net/http's version to ours.
func sameVersion(s string) string {
	switch {
	case s == "HTTP/1.0":
		return s
	case strings.HasPrefix(s, "HTTP/0."):
		return "HTTP/0"
	}
	return "HTTP/1"
}

// compare holds that wherever net/http accepts a stream, so does this package,
// and both see the same messages. It accepts more: see the wire cases.
func compare(t *testing.T, kind Kind, in []byte) {
	t.Helper()
	want := netSeen(kind, in)
	for i := range want {
		want[i].Version = sameVersion(want[i].Version)
	}
	got := ourSeen(kind, in)
	if len(got) > len(want) {
		got = got[:len(want)]
	}
	if len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%.2000q (-net/http +ours):\n%s", in, diff)
	}
}

func TestDifferential(t *testing.T) {
	n := 0
	for _, c := range wireCases {
		n += len(netSeen(c.kind, []byte(c.in)))
		compare(t, c.kind, []byte(c.in))
	}
	if n < 60 {
		t.Errorf("net/http accepts %d messages of the wire cases: the comparison is empty", n)
	}
}

// TestDifferentialGenerated compares on streams made of pieces that are each
// likely to be accepted.
func TestDifferentialGenerated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	n := 0
	for range 5000 {
		kind := Kind(rnd.IntN(2))
		in := generate(rnd, kind)
		n += len(netSeen(kind, in))
		compare(t, kind, in)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d messages compared", n)
	if n < 5000 {
		t.Errorf("only %d messages compared", n)
	}
}

// generate returns a stream of some messages, most of them well-formed.
func generate(rnd *rand.Rand, kind Kind) []byte {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	var b bytes.Buffer
	for range 1 + rnd.IntN(4) {
		eol := pick("\r\n", "\r\n", "\n")
		version := pick("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.3")
		if kind == Request {
			b.WriteString(pick("GET", "POST", "PUT", "M-SEARCH", "get", "OPTIONS") + " " +
				pick("/", "/a?b", "http://h:1/x", "*") + " " + version + eol)
		} else {
			b.WriteString(version + " " + pick("200 OK", "204 x", "304", "100 Continue", "404 Not Found", "200") + eol)
		}
		for range rnd.IntN(4) {
			b.WriteString(pick("Host: a", "Accept: */*", "Cookie: c=d", "Connection: close", "connection: Keep-Alive, x",
				"Connection: upgrade", "X: a"+eol+" Connection: close", "User-Agent: a/1 (b)", "user-agent:", "User-Agent:  c"+eol+"  d ", "Server: nginx/1.2", "SERVER: e",
				"Connection: x,"+eol+"\tclose", "Keep-Alive: timeout=3") + eol)
		}
		switch body := strings.Repeat("x", rnd.IntN(40)); rnd.IntN(4) {
		case 0:
			fmt.Fprintf(&b, "Content-Length: %d%s%s%s", len(body), eol, eol, body)
		case 1:
			fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x%s\r\n%s\r\n", len(body)+1, pick("", ";a=b", ";"), body+"x")
			b.WriteString("0" + pick("\r\n\r\n", ";x\r\n\r\n", "\r\nA: b\r\n\r\n", "\r\nA: b\r\nC: d\r\n\r\n"))
		case 2:
			fmt.Fprintf(&b, "Content-Length: %d%sContent-Length: %d%s%s%s", len(body), eol, len(body)+rnd.IntN(2), eol, eol, body)
		default:
			b.WriteString(eol)
		}
	}
	out := b.Bytes()
	if rnd.IntN(4) == 0 {
		out = out[:rnd.IntN(len(out)+1)]
	}
	return out
}

func addSeeds(f *testing.F) {
	for _, c := range wireCases {
		if len(c.in) < 4<<10 {
			f.Add([]byte(c.in), c.kind == Response)
		}
	}
}

func kindOf(response bool) Kind {
	if response {
		return Response
	}
	return Request
}

func FuzzDifferential(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, in []byte, response bool) {
		compare(t, kindOf(response), in)
	})
}

// FuzzParser holds that no segmentation changes the events of any stream: of a run one
// that the seed chooses, which the engine changes as it does the stream.
func FuzzParser(f *testing.F) {
	for _, c := range wireCases {
		if len(c.in) < 4<<10 {
			f.Add([]byte(c.in), c.kind == Response, uint8(c.asked), c.named, uint64(1))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, response bool, a uint8, named bool, seed uint64) {
		c := wireCase{kind: kindOf(response), asked: asking(a % 4), named: named, in: string(in)}
		if c.kind == Request {
			c.asked = askedGET
		}
		rnd, check := rand.New(rand.NewPCG(seed, 0)), splits(t, c)
		switch n := len(in); seed % 4 {
		case 0:
			check(everyByte(n))
		case 1:
			check(randomCuts(rnd, n))
		default:
			check([]int{rnd.IntN(n + 1)})
		}
	})
}

// FuzzGap holds that gaps do no harm: each Head has one End at most, none comes
// without, and a parser that is lost finds the next message.
func FuzzGap(f *testing.F) {
	f.Add([]byte(chunkedHead+"5\r\nabcde\r\n0\r\n\r\n"), true, uint64(1))
	f.Add([]byte("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcdeGET / HTTP/1.1\r\n\r\n"), false, uint64(2))
	f.Fuzz(func(t *testing.T, in []byte, response bool, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		p := &Parser{Pool: new(Pool)}
		p.Reset(kindOf(response), seed%2 == 0)
		open := false
		end := func(ended bool) {
			if ended && !open {
				t.Fatal("an end without a head")
			}
			open = open && !ended
		}
		for len(in) > 0 {
			n := 1 + rnd.IntN(len(in))
			segment := in[:n]
			in = in[n:]
			if rnd.IntN(4) == 0 {
				ended, isLost := p.Gap(int64(n))
				end(ended)
				open = open && !isLost
				continue
			}
			open = feedOpen(t, p, segment, open, end)
		}
		end(p.Finish() == End)
		p.Release()
		if held, spare := p.Pool.Held(), int64(p.Pool.spare); held < 0 || spare == 0 && held != 0 {
			t.Fatalf("%d bytes held, %d spare", held, spare)
		}
	})
}

func feedOpen(t *testing.T, p *Parser, b []byte, open bool, end func(bool)) bool {
	t.Helper()
	var m Message
	for {
		n, ev := p.Next(b, &m)
		b = b[n:]
		switch ev {
		case NeedMore:
			return open
		case Head:
			open = m.Framing != Tunnel
		case End:
			if !open {
				t.Fatal("an end without a head")
			}
			open = false
		case Lost:
			open = false
		}
	}
}
