package printable

// hostByte says whether a byte can stand in an authority (RFC 3986 §3.2), apart
// from user information.
var hostByte = func() (ok [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]%") {
		ok[c] = true
	}
	return ok
}()

// IsHost says whether a name has only bytes that an authority has.
func IsHost(name string) bool {
	for i := range len(name) {
		if !hostByte[name[i]] {
			return false
		}
	}
	return true
}

// AppendHost appends a host's name with bytes that no authority has percent-encoded,
// as RFC 3986 §3.2.2 asks for names of other scripts: so they stay apart, and a
// terminal or a page obeys none of them. What is over most bytes of result is cut, no
// encoded byte in its middle.
func AppendHost[T string | []byte](dst []byte, name T, most int) []byte {
	const hex = "0123456789ABCDEF"
	most += len(dst)
	for i := range len(name) {
		c := name[i]
		switch {
		case hostByte[c] && len(dst) < most:
			dst = append(dst, c)
		case !hostByte[c] && len(dst)+3 <= most:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		default:
			return dst
		}
	}
	return dst
}
