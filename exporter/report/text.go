package report

import (
	"cmp"
	"fmt"
	"github.com/keepscope/keepscope/sniffer/printable"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// TextOptions say what the terminal is like. The zero value is a pipe.
type TextOptions struct {
	Width int  // columns; 0 means 80, and the report uses 72 to 110
	Color bool // a terminal, and NO_COLOR is empty
}

const (
	maxTableRows       = 6
	maxTextFindings    = 3
	maxAdviceLines     = 2
	maxCauses          = 5
	maxEstimatedCauses = 2 // of them, beside counted ones
)

// WriteText writes the report for people: at most a screen.
func (r *Report) WriteText(w io.Writer, o TextOptions) error {
	p := newPage(o)
	p.source(&r.Capture)
	p.blank()
	p.headline(&r.Totals)
	p.honesty(&r.Capture, &r.Totals)
	if r.Totals.Connections > 0 {
		p.blank()
		p.servers(r.Servers)
		p.blank()
		p.charts(&r.Totals)
		room := maxTextFindings
		if notes := r.Notes(); len(notes) > 0 {
			room-- // a screen has no more lines
			p.blank()
			for _, n := range notes {
				p.wrapped(dim, "", plain, n)
			}
		}
		p.blank()
		p.findings(r, room)
	}
	p.notDecoded(r.Capture.NotDecoded)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// A page collects lines.
type page struct {
	b     strings.Builder
	width int
	color bool
}

func newPage(o TextOptions) *page {
	if o.Width <= 0 {
		o.Width = 80
	}
	return &page{width: min(max(o.Width, 72), 110), color: o.Color}
}

// The styles are SGR parameters of the 16 colours, which keep to the
// terminal's own theme.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	blue   style = "34"
)

func (p *page) in(s style, text string) string {
	if !p.color || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (p *page) line(parts ...string) {
	p.b.WriteString(strings.TrimRight(" "+strings.Join(parts, ""), " "))
	p.b.WriteByte('\n')
}

func (p *page) blank() { p.b.WriteByte('\n') }

// wrapped writes text of one style in lines that fit, the first after lead and
// the others under it.
func (p *page) wrapped(s style, lead string, leadStyle style, text string) {
	indent := utf8.RuneCountInString(lead)
	for i, l := range Wrap(text, p.width-1-indent) {
		if i > 0 {
			lead = strings.Repeat(" ", indent)
		}
		p.line(p.in(leadStyle, lead), p.in(s, l))
	}
}

// Wrap breaks text at spaces into lines of at most width runes, where a word
// allows it. A number and its unit stay together.
func Wrap(text string, width int) []string {
	var lines []string
	var line strings.Builder
	n := 0
	for _, word := range strings.Fields(strings.ReplaceAll(KeepUnits(text), "\u00a0", string(noBreak))) {
		word = strings.ReplaceAll(word, string(noBreak), " ")
		k := utf8.RuneCountInString(word)
		if n > 0 && n+1+k > width {
			lines = append(lines, line.String())
			line.Reset()
			n = 0
		}
		if n > 0 {
			line.WriteByte(' ')
			n++
		}
		line.WriteString(word)
		n += k
	}
	return append(lines, line.String())
}

// KeepUnits ties a digit to the digits or the unit behind it, by U+00A0.
func KeepUnits(text string) string {
	in := []rune(text)
	for i, r := range in {
		if r != ' ' || i == 0 || i+1 >= len(in) {
			continue
		}
		after := in[i+1]
		digit := in[i-1] >= '0' && in[i-1] <= '9'
		if digit && (after >= '0' && after <= '9' || isUnit(in[i+1:])) {
			in[i] = '\u00a0'
		}
	}
	return string(in)
}

// noBreak is a rune for private use: strings.Fields breaks at U+00A0 too.
const noBreak = '\ue000'

func isUnit(rest []rune) bool {
	for _, u := range []string{"s", "ms", "µs", "h", "d", "%"} {
		n := utf8.RuneCountInString(u)
		if len(rest) >= n && string(rest[:n]) == u && (len(rest) == n || !isLetter(rest[n])) {
			return true
		}
	}
	return false
}

func isLetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func (p *page) source(c *Capture) {
	names := c.Files
	if len(names) == 0 {
		names = c.Interfaces
	}
	from := "capture"
	if len(names) > 0 {
		from = Shorten(printable.Text(names[0]), 32)
	}
	if len(names) > 1 {
		from += fmt.Sprintf(" and %d more", len(names)-1)
	}
	parts := []string{from}
	if !c.FirstPacket.IsZero() {
		parts = append(parts, c.FirstPacket.UTC().Format(time.DateTime), SecondsText(c.LastPacket.Sub(c.FirstPacket).Seconds()))
	}
	parts = append(parts, plural(c.Packets, "packet"), byteText(c.Bytes))
	text := strings.Join(parts, " · ")
	for len(parts) > 2 && utf8.RuneCountInString(text) > p.width-12 {
		parts = slices.Delete(parts, 1, 2) // the date first
		text = strings.Join(parts, " · ")
	}
	p.line(p.in(bold, "keepscope"), p.in(dim, "  "+text))
}

// headline says the two figures that matter, and what they rest on.
func (p *page) headline(t *Summary) {
	if t.Connections == 0 {
		p.line("No TCP connection was seen.")
		return
	}
	parts := t.Parts()
	for i, q := range parts {
		label := "Keep-alive effectiveness"
		if i > 0 {
			label = " of encrypted, estimated"
		}
		p.effectiveness(label, &q)
	}
	first := &parts[0]
	if n := first.Wasted.Total; n > 0 {
		p.line(p.in(bold, first.Mark()+pluralWere(n, "handshake")+" wasted"), ": ", SecondsText(first.Wasted.Seconds),
			" of waiting that was not needed.")
	} else {
		p.line("No handshake was wasted.")
	}
	text := requestsText(first) + ", " + first.Mark() + group3(first.ReusedRequests) + " of them on a used one"
	if first.IsEstimated {
		text += "; estimated"
	}
	p.wrapped(dim, "", plain, text+".")
	for _, q := range parts[1:] {
		text := fmt.Sprintf("Encrypted, estimated: %s, ~%s on a used one; ~%s wasted", requestsText(&q), group3(q.ReusedRequests), plural(q.Wasted.Total, "handshake"))
		if q.Wasted.Total > 0 {
			text += ", " + SecondsText(q.Wasted.Seconds)
		}
		p.wrapped(dim, "", plain, text+".")
	}
}

func requestsText(q *Part) string {
	return q.Mark() + plural(q.Requests, "request") + " on " + plural(q.Connections, "connection")
}

func (p *page) effectiveness(label string, q *Part) {
	v := q.Effectiveness
	if v == nil {
		p.line(label, "  ", p.in(dim, "no value: no request could have reused a connection"))
		return
	}
	p.line(label, "  ", p.bar(*v, 24, grade(*v)), "  ", p.in(bold, q.Mark()+PercentText(*v)))
}

// grade colours an effectiveness.
func grade(v float64) style {
	switch {
	case v >= 0.9:
		return green
	case v >= 0.5:
		return yellow
	}
	return red
}

// bar draws a share of width cells, in eighths.
func (p *page) bar(v float64, width int, s style) string {
	full := blocks(v, width)
	return p.in(s, full) + p.in(dim, strings.Repeat("░", width-utf8.RuneCountInString(full)))
}

// blocks returns the cells that v fills; anything above zero shows.
func blocks(v float64, width int) string {
	eighths := int(v*float64(width)*8 + 0.5)
	if eighths == 0 && v > 0 {
		eighths = 1
	}
	eighths = min(max(eighths, 0), width*8)
	out := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		out += string([]rune(" ▏▎▍▌▋▊▉")[rest])
	}
	return out
}

// honesty says what the capture missed, if anything.
func (p *page) honesty(c *Capture, t *Summary) {
	if m := Missed(c, t); len(m) > 0 {
		p.wrapped(yellow, "! ", yellow, "The capture is not whole: "+strings.Join(m, ", ")+".")
	}
}

// maxNumbers is how many kinds of packets that are not decoded the text names.
const maxNumbers = 3

// notDecoded says what else was captured: were HTTP in it, it would not be seen.
func (p *page) notDecoded(n *NotDecoded) {
	if n == nil {
		return
	}
	var list []string
	left := n.Packets
	for _, k := range n.Numbers[:min(len(n.Numbers), maxNumbers)] {
		list = append(list, k.Name+" ("+group3(k.Packets)+")")
		left -= k.Packets
	}
	if left > 0 {
		list = append(list, "others ("+group3(left)+")")
	}
	p.wrapped(dim, "", dim, pluralWere(n.Packets, "packet")+" neither TCP nor DNS: "+strings.Join(list, ", ")+".")
}

// Missed lists what the capture missed, in words. It is empty where all was seen; else
// no figure is shown without it.
func Missed(c *Capture, t *Summary) (list []string) {
	add := func(n uint64, text string) {
		if n > 0 {
			list = append(list, text)
		}
	}
	add(c.Dropped.Total(), plural(c.Dropped.Total(), "packet")+" dropped")
	missing := max(c.Reassembly.MissingBytes, t.MissingBytes)
	add(missing, byteText(missing)+" missing from streams")
	cut := max(c.Reassembly.TruncatedBytes, t.TruncatedBytes)
	add(cut, byteText(cut)+" cut by the snaplen")
	add(t.Incomplete, plural(t.Incomplete, "incomplete connection"))
	add(t.Midstream, group3(t.Midstream)+" joined midstream")
	evicted := max(c.Reassembly.EvictedConnections, t.Evicted)
	add(evicted, group3(evicted)+" evicted (table full)")
	var errors uint64
	for _, n := range c.DecodeErrors {
		errors += n
	}
	add(errors, plural(errors, "undecodable packet"))
	if c.CutShort {
		list = append(list, "the file ends inside a packet")
	}
	return list
}

// servers writes the table; the name takes what the figures leave.
func (p *page) servers(list []Server) {
	cause := p.width >= 92
	nameWidth := p.width - 1 - 48
	if cause {
		nameWidth -= 22
	}
	head := pad("SERVER", nameWidth) + padLeft("CONNS", 9) + padLeft("REQUESTS", 11) + padLeft("REQ/CONN", 10) +
		padLeft("EFFECT.", 9) + padLeft("WASTED", 9)
	if cause {
		head += "  MOSTLY BECAUSE"
	}
	p.line(p.in(dim, head))
	shown, rows := 0, 0
	for ; shown < len(list) && rows < maxTableRows; shown++ {
		for i, q := range list[shown].Parts() {
			name := Shorten(printable.Text(list[shown].Name), nameWidth-1)
			if i > 0 {
				name = "  encrypted, estimated"
			}
			p.server(pad(Shorten(name, nameWidth-1), nameWidth), &q, cause)
			rows++
		}
	}
	if more := len(list) - shown; more > 0 {
		p.line(p.in(dim, fmt.Sprintf("and %s with less waste", plural(uint64(more), "server"))))
	}
}

func (p *page) server(name string, q *Part, cause bool) {
	effect, effectStyle := "–", dim
	if v := q.Effectiveness; v != nil {
		effect, effectStyle = q.Mark()+PercentText(*v), grade(*v)
	}
	per := "–"
	if q.RequestsPerConn.Max > 0 {
		per = q.Mark() + perText(q.RequestsPerConn.Mean)
	}
	row := []string{
		name,
		padLeft(group3(q.Connections), 9),
		padLeft(q.Mark()+group3(q.Requests), 11),
		padLeft(per, 10),
		p.in(effectStyle, padLeft(effect, 9)),
		padLeft(q.Mark()+group3(q.Wasted.Total), 9),
	}
	if cause {
		if top := q.causes(); len(top) > 0 {
			row = append(row, "  ", p.in(dim, top[0].name))
		}
	}
	p.line(row...)
}

// perText writes a mean with one digit behind the point where that tells.
func perText(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.1f", v)
	}
	return group3(uint64(v + 0.5))
}

type namedLoss struct {
	name, mark string
	loss
}

// causes lists the causes of wasted handshakes, most seconds first.
func (q *Part) causes() []namedLoss {
	var out []namedLoss
	for _, c := range slices.Sorted(maps.Keys(q.Wasted.ByCause)) {
		out = append(out, namedLoss{c, q.Mark(), q.wasted(c)})
	}
	slices.SortStableFunc(out, func(a, b namedLoss) int {
		return cmp.Or(cmp.Compare(b.seconds, a.seconds), cmp.Compare(b.n, a.n))
	})
	return out
}

// charts sets requests per connection beside the causes of waste.
func (p *page) charts(t *Summary) {
	half := (p.width - 1 - 3) / 2
	parts := t.Parts()
	left := p.requestChart(&parts[0], half)
	right := p.causeChart(parts, p.width-1-3-half)
	for i := range max(len(left), len(right)) {
		l, r := strings.Repeat(" ", half), ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		p.line(l, "   ", r)
	}
}

func (p *page) requestChart(q *Part, width int) []string {
	h := q.RequestsPerConn.Histogram
	rows := []struct {
		name string
		n    uint64
	}{{"1", h.One}, {"2–9", h.Few}, {"10–99", h.Tens}, {"100–999", h.Hundreds}, {"1000+", h.Thousands}}
	var most uint64
	for _, r := range rows {
		most = max(most, r.n)
	}
	out := []string{p.in(dim, pad(q.Mark()+"REQUESTS ON A CONNECTION", width))}
	for i, r := range rows {
		s := blue
		if i == 0 {
			s = yellow
		}
		out = append(out, p.row(padLeft(r.name, 8), r.n, most, q.Mark()+group3(r.n), width, s))
	}
	return out
}

// causeChart lists the causes of what was counted, then those of what was
// estimated.
func (p *page) causeChart(parts []Part, width int) []string {
	out := []string{p.in(dim, "WASTED HANDSHAKES BY CAUSE")}
	causes := parts[0].causes()
	if len(parts) > 1 {
		estimated := atMost(parts[1].causes(), maxEstimatedCauses)
		causes = append(atMost(causes, maxCauses-len(estimated)), estimated...)
	}
	causes = atMost(causes, maxCauses)
	if len(causes) == 0 {
		return append(out, p.in(dim, "none"))
	}
	var most uint64
	for _, c := range causes {
		most = max(most, c.n)
	}
	for _, c := range causes {
		out = append(out, p.row(pad(c.mark+shortCause(c.name), 18), c.n, most, c.mark+group3(c.n), width, red))
	}
	return out
}

// atMost sums up what is behind the first most-1 of too many causes.
func atMost(causes []namedLoss, most int) []namedLoss {
	if len(causes) <= most {
		return causes
	}
	rest := namedLoss{name: fmt.Sprintf("%d others", len(causes)-most+1), mark: causes[0].mark}
	for _, c := range causes[most-1:] {
		rest.n += c.n
		rest.seconds += c.seconds
	}
	return append(causes[:most-1], rest)
}

// shortCause fits the only long name into the chart.
func shortCause(name string) string {
	return strings.Replace(name, "http10_not_requested", "http10_not_asked", 1)
}

// row is a label, a bar and its figure, padded to width.
func (p *page) row(label string, n, most uint64, figure string, width int, s style) string {
	cells := width - utf8.RuneCountInString(label) - 1 - 1 - 9
	full := blocks(share(n, most), cells)
	return label + " " + p.in(s, full) + strings.Repeat(" ", cells-utf8.RuneCountInString(full)) + " " + padLeft(figure, 9)
}

// Notes says how near the ports and the balance are to their findings, where they
// are under way.
func (r *Report) Notes() (list []string) {
	found := func(code string) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == code })
	}
	if t := r.Totals.Ports; t != nil && share(t.Peak, t.Range) >= minPortsNoted && !found(portsRunOut.Code) {
		list = append(list, fmt.Sprintf("Ports: %s of %s to %s in 60 s; TIME_WAIT is %s.",
			PercentText(share(t.Peak, t.Range)), group3(t.Range), t.Server, t.TimeWait.holder()))
	}
	if s := leastBalanced(r.Servers); s != nil && !found(tooSticky.Code) {
		q := s.Parts()[0]
		list = append(list, fmt.Sprintf("Balance: %s, %s on 1 of %d addresses; %s requests on connections of %s.",
			Shorten(printable.Text(s.Name), 32), PercentText(*s.BusiestShare), s.AddressCount,
			q.Mark()+perText(q.RequestsPerConn.Mean), SecondsText(*s.Age.P50)))
	}
	return list
}

// holder says whose side holds the ports.
func (w TimeWait) holder() string {
	switch all := w.Client + w.Server + w.None; {
	case 2*w.Client > all:
		return "the client's"
	case 2*w.Server > all:
		return "the server's"
	}
	return "on either side"
}

// leastBalanced returns the server with the most uneven load over its addresses,
// or nil where none is uneven enough to be named.
func leastBalanced(list []Server) (worst *Server) {
	for i := range list {
		s := &list[i]
		if s.unevenness() >= minUneven && s.Parts()[0].Requests >= minBalanced && (worst == nil || s.unevenness() > worst.unevenness()) {
			worst = s
		}
	}
	return worst
}

func (p *page) findings(r *Report, room int) {
	if len(r.Findings) == 0 {
		p.line(p.in(dim, TooLittle()))
		return
	}
	p.line(p.in(dim, "WHAT TO CHANGE"))
	list := UrgentFirst(r.Findings)
	for i, f := range list[:min(len(list), room)] {
		p.finding(i+1, &f)
	}
	if len(list) > room {
		p.alsoFound(list[room:])
	}
}

// TooLittle says why there is no finding.
func TooLittle() string {
	return fmt.Sprintf("Too little traffic for advice: it takes at least %d requests.", minRequests)
}

// UrgentFirst returns findings with what makes requests fail in front: seconds do
// not say how bad that is, and few findings fit on a screen.
func UrgentFirst(found []Finding) []Finding {
	list := slices.Clone(found)
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Compare(min(severityRank(a.Severity), 1), min(severityRank(b.Severity), 1))
	})
	return list
}

func (p *page) finding(number int, f *Finding) {
	text := f.Summary
	if f.Server != "" {
		text = Shorten(printable.Text(f.Server), 48) + ": " + text
	}
	p.wrapped(plain, fmt.Sprintf("%d. ", number), f.Severity.style(), text)
	if f.Severity == OK {
		return
	}
	advice := Wrap(strings.ReplaceAll(f.Advice, "`", ""), p.width-1-5)
	if len(advice) > maxAdviceLines {
		advice = advice[:maxAdviceLines]
		last := &advice[maxAdviceLines-1]
		*last = cutAtClause(*last, p.width-1-5-2) + " …"
	}
	lead := "   → "
	for _, l := range advice {
		p.line(p.in(dim, lead+l))
		lead = "     "
	}
}

// cutAtClause ends a line that goes on where a reader can stop.
func cutAtClause(s string, width int) string {
	if r := []rune(s); len(r) > width {
		s = string(r[:width])
	}
	end := -1
	for _, mark := range []string{", ", "; ", ": ", ". "} {
		end = max(end, strings.LastIndex(s+" ", mark))
	}
	if end <= 0 {
		return s
	}
	return s[:end]
}

// alsoFound names the findings for which there is no room.
func (p *page) alsoFound(rest []Finding) {
	var codes []string
	for _, f := range rest {
		if !slices.Contains(codes, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	text := fmt.Sprintf("%s: ", plural(uint64(len(rest)), "more finding")) + strings.Join(codes, ", ")
	lines := Wrap(text+". All, with the whole advice: --output json", p.width-1)
	for _, l := range lines {
		p.line(p.in(dim, l))
	}
}

func (s Severity) style() style {
	switch s {
	case Critical:
		return red
	case Warning:
		return yellow
	case OK:
		return green
	}
	return blue
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0)) + s
}

// Shorten cuts the middle out of text that is too long: host names differ in
// front, ports behind.
func Shorten(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	front := (width - 1) * 2 / 3
	return string(r[:front]) + "…" + string(r[len(r)-(width-1-front):])
}
