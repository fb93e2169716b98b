package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/tally"
)

// A shell is what every page has.
type shell struct {
	Title   string
	Trail   []link // from the front page here
	JSON    string // the address of the same as JSON
	Refresh int    // seconds; 0 for never
	Windows []link
	Window  string // the one that was chosen
	Since   string // what the figures are since
}

// A link leads somewhere, unless it is where the visitor is.
type link struct {
	Name, Address string
	Here          bool
}

// shellOf is a page's shell, as of some windows.
func (n *seen) shellOf(c choice, title string) shell {
	s := shell{Title: title, Window: c.Window, Refresh: refreshSeconds, Windows: []link{{"all", choice{Path: c.Path, Filter: c.Filter, Sort: c.Sort, Subject: c.Subject}.String(), c.Window == ""}}}
	for i := len(Windows) - 1; i >= 0; i-- {
		w := c
		w.Window, w.Page = windowNames[i], 1
		name := "last hour"
		if Windows[i] < time.Hour {
			name = "last " + prose.Plural(uint64(Windows[i]/time.Minute), "minute")
		}
		s.Windows = append(s.Windows, link{name, w.String(), c.Window == w.Window})
	}
	slices.Reverse(s.Windows)
	since := n.Report.Capture.FirstPacket
	if l := n.lately(c); l != nil && l.Since.After(since) {
		since = l.Since
	}
	if !since.IsZero() {
		s.Since = since.UTC().Format(time.DateTime) + " UTC"
	}
	return s
}

// lately is what was counted in the window of a choice, nil for all.
func (n *seen) lately(c choice) *tally.Lately {
	if w := c.window(); w >= 0 {
		return n.Lately[w]
	}
	return nil
}

// A front is all that was counted, in the order and the words of the page.
type front struct {
	shell
	Source    string
	For       string // how long
	Empty     string // why there is nothing
	Parts     []figures
	Missed    []string
	Advice    string // the heading of the findings
	Findings  []finding
	TooLittle string // why there is no finding
	Table     table
	Notes     []string
	Explained []string
	Causes    []bar
	Lengths   []lengths
	Health    details
}

// details are a table of them.
type details struct {
	Caption string
	Rows    []detail
}

// A detail is a figure about the capture, or about a server; Bad ones make others
// incomplete.
type detail struct {
	Name, Value string
	Bad         bool
}

// front answers with all that was counted.
func (s *Site) front(w http.ResponseWriter, r *http.Request) {
	page(w, r, http.StatusOK, "front.html", s.now().front(choiceOf(r.URL)))
}

func (n *seen) front(c choice) *front {
	r := n.Report
	f := &front{
		shell: n.shellOf(c, "Keepscope"), Source: strings.Join(slices.Concat(r.Capture.Interfaces, r.Capture.Files), ", "),
		Empty: empty(r), Parts: figuresOf(&r.Totals), Missed: report.Missed(&r.Capture, &r.Totals),
		Notes: append(r.Notes(), r.Undecided...), Explained: r.Explained, Lengths: lengthsOf(&r.Totals), Health: details{"What the capture got, and what it missed", health(r)},
	}
	f.JSON = "/report.json"
	if n := &r.Capture; !n.FirstPacket.IsZero() && c.Window == "" {
		f.For = seconds(n.LastPacket.Sub(n.FirstPacket).Seconds())
	}
	if l := n.lately(c); l != nil {
		f.Parts = latelyOf(&l.Total)
	}
	if p := &f.Parts[0]; p.Effectiveness != nil {
		f.Title += " · " + p.Mark() + percent(p.Effectiveness)
	}
	f.Causes = causes(f.Parts)
	f.Table = n.table(c)
	for i := range r.Findings {
		f.Findings = append(f.Findings, n.finding(&r.Findings[i], c))
	}
	f.Advice = "What to change"
	// Such findings are about the totals, and the only ones.
	if len(r.Findings) > 0 && (r.Findings[0].Severity == findings.OK || r.Findings[0].Code == "nothing_stands_out") {
		f.Advice = "In short"
	}
	if len(r.Findings) == 0 && r.Totals.Connections > 0 {
		f.TooLittle = report.TooLittle()
	}
	return f
}

// empty says why there is nothing to show, "" where there is.
func empty(r *report.Report) string {
	c := &r.Capture
	switch {
	case r.Totals.Connections > 0:
		return ""
	case c.Packets == 0:
		return "No packet was seen yet."
	}
	text := tied(prose.Plural(c.Packets, "packet")) + " seen, and no TCP connection among them"
	for i, port := range c.Ports {
		text += []string{" on port ", ", "}[min(i, 1)] + strconv.Itoa(int(port))
	}
	if c.Filter != "" {
		text += " that is analysed, by the filter " + c.Filter
	}
	return text + "."
}

// A finding is one with what the page shows of its servers.
type finding struct {
	*findings.Finding
	Worst   *findings.OnServer
	Servers []foundOn
	Quiet   string // that its servers did well in the window
	Alone   bool   // on the page of the server that it is about
}

// foundOn is what a finding rests on at one server, with where that leads.
type foundOn struct {
	*findings.OnServer
	Link    string
	Drawing link // of a connection that shows it, or of the server's; no Name for none
}

// maxFoundOn is how many servers of a finding are listed.
const maxFoundOn = 20

func (n *seen) finding(f *findings.Finding, c choice) finding {
	shown := finding{Finding: f, Worst: &findings.OnServer{}}
	lately, quiet := n.lately(c), false
	for i := range f.Servers {
		o := &f.Servers[i]
		on := foundOn{OnServer: o}
		if s := n.servers[o.Server]; s != nil {
			on.Link = c.at(serverPath(o.Server))
			if slices.ContainsFunc(s.Members, func(m naming.Server) bool { return n.lost[m] }) {
				on.Drawing = link{Name: "its connections, drawn", Address: on.Link + "#connections"}
			}
			if lately != nil {
				quiet = quiet || i == 0
				quiet = quiet && lostNothing(n.figures(s, c))
			}
		} else {
			quiet = false
		}
		if n.drawn[o.Example] {
			on.Drawing = link{Name: "a connection that shows it", Address: "/connection/" + o.Example}
		}
		if len(shown.Servers) < maxFoundOn {
			shown.Servers = append(shown.Servers, on)
		}
	}
	if len(f.Servers) > 0 {
		shown.Worst = &f.Servers[0]
	}
	if quiet && f.Severity != findings.OK {
		shown.Quiet = "Since " + lately.Since.UTC().Format(time.TimeOnly) + " UTC nothing was wasted or failed there."
	}
	return shown
}

// Further is how many servers a finding is about beside the worst.
func (f *finding) Further() int { return max(len(f.Finding.Servers)-1, 0) }

// Unlisted is how many of them are not listed.
func (f *finding) Unlisted() int { return len(f.Finding.Servers) - len(f.Servers) }

func lostNothing(parts []figures) bool {
	return !slices.ContainsFunc(parts, func(f figures) bool { return f.Wasted+f.Failed+f.Races > 0 })
}

// figures are those of a server in the window of a choice.
func (n *seen) figures(s *report.Server, c choice) []figures {
	l := n.lately(c)
	if l == nil {
		return figuresOf(&s.Summary)
	}
	if len(s.Members) == 0 {
		return latelyOf(&l.Other)
	}
	var sum tally.Counts
	for _, m := range s.Members {
		if grown := l.Servers[m]; grown != nil {
			sum.Add(grown)
		}
	}
	return latelyOf(&sum)
}

// A table has the servers that a filter leaves, a page of them.
type table struct {
	choice
	Columns []column
	Rows    []row
	All     uint64 // servers that there are
	Found   uint64 // that the filter leaves
	From    int    // the first that is shown, from 1 on
	To      int
	Pages   []link // to the page before, and to the one after
}

// A row is one kind of a server's figures.
type row struct {
	figures
	Name    string
	Link    string
	ID      string // in the page
	Further bool   // of the server of the row above
	Mean    string
	Timeout string
}

// A column can be sorted by. Its order puts first what is looked for.
type column struct {
	Name, Title string
	Number      bool
	Link        string
	Order       string // "ascending", "descending" or ""
	by          func(a, b *listed) int
}

// A listed is a server with the figures that it is sorted by: those of its parts
// together, which are shown nowhere.
type listed struct {
	*report.Server
	parts []figures
	sum   figures
}

// columnNames are the columns in their order.
var columnNames = []string{"server", "effectiveness", "requests", "connections", "mean", "wasted", "time", "failed", "timeout"}

var columns = map[string]column{
	"server": {Title: "server", by: func(a, b *listed) int { return cmp.Compare(a.Name, b.Name) }},
	"effectiveness": {Title: "effectiveness", by: func(a, b *listed) int {
		return cmp.Compare(orMore(a.sum.Effectiveness), orMore(b.sum.Effectiveness))
	}},
	"requests":    {Title: "requests", Number: true, by: func(a, b *listed) int { return cmp.Compare(b.sum.Requests, a.sum.Requests) }},
	"connections": {Title: "connections", Number: true, by: func(a, b *listed) int { return cmp.Compare(b.sum.Connections, a.sum.Connections) }},
	"mean": {Title: "per connection", Number: true, by: func(a, b *listed) int {
		return cmp.Compare(orMore(a.sum.Mean), orMore(b.sum.Mean))
	}},
	"wasted": {Title: "wasted", Number: true, by: func(a, b *listed) int { return cmp.Compare(b.sum.Wasted, a.sum.Wasted) }},
	"time":   {Title: "time", Number: true, by: func(a, b *listed) int { return cmp.Compare(b.sum.Seconds, a.sum.Seconds) }},
	"failed": {Title: "failed", Number: true, by: func(a, b *listed) int { return cmp.Compare(b.sum.Failed, a.sum.Failed) }},
	"timeout": {Title: "idle timeout", by: func(a, b *listed) int {
		return cmp.Compare(orMore(timeoutOf(a.Server)), orMore(timeoutOf(b.Server)))
	}},
}

// defaultColumn is sorted by where a visitor chose none.
const defaultColumn = "time"

// orMore puts what has no value behind what has one.
func orMore(v *float64) float64 {
	if v == nil {
		return 1e300
	}
	return *v
}

// table lists the servers.
func (n *seen) table(c choice) table {
	t := table{choice: c, All: uint64(len(n.Report.Servers))}
	var list []*listed
	words := strings.Fields(strings.ToLower(c.Filter))
	for i := range n.Report.Servers {
		s := &n.Report.Servers[i]
		if !named(s, words) {
			continue
		}
		l := &listed{Server: s, parts: n.figures(s, c)}
		l.sum = l.parts[0]
		for _, p := range l.parts[1:] {
			l.sum.Requests, l.sum.Connections = l.sum.Requests+p.Requests, l.sum.Connections+p.Connections
			l.sum.Wasted, l.sum.Seconds, l.sum.Failed = l.sum.Wasted+p.Wasted, l.sum.Seconds+p.Seconds, l.sum.Failed+p.Failed
		}
		list = append(list, l)
	}
	t.Found = uint64(len(list))
	by, reversed := strings.CutPrefix(cmp.Or(c.Sort, defaultColumn), "-")
	sortBy := columns[by].by
	slices.SortStableFunc(list, func(a, b *listed) int {
		order := sortBy(a, b)
		if reversed {
			order = -order
		}
		return cmp.Or(order, columns["wasted"].by(a, b), columns["requests"].by(a, b), cmp.Compare(a.Name, b.Name))
	})
	pages := max((len(list)+maxServers-1)/maxServers, 1)
	c.Page = min(c.Page, pages)
	from := (c.Page - 1) * maxServers
	shown := list[from:min(from+maxServers, len(list))]
	t.From, t.To = from+1, from+len(shown)
	for _, l := range shown {
		t.Rows = append(t.Rows, l.rows(c)...)
	}
	for _, name := range columnNames {
		t.Columns = append(t.Columns, heading(name, by, reversed, c))
	}
	if pages > 1 {
		before, after := c, c
		before.Page, after.Page = c.Page-1, c.Page+1
		t.Pages = []link{{"Previous", before.String(), c.Page == 1}, {"Next", after.String(), c.Page == pages}}
	}
	return t
}

// heading is a column with where a click on it leads: to its order, and from there to
// the other direction.
func heading(name, by string, reversed bool, c choice) column {
	col := columns[name]
	col.Name = name
	c.Page, c.Sort = 1, name
	if name == by {
		col.Order = "descending"
		if (name == "server" || name == "effectiveness" || name == "mean" || name == "timeout") != reversed {
			col.Order = "ascending"
		}
		if !reversed {
			c.Sort = "-" + name
		}
	}
	if c.Sort == defaultColumn {
		c.Sort = ""
	}
	col.Link = c.String()
	return col
}

// named says whether a server's name or one of its addresses has each of the words.
func named(s *report.Server, words []string) bool {
	for _, w := range words {
		if !strings.Contains(strings.ToLower(s.Name), w) &&
			!slices.ContainsFunc(s.Addresses, func(a string) bool { return strings.Contains(a, w) }) {
			return false
		}
	}
	return true
}

// rows are the figures of a server, those that were estimated under those that
// were counted.
func (l *listed) rows(c choice) (list []row) {
	for i := range l.parts {
		p := &l.parts[i]
		out := row{figures: *p, Name: l.Name, Link: c.at(serverPath(l.Name)), ID: fmt.Sprintf("s%d-%s", i, url.PathEscape(l.Name)), Further: i > 0, Mean: "–"}
		if p.Mean != nil {
			out.Mean = p.Mark() + mean(p.Mean)
		}
		if i == 0 { // connections idle alike
			out.Timeout = timeout(l.Server)
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

func timeoutOf(s *report.Server) *float64 {
	return cmp.Or(s.Idle.ObservedTimeout.Server, s.Idle.ObservedTimeout.Client)
}

// health tells what the capture got and what it missed.
func health(r *report.Report) []detail {
	c, t := &r.Capture, &r.Totals
	list := []detail{
		{"packets captured", count(c.Packets), false},
		{"captured", byteCount(c.Bytes), false},
	}
	missed := func(name string, n uint64, text func(uint64) string) {
		list = append(list, detail{name, text(n), n > 0})
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
	list = append(list, detail{"segments out of order", count(c.Reassembly.OutOfOrderSegments), false})
	for _, l := range r.Limits {
		list = append(list, detail{"beyond the cap on " + strings.ReplaceAll(l.Name, "_", " "), count(l.Count), false})
	}
	return list
}
