package sniffertest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const (
	defaultDNSPort    = 53
	defaultClientPort = 40053

	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	typeHTTPS = 65
)

// A DNSMessage is a query or an answer (RFC 1035 §4.1) with one question.
type DNSMessage struct {
	Answer    bool
	ID        uint16
	Name      string
	Type      uint16 // 0: AAAA where the first address is of IPv6, else A
	CNAME     string // the name that has the addresses, if another
	Addresses []netip.Addr
	RCode     uint16
	TTL       uint32
}

// Pack returns the bytes of the message. It fails where a name cannot be
// encoded.
func (m *DNSMessage) Pack() ([]byte, error) {
	const response, recursionDesired, recursionAvailable, class = 0x8000, 0x0100, 0x0080, 1
	flags, answers := uint16(recursionDesired), len(m.Addresses)
	if m.CNAME != "" {
		answers++
	}
	if m.Answer {
		flags |= response | recursionAvailable | m.RCode&0xf
	}
	be := binary.BigEndian
	b := be.AppendUint16(nil, m.ID)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, 1)
	b = be.AppendUint16(b, uint16(answers))
	b = be.AppendUint32(b, 0)
	b, err := appendName(b, m.Name)
	if err != nil {
		return nil, err
	}
	b = be.AppendUint16(b, m.question())
	b = be.AppendUint16(b, class)
	owner := uint16(0xc000 | 12) // the question's name (RFC 1035 §4.1.4)
	if m.CNAME != "" {
		b = m.record(b, owner, typeCNAME)
		length := len(b)
		b = be.AppendUint16(b, 0)
		if b, err = appendName(b, m.CNAME); err != nil {
			return nil, err
		}
		be.PutUint16(b[length:], uint16(len(b)-length-2))
		owner = 0xc000 | uint16(length+2)
	}
	for _, a := range m.Addresses {
		b = m.record(b, owner, typeOf(a))
		b = be.AppendUint16(b, uint16(a.BitLen()/8))
		b = append(b, a.AsSlice()...)
	}
	return b, nil
}

func (m *DNSMessage) question() uint16 {
	if m.Type != 0 {
		return m.Type
	}
	if len(m.Addresses) > 0 {
		return typeOf(m.Addresses[0])
	}
	return typeA
}

// record appends a resource record up to its length.
func (m *DNSMessage) record(b []byte, owner, typ uint16) []byte {
	b = binary.BigEndian.AppendUint16(b, owner)
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, 1)
	return binary.BigEndian.AppendUint32(b, m.TTL)
}

func typeOf(a netip.Addr) uint16 {
	if a.Is4() {
		return typeA
	}
	return typeAAAA
}

func appendName(b []byte, name string) ([]byte, error) {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 {
		return nil, fmt.Errorf("name %q is too long", name)
	}
	if name != "" {
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || len(label) > 63 {
				return nil, fmt.Errorf("label %q of name %q", label, name)
			}
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0), nil
}

// dns reads what follows the word dns.
func (p *parser) dns(args []token) error {
	if len(args) < 4 {
		return errors.New("dns takes two addresses, query or answer, and a name")
	}
	client, err := addrPort(args[0].word, defaultClientPort)
	if err != nil {
		return err
	}
	resolver, err := addrPort(args[1].word, defaultDNSPort)
	if err != nil {
		return err
	}
	m := Message{At: p.now}
	d := DNSMessage{ID: 1, TTL: 60, Name: args[3].word, Answer: args[2].word == "answer"}
	if !d.Answer && args[2].word != "query" {
		return fmt.Errorf("unknown word %q", args[2].text())
	}
	for _, t := range args[4:] {
		if err := d.item(&m, t); err != nil {
			return err
		}
	}
	if m.Payload, err = d.Pack(); err != nil {
		return err
	}
	if d.Answer {
		p.script.Datagram(resolver, client, m)
	} else {
		p.script.Datagram(client, resolver, m)
	}
	return nil
}

func (m *DNSMessage) item(to *Message, t token) error {
	key, value, isOption := strings.Cut(t.word, "=")
	if !isOption {
		a, err := netip.ParseAddr(t.word)
		m.Addresses = append(m.Addresses, a)
		return err
	}
	switch key {
	case "type":
		switch value {
		case "A":
			m.Type = typeA
		case "AAAA":
			m.Type = typeAAAA
		case "HTTPS":
			m.Type = typeHTTPS
		default:
			return set(&m.Type, value, 16)
		}
		return nil
	case "cname":
		m.CNAME = value
		return nil
	case "id":
		return set(&m.ID, value, 16)
	case "ttl":
		return set(&m.TTL, value, 32)
	case "rcode":
		return set(&m.RCode, value, 4)
	case "if":
		return setNew(&to.Interface, value, 16)
	}
	return fmt.Errorf("unknown word %q", t.word)
}

// addrPort reads an address that may have a port.
func addrPort(text string, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, port), nil
	}
	return netip.ParseAddrPort(text)
}
