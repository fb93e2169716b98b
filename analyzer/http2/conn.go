package http2

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A Start says where in a connection's life a Conn begins to read.
type Start uint8

// The starts.
const (
	// Prior is prior knowledge, or ALPN: the client's first bytes are the Preface.
	Prior Start = iota
	// PriorLine is Prior without the Preface's first line, "PRI * HTTP/2.0\r\n", which
	// another reader has consumed.
	PriorLine
	// Upgraded follows a 101 response (RFC 7540 §3.2): the request before it is stream 1,
	// of which the client has ended its side. Its Request and End are not told again.
	Upgraded
	// Midstream is a connection whose beginning was not captured: each direction is
	// read from a segment that Recognise accepts, and no table is known.
	Midstream
)

// A state is what a direction's next byte belongs to.
type state uint8

const (
	atFrame   state = iota // a frame's head
	atPreface              // the client's
	inSkip                 // a payload of which only the length matters, or what is left of one
	inUnits                // a payload that is read by units of need bytes
	inBlock                // a header block's fragment
	lost
)

// A direction is what a side of the connection sends.
type direction struct {
	decoder
	block *block // the header block that is not complete

	began   int64  // time of the first byte of the frame, or header block, under way
	rest    uint32 // bytes left of the frame's payload
	id      uint32 // its stream
	limit   uint32 // the longest payload that the receiver takes
	streams uint32 // the side's SETTINGS_MAX_CONCURRENT_STREAMS

	state        state
	kind         frameType // of a header block the kind of its first frame
	flags        frameFlags
	have         uint8 // bytes in buf, or of the preface
	need         uint8
	open         bool // a header block goes on, in CONTINUATION frames
	more         bool // the frame is CONTINUATION
	broken       bool // bytes of the header block are missing
	settingsSeen bool // the receiver's SETTINGS were seen, or would have been
	closed       bool
	buf          [headLength]byte // of a frame's head, or of a unit, that a segment cut
}

// A Conn finds the exchanges on one connection. Reset makes it ready. Between Reset and
// Release it may hold memory of its Pool. It is not safe for concurrent use.
type Conn struct {
	pool  *Pool
	sink  http.StreamSink
	sides [2]direction

	streams []stream // that are open, by id
	spans   [4]span  // of the client's losses, the newest last
	last    uint32   // the greatest id that the client has opened
	blind   uint32   // up to here a stream may be open without being in streams
	unasked uint32   // how many of streams are

	gapped    bool // the client's bytes were lost since it last opened a stream
	midstream bool
}

var _ http.Conn = (*Conn)(nil)

// Reset makes c ready for another connection. It tells s what it finds, and takes memory
// from p.
func (c *Conn) Reset(p *Pool, s http.StreamSink, start Start) {
	c.Release()
	*c = Conn{pool: p, sink: s, midstream: start == Midstream}
	for i := range c.sides {
		d := &c.sides[i]
		d.limit, d.streams = minLimit, http.Unlimited
		d.max, d.trusted, d.settingsSeen = defaultTable, true, true
		if start == Midstream {
			d.state, d.trusted, d.settingsSeen = lost, false, false
		}
	}
	if start == Midstream {
		return
	}
	client := &c.sides[http.Client]
	client.state = atPreface
	switch start {
	case PriorLine:
		client.have = uint8(prefaceLine)
	case Upgraded:
		c.last = 1
		c.follow(0, stream{1, clientEnded}, 0)
	case Prior, Midstream:
	}
}

// Release gives the memory back to the Pool. It is called when a connection has ended; c may
// be Reset afterwards.
func (c *Conn) Release() {
	if c.pool == nil {
		return
	}
	for i := range c.sides {
		c.drop(&c.sides[i])
		c.pool.distrust(&c.sides[i].decoder)
	}
	c.pool.putStreams(c.streams)
	c.streams = nil
	c.pool.section.wipe()
}

// InSync reports whether what the side sends is being read: neither is it lost, nor has no
// segment been recognised since the beginning of a Midstream.
func (c *Conn) InSync(from http.Side) bool { return c.sides[from].state != lost }

// Open returns how many streams are open, of those that are followed.
func (c *Conn) Open() int { return len(c.streams) }

// Data takes the bytes of a segment that follow on what the side sent before.
func (c *Conn) Data(from http.Side, b []byte, at int64) {
	d := &c.sides[from]
	if d.state == lost {
		if !c.resumes(d, b) {
			return
		}
		d.state, d.have = atFrame, 0
		if len(b) >= prefaceLine && string(b[:prefaceLine]) == Preface[:prefaceLine] {
			d.state = atPreface
		}
	}
	for len(b) > 0 && d.state != lost {
		switch d.state {
		case atFrame:
			b = c.head(from, d, b, at)
		case atPreface:
			b = c.preface(from, d, b)
		case inSkip:
			n := min(uint32(len(b)), d.rest)
			b = b[n:]
			if d.rest -= n; d.rest == 0 {
				c.finish(from, d, at)
			}
		case inUnits:
			b = c.units(from, d, b, at)
		case inBlock:
			b = c.fragment(from, d, b, at)
		}
	}
}

// Gap takes n bytes that were sent and not captured.
func (c *Conn) Gap(from http.Side, n int64, at int64) {
	d := &c.sides[from]
	switch {
	case n <= 0:
		return
	case d.state == lost:
		c.missed(from)
		return
	case d.state == atFrame || d.state == atPreface:
		c.lose(from, d)
		return
	}
	beyond := n > int64(d.rest)
	if d.state != inSkip {
		c.spoil(d)
		if !beyond {
			c.sink.Lost(from, 0)
		}
	}
	if !beyond {
		d.rest -= uint32(n)
	} else {
		d.rest = 0
	}
	if d.rest == 0 {
		c.finish(from, d, at)
	}
	if beyond {
		c.lose(from, d)
	}
}

// spoil says that bytes of the payload under way are missing: of what it tells nothing is
// known, but where it ends.
func (c *Conn) spoil(d *direction) {
	if d.state == inBlock {
		c.breakBlock(d)
		return
	}
	d.state, d.kind = inSkip, otherFrame
}

// Close says that the side sends no more. When a connection ends both sides are closed,
// and then c is released.
func (c *Conn) Close(from http.Side, _ int64) {
	c.sides[from].closed = true
	if c.gapped && c.sides[http.Client].closed {
		c.resolve(^uint32(0), true)
	}
}

// lose says that it is not known what the side's next byte is.
func (c *Conn) lose(from http.Side, d *direction) {
	c.drop(d)
	c.pool.distrust(&d.decoder)
	d.state, d.open, d.broken = lost, false, false
	c.missed(from)
	c.sink.Lost(from, 0)
}

// missed notes that HEADERS of the client may be lost. What it sent before the first that was
// captured never was to be seen.
func (c *Conn) missed(from http.Side) {
	if from == http.Client && (!c.midstream || c.last != 0) {
		c.gapped = true
	}
}

// drop forgets a header block that is not complete.
func (c *Conn) drop(d *direction) {
	if d.block != nil {
		c.pool.putBlock(d.block)
		d.block = nil
	}
}

func (c *Conn) preface(from http.Side, d *direction, b []byte) []byte {
	want := Preface[d.have:]
	n := min(len(want), len(b))
	if string(b[:n]) != want[:n] {
		c.lose(from, d)
		return nil
	}
	if d.have += uint8(n); int(d.have) == len(Preface) {
		d.state, d.have = atFrame, 0
	}
	return b[n:]
}

// head reads a frame's head, or a part of it, and what of its payload is at hand.
func (c *Conn) head(from http.Side, d *direction, b []byte, at int64) []byte {
	if d.have == 0 && !d.open {
		d.began = at
	}
	if d.have == 0 && len(b) >= headLength {
		h := parseHead(b)
		return c.frame(from, d, &h, b[headLength:], at)
	}
	n := copy(d.buf[d.have:], b)
	b = b[n:]
	if d.have += uint8(n); d.have < headLength {
		return b
	}
	d.have = 0
	h := parseHead(d.buf[:])
	return c.frame(from, d, &h, b, at)
}

// frame begins a frame, and ends it where it has no payload. It returns what it leaves of b.
func (c *Conn) frame(from http.Side, d *direction, h *frameHead, b []byte, at int64) []byte {
	if h.length > d.limit && (d.settingsSeen || h.kind != dataFrame) {
		c.pool.Stats.Frames++
		c.lose(from, d)
		return nil
	}
	if d.open != (h.kind == continuationFrame) || d.open && h.id != d.id {
		c.lose(from, d) // RFC 9113 §6.10: nothing comes between
		return nil
	}
	d.rest, d.more = h.length, d.open
	if d.more {
		d.flags |= h.flags & flagEndHeaders
		return c.beginFragment(from, d, b, at)
	}
	d.id, d.kind, d.flags = h.id, h.kind, h.flags
	d.state, d.need = inSkip, 0
	switch h.kind {
	case dataFrame:
		c.data(from, d, h, at)
	case headersFrame, pushPromiseFrame:
		return c.beginFragment(from, d, b, at)
	case rstStreamFrame:
		d.need = 4
	case settingsFrame:
		if h.flags&flagACK == 0 && h.length%6 == 0 {
			d.need = 6
		} else {
			d.kind = otherFrame
		}
	case goawayFrame:
		d.need = 8
	case pingFrame:
		if h.flags&flagACK != 0 || h.length != 8 {
			d.kind = otherFrame
		}
	}
	if d.need != 0 && h.length >= uint32(d.need) {
		d.state = inUnits
	}
	if h.length == 0 {
		c.finish(from, d, at)
	}
	return b
}

// units reads the payload of RST_STREAM, SETTINGS or GOAWAY.
func (c *Conn) units(from http.Side, d *direction, b []byte, at int64) []byte {
	n := int(d.need)
	if d.have == 0 && len(b) >= n {
		c.unit(from, d, b[:n], at)
	} else {
		n = copy(d.buf[d.have:d.need], b)
		if d.have += uint8(n); d.have == d.need {
			c.unit(from, d, d.buf[:d.need], at)
			d.have = 0
		}
	}
	b = b[n:]
	if d.rest -= uint32(n); d.have != 0 {
		return b
	}
	if d.kind != settingsFrame {
		d.state = inSkip
	}
	if d.rest == 0 {
		c.finish(from, d, at)
	}
	return b
}

func (c *Conn) unit(from http.Side, d *direction, b []byte, at int64) {
	switch d.kind {
	case rstStreamFrame:
		if d.id&1 != 0 {
			c.reset(from, d.id, http.Code(binary.BigEndian.Uint32(b)), at)
		}
	case goawayFrame:
		last := binary.BigEndian.Uint32(b) & idMask
		c.sink.Goaway(from, http.Stream(last), http.Code(binary.BigEndian.Uint32(b[4:])), at)
	case settingsFrame:
		c.setting(from, d, binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:]))
	}
}

// setting takes what matters of SETTINGS (RFC 9113 §6.5.2). A limit on frames is never
// lowered: until it acknowledges, the peer may send longer ones.
func (c *Conn) setting(from http.Side, d *direction, id uint16, value uint32) {
	const maxConcurrentStreams, maxFrameSize = 3, 5
	switch id {
	case maxConcurrentStreams:
		d.streams = value
	case maxFrameSize:
		if value <= maxLimit {
			peer := &c.sides[from.Other()]
			peer.limit = max(peer.limit, value)
		}
	}
}

// finish ends a frame.
func (c *Conn) finish(from http.Side, d *direction, at int64) {
	if d.state == inBlock {
		c.endFragment(from, d, at)
		return
	}
	d.state, d.have = atFrame, 0
	switch d.kind {
	case dataFrame:
		if d.flags&flagEndStream != 0 && d.id&1 != 0 {
			c.end(from, d.id, at)
		}
	case settingsFrame:
		c.sides[from.Other()].settingsSeen = true
		c.sink.Settings(from, d.streams, at)
	case pingFrame:
		c.sink.Ping(from, at)
	}
}

// data takes a DATA frame's head: a response's body says that its head has passed.
func (c *Conn) data(from http.Side, d *direction, h *frameHead, at int64) {
	if h.id&1 == 0 {
		return
	}
	if _, s, _ := c.touch(from, h.id, at); s != nil && from == http.Server {
		c.responds(s, d.began)
		s.flags |= responded
	}
}

// Skippable returns how many of the coming bytes of a side are of a payload of which only
// the length matters: they need not be seen, and a Gap of as many is as good.
func (c *Conn) Skippable(from http.Side) int64 {
	if d := &c.sides[from]; d.state == inSkip {
		return int64(d.rest)
	}
	return 0
}
