package screen

import (
	"fmt"
	"strings"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/viewport"
	tea "charm.land/bubbletea/v2"
)

// A textPage is a text that may be longer than the screen: a story, advice, or help. It
// does not change while it is shown.
type textPage struct {
	viewport.Model
	title  string
	render func(width int) string
}

// openText shows a text, which is rendered for a width.
func (m *Model) openText(title string, render func(width int) string) {
	t := &textPage{viewport.New(), title, render}
	t.fit(m)
	m.texts = append(m.texts, t)
}

// fit renders the text for the size of the screen.
func (t *textPage) fit(m *Model) {
	t.SetWidth(m.width)
	t.SetContent(strings.TrimRight(t.render(m.width), "\n"))
}

func (m *Model) pressAtText(k tea.KeyPressMsg) {
	t := m.texts[len(m.texts)-1]
	switch {
	case key.Matches(k, m.keys.Back):
		m.texts = m.texts[:len(m.texts)-1]
	case key.Matches(k, m.keys.Top):
		t.GotoTop()
	case key.Matches(k, m.keys.Bottom):
		t.GotoBottom()
	default:
		t.Model, _ = t.Update(k)
	}
}

// view returns the text, as far as it is scrolled to.
func (t *textPage) view(m *Model, height int) []string {
	t.SetHeight(max(height-1, 1))
	title := t.title
	if all := t.TotalLineCount(); all > t.Height() {
		title += fmt.Sprintf(" · lines %d–%d of %d", t.YOffset()+1, t.YOffset()+t.VisibleLineCount(), all)
	}
	return append([]string{rule(title, m.width)}, strings.Split(t.View(), "\n")...)
}
