package fact

// The words are those of the project's definitions. They appear unchanged in every
// output and as metric labels. A value out of range is "unknown", so that a record
// from elsewhere can be printed without a panic.

const unknownName = "unknown"

func name[E ~uint8](names []string, e E) string {
	if int(e) < len(names) && names[e] != "" {
		return names[e]
	}
	return unknownName
}

// Names lists the names of an enum's values, which are those below n.
func Names[E interface {
	~uint8
	String() string
}](n E) []string {
	list := make([]string, n)
	for i := range n {
		list[i] = i.String()
	}
	return list
}

// A Handshake says how much of a TCP handshake was captured.
type Handshake uint8

// The handshakes.
const (
	HandshakeComplete   Handshake = iota
	HandshakeUnanswered           // a SYN only
	HandshakeRefused              // a RST answered the SYN
	HandshakePartial              // some of it is missing, but data flowed
	HandshakeMidstream            // neither SYN nor SYN-ACK was seen
	NumHandshakes
)

var handshakeNames = [NumHandshakes]string{
	HandshakeComplete:   "complete",
	HandshakeUnanswered: "unanswered",
	HandshakeRefused:    "refused",
	HandshakePartial:    "partial",
	HandshakeMidstream:  "midstream",
}

// String returns the handshake's name, such as "complete".
func (h Handshake) String() string { return name(handshakeNames[:], h) }

// A Protocol is what a connection was seen to carry.
type Protocol uint8

// The protocols.
const (
	ProtocolUnknown Protocol = iota // no payload, or too little to tell
	ProtocolHTTP09
	ProtocolHTTP10
	ProtocolHTTP11
	ProtocolH2
	ProtocolTLS     // not decrypted, and not known to be HTTP/2
	ProtocolNotHTTP // payload without HTTP
	NumProtocols
)

var protocolNames = [NumProtocols]string{
	ProtocolUnknown: "unknown",
	ProtocolHTTP09:  "http/0.9",
	ProtocolHTTP10:  "http/1.0",
	ProtocolHTTP11:  "http/1.1",
	ProtocolH2:      "h2",
	ProtocolTLS:     "tls",
	ProtocolNotHTTP: "not_http",
}

// String returns the protocol's name, such as "http/1.1".
func (p Protocol) String() string { return name(protocolNames[:], p) }

// A Keys says whether a TLS connection was decrypted, or why not.
type Keys uint8

// Whether it was.
const (
	KeysNone       Keys = iota // no key log was given
	KeysDecrypted              // what it carried was read
	KeysMissing                // the key log has no line for it, or a hello was not captured
	KeysMismatched             // there was a line, and no record authenticated
	NumKeys
)

var keysNames = [NumKeys]string{
	KeysNone: "none", KeysDecrypted: "decrypted", KeysMissing: "missing", KeysMismatched: "mismatched",
}

// String returns "none", "decrypted", "missing" or "mismatched".
func (k Keys) String() string { return name(keysNames[:], k) }

// An Outcome says what an exchange negotiated about keep-alive.
type Outcome uint8

// The outcomes, in the order in which they are tried.
const (
	Upgraded Outcome = iota
	RefusedStream
	UnknownOutcome // a snaplen cut the head
	Incomplete     // no final response was seen
	ClientClose
	HTTP10NotRequested
	HTTP10Declined
	ServerClose
	NoLength
	KeepAlive
	NumOutcomes
)

var outcomeNames = [NumOutcomes]string{
	Upgraded:           "upgraded",
	RefusedStream:      "refused_stream",
	UnknownOutcome:     "unknown",
	Incomplete:         "incomplete",
	ClientClose:        "client_close",
	HTTP10NotRequested: "http10_not_requested",
	HTTP10Declined:     "http10_declined",
	ServerClose:        "server_close",
	NoLength:           "no_length",
	KeepAlive:          "keep_alive",
}

// String returns the outcome's name, such as "keep_alive".
func (o Outcome) String() string { return name(outcomeNames[:], o) }

// A Failure says how a request failed; the first that holds.
type Failure uint8

// The failures.
const (
	NotFailed         Failure = iota
	FailRefusedStream         // the server said that it did not process the stream
	FailPathDropped           // something between forgot the connection
	FailCloseIgnored          // sent after the closing had been announced and read
	FailRace                  // crossed the server's closing
	FailStaleReuse            // sent after the server's closing had arrived
	FailClientAbort           // the client closed before a response had begun
	FailServerAbort           // the server closed before its response was complete
	NumFailures
)

var failureNames = [NumFailures]string{
	NotFailed: "none", FailRefusedStream: "refused_stream", FailPathDropped: "path_dropped", FailCloseIgnored: "close_ignored",
	FailRace: "race", FailStaleReuse: "stale_reuse", FailClientAbort: "client_abort", FailServerAbort: "server_abort",
}

// String returns the failure's name, such as "race".
func (f Failure) String() string { return name(failureNames[:], f) }

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

var closedByNames = [NumClosedBy]string{
	ByClient:   "client",
	ByServer:   "server",
	ByTimeout:  "timeout",
	ByEviction: "evicted",
	ByEnd:      "end",
}

// String returns who closed: "client", "server", "timeout", "evicted", "end".
func (c ClosedBy) String() string { return name(closedByNames[:], c) }

// A ClosedWith is the first closing.
type ClosedWith uint8

// The closings.
const (
	WithNothing ClosedWith = iota
	WithFIN
	WithRST
	WithCloseNotify // TLS's (RFC 8446 §6.1)
	NumClosedWith
)

var closedWithNames = [NumClosedWith]string{
	WithNothing: "", WithFIN: "fin", WithRST: "rst", WithCloseNotify: "close_notify",
}

// String returns "fin", "rst", "close_notify", or the empty string where nothing
// closed.
func (c ClosedWith) String() string {
	if c == WithNothing {
		return ""
	}
	return name(closedWithNames[:], c)
}

// A Verdict says whether an ideal pool would have needed a handshake.
type Verdict uint8

// The verdicts.
const (
	VerdictNone Verdict = iota
	VerdictNeeded
	VerdictWasted
	NumVerdicts
)

var verdictNames = [NumVerdicts]string{VerdictNone: "none", VerdictNeeded: "needed", VerdictWasted: "wasted"}

// String returns "none", "needed" or "wasted".
func (v Verdict) String() string { return name(verdictNames[:], v) }

// A Reuse says whether a request rode a connection that had carried one.
type Reuse uint8

// The reuses.
const (
	FirstRequest Reuse = iota
	ReusedRequest
	UnknownReuse // the first seen on a midstream connection
	NumReuses
)

var reuseNames = [NumReuses]string{FirstRequest: "false", ReusedRequest: "true", UnknownReuse: unknownName}

// String returns whether it did: "false", "true" or "unknown".
func (r Reuse) String() string { return name(reuseNames[:], r) }
