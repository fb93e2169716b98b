package findings

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report/advice"
)

// A Severity says how much a finding matters.
type Severity string

// The severities.
const (
	Critical Severity = "critical" // requests fail, or something runs out
	Warning  Severity = "warning"  // time is lost
	Info     Severity = "info"     // worth knowing
	OK       Severity = "ok"       // all is well
)

var ranks = map[Severity]int{Critical: 0, Warning: 1, Info: 2, OK: 3}

// A Finding is one habit, with the servers where it holds, worst first.
type Finding struct {
	Code     string     `json:"code"`
	Severity Severity   `json:"severity"`     // the worst of its servers
	Seconds  float64    `json:"seconds_lost"` // a failed request counts as one
	Wasted   uint64     `json:"wasted_handshakes"`
	Failed   uint64     `json:"failed_requests"`
	Summary  string     `json:"summary"` // of the worst server, with figures
	Advice   string     `json:"advice"`
	Saves    Saves      `json:"saves"`
	Servers  []OnServer `json:"servers"`
}

// Saves is what a change would spare, by the capture's own time.
type Saves struct {
	Handshakes float64 `json:"handshakes_per_second"`
	Seconds    float64 `json:"seconds_per_second"`
	Ports      uint64  `json:"ports"` // that TIME_WAIT holds, on one side or the other
}

// An OnServer is what a finding rests on at one server. Server is empty where it is
// about several together, or about the capture.
type OnServer struct {
	Server        string             `json:"server"`
	Summary       string             `json:"summary"`
	Severity      Severity           `json:"severity"`
	Seconds       float64            `json:"seconds_lost"`
	Evidence      map[string]float64 `json:"evidence"`
	Example       string             `json:"example,omitempty"` // a connection's id
	DisplayFilter string             `json:"display_filter,omitempty"`
	Clients       []ByClient         `json:"clients,omitempty"`
	// Estimated says that it rests on requests that were guessed from encrypted
	// records.
	Estimated bool `json:"estimated,omitempty"`

	hit hit
}

// A ByClient is a client that has the habit, and how often.
type ByClient struct {
	Address  string `json:"address"`
	Software string `json:"software,omitempty"`
	Count    uint64 `json:"count"`
	Several  bool   `json:"several,omitempty"` // its address looks like several clients

	ids [2]software.ID // of a proxy at that address, and what it says
}

// A hit is what a rule found.
type hit struct {
	severity Severity // the rule's own where empty
	summary  string   // one sentence
	evidence map[string]float64
	loss     Loss   // wasted handshakes
	failed   uint64 // requests
	weighs   uint64 // what weighs as much as a failed request, and is none
	example  Example
	habit    advice.Habit
	also     advice.Habit           // another, which looks the same
	note     string                 // what the advice says before the settings
	clients  func(c *Client) uint64 // how often a client has the habit; nil where it is the server's
	takes    func(v *view)          // the waste that it explains
	server   software.ID            // in place of the server's own
	innocent bool                   // the server's settings have no part in it
	named    string                 // in place of the server's name
}

// A rule is one thing that can be wrong with a server. Those before take the waste
// that they explain; the others weigh what is left.
type rule struct {
	code     string
	severity Severity
	on       parts
	together bool // it holds of several servers as of one
	check    func(v *view) (hit, bool)
}

// parts are the figures on which a rule may be.
type parts uint8

const (
	onCounted     parts = 1 << iota // requests that were counted
	onEstimated                     // and those that were guessed
	onConnections                   // connections as such: once, nothing of it estimated
	onBoth        = onCounted | onEstimated
)

// A view is a server, a part of its traffic, and the waste that no rule has explained.
type view struct {
	*Server
	t         *Traffic
	left      [fact.NumCauses]Loss
	inMass    uint64 // requests that failed in closings of many at once, and are told with those
	estimated bool
	capture   *Capture
	together  int  // servers
	all       bool // clients count, whether their requests were counted or estimated
}

// rules are all rules about servers, in the order in which they are tried.
var rules = slices.Concat(restartRules, http2Rules, clientRules, failureRules, wasteRules, connectionRules)

// Evaluate returns what to change, most valuable first. Where no rule says anything
// it is one finding about the totals, or none on too small a sample.
func Evaluate(f *Figures) []Finding {
	byCode := map[string]*Finding{}
	var quiet []*Server
	for i := range f.Servers {
		s := &f.Servers[i]
		if n := collect(byCode, f, s, 0); n == 0 {
			quiet = append(quiet, s)
		}
	}
	if len(quiet) > 1 {
		collect(byCode, f, sum(quiet), len(quiet))
	}
	about(byCode, f)
	list := make([]Finding, 0, len(byCode))
	for _, x := range byCode {
		x.complete(f.Capture.Seconds)
		list = append(list, *x)
	}
	slices.SortFunc(list, compare)
	return list
}

// compare is the one order of findings.
func compare(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(b.Seconds, a.Seconds),
		cmp.Compare(b.Wasted, a.Wasted),
		cmp.Compare(ranks[a.Severity], ranks[b.Severity]),
		cmp.Compare(a.Code, b.Code),
	)
}

// collect tries the rules on a server, and returns how many hold that are not only
// worth knowing.
func collect(byCode map[string]*Finding, f *Figures, s *Server, together int) (n int) {
	for _, part := range []parts{onCounted, onEstimated} {
		v := &view{Server: s, t: &s.Counted, capture: &f.Capture, together: together}
		if part == onEstimated {
			v.t, v.estimated = &s.Estimated, true
		}
		v.left = v.t.Wasted
		for i := range rules {
			r := &rules[i]
			may := r.on&part != 0 || r.on&onConnections != 0 && part == onCounted
			if !may || together > 0 && !r.together {
				continue
			}
			v.all = r.on&onConnections != 0
			h, ok := r.check(v)
			if !ok {
				continue
			}
			n++
			if h.takes != nil {
				h.takes(v)
			}
			v.enter(byCode, r, h)
		}
	}
	return n
}

// What a sentence begins with that rests on guesses, or, behind their number, is of
// several servers.
const (
	estimatedLead = "Estimated from encrypted records: "
	togetherLead  = " together: "
)

// enter adds a hit to the finding of its code.
func (v *view) enter(byCode map[string]*Finding, r *rule, h hit) {
	h.severity = cmp.Or(h.severity, r.severity)
	on := OnServer{
		Server: cmp.Or(h.named, v.Name), Summary: h.summary, Severity: h.severity, Evidence: h.evidence,
		Seconds: round(h.loss.Seconds + float64(h.failed+h.weighs)), Estimated: v.estimated && r.on&onConnections == 0,
	}
	if h.server = cmp.Or(h.server, v.Software); h.innocent {
		h.server = software.Unknown
	}
	if h.loss.N > 0 {
		on.put("wasted_handshakes", float64(h.loss.N))
		on.put("seconds", round(h.loss.Seconds))
	}
	if h.failed > 0 {
		on.put("failed_requests", float64(h.failed))
	}
	if v.together > 0 {
		on.Server = ""
		on.put("servers", float64(v.together))
		on.Summary = prose.Plural(uint64(v.together), "server") + togetherLead + on.Summary
	}
	if on.Estimated {
		on.Summary = estimatedLead + on.Summary
	}
	h.example = cmp.Or(h.example, h.loss.Example)
	on.Example, on.DisplayFilter = h.example.id(), h.example.filter()
	on.Clients = v.by(h.clients)
	on.hit = h
	byCode[r.code] = byCode[r.code].with(r.code, on)
}

func (o *OnServer) put(key string, value float64) {
	if o.Evidence == nil {
		o.Evidence = map[string]float64{}
	}
	o.Evidence[key] = value
}

func (f *Finding) with(code string, on OnServer) *Finding {
	if f == nil {
		f = &Finding{Code: code, Severity: on.Severity}
	}
	if ranks[on.Severity] < ranks[f.Severity] {
		f.Severity = on.Severity
	}
	f.Servers = append(f.Servers, on)
	return f
}

// clients are those whose figures a rule may be on.
func (v *view) clients() iter.Seq[*Client] {
	return func(yield func(*Client) bool) {
		for i := range v.Clients {
			c := &v.Clients[i]
			if (v.all || c.Estimated == v.estimated) && !yield(c) {
				return
			}
		}
	}
}

// unnamed stands for the proxies that do not name themselves.
const unnamed = software.HAProxy

// sent returns whose settings a client's habits are.
func (c *Client) sent() [2]software.ID {
	if c.Unnamed {
		return [2]software.ID{c.Proxy, unnamed}
	}
	return [2]software.ID{c.Proxy, c.Software}
}

// called returns what a client's software is called, "" where that is not known.
func (c *Client) called() string {
	if c.Software == software.Unknown && !c.Unnamed {
		return c.Proxy.String()
	}
	return c.Software.String()
}

// by lists the clients that have a habit, worst first.
func (v *view) by(habit func(*Client) uint64) (list []ByClient) {
	if habit == nil {
		return nil
	}
	for c := range v.clients() {
		if n := habit(c); n > 0 {
			list = append(list, ByClient{c.Address, c.called(), n, c.Several, c.sent()})
		}
	}
	slices.SortStableFunc(list, func(a, b ByClient) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Address, b.Address))
	})
	return list
}

// On returns the finding as it is of one server alone; ok is false where that has not
// the habit. It is for findings of Evaluate, and not for those that were read.
func (f *Finding) On(server string) (one Finding, ok bool) {
	var found *Finding
	for i := range f.Servers {
		if f.Servers[i].Server == server {
			found = found.with(f.Code, f.Servers[i])
		}
	}
	if found == nil {
		return Finding{}, false
	}
	found.complete(0)
	return *found, true
}

// complete sums a finding up, when all its servers are known.
func (f *Finding) complete(captured float64) {
	slices.SortStableFunc(f.Servers, func(a, b OnServer) int {
		return cmp.Or(
			cmp.Compare(b.Seconds, a.Seconds),
			cmp.Compare(b.hit.loss.N, a.hit.loss.N),
			cmp.Compare(ranks[a.Severity], ranks[b.Severity]),
			cmp.Compare(a.Server, b.Server),
		)
	})
	var seconds float64
	for i := range f.Servers {
		h := &f.Servers[i].hit
		f.Seconds += f.Servers[i].Seconds
		f.Wasted += h.loss.N
		f.Failed += h.failed
		seconds += h.loss.Seconds
	}
	f.Seconds = round(f.Seconds)
	if captured > 0 {
		rate := float64(f.Wasted) / captured
		f.Saves = Saves{round(rate), round(seconds / captured), uint64(math.Round(min(rate*timeWait, float64(f.Wasted))))}
	}
	f.Summary = f.Servers[0].Summary
	f.Advice = f.advise()
}

// timeWait is how long a closed connection holds a port on Linux, seconds.
const timeWait = 60

// maxSoftware is how many softwares of a side advice names.
const maxSoftware = 3

// advise names the settings of those who have the habit, the worst first.
func (f *Finding) advise() string {
	var clients, servers []software.ID
	note := func(list []software.ID, id software.ID) []software.ID {
		if id == software.Unknown || len(list) == maxSoftware || slices.Contains(list, id) {
			return list
		}
		return append(list, id)
	}
	worst := f.Servers[0].hit
	for i := range f.Servers {
		on := &f.Servers[i]
		if on.hit.habit != worst.habit {
			continue
		}
		servers = note(servers, on.hit.server)
		for _, c := range on.Clients {
			clients = note(note(clients, c.ids[0]), c.ids[1])
		}
	}
	if slices.Contains(clients, unnamed) {
		clients = note(clients, software.Apache)
	}
	a := advice.For(worst.habit, clients, servers)
	a.Or(advice.For(worst.also, clients, servers))
	text, said := a.String(), worst.note
	if slices.Contains(clients, unnamed) {
		said = strings.TrimPrefix(said+". The client is a proxy that may not name itself, such as HAProxy or Apache's mod_proxy", ". ")
	}
	switch {
	case said == "":
		return text
	case text == "":
		return said + "."
	}
	return said + ". " + text
}

// sum adds up what several servers that are nobody's fault alone have together.
func sum(servers []*Server) *Server {
	type who struct {
		address   string
		estimated bool
	}
	at := map[who]int{}
	all := &Server{}
	for _, s := range servers {
		for i := range s.Clients {
			c := &s.Clients[i]
			k := who{c.Address, c.Estimated}
			n, known := at[k]
			if !known {
				n, at[k] = len(all.Clients), len(all.Clients)
				all.Clients = append(all.Clients, Client{Address: c.Address, Estimated: c.Estimated, Software: c.Software, Proxy: c.Proxy})
			}
			all.Clients[n].add(c)
		}
		all.Connections += s.Connections
		all.Encrypted = all.Encrypted || s.Encrypted
		all.Counted.add(&s.Counted)
		all.Estimated.add(&s.Estimated)
		all.UnreadBodies.add(&s.UnreadBodies)
		all.NeverUsed.add(&s.NeverUsed)
		all.UnusedTLS.add(&s.UnusedTLS)
		all.CutHeads += s.CutHeads
		all.CutLost += s.CutLost
	}
	return all
}

func (c *Client) add(o *Client) {
	c.Several = c.Several || o.Several
	if c.Software != o.Software {
		c.Software = software.Unknown
	}
	for _, l := range o.Wasted {
		c.Wasted.Add(l.Cause, l.Loss)
	}
	for i := range c.Failed {
		c.Failed[i] += o.Failed[i]
	}
	c.Unread += o.Unread
}

func (t *Traffic) add(o *Traffic) {
	t.Connections += o.Connections
	t.Single += o.Single
	t.Requests += o.Requests
	t.Reused += o.Reused
	t.Discards += o.Discards
	t.Beside += o.Beside
	for i := range t.Wasted {
		t.Wasted[i].add(&o.Wasted[i])
		t.MassWasted[i].add(&o.MassWasted[i])
	}
	for i := range t.Failed {
		if t.Failed[i].N == 0 {
			t.Failed[i].Example = o.Failed[i].Example
		}
		t.Failed[i].N += o.Failed[i].N
	}
}

// id returns a connection's id as other outputs have it.
func (e *Example) id() string {
	if e.ID == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", e.ID)
}

// filter returns the Wireshark display filter of a connection.
func (e *Example) filter() string {
	if e.Client.Port == 0 {
		return ""
	}
	client, server := e.Client.Addr.Netip(), e.Server.Addr.Netip()
	ip := "ip"
	if client.Is6() {
		ip = "ipv6"
	}
	return fmt.Sprintf("%s.addr == %s && %s.addr == %s && tcp.port == %d && tcp.port == %d",
		ip, client, ip, server, e.Client.Port, e.Server.Port)
}

// round keeps nanoseconds.
func round(seconds float64) float64 { return math.Round(seconds*1e9) / 1e9 }
