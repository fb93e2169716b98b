package web

import (
	"cmp"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
)

// Figures are either what was counted or what was estimated, of all or of a server.
type figures struct {
	IsEstimated   bool
	Effectiveness *float64
	Wasted        uint64
	Seconds       float64 // that they took
	Requests      uint64
	Reused        uint64
	Connections   uint64
	Mean          *float64 // requests on a connection
	Races, Failed uint64
	causes        []bar
}

// Mark stands before each figure that is estimated.
func (f *figures) Mark() string { return (&report.Part{IsEstimated: f.IsEstimated}).Mark() }

// figures are those of a server, "" for all, in the window of a choice.
func (n *seen) figures(server string, s *report.Summary, c choice) (list []figures) {
	w, lately := windows[c.Window]
	parts := s.Parts()
	for i := range parts {
		p := &parts[i]
		if lately {
			list = append(list, latelyOf(n.Grown.Since(w, history.Key{Server: server, Estimated: p.IsEstimated}, history.Of(p)), p))
			continue
		}
		list = append(list, figuresOf(p))
	}
	return list
}

// figuresOf are the figures since the start.
func figuresOf(p *report.Part) figures {
	f := figures{
		IsEstimated: p.IsEstimated, Effectiveness: p.Effectiveness, Wasted: p.Wasted.Total, Seconds: p.Wasted.Seconds,
		Requests: p.Requests, Reused: p.ReusedRequests, Connections: p.Connections, Races: p.Races,
	}
	for _, n := range p.FailedRequests {
		f.Failed += n
	}
	if p.RequestsPerConn.Max > 0 {
		f.Mean = &p.RequestsPerConn.Mean
	}
	for cause, n := range p.Wasted.ByCause {
		f.causes = append(f.causes, bar{Name: cause, N: n, Note: p.Mark() + seconds(p.Wasted.SecondsByCause[cause])})
	}
	return f
}

// latelyOf are the figures of a window.
func latelyOf(c history.Counts, p *report.Part) figures {
	f := figures{
		IsEstimated: p.IsEstimated, Effectiveness: c.Effectiveness(), Wasted: c.Wasted, Seconds: c.Seconds,
		Requests: c.Requests, Reused: c.Reused, Connections: c.Connections, Failed: c.Failed,
	}
	if c.Used > 0 {
		mean := float64(c.Requests) / float64(c.Used)
		f.Mean = &mean
	}
	for _, k := range c.Causes {
		f.causes = append(f.causes, bar{Name: k.Name, N: k.N})
	}
	return f
}

// A bar is a count and its share of the largest.
type bar struct {
	Name, Mark string
	N          uint64
	Share      float64
	Note       string
	Link       string
}

// causes lists the causes of wasted handshakes, most first, and those of what was
// estimated behind.
func causes(parts []figures) []bar {
	var all []bar
	for i := range parts {
		p := &parts[i]
		bars := slices.Clone(p.causes)
		for k := range bars {
			bars[k].Mark = p.Mark()
		}
		slices.SortFunc(bars, func(a, b bar) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
		all = append(all, bars...)
	}
	return shares(all)
}

// lengths say how many connections carried how many requests.
type lengths struct {
	IsEstimated bool
	Bars        []bar
}

func lengthsOf(s *report.Summary) (list []lengths) {
	parts := s.Parts()
	for i := range parts {
		p := &parts[i]
		h := p.RequestsPerConn.Histogram
		bars := []bar{
			{Name: "1", N: h.One}, {Name: "2–9", N: h.Few}, {Name: "10–99", N: h.Tens},
			{Name: "100–999", N: h.Hundreds}, {Name: "1000 and more", N: h.Thousands},
		}
		for i := range bars {
			bars[i].Mark = p.Mark()
		}
		if bars = shares(bars); bars != nil {
			list = append(list, lengths{p.IsEstimated, bars})
		}
	}
	return list
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

// mean writes how many requests a connection carried.
func mean(v *float64) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v, 'f', 1, 64)
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
