package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// detailHeight is how many of a screen's lines say something about the selected row.
func detailHeight(height int) int {
	if height < 14 {
		return 0
	}
	return min(max(height/4, 4), 16)
}

// detail says what there is to say about the selected server, as far as there is room.
func (m *Model) detail(height int) []string {
	r := m.servers.selected()
	if r == nil {
		return nil
	}
	return fitted(r.name(), m.about(r, m.width, false), m.width, height)
}

// fitted are lines under a title, as many as there is room for.
func fitted(title string, lines []string, width, height int) []string {
	lines = append([]string{rule(title, width)}, lines...)
	if len(lines) > height {
		lines = lines[:height]
		const more = " … a: all"
		lines[height-1] = ansi.Truncate(lines[height-1], max(width-len([]rune(more)), 0), "") + faint.Render(more)
	}
	return lines
}

// about says what there is to say about a server: its name and addresses, what wasted
// its handshakes, and what to change.
func (m *Model) about(r *serverRow, width int, whole bool) (lines []string) {
	name := r.name()
	if whole || lipgloss.Width(name) > width-6 {
		for rest := []rune(name); len(rest) > 0; {
			n := min(len(rest), width)
			lines = append(lines, bold.Render(string(rest[:n])))
			rest = rest[n:]
		}
	}
	if at := addresses(r.server); at != "" && (whole || m.height >= 20) {
		lines = append(lines, faint.Render(cut("at "+at, width)))
	}
	if text := causes(r); text != "" {
		lines = append(lines, wrapped(text+", "+windowText(m.window)+".", width, 2)...)
	}
	return append(lines, m.advice(r, width)...)
}

// addresses are those of a server, unless it is called by its only one.
func addresses(s *report.Server) string {
	if len(s.Addresses) == 0 || len(s.Addresses) == 1 && s.Addresses[0] == s.Name {
		return ""
	}
	text := strings.Join(s.Addresses, ", ")
	if more := s.AddressCount - len(s.Addresses); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// causes says what wasted handshakes, most first.
func causes(r *serverRow) string {
	list := slices.Clone(r.Causes)
	slices.SortStableFunc(list, func(a, b history.Cause) int { return cmp.Compare(b.N, a.N) })
	var parts []string
	for _, c := range list {
		parts = append(parts, r.mark()+prose.Count(c.N)+" "+c.Name)
	}
	if parts == nil {
		return ""
	}
	return "Wasted: " + strings.Join(parts, ", ")
}

// advice says what to change about a server. Where there is nothing it says so, and what
// several servers have together.
func (m *Model) advice(r *serverRow, width int) (lines []string) {
	list := m.findings(r.key.Server)
	if len(list) == 0 {
		text := "Nothing to change stands out here."
		if r.server.Requests < findings.MinRequests {
			text = report.TooLittle()
		}
		lines = append(lines, faint.Render(cut(text, width)))
		list = m.findings("")
	}
	if m.window < history.NumWindows && len(list) > 0 {
		lines = append(lines, faint.Render("Since start:"))
	}
	for _, l := range findings.Text(list, width, len(list)) {
		lines = append(lines, faint.Render(l.Lead)+styleOf(l.Style).Render(printable.Text(l.Text)))
	}
	return lines
}

// findings are those about a server; about several together without a name.
func (m *Model) findings(server string) (list []findings.Finding) {
	for i := range m.now.Findings {
		if f, ok := m.now.Findings[i].On(server); ok {
			f.Servers[0].Server = "" // the title says it
			list = append(list, f)
		}
	}
	return list
}

func styleOf(s findings.Style) lipgloss.Style {
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
		return faint
	default:
		return plain
	}
}

// openAdvice shows all that there is to say about the selected server.
func (m *Model) openAdvice() {
	r := m.servers.selected()
	if r == nil {
		return
	}
	row := *r
	m.openText("ADVICE", func(width int) string {
		return strings.Join(m.about(&row, width, true), "\n")
	})
}
