package analyzer

// The names are the words of the project's definitions; they appear unchanged
// in every output and as metric labels. A value out of range is "unknown", so
// that a record from elsewhere can be printed without a panic.

var handshakeNames = [numHandshakes]string{
	HandshakeComplete:   "complete",
	HandshakeUnanswered: "unanswered",
	HandshakeRefused:    "refused",
	HandshakePartial:    "partial",
	HandshakeMidstream:  "midstream",
}

var protocolNames = [numProtocols]string{
	ProtocolUnknown: "unknown",
	ProtocolHTTP09:  "http/0.9",
	ProtocolHTTP10:  "http/1.0",
	ProtocolHTTP11:  "http/1.1",
	ProtocolH2:      "h2",
	ProtocolTLS:     "tls",
}

var outcomeNames = [NumOutcomes]string{
	Upgraded:           "upgraded",
	Incomplete:         "incomplete",
	ClientClose:        "client_close",
	HTTP10NotRequested: "http10_not_requested",
	ServerClose:        "server_close",
	HTTP10Declined:     "http10_declined",
	NoLength:           "no_length",
	KeepAlive:          "keep_alive",
}

var reasonNames = [NumReasons]string{
	ReasonNeverUsed:          "never_used",
	ReasonHandshakeFailed:    "handshake_failed",
	ReasonUpgraded:           "upgraded",
	ReasonRace:               "race",
	ReasonClientClose:        "client_close",
	ReasonHTTP10NotRequested: "http10_not_requested",
	ReasonHTTP10Declined:     "http10_declined",
	ReasonNoLength:           "no_length",
	ReasonServerErrorClose:   "server_error_close",
	ReasonServerLimit:        "server_limit",
	ReasonServerClose:        "server_close",
	ReasonClientAbort:        "client_abort",
	ReasonServerAbort:        "server_abort",
	ReasonClientDiscard:      "client_discard",
	ReasonServerDiscard:      "server_discard",
	ReasonClientIdle:         "client_idle",
	ReasonServerIdle:         "server_idle",
	ReasonTimeout:            "timeout",
	ReasonEvicted:            "evicted",
	ReasonOpen:               "open",
}

var closedByNames = [NumClosedBy]string{
	ByClient:   "client",
	ByServer:   "server",
	ByTimeout:  "timeout",
	ByEviction: "evicted",
	ByEnd:      "end",
}

var closedWithNames = [...]string{WithNothing: "", WithFIN: "fin", WithRST: "rst"}

var verdictNames = [...]string{VerdictNone: "none", VerdictNeeded: "needed", VerdictWasted: "wasted"}

const unknownName = "unknown"

func name[E ~uint8](names []string, e E) string {
	if int(e) < len(names) {
		return names[e]
	}
	return unknownName
}

// String returns the handshake's name, such as "complete".
func (h Handshake) String() string { return name(handshakeNames[:], h) }

// String returns the protocol's name, such as "http/1.1".
func (p Protocol) String() string { return name(protocolNames[:], p) }

// String returns the outcome's name, such as "keep_alive".
func (o Outcome) String() string { return name(outcomeNames[:], o) }

// String returns the reason's name, such as "server_idle".
func (r Reason) String() string { return name(reasonNames[:], r) }

// String returns who closed: "client", "server", "timeout", "evicted", "end".
func (c ClosedBy) String() string { return name(closedByNames[:], c) }

// String returns "fin", "rst", or the empty string where no segment closed.
func (c ClosedWith) String() string { return name(closedWithNames[:], c) }

// String returns "none", "needed" or "wasted".
func (v Verdict) String() string { return name(verdictNames[:], v) }

// String returns the name of the reason that the cause is, or "pool_miss".
func (c Cause) String() string {
	if c == PoolMiss {
		return "pool_miss"
	}
	return Reason(c).String()
}
