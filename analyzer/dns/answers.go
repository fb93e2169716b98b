package dns

import "encoding/binary"

// A record is one resource record; data is where its RDATA begins in the
// message, and owner the hash of its name, where that was read.
type record struct {
	owner       uint64
	ttl         uint32
	kind, class uint16
	data, size  int
}

// An index is what an answer section says of names and addresses. Names are
// known by their hash, so that following a chain reads no name twice, in
// whatever order the records stand.
type index struct {
	msg       []byte
	name      nameReader
	pointer   int    // where the pointer led that was followed last, 0 without
	pointed   uint64 // hash of the name there
	steps     int    // taken so far
	numCNAMEs int
	numHosts  int
	cnames    [maxChain]record
	hosts     [maxRecords]record
}

// read indexes count records of msg from a place on. It ends early where the
// message is cut or malformed, or its names take too many steps.
func (x *index) read(msg []byte, at, count int) {
	x.msg, x.pointer, x.steps, x.numCNAMEs, x.numHosts = msg, 0, 0, 0, 0
	for range count {
		r, ok := x.record(at)
		if !ok {
			return
		}
		cname := r.kind == TypeCNAME && x.numCNAMEs < maxChain
		host := r.kind == TypeA && r.size == 4 || r.kind == TypeAAAA && r.size == 16
		if r.class == classIN && (cname || host) {
			if r.owner, ok = x.owner(at); !ok {
				return
			}
			if cname {
				x.cnames[x.numCNAMEs] = r
				x.numCNAMEs++
			} else {
				x.hosts[x.numHosts] = r
				x.numHosts++
			}
		}
		at = r.data + r.size
	}
}

// record reads a record at a place, all of it but its owner's name.
func (x *index) record(at int) (r record, ok bool) {
	msg := x.msg
	at = x.skip(at)
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

// skip returns where the name at a place ends, -1 where that is malformed or
// one step too many.
func (x *index) skip(at int) int {
	for msg := x.msg; at < len(msg); {
		if x.steps++; x.steps > maxSteps {
			return -1
		}
		switch size := int(msg[at]); {
		case size == 0:
			return at + 1
		case size >= 0xc0:
			return at + 2
		case size >= 0x40:
			return -1
		default:
			at += 1 + size
		}
	}
	return -1
}

// owner returns the hash of the name at a place. Nearly all records of an
// answer point to the same name, which is read once.
func (x *index) owner(at int) (uint64, bool) {
	if to, ok := pointerAt(x.msg, at); ok && to < at {
		if to != x.pointer {
			h, ok := x.hash(at)
			if !ok {
				return 0, false
			}
			x.pointer, x.pointed = to, h
		}
		return x.pointed, true
	}
	return x.hash(at)
}

func (x *index) hash(at int) (uint64, bool) {
	after := x.name.read(x.msg, at)
	x.steps += x.name.steps
	return x.name.hash, after >= 0 && x.steps <= maxSteps
}

// follow goes from a name along the CNAMEs to the name that has the addresses,
// and returns the lowest TTL on the way. A name with a CNAME has nothing else
// (RFC 1034 §3.6.2). It fails where the way is too long, or one of its RDATA
// is no name.
func (x *index) follow(name uint64) (last uint64, ttl uint32, ok bool) {
	ttl = ^uint32(0)
	for range maxChain + 1 {
		r := x.cname(name)
		if r == nil {
			return name, ttl, true
		}
		after := x.name.read(x.msg, r.data)
		if x.steps += x.name.steps; x.steps > maxSteps || after != r.data+r.size {
			return 0, 0, false
		}
		name, ttl = x.name.hash, min(ttl, r.ttl)
	}
	return 0, 0, false
}

func (x *index) cname(owner uint64) *record {
	for i := range x.cnames[:x.numCNAMEs] {
		if x.cnames[i].owner == owner {
			return &x.cnames[i]
		}
	}
	return nil
}
