package sniffer

import "encoding/binary"

// gre decodes a GRE header (RFC 2784, RFC 2890, and of version 1 RFC 2637 §4.1).
func (d *Decoder) gre(p *packet, b []byte, wire int) outcome {
	const checksum, routing, key, sequence, acknowledgment = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 4 {
		return short(wire, 4, BadGRE)
	}
	flags, typ, n := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), 4
	version := flags & 7
	if version > 1 || version == 1 && typ != typePPP {
		return BadGRE
	}
	if version == 1 && flags&sequence == 0 {
		return isOther // a bare acknowledgment
	}
	if flags&(checksum|routing) != 0 {
		n += 4
	}
	if flags&key != 0 {
		n += 4
	}
	if flags&sequence != 0 {
		n += 4
	}
	if version == 1 && flags&acknowledgment != 0 {
		n += 4
	}
	if version == 0 && flags&routing != 0 {
		var out outcome
		if n, out = p.greRouting(b, wire, n); out != isOther {
			return out
		}
	}
	if len(b) < n {
		return short(wire, n, BadGRE)
	}
	b, wire = b[n:], wire-n
	switch typ {
	case typeERSPAN:
		if flags&sequence == 0 { // type I has no header
			return d.ethernet(p, b, wire)
		}
		return d.erspan2(p, b, wire)
	case typeERSPAN3:
		return d.erspan3(p, b, wire)
	case typeWCCP:
		return d.wccp(p, b, wire)
	case typePPP:
		return d.pppFramed(p, b, wire)
	}
	return d.etherType(p, typ, b, wire)
}

// greRouting steps over the source route entries of RFC 1701 at b[n:], the
// last of which is empty. It returns isOther where they are in order.
func (p *packet) greRouting(b []byte, wire, n int) (int, outcome) {
	for {
		if !p.enter() {
			return n, TooDeep
		}
		if len(b) < n+4 {
			return n, short(wire, n+4, BadGRE)
		}
		family, length := binary.BigEndian.Uint16(b[n:]), int(b[n+3])
		n += 4 + length
		if family == 0 && length == 0 {
			return n, isOther
		}
	}
}

// erspan2 decodes an ERSPAN type II header: version 1, 8 bytes, Ethernet
// (draft-foschiano-erspan §4.2).
func (d *Decoder) erspan2(p *packet, b []byte, wire int) outcome {
	if len(b) < 8 {
		return short(wire, 8, BadGRE)
	}
	if b[0]>>4 != 1 {
		return BadGRE
	}
	return d.ethernet(p, b[8:], wire-8)
}

// erspan3 decodes an ERSPAN type III header: version 2, 12 bytes and 8 more
// where its last bit is set; it tells whether Ethernet or IP follows
// (draft-foschiano-erspan §4.3).
func (d *Decoder) erspan3(p *packet, b []byte, wire int) outcome {
	const frameEthernet, frameIP = 0, 2
	if len(b) < 12 {
		return short(wire, 12, BadGRE)
	}
	if b[0]>>4 != 2 {
		return BadGRE
	}
	n := 12
	if b[11]&1 != 0 {
		n += 8
	}
	if len(b) < n {
		return short(wire, n, BadGRE)
	}
	switch b[10] >> 2 & 0x1f {
	case frameEthernet:
		return d.ethernet(p, b[n:], wire-n)
	case frameIP:
		return d.raw(p, b[n:], wire-n)
	}
	return isOther
}

// wccp decodes a redirected packet: in WCCP version 2 four bytes go before the
// IPv4 header (draft-wilson-wrec-wccp-v2 §4.12), in version 1 none.
func (d *Decoder) wccp(p *packet, b []byte, wire int) outcome {
	if len(b) < 4 {
		return short(wire, 4, BadGRE)
	}
	if b[0]>>4 != 4 {
		b, wire = b[4:], wire-4
	}
	return d.ipv4(p, b, wire)
}

// vxlan decodes VXLAN (RFC 7348 §5). All bits but the one that says that the
// network id is valid are ignored on receipt; on this port none of them changes
// what follows, also not that which the generic protocol extension would read.
func (d *Decoder) vxlan(p *packet, b []byte, wire int) outcome {
	const validID = 0x08
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 8 {
		return short(wire, 8, BadVXLAN)
	}
	if b[0]&validID == 0 {
		return BadVXLAN
	}
	return d.ethernet(p, b[8:], wire-8)
}

// vxlanGPE decodes the generic protocol extension of VXLAN, which has a port of
// its own (draft-ietf-nvo3-vxlan-gpe §3.1, §3.2).
func (d *Decoder) vxlanGPE(p *packet, b []byte, wire int) outcome {
	const version, nextProtocol, oam = 0x30, 0x04, 0x01
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 8 {
		return short(wire, 8, BadVXLAN)
	}
	if b[0]&version != 0 {
		return BadVXLAN
	}
	next := b[3]
	if b[0]&nextProtocol == 0 {
		next = 3
	}
	b, wire, flags := b[8:], wire-8, b[0]
	switch {
	case flags&oam != 0: // no user's packet
	case next == 1:
		return d.ipv4(p, b, wire)
	case next == 2:
		return d.ipv6(p, b, wire)
	case next == 3:
		return d.ethernet(p, b, wire)
	}
	return p.other(UDPPort, portVXLANGPE)
}

// geneve decodes Geneve (RFC 8926 §3.4).
func (d *Decoder) geneve(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 8 {
		return short(wire, 8, BadGeneve)
	}
	if b[0]>>6 != 0 {
		return BadGeneve
	}
	n := 8 + int(b[0]&0x3f)*4
	if len(b) < n {
		return short(wire, n, BadGeneve)
	}
	return d.etherType(p, binary.BigEndian.Uint16(b[2:]), b[n:], wire-n)
}

// etherIP decodes EtherIP (RFC 3378 §3).
func (d *Decoder) etherIP(p *packet, b []byte, wire int) outcome {
	if len(b) < 2 {
		return short(wire, 2, BadEthernet)
	}
	if b[0]>>4 != 3 {
		return BadEthernet
	}
	return d.ethernet(p, b[2:], wire-2)
}

// gtp decodes a packet of GTP-U (3GPP TS 29.281 §5.1): a user's packet of IP, or
// of Ethernet, behind optional fields and extension headers (§5.2).
func (d *Decoder) gtp(p *packet, b []byte, wire int) outcome {
	const version1, anyOption, extension, userPacket = 0x30, 0x07, 0x04, 255
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 8 {
		return short(wire, 8, BadGTP)
	}
	if b[0]&0xf0 != version1 || b[1] != userPacket {
		return p.other(UDPPort, portGTP)
	}
	flags, n := b[0], 8
	wire = min(wire, 8+int(binary.BigEndian.Uint16(b[2:])))
	b = clip(b, wire)
	if flags&anyOption != 0 {
		n = 12
		if len(b) < n {
			return short(wire, n, BadGTP)
		}
	}
	if flags&extension != 0 {
		var out outcome
		if n, out = p.gtpExtensions(b, wire); out != isOther {
			return out
		}
	}
	if len(b) == n {
		return short(wire, n+1, BadGTP)
	}
	return d.guess(p, b[n:], wire-n)
}

// gtpExtensions steps over the extension headers of a packet of GTP-U, each of
// which tells its length in words of 4 bytes and, at its end, the next one's
// type. It returns isOther where they are in order.
func (p *packet) gtpExtensions(b []byte, wire int) (int, outcome) {
	n := 12
	for next := b[11]; next != 0; next = b[n-1] {
		if !p.enter() {
			return n, TooDeep
		}
		if len(b) <= n {
			return n, short(wire, n+1, BadGTP)
		}
		size := int(b[n]) * 4
		if size == 0 {
			return n, BadGTP
		}
		if n += size; len(b) < n {
			return n, short(wire, n, BadGTP)
		}
	}
	return n, isOther
}

// l2tp decodes a message of L2TP over UDP, of version 2 (RFC 2661 §3.1), whose
// data is PPP, or 3 (RFC 3931 §4.1.2.1).
func (d *Decoder) l2tp(p *packet, b []byte, wire int) outcome {
	const control, version = 0x8000, 0x000f
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 8 {
		return short(wire, 8, BadL2TP)
	}
	flags := binary.BigEndian.Uint16(b)
	switch {
	case flags&control != 0:
	case flags&version == 2:
		return d.l2tpv2(p, flags, b, wire)
	case flags&version == 3:
		return d.l2tpv3(p, UDPPort, portL2TP, b[8:], wire-8)
	}
	return p.other(UDPPort, portL2TP)
}

func (d *Decoder) l2tpv2(p *packet, flags uint16, b []byte, wire int) outcome {
	const length, sequence, offset = 0x4000, 0x0800, 0x0200
	n := 6
	if flags&length != 0 {
		wire = min(wire, int(binary.BigEndian.Uint16(b[2:])))
		b = clip(b, wire)
		n += 2
	}
	if flags&sequence != 0 {
		n += 4
	}
	if flags&offset != 0 {
		if n += 2; len(b) < n {
			return short(wire, n, BadL2TP)
		}
		n += int(binary.BigEndian.Uint16(b[n-2:]))
	}
	if len(b) < n {
		return short(wire, n, BadL2TP)
	}
	return d.pppFramed(p, b[n:], wire-n)
}

// l2tpInIP decodes a message of L2TP version 3 over IP (RFC 3931 §4.1.1.1): 0 in
// place of a session is control.
func (d *Decoder) l2tpInIP(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 4 {
		return short(wire, 4, BadL2TP)
	}
	if binary.BigEndian.Uint32(b) == 0 {
		return p.other(IPProtocol, protoL2TP)
	}
	return d.l2tpv3(p, IPProtocol, protoL2TP, b[4:], wire-4)
}

// l2tpv3 decodes what follows the session of a data message. How long its cookie
// is (0, 4 or 8 bytes), whether it has a sublayer (4 bytes), and which link type
// it carries, both ends have agreed upon before (RFC 3931 §4.1). So the frame is
// found by what it must be to matter: Ethernet or PPP with IP that fills it.
func (d *Decoder) l2tpv3(p *packet, registry Registry, number uint16, b []byte, wire int) outcome {
	const longest = 12
	for n := 0; n <= min(longest, len(b)); n += 4 {
		frame, left := b[n:], wire-n
		switch {
		case isEthernetOfIP(frame, left):
			return d.ethernet(p, frame, left)
		case isPPPOfIP(frame, left):
			return d.pppFramed(p, frame, left)
		}
	}
	return p.other(registry, number)
}

// isEthernetOfIP says whether b is an Ethernet frame, with a VLAN tag or
// without, that holds an IP datagram and nothing else.
func isEthernetOfIP(b []byte, wire int) bool {
	const header, tag = 14, 4
	if len(b) >= header+tag && layerOfType(binary.BigEndian.Uint16(b[12:])) == layerVLAN {
		b, wire = b[tag:], wire-tag
	}
	if len(b) < header {
		return false
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case typeIPv4:
		return looksLikeIPv4(b[header:], wire-header)
	case typeIPv6:
		return looksLikeIPv6(b[header:], wire-header)
	}
	return false
}

// isPPPOfIP is isEthernetOfIP for PPP, framed as in HDLC or bare.
func isPPPOfIP(b []byte, wire int) bool {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b, wire = b[2:], wire-2
	}
	if len(b) < 2 {
		return false
	}
	switch binary.BigEndian.Uint16(b) {
	case pppIPv4:
		return looksLikeIPv4(b[2:], wire-2)
	case pppIPv6:
		return looksLikeIPv6(b[2:], wire-2)
	}
	return false
}
