package tls

import (
	"cmp"
	"encoding/binary"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A Dir is a direction of a connection, named for its sender.
type Dir = http.Side

// The directions.
const (
	Client = http.Client
	Server = http.Server
)

// An Event is what Next or Gap found.
type Event uint8

// The events.
const (
	NeedMore        Event = iota // all was consumed and there is nothing to tell
	ClientHello                  // Info has what the client offers
	HelloRetry                   // the server asks for another ClientHello (RFC 8446 §4.1.4)
	ServerHello                  // Info has Version and ALPN, and what is known of Resumed
	HandshakeDone                // the client may send its request; Info has Version, Resumed and Early
	ApplicationData              // a record of application data begins; Info has Length, Content, Request and Interim
	ApplicationEnd               // its last byte was consumed
	Alert                        // an alert of any kind; close_notify is one
	MaybeAlert                   // TLS 1.3: an encrypted record of an alert's length
	Lost                         // not TLS, or not known where the next record begins
	Decryptable                  // a Decrypter's: the first record authenticated; its State is Decrypted
	Undecrypted                  // a Decrypter's: it reads the connection without keys; its State says why
	Chosen                       // a Decrypter's: Info has ALPN, of TLS 1.3
)

// An Info takes what events tell. One serves any number of connections: only
// the fields that an event names are meant, until the next call that is given
// the same Info, and SNI, Offered and ALPN keep their memory.
type Info struct {
	SNI     []byte // ClientHello: host name, lower case, at most 255 bytes
	Offered []byte // ClientHello: ALPN protocols, separated by commas
	ALPN    []byte // ServerHello: the protocol chosen, up to TLS 1.2
	Version uint16 // as on the wire; 0 where no ServerHello was seen
	Length  uint16 // ApplicationData: bytes of the record, encrypted, without its header
	Content uint16 // ApplicationData: the most bytes that it holds
	Resumed bool
	Early   bool // HandshakeDone: the client has sent application data before
	Request bool // ApplicationData: the client's can hold a request, or the server's answers a short one of HTTP/2
	Interim bool // ApplicationData of the server: it has the length of a 100 (Continue)

	SessionID, Ticket, PSK, EarlyData bool // ClientHello: offered
}

// Record content types (RFC 8446 §5.1, RFC 6520 §3).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
	recordHeartbeat        = 24
)

const (
	headSize  = 5
	maxRecord = 1<<14 + 2048 // RFC 5246 §6.2.3
	maxHello  = 1 << 14
)

// A state is what an Observer knows of a connection.
type state uint32

const (
	clientHelloSeen state = 1 << iota
	serverHelloSeen
	retried      // a HelloRetryRequest was seen
	resumed      // or so it seems
	undecided    // what follows the ServerHello will tell whether it is resumed
	clientCipher // the client's ChangeCipherSpec was seen
	done         // HandshakeDone was told
	finished     // the client's flight is over
	spoke        // the client sent application data
	early        // the client offered early data
	serverDone   // with early data: the server's Finished was seen
	dead         // not TLS
	partialDir   // the partial hello is the server's
	serverCipher // up to TLS 1.2: the server's ChangeCipherSpec was seen
	offersHTTP2  // by ALPN
	prefersHTTP2 // and first
	choseSeen    // TLS 1.3: the server's first encrypted record was
	choseHTTP2   // and it has the length of EncryptedExtensions with h2
	choseOther   // or with http/1.1, or without ALPN
	beganHTTP2   // the client's first application data has the length of HTTP/2's beginning
	isHTTP2      // up to TLS 1.2: by ALPN
	clientData   // application data of the client was told
	serverData   // and of the server
	wentOn       // after beganHTTP2 the client went on unanswered
	mayHaveAsked // the client sent a record that other frames fill as well as a short HEADERS
)

// A half is one direction's place among its records.
type half struct {
	left  uint16         // of the current record
	head  [headSize]byte // of it
	have  uint8          // bytes of head; the record is entered when it is headSize
	lost  bool
	inApp bool // the record was told as ApplicationData
}

// A partial is a hello that has not come whole.
type partial struct{ buf []byte }

// Hellos bounds what hellos take that come in pieces, of all Observers that share it. The
// zero value is ready. It is not safe for concurrent use.
type Hellos struct {
	Max  int64  // bytes, 0 for 4 MiB
	Full uint64 // hellos that were read no further, for want of room
	held int64
}

// room says whether n bytes more can be held.
func (h *Hellos) room(n int) bool {
	if h == nil || h.held+int64(n) <= cmp.Or(h.Max, 4<<20) {
		return true
	}
	h.Full++
	return false
}

// hold counts n bytes more, or fewer.
func (h *Hellos) hold(n int) {
	if h != nil {
		h.held += int64(n)
	}
}

// An Observer follows one connection. The zero value waits for a ClientHello.
type Observer struct {
	Hellos *Hellos // nil without a bound but that of each

	partial *partial // a hello in pieces; nil nearly always
	session session
	state   state
	version uint16 // 0 until the ServerHello
	suite   uint16
	half    [2]half
}

// IsClientHello says whether the first bytes that a client sends are, as far as
// they go, the beginning of a ClientHello in a TLS record. One byte is enough
// to tell it from HTTP; eleven make sure.
func IsClientHello(b []byte) bool {
	if len(b) == 0 || b[0] != recordHandshake || !beginsRecord(b) {
		return false
	}
	if len(b) < headSize {
		return true
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	b = b[headSize:]
	b = b[:min(n, len(b))]
	switch {
	case n == 0:
		return false
	case len(b) > 0 && b[0] != typeClientHello, len(b) > 1 && b[1] != 0, len(b) > 4 && b[4] != 3:
		return false
	}
	return true
}

// IsApplicationData says whether b begins like a record of application data: a
// TLS connection seen midstream, to be followed after Midstream.
func IsApplicationData(b []byte) bool {
	return len(b) >= headSize && b[0] == recordApplicationData && beginsRecord(b)
}

// beginsRecord says whether b is, as far as it goes, the beginning of a record.
func beginsRecord(b []byte) bool {
	switch {
	case len(b) > 0 && (b[0] < recordChangeCipherSpec || b[0] > recordHeartbeat),
		len(b) > 1 && b[1] != 3,
		len(b) > 2 && b[2] > 4,
		len(b) >= headSize && binary.BigEndian.Uint16(b[3:]) > maxRecord:
		return false
	}
	return true
}

// Midstream makes o follow a connection whose handshake was not captured.
func (o *Observer) Midstream() {
	o.state = clientHelloSeen | serverHelloSeen | done | finished
}

// Next reads the bytes b that dir sent next, up to and including the first
// event, which it returns with the number of bytes read. Call it with the rest
// until it returns NeedMore. b is not kept.
func (o *Observer) Next(dir Dir, b []byte, i *Info) (int, Event) {
	h := &o.half[dir]
	if h.lost && !o.rejoin(h, b) {
		return len(b), NeedMore
	}
	for n := 0; ; {
		if h.have < headSize {
			k := copy(h.head[h.have:], b[n:])
			h.have += uint8(k)
			n += k
			if h.have < headSize {
				return n, NeedMore
			}
			switch e := o.enter(dir, h, i); e {
			case NeedMore:
			case Lost:
				return len(b), Lost
			case HandshakeDone:
				if h.head[0] == recordApplicationData && o.before13() {
					h.have-- // the record is entered again, for what is in it
					n--
				}
				return n, e
			default:
				return n, e
			}
		}
		k, e := o.content(dir, h, b[n:min(len(b), n+int(h.left))], i)
		n += k
		h.left -= uint16(k)
		switch {
		case e == Lost:
			return len(b), Lost
		case e != NeedMore:
			return n, e
		case h.left > 0 && n < len(b):
			continue
		case h.left > 0:
			return n, NeedMore
		}
		h.have = 0
		if h.inApp {
			h.inApp = false
			return n, ApplicationEnd
		}
	}
}

// Gap skips n bytes that dir sent and that were not captured, up to and
// including the first event. As with Next, call it with the rest until it
// returns NeedMore.
func (o *Observer) Gap(dir Dir, n int64, i *Info) (int64, Event) {
	h := &o.half[dir]
	switch {
	case n <= 0 || h.lost:
		return n, NeedMore
	case h.have < headSize:
		return n, o.lose(dir, h)
	case o.wantsHello(dir, h):
		if e := o.cut(dir, i); e == Lost {
			return n, Lost
		} else if e != NeedMore {
			return 0, e
		}
	}
	if dir == Server && h.head[0] == recordHandshake {
		o.state &^= undecided
	}
	if n < int64(h.left) {
		h.left -= uint16(n)
		return n, NeedMore
	}
	k := int64(h.left)
	h.left, h.have = 0, 0
	if h.inApp {
		h.inApp = false
		return k, ApplicationEnd
	}
	if k < n {
		return n, o.lose(dir, h)
	}
	return k, NeedMore
}

// lose gives a direction up until rejoin. Its hello, if it was not seen yet,
// will not be known.
func (o *Observer) lose(dir Dir, h *half) Event {
	o.state |= helloSeen(dir)
	if o.partialDir() == dir {
		o.Release()
	}
	*h = half{lost: true}
	return Lost
}

// helloSeen is the state in which dir's hello is behind.
func helloSeen(dir Dir) state {
	if dir == Client {
		return clientHelloSeen
	}
	return serverHelloSeen
}

// kill gives the connection up.
func (o *Observer) kill() Event {
	o.state |= dead
	o.Release()
	o.half = [2]half{{lost: true}, {lost: true}}
	return Lost
}

// rejoin follows a lost direction again where b begins like a record.
func (o *Observer) rejoin(h *half, b []byte) bool {
	if o.state&dead != 0 || len(b) < headSize || !beginsRecord(b) {
		return false
	}
	h.lost = false
	return true
}

// enter looks at a record whose head is complete.
func (o *Observer) enter(dir Dir, h *half, i *Info) Event {
	kind := h.head[0]
	if !beginsRecord(h.head[:]) {
		if o.state&clientHelloSeen == 0 {
			return o.kill()
		}
		return o.lose(dir, h)
	}
	if dir == Client && o.state&clientHelloSeen == 0 && !IsClientHello(h.head[:]) {
		return o.kill()
	}
	h.left = binary.BigEndian.Uint16(h.head[3:])
	switch kind {
	case recordChangeCipherSpec:
		o.changeCipherSpec(dir)
	case recordAlert:
		return Alert
	case recordHandshake:
		if o.finishes(dir, h.left) {
			o.state |= done
			return o.tell(HandshakeDone, i)
		}
	case recordApplicationData:
		e := o.application(dir, h.left)
		h.inApp = e == ApplicationData
		if e == ApplicationData {
			o.measure(dir, h.left, i)
		}
		return o.tell(e, i)
	}
	return NeedMore
}

// tell fills in what every event may say.
func (o *Observer) tell(e Event, i *Info) Event {
	i.Version, i.Resumed = o.version, o.state&resumed != 0
	i.Early = e == HandshakeDone && o.state&spoke != 0
	return e
}

// finishes says whether a handshake record ends the handshake up to TLS 1.2 for the client: its own Finished
// where a session is resumed, and the server's where not (RFC 5246 §7.3). Where
// the server's hello was not captured the client's has to do.
func (o *Observer) finishes(dir Dir, length uint16) bool {
	if o.state&done != 0 {
		return false
	}
	if dir == Server {
		return o.before13() && o.state&(serverCipher|resumed) == serverCipher
	}
	if o.state&clientCipher == 0 || !o.endsTLS12(length) {
		return false
	}
	o.state |= finished
	return o.version == 0 || o.state&resumed != 0
}

// before13 says whether the version is known and older than TLS 1.3.
func (o *Observer) before13() bool { return o.version != 0 && o.version < VersionTLS13 }

// endsTLS12 says whether a client's handshake record of this length, after its
// ChangeCipherSpec, is the Finished of TLS 1.2 or older. Where the ServerHello
// was not captured it may be a second ClientHello of TLS 1.3 too, which is
// longer than any encrypted Finished.
func (o *Observer) endsTLS12(length uint16) bool {
	return o.before13() || o.version == 0 && o.state&retried == 0 && length < 128
}

// changeCipherSpec notes a direction's ChangeCipherSpec. In TLS 1.3 it means
// nothing (RFC 8446 §D.4).
func (o *Observer) changeCipherSpec(dir Dir) {
	if dir == Client {
		o.state |= clientCipher
		return
	}
	o.state |= serverCipher
	if o.state&undecided != 0 {
		o.state = o.state&^undecided | resumed
	}
}

// application decides what a record of type application_data is.
func (o *Observer) application(dir Dir, length uint16) Event {
	if o.version == VersionTLS13 && length == o.encrypted(2) {
		return MaybeAlert
	}
	if dir == Server {
		return o.serverApplication(length)
	}
	if o.before13() {
		o.state |= finished // if it was not captured
		if o.state&done == 0 {
			o.state |= done // it did not wait for the server's (RFC 7918)
			return HandshakeDone
		}
	} else if o.state&finished == 0 {
		if e := o.clientFlight(length); e != ApplicationData {
			return e
		}
	}
	o.state |= spoke
	return ApplicationData
}

// clientFlight decides what an encrypted record of a TLS 1.3 client is that
// has not finished: early data and its end, a certificate, the Finished.
func (o *Observer) clientFlight(length uint16) Event {
	last := o.isFinished(length)
	if o.state&early != 0 {
		switch {
		case o.state&serverHelloSeen != 0 && length == o.encrypted(helloHead):
			return NeedMore // EndOfEarlyData (RFC 8446 §4.5)
		case o.state&serverHelloSeen == 0 || !last:
			return ApplicationData
		}
	}
	if last {
		o.state |= finished
	}
	if o.state&done != 0 {
		return NeedMore
	}
	o.state |= done
	return HandshakeDone
}

// serverApplication tells a server's application data from its part of the
// handshake and from what it says unasked.
func (o *Observer) serverApplication(length uint16) Event {
	if o.state&choseSeen == 0 {
		o.chosen(length)
	}
	if o.state&(done|finished) == done {
		o.state |= finished // the client's Finished shared a record
	}
	if o.state&spoke == 0 {
		return NeedMore
	}
	if o.state&finished == 0 && o.state&serverDone == 0 {
		if o.isFinished(length) {
			o.state |= serverDone
		}
		return NeedMore
	}
	return ApplicationData
}

// Cipher suites whose Finished, or whose tag, is of another length than with
// the others of TLS 1.3 (RFC 8446 §B.4).
const (
	suiteAES256SHA384 = 0x1302
	suiteCCM8         = 0x1305
)

// encrypted is the length of n bytes in a TLS 1.3 record: a content type and
// the cipher's tag follow them (RFC 8446 §5.2).
func (o *Observer) encrypted(n uint16) uint16 {
	if o.suite == suiteCCM8 {
		return n + 1 + 8
	}
	return n + 1 + 16
}

// isFinished says whether a record has the length of a Finished message alone:
// a hash (RFC 8446 §4.4.4). Without a ServerHello either hash will do.
func (o *Observer) isFinished(length uint16) bool {
	sha256, sha384 := length == o.encrypted(helloHead+32), length == o.encrypted(helloHead+48)
	switch o.suite {
	case 0:
		return sha256 || sha384
	case suiteAES256SHA384:
		return sha384
	}
	return sha256
}

// wantsHello says whether dir's current record is part of a hello.
func (o *Observer) wantsHello(dir Dir, h *half) bool {
	if h.head[0] != recordHandshake {
		return false
	}
	return o.state&helloSeen(dir) == 0
}

// content reads bytes of dir's current record and returns how many it took.
func (o *Observer) content(dir Dir, h *half, c []byte, i *Info) (int, Event) {
	if len(c) == 0 || h.head[0] != recordHandshake {
		return len(c), NeedMore
	}
	if o.wantsHello(dir, h) {
		return o.hello(dir, c, i)
	}
	if dir == Server && o.state&undecided != 0 {
		o.state &^= undecided | resumed
		if c[0] == typeNewSessionTicket {
			o.state |= resumed
		}
	}
	return len(c), NeedMore
}

// partialDir is whose hello is in pieces.
func (o *Observer) partialDir() Dir {
	if o.state&partialDir != 0 {
		return Server
	}
	return Client
}

// hello reads a piece of a hello message.
func (o *Observer) hello(dir Dir, c []byte, i *Info) (int, Event) {
	if o.partial != nil && o.partialDir() != dir {
		o.state |= helloSeen(o.partialDir()) // it will not be completed any more
		o.Release()
	}
	if o.partial == nil {
		if size, ok := helloSize(c); ok && size <= len(c) {
			return size, o.read(dir, c[:size], false, i)
		}
		o.partial = &partial{}
		o.state &^= partialDir
		if dir == Server {
			o.state |= partialDir
		}
	}
	p := o.partial
	n := 0
	if len(p.buf) < helloHead {
		n = min(helloHead-len(p.buf), len(c))
		if p.buf == nil {
			p.buf = make([]byte, 0, helloHead)
			o.Hellos.hold(helloHead)
		}
		p.buf = append(p.buf, c[:n]...)
		if len(p.buf) < helloHead {
			return n, NeedMore
		}
	}
	if p.buf[0] != helloType(dir) {
		return len(c), o.kill()
	}
	size, _ := helloSize(p.buf)
	k := min(size, maxHello) - len(p.buf)
	k = min(k, len(c)-n)
	if !o.Hellos.room(k) {
		o.Release()
		if len(p.buf) == n { // this is its first piece
			return n + k, o.read(dir, c[:n+k], true, i)
		}
		return n, o.read(dir, p.buf, true, i)
	}
	before := cap(p.buf)
	p.buf = append(p.buf, c[n:n+k]...)
	o.Hellos.hold(cap(p.buf) - before)
	n += k
	if len(p.buf) < min(size, maxHello) {
		return n, NeedMore
	}
	o.Release()
	return n, o.read(dir, p.buf, size > maxHello, i)
}

// Release gives back what is held of a hello in pieces: there is no more to come.
func (o *Observer) Release() {
	if o.partial != nil {
		o.Hellos.hold(-cap(o.partial.buf))
		o.partial = nil
	}
}

// cut reads a hello up to a gap.
func (o *Observer) cut(dir Dir, i *Info) Event {
	var buf []byte
	if o.partial != nil && o.partialDir() == dir {
		buf = o.partial.buf
		o.Release()
	}
	if len(buf) < helloHead {
		o.state |= helloSeen(dir)
		return NeedMore
	}
	return o.read(dir, buf, true, i)
}

func helloType(dir Dir) byte {
	if dir == Client {
		return typeClientHello
	}
	return typeServerHello
}

// helloSize is the length of the message that begins with c, head included.
func helloSize(c []byte) (int, bool) {
	if len(c) < helloHead {
		return 0, false
	}
	return helloHead + int(c[1])<<16 + int(c[2])<<8 + int(c[3]), true
}

// read reads a hello message, or, where short, what there is of it.
func (o *Observer) read(dir Dir, msg []byte, short bool, i *Info) Event {
	if msg[0] != helloType(dir) {
		return o.kill()
	}
	o.state |= helloSeen(dir)
	if dir == Server {
		return o.serverHello(msg[helloHead:], short, i)
	}
	o.session = i.clientHello(msg[helloHead:])
	if i.EarlyData {
		o.state |= early
	}
	o.offers(i.Offered)
	return ClientHello
}

// serverHello takes in a ServerHello. Where it is too short to tell the
// version, the rest of the handshake is followed without it.
func (o *Observer) serverHello(body []byte, short bool, i *Info) Event {
	s := i.serverHello(body)
	if !s.sure {
		return NeedMore
	}
	if s.retry {
		if o.state&retried != 0 {
			return o.kill() // RFC 8446 §4.1.4
		}
		o.state |= retried
		o.state &^= early | serverHelloSeen // early data is rejected (RFC 8446 §4.2.10)
		return HelloRetry
	}
	o.version, o.suite = s.version, s.suite
	switch {
	case s.version >= VersionTLS13:
		if s.psk {
			o.state |= resumed
		}
	default:
		o.state &^= early
		if string(i.ALPN) == "h2" {
			o.state |= isHTTP2
		}
		if s.session != 0 && s.session == o.session {
			o.state |= resumed
		}
		if !short {
			o.state |= undecided
		}
	}
	return o.tell(ServerHello, i)
}
