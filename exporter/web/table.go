package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/exporter/report"
)

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
		l := &listed{Server: s, parts: n.figures(s.Name, &s.Summary, c)}
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
