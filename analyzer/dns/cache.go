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
	forgot  uint64
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
	name := hash(m.Name)
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
		c.rounds.put(nk, r)
	}
	if c.queries.put(key, query{name: name, time: t, round: r}) {
		c.forgot++
	}
}

// Answer takes a response that was sent to client's port at t.
func (c *Cache) Answer(client Addr, port uint16, m *Message, t int64) {
	key := queryKey{client, port, m.ID}
	q := c.queries.get(key)
	if q == nil || q.name != hash(m.Name) {
		return
	}
	r, late := q.round, t-q.time > answerWithin
	c.queries.remove(key)
	if late || len(m.Addrs) == 0 {
		return
	}
	l := lookup{name: string(m.Name), time: t, round: r}
	for _, a := range m.Addrs {
		p := pair{client, a}
		old := c.names.get(p)
		l.spent = old != nil && old.round == r && old.spent
		if c.names.put(p, l) {
			c.forgot++
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

// Forgotten returns how many names and queries had to go because a table was
// full.
func (c *Cache) Forgotten() uint64 { return c.forgot }

// hash is FNV-1a: the same in every run.
func hash(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range name {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
