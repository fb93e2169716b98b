// Package pool tells which TCP handshakes a client could have saved, and what each
// of those replaced. Beside the traffic that was seen it runs the connection pool
// that an ideal client would have had: one that keeps every connection, towards a
// server that lets it.
//
// # Pools and slots
//
// There is a pool for each [Pair] of a client, a server and an origin. It has
// slots. A slot stands for a connection that the ideal client would have.
//
//   - A slot carries exchanges, and has room for a number of them at once: one,
//     until [Pools.Room] says otherwise. It is free while it has room for one more.
//     It is idle while it carries none.
//   - An idle slot is alive up to and including Window after it became idle, and for
//     as long as its last user, the connection that took it last, is really open. A
//     slot found dead is gone.
//   - A handshake is judged at its connection's first request, as of its SYN: of
//     the slots that have been free without a break since the SYN or longer, and
//     were alive then, it takes the one that became free last, and is Wasted. With
//     room for one that is the most recently used slot. Else the handshake is
//     Needed, and the pool grows by a slot. A connection that carries nothing never
//     enters a pool. Where the request comes later than Window after the SYN, the
//     slots count that were alive Window before it.
//   - A later request takes the slot that its connection took last, if that is free,
//     or carries nothing but what this connection has put there since: what one real
//     connection carries at once, pipelined requests, say, one slot carries. Else it
//     takes the slot that became free last, else the pool grows. No handshake is
//     counted for that, so the pool never needs more of them than were seen.
//   - A connection without a verdict takes a slot in the same way.
//   - Where a connection has exchanges on several slots, one on the slot taken last
//     ends first.
//   - An exchange that is never completed ends with its connection.
//   - A slot keeps its room when its connection is lost, for the ideal client's is
//     not.
//
// # Cause
//
// A wasted handshake replaces what was lost: of the connections of the pool that
// carried a request the one that became unusable last, at its SYN or within Window
// before, and that no earlier wasted handshake has replaced. Without one the client
// opened a connection though all were usable (Miss), and the judgement names the
// last user of the slot that it took.
//
// A client may pass over a real connection that idles, whatever the cause: one that the
// pool's client reused last, and that was open and usable and idled from the SYN, or
// before, until the first request (PassedOver).
//
// A client that leaks its connections loses none by the server's idle timeout, which
// only clears up. So an idle closing does not count where no connection of the pool
// has carried a second request within Window before the SYN, if the pool's client
// sent a SYN between the start of that idling and its end.
//
// # Joined pools
//
// No client shares connections between origins, but one that pools by address, a
// proxy, say, does. [Pools.Join] makes one pool of those of a client at an address:
// slots and losses stay as they are, and so do verdicts. From then on the origin
// parts nothing there, until a cap forgets the pool. Join concerns clear connections,
// whose origin came from a Host. Those with TLS (Pair.TLS) stay apart by their SNI,
// for a certificate does not serve every name, and apart from clear ones.
//
// # Cost and limits
//
// A request and its end cost a constant, expected: a tree ordered by time is changed
// at its newest end, or where the slot is. A first request costs O(log n) of the
// pool's n free slots, amortised, and a walk over at most 64 losses and, where one
// client uses several, 256 origins of the address, of which the one found last is
// near. It looks at two slots and a pair more, and drops what was dead a window ago.
// Joining moves each slot once. Nothing is allocated in the steady state. A
// connection takes 72 bytes, a slot 96, a pair 160 and its place in the map, a loss
// 72. BenchmarkChurn, BenchmarkReuse and BenchmarkFirst measure growth. From 10 000 to a
// million pairs a connection of eight packets costs the analyzer 1.4 times as much, 0.7 µs
// of CPU more: of a plain map of as many one look-up costs 0.9 µs more, for what it looks
// at is in no cache any more (BenchmarkPairs). From 100 to 60 000 slots of one pair, all
// under way, it costs 1.2 to 1.4 times as much, with verdicts or without (BenchmarkSlots).
//
//	what                     cap           default  when full
//	pairs                    MaxPairs       65 536  one of 8 taken at random is forgotten (Evicted)
//	slots of all pairs       MaxSlots      262 144  an idle one of 8 taken at random is forgotten (SlotsEvicted), else Slotless
//	slots of one pair        MaxPairSlots   65 536  the handshake is needed, the exchange has no slot (Slotless)
//	origins of an address    256                    they are joined (JoinedByCap), those of TLS, too
//	losses of one pair       64                     the oldest is forgotten (LossesForgotten)
//	losses of all pairs      MaxSlots               the pair's oldest is forgotten, or that of one taken at random, else the new one (LossesForgotten)
//	slots left with          MaxSlots               the exchange has no slot (Slotless)
//	exchanges for others
//
// Taken at random, victims degrade the verdicts gradually: of clients that come back
// in turn, a few more than the cap, nearly all are found again, where an order by age
// would forget each just before it returns (TestEvictionIsGradual). Of the 8 pairs
// the first goes that no request concerned within Window, or of which no handshake was judged; else the first on which
// none but first requests did since it was last among 8; else the first. A forgotten
// pair begins again with an empty pool. Its open connections keep their verdicts, and
// their next requests count in the new pool.
package pool

// A Pair is a client and a server, and what the client calls it.
type Pair struct {
	Client, Server [16]byte
	Port           uint16 // of the server
	TLS            bool   // the origin is an SNI; else it is a Host or a target
	Origin         uint32 // the caller's number for the name, 0 for none
}

// A Verdict says whether the ideal pool needed a handshake.
type Verdict uint8

// The verdicts.
const (
	None Verdict = iota
	Needed
	Wasted
)

func (v Verdict) String() string {
	switch v {
	case Needed:
		return "needed"
	case Wasted:
		return "wasted"
	default:
		return "none"
	}
}

// A Note is what the caller has to say of a lost connection, for who replaces it. The
// pools do not look at it.
type Note struct {
	ID     uint64
	Start  int64
	Port   uint16
	Reason uint8
	Over   bool
}

// A Judgement is the verdict on a handshake. Of a Wasted one it names the connection
// that could have carried the request: the lost one that the handshake replaced, or
// where none was lost (Miss) the last user of the slot that it took.
type Judgement struct {
	Verdict    Verdict
	Miss       bool
	PassedOver bool   // a connection that was reused idled, and could have carried the request, too
	Ref        uint64 // Conn.Ref of that connection; 0 where it is Needed
	Since      int64  // ns, from when the lost one was unusable; 0 for a Miss
	Note       Note   // of the lost one, as it was told last
}

// A Config sets up Pools. A number that is not positive has its default.
type Config struct {
	Window       int64 // ns that an idle slot lives whose last user is closed, default 60 s
	IdleLimit    int64 // ns without a packet after which a connection is not open any more; never by default
	MaxPairs     int
	MaxSlots     int
	MaxPairSlots int
	Seed         uint64 // of what is chosen at random; equal seeds give equal verdicts
}

// Stats says how large the pools are, and how often a cap was met.
type Stats struct {
	Pairs, Slots    int    // now, what is dead and not dropped yet included
	Evicted         uint64 // pairs forgotten
	SlotsEvicted    uint64 // idle slots forgotten
	Slotless        uint64 // exchanges that got no slot
	JoinedByCap     uint64 // addresses whose origins were joined for their number
	LossesForgotten uint64 // wasted handshakes that may replace a lost connection which is forgotten
}

// A Conn is what Pools know of a connection. Its owner keeps it at a fixed address,
// zero until its first request but for the fields below and its room, and again
// after Release. Pools may read it after Release, to find that it is another's.
type Conn struct {
	// Ref names the connection in judgements. It is not 0, and no other connection
	// of the same Pools ever has it. It is set before First.
	Ref uint64
	// Seen points to the time of the connection's newest packet, with which
	// Config.IdleLimit is compared. Nil is for one that is open until Close.
	Seen *int64

	pair     *pair
	slot     *slot    // that it took last
	left     *holding // slots that it took before and still has exchanges on
	since    int64    // when it became idle; until its first request, when its room was told
	gen      uint32   // of slot
	load     int32    // its exchanges on slot
	slotless int32    // its exchanges on none
	room     int32    // 0 until told
	closed   bool
	unseen   bool // one of load was not captured
	lost     bool // it is, or was, among the losses of its pair
}

// Pools are the ideal pools of all pairs. Times are nanoseconds, and not negative;
// they need not be in order, but a time that was long passed may find what is dead
// dropped. What is told of a connection before First, but for Room, or after
// Release is ignored. Pools are not safe for concurrent use.
type Pools struct {
	cfg      Config
	random   random
	first    map[address]*pair // of the list of each address
	listed   []*pair           // all of these lists
	nextPair int               // of listed, to look at
	nextSlot int               // of slots, to look at
	now      int64             // of the newest First
	turn     uint64
	stats    Stats

	pairs    arena[pair]
	slots    arena[slot]
	holdings arena[holding]
	losses   arena[loss]
}

// New returns empty pools.
func New(cfg Config) *Pools {
	cfg.Window = orDefault(cfg.Window, 60e9)
	cfg.MaxPairs = orDefault(cfg.MaxPairs, 1<<16)
	cfg.MaxSlots = orDefault(cfg.MaxSlots, 1<<18)
	cfg.MaxPairSlots = orDefault(cfg.MaxPairSlots, 1<<16)
	return &Pools{cfg: cfg, random: random(cfg.Seed), first: map[address]*pair{}}
}

func orDefault[T int | int64](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// Add adds what s counts.
func (t *Stats) Add(s Stats) {
	t.Pairs += s.Pairs
	t.Slots += s.Slots
	t.Evicted += s.Evicted
	t.SlotsEvicted += s.SlotsEvicted
	t.Slotless += s.Slotless
	t.JoinedByCap += s.JoinedByCap
	t.LossesForgotten += s.LossesForgotten
}

// Stats returns the sizes and counts of now.
func (p *Pools) Stats() Stats {
	s := p.stats
	s.Pairs, s.Slots = len(p.listed), p.slots.live
	return s
}

// First is the first byte, at t, of the first request of a connection, whose SYN was
// sent at syn. It judges the handshake. Where syn is negative there is no verdict
// (None): the connection was joined midstream, say. It takes a slot all the same.
func (p *Pools) First(c *Conn, key Pair, syn, t int64) Judgement {
	p.Release(c, t)
	p.sweep(t)
	p.now = max(p.now, t)
	r := p.enter(c, &key)
	r.active = max(r.active, t)
	if syn < 0 {
		p.take(c, r, t)
		return Judgement{}
	}
	r.judged = true
	r.opened(syn)
	s := p.newest(r, syn, t-p.cfg.Window)
	if s == nil {
		p.hold(c, p.grow(r))
		p.tellRoom(c, c.since)
		return Judgement{Verdict: Needed}
	}
	j := Judgement{Verdict: Wasted, Miss: true, Ref: s.ref, PassedOver: p.idled(r, syn, t)}
	if l := p.replaced(r, syn, t); l != nil {
		j.Miss, j.Ref, j.Since, j.Note = false, l.ref, l.since, l.note
		p.forgetLoss(r, l)
	}
	p.hold(c, s)
	p.tellRoom(c, c.since)
	return j
}

// Request is the first byte, at t, of a later request.
func (p *Pools) Request(c *Conn, t int64) {
	if c.pair == nil {
		return
	}
	r := p.pairOf(c)
	r.active, r.reused = max(r.active, t), max(r.reused, t)
	r.busy, r.kept, r.keptRef = true, c, c.Ref
	if c.unseen { // it was the one under way
		c.unseen = false
		return
	}
	p.again(c, r, t)
}

// Busy says that something is under way at t that was not captured: the server
// acknowledged bytes that are missing. If the connection has nothing outstanding it
// has one exchange from then on, which the next Request, End or Close is about.
func (p *Pools) Busy(c *Conn, t int64) {
	if c.pair == nil || c.outstanding() {
		return
	}
	c.unseen = true
	p.again(c, p.pairOf(c), t)
}

// End is the last byte, at t, of one exchange. One too many is ignored.
func (p *Pools) End(c *Conn, t int64) {
	c.unseen = false
	switch {
	case c.slotless > 0:
		c.slotless--
	case c.load > 0:
		p.releaseLast(c, 1, t)
	default:
		return
	}
	c.since = t // if it idles
}

// Room says that the connection's server takes n exchanges at once from t on, when
// that was captured (RFC 9113 §6.5.2); 0 counts as 1. It may be told before First,
// and anew at any time.
func (p *Pools) Room(c *Conn, n uint32, t int64) {
	c.room = int32(min(max(n, 1), 1<<30))
	if c.pair == nil {
		c.since = t
		return
	}
	p.tellRoom(c, t)
}

// Lost says that a connection became unusable at t: it was closed, or its closing
// was announced; idle, that it is an idle closing. Told again, it changes idle
// and note alone: the first time stands until Usable takes it back.
func (p *Pools) Lost(c *Conn, t int64, idle bool, note Note) {
	if c.pair == nil {
		return
	}
	switch r := c.pair.joined(); {
	case !r.listed:
	case !c.lost:
		c.lost = true
		p.remember(c, r, t, idle, note)
	default:
		if l := r.lossOf(c); l != nil {
			l.idle, l.note = idle, note
		}
	}
}

// Usable takes Lost back: a later exchange negotiated that the connection persists.
func (p *Pools) Usable(c *Conn) {
	if !c.lost {
		return
	}
	c.lost = false
	r := c.pair.joined()
	if l := r.lossOf(c); l != nil {
		p.forgetLoss(r, l)
	}
}

// Close says that a connection is over at t, which ends what is outstanding. It says
// nothing about what the connection was lost for: that is Lost's to tell. A request
// that crosses the closing may follow.
func (p *Pools) Close(c *Conn, t int64) {
	if c.pair == nil {
		return
	}
	c.closed = true
	p.endAll(c, t)
}

// Release closes a connection, if it is not yet, and forgets all but Ref and Seen;
// its owner may use it for another. What the pools keep are its slot and its loss.
func (p *Pools) Release(c *Conn, t int64) {
	if c.pair == nil {
		return
	}
	p.endAll(c, t)
	p.unref(c.pair)
	*c = Conn{Ref: c.Ref, Seen: c.Seen}
}

// Join makes one pool of the pairs of a client at a server's address that TLS does
// not name.
func (p *Pools) Join(client, server [16]byte, port uint16) {
	if first := p.first[address{client: client, server: server, port: port}]; first != nil {
		p.join(first)
	}
}
