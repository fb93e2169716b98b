package http2

import (
	"math/bits"
	"unsafe"
)

// Stats counts what a Pool's connections met of their caps.
type Stats struct {
	Tables  uint64 // HPACK tables given up for want of memory: names were unknown from there on
	Blocks  uint64 // header blocks of which the end was not read, because of their length or for want of memory
	Streams uint64 // streams that were not followed one by one, or no longer
	Frames  uint64 // frames longer than their receiver allowed: each ended its direction's trust
}

// A Pool lends memory to the Conns of one goroutine, and holds what they need while
// they read one header block. It wipes what comes back: a Conn may have read what was
// decrypted. The zero value is ready. It is not safe for concurrent use.
type Pool struct {
	// Max is the most bytes that HPACK tables and header blocks that are cut may
	// hold; 0 is DefaultMax.
	Max int64

	// MaxStreams is the most bytes that lists of open streams may hold, eight a
	// stream; 0 is DefaultMax.
	MaxStreams int64

	// Stats counts the caps that were met.
	Stats Stats

	held, heldStreams int64

	tables  *table
	blocks  *block
	ntables int
	nblocks int
	lists   [streamClasses][][]stream // spare lists of open streams, by their size

	section section
	lengths lengths
}

const (
	maxSpare      = 64       // tables, blocks and lists of each size that are kept for later
	keepSpare     = 4 << 10  // bytes of such a table or block, at most
	minStreams    = 8        // of a list
	streamClasses = 8        // sizes of lists, up to maxStreams
	streamSize    = int64(8) // bytes
	minBlock      = 256
)

// A block is a header block that is not complete.
type block struct {
	buf   []byte
	start int // of the frame under way, in buf
	next  *block
}

const blockSize = int64(unsafe.Sizeof(block{}))

// Held returns the bytes that tables and header blocks hold now, spare ones included.
func (q *Pool) Held() int64 { return q.held }

// HeldStreams returns the bytes that lists of open streams hold now, spare ones included.
func (q *Pool) HeldStreams() int64 { return q.heldStreams }

func limit(n int64) int64 {
	if n == 0 {
		return DefaultMax
	}
	return n
}

// take accounts for n more bytes, if need be by letting go of what is spare.
func (q *Pool) take(n int64) bool {
	most := limit(q.Max)
	if q.held+n > most {
		for t := q.tables; t != nil; t = t.next {
			q.held -= t.memory()
		}
		for k := q.blocks; k != nil; k = k.next {
			q.held -= k.memory()
		}
		q.tables, q.blocks, q.ntables, q.nblocks = nil, nil, 0, 0
	}
	if q.held+n > most {
		return false
	}
	q.held += n
	return true
}

func (k *block) memory() int64 { return blockSize + int64(cap(k.buf)) }

// table returns an empty table, or nil if the Pool is full.
func (q *Pool) table() *table {
	if t := q.tables; t != nil {
		q.tables, t.next = t.next, nil
		q.ntables--
		return t
	}
	if !q.take(tableSize) {
		return nil
	}
	return new(table)
}

func (q *Pool) putTable(t *table) {
	clear(t.values[:cap(t.values)])
	if t.memory() > keepSpare || q.ntables == maxSpare {
		q.held -= t.memory()
		return
	}
	*t = table{entries: t.entries, values: t.values[:0], next: q.tables}
	q.tables = t
	q.ntables++
}

// block returns an empty block, or nil if the Pool is full.
func (q *Pool) block() *block {
	if k := q.blocks; k != nil {
		q.blocks, k.next = k.next, nil
		q.nblocks--
		return k
	}
	if !q.take(blockSize) {
		return nil
	}
	return new(block)
}

func (q *Pool) putBlock(k *block) {
	clear(k.buf[:cap(k.buf)])
	if k.memory() > keepSpare || q.nblocks == maxSpare {
		q.held -= k.memory()
		return
	}
	*k = block{buf: k.buf[:0], next: q.blocks}
	q.blocks = k
	q.nblocks++
}

// extend appends b to k. It fails where the Pool is full.
func (q *Pool) extend(k *block, b []byte) bool {
	if need := len(k.buf) + len(b); need > cap(k.buf) {
		size := max(minBlock, cap(k.buf))
		for size < need {
			size *= 2
		}
		if !q.take(int64(size - cap(k.buf))) {
			return false
		}
		old := k.buf
		k.buf = append(make([]byte, 0, size), old...)
		clear(old)
	}
	k.buf = append(k.buf, b...)
	return true
}

// class returns that of a list with room for n streams, of which minStreams are in the first.
func class(n int) int { return bits.Len(uint(n-1) / minStreams) }

// growStreams returns a list with more room that holds what list holds, and takes
// back that. It fails where the Pool is full, or the list has maxStreams.
func (q *Pool) growStreams(list []stream) ([]stream, bool) {
	size := max(minStreams, 2*cap(list))
	if size > maxStreams {
		return list, false
	}
	var grown []stream
	if spare := &q.lists[class(size)]; len(*spare) > 0 {
		last := len(*spare) - 1
		grown, *spare = (*spare)[last], (*spare)[:last]
	} else {
		if !q.takeStreams(streamSize * int64(size)) {
			return list, false
		}
		grown = make([]stream, 0, size)
	}
	grown = append(grown, list...)
	q.putStreams(list)
	return grown, true
}

func (q *Pool) putStreams(list []stream) {
	if cap(list) == 0 {
		return
	}
	if spare := &q.lists[class(cap(list))]; len(*spare) < maxSpare {
		*spare = append(*spare, list[:0])
		return
	}
	q.heldStreams -= streamSize * int64(cap(list))
}

func (q *Pool) takeStreams(n int64) bool {
	most := limit(q.MaxStreams)
	if q.heldStreams+n > most {
		for i := range q.lists {
			for _, list := range q.lists[i] {
				q.heldStreams -= streamSize * int64(cap(list))
			}
			q.lists[i] = nil
		}
	}
	if q.heldStreams+n > most {
		return false
	}
	q.heldStreams += n
	return true
}
