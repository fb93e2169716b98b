package analyzer

import "bytes"

// maxNames bounds the host names that names keeps apart, and maxName the length
// of one.
const (
	maxNames = 16384
	maxName  = 128
)

// names gives equal byte strings one string. When it is full it starts over:
// the strings handed out live on with those who hold them.
type names struct {
	known  map[string]*string
	recent [256]*string // found last, by a cheap hash: names come again and again (BenchmarkVerdicts)
}

// host interns a host name that came from the wire. A malformed one may hold
// more of a URI than that, which is nobody's business here: a path and a query,
// and a password before an '@' (RFC 3986 §3.2). A backslash counts as a slash,
// for browsers take it for one.
func (t *names) host(b []byte) *string {
	for i, c := range b {
		if c == '/' || c == '?' || c == '#' || c == '\\' {
			b = b[:i]
			break
		}
	}
	return t.intern(b[bytes.LastIndexByte(b, '@')+1:])
}

// intern returns b as a name fit to be shown: lower case, at most maxName bytes
// of the characters that RFC 3986 §3.2 allows in an authority, the others
// replaced by '_'.
func (t *names) intern(b []byte) *string {
	recent := &t.recent[0]
	if n := len(b); n > 0 {
		recent = &t.recent[(uint(b[n-1])*31^uint(b[n/2])*7^uint(b[0])^uint(n))%uint(len(t.recent))]
	}
	if s := *recent; s != nil && *s == string(b) {
		return s
	}
	*recent = t.clean(b)
	return *recent
}

func (t *names) clean(b []byte) *string {
	var buf [maxName]byte
	n := copy(buf[:], b)
	for i, c := range buf[:n] {
		switch {
		case 'A' <= c && c <= 'Z':
			buf[i] = c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == ':', c == '[', c == ']':
		default:
			buf[i] = '_'
		}
	}
	if s, ok := t.known[string(buf[:n])]; ok {
		return s
	}
	if len(t.known) >= maxNames {
		clear(t.known)
		clear(t.recent[:])
	}
	s := string(buf[:n])
	t.known[s] = &s
	return &s
}
