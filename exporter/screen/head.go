package screen

import (
	"fmt"
	"strings"
	"time"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
)

// windowText says which window the figures are of.
func windowText(w history.Window) string {
	switch w {
	case history.Minute:
		return "last minute"
	case history.FiveMinutes:
		return "last 5 minutes"
	case history.Hour:
		return "last hour"
	}
	return "since start"
}

// seconds is how long the window is, by the figures shown.
func (m *Model) seconds() float64 {
	begin := m.start
	if m.window < history.NumWindows {
		if t := m.history.Begin(m.window); t.After(begin) {
			begin = t
		}
	}
	return m.now.at.Sub(begin).Seconds()
}

// head returns the lines above a table: what is captured, how it goes, and what the
// figures rest on.
func (m *Model) head(height int) []string {
	lines := []string{m.headline()}
	if m.at == atServers && len(m.texts) == 0 {
		lines = append(lines, m.totals(height)...)
	}
	lines = append(lines, m.honesty()...)
	return lines[:min(len(lines), max(height-3, 1))]
}

// totals say how it goes in all: the lower the screen, the less of it.
func (m *Model) totals(height int) (lines []string) {
	const roomy, low = 29, 19
	parts := m.now.Totals.Parts()
	for i := range parts {
		lines = append(lines, m.effect(&parts[i]))
	}
	if height < low {
		return lines
	}
	for i := range parts {
		if text := parts[i].FailedText(); text != "" {
			lines = append(lines, red.Render(text))
		}
	}
	most := 1
	if height >= roomy {
		most = 2
	}
	if text := m.now.Totals.ProbesText(); text != "" {
		lines = append(lines, wrapped(text, m.width, most)...)
	}
	if height >= roomy && parts[len(parts)-1].IsEstimated {
		lines = append(lines, faint.Render("~ encrypted, estimated from the pattern of its records once a connection ended"))
	}
	return lines
}

// headline says what is captured, and for how long.
func (m *Model) headline() string {
	n := &m.now
	up := n.at.Sub(m.start)
	text := fmt.Sprintf("keepscope · %s · %s", m.title, up.Round(time.Second))
	switch {
	case m.stopping:
		return bold.Render(text) + reverse.Render(" finishing; again to quit at once ")
	case m.paused:
		return bold.Render(text+" ") + reverse.Render(fmt.Sprintf(" PAUSED, %s behind ", m.latest.Sub(n.at).Round(time.Second)))
	}
	if up > 0 {
		text += fmt.Sprintf(" · %s (%.0f/s)", prose.Plural(n.Capture.Packets, "packet"), float64(n.Capture.Packets)/up.Seconds())
	}
	if n.Capture.Dropped.Total() == 0 {
		text += ", none dropped"
	}
	return bold.Render(text + " · " + prose.Plural(n.Totals.Open, "open connection"))
}

// effect says how well connections are reused, in the window.
func (m *Model) effect(p *report.Part) string {
	k := history.Key{Estimated: p.IsEstimated}
	c := history.Of(p)
	if m.window < history.NumWindows {
		c = m.history.Since(m.window, k, c)
	}
	mark := p.Mark()
	window := ""
	if m.window < history.NumWindows {
		window = windowText(m.window) + ": "
	}
	head := faint.Render("effectiveness –")
	if v := c.Effectiveness(); v != nil {
		head = grade(*v).Bold(true).Render("effectiveness " + mark + prose.Percent(*v))
	}
	text := fmt.Sprintf("  %s, %s%s wasted, %s", mark+prose.Plural(c.Requests, "request"), mark, prose.Plural(c.Wasted, "handshake"), mark+prose.Seconds(c.Seconds))
	if top := c.TopCause(); top != "" {
		text += ", mostly " + mark + top
	}
	return window + head + text
}

// honesty says what the figures rest on: what was missed, and which caps were met.
func (m *Model) honesty() (lines []string) {
	if missed := report.Missed(&m.now.Capture, &m.now.Totals); len(missed) > 0 {
		text, s := "! The capture is not whole: "+strings.Join(missed, ", ")+".", yellow
		if m.now.Capture.Dropped.Total() > 0 {
			text += " Try a larger --buffer-size, a --filter, or --workers."
			s = red.Bold(true)
		}
		for _, l := range wrapped(text, m.width, 2) {
			lines = append(lines, s.Render(l))
		}
	}
	if met := m.now.Limits; len(met) > 0 {
		var names []string
		for _, l := range met {
			names = append(names, l.Name+" "+prose.Count(l.Count))
		}
		lines = append(lines, faint.Render("Caps that were met: "+strings.Join(names, ", ")+"."))
	}
	return lines
}
