package web

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/exporter/story"
)

// A serverView is a server's page.
type serverView struct {
	shell
	Name        string
	Parts       []figures
	Findings    []finding
	Causes      []bar
	Lengths     []lengths
	Facts       details
	Subjects    []link // by which connections can be chosen
	Connections []connectionRow
	None        string // why there is no connection
	Clients     []clientRow
}

// A connectionRow is a connection that can be drawn.
type connectionRow struct {
	story.Entry
	Link, At, What, Took, Mark string
	Bad                        bool
}

// A clientRow is a client of a server.
type clientRow struct {
	report.Client
	Causes string
	Link   string // to the newest of its connections that can be drawn
	Mark   string
}

// server answers with a server's figures and connections.
func (s *Site) server(w http.ResponseWriter, r *http.Request) {
	n, name := s.now(), r.PathValue("name")
	server := n.servers[name]
	if server == nil {
		if like := n.called(name); len(like) == 1 {
			server = like[0]
		} else if len(like) > 1 { // in several directions, say
			http.Redirect(w, r, choice{Path: "/", Filter: name}.String(), http.StatusSeeOther)
			return
		}
	}
	if server == nil {
		if named, ok := strings.CutSuffix(name, ".json"); ok && n.servers[named] != nil {
			n.serverJSON(w, r, n.servers[named])
			return
		}
		missing(w, r, "No such server", "Keepscope sees no server of this name now. It may be one of those that are counted together as “other”, or nothing was asked of it since Keepscope began.")
		return
	}
	page(w, r, http.StatusOK, "server.html", s.serverView(n, server, choiceOf(r.URL)))
}

// called are the servers that metrics call by a name.
func (n *seen) called(name string) (list []*report.Server) {
	for i := range n.Report.Servers {
		s := &n.Report.Servers[i]
		if slices.ContainsFunc(s.Members, func(m naming.Server) bool { return m.Label() == name }) {
			list = append(list, s)
		}
	}
	return list
}

// of are the connections of a server that can be drawn.
func (n *seen) of(s *report.Server) (list []story.Entry) {
	members := map[naming.Server]bool{}
	for _, m := range s.Members {
		members[m] = true
	}
	for _, e := range n.stories {
		if members[e.Who] || len(members) == 0 && n.owner(e.Who) == s {
			list = append(list, e)
		}
	}
	return list
}

// found are the findings about a server, each with what is said of it alone.
func found(r *report.Report, server string) (list []findings.Finding) {
	for _, f := range r.Findings {
		i := slices.IndexFunc(f.Servers, func(o findings.OnServer) bool { return o.Server == server })
		if i >= 0 {
			f.Severity, f.Summary, f.Seconds, f.Servers = f.Servers[i].Severity, f.Servers[i].Summary, f.Servers[i].Seconds, f.Servers[i:i+1]
			list = append(list, f)
		}
	}
	return list
}

// serverJSON answers with a server's object of the report, its findings and its
// connections.
func (n *seen) serverJSON(w http.ResponseWriter, r *http.Request, s *report.Server) {
	out, err := json.MarshalIndent(struct {
		Server      *report.Server     `json:"server"`
		Findings    []findings.Finding `json:"findings"`
		Connections []story.Entry      `json:"connections"`
	}{s, append([]findings.Finding{}, found(n.Report, s.Name)...), append([]story.Entry{}, n.of(s)...)}, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, r, http.StatusOK, "application/json", append(out, '\n'))
}

func (s *Site) serverView(n *seen, server *report.Server, c choice) *serverView {
	v := &serverView{
		shell: n.shellOf(c, server.Name+" · Keepscope"), Name: server.Name, Parts: n.figures(server.Name, &server.Summary, c),
		Lengths: lengthsOf(&server.Summary), Facts: details{"What the server is, and how it keeps connections", facts(server)},
	}
	v.Trail = []link{{"Keepscope", c.at("/"), false}}
	v.JSON = serverPath(server.Name + ".json")
	v.Causes = causes(v.Parts)
	list := found(n.Report, server.Name)
	for i := range list {
		f := n.finding(&list[i], c)
		f.Alone = true
		v.Findings = append(v.Findings, f)
	}
	entries := n.of(server)
	drawn := map[string]bool{}
	for _, e := range entries {
		drawn[what(&e)] = true
	}
	for i := range v.Causes {
		if b := &v.Causes[i]; drawn[b.Name] {
			b.Link = choice{Path: c.Path, Window: c.Window, Subject: b.Name}.String() + "#connections"
		}
	}
	v.subjects(entries, c)
	for i := range entries {
		e := &entries[i]
		if c.Subject != "" && c.Subject != what(e) {
			continue
		}
		v.Connections = append(v.Connections, rowOf(e))
	}
	if len(v.Connections) == 0 {
		v.None = s.none()
	}
	for _, client := range server.Clients {
		v.Clients = append(v.Clients, clientOf(client, entries))
	}
	return v
}

// none says why no connection can be drawn.
func (s *Site) none() string {
	if len(s.src.Stories) == 0 {
		return "No connection can be drawn: keepscope run with a --max-stories above 0 keeps some."
	}
	return "No connection can be drawn yet: of each server and cause the newest are, once they have ended."
}

// subjects are what the connections show, by which they can be chosen.
func (v *serverView) subjects(entries []story.Entry, c choice) {
	all := c
	all.Subject = ""
	v.Subjects = []link{{"all", all.String(), c.Subject == ""}}
	var names []string
	for i := range entries {
		if w := what(&entries[i]); !slices.Contains(names, w) {
			names = append(names, w)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		one := c
		one.Subject = name
		v.Subjects = append(v.Subjects, link{name, one.String(), c.Subject == name})
	}
}

// what is what a connection shows.
func what(e *story.Entry) string {
	if e.Subject == "" {
		return "ordinary"
	}
	return e.Subject
}

func rowOf(e *story.Entry) connectionRow {
	row := connectionRow{
		Entry: *e, Link: "/connection/" + e.ID.String(), At: e.Start.Format("15:04:05.000"), What: what(e),
		Took: seconds(e.Cost.Seconds()), Bad: e.Subject != "", Mark: (&report.Part{IsEstimated: e.Estimated}).Mark(),
	}
	if e.Cost == 0 {
		row.Took = "–"
	}
	return row
}

func clientOf(client report.Client, entries []story.Entry) clientRow {
	row := clientRow{Client: client, Mark: (&report.Part{IsEstimated: client.Estimated}).Mark()}
	var list []bar
	for cause, n := range client.Wasted {
		list = append(list, bar{Name: cause, N: n})
	}
	slices.SortFunc(list, func(a, b bar) int {
		if a.N != b.N {
			return int(b.N) - int(a.N)
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i, b := range list {
		if i > 0 {
			row.Causes += ", "
		}
		row.Causes += row.Mark + count(b.N) + "\u00a0" + b.Name
	}
	for i := range entries {
		if a, err := netip.ParseAddrPort(entries[i].Client); err == nil && a.Addr().String() == client.Address {
			row.Link = "/connection/" + entries[i].ID.String()
			break
		}
	}
	return row
}

// facts are what a server is, and how it keeps connections.
func facts(s *report.Server) (list []detail) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, detail{name, value, false})
		}
	}
	addresses := strings.Join(s.Addresses, ", ")
	if more := s.AddressCount - len(s.Addresses); more > 0 {
		addresses += " and " + count(uint64(more)) + " more"
	}
	add("addresses", addresses)
	add("open connections", count(s.Open))
	add("idle timeout seen", timeout(s))
	if t := s.Idle.AdvertisedTimeout; t != nil {
		add("Keep-Alive: timeout", seconds(*t))
	}
	median := func(name string, q report.Quantiles) {
		if q.P50 != nil {
			add(name, seconds(*q.P50))
		}
	}
	median("TCP handshake, median", s.Handshakes.TCP)
	median("TLS handshake, median", s.Handshakes.TLSFull)
	median("request to response, median", s.Exchanges)
	median("age of a connection, median", s.Age)
	return list
}

// missing answers that something is not there.
func missing(w http.ResponseWriter, r *http.Request, title, text string) {
	page(w, r, http.StatusNotFound, "missing.html", struct {
		shell
		Text string
	}{shell{Title: title, Trail: []link{{"Keepscope", "/", false}}}, text})
}
