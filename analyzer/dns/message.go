package dns

import (
	"bytes"
	"encoding/binary"
)

// An Addr is an IPv6 address, or an IPv4 address mapped into IPv6 (RFC 4291
// §2.5.5.2).
type Addr = [16]byte

// Record types (RFC 1035 §3.2.2, RFC 3596 §2.1).
const (
	TypeA     = 1
	TypeCNAME = 5
	TypeAAAA  = 28
)

// Response codes (RFC 1035 §4.1.1).
const (
	NoError  = 0
	NXDomain = 3
)

const (
	classIN     = 1
	headerSize  = 12
	maxName     = 253 // written with dots (RFC 1035 §2.3.4)
	maxAddrs    = 64
	maxRecords  = 256
	maxChain    = 16
	maxPointers = 32
)

// A Message is a query with one question, or a response to one. It is reused
// from one Parse to the next; Name and Addrs are valid until then.
type Message struct {
	ID        uint16
	Type      uint16 // of the question
	Response  bool
	Truncated bool
	RCode     uint8  // response: low four bits
	TTL       uint32 // response: seconds, the lowest on the way to the addresses; 0 without any
	Name      []byte // asked for: lower case, no final dot, '?' for what no host name holds
	Addrs     []Addr // response: of the name asked for, at most 64

	name   [maxName]byte
	target [maxName]byte // where the CNAMEs have led to
	owner  [maxName]byte
	addrs  [maxAddrs]Addr
}

// Parse reads a standard query of class IN with one question, or a response to
// one, and says whether msg is one. A response that is cut short is read as far
// as it goes.
func Parse(msg []byte, m *Message) bool {
	m.Name, m.Addrs, m.TTL = nil, nil, 0
	if len(msg) < headerSize {
		return false
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if opcode := flags >> 11 & 15; opcode != 0 || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return false
	}
	m.ID = binary.BigEndian.Uint16(msg)
	m.Response = flags&0x8000 != 0
	m.Truncated = flags&0x0200 != 0
	m.RCode = uint8(flags & 15)
	n, at := readName(msg, headerSize, &m.name)
	if at < 0 || len(msg)-at < 4 || binary.BigEndian.Uint16(msg[at+2:]) != classIN {
		return false
	}
	m.Name = m.name[:n]
	m.Type = binary.BigEndian.Uint16(msg[at:])
	if m.Response && m.RCode == NoError {
		m.answers(msg, at+4, int(binary.BigEndian.Uint16(msg[6:])))
	}
	return true
}

// A record is one resource record; data is where its RDATA begins in the
// message.
type record struct {
	kind, class uint16
	ttl         uint32
	data, size  int
}

// answers collects the addresses of the name asked for. One pass is enough
// where each CNAME comes before what it leads to, as servers write them.
func (m *Message) answers(msg []byte, at, count int) {
	target := m.target[:copy(m.target[:], m.Name)]
	ttl := ^uint32(0)
	links := 0
	for moved := true; moved && len(m.Addrs) == 0; {
		moved = false
		next := at
		for range min(count, maxRecords) {
			n, rest := readName(msg, next, &m.owner)
			r, ok := readRecord(msg, rest)
			if !ok {
				break
			}
			next = r.data + r.size
			if r.class != classIN || !bytes.Equal(m.owner[:n], target) {
				continue
			}
			switch {
			case r.kind == TypeCNAME:
				if links++; links > maxChain {
					return
				}
				n, end := readName(msg, r.data, &m.target)
				if end != next {
					return // not the whole of its RDATA
				}
				target = m.target[:n]
				moved = true
				m.Addrs = nil // a name with a CNAME has nothing else (RFC 1034 §3.6.2)
			case r.kind == TypeA && r.size == 4, r.kind == TypeAAAA && r.size == 16:
				m.add(msg[r.data : r.data+r.size])
			default:
				continue
			}
			ttl = min(ttl, r.ttl)
		}
	}
	if len(m.Addrs) > 0 {
		m.TTL = ttl
	}
}

// add appends an address of 4 or 16 bytes.
func (m *Message) add(b []byte) {
	n := len(m.Addrs)
	if n == maxAddrs {
		return
	}
	a := &m.addrs[n]
	*a = Addr{10: 0xff, 11: 0xff}
	copy(a[len(a)-len(b):], b)
	m.Addrs = m.addrs[:n+1]
}

// readRecord reads what follows a record's name.
func readRecord(msg []byte, at int) (r record, ok bool) {
	if at < 0 || len(msg)-at < 10 {
		return r, false
	}
	r.kind = binary.BigEndian.Uint16(msg[at:])
	r.class = binary.BigEndian.Uint16(msg[at+2:])
	r.ttl = binary.BigEndian.Uint32(msg[at+4:])
	r.size = int(binary.BigEndian.Uint16(msg[at+8:]))
	r.data = at + 10
	return r, r.data+r.size <= len(msg)
}

// readName writes the name at a place of msg (RFC 1035 §4.1.4) and returns its
// length and what comes after it, -1 where it is malformed. A pointer must lead
// back, so no name is endless.
func readName(msg []byte, at int, name *[maxName]byte) (n, after int) {
	after = -1
	for pointers, limit := 0, at; ; {
		if at < 0 || at >= len(msg) {
			return 0, -1
		}
		switch size := int(msg[at]); size & 0xc0 {
		case 0:
			at++
			if size == 0 {
				if after < 0 {
					after = at
				}
				return n, after
			}
			dot := min(n, 1)
			if at+size > len(msg) || n+dot+size > maxName {
				return 0, -1
			}
			if dot == 1 {
				name[n] = '.'
				n++
			}
			for _, b := range msg[at : at+size] {
				name[n] = hostByte(b)
				n++
			}
			at += size
		case 0xc0:
			if at+1 >= len(msg) {
				return 0, -1
			}
			if after < 0 {
				after = at + 2
			}
			to := size&0x3f<<8 | int(msg[at+1])
			if pointers++; to >= limit || pointers > maxPointers {
				return 0, -1
			}
			at, limit = to, to
		default:
			return 0, -1
		}
	}
}

// hostByte folds a byte of a label.
func hostByte(b byte) byte {
	switch {
	case 'A' <= b && b <= 'Z':
		return b + 'a' - 'A'
	case 'a' <= b && b <= 'z', '0' <= b && b <= '9', b == '-', b == '_':
		return b
	}
	return '?'
}
