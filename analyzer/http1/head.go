package http1

import (
	"bytes"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A head is a message head in the making. It is read into the Message that Next
// was given: to copy what was written just now in smaller parts, a processor has
// to wait.
type head struct {
	*Message
	proxy         http.Tokens // of Proxy-Connection
	begun         bool        // the start line was read
	named         bool        // the software is asked for: see Parser.Identify
	hasConnection bool
	hasLength     bool
	badLength     bool // Content-Length is no number, or two
	coded         bool // Transfer-Encoding names a coding other than identity
	chunked       bool // and the last one is chunked
}

// A verdict is how far the reading of a head came.
type verdict uint8

const (
	isCut       verdict = iota // more lines follow
	isWhole                    // the head is complete
	isBad                      // it is no head
	isMalformed                // it begins like a request, and is none
	isPreface
	isHeadless
)

// start reads what follows a message: blank lines (RFC 9112 §2.2), then a head. B is
// not empty.
func (p *Parser) start(b []byte, m *Message) (int, Event) {
	if p.flags&headless != 0 && !statusLike(b) {
		return 0, p.emitHeadless(m)
	}
	text := b
	for len(text) > 0 && (text[0] == '\n' || text[0] == '\r') {
		text = text[1:]
	}
	if len(text) == 0 {
		return len(b), NeedMore
	}
	*m = Message{Kind: p.kind}
	h := head{Message: m, named: p.flags&identify != 0}
	n, v := h.read(text)
	switch v {
	case isWhole:
		if n > MaxHead {
			return p.lose(b)
		}
		return len(b) - len(text) + n, p.emit(&h)
	case isCut:
		if !p.cut(&h, text, n) {
			return p.lose(b)
		}
		return len(b), NeedMore
	case isPreface:
		return p.http2(len(b) - len(text) + n)
	case isMalformed:
		return len(b) - len(text) + n, p.emitMalformed(m)
	}
	return p.lose(b)
}

// emitMalformed reports the request that m has the method of. Lost follows.
func (p *Parser) emitMalformed(m *Message) Event {
	p.Release()
	p.state = atLoss
	p.flags &^= identify
	*m = Message{Head: http.Head{Method: m.Method, Malformed: true}, Framing: Unframed}
	return Head
}

// Cut reports whether a head has begun, and its start line, or as much of it as tells
// that it is one, was read. Then *m holds what was read, Partial, and nothing more
// of that message is reported: Next skips to a segment that begins like a message.
// It is called before the Gap of bytes that were sent and cut off by a snaplen.
func (p *Parser) Cut(m *Message) bool {
	t := p.part
	if p.state != inHead || t == nil || p.flags&headless != 0 {
		return false
	}
	if !t.head.begun {
		if !begins(p.kind, t.buf) {
			return false
		}
		t.head.cutStart(t.buf)
	}
	if !t.head.hasConnection {
		t.head.Connection = t.head.proxy
	}
	t.msg.Partial, t.msg.Framing, t.msg.ContentLength = true, Unframed, 0
	*m = t.msg
	p.forget()
	p.flags &^= identify
	return true
}

// cutStart reads a start line that was cut: begins holds of it.
func (h *head) cutStart(b []byte) {
	if h.Kind == Response {
		h.statusLine(b)
		return
	}
	h.Method, _ = methodOf(b)
}

// emit completes the message and makes p ready for what its head announces.
func (p *Parser) emit(h *head) Event {
	if !h.hasConnection {
		h.Connection = h.proxy
	}
	h.Framing = h.framing()
	p.state = atEnd
	switch h.Framing {
	case Length:
		if h.ContentLength > 0 {
			p.state, p.rest = inLength, h.ContentLength
		}
	case Chunked:
		p.size()
	case UntilClose:
		p.state = inClose
	case Tunnel:
		p.state = inTunnel
	case Unframed:
		p.state = atLoss
	case NoBody:
	}
	if h.Framing != Length {
		h.ContentLength = 0
	}
	p.flags &^= headless | identify
	return Head
}

func (p *Parser) emitHeadless(m *Message) Event {
	p.Release()
	p.state = inClose
	p.flags &^= headless | identify
	*m = Message{Head: http.Head{Version: http.HTTP09}, Kind: Response, Framing: UntilClose}
	return Head
}

func (p *Parser) http2(n int) (int, Event) {
	p.forget()
	p.flags |= sawPreface
	return n, Lost
}

// framing is RFC 9112 §6.3 in its order; what the request says (HEAD, CONNECT)
// is the caller's to add.
func (h *head) framing() Framing {
	unknown := Unframed
	if h.Kind == Response {
		switch {
		case h.Status == 101:
			return Tunnel
		case h.Status/100 == 1 || h.Status == 204 || h.Status == 304:
			return NoBody
		}
		unknown = UntilClose
	}
	switch {
	case h.chunked:
		return Chunked
	case h.coded || h.badLength:
		return unknown
	case h.hasLength:
		return Length
	case h.Kind == Response:
		return UntilClose
	}
	return NoBody
}

// read reads the complete lines of b, which begins with a start line. N is the length
// of what it is done with: up to b's first line that is cut, or may yet be folded.
func (h *head) read(b []byte) (n int, v verdict) {
	n = bytes.IndexByte(b, '\n') + 1
	if n == 0 {
		if !plausible(h.Kind, b) {
			return 0, isBad
		}
		return 0, isCut
	}
	if v = h.start(b[:n-1]); v != isCut || n >= len(b) {
		return n, v
	}
	fields, v := h.fields(b[n:])
	return n + fields, v
}

// firstBytes has the bit of the lower five bits of each byte that begins a name that
// matters, in either case, or the empty line. Few other bytes share them. Those of
// names that matter only where they are asked for stand apart.
const (
	firstBytes    uint32 = 1<<('c'&31) | 1<<('h'&31) | 1<<('k'&31) | 1<<('p'&31) | 1<<('t'&31) | 1<<'\r' | 1<<'\n'
	softwareBytes uint32 = 1<<('f'&31) | 1<<('s'&31) | 1<<('u'&31) | 1<<('v'&31) | 1<<('x'&31)
	upgradeBytes  uint32 = 1 << ('u' & 31)
)

func (h *head) firstBytes() uint32 {
	set := firstBytes
	if h.named {
		set |= softwareBytes
	}
	if h.Status == 101 {
		set |= upgradeBytes
	}
	return set
}

// fields does what read does, after the start line. B is not empty. A line that begins like
// none that matters costs one search for its end; so do folds of such a line.
func (h *head) fields(b []byte) (n int, v verdict) {
	set := h.firstBytes()
	for rest := b; ; rest = rest[n:] {
		c := rest[0]
		switch {
		case set>>(c&31)&1 == 0:
			n = bytes.IndexByte(rest, '\n') + 1
		case c == '\n':
			return len(b) - len(rest) + 1, isWhole
		case c == '\r' && len(rest) > 1 && rest[1] == '\n':
			return len(b) - len(rest) + 2, isWhole
		default:
			n = h.line(rest)
		}
		if n == 0 {
			return len(b) - len(rest), isCut
		}
		if n >= len(rest) {
			return len(b), isCut
		}
	}
}

// fold returns the end of the field line whose first line ends at end, with the
// lines folded into it (RFC 9112 §5.2), or -1 if b does not hold it all.
func fold(b []byte, end int) int {
	for {
		if end+1 == len(b) {
			return -1
		}
		if !isBlank(b[end+1]) {
			return end
		}
		j := bytes.IndexByte(b[end+1:], '\n')
		if j < 0 {
			return -1
		}
		end += 1 + j
	}
}

func isEmptyLine(line []byte) bool {
	return line[0] == '\n' || line[0] == '\r' && len(line) == 2
}

// start reads a start line, without its line feed. It answers isCut where
// field lines follow.
func (h *head) start(line []byte) verdict {
	h.begun = true
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if h.Kind == Response {
		return h.statusLine(line)
	}
	return h.requestLine(line)
}

// statusLine reads HTTP-version SP status-code [SP reason-phrase].
func (h *head) statusLine(line []byte) verdict {
	if len(line) < 12 || !isVersion(line[:8]) || !isBlank(line[8]) {
		return isBad
	}
	h.Version = version(line[5], line[7])
	code := line[9:]
	for len(code) > 3 && isBlank(code[0]) {
		code = code[1:]
	}
	if len(code) < 3 || len(code) > 3 && !isBlank(code[3]) {
		return isBad
	}
	if !digits(code[:3]) {
		return isBad
	}
	h.Status = uint16(code[0]-'0')*100 + uint16(code[1]-'0')*10 + uint16(code[2]-'0')
	return isCut
}

// requestLine reads method SP request-target SP HTTP-version, with any white
// space between the words, and in the target; or HTTP/0.9's GET SP target.
func (h *head) requestLine(line []byte) verdict {
	if string(line) == "PRI * HTTP/2.0" {
		return isPreface
	}
	method, n := methodOf(line)
	if n <= 0 {
		return isBad
	}
	h.Method = method
	rest := trimRight(line[n+1:])
	if len(rest) >= 10 {
		if v := rest[len(rest)-9:]; isBlank(v[0]) && isVersion(v[1:]) {
			h.Version = version(v[6], v[8])
			target := trimBlank(rest[:len(rest)-9])
			if len(target) == 0 {
				return h.malformed(rest)
			}
			h.target(target)
			return isCut
		}
	}
	if method != http.GET || !isSimple(rest) {
		return h.malformed(rest)
	}
	h.Version = http.HTTP09
	h.target(rest)
	return isWhole
}

// malformed says what a line is that begins with a method, goes on with rest, and
// is no request line. Other protocols have these methods, too: their lines end
// with a version, such as RTSP/1.0.
func (h *head) malformed(rest []byte) verdict {
	last := rest[bytes.LastIndexAny(rest, " \t")+1:]
	n := 0
	for n < len(last) && 'A' <= last[n] && last[n] <= 'Z' {
		n++
	}
	isOther := n > 0 && len(last) > n+1 && last[n] == '/' && digits(last[n+1:n+2]) && string(last[:n]) != "HTTP"
	if h.Method == http.Other || isOther {
		return isBad
	}
	return isMalformed
}

// isSimple reports whether target is that of an HTTP/0.9 request: strict, as
// nothing else tells it from other protocols' lines.
func isSimple(target []byte) bool {
	if len(target) == 0 || target[0] != '/' && !bytes.HasPrefix(target, []byte("http://")) {
		return false
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// target takes the authority of an absolute-form or authority-form target, which
// goes before the Host field (RFC 9112 §3.2.2, §3.2.3).
func (h *head) target(t []byte) {
	if t[0] == '/' || t[0] == '*' && len(t) == 1 {
		return
	}
	if h.Method != http.CONNECT {
		i := bytes.Index(t, []byte("://"))
		if i < 0 || bytes.ContainsAny(t[:i], "/?#") {
			return
		}
		t = t[i+3:]
		h.Absolute = true
	}
	if i := bytes.IndexAny(t, "/?#"); i >= 0 {
		t = t[:i]
	}
	if i := bytes.LastIndexByte(t, '@'); i >= 0 {
		t = t[i+1:]
	}
	h.Host = t
}

// methodOf returns the method that line begins with, and the length of its token: 0 if
// there is none, -1 if the line is too short to say.
func methodOf(line []byte) (http.Method, int) {
	if len(line) > 8 {
		switch string(line[:4]) {
		case "GET ":
			return http.GET, 3
		case "POST":
			if line[4] == ' ' {
				return http.POST, 4
			}
		case "HEAD":
			if line[4] == ' ' {
				return http.HEAD, 4
			}
		}
	}
	n := 0
	for n < len(line) && isTokenByte(line[n]) {
		if n++; n > maxMethod {
			return http.Other, 0
		}
	}
	switch {
	case n == len(line) && n > 0:
		return http.Other, -1
	case n == 0 || !isBlank(line[n]):
		return http.Other, 0
	}
	return http.MethodOf(line[:n]), n
}

// plausible reports whether a message may begin with b, which is not empty and
// holds no line end. It looks at a bounded number of bytes, and never rejects
// what start would accept.
func plausible(kind Kind, b []byte) bool {
	if kind == Response {
		return isStatus(b[:min(len(b), 9)])
	}
	_, n := methodOf(b)
	return n != 0
}

// begins reports whether b begins like a message: what a lost parser waits for.
// It is stricter than plausible, for b may be any bytes of a body.
func begins(kind Kind, b []byte) bool {
	if kind == Response {
		return len(b) >= 12 && isStatus(b[:9]) && b[5] == '1' && digits(b[9:12])
	}
	method, n := methodOf(b)
	if n <= 0 {
		return false
	}
	j := bytes.IndexByte(b, '\n')
	if j < 0 {
		return method != http.Other
	}
	for _, c := range b[:n] {
		if 'a' <= c && c <= 'z' {
			return false
		}
	}
	h := head{Message: &Message{}}
	v := h.start(b[:j])
	return v == isPreface || v == isCut && h.Version != http.HTTP09
}

// statusLike reports whether b, up to its sixth byte, agrees with a status line.
func statusLike(b []byte) bool { return isStatus(b[:min(len(b), 6)]) }

// isStatus reports whether b agrees with "HTTP/1.1 " as far as it goes, nine
// bytes at most; the digits may differ, but the first is 0 or 1.
func isStatus(b []byte) bool {
	if len(b) == 9 {
		return isVersion(b[:8]) && isBlank(b[8])
	}
	const pattern = "HTTP/1.1 "
	for i, c := range b {
		switch {
		case i == 5 && c == '0', i == 7 && '0' <= c && c <= '9', c == pattern[i]:
		default:
			return false
		}
	}
	return true
}

// isVersion reports whether b, of eight bytes, is HTTP/0.x or HTTP/1.x.
func isVersion(b []byte) bool {
	return string(b) == "HTTP/1.1" || string(b[:5]) == "HTTP/" && b[5]|1 == '1' && b[6] == '.' && '0' <= b[7] && b[7] <= '9'
}

func version(major, minor byte) http.Version {
	switch {
	case major == '0':
		return http.HTTP09
	case minor == '0':
		return http.HTTP10
	}
	return http.HTTP11
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isTokenByte reports whether c is a tchar (RFC 9110 §5.6.2).
func isTokenByte(c byte) bool {
	return c < 128 && tchars[c>>6]&(1<<(c&63)) != 0
}

var tchars = [2]uint64{
	0x3ff6cfa_00000000,  // !#$%&'*+-.0123456789
	0x57ffffff_c7fffffe, // A-Z ^_` a-z | ~
}
