package dns

import "encoding/binary"

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
	maxSteps    = 2048 // name bytes, labels and pointers read of one answer
)

// A Message is a query with one question, or a response to one. It is reused
// from one Parse to the next. Name and Addrs are valid until then.
type Message struct {
	ID        uint16
	Type      uint16 // of the question
	Response  bool
	Truncated bool
	RCode     uint8  // response: low four bits
	TTL       uint32 // ReadAnswers: seconds, the lowest on the way to the addresses; 0 without any
	Name      []byte // asked for: lower case, no final dot, '?' for what no host name holds
	Addrs     []Addr // ReadAnswers: of the name asked for, at most 64

	hash  uint64 // of Name
	name  nameReader
	addrs [maxAddrs]Addr

	msg   []byte // of which ReadAnswers reads
	at    int    // where its answers begin
	count int    // how many there are, as it says
	index index
}

// Parse reads a standard query of class IN with one question, or a response to
// one, and says whether msg is one. Of a response it reads the question only:
// most of the work is in the answers, and who has seen no such query need not
// do it. ReadAnswers does, while msg is unchanged.
func Parse(msg []byte, m *Message) bool {
	m.Name, m.Addrs, m.TTL, m.msg = nil, nil, 0, nil
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
	at := m.name.read(msg, headerSize)
	if at < 0 || len(msg)-at < 4 || binary.BigEndian.Uint16(msg[at+2:]) != classIN {
		return false
	}
	m.Name, m.hash = m.name.text[:m.name.n], m.name.hash
	m.Type = binary.BigEndian.Uint16(msg[at:])
	if m.Response && m.RCode == NoError {
		m.msg, m.at, m.count = msg, at+4, int(binary.BigEndian.Uint16(msg[6:]))
	}
	return true
}

// ReadAnswers sets Addrs and TTL from the message that Parse read last. A
// response that is cut short is read as far as it goes.
func (m *Message) ReadAnswers() {
	m.Addrs, m.TTL = nil, 0
	x := &m.index
	x.read(m.msg, m.at, min(m.count, maxRecords))
	target, ttl, ok := x.follow(m.hash)
	if !ok {
		return
	}
	for i := range x.hosts[:x.numHosts] {
		h := &x.hosts[i]
		if h.owner == target && len(m.Addrs) < maxAddrs {
			m.add(x.msg[h.data : h.data+h.size])
			ttl = min(ttl, h.ttl)
		}
	}
	if len(m.Addrs) > 0 {
		m.TTL = ttl
	}
}

// add appends an address of 4 or 16 bytes.
func (m *Message) add(b []byte) {
	n := len(m.Addrs)
	a := &m.addrs[n]
	*a = Addr{10: 0xff, 11: 0xff}
	copy(a[len(a)-len(b):], b)
	m.Addrs = m.addrs[:n+1]
}
