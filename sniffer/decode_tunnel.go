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
		if n, out = greRouting(b, wire, n); out != isOther {
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
func greRouting(b []byte, wire, n int) (int, outcome) {
	for {
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

// vxlan decodes VXLAN (RFC 7348 §5) and its group policy and generic protocol
// extensions, of which only the latter changes what follows.
func (d *Decoder) vxlan(p *packet, b []byte, wire int) outcome {
	const validID, nextProtocol = 0x08, 0x04
	if !p.enter() {
		return TooDeep
	}
	if len(b) < 8 {
		return short(wire, 8, BadVXLAN)
	}
	if b[0]&validID == 0 {
		return BadVXLAN
	}
	next := b[3]
	if b[0]&nextProtocol == 0 {
		next = 3
	}
	b, wire = b[8:], wire-8
	switch next {
	case 1:
		return d.ipv4(p, b, wire)
	case 2:
		return d.ipv6(p, b, wire)
	case 3:
		return d.ethernet(p, b, wire)
	}
	return isOther
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
