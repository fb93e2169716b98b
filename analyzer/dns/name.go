package dns

// A nameReader reads one name after the other.
type nameReader struct {
	n     int    // bytes of text
	hash  uint64 // of text
	steps int    // bytes and pointers read for it
	text  [maxName]byte
}

// read reads the name at a place of msg (RFC 1035 §4.1.4) and returns what
// comes after it, -1 where it is malformed. A pointer must lead back, so no name
// is endless.
func (r *nameReader) read(msg []byte, at int) (after int) {
	after = -1
	r.n, r.hash, r.steps = 0, hashBasis, 0
	for pointers, limit := 0, at; ; {
		if at < 0 || at >= len(msg) {
			return -1
		}
		switch size := int(msg[at]); size & 0xc0 {
		case 0:
			at++
			if size == 0 {
				if after < 0 {
					after = at
				}
				return after
			}
			if at+size > len(msg) || !r.label(msg[at:at+size]) {
				return -1
			}
			at += size
		case 0xc0:
			to, ok := pointerAt(msg, at)
			if pointers++; !ok || to >= limit || pointers > maxPointers {
				return -1
			}
			if after < 0 {
				after = at + 2
			}
			r.steps++
			at, limit = to, to
		default:
			return -1
		}
	}
}

// label appends a label, after a dot where it is not the first.
func (r *nameReader) label(b []byte) bool {
	dot := min(r.n, 1)
	if r.n+dot+len(b) > maxName {
		return false
	}
	n, h := r.n, r.hash
	if dot == 1 {
		r.text[n] = '.'
		h = hashByte(h, '.')
		n++
	}
	for _, c := range b {
		c = hostBytes[c]
		r.text[n] = c
		h = hashByte(h, c)
		n++
	}
	r.steps += n - r.n
	r.n, r.hash = n, h
	return true
}

// pointerAt returns where the pointer at a place of msg leads, if one is there.
func pointerAt(msg []byte, at int) (to int, ok bool) {
	if at+1 >= len(msg) || msg[at] < 0xc0 {
		return 0, false
	}
	return int(msg[at]&0x3f)<<8 | int(msg[at+1]), true
}

// hostBytes folds the bytes of a label. Those of other scripts stay.
var hostBytes = func() (table [256]byte) {
	for i := range table {
		switch b := byte(i); {
		case 'A' <= b && b <= 'Z':
			table[i] = b + 'a' - 'A'
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9', b == '-', b == '_', b >= 0x80:
			table[i] = b
		default:
			table[i] = '?'
		}
	}
	return table
}()

// hashBasis and hashByte are FNV-1a: the same in every run.
const hashBasis = 14695981039346656037

func hashByte(h uint64, b byte) uint64 { return (h ^ uint64(b)) * 1099511628211 }
