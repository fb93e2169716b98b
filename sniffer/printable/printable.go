// Package printable makes text from outside fit to be shown: the names of files
// and interfaces, and error messages that hold them. What a terminal would obey,
// what would break a line of a log, and what reorders or hides its neighbours is
// written as the escape that Go would write; letters of all scripts stay as they
// are, so that names which differ still do.
//
//	what                                         becomes
//	control characters (C0, DEL, C1)             \x1b, \n, \u009b
//	bytes that are no UTF-8                      \xff
//	what has no shape of its own: directions,    \u202e
//	joiners, separators, byte order mark,
//	private use, what Unicode does not assign
//
// A backslash stays as it is: the result is for eyes, and not to be read back.
// Text that is fine is returned as it is, without a copy.
package printable

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text returns s with all escaped that is not printable.
func Text(s string) string { return escape(s, "") }

// Lines is Text for text of several lines: line feeds and tabs stay.
func Lines(s string) string { return escape(s, "\n\t") }

// escape escapes all that is not printable but the bytes in keep.
func escape(s, keep string) string {
	clean := cleanPrefix(s, keep)
	if clean == len(s) {
		return s
	}
	out := append(make([]byte, 0, len(s)+16), s[:clean]...)
	for rest := s[clean:]; rest != ""; {
		n := cleanPrefix(rest, keep)
		out = append(out, rest[:n]...)
		if rest = rest[n:]; rest == "" {
			break
		}
		r, size := utf8.DecodeRuneInString(rest)
		if r == utf8.RuneError && size == 1 {
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'x', hex[rest[0]>>4], hex[rest[0]&15])
		} else {
			quoted := strconv.AppendQuoteRune(nil, r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		rest = rest[size:]
	}
	return string(out)
}

// cleanPrefix returns how many bytes of s come before what has to be escaped.
func cleanPrefix(s, keep string) int {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if (c < ' ' || c == 0x7f) && strings.IndexByte(keep, c) < 0 {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return i
		}
		i += size
	}
	return len(s)
}
