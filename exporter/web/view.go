package web

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

// A view is a report in the order and the words of the page.
type view struct {
	Style        template.CSS
	Script       template.JS
	Refresh      int
	Source       string
	Since        string
	For          string
	Connections  uint64
	Parts        []report.Part // counted, estimated
	Missed       []string
	Advice       string // the heading of the findings
	Findings     []finding
	MoreFindings int
	TooLittle    string // why there is no finding
	Servers      []row
	MoreServers  int
	Notes        []string
	Explained    []string
	Causes       []bar
	Lengths      []lengths
	Health       []fact
}

// A row is one kind of a server's figures in the table.
type row struct {
	report.Part
	Name    string
	Further bool // of the server of the row above
	Mean    string
	Timeout string
}

// A bar is a count and its share of the largest.
type bar struct {
	Name, Mark string
	N          uint64
	Share      float64
	Note       string
}

// lengths say how many connections carried how many requests.
type lengths struct {
	IsEstimated bool
	Bars        []bar
}

// A fact is a figure about the capture; Bad ones make the others incomplete.
type fact struct {
	Name, Value string
	Bad         bool
}

func newView(r *report.Report) *view {
	v := &view{
		// Both are part of this program.
		Style: template.CSS(styleText), Script: template.JS(scriptText), Refresh: refreshSeconds,
		Source:      strings.Join(slices.Concat(r.Capture.Interfaces, r.Capture.Files), ", "),
		Connections: r.Totals.Connections, Parts: r.Totals.Parts(),
		Missed: report.Missed(&r.Capture, &r.Totals), Notes: append(r.Notes(), r.Undecided...), Explained: r.Explained, Health: health(r),
	}
	if c := &r.Capture; !c.FirstPacket.IsZero() {
		v.Since = c.FirstPacket.UTC().Format(time.DateTime) + " UTC"
		v.For = seconds(c.LastPacket.Sub(c.FirstPacket).Seconds())
	}
	v.findings(r.Findings)
	for i := range r.Servers[:min(len(r.Servers), maxServers)] {
		v.Servers = append(v.Servers, rows(&r.Servers[i])...)
	}
	v.MoreServers = max(len(r.Servers)-maxServers, 0)
	v.Causes = causes(v.Parts)
	for i := range v.Parts {
		if bars := lengthBars(&v.Parts[i]); bars != nil {
			v.Lengths = append(v.Lengths, lengths{v.Parts[i].IsEstimated, bars})
		}
	}
	return v
}

// A finding is one with what of its worst server the page shows.
type finding struct {
	*findings.Finding
	Worst  *findings.OnServer
	Others int
}

func (v *view) findings(found []findings.Finding) {
	for i := range found[:min(len(found), maxFindings)] {
		f := &found[i]
		shown := finding{Finding: f, Worst: &findings.OnServer{}}
		if len(f.Servers) > 0 {
			shown.Worst, shown.Others = &f.Servers[0], len(f.Servers)-1
		}
		v.Findings = append(v.Findings, shown)
	}
	v.MoreFindings = len(found) - len(v.Findings)
	v.Advice = "What to change"
	// Such findings are about the totals, and the only ones.
	if len(found) > 0 && (found[0].Severity == findings.OK || found[0].Code == "nothing_stands_out") {
		v.Advice = "In short"
	}
	if len(found) == 0 && v.Connections > 0 {
		v.TooLittle = report.TooLittle()
	}
}

// rows are the figures of a server, those that were estimated under those that
// were counted.
func rows(s *report.Server) []row {
	var list []row
	for i, p := range s.Parts() {
		out := row{Part: p, Name: s.Name, Further: i > 0, Mean: "–"}
		if p.RequestsPerConn.Max > 0 {
			out.Mean = fmt.Sprintf("%s%.1f", p.Mark(), p.RequestsPerConn.Mean)
		}
		if i == 0 { // connections idle alike
			out.Timeout = timeout(s)
		}
		list = append(list, out)
	}
	return list
}

func timeout(s *report.Server) string {
	switch t := s.Idle.ObservedTimeout; {
	case t.Server != nil:
		return "server " + seconds(*t.Server)
	case t.Client != nil:
		return "client " + seconds(*t.Client)
	}
	return ""
}

// causes lists the causes of wasted handshakes, most first, and those of what was
// estimated behind.
func causes(parts []report.Part) []bar {
	var all []bar
	for i := range parts {
		p := &parts[i]
		var bars []bar
		for cause, n := range p.Wasted.ByCause {
			bars = append(bars, bar{Name: cause, Mark: p.Mark(), N: n, Note: seconds(p.Wasted.SecondsByCause[cause])})
		}
		slices.SortFunc(bars, func(a, b bar) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
		all = append(all, bars...)
	}
	return shares(all)
}

func lengthBars(p *report.Part) []bar {
	h := p.RequestsPerConn.Histogram
	bars := []bar{
		{Name: "1", N: h.One}, {Name: "2–9", N: h.Few}, {Name: "10–99", N: h.Tens},
		{Name: "100–999", N: h.Hundreds}, {Name: "1000 and more", N: h.Thousands},
	}
	for i := range bars {
		bars[i].Mark = p.Mark()
	}
	return shares(bars)
}

func shares(bars []bar) []bar {
	var most uint64
	for _, b := range bars {
		most = max(most, b.N)
	}
	if most == 0 {
		return nil
	}
	for i := range bars {
		bars[i].Share = float64(bars[i].N) / float64(most)
	}
	return bars
}

// health tells what the capture got and what it missed.
func health(r *report.Report) []fact {
	c, t := &r.Capture, &r.Totals
	list := []fact{
		{"packets captured", count(c.Packets), false},
		{"captured", byteCount(c.Bytes), false},
	}
	missed := func(name string, n uint64, text func(uint64) string) {
		list = append(list, fact{name, text(n), n > 0})
	}
	missed("packets dropped", c.Dropped.Total(), count)
	missed("missing from streams", max(c.Reassembly.MissingBytes, t.MissingBytes), byteCount)
	missed("cut by the snaplen", max(c.Reassembly.TruncatedBytes, t.TruncatedBytes), byteCount)
	missed("connections incomplete", t.Incomplete, count)
	missed("connections joined midstream", t.Midstream, count)
	missed("connections evicted", max(c.Reassembly.EvictedConnections, t.Evicted), count)
	var errs uint64
	for _, n := range c.DecodeErrors {
		errs += n
	}
	missed("packets not decoded", errs, count)
	return append(list, fact{"segments out of order", count(c.Reassembly.OutOfOrderSegments), false})
}

// The figures of the page are those of every view, with spaces that don't break.

func count(n uint64) string { return tied(prose.Count(n)) }

func plural(n uint64, noun string) string { return tied(prose.Plural(n, noun)) }

func seconds(s float64) string { return tied(prose.Seconds(s)) }

func byteCount(n uint64) string { return tied(prose.Bytes(n)) }

// percent writes a share, or a dash where it has no value.
func percent(v *float64) string {
	if v == nil {
		return "–"
	}
	return tied(prose.Percent(*v))
}

func tied(figure string) string { return strings.ReplaceAll(figure, " ", "\u00a0") }

// width is the share of a bar of 100 units; anything above zero shows.
func width(share float64) string {
	if share <= 0 {
		return "0"
	}
	return strconv.FormatFloat(min(max(share*100, 0.8), 100), 'f', 1, 64)
}

// marked is a text with `settings` in backquotes as HTML.
func marked(text string) template.HTML {
	parts := strings.Split(template.HTMLEscapeString(text), "`")
	for i := 1; i < len(parts); i += 2 {
		parts[i] = "<code>" + parts[i] + "</code>"
	}
	return template.HTML(strings.Join(parts, ""))
}
