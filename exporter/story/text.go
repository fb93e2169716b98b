package story

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
)

// TextOptions fit a story to where it is shown.
type TextOptions struct {
	Width int  // in columns; below 60 it is 80
	Color bool // by ANSI's sequences
}

// maxShown is how many exchanges of a connection are shown singly, as many of the first
// as of the last.
const maxShown = 8

// shortIdle is for how long nothing must be under way to be worth a line.
const shortIdle = Moment(1e6)

// colours of what is drawn.
const (
	plain  = ""
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	blue   = "\x1b[34m"
	reset  = "\x1b[0m"
)

// A writer writes a story as text.
type writer struct {
	strings.Builder
	TextOptions
}

func (w *writer) in(color, text string) string {
	if !w.Color || color == plain || text == "" {
		return text
	}
	return color + text + reset
}

// WriteText writes the story for people.
func (s *Story) WriteText(to io.Writer, o TextOptions) error {
	if o.Width < 60 {
		o.Width = 80
	}
	o.Width = min(o.Width, 120)
	w := &writer{TextOptions: o}
	w.wrapped("", s.Name+": "+s.Headline, bold)
	w.wrapped("", s.about(), dim)
	w.WriteByte('\n')
	s.picture(w)
	for i := range s.Lanes {
		w.WriteByte('\n')
		w.lane(&s.Lanes[i])
	}
	w.WriteByte('\n')
	for _, text := range s.Says {
		w.wrapped("  ", text, plain)
	}
	w.WriteString("\n" + w.in(dim, "Wireshark, tshark -Y:") + "\n" + s.Filter + "\n")
	_, err := io.WriteString(to, w.String())
	return err
}

// wrapped writes lines; those after the first are indented more.
func (w *writer) wrapped(indent, text, color string) {
	for i, line := range prose.Wrap(text, w.Width-utf8.RuneCountInString(indent)-2) {
		if i > 0 && indent != "" {
			line = "  " + line
		}
		w.WriteString(indent + w.in(color, line) + "\n")
	}
}

// A cell is one of a row of the picture.
type cell struct {
	char  rune
	color string
}

// labelWidth is what stands before a row of the picture.
const labelWidth = 12

// picture draws a row for each connection, and for each that would have been enough.
func (s *Story) picture(w *writer) {
	width := w.Width - labelWidth - 1
	a, _ := newAxis(s, float64(width-1))
	w.scale(&a, width)
	column := func(m Moment) int { return min(max(int(a.X(m)+0.5), 0), width-1) }
	for i := range s.Lanes {
		l := &s.Lanes[i]
		row := slices.Repeat([]cell{{' ', plain}}, width)
		fill := func(from, to Moment, char rune, color string) {
			for x := column(from); x < max(column(to), column(from)+1); x++ {
				row[x] = cell{char, color}
			}
		}
		fill(l.Start, l.End, '·', dim)
		for _, t := range l.Idle {
			fill(t.From, t.To, '─', dim)
		}
		for _, p := range l.Opening {
			color := yellow
			if l.Verdict == fact.VerdictWasted.String() {
				color = red
			}
			fill(p.At, p.At+p.Lasts, '░', color)
		}
		for k := range l.Exchanges {
			e := &l.Exchanges[k]
			fill(e.Start, e.until, []rune{'█', '▓'}[k%2], e.color())
		}
		for _, c := range l.Closings {
			row[column(c.At)] = cell{'╳', red}
		}
		w.row(prose.Pad(fmt.Sprintf("%s %d", l.Label, l.Port), labelWidth), row)
	}
	for i, t := range s.Ideal {
		row := slices.Repeat([]cell{{' ', plain}}, width)
		first, last := s.Length, Moment(0)
		for _, r := range t.Carries {
			e := &s.Lanes[r.Lane].Exchanges[r.Exchange]
			first, last = min(first, e.Start), max(last, e.until)
		}
		for x := column(first); x <= column(last); x++ {
			row[x] = cell{'─', dim}
		}
		for k, r := range t.Carries {
			e := &s.Lanes[r.Lane].Exchanges[r.Exchange]
			for x := column(e.Start); x < max(column(e.until), column(e.Start)+1); x++ {
				row[x] = cell{[]rune{'█', '▓'}[k%2], blue}
			}
		}
		label := ""
		if i == 0 {
			label = "enough"
		}
		w.row(prose.Pad(label, labelWidth), row)
	}
	legend := "░ opening  █ exchange  ─ idle  ╳ closing"
	if len(a.gaps) > 0 {
		legend += "  ⋯ long gaps are shortened"
	}
	w.WriteString(strings.Repeat(" ", labelWidth) + w.in(dim, legend) + "\n")
}

// color is that of an exchange.
func (e *Exchange) color() string {
	switch {
	case e.Failure != "":
		return red
	case e.Reuse == "true":
		return green
	}
	return blue
}

// scale writes moments above the picture, and where time is shortened.
func (w *writer) scale(a *axis, width int) {
	row := []rune(strings.Repeat(" ", width+12))
	free := 0
	put := func(x int, text string) {
		if x >= free && x+utf8.RuneCountInString(text) <= width {
			free = x + copy(row[x:], []rune(text)) + 1
		}
	}
	type mark struct {
		x    float64
		text string
	}
	marks := []mark{{0, "0 s"}}
	for _, g := range a.gaps {
		marks = append(marks, mark{g.x, "⋯"}, mark{a.X(g.to), span(g.to)})
	}
	if len(a.at) > 0 {
		end := a.at[len(a.at)-1]
		marks = append(marks, mark{float64(width - utf8.RuneCountInString(span(end))), span(end)})
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.x, b.x) })
	for _, m := range marks {
		put(int(m.x+0.5), m.text)
	}
	w.WriteString(strings.TrimRight(strings.Repeat(" ", labelWidth)+w.in(dim, string(row[:width])), " ") + "\n")
}

// row writes a row of the picture, runs of a colour together.
func (w *writer) row(label string, row []cell) {
	w.WriteString(label)
	end := len(row)
	for end > 0 && row[end-1].char == ' ' {
		end--
	}
	for i := 0; i < end; {
		k := i
		var run strings.Builder
		for k < end && row[k].color == row[i].color {
			run.WriteRune(row[k].char)
			k++
		}
		w.WriteString(w.in(row[i].color, run.String()))
		i = k
	}
	w.WriteByte('\n')
}

// A line is what happened on a connection at a moment.
type line struct {
	at     Moment
	what   string
	lasts  string
	note   string
	frames string
	color  string
	order  int
}

// lane writes what happened on a connection.
func (w *writer) lane(l *Lane) {
	head := fmt.Sprintf("%s  port %d, %s", l.Label, l.Port, prose.Plural(uint64(l.Requests), "request"))
	if l.unread {
		head = fmt.Sprintf("%s  port %d, encrypted", l.Label, l.Port)
	}
	if l.TLS != "" {
		head += ", " + l.TLS
	}
	if l.Protocol == "h2" {
		head += ", HTTP/2"
	}
	if l.Target != "" {
		head += ", a tunnel to " + l.Target
	}
	color := plain
	switch l.Verdict {
	case fact.VerdictWasted.String():
		head, color = head+": wasted, "+l.Cause, red
	case fact.VerdictNeeded.String():
		head += ": needed"
	}
	w.wrapped("", head, cmp.Or(color, bold))
	for _, e := range l.lines() {
		w.line(&e)
	}
}

// line writes a line, its note on further ones if it is long.
func (w *writer) line(e *line) {
	const before = 36
	notes := prose.Wrap(e.note, max(w.Width-before-10, 24))
	frames := e.frames
	for i, note := range notes {
		if i == 0 {
			text := prose.PadLeft(clock(e.at), 12) + "  " + w.in(e.color, prose.Pad(e.what, 12)) + " " + prose.Pad(e.lasts, 8) + " "
			w.WriteString(strings.TrimRight(text+prose.Pad(note, w.Width-before-10)+" "+w.in(dim, frames), " ") + "\n")
			continue
		}
		w.WriteString(strings.Repeat(" ", before) + note + "\n")
	}
}

func frame(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("#%d", n)
}

// lines tells what happened on a connection, in order.
func (d *Lane) lines() []line {
	var list []line
	add := func(x line) { x.order = len(list); list = append(list, x) }
	for _, p := range d.Opening {
		note := p.Note
		if p.What == "tcp" && d.lane.handshakeTime != fact.Absent && d.Label == "c1" {
			note = strings.TrimPrefix(note+"; each new connection pays this", "; ")
		}
		what := map[string]string{"dns": "look-up", "tcp": "SYN .. ACK", "tls": "TLS"}[p.What]
		x := line{at: p.At, what: what, lasts: span(p.Lasts), note: note, color: yellow}
		if p.What == "tcp" {
			x.frames = frame(d.Frame)
			if d.CouldReuse != nil {
				x.note = "not needed: " + d.could()
				x.color = red
			}
		}
		add(x)
	}
	if d.Before {
		add(line{at: d.Start, what: "…", note: "opened before the capture, or its handshake is missing", frames: frame(d.Frame), color: dim})
	}
	d.exchangeLines(add)
	for _, t := range d.Idle {
		if t.To-t.From < shortIdle {
			continue
		}
		add(line{at: t.From, what: "  idle", lasts: span(t.To - t.From), note: d.crossed(t), color: dim})
	}
	for _, n := range d.Announced {
		add(line{at: n.At, what: "  " + n.By, note: "says " + n.What, color: yellow})
	}
	for i, c := range d.Closings {
		note := ""
		if i == 0 {
			note = d.Reason
			if idle := d.idleBefore(&c.At); idle >= 0 {
				note += ", " + span(idle) + " after the last response"
			}
		}
		add(line{at: c.At, what: c.By + " " + closingName(c.With), note: note, frames: frame(c.Frame), color: red})
	}
	if n := d.Repeated; n > 0 {
		add(line{at: d.End, what: "sent again", note: prose.Plural(uint64(n), "segment") + " of data in all: lost on the way, or late", color: yellow})
	}
	if d.Open {
		add(line{at: d.End, what: "open", note: "when the capture ended", color: dim})
	}
	slices.SortStableFunc(list, func(a, b line) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) })
	return list
}

// could says which connection could have carried this one's request.
func (d *Lane) could() string {
	c := d.CouldReuse
	name := fmt.Sprintf("port %d", c.Port)
	if c.Label != "" {
		name = c.Label
	}
	if c.Until == nil {
		return fmt.Sprintf("%s was open and idle", name)
	}
	return fmt.Sprintf("%s was usable until %s; %s", name, c.until(), c.Why)
}

func closingName(with string) string {
	if with == "close_notify" {
		return "close"
	}
	return strings.ToUpper(with)
}

// crossed says what was sent while nothing was under way.
func (d *Lane) crossed(t Stretch) string {
	switch {
	case t.Probes > 0 && t.Interval != nil:
		return fmt.Sprintf("%s by the %s, one every %s", prose.Plural(uint64(t.Probes), "keep-alive probe"), t.By, span(*t.Interval))
	case t.Probes > 0:
		return fmt.Sprintf("%s by the %s", prose.Plural(uint64(t.Probes), "keep-alive probe"), t.By)
	case d.lane.pings > 0:
		return fmt.Sprintf("no stream is open; %s on this connection", prose.Plural(uint64(d.lane.pings), "PING"))
	case d.Protocol == "h2":
		return "no stream is open"
	case d.lane.trace.Probes[0].Count+d.lane.trace.Probes[1].Count > 0:
		return "no request; keep-alive probes on this connection"
	case d.Repeated > 0:
		return "no request; some segments were sent again on this connection"
	}
	return "two sockets wait, nothing is sent"
}

// exchangeLines tells the exchanges: the first and the last ones where there are many.
func (d *Lane) exchangeLines(add func(line)) {
	n := len(d.Exchanges)
	left := int(d.More)
	for i := range d.Exchanges {
		if n > maxShown && i >= maxShown/2 && i < n-maxShown/2 {
			left++
			continue
		}
		if left > 0 && i >= n-maxShown/2 {
			what := "request"
			if d.Exchanges[i].Stream != 0 {
				what = "stream"
			}
			add(line{at: d.Exchanges[i].Start, what: "…", note: "and " + prose.Plural(uint64(left), "more "+what), color: dim})
			left = 0
		}
		add(d.Exchanges[i].line())
	}
	if d.unread {
		at := d.Start
		for _, p := range d.Opening {
			at = p.At + p.Lasts
		}
		add(line{at: at, what: "encrypted", note: "requests cannot be seen without keys (--keylog)", color: dim})
	}
}

// line tells an exchange.
func (e *Exchange) line() line {
	what := e.Method
	if e.Estimated {
		what = "~exchange"
	}
	if e.Status != 0 {
		what += fmt.Sprintf(" %d", e.Status)
	}
	x := line{at: e.Start, what: what, color: e.color()}
	var notes []string
	switch {
	case e.Reuse == "true" && e.Index > 1:
		notes = append(notes, "reused: no handshake")
	case e.Reuse == "false":
		notes = append(notes, "first")
	}
	if e.Stream != 0 {
		notes = append(notes, fmt.Sprintf("stream %d", e.Stream))
	}
	if e.Interim > 0 {
		notes = append(notes, prose.Plural(uint64(e.Interim), "interim response"))
	}
	if e.End != nil {
		x.lasts = span(*e.End - e.Start)
		if e.FirstByte != nil && *e.FirstByte != *e.End {
			notes = append(notes, "first byte after "+span(*e.FirstByte-e.Start))
		}
	}
	switch {
	case e.Failure != "":
		notes = append(notes, "failed: "+e.Failure)
	case e.End == nil && e.FirstByte != nil:
		notes = append(notes, "never complete")
	case e.End == nil:
		notes = append(notes, "no response")
	}
	switch e.outcome {
	case fact.KeepAlive, fact.ClientClose, fact.ServerClose: // a line of its own says so
	default:
		if e.Failure != "" || e.End == nil {
			break
		}
		notes = append(notes, e.Outcome)
	}
	x.note = strings.Join(notes, ", ")
	if n := len(e.Frames); n > 0 {
		x.frames = frame(e.Frames[0].Number)
		if n > 1 {
			x.frames += "–" + fmt.Sprint(e.Frames[n-1].Number)
		}
	}
	return x
}
