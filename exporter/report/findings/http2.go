package findings

import (
	"fmt"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/advice"
)

// http2Rules are about HTTP/2 and gRPC.
var http2Rules = []rule{
	{"pings_too_often", Critical, onConnections, false, pingsTooOften},
	{"goaway_errors", Warning, onConnections, false, goawayErrors},
	{"http11_required", Warning, onConnections, false, http11Required},
	{"channel_per_call", Warning, onCounted, false, channelPerCall},
	{"goaway_often", Warning, onCounted, false, goawayOften},
	{"stream_limit", Warning, onConnections, false, streamLimit},
	{"grpc_sticky", Warning, onConnections, false, grpcSticky},
	{"h2_not_read", Info, onConnections, true, h2NotRead},
}

func pingsTooOften(v *view) (hit, bool) {
	p := v.H2.TooManyPings
	if p.N == 0 {
		return hit{}, false
	}
	h := hit{
		example: p.Example, habit: advice.PingsTooOften, weighs: p.N,
		clients:  func(c *Client) uint64 { return c.Pinged },
		evidence: map[string]float64{"connections_ended": float64(p.N)},
		summary:  prose.PluralWere(p.N, "connection") + " ended by the server for too many pings (GOAWAY ENHANCE_YOUR_CALM)",
		takes:    takes(causeGoawayError),
	}
	if v.H2.PingInterval > 0 {
		h.evidence["ping_interval_seconds"] = v.H2.PingInterval
		h.summary += ", which came every " + prose.Seconds(v.H2.PingInterval)
	}
	h.summary += "."
	return h, true
}

func goawayErrors(v *view) (hit, bool) {
	e := v.H2.Errors
	if e.N < MinFailed || len(v.H2.Codes) == 0 {
		return hit{}, false
	}
	h := hit{
		example: e.Example, loss: v.left[causeGoawayError], takes: takes(causeGoawayError), weighs: e.N,
		evidence: map[string]float64{"connections_ended": float64(e.N)},
		habit:    goawayHabits[v.H2.Codes[0].Code],
		summary:  prose.PluralWere(e.N, "connection") + " ended by GOAWAY with an error: ",
	}
	if h.habit == advice.None {
		h.habit = advice.GoawayErrors
	}
	for i, c := range v.H2.Codes {
		if i > 0 {
			h.summary += ", "
		}
		h.summary += fmt.Sprintf("%s by the %s (%d)", c.Code, c.By, c.N)
	}
	h.summary += "."
	return h, true
}

// goawayHabits are those of error codes whose cause is known (RFC 9113 §7).
var goawayHabits = map[http.Code]advice.Habit{
	http.EnhanceYourCalm: advice.TooMuch, http.InadequateSecurity: advice.InadequateSecurity, http.HTTP11Required: advice.HTTP11Required,
}

func http11Required(v *view) (hit, bool) {
	r := v.H2.HTTP11
	if r.N < MinFailed {
		return hit{}, false
	}
	return hit{
		example: r.Example, habit: advice.HTTP11Required, failed: r.N,
		evidence: map[string]float64{"streams_reset": float64(r.N)},
		summary:  prose.PluralWere(r.N, "request") + " refused over HTTP/2: the server wants HTTP/1.1 for them (HTTP_1_1_REQUIRED).",
	}, true
}

func channelPerCall(v *view) (hit, bool) {
	causes := []fact.Cause{causeClientDiscard, causeClientGoaway, fact.PoolMiss}
	var l Loss
	for _, c := range causes {
		l.add(&v.H2.Wasted[c])
	}
	if l.N < MinWasted || v.H2.StreamsP50 > MaxFewStreams {
		return hit{}, false
	}
	return hit{
		summary: fmt.Sprintf("%s over HTTP/2 carried few calls each (median %.0f), though one carries all at once: %s.",
			prose.Plural(v.H2.Connections, "connection"), v.H2.StreamsP50, cost(l)),
		evidence: map[string]float64{"h2_connections": float64(v.H2.Connections), "streams_p50": v.H2.StreamsP50},
		loss:     l, habit: advice.ChannelPerCall, clients: of(causes...),
		takes: func(v *view) {
			for _, c := range causes {
				v.left[c].less(v.H2.Wasted[c])
			}
		},
	}, true
}

func goawayOften(v *view) (hit, bool) {
	l := v.left[causeServerGoaway]
	n := max(l.N, v.H2.Goaways-min(v.H2.Goaways, v.Mass.Goaways))
	if n < MinWasted || share(n, v.t.Reused+v.t.wastedTotal()) < MinWastedShare {
		return hit{}, false
	}
	h := hit{
		loss: l, example: v.H2.Goaway, habit: advice.GoawayOften, server: v.grpcServer(), takes: takes(causeServerGoaway),
		evidence: map[string]float64{"goaways": float64(v.H2.Goaways), "requests_p50": v.H2.GoawayRequests, "age_seconds_p50": v.H2.GoawayAge},
		summary:  fmt.Sprintf("The server ended %s by GOAWAY while they were in use", prose.Plural(n, "connection")),
	}
	age := v.t.GoawayAge
	switch {
	case age > 0:
		h.summary += fmt.Sprintf(", at an age of %s, whatever the requests (median %.0f)", prose.Seconds(age), v.H2.GoawayRequests)
	case v.H2.GoawayRequests > 0:
		h.summary += fmt.Sprintf(", after %.0f requests (median)", v.H2.GoawayRequests)
	}
	if age == 0 && v.H2.GoawayAge > 0 {
		h.summary += ", at an age of " + prose.Seconds(v.H2.GoawayAge)
	}
	if 2*v.Mass.Goaways > v.H2.Goaways {
		h.habit = advice.Restarts
		h.summary += ", most of them at one instant, which is a reload, restart or scale-down"
	}
	if l.N > 0 {
		h.summary += ": " + cost(l)
	}
	h.summary += "."
	return h, true
}

// grpcServer returns the settings of gRPC servers, which do not name themselves, for a
// server that the worst client speaks gRPC with.
func (v *view) grpcServer() software.ID {
	for c := range v.clients() {
		if v.Software == software.Unknown && c.GRPC > 0 {
			return software.GRPCGo
		}
		break
	}
	return software.Unknown
}

func streamLimit(v *view) (hit, bool) {
	if v.H2.OpenSeconds <= 0 || v.H2.Limit == 0 || v.H2.AtLimitSeconds <= MinAtLimit*v.H2.OpenSeconds {
		return hit{}, false
	}
	at := min(v.H2.AtLimitSeconds/v.H2.OpenSeconds, 1)
	return hit{
		summary: fmt.Sprintf("Connections stood at the server's limit of %s for %s of their time: calls wait for a free stream.",
			prose.Plural(v.H2.Limit, "stream"), prose.Percent(at)),
		evidence: map[string]float64{"limit": float64(v.H2.Limit), "at_limit_seconds": round(v.H2.AtLimitSeconds), "share_of_time": at},
		loss:     Loss{Seconds: v.H2.AtLimitSeconds}, example: v.H2.AtLimit, habit: advice.StreamLimit,
		clients: func(c *Client) uint64 { return c.Streams },
	}, true
}

// sticks says that nearly all calls of a client ride one connection.
func sticks(c *Client) bool {
	return c.GRPC >= MinGRPCStreams && share(c.GRPCBusiest, c.GRPC) > MinGRPCShare && c.GRPCAddresses > 1
}

func grpcSticky(v *view) (hit, bool) {
	var worst *Client
	for c := range v.clients() {
		if sticks(c) && (worst == nil || c.GRPC > worst.GRPC) {
			worst = c
		}
	}
	if worst == nil {
		return hit{}, false
	}
	h := hit{
		summary: fmt.Sprintf("%s of %s of a client ride one connection, to one of %s of this name: balance requests, not connections.",
			prose.Percent(share(worst.GRPCBusiest, worst.GRPC)), prose.Plural(worst.GRPC, "gRPC call"), addresses(worst.GRPCAddresses)),
		evidence: map[string]float64{"calls": float64(worst.GRPC), "on_busiest_connection": float64(worst.GRPCBusiest), "addresses": float64(worst.GRPCAddresses)},
		example:  worst.GRPCExample, habit: advice.GRPCSticky,
		clients: func(c *Client) uint64 {
			if sticks(c) {
				return c.GRPC
			}
			return 0
		},
	}
	if !worst.GRPCOtherServed {
		h.severity = Info
	}
	return h, true
}

func addresses(n int) string { return fmt.Sprintf("%d addresses", n) }

func h2NotRead(v *view) (hit, bool) {
	if v.H2.Unread == 0 {
		return hit{}, false
	}
	return hit{
		summary:  prose.Plural(v.H2.Unread, "connection") + " carried HTTP/2 inside TLS, whose requests are not known: nothing is said of waste.",
		note:     "Give the session keys of a side (`--keylog` with the file of SSLKEYLOGFILE), and they are read",
		evidence: map[string]float64{"h2_connections_unread": float64(v.H2.Unread)},
	}, true
}
