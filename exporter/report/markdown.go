package report

import (
	"io"
	"strings"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// maxMarkdownRows is how many servers a ticket is told of.
const maxMarkdownRows = 20

// WriteMarkdown writes the report to be pasted into a ticket: tables, lists and code
// spans as CommonMark and GitHub have them. Of the options only Findings counts.
func (r *Report) WriteMarkdown(w io.Writer, o TextOptions) error {
	d := document{}
	c, t := &r.Capture, &r.Totals
	d.add("## " + title(t))
	from := prose.MarkdownCode(printable.Text(c.name()))
	d.add(strings.Join(append([]string{from}, c.facts()...), " · "), prose.Markdown(c.Chosen()))
	var said []string
	for _, s := range headline(r) {
		text := prose.Markdown(s.text)
		if s.strong != "" {
			text = "**" + prose.Markdown(s.strong) + "**" + text
		}
		said = append(said, text)
	}
	d.add(said...)
	if m := Missed(c, t); len(m) > 0 {
		d.add("> **The capture is not whole**: " + prose.Markdown(strings.Join(m, ", ")) + ".")
	}
	if t.Connections > 0 {
		d.servers(r.Servers)
		d.causes(t)
		d.list(append(r.Notes(), r.Undecided...))
	}
	switch {
	case len(r.Findings) > 0 || len(r.Explained) > 0:
		d.add("### What to change")
		d.add(findings.MarkdownExplained(r.Explained))
		d.add(findings.Markdown(r.Findings, wholeFindings(r, o.Findings)))
	case t.Connections > 0:
		d.add(TooLittle())
	}
	_, err := io.WriteString(w, d.String())
	return err
}

// title is the figure that matters most.
func title(t *Summary) string {
	q := t.Parts()[0]
	if q.Effectiveness == nil {
		return "HTTP keep-alive"
	}
	return "HTTP keep-alive: effectiveness " + q.Mark() + prose.Percent(*q.Effectiveness)
}

// A document collects blocks of Markdown.
type document struct{ strings.Builder }

// add writes a block of lines; empty ones are left out.
func (d *document) add(lines ...string) {
	block := ""
	for _, l := range lines {
		if l = strings.TrimRight(l, "\n"); l != "" {
			block += l + "\n"
		}
	}
	if block == "" {
		return
	}
	if d.Len() > 0 {
		d.WriteByte('\n')
	}
	d.WriteString(block)
}

func (d *document) list(items []string) {
	lines := make([]string, 0, len(items))
	for _, i := range items {
		lines = append(lines, "- "+prose.Markdown(i))
	}
	d.add(lines...)
}

func (d *document) servers(list []Server) {
	rows := [][]string{{"Server", "Connections", "Requests", "Requests/connection", "Effectiveness", "Wasted", "Mostly because"}}
	for i := range list[:min(len(list), maxMarkdownRows)] {
		for j, q := range list[i].Parts() {
			name := prose.MarkdownCode(printable.Text(list[i].Name))
			if j > 0 {
				name = "encrypted, estimated"
			}
			effect, per, cause := q.figures()
			rows = append(rows, append([]string{name}, cells(prose.Count(q.Connections), q.Mark()+prose.Count(q.Requests), per, effect, q.Mark()+prose.Count(q.Wasted.Total), cause)...))
		}
	}
	d.add(prose.MarkdownTable([]bool{false, true, true, true, true, true, false}, rows))
	if more := len(list) - maxMarkdownRows; more > 0 {
		d.add("And " + prose.Plural(uint64(more), "more server") + ".")
	}
}

func (d *document) causes(t *Summary) {
	rows := [][]string{{"Wasted by", "Handshakes", "Time"}}
	for _, q := range t.Parts() {
		for _, c := range q.causes() {
			rows = append(rows, cells(c.name, c.mark+prose.Count(c.n), c.mark+prose.Seconds(c.seconds)))
		}
	}
	if len(rows) > 1 {
		d.add(prose.MarkdownTable([]bool{false, true, true}, rows))
	}
}

// cells are those of texts.
func cells(texts ...string) []string {
	for i := range texts {
		texts[i] = prose.Markdown(texts[i])
	}
	return texts
}

// WriteMarkdown writes the comparison to be pasted into a ticket.
func (c *Comparison) WriteMarkdown(w io.Writer) error {
	d := document{}
	d.add("**" + prose.Markdown(c.Verdict) + "**")
	for _, text := range c.Warnings {
		d.add("> " + prose.Markdown(text))
	}
	rows := [][]string{{"All servers", "Before", "After", ""}}
	for _, l := range compared(c.Totals) {
		name := l.name
		if l.estimated {
			name += " (estimated)"
		}
		rows = append(rows, cells(name, l.before, l.after, l.judgement()))
	}
	right := []bool{false, true, true, false}
	d.add(prose.MarkdownTable(right, rows))
	if len(c.Servers) > 1 {
		rows := [][]string{{"Server", "Effectiveness", "Wasted/1000 requests", ""}}
		for i := range c.Servers[:min(len(c.Servers), maxCompared)] {
			s := &c.Servers[i]
			effect, waste, judged := s.figures()
			rows = append(rows, append([]string{prose.MarkdownCode(printable.Text(s.Name))}, cells(effect, waste, judged.judgement())...))
		}
		d.add(prose.MarkdownTable(right, rows))
	}
	_, err := io.WriteString(w, d.String())
	return err
}
