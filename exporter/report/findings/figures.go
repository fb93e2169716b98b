package findings

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/sniffer"
)

// Figures are all that the findings rest on. Probes are left out of every figure but
// of Server.Probers. Times are seconds; a time of 0 is not known.
type Figures struct {
	Capture Capture
	Totals  Server // of all servers, without their Clients
	Servers []Server
	Scans   []Scan
	// Singles are wasted handshakes, one by one, the first ones; for captures too
	// small for findings.
	Singles []Single
}

// A Capture says what the figures rest on.
type Capture struct {
	Seconds                     float64 // first packet to last
	Packets, Dropped            uint64  // Dropped is beside Packets
	Bytes, Missing              uint64  // of streams; Missing is beside Bytes, without what a snaplen cut in known bodies
	OneWay                      bool    // only one direction of the connections was captured
	Protocols                   []NotRead
	Incomplete, Midstream, Open uint64 // connections
}

// A NotRead is what was recognised and not read.
type NotRead struct {
	What string // such as "UDP 2152 (GTP-U)"
	N    uint64 // packets
}

// An Example is a connection. The zero value is none.
type Example struct {
	ID             uint64
	Client, Server sniffer.Endpoint
}

// A Loss is how often something was lost, and the time that it took.
type Loss struct {
	N       uint64
	Seconds float64
	Example Example
}

// Losses are what was lost by cause, few of which a client has.
type Losses []CauseLoss

// A CauseLoss is a Loss for a cause.
type CauseLoss struct {
	Cause fact.Cause
	Loss
}

// Of returns what was lost for a cause.
func (l Losses) Of(c fact.Cause) Loss {
	for i := range l {
		if l[i].Cause == c {
			return l[i].Loss
		}
	}
	return Loss{}
}

// Add adds what was lost for a cause.
func (l *Losses) Add(c fact.Cause, o Loss) {
	for i := range *l {
		if (*l)[i].Cause == c {
			(*l)[i].add(&o)
			return
		}
	}
	*l = append(*l, CauseLoss{c, o})
}

// A Cluster says how near values lie to their median: times within 2 %, counts within
// 10 %.
type Cluster struct {
	N, Near uint64
	Median  float64
}

// A Failed counts requests that failed in one way.
type Failed struct {
	N       uint64
	Idle    float64 // median, of their connections before
	GivenUp Cluster // request's first byte to the closing
	Example Example
}

// A Server is what is known of one server, at one hop.
type Server struct {
	Name         string
	AddressCount int // to which requests went
	BusiestShare float64
	Software     software.ID

	Counted, Estimated Traffic // Estimated is from encrypted records

	Connections  uint64 // all
	Errors       uint64 // requests that were answered by 500 or above
	CutHeads     uint64 // requests whose head a snaplen cut
	CutLost      uint64 // heads that were lost with it
	UnreadBodies Loss   // connections that the client closed in the middle of a body
	NeverUsed    Loss   // without payload
	UnusedTLS    Loss   // a TLS handshake being all
	Encrypted    bool   // without keys: what was announced could not be seen
	Age          float64
	Advertised   float64 // timeout of Keep-Alive
	Attempts     Attempts
	Mass         Mass
	Stalled      Stalled
	Idle         Idle
	Cut          Cluster // silences after which the server ended upgraded connections
	Path         Path
	Ports        Ports
	H2           H2
	Tunnels      []Tunnel
	Probers      []Prober
	ErrorsClose  []uint16    // statuses of most error responses that announced the closing, commonest first
	IgnoredAfter fact.Reason // what had announced most of the closings that were ignored
	Clients      []Client    // worst first, at most MaxClients
}

// MaxClients is how many clients of a server are looked at one by one.
const MaxClients = 64

// Traffic is what is either counted or estimated. The two never mix.
type Traffic struct {
	Connections, Single uint64 // that carried a request; of them those with only one
	Requests, Reused    uint64
	RequestsPerConn     float64 // mean
	Wasted              [fact.NumCauses]Loss
	MassWasted          [fact.NumCauses]Loss // of Wasted, by connections that ended in mass closings
	Failed              [fact.NumFailures]Failed
	Discards, Beside    uint64  // unannounced closings by clients right after a response; of them those beside other open connections of that client
	ReuseIdleMax        float64 // longest idle time before a reuse
	LimitAge            float64 // at the server's announced closings of used connections, where those come at one age and not after one number of requests; 0 without
	Crossed             Cluster // how long connections had been open whose first request crossed the server's closing
	GoawayAge           float64 // the same of its GOAWAYs
	DiscardAge          float64 // the same of the client's closings right after a response
	LimitAt             Cluster // requests at the server's announced closings of used connections
	ClosedAt            Cluster // requests at unannounced closings of either side, where encrypted
}

// Idle are the timeouts that the sides really apply.
type Idle struct {
	Server, Client float64
	ServerClosings uint64
	ServerShort    bool // Server lies below 1 s: its closings look like discards
	ClientShort    bool
	ClientAtMost   bool // Client is an upper bound: it closes when it opens the next
	// ClientFrom and ClientTo are between which times after the response the client closes,
	// where that is at no one time, now and then within a second, and seldom right after it; else 0.
	ClientFrom, ClientTo float64
}

// Attempts are handshakes that did not come about as they should. Attempts after which
// the client reached another address, and those of scans, are not in it.
type Attempts struct {
	All, Refused, Unanswered uint64
	TooYoung                 uint64  // unanswered, and not counted: sent in the last 3 s
	Since                    float64 // from the first to the last in vain
	Repeated                 uint64  // needed a SYN again
	RepeatDelay              float64 // median
	Refusal, Silence, Repeat Example
}

// Mass are closings of many connections at once (semantics: mass closing).
type Mass struct {
	Closings, Connections uint64
	Goaways               uint64 // of the connections, by GOAWAY
	Failed                uint64 // requests lost in them
	Example               Example
}

// Stalled are responses that their receiver stopped reading.
type Stalled struct {
	ToEnd, WentOn uint64
	Seconds       float64 // that windows stood at zero
	Example       Example
}

// A Path is what lies between.
type Path struct {
	Reset             bool    // most drops were told by a reset of a host that knew of no connection
	Survived, Dropped float64 // longest idle time that was survived, shortest that was not; 0 without an observed timeout
	Probes            bool    // TCP keep-alive probes ran
	ProbeInterval     float64
}

// Ports are those of the busiest client address towards one address and port.
type Ports struct {
	Peak, Range    uint64 // connections opened in 60 s; ports that there are
	Client, Server string
	HeldByClient   uint64 // TIME_WAIT
	Closed         uint64
}

// H2 are the HTTP/2 connections.
type H2 struct {
	Connections     uint64
	Unread          uint64 // without keys: requests are not known
	StreamsP50      float64
	Wasted          [fact.NumCauses]Loss
	Goaways         uint64  // by the server, without error, that cut or wasted
	GoawayRequests  float64 // median before it
	GoawayAge       float64
	OpenSeconds     float64
	AtLimitSeconds  float64
	Limit           uint64
	TooManyPings    Loss         // GOAWAY ENHANCE_YOUR_CALM, where there were PINGs
	Errors          Loss         // other GOAWAYs with an error, that ended their connections
	Codes           []GoawayCode // of GOAWAYs with an error, the most frequent first
	HTTP11          Loss         // streams that were reset with HTTP_1_1_REQUIRED
	Aborted         Loss         // streams that the server reset with another error before it had answered them
	AbortedWith     http.Code    // of most of them
	Ignored         Loss         // streams that were opened although a GOAWAY had arrived that refused them
	PingInterval    float64
	AtLimit, Goaway Example
}

// A GoawayCode says how many GOAWAYs of a side had an error code.
type GoawayCode struct {
	Code http.Code
	By   fact.ClosedBy
	N    uint64
}

// A Tunnel is what CONNECT opened to one target.
type Tunnel struct {
	Target string
	Opened uint64
	Wasted Loss
	Cause  [fact.NumCauses]Loss
}

// A Prober checks health.
type Prober struct {
	Address     string
	Software    software.ID
	Connections uint64
	Interval    float64
	Example     Example
}

// A Client is one client address of a server. One with counted and estimated requests
// is two. Software is what it says, and of an address that shows several none; Proxy is
// what its address calls itself as a server, where that is a proxy, which may pass on
// the User-Agent of others.
type Client struct {
	Address   string
	Software  software.ID
	Proxy     software.ID
	Several   bool // it looks like several clients
	Unnamed   bool // it is a proxy that may not name itself
	Estimated bool // its requests are estimated

	Connections, Requests uint64
	Wasted                Losses
	Failed                [fact.NumFailures]uint64
	Unread, Stalled       uint64 // bodies
	InVain                uint64 // handshakes
	Once, OnceErr, More   uint64 // connections with one request, of them those answered by 400 or above; with more
	Replaces              bool   // most of its idle connections are closed by it when it opens the next
	ClosedAt              Cluster
	Busy                  float64 // share of time of its least busy connection
	Gap, Response         float64 // medians: response to next request, request to response
	Trip                  float64 // of Gap, what was on the way from and to the client
	Upgrades, Short       uint64  // to other protocols; under 1 s or of one message a side
	Ended, Moved          uint64  // connections that it closed; when it opened one to another address of this name
	SYNs, Spread          uint64  // of it to this name; beside an idle connection to another address
	Streams, Pinged       uint64  // of HTTP/2; connections that ended for its pings
	GRPC, GRPCBusiest     uint64  // streams, of them on the busiest connection
	GRPCOtherServed       bool    // another address of the name served somebody
	GRPCAddresses         int     // of the name
	Example, GRPCExample  Example
}

// A Scan is a client that tried many endpoints, most of them in vain.
type Scan struct {
	Client            string
	Endpoints, InVain uint64
}

// A Single is one wasted handshake and the connection that it could have reused.
type Single struct {
	Server, Client string
	Cause          fact.Cause
	Requests       uint64  // that the lost connection had carried
	Idle           float64 // that it had idled at its closing
	Seconds        float64 // what the handshake took
	Estimated      bool    // of TLS without keys
	Several        bool    // the client's address looks like several
	Beside         bool    // others of the client's were open when it closed that one
	// Clients and Servers are the softwares of its sides, as far as they are known.
	Clients, Servers []software.ID
}

func (l *Loss) add(o *Loss) {
	if l.N == 0 {
		l.Example = o.Example
	}
	l.N += o.N
	l.Seconds += o.Seconds
}

// less takes o off, which is part of l.
func (l *Loss) less(o Loss) {
	l.N -= min(o.N, l.N)
	l.Seconds = max(l.Seconds-o.Seconds, 0)
}

// holds reports whether there are at least n values, and enough of them lie near the median.
func (c *Cluster) holds(n uint64) bool {
	return c.N >= n && c.N > 0 && share(c.Near, c.N) >= MinLimitNear
}

func (t *Traffic) wastedTotal() (n uint64) {
	for i := range t.Wasted {
		n += t.Wasted[i].N
	}
	return n
}

func share(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
