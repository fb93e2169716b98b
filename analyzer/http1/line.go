package http1

import (
	"bytes"
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/http"
)

// line reads the field line that b begins with, and that may matter. It returns the
// line's length with its folds, or 0 where b does not hold all of it.
//
// The fields that nearly every message has are read by words of eight bytes, if they
// are written as nearly every sender writes them: see BenchmarkRequest and
// BenchmarkResponse. anyLine reads the same from them, as TestLine holds.
func (h *head) line(b []byte) int {
	if len(b) < 17 {
		return h.anyLine(b)
	}
	n := 0
	switch first, second := lower(b), lower(b[8:]); {
	case first == word("connecti") && second == word("on: keep"):
		if len(b) > 24 && lower(b[16:]) == word("-alive\r\n") && !isBlank(b[24]) {
			n = 24
			h.hasConnection = true
			h.Connection |= http.KeepAlive
		}
	case first == word("connecti") && second == word("on: clos"):
		if len(b) > 19 && string(b[16:19]) == "e\r\n" && !isBlank(b[19]) {
			n = 19
			h.hasConnection = true
			h.Connection |= http.Close
		}
	case first == word("content-") && second == word("length: "):
		n = h.plainLength(b)
	case first == word("content-") && byte(second) != 'l': // Content-Type, for one
		n = bytes.IndexByte(b, '\n') + 1
	case first<<16 == word("\x00\x00host: "):
		n = h.plainHost(b)
	}
	if n > 0 {
		return n
	}
	return h.anyLine(b)
}

// anyLine does what line does, however the line is written.
func (h *head) anyLine(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return 0
	}
	if f := fieldOf(b[:end]); f != noField {
		if end = fold(b, end); end < 0 {
			return 0
		}
		h.field(f, b[:end])
	}
	return end + 1
}

// plainLength reads the first Content-Length where it is a number of at most 18 digits:
// one that fits 63 bits. It returns the line's length, or 0 and has done nothing.
func (h *head) plainLength(b []byte) int {
	const at = len("content-length: ")
	length, i := uint64(0), at
	for i < len(b) && b[i]-'0' <= 9 {
		length = length*10 + uint64(b[i]-'0')
		i++
	}
	if i == at || i > at+18 || h.hasLength || !endsPlainly(b, i) {
		return 0
	}
	h.ContentLength, h.hasLength = length, true
	return i + 2
}

// plainHost reads Host where one blank comes before it and none after it. It
// returns what plainLength does.
func (h *head) plainHost(b []byte) int {
	const at = len("host: ")
	end := bytes.IndexByte(b, '\n') - 1
	if end <= at || isSpace(b[at]) || isSpace(b[end-1]) || !endsPlainly(b, end) {
		return 0
	}
	if h.Kind == Request && len(h.Host) == 0 {
		h.Host = b[at:end]
	}
	return end + 2
}

// endsPlainly reports whether a line ends at b[i], with CR LF, and is not folded.
func endsPlainly(b []byte, i int) bool {
	return i+2 < len(b) && b[i] == '\r' && b[i+1] == '\n' && !isBlank(b[i+2])
}

// word returns a string of eight bytes as lower returns them.
func word(s string) uint64 { return binary.LittleEndian.Uint64([]byte(s)) }

// lower returns the first eight bytes of b as one number, with letters in lower case. No
// byte becomes a letter, a digit, a hyphen, a colon, white space or a line end that was
// none, for it changes only bytes that have the bit 0x40, and leaves them that bit.
func lower(b []byte) uint64 {
	w := binary.LittleEndian.Uint64(b)
	return w | w>>1&0x2020202020202020
}
