package findings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/exporter/prose"
)

// A Style says what a line of text is.
type Style uint8

// The styles.
const (
	Plain Style = iota
	StyleCritical
	StyleWarning
	StyleInfo
	StyleOK
	Dim
)

var styles = map[Severity]Style{Critical: StyleCritical, Warning: StyleWarning, Info: StyleInfo, OK: StyleOK}

// A Line is a line of text: what leads it in, and what it says, in its style.
type Line struct {
	Lead, Text string
	Style      Style
}

// Whole is how many findings are told whole unless all are asked for.
const Whole = 3

const (
	maxNames  = 3  // of servers and clients in a line
	maxName   = 48 // runes
	narrowest = 24 // columns of text beside what leads in
)

// Text writes findings in lines of at most width columns: the first whole ones with
// all their advice, of the others one line each.
func Text(list []Finding, width, whole int) (lines []Line) {
	for i := range list {
		f := &list[i]
		if i >= whole {
			lines = append(lines, f.line(i+1, width))
			continue
		}
		lines = append(lines, f.whole(i+1, width)...)
	}
	return lines
}

// First says what to change first, in a line or two: where, what is wrong, and the first
// sentence of the advice. It is empty where nothing is worth a warning.
func First(list []Finding) string {
	i := slices.IndexFunc(list, func(f Finding) bool { return ranks[f.Severity] <= ranks[Warning] })
	if i < 0 {
		return ""
	}
	f := &list[i]
	where, what, worst := "", strings.TrimPrefix(f.Summary, estimatedLead), &f.Servers[0]
	if many, rest, ok := strings.Cut(what, togetherLead); ok {
		where, what = many+togetherLead, rest
	} else if worst.Server != "" {
		where = prose.Shorten(worst.Server, maxName) + ": "
	}
	text := where + clause(what)
	if worst.Estimated {
		text += " (estimated)"
	}
	if f.Advice == "" {
		return text + "."
	}
	set, _, _ := strings.Cut(strings.ReplaceAll(f.Advice, "`", ""), ". ")
	return text + " → " + begun(strings.TrimSuffix(set, "."))
}

// maxAdvice is how many bytes of advice stand in the head of a report.
const maxAdvice = 110

// begun is a sentence, of a long one the clauses that fit.
func begun(sentence string) string {
	if len(sentence) <= maxAdvice {
		return sentence + "."
	}
	text := sentence[:strings.LastIndexByte(sentence[:maxAdvice], ' ')]
	if end := strings.LastIndexAny(text, ":;,"); end > 0 {
		text = text[:end]
	}
	if open := strings.LastIndex(text, " ("); open > strings.LastIndexByte(text, ')') {
		text = text[:open]
	}
	return text + " …"
}

// clause is a sentence up to its first colon or semicolon outside quotation marks.
func clause(sentence string) string {
	quoted := false
	for i, r := range sentence {
		switch {
		case r == '“' || r == '”':
			quoted = r == '“'
		case !quoted && (strings.HasPrefix(sentence[i:], ": ") || strings.HasPrefix(sentence[i:], "; ")):
			return sentence[:i]
		}
	}
	return strings.TrimSuffix(sentence, ".")
}

// line tells a finding in one line.
func (f *Finding) line(number, width int) Line {
	lead := fmt.Sprintf("%d. ", number)
	return Line{lead, cut(f.brief(), max(width-len(lead), narrowest)), styles[f.Severity]}
}

// brief is a finding's code, where it holds, and what it lost.
func (f *Finding) brief() string {
	text := f.Code
	if where := f.where(); where != "" {
		text += ", " + where
	}
	if lost := f.lost(); lost != "" {
		text += ": " + lost
	}
	return text
}

// whole tells a finding with its advice, who has the habit, and one example.
func (f *Finding) whole(number, width int) (lines []Line) {
	text := f.Summary
	worst := &f.Servers[0]
	if worst.Server != "" {
		text = prose.Shorten(worst.Server, maxName) + ": " + text
	}
	lines = wrap(lines, fmt.Sprintf("%d. ", number), text, width, styles[f.Severity])
	if others := f.others(); others != "" {
		lines = wrap(lines, "   ", others, width, Plain)
	}
	if f.Advice != "" && f.Severity != OK {
		lines = wrap(lines, "   → ", strings.ReplaceAll(f.Advice, "`", ""), width, Dim)
	}
	if by := worst.clients(); by != "" {
		lines = wrap(lines, "   by ", by, width, Dim)
	}
	if worst.DisplayFilter != "" {
		lines = wrap(lines, "   e.g. ", worst.Example+" "+worst.DisplayFilter, width, Dim)
	}
	return lines
}

func wrap(lines []Line, lead, text string, width int, style Style) []Line {
	n := len([]rune(lead))
	for _, l := range prose.Wrap(text, max(width-n, narrowest)) {
		lines = append(lines, Line{lead, l, style})
		lead = strings.Repeat(" ", n)
	}
	return lines
}

// where names the worst server, and how many others there are.
func (f *Finding) where() string {
	name := prose.Shorten(f.Servers[0].Server, maxName)
	switch n := len(f.Servers) - 1; {
	case n == 0:
		return name
	case name == "":
		return prose.Plural(uint64(n+1), "server")
	default:
		return fmt.Sprintf("%s and %d more", name, n)
	}
}

// others names the other servers of a finding, with what they lost.
func (f *Finding) others() string {
	if len(f.Servers) < 2 {
		return ""
	}
	var names []string
	for i := range f.Servers[1:] {
		on := &f.Servers[i+1]
		if len(names) == maxNames {
			names = append(names, fmt.Sprintf("%d more", len(f.Servers)-1-maxNames))
			break
		}
		name := on.Server
		if name == "" {
			name = "others together"
		}
		text := prose.Shorten(name, maxName)
		if lost := on.hit.lost(); lost != "" {
			text += " (" + lost + ")"
		}
		names = append(names, text)
	}
	return "Also: " + strings.Join(names, ", ") + "."
}

// lost tells what all servers of a finding lost.
func (f *Finding) lost() string {
	sum := hit{failed: f.Failed, loss: Loss{N: f.Wasted}}
	for i := range f.Servers {
		sum.loss.Seconds += f.Servers[i].hit.loss.Seconds
	}
	return sum.lost()
}

func (h *hit) lost() string {
	var parts []string
	if h.failed > 0 {
		parts = append(parts, prose.Plural(h.failed, "failed request"))
	}
	if h.loss.N > 0 {
		parts = append(parts, fmt.Sprintf("%s wasted", prose.Count(h.loss.N)))
	}
	if h.loss.Seconds > 0 {
		parts = append(parts, prose.Seconds(h.loss.Seconds))
	}
	return strings.Join(parts, ", ")
}

// clients names who has the habit, worst first.
func (o *OnServer) clients() string {
	var names []string
	for i, c := range o.Clients {
		if i == maxNames {
			names = append(names, fmt.Sprintf("%d more", len(o.Clients)-maxNames))
			break
		}
		text := c.Address
		if c.Software != "" {
			text += " (" + c.Software + ")"
		}
		text += ": " + prose.Count(c.Count)
		if c.Several {
			text += ", which may be several clients"
		}
		names = append(names, text)
	}
	return strings.Join(names, "; ")
}

// cut shortens a line at its end.
func cut(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	return strings.TrimRight(string(r[:width-1]), " ,:;(") + "…"
}
