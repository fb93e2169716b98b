package story

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
)

// span writes how long something took.
func span(m Moment) string { return prose.Seconds(m.Seconds()) }

// reasons says of each reason what happened, as the end of "it could not be used any
// more: …", and what keeps it from happening. "%s" stands for how long it had idled.
var reasons = [fact.NumReasons]struct{ why, remedy string }{
	fact.ReasonHandshakeFailed:    {"its handshake failed", "Find out whether the server listens there, and has room in its backlog."},
	fact.ReasonNeverUsed:          {"it was closed without a request", "Health checks and preconnects do that; a client that does it often opens more than it needs."},
	fact.ReasonNotHTTP:            {"it carried no HTTP", ""},
	fact.ReasonUpgraded:           {"HTTP ended on it with an upgrade or a tunnel", ""},
	fact.ReasonPathDropped:        {"something between the two had forgotten it%s", "A NAT gateway, firewall or load balancer forgets idle connections: let both sides give them up sooner, or send TCP keep-alive probes more often."},
	fact.ReasonClientClose:        {"the client had said Connection: close", "The client asks for that: turn keep-alive on there."},
	fact.ReasonHTTP10NotRequested: {"the client spoke HTTP/1.0 and did not ask to keep it", "Let the client speak HTTP/1.1 (nginx as a proxy: proxy_http_version 1.1 and an empty Connection header)."},
	fact.ReasonHTTP10Declined:     {"the client asked in HTTP/1.0 to keep it, and the server did not", "Let both speak HTTP/1.1, where keeping is the default."},
	fact.ReasonNoLength:           {"the response had no length, so that its end was the connection's", "Let the server send Content-Length, or chunks."},
	fact.ReasonServerErrorClose:   {"the server closed it with an error response", "Find the errors; some servers close after each of them."},
	fact.ReasonServerLimit:        {"the server had said Connection: close after several requests", "The server limits requests on a connection, or drains: raise that limit (nginx: keepalive_requests)."},
	fact.ReasonServerClose:        {"the server had said Connection: close", "The server does not keep connections: turn keep-alive on there."},
	fact.ReasonRace:               {"a request crossed the server's closing", "Let the client give idle connections up sooner than the server does."},
	fact.ReasonStaleReuse:         {"the server had closed it, and the client had sent a request on it all the same", "Let the client look whether a connection was closed before it uses it again."},
	fact.ReasonGoawayError:        {"a GOAWAY with an error ended it", "Look at its code: ENHANCE_YOUR_CALM, say, answers too many pings."},
	fact.ReasonServerGoaway:       {"the server had sent GOAWAY", "The server ends connections by age or number of streams: raise that limit."},
	fact.ReasonClientGoaway:       {"the client had sent GOAWAY", "The client gives connections up: let it keep them."},
	fact.ReasonClientAbort:        {"the client had closed it with a request unanswered", "The client gave up waiting: a connection is lost with each time-out."},
	fact.ReasonServerAbort:        {"the server had closed it with a request unanswered", "Look into the server's log: it crashed, was restarted, or gave up."},
	fact.ReasonClientDiscard:      {"the client had closed it right after the response", "The client throws connections away: share one client (session, pool, agent) between requests, and read bodies to their end."},
	fact.ReasonServerDiscard:      {"the server had closed it right after the response, without a word", "The server keeps connections very briefly, or not at all: give it an idle timeout above the clients' pauses."},
	fact.ReasonClientIdle:         {"the client had closed it%s", "The client gives idle connections up sooner than it needs them again: raise its idle timeout."},
	fact.ReasonServerIdle:         {"the server had closed it%s", "The server gives idle connections up sooner than the client needs them again: raise its idle timeout above the client's."},
	fact.ReasonNotCaptured:        {"it was closed, and what may have announced that was not captured", ""},
	fact.ReasonTimeout:            {"no packet of it was seen any more", ""},
	fact.ReasonEvicted:            {"too many connections were open for the capture to follow", ""},
	fact.ReasonOpen:               {"it was usable still: open, and idle", "The client did not take it: several processes or clients with a pool each, a pool that is too small for bursts, or bodies that were never read to their end."},
}

// why says what ended a connection's use.
func why(r fact.Reason, idle Moment) string {
	if r >= fact.NumReasons {
		return ""
	}
	text := reasons[r].why
	if !strings.Contains(text, "%s") {
		return text
	}
	after := ""
	if idle >= 0 {
		after = " after " + span(idle) + " of idling"
	}
	return fmt.Sprintf(text, after)
}

// remedy says what to change about a cause, "" where that is not known.
func remedy(c fact.Cause) string {
	r := fact.Reason(c)
	if c == fact.PoolMiss {
		r = fact.ReasonOpen
	}
	if r >= fact.NumReasons {
		return ""
	}
	return reasons[r].remedy
}

// headline sums a story up.
func (s *Story) headline() string {
	focus := s.lane(s.Connection)
	switch {
	case focus.Verdict == fact.VerdictWasted.String():
		return fmt.Sprintf("a handshake that was not needed: %s", s.Subject)
	case focus.unread:
		return "an encrypted connection: what it carried cannot be seen"
	case s.subject == fact.NoCause && focus.Reused > 0:
		return fmt.Sprintf("%s on one connection", prose.Plural(uint64(focus.Requests), "request"))
	case s.subject == fact.NoCause:
		return fmt.Sprintf("%s, %s", prose.Plural(uint64(len(s.Lanes)), "connection"), prose.Plural(s.requests(), "request"))
	}
	switch fact.Reason(s.subject) {
	case fact.ReasonHandshakeFailed:
		return "a handshake that failed"
	case fact.ReasonNeverUsed:
		return "a connection without a request"
	case fact.ReasonNotHTTP:
		return "a connection that carried no HTTP"
	default:
		return fmt.Sprintf("a connection that was lost: %s", s.Subject)
	}
}

// lane returns the lane of a connection.
func (s *Story) lane(id ID) *Lane {
	for i := range s.Lanes {
		if s.Lanes[i].ID == id {
			return &s.Lanes[i]
		}
	}
	return nil
}

func (s *Story) requests() (n uint64) {
	for i := range s.Lanes {
		n += uint64(s.Lanes[i].Requests)
	}
	return n
}

// says tells what can be learned, in sentences.
func (s *Story) says() (list []string) {
	focus := s.lane(s.Connection)
	switch {
	case focus.Verdict == fact.VerdictWasted.String():
		list = append(list, focus.wasted())
	case focus.unread:
		list = append(list, fmt.Sprintf("%s is encrypted: with the keys (--keylog FILE) its requests can be shown.", focus.Label))
	case s.subject != fact.NoCause:
		list = append(list, fmt.Sprintf("%s: %s.", focus.Label, why(fact.Reason(s.subject), -1)))
	}
	if text := s.saved(); text != "" {
		list = append(list, text)
	}
	if text := s.kept(); text != "" {
		list = append(list, text)
	}
	if text := s.enough(len(s.Ideal)); text != "" {
		list = append(list, text)
	}
	if s.Alike > 1 && s.subject != fact.NoCause {
		list = append(list, fmt.Sprintf("Of this client's %s to this server, %s show the same.", prose.Plural(s.Connections, "connection"), prose.Count(s.Alike)))
	}
	if text := remedy(s.subject); text != "" {
		list = append(list, text)
	}
	if s.Lossy {
		list = append(list, "Bytes of these connections were not captured: what is drawn may lack something.")
	}
	return list
}

// wasted says which connection could have carried the request of this one.
func (d *Lane) wasted() string {
	cost := ""
	if d.Cost > 0 {
		cost = fmt.Sprintf(" It took %s before its first request could go out.", span(d.Cost))
	}
	c := d.CouldReuse
	if c == nil {
		return fmt.Sprintf("%s was not needed.%s", d.Label, cost)
	}
	name := fmt.Sprintf("the connection from port %d", c.Port)
	if c.Label != "" {
		name = c.Label
	}
	if c.Until == nil {
		return fmt.Sprintf("%s was not needed: %s could have carried its request, for %s.%s", d.Label, name, c.Why, cost)
	}
	return fmt.Sprintf("%s was not needed: %s could have carried its request, but from %s on it could not be used any more, for %s.%s",
		d.Label, name, c.until(), c.Why, cost)
}

// clock writes a moment of the story.
func clock(m Moment) string { return fmt.Sprintf("%.6f s", m.Seconds()) }

// until writes when a connection ceased to be usable, which may be before the story.
func (c *CouldReuse) until() string {
	if m := *c.Until; m < 0 {
		return span(-m) + " before what is shown"
	}
	return clock(*c.Until)
}

// saved says what reuse spared.
func (s *Story) saved() string {
	var best *Lane
	most := uint32(0)
	for i := range s.Lanes {
		l := &s.Lanes[i]
		reused := l.Reused
		for k := range l.Exchanges {
			if e := &l.Exchanges[k]; e.Failure != "" && e.Reuse == "true" && reused > 0 {
				reused--
			}
		}
		if reused > most {
			best, most = l, reused
		}
	}
	if best == nil {
		return ""
	}
	text := fmt.Sprintf("%s carried %s: %s of them needed no handshake", best.Label, prose.Plural(uint64(best.Requests), "request"), prose.Count(uint64(most)))
	if best.Cost > 0 {
		text += fmt.Sprintf(", which saved %s of waiting (%s each)", span(best.Cost*Moment(most)), span(best.Cost))
	}
	return text + "."
}

// kept says what a connection that idles is made of.
func (s *Story) kept() string {
	var longest *Stretch
	var on *Lane
	for i := range s.Lanes {
		for k := range s.Lanes[i].Idle {
			if t := &s.Lanes[i].Idle[k]; longest == nil || t.To-t.From > longest.To-longest.From {
				longest, on = t, &s.Lanes[i]
			}
		}
	}
	if longest == nil || longest.To-longest.From < Moment(10e6) {
		return ""
	}
	switch {
	case on.Protocol == "h2" || on.lane.trace.Probes[0].Count+on.lane.trace.Probes[1].Count > longest.Probes:
		return "" // something may have been sent
	case longest.Probes > 0:
		return fmt.Sprintf("%s idled for %s. Each side kept a socket: two addresses, two ports and some numbers; %s crossed the wire.",
			on.Label, span(longest.To-longest.From), prose.Plural(uint64(longest.Probes), "keep-alive probe"))
	}
	return fmt.Sprintf("%s idled for %s. What was kept alive is a socket at each side: two addresses, two ports and some numbers. Nothing had to be sent for it.",
		on.Label, span(longest.To-longest.From))
}

// enough says how many connections would have done.
func (s *Story) enough(n int) string {
	total := 0
	for i := range s.Lanes {
		if len(s.Lanes[i].Exchanges) > 0 {
			total++
		}
	}
	requests := prose.Plural(s.requests(), "request")
	if n >= total {
		elsewhere := func(l Lane) bool { return l.CouldReuse != nil && l.CouldReuse.Label == "" }
		switch {
		case s.requests() < 2 || slices.ContainsFunc(s.Lanes, elsewhere):
			return ""
		case total == 1:
			return fmt.Sprintf("One connection for %s: no fewer would do.", requests)
		}
		return fmt.Sprintf("These %d connections were needed for %s: no fewer would do.", total, requests)
	}
	return fmt.Sprintf("%s would have been enough for these %s; there were %d.", prose.UpperFirst(prose.Plural(uint64(n), "connection")), requests, total)
}
