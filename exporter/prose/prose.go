// Package prose writes figures and sentences for people: percentages, times,
// counts, bytes, plurals, and lines that fit. Every view writes them by these
// rules: the text report, the page and the live table.
package prose

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Count writes a count with its digits in groups of three: 1 000 546.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	if len(s) <= 4 {
		return s
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Plural writes a count and what it counts.
func Plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(n) + " " + noun + "s"
}

// PluralWere is the subject with its verb: "1 handshake was", "2 handshakes were".
func PluralWere(n uint64, noun string) string {
	if n == 1 {
		return Plural(n, noun) + " was"
	}
	return Plural(n, noun) + " were"
}

// Seconds writes a duration with three digits and a unit that fits it.
func Seconds(s float64) string {
	switch {
	case s == 0:
		return "0 s"
	case s < 0:
		return "−" + Seconds(-s)
	case s < 0.9995e-3:
		return digits3(s*1e6) + " µs"
	case s < 0.9995:
		return digits3(s*1e3) + " ms"
	case s < 99.95:
		return digits3(s) + " s"
	case s < 6000:
		return fmt.Sprintf("%.0f s", s)
	case s < 172800:
		return digits3(s/3600) + " h"
	}
	return digits3(s/86400) + " d"
}

// digits3 writes a number below 1000 with three significant digits, at least
// one of them behind the point below 100 so that 5 s reads 5.0.
func digits3(v float64) string {
	switch {
	case v < 9.995:
		s := strconv.FormatFloat(v, 'f', 2, 64)
		return strings.TrimSuffix(s, "0")
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// Percent writes a share; 100 % and 0 % only where it is exactly that.
func Percent(v float64) string {
	switch {
	case v == 0 || v == 1:
		return fmt.Sprintf("%.0f %%", v*100)
	case v > 0.999:
		return "> 99.9 %"
	case v < 0.001 && v > 0:
		return "< 0.1 %"
	}
	return fmt.Sprintf("%.1f %%", v*100)
}

// Bytes writes a count of bytes in decimal units.
func Bytes(n uint64) string {
	switch {
	case n < 1000:
		return Plural(n, "byte")
	case n < 1e6:
		return digits3(float64(n)/1e3) + " kB"
	case n < 1e9:
		return digits3(float64(n)/1e6) + " MB"
	case n < 1e12:
		return digits3(float64(n)/1e9) + " GB"
	}
	return digits3(float64(n)/1e12) + " TB"
}

// UpperFirst begins a sentence.
func UpperFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return ""
	}
	return string(unicode.ToUpper(r)) + s[n:]
}
