package http1

import "github.com/keepscope/keepscope/analyzer/http"

const (
	// MaxOutstanding is how many requests of a connection may await their response.
	MaxOutstanding = 1024
	// MaxWaiting is how many requests may wait behind others, on all connections
	// of a Pool: 3 MiB.
	MaxWaiting = 1 << 18
	// keptWaiting is how much room a connection keeps for its next pipelining.
	keptWaiting = 16
)

// An asked is a request that awaits the end of its response.
type asked struct {
	stream    http.Stream
	read      uint32 // Sight.Read when it was sent
	method    http.Method
	v09       bool // HTTP/0.9
	finalHead bool // its final response's head is complete
	after     bool // when it was sent, the client had read responses that were not captured
}

// An Ending is how HTTP/1 ends on a connection that goes on.
type Ending uint8

// The endings.
const (
	NotEnded  Ending = iota
	ByPreface        // the client sent the first line of HTTP/2's preface, "PRI * HTTP/2.0\r\n"
	ByH2C            // a 101 to HTTP/2 (RFC 7540 §3.2); the request is stream 1, and its End is not told
	ByTunnel         // a 2xx to CONNECT
	ByUpgrade        // any other 101
)

// A Sight is how far the client had read when it sent what it sends: a
// position in the server's stream, and whether that is beyond what was captured.
type Sight struct {
	Read   uint32
	Beyond bool
}

// A Conn pairs the messages of a connection, first in, first out (RFC 9112 §9.3.2),
// and tells its Sink of the exchanges. The zero value, given a Pool by Reset, waits for
// a connection's beginning. It is an [http.Conn].
type Conn struct {
	// Sight is set before what the client sends is handed to Data. It tells which
	// requests' responses were lost.
	Sight Sight

	sink    http.Sink
	pool    *Pool
	parser  [2]Parser
	front   asked   // the oldest outstanding request
	waiting []asked // behind it

	rest        []byte // what followed its end, during Data
	ended       Ending
	requests    http.Stream // number of the newest
	outstanding uint16
	doubtfulAt  int64
	doubtful    http.Method // of a first request that is malformed
	asked       bool        // a request was told
	responses   bool        // a response was told
	begun       bool        // the first byte of the next request was told
	answered    bool        // bytes of the oldest outstanding request's response were seen
	final       bool        // the response being read is final and belongs to the oldest outstanding request
	unsynced    bool        // since the last response's head bytes were lost, maybe responses
	last09      bool        // an HTTP/0.9 request was read: nothing may follow
}

// A Start says where in a connection's life a Conn begins to read.
type Start uint8

// The starts.
const (
	Fresh     Start = iota // at its beginning, or behind that of a tunnel
	Between                // between two messages
	Midstream              // anywhere: a segment is waited for that begins like a message
)

// Reset makes c ready for another connection, or another part of one. N is how many
// requests were told of it before.
func (c *Conn) Reset(pool *Pool, sink http.Sink, start Start, n http.Stream) {
	c.Release()
	for kind := range c.parser {
		c.parser[kind].Pool = pool
		c.parser[kind].Reset(Kind(kind), start == Midstream)
	}
	*c = Conn{sink: sink, pool: pool, parser: c.parser, requests: n, asked: start == Between, responses: start == Between}
	if n == 0 {
		c.parser[Request].Identify()
		c.parser[Response].Identify()
	}
}

// Release gives back what c has of the Pool.
func (c *Conn) Release() {
	for kind := range c.parser {
		c.parser[kind].Release()
	}
	c.parser[Request].Pool.wipe()
	c.shrink()
}

// Idle reports whether nothing is under way: Reset, told how many requests there
// were, makes another Conn that goes on as well. After HTTP/0.9 nothing may follow.
func (c *Conn) Idle() bool {
	return c.outstanding == 0 && !c.unsynced && !c.last09 && c.parser[Request].Idle() && c.parser[Response].Idle()
}

// Ended says whether HTTP/1 ended in what Data was given last, and how, and
// returns what followed there: its next reader's.
func (c *Conn) Ended() (how Ending, rest []byte) { return c.ended, c.rest }

// EndLost says that all that is known of the end of the last response is that it
// was not captured.
func (c *Conn) EndLost() bool { return c.outstanding == 1 && c.unsynced && !c.front.after }

// Read returns how far the client had read when it sent the oldest outstanding request;
// false where none is.
func (c *Conn) Read() (seq uint32, ok bool) { return c.front.read, c.outstanding > 0 }

// InFinal says that the final response to the oldest outstanding request is being read.
func (c *Conn) InFinal() bool { return c.final }

// Data implements [http.Conn].
func (c *Conn) Data(from http.Side, b []byte, at int64) {
	if from == http.Client {
		c.readRequests(b, at)
	} else {
		c.readResponses(b, at)
	}
	c.pool.wipe() // of heads that were told
}

func (c *Conn) readRequests(b []byte, at int64) {
	p := &c.parser[Request]
	m := &c.pool.msg
	for {
		n, ev := p.Next(b, m)
		b = b[n:]
		switch ev {
		case Head:
			if m.Malformed && !c.asked { // or it is no HTTP: the answer will tell
				c.doubtful, c.doubtfulAt = m.Method, at
				continue
			}
			c.begin(at)
			c.begun = false
			c.request(m, at)
		case End:
			if len(b) == 0 { // as nearly always: Next would say NeedMore (BenchmarkExchange)
				return
			}
		case Lost:
			c.begun = false
			if p.Preface() {
				c.ended, c.rest = ByPreface, b
				return
			}
			if c.asked {
				c.sink.Lost(http.Client, 0)
			}
		default:
			if p.InHead() {
				c.begin(at)
			}
			return
		}
	}
}

// begin tells a request's first byte.
func (c *Conn) begin(at int64) {
	if !c.begun {
		c.begun = true
		c.sink.Begin(c.requests+1, at)
	}
}

// request takes a request whose head is complete.
func (c *Conn) request(m *Message, at int64) {
	c.requests++
	c.asked = true
	q := asked{stream: c.requests, method: m.Method, v09: m.Version == http.HTTP09, read: c.Sight.Read}
	q.after = c.parser[Response].IsLost() || c.Sight.Beyond
	m.Pipelined = c.outstanding > 0 && (!q.after || q.read == c.newest().read)
	c.sink.Request(q.stream, &m.Head, at)
	switch {
	case c.outstanding == 0:
		c.outstanding = 1
		c.front = q
		c.atFront()
	case c.outstanding >= MaxOutstanding || !c.wait(q):
		c.sink.Lost(http.Client, 0)
		c.sink.Unanswered(q.stream, at)
	default:
		c.outstanding++
	}
}

// newest returns the request sent last of those outstanding.
func (c *Conn) newest() *asked {
	if n := len(c.waiting); n > 0 {
		return &c.waiting[n-1]
	}
	return &c.front
}

// atFront prepares for the response to another oldest outstanding request.
func (c *Conn) atFront() {
	c.answered = false
	if c.front.v09 {
		c.last09 = true
		c.parser[Response].Expect09()
	}
}

// wait makes a request wait behind others; false where there is no room.
func (c *Conn) wait(q asked) bool {
	room := cap(c.waiting)
	if len(c.waiting) == room && c.pool.waiting >= MaxWaiting {
		c.pool.Crowded++
		return false
	}
	c.waiting = append(c.waiting, q)
	c.pool.waiting += cap(c.waiting) - room
	return true
}

// next takes the oldest outstanding request off.
func (c *Conn) next() {
	c.outstanding--
	if c.outstanding == 0 {
		if cap(c.waiting) > keptWaiting {
			c.shrink()
		}
		return
	}
	c.front = c.waiting[0]
	c.atFront()
	c.waiting = c.waiting[:copy(c.waiting, c.waiting[1:])]
}

// shrink gives the queue's memory back.
func (c *Conn) shrink() {
	if c.waiting != nil {
		c.pool.waiting -= cap(c.waiting)
		c.waiting = nil
	}
}

func (c *Conn) readResponses(b []byte, at int64) {
	p := &c.parser[Response]
	m := &c.pool.msg
	c.responds(at)
	for {
		n, ev := p.Next(b, m)
		b = b[n:]
		switch ev {
		case Head:
			if c.response(m, at); c.ended != NotEnded {
				c.rest = b
				return
			}
		case End:
			c.responseEnds(at)
			if len(b) == 0 { // see readRequests
				return
			}
		case Lost:
			if c.responses {
				c.sink.Lost(http.Server, 0)
			}
			c.unsynced, c.final = true, false
		default:
			if p.InMessage() {
				c.responds(at) // by the part of a second response in this segment
			}
			return
		}
	}
}

// responds tells the first byte of the oldest outstanding request's response.
func (c *Conn) responds(at int64) {
	if c.answered || c.outstanding == 0 {
		return
	}
	c.answered = true
	c.sink.Responds(c.front.stream, at)
}

// response takes a response whose head is complete.
func (c *Conn) response(m *Message, at int64) {
	if m.Interim() || m.H2C && m.Status == 101 && c.outstanding == 1 {
		if m.H2C && m.Status == 101 {
			c.ended = ByH2C
		} else if !c.responses {
			c.parser[Response].Identify() // servers name themselves in the final one
		}
		if c.outstanding > 0 {
			c.sink.Response(c.front.stream, &m.Head, at)
		}
		return
	}
	if c.unsynced {
		c.realign(at)
	}
	if c.doubtful != http.Other && !c.asked {
		c.confirm(m)
	}
	c.responses = true
	q := &c.front
	if c.outstanding == 0 || q.finalHead {
		c.sink.Response(http.Unsolicited, &m.Head, at)
		c.parser[Response].Doubt(true)
		return
	}
	p := &c.parser[Response]
	p.Doubt(false)
	switch {
	case m.Status == 101:
	case q.method == http.HEAD:
		p.Bodyless()
		m.Framing = NoBody
	case q.method == http.CONNECT && m.Status/100 == 2:
		p.TunnelFrom()
		m.Framing = Tunnel
	}
	m.UntilClose, m.EndsHTTP = m.Framing == UntilClose, m.Framing == Tunnel
	q.finalHead, c.final = true, true
	c.sink.Response(q.stream, &m.Head, at)
	if m.EndsHTTP {
		c.parser[Request].TunnelFrom()
		c.responseEnds(at)
		if c.ended = ByUpgrade; m.Status != 101 {
			c.ended = ByTunnel
		}
	}
}

// confirm tells the malformed request that a first response answers: m.
func (c *Conn) confirm(m *Message) {
	response := *m
	*m = Message{Head: http.Head{Method: c.doubtful, Malformed: true}}
	c.begin(c.doubtfulAt)
	c.begun = false
	c.request(m, c.doubtfulAt)
	c.doubtful = http.Other
	*m = response
}

// realign gives up the requests whose responses were lost, so that the one
// that was just read answers its own request. Lost is that to the oldest one,
// unless it is the only one, and all those to requests before one which the
// client sent when it had read more than was captured, and more than before; all but
// the newest where what it had read tells nothing.
func (c *Conn) realign(at int64) {
	c.unsynced = false
	lost := 0
	if c.outstanding > 0 && c.front.finalHead || c.outstanding > 1 && !c.front.after {
		lost = 1
	}
	if c.outstanding > 1 {
		read := c.front.read
		for i := range c.waiting {
			q := &c.waiting[i]
			if q.after && q.read != read {
				lost = i + 1
			}
			read = q.read
		}
	}
	if lost == 0 && c.outstanding > 1 && c.front.after {
		lost = int(c.outstanding) - 1 // nothing tells which is answered: most clients await each response
	}
	for range lost {
		s := c.front.stream
		c.next()
		c.sink.Unanswered(s, at)
	}
	if lost > 0 {
		c.responds(at)
	}
}

// responseEnds completes the oldest exchange if the response that ended was its
// final one.
func (c *Conn) responseEnds(at int64) {
	if !c.final {
		return
	}
	c.final = false
	s := c.front.stream
	c.next()
	c.sink.End(s, http.Server, at)
}

// Cut says that a side sent more than a snaplen left, which Gap is about to tell: a head
// whose start line was read counts. It reports whether there was one.
func (c *Conn) Cut(from http.Side, at int64) bool {
	m := &c.pool.msg
	if !c.parser[from].Cut(m) {
		return false
	}
	if from == http.Client {
		c.begin(at)
		c.begun = false
		c.request(m, at)
	} else {
		c.response(m, at)
		c.responseEnds(at) // or some time later: nothing tells
	}
	c.sink.Lost(from, 0)
	return true
}

// Gap implements [http.Conn].
func (c *Conn) Gap(from http.Side, n int64, at int64) {
	if from == http.Server {
		c.responds(at)
	}
	ended, lost := c.parser[from].Gap(n)
	if ended && from == http.Server {
		c.responseEnds(at)
	}
	if !lost && (from == http.Client || c.outstanding == 0 || !c.parser[from].IsLost()) {
		return
	}
	c.sink.Lost(from, 0)
	if from == http.Client {
		c.begun = false
	} else {
		c.unsynced, c.final = true, false
	}
}

// Skippable returns how many of the coming bytes of a side are of a body: they need not be
// seen, and a Gap of as many is as good.
func (c *Conn) Skippable(from http.Side) int64 {
	rest, _ := c.parser[from].InBody()
	return int64(min(rest, 1<<62))
}

// Close implements [http.Conn]: the side's FIN was delivered.
func (c *Conn) Close(from http.Side, at int64) {
	if c.parser[from].Finish() == End && from == http.Server {
		c.responseEnds(at)
	}
}
