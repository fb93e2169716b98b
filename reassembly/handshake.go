package reassembly

import "github.com/keepscope/keepscope/sniffer"

// A verdict is what a SYN means on a known 4-tuple.
type verdict uint8

const (
	joins    verdict = iota // the first SYN of its direction
	repeated                // a retransmission
	another                 // a SYN-ACK with another number, before the client's ACK
	replaces                // a new connection
	waits                   // of another incarnation, which only an answer would prove
	stray                   // of some other incarnation, and not a beginning
)

// syn works a SYN or SYN-ACK into a connection, or says that it is another's.
func (a *Assembler) syn(c *Conn, dir Dir, s *sniffer.Segment) verdict {
	first, answer := s.Seq+1, s.Flags&sniffer.ACK != 0
	isKnown := c.state&known.of(dir) != 0
	v := joins
	switch {
	case isKnown && c.base(dir) == first:
		// Seen before, or captured after its data.
		if kind := pick(answer, synackSeen, synSeen); c.state&kind != 0 {
			v = repeated
		}
	case !isKnown && (c.state&guess.of(dir) == 0 || c.next[dir] == first):
		if answer && !c.fits(dir.Other(), s.Ack) {
			return stray
		}
		c.startAt(dir, first)
	case answer && c.fits(dir.Other(), s.Ack):
		if c.Bytes[dir] != 0 || c.state&(ackSeen|ended.of(dir)) != 0 || dir == c.opener() {
			return stray
		}
		a.doubtsOf(c).addAnswer(first, s.Time)
		return another
	case c.over():
		return replaces
	default:
		return waits
	}
	switch {
	case answer:
		c.answered(a, dir, s)
	case v == repeated:
		a.askedAgain(c, s.Time, 1)
	default:
		c.asked(dir, s)
	}
	return v
}

func pick(first bool, x, y state) state {
	if first {
		return x
	}
	return y
}

// startAt sets where a direction's stream begins.
func (c *Conn) startAt(d Dir, seq uint32) {
	c.next[d], c.acked[d] = seq, seq
	c.state = c.state&^guess.of(d) | known.of(d)
}

// fits reports whether ack can answer the SYN of d: it acknowledges the SYN,
// and data in it at most (RFC 7413).
func (c *Conn) fits(d Dir, ack uint32) bool {
	if c.state&known.of(d) == 0 {
		return true
	}
	return !after(c.base(d), ack) && !after(ack, c.next[d])
}

// asked notes a SYN.
func (c *Conn) asked(dir Dir, s *sniffer.Segment) {
	if c.state&synSeen != 0 {
		return
	}
	c.state |= synSeen
	c.SYN = s.Time
	if dir == Server {
		c.state |= synByServer
	}
	c.unsettle()
}

// askedAgain notes n repetitions of the SYN, the last one at the time t.
func (a *Assembler) askedAgain(c *Conn, t int64, n uint8) {
	r := a.coldOf(c)
	if c.synRepeats == 0 || t > r.lastSYN {
		r.lastSYN = t
	}
	c.synRepeats += min(n, 255-c.synRepeats)
}

// answered notes a SYN-ACK, which also tells where the other side began.
func (c *Conn) answered(a *Assembler, dir Dir, s *sniffer.Segment) {
	if c.state&synackSeen == 0 {
		c.noteSYNACK(a, s.Time)
	}
	c.state |= synackSeen
	if dir == Client && c.state&synSeen == 0 {
		c.state |= synByServer
	}
	if o := dir.Other(); c.state&known.of(o) == 0 {
		c.startAt(o, s.Ack)
	}
	c.unsettle()
}

// unsettle makes the next ACK of the side that opened count as the handshake's.
func (c *Conn) unsettle() {
	if c.state&ackSeen == 0 {
		c.state &^= handshakeDone
	}
}

// settle notes the ACK that a handshake waits for, if dir is who sends it. Where
// several SYN-ACKs had different numbers, it says which of them counts.
func (a *Assembler) settle(c *Conn, dir Dir, s *sniffer.Segment) {
	if dir != c.opener() {
		return
	}
	c.state |= handshakeDone | ackSeen
	c.Established = s.Time
	d := c.doubts()
	if d == nil {
		return
	}
	if o := dir.Other(); c.Bytes[o] == 0 && c.state&ended.of(o) == 0 && s.Ack != c.next[o] {
		if t, ok := d.answer(s.Ack); ok {
			c.startAt(o, s.Ack)
			c.noteSYNACK(a, t)
		}
	}
	d.answers = [len(d.answers)]answer{}
}

// opener is who sent, or is taken to have sent, the SYN.
func (c *Conn) opener() Dir {
	if c.state&synByServer != 0 {
		return Server
	}
	return Client
}

// staleWindow is how far beyond the SYN the first captured segment of the other
// side may acknowledge, where its SYN-ACK and the client's data were lost.
const staleWindow = 1 << 16

// stale reports whether a segment is what an earlier incarnation says to a SYN
// that is not its own: a bare acknowledgment of something else, which the client
// answers with a RST (half-open discovery, RFC 9293 §3.5.1).
func (c *Conn) stale(dir Dir, s *sniffer.Segment) bool {
	const kind = sniffer.ACK | sniffer.SYN | sniffer.RST | sniffer.FIN
	if s.Flags&kind != sniffer.ACK || s.Length > 0 || !c.answersSYN(dir) {
		return false
	}
	o := dir.Other()
	return after(c.base(o), s.Ack) || after(s.Ack, c.next[o]+staleWindow)
}

// An opening is a SYN or SYN-ACK that does not belong to the connection that its
// 4-tuple carries. Only what answers it, or follows it, proves that it is more
// than a forgery or a leftover (RFC 9293 §3.10.7.4, RFC 5961 §4).
type opening struct {
	at, last int64 // times of the first and of the last copy
	seq, ack uint32
	length   uint32
	iface    uint32
	flags    sniffer.Flags // 0: there is none
	dir      Dir
	repeats  uint8
}

// open keeps a SYN until it is proved.
func (a *Assembler) open(c *Conn, dir Dir, s *sniffer.Segment) {
	d := a.doubtsOf(c)
	o := &d.opening
	if o.flags == s.Flags && o.dir == dir && o.seq == s.Seq && o.ack == s.Ack {
		o.last = max(o.last, s.Time)
		o.repeats += min(1, 255-o.repeats)
		a.stats.Retransmissions++
		return
	}
	if o.flags != 0 {
		a.stats.StraySYNs++
	}
	*o = opening{at: s.Time, last: s.Time, seq: s.Seq, ack: s.Ack, length: s.Length, iface: s.Interface, flags: s.Flags, dir: dir}
}

// proves reports whether a segment shows that an opening was a new connection's.
func (o *opening) proves(c *Conn, dir Dir, s *sniffer.Segment) bool {
	const kind = sniffer.SYN | sniffer.RST | sniffer.ACK
	isSYN := o.flags&sniffer.ACK == 0
	switch {
	case dir == o.dir:
		off := diff(s.Seq, o.seq+1)
		if s.Flags&(sniffer.SYN|sniffer.RST) != 0 || s.Length == 0 || off < 0 || off > rstWindow {
			return false
		}
		old := diff(s.Seq, c.next[dir])
		return off == 0 || old > maxJump || old < -maxJump
	case s.Flags&kind == sniffer.SYN|sniffer.ACK || s.Flags&kind == sniffer.RST|sniffer.ACK:
		return isSYN && s.Ack-o.seq-1 <= o.length
	case s.Flags&kind == sniffer.ACK:
		return !isSYN && s.Seq == o.ack && s.Ack == o.seq+1
	}
	return false
}

// segment is the SYN or SYN-ACK that the opening was.
func (o *opening) segment(c *Conn) sniffer.Segment {
	return sniffer.Segment{Time: o.at, Src: c.Endpoint[o.dir&1], Dst: c.Endpoint[o.dir&1^1], Length: o.length,
		Seq: o.seq, Ack: o.ack, Interface: o.iface, Flags: o.flags, Window: 1}
}

// proved begins the new connection that a segment proves to have been opened on
// a live one; false where there is none.
func (a *Assembler) proved(c *Conn, dir Dir, s *sniffer.Segment, hash uint32) bool {
	d := c.doubts()
	if d == nil || d.opening.flags == 0 || !d.opening.proves(c, dir, s) {
		return false
	}
	o := d.opening
	d.opening = opening{}
	first := o.segment(c)
	a.replace(c, &first, hash)
	if n := a.lookup(s, hash); n != nil && o.repeats > 0 && n.state&synSeen != 0 {
		a.askedAgain(n, o.last, o.repeats)
	}
	a.process(s, hash)
	return true
}

// lookup finds the connection of a segment's 4-tuple.
func (a *Assembler) lookup(s *sniffer.Segment, hash uint32) *Conn {
	for at := hash; ; at++ {
		var ref uint32
		at, ref = a.table.next(at, hash)
		if ref == 0 {
			return nil
		}
		if ref < closedRef {
			if c := a.arena.get(ref - 1); same(&s.Src, &c.Endpoint[Client]) && same(&s.Dst, &c.Endpoint[Server]) ||
				same(&s.Src, &c.Endpoint[Server]) && same(&s.Dst, &c.Endpoint[Client]) {
				return c
			}
		}
	}
}
