package http1

import (
	"bytes"
	"math"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A field is one of the header fields that matter.
type field uint8

const (
	noField field = iota
	connectionField
	proxyConnectionField
	contentLengthField
	transferEncodingField
	keepAliveField
	hostField
	upgradeField
	agentField
	serverField
	viaField
	forwardedField
	forwardedForField
)

// longestName is the length of "Transfer-Encoding" and the byte after it.
const longestName = 18

// fieldOf returns which field the line is of, if it holds the whole name and the
// byte after that.
func fieldOf(line []byte) field {
	if len(line) == 0 {
		return noField
	}
	f, name := noField, ""
	switch line[0] | 0x20 {
	case 'c':
		switch {
		case isNameEnd(line, 10):
			f, name = connectionField, "connection"
		case isNameEnd(line, 14):
			f, name = contentLengthField, "content-length"
		}
	case 'f':
		f, name = forwardedField, "forwarded"
	case 'h':
		f, name = hostField, "host"
	case 'k':
		f, name = keepAliveField, "keep-alive"
	case 't':
		f, name = transferEncodingField, "transfer-encoding"
	case 'p':
		f, name = proxyConnectionField, "proxy-connection"
	case 's':
		f, name = serverField, "server"
	case 'u':
		switch {
		case isNameEnd(line, 10):
			f, name = agentField, "user-agent"
		case isNameEnd(line, 7):
			f, name = upgradeField, "upgrade"
		}
	case 'v':
		f, name = viaField, "via"
	case 'x':
		f, name = forwardedForField, "x-forwarded-for"
	}
	if f == noField || !isNameEnd(line, len(name)) || !isFold(line[:len(name)], name) {
		return noField
	}
	return f
}

var nameLen = [...]int{connectionField: 10, proxyConnectionField: 16, contentLengthField: 14,
	transferEncodingField: 17, keepAliveField: 10, hostField: 4, upgradeField: 7, agentField: 10, serverField: 6,
	viaField: 3, forwardedField: 9, forwardedForField: 15}

// isNameEnd reports whether a name of length n may end in line: at a colon, or at
// white space before it, which RFC 9112 §5.1 has recipients reject or remove.
func isNameEnd(line []byte, n int) bool {
	return len(line) > n && (line[n] == ':' || isBlank(line[n]))
}

// mayMatter reports whether a line that begins with b, and has no end in it, may be of
// a field that matters, or the empty line.
func (h *head) mayMatter(b []byte) bool {
	switch {
	case len(b) == 0:
		return true
	case b[0] == '\r':
		return len(b) == 1
	case h.firstBytes()>>(b[0]&31)&1 == 0:
		return false
	}
	return len(b) < longestName || fieldOf(b) != noField
}

// isFold reports whether b is name, which is in lower case, in any case.
func isFold(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range len(name) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// field reads a line of the field f with its folds, without the last line feed.
// The line ends inside it are white space (RFC 9112 §5.2).
func (h *head) field(f field, line []byte) {
	i := nameLen[f]
	for i < len(line) && isBlank(line[i]) {
		i++
	}
	if i == len(line) || line[i] != ':' {
		return
	}
	value := trim(line[i+1:])
	switch f {
	case connectionField:
		h.hasConnection = true
		h.Connection |= tokens(value)
	case proxyConnectionField:
		h.proxy |= tokens(value)
	case contentLengthField:
		h.length(value)
	case transferEncodingField:
		h.codings(value)
	case keepAliveField:
		h.keepAlive(value)
	case hostField:
		if h.Kind == Request && len(h.Host) == 0 {
			h.Host = value
		}
	case upgradeField:
		h.upgrade(value)
	default:
		h.software(f, value)
	}
}

// upgrade reads an Upgrade field: a 101 names the one protocol that follows.
func (h *head) upgrade(list []byte) {
	if h.Kind != Response || h.Status != 101 {
		return
	}
	for len(list) > 0 {
		var protocol []byte
		protocol, list = element(list)
		h.H2C = h.H2C || isFold(protocol, "h2c")
	}
}

// software reads a field that names who sent the message, or says that it was
// passed on. Of User-Agent and Server the first counts, of Via the last.
func (h *head) software(f field, value []byte) {
	if !h.named {
		return
	}
	switch {
	case f == viaField:
		h.Via = value[max(0, len(value)-http.MaxName):]
		h.Forwarded = h.Forwarded || h.Kind == Request
	case f == serverField:
		if h.Kind == Response && len(h.Server) == 0 {
			h.Server = value[:min(len(value), http.MaxName)]
		}
	case h.Kind == Response:
	case f == agentField:
		if len(h.Agent) == 0 {
			h.Agent = value[:min(len(value), http.MaxName)]
		}
	default:
		h.Forwarded = true
	}
}

// tokens reads a list of connection options.
func tokens(list []byte) (set http.Tokens) {
	for len(list) > 0 {
		var token []byte
		token, list = element(list)
		switch {
		case isFold(token, "close"):
			set |= http.Close
		case isFold(token, "keep-alive"):
			set |= http.KeepAlive
		case isFold(token, "upgrade"):
			set |= http.Upgrade
		}
	}
	return set
}

// length reads a Content-Length. A list of equal numbers counts as one
// (RFC 9110 §8.6); anything else that is no number is bad.
func (h *head) length(list []byte) {
	if len(list) == 0 {
		h.badLength = true
	}
	for len(list) > 0 {
		var token []byte
		token, list = element(list)
		n, ok := number(token)
		if !ok || h.hasLength && n != h.ContentLength {
			h.badLength = true
		}
		h.ContentLength, h.hasLength = n, true
	}
}

// codings reads a Transfer-Encoding. Identity, which RFC 2616 had for "none" and
// servers still send beside Content-Length, is as if absent.
func (h *head) codings(list []byte) {
	for len(list) > 0 {
		var token []byte
		token, list = element(list)
		if len(token) == 0 || isFold(token, "identity") {
			continue
		}
		h.coded = true
		h.chunked = isFold(token, "chunked")
	}
}

// keepAlive reads timeout=N and max=N, separated by commas or semicolons, where
// N may be quoted. What follows the digits is ignored.
func (h *head) keepAlive(list []byte) {
	for len(list) > 0 {
		var param []byte
		i := bytes.IndexAny(list, ",;")
		if i < 0 {
			i = len(list)
		}
		param, list = list[:i], list[min(i+1, len(list)):]
		i = bytes.IndexByte(param, '=')
		if i < 0 {
			continue
		}
		n, ok := leadingNumber(bytes.TrimLeft(param[i+1:], " \t\r\n\""))
		if !ok {
			continue
		}
		switch name := trim(param[:i]); {
		case isFold(name, "timeout"):
			h.KeepAliveTimeout, h.HasKeepAliveTimeout = n, true
		case isFold(name, "max"):
			h.KeepAliveMax, h.HasKeepAliveMax = n, true
		}
	}
}

// element returns the first element of a comma-separated list, and the rest.
func element(list []byte) (first, rest []byte) {
	i := bytes.IndexByte(list, ',')
	if i < 0 {
		return trim(list), nil
	}
	return trim(list[:i]), list[i+1:]
}

// number reads 1*DIGIT that fits 63 bits.
func number(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (math.MaxInt64-uint64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(b) > 0
}

// leadingNumber reads the digits that b begins with, the greatest uint32 at most.
func leadingNumber(b []byte) (n uint32, ok bool) {
	var v uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		v, ok = min(v*10+uint64(c-'0'), math.MaxUint32), true
	}
	return uint32(v), ok
}

// trim cuts white space, line ends with it, from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c <= ' ' && (c == ' ' || c == '\t' || c == '\r' || c == '\n') }

func trimRight(b []byte) []byte {
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// trimBlank cuts spaces and tabs from both ends.
func trimBlank(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
