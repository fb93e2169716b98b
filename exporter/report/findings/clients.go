package findings

import (
	"fmt"
	"strings"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/advice"
)

// clientRules are about single clients of a server.
var clientRules = []rule{
	{"tunnels", Warning, onCounted, false, tunnels},
	{"never_reused", Warning, onBoth, false, neverReused},
	{"client_request_limit", Warning, onCounted, false, clientRequestLimit},
	{"request_limit", Warning, onBoth, false, requestLimit},
	{"hint_too_short", Warning, onCounted, false, hintTooShort},
	{"pool_limits", Info, onBoth, false, poolLimits},
	{"short_upgrades", Warning, onConnections, false, shortUpgrades},
	{"name_spread", Info, onConnections, false, nameSpread},
	{"health_checks", Info, onConnections, false, healthChecks},
}

// among sums those clients of which is holds, and what they wasted by the causes.
func (v *view) among(is func(*Client) bool, causes ...fact.Cause) (clients uint64, l Loss) {
	for c := range v.clients() {
		if !is(c) {
			continue
		}
		clients++
		for _, cause := range causes {
			lost := c.Wasted.Of(cause)
			l.add(&lost)
		}
	}
	return clients, l
}

// only counts what clients wasted by causes, of those of which is holds.
func only(is func(*Client) bool, causes ...fact.Cause) func(*Client) uint64 {
	count := of(causes...)
	return func(c *Client) uint64 {
		if !is(c) {
			return 0
		}
		return count(c)
	}
}

// takesOf says that what those clients wasted by the causes is explained.
func takesOf(is func(*Client) bool, causes ...fact.Cause) func(*view) {
	return func(v *view) {
		for c := range v.clients() {
			if is(c) {
				for _, cause := range causes {
					v.left[cause].less(c.Wasted.Of(cause))
				}
			}
		}
	}
}

func tunnels(v *view) (hit, bool) {
	worst := Tunnel{}
	var all Loss
	for _, t := range v.Tunnels {
		if t.Wasted.N < MinTunnels {
			continue
		}
		all.add(&t.Wasted)
		if t.Wasted.N > worst.Wasted.N {
			worst = t
		}
	}
	if worst.Wasted.N == 0 {
		return hit{}, false
	}
	text := fmt.Sprintf("%s through the proxy were opened to one target, %s of them for want of keeping one", prose.Plural(worst.Opened, "tunnel"), prose.Count(worst.Wasted.N))
	if all.N > worst.Wasted.N {
		text += fmt.Sprintf(" (%s to all targets)", prose.Count(all.N))
	}
	return hit{
		summary: text + ": " + cost(all) + ".", loss: all, habit: advice.Tunnels,
		note:     "Let the client keep its tunnel to " + worst.Target + ", by one proxy agent, session or transport for the process",
		evidence: map[string]float64{"tunnels": float64(worst.Opened), "wasted_tunnels": float64(worst.Wasted.N)},
		clients: func(c *Client) uint64 {
			return of(causeClientDiscard, causeServerDiscard, fact.PoolMiss, causeClientAbort)(c)
		},
		takes: func(v *view) {
			for _, t := range v.Tunnels {
				if t.Wasted.N < MinTunnels {
					continue
				}
				for c := range v.left {
					v.left[c].less(t.Cause[c])
				}
			}
		},
	}, true
}

// once says that no connection of a client carried a second request, though others
// were open and usable.
func once(c *Client) bool {
	return c.Once >= MinOnce && c.More == 0 && c.Wasted.Of(fact.PoolMiss).N >= MinOnce-1 && !c.Replaces
}

func neverReused(v *view) (hit, bool) {
	clients, l := v.among(once, fact.PoolMiss)
	if clients == 0 || v.left[fact.PoolMiss].N < MinOnce-1 {
		return hit{}, false
	}
	var connections, afterErrors uint64
	for c := range v.clients() {
		if once(c) {
			connections += c.Once
			afterErrors += c.OnceErr
		}
	}
	h := hit{
		loss: l, habit: advice.NeverReused, innocent: v.Idle.Server == 0, clients: only(once, fact.PoolMiss), takes: takesOf(once, fact.PoolMiss),
		evidence: map[string]float64{"single_request_connections": float64(connections), "after_errors": float64(afterErrors)},
	}
	h.summary = fmt.Sprintf("%s carried one request each and none another, though they stayed open: ", prose.Plural(connections, "connection"))
	if afterErrors == connections {
		h.summary += "the client does not read error responses to their end"
	} else {
		h.summary += "the client is made anew for each request, or does not read or close its responses, or several processes each ask seldom"
		switch {
		case v.Idle.Server > 0:
			h.summary += ", and the server closes after " + prose.Seconds(v.Idle.Server)
		case v.Idle.Client > 0:
			h.summary += ", and the client closes after " + prose.Seconds(v.Idle.Client)
		}
	}
	h.summary += "; " + cost(l) + "."
	return h, true
}

// limited says that a client closes at one constant number of requests, unannounced, and
// that this wastes handshakes.
func limited(c *Client) bool {
	return c.limit(c.Wasted.Of(causeClientDiscard).N + c.Wasted.Of(causeClientIdle).N)
}

// limit says whether most of a client's closings come at one constant number of requests, and
// wasted so many handshakes.
func (c *Client) limit(wasted uint64) bool {
	return c.ClosedAt.holds(MinLimitClosings) && c.ClosedAt.Median >= 2 && 2*wasted >= c.ClosedAt.N
}

// limitOf returns the closings of the one with the most, of the clients of which is holds.
func (v *view) limitOf(is func(*Client) bool) (worst Cluster) {
	for c := range v.clients() {
		if is(c) && c.ClosedAt.N > worst.N {
			worst = c.ClosedAt
		}
	}
	return worst
}

func clientRequestLimit(v *view) (hit, bool) {
	clients, l := v.among(limited, causeClientDiscard, causeClientIdle)
	if clients == 0 {
		return hit{}, false
	}
	worst, several := v.limitOf(limited), false
	for c := range v.clients() {
		several = several || limited(c) && c.Several
	}
	h := hit{
		loss: l, habit: advice.ClientRequestLimit, clients: only(limited, causeClientDiscard, causeClientIdle),
		takes:    takesOf(limited, causeClientDiscard, causeClientIdle),
		evidence: map[string]float64{"requests_at_closing_p50": worst.Median, "closings": float64(worst.N), "closings_near": float64(worst.Near)},
	}
	h.summary = fmt.Sprintf("The client closes after %.0f requests%s (%s of %s closings): its limit, or a client made anew for each %.0f, or several clients behind one address",
		worst.Median, orAge(v.t.DiscardAge), prose.Count(worst.Near), prose.Count(worst.N), worst.Median)
	if several {
		h.summary += " (its address looks like that, and effectiveness is a lower bound)"
	}
	h.summary += "; " + cost(l) + "."
	return h, true
}

// orAge names an age that may be the limit as well; empty without one.
func orAge(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return ", or at an age of " + prose.Seconds(seconds)
}

// requestLimit is the server's, or inside TLS that of a side that is not known.
func requestLimit(v *view) (hit, bool) {
	if v.estimated {
		return v.limitInTLS()
	}
	l, at := v.left[causeServerLimit], &v.t.LimitAt
	if !v.wastes(l) || !at.holds(1) {
		return hit{}, false
	}
	return hit{
		summary:  fmt.Sprintf("The server ends connections after %.0f requests%s (%s of %s): %s.", at.Median, orAge(v.t.LimitAge), prose.Count(at.Near), prose.Plural(at.N, "closing"), cost(l)),
		evidence: map[string]float64{"requests_at_limit_p50": at.Median, "closings": float64(at.N)},
		loss:     l, habit: advice.RequestLimit, takes: takes(causeServerLimit),
	}, true
}

func (v *view) limitInTLS() (hit, bool) {
	l, at := v.lost(causeClientDiscard, causeServerDiscard, causeServerLimit), &v.t.ClosedAt
	if !v.wastes(l) || !at.holds(MinLimitClosings) || at.Median < MinLimitTLS {
		return hit{}, false
	}
	return hit{
		summary: fmt.Sprintf("Inside TLS, connections end after %.0f requests (%s of %s): a request limit, whose side is not known; %s.",
			at.Median, prose.Count(at.Near), prose.Plural(at.N, "closing"), cost(l)),
		evidence: map[string]float64{"requests_at_limit_p50": at.Median, "closings": float64(at.N)},
		loss:     l, habit: advice.RequestLimit, also: advice.ClientRequestLimit,
		takes: takes(causeClientDiscard, causeServerDiscard, causeServerLimit),
	}, true
}

// readsHint says that a client takes a margin off the server's hint, or may.
func readsHint(c *Client) bool {
	switch c.Software {
	case software.Unknown, software.Node, software.NodeFetch, software.Axios, software.Got:
		return true
	default:
		return false
	}
}

func hintTooShort(v *view) (hit, bool) {
	_, l := v.among(readsHint, causeClientDiscard)
	if v.Advertised <= 0 || v.Advertised > MaxShortHint || !v.wastes(l) {
		return hit{}, false
	}
	return hit{
		summary: fmt.Sprintf("The server hints at a timeout of %s, and clients that take a margin off it (undici 2 s, Node.js 1 s) keep no such connection: %s.",
			prose.Seconds(v.Advertised), cost(l)),
		evidence: map[string]float64{"advertised_timeout_seconds": v.Advertised},
		loss:     l, habit: advice.HintTooShort,
		clients: only(readsHint, causeClientDiscard), takes: takesOf(readsHint, causeClientDiscard),
	}, true
}

// queues says that requests wait for a client's connections.
func queues(c *Client) bool {
	return c.Connections >= MinPoolClients && c.Requests >= MinPoolRequests && c.Busy > MinPoolBusy &&
		c.Response > 0 && c.wait() < MaxPoolGap*c.Response
}

// wait is how long the client lets pass between a response and its next request.
func (c *Client) wait() float64 { return max(c.Gap-c.Trip, 0) }

func poolLimits(v *view) (hit, bool) {
	for c := range v.clients() {
		if !queues(c) {
			continue
		}
		wait := "at once"
		if c.wait() > 0 {
			wait = prose.Seconds(c.wait())
		}
		return hit{
			summary: fmt.Sprintf("%s of one client were busy for %s of their time or more, the next request %s after each response: requests queue in its pool, or it is a load generator.",
				prose.Plural(c.Connections, "connection"), prose.Percent(c.Busy), wait),
			evidence: map[string]float64{"connections": float64(c.Connections), "busy": c.Busy, "gap_seconds_p50": c.wait(), "response_seconds_p50": c.Response},
			example:  c.Example, habit: advice.PoolLimits,
			clients: func(c *Client) uint64 {
				if queues(c) {
					return c.Requests
				}
				return 0
			},
		}, true
	}
	return hit{}, false
}

// opensForEach says that a client opens a socket for a message.
func opensForEach(c *Client) bool {
	return c.Upgrades >= MinUpgrades && share(c.Short, c.Upgrades) >= MinShortUpgrades
}

func shortUpgrades(v *view) (hit, bool) {
	return v.counted(opensForEach, func(c *Client) (n, all uint64) { return c.Short, c.Upgrades }, "short_upgrades", "upgrades", hit{
		summary: "%s of %s upgraded connections (WebSocket) lasted less than a second, or carried one message a side: a socket is opened for each message.",
		habit:   advice.ShortUpgrades,
	})
}

// spreads says that a client has connections to several addresses of a name that one
// would do for.
func spreads(c *Client) bool {
	return c.Spread >= MinSpread && share(c.Spread, c.SYNs) >= MinSpreadShare
}

func nameSpread(v *view) (hit, bool) {
	return v.counted(spreads, func(c *Client) (n, all uint64) { return c.Spread, c.SYNs }, "beside_idle_connections", "handshakes", hit{
		summary: "%s of %s handshakes went to an address of this name while a connection to another address of it idled: the client pools by address.",
		habit:   advice.NameSpread,
	})
}

// counted makes the hit of clients of which is holds; the summary has verbs for what
// they did, of how many.
func (v *view) counted(is func(*Client) bool, count func(*Client) (n, all uint64), key, of string, h hit) (hit, bool) {
	var n, all uint64
	for c := range v.clients() {
		if is(c) {
			k, m := count(c)
			n, all = n+k, all+m
			if h.example == (Example{}) {
				h.example = c.Example
			}
		}
	}
	if n == 0 {
		return hit{}, false
	}
	h.summary = fmt.Sprintf(h.summary, prose.Count(n), prose.Count(all))
	h.evidence = map[string]float64{key: float64(n), of: float64(all)}
	h.clients = func(c *Client) uint64 {
		if !is(c) {
			return 0
		}
		n, _ := count(c)
		return n
	}
	return h, true
}

func healthChecks(v *view) (hit, bool) {
	var n uint64
	var who []string
	var h hit
	for i := range v.Probers {
		p := &v.Probers[i]
		if p.Connections < MinProbes {
			continue
		}
		if n += p.Connections; len(who) == 0 {
			h.example = p.Example
		}
		who = append(who, p.String())
	}
	if n == 0 {
		return hit{}, false
	}
	if more := len(who) - maxNames; more > 0 {
		who = append(who[:maxNames], fmt.Sprintf("%d more", more))
	}
	h.summary = "Health checks, not counted as waste of the application: " + strings.Join(who, "; ") + "."
	h.evidence = map[string]float64{"probe_connections": float64(n)}
	return h, true
}

// String tells who checks, and how often.
func (p *Prober) String() string {
	text := p.Address
	if p.Software != software.Unknown {
		text += " (" + p.Software.String() + ")"
	}
	text += ", " + prose.Plural(p.Connections, "connection")
	if p.Interval > 0 {
		text += " every " + prose.Seconds(p.Interval)
	}
	return text
}
