package sniffer

import "encoding/binary"

// link decodes a frame from its first byte.
func (d *Decoder) link(p *packet, b []byte, wire int) outcome {
	switch p.frame.Link {
	case LinkEthernet:
		return d.ethernet(p, b, wire)
	case LinkNull, LinkLoop:
		return d.loopback(p, b, wire)
	case LinkPPP, LinkPPPSerial:
		return d.pppFramed(p, b, wire)
	case LinkPPPEther:
		return d.pppoe(p, b, wire)
	case LinkCHDLC:
		return d.chdlc(p, b, wire)
	case LinkRaw, LinkRawBSD, LinkRawOBSD:
		return d.raw(p, b, wire)
	case LinkIPv4:
		return d.ipv4(p, b, wire)
	case LinkIPv6:
		return d.ipv6(p, b, wire)
	case LinkSLL:
		return d.cooked(p, b, wire)
	case LinkSLL2:
		return d.cooked2(p, b, wire)
	}
	return UnknownLink
}

// The EtherTypes, and PPP protocols below.
const (
	typeIPv4       = 0x0800
	typeIPv6       = 0x86dd
	typeVLAN       = 0x8100
	typeQinQ       = 0x88a8
	typeQinQOld    = 0x9100
	typeQinQOlder  = 0x9200
	typeMPLS       = 0x8847
	typeMPLSMulti  = 0x8848
	typePPPoE      = 0x8864
	typePPP        = 0x880b
	typeBridged    = 0x6558 // transparent Ethernet bridging
	typeARP        = 0x0806
	typeERSPAN     = 0x88be
	typeERSPAN3    = 0x22eb
	typeWCCP       = 0x883e
	minEtherType   = 0x0600 // what is less is a length (IEEE 802.3 §3.2.6)
	cookedLLC      = 0x0004 // Linux: an LLC frame
	pppIPv4        = 0x0021
	pppIPv6        = 0x0057
	pppMPLS        = 0x0281
	pppMPLSMulti   = 0x0283
	maxLengthField = 1500
)

func (d *Decoder) ethernet(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 14 {
		return short(wire, 14, BadEthernet)
	}
	return d.typeOrLength(p, binary.BigEndian.Uint16(b[12:]), b[14:], wire-14)
}

// typeOrLength decodes what follows the field of an Ethernet header, or of a
// VLAN tag, that is either an EtherType or the length of an LLC frame.
func (d *Decoder) typeOrLength(p *packet, typ uint16, b []byte, wire int) outcome {
	if typ >= minEtherType {
		return d.etherType(p, typ, b, wire)
	}
	if typ > maxLengthField {
		return isOther
	}
	wire = min(wire, int(typ))
	return d.llc(p, clip(b, wire), wire)
}

func (d *Decoder) etherType(p *packet, typ uint16, b []byte, wire int) outcome {
	switch layerOfType(typ) {
	case layerIPv4:
		return d.ipv4(p, b, wire)
	case layerIPv6:
		return d.ipv6(p, b, wire)
	case layerVLAN:
		return d.vlan(p, b, wire)
	case layerMPLS:
		return d.mpls(p, b, wire)
	case layerPPPoE:
		return d.pppoe(p, b, wire)
	case layerPPP:
		return d.ppp(p, b, wire)
	case layerEthernet:
		return d.ethernet(p, b, wire)
	}
	return p.other(EtherType, typ)
}

func layerOfType(typ uint16) layer {
	for i := range etherTypes {
		if etherTypes[i].number == typ {
			return etherTypes[i].layer
		}
	}
	return noLayer
}

// vlan decodes a tag (IEEE 802.1Q §9.6): two bytes, then a type or length.
func (d *Decoder) vlan(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 4 {
		return short(wire, 4, BadEthernet)
	}
	return d.typeOrLength(p, binary.BigEndian.Uint16(b[2:]), b[4:], wire-4)
}

// llc decodes an IEEE 802.2 header with, if it is one, its SNAP extension
// (RFC 1042).
func (d *Decoder) llc(p *packet, b []byte, wire int) outcome {
	const sapSNAP, sapIP, unnumbered = 0xaa, 0x06, 0x03
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 3 {
		return short(wire, 3, BadEthernet)
	}
	switch {
	case b[2] != unnumbered:
		return isOther
	case b[0] == sapIP && b[1] == sapIP:
		return d.ipv4(p, b[3:], wire-3)
	case b[0] != sapSNAP || b[1] != sapSNAP:
		return isOther
	case len(b) < 8:
		return short(wire, 8, BadEthernet)
	case b[3] != 0 || b[4] != 0 || b[5] != 0 && b[5] != 0xf8: // RFC 1042, 802.1H
		return isOther
	}
	return d.etherType(p, binary.BigEndian.Uint16(b[6:]), b[8:], wire-8)
}

// mpls decodes a label stack (RFC 3032 §2.1). What lies under it is not told,
// except by two reserved labels: it has to be guessed, as routers do that
// balance load (RFC 4928 §2).
func (d *Decoder) mpls(p *packet, b []byte, wire int) outcome {
	const explicitNull4, explicitNull6 = 0, 2
	for {
		if !p.enter() {
			return TooDeep
		}
		if len(b) < 4 {
			return short(wire, 4, BadMPLS)
		}
		entry := binary.BigEndian.Uint32(b)
		b, wire = b[4:], wire-4
		if entry&0x100 == 0 {
			continue // not the bottom of the stack
		}
		switch entry >> 12 {
		case explicitNull4:
			return d.ipv4(p, b, wire)
		case explicitNull6:
			return d.ipv6(p, b, wire)
		}
		return d.underLabels(p, b, wire)
	}
}

func (d *Decoder) underLabels(p *packet, b []byte, wire int) outcome {
	if len(b) == 0 {
		return short(wire, 1, BadMPLS)
	}
	if b[0]>>4 == 0 && len(b) > 4 && looksLikeEthernet(b[4:]) { // control word, RFC 4385 §3
		return d.ethernet(p, b[4:], wire-4)
	}
	return d.guess(p, b, wire)
}

// guess decodes what is IP or Ethernet and does not say which. There is at least
// one byte of it.
func (d *Decoder) guess(p *packet, b []byte, wire int) outcome {
	switch {
	case looksLikeIPv4(b, wire):
		return d.ipv4(p, b, wire)
	case looksLikeIPv6(b, wire):
		return d.ipv6(p, b, wire)
	case looksLikeEthernet(b):
		return d.ethernet(p, b, wire)
	case b[0]>>4 == 4:
		return d.ipv4(p, b, wire) // counts what is wrong with it
	case b[0]>>4 == 6:
		return d.ipv6(p, b, wire)
	}
	return isOther
}

// A MAC address too may begin with the version of IP, hence the look at the
// length.
func looksLikeIPv4(b []byte, wire int) bool {
	return len(b) >= 20 && b[0]>>4 == 4 && b[0]&0xf >= 5 && nearly(wire, int(binary.BigEndian.Uint16(b[2:])))
}

func looksLikeIPv6(b []byte, wire int) bool {
	return len(b) >= 40 && b[0]>>4 == 6 && nearly(wire, 40+int(binary.BigEndian.Uint16(b[4:])))
}

// nearly says whether a datagram of n bytes fills wire bytes, but for the
// padding of a shortest Ethernet frame or a checksum of Ethernet.
func nearly(wire, n int) bool {
	const padded, checksum = 60 - 14, 4
	return n <= wire && (wire <= padded || wire-n <= checksum)
}

func looksLikeEthernet(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	typ := binary.BigEndian.Uint16(b[12:])
	switch layerOfType(typ) {
	case layerIPv4, layerIPv6, layerVLAN, layerMPLS, layerPPPoE:
		return true
	}
	return typ == typeARP || typ >= 3 && int(typ) <= min(maxLengthField, len(b)-14)
}

// pppoe decodes a session packet (RFC 2516 §4).
func (d *Decoder) pppoe(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 6 {
		return short(wire, 6, BadPPPoE)
	}
	if b[0] != 0x11 {
		return BadPPPoE
	}
	if b[1] != 0 { // discovery, on link type 51
		return isOther
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length > 0 { // 0 is offload
		wire = min(wire, 6+length)
	}
	return d.ppp(p, clip(b, wire)[6:], wire-6)
}

// pppFramed decodes PPP that may have the address and control bytes of its
// HDLC-like framing (RFC 1662 §3.1).
func (d *Decoder) pppFramed(p *packet, b []byte, wire int) outcome {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b, wire = b[2:], wire-2
	}
	return d.ppp(p, b, wire)
}

// ppp decodes a PPP packet from its protocol field, which is one byte long
// where that is odd (RFC 1661 §2, §6.5).
func (d *Decoder) ppp(p *packet, b []byte, wire int) outcome {
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 2 {
		return short(wire, 2, BadLink)
	}
	protocol, n := binary.BigEndian.Uint16(b), 2
	if b[0]&1 != 0 {
		protocol, n = uint16(b[0]), 1
	}
	b, wire = b[n:], wire-n
	switch protocol {
	case pppIPv4:
		return d.ipv4(p, b, wire)
	case pppIPv6:
		return d.ipv6(p, b, wire)
	case pppMPLS, pppMPLSMulti:
		return d.mpls(p, b, wire)
	}
	return isOther
}

// chdlc decodes Cisco HDLC: address, control, EtherType (RFC 4349 §2 shows it).
func (d *Decoder) chdlc(p *packet, b []byte, wire int) outcome {
	if len(b) < 4 {
		return short(wire, 4, BadLink)
	}
	if b[0] == 0xff && b[1] == 0x03 { // really PPP
		return d.ppp(p, b[2:], wire-2)
	}
	return d.etherType(p, binary.BigEndian.Uint16(b[2:]), b[4:], wire-4)
}

// loopback decodes the four bytes of address family of the BSDs, in the byte
// order of whoever captured. No family needs the upper 16 bits, so those tell
// the order.
func (d *Decoder) loopback(p *packet, b []byte, wire int) outcome {
	if len(b) < 4 {
		return short(wire, 4, BadLink)
	}
	family := binary.LittleEndian.Uint32(b)
	if family > 0xffff {
		family = binary.BigEndian.Uint32(b)
	}
	switch family {
	case 2:
		return d.ipv4(p, b[4:], wire-4)
	case 10, 23, 24, 28, 30: // Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
		return d.ipv6(p, b[4:], wire-4)
	}
	return isOther
}

// raw decodes IP of either version.
func (d *Decoder) raw(p *packet, b []byte, wire int) outcome {
	if len(b) == 0 {
		return short(wire, 1, BadLink)
	}
	switch b[0] >> 4 {
	case 4:
		return d.ipv4(p, b, wire)
	case 6:
		return d.ipv6(p, b, wire)
	}
	return BadLink
}

func (d *Decoder) cooked(p *packet, b []byte, wire int) outcome {
	if len(b) < 16 {
		return short(wire, 16, BadLink)
	}
	return d.cookedType(p, binary.BigEndian.Uint16(b[14:]), b[16:], wire-16)
}

func (d *Decoder) cooked2(p *packet, b []byte, wire int) outcome {
	if len(b) < 20 {
		return short(wire, 20, BadLink)
	}
	p.segment.Interface = p.frame.Interface + binary.BigEndian.Uint32(b[4:])<<interfaceBits
	return d.cookedType(p, binary.BigEndian.Uint16(b), b[20:], wire-20)
}

func (d *Decoder) cookedType(p *packet, typ uint16, b []byte, wire int) outcome {
	if typ == cookedLLC {
		return d.llc(p, b, wire)
	}
	return d.etherType(p, typ, b, wire)
}
