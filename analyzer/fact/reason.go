package fact

// A Reason says why a connection stopped being reusable.
type Reason uint8

// The reasons, in the order in which they are tried.
const (
	ReasonNone Reason = iota // not told
	ReasonHandshakeFailed
	ReasonNeverUsed
	ReasonNotHTTP
	ReasonUpgraded
	ReasonPathDropped
	ReasonClientClose
	ReasonHTTP10NotRequested
	ReasonHTTP10Declined
	ReasonNoLength
	ReasonServerErrorClose
	ReasonServerLimit
	ReasonServerClose
	ReasonRace
	ReasonStaleReuse
	ReasonGoawayError
	ReasonServerGoaway
	ReasonClientGoaway
	ReasonClientAbort
	ReasonServerAbort
	ReasonClientDiscard
	ReasonServerDiscard
	ReasonClientIdle
	ReasonServerIdle
	ReasonNotCaptured // what was not captured may have announced the closing
	ReasonTimeout
	ReasonEvicted
	ReasonOpen
	NumReasons
)

// A Blame is the side that a reason speaks of, and so who can change it.
type Blame uint8

// The sides.
const (
	BlamesNobody Blame = iota
	BlamesClient
	BlamesServer
	BlamesPath // something between the two
	BlamesBoth // the two do not fit each other
	NumBlames
)

var blameNames = [NumBlames]string{
	BlamesNobody: "nobody", BlamesClient: "client", BlamesServer: "server", BlamesPath: "path", BlamesBoth: "both",
}

// String returns whom the blame falls on, such as "client".
func (b Blame) String() string { return name(blameNames[:], b) }

// reasons has of each reason its word and whom it blames.
var reasons = [NumReasons]struct {
	name  string
	blame Blame
}{
	ReasonNone:               {"none", BlamesNobody},
	ReasonHandshakeFailed:    {"handshake_failed", BlamesServer},
	ReasonNeverUsed:          {"never_used", BlamesClient},
	ReasonNotHTTP:            {"not_http", BlamesNobody},
	ReasonUpgraded:           {"upgraded", BlamesNobody},
	ReasonPathDropped:        {"path_dropped", BlamesPath},
	ReasonClientClose:        {"client_close", BlamesClient},
	ReasonHTTP10NotRequested: {"http10_not_requested", BlamesClient},
	ReasonHTTP10Declined:     {"http10_declined", BlamesBoth},
	ReasonNoLength:           {"no_length", BlamesServer},
	ReasonServerErrorClose:   {"server_error_close", BlamesServer},
	ReasonServerLimit:        {"server_limit", BlamesServer},
	ReasonServerClose:        {"server_close", BlamesServer},
	ReasonRace:               {"race", BlamesBoth},
	ReasonStaleReuse:         {"stale_reuse", BlamesClient},
	ReasonGoawayError:        {"goaway_error", BlamesBoth},
	ReasonServerGoaway:       {"server_goaway", BlamesServer},
	ReasonClientGoaway:       {"client_goaway", BlamesClient},
	ReasonClientAbort:        {"client_abort", BlamesClient},
	ReasonServerAbort:        {"server_abort", BlamesServer},
	ReasonClientDiscard:      {"client_discard", BlamesClient},
	ReasonServerDiscard:      {"server_discard", BlamesServer},
	ReasonClientIdle:         {"client_idle", BlamesClient},
	ReasonServerIdle:         {"server_idle", BlamesServer},
	ReasonNotCaptured:        {"not_captured", BlamesNobody},
	ReasonTimeout:            {"timeout", BlamesNobody},
	ReasonEvicted:            {"evicted", BlamesNobody},
	ReasonOpen:               {"open", BlamesNobody},
}

// String returns the reason's name, such as "server_idle".
func (r Reason) String() string {
	if r < NumReasons {
		return reasons[r].name
	}
	return unknownName
}

// Blames returns the side that the reason speaks of.
func (r Reason) Blames() Blame {
	if r < NumReasons {
		return reasons[r].blame
	}
	return BlamesNobody
}

// A Cause says why a handshake was wasted: the Reason for which the connection
// that it replaces was not usable any more, or PoolMiss. NoCause is that of a
// handshake that was not wasted.
type Cause uint8

// Causes between NoCause and PoolMiss have the values of Reason.
const (
	NoCause   Cause = 0
	PoolMiss        = Cause(NumReasons)
	NumCauses       = PoolMiss + 1
)

// String returns the name of the reason that the cause is, or "pool_miss".
func (c Cause) String() string {
	if c == PoolMiss {
		return "pool_miss"
	}
	return Reason(c).String()
}

// Blames returns the side that the cause speaks of: with PoolMiss the client.
func (c Cause) Blames() Blame {
	if c == PoolMiss {
		return BlamesClient
	}
	return Reason(c).Blames()
}

// Possible says whether a wasted handshake can have the cause: there are reasons
// that no connection has which carried a request and was lost.
func (c Cause) Possible() bool {
	switch Reason(c) {
	case ReasonNone, ReasonHandshakeFailed, ReasonNeverUsed, ReasonNotHTTP, ReasonOpen:
		return false
	default:
		return c < NumCauses
	}
}
