package findings

import (
	"fmt"
	"strconv"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/advice"
)

// The causes of waste that the rules speak of.
const (
	causeClientClose   = fact.Cause(fact.ReasonClientClose)
	causeNotRequested  = fact.Cause(fact.ReasonHTTP10NotRequested)
	causeDeclined      = fact.Cause(fact.ReasonHTTP10Declined)
	causeNoLength      = fact.Cause(fact.ReasonNoLength)
	causeErrorClose    = fact.Cause(fact.ReasonServerErrorClose)
	causeServerLimit   = fact.Cause(fact.ReasonServerLimit)
	causeServerClose   = fact.Cause(fact.ReasonServerClose)
	causeRace          = fact.Cause(fact.ReasonRace)
	causeStale         = fact.Cause(fact.ReasonStaleReuse)
	causePath          = fact.Cause(fact.ReasonPathDropped)
	causeServerGoaway  = fact.Cause(fact.ReasonServerGoaway)
	causeClientGoaway  = fact.Cause(fact.ReasonClientGoaway)
	causeGoawayError   = fact.Cause(fact.ReasonGoawayError)
	causeClientAbort   = fact.Cause(fact.ReasonClientAbort)
	causeServerAbort   = fact.Cause(fact.ReasonServerAbort)
	causeClientDiscard = fact.Cause(fact.ReasonClientDiscard)
	causeServerDiscard = fact.Cause(fact.ReasonServerDiscard)
	causeClientIdle    = fact.Cause(fact.ReasonClientIdle)
	causeServerIdle    = fact.Cause(fact.ReasonServerIdle)
	causeNotCaptured   = fact.Cause(fact.ReasonNotCaptured)
)

// wasteRules are about one habit that wastes handshakes.
var wasteRules = []rule{
	{"server_closes", Warning, onBoth, true, serverCloses},
	{"client_closes", Warning, onBoth, true, clientCloses},
	{"http10", Warning, onBoth, true, http10},
	{"pool_too_small", Warning, onCounted, false, poolTooSmall},
	{"client_discards", Warning, onCounted, true, clientDiscards},
	{"server_discards", Warning, onCounted, true, serverDiscards},
	{"closes_after_response", Warning, onEstimated, true, closesAfterResponse},
	{"no_length", Warning, onBoth, true, noLength},
	{"errors_close", Warning, onBoth, true, errorsClose},
	{"server_idle_timeout", Warning, onBoth, false, serverIdleTimeout},
	{"client_idle_timeout", Warning, onBoth, false, clientIdleTimeout},
	{"pool_split", Info, onBoth, true, poolSplit},
}

// lost sums what is left of the causes.
func (v *view) lost(causes ...fact.Cause) (l Loss) {
	for _, c := range causes {
		l.add(&v.left[c])
	}
	return l
}

// wastes reports whether so many handshakes are a habit.
func (v *view) wastes(l Loss) bool {
	return l.N >= MinWasted && share(l.N, v.t.Reused+v.t.wastedTotal()) >= MinWastedShare
}

// of counts what clients wasted by the causes.
func of(causes ...fact.Cause) func(*Client) uint64 {
	return func(c *Client) (n uint64) {
		for _, cause := range causes {
			n += c.Wasted.Of(cause).N
		}
		return n
	}
}

// takes says that the waste by some causes is explained.
func takes(causes ...fact.Cause) func(*view) {
	return func(v *view) {
		for _, c := range causes {
			v.left[c] = Loss{}
		}
	}
}

// cost tells wasted handshakes, and their time where it was seen.
func cost(l Loss) string {
	text := prose.PluralWere(l.N, "handshake") + " wasted"
	if l.Seconds > 0 {
		text += ", " + prose.Seconds(l.Seconds)
	}
	return text
}

// habit makes the hit of causes about which nothing more is to be said.
func (v *view) habit(summary string, h advice.Habit, clients func(*Client) uint64, causes ...fact.Cause) (hit, bool) {
	l := v.lost(causes...)
	if !v.wastes(l) {
		return hit{}, false
	}
	return hit{summary: summary + ": " + cost(l) + ".", loss: l, habit: h, clients: clients, takes: takes(causes...)}, true
}

func serverCloses(v *view) (hit, bool) {
	limit := v.lost(causeServerLimit)
	h, ok := v.habit("The server answers “Connection: close”", advice.ServerCloses, nil, causeServerClose, causeServerLimit)
	if ok && 2*limit.N > h.loss.N {
		h.summary = "The server announces the end of connections that were in use, after no constant number of requests (an age limit, or draining): " +
			cost(h.loss) + "."
		if v.t.LimitAge > 0 {
			h.summary = "The server announces the end of connections that were in use at an age of " + prose.Seconds(v.t.LimitAge) + ": " + cost(h.loss) + "."
		}
		h.habit = advice.RequestLimit
	}
	return h, ok
}

func clientCloses(v *view) (hit, bool) {
	text := "The client asks for “Connection: close”"
	if at := v.limitOf(func(c *Client) bool { return c.limit(c.Wasted.Of(causeClientClose).N) }); at.N > 0 {
		text += fmt.Sprintf(" after %.0f requests (%s of %s closings)", at.Median, prose.Count(at.Near), prose.Count(at.N))
	}
	return v.habit(text, advice.ClientCloses, of(causeClientClose), causeClientClose)
}

func http10(v *view) (hit, bool) {
	asked, declined := v.left[causeNotRequested].N, v.left[causeDeclined].N
	causes := []fact.Cause{causeNotRequested, causeDeclined}
	if asked >= declined {
		return v.habit("The client speaks HTTP/1.0 and does not ask for keep-alive", advice.HTTP10NotRequested, of(causes...), causes...)
	}
	return v.habit("The client asks for keep-alive in HTTP/1.0, and the server does not confirm it or answers in HTTP/1.0",
		advice.HTTP10Declined, of(causes...), causes...)
}

func poolTooSmall(v *view) (hit, bool) {
	if _, ok := clientMoves(v); ok {
		return hit{}, false // the other connections are to other addresses
	}
	l := v.left[causeClientDiscard]
	reuse := share(v.t.Reused, v.t.Requests)
	if !v.wastes(l) || reuse < MinPoolReuse || 2*v.t.Beside < v.t.Discards || v.t.Beside == 0 || v.t.DiscardAge > 0 {
		return hit{}, false
	}
	return hit{
		summary: fmt.Sprintf("The client's pool is too small, or some of its requests go past it: it closes connections as soon as they are free, while it has others open (%s of %s closings); %s.",
			prose.Count(v.t.Beside), prose.Count(v.t.Discards), cost(l)),
		evidence: map[string]float64{"reuse_ratio": reuse, "closings": float64(v.t.Discards), "closings_beside_others": float64(v.t.Beside)},
		loss:     l, habit: advice.PoolTooSmall, clients: of(causeClientDiscard), takes: takes(causeClientDiscard),
	}, true
}

func clientDiscards(v *view) (hit, bool) {
	if h, ok := clientMoves(v); ok {
		return h, true
	}
	if v.Idle.ClientShort || v.Idle.ClientFrom > 0 {
		return hit{}, false // they are its idle timeout
	}
	text, habit := "The client closes right after the response"+v.unannounced(), advice.ClientDiscards
	if v.t.DiscardAge > 0 {
		text += ", at an age of " + prose.Seconds(v.t.DiscardAge) + " of the connection (a limit of its age)"
		habit = advice.ClientRequestLimit
	}
	return v.habit(text, habit, of(causeClientDiscard), causeClientDiscard)
}

// moves says that nearly all of a client's closings come with an opening to another address,
// and not after one number of requests, which tells a limit.
func moves(c *Client) bool {
	return c.Moved >= MinMoved && share(c.Moved, c.Ended) >= MinMovedShare && !limited(c)
}

// clientMoves is about clients that keep a connection until the name leads elsewhere.
func clientMoves(v *view) (hit, bool) {
	causes := []fact.Cause{causeClientDiscard, causeClientIdle}
	_, l := v.among(moves, causes...)
	if !v.wastes(l) {
		return hit{}, false
	}
	var n, all uint64
	for c := range v.clients() {
		if moves(c) {
			n, all = n+c.Moved, all+c.Ended
		}
	}
	return hit{
		summary: fmt.Sprintf("The client closes its connection when it opens one to another address of this name (%s of %s closings), as one does that follows each look-up, or keeps one connection in all; %s.",
			prose.Count(n), prose.Count(all), cost(l)),
		evidence: map[string]float64{"moved": float64(n), "closings": float64(all)},
		loss:     l, habit: advice.NameFollowed, clients: only(moves, causes...), takes: takesOf(moves, causes...),
	}, true
}

// unannounced says that neither side had announced a closing, where all heads were read.
func (v *view) unannounced() string {
	if v.Encrypted || v.CutHeads > 0 {
		return ""
	}
	return ", without announcing it"
}

func serverDiscards(v *view) (hit, bool) {
	if v.Idle.ServerShort {
		return hit{}, false // they are its idle timeout
	}
	return v.habit("The server closes right after its response"+v.unannounced(), advice.ServerDiscards, nil, causeServerDiscard)
}

func closesAfterResponse(v *view) (hit, bool) {
	text := "Inside TLS, connections are closed right after a response, by either side, which the other may have asked for"
	if v.t.Beside > 0 && 2*v.t.Beside >= v.t.Discards && share(v.t.Reused, v.t.Requests) >= MinPoolReuse {
		text += fmt.Sprintf(" (the client ended %s, %s of them while it had others open: its pool may be too small)", prose.Count(v.t.Discards), prose.Count(v.t.Beside))
	}
	return v.habit(text,
		advice.ClosesAfterResponse, of(causeClientDiscard, causeServerDiscard), causeClientDiscard, causeServerDiscard)
}

func noLength(v *view) (hit, bool) {
	return v.habit("Responses without a length end with their connection", advice.NoLength, nil, causeNoLength)
}

// says are what statuses mean that a setting of the server makes (RFC 9110 §15, RFC 6585 §4).
var says = map[uint16]string{
	408: " (the request came too slowly)", 413: " (its body is too large)", 429: " (a rate limit)", 503: " (overload, or no backend)",
}

func errorsClose(v *view) (hit, bool) {
	text := "The server closes the connection with error responses"
	for i, status := range v.ErrorsClose {
		before := ", "
		if i == 0 {
			before = " of status "
		}
		text += before + strconv.Itoa(int(status)) + says[status]
	}
	return v.habit(text, advice.ErrorsClose, nil, causeErrorClose)
}

func serverIdleTimeout(v *view) (hit, bool) {
	causes := []fact.Cause{causeServerIdle}
	if v.Idle.ServerShort || v.Idle.Server > 0 && v.Idle.Server < 1.1*minIdle { // the same timer makes both
		causes = append(causes, causeServerDiscard)
	}
	text := "The server gives up idle connections too soon"
	if v.Idle.Server > 0 {
		text += ", after " + prose.Seconds(v.Idle.Server)
	}
	h, ok := v.habit(text, advice.ServerIdleTimeout, nil, causes...)
	h.server = v.grpcServer()
	if ok && v.Idle.Server > 0 {
		h.evidence = map[string]float64{"server_timeout_seconds": v.Idle.Server}
	}
	return h, ok
}

func clientIdleTimeout(v *view) (hit, bool) {
	causes := []fact.Cause{causeClientIdle}
	if v.Idle.ClientShort || v.Idle.ClientFrom > 0 {
		causes = append(causes, causeClientDiscard)
	}
	text, also := "The client gives up idle connections too soon", advice.None
	switch {
	case v.Idle.ClientFrom > 0:
		also = advice.ClientDiscards
		text += fmt.Sprintf(", most between %s and %s after the response, by a timeout that it looks at now and then, or because it ends",
			prose.Seconds(v.Idle.ClientFrom), prose.Seconds(v.Idle.ClientTo))
	case v.Idle.Client > 0 && v.Idle.ClientAtMost:
		text += ", after at most " + prose.Seconds(v.Idle.Client)
	case v.Idle.Client > 0:
		text += ", after " + prose.Seconds(v.Idle.Client)
	}
	if margin := v.Advertised - v.Idle.Client; v.Idle.Client > 0 && margin > 0.8 && margin < 2.2 {
		text += " (it may take a margin off the server's hint of " + prose.Seconds(v.Advertised) + ": then raise the server's timeout)"
	}
	// Of several processes with a pool each, one's idle connection is open when another
	// replaces its own.
	replaces := func(c *Client) bool { return c.Replaces }
	_, l := v.among(replaces, fact.PoolMiss)
	others := v.lost(causes...)
	l.add(&others)
	if !v.wastes(l) {
		return hit{}, false
	}
	h := hit{
		summary: text + ": " + cost(l) + ".", loss: l, habit: advice.ClientIdleTimeout, also: also,
		clients: func(c *Client) uint64 { return of(causes...)(c) + only(replaces, fact.PoolMiss)(c) },
		takes: func(v *view) {
			takes(causes...)(v)
			takesOf(replaces, fact.PoolMiss)(v)
		},
	}
	if v.Idle.Client > 0 {
		h.evidence = map[string]float64{"client_timeout_seconds": v.Idle.Client}
	}
	return h, true
}

func poolSplit(v *view) (hit, bool) {
	single := share(v.t.Single, v.t.Connections)
	h, ok := v.habit("A new connection was opened although one to the same server idled", advice.PoolSplit, of(fact.PoolMiss), fact.PoolMiss)
	if ok && single >= WarnSingleShare {
		h.severity = Warning
	}
	if ok {
		h.evidence = map[string]float64{"single_request_connections": float64(v.t.Single), "connections": float64(v.t.Connections)}
	}
	return h, ok
}
