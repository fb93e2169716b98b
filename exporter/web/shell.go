package web

import (
	"time"

	"github.com/keepscope/keepscope/exporter/tally"
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
		w.Window = append(windowNames[:], "")[i]
		s.Windows = append(s.Windows, link{words, w.String(), c.Window == w.Window})
	}
	since := n.Report.Capture.FirstPacket
	if l := n.lately(c); l != nil && l.Since.After(since) {
		since = l.Since
	}
	if !since.IsZero() {
		s.Since = since.UTC().Format(time.DateTime) + " UTC"
	}
	return s
}

// lately is what was counted in the window of a choice, nil for all.
func (n *seen) lately(c choice) *tally.Lately {
	if w := c.window(); w >= 0 {
		return n.Lately[w]
	}
	return nil
}
