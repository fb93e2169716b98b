package http1

import "github.com/keepscope/keepscope/analyzer/http"

// A Kind is what a Parser expects its stream to hold.
type Kind uint8

// The kinds.
const (
	Request Kind = iota
	Response
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
	Unframed // a message whose end cannot be known: a request (RFC 9112 §6.3 items 4 and 5) or a Malformed one, of which Lost follows; one that was Cut
)

// A Message is the head of a request or response. Host, Agent, Server and Via view
// the bytes given to Next, or a buffer of the Pool: they are valid until the next
// call of any Parser that has the same Pool, or until those bytes change.
type Message struct {
	http.Head
	Kind          Kind
	Framing       Framing
	ContentLength uint64 // where Framing is Length
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
