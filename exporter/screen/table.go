package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"charm.land/bubbles/v2/table"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// priority is the order in which columns are given room, with those that are none.
var priority = []int{0, 2, 3, columnSpark, columnCause, 4, 8, 5, 1, 6, 7, 9}

const (
	columnSpark = -1 - iota
	columnCause
)

const (
	sparkWidth = history.Points + 1
	causeWidth = 20
	nameLeast  = 20
	nameShare  = 4 // of the width one part, where that is more
	nameMost   = 60
)

// A layout says which columns there is room for.
type layout struct {
	shown        []int // of columns, in their order
	spark, cause bool
	name         int // width
}

// fit chooses the columns of a width. The one that is sorted by comes first.
func fit(width, order int) (l layout) {
	l.name = max(nameLeast, width/nameShare)
	left := width - l.name
	take := func(w int) bool {
		if left < w {
			return false
		}
		left -= w
		return true
	}
	for at, i := range append([]int{order}, priority...) {
		switch {
		case at > 0 && i == order:
		case i == columnSpark:
			l.spark = take(sparkWidth)
		case i == columnCause:
			l.cause = take(causeWidth)
		case take(columns[i].width):
			l.shown = append(l.shown, i)
		}
	}
	slices.Sort(l.shown)
	l.name = min(l.name+max(left, 0), nameMost)
	return l
}

// view returns the table, and below it what there is to say about the selected row.
func (l *serverList) view(m *Model, height int) []string {
	lay := fit(m.width, m.order)
	about := detailHeight(m.height)
	sums := l.sums(height)
	rows := max(height-2-about-len(sums), 1)
	from, to := l.show(rows)
	lines := []string{rule(l.caption(m), m.width)}
	var shown []table.Row
	for i := from; i < to; i++ {
		shown = append(shown, l.rows[i].cells(m, &lay, i == l.cursor))
	}
	lines = append(lines, strings.Split(drawTable(lay.titles(m), shown, l.cursor-from, m.width, rows), "\n")...)
	if len(l.rows) == 0 {
		lines[min(2, len(lines)-1)] = faint.Render(l.empty(m))
	}
	for i := range sums {
		lines = append(lines, bold.Render(strings.Join(sums[i].cells(m, &lay, true), "")))
	}
	if about > 0 {
		lines = append(lines, m.detail(about)...)
	}
	return lines
}

// empty says why there is no row.
func (l *serverList) empty(m *Model) string {
	if l.all > 0 {
		return "  no server matches; Esc drops the filter"
	}
	if n := m.now.Capture.Packets; n > 0 {
		return fmt.Sprintf("  no TCP connection to any server among %s yet", prose.Plural(n, "packet"))
	}
	return "  no packet seen yet"
}

// caption says which rows are shown, of how many, and in which order.
func (l *serverList) caption(m *Model) string {
	at, of := l.position()
	text := fmt.Sprintf("SERVERS %d of %d", at, of)
	if f := m.filters[atServers]; f != "" {
		text += fmt.Sprintf(" that match /%s, of %d", printable.Text(f), l.all)
	}
	return text + " · " + windowText(m.window)
}

// sums are the rows of all that are shown: of those that were counted, and where there is
// room of those that were estimated.
func (l *serverList) sums(height int) (list []serverRow) {
	if len(l.rows) < 2 || height < 8 {
		return nil
	}
	for _, estimated := range []bool{false, true} {
		n := 0
		sum := serverRow{key: history.Key{Estimated: estimated}, server: &report.Server{}}
		for i := range l.rows {
			r := &l.rows[i]
			if r.key.Estimated != estimated {
				continue
			}
			n++
			sum.Counts.Add(&r.Counts)
			sum.open += r.open
			sum.seconds = r.seconds
		}
		sum.key.Server = prose.Plural(uint64(n), "server")
		if n > 0 && (height >= 14 || len(list) == 0) {
			list = append(list, sum)
		}
	}
	return list
}

// titles are those of the columns, the one that is sorted by marked.
func (l *layout) titles(m *Model) []table.Column {
	list := []table.Column{{Title: faint.Render("SERVER"), Width: l.name}}
	for _, i := range l.shown {
		c := &columns[i]
		title := faint.Render(prose.PadLeft(c.title, c.width))
		if i == m.order {
			arrow := "▼"
			if m.turned {
				arrow = "▲"
			}
			title = bold.Render(prose.PadLeft(arrow+c.title, c.width))
		}
		list = append(list, table.Column{Title: title, Width: c.width})
	}
	if l.spark {
		list = append(list, table.Column{Title: faint.Render(" " + m.sparkTitle()), Width: sparkWidth})
	}
	if l.cause {
		list = append(list, table.Column{Title: faint.Render(" MOSTLY BECAUSE"), Width: causeWidth})
	}
	return list
}

// cells are what a row shows, without colours where they would break those of the
// whole row.
func (r *serverRow) cells(m *Model, l *layout, uncoloured bool) table.Row {
	name := r.name()
	if r.fresh {
		name = "+ " + name
	}
	if r.key.Estimated {
		name = "~ " + name
	}
	row := table.Row{prose.Pad(prose.Shorten(name, l.name-1), l.name)}
	for _, i := range l.shown {
		c := &columns[i]
		text := prose.PadLeft(c.figure(r), c.width)
		if !uncoloured {
			text = c.style(r).Render(text)
		}
		row = append(row, text)
	}
	if l.spark {
		text := spark(m.history.Steps(m.sparkWindow(), r.key, m.sparkOf().of))
		if !uncoloured {
			text = blue.Render(text)
		}
		row = append(row, " "+text)
	}
	if l.cause {
		text := ""
		if c := r.TopCause(); c != "" {
			text = prose.Pad(" "+cut(r.mark()+c, causeWidth-1), causeWidth)
		}
		row = append(row, text)
	}
	return row
}

// sparkWindow is the window that sparklines are of: where the figures are since the
// start, the longest of which half has passed.
func (m *Model) sparkWindow() history.Window {
	if m.window < history.NumWindows {
		return m.window
	}
	w := history.Minute
	for w < history.Hour && 2*m.now.at.Sub(m.start) >= (w+1).Length() {
		w++
	}
	return w
}

// sparkOf is what sparklines are of.
func (m *Model) sparkOf() *steps { return cmp.Or(columns[m.order].steps, wasted) }

func (m *Model) sparkTitle() string {
	return m.sparkOf().title + [history.NumWindows]string{" 1m", " 5m", " 1h"}[m.sparkWindow()]
}

// drawTable draws the rows that fit, the one at the cursor in reverse.
func drawTable(columns []table.Column, rows []table.Row, cursor, width, height int) string {
	t := table.New(
		table.WithColumns(columns), table.WithRows(rows), table.WithWidth(width), table.WithHeight(height+1),
		table.WithStyles(table.Styles{Header: plain, Cell: plain, Selected: reverse}),
	)
	t.SetCursor(cursor)
	return t.View()
}
