package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// TextOptions say what the terminal is like. The zero value is a pipe.
type TextOptions struct {
	Width int  // columns; 0 means 80, and the report uses 72 to 110
	Color bool // a terminal, and NO_COLOR is empty
	// Findings is how many are told with their whole advice; 0 means 3, less than 0 all.
	Findings int
	// Explain is the command that explains connections of what was read; none where it
	// is empty.
	Explain string
}

const (
	maxTableRows       = 6
	maxCauses          = 5
	maxEstimatedCauses = 2 // of them, beside counted ones
)

// WriteText writes the report for people: at most a screen.
func (r *Report) WriteText(w io.Writer, o TextOptions) error {
	p := newPage(o)
	p.source(&r.Capture)
	if chosen := r.Capture.Chosen(); chosen != "" {
		p.wrapped(dim, "", plain, chosen)
	}
	p.blank()
	p.headline(r)
	p.honesty(&r.Capture, &r.Totals)
	if r.Totals.Connections > 0 {
		p.blank()
		p.servers(r.Servers)
		p.blank()
		p.charts(&r.Totals)
		if notes := append(r.Notes(), r.Undecided...); len(notes) > 0 {
			p.blank()
			for _, n := range notes {
				p.wrapped(dim, "", plain, n)
			}
		}
		p.blank()
		p.findings(r, o.Findings)
	}
	p.notDecoded(r.Capture.NotDecoded)
	p.explain(r, o.Explain)
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
	for i, l := range prose.Wrap(text, p.width-1-indent) {
		if i > 0 {
			lead = strings.Repeat(" ", indent)
		}
		p.line(p.in(leadStyle, lead), p.in(s, l))
	}
}

func (p *page) source(c *Capture) {
	parts := append([]string{c.name()}, c.facts()...)
	text := strings.Join(parts, " · ")
	for len(parts) > 2 && utf8.RuneCountInString(text) > p.width-12 {
		parts = slices.Delete(parts, 1, 2) // the date first
		text = strings.Join(parts, " · ")
	}
	p.line(p.in(bold, "keepscope"), p.in(dim, "  "+text))
}

// name is that of the first file or interface, and how many others there are.
func (c *Capture) name() string {
	names := c.Files
	if len(names) == 0 {
		names = c.Interfaces
	}
	if len(names) == 0 {
		return "capture"
	}
	name := prose.Shorten(printable.Text(names[0]), 32)
	if name == "-" {
		name = "standard input"
	}
	if more := len(names) - 1; more > 0 {
		name += fmt.Sprintf(" and %d more", more)
	}
	return name
}

// facts are when the capture began, how long it is, and of how much.
func (c *Capture) facts() (list []string) {
	if !c.FirstPacket.IsZero() {
		list = append(list, moment(c.FirstPacket), prose.Seconds(c.LastPacket.Sub(c.FirstPacket).Seconds()))
	}
	return append(list, prose.Plural(c.Packets, "packet"), prose.Bytes(c.Bytes))
}

// moment writes a time as every output has it.
func moment(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// Chosen says which part of a capture the figures are of. It is empty where they are of
// all of it.
func (c *Capture) Chosen() string {
	var parts []string
	if c.Server != "" {
		parts = append(parts, "of server "+printable.Text(c.Server))
	}
	if c.Filter != "" {
		parts = append(parts, "of frames that match "+printable.Text(c.Filter))
	}
	if s := c.Span; s != nil {
		if !s.Since.IsZero() {
			parts = append(parts, "since "+moment(s.Since))
		}
		if !s.Until.IsZero() {
			parts = append(parts, "until "+moment(s.Until))
		}
		parts = append(parts, prose.Plural(s.LeftOut, "packet")+" before or after are left out")
	}
	if len(parts) == 0 {
		return ""
	}
	return "Only " + strings.Join(parts, ", ") + "."
}

// headline says the two figures that matter, what to change first, and what these rest
// on.
func (p *page) headline(r *Report) {
	if r.Totals.Connections > 0 {
		for i, q := range r.Totals.Parts() {
			label := "Keep-alive effectiveness"
			if i > 0 {
				label = " of encrypted, estimated"
			}
			p.effectiveness(label, &q, r.Totals.oneWay())
		}
	}
	for _, s := range headline(r) {
		p.wrapped(s.style, s.strong, bold, s.text)
	}
}

// A claim is a sentence that may begin with what is strong in it.
type claim struct {
	strong, text string
	style        style
}

// headline says what was wasted, what to change first, and of how much that is.
func headline(r *Report) (list []claim) {
	c, t := &r.Capture, &r.Totals
	say := func(s style, text string) { list = append(list, claim{text: text, style: s}) }
	if t.Connections == 0 {
		say(plain, "No TCP connection was seen.")
		return list
	}
	parts := t.Parts()
	first := &parts[0]
	missing := missingShare(c, t)
	switch n := first.Wasted.Total; {
	case n > 0:
		list = append(list, claim{
			strong: first.Mark() + prose.PluralWere(n, "handshake") + " wasted",
			text:   ": " + prose.Seconds(first.Wasted.Seconds) + " of waiting that was not needed.",
		})
	case missing > maxMissing:
		say(plain, "Too much is missing to judge: "+prose.Percent(missing)+" of the traffic was not captured.")
	case t.oneWay():
		say(plain, "Too much is missing to judge: only one direction was captured.")
	case t.unread():
		say(plain, "HTTP/2 inside TLS, without keys: nothing is said of waste.")
	default:
		say(plain, "No handshake was wasted.")
	}
	if text := findings.First(r.Findings); text != "" {
		list = append(list, claim{strong: "First", text: ": " + text})
	}
	text := requestsText(first) + ", " + first.Mark() + prose.Count(first.ReusedRequests) + " of them on a used one"
	if first.IsEstimated {
		text += "; estimated"
	}
	say(dim, text+".")
	for _, q := range parts[1:] {
		text := fmt.Sprintf("Encrypted, estimated: %s, ~%s on a used one; ~%s wasted", requestsText(&q), prose.Count(q.ReusedRequests), prose.Plural(q.Wasted.Total, "handshake"))
		if q.Wasted.Total > 0 {
			text += ", " + prose.Seconds(q.Wasted.Seconds)
		}
		say(dim, text+".")
	}
	for i := range parts {
		if text := parts[i].FailedText(); text != "" {
			say(red, text)
		}
	}
	if text := t.ProbesText(); text != "" {
		say(dim, text)
	}
	return list
}

// ProbesText says what health checks did; empty where there were none.
func (s *Summary) ProbesText() string {
	n := s.Probes.Connections
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("Of these %s by health checks, which are left out of effectiveness: %s, %s wasted.",
		prose.PluralWere(n, "connection"), prose.Plural(s.Probes.Requests, "request"), prose.Plural(s.Probes.Wasted, "handshake"))
}

// FailedText says how many requests failed, and how; empty where none did.
func (q *Part) FailedText() string {
	var all uint64
	var how []string
	for _, name := range slices.SortedFunc(maps.Keys(q.FailedRequests), func(a, b string) int {
		return cmp.Or(cmp.Compare(q.FailedRequests[b], q.FailedRequests[a]), cmp.Compare(a, b))
	}) {
		all += q.FailedRequests[name]
		how = append(how, fmt.Sprintf("%s%s %s", q.Mark(), prose.Count(q.FailedRequests[name]), name))
	}
	if all == 0 {
		return ""
	}
	return q.Mark() + prose.Plural(all, "request") + " failed: " + strings.Join(how, ", ") + "."
}

// maxMissing is the share of packets or bytes beyond which nothing is judged.
const maxMissing = 0.05

// missingShare returns how much of the traffic was not captured: of the packets, or of
// the bytes of streams.
func missingShare(c *Capture, t *Summary) float64 {
	missing := max(c.Reassembly.MissingBytes, t.MissingBytes)
	return max(share(c.Dropped.Total(), c.Packets+c.Dropped.Total()), share(missing, t.Bytes.Client+t.Bytes.Server+missing))
}

// oneWay says whether only one direction of the connections was captured.
func (s *Summary) oneWay() bool {
	return tally.OneWay([2]uint64{s.Packets.Client, s.Packets.Server}, [2]uint64{s.Bytes.Client, s.Bytes.Server})
}

// unread says whether all that was seen is HTTP/2 whose requests are not known.
func (s *Summary) unread() bool {
	return s.Requests == 0 && s.Estimated == nil && s.Protocols[fact.ProtocolH2.String()] > 0
}

func requestsText(q *Part) string {
	return q.Mark() + prose.Plural(q.Requests, "request") + " on " + prose.Plural(q.Connections, "connection")
}

func (p *page) effectiveness(label string, q *Part, oneWay bool) {
	v := q.Effectiveness
	if v == nil || oneWay {
		why := "no request could have reused a connection"
		switch {
		case oneWay:
			why = "only one direction was captured"
		case q.unread():
			why = "the requests are not known"
		}
		p.line(label, "  ", p.in(dim, "no value: "+why))
		return
	}
	p.line(label, "  ", p.bar(*v, 24, grade(*v)), "  ", p.in(bold, q.Mark()+prose.Percent(*v)))
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
		list = append(list, k.Name+" ("+prose.Count(k.Packets)+")")
		left -= k.Packets
	}
	if left > 0 {
		list = append(list, "others ("+prose.Count(left)+")")
	}
	p.wrapped(dim, "", dim, prose.PluralWere(n.Packets, "packet")+" neither TCP nor DNS: "+strings.Join(list, ", ")+".")
}

// Missed lists what the capture missed, in words. It is empty where all was seen; else
// no figure is shown without it.
func Missed(c *Capture, t *Summary) (list []string) {
	add := func(n uint64, text string) {
		if n > 0 {
			list = append(list, text)
		}
	}
	add(c.Dropped.Total(), prose.Plural(c.Dropped.Total(), "packet")+" dropped")
	missing := max(c.Reassembly.MissingBytes, t.MissingBytes)
	add(missing, prose.Bytes(missing)+" missing from streams")
	cut := max(c.Reassembly.TruncatedBytes, t.TruncatedBytes)
	add(cut, prose.Bytes(cut)+" cut by the snaplen")
	add(t.Incomplete, prose.Plural(t.Incomplete, "incomplete connection"))
	add(t.Midstream, prose.Count(t.Midstream)+" joined midstream")
	evicted := max(c.Reassembly.EvictedConnections, t.Evicted)
	add(evicted, prose.Count(evicted)+" evicted (table full)")
	var errors uint64
	for _, n := range c.DecodeErrors {
		errors += n
	}
	add(errors, prose.Plural(errors, "undecodable packet"))
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
	title := "SERVER"
	if len(list) > 0 && slices.ContainsFunc(list[0].Parts(), func(q Part) bool { return q.Wasted.Total > 0 }) {
		title += ", BY TIME LOST"
	}
	head := prose.Pad(title, nameWidth) + prose.PadLeft("CONNS", 9) + prose.PadLeft("REQUESTS", 11) + prose.PadLeft("REQ/CONN", 10) +
		prose.PadLeft("EFFECT.", 9) + prose.PadLeft("WASTED", 9)
	if cause {
		head += "  MOSTLY BECAUSE"
	}
	p.line(p.in(dim, head))
	shown, rows := 0, 0
	for ; shown < len(list) && rows < maxTableRows; shown++ {
		for i, q := range list[shown].Parts() {
			name := list[shown].title(nameWidth - 1)
			if i > 0 {
				name = "  encrypted, estimated"
			}
			p.server(prose.Pad(prose.Shorten(name, nameWidth-1), nameWidth), &q, cause)
			rows++
		}
	}
	if more := len(list) - shown; more > 0 {
		p.line(p.in(dim, "and "+prose.Plural(uint64(more), "more server")))
	}
}

// title is the server's name, and beside it the real address where there is one and
// room for it.
func (s *Server) title(width int) string {
	name := printable.Text(s.Name)
	if len(s.Addresses) == 1 && s.AddressCount == 1 && !strings.Contains(name, s.Addresses[0]) {
		if both := name + "  " + s.Addresses[0]; utf8.RuneCountInString(both) <= width {
			return both
		}
	}
	return prose.Shorten(name, width)
}

func (p *page) server(name string, q *Part, cause bool) {
	effect, per, top := q.figures()
	effectStyle := dim
	if v := q.Effectiveness; v != nil {
		effectStyle = grade(*v)
	}
	row := []string{
		name,
		prose.PadLeft(prose.Count(q.Connections), 9),
		prose.PadLeft(q.Mark()+prose.Count(q.Requests), 11),
		prose.PadLeft(per, 10),
		p.in(effectStyle, prose.PadLeft(effect, 9)),
		prose.PadLeft(q.Mark()+prose.Count(q.Wasted.Total), 9),
	}
	if cause {
		row = append(row, "  ", p.in(dim, top))
	}
	p.line(row...)
}

// figures are a row's effectiveness and requests per connection, – where they have no
// value, and the cause that wasted most.
func (q *Part) figures() (effect, per, cause string) {
	effect, per = "–", "–"
	if v := q.Effectiveness; v != nil {
		effect = q.Mark() + prose.Percent(*v)
	}
	if q.RequestsPerConn.Max > 0 {
		per = q.Mark() + perText(q.RequestsPerConn.Mean)
	}
	if top := q.causes(); len(top) > 0 {
		cause = top[0].name
	}
	return effect, per, cause
}

// perText writes a mean with one digit behind the point where that tells.
func perText(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.1f", v)
	}
	return prose.Count(uint64(v + 0.5))
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
	out := []string{p.in(dim, prose.Pad(q.Mark()+"CONNECTIONS BY REQUESTS", width))}
	for i, r := range rows {
		s := blue
		if i == 0 {
			s = yellow
		}
		out = append(out, p.row(prose.PadLeft(r.name, 8), r.n, most, q.Mark()+prose.Count(r.n), width, s))
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
		out = append(out, p.row(prose.Pad(c.mark+c.name, 21), c.n, most, c.mark+prose.Count(c.n), width, red))
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

// row is a label, a bar and its figure, padded to width.
func (p *page) row(label string, n, most uint64, figure string, width int, s style) string {
	cells := width - utf8.RuneCountInString(label) - 1 - 1 - 9
	full := blocks(share(n, most), cells)
	return label + " " + p.in(s, full) + strings.Repeat(" ", cells-utf8.RuneCountInString(full)) + " " + prose.PadLeft(figure, 9)
}

// Notes says how near the ports and the balance are to their findings, where they
// are under way.
func (r *Report) Notes() (list []string) {
	found := func(code string) bool {
		return slices.ContainsFunc(r.Findings, func(f findings.Finding) bool { return f.Code == code })
	}
	if t := r.Totals.Ports; t != nil && share(t.Peak, t.Range) >= minPortsNoted && !found("ports") {
		list = append(list, fmt.Sprintf("Ports: %s of %s to %s in 60 s; TIME_WAIT is %s.",
			prose.Percent(share(t.Peak, t.Range)), prose.Count(t.Range), t.Server, t.TimeWait.holder()))
	}
	if s := leastBalanced(r.Servers); s != nil && !found("too_sticky") {
		q := s.Parts()[0]
		list = append(list, fmt.Sprintf("Balance: %s, %s on 1 of %d addresses; %s requests on connections of %s.",
			prose.Shorten(printable.Text(s.Name), 32), prose.Percent(*s.BusiestShare), s.AddressCount,
			q.Mark()+perText(q.RequestsPerConn.Mean), prose.Seconds(*s.Age.P50)))
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

// The least that is worth a note.
const (
	minPortsNoted = 0.10 // of the ports
	minUneven     = 1.5  // of the busiest address's even share
	minBalanced   = 100  // requests
)

// unevenness is the busiest address's share of the load by its even share; 0
// where there is one address only.
func (s *Server) unevenness() float64 {
	if s.BusiestShare == nil {
		return 0
	}
	return *s.BusiestShare * float64(s.AddressCount)
}

// A loss is what a cause cost.
type loss struct {
	n       uint64
	seconds float64
}

func (s *Summary) wasted(cause string) loss {
	return loss{s.Wasted.ByCause[cause], s.Wasted.SecondsByCause[cause]}
}

func share(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
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

// wholeFindings is how many findings are told with their whole advice.
func wholeFindings(r *Report, asked int) int {
	switch {
	case asked == 0:
		return findings.Whole
	case asked < 0:
		return len(r.Findings)
	}
	return asked
}

func (p *page) findings(r *Report, whole int) {
	whole = wholeFindings(r, whole)
	if len(r.Explained) > 0 {
		p.line(p.in(dim, toChange))
	}
	for _, e := range r.Explained {
		if change, ok := strings.CutPrefix(e, findings.ToChange); ok {
			p.wrapped(plain, findings.ToChange, plain, strings.ReplaceAll(change, "`", ""))
		} else {
			p.wrapped(plain, "", plain, e)
		}
	}
	if len(r.Findings) == 0 {
		if len(r.Explained) == 0 {
			p.line(p.in(dim, TooLittle()))
		}
		return
	}
	if len(r.Explained) > 0 {
		p.blank()
	} else {
		p.line(p.in(dim, toChange))
	}
	for _, l := range findings.Text(r.Findings, p.width-1, whole) {
		p.line(p.in(dim, l.Lead), p.in(styleOf(l.Style), printable.Text(l.Text)))
	}
	if len(r.Findings) > whole {
		p.line(p.in(dim, "All with their advice: --findings all"))
	}
}

// explain ends the report with the command that draws the example of its first finding
// that has one, or what a small capture teaches.
func (p *page) explain(r *Report, command string) {
	i := slices.IndexFunc(r.Findings, func(f findings.Finding) bool { return f.Servers[0].Example != "" })
	switch {
	case command == "" || i < 0 && len(r.Explained) == 0:
		return
	case i >= 0:
		command += " --connection " + r.Findings[i].Servers[0].Example
	}
	p.blank()
	p.line(p.in(dim, "Draw it: "), command)
}

const toChange = "WHAT TO CHANGE"

// TooLittle says why there is no finding.
func TooLittle() string {
	return fmt.Sprintf("Too little traffic for advice: it takes at least %d requests.", findings.MinRequests)
}

func styleOf(s findings.Style) style {
	switch s {
	case findings.StyleCritical:
		return red
	case findings.StyleWarning:
		return yellow
	case findings.StyleInfo:
		return blue
	case findings.StyleOK:
		return green
	case findings.Dim:
		return dim
	default:
		return plain
	}
}
