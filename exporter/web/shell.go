package web

import (
	"time"
)

// A shell is what every page has.
type shell struct {
	Title   string
	Trail   []link // from the front page here
	JSON    string // the address of the same as JSON
	Refresh int    // seconds; 0 for never
	Windows []link
	Window  string // the one that was chosen
	Since   string // what the figures are since
}

// A link leads somewhere, unless it is where the visitor is.
type link struct {
	Name, Address string
	Here          bool
}

// shellOf is a page's shell, as of some windows.
func (n *seen) shellOf(c choice, title string) shell {
	s := shell{Title: title, Window: c.Window, Refresh: refreshSeconds}
	w := c
	w.Page = 1
	for i, words := range [...]string{"last 5 minutes", "last hour", "all"} {
		w.Window = [...]string{"5m", "1h", ""}[i]
		s.Windows = append(s.Windows, link{words, w.String(), c.Window == w.Window})
	}
	if since := n.since(c); !since.IsZero() {
		s.Since = since.UTC().Format(time.DateTime) + " UTC"
	}
	return s
}

// since is what the figures of a choice are since; zero where nothing was seen.
func (n *seen) since(c choice) time.Time {
	since := n.Report.Capture.FirstPacket
	if w, chosen := windows[c.Window]; chosen && n.Grown.Begin(w).After(since) {
		since = n.Grown.Begin(w)
	}
	return since
}
