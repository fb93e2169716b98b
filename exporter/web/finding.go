package web

import (
	"slices"
	"time"

	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report/findings"
)

// A finding is one with what the page shows of its servers.
type finding struct {
	*findings.Finding
	Worst   *findings.OnServer
	Servers []foundOn
	Quiet   string // that its servers did well in the window
	Alone   bool   // on the page of the server that it is about
}

// foundOn is what a finding rests on at one server, with where that leads.
type foundOn struct {
	*findings.OnServer
	Link    string
	Drawing link // of a connection that shows it, or of the server's; no Name for none
}

// maxFoundOn is how many servers of a finding are listed.
const maxFoundOn = 20

func (n *seen) finding(f *findings.Finding, c choice) finding {
	shown := finding{Finding: f, Worst: &findings.OnServer{}}
	quiet := c.Window != "" && len(f.Servers) > 0 && f.Severity != findings.OK
	for i := range f.Servers {
		o := &f.Servers[i]
		on := foundOn{OnServer: o}
		s := n.servers[o.Server]
		quiet = quiet && s != nil && lostNothing(n.figures(s.Name, &s.Summary, c))
		if s != nil {
			on.Link = c.at(serverPath(o.Server))
			if slices.ContainsFunc(s.Members, func(m naming.Server) bool { return n.lost[m] }) {
				on.Drawing = link{Name: "its connections, drawn", Address: on.Link + "#connections"}
			}
		}
		if n.drawn[o.Example] {
			on.Drawing = link{Name: "a connection that shows it", Address: "/connection/" + o.Example}
		}
		if len(shown.Servers) < maxFoundOn {
			shown.Servers = append(shown.Servers, on)
		}
	}
	if len(f.Servers) > 0 {
		shown.Worst = &f.Servers[0]
	}
	if quiet {
		shown.Quiet = "Since " + n.since(c).UTC().Format(time.TimeOnly) + " UTC nothing was wasted or failed there."
	}
	return shown
}

// Further is how many servers a finding is about beside the worst.
func (f *finding) Further() int { return max(len(f.Finding.Servers)-1, 0) }

// Unlisted is how many of them are not listed.
func (f *finding) Unlisted() int { return len(f.Finding.Servers) - len(f.Servers) }

func lostNothing(parts []figures) bool {
	return !slices.ContainsFunc(parts, func(f figures) bool { return f.Wasted+f.Failed+f.Races > 0 })
}
