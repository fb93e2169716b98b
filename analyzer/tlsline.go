package analyzer

import (
	"bytes"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	maxShare = 64 << 10    // bytes of who waits for its keys
	maxLine  = 256 << 10   // bytes of a line, those of others included
	maxLines = 2 << 20     // of all lines together
	saidSize = 128         // of an event of a line, beside the bytes that it holds
	askEvery = int64(10e6) // of packet time, between two looks for new keys
)

// A line is what the TLS connections of a client to a server said since one of them
// began to wait for its keys, in the order in which it was captured. A verdict rests on
// what came before it. So the others wait behind the first, and keys change no verdict
// by coming late.
type line struct {
	head      uint64 // ref of the connection that waits for its keys
	said      []said
	size, own int // bytes, and those of head since it is that
}

// said is what a connection said.
type said struct {
	ref     uint64
	kind    saidKind
	from    http.Side
	b       []byte // of saidData
	gap     int64  // of saidGap
	at      int64
	next    [2]uint32 // where the sides stood, as [reassembly.Conn.Next]
	segment begun
}

type saidKind uint8

const (
	saidData saidKind = iota
	saidGap
	saidFIN
	saidReset
)

// A lineKey names the line of a client and a server, whatever the client's port.
type lineKey struct {
	client sniffer.Addr
	server sniffer.Endpoint
}

func (l *ledger) lineKey() lineKey {
	client, server := l.sides()
	return lineKey{l.tcp.Endpoint[client].Addr, l.tcp.Endpoint[server]}
}

// inLine puts what a connection of TLS says behind those that wait already, and reports
// whether there are any. First it looks for keys that are new.
func (l *ledger) inLine(e said) bool {
	if l.conn.layers[0] != readTLS {
		return false
	}
	here := *l
	if e.at-l.asked >= askEvery && l.keysSeen != l.cfg.Keys.Version() {
		l.askAgain(e.at)
		*l = here
	}
	w := l.lines[l.lineKey()]
	if w == nil {
		return false
	}
	e.ref = l.conn.ref()
	size := saidSize + len(e.b)
	if e.ref == w.head {
		w.own += size
	}
	if w.own > maxShare || w.size+size > maxLine || l.lined+size > maxLines {
		l.limits.lines++
		l.dissolve(l.lineKey(), w)
		*l = here
		return false
	}
	e.b, e.segment = bytes.Clone(e.b), l.segment
	e.segment.frame = l.frame()
	e.next = [2]uint32{l.tcp.Next(0), l.tcp.Next(1)}
	w.said = append(w.said, e)
	w.size += size
	l.lined += size
	if e.kind >= saidFIN {
		l.tcp.Linger()
	}
	return true
}

// beginLine has all others of its client and server wait behind a connection.
func (l *ledger) beginLine() {
	k := l.lineKey()
	if l.pools == nil || l.lines[k] != nil {
		return
	}
	if l.lines == nil {
		l.lines = map[lineKey]*line{}
	}
	l.lines[k] = &line{head: l.conn.ref()}
}

// advance lets a line go on, up to who waits at a packet time for keys that are not there.
func (a *Analyzer) advance(k lineKey, w *line, now int64) {
	for !a.waitsForKeys(w.head, now) {
		if len(w.said) == 0 {
			delete(a.lines, k)
			return
		}
		w.head, w.own = w.said[0].ref, 0
		a.hear(w)
	}
}

// waitsForKeys reports whether a connection, at a packet time, still waits for its keys.
func (a *Analyzer) waitsForKeys(ref uint64, now int64) bool {
	s := a.table.byRef(ref)
	if s == nil || s.cold == nil {
		return false
	}
	a.on(s.tcp, s)
	for _, t := range s.cold.tls {
		if t == nil {
			continue
		}
		if t.decrypter.Tick(now); t.decrypter.NeedsKeys() {
			return true
		}
	}
	return false
}

// dissolve has all be heard that is in a line, whoever waits.
func (a *Analyzer) dissolve(k lineKey, w *line) {
	for len(w.said) > 0 {
		a.hear(w)
	}
	delete(a.lines, k)
}

// leaveLine has all be heard that a connection said which is over: it waits no longer.
func (l *ledger) leaveLine() {
	k := l.lineKey()
	w := l.lines[k]
	if w == nil {
		return
	}
	here, ref := *l, l.conn.ref()
	if w.head == ref {
		for _, t := range l.conn.cold.tls {
			if t != nil {
				t.decrypter.Settle(l.now())
			}
		}
		l.advance(k, w, l.now())
	}
	var rest []said
	for len(w.said) > 0 {
		if w.said[0].ref == ref {
			l.hear(w)
		} else {
			rest, w.said = append(rest, w.said[0]), w.said[1:]
		}
	}
	w.said = rest
	*l = here
}

// hear takes what waits longest out of a line.
func (a *Analyzer) hear(w *line) {
	e := w.said[0]
	w.said[0] = said{}
	w.said = w.said[1:]
	w.size -= saidSize + len(e.b)
	a.lined -= saidSize + len(e.b)
	s := a.table.byRef(e.ref)
	l := a.on(s.tcp, s)
	l.segment, a.late = e.segment, &e
	switch e.kind {
	case saidData:
		l.data(0, e.from, e.b, e.at)
	case saidGap:
		l.gap(0, e.from, e.gap, false, e.at)
	case saidFIN:
		l.fin(e.from, e.at)
	case saidReset:
		l.reset(e.from)
	}
	a.late = nil
}

// now returns the time of what is heard, that of the connection's newest packet but for
// what was in line.
func (l *ledger) now() int64 {
	if l.late != nil {
		return l.late.at
	}
	return l.transport.now()
}

// next returns where a direction stood at what is heard.
func (l *ledger) next(dir reassembly.Dir) uint32 {
	if l.late != nil {
		return l.late.next[dir]
	}
	return l.tcp.Next(dir)
}
