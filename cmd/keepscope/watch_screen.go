package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
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
	m.offset = max(min(m.offset, len(m.now.servers)-1), 0)
	return nil
}

// A column is a figure of each server.
type column struct {
	key, title string
	width      int
	// value is what is sorted by, most first; text is what is shown.
	value func(now, last *boardServer, seconds float64) float64
	text  func(now *boardServer, value float64) string
}

var columns = []column{
	{"w", "WASTED", 9, func(n, _ *boardServer, _ float64) float64 { return float64(n.wasted) }, countText},
	{"W", "/S", 7, func(n, l *boardServer, s float64) float64 { return perSecond(n.wasted, l.wasted, s) }, rateText},
	// The worst come first, and those without a value last.
	{"e", "EFFECT.", 9, func(n, _ *boardServer, _ float64) float64 {
		if v, ok := n.effectiveness(); ok {
			return -v
		}
		return -2
	}, func(_ *boardServer, v float64) string {
		if v < -1 {
			return "–"
		}
		return fmt.Sprintf("%.1f %%", -100*v)
	}},
	{"c", "REQ/CONN", 10, func(n, _ *boardServer, _ float64) float64 {
		v, _ := n.perConnection()
		return v
	}, func(_ *boardServer, v float64) string {
		if v == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f", v)
	}},
	{"n", "REQUESTS", 11, func(n, _ *boardServer, _ float64) float64 { return float64(n.allRequests()) }, func(n *boardServer, v float64) string {
		if n.estimated > 0 {
			return "~" + countText(n, v)
		}
		return countText(n, v)
	}},
	{"N", "/S", 8, func(n, l *boardServer, s float64) float64 { return perSecond(n.allRequests(), l.allRequests(), s) }, rateText},
	{"h", "HANDSH.", 9, func(n, _ *boardServer, _ float64) float64 { return float64(n.opened) }, countText},
	{"o", "OPEN", 7, func(n, _ *boardServer, _ float64) float64 { return float64(n.open) }, countText},
}

func perSecond(now, last uint64, seconds float64) float64 {
	if seconds <= 0 || now < last {
		return 0
	}
	return float64(now-last) / seconds
}

func countText(_ *boardServer, v float64) string {
	if v >= 1e7 {
		return fmt.Sprintf("%.1fM", v/1e6)
	}
	return fmt.Sprintf("%.0f", v)
}

func rateText(_ *boardServer, v float64) string {
	if v > 0 && v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return countText(nil, v)
}

const (
	screenHead = 5 // lines above the servers
	screenFoot = 2
	causeWidth = 22
	nameLeast  = 12
)

// rows is how many servers fit.
func (m *screen) rows() int { return max(m.height-screenHead-screenFoot, 1) }

// View implements tea.Model.
func (m *screen) View() tea.View {
	v := tea.NewView(strings.Join(m.render(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "keepscope"
	return v
}

// render returns the lines of the screen.
func (m *screen) render() []string {
	lines := []string{m.headline(), m.effect(), m.honesty(), ""}
	shown, nameWidth, cause := m.fit()
	lines = append(lines, m.titles(shown, nameWidth, cause))
	list := m.sorted()
	for i := m.offset; i < min(m.offset+m.rows(), len(list)); i++ {
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

func (m *screen) headline() string {
	n := &m.now
	text := fmt.Sprintf("keepscope · %s · %s", strings.Join(m.session.interfaces(), ","), n.at.Sub(m.session.start).Round(time.Second))
	text += fmt.Sprintf(" · %d packets (%.0f/s) · %d open connections", n.packets,
		n.rate(&m.last, func(s *snapshot) uint64 { return s.packets }), n.total.open)
	switch {
	case m.stopping:
		text += " · finishing (again to quit at once)"
	case m.paused:
		text += " · PAUSED"
	}
	return sgr("1", cut(text, m.width))
}

func (m *screen) effect() string {
	t := &m.now.total
	text := "effectiveness –"
	color := "2"
	if v, ok := t.effectiveness(); ok {
		text = fmt.Sprintf("effectiveness %.1f %%", 100*v)
		color = effectColor(v)
	}
	rest := fmt.Sprintf("  %d requests, %d handshakes wasted (%.3g s of waiting)", t.allRequests(), t.wasted, float64(t.wastedNS)/1e9)
	if c := t.topCause(); c != "" {
		rest += ", mostly because of " + c
	}
	return sgr(color+";1", cut(text, m.width)) + cut(rest, m.width-len([]rune(text)))
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

func (m *screen) honesty() string {
	d := m.now.dropped
	if d.Kernel+d.Interface == 0 {
		return sgr("2", "no packet dropped")
	}
	return sgr("31;1", cut(fmt.Sprintf("%d packets DROPPED by the kernel, %d by the interface: figures are too low (try a larger --buffer-size, a --filter, or --workers)", d.Kernel, d.Interface), m.width))
}

// fit chooses the columns that there is room for.
func (m *screen) fit() (shown []int, nameWidth int, cause bool) {
	left := m.width - nameLeast
	for i, c := range columns {
		if left >= c.width {
			left -= c.width
			shown = append(shown, i)
		}
	}
	if left >= causeWidth {
		cause = true
		left -= causeWidth
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

// A screenRow is a server with its values, by column.
type screenRow struct {
	now    *boardServer
	values []float64
}

// sorted returns the servers in the order that was chosen; the name breaks ties.
func (m *screen) sorted() []screenRow {
	before := map[string]*boardServer{}
	for i := range m.last.servers {
		before[m.last.servers[i].name] = &m.last.servers[i]
	}
	seconds := m.now.at.Sub(m.last.at).Seconds()
	list := make([]screenRow, len(m.now.servers))
	for i := range list {
		s := &m.now.servers[i]
		last := before[s.name]
		if last == nil {
			last = &boardServer{}
		}
		list[i].now = s
		for _, c := range columns {
			list[i].values = append(list[i].values, c.value(s, last, seconds))
		}
	}
	slices.SortFunc(list, func(a, b screenRow) int {
		c := cmp.Compare(b.values[m.order], a.values[m.order])
		if m.turned {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.now.name, b.now.name))
	})
	return list
}

func (m *screen) row(r *screenRow, shown []int, nameWidth int, cause bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s", nameWidth, cut(r.now.name, nameWidth-1))
	for _, i := range shown {
		text := fmt.Sprintf("%*s", columns[i].width, columns[i].text(r.now, r.values[i]))
		if v, ok := r.now.effectiveness(); ok && columns[i].key == "e" {
			text = sgr(effectColor(v), text)
		}
		b.WriteString(text)
	}
	if cause {
		b.WriteString("  " + cut(r.now.topCause(), causeWidth-2))
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
