package reassembly

import "github.com/keepscope/keepscope/sniffer"

// A Close says how a direction, or the whole connection, was closed.
type Close uint8

// The closings.
const (
	NotClosed Close = iota
	ByFIN
	ByRST
)

// A Conn is one incarnation of a TCP 4-tuple. The Assembler owns it; a Handler
// reads it during a call and must not keep the pointer past the last word on
// the connection. It is 144 bytes, of which the first 96 are all that a segment
// in order touches; what most connections never need lives behind one pointer
// (see coldState).
type Conn struct {
	Last int64 // time of the newest packet: "now" during a call

	Bytes [2]uint64 // stream bytes delivered: retransmissions, gaps and cut bytes left out

	Packets [2]uint32

	next  [2]uint32 // the sequence number that each direction delivers next
	acked [2]uint32 // the peer's highest acknowledgment of each direction's bytes, where that is known

	state state

	// ID is a small dense number, unique among the connections tracked now and
	// reused afterwards: an index for the Handler's own table.
	ID uint32

	Endpoint [2]sniffer.Endpoint // of Client and Server

	owner [2]uint16 // folded interface of each direction, 0 before its first segment

	Start       int64 // time of the first packet
	SYN         int64 // time of the first SYN, 0 if none was seen
	Established int64 // time of the client's first ACK after the SYN or SYN-ACK, 0 if not seen
	ClosedAt    int64 // time of the first FIN or RST that counts, 0 while there is none

	cold *coldState // nil for a connection whose segments all came whole and in order

	synack uint32 // time of the SYN-ACK after Start, if it fits; see SYNACK

	ClosedWith Close
	ClosedBy   Dir

	synRepeats uint8 // saturates
	repeats    uint8 // segments of data without a new byte; saturates
}

// A state is a set of facts about a connection.
type state uint32

const (
	synSeen state = 1 << iota
	synackSeen
	ackSeen
	refused
	synByServer   // the SYN came after the roles had been guessed, and guessed wrong
	handshakeDone // no handshake ACK is waited for
	live          // the record is in use
	lastACK       // a FIN was acknowledged after both were delivered
	slow          // cold holds something that the next segment must be seen with
	resumed       // the 4-tuple's last connection was taken for closed, and went on
	lingers       // the Handler asked that it stays for a while when it is complete

	// Two of each: the second one, for Server, follows the first.
	known       // next holds this direction's own sequence number
	knownServer //
	guess       // next is only what a bare ACK of either side suggests
	guessServer
	ended // the direction's FIN was delivered
	endedServer
	reset // the direction's RST was told
	resetServer
)

// of returns the direction's own bit of a pair that begins at s.
func (s state) of(d Dir) state { return s << (d & 1) }

const (
	bothKnown = known | knownServer
	bothEnded = ended | endedServer
	anyReset  = reset | resetServer
)

// SYNSeen reports whether a SYN of this connection was captured.
func (c *Conn) SYNSeen() bool { return c.state&synSeen != 0 }

// SYNACKSeen reports whether a SYN-ACK was captured.
func (c *Conn) SYNACKSeen() bool { return c.state&synackSeen != 0 }

// ACKSeen reports whether the client's ACK was captured that follows the
// SYN-ACK, bare or with data.
func (c *Conn) ACKSeen() bool { return c.state&ackSeen != 0 }

// Refused reports whether a RST answered the SYN.
func (c *Conn) Refused() bool { return c.state&refused != 0 }

// SYNByServer reports that the connection was joined before its SYN was
// captured and the roles guessed from the ports were wrong: Server sent the SYN.
func (c *Conn) SYNByServer() bool { return c.state&synByServer != 0 }

// Resumed reports that the connection is what followed on one that was taken
// for closed by a RST: its peer had not obeyed. It is known when the connection
// opens, which it does in the middle of the stream.
func (c *Conn) Resumed() bool { return c.state&resumed != 0 }

// Linger asks that a connection which is complete stays for ResetLinger of packet time
// all the same, as one does after a RST: what its Handler needs may come late.
func (c *Conn) Linger() { c.state |= lingers }

// SYNs returns how often the SYN was captured, at most 256, and the time of the
// last one; 0 and 0 if none was seen.
func (c *Conn) SYNs() (n int, last int64) {
	switch {
	case c.state&synSeen == 0:
		return 0, 0
	case c.synRepeats == 0:
		return 1, c.SYN
	}
	return 1 + int(c.synRepeats), c.cold.lastSYN
}

// SYNACK returns the time of the SYN-ACK that counts, 0 if none was seen.
func (c *Conn) SYNACK() int64 {
	switch {
	case c.state&synackSeen == 0:
		return 0
	case c.synack == farSYNACK:
		return c.cold.synack
	}
	return c.Start + int64(c.synack)
}

// farSYNACK says that the time of the SYN-ACK does not fit Conn.synack.
const farSYNACK = 1<<32 - 1

func (c *Conn) noteSYNACK(a *Assembler, t int64) {
	if d := t - c.Start; d >= 0 && d < farSYNACK {
		c.synack = uint32(d)
		return
	}
	c.synack = farSYNACK
	a.coldOf(c).synack = t
}

// Missing returns how many stream bytes of a direction were never captured, as
// far as gaps were declared.
func (c *Conn) Missing(d Dir) uint64 {
	if c.cold == nil {
		return 0
	}
	return c.cold.missing[d]
}

// Truncated returns how many stream bytes of a direction a snaplen cut off.
func (c *Conn) Truncated(d Dir) uint64 {
	if c.cold == nil {
		return 0
	}
	return c.cold.truncated[d]
}

// Position returns the sequence number of payload's first byte, during the
// Handler's Data for direction d with that payload.
func (c *Conn) Position(d Dir, payload []byte) uint32 { return c.next[d] - uint32(len(payload)) }

// Next returns the sequence number behind the last byte of a direction that was
// handed over, and behind its FIN once that was told.
func (c *Conn) Next(d Dir) uint32 { return c.next[d] }

// Acked returns the highest sequence number up to which d's peer acknowledged
// d's stream, the FIN included, in the segments captured so far; that of d's
// first byte where it acknowledged none. It is false while no segment of d was
// captured, as nothing tells then what is its.
func (c *Conn) Acked(d Dir) (seq uint32, ok bool) {
	return c.acked[d], c.state&known.of(d) != 0
}

// Acknowledges returns what the segment acknowledged that first carried the
// payload that Data hands over now for direction d, as a sequence number of the
// other direction; false where that direction is not known. For bytes that came
// in order it is the highest acknowledgment that d has sent so far.
func (c *Conn) Acknowledges(d Dir) (ack uint32, ok bool) {
	if r := c.cold; r != nil && r.fromQueue {
		return r.queuedAck, r.hasQueuedAck
	}
	return c.Acked(d.Other())
}

// Behind reports whether the peer has acknowledged bytes of a direction that
// were not delivered: it has read more than was captured so far. One number
// alone may be a FIN that was not captured.
func (c *Conn) Behind(d Dir) bool {
	return c.state&(known|ended).of(d) == known.of(d) && after(c.acked[d], c.next[d])
}

// Known returns the sequence number up to which bytes of a direction are known
// to have been sent: they were delivered, or acknowledged.
func (c *Conn) Known(d Dir) uint32 {
	if c.Behind(d) {
		return c.acked[d]
	}
	return c.next[d]
}

// Retransmissions returns how many segments of data, of both sides, brought no new
// byte, at most 255; keep-alive probes are none.
func (c *Conn) Retransmissions() int { return int(c.repeats) }

// Unanswered returns how often the newest data of a direction was retransmitted
// since the last packet of its peer, at most 255.
func (c *Conn) Unanswered(d Dir) int {
	if c.cold == nil {
		return 0
	}
	return int(c.cold.repeats[d])
}

// base is the sequence number of the direction's first stream byte: ISN + 1
// where the SYN was seen. It is derived, which saves keeping it.
func (c *Conn) base(d Dir) uint32 {
	b := c.next[d] - uint32(c.Bytes[d])
	if r := c.cold; r != nil {
		b -= uint32(r.missing[d] + r.truncated[d] + r.skipped[d])
	}
	if c.state&ended.of(d) != 0 {
		b--
	}
	return b
}

// Unusual reports whether Probes or Stall have anything to tell of a connection, or
// SYNs of more than one.
func (c *Conn) Unusual() bool {
	return c.synRepeats != 0 || c.cold != nil && (c.cold.probes != nil || c.cold.windows != nil)
}
