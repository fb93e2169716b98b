package sniffer

import (
	"encoding/binary"
	"time"
)

// The link types that are decoded.
const (
	LinkNull      LinkType = 0   // BSD loopback, address family in the byte order of the capturing host
	LinkEthernet  LinkType = 1   //
	LinkPPP       LinkType = 9   //
	LinkRawBSD    LinkType = 12  // raw IP, as most systems number it
	LinkRawOBSD   LinkType = 14  // raw IP, as OpenBSD numbers it
	LinkPPPSerial LinkType = 50  // PPP with HDLC-like framing
	LinkPPPEther  LinkType = 51  // PPPoE without its Ethernet header
	LinkRaw       LinkType = 101 // raw IP
	LinkCHDLC     LinkType = 104 // Cisco HDLC
	LinkLoop      LinkType = 108 // OpenBSD loopback, address family in network byte order
	LinkSLL       LinkType = 113 // Linux "cooked", version 1
	LinkIPv4      LinkType = 228 //
	LinkIPv6      LinkType = 229 //
	LinkSLL2      LinkType = 276 // Linux "cooked", version 2
)

// Supported says whether frames of the link type are decoded.
func (l LinkType) Supported() bool {
	switch l {
	case LinkNull, LinkEthernet, LinkPPP, LinkRawBSD, LinkRawOBSD, LinkPPPSerial, LinkPPPEther,
		LinkRaw, LinkCHDLC, LinkLoop, LinkSLL, LinkIPv4, LinkIPv6, LinkSLL2:
		return true
	}
	return false
}

const (
	// maxHeaders bounds the headers of one frame, tags, labels and extension
	// headers included. The deepest stack met in practice has about 15.
	maxHeaders = 32
	// maxOffload bounds a datagram that does not tell its own length. The
	// kernels that build such ones stop at 512 KiB (Linux, GSO_MAX_SIZE).
	maxOffload = 1 << 20
	// interfaceBits is the room of Frame.Interface in Segment.Interface where
	// the frame itself names an interface too.
	interfaceBits = 12
)

// A DecoderConfig configures a Decoder. Its zero value asks for the defaults.
type DecoderConfig struct {
	DNS       bool // also yield UDP datagrams from and to port 53
	NoTunnels bool // leave what is within IP tunnels alone

	MaxDatagrams     int           // fragmented datagrams held at once, default 256
	MaxFragmentBytes int           // memory of all fragments held, default 4 MiB
	FragmentTimeout  time.Duration // wait for missing fragments, default 30 s
}

// A Decoder turns frames into segments. Its zero value is ready to use, with
// the defaults. It is for one goroutine.
type Decoder struct {
	config    DecoderConfig
	stats     DecodeStats
	last      int64 // time of the frame before
	fragments fragmentTable
}

// NewDecoder returns a Decoder.
func NewDecoder(config DecoderConfig) *Decoder {
	return &Decoder{config: config}
}

// Stats returns the counts so far.
func (d *Decoder) Stats() DecodeStats { return d.stats }

// Decode decodes one frame into s and says whether it holds a TCP segment or a
// DNS datagram; where it does not, the content of s is undefined. The payload
// views f.Data, except for the rare datagram that came in IP fragments: that
// one has a payload of its own, which the Decoder does not touch again.
//
// Where the frame names the interface that it passed (Linux cooked v2),
// s.Interface is f.Interface in its lowest 12 bits and that index above them;
// otherwise it is f.Interface.
func (d *Decoder) Decode(f *Frame, s *Segment) bool {
	d.stats.Frames++
	if f.Time < d.last {
		d.stats.TimeBack++
	}
	d.last = f.Time
	if f.Link == LinkEthernet && decodeCommon(f, s) {
		d.stats.Segments++
		return true
	}
	p := packet{frame: f, segment: s, registry: noRegistry}
	s.Interface, s.Number = f.Interface, f.Number
	out := d.link(&p, f.Data, max(int(f.Length), len(f.Data)))
	switch out {
	case isSegment:
		s.Time = f.Time
		d.stats.Segments++
		return true
	case isDatagram:
		s.Time = f.Time
		d.stats.Datagrams++
		return true
	case isFragment:
		d.stats.Fragments++
	case isOther:
		d.stats.Other++
		d.stats.NotDecoded.add(p.registry, p.number)
	default:
		d.stats.Errors[out]++
	}
	return false
}

// decodeCommon decodes what nearly all frames are: an unfragmented TCP segment
// in IPv4 without options on untagged Ethernet. It leaves everything else,
// everything odd included, to the long way.
func decodeCommon(f *Frame, s *Segment) bool {
	const ip, tcp = 14, 34
	b := f.Data
	if len(b) < tcp+20 {
		return false
	}
	// EtherType, version and header length; then the fragment word, all of it but
	// "do not fragment" and the reserved bit, and the protocol.
	if binary.LittleEndian.Uint32(b[12:])&0xffffff != 0x450008 ||
		binary.LittleEndian.Uint32(b[ip+6:])&0xff00ff3f != 0x06000000 {
		return false
	}
	total := int(binary.BigEndian.Uint16(b[ip+2:]))
	header := int(b[tcp+12]>>4) * 4
	length := total - 20 - header
	if header < 20 || length < 0 {
		return false
	}
	end := min(ip+total, len(b))
	start := min(tcp+header, end)
	s.Time = f.Time
	s.Payload = b[start:end:end]
	s.Src.Addr.setIPv4(b[ip+12:])
	s.Dst.Addr.setIPv4(b[ip+16:])
	s.Src.Port = binary.BigEndian.Uint16(b[tcp:])
	s.Dst.Port = binary.BigEndian.Uint16(b[tcp+2:])
	s.Length = uint32(length)
	s.Seq = binary.BigEndian.Uint32(b[tcp+4:])
	s.Ack = binary.BigEndian.Uint32(b[tcp+8:])
	s.Interface, s.Number = f.Interface, f.Number
	s.Window = binary.BigEndian.Uint16(b[tcp+14:])
	s.Flags = Flags(b[tcp+13]) & allFlags
	s.Protocol = TCP
	return true
}

// setIPv4 sets a to the IPv4 address that b begins with.
func (a *Addr) setIPv4(b []byte) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], 0xffff0000|uint64(binary.LittleEndian.Uint32(b))<<32)
}

// An outcome is a DecodeError or one of the constants below.
type outcome = DecodeError

const (
	isSegment outcome = NumDecodeErrors + iota
	isDatagram
	isFragment
	isOther
)

// A packet is one frame being decoded.
type packet struct {
	frame   *Frame
	segment *Segment
	headers int

	registry Registry // of what is not decoded
	number   uint16
}

// other says by which number the packet is known to hold nothing to decode.
func (p *packet) other(registry Registry, number uint16) outcome {
	p.registry, p.number = registry, number
	return isOther
}

// enter counts a header and says whether it is one too many.
func (p *packet) enter() bool {
	p.headers++
	return p.headers <= maxHeaders
}

// short says why a header of n bytes is not there whole: a snaplen cut it off,
// or else it never was, which is bad.
func short(wire, n int, bad DecodeError) outcome {
	if wire >= n {
		return CutHeader
	}
	return bad
}

// clip cuts what lies beyond wire bytes: padding.
func clip(b []byte, wire int) []byte {
	if len(b) > wire {
		return b[:wire]
	}
	return b
}

// In what follows b is what was captured of a header and all behind it, and
// wire how many bytes that was before a snaplen.

// tcp decodes a TCP segment (RFC 9293 §3.1).
func (d *Decoder) tcp(p *packet, b []byte, wire int) outcome {
	if len(b) < 20 {
		return short(wire, 20, BadTCP)
	}
	header := int(b[12]>>4) * 4
	if header < 20 || wire < header {
		return BadTCP
	}
	s := p.segment
	s.Src.Port = binary.BigEndian.Uint16(b)
	s.Dst.Port = binary.BigEndian.Uint16(b[2:])
	s.Seq = binary.BigEndian.Uint32(b[4:])
	s.Ack = binary.BigEndian.Uint32(b[8:])
	s.Window = binary.BigEndian.Uint16(b[14:])
	s.Flags = Flags(b[13]) & allFlags
	s.Length = uint32(wire - header)
	s.Payload = b[min(header, len(b)):len(b):len(b)]
	s.Protocol = TCP
	return isSegment
}

// udp decodes a UDP datagram (RFC 768).
func (d *Decoder) udp(p *packet, b []byte, wire int) outcome {
	if len(b) < 8 {
		return short(wire, 8, BadUDP)
	}
	src, dst := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length == 0 { // a jumbogram, RFC 2675 §4, or offload
		length = wire
	}
	if length < 8 || wire < 8 {
		return BadUDP
	}
	wire = min(wire, length)
	b, wire = clip(b, wire)[8:], wire-8
	switch d.udpLayer(src, dst) {
	case layerDNS:
		return dns(p.segment, src, dst, b, wire)
	case layerVXLAN:
		return d.vxlan(p, b, wire)
	case layerVXLANGPE:
		return d.vxlanGPE(p, b, wire)
	case layerGeneve:
		return d.geneve(p, b, wire)
	case layerGTP:
		return d.gtp(p, b, wire)
	case layerL2TP:
		return d.l2tp(p, b, wire)
	case layerGREInUDP:
		return d.gre(p, b, wire)
	case layerMPLSInUDP:
		return d.mpls(p, b, wire)
	}
	return p.other(UDPPort, min(src, dst))
}

func dns(s *Segment, src, dst uint16, b []byte, wire int) outcome {
	s.Src.Port, s.Dst.Port = src, dst
	s.Seq, s.Ack, s.Window, s.Flags = 0, 0, 0, 0
	s.Length = uint32(wire)
	s.Payload = b[:len(b):len(b)]
	s.Protocol = DNS
	return isDatagram
}
