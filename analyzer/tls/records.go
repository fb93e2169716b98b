package tls

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/tls/protection"
)

// An epoch is which keys a direction's records have (RFC 8446 §6.1 of DTLS's
// word; TLS has none for it).
type epoch uint8

const (
	clear0    epoch = iota // none
	earlyData              // TLS 1.3
	handshake              // TLS 1.3
	traffic                // application data; before TLS 1.3 everything after ChangeCipherSpec
)

// A direction is one direction of a connection that is read with keys.
type direction struct {
	keys     protection.Keys
	seq      uint64 // of the next record
	pos      int64  // bytes taken
	start    int64  // pos of the record's first byte
	at       int64  // its time
	lostFrom int64  // pos from which records are not known
	buffer   *recordBuffer
	part     *part
	serial   uint32 // of keys, for Decryption.ciphers
	tries    uint16 // since a record authenticated
	missed   uint16 // records lost since one authenticated
	got      uint16 // bytes of the record's body
	head     [headSize]byte
	have     uint8 // bytes of head
	tailAt   uint8 // where what is kept of a torn record's tail begins
	epoch    epoch
	torn     bool // bytes of the record are missing, or not kept
	gap      bool // and it was a gap
	verify   bool // the next record must be opened
	lost     bool // not known where a record begins
	resync   bool // known, but not which number it has
	passing  bool // records that do not authenticate have other keys
	hold     bool // what comes has to wait
	dead     bool // nothing is tried any more
	closed   bool
}

func (h *direction) length() int { return int(binary.BigEndian.Uint16(h.head[3:])) }

// drop gives the buffer back.
func (h *direction) drop(s *Decryption) {
	if h.buffer != nil {
		s.release(h.buffer)
		h.buffer = nil
	}
}

// feed takes bytes of a direction.
func (d *Decrypter) feed(from Dir, b []byte, at int64) {
	h := &d.half[from]
	if h.lost && !h.hold && !d.rejoin(h, b) {
		h.pos += int64(len(b))
		return
	}
	for len(b) > 0 && d.reading() {
		if h.hold {
			if d.keep(entryData, from, b, int64(len(b)), at) {
				return
			}
			continue
		}
		if h.lost {
			h.pos += int64(len(b))
			return
		}
		n := d.take(from, h, b, at)
		b = b[n:]
		if d.wake {
			d.replay()
		}
	}
}

// take takes bytes of one record, at most to its end.
func (d *Decrypter) take(from Dir, h *direction, b []byte, at int64) int {
	n := 0
	if h.have < headSize {
		if h.have == 0 {
			h.at, h.start = at, h.pos
		}
		n = copy(h.head[h.have:], b)
		h.have += uint8(n)
		h.pos += int64(n)
		if h.have < headSize {
			return n
		}
		if !d.enter(from, h) {
			return n
		}
	}
	length := h.length()
	body := b[n:]
	body = body[:min(len(body), length-int(h.got))]
	h.pos += int64(len(body))
	n += len(body)
	if h.got == 0 && len(body) == length {
		h.have = 0
		d.record(from, h, body)
		return n
	}
	d.gather(from, h, body, length)
	if int(h.got) < length {
		return n
	}
	h.have = 0
	kept := length
	if h.torn {
		kept = min(length, protection.Tail)
	}
	switch {
	case h.buffer == nil:
		d.lostRecord(from, h, nil)
	case h.torn:
		d.tornRecord(from, h, h.buffer.b[h.tailAt:kept])
	default:
		d.record(from, h, h.buffer.b[:kept])
	}
	h.drop(d.shared)
	h.got, h.tailAt, h.torn, h.gap = 0, 0, false, false
	return n
}

// gather keeps a piece of a record's body: all of it, or, where its content is
// of no use or not known whole, its last bytes.
func (d *Decrypter) gather(from Dir, h *direction, piece []byte, length int) {
	if h.got == 0 && !h.torn && length >= minSkim && d.useless(from, h, length) {
		h.torn = true
	}
	at := int(h.got)
	h.got += uint16(len(piece))
	if h.torn {
		tail := max(length-protection.Tail, 0)
		if skip := tail - at; skip > 0 {
			piece = piece[min(skip, len(piece)):]
			at = tail
		}
		at -= tail
	}
	if len(piece) == 0 {
		return
	}
	if h.buffer == nil {
		if at > 0 && !h.torn {
			return // what came before had no room
		}
		if h.buffer = d.shared.buffer(); h.buffer == nil {
			h.torn, h.gap = true, true
			return
		}
		h.tailAt = uint8(at) // 0 but for the end of a record with a gap
	}
	copy(h.buffer.b[at:], piece)
}

// skip takes a gap.
func (d *Decrypter) skip(from Dir, n int64, at int64) {
	h := &d.half[from]
	switch {
	case h.hold:
		if !d.keep(entryGap, from, nil, n, at) && d.reading() {
			d.skip(from, n, at)
		}
		return
	case h.lost:
		h.pos += n
		return
	case h.have < headSize:
		if h.have == 0 {
			h.start = h.pos
		}
		h.pos += n
		d.lose(from, h, h.start, at)
		return
	}
	left := int64(h.length()) - int64(h.got)
	h.drop(d.shared)
	h.pos += min(n, left)
	if n < left {
		h.got += uint16(n)
		h.torn, h.gap = true, true
		return
	}
	h.have, h.got, h.torn, h.gap = 0, 0, false, false
	d.lostRecord(from, h, nil)
	if n > left && d.reading() {
		h.start = h.pos
		h.pos += n - left
		d.lose(from, h, h.start, at)
	}
}

// finish takes a side's end.
func (d *Decrypter) finish(from Dir, at int64) {
	h := &d.half[from]
	if h.hold && d.keep(entryClose, from, nil, 0, at) {
		return
	}
	if d.state != Decrypted || h.closed {
		return
	}
	switch {
	case h.lost || h.resync:
		d.above.Gap(from, max(h.pos-h.lostFrom, 1), at)
	case h.have == headSize && h.head[0] == recordApplicationData:
		d.above.Gap(from, int64(max(h.length()-h.keys.Overhead(), 1)), at)
	}
	h.closed = true
	d.above.Close(from, at)
}

// lose notes that it is not known where records begin, from pos on.
func (d *Decrypter) lose(from Dir, h *direction, pos int64, at int64) {
	h.drop(d.shared)
	if !h.resync {
		h.lostFrom = pos
	}
	h.have, h.got, h.torn, h.gap = 0, 0, false, false
	h.lost, h.resync, h.verify = true, true, true
	d.missing(from, h, at)
}

// missing notes that handshake messages may be lost. Without its randoms and its
// suite a connection cannot be decrypted.
func (d *Decrypter) missing(from Dir, h *direction, at int64) {
	h.part.drop()
	h.part = nil
	if d.version == 0 && (from == Server || d.hs == nil) {
		d.giveUp(d.unread(), from, at)
		return
	}
	if d.hs != nil {
		d.hs.asked = true // or so it may be
	}
	if from == Server && d.hs != nil && !d.hs.answered && d.version >= VersionTLS13 {
		d.hs.answered = true // EncryptedExtensions will not be known
		d.half[Client].hold = d.half[Client].hold && d.wait != nil && d.wait.keys
		d.wake = true
	}
}

// rejoin follows a lost direction again where b begins like a record.
func (d *Decrypter) rejoin(h *direction, b []byte) bool {
	if len(b) < headSize || !beginsRecord(b) || b[2] != 3 && d.version >= version12 {
		return false
	}
	h.lost = false
	return true
}

const version12 = VersionTLS12

// enter looks at a complete header. It answers false where the record is not read now:
// it has to wait, or is none.
func (d *Decrypter) enter(from Dir, h *direction) bool {
	if !beginsRecord(h.head[:]) {
		d.lose(from, h, h.start, h.at)
		return false
	}
	if !d.mustWait(from, h) {
		return d.reading()
	}
	if !d.reading() {
		return false
	}
	h.hold = true
	if !d.keep(entryData, from, h.head[:], headSize, h.at) {
		return d.reading()
	}
	h.have = 0
	h.pos = h.start
	return false
}

// mustWait says whether a record has to wait for the other side or for keys.
func (d *Decrypter) mustWait(from Dir, h *direction) bool {
	kind := h.head[0]
	switch {
	case h.dead:
		return false
	case d.hs == nil && d.version == 0: // no ClientHello
		if from == Server {
			return true
		}
		if kind != recordHandshake {
			d.giveUp(Missing, from, h.at)
		}
		return false
	case d.version == 0: // no ServerHello
		return from == Client && kind != recordHandshake
	case d.version >= VersionTLS13:
		if kind != recordApplicationData {
			return false
		}
		if !d.keyed && !d.must(h.at) {
			return true
		}
		return from == Client && d.hs != nil && d.hs.early && !d.hs.answered
	case kind == recordChangeCipherSpec, kind == recordApplicationData && h.epoch == clear0:
		return d.hs != nil && !d.hs.derived && !d.must(h.at)
	}
	return false
}

// must obtains the keys, or makes both directions wait for them. It answers true
// where nothing waits: the keys are there, or the connection was given up.
func (d *Decrypter) must(at int64) bool {
	w := d.waits()
	w.version = d.shared.store.Version()
	if d.obtain(d.shared.store.Sealed(), at) {
		return true
	}
	if d.shared.store.Sealed() {
		d.fail(Client, at)
		return true
	}
	w.keys = true
	d.half[Client].hold, d.half[Server].hold = true, true
	return false
}

// plain13 says whether a record is in clear whatever keys its direction has (RFC
// 8446 §5, §D.4).
func (d *Decrypter) plain13(h *direction) bool {
	return d.version >= VersionTLS13 && h.head[0] != recordApplicationData
}

// record reads a record that is there whole.
func (d *Decrypter) record(from Dir, h *direction, body []byte) {
	if h.epoch == clear0 && (d.version >= VersionTLS13 || h.missed == 0 && !h.resync) || d.plain13(h) {
		d.clearRecord(from, h, body)
		return
	}
	if h.dead {
		d.unreadable(from, h)
		return
	}
	if d.useless(from, h, len(body)) && d.passOver(from, h, body) || d.passFinished(from, h, len(body)) {
		return
	}
	dst := d.shared.scratch()
	defer d.shared.done()
	content, kind, ok := d.open(from, h, dst, body)
	if h.keys.Chained() {
		h.keys.Follow(body)
	}
	if !ok {
		if h.epoch == clear0 {
			d.clearRecord(from, h, body)
			return
		}
		d.failed(from, h)
		return
	}
	d.shared.Stats.Opened++
	d.authentic(from, h.at)
	d.content(from, h, kind, content)
	clear(dst[:len(body)]) // content, type and padding
}

// content takes a record's content.
func (d *Decrypter) content(from Dir, h *direction, kind byte, content []byte) {
	switch kind {
	case recordApplicationData:
		if len(content) > 0 && !h.closed {
			d.above.Data(from, content, h.at)
		}
	case recordHandshake:
		d.messages(from, h, content)
	case recordAlert:
		d.alert(from, h, content)
	case recordChangeCipherSpec:
		d.changeCipher(from, h)
	}
}

// Alerts after which a side sends no more: close_notify, and all that are fatal
// (RFC 8446 §6, RFC 5246 §7.2).
const (
	alertFatal        = 2
	alertCloseNotify  = 0
	alertUserCanceled = 90
)

func (d *Decrypter) alert(from Dir, h *direction, content []byte) {
	if len(content) != 2 {
		return
	}
	i := &d.shared.info
	d.observer.tell(Alert, i)
	d.listener.TLS(from, Alert, i, h.at)
	if h.closed || d.state != Decrypted || content[1] == alertUserCanceled ||
		content[1] != alertCloseNotify && content[0] != alertFatal && d.version < VersionTLS13 {
		return
	}
	h.closed = true
	d.above.Close(from, h.at)
}

// clearRecord reads a record that is not encrypted.
func (d *Decrypter) clearRecord(from Dir, h *direction, body []byte) {
	switch h.head[0] {
	case recordHandshake:
		if h.epoch == clear0 {
			d.messages(from, h, body)
		}
	case recordAlert:
		if d.state == Decrypted {
			d.alert(from, h, body)
		}
	case recordChangeCipherSpec:
		d.changeCipher(from, h)
	}
}

// useless says whether nobody reads the content of a record of that length.
func (d *Decrypter) useless(from Dir, h *direction, length int) bool {
	if d.skipper == nil || d.state != Decrypted || h.epoch != traffic || h.head[0] != recordApplicationData ||
		h.verify || h.dead || h.closed || h.passing {
		return false
	}
	room := d.skipper.Skippable(from)
	return room > 0 && int64(length-h.keys.Overhead()) <= room
}

// passFinished passes over the client's Finished in TLS 1.3, known by its length (RFC 8446
// §4.4.4): where no certificate was asked for it is the client's only message
// with its keys, which are then never needed.
func (d *Decrypter) passFinished(from Dir, h *direction, length int) bool {
	if h.epoch != handshake || from != Client || h.passing || h.resync || h.missed > 0 || d.state != Decrypted ||
		d.hs == nil || d.hs.asked || d.half[Server].epoch != traffic ||
		length != helloHead+h.keys.Suite.Hash.Size()+h.keys.Overhead() {
		return false
	}
	d.shared.Stats.Skipped++
	d.advance(from, h)
	return true
}

// passOver tells a record that nobody reads by what its last bytes say.
func (d *Decrypter) passOver(from Dir, h *direction, tail []byte) bool {
	kind, n, ok := d.shared.cipher(h).Content(h.seq, h.head[:], h.length(), tail)
	if !ok || kind != recordApplicationData {
		return false
	}
	if h.keys.Chained() {
		h.keys.Follow(tail)
	}
	h.seq++
	d.shared.Stats.Skipped++
	if n > 0 {
		d.skipper.Skip(from, int64(n), h.at)
	}
	return true
}

// tornRecord takes a record of which only the last bytes are there.
func (d *Decrypter) tornRecord(from Dir, h *direction, tail []byte) {
	if !h.gap && d.passOver(from, h, tail) {
		return
	}
	d.lostRecord(from, h, tail)
}

// lostRecord takes a record that cannot be opened. Its number is used up.
func (d *Decrypter) lostRecord(from Dir, h *direction, tail []byte) {
	d.shared.Stats.Lost++
	encrypted := h.epoch != clear0 && !d.plain13(h)
	h.verify = true
	h.missed++
	if h.keys.Chained() {
		h.keys.Follow(tail)
	}
	if !encrypted {
		d.missing(from, h, h.at)
		return
	}
	n := h.length() - h.keys.Overhead()
	kind := h.head[0]
	if !h.resync && !h.passing && !h.dead && len(tail) > 0 {
		if k, size, ok := d.shared.cipher(h).Content(h.seq, h.head[:], h.length(), tail); ok {
			kind, n = k, size
		}
	}
	if !h.resync {
		h.seq++
	}
	if d.version >= VersionTLS13 && h.epoch != traffic {
		kind = recordHandshake
	}
	if kind != recordApplicationData {
		d.missing(from, h, h.at)
		return
	}
	if d.state == Decrypted && n > 0 && !h.closed && !h.resync {
		d.above.Gap(from, int64(n), h.at)
	}
}

// failed takes a record that did not authenticate.
func (d *Decrypter) failed(from Dir, h *direction) {
	d.shared.Stats.Failed++
	h.verify = true
	if d.state == Waiting {
		if d.failures++; d.failures >= maxFailures {
			d.giveUp(Mismatched, from, h.at)
		}
	}
	if h.passing || h.resync {
		d.unreadable(from, h)
		return
	}
	h.seq++
	d.unreadable(from, h)
}

// unreadable tells a record of which nothing is known but its length.
func (d *Decrypter) unreadable(from Dir, h *direction) {
	if d.state != Decrypted || h.closed || h.resync || h.head[0] != recordApplicationData {
		return
	}
	if h.passing && (d.hs == nil || !d.hs.accepted) {
		return // rejected early data, or a handshake without its keys
	}
	if n := h.length() - max(h.keys.Overhead(), 17); n > 0 {
		d.above.Gap(from, int64(n), h.at)
	}
}
