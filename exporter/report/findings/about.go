package findings

import (
	"fmt"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/advice"
)

// about adds what is said of the whole capture.
func about(byCode map[string]*Finding, f *Figures) {
	if h, ok := missing(&f.Capture); ok {
		say(byCode, "too_much_missing", Warning, h)
	}
	if h, ok := scans(f.Scans); ok {
		say(byCode, "scan", Info, h)
	}
	for code := range byCode {
		if code != "health_checks" && code != "scan" {
			return
		}
	}
	for _, part := range []*Traffic{&f.Totals.Counted, &f.Totals.Estimated} {
		if part.Requests < MinRequests {
			continue
		}
		h, code := overall(part)
		if e := f.Totals.Errors; part == &f.Totals.Counted && e >= MinFailed && share(e, part.Requests) >= MinFailedShare {
			h.summary += " " + prose.Count(e) + " of the answers had a status of 500 or above, which is not judged here."
			h.evidence["server_errors"] = float64(e)
		}
		severity := Info
		if code == "all_is_well" {
			severity = OK
		}
		if part == &f.Totals.Estimated {
			h.summary = estimatedLead + h.summary
		}
		say(byCode, code, severity, h)
	}
	// What is not well with one part is not said to be well of the other.
	if byCode["nothing_stands_out"] != nil {
		delete(byCode, "all_is_well")
	}
}

// say enters what is about no server.
func say(byCode map[string]*Finding, code string, severity Severity, h hit) {
	h.severity = severity
	byCode[code] = byCode[code].with(code, OnServer{
		Summary: h.summary, Severity: severity, Evidence: h.evidence, hit: h,
	})
}

// tooMuch reports what share of packets or bytes is missing, and whether that is too
// much to judge.
func (c *Capture) tooMuch() (missing float64, ok bool) {
	missing = max(share(c.Dropped, c.Packets+c.Dropped), share(c.Missing, c.Bytes+c.Missing))
	return missing, missing > MaxMissing
}

func missing(c *Capture) (hit, bool) {
	m, ok := c.tooMuch()
	if c.OneWay {
		return hit{
			summary:  "Only one direction of the connections was captured: nothing is judged well.",
			evidence: map[string]float64{"one_direction": 1},
			note:     "Capture where both directions pass: look at the filter (`src`, `dst`), at a mirror port of one direction, and at routes that differ",
		}, true
	}
	return hit{
		summary:  prose.Percent(m) + " of the traffic is missing from the capture: nothing is judged well.",
		evidence: map[string]float64{"missing_share": m, "dropped_packets": float64(c.Dropped), "missing_bytes": float64(c.Missing)},
		note:     "Capture nearer to one side, with a filter, a larger buffer (`tcpdump -B`) or more workers, and look at the other figures as lower bounds",
	}, ok
}

func scans(list []Scan) (hit, bool) {
	if len(list) == 0 {
		return hit{}, false
	}
	text := ""
	var endpoints uint64
	for i, s := range list {
		endpoints += s.Endpoints
		if i < maxExplained {
			text += fmt.Sprintf("%s tried %s, %s in vain; ", s.Client, prose.Plural(s.Endpoints, "endpoint"), prose.Count(s.InVain))
		}
	}
	return hit{
		summary:  text + "that is a scan, and not counted as refused or unanswered.",
		evidence: map[string]float64{"clients": float64(len(list)), "endpoints": float64(endpoints)},
	}, true
}

// overall says what the totals are like where no rule speaks.
func overall(t *Traffic) (hit, string) {
	wasted := t.wastedTotal()
	var failures uint64
	for i := range t.Failed {
		failures += t.Failed[i].N
	}
	figures := fmt.Sprintf("%s of %s rode a connection that was already open, and %s wasted",
		prose.Count(t.Reused), prose.Plural(t.Requests, "request"), prose.PluralWere(wasted, "handshake"))
	h := hit{evidence: map[string]float64{
		"requests": float64(t.Requests), "reused_requests": float64(t.Reused), "wasted_handshakes": float64(wasted),
	}}
	// A client that ends gives up what is under way, as load generators do.
	given := t.Failed[fact.FailClientAbort].N
	if failures == given && share(given, t.Requests) < MinFailedShare && t.Reused > 0 && share(t.Reused, t.Reused+wasted) >= WellEffectiveness {
		h.summary, h.note = "All is well: "+figures, "Nothing to change"
		if given > 0 {
			h.evidence["given_up"] = float64(given)
			h.summary += "; its client gave up " + prose.Plural(given, "request")
		}
		h.summary += "."
		return h, "all_is_well"
	}
	h.summary = "Nothing stands out: " + figures
	if failures > 0 {
		h.evidence["failed_requests"] = float64(failures)
		h.summary += "; " + prose.Plural(failures, "request") + " failed"
	}
	h.summary += "."
	h.note = fmt.Sprintf("No cause comes to %d wasted handshakes and %.0f %%, which a finding takes. "+
		"Capture for longer, or see the reasons of single connections: `--output ndjson`", MinWasted, MinWastedShare*100)
	return h, "nothing_stands_out"
}

// maxExplained is how many single handshakes are explained.
const maxExplained = 3

// Explain tells of the single wasted handshakes of a small capture: a sentence each,
// how many there are beyond those, and what to change, in lines that begin with
// [ToChange]. It is empty where findings tell of waste, or that all is well.
func Explain(f *Figures, found []Finding) []string {
	if slices.ContainsFunc(found, func(x Finding) bool { return x.Wasted > 0 || x.Severity == OK }) {
		return nil
	}
	var lines, changes []string
	for _, s := range f.Singles {
		text := s.sentence()
		if slices.Contains(lines, text) {
			continue // it is one of those more
		}
		if len(lines) == maxExplained {
			break
		}
		lines = append(lines, text)
		servers := s.Servers
		if s.Cause == fact.PoolMiss {
			servers = nil // they closed nothing
		}
		a := advice.For(s.habit(), s.Clients, servers)
		if s.habit() == advice.ClientDiscards && s.Beside {
			a = advice.For(advice.PoolTooSmall, s.Clients, servers)
			a.Or(advice.For(advice.ClientDiscards, s.Clients, servers))
		}
		if s.habit() == advice.ClientDiscards && s.Idle-s.Seconds >= MinLateIdle { // the way to the client is in both
			a.Or(advice.For(advice.ClientIdleTimeout, s.Clients, servers))
		}
		if text := a.String(); text != "" && !slices.Contains(changes, ToChange+text) {
			changes = append(changes, ToChange+text)
		}
	}
	all := f.Totals.Counted.wastedTotal() + f.Totals.Estimated.wastedTotal()
	if n := uint64(len(lines)); n > 0 && all > n {
		lines = append(lines, prose.Plural(all-n, "more handshake")+" would not have been needed.")
	}
	return append(lines, changes...)
}

// ToChange begins a line that says what to change.
const ToChange = "→ "

// habit is what a single wasted handshake is an instance of.
func (s *Single) habit() advice.Habit {
	if s.Estimated && (s.Cause == causeClientDiscard || s.Cause == causeServerDiscard) {
		return advice.ClosesAfterResponse // either may have asked for it
	}
	return habits[s.Cause]
}

var habits = map[fact.Cause]advice.Habit{
	fact.PoolMiss: advice.NeverReused, causeClientClose: advice.ClientCloses, causeNotRequested: advice.HTTP10NotRequested,
	causeDeclined: advice.HTTP10Declined, causeNoLength: advice.NoLength, causeErrorClose: advice.ErrorsClose,
	causeServerLimit: advice.RequestLimit, causeServerClose: advice.ServerCloses, causeRace: advice.IdleTimeoutOrder,
	causeStale: advice.StaleReuse, causePath: advice.PathTimeout, causeServerGoaway: advice.GoawayOften,
	causeClientGoaway: advice.ChannelPerCall, causeClientAbort: advice.ClientAborts, causeServerAbort: advice.ServerAborts,
	causeClientDiscard: advice.ClientDiscards, causeServerDiscard: advice.ServerDiscards,
	causeClientIdle: advice.ClientIdleTimeout, causeServerIdle: advice.ServerIdleTimeout,
}

// sentence tells of one handshake, and what had become of the connection before it.
func (s *Single) sentence() string {
	text := s.Server + ": a handshake of " + s.Client
	if s.Seconds > 0 {
		text += " (" + prose.Seconds(s.Seconds) + ")"
	}
	if s.Several {
		text += ", which may be several clients,"
	}
	text += " would not have been needed: "
	if s.Cause == fact.PoolMiss {
		return text + "a connection to the same server was open and idle."
	}
	text += "the connection before it, " + prose.Plural(s.Requests, "request") + " old, " + s.end()
	return text + "."
}

// end says how a connection was lost.
func (s *Single) end() string {
	idle := ""
	if s.Idle > 0 {
		idle = " " + prose.Seconds(s.Idle) + " after its last response"
	}
	switch s.Cause {
	case causeClientClose:
		return "ended because the client asked for “Connection: close”"
	case causeServerClose, causeErrorClose, causeServerLimit:
		return "ended because the server announced it (" + s.Cause.String() + ")"
	case causeNotRequested, causeDeclined:
		return "ended because HTTP/1.0 was spoken without keep-alive"
	case causeNoLength:
		return "ended with a response without a length"
	case causeServerIdle, causeServerDiscard:
		return "was closed by the server" + idle
	case causeClientIdle, causeClientDiscard:
		if s.Beside {
			return "was closed by the client" + idle + ", while it had others open"
		}
		return "was closed by the client" + idle
	case causeNotCaptured:
		return "was closed" + idle + ", and what may have announced that was not captured"
	default:
		return "was lost (" + s.Cause.String() + ")" + idle
	}
}

// Undecided says what could not be judged, and why, a sentence each.
func Undecided(f *Figures) (lines []string) {
	c := &f.Capture
	if m, ok := c.tooMuch(); ok {
		lines = append(lines, prose.Percent(m)+" of the traffic is missing from the capture.")
	}
	if c.OneWay {
		lines = append(lines, "Only one direction of the connections was captured.")
	}
	if n := f.Totals.H2.Unread; n > 0 {
		lines = append(lines, prose.Plural(n, "connection")+" carried HTTP/2 inside TLS without keys: requests are not known.")
	}
	if n := f.Totals.CutHeads; n > 0 {
		lines = append(lines, prose.Plural(n, "request head")+" cut by the snaplen: what they negotiated is not known.")
	}
	if c.Midstream > 0 {
		lines = append(lines, prose.Plural(c.Midstream, "connection")+" began before the capture: no verdict on the handshake.")
	}
	if c.Open > 0 {
		lines = append(lines, prose.Plural(c.Open, "connection")+" still open at the end: no reason is known.")
	}
	var young uint64
	for i := range f.Servers {
		young += f.Servers[i].Attempts.TooYoung
	}
	if young > 0 {
		lines = append(lines, prose.Plural(young, "handshake")+" without an answer so far, begun less than 3 s before the end: not taken for unanswered.")
	}
	for _, p := range c.Protocols {
		lines = append(lines, prose.Plural(p.N, "packet")+" of "+p.What+": not read.")
	}
	return lines
}
