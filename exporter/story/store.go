package story

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"unsafe"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/sniffer"
)

// A Config says how much a Store keeps. A number that is not positive has its default,
// as the package's table says.
type Config struct {
	PerCause, Ordinary int
	MaxPairs           int
	MaxStories         int
	MaxBytes           int
	// Desk says what servers are called: as in the other views of the same capture.
	Desk naming.Desk
	// Newest keeps the newest of a server and cause, as somebody who looks at what
	// happens now wants; else those stay that show it best.
	Newest bool
	// Query says which connections are worth a story; its Limit does not count here.
	Query Query
}

// What a live capture's analyzer.Config takes beside stories: exchanges of a trace,
// traces begun in a second, and kept at once. That costs under 2 % of the CPU that the
// analysis takes, and 1 MiB (cmd/keepscope's BenchmarkStories).
const (
	LiveTraces    = 8
	LiveTraceRate = 20
	LiveMaxTraced = 1024
)

// LiveStories is how many stories are kept while packets arrive, and LiveBytes what one
// may take on average, with its part of the pairs: 3 MiB in all.
const (
	LiveStories = 512
	LiveBytes   = 6 << 10
)

// Live is what each of some stores keeps while packets arrive, so that they have so many
// stories together: the newest of each server and cause.
func Live(stories, stores int) Config {
	n := max(stories/stores, 1)
	return Config{Newest: true, MaxStories: n, MaxPairs: max(n/2, 1), MaxBytes: n * LiveBytes}
}

const (
	// maxLanes is how many connections a story has.
	maxLanes = 6
	// recentLanes is how many of a pair's connections are remembered, and besideLanes
	// the newest of them that are shown beside one that follows; an older one is where
	// it could have been reused, as in a pool of several.
	recentLanes = 6
	besideLanes = 3
	// maxFollowing is how many connections after the one that is shown belong to it.
	maxFollowing = 1
)

// A Store keeps what a worker's connections tell. It is a [fact.Observer], and may be
// asked, through [Stores], while it listens.
type Store struct {
	cfg Config

	mu      sync.Mutex
	pairs   map[pairKey]*pair
	used    list.List // of *pair, the one used last in front
	shelves map[shelfKey]*shelf
	order   list.List // of *held, the oldest in front
	bytes   int
	evicted uint64
	free    []*lane
}

// A pairKey names a pair (client's address, server, name).
type pairKey struct {
	client sniffer.Addr
	server sniffer.Endpoint
	name   string
}

// A pair is what is known of one.
type pair struct {
	key         pairKey
	connections uint64
	requests    uint64
	wasted      uint64
	by          [fact.NumCauses]uint32 // of each subject
	recent      []*lane                // the newest last
	waits       []*held                // for connections of the pair that have not ended yet
	at          *list.Element          // of Store.used
}

// pairBytes is what a pair takes without its connections, with its place in the table.
const pairBytes = int(unsafe.Sizeof(pair{})+unsafe.Sizeof(pairKey{})) + 128

// heldBytes is what a story takes without its connections, with its part of a shelf.
const heldBytes = int(unsafe.Sizeof(held{})) + maxLanes*8 + 160

type shelfKey struct {
	server string
	cause  fact.Cause
}

// A shelf has the stories of a server's cause, the best or the newest last.
type shelf struct {
	held  []*held
	total uint64 // connections, and the nanoseconds that opening them took
	cost  int64
}

// A held is the stuff of a story.
type held struct {
	pair   *pair
	key    shelfKey
	focus  *lane
	lanes  []*lane // with it
	want   uint64  // the connection that could have been reused, if it has not ended yet; 0 for none
	follow int     // further connections that belong to it
	rank   rank
	at     *list.Element // of Store.order
}

// A rank says how well a held story shows its subject: less is better.
type rank struct {
	lossy       bool
	lost        bool // it shows the connection that was lost, not the one that replaced it
	connections uint64
	start       int64
	id          uint64
}

func (r rank) compare(o rank) int {
	if r.lossy != o.lossy {
		if r.lossy {
			return 1
		}
		return -1
	}
	if r.lost != o.lost {
		if r.lost {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(r.connections, o.connections), cmp.Compare(r.start, o.start), cmp.Compare(r.id, o.id))
}

// New returns an empty Store.
func New(cfg Config) *Store {
	def := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	def(&cfg.PerCause, 8)
	def(&cfg.Ordinary, 2)
	def(&cfg.MaxPairs, 2048)
	def(&cfg.MaxBytes, 4<<20)
	def(&cfg.MaxStories, cfg.MaxBytes/heldBytes)
	return &Store{cfg: cfg, pairs: map[pairKey]*pair{}, shelves: map[shelfKey]*shelf{}}
}

// Connection implements [fact.Observer]. A connection without a trace is passed over: of
// many, few need to be looked at (analyzer.Config.TraceRate).
func (s *Store) Connection(c *fact.Connection) {
	if c.Trace == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairOf(c)
	p.connections++
	p.requests += uint64(c.Requests)
	if c.Verdict == fact.VerdictWasted {
		p.wasted++
	}
	cause := subject(c)
	p.by[cause]++
	l := s.newLane()
	l.set(c)
	l.who = s.cfg.Desk.Server(s.cfg.Desk.IsLocal(c.Client.Addr), &c.Server, c.ServerName)
	s.bytes += l.size()
	s.hold(l)
	s.answer(p, l)
	s.tell(p, l, cause)
	s.remember(p, l)
	s.release(l)
	s.shrink()
}

// pairOf returns the connection's pair, which is now the one used last.
func (s *Store) pairOf(c *fact.Connection) *pair {
	key := pairKey{client: c.Client.Addr, server: c.Server, name: c.ServerName}
	if c.Proxied != (sniffer.Endpoint{}) {
		key.client = c.Proxied.Addr
	}
	p := s.pairs[key]
	if p == nil {
		p = &pair{key: key}
		s.bytes += pairBytes
		p.at = s.used.PushFront(p)
		s.pairs[key] = p
		if len(s.pairs) > s.cfg.MaxPairs {
			s.forgetPair()
		}
	} else {
		s.used.MoveToFront(p.at)
	}
	return p
}

// forgetPair forgets the pair that was not used for longest.
func (s *Store) forgetPair() {
	p := s.used.Remove(s.used.Back()).(*pair)
	delete(s.pairs, p.key)
	s.bytes -= pairBytes
	for _, l := range p.recent {
		s.release(l)
	}
	p.recent, p.waits = nil, nil
}

// answer gives a lane to the stories of its pair that wait for it.
func (s *Store) answer(p *pair, l *lane) {
	p.waits = slices.DeleteFunc(p.waits, func(h *held) bool {
		switch {
		case h.at == nil: // evicted
			return true
		case l.id == h.want:
			h.want = 0
		case h.follow > 0 && l.start >= h.focus.start:
			h.follow--
		default:
			return false
		}
		if len(h.lanes) < maxLanes {
			s.hold(l)
			h.lanes = append(h.lanes, l)
		}
		return h.want == 0 && h.follow == 0
	})
}

// tell makes a story of a lane, if there is room for one, or it is better than another.
func (s *Store) tell(p *pair, l *lane, cause fact.Cause) {
	if !s.cfg.Query.matches(l, cause) {
		return
	}
	most := s.most(cause)
	key := shelfKey{l.who.Label(), cause}
	sh := s.shelves[key]
	if sh == nil {
		sh = &shelf{}
		s.shelves[key] = sh
	}
	sh.total++
	sh.cost += l.opened()
	r := rank{lossy: l.lossy || l.handshake != fact.HandshakeComplete && cause != fact.Cause(fact.ReasonHandshakeFailed), lost: l.verdict != fact.VerdictWasted, connections: p.connections, start: l.start, id: l.id}
	if cause == fact.NoCause && l.reused == 0 {
		r.connections += 1 << 32 // there is more to see on one that was used again
	}
	if len(sh.held) >= most {
		worst := sh.held[0]
		switch {
		case !s.cfg.Newest && r.compare(worst.rank) >= 0:
			return
		case s.cfg.Newest && l.start < worst.focus.start:
			return
		case s.cfg.Newest && cause == fact.NoCause && l.reused == 0 && worst.focus.reused > 0:
			return
		}
		s.drop(worst)
	}
	s.shelves[key] = sh // dropping the last one took it away
	s.put(sh, &held{pair: p, key: key, focus: l, rank: r})
}

// most is how many stories of a server's cause are kept.
func (s *Store) most(c fact.Cause) int {
	if c == fact.NoCause {
		return s.cfg.Ordinary
	}
	return s.cfg.PerCause
}

// compare orders stories: those come last that are kept longest.
func (s *Store) compare(a, b *held) int {
	if s.cfg.Newest {
		return cmp.Or(cmp.Compare(a.focus.start, b.focus.start), cmp.Compare(a.focus.id, b.focus.id))
	}
	return b.rank.compare(a.rank)
}

// put keeps a story.
func (s *Store) put(sh *shelf, h *held) {
	l := h.focus
	h.at = s.order.PushBack(h)
	s.bytes += heldBytes
	h.lanes = make([]*lane, 0, maxLanes)
	if l.hasCould {
		h.want = l.could.ID
	}
	for i, o := range h.pair.recent {
		wanted := l.hasCould && o.id == l.could.ID
		if wanted {
			h.want = 0
		} else if i < len(h.pair.recent)-besideLanes {
			continue
		}
		s.hold(o)
		h.lanes = append(h.lanes, o)
	}
	s.hold(l)
	h.lanes = append(h.lanes, l)
	h.follow = maxFollowing
	h.pair.waits = append(h.pair.waits, h)
	if len(h.pair.waits) > 2*s.cfg.PerCause { // the oldest waits no longer
		h.pair.waits = slices.Delete(h.pair.waits, 0, 1)
	}
	at, _ := slices.BinarySearchFunc(sh.held, h, s.compare)
	sh.held = slices.Insert(sh.held, at, h)
}

// remember makes a lane one of its pair's newest.
func (s *Store) remember(p *pair, l *lane) {
	if len(p.recent) == recentLanes {
		s.release(p.recent[0])
		p.recent = slices.Delete(p.recent, 0, 1)
	}
	s.hold(l)
	p.recent = append(p.recent, l)
}

// drop gives a story up.
func (s *Store) drop(h *held) {
	sh := s.shelves[h.key]
	sh.held = slices.DeleteFunc(sh.held, func(o *held) bool { return o == h })
	if len(sh.held) == 0 {
		delete(s.shelves, h.key)
	}
	s.order.Remove(h.at)
	s.bytes -= heldBytes
	h.at = nil
	for _, l := range h.lanes {
		s.release(l)
	}
}

// shrink keeps to the number and to the bytes allowed: first go the connections that no
// story has, of the pairs that were not used for longest, and then stories.
func (s *Store) shrink() {
	for s.bytes > s.cfg.MaxBytes && s.used.Len() > 1 {
		s.forgetPair()
	}
	for (s.bytes > s.cfg.MaxBytes || s.order.Len() > s.cfg.MaxStories) && s.order.Len() > 0 {
		s.drop(s.spare())
		s.evicted++
	}
}

// spare returns the story that goes first: the oldest one beside which there is another
// of its server and cause, so that what is rare stays.
func (s *Store) spare() *held {
	e := s.order.Front()
	for range mostPassed {
		if e == nil {
			break
		}
		if h := e.Value.(*held); len(s.shelves[h.key].held) > 1 {
			return h
		}
		e = e.Next()
	}
	return s.order.Front().Value.(*held)
}

// mostPassed is among how many of the oldest stories spare looks.
const mostPassed = 1024

func (s *Store) hold(l *lane) { l.refs++ }

// release lets go of a lane.
func (s *Store) release(l *lane) {
	if l.refs--; l.refs > 0 {
		return
	}
	s.bytes -= l.size()
	if len(s.free) < 64 {
		s.free = append(s.free, l)
	}
}

func (s *Store) newLane() *lane {
	n := len(s.free)
	if n == 0 {
		return &lane{}
	}
	l := s.free[n-1]
	s.free = s.free[:n-1]
	return l
}

// Usage is what a Store holds, and what it gave up.
type Usage struct {
	Stories, Bytes int
	Evicted        uint64 // stories given up for others
}

// Usage says what is held now.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Usage{Stories: s.order.Len(), Bytes: s.bytes, Evicted: s.evicted}
}
