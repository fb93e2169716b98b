package reassembly

import "github.com/keepscope/keepscope/sniffer"

// closedChunk is how many closed records are allocated at a time: 64 KiB.
const closedChunk = 1024

// maxRun is how many closed records are dropped at once at most.
const maxRun = 32

// A closed is what is kept of a connection after its last word, as TIME-WAIT does
// in a host (RFC 9293 §3.6.1): to absorb late acknowledgments, retransmissions and RSTs: those of an unknown 4-tuple would
// begin a connection. It is 64 bytes, one cache line; its hash is computed anew.
type closed struct {
	last     int64
	base     [2]uint32 // first sequence number of each direction's bytes
	next     [2]uint32 // and the one behind its end
	endpoint [2]sniffer.Endpoint
	state    closedState
}

// A closedState says what a closed record holds: nothing where it is 0.
type closedState uint8

const (
	remembered  closedState = 1 << iota
	knownClient             // base and next of the direction are known
	_                       // knownClient << Server
	resetClient             // the direction sent the RST that closed the connection
	_                       // resetClient << Server
)

// knows reports whether base and next of a direction are known.
func (r *closed) knows(d Dir) bool { return r.state&(knownClient<<(d&1)) != 0 }

// wasReset reports whether a direction sent a RST that was believed.
func (r *closed) wasReset(d Dir) bool { return r.state&(resetClient<<(d&1)) != 0 }

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

// reset forgets all records and gives up all chunks but the first.
func (r *closedRing) reset() {
	clear(r.chunks[min(1, len(r.chunks)):])
	*r = closedRing{chunks: r.chunks[:min(1, len(r.chunks))], mask: r.mask}
}

// full reports whether the oldest record has to go first.
func (r *closedRing) full() bool { return r.tail-r.head > r.mask }

// remember keeps a closed record of c in place of its connection.
func (a *Assembler) remember(c *Conn, hash uint32) {
	if a.closed.full() {
		a.forgetOldestRun()
	}
	at := a.table.find(hash, c.ID+1)
	r, i := a.closed.push()
	r.last = c.Last // one by one: several at once, or a literal, are made elsewhere and copied
	r.endpoint = c.Endpoint
	r.next = c.next
	r.base[Client], r.base[Server] = c.base(Client), c.base(Server)
	r.state = remembered | knownClient*closedState((c.state/known|c.state/guess)&3) | resetClient*closedState(c.state/reset&3)
	a.table.slots[at].ref = closedRef + i
	a.closed.count++
}

// forgetOldestRun drops the oldest closed records of a full ring, several at a time:
// they and their slots of the table have been in no cache for long, and are
// waited for together.
func (a *Assembler) forgetOldestRun() {
	var hashes [maxRun]uint32
	n := min(maxRun, a.closed.mask/64+1)
	for i := range n {
		hashes[i] = a.hashOf(a.closed.at(a.closed.head + i))
	}
	for i := range n {
		a.touched += a.table.slots[hashes[i]&a.table.mask].ref
	}
	for i := range n {
		a.forgetOldest(hashes[i])
	}
}

// hashOf computes the hash of a closed record's 4-tuple.
func (a *Assembler) hashOf(r *closed) uint32 {
	return a.hasher.hash(&r.endpoint[Client], &r.endpoint[Server])
}

// forgetOldest drops the oldest closed record, whose hash is given.
func (a *Assembler) forgetOldest(hash uint32) {
	i := a.closed.head & a.closed.mask
	r := a.closed.at(a.closed.head)
	a.closed.head++
	if r.state == 0 {
		return
	}
	r.state = 0
	a.closed.count--
	a.table.remove(a.table.find(hash, closedRef+i))
}

// forget drops one closed record whose 4-tuple begins anew; at is its slot.
func (a *Assembler) forget(r *closed, at uint32) {
	r.state = 0
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
		return !r.knows(d) || s.Length <= 1 || off > -maxJump && off < rstWindow
	}
	if r.knows(d) {
		return r.base[d] == s.Seq+1
	}
	// Only one side was seen: an answer to its SYN is late, all else is new.
	return s.Flags&sniffer.ACK != 0 && r.knows(d.Other()) && r.base[d.Other()] == s.Ack
}

// goesOn reports whether a segment shows that a RST was believed wrongly: the
// side that sent it sends more.
func (a *Assembler) goesOn(r *closed, s *sniffer.Segment) bool {
	d := Client
	if !same(&s.Src, &r.endpoint[Client]) {
		d = Server
	}
	if s.Flags&(sniffer.SYN|sniffer.RST) != 0 || !r.wasReset(d) || !r.knows(d) || s.Time-r.last > a.closedLinger {
		return false
	}
	n := diff(s.Seq+s.Length, r.next[d])
	return s.Length > 1 && n > 0 && n <= rstWindow
}

// collectClosed drops the closed records whose time has passed.
func (a *Assembler) collectClosed(now int64) {
	for a.closed.head != a.closed.tail {
		r := a.closed.at(a.closed.head)
		if r.state != 0 && now-r.last <= a.closedLinger+lingerSlack {
			return
		}
		a.forgetOldest(a.hashOf(r))
	}
}
