package sniffertest

import (
	"encoding/binary"
	"fmt"

	"github.com/keepscope/keepscope/sniffer"
)

// Frames returns the conversation as frames of a link type: Ethernet, null,
// raw IP, PPP, and Linux cooked version 1 and 2; of another it fails. With
// cooked version 2 every frame is of interface 0, as from the device "any", and
// carries the interface's number plus one as its index.
func (s *Script) Frames(link sniffer.LinkType) ([]sniffer.Frame, error) {
	all := s.render()
	frames := make([]sniffer.Frame, len(all))
	for i := range all {
		header, err := linkHeader(link, &all[i].Segment)
		if err != nil {
			return nil, err
		}
		b := appendIP(header, &all[i], uint16(i+1))
		missing := len(all[i].whole) - len(all[i].Payload)
		f := sniffer.Frame{Time: all[i].Time, Length: uint32(len(b)), Interface: all[i].Interface, Link: link}
		f.Data = b[: len(b)-missing : len(b)-missing]
		if link == sniffer.LinkSLL2 {
			f.Interface = 0
		}
		frames[i] = f
	}
	return frames, nil
}

// linkHeader returns what goes before IP.
func linkHeader(link sniffer.LinkType, s *sniffer.Segment) ([]byte, error) {
	v4 := s.Src.Addr.Netip().Is4()
	etherType := uint16(0x86dd)
	if v4 {
		etherType = 0x0800
	}
	be := binary.BigEndian
	switch link {
	case sniffer.LinkEthernet:
		b := append(mac(s.Dst.Addr), mac(s.Src.Addr)...)
		return be.AppendUint16(b, etherType), nil
	case sniffer.LinkNull:
		if v4 {
			return []byte{2, 0, 0, 0}, nil
		}
		return []byte{30, 0, 0, 0}, nil
	case sniffer.LinkRaw:
		return nil, nil
	case sniffer.LinkPPP:
		if v4 {
			return []byte{0xff, 0x03, 0x00, 0x21}, nil
		}
		return []byte{0xff, 0x03, 0x00, 0x57}, nil
	case sniffer.LinkSLL:
		b := append([]byte{0, 0, 0, 1, 0, 6}, mac(s.Src.Addr)...)
		return be.AppendUint16(append(b, 0, 0), etherType), nil
	case sniffer.LinkSLL2:
		b := be.AppendUint16(nil, etherType)
		b = be.AppendUint32(append(b, 0, 0), s.Interface+1)
		b = append(append(b, 0, 1, 0, 6), mac(s.Src.Addr)...)
		return append(b, 0, 0), nil
	default:
		return nil, fmt.Errorf("sniffertest: cannot build frames of link type %d", link)
	}
}

// mac returns a locally administered MAC address made of an IP address.
func mac(a sniffer.Addr) []byte {
	return []byte{0x02, 0, a[12], a[13], a[14], a[15]}
}

// appendIP appends an IP datagram to b.
func appendIP(b []byte, s *sent, id uint16) []byte {
	const tcp, udp, ttl, dontFragment = 6, 17, 64, 0x4000
	protocol, header := byte(tcp), 20
	if s.Protocol == sniffer.DNS {
		protocol, header = udp, 8
	}
	length := header + len(s.whole)
	src, dst := s.Src.Addr.Netip().AsSlice(), s.Dst.Addr.Netip().AsSlice()
	be := binary.BigEndian
	start := len(b)
	if len(src) == 4 {
		b = be.AppendUint16(append(b, 0x45, 0), uint16(20+length))
		b = be.AppendUint16(b, id)
		b = be.AppendUint16(b, dontFragment)
		b = append(append(append(b, ttl, protocol, 0, 0), src...), dst...)
		be.PutUint16(b[start+10:], ^fold(sum(0, b[start:])))
	} else {
		b = be.AppendUint16(append(b, 0x60, 0, 0, 0), uint16(length))
		b = append(append(append(b, protocol, ttl), src...), dst...)
	}
	pseudo := sum(sum(uint64(protocol)+uint64(length), src), dst)
	if protocol == udp {
		return appendUDP(b, s, pseudo)
	}
	return appendTCP(b, s, pseudo)
}

func appendTCP(b []byte, s *sent, pseudo uint64) []byte {
	be := binary.BigEndian
	start := len(b)
	b = be.AppendUint16(b, s.Src.Port)
	b = be.AppendUint16(b, s.Dst.Port)
	b = be.AppendUint32(b, s.Seq)
	b = be.AppendUint32(b, s.Ack)
	b = append(b, 5<<4, byte(s.Flags))
	b = be.AppendUint16(b, s.Window)
	b = append(append(b, 0, 0, 0, 0), s.whole...)
	be.PutUint16(b[start+16:], ^fold(sum(pseudo, b[start:])))
	return b
}

func appendUDP(b []byte, s *sent, pseudo uint64) []byte {
	be := binary.BigEndian
	start := len(b)
	b = be.AppendUint16(b, s.Src.Port)
	b = be.AppendUint16(b, s.Dst.Port)
	b = be.AppendUint16(b, uint16(8+len(s.whole)))
	b = append(append(b, 0, 0), s.whole...)
	checksum := ^fold(sum(pseudo, b[start:]))
	if checksum == 0 { // which would mean that there is none (RFC 768)
		checksum = 0xffff
	}
	be.PutUint16(b[start+6:], checksum)
	return b
}

// sum adds the 16-bit words of b, the last one padded (RFC 1071 §1).
func sum(n uint64, b []byte) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		n += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		n += uint64(b[0]) << 8
	}
	return n
}

func fold(n uint64) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
