package sniffer

import "encoding/binary"

// ipv4 decodes an IPv4 datagram (RFC 791 §3.1).
func (d *Decoder) ipv4(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 20 {
		return short(wire, 20, BadIPv4)
	}
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 { // offload: the network card fills it in
		total = wire
	}
	if b[0]>>4 != 4 || header < 20 || total < header || total > maxOffload {
		return BadIPv4
	}
	b = clip(b, total)
	if len(b) < header {
		return CutHeader
	}
	p.segment.Src.Addr.setIPv4(b[12:])
	p.segment.Dst.Addr.setIPv4(b[16:])
	offset := int(binary.BigEndian.Uint16(b[6:]))
	next, body, wire := b[9], b[header:], total-header
	if offset&0x3fff == 0 {
		return d.transport(p, next, body, wire)
	}
	if !d.wanted(next) {
		return p.other(IPProtocol, uint16(next))
	}
	return d.fragment(p, fragment{
		key:    p.fragmentKey(uint32(binary.BigEndian.Uint16(b[4:])), next),
		next:   next,
		offset: offset & 0x1fff * 8,
		more:   offset&0x2000 != 0,
		data:   body,
		wire:   wire,
	})
}

// ipv6 decodes an IPv6 datagram (RFC 8200 §3).
func (d *Decoder) ipv6(p *packet, b []byte, wire int) outcome {
	const header = 40
	if !p.enter() {
		return TooDeep
	}
	if len(b) < header {
		return short(wire, header, BadIPv6)
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length == 0 {
		// Offload, or a jumbogram (RFC 2675): the length in that one's option
		// is what the frame says anyway.
		length = wire - header
	}
	if b[0]>>4 != 6 || length < 0 || length > maxOffload {
		return BadIPv6
	}
	copy(p.segment.Src.Addr[:], b[8:24])
	copy(p.segment.Dst.Addr[:], b[24:40])
	return d.ipv6Next(p, b[6], clip(b[header:], length), length)
}

// ipv6Next decodes extension headers (RFC 8200 §4) and what follows them.
func (d *Decoder) ipv6Next(p *packet, next uint8, b []byte, wire int) outcome {
	for {
		var n int
		switch ipProtocols[next] {
		case layerExtension:
			if len(b) < 8 {
				return short(wire, 8, BadIPv6)
			}
			n = (int(b[1]) + 1) * 8
		case layerFragment:
			if len(b) < 8 {
				return short(wire, 8, BadIPv6)
			}
			if binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 {
				return d.ipv6Fragment(p, b, wire)
			}
			n = 8 // an atomic fragment is whole (RFC 6946)
		default:
			return d.transport(p, next, b, wire)
		}
		if !p.enter() {
			return TooDeep
		}
		if len(b) < n {
			return short(wire, n, BadIPv6)
		}
		next, b, wire = b[0], b[n:], wire-n
	}
}

func (d *Decoder) ipv6Fragment(p *packet, b []byte, wire int) outcome {
	next, offset := b[0], int(binary.BigEndian.Uint16(b[2:]))
	if !d.wanted(next) && ipProtocols[next] != layerExtension {
		return p.other(IPProtocol, uint16(next))
	}
	// The next header may differ between fragments, the first one's counts
	// (RFC 8200 §4.5), so it is no part of the key.
	return d.fragment(p, fragment{
		key:    p.fragmentKey(binary.BigEndian.Uint32(b[4:]), protoFragment),
		next:   next,
		offset: offset &^ 7,
		more:   offset&1 != 0,
		data:   b[8:],
		wire:   wire - 8,
	})
}

// wanted says whether a datagram of the protocol may hold a segment.
func (d *Decoder) wanted(protocol uint8) bool {
	switch ipProtocols[protocol] {
	case noLayer, layerExtension, layerFragment:
		return false
	case layerTCP, layerAH:
		return true
	case layerUDP:
		return d.config.DNS || !d.config.NoTunnels
	}
	return !d.config.NoTunnels
}

// transport decodes the payload of an IP datagram.
func (d *Decoder) transport(p *packet, protocol uint8, b []byte, wire int) outcome {
	l := ipProtocols[protocol]
	switch l {
	case layerTCP:
		return d.tcp(p, b, wire)
	case layerUDP:
		return d.udp(p, b, wire)
	case layerAH:
		return d.ah(p, b, wire)
	}
	if d.config.NoTunnels {
		return p.other(IPProtocol, uint16(protocol))
	}
	switch l {
	case layerIPv4:
		return d.ipv4(p, b, wire)
	case layerIPv6:
		return d.ipv6(p, b, wire)
	case layerGRE:
		return d.gre(p, b, wire)
	case layerEtherIP:
		return d.etherIP(p, b, wire)
	case layerMPLS:
		return d.mpls(p, b, wire)
	case layerL2TPv3:
		return d.l2tpInIP(p, b, wire)
	}
	return p.other(IPProtocol, uint16(protocol))
}

// ah steps over an authentication header (RFC 4302 §2): what follows it is
// plain.
func (d *Decoder) ah(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	bad, v4 := BadIPv6, p.segment.Src.Addr.Netip().Is4()
	if v4 {
		bad = BadIPv4
	}
	if len(b) < 12 {
		return short(wire, 12, bad)
	}
	n := (int(b[1]) + 2) * 4
	if n < 12 {
		return bad
	}
	if len(b) < n {
		return short(wire, n, bad)
	}
	if v4 { // which has no extension headers
		return d.transport(p, b[0], b[n:], wire-n)
	}
	return d.ipv6Next(p, b[0], b[n:], wire-n)
}
