package analyzer

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer"

	"github.com/keepscope/keepscope/analyzer/dns"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http1"
	"github.com/keepscope/keepscope/analyzer/pool"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
)

// A Config sets up an Analyzer; its zero value works.
type Config struct {
	// ReuseWindow is how long the ideal pool keeps an idle connection
	// (default 60 s).
	ReuseWindow time.Duration
	// IdleLimit is the tracker's idle limit, after which a connection is not open
	// any more (default 10 min).
	IdleLimit time.Duration
	// SharedClients are addresses that are known to hide many clients: their
	// handshakes are counted and not judged.
	SharedClients []netip.Prefix
	// MaxReuseIdle is how many idle times a Connection lists (default 0: they
	// are only told exchange by exchange). An encrypted connection, no exchange
	// of which is told, lists at least 32.
	MaxReuseIdle int
	// MaxHeaderBytes bounds the memory for header sections that segments cut, that for
	// HPACK tables, and that for lists of open streams, over all connections (default
	// 16 MiB each); a quarter of it that for TLS hellos that segments cut, and four times
	// it that for TLS records that wait for their keys.
	MaxHeaderBytes int
	// MaxConnections bounds the pairs of client and server that have pools; they
	// have four times as many slots (default 65 536).
	MaxConnections int
	// Keys are the secrets by which TLS is decrypted; nil: none is.
	Keys *keylog.Store
	// Traces is how many exchanges a Connection's Trace has room for (default 0: there
	// are no traces), and MaxTraced for how many open connections at once one is kept
	// (default 4096). Beyond that one of them loses its own to the next.
	Traces, MaxTraced int
	// TraceRate is about how many traces are begun in a second of packet time (default
	// 0: of each connection one). What is left out are all connections of some pairs of
	// client and server for some seconds, others in the next ones.
	TraceRate int
	// NoVerdicts leaves the ideal pool out: no handshake is judged.
	NoVerdicts bool
}

// An Analyzer makes facts of one worker's connections. It is a
// reassembly.Handler and, like it, for one goroutine.
type Analyzer struct {
	cfg        Config
	obs        []fact.Observer
	followers  []fact.Follower // those of them that are
	watchers   []fact.Watcher  // those of them that are
	leavers    []fact.Leaver   // those of them that are
	pools      *pool.Pools
	dns        *dns.Cache
	decryption *tls.Decryption // nil without keys
	table      table
	names      names
	software   software.Recent
	unsettled  []*unsettled // in the order in which they were judged
	holding    []uint64     // refs of connections that hold bytes of TLS until their keys come
	asked      int64        // when they were asked for last
	keysSeen   uint64       // the key log's version then
	lines      map[lineKey]*line
	lined      int   // bytes of lines
	late       *said // what is heard out of a line; nil: what is captured now
	limits     limits
	tracer     tracer

	ledger     ledger
	inside     [maxLayers]inside
	info       tls.Info
	question   dns.Message
	exchange   fact.Exchange
	connection fact.Connection // what Observers hear
	unusual    fact.Path       // of connection
}

// limits counts the caps of this package that were met.
type limits struct {
	pools     pool.Stats // of captures before this one
	unsettled uint64
	traces    uint64
	belated   uint64
	lines     uint64
}

// New returns an Analyzer that tells each of obs what it finds.
func New(cfg Config, obs ...fact.Observer) *Analyzer {
	if cfg.ReuseWindow == 0 {
		cfg.ReuseWindow = time.Minute
	}
	if cfg.IdleLimit == 0 {
		cfg.IdleLimit = 10 * time.Minute
	}
	if cfg.MaxHeaderBytes == 0 {
		cfg.MaxHeaderBytes = 16 << 20
	}
	a := &Analyzer{cfg: cfg, obs: obs, names: names{known: map[string]*string{}}, dns: dns.NewCache(dns.Config{})}
	for _, o := range obs {
		if f, ok := o.(fact.Follower); ok {
			a.followers = append(a.followers, f)
		}
		if w, ok := o.(fact.Watcher); ok {
			a.watchers = append(a.watchers, w)
		}
		if w, ok := o.(fact.Leaver); ok {
			a.leavers = append(a.leavers, w)
		}
	}
	a.ledger.Analyzer = a
	for i := range a.inside {
		a.inside[i] = inside{&a.ledger, i}
	}
	if cfg.Keys != nil {
		a.decryption = tls.NewDecryption(cfg.Keys, 4*int64(cfg.MaxHeaderBytes))
		a.decryption.Hellos = &a.table.hellos
	}
	a.table.sink = &a.ledger
	most := int64(cfg.MaxHeaderBytes)
	a.table.heads.Max, a.table.h2.Max, a.table.h2.MaxStreams, a.table.hellos.Max = most, most, most, most/4
	a.tracer.max = max(cmp.Or(cfg.MaxTraced, 4096), 1)
	a.newPools()
	return a
}

// Flush tells what waits still, and forgets the pools: another capture may follow.
// Every connection has ended.
func (a *Analyzer) Flush() {
	for _, u := range a.unsettled {
		a.settle(u)
	}
	a.unsettled, a.holding = nil, nil
	if a.pools != nil {
		a.limits.pools.Add(a.pools.Stats())
	}
	a.newPools()
}

// Ahead has the content of TLS records taken from where they were opened ahead.
func (a *Analyzer) Ahead(records *tls.Opened) {
	if a.decryption != nil {
		a.decryption.Opened = records
	}
}

// newPools makes the pools, empty.
func (a *Analyzer) newPools() {
	if !a.cfg.NoVerdicts {
		n := a.cfg.MaxConnections
		a.pools = pool.New(pool.Config{Window: int64(a.cfg.ReuseWindow), IdleLimit: int64(a.cfg.IdleLimit), MaxPairs: n, MaxSlots: 4 * n, MaxPairSlots: n})
	}
}

// on makes the ledger that of a connection.
func (a *Analyzer) on(c *reassembly.Conn, s *conn) *ledger {
	l := &a.ledger
	l.tcp, l.rolesSwapped, l.conn = c, s.is(rolesSwapped), s
	return l
}

// Open implements [reassembly.Handler].
func (a *Analyzer) Open(c *reassembly.Conn) {
	s := a.table.open(c)
	l := a.on(c, s)
	if a.cfg.Traces > 0 && (a.cfg.TraceRate == 0 || a.tracer.sample(c, a.cfg.TraceRate)) {
		l.startTrace()
	}
	if l.midstream() {
		a.table.activate(s, http1.Midstream)
	} else {
		s.set(rolesKnown)
	}
	if c.SYNSeen() {
		l.lookedUp()
	}
}

// Data implements [reassembly.Handler].
func (a *Analyzer) Data(c *reassembly.Conn, dir reassembly.Dir, b []byte) {
	s := a.table.at(c.ID)
	l := a.on(c, s)
	s.set(payload)
	if !s.is(rolesKnown) {
		l.identifySides(dir, b)
	}
	from := l.side(dir)
	if from == http.Server {
		if c.Bytes[dir] == uint64(len(b)) {
			l.serverBegins(c.Position(dir, b))
		}
		s.lastData = c.Last
	} else {
		l.segment.seq = c.Position(dir, b)
		l.segment.ack, l.segment.known = c.Acknowledges(dir)
	}
	if len(a.holding) == 0 || !l.inLine(said{kind: saidData, from: from, b: b, at: c.Last}) {
		l.data(0, from, b, c.Last)
	}
}

// serverBegins notes what was lost before the server's first bytes, which are at seq.
// Without the SYN-ACK only what the client had read when it sent its first request tells
// where the server began.
func (l *ledger) serverBegins(seq uint32) {
	f := l.conn.active
	if f == nil || l.tcp.SYNACKSeen() || l.midstream() {
		return
	}
	if read, ok := f.http1.Read(); ok {
		if n := int32(seq - read); n > 0 {
			l.gap(0, http.Server, int64(n), false, l.tcp.Last)
		}
	}
}

// Gap implements [reassembly.Handler].
func (a *Analyzer) Gap(c *reassembly.Conn, dir reassembly.Dir, n int64, kind reassembly.GapKind) {
	s := a.table.at(c.ID)
	l := a.on(c, s)
	from := l.side(dir)
	if from == http.Server {
		s.lastData = c.Last
	}
	l.segment.known = false
	if len(a.holding) == 0 || !l.inLine(said{kind: saidGap, from: from, gap: n, at: c.Last}) {
		l.gap(0, from, n, kind == reassembly.Cut, c.Last)
	}
}

// End implements [reassembly.Handler].
func (a *Analyzer) End(c *reassembly.Conn, dir reassembly.Dir, end reassembly.End) {
	s := a.table.at(c.ID)
	l := a.on(c, s)
	from := l.side(dir)
	switch end {
	case reassembly.EndFIN:
		s.set(closingWaits)
		if len(a.holding) == 0 || !l.inLine(said{kind: saidFIN, from: from, at: c.Last}) {
			l.fin(from, c.Last)
		}
	case reassembly.EndReset:
		s.set(closingWaits)
		if len(a.holding) == 0 || !l.inLine(said{kind: saidReset, from: from, at: c.Last}) {
			l.reset(from)
		}
		l.left()
	default:
		l.finish(end)
	}
}

// fin takes a side's FIN.
func (l *ledger) fin(from http.Side, at int64) {
	l.conn.unset(closingWaits)
	if from == http.Server {
		l.conn.set(unanswerable)
	}
	l.traceClosing(from)
	l.close(0, from, at)
	l.closing()
}

// reset takes a side's RST.
func (l *ledger) reset(from http.Side) {
	l.conn.unset(closingWaits)
	l.traceClosing(from)
	l.conn.set(unanswerable)
	if from == http.Client {
		l.conn.set(clientReset)
	}
	l.noticed(from)
	l.closing()
}

// Datagram takes a DNS message: who asks for which name, and for which
// addresses it stands.
func (a *Analyzer) Datagram(s *sniffer.Segment) {
	if dns.Parse(s.Payload, &a.question) {
		a.dns.Message(&a.question, s.Src.Addr, s.Src.Port, s.Dst.Addr, s.Dst.Port, s.Time)
	}
}
