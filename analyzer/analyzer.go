package analyzer

import (
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer"

	"github.com/keepscope/keepscope/analyzer/dns"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/reassembly"
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

	// Tracked says whether the tracker still has a connection at a time: its
	// assembler's IsOpen. Nil: all that have not ended.
	Tracked func(id uint32, now int64) bool

	ledger   ledger
	info     tls.Info
	question dns.Message
	pair     pool.Pair // see pairOf
	exchange fact.Exchange
	conn     fact.Connection
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
	a.ledger.Analyzer = a
	a.table.heads.Max, a.table.sink = int64(cfg.MaxHeaderBytes), &a.ledger
	a.newPools()
	return a
}

// Flush forgets the pools: another capture may follow. Every connection has ended.
func (a *Analyzer) Flush() { a.newPools() }

// newPools makes the pools, empty.
func (a *Analyzer) newPools() {
	if !a.cfg.NoVerdicts {
		a.pools = pool.New(pool.Config{Window: int64(a.cfg.ReuseWindow), Conn: a.table.pooled, Open: a.isOpen})
	}
}

// isOpen tells the pools whether a connection is past the tracker's idle limit,
// so that no verdict depends on when the sweep comes by.
func (a *Analyzer) isOpen(id uint32, now int64) bool {
	return a.Tracked == nil || a.Tracked(id, now)
}

// on makes the ledger that of a connection.
func (a *Analyzer) on(c *reassembly.Conn, s *conn) *ledger {
	l := &a.ledger
	l.tcp, l.flipped, l.conn = c, s.is(flipped), s
	return l
}

// Open implements reassembly.Handler.
func (a *Analyzer) Open(c *reassembly.Conn) {
	s := a.table.open(c.ID)
	l := a.on(c, s)
	if l.midstream() {
		a.table.takeOff(s, true)
	} else {
		s.set(sided)
	}
	if c.SYNSeen() {
		l.syn()
	}
}

// Data implements reassembly.Handler.
func (a *Analyzer) Data(c *reassembly.Conn, dir reassembly.Dir, payload []byte) {
	s := a.table.at(c.ID)
	l := a.on(c, s)
	s.unset(discharged)
	if s.protocol == fact.ProtocolUnknown {
		l.detect(dir, payload)
	}
	from := l.side(dir)
	if from == http.Server {
		s.lastData = c.Last
	}
	switch s.protocol {
	case fact.ProtocolTLS:
		l.encrypted(from, payload)
	case fact.ProtocolH2:
	default:
		l.http1(from, payload)
	}
}

// http1 hands what a side sent to the reader of HTTP/1.
func (l *ledger) http1(from http.Side, b []byte) {
	s := l.conn
	f := s.flight
	if f == nil {
		f = l.table.takeOff(s, false)
	}
	if from == http.Client {
		server := l.dir(http.Server)
		f.http1.Sight = http1.Sight{Read: l.tcp.Known(server), Beyond: l.tcp.Behind(server)}
	}
	f.http1.Data(from, b, l.now())
	if _, ok := f.http1.Preface(); ok {
		s.protocol = fact.ProtocolH2
		l.opened()
		l.table.land(s)
		return
	}
	if s.idle() {
		l.table.land(s)
	}
}

// detect looks whose requests these are, and whether they are encrypted, on a
// connection that has carried nothing known.
func (l *ledger) detect(dir reassembly.Dir, payload []byte) {
	s := l.conn
	if !s.is(sided) {
		l.identifySides(dir, payload)
	}
	if s.requests == 0 && s.responses == 0 {
		l.detectTLS(payload)
	}
}

// identifySides decides who the client of a midstream connection is, by the first
// segment that begins like a message, or by a SYN that came late.
func (l *ledger) identifySides(dir reassembly.Dir, payload []byte) {
	client := dir
	switch {
	case l.tcp.SYNByServer():
		client = reassembly.Server
	case http1.BeginsLike(http1.Request, payload):
	case http1.BeginsLike(http1.Response, payload):
		client = dir.Other()
	default:
		return
	}
	l.conn.set(sided)
	if client != reassembly.Client {
		l.conn.set(flipped)
		l.flipped = true
	}
}

// Gap implements reassembly.Handler.
func (a *Analyzer) Gap(c *reassembly.Conn, dir reassembly.Dir, n int64, _ reassembly.GapKind) {
	s := a.table.at(c.ID)
	l := a.on(c, s)
	s.unset(discharged)
	from := l.side(dir)
	switch s.protocol {
	case fact.ProtocolTLS:
		l.encryptedGap(from, n)
	case fact.ProtocolH2:
		s.set(incomplete)
	default:
		if from == http.Server {
			s.lastData = c.Last
		}
		if s.flight == nil {
			a.table.takeOff(s, false)
		}
		s.flight.http1.Gap(from, n, c.Last)
	}
}

// End implements reassembly.Handler.
func (a *Analyzer) End(c *reassembly.Conn, dir reassembly.Dir, end reassembly.End) {
	s := a.table.at(c.ID)
	l := a.on(c, s)
	from := l.side(dir)
	switch end {
	case reassembly.EndFIN:
		if from == http.Server {
			s.set(unanswerable)
		}
		if f := s.flight; f != nil && s.protocol != fact.ProtocolTLS {
			f.http1.Close(from, s.lastData)
		}
		l.closing(c.Last)
	case reassembly.EndReset:
		s.set(unanswerable)
		if from == http.Client {
			s.set(clientReset)
		}
		s.unset(discharged)
		l.closing(c.Last)
	default:
		l.over(end)
	}
}

// Datagram takes a DNS message: who asks for which name, and for which
// addresses it stands.
func (a *Analyzer) Datagram(s *sniffer.Segment) {
	if dns.Parse(s.Payload, &a.question) {
		a.dns.Message(&a.question, s.Src.Addr, s.Src.Port, s.Dst.Addr, s.Dst.Port, s.Time)
	}
}
