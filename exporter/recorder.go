package exporter

import (
	"encoding/binary"
	"math"
	"time"
	"unsafe"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/sniffer"
)

// A Recorder counts the facts of one worker. It is that worker's
// fact.Watcher. Exporter.NewRecorder makes one.
type Recorder struct {
	servers    *servers
	local      func(sniffer.Addr) bool
	byNetwork  bool // client networks are told apart
	blocks     map[key]*block
	marked     []*block // by Connection.Mark; nil for 0, and for a server that was dropped
	cache      [1 << cacheBits]cached
	clients    [1 << clientBits]recentClient
	incomplete uint64
}

// A recentClient remembers for a second of packet time whether an address is one
// of the host's, and where its newest fact went: more are likely to follow
// (BenchmarkCostOfMetrics). Facts may be older than that second.
type recentClient struct {
	high, low uint64 // the address
	until     int64
	local     bool
	server    sniffer.Endpoint
	name      string
	block     *block // nil before there is one
}

const (
	clientBits  = 8
	localityFor = int64(time.Second)
	localityOld = int64(time.Hour)
)

// A cached remembers where the facts of a server go.
type cached struct {
	server      sniffer.Endpoint
	clientLocal bool
	network     sniffer.Addr // zero unless client networks are told apart
	name        string
	block       *block
}

const (
	cacheBits = 10
	hashPrime = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
)

// slot hashes what tells the servers of one host apart: the ends of addresses,
// the port, and where the name lies in memory, for the analyzer has one string
// for each name. A collision, or a name that comes in another string, costs a
// look into the map (BenchmarkExchange).
func slot(server *sniffer.Endpoint, name string, network *sniffer.Addr) uint64 {
	h := uint64(binary.LittleEndian.Uint32(server.Addr[12:])) ^ uint64(server.Port)<<32
	h ^= binary.LittleEndian.Uint64(network[4:]) ^ uint64(network[15])
	h ^= uint64(uintptr(unsafe.Pointer(unsafe.StringData(name)))) << 8
	return h * hashPrime >> (64 - cacheBits) &^ 1 // of two entries
}

// find returns where the facts of a connection go; t is the time of the fact.
func (r *Recorder) find(client, server *sniffer.Endpoint, name string, t int64) *block {
	high, low := binary.LittleEndian.Uint64(client.Addr[:8]), binary.LittleEndian.Uint64(client.Addr[8:])
	l := &r.clients[(high^low)*hashPrime>>(64-clientBits)]
	if l.low != low || l.high != high || uint64(l.until-t) > uint64(localityOld) {
		*l = recentClient{high: high, low: low, until: t + localityFor, local: r.local(client.Addr)}
	}
	if l.block == nil || l.server != *server || !same(l.name, name) {
		l.server, l.name, l.block = *server, name, r.search(client, server, name, t, l.local)
	}
	return l.block
}

// same says whether two names lie in the same place in memory. Those that don't
// may be equal all the same.
func same(a, b string) bool { return len(a) == len(b) && unsafe.StringData(a) == unsafe.StringData(b) }

// search is find for a client whose newest fact went elsewhere.
func (r *Recorder) search(client, server *sniffer.Endpoint, name string, t int64, clientLocal bool) *block {
	var net sniffer.Addr
	if r.byNetwork {
		net = network(client.Addr)
	}
	at := slot(server, name, &net)
	c := &r.cache[at]
	if !c.is(server, clientLocal, name, &net) {
		other := &r.cache[at^1]
		*c, *other = *other, *c
		if !c.is(server, clientLocal, name, &net) {
			b := r.lookup(r.servers.key(clientLocal, r.local(server.Addr), server, name, net), t)
			*c = cached{server: *server, clientLocal: clientLocal, network: net, name: name, block: b}
		}
	}
	return c.block
}

// is says whether c remembers what goes with these.
func (c *cached) is(server *sniffer.Endpoint, clientLocal bool, name string, network *sniffer.Addr) bool {
	return c.block != nil && c.server == *server && c.clientLocal == clientLocal && c.name == name && c.network == *network
}

// lookup returns the block of a key or, where that is beyond a cap, of what it
// is folded into.
func (r *Recorder) lookup(k key, t int64) *block {
	if b := r.blocks[k]; b != nil {
		return b
	}
	k = r.servers.admit(k)
	b := r.blocks[k]
	if b == nil {
		b = &block{created: t}
		if n := len(r.marked); n <= math.MaxUint16 { // no mark is another server's later
			b.mark, r.marked = uint16(n), append(r.marked, b)
		}
		r.blocks[k] = b
	}
	return b
}

// forget drops a server. None of its connections is open.
func (r *Recorder) forget(k key) {
	if b := r.blocks[k]; b != nil {
		r.marked[b.mark] = nil
	}
	delete(r.blocks, k)
	clear(r.cache[:])
	clear(r.clients[:])
}

// known returns where facts go by the mark of their connection, nil if that is
// to be found.
func (r *Recorder) known(mark uint16) *block {
	if int(mark) < len(r.marked) {
		return r.marked[mark]
	}
	return nil
}

// Opened implements fact.Watcher.
func (r *Recorder) Opened(c *fact.Connection) {
	b := r.find(&c.Client, &c.Server, c.ServerName, c.End)
	c.Mark = b.mark
	b.active = c.End
	b.opened[c.Handshake]++
	b.open++
	b.encrypted = b.encrypted || c.TLS != nil
	if c.HandshakeTime >= 0 {
		b.histograms[histHandshake+kindTCP].add(timeScale, c.HandshakeTime)
	}
}

// Judged implements fact.Watcher.
func (r *Recorder) Judged(c *fact.Connection) {
	b := r.known(c.Mark)
	if b == nil {
		b = r.find(&c.Client, &c.Server, c.ServerName, c.End)
	}
	b.active = c.End
	v := &b.counted
	if c.TLS != nil {
		b.tls(c)
	}
	if c.Estimated {
		v = &b.estimated
	}
	switch c.Verdict {
	case fact.VerdictNeeded:
		v.needed++
	case fact.VerdictWasted:
		v.wasted[c.Cause]++
		v.ns[costTCP] += c.Cost.TCP
		v.ns[costTLS] += c.Cost.TLS
		v.ns[costDNS] += c.Cost.DNS
		v.last[c.Cause].set(c)
	}
}

// tls counts a TLS handshake.
func (b *block) tls(c *fact.Connection) {
	if c.TLS.Handshake < 0 {
		return
	}
	kind := histHandshake + kindTLSFull
	if c.TLS.Resumed {
		kind = histHandshake + kindTLSResumed
	}
	b.histograms[kind].add(timeScale, c.TLS.Handshake)
}

// protocolOf is the index in protocols of a version.
var protocolOf = [...]uint8{http.HTTP09: 1, http.HTTP10: 2, http.HTTP11: 3}

// Exchange implements fact.Observer. It does not allocate once the server
// is known.
func (r *Recorder) Exchange(e *fact.Exchange) {
	t := max(e.Start, e.End)
	b := r.known(e.Mark)
	if b == nil {
		b = r.find(&e.Client, &e.Server, e.ServerName, t)
	}
	b.active = t
	protocol := uint8(0)
	if int(e.Version) < len(protocolOf) {
		protocol = protocolOf[e.Version]
	}
	b.requests[protocol][e.Reuse]++
	b.exchanges[e.Outcome]++
	if e.Idle >= 0 {
		b.histograms[histReuseIdle].add(timeScale, e.Idle)
	}
}

// Connection implements fact.Observer. It does not allocate once the server
// is known.
func (r *Recorder) Connection(c *fact.Connection) {
	b := r.known(c.Mark)
	if b == nil {
		b = r.find(&c.Client, &c.Server, c.ServerName, c.End)
	}
	b.active = c.End
	b.closed[c.ClosedBy][c.Reason]++
	b.open--
	b.unsolicited += uint64(c.Unsolicited)
	b.histograms[histDuration].add(timeScale, c.End-c.Start)
	if c.Incomplete {
		r.incomplete++
	}
	if c.Race {
		b.races++
		b.raced.set(c)
	}
	if c.HasAdvertisedTimeout && c.End >= b.advertisedAt {
		b.advertised, b.advertisedAt = c.AdvertisedTimeout, c.End
	}
	b.closeIdle(c)
	if c.TLS != nil && !judged(c) {
		b.tls(c)
	}
	if c.Requests == 0 {
		return
	}
	if c.Estimated {
		b.estimate(c)
		return
	}
	b.histograms[histRequests].add(countScale, int64(c.Requests))
}

// judged says whether Judged was called for a connection. One that was upgraded
// by a later exchange than its first lost its verdict after that.
func judged(c *fact.Connection) bool {
	return c.Verdict != fact.VerdictNone || c.Negotiated[fact.Upgraded] > 0 && c.Responses > 1
}

func (b *block) closeIdle(c *fact.Connection) {
	if c.CloseIdle < 0 || c.ClosedBy >= numSides {
		return
	}
	b.histograms[histCloseIdle+int(c.ClosedBy)].add(timeScale, c.CloseIdle)
	if c.Reason == fact.ReasonClientIdle || c.Reason == fact.ReasonServerIdle {
		b.idleClosing[c.ClosedBy].add(c.CloseIdle)
	}
}

// estimate counts the requests of a connection that are guesses.
func (b *block) estimate(c *fact.Connection) {
	first := uint64(c.Requests) - min(uint64(c.Reused), uint64(c.Requests))
	b.guesses[fact.ReusedRequest] += uint64(c.Reused)
	if c.Handshake == fact.HandshakeMidstream {
		b.guesses[fact.UnknownReuse] += first
	} else {
		b.guesses[fact.FirstRequest] += first
	}
}
