package fact

import (
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/sniffer"
)

// Absent is a time or duration that is not known, or that there is none of.
const Absent int64 = -1

// A TLS describes a connection's TLS handshake.
type TLS struct {
	Version   uint16 // on the wire: 0x0303 is 1.2, 0x0304 is 1.3
	SNI, ALPN string
	Resumed   bool
	Handshake int64 // ns that the client waited for it; Absent if not seen
}

// A Connection is one connection that has ended. It and what it points at are
// valid during the call that hands it over. Times are Unix nanoseconds, durations
// nanoseconds.
type Connection struct {
	ID             uint64 // a hash of the 4-tuple and of the time of its first packet
	Client, Server sniffer.Endpoint
	Proxied        sniffer.Endpoint // the client that a PROXY header names; zero without
	Mark           uint16           // what Watcher.Opened left here, 0 before
	Left           bool             // Leaver.Left was told
	ServerName     string           // Host of the first request, else SNI, else the name looked up, else ""
	Start, End     int64            // first and last packet
	Handshake      Handshake
	HandshakeTime  int64 // Absent if not complete
	ClientTrip     int64 // round trip from the capture point to the client, by the handshake; 0 where it is not known
	SYNs           uint8 // how often the SYN was sent, up to 255; 0 where none was seen
	TLS            *TLS  // nil without
	Keys           Keys  // of a TLS connection
	Protocol       Protocol
	Guessed        bool                   // Protocol is HTTP/2 by the lengths of TLS records alone
	Versions       [http.NumVersions]bool // seen in requests
	Software       [2]software.ID         // of client and server, by their own words

	Requests, Responses, Reused, Unsolicited, Pipelined uint32
	Estimated                                           bool   // requests and responses are guesses from encrypted records
	RequestsLost                                        uint32 // HTTP/2 requests whose heads were lost
	Negotiated                                          [NumOutcomes]uint32
	Failed                                              [NumFailures]uint32 // requests

	HasAdvertisedTimeout, HasAdvertisedMax bool
	AdvertisedTimeout                      uint32 // seconds, the last Keep-Alive: timeout= of the server
	AdvertisedMax                          uint32 // the first max= of the server

	ReuseIdle     []int64 // last response byte to the next request, one a reuse
	MoreReuseIdle uint32  // reuses whose idle time is counted but not listed: the list is capped
	CloseIdle     int64   // last response byte to the first closing; Absent if none

	ClosedBy   ClosedBy
	ClosedWith ClosedWith
	ClosedAt   int64 // of the first closing or GOAWAY; Absent without, 0 where it is not told
	Reason     Reason
	// Unheard is an open question about Reason, which is ReasonServerAbort: the server
	// closed a used connection although it had acknowledged a request, and not a byte of
	// a response was captured. By its other connections it is a race where the closing is
	// its idle timer's, or one of many at once.
	Unheard bool

	Verdict    Verdict
	Cause      Cause
	CouldReuse *CouldReuse // where wasted; nil otherwise
	PassedOver bool        // wasted while a connection that had been reused idled and could have carried the first request
	Cost       Cost        // of the handshakes of this connection, whatever the verdict
	Waited     int64       // how long the oldest request that failed had, when the connection was closed; Absent without
	Race       bool        // a request crossed the server's closing
	RaceIdle   int64       // idle time before that request, or before a stale reuse

	Tunnel  *Tunnel  // after CONNECT; nil without
	Upgrade *Upgrade // after 101; nil without
	Streams *Streams // of HTTP/2; nil without
	Path    *Path    // what was unusual about TCP; nil where nothing was

	Trace *Trace // what a drawing of it needs; nil unless asked for

	Incomplete bool   // bytes were lost where they mattered
	Missing    uint64 // stream bytes never captured
	Truncated  uint64 // stream bytes cut by a snaplen
	Bytes      [2]uint64
	Packets    [2]uint32
	BodyUnread bool // the client closed before a response was complete after which the connection could be reused
}

// Answer answers the open question of Unheard.
func (c *Connection) Answer(race bool) {
	if c.Reason, c.Race = ReasonServerAbort, race; race {
		c.Reason, c.RaceIdle = ReasonRace, c.CloseIdle
	}
}

// AnswerCause answers that of the connection which the wasted handshake could have
// been saved with.
func (c *Connection) AnswerCause(race bool) {
	could := *c.CouldReuse // which others may point at
	if could.Reason = ReasonServerAbort; race {
		could.Reason = ReasonRace
	}
	c.Cause, c.CouldReuse = Cause(could.Reason), &could
}

// Answer answers the open question of Unheard.
func (e *Exchange) Answer(race bool) {
	if e.Failure = FailServerAbort; race {
		e.Failure = FailRace
	}
}

// A CouldReuse is the connection that a wasted handshake could have been saved
// with.
type CouldReuse struct {
	ID          uint64
	Port        uint16 // of its client
	Start       int64
	UsableUntil int64  // Absent where it was usable still
	Reason      Reason // why not longer
}

// A Cost is what a connection's opening took, nanoseconds each, 0 where not seen.
type Cost struct {
	TCP, TLS, DNS, Connect int64
}

// A Tunnel is what a CONNECT opened.
type Tunnel struct {
	Target   string // host and port of the request
	Requests uint32 // seen inside
	TLS      *TLS   // inside; nil without
}

// An Upgrade is what followed a 101 that was not to h2c.
type Upgrade struct {
	At, Last int64     // when HTTP ended; of the newest payload since, At without
	Bytes    [2]uint64 // that each side sent afterwards
	Segments [2]uint32 // with payload
}

// Streams is what HTTP/2 adds.
type Streams struct {
	MaxConcurrent uint32 // the most that were open at once
	Concurrent    uint32 // requests that were sent beside others
	Limit         uint32 // the server's, http.Unlimited where it set none
	AtLimit       int64  // ns that the connection stood at it
	Reset         [2]uint32
	Refused       uint32
	HTTP11        uint32    // that the server reset with HTTP_1_1_REQUIRED
	Aborted       uint32    // that the server reset with another error before it had answered them
	AbortedWith   http.Code // the newest
	Ignored       uint32    // requests sent after the server's GOAWAY, which refused them, had arrived
	Pushed        uint32
	Pings         [2]uint32
	PingInterval  int64     // of the client's, median; Absent below two
	Goaway        [2]Goaway // the newest of each side, of those with an error where there are any
	GRPC          bool
	GRPCStatus    [http.NumGRPCStatuses]uint32
}

// TooManyPings says whether the server ended the connection for its client's PINGs, as far
// as that can be seen: it asked for calm, and there were some.
func (s *Streams) TooManyPings() bool {
	g := &s.Goaway[ByServer]
	return g.Seen && g.Code == http.EnhanceYourCalm && s.Pings[ByClient] > 0
}

// A Goaway is one that a side sent (RFC 9113 §6.8).
type Goaway struct {
	Seen  bool
	Code  http.Code
	Last  http.Stream
	First int64 // time of the side's first one: a graceful end has two
	At    int64
}

// A Path is what TCP alone shows of trouble between the two, or at one of them.
type Path struct {
	SYNRetries   int64     // ns from the first SYN to the last
	Probes       [2]uint32 // TCP keep-alive probes of each side
	Interval     int64     // of them, median; Absent below two
	Stalled      [2]int64  // the longest that the side's receive window stood at zero, ns
	StalledAtEnd [2]bool   // and did so until the end
	Dropped      int64     // idle time that the path did not survive; Absent where none
}

// An Exchange is a request and its final response. It is valid during the call
// that hands it over.
type Exchange struct {
	Client, Server sniffer.Endpoint
	Mark           uint16 // of its Connection
	ServerName     string // the request's own
	Connection     uint64 // the connection's ID
	Opened         int64  // and its Start
	Stream         http.Stream
	Index          uint32 // of the request on its connection, from 1
	Start, End     int64  // request's first byte, response's last byte (0: never complete)
	FirstByte      int64  // of the final response, or of an interim one before; Absent without
	Method         http.Method
	Version        http.Version
	Status         uint16 // 0 without a response
	Outcome        Outcome
	Failure        Failure
	Unheard        bool  // Failure is the open question of its connection
	Crossed        bool  // it is the first, and the server's closing, which it crossed, acknowledges nothing of it
	GivenUp        int64 // request's first byte to the closing that left it unanswered; Absent otherwise
	Reuse          Reuse
	Idle           int64 // response end before to this start; Absent on the first, or beside others
}

// An Observer takes the facts of one worker, in the order in which they are
// known. Those of a batch of packets are told together, at its end at the latest.
type Observer interface {
	// Connection is told last of each connection.
	Connection(c *Connection)
}

// A Follower is an Observer that hears of each exchange, too.
type Follower interface {
	Observer
	Exchange(e *Exchange)
}

// A Watcher is an Observer that does not want to wait for a connection's end.
// For each connection it hears Opened once, then Judged at most once, as soon as they
// are known: where it is a Follower, exchanges come after Opened.
type Watcher interface {
	Observer
	// Opened tells that a connection exists, once its name is known: at its
	// first request, at its ClientHello where it is not decrypted, or just before
	// its end. Client, Server, ServerName, Start, End (so far), Handshake,
	// HandshakeTime, TLS, Estimated and Cost are set. The Mark that it writes into c all later facts of the
	// connection have, so that one Watcher need not search for what it counts
	// them by (exporter's BenchmarkConnection).
	Opened(c *Connection)
	// Judged gives the final verdict on a handshake. What Opened had is set, and
	// Verdict and Cause.
	Judged(c *Connection)
}

// A Leaver is a Watcher that wants to know at once that a connection is no longer
// open: a RST that counts ended it, or both sides' FINs. Its Connection may
// follow some seconds later.
type Leaver interface {
	Watcher
	// Left is told once, between Opened and Connection. What Opened had is set.
	Left(c *Connection)
}
