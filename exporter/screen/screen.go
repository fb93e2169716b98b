package screen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/help"
	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/story"
)

// A Source knows what is shown. It is safe for concurrent use.
type Source interface {
	// Report sums up what was seen so far.
	Report() *report.Report
	// Connections returns those of a server of which stories are kept, the newest first.
	Connections(*report.Server) []story.Entry
	// Story returns that of a connection, nil where none is kept.
	Story(story.ID) *story.Story
	// Wait returns once there is no more to see, and why.
	Wait() error
	// Stop asks for that.
	Stop()
}

const (
	// every is how often figures are renewed, and seldom where making them takes long,
	// for which there is one part in busyShare of the time.
	every     = time.Second
	seldom    = 5 * time.Second
	busyShare = 6
	// maxFilter is how long a filter may be.
	maxFilter = 64
	// saidFor is how long something that changed is told.
	saidFor = 5 * time.Second
)

// A place is a list that the screen shows.
type place uint8

const (
	atServers place = iota
	atConnections
	numPlaces
)

// A Model is the live view: a tea.Model.
type Model struct {
	source Source
	title  string
	start  time.Time

	width, height int
	at            place
	texts         []*textPage // over the list, the last one on top
	keys          keyMap
	help          help.Model
	filter        textinput.Model   // while one is typed
	filters       [numPlaces]string // of the lists
	paused        bool
	stopping      bool
	ended         bool
	err           error

	now     figures
	latest  time.Time // of the newest figures, also while paused
	grown   history.History
	history *history.History // what is shown of it: it stands still while paused
	window  history.Window   // NumWindows: since the start
	order   int              // index in columns
	turned  bool             // sorted the other way round

	servers     serverList
	connections connectionList
	message     string
	until       time.Time // told until then
}

// Figures are what a Source reported at some time.
type figures struct {
	*report.Report
	at   time.Time
	took time.Duration
}

// What the model is told beside keys and sizes.
type (
	tickMsg time.Time
	doneMsg struct{ err error }
)

// New returns a model that shows what a source sees since start. The title says where
// that is.
func New(s Source, title string, start time.Time) *Model {
	m := &Model{source: s, title: title, start: start, width: 80, height: 24, keys: newKeys(), window: history.NumWindows}
	m.now = figures{Report: &report.Report{}, at: start}
	m.history = &m.grown
	m.help = newHelp()
	m.filter = newFilter()
	m.servers.known = map[history.Key]time.Time{}
	return m
}

// Ended says whether the source has ended, and why.
func (m *Model) Ended() (ended bool, why error) { return m.ended, m.err }

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(m.take, func() tea.Msg { return doneMsg{m.source.Wait()} })
}

// take asks for figures.
func (m *Model) take() tea.Msg {
	before := time.Now()
	r := m.source.Report()
	now := time.Now()
	return figures{r, now, now.Sub(before)}
}

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case doneMsg:
		m.ended, m.err = true, msg.err
		return m, tea.Quit
	case tickMsg:
		return m, m.take
	case figures:
		m.renew(msg)
		next := tea.Tick(pause(msg.took), func(t time.Time) tea.Msg { return tickMsg(t) })
		return m, tea.Batch(next, m.askConnections())
	case entries:
		m.connections.take(m, msg)
		return m, m.askStory()
	case told:
		m.connections.tell(m, msg)
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		for _, t := range m.texts {
			t.fit(m)
		}
	case tea.PasteMsg:
		if m.filter.Focused() {
			return m, m.type_(msg)
		}
	case tea.KeyPressMsg:
		return m, m.press(msg)
	}
	return m, nil
}

// pause is how long to wait after figures that took so long.
func pause(took time.Duration) time.Duration { return min(max(every, (busyShare-1)*took), seldom) }

// renew takes new figures.
func (m *Model) renew(f figures) {
	m.latest = f.at
	m.grown.Add(f.at, f.Report)
	if m.paused {
		return
	}
	m.now = f
	m.servers.build(m)
}

// say tells something for a while.
func (m *Model) say(format string, args ...any) {
	m.message, m.until = fmt.Sprintf(format, args...), m.latest.Add(saidFor)
}

// press does what a key is for. What was told before was read.
func (m *Model) press(k tea.KeyPressMsg) tea.Cmd {
	m.message = ""
	switch {
	case k.String() == "ctrl+c":
		return m.quit()
	case m.filter.Focused():
		return m.type_(k)
	case key.Matches(k, m.keys.Quit):
		return m.quit()
	case key.Matches(k, m.keys.Help):
		m.openHelp()
		return nil
	case key.Matches(k, m.keys.Pause):
		m.togglePause()
		return nil
	}
	switch {
	case len(m.texts) > 0:
		m.pressAtText(k)
		return nil
	case m.at == atConnections:
		return m.pressAtConnections(k)
	}
	return m.pressAtServers(k)
}

// quit ends the capture, and told twice the view.
func (m *Model) quit() tea.Cmd {
	if m.stopping {
		return tea.Quit
	}
	m.stopping = true
	m.source.Stop()
	return nil
}

func (m *Model) togglePause() {
	m.paused = !m.paused
	if m.paused {
		m.history = m.grown.Clone()
		m.say("figures stand still; capturing goes on")
		return
	}
	m.history = &m.grown
	m.say("figures go on")
}

// View implements tea.Model.
func (m *Model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "keepscope"
	return v
}

// lines returns the lines of the screen, as many as it is high, none wider.
func (m *Model) lines() []string {
	height := max(m.height, 1)
	lines := m.body(height - 1)
	lines = slices.Grow(lines, height)[:min(len(lines), height-1)]
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, m.foot())
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
	}
	return lines
}

// body is all but the last line.
func (m *Model) body(height int) []string {
	lines := m.head(height)
	left := height - len(lines)
	switch n := len(m.texts); {
	case n > 0:
		return append(lines, m.texts[n-1].view(m, left)...)
	case m.at == atConnections:
		return append(lines, m.connections.view(m, left)...)
	}
	return append(lines, m.servers.view(m, left)...)
}

// foot is the last line: what is typed, what is told, or what keys do.
func (m *Model) foot() string {
	switch {
	case m.filter.Focused():
		return m.filter.View()
	case m.message != "" && m.latest.Before(m.until):
		return bold.Render(m.message)
	}
	m.help.SetWidth(m.width)
	return m.help.ShortHelpView(m.keys.short(m))
}
