package reassembly

import (
	"bytes"

	"github.com/keepscope/keepscope/sniffer"
)

const (
	// maxJump is how far from the expected sequence number a segment is
	// believed. Linux lets a window grow to 6 MiB by default.
	maxJump = 1 << 24

	// farRun is how many segments must follow on each other beyond maxJump
	// before the stream is taken to go on there.
	farRun = 3

	// reorderWait is how long after the acknowledgment of a hole the bytes
	// behind it must be captured for the hole to be lost at once. Capture points
	// with several queues swap the two directions by less.
	reorderWait = 10e6
)

// A span is a part of the stream as a segment carries it: payload, then cut
// bytes that a snaplen took.
type span struct {
	seq     uint32
	cut     uint32
	payload []byte
}

func (p *span) len() uint32 { return uint32(len(p.payload)) + p.cut }
func (p *span) end() uint32 { return p.seq + p.len() }

// skip drops the first n bytes, at most all.
func (p *span) skip(n uint32) {
	p.seq += n
	k := min(n, uint32(len(p.payload)))
	p.payload = p.payload[k:]
	p.cut -= n - k
}

// keep returns the first n bytes, at most all.
func (p *span) keep(n uint32) span {
	k := min(n, uint32(len(p.payload)))
	return span{seq: p.seq, payload: p.payload[:k], cut: n - k}
}

func (a *Assembler) coldOf(c *Conn) *coldState {
	if c.cold == nil {
		c.cold = a.pool.getCold()
	}
	return c.cold
}

// acknowledge works the acknowledgment of dir in: it completes the handshake,
// and tells which of the other side's bytes were sent and received, captured
// or not.
func (a *Assembler) acknowledge(c *Conn, dir Dir, s *sniffer.Segment) {
	if c.state&handshakeDone == 0 && s.Flags&sniffer.SYN == 0 {
		a.settle(c, dir, s)
	}
	o := dir.Other()
	if c.state&bothEnded == bothEnded && s.Flags&sniffer.FIN == 0 && s.Ack == c.next[o] {
		c.state |= lastACK
	}
	if c.state&known.of(o) == 0 {
		if c.state&guess.of(o) == 0 || after(s.Ack, c.next[o]) {
			c.next[o] = s.Ack
			c.state |= guess.of(o)
		}
		return
	}
	ahead := diff(s.Ack, c.next[o])
	if ahead > maxJump || ahead > 0 && c.state&ended.of(o) != 0 {
		a.stats.Invalid++
		return
	}
	if !after(s.Ack, c.acked[o]) {
		if ahead > 0 {
			a.loseAcked(c, o)
		}
		return
	}
	c.acked[o] = s.Ack
	if ahead > 0 {
		a.coldOf(c).ackTime[o] = s.Time
		a.loseAcked(c, o)
		if a.unseen != nil && c.Behind(o) {
			a.unseen.Unseen(c, o)
		}
	}
}

// loseAcked declares the holes lost that the peer has acknowledged past with
// something waiting behind them.
func (a *Assembler) loseAcked(c *Conn, d Dir) {
	for c.cold != nil {
		first, waits := c.cold.first(d)
		if !waits || after(first, c.acked[d]) {
			return
		}
		a.lose(c, d, first)
	}
}

// bytes works a segment's payload and FIN in. It reports false where a new
// connection must have taken the 4-tuple.
func (a *Assembler) bytes(c *Conn, dir Dir, s *sniffer.Segment) bool {
	fin, isKnown := s.Flags&sniffer.FIN != 0, c.state&known.of(dir) != 0
	if s.Length == 0 && !fin && isKnown {
		if s.Seq == c.next[dir&1]-1 && s.Flags&sniffer.SYN == 0 && c.state&ended.of(dir) == 0 {
			a.probe(c, dir)
		}
		return true // no more than an acknowledgment
	}
	p, ok := payload(s)
	if !ok {
		a.stats.Invalid++
		return true
	}
	if !isKnown && !a.start(c, dir, &p, fin) {
		return true
	}
	d := diff(p.seq, c.next[dir])
	if d > maxJump || d < -maxJump || c.state&ended.of(dir) != 0 && after(p.end(), c.next[dir]-1) {
		return a.implausible(c, dir, &p, s)
	}
	if c.cold != nil {
		c.cold.far[dir] = 0
	}
	end := p.end()
	if p.len() > 0 {
		a.stream(c, dir, p, s)
	} else if c.state&ended.of(dir) != 0 {
		a.stats.Retransmissions++
	}
	if fin {
		a.fin(c, dir, end, s)
	}
	return true
}

// payload returns what a segment carries. A length that no packet can have is
// not believed.
func payload(s *sniffer.Segment) (span, bool) {
	p := span{seq: s.Seq, payload: s.Payload}
	if s.Flags&sniffer.SYN != 0 {
		p.seq++ // the SYN itself takes a number (RFC 9293 §3.4)
	}
	if uint32(len(p.payload)) > s.Length {
		p.payload = p.payload[:s.Length]
	}
	p.cut = s.Length - uint32(len(p.payload))
	return p, s.Length <= maxJump
}

// start finds where a direction begins whose SYN was not seen: at its first
// bytes or FIN. It reports whether the segment has any of those. A lone first
// byte is taken for a keep-alive probe, whose byte is garbage (RFC 9293
// §3.8.4): on a connection joined while idle, that is what it is.
func (a *Assembler) start(c *Conn, dir Dir, p *span, fin bool) bool {
	guessed := c.state&guess.of(dir) != 0
	probe := guessed && p.seq+1 == c.next[dir]
	switch {
	case fin || p.len() > 1 || p.len() == 1 && guessed && !probe:
		c.startAt(dir, p.seq)
		return true
	case probe || p.len() == 1:
		a.probe(c, dir)
	}
	if end := p.end(); !guessed || after(end, c.next[dir]) {
		c.next[dir] = end
		c.state |= guess.of(dir)
	}
	return false
}

// implausible takes a segment that cannot belong where the stream is. One such
// segment is garbage or an attack; a run of them is the stream, after a loss
// larger than maxJump, or, behind the stream or its FIN, a new connection
// whose SYN was lost (reported as false).
func (a *Assembler) implausible(c *Conn, dir Dir, p *span, s *sniffer.Segment) bool {
	a.stats.Invalid++
	if p.len() == 0 {
		return true
	}
	r := a.coldOf(c)
	if r.far[dir] == 0 || r.farNext[dir] != p.seq {
		r.far[dir] = 0
	}
	r.far[dir]++
	r.farNext[dir] = p.end()
	if r.far[dir] < farRun {
		return true
	}
	if c.state&ended.of(dir) != 0 || diff(p.seq, c.next[dir]) < 0 {
		return false
	}
	r.far[dir] = 0
	a.drainDir(c, dir)
	if c.state&ended.of(dir) != 0 {
		return false
	}
	a.skipTo(c, dir, p.seq)
	a.stream(c, dir, *p, s)
	return true
}

// skipTo goes on at a place so far ahead that nobody can say whether what lies
// between was ever sent: it does not count as missing.
func (a *Assembler) skipTo(c *Conn, dir Dir, to uint32) {
	n := uint64(to - c.next[dir])
	c.next[dir] = to
	if after(to, c.acked[dir]) {
		c.acked[dir] = to
	}
	c.cold.skipped[dir] += n
	a.stats.SkippedBytes += n
	a.handler.Gap(c, dir, int64(n), Skipped)
}

// stream works bytes in: delivers what is next, keeps what is early, drops
// what is there already. The first copy of a byte wins.
func (a *Assembler) stream(c *Conn, dir Dir, p span, s *sniffer.Segment) {
	if c.cold != nil && !a.beforeFIN(c, dir, &p) {
		return
	}
	d := diff(p.seq, c.next[dir])
	if d < 0 {
		if uint32(-d) >= p.len() {
			a.repetition(c, dir, &p)
			return
		}
		a.stats.Overlaps++
		p.skip(uint32(-d))
	}
	if c.cold != nil && c.cold.queue[dir] != nil && c.cold.queue[dir].conflicts(p) {
		a.stats.Conflicts++
	}
	if d <= 0 {
		a.inOrder(c, dir, p)
		return
	}
	a.stats.OutOfOrder++
	r := a.coldOf(c)
	if _, waits := r.first(dir); !waits {
		r.since[dir] = c.Last
	}
	a.enqueue(c, dir, p, s)
	a.behindAck(c, dir)
}

// repetition takes a segment without a new byte.
func (a *Assembler) repetition(c *Conn, dir Dir, p *span) {
	ended := c.state&ended.of(dir) != 0
	if p.len() == 1 && p.end() == c.next[dir] && !ended && !after(c.next[dir], c.acked[dir]) {
		a.probe(c, dir) // its byte was acknowledged: nothing else asks for that
		return
	}
	a.stats.Retransmissions++
	if c.repeats < 255 {
		c.repeats++
	}
	if p.end() == c.next[dir] && !ended {
		if r := a.coldOf(c); r.repeats[dir] < 255 {
			r.repeats[dir]++
		}
	}
}

// behindAck declares the hole in front of what just came early lost if it was
// acknowledged long before: it was not captured, and will not be.
func (a *Assembler) behindAck(c *Conn, dir Dir) {
	if r := c.cold; c.Behind(dir) && c.Last-r.ackTime[dir] >= reorderWait {
		a.loseAcked(c, dir)
	}
}

// beforeFIN cuts off what lies behind a FIN that waits; false if that is all.
func (a *Assembler) beforeFIN(c *Conn, dir Dir, p *span) bool {
	r := c.cold
	if !r.hasFIN[dir] || !after(p.end(), r.fin[dir]) {
		return true
	}
	a.stats.Invalid++
	n := diff(r.fin[dir], p.seq)
	if n <= 0 {
		return false
	}
	*p = p.keep(uint32(n))
	return true
}

// inOrder delivers a span that begins at next, up to and between what is queued.
func (a *Assembler) inOrder(c *Conn, dir Dir, p span) {
	for p.len() > 0 {
		n := p.len()
		if c.cold != nil {
			if q := c.cold.queue[dir]; q != nil {
				n = min(n, q.first().seq-p.seq)
			}
		}
		a.deliver(c, dir, p.keep(n))
		p.skip(n)
		if c.cold != nil {
			a.advance(c, dir)
		}
		if behind := diff(c.next[dir], p.seq); behind > 0 {
			p.skip(min(uint32(behind), p.len()))
		}
		if c.state&ended.of(dir) != 0 {
			return
		}
	}
}

// deliver hands a span that begins at next to the Handler.
func (a *Assembler) deliver(c *Conn, dir Dir, p span) {
	if n := len(p.payload); n > 0 {
		c.next[dir] += uint32(n)
		c.Bytes[dir] += uint64(n)
		a.handler.Data(c, dir, p.payload)
	}
	if p.cut > 0 {
		c.next[dir] += p.cut
		a.coldOf(c).truncated[dir] += uint64(p.cut)
		a.stats.TruncatedBytes += uint64(p.cut)
		a.handler.Gap(c, dir, int64(p.cut), Cut)
	}
}

// advance delivers what waited for the bytes that came, and the FIN if it is
// its turn. c has a cold state.
func (a *Assembler) advance(c *Conn, dir Dir) {
	r := c.cold
	q := r.queue[dir]
	for q != nil && q.first().seq == c.next[dir] {
		e := q.first()
		r.fromQueue, r.queuedAck, r.hasQueuedAck = true, e.page.ack, e.page.hasAck
		a.deliver(c, dir, span{seq: e.seq, payload: e.page.data[:e.page.n], cut: e.page.cut})
		r.fromQueue = false
		q = a.pool.pop(q)
		r.queue[dir] = q
	}
	if q != nil {
		a.pool.younger(q)
	}
	if r.hasFIN[dir] && r.fin[dir] == c.next[dir] {
		a.endDir(c, dir)
	}
	r.since[dir] = c.Last
}

// endDir delivers the FIN. Nothing is queued behind it.
func (a *Assembler) endDir(c *Conn, dir Dir) {
	if c.cold != nil {
		c.cold.hasFIN[dir] = false
	}
	c.next[dir]++
	c.state |= ended.of(dir)
	a.handler.End(c, dir, EndFIN)
}

// fin takes a FIN with the sequence number seq.
func (a *Assembler) fin(c *Conn, dir Dir, seq uint32, s *sniffer.Segment) {
	if c.state&ended.of(dir) != 0 {
		return
	}
	d := diff(seq, c.next[dir])
	if d < 0 || c.cold != nil && c.cold.reaches(dir, seq) {
		a.stats.Invalid++ // bytes behind it came first, and the first copy wins
		return
	}
	a.close(c, dir, newClosing(s, ByFIN, seq))
	if d == 0 {
		a.endDir(c, dir)
		return
	}
	r := a.coldOf(c)
	if r.hasFIN[dir] {
		return
	}
	if r.queue[dir] == nil {
		r.since[dir] = c.Last
	}
	r.hasFIN[dir], r.fin[dir] = true, seq
	a.behindAck(c, dir)
}

// lose declares [next, to) of a direction lost and delivers what follows.
func (a *Assembler) lose(c *Conn, dir Dir, to uint32) {
	n := uint64(to - c.next[dir])
	r := a.coldOf(c)
	c.next[dir] = to
	r.missing[dir] += n
	a.stats.MissingBytes += n
	a.handler.Gap(c, dir, int64(n), Lost)
	a.advance(c, dir)
}

// drain delivers everything that is held of a connection, with its gaps, and
// then what was acknowledged but never captured. c has a cold state.
func (a *Assembler) drain(c *Conn) {
	r := c.cold
	for {
		d, first, waits := r.oldest()
		if !waits {
			break
		}
		a.lose(c, d, first)
	}
	for d := range Dir(2) {
		// One number beyond the last byte may be a FIN that was not captured.
		if c.Behind(d) && diff(c.acked[d], c.next[d]) > 1 {
			a.lose(c, d, c.acked[d])
		}
	}
}

func (a *Assembler) drainDir(c *Conn, d Dir) {
	for {
		first, waits := c.cold.first(d)
		if !waits {
			return
		}
		a.lose(c, d, first)
	}
}

// enqueue keeps a span that begins beyond next. At the cap in total the oldest
// hole of all is declared lost, at the cap of a direction its own first one:
// that delivers what waited for it, and makes room.
func (a *Assembler) enqueue(c *Conn, dir Dir, p span, s *sniffer.Segment) {
	for !a.store(c, dir, &p, s) {
		if q := a.pool.oldest; a.pool.used >= a.pool.max && q != nil && q != c.cold.queue[dir] {
			a.giveUp(q, c)
			continue
		}
		to := p.seq
		if q := c.cold.queue[dir]; q != nil && after(to, q.first().seq) {
			to = q.first().seq
		}
		a.lose(c, dir, to)
		if c.state&ended.of(dir) != 0 {
			return
		}
		if behind := diff(c.next[dir], p.seq); behind >= 0 {
			p.skip(min(uint32(behind), p.len()))
			a.inOrder(c, dir, p)
			return
		}
	}
}

// giveUp declares the first hole of a queue lost, for one of the connection c.
func (a *Assembler) giveUp(q *queue, c *Conn) {
	owner, dir := q.conn, q.dir
	a.stats.HolesGivenUp++
	a.lose(owner, dir, q.first().seq)
	if owner != c && a.complete(owner) {
		a.finish(owner, EndClosed)
	}
}

// store copies what is not held yet of p. It reports false at the cap, and p is
// then what did not find room.
func (a *Assembler) store(c *Conn, dir Dir, p *span, s *sniffer.Segment) bool {
	q, i := c.cold.queue[dir], 0
	if q != nil {
		i = q.search(p.seq)
	}
	for p.len() > 0 {
		n := p.len()
		if q != nil {
			live := q.live()
			if i < len(live) {
				if e := &live[i]; !after(e.seq, p.seq) {
					p.skip(min(e.end-p.seq, n))
					i++
					continue
				}
				n = min(n, live[i].seq-p.seq)
			}
			if i > 0 && live[i-1].end == p.seq && live[i-1].page.room(p) {
				p.skip(live[i-1].add(p.keep(n)))
				continue
			}
		}
		pg := a.pool.get(q)
		if pg == nil {
			return false
		}
		pg.ack, pg.hasAck = s.Ack, s.Flags&sniffer.ACK != 0
		if q == nil {
			q = a.pool.getQueue(c, dir)
			c.cold.queue[dir] = q
		}
		q.insert(i, entry{seq: p.seq, end: p.seq, page: pg})
		i++
		p.skip(q.live()[i-1].add(p.keep(n)))
	}
	return true
}

// room reports whether a page can take more of what follows it.
func (p *page) room(s *span) bool {
	return len(s.payload) == 0 || p.cut == 0 && p.n < pageData
}

// add appends what fits of a span that follows the entry's page, and returns how
// much.
func (e *entry) add(s span) uint32 {
	n := s.cut
	if len(s.payload) == 0 {
		e.page.cut += n
	} else {
		k := copy(e.page.data[e.page.n:], s.payload)
		e.page.n += uint16(k)
		n = uint32(k)
	}
	e.end += n
	return n
}

// conflicts reports whether a span's bytes differ from queued ones.
func (q *queue) conflicts(p span) bool {
	live := q.live()
	for i := q.search(p.seq); i < len(live) && after(p.end(), live[i].seq); i++ {
		e := &live[i]
		from := p.seq
		if after(e.seq, from) {
			from = e.seq
		}
		x := e.page.data[min(from-e.seq, uint32(e.page.n)):e.page.n]
		y := p.payload[min(from-p.seq, uint32(len(p.payload))):]
		n := min(len(x), len(y))
		if !bytes.Equal(x[:n], y[:n]) {
			return true
		}
	}
	return false
}
