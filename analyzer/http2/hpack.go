package http2

import (
	"math"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A decoder is what a direction's header blocks are read with (RFC 7541).
type decoder struct {
	table   *table // nil where it is empty
	max     uint32 // its size at most, as the encoder last said
	trusted bool   // the table holds what the encoder's holds
}

const defaultTable = 4096 // RFC 9113 §6.5.2

// A section is a header section in the reading. What views bytes views those of the
// block, or its own.
type section struct {
	head    http.Head
	grpc    http.GRPCStatus
	from    http.Side
	has     uint16 // the names that were met, by their bits
	unknown bool   // a field's name or value is not known

	value [maxValue]byte
	texts [4][maxValue]byte
}

func (s *section) reset(from http.Side) {
	s.head = http.Head{Version: http.HTTP2}
	s.from, s.has, s.unknown, s.grpc = from, 0, false, 0
}

// wipe forgets the values that were read last.
func (s *section) wipe() { *s = section{} }

func (s *section) hasName(n name) bool { return s.has>>n&1 != 0 }

// hasPseudo reports whether a pseudo-field was met: trailers have none (RFC 9113 §8.1).
func (s *section) hasPseudo() bool {
	const pseudo = 1<<otherPseudo | 1<<methodName | 1<<statusName | 1<<authorityName | 1<<protocolName
	return s.has&pseudo != 0
}

// finish completes the Head.
func (s *section) finish() {
	s.head.Extended = s.head.Method == http.CONNECT && s.hasName(protocolName)
	vital := methodName
	if s.from == http.Server {
		vital = statusName
	}
	s.head.Partial = s.unknown || !s.hasName(vital) || s.from == http.Server && s.head.Status == 0
}

// slot returns where a value of the name is written to that is not in the block.
func (s *section) slot(n name) []byte {
	if n == viaName || !s.hasName(n) {
		switch n {
		case authorityName, serverName:
			return s.texts[0][:]
		case hostName:
			return s.texts[1][:]
		case agentName:
			return s.texts[2][:]
		case viaName:
			return s.texts[3][:]
		}
	}
	return s.value[:]
}

// set takes a field. Of several with one name the first counts, but of Via the last. The end of a
// Via that is longer than what is read of it is not known.
func (s *section) set(n name, number uint32, text []byte) {
	h := &s.head
	if n == viaName {
		s.has |= 1 << n
		h.Via, h.Forwarded = nil, s.from == http.Client
		if len(text) < maxValue {
			h.Via = text[max(0, len(text)-http.MaxName):]
		}
		return
	}
	if s.hasName(n) {
		return
	}
	s.has |= 1 << n
	if s.from == http.Client {
		switch n {
		case methodName:
			h.Method = http.Method(number)
		case authorityName:
			h.Host = text
		case hostName:
			if !s.hasName(authorityName) {
				h.Host = text
			}
		case contentTypeName:
			h.GRPC = number != 0
		case agentName:
			h.Agent = text[:min(len(text), http.MaxName)]
		case forwardedName:
			h.Forwarded = true
		}
		return
	}
	switch n {
	case statusName:
		h.Status = uint16(number)
	case grpcStatusName:
		s.grpc = http.GRPCStatus(number)
	case serverName:
		h.Server = text[:min(len(text), http.MaxName)]
	}
}

// read reads a header block into the section. It reports whether the block is well
// formed; where it is not, the section holds what came before.
func (q *Pool) read(d *decoder, b []byte) bool {
	for len(b) > 0 {
		var n int
		switch c := b[0]; {
		case c >= 0x80:
			n = q.indexed(d, b)
		case c >= 0x40:
			n = q.literal(d, b, 6)
		case c >= 0x20:
			n = q.resize(d, b)
		default:
			n = q.literal(d, b, 4)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// integer reads an integer with a prefix of some bits (RFC 7541 §5.1). N is 0 where b
// does not hold it, or it has more than 9 bytes after the first.
func integer(b []byte, prefix uint8) (v uint64, n int) {
	most := byte(1)<<prefix - 1
	if len(b) > 0 && b[0]&most != most {
		return uint64(b[0] & most), 1
	}
	return longInteger(b, uint64(most))
}

func longInteger(b []byte, v uint64) (uint64, int) {
	for i, shift := 1, 0; i < len(b) && shift < 63; i, shift = i+1, shift+7 {
		v += uint64(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// str reads a string literal (RFC 7541 §5.2) and returns its bytes as they are sent.
func str(b []byte) (raw []byte, coded bool, n int) {
	length, n := integer(b, 7)
	if n == 0 || length > uint64(len(b)-n) {
		return nil, false, 0
	}
	end := n + int(length)
	return b[n:end], b[0]&0x80 != 0, end
}

// resize reads a dynamic table size update. The encoder alone moves its table's size:
// SETTINGS_HEADER_TABLE_SIZE only says how far it may, and obliges it to say so here
// (RFC 7541 §4.2). One that comes after a field, where it must not, says what it says. A table of size 0 is known to be empty, whatever was lost before.
func (q *Pool) resize(d *decoder, b []byte) int {
	size, n := integer(b, 5)
	if n == 0 || size > math.MaxUint32 {
		return 0
	}
	d.max = uint32(size)
	if d.max == 0 {
		d.trusted = true
	}
	if d.table != nil {
		d.table.evict(d.max)
	}
	return n
}

// dynamic returns the entry of an index into the dynamic table. It is nil where the table is
// not trusted; ok is false where it is, and has none.
func (d *decoder) dynamic(i uint64) (e *entry, ok bool) {
	if !d.trusted {
		return nil, true
	}
	i -= numStatic + 1
	if d.table == nil || i >= uint64(d.table.n) {
		return nil, false
	}
	return d.table.at(uint32(i)), true
}

// indexed reads an indexed field (RFC 7541 §6.1).
func (q *Pool) indexed(d *decoder, b []byte) int {
	i, n := uint64(b[0]&0x7f), 1
	if i == 0x7f {
		i, n = integer(b, 7)
	}
	if n == 0 || i == 0 {
		return 0
	}
	s := &q.section
	if i <= numStatic {
		e := &staticTable[i]
		s.set(e.name, e.number, nil)
		return n
	}
	e, ok := d.dynamic(i)
	switch {
	case !ok:
		return 0
	case e == nil:
		s.unknown = true
	case e.name().isText():
		// A later field of this block may evict the entry.
		slot := s.slot(e.name())
		s.set(e.name(), 0, slot[:copy(slot, d.table.text(e))])
	default:
		s.set(e.name(), e.value, nil)
	}
	return n
}

// A literal is what a literal field says of its name.
type literalName struct {
	name   name
	length uint32
	known  bool
}

// literal reads a literal field (RFC 7541 §6.2), which goes into the table where the
// prefix of its index is 6.
func (q *Pool) literal(d *decoder, b []byte, prefix uint8) int {
	insert := prefix == 6 && d.trusted
	if insert && d.max < entryOverhead { // it empties the table (RFC 7541 §4.4)
		insert = false
		if d.table != nil {
			d.table.evict(0)
		}
	}
	of, n := q.literalName(d, b, prefix, insert)
	if n == 0 {
		return 0
	}
	raw, coded, k := str(b[n:])
	if k == 0 {
		return 0
	}
	n += k
	s := &q.section
	if !of.known {
		s.unknown = true
		return n
	}
	read := read[s.from]>>of.name&1 != 0
	if !read {
		of.name = of.name.unread()
	}
	if !read && !insert {
		s.set(of.name, 0, nil)
		return n
	}
	value, length := raw[:min(len(raw), maxValue)], len(raw)
	if coded {
		var ok bool
		if read {
			slot := s.slot(of.name)
			length, ok = huffman.decode(slot, raw)
			value = slot[:min(length, len(slot))]
		} else {
			length, ok = q.lengths.of(raw)
			value = nil
		}
		if !ok {
			return 0
		}
	}
	number := of.name.number(value)
	s.set(of.name, number, value)
	if insert {
		q.insert(d, of, number, value, length)
	}
	return n
}

// literalName reads the name of a literal field: an index, or a string. Its length is
// right where exact says so.
func (q *Pool) literalName(d *decoder, b []byte, prefix uint8, exact bool) (of literalName, n int) {
	i, n := integer(b, prefix)
	switch {
	case n == 0:
		return of, 0
	case i > numStatic:
		e, ok := d.dynamic(i)
		if !ok {
			return of, 0
		}
		if e == nil {
			return of, n
		}
		return literalName{e.name(), e.nameLength(), true}, n
	case i > 0:
		e := &staticTable[i]
		return literalName{e.name, uint32(e.length), true}, n
	}
	raw, coded, k := str(b[n:])
	if k == 0 {
		return of, 0
	}
	length := len(raw)
	if coded {
		var buf [longestName + 1]byte
		if exact || len(raw) <= longestName {
			var ok bool
			if length, ok = huffman.decode(buf[:], raw); !ok {
				return of, 0
			}
			raw = buf[:min(length, len(buf))]
		} else {
			raw = nil // longer than any that is read
		}
	}
	return literalName{nameOf(raw), uint32(length), true}, n + k
}

// insert adds a field to the table.
func (q *Pool) insert(d *decoder, of literalName, number uint32, value []byte, length int) {
	size := entryOverhead + uint64(of.length) + uint64(length)
	if size > uint64(d.max) {
		if d.table != nil {
			d.table.evict(0)
		}
		return
	}
	if d.table == nil {
		d.table = q.table()
	}
	ok := d.table != nil
	if ok {
		d.table.evict(d.max - uint32(size))
		ok = q.add(d.table, newEntry(uint32(size), of.name, of.length, number), value)
	}
	if !ok {
		q.Stats.Tables++
		q.distrust(d)
	}
}

// distrust says that what the table holds is not known any more.
func (q *Pool) distrust(d *decoder) {
	d.trusted = false
	if d.table != nil {
		q.putTable(d.table)
		d.table = nil
	}
}
