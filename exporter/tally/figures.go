package tally

import (
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/clients"
	"github.com/keepscope/keepscope/sniffer"
)

// The parts of what a connection's opening costs.
const (
	CostTCP = iota
	CostTLS
	CostDNS
	CostConnect
	NumCosts
)

// The kinds of handshakes.
const (
	HandshakeTCP = iota
	HandshakeTLSFull
	HandshakeTLSResumed
	NumHandshakeKinds
)

// NumSides is how many sides a connection has: fact.ByClient and fact.ByServer.
const NumSides = fact.ByServer + 1

// NumStatusClasses is how many classes of status codes there are, by the first
// digit; 0 is no response.
const NumStatusClasses = 6

// Figures are what is kept of a server: counts, and sums in nanoseconds.
//
// What is about requests and verdicts is counted when it is told, so a connection
// that lives for days is seen; what is about connections, when they end. Of those
// whose requests are estimated all is counted when they end, for nothing of it is
// certain before.
type Figures struct {
	Created int64 // time of the first fact
	Active  int64 // time of the newest

	Opened    [fact.NumHandshakes]uint64 // connections, by what was seen of the handshake when they were
	Open      int64                      // of them those that have not ended
	Leaving   int64                      // of Open those that are closed, but not told in full
	Encrypted bool                       // there was TLS

	Counted   Traffic
	Estimated *Traffic // nil without
	Probed    *Probed  // what health checks did, as soon as they were known; nil without

	// Of exchanges.
	Outcomes      [fact.NumOutcomes]uint64
	StatusClasses [NumStatusClasses]uint64
	Exchanges     Histogram // request's first byte to response's last

	// Of connections that have ended.
	Closed                        [fact.NumClosedBy][fact.NumReasons]uint64
	Handshakes                    [fact.NumHandshakes]uint64
	Protocols                     [fact.NumProtocols]uint64
	Versions                      [http.NumVersions]uint64 // connections that carried it
	Keys                          [fact.NumKeys]uint64     // TLS connections
	Software                      [software.NumIDs]uint32  // of servers, by connection
	Incomplete                    uint64
	Unread, Stalled               Counted // the client left a body; its window stood at zero
	Unsolicited, Pipelined, Lost  uint64
	Missing, Truncated            uint64
	Bytes, Packets                [2]uint64
	Silent                        Counted // that carried nothing
	UnusedTLS                     Counted // a TLS handshake being all
	Repeated                      Counted // handshakes whose SYN was sent again
	RepeatDelay                   Histogram
	StallsToEnd, StallsOver       Histogram // how long windows stood at zero: to the end, or not
	StallsOpen                    Recent    // since when, on connections that were open at the end
	UnreadHTTP2                   Counted   // HTTP/2 without keys: their requests are not known
	TimeWait                      TimeWait
	Duration                      Histogram
	Age                           Histogram    // Duration of those that carried a request
	Limited                       Histogram    // requests on those that the server's limit ended
	CloseIdle                     [2]Histogram // by who closed, all closings
	IdleClosings                  [2]Recent    // by who closed, those that a timer can have made
	Discards                      [2]Recent    // by who closed, those within 1 s of the response
	AdvertisedTimeouts            Histogram    // seconds
	AdvertisedMax                 Histogram
	Advertised                    uint32 // seconds, the newest
	AdvertisedAt                  int64  // when, 0 if never
	HandshakeTimes                [NumHandshakeKinds]Histogram
	EstimatedOpened, EstimatedEnd uint64 // connections whose requests are estimated: all, and those that have ended

	Path    Path
	HTTP2   *HTTP2                     // nil without
	Errors  [len(ErrorStatuses)]uint64 // responses that announced the closing, by status
	Ignored [fact.NumReasons]uint64    // what had announced closings that were ignored, by failed request
	Tunnels Tunnels                    // at most maxTunnels
	Clients clients.Table
	Newest  Newest
}

// ErrorStatuses are those of error responses that are told apart; 0 is any other.
var ErrorStatuses = [...]uint16{0, 400, 401, 403, 404, 405, 408, 411, 413, 414, 417, 422, 429, 431, 500, 501, 502, 503, 504}

// A Counted is how often something was seen, the time that it took, and the newest
// of them.
type Counted struct {
	N       uint64
	NS      int64
	Example Example
}

// A Failed counts requests that failed in one way.
type Failed struct {
	N       uint64
	Idle    Histogram // of their connections before
	GivenUp Histogram // request's first byte to the closing that left it unanswered
	Example Example
}

// A Path is what lies between clients and a server.
type Path struct {
	Survived  int64     // the longest idle time before a request that the path did not lose
	Dropped   Histogram // idle times that were not survived
	Probes    [2]uint64 // TCP keep-alive probes of each side
	Intervals Histogram // of them, one a connection
}

// A Tunnel is what CONNECT opened to one target.
type Tunnel struct {
	Opened uint64
	Wasted [fact.NumCauses]Counted
}

// Tunnels has them by target.
type Tunnels map[string]*Tunnel

// maxTunnels is how many targets of CONNECT are told apart on a server.
const maxTunnels = 32

// Probed is the part of a server's figures that is of health checks.
type Probed struct {
	Traffic  Traffic
	Outcomes [fact.NumOutcomes]uint64
	Closed   [fact.NumClosedBy][fact.NumReasons]uint64
}

// A Traffic is what is either counted or estimated from encrypted records. The two
// never mix.
type Traffic struct {
	Requests      [http.NumVersions][fact.NumReuses]uint64
	Responses     uint64
	Connections   uint64    // that carried a request; of those that are counted also open ones
	PerConnection Histogram // requests on each of them
	ReuseIdle     Histogram
	Unlisted      uint64 // reuses whose idle time is not in ReuseIdle

	Failed      [fact.NumFailures]Failed
	Races       uint64 // connections whose reason it is
	StaleReuses uint64 // likewise
	RaceIdle    Histogram
	Crossed     Histogram // how long connections had been open whose first request crossed the server's closing
	Raced       Example
	ClosedAfter Histogram // requests on connections that either side closed unannounced right after the last

	Needed   uint64
	Wasted   [fact.NumCauses]uint64
	WastedNS [fact.NumCauses]int64
	CostNS   [NumCosts]int64
	WastedBy [fact.NumCauses]Example
}

// An Example is a connection to which an increase is due.
type Example struct {
	ID             uint64
	Client, Server sniffer.Endpoint
	Time           int64 // 0 if there is none
}

// TimeWait counts which side's TIME_WAIT a connection left behind: that of the
// side whose FIN came first (RFC 9293 §3.6); a reset leaves none.
type TimeWait struct{ Client, Server, None uint64 }

// set takes a connection that is newer. It is field by field: an example made
// elsewhere would be copied twice (BenchmarkConnection).
func (e *Example) set(c *fact.Connection) {
	if !e.older(c.End, c.ID) {
		return
	}
	e.ID = c.ID
	e.Client = c.Client
	e.Server = c.Server
	e.Time = c.End
}

// opened counts a connection that exists.
func (f *Figures) opened(c *fact.Connection) {
	f.Active = max(f.Active, c.End)
	f.Opened[min(c.Handshake, fact.NumHandshakes-1)]++
	f.Open++
	f.Encrypted = f.Encrypted || c.TLS != nil
	if c.Estimated {
		f.EstimatedOpened++
	}
	if c.HandshakeTime >= 0 {
		f.HandshakeTimes[HandshakeTCP].Add(c.HandshakeTime)
	}
}

// OneWay says whether only one direction was captured: no side sends bytes to one that sent
// no packet. Both are by side.
func OneWay(packets, bytes [2]uint64) bool {
	return packets[0] == 0 && bytes[1] > 0 || packets[1] == 0 && bytes[0] > 0
}

// exchange counts a request.
func (f *Figures) exchange(e *fact.Exchange) {
	f.Active = max(f.Active, e.Start, e.End)
	f.Counted.Requests[min(e.Version, http.NumVersions-1)][min(e.Reuse, fact.NumReuses-1)]++
	if e.Index == 1 {
		f.Counted.Connections++
	}
	f.Outcomes[min(e.Outcome, fact.NumOutcomes-1)]++
	f.StatusClasses[min(e.Status/100, NumStatusClasses-1)]++
	if e.Outcome == fact.ServerClose && e.Status >= 400 {
		f.Errors[max(slices.Index(ErrorStatuses[:], e.Status), 0)]++
	}
	if e.Failure != fact.NotFailed {
		f.Counted.failed(e)
	}
	if e.End != 0 {
		f.Exchanges.Add(e.End - e.Start)
	}
	if e.Idle >= 0 {
		f.Counted.ReuseIdle.Add(e.Idle)
		if e.Failure != fact.FailPathDropped {
			f.Path.Survived = max(f.Path.Survived, e.Idle)
		}
	}
}

// judged counts the verdict on a connection whose requests are counted.
func (f *Figures) judged(c *fact.Connection) {
	f.Active = max(f.Active, c.End)
	f.tls(c)
	if !c.Estimated {
		f.Counted.judged(c)
	}
}

// ended counts a connection that has ended.
func (f *Figures) ended(c *fact.Connection) {
	f.Active = max(f.Active, c.End)
	f.Open--
	if c.Left {
		f.Leaving--
	}
	f.closed(c)
	f.carried(c)
	f.idle(c)
	f.times(c)
	f.unusual(c)
	if c.Estimated {
		f.EstimatedEnd++
		f.estimate().estimated(c)
		return
	}
	f.Counted.ended(c)
}

func (f *Figures) estimate() *Traffic {
	if f.Estimated == nil {
		f.Estimated = new(Traffic)
	}
	return f.Estimated
}

func (f *Figures) closed(c *fact.Connection) {
	f.Closed[min(c.ClosedBy, fact.NumClosedBy-1)][min(c.Reason, fact.NumReasons-1)]++
	f.Handshakes[min(c.Handshake, fact.NumHandshakes-1)]++
	f.TimeWait.add(c)
	if c.BodyUnread {
		f.Unread.add(c, 0)
	}
	if c.Reason == fact.ReasonServerLimit && c.Handshake != fact.HandshakeMidstream {
		f.Limited.Add(int64(c.Requests)) // of one joined midstream nobody knows how many came before
	}
	if c.Reason == fact.ReasonNeverUsed && c.Handshake != fact.HandshakeMidstream {
		f.unused(c)
	}
}

// Cost returns what the connection's opening took.
func Cost(c *fact.Connection) int64 {
	return c.Cost.TCP + c.Cost.TLS + c.Cost.DNS + c.Cost.Connect
}

// unused counts a connection that was opened and not asked anything: one that
// carried nothing at all, and one on which TLS was all. One joined midstream may have
// carried something before.
func (f *Figures) unused(c *fact.Connection) {
	switch {
	case c.TLS != nil:
		f.UnusedTLS.add(c, Cost(c))
	case c.Bytes[0]|c.Bytes[1]|c.Missing|c.Truncated == 0:
		f.Silent.add(c, Cost(c))
	}
}

func (n *Counted) add(c *fact.Connection, ns int64) {
	n.N++
	n.NS += ns
	n.Example.set(c)
}

func (f *Figures) carried(c *fact.Connection) {
	f.Protocols[min(c.Protocol, fact.NumProtocols-1)]++
	for v, seen := range c.Versions {
		if seen {
			f.Versions[v]++
		}
	}
	if c.Incomplete {
		f.Incomplete++
	}
	f.Unsolicited += uint64(c.Unsolicited)
	f.Pipelined += uint64(c.Pipelined)
	f.Lost += uint64(c.RequestsLost)
	f.Software[c.Software[1]]++
	if c.TLS != nil {
		f.Keys[min(c.Keys, fact.NumKeys-1)]++
	}
	f.Missing += c.Missing
	f.Truncated += c.Truncated
	for i := range c.Bytes {
		f.Bytes[i] += c.Bytes[i]
		f.Packets[i] += uint64(c.Packets[i])
	}
}

func (f *Figures) idle(c *fact.Connection) {
	if c.CloseIdle >= 0 && c.ClosedBy < NumSides {
		f.CloseIdle[c.ClosedBy].Add(c.CloseIdle)
		switch {
		case byTimer(c):
			f.IdleClosings[c.ClosedBy].add(c.End, c.CloseIdle)
		case c.Reason == fact.ReasonClientDiscard || c.Reason == fact.ReasonServerDiscard:
			idle := c.CloseIdle
			if c.ClosedBy == fact.ByClient {
				idle = max(idle-c.ClientTrip, 0) // what was on the way is no timeout
			}
			f.Discards[c.ClosedBy].add(c.End, idle)
		}
	}
	if c.HasAdvertisedTimeout {
		f.AdvertisedTimeouts.Add(int64(c.AdvertisedTimeout))
		if c.End >= f.AdvertisedAt {
			f.Advertised, f.AdvertisedAt = c.AdvertisedTimeout, c.End
		}
	}
	if c.HasAdvertisedMax {
		f.AdvertisedMax.Add(int64(c.AdvertisedMax))
	}
}

func (f *Figures) times(c *fact.Connection) {
	f.Duration.Add(c.End - c.Start)
	if c.Requests > 0 {
		f.Age.Add(c.End - c.Start)
	}
	if c.Verdict == fact.VerdictNone { // else it was counted with that
		f.tls(c)
	}
}

func (f *Figures) tls(c *fact.Connection) {
	switch {
	case c.TLS == nil || c.TLS.Handshake < 0:
	case c.TLS.Resumed:
		f.HandshakeTimes[HandshakeTLSResumed].Add(c.TLS.Handshake)
	default:
		f.HandshakeTimes[HandshakeTLSFull].Add(c.TLS.Handshake)
	}
}

// ended counts what the end tells of a connection whose requests were counted
// one by one.
func (t *Traffic) ended(c *fact.Connection) {
	t.Responses += uint64(c.Responses)
	switch {
	case c.Race:
		t.Races++
		t.RaceIdle.Add(c.RaceIdle)
		t.Raced.set(c)
	case c.Reason == fact.ReasonStaleReuse:
		t.StaleReuses++
	}
	if c.Requests == 0 {
		return
	}
	t.PerConnection.Add(int64(c.Requests))
	if (c.Reason == fact.ReasonClientDiscard || c.Reason == fact.ReasonServerDiscard) && c.Handshake != fact.HandshakeMidstream {
		t.ClosedAfter.Add(int64(c.Requests))
	}
}

// failed counts a request that failed.
func (t *Traffic) failed(e *fact.Exchange) {
	f := &t.Failed[min(e.Failure, fact.NumFailures-1)]
	f.N++
	if e.Idle >= 0 {
		f.Idle.Add(e.Idle)
	}
	if e.GivenUp > 0 {
		f.GivenUp.Add(e.GivenUp)
	}
	if e.Crossed {
		t.Crossed.Add(e.Start - e.Opened)
	}
	if at := max(e.Start, e.End); f.Example.older(at, e.Connection) {
		f.Example = Example{e.Connection, e.Client, e.Server, at}
	}
}

// estimated counts all of a connection whose requests are guesses.
func (t *Traffic) estimated(c *fact.Connection) {
	t.ended(c)
	t.judged(c)
	if c.Requests > 0 {
		t.Connections++
	}
	first := c.Requests - min(c.Reused, c.Requests)
	reuse := fact.FirstRequest
	if c.Handshake == fact.HandshakeMidstream {
		reuse = fact.UnknownReuse
	}
	t.Requests[http.VersionUnknown][reuse] += uint64(first)
	t.Requests[http.VersionUnknown][fact.ReusedRequest] += uint64(c.Requests - first)
	for _, ns := range c.ReuseIdle {
		t.ReuseIdle.Add(ns)
	}
	t.Unlisted += uint64(c.MoreReuseIdle)
	for how, n := range c.Failed {
		if n > 0 {
			f := &t.Failed[how]
			f.N += uint64(n)
			f.Example.set(c)
		}
	}
}

func (t *Traffic) judged(c *fact.Connection) {
	switch c.Verdict {
	case fact.VerdictNeeded:
		t.Needed++
	case fact.VerdictWasted:
		cause := min(c.Cause, fact.NumCauses-1)
		t.Wasted[cause]++
		t.WastedNS[cause] += Cost(c)
		t.CostNS[CostTCP] += c.Cost.TCP
		t.CostNS[CostTLS] += c.Cost.TLS
		t.CostNS[CostDNS] += c.Cost.DNS
		t.CostNS[CostConnect] += c.Cost.Connect
		t.WastedBy[cause].set(c)
	case fact.VerdictNone:
	}
}

func (w *TimeWait) add(c *fact.Connection) {
	switch {
	case c.ClosedWith == fact.WithFIN && c.ClosedBy == fact.ByClient:
		w.Client++
	case c.ClosedWith == fact.WithFIN && c.ClosedBy == fact.ByServer:
		w.Server++
	case c.ClosedWith == fact.WithRST:
		w.None++
	}
}

// Connections returns how many there were, open ones included.
func (f *Figures) Connections() uint64 { return total(f.Opened[:]) }

// Ended returns how many connections have ended for a reason.
func (f *Figures) Ended(r fact.Reason) (n uint64) {
	for by := range f.Closed {
		n += f.Closed[by][r]
	}
	return n
}

// EndedBy returns how many connections a side, or what else, ended.
func (f *Figures) EndedBy(by fact.ClosedBy) uint64 { return total(f.Closed[by][:]) }

// Load returns how many requests the server had, counted and estimated.
func (f *Figures) Load() uint64 {
	n := f.Counted.AllRequests()
	if f.Estimated != nil {
		n += f.Estimated.AllRequests()
	}
	return n
}

// Reuse returns how many requests there were of a kind.
func (t *Traffic) Reuse(kind fact.Reuse) (n uint64) {
	for v := range t.Requests {
		n += t.Requests[v][kind]
	}
	return n
}

// AllRequests returns how many requests there were.
func (t *Traffic) AllRequests() (n uint64) {
	for v := range t.Requests {
		n += total(t.Requests[v][:])
	}
	return n
}

// AllWasted returns how many handshakes were wasted, and the time that they took.
func (t *Traffic) AllWasted() (n uint64, ns int64) {
	for i := range t.Wasted {
		n += t.Wasted[i]
		ns += t.WastedNS[i]
	}
	return n, ns
}

func total(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}
