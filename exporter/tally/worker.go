package tally

import (
	"encoding/binary"
	"unsafe"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/sniffer"
)

// A Key says whose figures a row holds.
type Key struct {
	naming.Server
	Network sniffer.Addr // of the client, zero unless networks are told apart
	Fold    Fold
}

// A Fold says that a row is of several servers, or client networks.
type Fold uint8

// The folds.
const (
	NotFolded  Fold = iota
	AnyNetwork      // networks beyond the cap, of one server
	Others          // servers beyond the cap
	Gone            // servers that gave their label up; they are in no metric any more
)

// Label returns what the row's server is called.
func (k *Key) Label() string {
	if k.Fold >= Others {
		return naming.Other
	}
	return k.Server.Label()
}

// Client returns what the row's client network is called.
func (k *Key) Client() string {
	if k.Fold != NotFolded {
		return naming.Other
	}
	return naming.NetworkLabel(k.Network)
}

// A row is what one worker counted of one server.
type row struct {
	Key
	told    string // the name as the analyzer tells it
	mark    uint16 // in the Connection.Mark of the connections that it counts
	sibling *row   // found last for a request with another name on one of them,
	asked   string // which was this
	gone    bool   // it is no row any more, though others may remember it
	suspects
	Figures
}

// A Connection.Mark is what Opened left there: 0 where it was not told, else the
// place of a row in Worker.marks, and whether the time of its TCP handshake is
// counted. Place 1 is that of rows beyond the last place.
const (
	unmarked = 1
	timed    = 1 << 15
	maxMarks = timed
)

// A Worker counts the facts of one analyzer worker. It is that worker's
// fact.Watcher, and takes no lock and does not allocate once a server is known.
type Worker struct {
	set   *Set
	rows  map[Key]*row
	names int // rows with a name
	marks []*row
	free  []uint16 // marks that are nobody's
	cache [1 << cacheBits]cached
	pairs pairs
	// records is how many connections are remembered one by one.
	records int
	// questions is how many open ones the analyzer told.
	questions int
	// forgotten is how many connections were forgotten that may have told something.
	forgotten uint64
}

// A cached remembers where the facts of a server's connections go.
type cached struct {
	server      sniffer.Endpoint
	network     sniffer.Addr
	clientLocal bool
	name        string
	row         *row
}

const (
	cacheBits   = 10
	hashPrime64 = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
)

// slot hashes what tells the servers of one host apart: the ends of addresses,
// the port, and where the name lies in memory, for the analyzer has one string
// for each name. A collision, or a name that comes in another string, costs a
// look into the map (BenchmarkConnection).
func slot(server *sniffer.Endpoint, name string, network *sniffer.Addr) uint64 {
	h := uint64(binary.LittleEndian.Uint32(server.Addr[12:])) ^ uint64(server.Port)<<32
	h ^= binary.LittleEndian.Uint64(network[4:]) ^ uint64(network[15])
	h ^= uint64(uintptr(unsafe.Pointer(unsafe.StringData(name)))) << 8
	return h * hashPrime64 >> (64 - cacheBits)
}

// find returns where the facts of a connection go; t is the time of the fact.
func (w *Worker) find(client, server *sniffer.Endpoint, name string, t int64) *row {
	var network sniffer.Addr
	if w.set.cfg.ByNetwork {
		network = naming.Network(client.Addr)
	}
	local := w.set.cfg.Desk.IsLocal(client.Addr)
	c := &w.cache[slot(server, name, &network)]
	if c.row == nil || c.row.gone || c.server != *server || c.clientLocal != local || c.name != name || c.network != network {
		r := w.row(Key{Server: w.set.cfg.Desk.Server(local, server, name), Network: network}, t)
		if r.Fold == NotFolded && r.told == "" {
			r.told = name
		}
		*c = cached{*server, network, local, name, r}
	}
	return c.row
}

// host returns where a request goes whose name is another than that which r, the
// row of its connection, was told: a request belongs to its own Host, also on a
// connection that carries several.
func (w *Worker) host(r *row, name string, t int64) *row {
	if r.Fold != NotFolded || r.Direction == naming.Inbound && w.set.cfg.Desk.Inbound {
		return r
	}
	if s := r.sibling; s != nil && !s.gone && r.asked == name {
		return s
	}
	k := r.Key
	if k.Name = naming.Clean(name); k.Name == k.Endpoint.String() {
		k.Name = ""
	}
	s := w.row(k, t)
	if s.Fold == NotFolded && s.told == "" {
		s.told = name
	}
	if s.Key == k {
		r.sibling, r.asked = s, name
	}
	return s
}

// row returns a key's row or, where the worker has no room for another, that of
// what it is folded into: a name's address, or all others.
func (w *Worker) row(k Key, t int64) *row {
	if r := w.rows[k]; r != nil {
		return r
	}
	if k.Fold == NotFolded && k.Name != "" && w.names >= w.set.maxRows {
		w.set.displaced.Add(1)
		k.Name = ""
		if r := w.rows[k]; r != nil {
			return r
		}
	}
	if k.Fold == NotFolded && k.Name == "" && len(w.rows)-w.names >= w.set.maxRows {
		w.set.displaced.Add(1)
		k = other(k.Direction)
		if r := w.rows[k]; r != nil {
			return r
		}
	}
	return w.newRow(k, t)
}

// other is the key of all servers beyond the cap.
func other(d naming.Direction) Key { return Key{Server: naming.Server{Direction: d}, Fold: Others} }

func (w *Worker) newRow(k Key, t int64) *row {
	r := &row{Key: k, mark: unmarked, Figures: Figures{Created: t}}
	switch n := len(w.free); {
	case n > 0:
		r.mark, w.free = w.free[n-1], w.free[:n-1]
		w.marks[r.mark] = r
	case len(w.marks) < maxMarks:
		r.mark = uint16(len(w.marks))
		w.marks = append(w.marks, r)
	}
	if k.Name != "" {
		w.names++
	}
	w.rows[k] = r
	return r
}

// dissolve adds the figures of a key to those of another, and forgets it unless
// one of its connections is open.
func (w *Worker) dissolve(k, into Key) {
	r := w.rows[k]
	if r == nil {
		return
	}
	to := w.rows[into]
	if to == nil {
		to = w.newRow(into, r.Created)
	}
	open, leaving := r.Open, r.Leaving
	r.Open, r.Leaving = 0, 0
	w.records -= len(to.Newest.list) + len(r.Newest.list)
	to.Figures.Merge(&r.Figures)
	to.Figures.MergeDetail(&r.Figures)
	w.records += len(to.Newest.list)
	created := r.Active
	r.Figures.reset()
	r.Created = created
	r.Leaving = leaving
	if r.Open = open; open > 0 {
		return
	}
	delete(w.rows, k)
	if k.Name != "" {
		w.names--
	}
	if r.mark != unmarked {
		w.marks[r.mark] = nil
		w.free = append(w.free, r.mark)
	}
	r.gone = true
}

// Opened implements fact.Watcher.
func (w *Worker) Opened(c *fact.Connection) {
	r := w.find(&c.Client, &c.Server, c.ServerName, c.End)
	c.Mark = r.mark
	if c.HandshakeTime >= 0 {
		c.Mark |= timed
	}
	r.named(c.Client.Addr, c.Software[0])
	r.opened(c)
}

// Left implements fact.Leaver.
func (w *Worker) Left(c *fact.Connection) { w.connection(c).Leaving++ }

// Judged implements fact.Watcher.
func (w *Worker) Judged(c *fact.Connection) {
	r := w.connection(c)
	r.judged(c)
	if !c.Estimated && r.suspects.is(c.Client.Addr) {
		r.probed().Traffic.judged(c)
	}
}

// connection returns where the facts of a connection go.
func (w *Worker) connection(c *fact.Connection) *row {
	if r := w.marks[c.Mark&^timed]; r != nil {
		return r
	}
	return w.find(&c.Client, &c.Server, c.ServerName, c.End)
}

// Exchange implements fact.Follower.
func (w *Worker) Exchange(e *fact.Exchange) {
	t := max(e.Start, e.End)
	r := w.marks[e.Mark&^timed]
	if r == nil {
		r = w.find(&e.Client, &e.Server, e.ServerName, t)
	} else if r.told != e.ServerName {
		r = w.host(r, e.ServerName, t)
	}
	r.exchange(e)
	if r.suspects.asks(e) {
		r.probed().exchange(e)
	}
}

// Connection implements fact.Observer. A connection of which Opened was not told
// is opened and judged now. What is answered of its open question, and of that of the
// connection that its handshake replaced, is written into c: who hears of it next
// says what metrics say.
func (w *Worker) Connection(c *fact.Connection) {
	if c.Mark == 0 {
		w.Opened(c)
		if c.Verdict != fact.VerdictNone {
			w.Judged(c)
		}
	}
	r := w.connection(c)
	record := recordOf(c)
	if c.Unheard {
		w.questions++
	}
	if c.Mark&timed == 0 && c.HandshakeTime >= 0 { // it was complete after the first request
		r.HandshakeTimes[HandshakeTCP].Add(c.HandshakeTime)
	}
	if race := r.asRace(&record, c); race != nil {
		record.Raced = true
		r.ended(race)
	} else {
		r.ended(c)
	}
	r.Clients.Add(c, c.Software[0])
	if r.watch(c); r.suspects.is(c.Client.Addr) {
		r.probed().ended(c)
	}
	switch grown, missed := r.Newest.add(&record, w.records < maxRecords); {
	case grown:
		w.records++
	case missed:
		w.forgotten++
	}
	if c.Handshake != fact.HandshakeMidstream {
		w.pairs.add(c)
	}
	if record.Raced {
		c.Answer(true)
	}
	if record.Cause == fact.Cause(fact.ReasonServerAbort) && r.Newest.raced(record.Could) {
		c.AnswerCause(true)
	}
}
