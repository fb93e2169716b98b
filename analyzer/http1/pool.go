package http1

import (
	"bytes"
	"unsafe"
)

const (
	partialSize = int64(unsafe.Sizeof(partial{}))
	minBuffer   = 256
	keepBuffer  = 4 << 10 // a spare partial's buffers, at most
	maxSpare    = 64
)

// A Pool lends buffers to Parsers for heads that a segment cuts. The zero value
// is ready. It is not safe for concurrent use: one goroutine, one Pool.
type Pool struct {
	// Max is the most bytes that the Pool's buffers may hold; 0 is DefaultPool.
	Max int64

	// Full counts the heads that were given up because Max was reached.
	Full uint64
	// Crowded counts the requests that were followed no further because too many
	// waited behind others.
	Crowded uint64

	held    int64
	msg     Message // what the Conns read into
	waiting int     // requests that the queues of all Conns have room for
	free    *partial
	spare   int
	stale   [][]byte // buffers given back, which the Message read last may view still
}

// Held returns the bytes that the Pool's buffers hold now.
func (q *Pool) Held() int64 { return q.held }

// A partial is what has to be remembered of a head that a segment cut: what
// its complete lines said, and the one line that is cut, if it may matter.
type partial struct {
	head head // of msg
	msg  Message
	buf  []byte    // the cut field line with its folds, or start line
	kept [3][]byte // Host of a request or Server of a response, Agent, Via
	seen int       // bytes of the head so far
	skip bool      // the cut line does not matter
	next *partial
}

func (t *partial) buffers() int {
	return cap(t.buf) + cap(t.kept[0]) + cap(t.kept[1]) + cap(t.kept[2])
}

func (t *partial) size() int64 { return partialSize + int64(t.buffers()) }

// get returns a partial, or nil if the Pool is full.
func (q *Pool) get() *partial {
	if q == nil {
		return new(partial)
	}
	q.wipe()
	if t := q.free; t != nil {
		q.free, t.next = t.next, nil
		q.spare--
		return t
	}
	if !q.take(partialSize) {
		return nil
	}
	return new(partial)
}

func (q *Pool) put(t *partial) {
	if q == nil {
		return
	}
	q.stale = append(q.stale, t.buf, t.kept[0], t.kept[1], t.kept[2])
	if t.buffers() > keepBuffer || q.spare == maxSpare {
		q.held -= t.size()
		return
	}
	t.head, t.msg = head{}, Message{}
	t.buf, t.seen, t.skip = t.buf[:0], 0, false
	for i := range t.kept {
		t.kept[i] = t.kept[i][:0]
	}
	t.next, q.free = q.free, t
	q.spare++
}

// wipe clears what was given back, for it may have been decrypted.
func (q *Pool) wipe() {
	if q == nil || len(q.stale) == 0 {
		return
	}
	for _, b := range q.stale {
		clear(b[:cap(b)])
	}
	clear(q.stale)
	q.stale = q.stale[:0]
}

// take accounts for n more bytes, if need be by letting go of the spare partials.
func (q *Pool) take(n int64) bool {
	limit := q.Max
	if limit == 0 {
		limit = DefaultPool
	}
	if q.held+n > limit {
		for t := q.free; t != nil; t = t.next {
			q.held -= t.size()
		}
		q.free, q.spare = nil, 0
	}
	if q.held+n > limit {
		q.Full++
		return false
	}
	q.held += n
	return true
}

// add appends b to s, one of a partial's buffers. It fails where that would make
// the head longer than MaxHead, or the Pool exceed its Max.
func (q *Pool) add(s, b []byte) ([]byte, bool) {
	need := len(s) + len(b)
	if need > MaxHead {
		return s, false
	}
	if need > cap(s) {
		size := max(minBuffer, cap(s))
		for size < need {
			size *= 2
		}
		if q != nil && !q.take(int64(size-cap(s))) {
			return s, false
		}
		grown := make([]byte, len(s), size)
		copy(grown, s)
		clear(s[:cap(s)])
		s = grown
	}
	return append(s, b...), true
}

// hold remembers the beginning of a line.
func (q *Pool) hold(t *partial, b []byte) (ok bool) {
	if t.head.begun && !t.head.mayMatter(b) {
		t.skip = true
		return true
	}
	t.buf, ok = q.add(t.buf[:0], b)
	return ok
}

// keep copies the values that view bytes which will be gone.
func (q *Pool) keep(t *partial) bool {
	first := &t.head.Host
	if t.head.Kind == Response {
		if !t.head.named {
			return true
		}
		first = &t.head.Server
	}
	return q.keepValue(&t.kept[0], first) &&
		(!t.head.named || q.keepValue(&t.kept[1], &t.head.Agent) && q.keepValue(&t.kept[2], &t.head.Via))
}

// keepValue copies a value to kept unless it is there already.
func (q *Pool) keepValue(kept, value *[]byte) (ok bool) {
	if len(*value) == 0 || len(*kept) > 0 && &(*kept)[0] == &(*value)[0] {
		return true
	}
	*kept, ok = q.add((*kept)[:0], *value)
	*value = *kept
	return ok
}

// cut remembers h, of which b was seen and b[n:] is not yet read.
func (p *Parser) cut(h *head, b []byte, n int) bool {
	if len(b) > MaxHead {
		return false
	}
	t := p.Pool.get()
	if t == nil {
		return false
	}
	p.part, p.state = t, inHead
	t.head, t.msg, t.seen = *h, *h.Message, len(b)
	t.head.Message = &t.msg
	return p.Pool.keep(t) && p.Pool.hold(t, b[n:])
}

// resume continues a head that was cut. Each byte is looked at once, however
// the head is cut.
func (p *Parser) resume(b []byte, m *Message) (int, Event) {
	t := p.part
	for i := 0; i < len(b); {
		var v verdict
		var n int
		switch {
		case t.skip:
			n = lineLen(b[i:])
			t.skip = b[i+n-1] != '\n'
		case len(t.buf) == 0:
			n, v = t.head.fields(b[i:])
			if v == isCut {
				if !p.Pool.keep(t) || !p.Pool.hold(t, b[i+n:]) {
					v = isBad
				}
				n = len(b) - i
			}
		case t.lineEnds() && !isBlank(b[i]):
			t.head.field(fieldOf(t.buf), t.buf[:len(t.buf)-1])
			if !p.Pool.keep(t) {
				v = isBad
			}
			t.buf = t.buf[:0]
		default:
			n = lineLen(b[i:])
			v = p.append(b[i : i+n])
		}
		i += n
		switch {
		case v == isPreface:
			return p.http2(i)
		case v == isHeadless:
			return i, p.emitHeadless(m)
		case v == isMalformed:
			*m = t.msg
			return i, p.emitMalformed(m)
		case v == isBad || v == isWhole && t.seen+i > MaxHead:
			return p.lose(b)
		case v == isWhole:
			ev := p.emit(&t.head)
			*m = t.msg
			p.part = nil
			p.Pool.put(t)
			return i, ev
		}
	}
	t.seen += len(b)
	if t.seen > MaxHead {
		return p.lose(b)
	}
	return len(b), NeedMore
}

// lineEnds reports whether the line in buf has its line end, and waits for the
// byte after it, which says whether the line is folded.
func (t *partial) lineEnds() bool { return t.head.begun && t.buf[len(t.buf)-1] == '\n' }

// append adds b, which may end with a line end, to the cut line.
func (p *Parser) append(b []byte) verdict {
	t := p.part
	var ok bool
	if t.buf, ok = p.Pool.add(t.buf, b); !ok {
		return isBad
	}
	whole := b[len(b)-1] == '\n'
	if !t.head.begun {
		return p.appendStart(whole)
	}
	switch {
	case whole && isEmptyLine(t.buf):
		return isWhole
	case whole && fieldOf(t.buf) == noField:
		t.buf = t.buf[:0]
	case !whole && !t.head.mayMatter(t.buf):
		t.buf, t.skip = t.buf[:0], true
	}
	return isCut
}

func (p *Parser) appendStart(whole bool) verdict {
	t := p.part
	if p.flags&headless != 0 && !statusLike(t.buf) {
		return isHeadless
	}
	if !whole {
		if !plausible(t.head.Kind, t.buf) {
			return isBad
		}
		return isCut
	}
	v := t.head.start(t.buf[:len(t.buf)-1])
	if !p.Pool.keep(t) {
		return isBad
	}
	t.buf = t.buf[:0]
	return v
}

// lineLen returns the length of b's first line with its line end, or of b.
func lineLen(b []byte) int {
	if j := bytes.IndexByte(b, '\n'); j >= 0 {
		return j + 1
	}
	return len(b)
}
