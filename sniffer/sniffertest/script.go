package sniffertest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/keepscope/keepscope/sniffer"
)

// Base is the time 0 of every script.
var Base = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// MaxMSS is the size above which payload is always cut.
const MaxMSS = 65000

// The defaults of a ConnConfig.
const (
	defaultClientISN = 1000
	defaultServerISN = 5000000
	defaultWindow    = 64240
)

// A Script is a conversation of any number of connections, in the order in
// which it is captured. The zero value is empty and ready to be built.
type Script struct {
	events []event
	mss    int // of WithMSS, 0 if none
}

// A ConnConfig says how a connection's segments look. Its zero value stands
// for the defaults of the text format.
type ConnConfig struct {
	ISN       *[2]uint32 // of client and server
	MSS       int
	Window    uint16
	Interface uint32
}

// A Conn is a connection of a script. Its methods append packets to it.
type Conn struct {
	script   *Script
	endpoint [2]sniffer.Endpoint // client, server
	isn      [2]uint32
	mss      int
	window   uint16
	iface    uint32
}

// A Side is one end of a connection.
type Side uint8

// The sides.
const (
	Client Side = iota
	Server
)

// A Message is what a side sends at once: one segment, or several where it is
// longer than the MSS. Pointers that are nil stand for what follows from the
// messages before.
type Message struct {
	At        time.Duration // since Base
	From      Side
	Payload   []byte
	Flags     sniffer.Flags // besides ACK and PSH; with SYN, all of them
	NoAck     bool          // leave ACK off
	Seq       *int64        // place in the stream, 0 the first byte
	Ack       *int64        // place in the peer's stream
	Window    *uint16
	Interface *uint32
	Captured  *int // payload bytes of each segment in the capture
	MSS       int  // 0: the connection's
}

// An eventKind is what an event does.
type eventKind uint8

const (
	send eventKind = iota
	gap
	dup
	probe
	datagram
)

// An event is one line of the script.
type event struct {
	kind    eventKind
	conn    *Conn // nil for a datagram
	message Message
	gap     int64

	src, dst sniffer.Endpoint // of a datagram
}

// Conn adds a connection. It panics where client or server is not an address
// and port.
func (s *Script) Conn(client, server string, config ConnConfig) *Conn {
	return s.conn(netip.MustParseAddrPort(client), netip.MustParseAddrPort(server), config)
}

func (s *Script) conn(client, server netip.AddrPort, config ConnConfig) *Conn {
	c := &Conn{
		script:   s,
		endpoint: [2]sniffer.Endpoint{endpoint(client), endpoint(server)},
		isn:      [2]uint32{defaultClientISN, defaultServerISN},
		mss:      config.MSS,
		window:   config.Window,
		iface:    config.Interface,
	}
	if config.ISN != nil {
		c.isn = *config.ISN
	}
	if c.window == 0 {
		c.window = defaultWindow
	}
	return c
}

func endpoint(a netip.AddrPort) sniffer.Endpoint {
	return sniffer.Endpoint{Addr: a.Addr().As16(), Port: a.Port()}
}

// Send appends a message.
func (c *Conn) Send(m Message) { c.append(send, m, 0) }

// Client appends a message of the client.
func (c *Conn) Client(at time.Duration, payload []byte) {
	c.Send(Message{At: at, From: Client, Payload: payload})
}

// Server appends a message of the server.
func (c *Conn) Server(at time.Duration, payload []byte) {
	c.Send(Message{At: at, From: Server, Payload: payload})
}

// Handshake appends the three segments of an opening, rtt from first to last.
func (c *Conn) Handshake(at, rtt time.Duration) {
	c.Send(Message{At: at, From: Client, Flags: sniffer.SYN})
	c.Send(Message{At: at + rtt/2, From: Server, Flags: sniffer.SYN | sniffer.ACK})
	c.Send(Message{At: at + rtt, From: Client})
}

// Close appends a closing in good order, rtt from first to last segment.
func (c *Conn) Close(at time.Duration, from Side, rtt time.Duration) {
	c.Send(Message{At: at, From: from, Flags: sniffer.FIN})
	c.Send(Message{At: at + rtt/2, From: from ^ 1, Flags: sniffer.FIN})
	c.Send(Message{At: at + rtt, From: from})
}

// Gap lets a side send n bytes that are never captured.
func (c *Conn) Gap(from Side, n int64) { c.append(gap, Message{From: from}, n) }

// Repeat appends again what the side sent last that takes sequence numbers.
func (c *Conn) Repeat(at time.Duration, from Side) { c.append(dup, Message{At: at, From: from}, 0) }

// Probe appends a keep-alive probe, with garbage or without.
func (c *Conn) Probe(at time.Duration, from Side, garbage []byte) {
	c.append(probe, Message{At: at, From: from, Payload: garbage}, 0)
}

func (c *Conn) append(kind eventKind, m Message, n int64) {
	c.script.events = append(c.script.events, event{kind: kind, conn: c, message: m, gap: n})
}

// Datagram appends a UDP datagram, which Segments yields as DNS.
func (s *Script) Datagram(src, dst netip.AddrPort, m Message) {
	s.events = append(s.events, event{kind: datagram, message: m, src: endpoint(src), dst: endpoint(dst)})
}

// WithMSS returns the same conversation in segments of at most n bytes,
// whatever it says about that itself. It panics where n is not positive.
func (s *Script) WithMSS(n int) *Script {
	if n <= 0 {
		panic(fmt.Sprintf("sniffertest: MSS %d", n))
	}
	return &Script{events: slices.Clone(s.events), mss: n}
}
