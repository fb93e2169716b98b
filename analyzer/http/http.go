// Package http has the words that every version of HTTP uses, and the joint between
// what reads HTTP and what keeps count of it: heads and ends of messages by stream, each
// with its time.
//
// HTTP/1 (package http1) pairs requests and responses first in, first out, and numbers
// its exchanges. HTTP/2 (package http2) has a stream for each (RFC 9113 §5.1). Each reads
// as a [Conn], to which the layer beneath, TCP or TLS, hands its bytes. What is found goes
// to a [Sink].
//
//	layer beneath → Conn.Data, Gap, Close → reader → Sink.Begin, Request, Response, End …
//
// Nothing is kept here, so nothing has a cap: slices are valid during the call that hands
// them over. Times are Unix nanoseconds of packets. They go back only where the capture's
// do.
package http

// A Stream numbers an exchange of a connection: from 1 in the order of requests in
// HTTP/1, and by RFC 9113 §5.1.1's identifier in HTTP/2.
type Stream uint32

// Unsolicited is the stream of a response to no request that is known.
const Unsolicited Stream = 0

// A Side is an end of a connection, named for what it does in HTTP.
type Side uint8

// The sides.
const (
	Client Side = iota
	Server
)

// Other returns the other side.
func (s Side) Other() Side { return s ^ 1 }

// String returns "client" or "server".
func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "server"
}

// A Head is what is kept of a message's header section. Host, Agent, Server and Via
// view the bytes that were read, and are valid during the call that hands the Head over.
type Head struct {
	Version                              Version
	Method                               Method // of a request
	Status                               uint16 // of a response; 0 in HTTP/0.9, and where it is not known
	Connection                           Tokens // HTTP/1: of Connection, or of Proxy-Connection where that is absent
	HasKeepAliveTimeout, HasKeepAliveMax bool
	KeepAliveTimeout                     uint32 // seconds, of Keep-Alive: timeout=
	KeepAliveMax                         uint32 // of Keep-Alive: max=
	Host                                 []byte // of a request: Host, :authority, or the authority of an absolute-form target or of CONNECT; not sanitised
	Agent                                []byte // of a request: User-Agent, its first [MaxName] bytes. This one and the next three only where asked for
	Server                               []byte // of a response: Server, its first MaxName bytes
	Via                                  []byte // Via, its last MaxName bytes: those of who sent the message come last (RFC 9110 §7.6.3)
	Forwarded                            bool   // a request has Forwarded (RFC 7239), X-Forwarded-For or Via: Agent is not that of who sent it
	Absolute                             bool   // HTTP/1: a request to a proxy, whose target is a whole URI (RFC 9112 §3.2.2)
	H2C                                  bool   // a 101 to HTTP/2: Upgrade: h2c (RFC 7540 §3.2)
	Malformed                            bool   // HTTP/1: a request line of which nothing is known but its method
	GRPC                                 bool   // a request's content-type begins with application/grpc
	Extended                             bool   // HTTP/2: a CONNECT with :protocol (RFC 8441)
	Pipelined                            bool   // HTTP/1: a request sent before the response to the one before had been read
	UntilClose                           bool   // HTTP/1: a response whose body ends with the connection
	EndsHTTP                             bool   // HTTP/1: a response after which no HTTP follows (RFC 9110 §7.8, §9.3.6)
	Partial                              bool   // fields may be unknown: the head was cut, or HPACK's table was not known
}

// MaxName is the most bytes that are kept of the name of a software: browsers name
// themselves behind a hundred bytes of others' names.
const MaxName = 160

// Interim says whether a response is not the final one (RFC 9110 §15.2); 101
// is final here, for HTTP ends with it.
func (h *Head) Interim() bool { return h.Status/100 == 1 && h.Status != 101 }

// A Conn reads the bytes of one connection, a direction at a time. What it is
// given is valid during the call.
type Conn interface {
	// Data takes the bytes that follow on what the side sent before, captured
	// at a time.
	Data(from Side, b []byte, at int64)
	// Gap takes n bytes that were sent and not captured.
	Gap(from Side, n int64, at int64)
	// Close says that the side sends no more.
	Close(from Side, at int64)
}

// A Sink takes the exchanges that are found on a connection. Of each stream it
// hears Begin and Request, Responds, Response any number of times (interim ones
// come first), and End or Reset of either side, or Unanswered. Where bytes were
// lost any of them may be missing.
type Sink interface {
	// Begin tells the first byte of a request.
	Begin(s Stream, at int64)
	// Request tells that a request's header section is complete.
	Request(s Stream, h *Head, at int64)
	// Responds tells the first byte of what the server sends on a stream.
	Responds(s Stream, at int64)
	// Response tells that a response's header section is complete, interim or
	// final. Of Unsolicited no request is known.
	Response(s Stream, h *Head, at int64)
	// End tells that what a side sends on a stream is complete. HTTP/1 tells it of
	// the server only.
	End(s Stream, from Side, at int64)
	// Reset tells that a side gave a stream up (RFC 9113 §6.4). A second Reset of
	// a stream is not told.
	Reset(s Stream, from Side, code Code, at int64)
	// Unanswered tells that a stream is followed no further: its response was lost,
	// or it is one too many.
	Unanswered(s Stream, at int64)
	// Lost tells that bytes were lost, or were no HTTP, where they mattered, and
	// how many requests, answered since, lost their heads with them.
	Lost(from Side, requests uint32)
}

// A StreamSink is a Sink that also takes what HTTP/2 says of the whole
// connection.
type StreamSink interface {
	Sink
	// Settings tells a SETTINGS frame that is no acknowledgement. Streams is the side's
	// SETTINGS_MAX_CONCURRENT_STREAMS: how many streams its peer may have open; Unlimited
	// where it has set none so far.
	Settings(from Side, streams uint32, at int64)
	// Goaway tells a GOAWAY: the side takes no stream above last (RFC 9113 §6.8).
	Goaway(from Side, last Stream, code Code, at int64)
	// Ping tells a PING that is no acknowledgement.
	Ping(from Side, at int64)
	// Push tells a PUSH_PROMISE. What is pushed is no exchange and not told.
	Push(at int64)
	// GRPCStatus tells the grpc-status of a stream's trailers, or of a response
	// that is nothing but trailers.
	GRPCStatus(s Stream, status GRPCStatus, at int64)
}

// Unlimited is the number of streams where a side sets no limit.
const Unlimited = ^uint32(0)
