// Package advice knows the settings by which clients and servers keep connections: one
// sentence for each habit and software, as data, in one table.
//
// It answers the question of a finding: which setting has to change, where the software
// at fault was recognised on the wire (package software); and which are the most likely
// ones, where it was not.
package advice

import (
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
	Tunnels
	NameSpread
	ChannelPerCall
	GRPCSticky
	PingsTooOften
	ServerCloses
	ServerDiscards
	ServerAborts
	RequestLimit
	NoLength
	ErrorsClose
	ServerIdleTimeout
	Restarts
	SlowHandshakes
	Refused
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

// For returns what to change against a habit, sentences without a full stop: the
// setting of the software at fault, first and alone of its side where it is known; else
// what to do in general, and the likely settings. An entry of [None] is empty.
func For(habit Habit, client, server software.ID) []string {
	if habit >= NumHabits {
		return nil
	}
	e := &table[habit]
	var own, likely []string
	for _, r := range e.by {
		id := client
		if r.side == Server {
			id = server
		}
		if row := r.find(id); row != nil {
			own = append(own, row.String())
			continue
		}
		if !r.only {
			likely = append(likely, r.likely()...)
		}
	}
	if e.general == "" {
		return append(own, likely...)
	}
	return append(append(own, e.general), likely...)
}

// Known reports whether the side at fault of a habit has a setting of its own in the
// table.
func Known(habit Habit, id software.ID) bool {
	if habit >= NumHabits {
		return false
	}
	for _, r := range table[habit].by {
		if r.find(id) != nil {
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
