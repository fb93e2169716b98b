package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/sniffer"
)

// A Report is everything that a run found out, as the JSON output has it.
// Durations are seconds.
type Report struct {
	Capture  Capture   `json:"capture"`
	Totals   Summary   `json:"totals"`
	Servers  []Server  `json:"servers"` // most wasted seconds first, then by name
	Findings []Finding `json:"findings"`
}

// A Capture says what the figures rest on. The caller fills it.
type Capture struct {
	Files             []string          `json:"files,omitempty"`
	Interfaces        []string          `json:"interfaces,omitempty"`
	LinkTypes         []string          `json:"link_types,omitempty"`
	Filter            string            `json:"filter,omitempty"`
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
	LostFragments     uint64            `json:"fragmented_datagrams_given_up,omitempty"` // for time or room
	Reassembly        Reassembly        `json:"reassembly"`
	UnwatchedPairs    uint64            `json:"unwatched_pair_connections,omitempty"` // Build sets it
	FoldedConnections uint64            `json:"folded_connections,omitempty"`         // in "other"; Build sets it
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
	Midstream        uint64            `json:"midstream"`
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
	BusiestShare *float64 `json:"busiest_address_share"` // of the counted requests, else of the estimated ones
}

// Estimated are figures guessed from the pattern of encrypted records. The
// handshakes themselves were seen; that they were wasted rests on the guess.
type Estimated struct {
	Connections     uint64    `json:"connections"` // that carried at least one request
	Requests        uint64    `json:"requests"`
	Responses       uint64    `json:"responses"`
	ReusedRequests  uint64    `json:"reused_requests"`
	Races           uint64    `json:"races"`
	RequestsPerConn Requests  `json:"requests_per_connection"`
	ReuseRatio      *float64  `json:"reuse_ratio"`
	Effectiveness   *float64  `json:"effectiveness"`
	Wasted          Wasted    `json:"wasted_handshakes"`
	Needed          uint64    `json:"needed_handshakes"`
	ReuseIdle       Quantiles `json:"reuse_idle"`
	RaceIdle        Quantiles `json:"race_idle"`
	ReuseUnlisted   uint64    `json:"reuse_idle_unlisted,omitempty"` // reuses whose idle time is not in ReuseIdle
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

// Build makes the report of what a has counted. It leaves a as it was.
func Build(a *Aggregate, c Capture) *Report {
	byName := map[string]*group{}
	for _, t := range []*servers{&a.names, &a.endpoints} {
		for _, s := range t.kept.items {
			joinGroup(byName, s)
		}
	}
	if a.other.connections > 0 {
		byName[otherName] = &group{name: otherName, sum: &a.other}
		c.FoldedConnections = a.other.connections
	}
	a.assignPorts(byName)
	r := &Report{Capture: c, Servers: []Server{}, Findings: []Finding{}}
	r.Capture.UnwatchedPairs = a.pairs.untracked
	var total, quiet stats // of all servers, and of those without findings
	var own []Finding
	var quietServers int
	for _, g := range byName {
		total.merge(g.sum)
		s := g.server()
		found := check(&s)
		if len(found) == 0 {
			quiet.merge(g.sum)
			quietServers++
		}
		own = append(own, found...)
		r.Servers = append(r.Servers, s)
	}
	slices.SortFunc(r.Servers, compareServers)
	r.Totals = total.summary()
	for _, s := range r.Servers {
		if s.Ports != nil && (r.Totals.Ports == nil || s.Ports.Peak > r.Totals.Ports.Peak) {
			r.Totals.Ports = s.Ports
		}
	}
	var rest *Server
	if quietServers > 1 {
		rest = &Server{Summary: quiet.summary(), AddressCount: quietServers}
	}
	r.Findings = findings(own, rest, &r.Totals)
	return r
}

// otherName stands for the servers that found no place in a full table.
const otherName = "other"

// compareServers puts first what cost most: an order needs no label, so
// handshakes count in it whether their waste is counted or estimated.
func compareServers(a, b Server) int {
	seconds := func(s *Summary) (sum float64) {
		for _, p := range s.Parts() {
			sum += p.Wasted.Seconds
		}
		return sum
	}
	wasted := func(s *Summary) (sum uint64) {
		for _, p := range s.Parts() {
			sum += p.Wasted.Total
		}
		return sum
	}
	return cmp.Or(
		cmp.Compare(seconds(&b.Summary), seconds(&a.Summary)),
		cmp.Compare(wasted(&b.Summary), wasted(&a.Summary)),
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
	if e == nil {
		return []Part{{Summary: *s}}
	}
	estimated := Part{*s, true}
	p := &estimated.Summary
	p.Requests, p.Responses, p.ReusedRequests, p.Races = e.Requests, e.Responses, e.ReusedRequests, e.Races
	p.UnknownRequests, p.Exchanges = 0, Quantiles{}
	p.RequestsPerConn, p.ReuseRatio, p.Effectiveness = e.RequestsPerConn, e.ReuseRatio, e.Effectiveness
	p.Wasted, p.NeededHandshakes = e.Wasted, e.Needed
	p.Idle.Reuse, p.Idle.Race = e.ReuseIdle, e.RaceIdle
	p.Estimated = nil
	if s.Requests == 0 {
		return []Part{estimated}
	}
	p.Connections = e.Connections
	counted := Part{Summary: *s}
	counted.Connections -= min(e.Connections, s.Connections)
	counted.Estimated = nil
	return []Part{counted, estimated}
}

// Mark is what stands before an estimated figure: "~", and nothing before a counted one.
func (q *Part) Mark() string {
	if q.IsEstimated {
		return "~"
	}
	return ""
}

// A group is the servers that the report lists under one name.
type group struct {
	name    string
	sum     *stats
	members []*server
	ports   *pair
}

func joinGroup(byName map[string]*group, s *server) {
	label := s.key.label()
	g := byName[label]
	if g == nil {
		g = &group{name: label, sum: new(stats)}
		byName[label] = g
	}
	g.members = append(g.members, s)
	g.sum.merge(&s.stats)
}

// load returns what the balance between addresses is judged by: requests of one
// kind.
func (s *stats) load(estimated bool) uint64 {
	if estimated {
		return s.estimated.requests
	}
	return s.counted.requests
}

const maxAddresses = 8

func (g *group) server() Server {
	out := Server{Name: g.name, Summary: g.sum.summary(), AddressCount: len(g.members)}
	estimated := g.sum.counted.requests == 0
	slices.SortFunc(g.members, func(a, b *server) int {
		return cmp.Or(cmp.Compare(b.load(estimated), a.load(estimated)), compareEndpoints(a.key.endpoint, b.key.endpoint))
	})
	for _, m := range g.members[:min(len(g.members), maxAddresses)] {
		out.Addresses = append(out.Addresses, m.key.endpoint.String())
	}
	if len(g.members) > 1 {
		out.BusiestShare = ratio(g.members[0].load(estimated), g.sum.load(estimated))
	}
	if g.ports != nil {
		out.Ports = g.ports.ports()
	}
	return out
}

// assignPorts gives every pair to the name with most connections on its
// endpoint: ports are shared by all names of an address, and a finding about
// them should appear once.
func (a *Aggregate) assignPorts(byName map[string]*group) {
	owner := map[sniffer.Endpoint]*server{}
	for _, t := range []*servers{&a.names, &a.endpoints} {
		for _, s := range t.kept.items {
			o := owner[s.key.endpoint]
			if o == nil || s.connections > o.connections ||
				s.connections == o.connections && s.key.label() < o.key.label() {
				owner[s.key.endpoint] = s
			}
		}
	}
	for _, p := range a.pairs.kept.items {
		s := owner[p.key.server]
		if s == nil {
			continue
		}
		g := byName[s.key.label()]
		if g.ports == nil || p.busier(g.ports) {
			g.ports = p
		}
	}
}

func (p *pair) busier(o *pair) bool {
	if a, b := p.busiest(), o.busiest(); a != b {
		return a > b
	}
	return p.key.compare(o.key) < 0
}

func (p *pair) ports() *Ports {
	return &Ports{
		Peak: p.busiest(), Range: ephemeralPorts,
		Client: p.key.client.Netip().String(), Server: p.key.server.String(),
		TimeWait: p.holds.report(),
	}
}

func (s *stats) summary() Summary {
	t := &s.counted
	out := Summary{
		Connections: s.connections, Midstream: s.midstream, Incomplete: s.incomplete, Evicted: s.evicted,
		Requests: t.requests, Responses: t.responses, ReusedRequests: t.reused, UnknownRequests: t.unknown,
		Unsolicited: s.unsolicited, Pipelined: s.pipelined,
		RequestsPerConn: t.distribution(), ReuseRatio: t.reuseRatio(), Effectiveness: t.effectiveness(),
		Wasted: t.wastedHandshakes(), NeededHandshakes: t.needed,
		Handshakes: Handshakes{
			TCP: s.tcp.quantiles(), TLSFull: s.tlsFull.quantiles(), TLSResumed: s.tlsResumed.quantiles(),
		},
		HandshakeKinds: named(s.handshakes[:], func(i int) string { return fact.Handshake(i).String() }),
		Protocols:      named(s.protocols[:], func(i int) string { return fact.Protocol(i).String() }),
		HTTPVersions:   named(s.versions[:], func(i int) string { return http.Version(i).String() }),
		StatusClasses:  named(s.statusClass[:], func(i int) string { return statusClasses[i] }),
		Reasons:        named(s.reasons[:], func(i int) string { return fact.Reason(i).String() }),
		Negotiated:     named(s.negotiated[:], func(i int) string { return fact.Outcome(i).String() }),
		Races:          t.races, Idle: s.idleTimes(),
		Exchanges: s.exchanges.quantiles(), Age: s.age.quantiles(),
		UnreadBodies: s.unread, Silent: s.silent, SilentSeconds: seconds(s.silentNS),
		TimeWait: s.holds.report(), MissingBytes: s.missing, TruncatedBytes: s.truncated,
		Bytes: Sides{s.bytes[0], s.bytes[1]}, Packets: Sides{s.packets[0], s.packets[1]},
	}
	if len(s.limited.cells) > 0 {
		out.LimitRequests = pointer(s.limited.median())
	}
	if s.estimated.connections > 0 {
		out.Estimated = s.estimated.estimate()
	}
	return out
}

var statusClasses = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (t *traffic) estimate() *Estimated {
	return &Estimated{
		Connections: t.connections, Requests: t.requests, Responses: t.responses, ReusedRequests: t.reused, Races: t.races,
		RequestsPerConn: t.distribution(), ReuseRatio: t.reuseRatio(), Effectiveness: t.effectiveness(),
		Wasted: t.wastedHandshakes(), Needed: t.needed,
		ReuseIdle: t.reuseIdle.quantiles(), RaceIdle: t.raceIdle.quantiles(), ReuseUnlisted: t.unlisted,
	}
}

func (t *traffic) reuseRatio() *float64 {
	return ratio(t.reused, t.requests-min(t.unknown, t.requests))
}

func (t *traffic) effectiveness() *float64 {
	wasted, _ := t.totalWasted()
	return ratio(t.reused, t.reused+wasted)
}

func (t *traffic) distribution() Requests {
	h := &t.perConnection
	n := h.count()
	if n == 0 {
		return Requests{}
	}
	one, ten, hundred, thousand := h.below(2), h.below(10), h.below(100), h.below(1000)
	return Requests{
		Mean: float64(h.sum()) / float64(n),
		P50:  h.quantile(50), P90: h.quantile(90), P99: h.quantile(99), Max: h.max,
		Histogram: RequestBuckets{one, ten - one, hundred - ten, thousand - hundred, n - thousand},
	}
}

func (t *traffic) wastedHandshakes() Wasted {
	n, ns := t.totalWasted()
	w := Wasted{
		Total: n, Seconds: seconds(ns),
		ByCause:        named(t.wasted[:], func(i int) string { return fact.Cause(i).String() }),
		SecondsByCause: map[string]float64{},
		SecondsByKind:  Kinds{seconds(t.tcpNS), seconds(t.tlsNS), seconds(t.dnsNS)},
	}
	for i, ns := range t.wastedNS {
		if t.wasted[i] > 0 {
			w.SecondsByCause[fact.Cause(i).String()] = seconds(ns)
		}
	}
	return w
}

func (s *stats) idleTimes() Idle {
	idle := Idle{
		Reuse: s.counted.reuseIdle.quantiles(), Race: s.counted.raceIdle.quantiles(),
		Close:        SideTimes{s.closeIdle[0].quantiles(), s.closeIdle[1].quantiles()},
		IdleClosings: SideCounts{s.idleClosing[0].count(), s.idleClosing[1].count()},
	}
	if ns, ok := observedTimeout(&s.idleClosing[fact.ByClient]); ok {
		idle.ObservedTimeout.Client = pointer(seconds(ns))
	}
	if ns, ok := observedTimeout(&s.idleClosing[fact.ByServer]); ok {
		idle.ObservedTimeout.Server = pointer(seconds(ns))
	}
	if len(s.advertisedTimeout.cells) > 0 {
		idle.AdvertisedTimeout = pointer(float64(s.advertisedTimeout.median()))
	}
	if len(s.advertisedMax.cells) > 0 {
		idle.AdvertisedMax = pointer(s.advertisedMax.median())
	}
	return idle
}

func (h *histogram) quantiles() Quantiles {
	if len(h.cells) == 0 {
		return Quantiles{}
	}
	q := func(p uint64) *float64 { return pointer(seconds(h.quantile(p))) }
	return Quantiles{Count: h.count(), P50: q(50), P90: q(90), P99: q(99), Max: pointer(seconds(h.max))}
}

func (h holders) report() TimeWait {
	return TimeWait{Client: h.client, Server: h.server, None: h.none}
}

// named makes the JSON object of the counts that are not zero.
func named(counts []uint64, name func(int) string) map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range counts {
		if n > 0 {
			m[name(i)] = n
		}
	}
	return m
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

func pointer[T any](v T) *T { return &v }

// ratio returns a/b, or nil where b is 0.
func ratio(a, b uint64) *float64 {
	if b == 0 {
		return nil
	}
	return pointer(float64(a) / float64(b))
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
		Findings []Finding
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
	return &Report{*in.Capture, *in.Totals, in.Servers, in.Findings}, nil
}
