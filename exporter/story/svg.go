package story

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
)

// The measures of a drawing, in pixels.
const (
	svgLeft    = 118 // of the labels
	svgRight   = 24
	svgTop     = 92
	rowHeight  = 26 // of a bar
	laneGap    = 46 // between lanes
	streamRow  = 9
	maxStreams = 8 // rows of streams in a lane
	charWidth  = 6.3
	softWidth  = 0.97 * charWidth // of the smaller letters of the legend
)

// Style is what a drawing begins with: the colours, light, and dark where that is
// preferred. Whoever puts a drawing into a page may have to allow it by its hash.
const Style = `
.story{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--ground:#ffffff;--open:#bf8700;--waste:#cf222e;--first:#0969da;--reuse:#1a7f37;--ideal:#8250df;--on:#ffffff}
@media(prefers-color-scheme:dark){.story{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--ground:#0d1117;--open:#d29922;--waste:#f85149;--first:#4493f8;--reuse:#3fb950;--ideal:#ab7df8;--on:#0d1117}}
.ground{fill:var(--ground)}.ink{fill:var(--ink)}.soft{fill:var(--soft)}.head{font-size:16px;font-weight:600}.b{font-weight:600}.s{font-size:11px}
.grid{stroke:var(--line);stroke-width:1}.gap{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}.idle{stroke:var(--soft);stroke-width:2}
.open{fill:var(--open)}.waste{fill:var(--waste)}.first{fill:var(--first)}.reuse{fill:var(--reuse)}.ideal{fill:var(--ideal)}.on{fill:var(--on)}
.none{pointer-events:none}.wait{opacity:.8}.x{stroke:var(--waste);stroke-width:2.5;fill:none}.arrow{stroke:var(--waste);stroke-width:1.5;fill:none;stroke-dasharray:4 3}.tip{fill:var(--waste)}
.bad{fill:var(--waste)}`

// A drawing is an SVG that is being made.
type drawing struct {
	strings.Builder
	axis  axis
	width float64
	y     float64
}

// esc makes text fit for XML.
func esc(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

// text writes text that begins at x, or ends or is centred there.
func (d *drawing) text(x, y float64, class, anchor, text string) {
	if anchor != "" {
		anchor = ` text-anchor="` + anchor + `"`
	}
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" class="%s"%s>%s</text>`+"\n", x, y, class, anchor, esc(text))
}

// bar draws a bar with a label, where it fits, and a tooltip.
func (d *drawing) bar(x, y, w, h float64, class, label, tip string) {
	w = max(w, 2)
	fmt.Fprintf(d, `<g><title>%s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" class="%s"/>`, esc(tip), x, y, w, h, class)
	d.over(x, y, w, h, label)
	d.WriteString("</g>\n")
}

// over writes a label over bars, or its first word, where it fits.
func (d *drawing) over(x, y, w, h float64, label string) {
	if textWidth(label) > w-4 {
		label, _, _ = strings.Cut(label, " ")
	}
	if label != "" && h >= 16 && textWidth(label) <= w-4 {
		fmt.Fprintf(d, `<text x="%.1f" y="%.1f" class="on s none" text-anchor="middle">%s</text>`, x+w/2, y+h/2+4, esc(label))
	}
}

func textWidth(s string) float64 { return float64(utf8.RuneCountInString(s)) * charWidth }

func (d *drawing) x(m Moment) float64 { return svgLeft + d.axis.X(m) }

// WriteSVG draws the story.
func (s *Story) WriteSVG(w io.Writer) error {
	_, err := io.WriteString(w, s.svg(true))
	return err
}

// svg draws the story, with its words unless they stand beside.
func (s *Story) svg(words bool) string {
	_, total := newAxis(s, 1)
	d := &drawing{width: min(max(total*48, 780), 1200), y: svgTop}
	d.axis, _ = newAxis(s, d.width)
	bars := make([][2]float64, len(s.Lanes)) // where each lane's begin and end
	var body drawing
	body.axis, body.width, body.y = d.axis, d.width, d.y
	for i := range s.Lanes {
		top := body.y
		body.lane(&s.Lanes[i])
		bars[i] = [2]float64{top, body.y - laneGap}
	}
	body.arrows(s, bars)
	body.ideal(s)
	top, foot := 0.0, body.y+8
	says := s.Says
	if !words {
		top, says = svgTop-38, nil
	}
	lines := 0
	var notes drawing
	for _, say := range says {
		for _, l := range prose.Wrap(say, int((d.width+svgLeft)/charWidth)) {
			notes.text(16, foot+float64(lines)*17+14, "ink", "", l)
			lines++
		}
	}
	height := foot + float64(lines)*17 + 42
	notes.legend(height - 16)
	full := svgLeft + d.width + svgRight
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" class="story" width="%.0f" height="%.0f" viewBox="0 %.0f %.0f %.0f" role="img" aria-label="%s">`+"\n",
		full, height-top, top, full, height-top, esc(s.Name+": "+s.Headline))
	ground := ""
	if top > 0 {
		ground = fmt.Sprintf(` y="%.0f"`, top)
	}
	fmt.Fprintf(d, "<style>%s</style>\n<rect%s width=\"100%%\" height=\"100%%\" class=\"ground\"/>\n", Style, ground)
	if words {
		d.text(16, 28, "ink head", "", s.Name+": "+s.Headline)
		d.text(16, 47, "soft", "", s.about())
	}
	d.scale(body.y - 12)
	d.WriteString(body.String())
	d.WriteString(notes.String())
	d.WriteString("</svg>\n")
	return d.String()
}

// about says between whom the story is, when, and how long.
func (s *Story) about() string {
	return fmt.Sprintf("%s → %s, %s UTC, %s", s.Client, s.Server, s.Start.Format("2006-01-02 15:04:05.000000"), span(s.Length))
}

// legend says what the colours mean.
func (d *drawing) legend(y float64) {
	x := 16.0
	for _, l := range []struct{ class, text string }{
		{"open", "opening"}, {"waste", "not needed, or failed"}, {"first", "first request"}, {"reuse", "reused: no handshake"},
		{"reuse wait", "paler: waiting for the first byte"}, {"ideal", "what would have been enough"},
	} {
		fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="10" height="10" rx="2" class="%s"/>`, x, y-9, l.class)
		d.text(x+14, y, "soft s", "", l.text)
		x += 14 + float64(utf8.RuneCountInString(l.text))*softWidth + 14
	}
}

// scale draws moments, and where time is shortened.
func (d *drawing) scale(bottom float64) {
	last, said := -1e9, ""
	tick := func(m Moment) {
		x := d.x(m)
		label := span(m)
		if x-last < textWidth(label)+12 || label == said {
			return
		}
		last, said = x, label
		fmt.Fprintf(d, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%.1f" class="grid"/>`+"\n", x, svgTop-16, x, bottom)
		d.text(x, svgTop-20, "soft s", "middle", label)
	}
	d.WriteString("<g>\n")
	next := 0
	for _, m := range d.axis.at {
		for next < len(d.axis.gaps) && d.axis.gaps[next].to <= m {
			g := d.axis.gaps[next]
			next++
			fmt.Fprintf(d, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%.1f" class="gap"/>`+"\n", svgLeft+g.x, svgTop-14, svgLeft+g.x, bottom)
			d.text(svgLeft+g.x, svgTop-4, "soft s", "middle", "⋯")
		}
		tick(m)
	}
	d.WriteString("</g>\n")
}

// lane draws a connection.
func (d *drawing) lane(l *Lane) {
	rows := l.streamRows()
	height := float64(rowHeight)
	if rows != nil {
		height = max(height, float64(maxRow(rows)+1)*(streamRow+2))
	}
	y := d.y
	middle := y + height/2
	d.text(16, middle-2, "ink b", "", l.Label+"  port "+fmt.Sprint(l.Port))
	class := "soft s"
	text := l.Verdict
	if l.Verdict == fact.VerdictWasted.String() {
		class, text = "bad s", "wasted"
	} else if text == fact.VerdictNone.String() {
		text = "not judged"
	}
	d.text(16, middle+13, class, "", text)
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`+"\n", d.x(l.Start), middle, d.x(l.End), middle)
	for _, t := range l.Idle {
		x, to := d.x(t.From), d.x(t.To)
		fmt.Fprintf(d, `<g><title>%s</title><line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="idle"/></g>`+"\n", esc("idle "+span(t.To-t.From)+": "+l.crossed(t)), x, middle, to, middle)
		if label := "idle " + span(t.To-t.From); textWidth(label) <= to-x-4 {
			d.text((x+to)/2, middle-5, "soft s", "middle", label)
		}
	}
	for _, p := range l.Opening {
		class := "open"
		if l.Verdict == fact.VerdictWasted.String() {
			class = "waste"
		}
		name := map[string]string{"dns": "DNS", "tcp": "TCP", "tls": "TLS"}[p.What]
		d.bar(d.x(p.At), y, d.x(p.At+p.Lasts)-d.x(p.At), height, class, name, name+" "+span(p.Lasts)+", at "+clock(p.At))
	}
	for i := range l.Exchanges {
		top, h := y, height
		if rows != nil {
			top, h = y+float64(rows[i])*(streamRow+2), streamRow
		}
		d.exchange(&l.Exchanges[i], top, h)
	}
	d.marks(l, y, height)
	d.y += height + laneGap
}

// exchange draws a request that waits, and its response.
func (d *drawing) exchange(e *Exchange, y, h float64) {
	class := "first"
	switch {
	case e.Failure != "":
		class = "waste"
	case e.Reuse == "true":
		class = "reuse"
	}
	line := e.line()
	tip := line.what + " " + line.lasts + ", at " + clock(e.Start)
	if line.note != "" {
		tip += ": " + line.note
	}
	x, to := d.x(e.Start), d.x(e.until)
	if e.FirstByte != nil {
		if first := d.x(*e.FirstByte); first > x && to-first >= 2 {
			d.bar(first, y, to-first, h, class, "", tip)
			d.bar(x, y, first-x, h, class+" wait", "", tip)
			d.over(x, y, to-x, h, line.what)
			return
		}
	}
	d.bar(x, y, to-x, h, class, line.what, tip)
}

// marks draws what the sides said, and how they closed.
func (d *drawing) marks(l *Lane, y, height float64) {
	free := map[float64]float64{} // of each line of text, where it ends
	put := func(x, y float64, class, text string) {
		x = min(x-3, svgLeft+d.width+svgRight-4-textWidth(text))
		for x < free[y] {
			y += 12
		}
		free[y] = x + textWidth(text) + 8
		d.text(x, y, class, "", text)
	}
	below, above := y+height+12, y-5
	for _, n := range l.Announced {
		put(d.x(n.At)+8, below, "soft s", n.By+": "+n.What)
	}
	for i, c := range l.Closings {
		x, m := d.x(c.At), y+height/2
		fmt.Fprintf(d, `<g><title>%s</title><path d="M%.1f %.1fl10 10m0 -10l-10 10" class="x"/></g>`+"\n", esc(c.By+" "+closingName(c.With)+", at "+clock(c.At)), x-5, m-5)
		if i == 0 {
			put(x, above, "bad s", c.By+" "+closingName(c.With)+": "+l.Reason)
		}
	}
	if n := l.More; n > 0 {
		put(d.x(l.Start), below, "soft s", "and "+prose.Plural(uint64(n), "more request"))
	}
}

// arrows draws from each wasted handshake to the connection that could have carried its
// request, where that could not any more.
func (d *drawing) arrows(s *Story, bars [][2]float64) {
	for i := range s.Lanes {
		l := &s.Lanes[i]
		c := l.CouldReuse
		if c == nil || c.Label == "" {
			continue
		}
		for k := range s.Lanes {
			if s.Lanes[k].Label != c.Label {
				continue
			}
			to := l.Start
			if c.Until != nil {
				to = *c.Until
			}
			x, y := d.x(l.Start)+3, bars[i][0]
			tx, ty := d.x(to), bars[k][1]+2
			if k > i {
				y, ty = bars[i][1], bars[k][0]-2
			}
			fmt.Fprintf(d, `<path d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f" class="arrow"/><circle cx="%.1f" cy="%.1f" r="3.5" class="tip"/>`+"\n",
				x, y, x, (y+ty)/2, tx, (y+ty)/2, tx, ty, tx, ty)
		}
	}
}

// ideal draws the connections that would have been enough.
func (d *drawing) ideal(s *Story) {
	if len(s.Ideal) == 0 {
		return
	}
	for i, t := range s.Ideal {
		y, h := d.y, 16.0
		if i == 0 {
			d.text(16, y+12, "ink b", "", "enough")
		}
		first, last := s.Length, Moment(0)
		for _, r := range t.Carries {
			e := &s.Lanes[r.Lane].Exchanges[r.Exchange]
			first, last = min(first, e.Start), max(last, e.until)
		}
		fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="idle"/>`+"\n", d.x(first), y+h/2, d.x(last), y+h/2)
		shown := -1e9 // where a label ends: streams lie over each other
		for _, r := range t.Carries {
			e := &s.Lanes[r.Lane].Exchanges[r.Exchange]
			x, to, label := d.x(e.Start), d.x(e.until), s.Lanes[r.Lane].Label
			if x < shown {
				label = ""
			}
			shown = max(shown, to)
			d.bar(x, y, to-x, h, "ideal", label, s.Lanes[r.Lane].Label+"'s "+e.line().what)
		}
		d.y += h + 8
	}
}

// streamRows gives each stream of HTTP/2 a row beside those that are open with it, nil
// where no two are.
func (d *Lane) streamRows() []int {
	rows := make([]int, len(d.Exchanges))
	var ends []Moment
	for i := range d.Exchanges {
		e := &d.Exchanges[i]
		row := 0
		for row < len(ends) && ends[row] > e.Start {
			row++
		}
		if row == len(ends) {
			ends = append(ends, 0)
		}
		ends[row] = e.until
		rows[i] = min(row, maxStreams-1)
	}
	if len(ends) < 2 {
		return nil
	}
	return rows
}

func maxRow(rows []int) (most int) {
	for _, r := range rows {
		most = max(most, r)
	}
	return most
}
