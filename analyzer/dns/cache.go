package dns

// Times that make queries, answers and connections belong together,
// nanoseconds.
const (
	connectWithin = 10e9  // a connection to its look-up's answer
	answerWithin  = 10e9  // an answer to its query
	askedTogether = 100e6 // queries of one look-up, from the first
)

// A Config bounds a Cache. Zero means the default.
type Config struct {
	Names   int // pairs of a client and a server address whose name is known; 65536
	Queries int // queries without an answer yet, and look-ups being timed; 4096 each
}

// A Cache remembers what clients looked up. Its time is that of the packets,
// Unix nanoseconds. It is for one goroutine.
type Cache struct {
	queries *lru[queryKey, query]
	rounds  *lru[nameKey, *round]
	names   *lru[pair, lookup]
	stats   Stats
}

// Stats counts what a Cache gave up or did not believe.
type Stats struct {
	Unsolicited      uint64 // answers to no query that was seen: unread
	NamesForgotten   uint64 // names that no connection had used, for the room of newer ones
	UsedForgotten    uint64 // names that a connection had used, for the room of newer ones
	QueriesForgotten uint64 // queries without an answer yet, for the room of newer ones
	TimingsForgotten uint64 // look-ups being timed, for the room of newer ones
}

// A queryKey is what an answer must have of its query.
type queryKey struct {
	client Addr
	port   uint16
	id     uint16
}

type query struct {
	name  uint64 // hash
	time  int64
	round *round
}

type nameKey struct {
	client Addr
	name   uint64 // hash
}

// A round is one look-up: the queries that were sent together for one name.
type round struct{ start int64 }

type pair struct{ client, server Addr }

// A lookup is an answer that held an address.
type lookup struct {
	name  string
	time  int64 // of the answer
	round *round
	spent bool // its cost was given to a connection to this address
}

// NewCache returns an empty cache.
func NewCache(c Config) *Cache {
	if c.Names <= 0 {
		c.Names = 65536
	}
	if c.Queries <= 0 {
		c.Queries = 4096
	}
	return &Cache{
		queries: newLRU[queryKey, query](c.Queries),
		rounds:  newLRU[nameKey, *round](c.Queries),
		names:   newLRU[pair, lookup](c.Names),
	}
}

// Message takes a message that Parse read, sent from src's port to dst's.
func (c *Cache) Message(m *Message, src Addr, srcPort uint16, dst Addr, dstPort uint16, t int64) {
	if m.Response {
		c.Answer(dst, dstPort, m, t)
		return
	}
	c.Query(src, srcPort, m, t)
}

// Query takes a query that client sent from port at t.
func (c *Cache) Query(client Addr, port uint16, m *Message, t int64) {
	if m.Type != TypeA && m.Type != TypeAAAA {
		return
	}
	name := m.hash
	key := queryKey{client, port, m.ID}
	if q := c.queries.get(key); q != nil && q.name == name && t-q.time <= answerWithin {
		return // sent again
	}
	var r *round
	nk := nameKey{client, name}
	if old := c.rounds.get(nk); old != nil && t-(*old).start <= askedTogether && t >= (*old).start {
		r = *old
	} else {
		r = &round{start: t}
		if c.rounds.put(nk, r) != evictedNone {
			c.stats.TimingsForgotten++
		}
	}
	if c.queries.put(key, query{name: name, time: t, round: r}) != evictedNone {
		c.stats.QueriesForgotten++
	}
}

// Answer takes a response that was sent to client's port at t. Only where it
// answers a query that was seen are its answers read.
func (c *Cache) Answer(client Addr, port uint16, m *Message, t int64) {
	key := queryKey{client, port, m.ID}
	q := c.queries.get(key)
	if q == nil || q.name != m.hash {
		c.stats.Unsolicited++
		return
	}
	r, late := q.round, t-q.time > answerWithin
	c.queries.remove(key)
	if late {
		return
	}
	m.ReadAnswers()
	if len(m.Addrs) == 0 {
		return
	}
	name := string(m.Name)
	for _, a := range m.Addrs {
		l, gone := c.names.add(pair{client, a})
		*l = lookup{name: name, time: t, round: r, spent: l.round == r && l.spent}
		switch gone {
		case evictedNone:
		case evictedFresh:
			c.stats.NamesForgotten++
		case evictedUsed:
			c.stats.UsedForgotten++
		}
	}
}

// Lookup returns the name under which client knows server, and, for the first
// connection to server that it is asked for within 10 s of the answer, the
// nanoseconds that the look-up took; else 0. Call it once for each connection,
// with the time t of its SYN.
func (c *Cache) Lookup(client, server Addr, t int64) (name string, cost int64, ok bool) {
	key := pair{client, server}
	v := c.names.get(key)
	if v == nil {
		return "", 0, false
	}
	if since := t - v.time; since >= 0 && since <= connectWithin && !v.spent {
		v.spent = true
		cost = max(v.time-v.round.start, 0)
	}
	name = v.name
	c.names.touch(key)
	return name, cost, true
}

// Name returns the name under which client knows server, without a claim on
// the look-up's cost.
func (c *Cache) Name(client, server Addr) (string, bool) {
	if v := c.names.get(pair{client, server}); v != nil {
		return v.name, true
	}
	return "", false
}

// Len returns how many pairs of a client and a server address have a name.
func (c *Cache) Len() int { return len(c.names.index) }

// Stats returns the counts so far.
func (c *Cache) Stats() Stats { return c.stats }
