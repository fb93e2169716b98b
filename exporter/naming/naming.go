// Package naming is the desk that says what a server is called, in every view
// the same.
//
// A server is what its clients call it: the Host that they ask for, the SNI, or
// the name that they looked up; without one it is its address and port. Where
// the host's own addresses are known, the direction parts servers of one name,
// and a server on this host may be called by its address and port or by a name
// that the operator gave, never by text that a client chose ([Desk.Inbound]).
//
// # Caps
//
//	what                cap         when full
//	length of a name    128 bytes   the rest is cut
//
// Bytes that no authority has are percent-encoded ([printable.AppendHost]).
package naming

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// Other is the name of all servers, or client networks, that are beyond a cap.
// Clean gives it to no host.
const Other = "other"

// MaxName bounds the bytes of a name.
const MaxName = 128

// A Direction says on which side of a connection this host is.
type Direction uint8

// The directions.
const (
	Inbound Direction = iota
	Outbound
	Loopback
	Forwarded // neither side is this host, or its addresses are not known
	NumDirections
)

var directionNames = [NumDirections]string{
	Inbound: "inbound", Outbound: "outbound", Loopback: "loopback", Forwarded: "forwarded",
}

// String returns the direction's name, such as "inbound".
func (d Direction) String() string {
	if d < NumDirections {
		return directionNames[d]
	}
	return "unknown"
}

// DirectionOf returns the direction of a connection between sides of which either
// may be this host.
func DirectionOf(clientLocal, serverLocal bool) Direction {
	switch {
	case clientLocal && serverLocal:
		return Loopback
	case serverLocal:
		return Inbound
	case clientLocal:
		return Outbound
	}
	return Forwarded
}

// A Desk names servers. Its zero value knows no address of this host.
type Desk struct {
	// Local says whether an address is one of this host's; nil says that none is.
	Local func(sniffer.Addr) bool
	// Inbound names servers on this host by address and port, or by Name where
	// that is not empty.
	Inbound bool
	Name    string
}

// A Server is who answered: a name, or an address and port where there is none.
type Server struct {
	Direction Direction
	Name      string           // clean; empty where the address is all that is known
	Endpoint  sniffer.Endpoint // address and port, also where there is a name
}

// Server names the server of a connection, of which clientLocal says whether its
// client is this host.
func (d *Desk) Server(clientLocal bool, server *sniffer.Endpoint, name string) Server {
	s := Server{DirectionOf(clientLocal, d.IsLocal(server.Addr)), name, *server}
	if s.Direction == Inbound && d.Inbound {
		s.Name = d.Name
	}
	s.Name = Clean(s.Name)
	if s.Name != "" && s.Name == s.Endpoint.String() {
		s.Name = "" // a Host that is the address says nothing more
	}
	return s
}

// IsLocal says whether an address is this host's.
func (d *Desk) IsLocal(a sniffer.Addr) bool { return d.Local != nil && d.Local(a) }

// Label returns what the server is called in a view.
func (s *Server) Label() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Endpoint.String()
}

// IsCalled says whether a server is who somebody asks for: by its name, with or without
// the port in it, by its address and port, or by its address.
func IsCalled(asked, name string, server sniffer.Endpoint) bool {
	host := strings.TrimRight(name, "0123456789")
	return asked == name || asked+":" == host || asked == server.String() || asked == server.Addr.Netip().String()
}

// Compare orders servers by direction, name, address and port.
func (s *Server) Compare(o *Server) int {
	return cmp.Or(cmp.Compare(s.Direction, o.Direction), cmp.Compare(s.Name, o.Name), CompareEndpoints(s.Endpoint, o.Endpoint))
}

// CompareEndpoints orders by address, then by port.
func CompareEndpoints(a, b sniffer.Endpoint) int {
	return cmp.Or(slices.Compare(a.Addr[:], b.Addr[:]), cmp.Compare(a.Port, b.Port))
}

// Clean returns a name as it may stand in any view. It returns the argument, in
// the same memory, where that is clean: nearly always.
func Clean(name string) string {
	if len(name) <= MaxName && name != Other && printable.IsHost(name) {
		return name
	}
	return clean(name)
}

// clean encodes what is not an authority's, and writes a host that is called
// like the bucket in its absolute form (RFC 1034 §3.1).
func clean(name string) string {
	if name == Other {
		return Other + "."
	}
	return string(printable.AppendHost(make([]byte, 0, MaxName), name, MaxName))
}

// The networks by which clients are told apart where their addresses are not to
// be.
const (
	v4Bits = 24
	v6Bits = 64
)

// Network returns the network of a client's address: its /24 or /64.
func Network(a sniffer.Addr) sniffer.Addr {
	if a.Netip().Is4() {
		a[15] = 0
		return a
	}
	clear(a[v6Bits/8:])
	return a
}

// NetworkLabel writes what Network returned.
func NetworkLabel(a sniffer.Addr) string {
	ip := a.Netip()
	bits := v6Bits
	if ip.Is4() {
		bits = v4Bits
	}
	return netip.PrefixFrom(ip, bits).String()
}
