package analyzer

import (
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/analyzer/tls"
)

// never stands for a time that has not come: captures may begin at 0.
const never = -1

// state flags of a conn.
type flags uint16

const (
	opened       flags = 1 << iota // Observer.Opened was called
	judged                         // Observer.Judged was called
	pooled                         // the pools know the connection
	flipped                        // see transport
	sided                          // which side is the client is settled
	upgraded                       // HTTP ended
	incomplete                     // bytes were lost where they mattered
	advTimeout                     // the server advertised Keep-Alive: timeout=
	advMax                         // and max=
	unanswerable                   // the server's FIN was delivered, or a RST: no response will begin
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

	mark     uint16 // Connection.Mark
	flags    flags
	protocol fact.Protocol
	versions uint8 // bit per http.Version seen in requests
	verdict  fact.Verdict
	cause    fact.Cause
	last     fact.Reason  // announced by the last answered exchange; ReasonOpen if none was
	once     fact.Outcome // one exchange had this outcome; KeepAlive for none

	pool pool.Conn
}

// A flight is what a connection needs while a message or an exchange is under
// way on it.
type flight struct {
	http1 http1.Conn
	open  []exchange // the oldest first
	begun int64      // first byte of the request being read, or never
	next  *flight    // free list
}

// idle reports whether nothing of the flight is needed any more.
func (s *conn) idle() bool {
	return s.flight != nil && len(s.flight.open) == 0 && s.flight.begun == never && s.flight.http1.Idle()
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
	sink    http.Sink
}

// takeOff gives the connection a flight, whose parsers stand between messages, or
// where mid is true wait for a segment that begins like one.
func (t *table) takeOff(s *conn, mid bool) *flight {
	f := t.flights
	if f == nil {
		f = new(flight)
	} else {
		t.flights, f.next = f.next, nil
	}
	s.flight = f
	f.begun = never
	f.http1.Reset(&t.heads, t.sink, mid, http.Stream(s.requests))
	return f
}

// land takes a connection's flight back, if it has one.
func (t *table) land(s *conn) {
	f := s.flight
	if f == nil {
		return
	}
	f.http1.Release()
	if cap(f.open) > keptOpen {
		f.open = nil
	}
	f.open = f.open[:0]
	s.flight, f.next, t.flights = nil, t.flights, f
}

// keptOpen is for how many exchanges a flight keeps room.
const keptOpen = 16

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
		t.chunks = append(t.chunks, new([chunkSize]conn))
	}
	s := t.at(id)
	*s = conn{lastEnd: never, last: fact.ReasonOpen, once: fact.KeepAlive}
	return s
}

// rare returns the rare part of s, taking one if it has none.
func (t *table) rare(s *conn) *rare {
	if s.rare == nil {
		if n := len(t.rares); n > 0 {
			s.rare, t.rares = t.rares[n-1], t.rares[:n-1]
		} else {
			s.rare = new(rare)
		}
	}
	return s.rare
}

// release gives back what the record held.
func (t *table) release(s *conn) {
	t.land(s)
	if r := s.rare; r != nil {
		*r = rare{reuseIdle: r.reuseIdle[:0]}
		if len(t.rares) < maxFreeRares && cap(r.reuseIdle) <= 64 {
			t.rares = append(t.rares, r)
		}
		s.rare = nil
	}
	s.name = nil
}

const maxFreeRares = 4096

// addIdle lists an idle time, or counts it where there are most already.
func (r *rare) addIdle(idle int64, most int) {
	if len(r.reuseIdle) < most {
		r.reuseIdle = append(r.reuseIdle, idle)
	} else {
		r.moreReuseIdle++
	}
}
