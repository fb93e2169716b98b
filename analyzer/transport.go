package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
)

// A transport is what reasons need of the connection beneath HTTP, told by HTTP's
// sides.
type transport struct {
	tcp     *reassembly.Conn
	flipped bool // the client is reassembly's Server: midstream, told by the first message
}

// side says which side of HTTP sends in dir.
func (t transport) side(dir reassembly.Dir) http.Side {
	if t.flipped {
		dir = dir.Other()
	}
	return http.Side(dir) // reassembly.Client sends requests
}

// dir says in which direction a side sends.
func (t transport) dir(side http.Side) reassembly.Dir {
	if t.flipped {
		side = side.Other()
	}
	return reassembly.Dir(side)
}

// sides returns the directions of the client and of the server.
func (t transport) sides() (client, server reassembly.Dir) {
	return t.dir(http.Client), t.dir(http.Server)
}

// now returns the time of the connection's newest packet.
func (t transport) now() int64 { return t.tcp.Last }

// midstream says that nothing was captured that opened the connection.
func (t transport) midstream() bool { return !t.tcp.SYNSeen() && !t.tcp.SYNACKSeen() }

// established says whether the whole handshake was captured.
func (t transport) established() bool {
	return t.tcp.SYNSeen() && t.tcp.SYNACKSeen() && t.tcp.ACKSeen()
}

// isClosed says whether a closing was captured.
func (t transport) isClosed() bool { return t.tcp.ClosedWith != reassembly.NotClosed }

// closer returns which side's closing was captured first.
func (t transport) closer() (by http.Side, closed bool) {
	return t.side(t.tcp.ClosedBy), t.isClosed()
}

// handshake says how much of the handshake was captured.
func (t transport) handshake() fact.Handshake {
	c := t.tcp
	switch {
	case t.established():
		return fact.HandshakeComplete
	case c.Refused():
		return fact.HandshakeRefused
	case t.midstream():
		return fact.HandshakeMidstream
	case c.SYNSeen() && !c.SYNACKSeen() && c.Packets[reassembly.Server] == 0 && c.Bytes[reassembly.Client] == 0:
		return fact.HandshakeUnanswered
	}
	return fact.HandshakePartial
}

// handshakeTime returns first SYN to the client's ACK, Absent unless complete.
func (t transport) handshakeTime() int64 {
	if !t.established() {
		return fact.Absent
	}
	return max(t.tcp.Established-t.tcp.SYN, 0)
}
