package reassembly

import "github.com/keepscope/keepscope/sniffer"

// closedChunk is how many closed records are allocated at a time.
const closedChunk = 1024

// A closed is what is kept of a connection after its last word, to absorb late
// acknowledgments, retransmissions and RSTs: those of an unknown 4-tuple would
// begin a connection.
type closed struct {
	last     int64
	base     [2]uint32 // first sequence number of each direction's bytes
	next     [2]uint32 // and the one behind its end
	hash     uint32
	endpoint [2]sniffer.Endpoint
	known    [2]bool
	used     bool
}

// A closedRing holds the newest closed records in order of closing. Its chunks
// come as they are needed and stay.
type closedRing struct {
	chunks     []*[closedChunk]closed
	head, tail uint32 // positions that count up; head is the oldest
	mask       uint32 // capacity, a power of two, less one
	count      int    // records in use
}

// at returns the record of a position.
func (r *closedRing) at(pos uint32) *closed {
	i := pos & r.mask
	return &r.chunks[i/closedChunk][i%closedChunk]
}

// push returns the place for the newest record and its index; the caller has
// made room.
func (r *closedRing) push() (*closed, uint32) {
	i := r.tail & r.mask
	if int(i/closedChunk) == len(r.chunks) {
		r.chunks = append(r.chunks, new([closedChunk]closed))
	}
	r.tail++
	return &r.chunks[i/closedChunk][i%closedChunk], i
}

// full reports whether the oldest record has to go first.
func (r *closedRing) full() bool { return r.tail-r.head > r.mask }

// bury keeps a closed record of c in place of its connection.
func (a *Assembler) bury(c *Conn, hash uint32) {
	if a.closed.full() {
		a.exhume()
	}
	at := a.table.find(hash, c.ID+1)
	r, i := a.closed.push()
	*r = closed{
		last: c.Last, hash: hash, endpoint: c.Endpoint, used: true,
		base:  [2]uint32{c.base(Client), c.base(Server)},
		next:  c.next,
		known: [2]bool{c.state&(known|guess) != 0, c.state&(knownServer|guessServer) != 0},
	}
	a.table.slots[at].ref = closedRef + i
	a.closed.count++
}

// exhume drops the oldest closed record.
func (a *Assembler) exhume() {
	i := a.closed.head & a.closed.mask
	r := a.closed.at(a.closed.head)
	a.closed.head++
	if !r.used {
		return
	}
	r.used = false
	a.closed.count--
	a.table.remove(a.table.find(r.hash, closedRef+i))
}

// forget drops one closed record whose 4-tuple begins anew; at is its slot.
func (a *Assembler) forget(r *closed, at uint32) {
	r.used = false
	a.closed.count--
	a.table.remove(at)
}

// absorbs reports whether a segment belongs to the closed connection still.
func (a *Assembler) absorbs(r *closed, s *sniffer.Segment) bool {
	if s.Time-r.last > a.closedLinger {
		return false
	}
	d := Client
	if !same(&s.Src, &r.endpoint[Client]) {
		d = Server
	}
	if s.Flags&sniffer.SYN == 0 {
		// Bytes from far off are a new connection's whose SYN was lost.
		off := diff(s.Seq, r.next[d])
		return !r.known[d] || s.Length <= 1 || off > -maxJump && off < rstWindow
	}
	if r.known[d] {
		return r.base[d] == s.Seq+1
	}
	// Only one side was seen: an answer to its SYN is late, all else is new.
	return s.Flags&sniffer.ACK != 0 && r.known[d.Other()] && r.base[d.Other()] == s.Ack
}

// collectClosed drops the closed records whose time has passed.
func (a *Assembler) collectClosed(now int64) {
	for a.closed.head != a.closed.tail {
		r := a.closed.at(a.closed.head)
		if r.used && now-r.last <= a.closedLinger+lingerSlack {
			return
		}
		a.exhume()
	}
}
