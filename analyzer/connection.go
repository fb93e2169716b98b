package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/sniffer"
)

// A Handshake says how much of a TCP handshake was captured.
type Handshake uint8

// The handshakes.
const (
	HandshakeComplete Handshake = iota
	HandshakeUnanswered
	HandshakeRefused
	HandshakePartial
	HandshakeMidstream
	numHandshakes
)

// A Protocol is what a connection was seen to carry.
type Protocol uint8

// The protocols.
const (
	ProtocolUnknown Protocol = iota
	ProtocolHTTP09
	ProtocolHTTP10
	ProtocolHTTP11
	ProtocolH2
	ProtocolTLS
	numProtocols
)

// An Outcome says what an exchange negotiated about keep-alive.
type Outcome uint8

// The outcomes, in the order in which they are tried.
const (
	Upgraded Outcome = iota
	Incomplete
	ClientClose
	HTTP10NotRequested
	ServerClose
	HTTP10Declined
	NoLength
	KeepAlive
	NumOutcomes
)

// A Reason says why a connection stopped being reusable.
type Reason uint8

// The reasons, in the order in which they are tried.
const (
	ReasonNeverUsed Reason = iota
	ReasonHandshakeFailed
	ReasonUpgraded
	ReasonRace
	ReasonClientClose
	ReasonHTTP10NotRequested
	ReasonHTTP10Declined
	ReasonNoLength
	ReasonServerErrorClose
	ReasonServerLimit
	ReasonServerClose
	ReasonClientAbort
	ReasonServerAbort
	ReasonClientDiscard
	ReasonServerDiscard
	ReasonClientIdle
	ReasonServerIdle
	ReasonTimeout
	ReasonEvicted
	ReasonOpen
	NumReasons
)

// A ClosedBy says who ended a connection.
type ClosedBy uint8

// Who ended it.
const (
	ByClient ClosedBy = iota
	ByServer
	ByTimeout
	ByEviction
	ByEnd
	NumClosedBy
)

// A ClosedWith is the first closing segment.
type ClosedWith uint8

// The closing segments.
const (
	WithNothing ClosedWith = iota
	WithFIN
	WithRST
)

// A Verdict says whether an ideal pool would have needed a handshake.
type Verdict uint8

// The verdicts.
const (
	VerdictNone Verdict = iota
	VerdictNeeded
	VerdictWasted
)

// A Cause says why a handshake was wasted: the Reason for which the connection
// that could have carried the exchange was not usable, or PoolMiss.
type Cause uint8

// Causes below PoolMiss have the values of Reason.
const (
	PoolMiss  = Cause(NumReasons)
	NumCauses = PoolMiss + 1
)

// A TLS describes a connection's TLS handshake, seen without keys.
type TLS struct {
	Version   uint16 // on the wire: 0x0303 is 1.2, 0x0304 is 1.3
	SNI, ALPN string
	Resumed   bool
	Handshake int64 // ns, ClientHello to the client's first encrypted record; -1 if not seen
}

// A Connection is one connection that has ended. It and what it points at are valid during
// the call that hands it over. Times are Unix nanoseconds, durations
// nanoseconds.
type Connection struct {
	Client, Server sniffer.Endpoint
	Mark           uint16 // what Watcher.Opened left here, 0 before
	ServerName     string // Host of the first request, else SNI, else the name looked up, else ""
	Start, End     int64  // first and last packet
	Handshake      Handshake
	HandshakeTime  int64 // -1 if not complete
	TLS            *TLS  // nil without
	Protocol       Protocol
	Versions       [4]bool // seen in requests, by http.Version

	Requests, Responses, Reused, Unsolicited, Pipelined uint32
	Estimated                                           bool // requests and responses are guesses from encrypted records
	Negotiated                                          [NumOutcomes]uint32

	HasAdvertisedTimeout, HasAdvertisedMax bool
	AdvertisedTimeout                      uint32 // seconds, the last Keep-Alive: timeout= of the server
	AdvertisedMax                          uint32 // the first max= of the server

	ReuseIdle     []int64 // last response byte to the next request, one a reuse
	MoreReuseIdle uint32  // reuses whose idle time is counted but not listed: the list is capped
	CloseIdle     int64   // last response byte to the first FIN or RST; -1 if none

	ClosedBy   ClosedBy
	ClosedWith ClosedWith
	Reason     Reason

	Verdict  Verdict
	Cause    Cause
	Cost     Cost // of the handshakes of this connection, whatever the verdict
	Race     bool
	RaceIdle int64 // idle time at which the race happened

	Incomplete bool   // bytes were lost where they mattered
	Missing    uint64 // stream bytes never captured
	Truncated  uint64 // stream bytes cut by a snaplen
	Bytes      [2]uint64
	Packets    [2]uint32
	BodyUnread bool // the client closed before a response was complete after which the connection could be reused
}

// A Cost is what a connection's opening took, nanoseconds each, 0 where not seen.
type Cost struct {
	TCP, TLS, DNS int64
}

// An Exchange is a request and its final response. It is valid during the call
// that hands it over.
type Exchange struct {
	Client, Server sniffer.Endpoint
	Mark           uint16 // of its Connection
	ServerName     string
	Opened         int64  // the connection's Start: with the endpoints its identity
	Index          uint32 // of the request on its connection, from 1
	Start, End     int64  // request's first byte, response's last byte (0: never complete)
	Method         http.Method
	Version        http.Version
	Status         uint16 // 0 without a response
	Outcome        Outcome
	Reuse          Reuse
	Idle           int64 // response end before to this start; -1 on the first, or pipelined
}

// A Reuse says whether a request rode a connection that had carried one.
type Reuse uint8

// The reuses.
const (
	FirstRequest Reuse = iota
	ReusedRequest
	UnknownReuse // the first seen on a midstream connection
)

// An Observer takes the facts of one worker, in the order in which they are
// known. Those of a batch of packets are told together, at its end at the latest.
type Observer interface {
	Exchange(e *Exchange)
	Connection(c *Connection)
}

// A Watcher is an Observer that does not want to wait for a connection's end.
// For each connection it hears Opened once, then Judged at most once and
// Exchange any number of times, and last Connection. Opened and Judged are told
// when they are known.
type Watcher interface {
	Observer
	// Opened tells that a connection exists, once its name is known: at its
	// first request or ClientHello, or just before its end. Client, Server,
	// ServerName, Start, End (so far), Handshake, HandshakeTime, TLS, Estimated
	// and Cost are set. The Mark that it writes into c all later facts of the
	// connection have, so that one Watcher need not search for what it counts
	// them by (exporter's BenchmarkConnection).
	Opened(c *Connection)
	// Judged gives the final verdict on a handshake. What Opened had is set, and
	// Verdict and Cause.
	Judged(c *Connection)
}
