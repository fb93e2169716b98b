package http1

// A state is what a Parser's next byte belongs to.
type state uint8

const (
	atStart state = iota // between messages
	atEnd                // of a message whose End is not yet told
	inLength
	inHead // a head that a segment cut; part holds what is needed of it
	inClose
	inTunnel
	atLoss // of a message without an end whose Lost is not yet told
	lost
	chunkSize
	chunkPad // after the digits of a chunk's size
	chunkExt
	chunkCR
	chunkData
	chunkDataEnd
	chunkDataCR
	trailerStart
	trailerLine
	trailerCR
)

type flags uint8

const (
	sizeDigit  flags = 1 << iota // the chunk's size has a digit
	headless                     // the next response may be one of HTTP/0.9
	sawPreface                   // the last Lost was the preface of HTTP/2
	identify                     // the next Head names the software
	doubtful                     // see Doubt
)

// A Parser finds the messages in one direction of one connection. The zero
// value expects requests from their beginning. It is not safe for concurrent
// use.
type Parser struct {
	// Pool lends the buffer for a head that a segment cuts. The Parsers of one
	// goroutine share one. Nil: such a head allocates.
	Pool *Pool

	part  *partial
	rest  uint64 // bytes left of the body, or of the chunk
	seen  uint32 // bytes of the chunk's size line, or of the trailer section
	state state
	kind  Kind
	flags flags
}

// Reset makes p ready for another stream and keeps its Pool. Mid says that the
// stream's beginning was not captured: Next then skips, with no Lost, to a
// segment that begins like a message.
func (p *Parser) Reset(kind Kind, mid bool) {
	p.Release()
	*p = Parser{Pool: p.Pool, kind: kind}
	if mid {
		p.state = lost
	}
}

// Release gives a cut head's buffer back to the Pool. It is called when a
// connection ends; p may be Reset afterwards.
func (p *Parser) Release() {
	if p.part != nil {
		p.Pool.put(p.part)
		p.part = nil
		p.state = lost
	}
}

// Next consumes n bytes of b and reports one event. It is called with the
// bytes of a segment until it answers NeedMore, also when none of them is left:
// the End of a message without body follows its Head on an empty b. The
// first call with a segment's bytes begins at its first byte, which is where a
// lost parser looks for a message. With Head, *m is that message; otherwise what
// it holds is undefined.
//
// Between the Head of a response and the next call of Next the caller says
// Bodyless or TunnelFrom where the request asks for it, and Doubt where none is known.
func (p *Parser) Next(b []byte, m *Message) (n int, ev Event) {
	switch p.state {
	case atStart:
		if len(b) == 0 { // as after each End
			return 0, NeedMore
		}
		return p.start(b, m)
	case atEnd:
		p.state = atStart
		return 0, End
	case inLength:
		if p.refuted(b) {
			return p.start(b, m)
		}
		return p.body(b)
	case inHead:
		return p.resume(b, m)
	case inClose:
		if p.refuted(b) {
			return p.start(b, m)
		}
		return len(b), NeedMore
	case chunkSize:
		if p.refuted(b) {
			return p.start(b, m)
		}
		return p.chunked(b)
	case inTunnel:
		return len(b), NeedMore
	case atLoss:
		return p.lose(b)
	case lost:
		if !begins(p.kind, b) {
			return len(b), NeedMore
		}
		p.state = atStart
		return p.start(b, m)
	default:
		return p.chunked(b)
	}
}

// Bodyless says that the response whose Head was just reported answers HEAD:
// it ends with its head, whatever that says (RFC 9112 §6.3 item 1).
func (p *Parser) Bodyless() {
	switch p.state {
	case inLength, inClose, chunkSize:
		p.state = atEnd
	}
}

// Doubt says whether the request is not known which the response answers whose Head was
// just reported. Then it is not known either whether it has the body that its head
// promises, as one to HEAD has not: a segment in its place that begins like a message is
// one.
func (p *Parser) Doubt(is bool) {
	p.flags &^= doubtful
	if is {
		p.flags |= doubtful
	}
}

// refuted says whether what is to be read as a body of doubt is a message, which Next then
// starts.
func (p *Parser) refuted(b []byte) bool {
	if p.flags&doubtful == 0 || !begins(p.kind, b) {
		return false
	}
	p.state = atStart
	return true
}

// TunnelFrom says that HTTP ends here, as after the Head of a 2xx response to
// CONNECT (RFC 9112 §6.3 item 2). The parser of the requests is told as well.
func (p *Parser) TunnelFrom() {
	p.Release()
	p.state = inTunnel
}

// Tunneling reports whether HTTP has ended on this stream by agreement.
func (p *Parser) Tunneling() bool { return p.state == inTunnel }

// Expect09 says that the next response answers an HTTP/0.9 request: unless it
// begins with a status line after all, as servers' errors do, it is all body
// and until close, and its Head is reported at its first byte.
func (p *Parser) Expect09() { p.flags |= headless }

// Identify asks that the next Head have Agent, Server, Via and Forwarded, where it
// has such fields. Of a connection one request and one response are enough, and what
// is not asked for costs nothing (BenchmarkRequest, BenchmarkRequestNamed).
func (p *Parser) Identify() { p.flags |= identify }

// Preface reports whether the last Lost was HTTP/2's connection preface. Next
// then consumed its first line, "PRI * HTTP/2.0\r\n", and nothing after it.
func (p *Parser) Preface() bool { return p.flags&sawPreface != 0 }

// InMessage reports whether a message has begun and its End is not yet told. A part
// of a start line counts, blank lines before it do not, nor does a tunnel.
func (p *Parser) InMessage() bool {
	switch p.state {
	case atStart, atLoss, lost, inTunnel:
		return false
	}
	return true
}

// Idle reports whether the stream is between messages.
func (p *Parser) Idle() bool { return p.state == atStart }

// IsLost reports whether p is skipping to a segment that begins like a message.
func (p *Parser) IsLost() bool { return p.state == lost || p.state == atLoss }

// InBody reports how many bytes are left of a body of known length; known is
// false anywhere else.
func (p *Parser) InBody() (remaining uint64, known bool) {
	if p.state == inLength {
		return p.rest, true
	}
	return 0, false
}

// Gap says that n bytes of the stream are missing. Inside a body of known length
// or a chunk they are skipped; ended then says that the message ended within
// them. Lost says that p cannot know what the next byte is, and skips to a segment
// that begins like a message. Both may hold: the gap goes beyond the end.
func (p *Parser) Gap(n int64) (ended, isLost bool) {
	if n <= 0 {
		return false, false
	}
	k := uint64(n)
	switch p.state {
	case inTunnel, lost:
		return false, false
	case atEnd:
		ended = true
	}
	if p.flags&doubtful == 0 {
		switch p.state {
		case inClose:
			return false, false
		case inLength:
			return p.gapInLength(k)
		case chunkData, chunkDataEnd, chunkDataCR:
			if p.gapInChunk(k) {
				return false, false
			}
		}
	}
	p.forget()
	return ended, true
}

func (p *Parser) gapInLength(n uint64) (ended, isLost bool) {
	if n < p.rest {
		p.rest -= n
		return false, false
	}
	beyond := n > p.rest
	p.state = atStart
	if beyond {
		p.forget()
	}
	return true, beyond
}

// gapInChunk skips n bytes that lie within a chunk's data and the CRLF after it. A
// sender that ends chunks with a bare LF is noticed at the next size line.
func (p *Parser) gapInChunk(n uint64) bool {
	left := uint64(2) // of the data's CRLF
	switch p.state {
	case chunkData:
		if n < p.rest {
			p.rest -= n
			return true
		}
		n -= p.rest
	case chunkDataCR:
		left = 1
	}
	if n > left {
		return false
	}
	switch left - n {
	case 0:
		p.size()
	case 1:
		p.state = chunkDataCR
	case 2:
		p.state = chunkDataEnd
	}
	return true
}

// Finish says that the stream ended, by FIN. A body until close has its End. So
// has a chunked one whose last chunk was seen, with its trailer section cut
// (RFC 9112 §8). Lost means that a message had begun and is incomplete;
// NeedMore that there was none.
func (p *Parser) Finish() Event {
	s := p.state
	p.forget()
	switch s {
	case atEnd, inClose, trailerStart, trailerLine, trailerCR:
		p.state = atStart
		return End
	case inTunnel:
		p.state = inTunnel
		return NeedMore
	case atStart:
		p.state = atStart
		return NeedMore
	case lost:
		return NeedMore
	}
	return Lost
}

// forget drops what is known of the stream.
func (p *Parser) forget() {
	p.Release()
	p.state = lost
	p.flags &^= sawPreface
}

func (p *Parser) lose(b []byte) (int, Event) {
	p.forget()
	return len(b), Lost
}

func (p *Parser) body(b []byte) (int, Event) {
	if uint64(len(b)) < p.rest {
		p.rest -= uint64(len(b))
		return len(b), NeedMore
	}
	p.state = atStart
	return int(p.rest), End
}
