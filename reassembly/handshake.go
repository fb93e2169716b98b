package reassembly

import "github.com/keepscope/keepscope/sniffer"

// rstWindow is how far from the expected sequence number a RST on an
// established connection is believed. It is wider than RFC 5961 §3 asks, as
// bytes before it may not have been captured.
const rstWindow = 1 << 20

// A verdict is what a SYN means on a known 4-tuple.
type verdict uint8

const (
	joins    verdict = iota // the first SYN of its direction
	repeated                // a retransmission
	replaces                // a new connection
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
	case !answer || !c.fits(dir.Other(), s.Ack):
		return replaces
	case c.Bytes[dir] != 0 || c.state&ackSeen != 0 || c.rare != nil:
		return stray
	default:
		// The server answers once more, with another number (SYN cookies),
		// before the client has acknowledged the first.
		c.startAt(dir, first)
	}
	if answer {
		c.answered(dir, s)
	} else {
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
	c.next[d] = seq
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

// answered notes a SYN-ACK, which also tells where the other side began.
func (c *Conn) answered(dir Dir, s *sniffer.Segment) {
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
		c.state &^= settled
	}
}

// settle notes the ACK that a handshake waits for, if dir is who sends it.
func (c *Conn) settle(dir Dir, t int64) {
	if dir == c.opener() {
		c.state |= settled | ackSeen
		c.Established = t
	}
}

// opener is who sent, or is taken to have sent, the SYN.
func (c *Conn) opener() Dir {
	if c.state&synByServer != 0 {
		return Server
	}
	return Client
}

// rst works a RST in. Its payload, if any, is not the stream's (RFC 9293
// §3.5.3).
func (a *Assembler) rst(c *Conn, dir Dir, s *sniffer.Segment) {
	refuses := dir != c.opener() && c.state&(synSeen|synackSeen|ackSeen) == synSeen &&
		c.state&known.of(dir) == 0
	if refuses && s.Flags&sniffer.ACK != 0 && !c.fits(dir.Other(), s.Ack) || !refuses && !c.believes(dir, s.Seq) {
		a.stats.Invalid++
		return
	}
	c.close(s.Time, dir, ByRST)
	if refuses {
		c.state |= refused
	}
	if c.state&(known|guess).of(dir) == 0 {
		c.next[dir] = s.Seq
		c.state |= guess.of(dir)
	}
	if c.state&reset.of(dir) == 0 {
		c.state |= reset.of(dir)
		a.handler.End(c, dir, EndReset)
	}
}

// believes reports whether a RST's sequence number is near enough. Before both
// sides are known anything may be an answer to something that was not captured.
func (c *Conn) believes(dir Dir, seq uint32) bool {
	if c.state&bothKnown != bothKnown || near(seq, c.next[dir]) {
		return true
	}
	r := c.rare
	if r == nil {
		return false
	}
	if t := r.queue[dir].tail; t != nil && near(seq, t.end()) {
		return true
	}
	return r.hasAck[dir] && near(seq, r.acked[dir])
}

func near(a, b uint32) bool {
	d := diff(a, b)
	return d >= -rstWindow && d <= rstWindow
}
