package prose

import (
	"strings"
	"unicode/utf8"
)

// Wrap breaks text at spaces into lines of at most width runes, where a word
// allows it. A number and its unit stay together.
func Wrap(text string, width int) []string {
	var lines []string
	var line strings.Builder
	n := 0
	for _, word := range strings.Fields(strings.ReplaceAll(KeepUnits(text), "\u00a0", string(noBreak))) {
		word = strings.ReplaceAll(word, string(noBreak), " ")
		k := utf8.RuneCountInString(word)
		if n > 0 && n+1+k > width {
			lines = append(lines, line.String())
			line.Reset()
			n = 0
		}
		if n > 0 {
			line.WriteByte(' ')
			n++
		}
		line.WriteString(word)
		n += k
	}
	return append(lines, line.String())
}

// KeepUnits ties a digit to the digits or the unit behind it, by U+00A0.
func KeepUnits(text string) string {
	in := []rune(text)
	for i, r := range in {
		if r != ' ' || i == 0 || i+1 >= len(in) {
			continue
		}
		after := in[i+1]
		digit := in[i-1] >= '0' && in[i-1] <= '9'
		if digit && (after >= '0' && after <= '9' || isUnit(in[i+1:])) {
			in[i] = '\u00a0'
		}
	}
	return string(in)
}

// noBreak is a rune for private use: strings.Fields breaks at U+00A0 too.
const noBreak = '\ue000'

func isUnit(rest []rune) bool {
	for _, u := range []string{"s", "ms", "µs", "h", "d", "%"} {
		n := utf8.RuneCountInString(u)
		if len(rest) >= n && string(rest[:n]) == u && (len(rest) == n || !isLetter(rest[n])) {
			return true
		}
	}
	return false
}

func isLetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// Pad fills text up with spaces to a width in runes.
func Pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

// PadLeft puts the spaces in front.
func PadLeft(s string, width int) string {
	return strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0)) + s
}

// Shorten cuts the middle out of text that is too long: host names differ in
// front, ports behind.
func Shorten(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	front := (width - 1) * 2 / 3
	return string(r[:front]) + "…" + string(r[len(r)-(width-1-front):])
}
