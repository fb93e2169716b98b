package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// A Comparison says what changed between two reports.
type Comparison struct {
	Verdict  string        `json:"verdict"`  // a sentence, on how sure it is, too
	Warnings []string      `json:"warnings"` // sentences on what the captures missed, and in what they differ
	Before   Basis         `json:"before"`
	After    Basis         `json:"after"`
	Totals   []Change      `json:"totals"`
	Servers  []ServerDelta `json:"servers"` // those in both first, by the change in wasted handshakes per 1000 requests
}

// A Basis is what one side's figures rest on.
type Basis struct {
	Capture    Capture `json:"capture"`
	Midstream  uint64  `json:"midstream"`
	Incomplete uint64  `json:"incomplete"`
	Evicted    uint64  `json:"evicted"`
}

// A ServerDelta is what changed for one server.
type ServerDelta struct {
	Name    string   `json:"server"`
	In      string   `json:"in"` // "both", "before" or "after"
	Changes []Change `json:"changes"`
}

// A Change is one figure in both reports; nil where it has no value.
type Change struct {
	Figure string   `json:"figure"`
	Before *float64 `json:"before"`
	After  *float64 `json:"after"`
	Change *float64 `json:"change"`
	Better *bool    `json:"better,omitempty"` // nil where neither is better, or chance may have made the difference
	// Certainty is nil of what is no share of requests.
	Certainty *Certainty `json:"certainty,omitempty"`
}

// A figure is something to compare. Captures differ in length, so what grows
// with time is compared per 1000 requests; and in traffic, so only what an ideal
// pool would have avoided is called better or worse.
type figure struct {
	name   string
	good   float64 // 1 where more is better, -1 where less is, 0 where neither
	value  func(*Summary) *float64
	text   func(float64) string
	counts func(*Summary) proportion // of which it is the value per 1000 requests; nil for others
}

var figures = []figure{
	{"connections", 0, func(s *Summary) *float64 { return pointer(float64(s.Connections)) }, countText, nil},
	{"requests", 0, func(s *Summary) *float64 { return pointer(float64(s.Requests)) }, countText, nil},
	{"requests_per_connection", 0, func(s *Summary) *float64 { return positive(s.RequestsPerConn.Mean) }, perText, nil},
	{"reuse_ratio", 0, func(s *Summary) *float64 { return s.ReuseRatio }, prose.Percent, nil},
	{"effectiveness", 1, func(s *Summary) *float64 { return s.Effectiveness }, prose.Percent, nil},
	{"wasted_handshakes", 0, func(s *Summary) *float64 { return pointer(float64(s.Wasted.Total)) }, countText, nil},
	{perRequest, -1, func(s *Summary) *float64 { return s.perThousand(float64(s.Wasted.Total)) }, perText,
		func(s *Summary) proportion { return proportion{s.Wasted.Total, s.Requests} }},
	{"wasted_seconds_per_1000_requests", 0, func(s *Summary) *float64 { return s.perThousand(s.Wasted.Seconds) }, prose.Seconds, nil},
	{"races_per_1000_requests", -1, func(s *Summary) *float64 { return s.perThousand(float64(s.Races)) }, perText,
		func(s *Summary) proportion { return proportion{s.Races, s.Requests} }},
	{"tcp_handshake_p50_seconds", 0, func(s *Summary) *float64 { return s.Handshakes.TCP.P50 }, prose.Seconds, nil},
	{"exchange_p50_seconds", 0, func(s *Summary) *float64 { return s.Exchanges.P50 }, prose.Seconds, nil},
}

// estimatedFigures are those that rest on requests, of what was estimated from
// encrypted records; they have no value where nothing was.
var estimatedFigures = func() (list []figure) {
	for _, f := range figures[1 : len(figures)-2] {
		value, counts := f.value, f.counts
		f.name = estimatedPrefix + f.name
		f.value = func(s *Summary) *float64 {
			if e := s.estimatedPart(); e != nil {
				return value(e)
			}
			return nil
		}
		if counts != nil {
			f.counts = func(s *Summary) proportion {
				if e := s.estimatedPart(); e != nil {
					return counts(e)
				}
				return proportion{}
			}
		}
		list = append(list, f)
	}
	return list
}()

// estimatedPart is what was estimated, nil where nothing was.
func (s *Summary) estimatedPart() *Summary {
	parts := s.Parts()
	if last := &parts[len(parts)-1]; last.IsEstimated {
		return &last.Summary
	}
	return nil
}

const estimatedPrefix = "estimated_"

func countText(v float64) string { return prose.Count(uint64(v)) }

func positive(v float64) *float64 {
	if v <= 0 {
		return nil
	}
	return &v
}

func (s *Summary) perThousand(v float64) *float64 {
	if s.Requests == 0 {
		return nil
	}
	return pointer(v * 1000 / float64(s.Requests))
}

// Compare says what changed from one report to another: did it help?
func Compare(before, after *Report) *Comparison {
	c := &Comparison{
		Warnings: warnings(before, after), Before: basis(before), After: basis(after),
		Totals: changes(&before.Totals, &after.Totals, 1), Servers: []ServerDelta{},
	}
	c.Verdict = verdict(c.Totals)
	then := map[string]*Summary{}
	for i := range before.Servers {
		then[before.Servers[i].Name] = &before.Servers[i].Summary
	}
	both := 0
	for i := range after.Servers {
		if then[after.Servers[i].Name] != nil {
			both++
		}
	}
	for i := range after.Servers {
		s := &after.Servers[i]
		in := inAfter
		old := then[s.Name]
		if old != nil {
			in = inBoth
			delete(then, s.Name)
		}
		c.Servers = append(c.Servers, ServerDelta{s.Name, in, changes(old, &s.Summary, both)})
	}
	for name, old := range then {
		c.Servers = append(c.Servers, ServerDelta{name, inBefore, changes(old, nil, both)})
	}
	slices.SortFunc(c.Servers, func(a, b ServerDelta) int {
		return cmp.Or(
			cmp.Compare(inRank(a.In), inRank(b.In)),
			cmp.Compare(a.magnitude(), b.magnitude()),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return c
}

func basis(r *Report) Basis {
	return Basis{Capture: r.Capture, Midstream: r.Totals.Midstream, Incomplete: r.Totals.Incomplete, Evicted: r.Totals.Evicted}
}

// warnings says what keeps two reports from being compared as they are.
func warnings(before, after *Report) []string {
	list := []string{}
	add := func(which string, missed []string) {
		if len(missed) > 0 {
			list = append(list, which+" whole: "+strings.Join(missed, ", ")+".")
		}
	}
	then, now := Missed(&before.Capture, &before.Totals), Missed(&after.Capture, &after.Totals)
	if slices.Equal(then, now) {
		add("Neither capture is", then)
	} else {
		add("The capture before is not", then)
		add("The capture after is not", now)
	}
	// Where a report does not say its window, nobody knows that it differs.
	if b, a := before.Capture.ReuseWindow, after.Capture.ReuseWindow; b != a && b > 0 && a > 0 {
		list = append(list, fmt.Sprintf("The reuse windows differ, %s before and %s after: "+
			"the longer one calls more handshakes wasted. Read both captures with the same --reuse-window.", prose.Seconds(b), prose.Seconds(a)))
	}
	return list
}

// The values of ServerDelta.In.
const (
	inBoth   = "both"
	inBefore = "before"
	inAfter  = "after"
)

func inRank(in string) int { return slices.Index([]string{inBoth, inAfter, inBefore}, in) }

// magnitude orders the largest change first.
func (d *ServerDelta) magnitude() float64 {
	if c := find(d.Changes, d.prefix()+perRequest).Change; c != nil {
		return -math.Abs(*c)
	}
	return 0
}

// prefix is that of the figures to show of a server where there is room for one
// kind: the counted, or the estimated where nothing can be compared but those.
func (d *ServerDelta) prefix() string {
	counted, estimated := find(d.Changes, perRequest), find(d.Changes, estimatedPrefix+perRequest)
	switch {
	case counted.Change != nil:
		return ""
	case estimated.Change != nil, counted.Before == nil && counted.After == nil && (estimated.Before != nil || estimated.After != nil):
		return estimatedPrefix
	}
	return ""
}

// perRequest is the figure by which a change is judged.
const perRequest = "wasted_handshakes_per_1000_requests"

// changes compares two summaries, either of which may be nil, one pair of so many. What
// was estimated is left out where neither has any.
func changes(before, after *Summary, comparisons int) []Change {
	var out []Change
	for i, f := range slices.Concat(figures, estimatedFigures) {
		c := f.change(before, after, comparisons)
		if i < len(figures) || c.Before != nil || c.After != nil {
			out = append(out, c)
		}
	}
	agree(out, "")
	agree(out, estimatedPrefix)
	return out
}

// agree has the change of effectiveness called what that of wasted handshakes is, of
// which it is another view, where both go the same way.
func agree(list []Change, prefix string) {
	w := find(list, prefix+perRequest)
	for i := range list {
		e := &list[i]
		if e.Figure == prefix+"effectiveness" && e.Better != nil && (w.Better == nil || *w.Better != *e.Better) {
			e.Better = nil
		}
	}
}

func (f *figure) change(before, after *Summary, comparisons int) Change {
	c := Change{Figure: f.name}
	if before != nil {
		c.Before = f.value(before)
	}
	if after != nil {
		c.After = f.value(after)
	}
	if c.Before != nil && c.After != nil {
		d := *c.After - *c.Before
		c.Change = &d
		if f.counts != nil {
			c.Certainty = certainty(f.counts(before), f.counts(after), comparisons, 1000)
		}
		if d != 0 && f.good != 0 && (f.counts == nil || c.Certainty == nil || c.Certainty.Says == SaysDifferent) {
			c.Better = pointer(d*f.good > 0)
		}
	}
	return c
}

// find returns a figure's change, which has no value where it is not listed.
func find(list []Change, name string) Change {
	if i := slices.IndexFunc(list, func(c Change) bool { return c.Figure == name }); i >= 0 {
		return list[i]
	}
	return Change{Figure: name}
}

// verdict answers the question: in one sentence for what was counted, and one
// for what was estimated.
func verdict(totals []Change) string {
	counted, estimated := sentence(totals, ""), sentence(totals, estimatedPrefix)
	switch {
	case counted == "" && estimated == "":
		return "There is nothing to compare: no requests of the same kind, counted or estimated, are on both sides."
	case estimated == "":
		return counted
	case counted == "":
		return "Encrypted, estimated: " + estimated
	}
	return counted + " Encrypted, estimated: " + estimated
}

// noChange is the part of a figure by which two captures of the same habit differ.
const noChange = 0.02

// sentence is empty where there is nothing to compare.
func sentence(totals []Change, prefix string) string {
	e, w := find(totals, prefix+"effectiveness"), find(totals, prefix+perRequest)
	if w.Change == nil {
		return ""
	}
	text, went := "No change: ", fmt.Sprintf("wasted handshakes per 1000 requests went from %s to %s", perText(*w.Before), perText(*w.After))
	says := SaysDifferent
	if w.Certainty != nil {
		says = w.Certainty.Says
	}
	switch {
	case says == SaysNoise:
		text = "No difference that is sure: " + went
	case says == SaysTooLittle:
		text = "Too little traffic to say: " + went
	case w.Better != nil && *w.Better:
		text = "Better: " + went
	case w.Better != nil:
		text = "Worse: " + went
	case *w.Change == 0:
		text += fmt.Sprintf("%s wasted handshakes per 1000 requests before and after", perText(*w.After))
	default:
		text += went
	}
	if e.Change != nil {
		text += fmt.Sprintf(", effectiveness from %s to %s", prose.Percent(*e.Before), prose.Percent(*e.After))
	}
	if w.Certainty != nil && says != SaysSame {
		text += fmt.Sprintf("; by the counts, chance alone makes as much %s", chanceText(w.Certainty.P))
	}
	return text + "."
}

// WriteJSON writes the comparison as one indented object.
func (c *Comparison) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

// WriteText writes the comparison for people: the totals, then each server.
func (c *Comparison) WriteText(w io.Writer, o TextOptions) error {
	p := newPage(o)
	p.wrapped(bold, "", plain, c.Verdict)
	for _, w := range c.Warnings {
		p.wrapped(yellow, "! ", yellow, w)
	}
	p.blank()
	p.changes("ALL SERVERS", c.Totals)
	if len(c.Servers) > 1 {
		p.blank()
		p.deltas(c.Servers)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (p *page) changes(title string, list []Change) {
	p.line(p.in(dim, prose.Pad(title, 38)+prose.PadLeft("BEFORE", 12)+prose.PadLeft("AFTER", 12)))
	under := false
	for _, l := range compared(list) {
		if l.estimated && !under {
			p.line(p.in(dim, "ENCRYPTED, ESTIMATED"))
			under = true
		}
		p.line(prose.Pad(l.name, 38), prose.PadLeft(l.before, 12), prose.PadLeft(l.after, 12), "  ", p.judgement(l.Change))
	}
}

// A comparedLine is a figure before and after, in words.
type comparedLine struct {
	Change
	name, before, after string
	estimated           bool
}

// compared words the figures that have a value.
func compared(list []Change) (lines []comparedLine) {
	for _, f := range slices.Concat(figures, estimatedFigures) {
		c := find(list, f.name)
		if c.Before == nil && c.After == nil {
			continue
		}
		name, estimated := strings.CutPrefix(f.name, estimatedPrefix)
		lines = append(lines, comparedLine{c, words(name), valueText(c.Before, f.text), valueText(c.After, f.text), estimated})
	}
	return lines
}

// words is the figure's name for people, to whom the value says its unit.
func words(name string) string {
	return strings.ReplaceAll(strings.TrimSuffix(name, "_seconds"), "_", " ")
}

func valueText(v *float64, text func(float64) string) string {
	if v == nil {
		return "–"
	}
	return text(*v)
}

// judgement is empty of what is neither good nor bad, and of what did not change.
func (p *page) judgement(c Change) string {
	s := dim
	switch {
	case c.Better != nil && *c.Better:
		s = green
	case c.Better != nil:
		s = red
	}
	return p.in(s, c.judgement())
}

// judgement says whether a change is for the better, or too small to tell; empty where
// neither.
func (c *Change) judgement() string {
	switch {
	case c.Better != nil && *c.Better:
		return "better"
	case c.Better != nil:
		return "worse"
	case c.Certainty == nil:
		return ""
	case c.Certainty.Says == SaysNoise:
		return "within noise"
	case c.Certainty.Says == SaysTooLittle:
		return "too little"
	}
	return ""
}

const maxCompared = 20

// figures are a server's effectiveness and waste before and after, and the change by
// which it is judged.
func (d *ServerDelta) figures() (effect, waste string, judged Change) {
	prefix, mark := d.prefix(), ""
	if prefix != "" {
		mark = "~"
	}
	e, w := find(d.Changes, prefix+"effectiveness"), find(d.Changes, prefix+perRequest)
	return mark + valueText(e.Before, prose.Percent) + " → " + valueText(e.After, prose.Percent),
		mark + valueText(w.Before, perText) + " → " + valueText(w.After, perText), w
}

func (p *page) deltas(list []ServerDelta) {
	both := 0
	for both < len(list) && list[both].In == inBoth {
		both++
	}
	nameWidth := p.width - 1 - 54
	if both > 0 {
		p.line(p.in(dim, prose.Pad("SERVER", nameWidth)+prose.PadLeft("EFFECTIVENESS", 20)+prose.PadLeft("WASTED/1000 REQ.", 20)))
	}
	for i := range list[:min(both, maxCompared)] {
		d := &list[i]
		effect, waste, judged := d.figures()
		p.line(prose.Pad(prose.Shorten(printable.Text(d.Name), nameWidth-1), nameWidth),
			prose.PadLeft(effect, 20), prose.PadLeft(waste, 20), "  ", p.judgement(judged))
	}
	if more := both - maxCompared; more > 0 {
		p.line(p.in(dim, "and "+prose.Plural(uint64(more), "more server")))
	}
	p.only("Only before: ", inBefore, list[both:])
	p.only("Only after: ", inAfter, list[both:])
}

// only lists the servers of one side.
func (p *page) only(title, in string, list []ServerDelta) {
	var names []string
	for _, d := range list {
		if d.In == in {
			names = append(names, prose.Shorten(printable.Text(d.Name), p.width-20))
		}
	}
	if len(names) == 0 {
		return
	}
	more := ""
	if n := len(names) - maxCompared; n > 0 {
		names, more = names[:maxCompared], " and "+prose.Plural(uint64(n), "more server")
	}
	p.wrapped(dim, title, plain, strings.Join(names, ", ")+more+".")
}
