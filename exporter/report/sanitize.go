package report

// maxName is the longest server name that is kept: DNS allows 253 bytes, but
// a longer one than this fits no table and is more likely an attack.
const maxName = 128

// hostByte says whether a byte can stand in a host name, an address or a port.
// Everything else a client may have put into Host, terminal escapes first of
// all, is replaced before it reaches a table or a terminal.
var hostByte = func() (ok [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]%") {
		ok[c] = true
	}
	return ok
}()

func isClean(name string) bool {
	if len(name) > maxName {
		return false
	}
	for i := range len(name) {
		if !hostByte[name[i]] {
			return false
		}
	}
	return true
}

// cleanInto writes the clean form of name to buf and returns the part used.
func cleanInto(buf *[maxName]byte, name string) []byte {
	n := min(len(name), maxName)
	for i := range n {
		c := name[i]
		if !hostByte[c] {
			c = '?'
		}
		buf[i] = c
	}
	return buf[:n]
}

// isFormat says whether r is one of the invisible runes that reorder or split
// a line.
func isFormat(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff
}
