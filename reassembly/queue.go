package reassembly

// pageSize is what a page costs in memory and in the caps: the struct with the
// allocator's header.
const pageSize = 2048

// pageData is how many stream bytes a page holds. A full-sized Ethernet segment
// fits one page; 2040 bytes of struct keep it in the allocator's 2048 class.
const pageData = 2040 - 24

// keepPages is how many free pages are kept for reuse; the rest goes back to
// the garbage collector, so that one burst of loss is not paid for forever.
const keepPages = 512

// A page holds bytes that came before their turn: [seq, seq+n) captured, then
// cut bytes of which a snaplen left only the count.
type page struct {
	next *page
	seq  uint32
	cut  uint32
	n    uint16
	data [pageData]byte
}

// end is the sequence number behind the page.
func (p *page) end() uint32 { return p.seq + uint32(p.n) + p.cut }

// A queue is one direction's pages, ascending and disjoint.
type queue struct {
	head, tail *page
	pages      int32
}

// A rare is what a connection needs only once something went wrong with it: a
// hole, a cut segment, an acknowledgment of bytes that were not captured.
type rare struct {
	free      *rare // free list
	queue     [2]queue
	missing   [2]uint64
	truncated [2]uint64
	since     [2]int64  // when the direction's first hole became its first hole
	ackTime   [2]int64  // when acked was captured
	acked     [2]uint32 // highest acknowledgment beyond next, if hasAck
	fin       [2]uint32 // sequence number of the FIN that waits, if hasFIN
	farNext   [2]uint32 // behind the last segment that was implausibly far off
	far       [2]uint8  // how many such segments followed on each other
	hasAck    [2]bool
	hasFIN    [2]bool
}

// idle reports whether nothing is held that a nil rare would not say as well.
func (r *rare) idle(c *Conn) bool {
	for d := range Dir(2) {
		if r.queue[d].head != nil || r.hasFIN[d] || r.missing[d]|r.truncated[d] != 0 || r.far[d] != 0 {
			return false
		}
		if r.hasAck[d] && after(r.acked[d], c.next[d]) {
			return false
		}
	}
	return true
}

// first returns where the direction's first waiting thing is: a page or a FIN.
func (r *rare) first(d Dir) (seq uint32, ok bool) {
	if p := r.queue[d].head; p != nil {
		return p.seq, true
	}
	return r.fin[d], r.hasFIN[d]
}

// oldest returns the direction whose first hole is the oldest, and where that
// hole ends. Holes are given up in this order at a deadline and at the end, so
// that the order does not tell when the deadline was noticed.
func (r *rare) oldest() (d Dir, first uint32, ok bool) {
	x, waits := r.first(Client)
	y, ok := r.first(Server)
	if waits && (!ok || r.since[Client] <= r.since[Server]) {
		return Client, x, true
	}
	return Server, y, ok
}

// reaches reports whether bytes behind seq wait.
func (r *rare) reaches(d Dir, seq uint32) bool {
	t := r.queue[d].tail
	return t != nil && after(t.end(), seq)
}

// A pagePool hands out pages and rares up to a cap.
type pagePool struct {
	pages  *page
	kept   int
	used   int // pages in queues
	max    int
	perDir int32

	rares     *rare
	keptRares int
}

// get returns an empty page, or nil at the cap.
func (p *pagePool) get(q *queue) *page {
	if p.used >= p.max || q.pages >= p.perDir {
		return nil
	}
	p.used++
	q.pages++
	pg := p.pages
	if pg == nil {
		return new(page)
	}
	p.pages = pg.next
	p.kept--
	pg.next, pg.seq, pg.cut, pg.n = nil, 0, 0, 0
	return pg
}

// pop frees the queue's first page.
func (p *pagePool) pop(q *queue) {
	pg := q.head
	q.head = pg.next
	if q.head == nil {
		q.tail = nil
	}
	q.pages--
	p.used--
	if p.kept >= keepPages {
		return
	}
	pg.next = p.pages
	p.pages = pg
	p.kept++
}

func (p *pagePool) getRare() *rare {
	r := p.rares
	if r == nil {
		return new(rare)
	}
	p.rares = r.free
	p.keptRares--
	*r = rare{}
	return r
}

func (p *pagePool) putRare(r *rare) {
	if p.keptRares >= keepPages {
		return
	}
	r.free = p.rares
	p.rares = r
	p.keptRares++
}
