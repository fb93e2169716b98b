package http1

// A Kind is what a Parser expects its stream to hold.
type Kind uint8

// The kinds.
const (
	Request Kind = iota
	Response
)

// A Version is that of a message's start line.
type Version uint8

// The versions. HTTP/1.2 to 1.9 count as HTTP/1.1 (RFC 9110 §2.5).
const (
	HTTP09 Version = iota + 1
	HTTP10
	HTTP11
)

// Tokens is a set of the connection options that matter (RFC 9110 §7.6.1).
type Tokens uint8

// The options.
const (
	Close Tokens = 1 << iota
	KeepAlive
	Upgrade
)

// Framing says where a message's body ends (RFC 9112 §6.3).
type Framing uint8

// The framings.
const (
	NoBody Framing = iota
	Length
	Chunked
	UntilClose
	Tunnel   // HTTP ends here: 101, or 2xx to CONNECT; no End follows
	Unframed // a request whose end cannot be known (RFC 9112 §6.3 items 4 and 5); Lost follows
)

// A Method is a request method, folded to a closed set.
type Method uint8

// The methods (RFC 9110 §9, RFC 5789); any other token is Other.
const (
	Other Method = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	CONNECT
	OPTIONS
	TRACE
	PATCH
)

// A Message is the head of a request or response. Host views the bytes given
// to Next, or a buffer of the Pool: it is valid until the next call of any
// Parser that has the same Pool, or until those bytes change.
type Message struct {
	Kind                                 Kind
	Version                              Version
	Method                               Method // request
	Status                               uint16 // response; 0 in HTTP/0.9, which has none
	Connection                           Tokens // of Connection, or of Proxy-Connection where that is absent
	Framing                              Framing
	HasKeepAliveTimeout, HasKeepAliveMax bool
	KeepAliveTimeout                     uint32 // seconds, of Keep-Alive: timeout=
	KeepAliveMax                         uint32 // of Keep-Alive: max=
	ContentLength                        uint64 // where Framing is Length
	Host                                 []byte // request: Host, or the authority of an absolute-form target or of CONNECT; not sanitised
}

// An Event is what Next found.
type Event uint8

// The events.
const (
	NeedMore Event = iota // every byte was consumed and nothing is complete
	Head                  // a head is complete and in *Message
	End                   // the message whose head was last reported is complete
	Lost                  // not HTTP from here; Next skips to a segment that begins like a message
)
