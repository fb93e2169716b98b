package screen

import (
	"fmt"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/table"
	tea "charm.land/bubbletea/v2"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// A connectionList is the table of a server's connections of which stories are kept.
type connectionList struct {
	list
	server *report.Server
	kept   []story.Entry // the newest first
	rows   []story.Entry // of them, those that the filter lets through
	story  told          // the newest that came
	// opening says that it is to be shown as soon as it comes.
	opening bool
}

// Entries are what a Source has of a server.
type entries struct {
	server string
	list   []story.Entry
}

// A told is the story of a connection, nil where it is kept no more.
type told struct {
	id story.ID
	*story.Story
}

// verdict is what was judged of a connection, and why.
func verdict(e *story.Entry) string {
	if e.Subject == "" {
		return e.Verdict
	}
	if e.Verdict == fact.VerdictWasted.String() {
		return e.Verdict + ", " + e.Subject
	}
	return e.Subject
}

// openServer shows the connections of the selected server.
func (m *Model) openServer() tea.Cmd {
	r := m.servers.selected()
	if r == nil {
		return nil
	}
	m.connections = connectionList{server: r.server}
	m.filters[atConnections] = ""
	m.at = atConnections
	return m.askConnections()
}

// askConnections asks for the connections of the server that is opened.
func (m *Model) askConnections() tea.Cmd {
	if m.at != atConnections || m.paused {
		return nil
	}
	server := m.connections.server
	return func() tea.Msg { return entries{server.Name, m.source.Connections(server)} }
}

// take takes the connections that there are.
func (l *connectionList) take(m *Model, e entries) {
	if l.server != nil && l.server.Name == e.server {
		l.kept = e.list
		l.build(m)
	}
}

// build makes the rows by the filter.
func (l *connectionList) build(m *Model) {
	filter := strings.ToLower(m.filters[atConnections])
	l.rows = l.rows[:0]
	var keys []string
	for i := range l.kept {
		e := &l.kept[i]
		if strings.Contains(strings.ToLower(e.Client+" "+verdict(e)+" "+e.ID.String()), filter) {
			l.rows = append(l.rows, *e)
			keys = append(keys, e.ID.String())
		}
	}
	l.set(keys)
}

func (m *Model) pressAtConnections(k tea.KeyPressMsg) tea.Cmd {
	l := &m.connections
	switch {
	case m.pressList(&l.list, k):
		return m.askStory()
	case key.Matches(k, m.keys.Filter):
		return m.openFilter()
	case key.Matches(k, m.keys.Back):
		if m.filters[atConnections] != "" {
			m.dropFilter()
			return nil
		}
		m.at = atServers
	case key.Matches(k, m.keys.Open):
		return m.openStory()
	}
	return nil
}

// selected returns the connection at the cursor, nil where there is none.
func (l *connectionList) selected() *story.Entry {
	if l.cursor >= len(l.rows) {
		return nil
	}
	return &l.rows[l.cursor]
}

// askStory asks for the story of the selected connection.
func (m *Model) askStory() tea.Cmd {
	e := m.connections.selected()
	if e == nil {
		return nil
	}
	id := e.ID
	return func() tea.Msg { return told{id, m.source.Story(id)} }
}

// openStory shows the story of the selected connection, once it comes.
func (m *Model) openStory() tea.Cmd {
	m.connections.opening = true
	return m.askStory()
}

// tell takes a story, and shows it if that was asked for.
func (l *connectionList) tell(m *Model, s told) {
	l.story = s
	if !l.opening {
		return
	}
	l.opening = false
	if s.Story == nil {
		m.say("the story of %s is kept no more", s.id)
		return
	}
	m.openText("CONNECTION "+s.id.String(), func(width int) string {
		var b strings.Builder
		_ = s.WriteText(&b, story.TextOptions{Width: width, Color: true}) // a Builder takes all
		return b.String()
	})
}

// The columns of connections: the client takes what the others leave.
const (
	startWidth   = 13
	startShort   = 9 // without milliseconds
	clientWidth  = 22
	clientMost   = 50
	countWidth   = 6
	timeWidth    = 10
	verdictWidth = 29
	allWidth     = startWidth + clientWidth + countWidth + verdictWidth
)

// connectionColumns fits the columns of connections to a width.
func connectionColumns(width int) (list []table.Column, clock string) {
	add := func(title string, width int) {
		list = append(list, table.Column{Title: faint.Render(title), Width: max(width, 1)})
	}
	start, verdict, clock := startWidth, verdictWidth, "15:04:05.000"
	if width < allWidth {
		start, clock = startShort, time.TimeOnly
		verdict = width - start - clientWidth - countWidth
	}
	times := min(max(width-allWidth, 0)/timeWidth, 2)
	add("UTC", start)
	add("CLIENT", min(width-start-countWidth-times*timeWidth-verdict, clientMost))
	add(prose.PadLeft("REQS", countWidth), countWidth)
	for _, title := range []string{"COST", "LASTED"}[:times] {
		add(prose.PadLeft(title, timeWidth), timeWidth)
	}
	add("  VERDICT", verdict)
	return list, clock
}

// view returns the table, and below it what the selected connection teaches.
func (l *connectionList) view(m *Model, height int) []string {
	about := detailHeight(m.height)
	rows := max(height-2-about, 1)
	from, to := l.show(rows)
	at, of := l.position()
	caption := fmt.Sprintf("%s · CONNECTIONS %d of %d", printable.Text(l.server.Name), at, of)
	if f := m.filters[atConnections]; f != "" {
		caption += fmt.Sprintf(" that match /%s, of %d", printable.Text(f), len(l.kept))
	}
	caption += " kept, newest first"
	titles, clock := connectionColumns(m.width)
	var shown []table.Row
	for i := from; i < to; i++ {
		shown = append(shown, cells(&l.rows[i], titles, clock, i == l.cursor))
	}
	lines := append([]string{rule(caption, m.width)}, strings.Split(drawTable(titles, shown, l.cursor-from, m.width, rows), "\n")...)
	if len(l.rows) == 0 {
		lines[min(2, len(lines)-1)] = faint.Render(l.empty())
		return lines
	}
	if about > 0 {
		lines = append(lines, l.about(m.width, about)...)
	}
	return lines
}

// about says what the selected connection teaches.
func (l *connectionList) about(width, height int) []string {
	e := l.selected()
	says := []string{rule(e.Client, width)}
	if l.story.Story == nil || l.story.id != e.ID {
		return says
	}
	for _, s := range append([]string{l.story.Headline}, l.story.Says...) {
		says = append(says, wrapped(s, width, height)...)
	}
	return says[:min(len(says), height)]
}

// empty says why there is no row.
func (l *connectionList) empty() string {
	if len(l.kept) > 0 {
		return "  no connection matches; Esc drops the filter"
	}
	return "  none is kept: it takes one that has ended, and --max-stories above 0"
}

// cells are what a row shows, without colours where they would break those of the
// whole row.
func cells(e *story.Entry, titles []table.Column, clock string, uncoloured bool) table.Row {
	requests := prose.Count(uint64(e.Requests))
	if e.Estimated {
		requests = "~" + requests
	}
	row := table.Row{e.Start.Format(clock), prose.Shorten(e.Client, titles[1].Width-1), prose.PadLeft(requests, countWidth)}
	for _, m := range []story.Moment{e.Cost, e.Length}[:len(titles)-4] {
		row = append(row, prose.PadLeft(prose.Seconds(m.Seconds()), timeWidth))
	}
	text := verdict(e)
	if !uncoloured && e.Verdict == fact.VerdictWasted.String() {
		text = red.Render(text)
	}
	return append(row, "  "+text)
}
