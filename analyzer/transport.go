package analyzer

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
)

// A transport is what reasons need of the connection beneath HTTP, told by HTTP's
// sides.
type transport struct {
	tcp          *reassembly.Conn
	rolesSwapped bool // the client is reassembly's Server: midstream, told by the first message
}

// side says which side of HTTP sends in dir.
func (t transport) side(dir reassembly.Dir) http.Side {
	if t.rolesSwapped {
		dir = dir.Other()
	}
	return http.Side(dir) // reassembly.Client sends requests
}

// dir says in which direction a side sends.
func (t transport) dir(side http.Side) reassembly.Dir {
	if t.rolesSwapped {
		side = side.Other()
	}
	return reassembly.Dir(side)
}

// sides returns the directions of the client and of the server.
func (t transport) sides() (client, server reassembly.Dir) {
	return t.dir(http.Client), t.dir(http.Server)
}

// id names the connection in all outputs: a hash of its 4-tuple and of the time of its
// first packet, the same wherever it is read.
func (t transport) id() uint64 {
	h := uint64(t.tcp.Start)
	for d := range t.tcp.Endpoint {
		e := &t.tcp.Endpoint[d]
		h = mix(h, binary.LittleEndian.Uint64(e.Addr[:8]))
		h = mix(h, binary.LittleEndian.Uint64(e.Addr[8:]))
		h = mix(h, uint64(e.Port))
	}
	return h
}

// mix puts a word into a hash (the finisher of MurmurHash3).
func mix(h, word uint64) uint64 {
	h = (h ^ word) * 0xff51afd7ed558ccd
	return h ^ h>>32
}

// now returns the time of the connection's newest packet.
func (t transport) now() int64 { return t.tcp.Last }

// midstream says that nothing was captured that opened the connection.
func (t transport) midstream() bool { return !t.tcp.SYNSeen() && !t.tcp.SYNACKSeen() }

// established says whether the whole handshake was captured.
func (t transport) established() bool {
	return t.tcp.SYNSeen() && t.tcp.SYNACKSeen() && t.tcp.ACKSeen()
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

// halfTrips returns the round trips from the capture point to the client and to the
// server, 0 where they are not known.
func (t transport) halfTrips() (client, server int64) {
	_, syn := t.tcp.SYNs()
	synack := t.tcp.SYNACK()
	if synack == 0 {
		return 0, 0
	}
	if t.established() {
		client = max(t.tcp.Established-synack, 0)
	}
	if syn != 0 {
		server = max(synack-syn, 0)
	}
	return client, server
}

// A closing is the first closing of a side.
type closing struct {
	at       int64
	seq, ack uint32 // its number, behind the last byte, and what it acknowledges
	with     fact.ClosedWith
	hasAck   bool
}

// closingOf returns a side's first closing: its FIN or RST, or the close_notify before
// that; with is WithNothing where there is none.
func (l *ledger) closingOf(side http.Side) closing {
	k := l.tcp.Closing(l.dir(side))
	if k.With == reassembly.NotClosed || l.conn.is(closingWaits) {
		return closing{}
	}
	c := closing{at: k.At, seq: k.Seq, ack: k.Ack, hasAck: k.HasAck, with: fact.ClosedWith(k.With)}
	if l.conn.cold != nil {
		if n := l.conn.cold.notified[side]; n.at != 0 {
			c = closing{at: n.at, seq: n.seq - 1, ack: n.ack, hasAck: n.hasAck, with: fact.WithCloseNotify}
		}
	}
	return c
}

// isClosed says whether a closing was captured, and heard.
func (l *ledger) isClosed() bool {
	return l.tcp.ClosedWith != reassembly.NotClosed && !l.conn.is(closingWaits)
}

// closer returns which side's closing was captured first, when and what it was.
func (l *ledger) closer() (by http.Side, at int64, with fact.ClosedWith, closed bool) {
	c := l.tcp
	if !l.isClosed() {
		return 0, 0, fact.WithNothing, false
	}
	by, at, with = l.side(c.ClosedBy), c.ClosedAt, fact.ClosedWith(c.ClosedWith)
	if r := l.conn.cold; r != nil {
		for _, side := range [...]http.Side{by, by.Other()} {
			if n := r.notified[side]; n.at != 0 && n.at < at {
				by, at, with = side, n.at, fact.WithCloseNotify
			}
		}
	}
	return by, at, with, true
}
