package reassembly

import "math/bits"

// chunkConns is how many records a chunk of the arena holds: 64 KiB.
const chunkConns = 512

// A chunk is a run of records that never moves.
type chunk struct {
	conns [chunkConns]Conn
	free  [chunkConns / 64]uint64 // a bit for each unused record
	used  int
}

// An arena holds the connection records. The lowest free ID is handed out
// first, so IDs stay dense, and chunks at the top come free again after a peak.
type arena struct {
	chunks []*chunk // nil where a chunk is not needed
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
	return &a.chunks[n].conns[id%chunkConns]
}

// alloc returns a zero record with its ID set.
func (a *arena) alloc() *Conn {
	n := a.chunkWithRoom()
	ch := a.chunks[n]
	if ch == nil {
		ch = new(chunk)
		for i := range ch.free {
			ch.free[i] = ^uint64(0)
		}
		a.chunks[n] = ch
		a.spare++
	}
	for w, word := range ch.free {
		if word == 0 {
			continue
		}
		i := w*64 + bits.TrailingZeros64(word)
		ch.free[w] = word & (word - 1)
		if ch.used == 0 {
			a.spare--
		}
		ch.used++
		a.used++
		if ch.used == chunkConns {
			a.free[n/64] &^= 1 << (n % 64)
		}
		c := &ch.conns[i]
		*c = Conn{ID: uint32(n*chunkConns + i)}
		return c
	}
	panic("reassembly: a chunk marked as having room is full")
}

func (a *arena) chunkWithRoom() int {
	for w, word := range a.free {
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	n := len(a.chunks)
	a.free = append(a.free, ^uint64(0))
	a.chunks = append(a.chunks, make([]*chunk, 64)...)
	return n
}

// release gives a record back. One empty chunk is kept at hand, so that a
// count around a chunk's edge does not allocate; the others are given up. The
// one that is kept is the lowest: it is the next to be used.
func (a *arena) release(c *Conn) {
	n, i := int(c.ID/chunkConns), c.ID%chunkConns
	ch := a.chunks[n]
	c.state, c.rare = 0, nil
	ch.free[i/64] |= 1 << (i % 64)
	ch.used--
	a.used--
	a.free[n/64] |= 1 << (n % 64)
	if ch.used > 0 {
		return
	}
	if a.spare == 0 {
		a.spare++
		return
	}
	for top := len(a.chunks) - 1; ; top-- {
		if ch := a.chunks[top]; ch != nil && ch.used == 0 {
			a.chunks[top] = nil
			return
		}
	}
}

// span is one more than the highest ID that may be in use.
func (a *arena) span() uint32 { return uint32(len(a.chunks)) * chunkConns }
