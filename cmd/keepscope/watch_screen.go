package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// screenEvery is how often the screen shows new figures.
const screenEvery = time.Second

// screen shows the live table until the pipeline is done.
func (s *session) screen(in, out *os.File, done <-chan error) error {
	m := &screen{session: s, done: done, width: 80, height: 24}
	m.now = s.snapshot()
	m.last = m.now
	// Signals are the program's: they end the capture, and that the screen.
	p := tea.NewProgram(m, tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	if _, err := p.Run(); err != nil {
		s.stop()
		if !m.ended {
			m.err = <-done
		}
		return cmp.Or(m.err, err)
	}
	if !m.ended { // told to quit twice
		os.Exit(exitFailed)
	}
	return m.err
}

// A screen is the live view: a tea.Model.
type screen struct {
	session       *session
	done          <-chan error
	now, last     snapshot
	width, height int
	order         int  // index in columns
	turned        bool // sorted the other way round
	paused        bool
	offset        int // first server shown
	stopping      bool
	ended         bool
	err           error
}

type (
	tickMsg time.Time
	doneMsg struct{ err error }
)

// Init implements tea.Model.
func (m *screen) Init() tea.Cmd {
	return tea.Batch(m.tick(), func() tea.Msg { return doneMsg{<-m.done} })
}

// tick takes the next snapshot in time.
func (m *screen) tick() tea.Cmd {
	return tea.Tick(screenEvery, func(t time.Time) tea.Msg { return tickMsg(t) })
}

// Update implements tea.Model.
func (m *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case doneMsg:
		m.ended, m.err = true, msg.err
		return m, tea.Quit
	case tickMsg:
		take := func() tea.Msg { return m.session.snapshot() }
		return m, tea.Batch(take, m.tick())
	case snapshot:
		if !m.paused {
			m.last, m.now = m.now, msg
		}
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *screen) key(k string) tea.Cmd {
	switch k {
	case "q", "ctrl+c", "esc":
		if m.stopping {
			return tea.Quit
		}
		m.stopping = true
		m.session.stop()
	case "p", "space":
		m.paused = !m.paused
	case "s", "right", "tab":
		m.order = (m.order + 1) % len(columns)
	case "S", "left", "shift+tab":
		m.order = (m.order + len(columns) - 1) % len(columns)
	case "r":
		m.turned = !m.turned
	case "down", "j":
		m.offset++
	case "up", "k":
		m.offset--
	case "pgdown":
		m.offset += m.rows()
	case "pgup":
		m.offset -= m.rows()
	case "home", "g":
		m.offset = 0
	default:
		for i, c := range columns {
			if k == c.key {
				m.order, m.turned = i, false
			}
		}
	}
	m.offset = max(min(m.offset, len(m.sorted())-1), 0)
	return nil
}

// A watched is one kind of a server's figures.
type watched struct {
	name string
	report.Part
}

// A column is a figure of each server.
type column struct {
	key, title string
	width      int
	// value is what is sorted by, most first; text is what is shown, behind the
	// mark where the figure may be an estimate.
	value  func(now, last *watched, seconds float64) float64
	text   func(value float64) string
	marked bool
}

var columns = []column{
	{"w", "WASTED", 9, func(n, _ *watched, _ float64) float64 { return float64(n.Wasted.Total) }, countText, true},
	{"W", "/S", 7, func(n, l *watched, s float64) float64 { return perSecond(n.Wasted.Total, l.Wasted.Total, s) }, rateText, true},
	// The worst come first, and those without a value last.
	{"e", "EFFECT.", 9, func(n, _ *watched, _ float64) float64 {
		if v := n.Effectiveness; v != nil {
			return -*v
		}
		return -2
	}, func(v float64) string {
		if v < -1 {
			return "–"
		}
		return prose.Percent(-v)
	}, true},
	{"c", "REQ/CONN", 10, func(n, _ *watched, _ float64) float64 { return n.PerConnection() }, func(v float64) string {
		if v == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f", v)
	}, true},
	{"n", "REQUESTS", 11, func(n, _ *watched, _ float64) float64 { return float64(n.Requests) }, countText, true},
	{"N", "/S", 8, func(n, l *watched, s float64) float64 { return perSecond(n.Requests, l.Requests, s) }, rateText, true},
	{"h", "HANDSH.", 9, func(n, _ *watched, _ float64) float64 { return float64(n.Connections) }, countText, false},
	{"o", "OPEN", 7, func(n, _ *watched, _ float64) float64 { return float64(n.Open) }, countText, false},
}

// figure is what a row shows in a column.
func (c *column) figure(p *watched, value float64) string {
	text := c.text(value)
	if c.marked && text != "–" {
		return p.Mark() + text
	}
	return text
}

func perSecond(now, last uint64, seconds float64) float64 {
	if seconds <= 0 || now < last {
		return 0
	}
	return float64(now-last) / seconds
}

func countText(v float64) string {
	if v >= 1e7 {
		return fmt.Sprintf("%.1fM", v/1e6)
	}
	return fmt.Sprintf("%.0f", v)
}

func rateText(v float64) string {
	if v > 0 && v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return countText(v)
}

const (
	screenFoot = 2
	causeWidth = 22
	// beforeCause is the width of the columns that go before it.
	beforeCause = 36
	nameLeast   = 20
)

// rows is how many servers fit, under the head and the titles.
func (m *screen) rows() int { return max(m.height-len(m.head())-1-screenFoot, 1) }

// View implements tea.Model.
func (m *screen) View() tea.View {
	v := tea.NewView(strings.Join(m.render(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "keepscope"
	return v
}

// render returns the lines of the screen.
func (m *screen) render() []string {
	lines := m.head()
	rows := m.rows()
	shown, nameWidth, cause := m.fit()
	lines = append(lines, m.titles(shown, nameWidth, cause))
	list := m.sorted()
	for i := m.offset; i < min(m.offset+rows, len(list)); i++ {
		lines = append(lines, m.row(&list[i], shown, nameWidth, cause))
	}
	if len(list) == 0 {
		lines = append(lines, sgr("2", "  no connection seen yet"))
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return append(lines[:max(m.height-1, 1)], m.help())
}

// head returns the lines above the table.
func (m *screen) head() []string {
	lines := []string{m.headline()}
	var legend bool
	for _, p := range m.now.Totals.Parts() {
		lines = append(lines, m.effect(&p))
		legend = legend || p.IsEstimated
	}
	if legend {
		lines = append(lines, sgr("2", cut("~ encrypted, estimated from the pattern of its records once a connection ended", m.width)))
	}
	return append(append(lines, m.honesty()...), "")
}

func (m *screen) headline() string {
	n := &m.now
	text := fmt.Sprintf("keepscope · %s · %s", strings.Join(m.session.interfaces(), ","), n.at.Sub(m.session.start).Round(time.Second))
	text += fmt.Sprintf(" · %d packets (%.0f/s) · %d open connections", n.Capture.Packets,
		n.rate(&m.last, func(s *snapshot) uint64 { return s.Capture.Packets }), n.Totals.Open)
	switch {
	case m.stopping:
		text += " · finishing (again to quit at once)"
	case m.paused:
		text += " · PAUSED"
	}
	return sgr("1", cut(text, m.width))
}

func (m *screen) effect(p *report.Part) string {
	text := "effectiveness –"
	color := "2"
	if v := p.Effectiveness; v != nil {
		text = "effectiveness " + p.Mark() + prose.Percent(*v)
		color = effectColor(*v)
	}
	mark := p.Mark()
	rest := fmt.Sprintf("  %s%d requests, %s%d handshakes wasted, %s", mark, p.Requests, mark, p.Wasted.Total, mark+prose.Seconds(p.Wasted.Seconds))
	left := m.width - len([]rune(text))
	if c := p.TopCause(); c != "" && len([]rune(rest))+len(", mostly ")+len(mark+c) <= left {
		rest += ", mostly " + mark + c
	}
	return sgr(color+";1", cut(text, m.width)) + cut(rest, left)
}

// effectColor is the report's.
func effectColor(v float64) string {
	switch {
	case v >= 0.9:
		return "32"
	case v >= 0.5:
		return "33"
	}
	return "31"
}

// honesty says what the figures rest on, in two lines at most.
func (m *screen) honesty() []string {
	missed := report.Missed(&m.now.Capture, &m.now.Totals)
	if len(missed) == 0 {
		return []string{sgr("2", "no packet dropped")}
	}
	text, color := "! The capture is not whole: "+strings.Join(missed, ", ")+".", "33"
	if m.now.Capture.Dropped.Total() > 0 {
		text += " Try a larger --buffer-size, a --filter, or --workers."
		color = "31;1"
	}
	lines := prose.Wrap(text, max(m.width, 1))
	if len(lines) > 2 {
		lines = []string{lines[0], cut(strings.Join(lines[1:], " "), m.width)}
	}
	for i := range lines {
		lines[i] = sgr(color, cut(lines[i], m.width))
	}
	return lines
}

// fit chooses the columns that there is room for. Of those that come last the cause
// goes before the others.
func (m *screen) fit() (shown []int, nameWidth int, cause bool) {
	left := m.width - nameLeast
	if cause = left >= causeWidth+beforeCause; cause {
		left -= causeWidth
	}
	for i, c := range columns {
		if left >= c.width {
			left -= c.width
			shown = append(shown, i)
		}
	}
	return shown, nameLeast + min(left, 40), cause
}

func (m *screen) titles(shown []int, nameWidth int, cause bool) string {
	var b strings.Builder
	b.WriteString(sgr("2", fmt.Sprintf("%-*s", nameWidth, "SERVER")))
	for _, i := range shown {
		title := columns[i].title
		if i != m.order {
			b.WriteString(sgr("2", fmt.Sprintf("%*s", columns[i].width, title)))
			continue
		}
		mark := "▼"
		if m.turned {
			mark = "▲"
		}
		b.WriteString(sgr("1", fmt.Sprintf("%*s", columns[i].width, mark+title)))
	}
	if cause {
		b.WriteString(sgr("2", "  MOSTLY BECAUSE"))
	}
	return b.String()
}

// A screenRow is one kind of a server's figures with its values, by column.
type screenRow struct {
	now    watched
	values []float64
}

// sorted returns the rows in the order that was chosen; the name breaks ties, and
// what was counted stands before what was estimated.
func (m *screen) sorted() []screenRow {
	type key struct {
		name        string
		isEstimated bool
	}
	before := map[key]watched{}
	for i := range m.last.Servers {
		s := &m.last.Servers[i]
		for _, p := range s.Parts() {
			before[key{s.Name, p.IsEstimated}] = watched{s.Name, p}
		}
	}
	seconds := m.now.at.Sub(m.last.at).Seconds()
	var list []screenRow
	for i := range m.now.Servers {
		s := &m.now.Servers[i]
		for _, p := range s.Parts() {
			last := before[key{s.Name, p.IsEstimated}]
			row := screenRow{now: watched{s.Name, p}}
			for _, c := range columns {
				row.values = append(row.values, c.value(&row.now, &last, seconds))
			}
			list = append(list, row)
		}
	}
	slices.SortFunc(list, func(a, b screenRow) int {
		c := cmp.Compare(b.values[m.order], a.values[m.order])
		if m.turned {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.now.name, b.now.name), cmp.Compare(a.now.Mark(), b.now.Mark()))
	})
	return list
}

func (m *screen) row(r *screenRow, shown []int, nameWidth int, cause bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s", nameWidth, prose.Shorten(printable.Text(r.now.name), nameWidth-1))
	for _, i := range shown {
		text := fmt.Sprintf("%*s", columns[i].width, columns[i].figure(&r.now, r.values[i]))
		if v := r.now.Effectiveness; v != nil && columns[i].key == "e" {
			text = sgr(effectColor(*v), text)
		}
		b.WriteString(text)
	}
	if cause {
		if c := r.now.TopCause(); c != "" {
			b.WriteString("  " + cut(r.now.Mark()+c, causeWidth-2))
		}
	}
	return b.String()
}

func (m *screen) help() string {
	return sgr("2", cut("s/S sort by next/previous (or w e c n h o)  r reverse  p pause  ↑↓ scroll  q quit and report", m.width))
}

// interfaces are the names of what is captured on.
func (s *session) interfaces() []string {
	if s.live == nil {
		return nil
	}
	return s.live.Interfaces()
}

// sgr sets text in a style of the terminal's own theme.
func sgr(style, text string) string { return "\x1b[" + style + "m" + text + "\x1b[0m" }

// cut shortens text to a width.
func cut(text string, width int) string {
	r := []rune(text)
	if len(r) <= max(width, 0) {
		return text
	}
	if width < 2 {
		return ""
	}
	return string(r[:width-1]) + "…"
}
