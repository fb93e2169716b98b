package http1

import "bytes"

// size makes p expect a chunk's size line.
func (p *Parser) size() {
	p.state, p.rest, p.seen = chunkSize, 0, 0
	p.flags &^= sizeDigit
}

// chunked reads a chunked body and its trailer section (RFC 9112 §7.1). Sizes
// may be padded on the right, and lines may end with a bare LF: servers do both.
func (p *Parser) chunked(b []byte) (int, Event) {
	for i := 0; i < len(b); {
		var ok bool
		switch p.state {
		case chunkData:
			if left := uint64(len(b) - i); left < p.rest {
				p.rest -= left
				return len(b), NeedMore
			}
			i += int(p.rest)
			p.state = chunkDataEnd
			continue
		case chunkExt, trailerLine:
			i, ok = p.skipLine(b, i)
		case chunkDataEnd, chunkDataCR:
			ok = p.dataEnd(b[i])
			i++
		case trailerStart, trailerCR:
			ok = p.trailer(b[i])
			i++
		default:
			ok = p.sizeByte(b[i])
			i++
		}
		if !ok {
			return p.lose(b)
		}
		if p.state == atEnd {
			p.state = atStart
			return i, End
		}
	}
	return len(b), NeedMore
}

// sizeByte takes a byte of a chunk's size line.
func (p *Parser) sizeByte(c byte) bool {
	p.seen++
	if p.seen > maxChunkLine {
		return false
	}
	if p.state == chunkCR {
		return c == '\n' && p.sizeEnd()
	}
	if p.state == chunkSize {
		if v := unhex(c); v < 16 {
			if p.rest>>60 != 0 {
				return false
			}
			p.rest = p.rest<<4 | uint64(v)
			p.flags |= sizeDigit
			return true
		}
		if p.flags&sizeDigit == 0 {
			return false
		}
		p.state = chunkPad
	}
	switch c {
	case ' ', '\t':
	case ';':
		p.state = chunkExt
	case '\r':
		p.state = chunkCR
	case '\n':
		return p.sizeEnd()
	default:
		return false
	}
	return true
}

func (p *Parser) sizeEnd() bool {
	p.state = chunkData
	if p.rest == 0 {
		p.state, p.seen = trailerStart, 0
	}
	return true
}

func (p *Parser) dataEnd(c byte) bool {
	switch {
	case c == '\n':
		p.size()
		return true
	case c == '\r' && p.state == chunkDataEnd:
		p.state = chunkDataCR
		return true
	}
	return false
}

// trailer takes the first byte of a trailer line, or the one after its CR.
func (p *Parser) trailer(c byte) bool {
	p.seen++
	switch {
	case c == '\n':
		p.state = atEnd
	case c == '\r' && p.state == trailerStart:
		p.state = trailerCR
	default:
		p.state = trailerLine
	}
	return p.seen <= MaxHead
}

// skipLine skips what is left of a chunk extension or of a trailer line.
func (p *Parser) skipLine(b []byte, i int) (next int, ok bool) {
	limit := uint32(MaxHead)
	if p.state == chunkExt {
		limit = maxChunkLine
	}
	j := bytes.IndexByte(b[i:], '\n')
	n := j + 1
	if j < 0 {
		n = len(b) - i
	}
	if n > int(limit-p.seen) {
		return i, false
	}
	p.seen += uint32(n)
	switch {
	case j < 0:
	case p.state == chunkExt:
		p.sizeEnd()
	default:
		p.state = trailerStart
	}
	return i + n, true
}

// unhex returns the value of a hexadecimal digit, or 16.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}
