package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

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

// front answers with all that was counted.
func (s *Site) front(w http.ResponseWriter, r *http.Request) {
	page(w, r, http.StatusOK, "front.html", s.now().front(choiceOf(r.URL)))
}

func (n *seen) front(c choice) *front {
	r := n.Report
	f := &front{
		shell: n.shellOf(c, "Keepscope"), Source: strings.Join(slices.Concat(r.Capture.Interfaces, r.Capture.Files), ", "),
		Empty: empty(r), Parts: n.figures("", &r.Totals, c), Missed: report.Missed(&r.Capture, &r.Totals),
		Notes: append(r.Notes(), r.Undecided...), Explained: r.Explained, Lengths: lengthsOf(&r.Totals), Health: details{"What the capture got, and what it missed", health(r)},
	}
	f.JSON = "/report.json"
	if n := &r.Capture; !n.FirstPacket.IsZero() && c.Window == "" {
		f.For = seconds(n.LastPacket.Sub(n.FirstPacket).Seconds())
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
