package report

import (
	"encoding/binary"
	"strings"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/sniffer"
)

// Options of an Aggregate. The zero value works.
type Options struct {
	MaxServers int // named servers, and as many unnamed ones; 0 means 1000
	MaxPairs   int // client and server pairs watched for ports; 0 means 16384
}

// An Aggregate sums what one worker observed. It has the methods of an
// observer that matter to a report; it is not safe for concurrent use. Create
// it with NewAggregate.
type Aggregate struct {
	names     servers // by name and endpoint; fold into endpoints
	endpoints servers // by endpoint; fold into other
	other     stats
	pairs     pairs
	recent    [1 << recentBits]*server // what find found, by a cheap hash
}

// NewAggregate returns an empty Aggregate.
func NewAggregate(o Options) *Aggregate {
	if o.MaxServers <= 0 {
		o.MaxServers = 1000
	}
	if o.MaxPairs <= 0 {
		o.MaxPairs = 16384
	}
	return &Aggregate{
		names:     servers{max: o.MaxServers, byKey: map[serverKey]*server{}},
		endpoints: servers{max: o.MaxServers, byKey: map[serverKey]*server{}},
		pairs:     pairs{max: o.MaxPairs, byKey: map[pairKey]*pair{}},
	}
}

// Exchange counts an exchange. It does not allocate once the server and the
// order of magnitude of the exchange's time are known.
func (a *Aggregate) Exchange(e *fact.Exchange) {
	a.find(&e.Server, e.ServerName).exchange(e)
}

// Connection counts a connection that has ended. It does not allocate once the
// server, the pair and the orders of magnitude are known.
func (a *Aggregate) Connection(c *fact.Connection) {
	a.find(&c.Server, c.ServerName).connection(c)
	if c.Handshake != fact.HandshakeMidstream {
		a.pairs.add(c)
	}
}

// Merge adds what b has counted to a. The result does not depend on how the
// traffic was divided between them, nor on the order of merging. Where both
// have the same caps, b is not used up.
func (a *Aggregate) Merge(b *Aggregate) {
	for _, s := range b.names.kept.items {
		a.fold(s)
	}
	for _, s := range b.endpoints.kept.items {
		a.fold(s)
	}
	a.other.merge(&b.other)
	a.pairs.merge(&b.pairs)
}

// fold adds the figures of a server, which may have been displaced, to
// wherever its key belongs now.
func (a *Aggregate) fold(s *server) {
	a.resolve(s.key.endpoint, s.key.name).merge(&s.stats)
}

// find returns where to count a server. Names are compared as they came first:
// nearly all are clean, and come again and again.
func (a *Aggregate) find(ep *sniffer.Endpoint, name string) *stats {
	slot := &a.recent[recentSlot(ep, name)]
	if s := *slot; s != nil && s.key.endpoint == *ep && s.key.name == name {
		return &s.stats
	}
	if isClean(name) {
		if s := a.lookup(*ep, name); s != nil {
			*slot = s
			return &s.stats
		}
		return a.resolve(*ep, name)
	}
	var buf [maxName]byte
	clean := cleanInto(&buf, name)
	if s := a.names.byKey[serverKey{*ep, string(clean)}]; s != nil {
		return &s.stats
	}
	return a.resolve(*ep, string(clean))
}

func (a *Aggregate) lookup(ep sniffer.Endpoint, name string) *server {
	if name == "" {
		return a.endpoints.byKey[serverKey{ep, ""}]
	}
	return a.names.byKey[serverKey{ep, name}]
}

// recentSlot hashes what tells servers of one capture apart: the end of the
// address, the port, and both ends of the name (BenchmarkExchange).
func recentSlot(ep *sniffer.Endpoint, name string) uint64 {
	h := binary.LittleEndian.Uint64(ep.Addr[8:]) ^ uint64(ep.Port) ^ uint64(len(name))
	if n := len(name); n >= 8 {
		h = (h*recentPrime ^ word(name)) * hashPrime
		h ^= word(name[n-8:])
	} else if n > 0 {
		h ^= (uint64(name[0]) | uint64(name[n/2])<<8 | uint64(name[n-1])<<16) * hashPrime
	}
	return h * recentPrime >> (64 - recentBits)
}

// word returns the first eight bytes of a name.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

const (
	recentBits  = 10
	recentPrime = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
)

// resolve returns where the figures of a clean key belong, after making room
// for it where its hash says that it stays.
func (a *Aggregate) resolve(ep sniffer.Endpoint, name string) *stats {
	if name != "" {
		s, displaced := a.names.get(serverKey{ep, name})
		if displaced != nil {
			clear(a.recent[:]) // its memory will be another server's
			a.foldEndpoint(displaced)
		}
		if s != nil {
			return &s.stats
		}
	}
	s, displaced := a.endpoints.get(serverKey{ep, ""})
	if displaced != nil {
		clear(a.recent[:])
		a.other.merge(&displaced.stats)
	}
	if s != nil {
		return &s.stats
	}
	return &a.other
}

// foldEndpoint adds a displaced name's figures to its address and port.
func (a *Aggregate) foldEndpoint(s *server) {
	a.resolve(s.key.endpoint, "").merge(&s.stats)
}

// A serverKey is an address and port with the clean name asked for, or "".
type serverKey struct {
	endpoint sniffer.Endpoint
	name     string
}

// label is how the report names the server.
func (k serverKey) label() string {
	if k.name != "" {
		return k.name
	}
	return k.endpoint.String()
}

type server struct {
	key  serverKey
	rank uint64
	stats
}

func (s *server) outranks(o *server) bool {
	if s.rank != o.rank {
		return s.rank > o.rank
	}
	if c := compareEndpoints(s.key.endpoint, o.key.endpoint); c != 0 {
		return c > 0
	}
	return s.key.name > o.key.name
}

// servers is a bounded table of servers.
type servers struct {
	max   int
	byKey map[serverKey]*server
	kept  lowest[*server]
}

// get returns the key's server, or nil where it is not among those kept, and
// the server that it displaced, which is valid until the next call.
func (t *servers) get(k serverKey) (s, displaced *server) {
	if s := t.byKey[k]; s != nil {
		return s, nil
	}
	h := hashBytes(hashBytes(hashSeed, k.endpoint.Addr[:]), k.name)
	rank := hashPort(h, k.endpoint.Port)
	s = t.kept.spare
	if s == nil {
		s = new(server)
	}
	t.kept.spare = s
	s.key, s.rank = k, rank
	full := len(t.byKey) >= t.max
	if full && !t.kept.top().outranks(s) {
		s.key.name = ""
		return nil, nil
	}
	s.reset()
	s.key.name = strings.Clone(k.name) // k's may view a buffer of the caller
	if full {
		displaced = t.kept.top()
		delete(t.byKey, displaced.key)
		t.kept.replaceTop(s)
	} else {
		t.kept.push(s)
	}
	t.kept.spare = displaced
	t.byKey[s.key] = s
	return s, displaced
}
