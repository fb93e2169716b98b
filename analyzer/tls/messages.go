package tls

import (
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/analyzer/tls/protection"
)

// Handshake message types beside those of hellos (RFC 8446 §4, RFC 5246 §7.4).
const (
	typeEndOfEarlyData      = 5
	typeEncryptedExtensions = 8
	typeCertificate         = 11
	typeServerKeyExchange   = 12
	typeCertificateRequest  = 13
	typeServerHelloDone     = 14
	typeClientKeyExchange   = 16
	typeFinished            = 20
	typeKeyUpdate           = 24
)

// Extensions (RFC 7366).
const extEncryptThenMAC = 22

// maxPart is how many bytes of a handshake message's body are kept.
const maxPart = maxHello - helloHead

// A part is a handshake message that has not come whole. The body is kept where it is
// read, up to maxPart bytes.
type part struct {
	head   [helloHead]byte
	have   uint8  // bytes of head
	full   bool   // no more of the body is kept
	body   []byte // what is kept of it
	left   int    // bytes to come, once head is whole
	shared *Decryption
}

// drop wipes what is kept.
func (p *part) drop() {
	if p != nil {
		p.shared.held -= int64(cap(p.body))
		clear(p.body[:cap(p.body)])
		p.body = nil
	}
}

// add takes bytes of the message and returns the rest.
func (p *part) add(b []byte) []byte {
	if p.have < helloHead {
		n := copy(p.head[p.have:], b)
		b = b[n:]
		if p.have += uint8(n); p.have < helloHead {
			return b
		}
		size, _ := helloSize(p.head[:])
		p.left = size - helloHead
		p.full = !isRead(p.head[0])
	}
	n := min(p.left, len(b))
	p.keep(b[:n])
	p.left -= n
	return b[n:]
}

// keep keeps bytes of the body, as far as there is room.
func (p *part) keep(b []byte) {
	if p.full {
		return
	}
	need := len(p.body) + len(b)
	if p.full = need > maxPart; p.full {
		b = b[:maxPart-len(p.body)]
		need = maxPart
	}
	if room := cap(p.body); need > room {
		size := min(max(need, 2*room), maxPart)
		if !p.shared.hold(int64(size - room)) {
			p.full = true
			p.shared.Stats.Full++
			return
		}
		old := p.body
		p.body = append(make([]byte, 0, size), old...)
		clear(old)
	}
	p.body = append(p.body, b...)
}

func (p *part) whole() bool { return p.have == helloHead && p.left == 0 }

// isRead says whether a message's body matters.
func isRead(kind byte) bool {
	switch kind {
	case typeClientHello, typeServerHello, typeNewSessionTicket, typeEncryptedExtensions:
		return true
	}
	return false
}

// messages reads the handshake messages of a record. One may go on in the next, and
// one record may hold several (RFC 8446 §5.1).
func (d *Decrypter) messages(from Dir, h *direction, b []byte) {
	for len(b) > 0 && d.reading() {
		p := h.part
		if p == nil {
			if size, ok := helloSize(b); ok && size <= len(b) {
				d.message(from, h, b[0], b[helloHead:size])
				b = b[size:]
				continue
			}
			p = &part{shared: d.shared}
			h.part = p
		}
		b = p.add(b)
		if p.whole() {
			h.part = nil
			d.message(from, h, p.head[0], p.body)
			p.drop()
		}
	}
}

// message takes a handshake message.
func (d *Decrypter) message(from Dir, h *direction, kind byte, body []byte) {
	switch {
	case kind == typeClientHello && from == Client:
		d.clientHello(h, body)
	case kind == typeServerHello && from == Server:
		d.serverHello(h, body)
	case d.version >= VersionTLS13:
		d.message13(from, h, kind, body)
	case d.hs == nil:
	case kind == typeNewSessionTicket && from == Server:
		c := cursor(body)
		c.take(4) // its lifetime (RFC 5077 §3.3)
		d.hs.granted[0] = keylog.Ticket(c.take(c.uint16()))
	case kind == typeCertificate || kind == typeServerKeyExchange || kind == typeServerHelloDone || kind == typeClientKeyExchange:
		d.hs.full = true
	}
}

func (d *Decrypter) message13(from Dir, h *direction, kind byte, body []byte) {
	switch kind {
	case typeEncryptedExtensions:
		if from == Server && h.epoch == handshake && d.hs != nil {
			d.encryptedExtensions(h, body)
		}
	case typeCertificateRequest:
		if d.hs != nil {
			d.hs.asked = true
		}
	case typeEndOfEarlyData:
		if from == Client && h.epoch == earlyData {
			d.advance(from, h)
		}
	case typeFinished:
		if h.epoch == handshake {
			d.advance(from, h)
		}
	case typeKeyUpdate:
		if h.epoch == traffic {
			d.advance(from, h)
		}
	}
}

// clientHello begins a handshake: the first, one after a HelloRetryRequest, which has the
// same random, or a renegotiation inside TLS 1.2.
func (d *Decrypter) clientHello(h *direction, body []byte) {
	if d.version >= VersionTLS13 || h.epoch == clear0 && d.version != 0 {
		return
	}
	hs := d.shared.negotiation()
	if old := d.hs; old != nil {
		hs.answered, hs.early = old.answered, old.early
	}
	d.endHandshake(h.at)
	c := cursor(body)
	c.take(2)
	if random := c.take(randomSize); random != nil {
		hs.master.Client = [randomSize]byte(random)
	}
	hs.offered[1] = keylog.SessionID(c.take(c.uint8()))
	c.take(c.uint16()) // cipher suites
	c.take(c.uint8())  // compression methods
	exts := c.rest(c.uint16())
	for {
		ext, body, ok := exts.extension()
		if !ok {
			break
		}
		switch ext {
		case extSessionTicket:
			hs.offered[0] = keylog.Ticket(body)
		case extEarlyData:
			hs.early = true
		}
	}
	d.hs = hs
	d.letOther(Server)
}

// letOther lets a direction go on that waited for the other.
func (d *Decrypter) letOther(dir Dir) {
	if d.half[dir].hold && (d.wait == nil || !d.wait.keys) {
		d.half[dir].hold = false
		d.wake = true
	}
}

// serverHello takes in a ServerHello or a HelloRetryRequest.
func (d *Decrypter) serverHello(h *direction, body []byte) {
	hs := d.hs
	if hs == nil || hs.server {
		return
	}
	c := cursor(body)
	version := uint16(c.uint16())
	random := c.take(randomSize)
	id := c.take(c.uint8())
	suite := uint16(c.uint16())
	compression := c.uint8()
	if random == nil {
		d.giveUp(d.unread(), Server, h.at)
		return
	}
	etm := false
	exts := c.rest(c.uint16())
	for {
		ext, body, ok := exts.extension()
		if !ok {
			break
		}
		switch ext {
		case extSupportedVersions:
			version = selected(body)
		case extEncryptThenMAC:
			etm = true
		}
	}
	if [randomSize]byte(random) == retryRandom {
		hs.answered = true // early data is rejected (RFC 8446 §4.2.10)
		return
	}
	m := &hs.master
	m.Server, m.Version, m.EncryptThenMAC = [randomSize]byte(random), version, etm
	m.Suite = protection.SuiteOf(suite, version)
	if !m.Suite.Known() || compression != 0 {
		d.shared.Stats.Unsupported++
		if d.state == Waiting {
			d.giveUp(Missing, Server, h.at)
		} else {
			d.fail(Server, h.at)
		}
		return
	}
	hs.server = true
	hs.granted[1] = keylog.SessionID(id)
	d.version = version
	d.letOther(Client)
}

// encryptedExtensions reads what the server chose (RFC 8446 §4.3.1).
func (d *Decrypter) encryptedExtensions(h *direction, body []byte) {
	hs := d.hs
	i := &d.shared.info
	i.ALPN = i.ALPN[:0]
	c := cursor(body)
	exts := c.rest(c.uint16())
	for {
		ext, body, ok := exts.extension()
		if !ok {
			break
		}
		switch ext {
		case extALPN:
			list := body.rest(body.uint16())
			if name := list.take(list.uint8()); printable(name) {
				i.ALPN = append(i.ALPN, name...)
			}
		case extEarlyData:
			hs.accepted = true
		}
	}
	d.observer.tell(NeedMore, i)
	if len(i.ALPN) > 0 {
		d.listener.TLS(Server, Chosen, i, h.at)
	}
	if !hs.answered {
		hs.answered = true
		d.beginEarly()
		d.letOther(Client)
	}
}

// changeCipher takes a ChangeCipherSpec; in TLS 1.3 it means nothing (RFC 8446
// §D.4).
func (d *Decrypter) changeCipher(from Dir, h *direction) {
	hs := d.hs
	if d.version == 0 || d.version >= VersionTLS13 || hs == nil || !hs.derived || hs.switched[from] {
		return
	}
	keys := hs.keys[from]
	d.install(h, traffic, &keys)
	h.missed = 0
	d.switched(from, h, traffic)
}
