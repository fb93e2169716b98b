package http2

import "github.com/keepscope/keepscope/analyzer/http"

// beginFragment begins a HEADERS, PUSH_PROMISE or CONTINUATION frame. A header block in
// one frame and one segment is read in place.
func (c *Conn) beginFragment(from http.Side, d *direction, b []byte, at int64) []byte {
	if !d.more && d.flags&flagEndHeaders != 0 && len(b) >= int(d.rest) {
		payload := b[:d.rest]
		b = b[d.rest:]
		d.rest = 0
		frag, ok := fragment(d.kind, d.flags, payload)
		if !ok {
			c.malformed(from, d)
		}
		c.complete(from, d, frag, !ok, at)
		d.state = atFrame
		return b
	}
	d.state = inBlock
	if from == http.Server && d.kind == headersFrame && d.id&1 != 0 {
		_, s, _ := c.touch(from, d.id, at)
		c.responds(s, d.began)
	}
	if !d.broken {
		c.hold(d)
	}
	if d.rest == 0 {
		c.endFragment(from, d, at)
	}
	return b
}

// hold gets memory for the frame's fragment.
func (c *Conn) hold(d *direction) {
	if d.block == nil {
		d.block = c.pool.block()
	}
	if d.block == nil || len(d.block.buf)+int(d.rest) > MaxBlock {
		c.pool.Stats.Blocks++
		c.breakBlock(d)
		return
	}
	d.block.start = len(d.block.buf)
}

// breakBlock says that bytes of the header block are missing, or not read. What came before
// them is kept.
func (c *Conn) breakBlock(d *direction) {
	c.pool.distrust(&d.decoder)
	if d.broken {
		return
	}
	d.broken = true
	if d.block != nil && !d.more {
		d.block.buf = append(d.block.buf[:0], cutFragment(d.kind, d.flags, d.block.buf)...)
	}
}

// fragment takes bytes of a HEADERS, PUSH_PROMISE or CONTINUATION frame.
func (c *Conn) fragment(from http.Side, d *direction, b []byte, at int64) []byte {
	n := min(uint32(len(b)), d.rest)
	if !d.broken && !c.pool.extend(d.block, b[:n]) {
		c.pool.Stats.Blocks++
		c.breakBlock(d)
	}
	if d.rest -= n; d.rest == 0 {
		c.endFragment(from, d, at)
	}
	return b[n:]
}

func (c *Conn) endFragment(from http.Side, d *direction, at int64) {
	d.state = atFrame
	if !d.more && !d.broken {
		frag, ok := fragment(d.kind, d.flags, d.block.buf)
		if !ok {
			c.malformed(from, d)
			d.broken = true
		}
		d.block.buf = append(d.block.buf[:0], frag...)
	}
	if d.open = d.flags&flagEndHeaders == 0; d.open {
		return
	}
	var b []byte
	if d.block != nil {
		b = d.block.buf
	}
	c.complete(from, d, b, d.broken, at)
	c.drop(d)
	d.broken = false
}

// complete takes a header block, or with broken the beginning of one.
func (c *Conn) complete(from http.Side, d *direction, b []byte, broken bool, at int64) {
	q := c.pool
	s := &q.section
	s.reset(from)
	if !q.read(&d.decoder, b) && !broken {
		c.malformed(from, d)
		broken = true
	}
	s.unknown = s.unknown || broken
	s.finish()
	switch {
	case d.kind == pushPromiseFrame:
		if from == http.Server {
			c.sink.Push(at)
		}
	case d.id&1 == 0: // what is pushed is no exchange
	case from == http.Client:
		c.request(d, s, at)
	default:
		c.response(d, s, at)
	}
}

// malformed says that a header block breaks the rules: its sender's table is not known.
func (c *Conn) malformed(from http.Side, d *direction) {
	c.pool.distrust(&d.decoder)
	c.sink.Lost(from, 0)
}

// request takes the client's header section: its stream's first, or trailers.
func (c *Conn) request(d *direction, s *section, at int64) {
	id := http.Stream(d.id)
	switch {
	case d.id <= c.last:
		c.touch(http.Client, d.id, at)
	case c.gapped && !s.hasPseudo() && !s.unknown: // trailers, whose head was lost
		c.touch(http.Client, d.id, at)
	default:
		followed := c.open(d.id, at)
		c.sink.Begin(id, d.began)
		c.sink.Request(id, &s.head, at)
		if !followed {
			c.sink.Unanswered(id, at)
		}
	}
	if d.flags&flagEndStream != 0 {
		c.end(http.Client, d.id, at)
	}
}

// response takes the server's header section: a head, interim or final, or trailers.
func (c *Conn) response(d *direction, s *section, at int64) {
	id := http.Stream(d.id)
	_, st, told := c.touch(http.Server, d.id, at)
	if !told {
		return
	}
	c.responds(st, d.began)
	if isHead(st, s) {
		c.sink.Response(id, &s.head, at)
	}
	if d.flags&flagEndStream == 0 {
		return
	}
	if s.hasName(grpcStatusName) && (st == nil || st.flags&(serverEnded|wasReset) == 0) {
		c.sink.GRPCStatus(id, s.grpc, at)
	}
	c.end(http.Server, d.id, at)
}

// isHead reports whether the section is a response's head, and no trailers, and notes what
// it says of the stream; st is nil where that is not followed. Where no table is known it
// may be either: the first of a stream is a head.
func isHead(st *stream, s *section) bool {
	known := s.hasName(statusName)
	if !known && !s.unknown && !s.hasPseudo() {
		return false
	}
	if st == nil {
		return true
	}
	if st.flags&(responded|wasReset) != 0 || !known && st.flags&guessed != 0 {
		return false
	}
	switch {
	case !known:
		st.flags |= guessed
	case !s.head.Interim():
		st.flags |= responded
	}
	return true
}
