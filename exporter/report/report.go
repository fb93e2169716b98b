package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report/findings"
	"github.com/keepscope/keepscope/sniffer"
)

// A Report is everything that a run found out, as the JSON output has it.
// Durations are seconds.
type Report struct {
	Schema  int      `json:"schema"`
	Capture Capture  `json:"capture"`
	Totals  Summary  `json:"totals"`
	Servers []Server `json:"servers"` // most wasted seconds first, then by name
	// Findings are what to change, most valuable first, in this order in every view.
	Findings  []findings.Finding `json:"findings"`
	Explained []string           `json:"explained,omitempty"`         // the single wasted handshakes of a small capture
	Undecided []string           `json:"undecided,omitempty"`         // what could not be judged, and why
	Limits    []Limit            `json:"limits,omitempty"`            // that were met
	Resettled uint64             `json:"resettled_reasons,omitempty"` // that had been told otherwise
	Mergeable *Mergeable         `json:"mergeable,omitempty"`         // nil where it is no whole run's
}

// Schema is the version of the JSON report. Version 1 had none, and is read, too.
const Schema = 2

// A Limit is one of Keepscope's caps that was met, how often, and what that means.
type Limit struct {
	Name    string `json:"name"`
	Count   uint64 `json:"count"`
	Meaning string `json:"meaning"`
}

// A Capture says what the figures rest on. The caller fills it.
type Capture struct {
	Files             []string          `json:"files,omitempty"`
	Interfaces        []string          `json:"interfaces,omitempty"`
	LinkTypes         []string          `json:"link_types,omitempty"`
	Filter            string            `json:"filter,omitempty"`
	Ports             []uint16          `json:"ports,omitempty"`  // TCP, those that were analysed; none stands for all
	Server            string            `json:"server,omitempty"` // the report is of this one only, as naming.IsCalled has it
	Span              *Span             `json:"span,omitempty"`   // nil where the whole capture was read
	ReuseWindow       float64           `json:"reuse_window_seconds,omitempty"`
	FirstPacket       time.Time         `json:"first_packet,omitzero"`
	LastPacket        time.Time         `json:"last_packet,omitzero"`
	Packets           uint64            `json:"packets"`
	Bytes             uint64            `json:"bytes"`
	CutShort          bool              `json:"cut_short,omitempty"` // a file ended inside a packet
	Dropped           Dropped           `json:"dropped"`
	DecodeErrors      map[string]uint64 `json:"decode_errors,omitempty"`                 // by kind
	NotDecoded        *NotDecoded       `json:"not_decoded,omitempty"`                   // nil where there was nothing else
	TimeBack          uint64            `json:"packets_stamped_back,omitempty"`          // earlier than the packet before
	Restamped         uint64            `json:"packets_restamped,omitempty"`             // their times were far off: they have that of the packet before
	LostFragments     uint64            `json:"fragmented_datagrams_given_up,omitempty"` // for time or room
	Reassembly        Reassembly        `json:"reassembly"`
	Limits            fact.Limits       `json:"-"`                                    // of the stages before the tally
	Shard             *Shard            `json:"shard,omitempty"`                      // nil where it is all of the capture
	UnwatchedPairs    uint64            `json:"unwatched_pair_connections,omitempty"` // Build sets it
	FoldedConnections uint64            `json:"folded_connections,omitempty"`         // in "other"; Build sets it
}

// A Span is the part of a capture's time that was read.
type Span struct {
	Since   time.Time `json:"since,omitzero"` // zero: from the first packet
	Until   time.Time `json:"until,omitzero"` // zero: to the last one; its own packets are left out
	LeftOut uint64    `json:"packets_left_out"`
}

// Dropped counts the packets that were lost before they were analysed.
type Dropped struct {
	Kernel    uint64 `json:"kernel"`
	Interface uint64 `json:"interface"`
}

// Total returns how many packets were lost.
func (d Dropped) Total() uint64 { return d.Kernel + d.Interface }

// NotDecoded counts the packets that are well formed and neither TCP nor DNS, as
// far as decoding reaches.
type NotDecoded struct {
	Packets uint64         `json:"packets"`
	Numbers []UnreadNumber `json:"numbers"` // what they are; most packets first, rare ones left out
}

// An UnreadNumber is a number in a registry of protocols.
type UnreadNumber struct {
	Name    string `json:"name"` // in words, as in "UDP port 2152"
	Kind    string `json:"kind"` // ethertype, ip_protocol or udp_port
	Number  uint16 `json:"number"`
	Packets uint64 `json:"packets"`
}

// SetDecoded fills in what became of the packets before they were segments.
func (c *Capture) SetDecoded(s sniffer.DecodeStats) {
	c.DecodeErrors = map[string]uint64{}
	for kind, n := range s.Errors.All() {
		if n > 0 {
			c.DecodeErrors[kind.String()] = n
		}
	}
	c.TimeBack, c.LostFragments = s.TimeBack, s.FragmentsExpired+s.FragmentsEvicted
	c.NotDecoded = nil
	if s.Other == 0 {
		return
	}
	c.NotDecoded = &NotDecoded{Packets: s.Other, Numbers: []UnreadNumber{}}
	for _, u := range s.NotDecoded.All() {
		c.NotDecoded.Numbers = append(c.NotDecoded.Numbers, UnreadNumber{u.String(), u.Registry.String(), u.Number, u.Frames})
	}
}

// Reassembly counts what happened to the streams.
type Reassembly struct {
	MissingBytes       uint64 `json:"missing_bytes"`
	TruncatedBytes     uint64 `json:"truncated_bytes"`
	OutOfOrderSegments uint64 `json:"out_of_order_segments"`
	Retransmissions    uint64 `json:"retransmissions"`
	EvictedConnections uint64 `json:"evicted_connections"`
}

// A Summary holds the figures of one server, or of all. Ratios are nil where
// they have no value.
type Summary struct {
	Connections      uint64            `json:"connections"`
	Open             uint64            `json:"open,omitempty"` // of the connections, those that have not ended
	Midstream        uint64            `json:"midstream"`
	Used             uint64            `json:"-"` // of the connections, those that have carried a request
	Incomplete       uint64            `json:"incomplete"`
	Evicted          uint64            `json:"evicted"`
	Requests         uint64            `json:"requests"`
	Responses        uint64            `json:"responses"`
	ReusedRequests   uint64            `json:"reused_requests"`
	UnknownRequests  uint64            `json:"unknown_requests"` // the first on a midstream connection
	Unsolicited      uint64            `json:"unsolicited_responses"`
	Pipelined        uint64            `json:"pipelined_requests"`
	RequestsPerConn  Requests          `json:"requests_per_connection"`
	ReuseRatio       *float64          `json:"reuse_ratio"`
	Effectiveness    *float64          `json:"effectiveness"`
	Wasted           Wasted            `json:"wasted_handshakes"`
	NeededHandshakes uint64            `json:"needed_handshakes"`
	Handshakes       Handshakes        `json:"handshakes"`
	HandshakeKinds   map[string]uint64 `json:"handshake_kinds"`
	Protocols        map[string]uint64 `json:"protocols"`
	HTTPVersions     map[string]uint64 `json:"http_versions"` // connections that carried it
	StatusClasses    map[string]uint64 `json:"status_classes"`
	Reasons          map[string]uint64 `json:"reasons"`
	Negotiated       map[string]uint64 `json:"negotiated"`
	Races            uint64            `json:"races"`
	StaleReuses      uint64            `json:"stale_reuses"`
	FailedRequests   map[string]uint64 `json:"failed_requests"`
	RequestsLost     uint64            `json:"requests_lost,omitempty"` // whose heads were
	Attempts         Attempts          `json:"handshake_attempts"`
	Probes           Probes            `json:"probes"`
	Decryption       map[string]uint64 `json:"decryption"` // of TLS connections
	Idle             Idle              `json:"idle"`
	Exchanges        Quantiles         `json:"exchange_seconds"`
	Age              Quantiles         `json:"connection_seconds"`       // of connections that carried a request
	LimitRequests    *int64            `json:"requests_at_server_limit"` // median of the connections whose reason is server_limit
	UnreadBodies     uint64            `json:"unread_bodies"`
	Silent           uint64            `json:"silent_connections"` // without a byte of payload from either side
	SilentSeconds    float64           `json:"silent_seconds"`     // that opening them took
	TimeWait         TimeWait          `json:"time_wait"`
	Ports            *Ports            `json:"ports,omitempty"`
	MissingBytes     uint64            `json:"missing_bytes"`
	TruncatedBytes   uint64            `json:"truncated_bytes"`
	Bytes            Sides             `json:"bytes"`
	Packets          Sides             `json:"packets"`
	Estimated        *Estimated        `json:"estimated,omitempty"` // from encrypted records, apart from the rest
}

// A Server is the Summary of one name, or of one address and port.
type Server struct {
	Name      string   `json:"server"`
	Addresses []string `json:"addresses,omitempty"` // at most eight, the busiest first
	Summary
	AddressCount int      `json:"address_count"`
	Clients      []Client `json:"clients,omitempty"`     // at most ten, those that wasted most first
	BusiestShare *float64 `json:"busiest_address_share"` // of the counted requests, else of the estimated ones

	// Members are those whose figures these are; none where they are of all beyond a cap.
	Members []naming.Server `json:"-"`
}

// Estimated are figures guessed from the pattern of encrypted records. The
// handshakes themselves were seen; that they were wasted rests on the guess.
type Estimated struct {
	Connections     uint64            `json:"connections"`    // that carried at least one request
	Open            uint64            `json:"open,omitempty"` // connections that have not ended
	Requests        uint64            `json:"requests"`
	Responses       uint64            `json:"responses"`
	ReusedRequests  uint64            `json:"reused_requests"`
	Races           uint64            `json:"races"`
	StaleReuses     uint64            `json:"stale_reuses"`
	FailedRequests  map[string]uint64 `json:"failed_requests"`
	RequestsPerConn Requests          `json:"requests_per_connection"`
	ReuseRatio      *float64          `json:"reuse_ratio"`
	Effectiveness   *float64          `json:"effectiveness"`
	Wasted          Wasted            `json:"wasted_handshakes"`
	Needed          uint64            `json:"needed_handshakes"`
	ReuseIdle       Quantiles         `json:"reuse_idle"`
	RaceIdle        Quantiles         `json:"race_idle"`
	ReuseUnlisted   uint64            `json:"reuse_idle_unlisted,omitempty"` // reuses whose idle time is not in ReuseIdle
}

// Attempts are handshakes that did not come about as they should.
type Attempts struct {
	Refused    uint64 `json:"refused"`
	Unanswered uint64 `json:"unanswered"`
	Repeated   uint64 `json:"repeated"` // came about after their SYN was sent again
}

// Probes are health checks. They are part of all figures but of effectiveness.
type Probes struct {
	Connections uint64 `json:"connections"`
	Requests    uint64 `json:"requests"`
	Wasted      uint64 `json:"wasted_handshakes"`
}

// A Client is one client address of a server.
type Client struct {
	Address     string            `json:"address"`
	Software    string            `json:"software,omitempty"`
	Connections uint64            `json:"connections"`
	Wasted      map[string]uint64 `json:"wasted_handshakes"` // by cause
	Estimated   bool              `json:"estimated,omitempty"`
}

// Requests is the distribution of requests over the connections that carried
// at least one.
type Requests struct {
	Mean      float64        `json:"mean"`
	P50       int64          `json:"p50"`
	P90       int64          `json:"p90"`
	P99       int64          `json:"p99"`
	Max       int64          `json:"max"`
	Histogram RequestBuckets `json:"histogram"`
}

// RequestBuckets counts connections by how many requests they carried.
type RequestBuckets struct {
	One       uint64 `json:"1"`
	Few       uint64 `json:"2-9"`
	Tens      uint64 `json:"10-99"`
	Hundreds  uint64 `json:"100-999"`
	Thousands uint64 `json:"1000+"`
}

// Wasted counts the handshakes that an ideal pool would not have needed.
type Wasted struct {
	Total          uint64             `json:"total"`
	Probed         uint64             `json:"-"` // of Total, those of health checks
	ByCause        map[string]uint64  `json:"by_cause"`
	Seconds        float64            `json:"seconds"`
	SecondsByCause map[string]float64 `json:"seconds_by_cause"`
	SecondsByKind  Kinds              `json:"seconds_by_kind"`
}

// Kinds splits the cost of handshakes.
type Kinds struct {
	TCP float64 `json:"tcp"`
	TLS float64 `json:"tls"`
	DNS float64 `json:"dns"`
	// Connect is what CONNECT exchanges took, behind which a tunnel was.
	Connect float64 `json:"connect"`
}

// Handshakes are the times that handshakes took.
type Handshakes struct {
	TCP        Quantiles `json:"tcp"`
	TLSFull    Quantiles `json:"tls_full"`
	TLSResumed Quantiles `json:"tls_resumed"`
}

// Quantiles are those of a time in seconds; nil where nothing was counted.
type Quantiles struct {
	Count uint64   `json:"count"`
	P50   *float64 `json:"p50"`
	P90   *float64 `json:"p90"`
	P99   *float64 `json:"p99"`
	Max   *float64 `json:"max"`
}

// Idle are the times for which connections idled.
type Idle struct {
	Reuse             Quantiles   `json:"reuse"`
	Close             SideTimes   `json:"close"`
	Race              Quantiles   `json:"race"`
	ObservedTimeout   SideSeconds `json:"observed_timeout_seconds"`
	IdleClosings      SideCounts  `json:"idle_closings"`
	AdvertisedTimeout *float64    `json:"advertised_timeout_seconds"` // median over connections
	AdvertisedMax     *int64      `json:"advertised_max"`
}

// SideTimes are quantiles by who closed.
type SideTimes struct {
	Client Quantiles `json:"client"`
	Server Quantiles `json:"server"`
}

// SideSeconds is a time by side, nil where it was not observed.
type SideSeconds struct {
	Client *float64 `json:"client"`
	Server *float64 `json:"server"`
}

// SideCounts is a count by side.
type SideCounts struct {
	Client uint64 `json:"client"`
	Server uint64 `json:"server"`
}

// Sides is a count by who sent.
type Sides = SideCounts

// TimeWait counts which side's TIME_WAIT the closed connections left behind.
type TimeWait struct {
	Client uint64 `json:"client"`
	Server uint64 `json:"server"`
	None   uint64 `json:"none"`
}

// Ports says how near the busiest client address came to having no port left
// towards one address and port of the server.
type Ports struct {
	Peak     uint64   `json:"peak_new_connections_per_minute"` // in any 60 s, by steps of 5 s
	Range    uint64   `json:"range"`                           // ports that Linux chooses from by default
	Client   string   `json:"client"`
	Server   string   `json:"server"`
	TimeWait TimeWait `json:"time_wait"`
}

// compareServers puts first what cost most, then what was asked most: an order needs no
// label, so it counts what is counted and what is estimated alike.
func compareServers(a, b Server) int {
	sum := func(s *Summary) (all Part) {
		for _, p := range s.Parts() {
			all.Wasted.Seconds += p.Wasted.Seconds
			all.Wasted.Total += p.Wasted.Total
			all.Requests += p.Requests
		}
		return all
	}
	x, y := sum(&a.Summary), sum(&b.Summary)
	return cmp.Or(
		cmp.Compare(y.Wasted.Seconds, x.Wasted.Seconds),
		cmp.Compare(y.Wasted.Total, x.Wasted.Total),
		cmp.Compare(y.Requests, x.Requests),
		cmp.Compare(a.Name, b.Name),
	)
}

// A Part of a summary is either what was counted or what was estimated, which
// stands there in the fields of what is counted: a rule, a row or a figure serves
// both, and none mixes them.
type Part struct {
	Summary
	IsEstimated bool
}

// Parts returns what was counted, then what was estimated, if anything was. Where
// no request was counted but some were estimated, that is the only part. Every view
// shows parts, each figure behind its Mark.
func (s *Summary) Parts() []Part {
	e := s.Estimated
	if e == nil || e.Connections+e.Requests+e.Wasted.Total == 0 && s.Requests > 0 {
		counted := Part{Summary: *s}
		counted.Estimated = nil
		return []Part{counted}
	}
	estimated := Part{*s, true}
	p := &estimated.Summary
	p.Requests, p.Responses, p.ReusedRequests, p.Races = e.Requests, e.Responses, e.ReusedRequests, e.Races
	p.UnknownRequests, p.Exchanges, p.Used = 0, Quantiles{}, e.Connections
	p.RequestsPerConn, p.ReuseRatio, p.Effectiveness = e.RequestsPerConn, e.ReuseRatio, e.Effectiveness
	p.Wasted, p.NeededHandshakes = e.Wasted, e.Needed
	p.Idle.Reuse, p.Idle.Race = e.ReuseIdle, e.RaceIdle
	p.StaleReuses, p.FailedRequests = e.StaleReuses, e.FailedRequests
	p.Estimated = nil
	if s.Requests == 0 {
		return []Part{estimated}
	}
	p.Connections, p.Open = e.Connections, e.Open
	counted := Part{Summary: *s}
	counted.Open -= min(e.Open, s.Open)
	counted.Connections -= min(e.Connections, s.Connections)
	counted.Estimated = nil
	return []Part{counted, estimated}
}

// TopCause names what wasted most handshakes, "" without any.
func (s *Summary) TopCause() (top string) {
	for _, c := range slices.Sorted(maps.Keys(s.Wasted.ByCause)) {
		if s.Wasted.ByCause[c] > s.Wasted.ByCause[top] {
			top = c
		}
	}
	return top
}

// PerConnection returns how many requests there are so far on a connection with
// any, open ones included; 0 where there is none.
func (s *Summary) PerConnection() float64 { return share(s.Requests, s.Used) }

// Mark is what stands before an estimated figure: "~", and nothing before a counted one.
func (q *Part) Mark() string {
	if q.IsEstimated {
		return "~"
	}
	return ""
}

// WriteJSON writes the report as one indented object.
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// ReadJSON reads a report that WriteJSON wrote, and nothing else. Unknown fields
// are ignored, so that reports of other versions can be compared.
func ReadJSON(r io.Reader) (*Report, error) {
	var in struct {
		Capture  *Capture
		Totals   *Summary
		Servers  []Server
		Findings []findings.Finding
		Schema   int
		Limits   []Limit

		Mergeable *Mergeable
	}
	d := json.NewDecoder(r)
	if err := d.Decode(&in); err != nil {
		return nil, err
	}
	if in.Capture == nil || in.Totals == nil || in.Servers == nil {
		return nil, errors.New("it lacks capture, totals or servers")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows the first object")
	}
	return &Report{Schema: in.Schema, Capture: *in.Capture, Totals: *in.Totals, Servers: in.Servers, Findings: in.Findings, Limits: in.Limits, Mergeable: in.Mergeable}, nil
}
