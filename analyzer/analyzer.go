package analyzer

import (
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer/dns"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// A Config sets up an Analyzer; its zero value works.
type Config struct {
	// ReuseWindow is how long the ideal pool keeps an idle connection
	// (default 60 s).
	ReuseWindow time.Duration
	// MaxReuseIdle is how many idle times a Connection lists (default 0: they
	// are only told exchange by exchange). An encrypted connection, no exchange
	// of which is told, lists at least 32.
	MaxReuseIdle int
	// MaxHeaderBytes bounds the memory for header sections that segments cut,
	// over all connections (default 16 MiB).
	MaxHeaderBytes int
	// NoVerdicts leaves the ideal pool out: no handshake is judged.
	NoVerdicts bool
}

// An Analyzer makes facts of one worker's connections. It is a
// reassembly.Handler and, like it, for one goroutine.
type Analyzer struct {
	cfg      Config
	obs      []fact.Observer
	watchers []fact.Watcher // those of them that are
	pools    *pool.Pools
	dns      *dns.Cache
	table    table
	names    names

	tracked func(id uint32, now int64) bool // the assembler's IsOpen, nil without a Worker

	msg      http1.Message
	info     tls.Info
	question dns.Message
	pair     pool.Pair       // see pairOf
	conn     fact.Connection // what a Watcher hears
	outbox   outbox
}

// New returns an Analyzer that tells each of obs what it finds.
func New(cfg Config, obs ...fact.Observer) *Analyzer {
	if cfg.ReuseWindow == 0 {
		cfg.ReuseWindow = time.Minute
	}
	if cfg.MaxHeaderBytes == 0 {
		cfg.MaxHeaderBytes = 16 << 20
	}
	a := &Analyzer{cfg: cfg, obs: obs, names: names{known: map[string]*string{}}, dns: dns.NewCache(dns.Config{})}
	for _, o := range obs {
		if w, ok := o.(fact.Watcher); ok {
			a.watchers = append(a.watchers, w)
		}
	}
	a.table.heads.Max = int64(cfg.MaxHeaderBytes)
	a.newPools()
	return a
}

// newPools makes the pools, empty.
func (a *Analyzer) newPools() {
	if !a.cfg.NoVerdicts {
		a.pools = pool.New(pool.Config{Window: int64(a.cfg.ReuseWindow), Conn: a.table.pooled, Open: a.isOpen})
	}
}

// isOpen tells the pools whether a connection is past the tracker's idle limit,
// so that no verdict depends on when the sweep comes by.
func (a *Analyzer) isOpen(id uint32, now int64) bool {
	return a.tracked == nil || a.tracked(id, now)
}

// Open implements reassembly.Handler.
func (a *Analyzer) Open(c *reassembly.Conn) {
	s := a.table.open(c.ID)
	mid := !c.SYNSeen() && !c.SYNACKSeen()
	if mid {
		a.table.joinMidstream(s)
	}
	if !mid {
		s.set(sided)
	}
	if c.SYNSeen() {
		a.handshake(c, s)
	}
}

// handshake lets the pools judge a SYN and looks for the look-up that led to
// it.
func (a *Analyzer) handshake(c *reassembly.Conn, s *conn) {
	from, to := s.sides(c)
	client, server := &c.Endpoint[from], &c.Endpoint[to]
	if a.dns.Len() > 0 {
		a.lookedUp(s, client.Addr, server.Addr, c.SYN)
	}
	if a.pools != nil {
		s.verdict, s.cause = a.verdict(a.pools.SYN(&s.pool, c.ID, a.pairOf(client, server, 0), c.SYN))
		s.set(pooled)
	}
}

// lookedUp notes the look-up that led to a connection of time t, if it is known.
func (a *Analyzer) lookedUp(s *conn, client, server sniffer.Addr, t int64) {
	name, cost, ok := a.dns.Lookup(client, server, t)
	if ok && s.name == nil {
		s.name = a.names.host([]byte(name))
	}
	if cost > 0 {
		a.table.rare(s).dnsCost = cost
	}
}

// pairOf returns the pair of two endpoints, until it is called again.
func (a *Analyzer) pairOf(client, server *sniffer.Endpoint, name uint32) *pool.Pair {
	k := &a.pair
	k.Client, k.Server, k.Port, k.Name = client.Addr, server.Addr, server.Port, name
	return k
}

// verdict translates the pools' words.
func (a *Analyzer) verdict(v pool.Verdict, cause pool.Reason) (fact.Verdict, fact.Cause) {
	switch {
	case v == pool.None: // it was too late to judge
		return fact.VerdictNone, 0
	case v == pool.Needed:
		return fact.VerdictNeeded, 0
	case cause == pool.PoolMiss:
		return fact.VerdictWasted, fact.PoolMiss
	}
	return fact.VerdictWasted, fact.Cause(cause)
}

// role says whether dir carries requests or responses.
func (s *conn) role(dir reassembly.Dir) http1.Kind {
	if s.is(flipped) {
		dir = dir.Other()
	}
	return http1.Kind(dir) // reassembly.Client sends requests
}

// sides returns the endpoints of the client and of the server.
func (s *conn) sides(c *reassembly.Conn) (client, server reassembly.Dir) {
	if s.is(flipped) {
		return reassembly.Server, reassembly.Client
	}
	return reassembly.Client, reassembly.Server
}

// settle decides who the client of a midstream connection is, by the first
// segment that begins like a message, or by a SYN that came late.
func (s *conn) settle(c *reassembly.Conn, dir reassembly.Dir, payload []byte) {
	client := dir
	switch {
	case c.SYNByServer():
		client = reassembly.Server
	case http1.BeginsLike(http1.Request, payload):
	case http1.BeginsLike(http1.Response, payload):
		client = dir.Other()
	default:
		return
	}
	s.set(sided)
	if client != reassembly.Client {
		s.set(flipped)
	}
}

// Data implements reassembly.Handler.
func (a *Analyzer) Data(c *reassembly.Conn, dir reassembly.Dir, payload []byte) {
	s := a.table.at(c.ID)
	s.unset(discharged)
	if s.protocol == fact.ProtocolUnknown {
		a.detect(c, s, dir, payload)
	}
	switch s.protocol {
	case fact.ProtocolTLS:
		a.encrypted(c, s, dir, payload)
	case fact.ProtocolH2:
	default:
		if s.flight == nil {
			a.table.takeOff(s)
		}
		if s.role(dir) == http1.Request {
			a.requests(c, s, payload)
		} else {
			a.responses(c, s, payload)
		}
		if s.idle() {
			a.table.land(s)
		}
	}
}

// detect looks whose requests these are, and whether they are encrypted, on a
// connection that has carried nothing known.
func (a *Analyzer) detect(c *reassembly.Conn, s *conn, dir reassembly.Dir, payload []byte) {
	if !s.is(sided) {
		s.settle(c, dir, payload)
	}
	if s.requests == 0 && s.responses == 0 {
		a.detectTLS(c, s, payload)
	}
}

// requests reads what the client sent.
func (a *Analyzer) requests(c *reassembly.Conn, s *conn, b []byte) {
	f := s.flight
	p := &f.parser[http1.Request]
	for {
		n, ev := p.Next(b, &a.msg)
		b = b[n:]
		switch ev {
		case http1.Head:
			a.requestBegins(c, s)
			a.request(c, s)
			f.reqStart = never
			if s.is(unanswerable) {
				a.closing(c, s)
			}
		case http1.End:
			if len(b) == 0 { // as nearly always: Next would say NeedMore (BenchmarkExchange)
				return
			}
		case http1.Lost:
			f.reqStart = never
			if p.Preface() {
				s.protocol = fact.ProtocolH2
				a.opened(c, s)
				return
			}
			if s.requests > 0 {
				s.set(incomplete)
			}
		default:
			if p.InHead() {
				a.requestBegins(c, s)
			}
			return
		}
	}
}

// requestBegins notes a request's first byte.
func (a *Analyzer) requestBegins(c *reassembly.Conn, s *conn) {
	if s.flight.reqStart != never {
		return
	}
	s.flight.reqStart = c.Last
	if s.requests > 0 && s.is(pooled) {
		a.pools.Request(&s.pool, c.Last)
	}
}

// request takes a request whose head is complete: a.msg.
func (a *Analyzer) request(c *reassembly.Conn, s *conn) {
	m := &a.msg
	var behind pending
	q := &behind
	if s.outstanding == 0 {
		q = &s.flight.front
	}
	*q = pending{}
	q.start, q.idle, q.index = s.flight.reqStart, -1, s.requests+1
	q.method, q.version, q.tokens, q.outcome = m.Method, m.Version, m.Connection, fact.Incomplete
	_, server := s.sides(c)
	q.after = s.flight.parser[http1.Response].IsLost() || c.Behind(server)
	q.read = c.Known(server)
	if s.requests == 0 {
		a.firstRequest(c, s)
		if !c.SYNSeen() && !c.SYNACKSeen() {
			q.reuse = fact.UnknownReuse
		}
	} else {
		q.reuse = fact.ReusedRequest
	}
	s.requests++
	s.versions |= 1 << m.Version
	if s.outstanding > 0 {
		r := a.table.rare(s)
		if !q.after || q.read == s.newest().read {
			r.pipelined++
		}
		if s.outstanding >= maxOutstanding || !a.table.queue(r, q) {
			s.set(incomplete)
			a.table.count(s, fact.Incomplete)
			a.tellExchange(c, s, q, 0)
			return
		}
		s.outstanding++
		return
	}
	if s.lastEnd != never {
		q.idle = max(q.start-s.lastEnd, 0)
		a.reuseIdle(s, q.idle)
	}
	s.outstanding = 1
	a.atFront(s)
}

// newest returns the request sent last of those outstanding.
func (s *conn) newest() *pending {
	if s.outstanding > 1 {
		return &s.rare.more[len(s.rare.more)-1]
	}
	return &s.flight.front
}

// atFront prepares for the response to another oldest outstanding request.
func (a *Analyzer) atFront(s *conn) {
	s.unset(answered)
	if s.flight.front.version == http.HTTP09 {
		s.flight.parser[http1.Response].Expect09()
	}
}

// firstRequest names the connection and confirms its verdict.
func (a *Analyzer) firstRequest(c *reassembly.Conn, s *conn) {
	s.set(sided)
	switch a.msg.Version {
	case http.HTTP09:
		s.protocol = fact.ProtocolHTTP09
	case http.HTTP10:
		s.protocol = fact.ProtocolHTTP10
	default:
		s.protocol = fact.ProtocolHTTP11
	}
	if len(a.msg.Host) > 0 {
		s.name = a.names.host(a.msg.Host)
	}
	a.confirm(c, s, s.flight.reqStart)
	a.opened(c, s)
}

// confirm tells the pools of a connection's first request.
func (a *Analyzer) confirm(c *reassembly.Conn, s *conn, t int64) {
	switch {
	case a.pools == nil:
	case s.is(pooled):
		a.pools.Request(&s.pool, t)
	case c.SYNSeen(): // captured after the SYN-ACK
		a.handshake(c, s)
		a.pools.Request(&s.pool, t)
	default:
		s.set(pooled)
		client, server := s.sides(c)
		a.pools.Midstream(&s.pool, c.ID, a.pairOf(&c.Endpoint[client], &c.Endpoint[server], 0), t)
	}
}

func (a *Analyzer) reuseIdle(s *conn, idle int64) {
	if a.cfg.MaxReuseIdle > 0 {
		a.table.rare(s).addIdle(idle, a.cfg.MaxReuseIdle)
	}
}

// addIdle lists an idle time, or counts it where there are most already.
func (r *rare) addIdle(idle int64, most int) {
	if len(r.reuseIdle) < most {
		r.reuseIdle = append(r.reuseIdle, idle)
	} else {
		r.moreReuseIdle++
	}
}

// responses reads what the server sent.
func (a *Analyzer) responses(c *reassembly.Conn, s *conn, b []byte) {
	s.lastData = c.Last
	s.set(answered)
	p := &s.flight.parser[http1.Response]
	for {
		n, ev := p.Next(b, &a.msg)
		b = b[n:]
		switch ev {
		case http1.Head:
			a.response(c, s, p)
		case http1.End:
			a.responseEnds(c, s, c.Last)
			if len(b) == 0 { // see requests
				return
			}
		case http1.Lost:
			if s.responses > 0 {
				s.set(incomplete)
			}
			s.set(unsynced)
			s.unset(final)
		default:
			if p.InMessage() {
				s.set(answered) // by the part of a second response in this segment
			}
			return
		}
	}
}

// response takes a response whose head is complete: a.msg.
func (a *Analyzer) response(c *reassembly.Conn, s *conn, p *http1.Parser) {
	m := &a.msg
	if m.Status/100 == 1 && m.Status != 101 {
		return
	}
	s.responses++
	if s.is(unsynced) {
		a.realign(c, s)
	}
	q := &s.flight.front
	if s.outstanding == 0 || q.headed {
		a.table.rare(s).unsolicited++
		return
	}
	switch {
	case m.Status == 101:
	case q.method == http.HEAD:
		p.Bodyless()
		m.Framing = http1.NoBody
	case q.method == http.CONNECT && m.Status/100 == 2:
		p.TunnelFrom()
		m.Framing = http1.Tunnel
	}
	a.advertised(s)
	q.headed, q.status = true, m.Status
	q.outcome = negotiate(q, m)
	s.set(final)
	if q.outcome != fact.KeepAlive {
		s.last = announced(q.outcome, m.Status, s.kept)
		if s.is(pooled) {
			a.pools.Unusable(&s.pool, pool.Reason(s.last))
		}
	} else {
		s.last = fact.ReasonOpen
	}
	a.table.count(s, q.outcome)
	if q.outcome == fact.Upgraded {
		s.set(upgraded)
		s.flight.parser[http1.Request].TunnelFrom()
		a.responseEnds(c, s, c.Last)
	}
}

// realign gives up the requests whose responses were lost, so that the one
// that was just read answers its own request. Lost is that to the oldest one,
// unless it is the only one, and all those to requests before one which the
// client sent when it had read more than was captured, and more than before.
func (a *Analyzer) realign(c *reassembly.Conn, s *conn) {
	s.unset(unsynced)
	lost, front := 0, &s.flight.front
	if s.outstanding > 0 && front.headed || s.outstanding > 1 && !front.after {
		lost = 1
	}
	if s.outstanding > 1 {
		read := front.read
		for i := range s.rare.more {
			q := &s.rare.more[i]
			if q.after && q.read != read {
				lost = i + 1
			}
			read = q.read
		}
	}
	for range lost {
		a.unanswered(c, s)
	}
	if lost > 0 && s.outstanding == 0 && s.flags&(pooled|upgraded) == pooled {
		a.pools.Idle(&s.pool, c.Last)
	}
}

// unanswered gives up the oldest outstanding request.
func (a *Analyzer) unanswered(c *reassembly.Conn, s *conn) {
	if !s.flight.front.headed {
		a.table.count(s, fact.Incomplete)
	}
	a.tellExchange(c, s, &s.flight.front, 0)
	a.next(s)
}

// advertised notes what the server's Keep-Alive field offers: the newest
// timeout and the first max, which servers count down.
func (a *Analyzer) advertised(s *conn) {
	m := &a.msg
	if m.HasKeepAliveTimeout {
		a.table.rare(s).advertTimeout = m.KeepAliveTimeout
		s.set(advTimeout)
	}
	if m.HasKeepAliveMax && !s.is(advMax) {
		a.table.rare(s).advertMax = m.KeepAliveMax
		s.set(advMax)
	}
}

// responseEnds completes the oldest exchange if the response that ended at t
// was its final one.
func (a *Analyzer) responseEnds(c *reassembly.Conn, s *conn, t int64) {
	if !s.is(final) {
		return
	}
	s.unset(final)
	s.lastEnd = t
	a.tellExchange(c, s, &s.flight.front, t)
	a.judged(c, s)
	a.next(s)
	if s.outstanding == 0 && s.flags&(pooled|upgraded) == pooled {
		a.pools.Idle(&s.pool, t)
		if c.ClosedWith != reassembly.NotClosed {
			a.closing(c, s)
		}
	}
}

// next takes the oldest outstanding request off.
func (a *Analyzer) next(s *conn) {
	s.outstanding--
	if s.outstanding == 0 {
		a.table.shrink(s)
		return
	}
	more := s.rare.more
	s.flight.front = more[0]
	a.atFront(s)
	s.rare.more = more[:copy(more, more[1:])]
}

func (a *Analyzer) tellExchange(c *reassembly.Conn, s *conn, q *pending, end int64) {
	e := a.newExchange() // every field is written, in place: see fill
	e.Client = c.Endpoint[reassembly.Client]
	e.Server = c.Endpoint[reassembly.Server]
	if s.is(flipped) {
		e.Client, e.Server = e.Server, e.Client
	}
	e.Mark, e.ServerName = s.mark, s.serverName()
	e.Opened, e.Index = c.Start, q.index
	e.Start, e.End, e.Idle = q.start, end, q.idle
	e.Method, e.Version, e.Status = q.method, q.version, q.status
	e.Outcome, e.Reuse = q.outcome, q.reuse
}

// Gap implements reassembly.Handler.
func (a *Analyzer) Gap(c *reassembly.Conn, dir reassembly.Dir, n int64, _ reassembly.GapKind) {
	s := a.table.at(c.ID)
	s.unset(discharged)
	switch s.protocol {
	case fact.ProtocolTLS:
		a.encryptedGap(c, s, dir, n)
		return
	case fact.ProtocolH2:
		s.set(incomplete)
		return
	}
	role := s.role(dir)
	if role == http1.Response {
		s.lastData = c.Last
		s.set(answered)
	}
	if s.flight == nil {
		a.table.takeOff(s)
	}
	ended, lost := s.flight.parser[role].Gap(n)
	if ended && role == http1.Response {
		a.responseEnds(c, s, c.Last)
	}
	if lost {
		s.set(incomplete)
		if role == http1.Request {
			s.flight.reqStart = never
		} else {
			s.set(unsynced)
			s.unset(final)
		}
	}
}

// End implements reassembly.Handler.
func (a *Analyzer) End(c *reassembly.Conn, dir reassembly.Dir, end reassembly.End) {
	s := a.table.at(c.ID)
	switch end {
	case reassembly.EndFIN:
		role := s.role(dir)
		if role == http1.Response {
			s.set(unanswerable)
		}
		if s.flight != nil && s.flight.parser[role].Finish() == http1.End && role == http1.Response {
			a.responseEnds(c, s, s.lastData)
		}
		a.closing(c, s)
	case reassembly.EndReset:
		s.set(unanswerable)
		if s.role(dir) == http1.Request {
			s.set(clientReset)
		}
		s.unset(discharged)
		a.closing(c, s)
	default:
		a.over(c, s, end)
	}
}

// closing tells the pools that a connection is no longer open, or why anew
// where a request crossed the closing. Until the server's FIN, or a RST, a
// response may come on a connection that its client has half closed.
func (a *Analyzer) closing(c *reassembly.Conn, s *conn) {
	if s.flags&(pooled|discharged) != pooled || s.outstanding > 0 && !s.is(unanswerable) {
		return
	}
	if s.outstanding == 0 {
		s.set(discharged)
	}
	a.pools.Closed(&s.pool, c.Last, pool.Reason(reasonOf(c, s, reassembly.EndClosed)))
}
