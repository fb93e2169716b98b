package tls

import (
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/analyzer/tls/protection"
)

const (
	maxOpened   = 1 << 10   // records of an Opened
	maxOpenText = 128 << 10 // bytes of their content
	maxAhead    = 2 << 10   // bytes of a record that is opened ahead; longer ones are mostly bodies
	maxFirst    = 16        // encrypted records of a direction, one of which is the first of application data
)

// An Opened holds the content of records that an Opener opened ahead. What a record holds
// depends on nothing but its bytes, its keys and its number, so what a Decrypter finds
// here is what it would have made itself. One goroutine may fill an Opened and another
// read it afterwards. Its zero value is ready, and nil has no room.
type Opened struct {
	records []openedRecord // in the order of their segments
	text    []byte
	next    int // of records, to be asked for
}

type openedRecord struct {
	body    *byte // the first
	content []byte
	seq     uint64
	keys    protection.Mark
	head    [headSize]byte
	kind    byte
}

// room says whether there is room for a record of n bytes.
func (o *Opened) room(n int) bool {
	if o == nil {
		return false
	}
	if o.text == nil {
		o.text = make([]byte, 0, maxOpenText)
	}
	return len(o.records) < maxOpened && len(o.text)+n <= cap(o.text)
}

// find returns what record seq of a direction holds, until Wipe.
func (o *Opened) find(h *direction, seq uint64, body []byte) (content []byte, kind byte, ok bool) {
	if o == nil || len(body) == 0 {
		return nil, 0, false
	}
	for i := o.next; i < len(o.records); i++ {
		if r := &o.records[i]; r.body == &body[0] && r.seq == seq && r.head == h.head && r.keys == h.keys.Mark() {
			o.next = i + 1
			return r.content, r.kind, true
		}
	}
	return nil, 0, false
}

// Wipe zeroes and forgets all records.
func (o *Opened) Wipe() {
	clear(o.text)
	clear(o.records)
	o.text, o.records, o.next = o.text[:0], o.records[:0], 0
}

// An Opener opens records of TLS 1.3 before the Decrypters of another goroutine come to
// them. It is for one goroutine, and changes nothing in the Store.
type Opener struct {
	store    *keylog.Store
	schedule protection.Schedule
	secrets  keylog.Secrets
	info     Info
}

// NewOpener returns an Opener that takes its keys from store.
func NewOpener(store *keylog.Store) *Opener { return &Opener{store: store} }

// An Opening is a connection whose records are opened ahead. It follows no handshake: the
// first record that the keys of application data open is the first of these.
type Opening struct {
	random [randomSize]byte
	half   [2]openingHalf
	keyed  bool
}

type openingHalf struct {
	keys   protection.Keys
	cipher *protection.Cipher
	seq    uint64 // of the next record; 0 before the first
	tried  int    // records that were not the first
}

// Begin makes c, which is zero, the connection that b begins, a ClientHello, and reports
// whether enough of that is there.
func (c *Opening) Begin(b []byte) bool {
	const at = headSize + helloHead + 2
	if len(b) < at+randomSize {
		return false
	}
	copy(c.random[:], b[at:])
	return true
}

// Wipe zeroes c.
func (c *Opening) Wipe() {
	for i := range c.half {
		if cipher := c.half[i].cipher; cipher != nil {
			cipher.Wipe()
		}
	}
	*c = Opening{}
}

// Records takes the records that begin in b, bytes of a side from behind the record before.
// It returns their length, of which b may lack the end, and whether the connection can be
// followed further. Where there is room it opens whole records into an Opened, if that is
// useful or the side's first record of application data is still to come.
func (o *Opener) Records(c *Opening, from Dir, b []byte, into *Opened, useful bool) (length int, ok bool) {
	for len(b) > 0 {
		if len(b) < headSize || !beginsRecord(b) {
			return 0, false
		}
		n := headSize + int(binary.BigEndian.Uint16(b[3:]))
		length += n
		if n > len(b) {
			c.half[from].pass(b[0])
			break
		}
		if !o.record(c, from, b[:n], into, useful) {
			return 0, false
		}
		b = b[n:]
	}
	return length, true
}

// pass takes a record of a type as read.
func (h *openingHalf) pass(kind byte) {
	if kind == recordApplicationData && h.seq > 0 {
		h.seq++
	}
}

// record takes a whole record.
func (o *Opener) record(c *Opening, from Dir, record []byte, into *Opened, useful bool) bool {
	h := &c.half[from]
	switch {
	case record[0] == recordHandshake && from == Server && !c.keyed:
		return o.serverHello(c, record[headSize:])
	case record[0] != recordApplicationData:
		return true
	case !c.keyed:
		return false
	case from == Server && c.half[Client].cipher == nil: // its handshake, which the client's Finished follows
		return true
	case h.seq > 0 && !useful, len(record) > maxAhead, !into.room(len(record)):
		h.pass(record[0])
		return true
	}
	if h.cipher == nil {
		h.cipher = h.keys.Cipher(&o.schedule)
	}
	at := len(into.text)
	content, kind, ok := h.cipher.Open(&o.schedule, into.text[at:], h.seq, record[:headSize], record[headSize:])
	if !ok {
		h.tried++
		return h.seq == 0 && h.tried < maxFirst
	}
	into.text = into.text[:at+len(record)]
	into.records = append(into.records, openedRecord{&record[headSize], content, h.seq, h.keys.Mark(), [headSize]byte(record), kind})
	h.seq++
	return true
}

// serverHello gives both directions the keys of their application data.
func (o *Opener) serverHello(c *Opening, message []byte) bool {
	if size, ok := helloSize(message); !ok || size > len(message) || message[0] != typeServerHello {
		return false
	}
	hello := o.info.serverHello(message[helloHead:])
	suite := protection.SuiteOf(hello.suite, hello.version)
	defer clear(o.secrets[:])
	if hello.retry || hello.version != VersionTLS13 || !suite.Known() || !o.store.Get(&c.random, &o.secrets) ||
		!o.secrets.Has(keylog.ClientTraffic, keylog.ServerTraffic) {
		return false
	}
	for dir := range Dir(2) {
		c.half[dir].keys.Traffic(suite, o.secrets[trafficLabel(dir)].Bytes())
	}
	c.keyed = true
	return true
}
