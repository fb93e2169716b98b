package analyzer

// maxNames bounds the host names that names keeps apart, and maxName the length
// of one.
const (
	maxNames = 16384
	maxName  = 128
)

// names gives equal byte strings one string. When it is full it starts over:
// the strings handed out live on with those who hold them.
type names map[string]*string

// intern returns b as a host name fit to be shown: lower case, at most maxName
// bytes of the characters that RFC 3986 §3.2 allows in an authority, the others
// replaced by '_'.
func (t names) intern(b []byte) *string {
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
	if s, ok := t[string(buf[:n])]; ok {
		return s
	}
	if len(t) >= maxNames {
		clear(t)
	}
	s := string(buf[:n])
	t[s] = &s
	return &s
}
