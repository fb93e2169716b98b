package story

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/communityid"
	"github.com/keepscope/keepscope/sniffer"
)

// farBefore is how long before the connection that is shown another one of its pair may
// have ended that it is shown beside it.
const farBefore = int64(2 * time.Minute)

// story makes a Story of what is held.
func (h *held) story() *Story {
	f := h.focus
	lanes := slices.DeleteFunc(slices.Clone(h.lanes), func(l *lane) bool {
		related := l == f || f.hasCould && l.id == f.could.ID
		return !related && (l.end < f.start-farBefore || l.start > f.end+farBefore)
	})
	slices.SortFunc(lanes, func(a, b *lane) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id)) })
	s := &Story{
		Client: f.asked().Addr.Netip().String(), Server: f.server.String(), Name: f.name, Connection: ID(f.id),
		Who: f.who, Connections: h.pair.connections, Wasted: h.pair.wasted, Alike: uint64(h.pair.by[h.key.cause]),
		focus: f.id, subject: h.key.cause,
	}
	if h.key.cause != fact.NoCause {
		s.Subject = h.key.cause.String()
	}
	if s.Name == "" {
		s.Name = s.Server
	}
	start, end := lanes[0].begin(), lanes[0].end
	for _, l := range lanes {
		start, end = min(start, l.begin()), max(end, l.end)
	}
	s.Start, s.Length = time.Unix(0, start).UTC(), Moment(end-start)
	for i, l := range lanes {
		s.Lanes = append(s.Lanes, l.drawn(start, end, fmt.Sprint("c", i+1)))
		s.Lossy = s.Lossy || l.lossy
	}
	for i := range s.Lanes {
		s.Lanes[i].connect(s, start)
	}
	s.Ideal = ideal(s.Lanes)
	s.Filter = filter(lanes)
	s.Headline, s.Says = s.headline(), s.says()
	return s
}

// filter is a display filter of Wireshark for the packets of the lanes.
func filter(lanes []*lane) string {
	l := lanes[0]
	address := func(e sniffer.Endpoint) string {
		if a := e.Addr.Netip(); a.Is6() {
			return "ipv6.addr == " + a.String()
		}
		return "ip.addr == " + e.Addr.Netip().String()
	}
	ports := make([]string, 0, len(lanes))
	start, end := l.start, l.end
	for _, l := range lanes {
		if p := strconv.Itoa(int(l.client.Port)); !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
		start, end = min(start, l.start), max(end, l.end)
	}
	return fmt.Sprintf("%s && %s && tcp.port == %d && tcp.port in {%s} && frame.time_epoch >= %s && frame.time_epoch <= %s",
		address(l.client), address(l.server), l.server.Port, strings.Join(ports, ", "), epoch(start), epoch(end))
}

// epoch writes a time as seconds since 1970.
func epoch(t int64) string { return fmt.Sprintf("%d.%09d", t/1e9, t%1e9) }

// asked is the client: the one that a PROXY header names, if there is one.
func (l *lane) asked() sniffer.Endpoint {
	if l.proxied != (sniffer.Endpoint{}) {
		return l.proxied
	}
	return l.client
}

// begin is when what a connection cost began: its look-up, or its first packet.
func (l *lane) begin() int64 { return l.start - l.cost.DNS }

// drawn makes a Lane of what is kept of a connection.
func (l *lane) drawn(start, storyEnd int64, label string) Lane {
	at := func(t int64) Moment { return Moment(t - start) }
	d := Lane{
		ID: ID(l.id), CommunityID: string(communityid.Append(nil, l.client, l.server)), Label: label, Port: l.client.Port,
		Start: at(l.start), End: at(l.end), Frame: l.trace.Frame, Protocol: l.protocol.String(), Target: l.tunnel,
		Before: l.handshake == fact.HandshakeMidstream || l.handshake == fact.HandshakePartial,
		Reason: l.reason.String(), Verdict: l.verdict.String(), reason: l.reason,
		Cost: Moment(l.opened()), Requests: l.requests, Reused: l.reused, More: l.trace.More,
		unread: l.hasTLS && l.keys != fact.KeysDecrypted && l.requests == 0 && l.reason != fact.ReasonNeverUsed, lane: *l,
	}
	d.lane.trace.Exchanges = nil // their memory is the store's, which goes on
	if l.verdict == fact.VerdictWasted {
		d.Cause = l.cause.String()
	}
	d.TLS = l.tlsText()
	d.Opening = l.opening(at)
	for i := range l.trace.Exchanges {
		d.Exchanges = append(d.Exchanges, l.exchange(&l.trace.Exchanges[i], at))
	}
	slices.SortStableFunc(d.Exchanges, func(a, b Exchange) int { return cmp.Compare(a.Start, b.Start) })
	d.Announced = l.announced(at)
	for side := range l.trace.Closings {
		if c := &l.trace.Closings[side]; c.With != fact.WithNothing {
			d.Closings = append(d.Closings, Closing{By: http.Side(side).String(), With: c.With.String(), At: at(c.At), Frame: c.Frame})
		}
	}
	d.Repeated = l.trace.Retransmissions
	slices.SortStableFunc(d.Closings, func(a, b Closing) int { return cmp.Compare(a.At, b.At) })
	if d.Open = l.closedBy == fact.ByEnd && l.handshake != fact.HandshakeUnanswered; d.Open {
		d.End = at(storyEnd)
	}
	d.idle(l)
	return d
}

// tlsText says which TLS a connection had.
func (l *lane) tlsText() string {
	if !l.hasTLS {
		return ""
	}
	text := "TLS"
	switch l.tls.Version {
	case 0x0301, 0x0302, 0x0303, 0x0304:
		text = fmt.Sprintf("TLS 1.%d", l.tls.Version-0x0301)
	}
	if l.tls.Resumed {
		text += ", resumed"
	}
	return text
}

// opening tells what it took to open the connection, as far as it was seen.
func (l *lane) opening(at func(int64) Moment) (list []Phase) {
	t := &l.trace
	if l.cost.DNS > 0 {
		list = append(list, Phase{What: "dns", At: at(l.start - l.cost.DNS), Lasts: Moment(l.cost.DNS)})
	}
	switch {
	case l.handshake == fact.HandshakeRefused:
		list = append(list, Phase{What: "tcp", At: at(l.start), Lasts: Moment(l.end - l.start), Note: "refused: a RST answered the SYN"})
	case l.handshake == fact.HandshakeUnanswered:
		list = append(list, Phase{What: "tcp", At: at(l.start), Lasts: Moment(l.end - l.start), Note: "nothing answered the SYN"})
	case t.SYN != fact.Absent && t.ACK != fact.Absent && l.handshakeTime != fact.Absent:
		p := Phase{What: "tcp", At: at(t.SYN), Lasts: Moment(l.handshakeTime)}
		if t.SYNACK != fact.Absent {
			p.Note = fmt.Sprintf("SYN-ACK after %s", span(Moment(t.SYNACK-t.SYN)))
		}
		if l.syns > 1 {
			p.Note += fmt.Sprintf(", SYN sent %d times", l.syns)
		}
		list = append(list, p)
	}
	if t.Hello != fact.Absent && t.Secured != fact.Absent {
		p := Phase{What: "tls", At: at(t.Hello), Lasts: Moment(t.Secured - t.Hello), Note: l.tlsText()}
		list = append(list, p)
	}
	return list
}

// exchange makes an Exchange of a traced one.
func (l *lane) exchange(t *fact.Traced, at func(int64) Moment) Exchange {
	e := Exchange{
		Index: t.Index, Status: t.Status, Start: at(t.Start), Outcome: t.Outcome.String(), outcome: t.Outcome,
		Interim: t.Interim, Estimated: t.Estimated, Reuse: t.Reuse.String(),
	}
	if t.Version == http.HTTP2 {
		e.Stream = uint32(t.Stream)
	}
	if !t.Estimated {
		e.Method = t.Method.String()
	}
	if t.Failure != fact.NotFailed {
		e.Failure = t.Failure.String()
	}
	e.until = max(at(l.end), e.Start)
	if c := l.firstClosing(); c != fact.Absent {
		e.until = max(at(c), e.Start)
	}
	if t.FirstByte != fact.Absent {
		m := at(t.FirstByte)
		e.FirstByte = &m
	}
	if t.End != fact.Absent {
		m := at(t.End)
		e.End, e.until = &m, m
	}
	for i, what := range []string{"request", "first byte", "end"} {
		if t.Frames[i] != 0 && (i == 0 || t.Frames[i] != t.Frames[i-1]) {
			e.Frames = append(e.Frames, Frame{t.Frames[i], what})
		}
	}
	return e
}

// firstClosing is when the connection was first closed, or Absent.
func (l *lane) firstClosing() int64 {
	first := fact.Absent
	for _, c := range l.trace.Closings {
		if c.With != fact.WithNothing && (first == fact.Absent || c.At < first) {
			first = c.At
		}
	}
	return first
}

// announced tells what the sides said about keeping the connection.
func (l *lane) announced(at func(int64) Moment) (list []Announcement) {
	if t := l.trace.Advertised; t != fact.Absent {
		what := "Keep-Alive:"
		if l.hasTimeout {
			what += fmt.Sprintf(" timeout=%d", l.timeout)
		}
		if l.hasMax {
			if l.hasTimeout {
				what += ","
			}
			what += fmt.Sprintf(" max=%d", l.max)
		}
		list = append(list, Announcement{at(t), "server", what})
	}
	for i := range l.trace.Exchanges {
		e := &l.trace.Exchanges[i]
		switch {
		case e.Outcome == fact.ClientClose:
			list = append(list, Announcement{at(e.Start), "client", "Connection: close"})
		case e.Outcome == fact.ServerClose && e.FirstByte != fact.Absent:
			list = append(list, Announcement{at(e.FirstByte), "server", "Connection: close"})
		}
	}
	for side, g := range l.goaways {
		if g.Seen {
			list = append(list, Announcement{at(g.At), http.Side(side).String(), fmt.Sprintf("GOAWAY %v, last stream %d", g.Code, g.Last)})
		}
	}
	slices.SortStableFunc(list, func(a, b Announcement) int { return cmp.Compare(a.At, b.At) })
	return list
}

// idle finds the stretches between exchanges in which nothing was under way, up to the
// first closing.
func (d *Lane) idle(l *lane) {
	end := d.End
	if len(d.Closings) > 0 {
		end = d.Closings[0].At
	}
	if len(d.Exchanges) == 0 || d.unread {
		return
	}
	add := func(from, to Moment) {
		if to = min(to, end); to <= from {
			return
		}
		s := Stretch{From: from, To: to}
		for side, p := range l.trace.Probes {
			first, last := Moment(p.First)-Moment(l.start)+d.Start, Moment(p.Last)-Moment(l.start)+d.Start
			if p.Count > 0 && first >= from && last <= to { // all of them: else it is not known how many fell here
				s.Probes, s.By = s.Probes+p.Count, http.Side(side).String()
				if p.Interval != fact.Absent {
					m := Moment(p.Interval)
					s.Interval = &m
				}
			}
		}
		d.Idle = append(d.Idle, s)
	}
	type stretch struct {
		from, to Moment
		index    uint32 // of an exchange of HTTP/1
	}
	var busy []stretch
	for _, p := range d.Opening {
		busy = append(busy, stretch{p.At, p.At + p.Lasts, 0})
	}
	for i := range d.Exchanges {
		e := &d.Exchanges[i]
		w := stretch{e.Start, e.until, e.Index}
		if e.Stream != 0 {
			w.index = 0
		}
		busy = append(busy, w)
	}
	slices.SortStableFunc(busy, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	until, first, last := Moment(0), true, uint32(0)
	for _, w := range busy {
		if w.from >= d.Exchanges[0].Start {
			left := w.index > last+1 && last > 0 // others were left out between
			if !first && !left {
				add(until, w.from)
			}
			until, first = max(until, w.to), false
		}
		if w.index > 0 {
			last = w.index
		}
	}
	add(until, end)
}

// connect finds the lane that could have carried a wasted one's request.
func (d *Lane) connect(s *Story, start int64) {
	l := &d.lane
	if !l.hasCould {
		return
	}
	c := &CouldReuse{ID: ID(l.could.ID), Port: l.could.Port, Reason: l.could.Reason.String()}
	if l.could.UsableUntil != fact.Absent {
		m := Moment(l.could.UsableUntil - start)
		c.Until = &m
	}
	idle := Moment(fact.Absent)
	for i := range s.Lanes {
		if o := &s.Lanes[i]; o.ID == c.ID {
			c.Label = o.Label
			idle = o.idleBefore(c.Until)
		}
	}
	c.Why = why(l.could.Reason, idle)
	d.CouldReuse = c
}

// idleBefore is how long a connection had idled at a moment, Absent where it is not known.
func (d *Lane) idleBefore(t *Moment) Moment {
	last := Moment(fact.Absent)
	if t == nil {
		return last
	}
	for i := range d.Exchanges {
		if e := &d.Exchanges[i]; e.End != nil && *e.End <= *t {
			last = max(last, *e.End)
		}
	}
	if last < 0 {
		return last
	}
	until := *t
	for i := range d.Exchanges { // a request that was never answered ended it
		if e := &d.Exchanges[i]; e.End == nil && e.Start >= last {
			until = min(until, e.Start)
		}
	}
	return until - last
}

// A slot is a connection that would have been enough.
type slot struct {
	Ideal
	free Moment // from when on nothing is under way
	room int    // streams at once
	busy []work
}

// work is an exchange under way.
type work struct {
	lane int
	end  Moment
}

// takes says whether a slot has room at a moment for an exchange of a lane. What a
// connection carried at once, pipelined or as streams, a slot carries, too.
func (s *slot) takes(lane int, at Moment) bool {
	s.busy = slices.DeleteFunc(s.busy, func(w work) bool { return w.end <= at })
	for _, w := range s.busy {
		if w.lane != lane && len(s.busy) >= s.room {
			return false
		}
	}
	return true
}

// ideal plays what the lanes carried on as few connections as a client needed that keeps
// them: one whose handshake was needed brings a new one.
func ideal(lanes []Lane) []Ideal {
	type ride struct {
		Ride
		start, end, syn Moment
		first, wasted   bool
	}
	var rides []ride
	for i := range lanes {
		l := &lanes[i]
		for k := range l.Exchanges {
			e := &l.Exchanges[k]
			rides = append(rides, ride{Ride{i, k}, e.Start, e.until, l.Start, k == 0, l.Verdict == fact.VerdictWasted.String()})
		}
	}
	slices.SortStableFunc(rides, func(a, b ride) int { return cmp.Compare(a.start, b.start) })
	var slots []*slot
	own := make([]*slot, len(lanes))
	for _, r := range rides {
		var to *slot
		at := r.start
		if r.first && r.wasted { // it must have been free before the SYN
			at = r.syn
		}
		if s := own[r.Lane]; s != nil && s.takes(r.Lane, r.start) {
			to = s
		}
		if to == nil && (!r.first || r.wasted) {
			for _, s := range slots {
				if s.takes(r.Lane, r.start) && (to == nil || s.free > to.free) && (s.free <= at || s.room > 1) {
					to = s
				}
			}
		}
		if to == nil {
			to = &slot{room: max(int(lanes[r.Lane].lane.mostStreams), 1)}
			slots = append(slots, to)
		}
		own[r.Lane] = to
		to.Carries = append(to.Carries, r.Ride)
		to.busy = append(to.busy, work{r.Lane, r.end})
		to.free = max(to.free, r.end)
	}
	list := make([]Ideal, 0, len(slots))
	for _, s := range slots {
		list = append(list, s.Ideal)
	}
	return list
}
