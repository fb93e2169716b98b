package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// A serverList is the table of servers.
type serverList struct {
	list
	rows  []serverRow
	all   int // rows without the filter
	known map[history.Key]time.Time
}

// A serverRow is what was counted, or estimated, of a server in the window.
type serverRow struct {
	key history.Key
	history.Counts
	open    uint64
	seconds float64 // how long the window is
	server  *report.Server
	fresh   bool // it is new
}

const (
	// freshFor is how long a server is new.
	freshFor = 10 * time.Second
	// maxTold is how many new servers are told by name.
	maxTold = 3
)

func (r *serverRow) mark() string {
	if r.key.Estimated {
		return "~"
	}
	return ""
}

// id tells rows of a list apart.
func (r *serverRow) id() string { return r.mark() + r.key.Server }

// name is what the row's server is called, fit to be shown.
func (r *serverRow) name() string { return printable.Text(r.key.Server) }

// matches says whether a filter lets the row through.
func (r *serverRow) matches(filter string) bool {
	if filter == "" {
		return true
	}
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), filter) }
	return has(r.key.Server) || has(r.TopCause()) || slices.ContainsFunc(r.server.Addresses, has)
}

// build makes the rows of the figures that are shown, in the order and by the filter
// that are chosen.
func (l *serverList) build(m *Model) {
	filter := strings.ToLower(m.filters[atServers])
	seconds := m.seconds()
	l.rows, l.all = l.rows[:0], 0
	var came []string
	first := len(l.known) == 0
	for i := range m.now.Servers {
		s := &m.now.Servers[i]
		for _, p := range s.Parts() {
			r := serverRow{key: history.Key{Server: s.Name, Estimated: p.IsEstimated}, Counts: history.Of(&p), open: p.Open, seconds: seconds, server: s}
			since, ok := l.known[r.key]
			if !ok {
				since = m.now.at
				if first {
					since = time.Time{}
				} else if !p.IsEstimated {
					came = append(came, r.name())
				}
				l.known[r.key] = since
			}
			r.fresh = m.now.at.Sub(since) < freshFor
			if m.window < history.NumWindows {
				r.Counts = m.history.Since(m.window, r.key, r.Counts)
			}
			l.all++
			if r.matches(filter) {
				l.rows = append(l.rows, r)
			}
		}
	}
	l.forget(m)
	tellNew(m, came)
	l.sort(m)
}

// forget drops what is remembered of servers that are in no report any more.
func (l *serverList) forget(m *Model) {
	if len(l.known) <= 2*l.all {
		return
	}
	there := map[string]bool{}
	for i := range m.now.Servers {
		there[m.now.Servers[i].Name] = true
	}
	for k := range l.known {
		if !there[k.Server] {
			delete(l.known, k)
		}
	}
}

// tellNew says which servers have come.
func tellNew(m *Model, came []string) {
	if len(came) == 0 {
		return
	}
	names := came[:min(len(came), maxTold)]
	text := "new: " + strings.Join(names, ", ")
	if more := len(came) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	m.say("%s", text)
}

// sort orders the rows; the name breaks ties, and what was counted stands before what
// was estimated.
func (l *serverList) sort(m *Model) {
	value := columns[m.order].value
	slices.SortFunc(l.rows, func(a, b serverRow) int {
		c := cmp.Compare(value(&b), value(&a))
		if m.turned {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.key.Server, b.key.Server), cmp.Compare(a.mark(), b.mark()))
	})
	keys := make([]string, len(l.rows))
	for i := range l.rows {
		keys[i] = l.rows[i].id()
	}
	l.set(keys)
}

// selected returns the row at the cursor, nil where there is none.
func (l *serverList) selected() *serverRow {
	if l.cursor >= len(l.rows) {
		return nil
	}
	return &l.rows[l.cursor]
}

func (m *Model) pressAtServers(k tea.KeyPressMsg) tea.Cmd {
	switch {
	case m.pressList(&m.servers.list, k):
	case key.Matches(k, m.keys.Filter):
		return m.openFilter()
	case key.Matches(k, m.keys.Back):
		m.dropFilter()
	case key.Matches(k, m.keys.Window):
		m.turnWindow()
	case key.Matches(k, m.keys.Next):
		m.sortBy((m.order+1)%len(columns), m.turned)
	case key.Matches(k, m.keys.Previous):
		m.sortBy((m.order+len(columns)-1)%len(columns), m.turned)
	case key.Matches(k, m.keys.Reverse):
		m.sortBy(m.order, !m.turned)
	case key.Matches(k, m.keys.Column):
		m.sortBy((int(k.String()[0]-'0')+9)%10, false)
	case key.Matches(k, m.keys.Advice):
		m.openAdvice()
	case key.Matches(k, m.keys.Open):
		return m.openServer()
	}
	return nil
}

// sortBy orders by a column, and says so.
func (m *Model) sortBy(column int, turned bool) {
	m.order, m.turned = column, turned
	m.servers.sort(m)
	text := "sorted by " + columns[column].name
	if turned {
		text += ", reversed"
	}
	m.say("%s", text)
}

// turnWindow takes the next window.
func (m *Model) turnWindow() {
	switch m.window {
	case history.NumWindows:
		m.window = history.Minute
	case history.Minute:
		m.window = history.FiveMinutes
	default:
		m.window = history.NumWindows
	}
	m.servers.build(m)
	m.say("figures of the window: %s", windowText(m.window))
}
