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
// reads its exported fields during a call and must not keep the pointer past End's last word.
type Conn struct {
	// ID is a small dense number, unique among the connections tracked now and
	// reused afterwards: an index for the Handler's own table.
	ID uint32

	Endpoint    [2]sniffer.Endpoint // of Client and Server
	Start       int64               // time of the first packet
	Last        int64               // time of the newest packet: "now" during a call
	SYN         int64               // time of the first SYN, 0 if none was seen
	Established int64               // time of the client's ACK that completes the handshake, 0 if not seen

	SYNSeen, SYNACKSeen, ACKSeen bool // which of the three were captured
	Refused                      bool // a RST answered the SYN

	ClosedAt   int64 // time of the first FIN or RST, 0 while there is none
	ClosedWith Close
	ClosedBy   Dir

	Packets   [2]uint32
	Bytes     [2]uint64 // stream bytes seen, retransmissions and gaps left out
	Missing   [2]uint64 // stream bytes never captured
	Truncated [2]uint64 // stream bytes cut by a snaplen
}
