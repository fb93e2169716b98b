package story

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
)

// A Moment is nanoseconds since the start of a story, or how long something took. In
// JSON it is seconds.
type Moment int64

// MarshalJSON writes seconds with as many digits as there are nanoseconds.
func (m Moment) MarshalJSON() ([]byte, error) {
	b := strconv.AppendInt(nil, int64(m)/1e9, 10)
	rest := int64(m) % 1e9
	if m < 0 {
		b, rest = strconv.AppendInt([]byte("-"), -(int64(m)/1e9), 10), -rest
	}
	if rest == 0 {
		return b, nil
	}
	digits := strconv.AppendInt(nil, 1e9+rest, 10)[1:]
	for digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	return append(append(b, '.'), digits...), nil
}

// Seconds is the moment as a number.
func (m Moment) Seconds() float64 { return float64(m) / 1e9 }

// A Story is some connections of one client, one server and one name. Its moments are
// since Start.
type Story struct {
	Client      string    `json:"client"`  // address
	Server      string    `json:"server"`  // address and port
	Name        string    `json:"name"`    // what the client calls it, its address without a name
	Start       time.Time `json:"start"`   // of the first connection
	Subject     string    `json:"subject"` // the cause or the reason that it shows; "" for an ordinary one
	Connection  ID        `json:"connection"`
	Headline    string    `json:"headline"`
	Says        []string  `json:"says"`              // what can be learned, in sentences
	Connections uint64    `json:"connections"`       // of the pair, those that were looked at
	Wasted      uint64    `json:"wasted_handshakes"` // of them
	Alike       uint64    `json:"alike"`             // connections of the pair with this subject
	Lossy       bool      `json:"incomplete"`        // bytes were lost where they mattered
	Lanes       []Lane    `json:"lanes"`
	Ideal       []Ideal   `json:"ideal"`
	Filter      string    `json:"display_filter"` // for Wireshark, of the packets of the story
	Length      Moment    `json:"seconds"`

	// Who is what other views call the server.
	Who naming.Server `json:"-"`

	focus   uint64
	subject fact.Cause
}

// An ID names a connection: 16 hexadecimal digits.
type ID uint64

// ParseID reads the 16 digits; ok is false for anything else.
func ParseID(s string) (id ID, ok bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return ID(n), err == nil && len(s) == 16
}

// String returns the 16 digits.
func (id ID) String() string {
	const zeros = "0000000000000000"
	s := strconv.FormatUint(uint64(id), 16)
	return zeros[len(s):] + s
}

// MarshalJSON writes the digits as a string.
func (id ID) MarshalJSON() ([]byte, error) { return json.Marshal(id.String()) }

// A Lane is one connection.
type Lane struct {
	ID          ID             `json:"id"`
	CommunityID string         `json:"community_id"`
	Label       string         `json:"label"` // "c1"
	Port        uint16         `json:"client_port"`
	Start       Moment         `json:"start"`
	End         Moment         `json:"end"` // its last packet
	Frame       uint32         `json:"frame,omitempty"`
	Protocol    string         `json:"protocol"`
	TLS         string         `json:"tls,omitempty"` // version, and whether it was resumed
	Target      string         `json:"tunnel,omitempty"`
	Before      bool           `json:"opened_before,omitempty"` // before the capture, or its first packets are missing
	Opening     []Phase        `json:"opening,omitempty"`
	Exchanges   []Exchange     `json:"exchanges,omitempty"`
	More        uint32         `json:"more_exchanges,omitempty"` // left out in the middle
	Idle        []Stretch      `json:"idle,omitempty"`
	Announced   []Announcement `json:"announced,omitempty"`
	Closings    []Closing      `json:"closings,omitempty"`
	Repeated    uint8          `json:"retransmissions,omitempty"` // segments of data that brought nothing new; 255 or more
	Open        bool           `json:"open,omitempty"`            // at the end
	Reason      string         `json:"reason"`
	Verdict     string         `json:"verdict"`
	Cause       string         `json:"cause,omitempty"`
	Cost        Moment         `json:"cost"`
	Requests    uint32         `json:"requests"`
	Reused      uint32         `json:"reused_requests"`
	CouldReuse  *CouldReuse    `json:"could_reuse,omitempty"`

	reason fact.Reason
	unread bool // encrypted, so that what it carries is not known
	lane   lane // as it was when it was asked for
}

// A Phase is a part of opening a connection.
type Phase struct {
	What  string `json:"what"` // "dns", "tcp" or "tls"
	At    Moment `json:"at"`
	Lasts Moment `json:"lasts"`
	Note  string `json:"note,omitempty"`
}

// An Exchange is a request and its response.
type Exchange struct {
	Index     uint32  `json:"index"`
	Stream    uint32  `json:"stream,omitempty"` // of HTTP/2
	Method    string  `json:"method,omitempty"`
	Status    uint16  `json:"status,omitempty"`
	Start     Moment  `json:"start"`
	FirstByte *Moment `json:"first_byte,omitempty"`
	End       *Moment `json:"end,omitempty"`
	Reuse     string  `json:"reused"`
	Outcome   string  `json:"negotiated"`
	Failure   string  `json:"failure,omitempty"`
	Interim   uint8   `json:"interim_responses,omitempty"`
	Estimated bool    `json:"estimated,omitempty"`
	Frames    []Frame `json:"frames,omitempty"`

	outcome fact.Outcome
	until   Moment // End, or where it is drawn to
}

// A Frame is a frame of the capture, and what it shows.
type Frame struct {
	Number uint32 `json:"number"`
	Shows  string `json:"shows"`
}

// A Stretch is a time in which nothing was under way.
type Stretch struct {
	From     Moment  `json:"from"`
	To       Moment  `json:"to"`
	Probes   uint32  `json:"keepalive_probes,omitempty"`
	Interval *Moment `json:"probe_interval,omitempty"`
	By       string  `json:"probes_by,omitempty"`
}

// An Announcement tells that, or for how long, a connection is kept.
type Announcement struct {
	At   Moment `json:"at"`
	By   string `json:"by"`
	What string `json:"what"`
}

// A Closing is a side's.
type Closing struct {
	By    string `json:"by"`
	With  string `json:"with"`
	At    Moment `json:"at"`
	Frame uint32 `json:"frame,omitempty"`
}

// A CouldReuse is the connection that could have carried the first request of a wasted
// one.
type CouldReuse struct {
	ID     ID      `json:"id"`
	Port   uint16  `json:"client_port"`
	Label  string  `json:"label,omitempty"`        // of its lane, "" where it is not shown
	Until  *Moment `json:"usable_until,omitempty"` // without it: it was usable still
	Reason string  `json:"reason"`
	Why    string  `json:"why"`
}

// An Ideal is one of the connections that would have been enough.
type Ideal struct {
	Carries []Ride `json:"carries"`
}

// A Ride is an exchange on another connection than its own, or on that.
type Ride struct {
	Lane     int `json:"lane"`     // of Story.Lanes
	Exchange int `json:"exchange"` // of its Exchanges
}
