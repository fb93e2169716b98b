package keylog

import (
	"crypto/sha256"
	"time"
)

const (
	maxSessions = 1 << 16
	sessionLife = int64(2 * time.Hour)
)

// A SessionKey stands for a session id or a ticket; the zero value for none.
type SessionKey [1 + sha256.Size]byte

// The kinds of a SessionKey: an id is never taken for a ticket.
const (
	byID = 1 + iota
	byTicket
)

// SessionID returns the key of a session id, which has at most 32 bytes (RFC 5246
// §7.4.1.2).
func SessionID(id []byte) (k SessionKey) {
	if len(id) > 0 && len(id) < len(k) {
		k[0] = byID
		copy(k[1:], id)
	}
	return k
}

// Ticket returns the key of a session ticket (RFC 5077), which may have kilobytes: its
// hash.
func Ticket(ticket []byte) (k SessionKey) {
	if len(ticket) > 0 {
		sum := sha256.Sum256(ticket)
		k[0] = byTicket
		copy(k[1:], sum[:])
	}
	return k
}

type session struct {
	master [masterSize]byte
	at     int64
}

// sessions keeps master secrets in the order in which they came.
type sessions struct {
	known     map[SessionKey]*session
	order     []SessionKey // from head, the oldest
	head      int
	forgotten uint64
}

// Remember keeps the master secret of a session, known by k since a packet's time.
func (s *Store) Remember(k SessionKey, master []byte, at int64) {
	if k == (SessionKey{}) || len(master) != masterSize {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.sessions
	if m.known == nil {
		m.known = make(map[SessionKey]*session)
	}
	if old := m.known[k]; old != nil {
		old.master, old.at = [masterSize]byte(master), at
		return
	}
	for len(m.known) >= maxSessions {
		m.pop()
		m.forgotten++
	}
	m.known[k] = &session{[masterSize]byte(master), at}
	m.order = append(m.order, k)
}

// Recall copies the master secret of a session that was remembered at most 2 h
// before a packet's time.
func (s *Store) Recall(k SessionKey, at int64, out *[masterSize]byte) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := s.sessions.known[k]
	if m == nil || m.at+sessionLife < at {
		return false
	}
	copy(out[:], m.master[:])
	return true
}

// pop drops the oldest.
func (m *sessions) pop() {
	k := m.order[m.head]
	m.head++
	if m.head > len(m.order)/2 {
		m.order = append(m.order[:0], m.order[m.head:]...)
		m.head = 0
	}
	if old := m.known[k]; old != nil {
		clear(old.master[:])
		delete(m.known, k)
	}
}

// expire drops what is too old. One that was remembered again stays where it was first,
// and holds back those behind it until then.
func (m *sessions) expire(at int64) {
	for m.head < len(m.order) {
		if m.known[m.order[m.head]].at+sessionLife >= at {
			return
		}
		m.pop()
	}
}

func (m *sessions) close() {
	for m.head < len(m.order) {
		m.pop()
	}
}
