package analyzer

import (
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/http2"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// never stands for a time that has not come: captures may begin at 0.
const never = -1

// flags are what is known of a conn.
type flags uint32

const (
	opened       flags = 1 << iota // Watcher.Opened was called
	judged                         // Watcher.Judged was called
	left                           // Leaver.Left was
	pooled                         // the pools know the connection
	rolesSwapped                   // see transport
	rolesKnown                     // which side is the client is settled
	answered                       // its first request was, so that its verdict may be told
	upgraded                       // HTTP ended
	tunneled                       // a CONNECT opened a way through
	incomplete                     // bytes were lost where they mattered
	advTimeout                     // the server advertised Keep-Alive: timeout=
	advMax                         // and max=
	unanswerable                   // the server's FIN was delivered, or a RST: no response will begin
	clientReset                    // the client sent a RST
	ended                          // nothing more comes: its reason is final
	joined                         // its client was seen to pool by address
	payload                        // it carried some
	cutHead                        // a snaplen cut a head
	estimated                      // its exchanges are guesses from encrypted records
	insideTLS                      // plaintext of TLS was seen
	outcomeLost                    // what the last exchange agreed on may not have been captured
	unheard                        // see Connection.Unheard
	guessed                        // it is HTTP/2 by the lengths of TLS records
	passedOver                     // see Connection.PassedOver
	closingWaits                   // its closing was captured and is not heard yet
)

// A conn is what the analyzer knows of one connection. What most connections
// never need is in cold, and what only a connection needs on which something is under
// way in active: 100 000 connections may be open and idle.
type conn struct {
	name     *string // shared by the connections of one name; nil without
	cold     *cold
	active   *active
	trace    *trace // nil unless one is asked for
	tcp      *reassembly.Conn
	id       uint64 // Connection.ID
	lastEnd  int64  // last byte of the last response, or never
	lastData int64  // newest server data

	requests, responses uint32
	reused              uint32 // requests that rode a connection which had carried one
	keptAlive           uint32 // exchanges that negotiated keep-alive
	gen                 uint32 // tells the uses of this record apart
	flags               flags

	mark         uint16 // Connection.Mark
	protocol     fact.Protocol
	versions     uint8 // bit per http.Version seen in requests
	verdict      fact.Verdict
	cause        fact.Cause
	last         fact.Reason  // announced by the last answered exchange; ReasonOpen if none was
	why          fact.Reason  // why it is unusable, as far as is known; ReasonOpen where it is usable
	otherOutcome fact.Outcome // one exchange had this outcome; KeepAlive for none
	layers       [maxLayers]protocol
	software     [2]software.ID

	announced uint32 // where in the server's stream its closing had been announced

	could *fact.CouldReuse // where wasted; nil if that is not known
	pool  pool.Conn
}

// active is what a connection needs while a message or an exchange is under way on
// it.
type active struct {
	http1 http1.Conn
	open  []exchange // the oldest first
	begun begun      // of the request being read
}

// idle reports whether nothing of the active part is needed any more.
func (s *conn) idle() bool {
	return s.active != nil && len(s.active.open) == 0 && s.active.begun.at == never && s.active.http1.Idle()
}

// open returns a connection's exchanges under way, the oldest first.
func (s *conn) open() []exchange {
	if s.active == nil {
		return nil
	}
	return s.active.open
}

// count counts an exchange's outcome. Few connections have more than one that
// is not keep-alive.
func (t *table) count(s *conn, o fact.Outcome) {
	switch {
	case o == fact.KeepAlive:
		s.keptAlive++
	case s.otherOutcome == fact.KeepAlive:
		s.otherOutcome = o
	default:
		t.coldOf(s).negotiated[o]++
	}
}

// negotiated sets n, which is 0, to how often each outcome was counted.
func (s *conn) negotiated(n *[fact.NumOutcomes]uint32) {
	if s.cold != nil {
		*n = s.cold.negotiated
	}
	n[fact.KeepAlive] = s.keptAlive
	if s.otherOutcome != fact.KeepAlive {
		n[s.otherOutcome]++
	}
}

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

// cold is what few connections need.
type cold struct {
	negotiated    [fact.NumOutcomes]uint32
	failed        [fact.NumFailures]uint32
	reuseIdle     []int64
	moreReuseIdle uint32
	unsolicited   uint32
	pipelined     uint32
	advertTimeout uint32
	advertMax     uint32
	dnsCost       int64
	proxied       sniffer.Endpoint // the client that a PROXY header names
	notified      [2]notice        // TLS's close_notify of each side
	tls           [maxLayers]*tlsLayer
	h2            *http2.Conn
	lost          uint32 // HTTP/2 requests whose heads were
	streams       *streams
	tunnel        *tunnel
	upgrade       fact.Upgrade
	belated       []belatedAnswer

	waits      *unsettled // for the reason of the connection that it replaces
	replacedBy *unsettled // waits for the reason of this one
}

// A table holds a conn for each reassembly.Conn.ID, in chunks that never move.
type table struct {
	chunks  []*[chunkSize]conn
	colds   spares[cold]
	coulds  spares[fact.CouldReuse]
	actives spares[active]
	used    int // active parts that connections have
	belated int // answers that wait for the ends of connections
	h2s     spares[http2.Conn]
	heads   http1.Pool
	h2      http2.Pool
	hellos  tls.Hellos
	sink    http.StreamSink
	gen     uint32
}

// activate gives the connection its active part.
func (t *table) activate(s *conn, start http1.Start) *active {
	f := t.actives.get()
	s.active = f
	t.used++
	f.begun.at = never
	f.http1.Reset(&t.heads, t.sink, start, http.Stream(s.requests))
	return f
}

// activeOf returns the connection's active part, whose reader stands where the layer
// that it reads does.
func (l *ledger) activeOf() *active {
	s := l.conn
	if s.active != nil {
		return s.active
	}
	if slices.Contains(s.layers[:], readHTTP1) {
		return l.table.activate(s, http1.Between)
	}
	return l.table.activate(s, http1.Fresh)
}

// deactivate takes a connection's active part back, if it has one.
func (t *table) deactivate(s *conn) {
	f := s.active
	if f == nil {
		return
	}
	f.http1.Release()
	if cap(f.open) > keptOpen {
		f.open = nil
	}
	f.open = f.open[:0]
	t.actives.put(f)
	s.active = nil
	t.used--
}

// rest takes a connection's active part back where nothing of it is needed any more and
// many connections have one: to set it up for each request costs BenchmarkExchange a tenth.
func (t *table) rest(s *conn) {
	if t.used > keptActive && s.idle() {
		t.deactivate(s)
	}
}

// keptActive is how many connections keep their active part while they are idle.
const keptActive = 4096

// keptOpen is for how many exchanges an active part keeps room.
const keptOpen = 16

// chunkSize makes a chunk whole pages.
const chunkSize = 1024

// at returns the record of a connection.
func (t *table) at(id uint32) *conn {
	return &t.chunks[id/chunkSize][id%chunkSize]
}

// open returns a fresh record for a connection.
func (t *table) open(c *reassembly.Conn) *conn {
	for int(c.ID/chunkSize) >= len(t.chunks) {
		t.chunks = append(t.chunks, new([chunkSize]conn))
	}
	s := t.at(c.ID)
	t.gen++
	*s = conn{} // and then in place: a literal is made elsewhere and copied
	s.tcp, s.id, s.gen, s.lastEnd = c, transport{tcp: c}.id(), t.gen, never
	s.last, s.why, s.otherOutcome = fact.ReasonOpen, fact.ReasonOpen, fact.KeepAlive
	return s
}

// ref names a connection among all that there were.
func (s *conn) ref() uint64 { return uint64(s.gen)<<32 | uint64(s.tcp.ID) + 1 }

// byRef returns the record of a connection that is tracked still, nil otherwise.
func (t *table) byRef(ref uint64) *conn {
	id := uint32(ref) - 1
	if ref == 0 || int(id/chunkSize) >= len(t.chunks) {
		return nil
	}
	if s := t.at(id); s.tcp != nil && s.gen == uint32(ref>>32) {
		return s
	}
	return nil
}

// coldOf returns the cold part of s, taking one if it has none.
func (t *table) coldOf(s *conn) *cold {
	if s.cold == nil {
		s.cold = t.colds.get()
	}
	return s.cold
}

// release gives back what the record held.
func (t *table) release(s *conn) {
	s.trace = nil
	t.deactivate(s)
	if c := s.cold; c != nil {
		if c.h2 != nil {
			t.releaseH2(c)
		}
		*c = cold{reuseIdle: c.reuseIdle[:0]}
		if cap(c.reuseIdle) <= 64 {
			t.colds.put(c)
		}
	}
	if s.could != nil {
		t.coulds.put(s.could)
	}
	s.cold, s.could, s.name, s.tcp = nil, nil, nil, nil
}

// openH2 gives the connection a reader of HTTP/2.
func (t *table) openH2(s *conn, start http2.Start) {
	c := t.coldOf(s)
	c.h2 = t.h2s.get()
	c.h2.Reset(&t.h2, t.sink, start)
}

func (t *table) releaseH2(c *cold) {
	c.h2.Release()
	t.h2s.put(c.h2)
	c.h2 = nil
}

// spares are parts of connections that are over, for the next ones.
type spares[T any] []*T

// maxSpares is how many of a kind are kept.
const maxSpares = 1024

// get returns a spare part as it was put, or a new one.
func (s *spares[T]) get() *T {
	n := len(*s) - 1
	if n < 0 {
		return new(T)
	}
	v := (*s)[n]
	*s = (*s)[:n]
	return v
}

func (s *spares[T]) put(v *T) {
	if len(*s) < maxSpares {
		*s = append(*s, v)
	}
}

// addIdle lists an idle time, or counts it where there are most already.
func (c *cold) addIdle(idle int64, most int) {
	if len(c.reuseIdle) < most {
		c.reuseIdle = append(c.reuseIdle, idle)
	} else {
		c.moreReuseIdle++
	}
}
