package tls

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A Decrypter reads one connection with keys. It is given the bytes of both
// directions, gaps and ends as they come, and tells plaintext to an http.Conn, with the
// time of a record's first byte, and what records show to a Listener. Until it is
// certain that the connection can be decrypted it holds what it is given, and if it
// cannot be, it is an Observer.
type Decrypter struct {
	shared   *Decryption
	above    http.Conn
	skipper  Skipper // above, where it is one
	listener Listener
	observer Observer
	hs       *negotiation // of a handshake that is not over
	wait     *waiting
	half     [2]direction
	version  uint16 // 0 until a ServerHello
	failures uint8  // records that did not authenticate, before any did
	state    State
	keyed    bool // TLS 1.3: the directions have keys
	blind    bool // the observer has nothing more to tell
	wake     bool // held bytes may go on
	ended    bool
}

// waiting is what a connection holds until its keys come.
type waiting struct {
	log     []byte // entries of bytes, gaps and ends, in order
	since   int64
	version uint64 // of the Store, when it was asked
	keys    bool   // both directions wait for keys
	events  []postponed
}

// A postponed event is told if the connection is not decrypted.
type postponed struct {
	at               int64
	length, content  uint16
	from             Dir
	event            Event
	request, interim bool
}

// remember returns an event that i is filled in for.
func remember(from Dir, e Event, i *Info, at int64) postponed {
	return postponed{at: at, length: i.Length, content: i.Content, from: from, event: e, request: i.Request, interim: i.Interim}
}

// tell tells the event now.
func (p postponed) tell(d *Decrypter) {
	i := &d.shared.info
	d.observer.tell(p.event, i)
	i.Length, i.Content, i.Request, i.Interim = p.length, p.content, p.request, p.interim
	d.listener.TLS(p.from, p.event, i, p.at)
}

// State says whether the connection is decrypted.
func (d *Decrypter) State() State { return d.state }

// Holds reports whether bytes are held that wait for their keys.
func (d *Decrypter) Holds() bool { return d.wait != nil && len(d.wait.log) > 0 }

// NeedsKeys reports whether nothing goes on until its keys come.
func (d *Decrypter) NeedsKeys() bool { return d.wait != nil && d.wait.keys }

// Midstream says that the handshake was not captured, before any bytes: there
// is nothing to decrypt by.
func (d *Decrypter) Midstream(at int64) {
	d.observer.Midstream()
	d.giveUp(Missing, Client, at)
}

// Data takes the bytes that a side sent next, captured at a time. They are not
// kept, but for those of a record that is not whole and those that wait for keys.
func (d *Decrypter) Data(from Dir, b []byte, at int64) {
	d.retry(at, false)
	d.observe(from, b, at)
	if d.reading() {
		d.feed(from, b, at)
		d.blind = d.state == Decrypted && d.hs == nil
	}
}

// Gap takes n bytes that a side sent and that were not captured.
func (d *Decrypter) Gap(from Dir, n int64, at int64) {
	if n <= 0 {
		return
	}
	d.retry(at, false)
	d.observeGap(from, n, at)
	if d.reading() {
		d.skip(from, n, at)
	}
}

// Close says that a side sends no more.
func (d *Decrypter) Close(from Dir, at int64) {
	d.retry(at, false)
	if d.reading() {
		d.finish(from, at)
	}
}

// Tick tells the time of packets: after 2 s of it held bytes are given up.
func (d *Decrypter) Tick(at int64) { d.retry(at, false) }

// Settle gives up the wait for keys that are not there yet.
func (d *Decrypter) Settle(at int64) { d.retry(at, true) }

// End says that the connection is over. Everything that it holds is told or
// dropped, and wiped. The Decrypter must not be used afterwards.
func (d *Decrypter) End(at int64) {
	if d.ended {
		return
	}
	d.retry(at, false)
	if d.state == Waiting {
		d.giveUp(d.unread(), Client, at)
	}
	d.ended = true
	d.observer.Release()
	d.drop(at)
	d.half = [2]direction{}
}

// unread is why nothing was decrypted.
func (d *Decrypter) unread() State {
	if d.failures > 0 {
		return Mismatched
	}
	return Missing
}

func (d *Decrypter) reading() bool { return d.state <= Decrypted && !d.ended }

// drop gives back what is held.
func (d *Decrypter) drop(at int64) {
	for i := range d.half {
		h := &d.half[i]
		d.shared.forget(h)
		h.drop(d.shared)
		h.part.drop()
		h.part = nil
		h.keys.Wipe()
	}
	d.endHandshake(at)
	if d.wait != nil {
		d.shared.held -= int64(len(d.wait.log))
		d.wait = nil
	}
}

// giveUp ends decryption. What was postponed is told, in its order.
func (d *Decrypter) giveUp(why State, from Dir, at int64) {
	w := d.wait
	d.state = why
	d.drop(at)
	d.listener.TLS(from, Undecrypted, &d.shared.info, at)
	if w == nil {
		return
	}
	for _, p := range w.events {
		p.tell(d)
	}
}

// observe looks at records without keys.
func (d *Decrypter) observe(from Dir, b []byte, at int64) {
	i := &d.shared.info
	for !d.blind {
		n, e := d.observer.Next(from, b, i)
		b = b[n:]
		if e == NeedMore {
			return
		}
		d.observed(from, e, i, at)
	}
}

func (d *Decrypter) observeGap(from Dir, n int64, at int64) {
	i := &d.shared.info
	for !d.blind {
		used, e := d.observer.Gap(from, n, i)
		n -= used
		if e == NeedMore {
			return
		}
		d.observed(from, e, i, at)
	}
}

// observed tells an event, or postpones it.
func (d *Decrypter) observed(from Dir, e Event, i *Info, at int64) {
	switch e {
	case ApplicationData, ApplicationEnd, Alert, MaybeAlert, Lost:
		switch d.state {
		case Decrypted:
			return
		case Waiting:
			d.postpone(remember(from, e, i, at))
			return
		case Missing, Mismatched:
		}
	default: // hellos and the handshake's end are the same with keys
	}
	d.listener.TLS(from, e, i, at)
}

func (d *Decrypter) postpone(p postponed) {
	w := d.waits()
	if len(w.events) >= maxEvents {
		d.shared.Stats.Full++
		d.giveUp(d.unread(), p.from, p.at)
		p.tell(d)
		return
	}
	w.events = append(w.events, p)
}

func (d *Decrypter) waits() *waiting {
	if d.wait == nil {
		d.wait = &waiting{}
	}
	return d.wait
}

// authentic notes that a record authenticated: the connection is decrypted.
func (d *Decrypter) authentic(from Dir, at int64) {
	if d.state != Waiting {
		return
	}
	d.state = Decrypted
	if d.wait != nil {
		d.wait.events = nil
	}
	i := &d.shared.info
	d.observer.tell(NeedMore, i)
	d.listener.TLS(from, Decryptable, i, at)
}

// What an entry of the waiting log holds; its low bit is the direction.
const (
	entryData  = 0
	entryGap   = 2
	entryClose = 4
)

// keep holds bytes, a gap of n or an end of a direction that waits. Where there
// is no room nothing waits any more.
func (d *Decrypter) keep(kind byte, from Dir, b []byte, n int64, at int64) bool {
	w := d.waits()
	if len(w.log) == 0 {
		w.since = at
	}
	size := entryHead + len(b)
	if len(w.log)+size > maxWaiting || !d.shared.hold(int64(size)) {
		d.shared.Stats.Full++
		d.fail(from, at)
		return false
	}
	w.log = append(w.log, kind|byte(from))
	w.log = binary.LittleEndian.AppendUint64(w.log, uint64(at))
	w.log = binary.LittleEndian.AppendUint64(w.log, uint64(n))
	w.log = append(w.log, b...)
	return true
}

// retry asks for keys again where a connection waits for them, and gives it up
// where it has waited too long, or is to wait no longer.
func (d *Decrypter) retry(at int64, last bool) {
	w := d.wait
	if w == nil || len(w.log) == 0 || d.ended {
		return
	}
	late := last || at-w.since > maxPatience || w.keys && d.shared.store.Sealed()
	if w.keys && (late || w.version != d.shared.store.Version()) {
		w.version = d.shared.store.Version()
		if d.obtain(late, at) {
			w.keys = false
			d.release()
		}
	}
	if d.wait != w || len(w.log) == 0 {
		return
	}
	if late && !d.wake {
		d.shared.Stats.Late++
		d.fail(Client, at)
	}
	if d.wake {
		d.replay()
	}
}

// fail gives up what waits: the connection, or, where it was decrypted so far,
// what follows.
func (d *Decrypter) fail(from Dir, at int64) {
	if d.state == Waiting {
		d.giveUp(d.unread(), from, at)
		return
	}
	for i := range d.half {
		d.half[i].dead = true
	}
	d.shared.Stats.Abandoned++
	d.release()
	d.replay()
}

// release lets both directions go on.
func (d *Decrypter) release() {
	d.half[Client].hold, d.half[Server].hold = false, false
	d.wake = true
}

// replay takes what was held, and holds again what still has to wait.
func (d *Decrypter) replay() {
	d.wake = false
	w := d.wait
	if w == nil {
		return
	}
	log := w.log
	w.log = nil
	for i := 0; i < len(log) && d.reading(); {
		kind, from := log[i]&^1, Dir(log[i]&1)
		at := int64(binary.LittleEndian.Uint64(log[i+1:]))
		n := int64(binary.LittleEndian.Uint64(log[i+9:]))
		i += entryHead
		switch kind {
		case entryData:
			d.feed(from, log[i:i+int(n)], at)
			i += int(n)
		case entryGap:
			d.skip(from, n, at)
		default:
			d.finish(from, at)
		}
	}
	d.shared.held -= int64(len(log))
}

// LooksHTTP2 says whether a connection that is not decrypted carries HTTP/2, as
// Observer.LooksHTTP2 does.
func (d *Decrypter) LooksHTTP2() bool { return d.observer.LooksHTTP2() }
