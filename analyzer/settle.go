package analyzer

import (
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/pool"
)

const (
	// settleWait is how long a wasted handshake waits to be told why the connection
	// that it replaces was lost: for as long as that may change.
	settleWait = int64(5e9)
	// maxUnsettled is how many wait at most; the oldest is then told what is known.
	maxUnsettled = 1 << 14
)

// An unsettled is a wasted handshake that replaces a connection whose end may be told
// otherwise still: that one is not over.
type unsettled struct {
	at      int64            // when it was judged
	ref     uint64           // of the connection that it opened
	reason  fact.Reason      // for which the other was lost, as far as is known
	final   bool             // the reason is certain
	settled bool             // and was told
	record  *fact.Connection // what is to be told of the connection, once it is over; nil before
}

// learn takes what is known of the lost connection at a packet time, and reports whether
// that is all. What comes too late changes nothing, whenever the wait is found to be
// over.
func (u *unsettled) learn(why fact.Reason, final bool, now int64) (settled bool) {
	if u.final || now-u.at >= settleWait {
		return false
	}
	u.reason, u.final = why, final
	return final
}

// replace notes which connection the handshake of this one replaces, or could have
// been saved with.
func (l *ledger) replace(j *pool.Judgement) {
	s := l.conn
	if j.PassedOver {
		s.set(passedOver)
	}
	other := l.table.byRef(j.Ref)
	if j.Miss {
		s.cause = fact.PoolMiss
		if other != nil {
			t := transport{tcp: other.tcp, rolesSwapped: other.is(rolesSwapped)}
			client, _ := t.sides()
			s.could = l.table.coulds.get()
			*s.could = fact.CouldReuse{ID: other.id, Port: t.tcp.Endpoint[client].Port, Start: t.tcp.Start, UsableUntil: fact.Absent, Reason: fact.ReasonOpen}
		}
		return
	}
	why := fact.Reason(j.Note.Reason)
	s.cause = fact.Cause(why)
	s.could = l.table.coulds.get()
	*s.could = fact.CouldReuse{ID: j.Note.ID, Port: j.Note.Port, Start: j.Note.Start, UsableUntil: j.Since, Reason: why}
	if other == nil || j.Note.Over {
		return
	}
	u := &unsettled{at: l.now(), ref: s.ref(), reason: why}
	l.table.coldOf(s).waits = u
	l.table.coldOf(other).replacedBy = u
	l.unsettled = append(l.unsettled, u)
	if len(l.unsettled) > maxUnsettled {
		if !l.unsettled[0].settled {
			l.limits.unsettled++
		}
		l.settleOldest()
	}
}

// Sweep tells what waited long enough at a packet time.
func (a *Analyzer) Sweep(now int64) {
	if a.cfg.Keys != nil {
		a.cfg.Keys.Sweep(now)
		a.askAgain(now)
	}
	for len(a.unsettled) > 0 { // those after the oldest were judged later
		if u := a.unsettled[0]; !u.final && now-u.at < settleWait {
			return
		}
		a.settleOldest()
	}
}

// settleOldest settles the one that has waited longest.
func (a *Analyzer) settleOldest() {
	a.settle(a.unsettled[0])
	a.unsettled[0] = nil
	a.unsettled = a.unsettled[1:] // append moves what is left when it runs out of room
}

// settle tells why a handshake was wasted, and its connection, if it is over.
func (a *Analyzer) settle(u *unsettled) {
	if u.settled {
		return
	}
	u.final, u.settled = true, true
	if o := u.record; o != nil {
		o.Cause, o.CouldReuse.Reason = fact.Cause(u.reason), u.reason
		a.judgedLate(o)
		a.tell(o)
		u.record = nil
		return
	}
	s := a.table.byRef(u.ref)
	if s == nil || s.cold == nil || s.cold.waits != u {
		return
	}
	s.cause, s.could.Reason, s.cold.waits = fact.Cause(u.reason), u.reason, nil
	if s.is(answered) {
		l := &a.ledger
		before := *l
		a.on(s.tcp, s).judged()
		*l = before
	}
}

// keep makes a record that outlives the call that tells it.
func keep(o *fact.Connection) *fact.Connection {
	k := *o
	k.ReuseIdle = slices.Clone(o.ReuseIdle)
	k.TLS, k.CouldReuse, k.Tunnel = copied(o.TLS), copied(o.CouldReuse), copied(o.Tunnel)
	k.Upgrade, k.Streams, k.Path = copied(o.Upgrade), copied(o.Streams), copied(o.Path)
	if k.Trace = copied(o.Trace); k.Trace != nil {
		k.Trace.Exchanges = slices.Clone(o.Trace.Exchanges)
	}
	if k.Tunnel != nil {
		k.Tunnel.TLS = copied(o.Tunnel.TLS)
	}
	return &k
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
