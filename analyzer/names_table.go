package analyzer

import (
	"bytes"

	"github.com/keepscope/keepscope/sniffer/printable"
)

// maxNames bounds the host names that names keeps apart, and maxName the length
// of one.
const (
	maxNames = 16384
	maxName  = 128
)

// names gives equal byte strings one string. When it is full it starts over:
// the strings handed out live on with those who hold them.
type names struct {
	known   map[string]*string
	emptied uint64       // how often it was full
	recent  [256]*string // found last, by a cheap hash: names come again and again (BenchmarkVerdicts)
}

// host interns a host name that came from the wire.
func (t *names) host(b []byte) *string {
	if s := *t.place(b); s != nil && *s == string(b) {
		return s
	}
	return t.intern(hostOf(b))
}

// hostOf returns the host and port that b begins with (RFC 3986 §3.2). A malformed
// name may hold more of a URI, or of a header section, which is nobody's business
// here: a password before an '@', and whatever follows. A backslash counts as a
// slash, for browsers take it for one.
func hostOf(b []byte) []byte {
	if i := bytes.IndexAny(b, `/?#\`); i >= 0 {
		b = b[:i]
	}
	b = b[bytes.LastIndexByte(b, '@')+1:]
	var n int
	if len(b) > 0 && b[0] == '[' {
		n = 1 + run(b[1:], func(c byte) bool { return isHex(c) || c == ':' || c == '.' })
		if n < len(b) && b[n] == ']' {
			n++
		}
	} else {
		n = run(b, func(c byte) bool {
			return 'a' <= c|0x20 && c|0x20 <= 'z' || isDigit(c) || c == '.' || c == '-' || c == '_' || c >= 0x80
		})
	}
	if n < len(b) && b[n] == ':' {
		if port := run(b[n+1:], isDigit); port > 0 {
			n += 1 + port
		}
	}
	return b[:n]
}

// run returns how many bytes b begins with that are of a kind.
func run(b []byte, kind func(byte) bool) int {
	n := 0
	for n < len(b) && kind(b[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// intern returns b as a name fit to be shown: in lower case, cut to maxName bytes, and
// what is no byte of an authority encoded, so that names of other scripts stay apart.
func (t *names) intern(b []byte) *string {
	recent := t.place(b)
	if s := *recent; s != nil && *s == string(b) {
		return s
	}
	*recent = t.clean(b)
	return *recent
}

// place is where a name that was found lately would be.
func (t *names) place(b []byte) **string {
	n := len(b)
	if n == 0 {
		return &t.recent[0]
	}
	return &t.recent[(uint(b[n-1])*31^uint(b[n/2])*7^uint(b[0])^uint(n))%uint(len(t.recent))]
}

func (t *names) clean(b []byte) *string {
	var lower, buf [maxName]byte
	n := copy(lower[:], b)
	for i, c := range lower[:n] {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	name := printable.AppendHost(buf[:0], lower[:n], maxName)
	if s, ok := t.known[string(name)]; ok {
		return s
	}
	if len(t.known) >= maxNames {
		t.emptied++
		clear(t.known)
		clear(t.recent[:])
	}
	s := string(name)
	t.known[s] = &s
	return &s
}
