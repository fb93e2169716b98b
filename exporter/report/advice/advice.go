// Package advice knows the settings by which clients and servers keep connections: one
// sentence for each habit and software, as data, in one table.
//
// It answers the question of a finding: which setting has to change, where the software
// at fault was recognised on the wire (package software); and which are the most likely
// ones, where it was not.
package advice

import (
	"slices"
	"strings"

	"github.com/keepscope/keepscope/analyzer/software"
)

// A Habit is something that a side does, and that a setting of that side changes.
type Habit uint8

// The habits, named for the findings that tell of them.
const (
	None Habit = iota
	ClientCloses
	HTTP10NotRequested
	HTTP10Declined
	PoolTooSmall
	ClientDiscards
	BodyUnread
	ClientAborts
	ClientIdleTimeout
	IdleTimeoutOrder // the client's must be below the server's
	NeverReused
	PoolSplit
	PoolLimits
	HintTooShort
	ClientRequestLimit
	CloseIgnored
	StaleReuse
	PathTimeout
	ShortUpgrades
	UpgradesCut
	Tunnels
	NameSpread
	NameFollowed
	ChannelPerCall
	GRPCSticky
	PingsTooOften
	TooMuch
	InadequateSecurity
	HTTP11Required
	GoawayErrors
	ServerCloses
	ServerDiscards
	ServerAborts
	Preconnects  // of connections that the server closes before they are used
	ServerResets // of streams, beside connections that go on
	RequestLimit
	NoLength
	ErrorsClose
	ServerIdleTimeout
	Restarts
	SlowHandshakes
	Refused
	Unanswered
	GoawayOften
	StreamLimit
	ClosesAfterResponse
	TooSticky
	NumHabits
)

// A Side is whose setting a row names.
type Side uint8

// The sides.
const (
	Client Side = iota
	Server
)

// A Row is one software's setting for a habit.
type Row struct {
	Software software.ID // Unknown: a likely one that does not name itself on the wire
	Setting  string      // begins with the software's name; without a full stop
	Since    string      // the version since which it holds; "" is any in use
}

// rows are the settings of one side. The first Likely are the most likely ones where the
// software is not known.
type rows struct {
	side Side
	// only says that nothing is guessed: it speaks where the software is known.
	only bool
	list []Row
}

// An entry is what is known of a habit: what to do in general, and how.
type entry struct {
	general string
	by      []rows // the side at fault first
}

// Likely is how many settings are named where the software is not known.
const Likely = 5

// kin are softwares that have another's settings, where they have none of their own.
var kin = map[software.ID]software.ID{
	software.OpenResty: software.Nginx, software.IstioEnvoy: software.Envoy,
	software.PycURL: software.LibCurl, software.Axios: software.NodeFetch, software.Got: software.NodeFetch,
	software.Express: software.Node, software.GRPCCPP: software.GRPCPython,
	software.Werkzeug: software.PythonHTTPServer, software.PythonURLLib3: software.PythonRequests,
}

// An Advice says what to change. Its sentences are without a full stop.
type Advice struct {
	Settings []string // of the software at fault, where it is known
	General  string
	Likely   []string // settings, of a side whose software is not known
}

// For returns what to change against a habit: the settings of the software at fault,
// each once, the client's and the server's; the likely ones of a side of which none is
// known. It is empty of [None].
func For(habit Habit, clients, servers []software.ID) (a Advice) {
	if habit >= NumHabits {
		return a
	}
	e := &table[habit]
	a.General = e.general
	for i := range e.by {
		r := &e.by[i]
		ids := clients
		if r.side == Server {
			ids = servers
		}
		if known := r.known(ids); len(known) > 0 {
			a.Settings = append(a.Settings, known...)
		} else if !r.only {
			a.Likely = append(a.Likely, r.likely()...)
		}
	}
	return a
}

// Or adds what to change against another habit, which looks the same. Settings that are
// likely are left out beside those of the software at fault.
func (a *Advice) Or(o Advice) {
	for _, setting := range o.Settings {
		if !slices.Contains(a.Settings, setting) {
			a.Settings = append(a.Settings, setting)
		}
	}
	if o.General != "" {
		a.General += ". Or: " + strings.ToLower(o.General[:1]) + o.General[1:]
	}
	if len(o.Settings) > 0 {
		a.Likely = nil
	}
}

// String returns the advice as sentences, the settings of the software at fault first.
func (a *Advice) String() string {
	sentences := slices.Clone(a.Settings)
	if a.General != "" {
		sentences = append(sentences, a.General)
	}
	if len(a.Likely) > 0 {
		sentences = append(sentences, "Likely: "+strings.Join(a.Likely, "; "))
	}
	if len(sentences) == 0 {
		return ""
	}
	return strings.Join(sentences, ". ") + "."
}

// Known reports whether the side at fault of a habit has a setting of its own in the
// table.
func Known(habit Habit, id software.ID) bool {
	if habit >= NumHabits {
		return false
	}
	for i := range table[habit].by {
		if table[habit].by[i].find(id) != nil {
			return true
		}
	}
	return false
}

// String returns the setting, with its version.
func (r *Row) String() string {
	if r.Since == "" {
		return r.Setting
	}
	if inner, ends := strings.CutSuffix(r.Setting, ")"); ends {
		return inner + "; since " + r.Since + ")"
	}
	return r.Setting + " (since " + r.Since + ")"
}

// known returns the settings of those softwares that are in the list, each once.
func (r *rows) known(ids []software.ID) (settings []string) {
	for _, id := range ids {
		if row := r.find(id); row != nil && !slices.Contains(settings, row.String()) {
			settings = append(settings, row.String())
		}
	}
	return settings
}

func (r *rows) find(id software.ID) *Row {
	for ; id != software.Unknown; id = kin[id] {
		for i := range r.list {
			if r.list[i].Software == id {
				return &r.list[i]
			}
		}
	}
	return nil
}

func (r *rows) likely() []string {
	var settings []string
	for i := range r.list[:min(len(r.list), Likely)] {
		settings = append(settings, r.list[i].String())
	}
	return settings
}
