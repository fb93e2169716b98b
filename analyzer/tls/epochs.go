package tls

import (
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/analyzer/tls/protection"
)

// A negotiation is what has to be known of a handshake until both directions have their
// keys.
type negotiation struct {
	master   protection.Master // randoms, suite; up to TLS 1.2 the master secret
	secrets  keylog.Secrets    // TLS 1.3
	keys     [2]protection.Keys
	offered  [2]keylog.SessionKey // by the client: ticket, session id
	granted  [2]keylog.SessionKey // by the server
	derived  bool                 // up to TLS 1.2: keys are there
	switched [2]bool
	full     bool // up to TLS 1.2: not a resumed session
	early    bool // early data is offered
	accepted bool // and accepted
	answered bool // or not: EncryptedExtensions was read, or lost, or there was a HelloRetryRequest
	recalled bool // the master secret is remembered, not logged
	server   bool // a ServerHello was read
	asked    bool // the server asks for a certificate, or that is not known
}

// obtain gets the keys of the handshake, and gives the directions those of TLS 1.3.
// Where nothing more is to be expected, last, handshake secrets may be missing.
func (d *Decrypter) obtain(last bool, at int64) bool {
	if d.hs == nil {
		return false
	}
	if d.version >= VersionTLS13 {
		return d.obtain13(last)
	}
	return d.obtain12(at)
}

func (d *Decrypter) obtain12(at int64) bool {
	hs, s := d.hs, d.shared
	if hs.derived {
		return true
	}
	if !hs.server { // no suite is agreed on
		return false
	}
	secret := &hs.master.Secret // not by a variable: what a stack that grows leaves behind is not wiped
	known := s.store.Get(&hs.master.Client, &s.secrets) && s.secrets.Has(keylog.Master)
	if known {
		copy(secret[:], s.secrets[keylog.Master].Data[:])
	} else if !hs.full && (s.store.Recall(hs.offered[0], at, secret) || s.store.Recall(hs.offered[1], at, secret)) {
		known, hs.recalled = true, true
		s.Stats.Recalled++
	}
	clear(s.secrets[:])
	if !known {
		return false
	}
	hs.master.Derive(&s.schedule, &hs.keys[Client], &hs.keys[Server])
	hs.derived = true
	return true
}

func (d *Decrypter) obtain13(last bool) bool {
	hs := d.hs
	if d.keyed {
		return true
	}
	if !d.shared.store.Get(&hs.master.Client, &hs.secrets) {
		return false
	}
	if !hs.secrets.Has(keylog.ClientTraffic, keylog.ServerTraffic) ||
		!last && !hs.secrets.Has(keylog.ClientHandshake, keylog.ServerHandshake) {
		return false
	}
	d.keyed = true
	var keys protection.Keys
	for dir := range Dir(2) {
		h := &d.half[dir]
		secret := &hs.secrets[handshakeLabel(dir)]
		keys.Traffic(hs.master.Suite, secret.Bytes())
		d.install(h, handshake, &keys)
		h.passing = secret.Size == 0
	}
	if hs.answered {
		d.beginEarly()
	}
	return true
}

func handshakeLabel(dir Dir) keylog.Label {
	if dir == Client {
		return keylog.ClientHandshake
	}
	return keylog.ServerHandshake
}

func trafficLabel(dir Dir) keylog.Label {
	if dir == Client {
		return keylog.ClientTraffic
	}
	return keylog.ServerTraffic
}

// beginEarly makes the client's direction ready for what it sent before it knew the
// server's answer (RFC 8446 §4.2.10): early data that is read, or passed over.
func (d *Decrypter) beginEarly() {
	hs, h := d.hs, &d.half[Client]
	if !hs.early || !d.keyed || h.epoch != handshake {
		return
	}
	if secret := &hs.secrets[keylog.ClientEarly]; hs.accepted && secret.Size > 0 {
		var keys protection.Keys
		keys.Traffic(hs.master.Suite, secret.Bytes())
		d.install(h, earlyData, &keys)
		return
	}
	h.passing = true
}

// install gives a direction keys.
func (d *Decrypter) install(h *direction, e epoch, keys *protection.Keys) {
	d.shared.forget(h)
	d.shared.serial++
	h.serial = d.shared.serial
	h.keys = *keys
	keys.Wipe()
	h.epoch, h.seq, h.verify, h.passing = e, 0, true, false
}

// advance moves a direction to its next keys.
func (d *Decrypter) advance(from Dir, h *direction) {
	var keys protection.Keys
	if e, ok := d.next(from, h, &keys); ok {
		d.install(h, e, &keys)
		d.switched(from, h, e)
	}
}

// switched notes that a direction has new keys, and ends the handshake when both
// have their last.
func (d *Decrypter) switched(from Dir, h *direction, e epoch) {
	hs := d.hs
	if hs == nil || e != traffic {
		return
	}
	hs.switched[from] = true
	if hs.switched[from.Other()] {
		d.endHandshake(h.at)
	}
}

// endHandshake drops what only the handshake needed. Its master secret is
// remembered for sessions that are resumed.
func (d *Decrypter) endHandshake(at int64) {
	hs := d.hs
	if hs == nil {
		return
	}
	store := d.shared.store
	if hs.derived && d.state == Decrypted {
		for _, k := range hs.granted {
			store.Remember(k, hs.master.Secret[:], at)
		}
	}
	if hs.derived || d.keyed {
		store.Used(&hs.master.Client, at)
	}
	*hs = negotiation{}
	d.hs = nil
	if len(d.shared.idle) < maxSpare {
		d.shared.idle = append(d.shared.idle, hs)
	}
}

// next makes keys those that follow a direction's own: those of the next secret, or of a
// handshake that is under way.
func (d *Decrypter) next(from Dir, h *direction, keys *protection.Keys) (e epoch, ok bool) {
	hs := d.hs
	switch {
	case d.version < VersionTLS13:
		if hs == nil || hs.switched[from] || !d.obtain12(h.at) {
			return 0, false
		}
		*keys = hs.keys[from]
		return traffic, true
	case !d.keyed:
		return 0, false
	case h.epoch == earlyData && hs != nil:
		keys.Traffic(hs.master.Suite, hs.secrets[handshakeLabel(from)].Bytes())
		return handshake, true
	case h.epoch == handshake && hs != nil:
		keys.Traffic(hs.master.Suite, hs.secrets[trafficLabel(from)].Bytes())
		return traffic, true
	case h.epoch == traffic:
		*keys = h.keys
		keys.Update(&d.shared.schedule)
		return traffic, true
	}
	return 0, false
}

// open opens a record: by the number that it must have, by those that it may have
// where records were lost, or by the next keys.
func (d *Decrypter) open(from Dir, h *direction, dst, body []byte) (content []byte, kind byte, ok bool) {
	least, slack := int64(0), 0
	if h.resync {
		n := h.start - h.lostFrom
		least, slack = n/longRecord, int(min(n/minRecord+1, maxNumbers))
	}
	first := h.seq
	if h.epoch != clear0 {
		if content, kind, ok = d.try(h, uint64(least), slack, dst, body); ok {
			d.found(from, h, int64(h.seq-first)-1, false)
			return content, kind, true
		}
	}
	var keys protection.Keys
	e, ok := d.next(from, h, &keys)
	if !ok {
		return nil, 0, false
	}
	old := *h
	defer old.keys.Wipe()
	d.shared.serial++
	h.serial, h.keys, h.epoch, h.seq = d.shared.serial, keys, e, 0
	keys.Wipe()
	content, kind, ok = d.try(h, 0, min(slack+int(old.missed), maxNumbers), dst, body)
	if !ok {
		d.shared.forget(h)
		h.serial, h.keys, h.epoch, h.seq = old.serial, old.keys, old.epoch, old.seq
		return nil, 0, false
	}
	d.shared.forget(&old)
	h.passing = false
	d.found(from, h, int64(h.seq)-1, old.epoch == handshake)
	if from == Server && e == traffic && d.hs != nil {
		d.hs.answered = true
	}
	d.switched(from, h, e)
	return content, kind, true
}

// try opens a record by the numbers from h.seq + least to slack more, and moves h.seq behind
// the one that it has.
func (d *Decrypter) try(h *direction, least uint64, slack int, dst, body []byte) (content []byte, kind byte, ok bool) {
	if content, kind, ok = d.shared.Opened.find(h, h.seq+least, body); ok {
		h.seq += least + 1
		return content, kind, true
	}
	c := d.shared.cipher(h)
	for i := range uint64(slack) + 1 {
		content, kind, ok = c.Open(&d.shared.schedule, dst, h.seq+least+i, h.head[:], body)
		if ok {
			h.seq += least + i + 1
			return content, kind, true
		}
		if h.tries++; h.tries >= maxTries {
			h.dead = true
			d.shared.Stats.Abandoned++
			return nil, 0, false
		}
	}
	return nil, 0, false
}

// found notes that a record authenticated. Where some were lost before it, how much
// they held is told: exactly where their number is known. They held nothing where
// all of them belonged to the handshake.
func (d *Decrypter) found(from Dir, h *direction, lost int64, wasHandshake bool) {
	if h.resync {
		d.shared.Stats.Resumed++
		n := max(h.start-h.lostFrom-lost*int64(headSize+h.keys.Overhead()), 1)
		if d.state == Decrypted && !h.closed && h.epoch == traffic && (lost > 0 || !wasHandshake) {
			d.above.Gap(from, n, h.at)
		}
	}
	h.resync, h.verify, h.tries, h.missed = false, false, 0, 0
	if h.passing && h.epoch == handshake {
		h.passing = false
	}
}
