package reassembly

import "github.com/keepscope/keepscope/sniffer"

// A Close is the first FIN or RST that was captured on a connection.
type Close uint8

// The first closings.
const (
	NotClosed Close = iota
	ByFIN
	ByRST
)

// A Conn is one incarnation of a TCP 4-tuple. The Assembler owns it; a Handler
// reads it during a call and must not keep the pointer past the last word on
// the connection. It is 128 bytes, two cache lines: 100 000 open connections
// have to fit a small container, so what most connections never need lives
// behind one pointer (see rare).
type Conn struct {
	Start       int64 // time of the first packet
	Last        int64 // time of the newest packet: "now" during a call
	SYN         int64 // time of the first SYN, 0 if none was seen
	Established int64 // time of the client's first ACK after the SYN or SYN-ACK, 0 if not seen
	ClosedAt    int64 // time of the first FIN or RST, 0 while there is none

	Bytes [2]uint64 // stream bytes delivered: retransmissions, gaps and cut bytes left out

	rare *rare // nil for a connection whose segments all came whole and in order

	Packets [2]uint32

	next [2]uint32 // the sequence number that each direction delivers next

	// ID is a small dense number, unique among the connections tracked now and
	// reused afterwards: an index for the Handler's own table.
	ID uint32

	Endpoint [2]sniffer.Endpoint // of Client and Server

	owner [2]uint16 // folded interface of each direction, 0 before its first segment

	state state

	ClosedWith Close
	ClosedBy   Dir
}

// A state is a set of facts about a connection.
type state uint16

const (
	synSeen state = 1 << iota
	synackSeen
	ackSeen
	refused
	synByServer // the SYN came after the roles had been guessed, and guessed wrong
	settled     // no handshake ACK is waited for
	live        // the record is in use
	lastACK     // a FIN was acknowledged after both were delivered

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

// Missing returns how many stream bytes of a direction were never captured, as
// far as gaps were declared.
func (c *Conn) Missing(d Dir) uint64 {
	if c.rare == nil {
		return 0
	}
	return c.rare.missing[d]
}

// Truncated returns how many stream bytes of a direction a snaplen cut off.
func (c *Conn) Truncated(d Dir) uint64 {
	if c.rare == nil {
		return 0
	}
	return c.rare.truncated[d]
}

// Behind reports whether the peer has acknowledged bytes of a direction that
// were not delivered: it has read more than was captured so far.
func (c *Conn) Behind(d Dir) bool {
	r := c.rare
	return r != nil && r.hasAck[d] && c.state&ended.of(d) == 0 && diff(r.acked[d], c.next[d]) > 0
}

// Known returns the sequence number up to which bytes of a direction are known
// to have been sent: they were delivered, or acknowledged.
func (c *Conn) Known(d Dir) uint32 {
	if c.Behind(d) {
		return c.rare.acked[d]
	}
	return c.next[d]
}

// base is the sequence number of the direction's first stream byte: ISN + 1
// where the SYN was seen. It is derived, which saves keeping it.
func (c *Conn) base(d Dir) uint32 {
	b := c.next[d] - uint32(c.Bytes[d])
	if r := c.rare; r != nil {
		b -= uint32(r.missing[d] + r.truncated[d])
	}
	if c.state&ended.of(d) != 0 {
		b--
	}
	return b
}

// close notes the first FIN or RST that was captured.
func (c *Conn) close(t int64, by Dir, with Close) {
	if c.ClosedWith == NotClosed {
		c.ClosedAt, c.ClosedBy, c.ClosedWith = t, by, with
	}
}
