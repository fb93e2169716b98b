package keylog

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultRandoms is how many client randoms a Store holds where New is not told:
// 17 MB when it is full.
const DefaultRandoms = 1 << 16

// grace is how long, in packet time, an entry stays after its connection has taken it:
// the other leg of a proxied connection may be followed by another goroutine.
const grace = int64(10 * time.Second)

// An Outcome says what Add did.
type Outcome uint8

// The outcomes.
const (
	Refused Outcome = iota // of a length that contradicts what the random has
	Added
	Known // the random has that secret
)

// A Secret is a traffic secret or a master secret.
type Secret struct {
	Size uint8 // 0: not known
	Data [maxSecret]byte
}

// Bytes returns the secret, which s keeps.
func (s *Secret) Bytes() []byte { return s.Data[:s.Size] }

// Secrets is what is known of a client random.
type Secrets [numLabels]Secret

// Has says whether all the labels are known.
func (s *Secrets) Has(labels ...Label) bool {
	for _, l := range labels {
		if s[l].Size == 0 {
			return false
		}
	}
	return true
}

// Stats counts what a Store holds and has dropped.
type Stats struct {
	Lines     Lines  // of all key logs
	Randoms   int    // held
	Sessions  int    // held
	Evicted   uint64 // randoms dropped because the Store was full
	Forgotten uint64 // sessions dropped because the Store was full
}

// A Store keeps secrets. It is safe for concurrent use: writers take turns, and
// a reader copies what it asks for.
type Store struct {
	mu      sync.RWMutex
	max     int
	entries map[[randomSize]byte]*entry
	fresh   list // by age
	used    list // by the time they were used
	evicted uint64
	lines   Lines

	sessions sessions
	version  atomic.Uint64
	sealed   atomic.Bool
}

// An entry has the secrets of one client random: one of masterSize bytes, or those of
// TLS 1.3 in the order of their labels.
type entry struct {
	random     [randomSize]byte
	data       []byte
	at         int64 // when it was used
	size       uint8
	have       uint8 // a bit for each label
	used       bool
	prev, next *entry
}

// New returns a Store of at most that many client randoms, DefaultRandoms where
// it is 0.
func New(randoms int) *Store {
	if randoms <= 0 {
		randoms = DefaultRandoms
	}
	return &Store{max: randoms, entries: make(map[[randomSize]byte]*entry)}
}

// Add keeps a secret, which has 48 bytes, or 32 where the label is not Master.
func (s *Store) Add(l Label, random *[randomSize]byte, secret []byte) Outcome {
	if l >= numLabels || len(secret) != maxSecret && (len(secret) != 32 || l == Master) {
		return Refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[*random]
	if e == nil {
		e = s.insert(random)
	}
	switch {
	case e.have&(1<<l) != 0:
		if bytes.Equal(e.data[e.offset(l):][:e.size], secret) {
			return Known
		}
		return Refused // the first stands: a random is not used twice
	case e.have != 0 && (int(e.size) != len(secret) || (l == Master) != (e.have == 1<<Master)):
		return Refused
	}
	e.put(l, secret)
	s.version.Add(1)
	return Added
}

func (s *Store) insert(random *[randomSize]byte) *entry {
	for len(s.entries) >= s.max {
		if e := s.used.first; e != nil {
			s.drop(&s.used, e)
		} else {
			s.drop(&s.fresh, s.fresh.first)
		}
		s.evicted++
	}
	e := &entry{random: *random}
	s.entries[*random] = e
	s.fresh.append(e)
	return e
}

func (s *Store) drop(l *list, e *entry) {
	l.remove(e)
	delete(s.entries, e.random)
	clear(e.data)
	*e = entry{}
}

// offset is where a label's secret stands in data.
func (e *entry) offset(l Label) int {
	if l == Master {
		return 0
	}
	return int(l-1) * int(e.size)
}

func (e *entry) put(l Label, secret []byte) {
	e.size = uint8(len(secret))
	e.have |= 1 << l
	end := e.offset(l) + len(secret)
	if end > len(e.data) {
		room := end
		if l != Master {
			room = max(end, e.offset(ClientEarly))
		}
		data := make([]byte, room)
		copy(data, e.data)
		clear(e.data)
		e.data = data
	}
	copy(e.data[e.offset(l):], secret)
}

// Get copies what is known of a client random into out, and says whether there
// is anything.
func (s *Store) Get(random *[randomSize]byte, out *Secrets) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	clear(out[:])
	e := s.entries[*random]
	if e == nil || e.have == 0 {
		return false
	}
	for l := range numLabels {
		if e.have&(1<<l) != 0 {
			out[l].Size = e.size
			copy(out[l].Data[:], e.data[e.offset(l):][:e.size])
		}
	}
	return true
}

// Used says that a connection has taken what it needs of a client random, at a
// packet's time. Sweep drops it 10 s later.
func (s *Store) Used(random *[randomSize]byte, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[*random]; e != nil && !e.used {
		s.fresh.remove(e)
		e.at, e.used = at, true
		s.used.append(e)
	}
}

// Sweep drops what is not needed any more at a packet's time.
func (s *Store) Sweep(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.used.first; e != nil && e.at+grace < at; e = s.used.first {
		s.drop(&s.used, e)
	}
	s.sessions.expire(at)
}

// Version changes whenever a secret is added: who waits for one need not ask
// before.
func (s *Store) Version() uint64 { return s.version.Load() }

// Seal says that nothing will be added any more: nobody need wait.
func (s *Store) Seal() {
	s.sealed.Store(true)
	s.version.Add(1)
}

// Sealed says whether Seal was called.
func (s *Store) Sealed() bool { return s.sealed.Load() }

// Close wipes everything.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []*list{&s.used, &s.fresh} {
		for l.first != nil {
			s.drop(l, l.first)
		}
	}
	s.sessions.close()
}

// count adds what a Parser has counted since it told before.
func (s *Store) count(now, before Lines) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines.Add(Lines{
		Taken: now.Taken - before.Taken, Double: now.Double - before.Double,
		Other: now.Other - before.Other, Broken: now.Broken - before.Broken,
	})
}

// Stats returns the present counts.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{
		Lines: s.lines, Randoms: len(s.entries), Sessions: len(s.sessions.known),
		Evicted: s.evicted, Forgotten: s.sessions.forgotten,
	}
}

// A list is doubly linked, the oldest first.
type list struct{ first, last *entry }

func (l *list) append(e *entry) {
	e.prev, e.next = l.last, nil
	if l.last != nil {
		l.last.next = e
	} else {
		l.first = e
	}
	l.last = e
}

func (l *list) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.last = e.prev
	}
	e.prev, e.next = nil, nil
}
