package screen

import (
	"strings"
	"time"

	"charm.land/bubbles/v2/help"
	"charm.land/bubbles/v2/textinput"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/keepscope/keepscope/exporter/prose"
)

// The styles are of the terminal's own 16 colours.
var (
	plain   = lipgloss.NewStyle()
	bold    = plain.Bold(true)
	faint   = plain.Faint(true)
	reverse = plain.Reverse(true)
	red     = plain.Foreground(lipgloss.Red)
	yellow  = plain.Foreground(lipgloss.Yellow)
	green   = plain.Foreground(lipgloss.Green)
	blue    = plain.Foreground(lipgloss.Blue)
)

// grade is the report's colour of an effectiveness.
func grade(v float64) lipgloss.Style {
	switch {
	case v >= 0.9:
		return green
	case v >= 0.5:
		return yellow
	}
	return red
}

// cut shortens a line to a width, its colours aside.
func cut(line string, width int) string {
	return ansi.Truncate(line, max(width, 0), "…")
}

// wrapped breaks text into at most so many lines, the last of which is cut.
func wrapped(text string, width, most int) []string {
	lines := prose.Wrap(text, max(width, 1))
	if len(lines) > most {
		lines = append(lines[:most-1], cut(strings.Join(lines[most-1:], " "), width))
	}
	return lines
}

// rule is a line that parts the screen, with a title.
func rule(title string, width int) string {
	title = cut(title, max(width-6, 1))
	return faint.Render("── ") + bold.Render(title) + faint.Render(" "+strings.Repeat("─", max(width-4-lipgloss.Width(title), 0)))
}

func newHelp() help.Model {
	h := help.New()
	h.ShortSeparator = "  "
	h.Styles = help.Styles{ShortKey: bold, ShortDesc: faint, Ellipsis: faint, FullKey: bold}
	return h
}

func newFilter() textinput.Model {
	t := textinput.New()
	t.Prompt = "/"
	t.KeyMap.Paste.SetEnabled(false) // it starts a program to look at the clipboard; terminals paste themselves
	t.CharLimit = maxFilter
	t.SetStyles(textinput.Styles{
		Focused: textinput.StyleState{Prompt: bold, Placeholder: faint},
		Blurred: textinput.StyleState{Prompt: faint},
		Cursor:  textinput.CursorStyle{BlinkSpeed: time.Second},
	})
	return t
}
