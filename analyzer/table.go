package analyzer

import (
	"unsafe"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/analyzer/tls"
)

// maxOutstanding is how many requests of a connection may await their response.
const maxOutstanding = 1024

const (
	// maxQueued is how many requests may wait behind others on all connections:
	// 12 MiB.
	maxQueued = 1 << 18
	// keptQueue is how much room a connection keeps for its next pipelining.
	keptQueue = 16
)

// A pending is a request that awaits the end of its response.
type pending struct {
	start   int64 // first byte
	idle    int64 // response end before to start, -1 where there is none
	index   uint32
	read    uint32 // sequence number up to which the client had read
	status  uint16 // of the response, once its head is complete
	method  http.Method
	version http.Version
	tokens  http.Tokens
	outcome fact.Outcome
	reuse   fact.Reuse
	headed  bool // its final response's head is complete
	after   bool // when it was sent, the client had read responses that were not captured
}

// never stands for a time that has not come: captures may begin at 0.
const never = -1

// state flags of a conn.
type flags uint16

const (
	opened       flags = 1 << iota // Observer.Opened was called
	judged                         // Observer.Judged was called
	pooled                         // the pools know the connection
	flipped                        // the client is reassembly's Server: midstream, told by the first message
	sided                          // which side is the client is settled
	upgraded                       // HTTP ended
	incomplete                     // bytes were lost where they mattered
	answered                       // bytes of the oldest outstanding request's response were seen
	final                          // the response being read is final and belongs to the oldest outstanding request
	advTimeout                     // the server advertised Keep-Alive: timeout=
	advMax                         // and max=
	unanswerable                   // the server's FIN was delivered, or a RST: no response will begin
	unsynced                       // since the last response's head bytes were lost, maybe responses
	clientReset                    // the client sent a RST
	discharged                     // the pools know why it closed, and nothing has come since
)

// A conn is what the analyzer knows of one connection. What most connections
// never need is in rare, and what only a connection needs that is carrying
// something in flight: 100 000 connections may be open and idle.
type conn struct {
	name     *string // shared by the connections of one name; nil without
	rare     *rare
	flight   *flight
	lastEnd  int64 // last byte of the last response, or never
	lastData int64 // newest server data

	requests, responses uint32
	kept                uint32 // exchanges that negotiated keep-alive

	outstanding uint16
	mark        uint16 // Connection.Mark
	flags       flags
	protocol    fact.Protocol
	versions    uint8 // bit per http.Version seen in requests
	verdict     fact.Verdict
	cause       fact.Cause
	last        fact.Reason  // announced by the last answered exchange; ReasonOpen if none was
	once        fact.Outcome // one exchange had this outcome; KeepAlive for none

	pool pool.Conn
}

// A flight is what a connection needs while a message or an exchange is under
// way on it.
type flight struct {
	parser   [2]http1.Parser // of requests, of responses
	front    pending         // the oldest outstanding request
	reqStart int64           // first byte of the request being read, or never
	next     *flight         // free list
}

// idle reports whether nothing of the flight is needed any more. After
// HTTP/0.9 nothing may follow, so its parsers are not worth a look.
func (s *conn) idle() bool {
	return s.flight != nil && s.outstanding == 0 && s.versions&(1<<http.HTTP09) == 0 &&
		s.flight.parser[http1.Request].Idle() && s.flight.parser[http1.Response].Idle()
}

// count counts an exchange's outcome. Few connections have more than one that
// is not keep-alive.
func (t *table) count(s *conn, o fact.Outcome) {
	switch {
	case o == fact.KeepAlive:
		s.kept++
	case s.once == fact.KeepAlive:
		s.once = o
	default:
		t.rare(s).negotiated[o]++
	}
}

// negotiated sets n, which is 0, to how often each outcome was counted.
func (s *conn) negotiated(n *[fact.NumOutcomes]uint32) {
	if s.rare != nil {
		*n = s.rare.negotiated
	}
	n[fact.KeepAlive] = s.kept
	if s.once != fact.KeepAlive {
		n[s.once]++
	}
}

// reused returns how many requests were the second or a later one.
func (s *conn) reused() uint32 { return max(s.requests, 1) - 1 }

// serverName returns the connection's name, "" if it has none.
func (s *conn) serverName() string {
	if s.name == nil {
		return ""
	}
	return *s.name
}

func (s *conn) is(f flags) bool { return s.flags&f != 0 }
func (s *conn) set(f flags)     { s.flags |= f }
func (s *conn) unset(f flags)   { s.flags &^= f }

// A rare is what few connections need.
type rare struct {
	negotiated    [fact.NumOutcomes]uint32
	more          []pending // outstanding behind front
	reuseIdle     []int64
	moreReuseIdle uint32
	unsolicited   uint32
	pipelined     uint32
	advertTimeout uint32
	advertMax     uint32
	dnsCost       int64
	tls           tls.Observer
	hello         fact.TLS
	helloAt       int64
}

// A table holds a conn for each reassembly.Conn.ID, in chunks that never move.
type table struct {
	chunks  []*[chunkSize]conn
	rares   []*rare // free
	flights *flight // free
	heads   http1.Pool
	queued  int // requests that the queues of all connections have room for
}

// takeOff gives the connection a flight, whose parsers stand between messages.
func (t *table) takeOff(s *conn) *flight {
	f := t.flights
	if f == nil {
		f = new(flight)
		for kind := range f.parser {
			f.parser[kind].Pool = &t.heads
			f.parser[kind].Reset(http1.Kind(kind), false)
		}
	} else {
		t.flights, f.next = f.next, nil
	}
	s.flight = f
	f.reqStart = never
	return f
}

// joinMidstream gives the connection a flight whose parsers wait for a segment
// that begins like a message.
func (t *table) joinMidstream(s *conn) {
	f := t.takeOff(s)
	for kind := range f.parser {
		f.parser[kind].Reset(http1.Kind(kind), true)
	}
}

// land takes an idle connection's flight back, whose parsers need no Reset.
func (t *table) land(s *conn) {
	f := s.flight
	s.flight, f.next, t.flights = nil, t.flights, f
}

// crash takes back the flight of a connection that is over, if it has one.
func (t *table) crash(s *conn) {
	f := s.flight
	if f == nil {
		return
	}
	for kind := range f.parser {
		f.parser[kind].Reset(http1.Kind(kind), false)
	}
	t.land(s)
}

// chunkSize makes a chunk whole pages.
const chunkSize = 1024

// at returns the record of a connection.
func (t *table) at(id uint32) *conn {
	return &t.chunks[id/chunkSize][id%chunkSize]
}

// pooled returns what the pools know of a connection.
func (t *table) pooled(id uint32) *pool.Conn { return &t.at(id).pool }

// open returns a fresh record for a connection.
func (t *table) open(id uint32) *conn {
	for int(id/chunkSize) >= len(t.chunks) {
		t.chunks = append(t.chunks, newChunk())
	}
	s := t.at(id)
	*s = conn{lastEnd: never, last: fact.ReasonOpen, once: fact.KeepAlive}
	return s
}

// newChunk returns a chunk that has been written to on every page: one that the
// garbage collector reads before that costs two page faults.
func newChunk() *[chunkSize]conn {
	c := new([chunkSize]conn)
	for i := 0; i < chunkSize; i += 4096 / int(unsafe.Sizeof(conn{})) {
		c[i].mark = 0
	}
	return c
}

// rare returns the rare part of s, taking one if it has none.
func (t *table) rare(s *conn) *rare {
	if s.rare == nil {
		if n := len(t.rares); n > 0 {
			s.rare, t.rares = t.rares[n-1], t.rares[:n-1]
			t.queued += cap(s.rare.more)
		} else {
			s.rare = new(rare)
		}
	}
	return s.rare
}

// queue makes a request wait behind others; false where there is no room.
func (t *table) queue(r *rare, q *pending) bool {
	room := cap(r.more)
	if len(r.more) == room && t.queued >= maxQueued {
		return false
	}
	r.more = append(r.more, *q)
	t.queued += cap(r.more) - room
	return true
}

// shrink gives the memory of a long queue back that is empty now.
func (t *table) shrink(s *conn) {
	if r := s.rare; r != nil && cap(r.more) > keptQueue {
		t.queued -= cap(r.more)
		r.more = nil
	}
}

// release gives back what the record held.
func (t *table) release(s *conn) {
	t.crash(s)
	if r := s.rare; r != nil {
		t.queued -= cap(r.more)
		*r = rare{more: r.more[:0], reuseIdle: r.reuseIdle[:0]}
		if len(t.rares) < maxFreeRares && cap(r.more) <= keptQueue && cap(r.reuseIdle) <= 64 {
			t.rares = append(t.rares, r)
		}
		s.rare = nil
	}
	s.name = nil
}

const maxFreeRares = 4096
