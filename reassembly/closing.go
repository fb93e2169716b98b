package reassembly

import "github.com/keepscope/keepscope/sniffer"

// A Closing is the first FIN of a direction, or its first RST that counts.
type Closing struct {
	At     int64  // packet time
	Seq    uint32 // the FIN's own number, behind the last byte, or the RST's
	Ack    uint32 // what it acknowledges of the other direction
	With   Close  // NotClosed: there is none, and the rest is zero
	HasAck bool   // the ACK flag was set
}

// Closing returns how a direction was closed first.
func (c *Conn) Closing(d Dir) Closing {
	if c.cold == nil {
		return Closing{}
	}
	return c.cold.closing[d]
}

// newClosing is the closing that a segment carries.
func newClosing(s *sniffer.Segment, with Close, seq uint32) Closing {
	k := Closing{At: s.Time, Seq: seq, With: with, HasAck: s.Flags&sniffer.ACK != 0}
	if k.HasAck {
		k.Ack = s.Ack
	}
	return k
}

// close notes a direction's closing. The first that is captured closes the
// connection, unless it acknowledges the other side's FIN: a capture from
// several queues swapped the two then.
func (a *Assembler) close(c *Conn, dir Dir, k Closing) {
	r := a.coldOf(c)
	if r.closing[dir].With != NotClosed {
		return
	}
	r.closing[dir] = k
	other := &r.closing[dir.Other()]
	swapped := c.ClosedBy != dir && k.With == ByFIN && other.HasAck && after(other.Ack, k.Seq) &&
		(!k.HasAck || !after(k.Ack, other.Seq))
	if c.ClosedWith == NotClosed || swapped {
		c.ClosedAt, c.ClosedBy, c.ClosedWith = k.At, dir, k.With
	}
}

// inferFIN tells who closed first where that side's FIN was not captured: the
// closing that was acknowledges one number more than its bytes. Where it sent no
// byte, that one may as well be a byte that was lost.
func (c *Conn) inferFIN() {
	if c.ClosedWith == NotClosed || c.cold == nil {
		return
	}
	o := c.ClosedBy.Other()
	k := &c.cold.closing[c.ClosedBy]
	if k.HasAck && c.cold.closing[o].With == NotClosed && c.Bytes[o] != 0 && k.Ack == c.next[o]+1 {
		c.ClosedBy, c.ClosedWith = o, ByFIN
	}
}

// rstWindow is how far beyond the receiver's acknowledgment a RST that is not
// exact may lie to be remembered. The captured window bounds it in the receiver,
// but its scale is not known where the SYN was not captured, and bytes before
// the RST may have been lost by the capture.
const rstWindow = 1 << 20

// A belief is what a RST is worth (RFC 9293 §3.10.7.4, RFC 5961 §3.2).
type belief uint8

const (
	ignored  belief = iota // no stack would obey
	doubtful               // in the receiver's window: answered by a challenge ACK
	believed               // it closes
)

// rst works a RST in. Its payload, if any, is not the stream's (RFC 9293
// §3.5.3).
func (a *Assembler) rst(c *Conn, dir Dir, s *sniffer.Segment) {
	b := c.believes(dir, s)
	if b == ignored {
		a.stats.StrayResets++
		return
	}
	k := newClosing(s, ByRST, s.Seq)
	if b == doubtful {
		if d := a.doubtsOf(c); d.reset[dir].With == NotClosed {
			d.reset[dir] = k
		}
		return
	}
	if c.answersSYN(dir) {
		c.state |= refused
	}
	if c.state&(known|guess).of(dir) == 0 {
		c.next[dir] = s.Seq
		c.state |= guess.of(dir)
	}
	a.reset(c, dir, k)
}

// reset tells a RST that is believed.
func (a *Assembler) reset(c *Conn, dir Dir, k Closing) {
	if d := c.doubts(); d != nil {
		d.reset[dir] = Closing{}
	}
	a.close(c, dir, k)
	if c.state&reset.of(dir) == 0 {
		c.state |= reset.of(dir)
		a.handler.End(c, dir, EndReset)
	}
}

// answersSYN reports whether dir has nothing to answer yet but a SYN.
func (c *Conn) answersSYN(dir Dir) bool {
	return dir != c.opener() && c.state&(synSeen|synackSeen|ackSeen) == synSeen && c.state&known.of(dir) == 0
}

// believes says what a RST of dir is worth.
func (c *Conn) believes(dir Dir, s *sniffer.Segment) belief {
	switch {
	case c.answersSYN(dir):
		// RFC 9293 §3.10.7.3: it must acknowledge the SYN.
		if s.Flags&sniffer.ACK != 0 && c.fits(dir.Other(), s.Ack) {
			return believed
		}
		return ignored
	case c.state&(known|guess).of(dir) == 0:
		return believed // nothing is known that it could contradict
	case c.exact(dir, s.Seq):
		return believed
	case dir == c.opener() && c.state&(synSeen|synackSeen) == synSeen && c.state&known.of(dir.Other()) == 0:
		return ignored // it answers a stale ACK (half-open discovery, RFC 9293 §3.5.1)
	}
	low, high := c.next[dir], c.next[dir]
	if c.state&known.of(dir) != 0 && diff(c.acked[dir], low) > -rstWindow {
		if low = c.acked[dir]; after(low, high) {
			low, high = high, low
		}
	}
	if c.cold != nil {
		if end, waits := c.cold.last(dir); waits && after(end, high) {
			high = end
		}
	}
	if !after(low, s.Seq) && !after(s.Seq, high+rstWindow) {
		return doubtful
	}
	return ignored
}

// exact reports whether seq is the number that the receiver of dir expects. With
// bytes missing, what it acknowledged, or the end of what waits, is that as well.
// So is the number on the other side of dir's FIN: of one that was captured, for
// a host that has forgotten the connection answers a segment that did not
// acknowledge the FIN with the FIN's own; of one that was not, the next.
func (c *Conn) exact(dir Dir, seq uint32) bool {
	fin := c.next[dir] + 1
	if c.state&ended.of(dir) != 0 {
		fin -= 2
	}
	if seq == c.next[dir] || seq == fin {
		return true
	}
	if c.Behind(dir) && seq == c.acked[dir] {
		return true
	}
	if c.cold == nil {
		return false
	}
	if c.cold.hasFIN[dir] && seq == c.cold.fin[dir] {
		return true
	}
	end, waits := c.cold.last(dir)
	return waits && seq == end
}

// doubtReset looks at a doubtful RST of dir once more, after a segment of dir
// that is none: the bytes before it may have come, and then it is exact; or the
// side goes on, and it was a stray.
func (a *Assembler) doubtReset(c *Conn, dir Dir, s *sniffer.Segment) {
	d := c.doubts()
	if d == nil || d.reset[dir].With == NotClosed {
		return
	}
	k := d.reset[dir]
	switch {
	case s.Flags&sniffer.RST == 0 && c.state&known.of(dir) != 0 && c.next[dir] == k.Seq && s.Time-k.At <= reorderWait:
		a.reset(c, dir, k)
	case s.Flags&sniffer.RST == 0 && (s.Time-k.At > reorderWait || after(s.Seq+s.Length, k.Seq)):
		d.reset[dir] = Closing{}
		a.stats.StrayResets++
	}
}

// firstDoubt returns the direction with the earliest doubtful RST.
func (c *Conn) firstDoubt() (d Dir, at int64, ok bool) {
	ds := c.doubts()
	if ds == nil {
		return Client, 0, false
	}
	x, y := &ds.reset[Client], &ds.reset[Server]
	if x.With != NotClosed && (y.With == NotClosed || x.At <= y.At) {
		return Client, x.At, true
	}
	return Server, y.At, y.With != NotClosed
}

// believeDoubtful believes a direction's doubtful RST, with its own time.
func (a *Assembler) believeDoubtful(c *Conn, dir Dir) {
	k := c.doubts().reset[dir]
	if c.ClosedWith != NotClosed && k.At < c.ClosedAt {
		c.ClosedWith = NotClosed // it was the first
	}
	a.reset(c, dir, k)
}

// silentReset reports whether a doubtful RST is to be believed at the time t.
func (a *Assembler) silentReset(c *Conn, t int64) bool {
	_, at, ok := c.firstDoubt()
	return ok && t-at > a.resetLinger
}

// contradicted reports whether a segment shows that a RST was believed wrongly:
// its receiver acknowledges bytes behind it.
func (c *Conn) contradicted(dir Dir, s *sniffer.Segment) bool {
	o := dir.Other()
	return c.state&reset.of(o) != 0 && s.Flags&(sniffer.ACK|sniffer.RST|sniffer.SYN) == sniffer.ACK &&
		c.cold != nil && c.cold.closing[o].With == ByRST && c.state&known.of(o) != 0 &&
		diff(s.Ack, c.cold.closing[o].Seq) > 1 && diff(s.Ack, c.cold.closing[o].Seq) <= rstWindow
}
