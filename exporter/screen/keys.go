package screen

import (
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/keepscope/keepscope/exporter/prose"
)

// A keyMap has what keys do.
type keyMap struct {
	Up, Down, PageUp, PageDown, Top, Bottom key.Binding
	Open, Back, Advice, Filter              key.Binding
	Window, Next, Previous, Reverse, Column key.Binding
	Pause, Help, Quit, Scroll               key.Binding
}

func newKeys() keyMap {
	b := func(help, desc string, keys ...string) key.Binding {
		return key.NewBinding(key.WithKeys(keys...), key.WithHelp(help, desc))
	}
	return keyMap{
		Up: b("↑ k", "a row up", "up", "k"), Down: b("↓ j", "a row down", "down", "j"),
		PageUp: b("PgUp", "a page up", "pgup", "ctrl+b"), PageDown: b("PgDn", "a page down", "pgdown", "ctrl+f"),
		Top: b("g", "to the first", "home", "g"), Bottom: b("G", "to the last", "end", "G"),
		Open: b("Enter", "open", "enter"), Back: b("Esc", "back", "esc", "backspace"),
		Advice: b("a", "advice", "a"), Filter: b("/", "filter", "/"),
		Window: b("w", "window", "w"), Next: b("s", "sort", "s", "right", "tab"), Previous: b("S", "sort by the column before", "S", "left", "shift+tab"),
		Reverse: b("r", "reverse", "r"), Column: b("1–9 0", "sort by that column", "1", "2", "3", "4", "5", "6", "7", "8", "9", "0"),
		Pause: b("p", "pause", "p", "space"), Help: b("?", "help", "?", "f1"), Quit: b("q", "quit", "q"),
		Scroll: b("↑ ↓ PgUp PgDn", "scroll", "up", "down", "pgup", "pgdown"),
	}
}

// short are the keys of the last line, those first that it must have.
func (k *keyMap) short(m *Model) []key.Binding {
	switch {
	case len(m.texts) > 0:
		return []key.Binding{k.Back, k.Scroll, k.Quit}
	case m.at == atConnections:
		return []key.Binding{k.Help, k.Quit, k.Back, k.Open, k.Filter, k.Pause}
	}
	return []key.Binding{k.Help, k.Quit, k.Filter, k.Open, k.Advice, k.Window, k.Next, k.Reverse, k.Pause}
}

// A topic is a part of the help page.
type topic struct {
	title string
	lines [][2]string
}

// topics are what the help page tells.
var topics = []topic{
	{"MOVE", [][2]string{
		{"↑ ↓  k j", "select a row"},
		{"PgUp PgDn", "a page at a time"},
		{"g G  Home End", "to the first, to the last"},
		{"Enter", "server → its connections → the story of one"},
		{"Esc", "back; drops the filter"},
		{"a", "all advice on the selected server"},
	}},
	{"CHOOSE", [][2]string{
		{"/", "filter as you type: servers by name, address or cause, connections by cause, client or id; Enter keeps it, Esc drops it"},
		{"w", "window: since start, last minute, last 5 minutes"},
		{"s S  ← →", "sort by the next column, by the one before"},
		{"1 … 9 0", "sort by that column"},
		{"r", "reverse the order"},
		{"p  Space", "the figures stand still; capturing goes on"},
		{"q", "end, and print the report; again: at once"},
	}},
	{"READ", [][2]string{
		{"WASTED", "handshakes that a client which keeps its connections would not have needed"},
		{"EFFECT.", "reused requests / (reused requests + wasted handshakes), health checks left out"},
		{"REQ/CONN", "requests for each connection that carried one"},
		{"COST", "time that wasted handshakes took"},
		{"▂▄▆█", "the column that is sorted by, else WASTED, in twelve steps of the window"},
		{"~", "estimated from encrypted records; never added to what was counted"},
		{"+", "a server that is new since 10 s"},
	}},
}

// openHelp tells what keys do and figures mean.
func (m *Model) openHelp() {
	if n := len(m.texts); n > 0 && m.texts[n-1].title == helpTitle {
		return
	}
	m.openText(helpTitle, func(width int) string {
		const before = 16
		var lines []string
		for _, t := range topics {
			lines = append(lines, "", bold.Render(t.title))
			for _, l := range t.lines {
				head := prose.Pad("  "+l[0], before)
				for _, s := range prose.Wrap(l[1], max(min(width, 100)-before, before)) {
					lines = append(lines, head+s)
					head = strings.Repeat(" ", before)
				}
			}
		}
		return strings.Join(lines[1:], "\n")
	})
}

const helpTitle = "HELP"

// type_ takes a key into the filter.
func (m *Model) type_(msg tea.Msg) tea.Cmd { //nolint:revive // type is a word of the language
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "enter":
			m.filter.Blur()
			return nil
		case "esc":
			m.dropFilter()
			return nil
		case "up":
			m.move(-1)
			return nil
		case "down":
			m.move(1)
			return nil
		}
	}
	var cmd tea.Cmd
	m.filter, cmd = m.filter.Update(msg)
	m.setFilter(m.filter.Value())
	return cmd
}

// openFilter begins to type a filter, or to change the one there is.
func (m *Model) openFilter() tea.Cmd {
	m.filter.SetValue(m.filters[m.at])
	m.filter.CursorEnd()
	return m.filter.Focus()
}

// dropFilter shows all rows again.
func (m *Model) dropFilter() {
	m.filter.Blur()
	if m.filters[m.at] != "" {
		m.setFilter("")
	}
}

// setFilter brings the list that is shown up to date with a filter.
func (m *Model) setFilter(text string) {
	m.filters[m.at] = text
	if m.at == atConnections {
		m.connections.build(m)
		return
	}
	m.servers.build(m)
}

// move moves the cursor of the list that is shown.
func (m *Model) move(rows int) {
	if m.at == atConnections {
		m.connections.move(rows)
		return
	}
	m.servers.move(rows)
}

// pressList does what a key is for in any list, and says whether it was such a key.
func (m *Model) pressList(l *list, k tea.KeyPressMsg) bool {
	switch {
	case key.Matches(k, m.keys.Up):
		l.move(-1)
	case key.Matches(k, m.keys.Down):
		l.move(1)
	case key.Matches(k, m.keys.PageUp):
		l.move(-max(l.height, 1))
	case key.Matches(k, m.keys.PageDown):
		l.move(max(l.height, 1))
	case key.Matches(k, m.keys.Top):
		l.top()
	case key.Matches(k, m.keys.Bottom):
		l.move(len(l.keys))
	default:
		return false
	}
	return true
}
