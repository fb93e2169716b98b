package findings

import (
	"fmt"
	"math"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/advice"
)

// restartRules come first: what ends all connections at once is no timeout of theirs.
var restartRules = []rule{
	{"restarts", Warning, onBoth, false, restarts},
}

// failureRules are about requests that fail, and handshakes.
var failureRules = []rule{
	{"races", Critical, onBoth, true, races},
	{"stale_reuse", Warning, onBoth, true, staleReuse},
	{"close_ignored", Warning, onCounted, true, closeIgnored},
	{"path_timeout", Critical, onBoth, false, pathTimeout},
	{"idle_timeout_order", Warning, onBoth, false, idleTimeoutOrder},
	{"body_unread", Warning, onConnections, true, bodyUnread},
	{"bodies_stalled", Critical, onConnections, false, bodiesStalled},
	{"client_aborts", Warning, onBoth, true, clientAborts},
	{"server_aborts", Critical, onBoth, true, serverAborts},
	{"refused", Critical, onConnections, false, refused},
	{"unanswered", Critical, onConnections, false, unanswered},
	{"slow_handshakes", Warning, onConnections, false, slowHandshakes},
}

func restarts(v *view) (hit, bool) {
	m := &v.Mass
	if v.estimated != (v.Counted.Requests == 0 && v.Server.Estimated.Requests > 0) {
		return hit{}, false // it is told once, with the requests that there are
	}
	if m.Closings < MinMassClosings && (m.Closings == 0 || m.Failed == 0) {
		return hit{}, false
	}
	var l Loss
	for c := range v.t.MassWasted {
		l.add(&v.t.MassWasted[c])
	}
	text := fmt.Sprintf("The server closed %s at one instant: a reload, restart or scale-down", prose.Plural(m.Connections, "connection"))
	if m.Closings > 1 {
		text = fmt.Sprintf("The server closed all its connections at once, %s (%s): a reload, restart or scale-down",
			times(m.Closings), prose.Plural(m.Connections, "connection"))
	}
	if m.Failed > 0 {
		text += "; " + prose.Plural(m.Failed, "request") + " went down with them"
	}
	if l.N > 0 {
		text += "; " + cost(l)
	}
	return hit{
		summary: text + ".", loss: l, failed: m.Failed, example: m.Example, habit: advice.Restarts,
		evidence: map[string]float64{"mass_closings": float64(m.Closings), "connections_closed": float64(m.Connections)},
		takes: func(v *view) {
			v.inMass = m.Failed
			for c := range v.left {
				v.left[c].less(v.t.MassWasted[c])
			}
		},
	}, true
}

func times(n uint64) string {
	if n == 2 {
		return "twice"
	}
	return prose.Count(n) + " times"
}

// failed counts the requests of clients that failed so.
func failed(f fact.Failure) func(*Client) uint64 {
	return func(c *Client) uint64 { return c.Failed[f] }
}

// apart returns how many of some requests that failed are not told with a closing of many
// at once.
func (v *view) apart(n uint64) uint64 {
	told := min(n, v.inMass)
	v.inMass -= told
	return n - told
}

func races(v *view) (hit, bool) {
	f := v.t.Failed[fact.FailRace]
	f.N = v.apart(f.N)
	if f.N == 0 || f.N < MinRaces && v.t.Reused < MinReused {
		return hit{}, false
	}
	h := hit{
		loss: v.left[causeRace], failed: f.N, example: f.Example, habit: advice.IdleTimeoutOrder,
		clients: failed(fact.FailRace), takes: takes(causeRace),
		evidence: map[string]float64{"races": float64(f.N), "reused_requests": float64(v.t.Reused)},
		summary:  prose.Plural(f.N, "request") + " met the server's closing and went unanswered",
	}
	if f.Idle > 0 {
		h.evidence["idle_seconds_p50"] = f.Idle
		h.summary += ", after idling " + prose.Seconds(f.Idle)
	}
	noTimer := f.Idle > 0 && f.Idle < minIdle && v.t.ReuseIdleMax > max(f.Idle, 1.1*v.Idle.Server) // a tenth is what closings by a timer differ by
	if v.Idle.Server > 0 && !noTimer {
		h.evidence["server_timeout_seconds"] = v.Idle.Server
		h.summary += "; its idle timeout is " + prose.Seconds(v.Idle.Server)
	}
	h.summary += ": behind a proxy these are occasional 502s"
	if noTimer {
		h.habit = advice.Restarts
		h.summary += "; that is no idle timeout, for others were used again after up to " + prose.Seconds(v.t.ReuseIdleMax) +
			": it closed for a limit, a worker's end or a restart"
	}
	if v.estimated {
		h.severity = Warning
		h.summary += ", by estimate"
	}
	h.summary += "."
	return h, true
}

func staleReuse(v *view) (hit, bool) {
	f := &v.t.Failed[fact.FailStaleReuse]
	if f.N < MinStale || share(f.N, v.t.Requests) < MinStaleShare {
		return hit{}, false
	}
	h := hit{
		loss: v.left[causeStale], failed: f.N, example: f.Example, habit: advice.StaleReuse,
		clients: failed(fact.FailStaleReuse), takes: takes(causeStale),
		evidence: map[string]float64{"stale_reuses": float64(f.N), "requests": float64(v.t.Requests)},
		summary:  fmt.Sprintf("%s of %s went out on connections that the server had closed long before", prose.Count(f.N), prose.Plural(v.t.Requests, "request")),
	}
	if f.Idle > 0 {
		h.evidence["idle_seconds_p50"] = f.Idle
		h.summary += ", after idling " + prose.Seconds(f.Idle)
	}
	h.summary += ": the client does not look before it sends."
	return h, true
}

func closeIgnored(v *view) (hit, bool) {
	f, streams := &v.t.Failed[fact.FailCloseIgnored], &v.H2.Ignored // these failed as refused streams
	n, example := f.N+streams.N, f.Example
	if n < MinIgnored {
		return hit{}, false
	}
	if f.N == 0 {
		example = streams.Example
	}
	h := hit{
		failed: n, example: example, habit: advice.CloseIgnored, clients: failed(fact.FailCloseIgnored),
		evidence: map[string]float64{"close_ignored": float64(n), "requests": float64(v.t.Requests)},
		summary:  fmt.Sprintf("%s went out on connections whose end the server had announced", prose.Plural(n, "request")),
	}
	if v.IgnoredAfter != fact.ReasonNone {
		h.summary += " (" + v.IgnoredAfter.String() + ")"
	}
	h.summary += ": a fault of the client."
	if n >= CriticalIgnored && share(n, v.t.Requests) >= CriticalIgnoredRate {
		h.severity = Critical
	}
	return h, true
}

func pathTimeout(v *view) (hit, bool) {
	f := &v.t.Failed[fact.FailPathDropped]
	if f.N < MinPathDrops {
		return hit{}, false
	}
	h := hit{
		loss: v.left[causePath], failed: f.N, example: f.Example, habit: advice.PathTimeout,
		clients: failed(fact.FailPathDropped), takes: takes(causePath),
		evidence: map[string]float64{"path_dropped": float64(f.N)},
		summary:  prose.PluralWere(f.N, "request") + " lost on the path and never acknowledged",
	}
	if v.Path.Reset {
		h.summary = prose.PluralWere(f.N, "request") + " answered by the reset of a host that knew of no such connection"
	}
	if f.Idle > 0 {
		h.evidence["idle_seconds_p50"] = f.Idle
		h.summary += ", after " + prose.Seconds(f.Idle) + " of idling"
	}
	switch {
	case f.Idle >= MinPathIdle:
	case v.Path.Reset && f.Idle >= minIdle:
	default:
		h.habit, h.note = advice.None, "Look whether the server died or was moved, and what changed between the two (routes, firewall, connection tracking)"
		h.summary += ": the server or the path to it vanished."
		return h, true
	}
	h.summary += ": something between forgets idle connections (NAT gateway, load balancer, firewall)"
	if v.Path.Reset {
		h.summary += ", or the server's host does (its connection tracking, a restart)"
	}
	if v.Path.Dropped > v.Path.Survived && v.Path.Dropped > 0 {
		h.evidence["path_survived_seconds"], h.evidence["path_dropped_seconds"] = v.Path.Survived, v.Path.Dropped
		if v.Path.Survived > 0 {
			h.summary += fmt.Sprintf(", between %s and %s", prose.Seconds(v.Path.Survived), prose.Seconds(v.Path.Dropped))
		} else {
			h.summary += ", by " + prose.Seconds(v.Path.Dropped) + " at the latest"
		}
	}
	if v.Path.Probes {
		h.evidence["probe_interval_seconds"] = v.Path.ProbeInterval
		h.summary += "; TCP keep-alive probes run every " + prose.Seconds(v.Path.ProbeInterval)
	} else {
		h.summary += "; no TCP keep-alive probes run"
	}
	h.summary += "."
	return h, true
}

// idleTimeoutOrder warns before a request meets a closing.
func idleTimeoutOrder(v *view) (hit, bool) {
	server, client := v.Idle.Server, v.Idle.Client
	if server == 0 || v.t.Reused < MinReused || v.t.Failed[fact.FailRace].N > 0 {
		return hit{}, false
	}
	h := hit{habit: advice.IdleTimeoutOrder, evidence: map[string]float64{
		"server_timeout_seconds": server, "server_idle_closings": float64(v.Idle.ServerClosings),
	}}
	switch {
	case client >= server:
		h.evidence["client_timeout_seconds"] = client
		h.summary = fmt.Sprintf("The server closes idle connections after %s, the client keeps them for %s: a request may meet the closing.",
			prose.Seconds(server), prose.Seconds(client))
	case client == 0 && 2*v.t.ReuseIdleMax >= server:
		h.evidence["reuse_idle_max_seconds"] = v.t.ReuseIdleMax
		h.summary = fmt.Sprintf("The server closes idle connections after %s, and the client reuses them after up to %s: a request may meet the closing.",
			prose.Seconds(server), prose.Seconds(v.t.ReuseIdleMax))
	default:
		return hit{}, false
	}
	return h, true
}

func bodyUnread(v *view) (hit, bool) {
	n := v.UnreadBodies.N
	if n < MinUnread || share(n, v.Connections) < MinUnreadShare {
		return hit{}, false
	}
	return hit{
		loss: v.left[causeClientAbort], example: v.UnreadBodies.Example, habit: advice.BodyUnread, takes: takes(causeClientAbort),
		clients:  func(c *Client) uint64 { return c.Unread },
		evidence: map[string]float64{"unread_bodies": float64(n), "connections": float64(v.Connections)},
		summary: fmt.Sprintf("The client closed %s of %s before the response body was read: such a connection cannot be reused.",
			prose.Count(n), prose.Plural(v.Connections, "connection")),
	}, true
}

func bodiesStalled(v *view) (hit, bool) {
	st := &v.Stalled
	h := hit{
		example: st.Example, habit: advice.BodyUnread, clients: func(c *Client) uint64 { return c.Stalled },
		evidence: map[string]float64{"stalled_to_end": float64(st.ToEnd), "stalled_and_went_on": float64(st.WentOn), "stalled_seconds": round(st.Seconds)},
		loss:     Loss{Seconds: st.Seconds},
	}
	switch {
	case st.ToEnd >= MinStalled:
		var all uint64
		for c := range v.clients() {
			all += c.Stalled
		}
		h.summary = prose.Plural(max(all, st.ToEnd), "response") + " stood still to the end because the client does not read them (receive window zero)"
		if all > st.ToEnd {
			h.summary += ", " + prose.Count(st.ToEnd) + " of them for long"
		}
		h.summary += ": leaked bodies."
	case st.WentOn >= MinStalled:
		h.severity, h.loss = Info, Loss{}
		h.summary = prose.Plural(st.WentOn, "response") + " stood still for over a second and went on: the client paused its reading."
	default:
		return hit{}, false
	}
	return h, true
}

// manyFailed reports whether so many failed requests are a finding.
func (v *view) manyFailed(n uint64) bool {
	return n >= ManyFailed || n >= MinFailed && share(n, v.t.Requests) >= MinFailedShare
}

// given tells after what time requests were given up: the one time, or the median.
func given(c *Cluster) string {
	switch {
	case c.N < MinFailed || c.Median <= 0:
		return ""
	case c.holds(MinFailed):
		return ", " + prose.Count(c.Near) + " of them after exactly " + exactly(c.Median)
	default:
		return ", half of them within " + prose.Seconds(c.Median)
	}
}

// exactly writes a time by which a setting can be recognised.
func exactly(s float64) string {
	if s >= 1 && s < 100 && math.Abs(s-math.Round(s)) < 0.02*s {
		return fmt.Sprintf("%.2f s", s)
	}
	return prose.Seconds(s)
}

func clientAborts(v *view) (hit, bool) {
	return v.aborts(fact.FailClientAbort, causeClientAbort, advice.ClientAborts, "The client gave up", failed(fact.FailClientAbort))
}

func serverAborts(v *view) (hit, bool) {
	return v.aborts(fact.FailServerAbort, causeServerAbort, advice.ServerAborts, "The server closed before it had answered", nil)
}

func (v *view) aborts(kind fact.Failure, cause fact.Cause, habit advice.Habit, who string, clients func(*Client) uint64) (hit, bool) {
	f := v.t.Failed[kind]
	if kind == fact.FailServerAbort {
		f.N -= min(f.N, v.H2.HTTP11.N) // see http11Required
		f.N = v.apart(f.N)
	}
	l := v.left[cause]
	if !v.manyFailed(f.N) && !v.wastes(l) {
		return hit{}, false
	}
	h := hit{
		loss: l, failed: f.N, example: f.Example, habit: habit, clients: clients, takes: takes(cause),
		evidence: map[string]float64{"requests": float64(v.t.Requests)},
		summary:  fmt.Sprintf("%s %s of %s%s", who, prose.Count(f.N), prose.Plural(v.t.Requests, "request"), given(&f.GivenUp)),
	}
	if f.GivenUp.N > 0 {
		h.evidence["given_up_seconds_p50"] = f.GivenUp.Median
	}
	if reset := min(f.N, v.H2.Aborted.N); kind == fact.FailServerAbort && reset > 0 {
		h.summary += fmt.Sprintf(", %s of them by a reset of the stream alone (RST_STREAM %s)", prose.Count(reset), v.H2.AbortedWith)
		h.evidence["streams_reset"] = float64(reset)
		if reset == f.N {
			h.habit = advice.ServerResets
			h.summary = fmt.Sprintf("The server reset %s of %s before it had answered%s, and kept their connections (RST_STREAM %s)",
				prose.Count(reset), prose.Plural(v.t.Requests, "request"), given(&f.GivenUp), v.H2.AbortedWith)
		}
	}
	if c := &v.t.Crossed; kind == fact.FailServerAbort && c.holds(MinFailed) {
		some := prose.Count(c.N) + " of them"
		if c.N >= f.N {
			some = "all"
		}
		h.summary += fmt.Sprintf(", %s on connections that it closed unused, %s after they were opened", some, prose.Seconds(c.Median))
		h.evidence["crossed"], h.evidence["opened_seconds_p50"] = float64(c.N), c.Median
		if c.N >= f.N {
			h.habit = advice.Preconnects
		}
	}
	switch {
	case f.N == 0: // their responses had begun
		h.summary = "The " + cause.Blames().String() + " closed connections before the response was whole: " + cost(l)
	case l.N > 0:
		h.summary += "; " + cost(l)
	}
	h.summary += "."
	return h, true
}

// inVain reports whether so many handshakes in vain are a finding.
func (a *Attempts) inVain(n uint64) bool {
	return n >= MinAttempts && share(n, a.All) >= MinAttemptShare || n >= MinAllAttempts && n == a.All
}

func inVain(c *Client) uint64 { return c.InVain }

func refused(v *view) (hit, bool) {
	a := &v.Attempts
	return v.attempts(a.Refused, "refused: nobody listens there, or a firewall answers in its place", a.Refusal, advice.Refused)
}

func unanswered(v *view) (hit, bool) {
	a := &v.Attempts
	return v.attempts(a.Unanswered, "never answered: a firewall drops them, the queue is full, or the host is gone", a.Silence, advice.Unanswered)
}

func (v *view) attempts(n uint64, what string, example Example, habit advice.Habit) (hit, bool) {
	a := &v.Attempts
	if !a.inVain(n) {
		return hit{}, false
	}
	h := hit{
		weighs: n, example: example, habit: habit, clients: inVain,
		evidence: map[string]float64{"in_vain": float64(n), "handshakes": float64(a.All), "seconds_from_first_to_last": round(a.Since)},
	}
	h.summary = fmt.Sprintf("%s of %s were %s", prose.Count(n), prose.Plural(a.All, "handshake"), what)
	if a.Since > 0 {
		h.summary += ", over " + prose.Seconds(a.Since)
	}
	if n == a.Refused+a.Unanswered && n+a.TooYoung < a.All {
		h.summary += fmt.Sprintf("; the other %s came through", prose.Count(a.All-n-a.TooYoung))
	}
	if a.TooYoung > 0 {
		h.evidence["too_young"] = float64(a.TooYoung)
		h.summary += fmt.Sprintf(" (%s of the last 3 s not counted)", prose.Count(a.TooYoung))
	}
	h.summary += "."
	if n < MinAttempts {
		h.severity = Warning
	}
	return h, true
}

func slowHandshakes(v *view) (hit, bool) {
	a := &v.Attempts
	if a.Repeated < MinRepeated || a.All < MinHandshakes || share(a.Repeated, a.All) <= MinRepeatedShare {
		return hit{}, false
	}
	h := hit{
		example: a.Repeat, habit: advice.SlowHandshakes, loss: Loss{Seconds: float64(a.Repeated) * a.RepeatDelay},
		evidence: map[string]float64{"repeated": float64(a.Repeated), "handshakes": float64(a.All), "delay_seconds_p50": a.RepeatDelay},
	}
	h.summary = fmt.Sprintf("%s of %s needed a SYN again", prose.Count(a.Repeated), prose.Plural(a.All, "handshake"))
	if a.RepeatDelay > 0 {
		h.summary += ", which delayed them by " + prose.Seconds(a.RepeatDelay)
	}
	h.summary += "."
	return h, true
}
