package reassembly

import (
	"math/bits"
	"unsafe"
)

// chunkConns is how many records a chunk of the arena holds: 64 KiB, whole
// pages of the allocator.
const chunkConns = 512

// A chunk is a run of records that never moves.
type chunk [chunkConns]Conn

// A chunkUse says which records of a chunk are in use. It lies beside the
// chunk, which would otherwise take one more page for it.
type chunkUse struct {
	free [chunkConns / 64]uint64 // a bit for each unused record
	used int
}

// unused is the use of a chunk of which no record is in use.
func unused() (u chunkUse) {
	for w := range u.free {
		u.free[w] = ^uint64(0)
	}
	return u
}

// An arena holds the connection records. The lowest free ID is handed out
// first, so IDs stay dense, and chunks at the top come free again after a peak.
type arena struct {
	chunks []*chunk // nil where a chunk is not needed
	uses   []chunkUse
	free   []uint64 // a bit for each chunk that has an unused record, or is nil
	used   int
	spare  int // chunks without a used record
}

// get returns the record of an ID in use or not, or nil.
func (a *arena) get(id uint32) *Conn {
	n := id / chunkConns
	if int(n) >= len(a.chunks) || a.chunks[n] == nil {
		return nil
	}
	return &a.chunks[n][id%chunkConns]
}

// alloc returns a zero record with its ID set.
func (a *arena) alloc() *Conn {
	n := a.chunkWithRoom()
	if a.chunks[n] == nil {
		a.chunks[n] = new(chunk)
		faultIn(a.chunks[n][:])
		a.spare++
	}
	use := &a.uses[n]
	w := 0
	for use.free[w] == 0 {
		w++
	}
	i := w*64 + bits.TrailingZeros64(use.free[w])
	use.free[w] &= use.free[w] - 1
	if use.used == 0 {
		a.spare--
	}
	use.used++
	a.used++
	if use.used == chunkConns {
		a.free[n/64] &^= 1 << (n % 64)
	}
	c := &a.chunks[n][i]
	*c = Conn{ID: uint32(n*chunkConns + i)}
	return c
}

// reset gives all records back, whose states must be zero, and all chunks but the
// first.
func (a *arena) reset() {
	if len(a.chunks) == 0 || a.chunks[0] == nil {
		*a = arena{}
		return
	}
	clear(a.chunks[1:])
	for i := range a.uses {
		a.uses[i] = unused()
	}
	for i := range a.free {
		a.free[i] = ^uint64(0)
	}
	a.used, a.spare = 0, 1
}

// faultIn writes to each page of new memory. One that is read first, as the
// garbage collector and a look-up do, costs two page faults.
func faultIn[T any](memory []T) {
	var zero T
	for i := 0; i < len(memory); i += 4096 / int(unsafe.Sizeof(zero)) {
		memory[i] = zero
	}
}

// chunkWithRoom returns the lowest chunk that has an unused record. One word
// of bits stands for 32 768 records.
func (a *arena) chunkWithRoom() int {
	for w, word := range a.free {
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	n := len(a.chunks)
	a.free = append(a.free, ^uint64(0))
	a.chunks = append(a.chunks, make([]*chunk, 64)...)
	a.uses = append(a.uses, make([]chunkUse, 64)...)
	for i := range a.uses[n:] {
		a.uses[n+i] = unused()
	}
	return n
}

// release gives a record back. One empty chunk is kept at hand, so that a
// count around a chunk's edge does not allocate; the others are given up. The
// one that is kept is the lowest: it is the next to be used.
func (a *arena) release(c *Conn) {
	n, i := int(c.ID/chunkConns), c.ID%chunkConns
	c.state, c.cold = 0, nil
	use := &a.uses[n]
	use.free[i/64] |= 1 << (i % 64)
	use.used--
	a.used--
	a.free[n/64] |= 1 << (n % 64)
	if use.used > 0 {
		return
	}
	if a.spare == 0 {
		a.spare++
		return
	}
	top := len(a.chunks) - 1
	for a.chunks[top] == nil || a.uses[top].used > 0 {
		top--
	}
	a.chunks[top] = nil
}

// span is one more than the highest ID that may be in use.
func (a *arena) span() uint32 { return uint32(len(a.chunks)) * chunkConns }
