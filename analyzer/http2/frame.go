package http2

import "encoding/binary"

// Preface is what a client's connection begins with (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	prefaceLine = len("PRI * HTTP/2.0\r\n")
	headLength  = 9
	minLimit    = 1 << 14 // what any receiver takes (RFC 9113 §4.2)
	maxLimit    = 1<<24 - 1
	idMask      = 1<<31 - 1
)

// A frameType is RFC 9113 §6's.
type frameType uint8

const (
	dataFrame frameType = iota
	headersFrame
	priorityFrame
	rstStreamFrame
	settingsFrame
	pushPromiseFrame
	pingFrame
	goawayFrame
	windowUpdateFrame
	continuationFrame
	otherFrame // no type of the RFC, or a length that its type does not have: skipped
)

type frameFlags uint8

const (
	flagACK        frameFlags = 1 << 0
	flagEndStream  frameFlags = 1 << 0
	flagEndHeaders frameFlags = 1 << 2
	flagPadded     frameFlags = 1 << 3
	flagPriority   frameFlags = 1 << 5
)

// A frameHead is the beginning of every frame (RFC 9113 §4.1).
type frameHead struct {
	length uint32
	id     uint32
	kind   frameType
	flags  frameFlags
}

// parseHead reads the headLength bytes of a frame's head.
func parseHead(b []byte) frameHead {
	w := binary.BigEndian.Uint64(b)
	return frameHead{
		length: uint32(w >> 40),
		kind:   frameType(w >> 32),
		flags:  frameFlags(w >> 24),
		id:     binary.BigEndian.Uint32(b[5:]) & idMask,
	}
}

// fragment returns the part of a header block in the payload of a HEADERS or PUSH_PROMISE
// frame: without padding, priority and promised stream.
func fragment(kind frameType, flags frameFlags, payload []byte) (b []byte, ok bool) {
	padding := 0
	if flags&flagPadded != 0 {
		if len(payload) == 0 {
			return nil, false
		}
		padding, payload = int(payload[0]), payload[1:]
	}
	before := beforeFragment(kind, flags)
	if before+padding > len(payload) {
		return nil, false
	}
	return payload[before : len(payload)-padding], true
}

// beforeFragment returns how many bytes precede a fragment, but for the padding's length.
func beforeFragment(kind frameType, flags frameFlags) int {
	switch {
	case kind == pushPromiseFrame:
		return 4
	case flags&flagPriority != 0:
		return 5
	}
	return 0
}

// cutFragment returns the beginning of a fragment, of whose payload the end is missing.
func cutFragment(kind frameType, flags frameFlags, payload []byte) []byte {
	before := beforeFragment(kind, flags)
	if flags&flagPadded != 0 {
		before++
	}
	return payload[min(before, len(payload)):]
}
