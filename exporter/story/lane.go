package story

import (
	"unsafe"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/sniffer"
)

// A lane is what is kept of a connection that has ended.
type lane struct {
	id             uint64
	client, server sniffer.Endpoint
	proxied        sniffer.Endpoint
	who            naming.Server // what the server is called in other views
	name           string
	start, end     int64
	handshake      fact.Handshake
	handshakeTime  int64
	tls            fact.TLS // zero Version and no Hello without
	keys           fact.Keys
	protocol       fact.Protocol
	tunnel         string

	requests, responses, reused uint32
	mostStreams, pings          uint32
	goaways                     [2]fact.Goaway
	timeout, max                uint32 // advertised
	hasTimeout, hasMax          bool
	estimated, lossy, hasTLS    bool
	hasCould                    bool

	syns     uint8
	closedBy fact.ClosedBy
	reason   fact.Reason
	verdict  fact.Verdict
	cause    fact.Cause
	could    fact.CouldReuse
	cost     fact.Cost

	trace fact.Trace
	bytes [2]uint64
	refs  int // who holds it: its pair, and stories
}

// set takes a connection's facts, into the room that the lane has.
func (l *lane) set(c *fact.Connection) {
	room := l.trace.Exchanges[:0]
	*l = lane{
		id: c.ID, client: c.Client, server: c.Server, proxied: c.Proxied, name: c.ServerName, start: c.Start, end: c.End,
		handshake: c.Handshake, handshakeTime: c.HandshakeTime, keys: c.Keys, protocol: c.Protocol,
		requests: c.Requests, responses: c.Responses, reused: c.Reused,
		timeout: c.AdvertisedTimeout, max: c.AdvertisedMax, hasTimeout: c.HasAdvertisedTimeout, hasMax: c.HasAdvertisedMax,
		estimated: c.Estimated, lossy: c.Incomplete || c.Missing > 0,
		syns: c.SYNs, closedBy: c.ClosedBy, reason: c.Reason, verdict: c.Verdict, cause: c.Cause, cost: c.Cost, bytes: c.Bytes,
		trace: *c.Trace,
	}
	room = append(room, c.Trace.Exchanges...)
	l.trace.Exchanges = room
	if c.TLS != nil {
		l.tls, l.hasTLS = *c.TLS, true
	}
	if c.CouldReuse != nil {
		l.could, l.hasCould = *c.CouldReuse, true
	}
	if c.Tunnel != nil {
		l.tunnel = c.Tunnel.Target
		if c.Tunnel.TLS != nil {
			l.tls, l.hasTLS = *c.Tunnel.TLS, true
		}
	}
	if s := c.Streams; s != nil {
		l.mostStreams, l.goaways = s.MaxConcurrent, s.Goaway
		l.pings = s.Pings[http.Client] + s.Pings[http.Server]
	}
}

// opened is what it took to open the connection, in nanoseconds.
func (l *lane) opened() int64 { return l.cost.TCP + l.cost.TLS + l.cost.DNS + l.cost.Connect }

// size is what a lane takes, in bytes.
func (l *lane) size() int {
	return int(unsafe.Sizeof(*l)) + cap(l.trace.Exchanges)*int(unsafe.Sizeof(fact.Traced{})) + len(l.name) + len(l.tunnel) + len(l.tls.SNI)
}

// subject is what a connection alone may be worth showing for: what its handshake was
// wasted by, or how it was lost. NoCause is for an ordinary one.
func subject(c *fact.Connection) fact.Cause {
	if c.Verdict == fact.VerdictWasted {
		return c.Cause
	}
	switch c.Reason {
	case fact.ReasonHandshakeFailed, fact.ReasonNeverUsed, fact.ReasonNotHTTP,
		fact.ReasonRace, fact.ReasonStaleReuse, fact.ReasonPathDropped, fact.ReasonServerAbort, fact.ReasonGoawayError:
		return fact.Cause(c.Reason)
	default:
		return fact.NoCause
	}
}
