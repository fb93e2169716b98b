package sniffer

import "net/netip"

// An Addr is an IPv6 address or an IPv4 address mapped into IPv6
// (RFC 4291 §2.5.5.2): comparable, without pointers, of one size.
type Addr [16]byte

// Netip returns the address with an IPv4-mapped one unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// An Endpoint is an address and a port.
type Endpoint struct {
	Addr Addr
	Port uint16
}

// String formats the endpoint as netip.AddrPort does.
func (e Endpoint) String() string {
	return netip.AddrPortFrom(e.Addr.Netip(), e.Port).String()
}

// Flags are the control bits of a TCP header (RFC 9293 §3.1). Those of explicit
// congestion notification are left out, so that a SYN is SYN whoever sent it.
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG

	allFlags = FIN | SYN | RST | PSH | ACK | URG
)

// A Protocol is what a Segment carries.
type Protocol uint8

// The protocols that are decoded.
const (
	TCP Protocol = iota
	DNS          // a UDP datagram from or to port 53; Payload is the message
)

// A Segment is one TCP segment, or one DNS datagram, with every tunnel and tag
// stripped. It is flat: Payload is its only pointer, and views the batch.
type Segment struct {
	Time      int64  // Unix nanoseconds, from the capture
	Payload   []byte // captured payload; shorter than Length where a snaplen cut it
	Src, Dst  Endpoint
	Length    uint32 // payload bytes on the wire
	Seq, Ack  uint32 // TCP only
	Interface uint32 // where it was captured; see Decoder.Decode
	Number    uint32 // of its frame, the last of several fragments; see Frame
	Window    uint16 // TCP only, unscaled
	Flags     Flags  // TCP only
	Protocol  Protocol
}
