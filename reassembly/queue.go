package reassembly

import "slices"

// pageSize is what a page costs in memory and in the caps: the struct with the
// allocator's header.
const pageSize = 2048

// pageData is how many stream bytes a page holds. A full-sized Ethernet segment
// fits one page; 2040 bytes of struct keep it in the allocator's 2048 class.
const pageData = 2040 - 24

// keepPages is how many free pages and queues, and keepCold how many free cold
// ones, are kept for reuse; the rest goes back to the garbage collector, so
// that one burst of loss is not paid for forever.
const (
	keepPages = 512
	keepCold  = 2048
)

// keepEntries is how long an index may be to be kept with its queue.
const keepEntries = 32

// A page holds bytes that came before their turn: n captured ones, then cut
// bytes of which a snaplen left only the count.
type page struct {
	next   *page // free list
	cut    uint32
	ack    uint32 // what the segment acknowledged that brought its first byte
	n      uint16
	hasAck bool
	data   [pageData]byte
}

// An entry is a page's place in the stream, [seq, end), beside the page: a
// search reads no page.
type entry struct {
	seq, end uint32
	page     *page
}

// A queue is one direction's pages, ascending and disjoint. It exists while
// there are any. All queues form a list, in the order of their first holes' age.
type queue struct {
	entries      []entry
	head         int // entries before it are gone
	older, newer *queue
	conn         *Conn
	dir          Dir
}

func (q *queue) live() []entry { return q.entries[q.head:] }

func (q *queue) first() *entry { return &q.entries[q.head] }
func (q *queue) last() *entry  { return &q.entries[len(q.entries)-1] }

// search returns the place in live of the first entry that ends behind seq. What
// comes early comes behind all others mostly.
func (q *queue) search(seq uint32) int {
	live := q.live()
	if !after(q.last().end, seq) {
		return len(live)
	}
	lo, hi := 0, len(live)-1
	for lo < hi {
		if mid := (lo + hi) / 2; after(live[mid].end, seq) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// insert puts an entry at a place of live.
func (q *queue) insert(i int, e entry) {
	if q.head > 0 && len(q.entries) == cap(q.entries) {
		n := copy(q.entries, q.live())
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
	if q.head+i == len(q.entries) {
		q.entries = append(q.entries, e)
		return
	}
	q.entries = slices.Insert(q.entries, q.head+i, e)
}

// A coldState is what a connection needs only once something happened to it that
// does not happen in the middle of its life: a hole, a cut segment, an
// acknowledgment of bytes that were not captured, a closing, a doubt.
type coldState struct {
	older     *coldState // of the list that holds it, see Assembler.waiting
	newer     *coldState // also of the free list
	conn      *Conn      // whose it is; nil where it is in no list
	queue     [2]*queue  // nil where nothing waits
	missing   [2]uint64
	truncated [2]uint64
	skipped   [2]uint64
	since     [2]int64 // when the direction's first hole became its first hole
	ackTime   [2]int64 // when the highest acknowledgment beyond next was captured
	closing   [2]Closing
	lastSYN   int64 // if the SYN was repeated
	synack    int64 // if it does not fit Conn.synack
	doubts    *doubts
	windows   *[2]window
	probes    *[2]probeLog

	fin       [2]uint32 // sequence number of the FIN that waits, if hasFIN
	farNext   [2]uint32 // behind the last segment that was implausibly far off
	queuedAck uint32    // of the page that is being delivered
	far       [2]uint8  // how many such segments followed on each other
	repeats   [2]uint8  // retransmissions of the newest data since the peer's last packet
	hasFIN    [2]bool

	fromQueue, hasQueuedAck bool
}

// waits reports whether r holds something that time decides on.
func (r *coldState) waits() bool {
	for d := range Dir(2) {
		if r.queue[d] != nil || r.hasFIN[d] || r.doubts != nil && r.doubts.reset[d].With != NotClosed {
			return true
		}
	}
	return false
}

// pending reports whether the next segment must be seen together with r.
func (r *coldState) pending() bool {
	for d := range Dir(2) {
		if r.queue[d] != nil || r.hasFIN[d] || r.far[d] != 0 || r.repeats[d] != 0 {
			return true
		}
	}
	return r.doubts != nil && r.doubts.any() ||
		r.windows != nil && r.windows[Client].since|r.windows[Server].since != 0
}

// idle reports whether nothing is held that a nil one would not say as well.
func (r *coldState) idle(c *Conn) bool {
	for d := range Dir(2) {
		if r.missing[d]|r.truncated[d]|r.skipped[d] != 0 || r.closing[d].With != NotClosed || c.Behind(d) {
			return false
		}
	}
	return c.synRepeats == 0 && c.synack != farSYNACK && r.windows == nil && r.probes == nil && !r.pending()
}

// first returns where the direction's first waiting thing is: a page or a FIN.
func (r *coldState) first(d Dir) (seq uint32, ok bool) {
	if q := r.queue[d]; q != nil {
		return q.first().seq, true
	}
	return r.fin[d], r.hasFIN[d]
}

// last returns where the direction's last waiting thing ends.
func (r *coldState) last(d Dir) (end uint32, ok bool) {
	if r.hasFIN[d] {
		return r.fin[d] + 1, true
	}
	if q := r.queue[d]; q != nil {
		return q.last().end, true
	}
	return 0, false
}

// oldest returns the direction whose first hole is the oldest, and where that
// hole ends. Holes are given up in this order at a deadline and at the end, so
// that the order does not tell when the deadline was noticed.
func (r *coldState) oldest() (d Dir, first uint32, ok bool) {
	x, waits := r.first(Client)
	y, ok := r.first(Server)
	if waits && (!ok || r.since[Client] <= r.since[Server]) {
		return Client, x, true
	}
	return Server, y, ok
}

// reaches reports whether bytes behind seq wait.
func (r *coldState) reaches(d Dir, seq uint32) bool {
	q := r.queue[d]
	return q != nil && after(q.last().end, seq)
}

// A coldList holds the connections that wait for a deadline shorter than the idle
// limit, in the order in which they came to wait.
type coldList struct{ oldest, newest *coldState }

// add appends c's cold state.
func (l *coldList) add(c *Conn) {
	r := c.cold
	r.conn, r.older, r.newer = c, l.newest, nil
	if l.newest == nil {
		l.oldest = r
	} else {
		l.newest.newer = r
	}
	l.newest = r
}

// remove takes one out of the list.
func (l *coldList) remove(r *coldState) {
	if r.older == nil {
		l.oldest = r.newer
	} else {
		r.older.newer = r.newer
	}
	if r.newer == nil {
		l.newest = r.older
	} else {
		r.newer.older = r.older
	}
	r.conn, r.older, r.newer = nil, nil, nil
}

// A pagePool hands out pages, queues and cold states, pages up to a cap.
type pagePool struct {
	pages  *page
	kept   int
	used   int // pages in queues
	max    int
	perDir int

	oldest, newest *queue // of all that exist
	waiting        coldList

	queues     *queue
	keptQueues int

	cold     *coldState
	keptCold int
}

// get returns an empty page, or nil at the cap.
func (p *pagePool) get(q *queue) *page {
	if p.used >= p.max || q != nil && len(q.live()) >= p.perDir {
		return nil
	}
	p.used++
	pg := p.pages
	if pg == nil {
		return new(page)
	}
	p.pages = pg.next
	p.kept--
	pg.next, pg.cut, pg.ack, pg.n, pg.hasAck = nil, 0, 0, 0, false
	return pg
}

// getQueue returns an empty queue, whose hole is the newest.
func (p *pagePool) getQueue(c *Conn, d Dir) *queue {
	q := p.queues
	if q == nil {
		q = new(queue)
	} else {
		p.queues = q.newer
		p.keptQueues--
	}
	q.conn, q.dir = c, d
	p.append(q)
	return q
}

// append makes a queue the newest one.
func (p *pagePool) append(q *queue) {
	q.older, q.newer = p.newest, nil
	if p.newest == nil {
		p.oldest = q
	} else {
		p.newest.newer = q
	}
	p.newest = q
}

// unlink takes a queue out of the list.
func (p *pagePool) unlink(q *queue) {
	if q.older == nil {
		p.oldest = q.newer
	} else {
		q.older.newer = q.newer
	}
	if q.newer == nil {
		p.newest = q.older
	} else {
		q.newer.older = q.older
	}
}

// pop frees the queue's first page, and the queue if that was all; it returns
// what is left of it.
func (p *pagePool) pop(q *queue) *queue {
	e := q.first()
	pg := e.page
	e.page = nil
	q.head++
	p.used--
	if p.kept < keepPages {
		pg.next = p.pages
		p.pages = pg
		p.kept++
	}
	if q.head < len(q.entries) {
		return q
	}
	p.unlink(q)
	entries := q.entries[:0]
	if cap(entries) > keepEntries {
		entries = nil
	}
	*q = queue{entries: entries}
	if p.keptQueues < keepPages {
		q.newer = p.queues
		p.queues = q
		p.keptQueues++
	}
	return nil
}

// younger makes a queue's hole the newest one: its first was filled, or lost.
func (p *pagePool) younger(q *queue) {
	if p.newest != q {
		p.unlink(q)
		p.append(q)
	}
}

func (p *pagePool) getCold() *coldState {
	r := p.cold
	if r == nil {
		return new(coldState)
	}
	p.cold, r.newer = r.newer, nil
	p.keptCold--
	return r
}

func (p *pagePool) putCold(r *coldState) {
	if r.conn != nil {
		p.waiting.remove(r)
	}
	if p.keptCold >= keepCold {
		return
	}
	*r = coldState{} // and then: a literal with a value is made elsewhere and copied
	r.newer, p.cold = p.cold, r
	p.keptCold++
}
