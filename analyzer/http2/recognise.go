package http2

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/http"
)

// maxLook is how many frames Recognise looks at.
const maxLook = 8

// Recognise reports whether b, a segment, begins like what a side of an HTTP/2 connection
// sends: with the first line of the Preface, or with frames as a sender that keeps all of
// RFC 9113 writes them, which agree with each other. Those are one with its whole payload that
// ends where b ends, or one and the head of another. One that is whole has a payload that can be
// checked: it is not DATA, nor a part of a header block. Nearly all that is not HTTP/2 is told by its first byte or
// its fourth.
func Recognise(b []byte) bool { return agrees(b, minLimit, false) }

// agrees does what Recognise does, where payloads are at most limit long. Where HTTP/2 is
// known, any frame with a payload proves it.
func agrees(b []byte, limit uint32, known bool) bool {
	if len(b) < headLength {
		return false
	}
	if b[0] == 'P' {
		return len(b) >= prefaceLine && string(b[:prefaceLine]) == Preface[:prefaceLine]
	}
	proof := false
	var open uint32 // the stream whose header block goes on
	for range maxLook {
		if len(b) < headLength {
			return proof && beginsHead(b, limit)
		}
		h := parseHead(b)
		if b[5]&0x80 != 0 || !h.plausible(limit) || !h.follows(open) {
			return false
		}
		payload := b[headLength:]
		if uint64(len(payload)) < uint64(h.length) {
			return proof
		}
		b, payload = payload[h.length:], payload[:h.length]
		if !h.agrees(payload) {
			return false
		}
		open = h.opens()
		proof = proof || h.length > 0 && (known || h.isChecked())
	}
	return proof
}

// beginsHead reports whether b, shorter than a frame's head, may be the beginning of one.
func beginsHead(b []byte, limit uint32) bool {
	var head [headLength]byte
	copy(head[:], b)
	h := parseHead(head[:])
	return h.length <= limit && h.kind <= continuationFrame
}

// follows reports whether h may come while the header block of a stream goes on, or of none
// if open is 0.
func (h *frameHead) follows(open uint32) bool {
	if open == 0 {
		return h.kind != continuationFrame
	}
	return h.kind == continuationFrame && h.id == open
}

// opens returns the stream whose header block goes on after h.
func (h *frameHead) opens() uint32 {
	switch h.kind {
	case headersFrame, pushPromiseFrame, continuationFrame:
		if h.flags&flagEndHeaders == 0 {
			return h.id
		}
	}
	return 0
}

// isChecked reports whether agrees is likely to find out that a payload is none of h.
func (h *frameHead) isChecked() bool {
	switch h.kind {
	case dataFrame, continuationFrame:
		return false
	case headersFrame, pushPromiseFrame:
		return h.flags&flagEndHeaders != 0
	}
	return true
}

// A shape is what the frames of a type have in common.
type shape struct {
	flags    frameFlags // that are defined
	stream   bool       // it has a stream; otherwise it has none
	fixed    uint32     // its length, if that is always the same
	multiple uint32     // otherwise what divides it
	least    uint32
}

var shapes = [continuationFrame + 1]shape{
	dataFrame:         {flagEndStream | flagPadded, true, 0, 1, 0},
	headersFrame:      {flagEndStream | flagEndHeaders | flagPadded | flagPriority, true, 0, 1, 1},
	priorityFrame:     {0, true, 5, 1, 0},
	rstStreamFrame:    {0, true, 4, 1, 0},
	settingsFrame:     {flagACK, false, 0, 6, 0},
	pushPromiseFrame:  {flagEndHeaders | flagPadded, true, 0, 1, 5},
	pingFrame:         {flagACK, false, 8, 1, 0},
	goawayFrame:       {0, false, 0, 1, 8},
	windowUpdateFrame: {0, false, 4, 1, 0}, // or it has one
	continuationFrame: {flagEndHeaders, true, 0, 1, 0},
}

// plausible reports whether a head is one that a sender writes who keeps all of RFC 9113.
func (h *frameHead) plausible(limit uint32) bool {
	if h.length > limit || h.kind > continuationFrame {
		return false
	}
	s := &shapes[h.kind]
	switch {
	case h.flags&^s.flags != 0,
		s.stream != (h.id != 0) && h.kind != windowUpdateFrame,
		s.fixed != 0 && h.length != s.fixed,
		h.length < s.least || h.length%s.multiple != 0,
		h.kind == settingsFrame && h.flags&flagACK != 0 && h.length != 0:
		return false
	}
	return true
}

// agrees reports whether a payload is one of its head.
func (h *frameHead) agrees(payload []byte) bool {
	switch h.kind {
	case dataFrame:
		return h.flags&flagPadded == 0 || len(payload) > 0 && int(payload[0]) < len(payload)
	case headersFrame, pushPromiseFrame:
		block, ok := fragment(h.kind, h.flags, payload)
		return ok && (h.flags&flagEndHeaders == 0 || isBlock(block))
	case rstStreamFrame:
		return http.Code(binary.BigEndian.Uint32(payload)) < http.NumCodes
	case goawayFrame:
		return payload[0] < 0x80 && http.Code(binary.BigEndian.Uint32(payload[4:])) < http.NumCodes
	case windowUpdateFrame:
		return binary.BigEndian.Uint32(payload)-1 < idMask
	}
	return true
}

// isBlock reports whether b is a header block, whatever is in the table.
func isBlock(b []byte) bool {
	for len(b) > 0 {
		var n int
		switch c := b[0]; {
		case c >= 0x80:
			var i uint64
			if i, n = integer(b, 7); i == 0 {
				return false
			}
		case c >= 0x40:
			n = skipLiteral(b, 6)
		case c >= 0x20:
			_, n = integer(b, 5)
		default:
			n = skipLiteral(b, 4)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

func skipLiteral(b []byte, prefix uint8) int {
	i, n := integer(b, prefix)
	if n == 0 {
		return 0
	}
	if i == 0 {
		_, _, k := str(b[n:])
		if k == 0 {
			return 0
		}
		n += k
	}
	_, _, k := str(b[n:])
	if k == 0 {
		return 0
	}
	return n + k
}

// Sender tells which side sent b, a segment that Recognise accepts: by the Preface, by a
// header section that begins with a field of the static table which only one side sends, or by
// PUSH_PROMISE. Ok is false where none of them is in it.
func Sender(b []byte) (side http.Side, ok bool) {
	if len(b) > 0 && b[0] == 'P' {
		return http.Client, true
	}
	for range maxLook {
		if len(b) < headLength {
			break
		}
		h := parseHead(b)
		payload := b[headLength:]
		if uint64(len(payload)) < uint64(h.length) {
			break
		}
		b, payload = payload[h.length:], payload[:h.length]
		switch h.kind {
		case pushPromiseFrame:
			return http.Server, true
		case headersFrame:
			if block, whole := fragment(h.kind, h.flags, payload); whole {
				if side, ok = senderOf(block); ok {
					return side, true
				}
			}
		}
	}
	return http.Client, false
}

// senderOf tells by a header block's first field, a pseudo-field unless it is trailers.
func senderOf(block []byte) (side http.Side, ok bool) {
	for len(block) > 0 && block[0]&0xe0 == 0x20 {
		_, n := integer(block, 5)
		if n == 0 {
			return http.Client, false
		}
		block = block[n:]
	}
	if len(block) == 0 {
		return http.Client, false
	}
	prefix := uint8(4)
	switch c := block[0]; {
	case c >= 0x80:
		prefix = 7
	case c >= 0x40:
		prefix = 6
	}
	i, _ := integer(block, prefix)
	switch {
	case i == 0 || i > 14:
		return http.Client, false
	case staticTable[i].name == statusName:
		return http.Server, true
	}
	return http.Client, true
}

// resumes reports whether a lost direction may be read from b. An empty frame of its own is no
// proof of HTTP/2, but it is where HTTP/2 is known, if it ends a stream that is open.
func (c *Conn) resumes(d *direction, b []byte) bool {
	if agrees(b, d.limit, true) {
		return true
	}
	if len(b) != headLength {
		return false
	}
	h := parseHead(b)
	if h.kind != dataFrame || h.length != 0 || h.flags != flagEndStream {
		return false
	}
	_, found := c.find(h.id)
	return found
}
