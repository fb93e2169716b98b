package exporter

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/keepscope/keepscope/sniffer"
)

// A direction is an index in Directions.
type direction uint8

const (
	inbound direction = iota
	outbound
	loopback
	forwarded
)

func directionOf(clientLocal, serverLocal bool) direction {
	switch {
	case clientLocal && serverLocal:
		return loopback
	case serverLocal:
		return inbound
	case clientLocal:
		return outbound
	}
	return forwarded
}

// A key is what the labels of a server's series are made of.
type key struct {
	direction direction
	other     bool             // beyond the cap
	anyClient bool             // client networks beyond the cap
	name      string           // or, where it is empty:
	endpoint  sniffer.Endpoint // where the name is empty
	network   sniffer.Addr     // of the client, zero unless asked for
}

// server returns the key without the client.
func (k key) server() key {
	k.anyClient, k.network = false, sniffer.Addr{}
	return k
}

func (k key) label() string {
	switch {
	case k.other:
		return Other
	case k.name != "":
		return k.name
	}
	return k.endpoint.String()
}

func (k key) client() string {
	if k.anyClient {
		return Other
	}
	a := k.network.Netip()
	bits := v6Bits
	if a.Is4() {
		bits = v4Bits
	}
	return netip.PrefixFrom(a, bits).String()
}

// The networks by which clients are told apart.
const (
	v4Bits = 24
	v6Bits = 64
)

// network returns the network of an address.
func network(a sniffer.Addr) sniffer.Addr {
	if a.Netip().Is4() {
		a[15] = 0
		return a
	}
	clear(a[v6Bits/8:])
	return a
}

// servers decides which servers have series of their own. All workers share
// it; a worker asks once for each server that it does not know.
type servers struct {
	inboundName string
	max         int
	byNetwork   bool

	mu     sync.Mutex
	known  map[key]int  // servers, with how many pairs each is part of
	pairs  map[key]bool // keys with client networks
	folded uint64       // keys that were turned away since Exporter.evict
}

func newServers(inboundName string, maximum int, byNetwork bool) *servers {
	return &servers{
		inboundName: clean(inboundName), max: maximum, byNetwork: byNetwork,
		known: map[key]int{}, pairs: map[key]bool{},
	}
}

// key returns the key of a connection. The text of an inbound client is not
// part of it.
func (s *servers) key(clientLocal, serverLocal bool, server *sniffer.Endpoint, name string, network sniffer.Addr) key {
	k := key{direction: directionOf(clientLocal, serverLocal), name: name, network: network}
	if k.direction == inbound {
		k.name = s.inboundName
	}
	if k.name == "" {
		k.endpoint = *server
	}
	return k
}

// canonical returns the only key that has k's labels: a name that reads like an
// address and port is that, and one that reads like Other is that.
func (k key) canonical() key {
	k.name = clean(k.name)
	if k.name == Other {
		return key{direction: k.direction, other: true, anyClient: k.network != sniffer.Addr{}}
	}
	if a, err := netip.ParseAddrPort(k.name); err == nil {
		e := sniffer.Endpoint{Addr: sniffer.Addr(a.Addr().As16()), Port: a.Port()}
		if e.String() == k.name {
			k.name, k.endpoint = "", e
		}
	}
	return k
}

// admit returns k's canonical form, or what it is folded into where the tables
// are full.
func (s *servers) admit(k key) key {
	k = k.canonical()
	if k.other {
		return k
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	server := k.server()
	if _, ok := s.known[server]; !ok {
		if len(s.known) >= s.max {
			s.folded++
			return key{direction: k.direction, other: true, anyClient: s.byNetwork}
		}
		s.known[server] = 0
	}
	if !s.byNetwork || s.pairs[k] {
		return k
	}
	if len(s.pairs) >= 4*s.max {
		server.anyClient = true
		return server
	}
	s.pairs[k] = true
	s.known[server]++
	return k
}

// forget makes room. The caller holds every worker.
func (s *servers) forget(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	server := k.server()
	if s.pairs[k] {
		delete(s.pairs, k)
		s.known[server]--
	}
	if s.known[server] <= 0 {
		delete(s.known, server)
	}
}

// turnedAway returns how many servers there are, and whether any found no room
// since it was last asked.
func (s *servers) turnedAway() (n int, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full, s.folded = s.folded > 0, 0
	return len(s.known), full
}

// maxName bounds a server's name.
const maxName = 128

// clean returns the name as it may stand in a label, in memory of its own. What
// the analyzer tells is clean, so this changes nothing but a flag's text.
func clean(name string) string {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return strings.Clone(strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		case strings.ContainsRune(".-_:[]%/", r):
			return r
		}
		return '_'
	}, name))
}
