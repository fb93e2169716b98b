package tls

import (
	"time"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/analyzer/tls/protection"
)

const (
	// DefaultHeld is the most bytes that the Decrypters of a Decryption hold where
	// it is not told: 8 MiB.
	DefaultHeld = 8 << 20

	maxWaiting  = 64 << 10               // bytes of a connection that wait for keys
	maxPatience = int64(2 * time.Second) // of packet time, for keys
	maxEvents   = 1024                   // of a connection that wait for keys
	maxFailures = 16                     // records, none of which authenticated
	maxTries    = 4096                   // of a direction, between two records that authenticate
	maxNumbers  = 256                    // tried for one record
	minRecord   = headSize + 17          // of TLS 1.3: what a lost record took at least
	longRecord  = headSize + 1<<14 + 256 // of TLS 1.3: what a lost record took at most
	minSkim     = 256                    // bytes of a record; a shorter one is kept whole
	cipherSlots = 1024                   // Ciphers kept; a power of two
	bufferSize  = headSize + maxRecord   // of a record that comes in pieces
	entryHead   = 1 + 8 + 8              // of an entry of the waiting log
)

// A State says whether a connection is read with keys.
type State uint8

// The states. Waiting is over when the first record authenticates, or the
// connection is given up.
const (
	Waiting    State = iota
	Decrypted        // records authenticate
	Missing          // no line for it, a hello that was not captured, or a cipher suite that cannot be read
	Mismatched       // there was a line, and no record authenticated
)

// String returns the state's name in views.
func (s State) String() string {
	if s > Mismatched {
		return "unknown"
	}
	return [...]string{"waiting", "decrypted", "missing", "mismatched"}[s]
}

// A Listener hears what the records of a connection show beside their content:
// the Observer's events, at the time of the segment that showed them. Where a
// connection is decrypted, ApplicationData, ApplicationEnd, MaybeAlert and Lost
// are not told; where it is not, they are told when that is certain, with the time that they had.
type Listener interface {
	TLS(from Dir, e Event, i *Info, at int64)
}

// A Skipper is an http.Conn that can say what it need not see.
type Skipper interface {
	// Skippable returns how many of the coming bytes of a direction it has no use for, such as
	// those left of a body of known length.
	Skippable(from http.Side) int64
	// Skip takes n of them as read.
	Skip(from http.Side, n int64, at int64)
}

// DecryptionStats counts what Decrypters did.
type DecryptionStats struct {
	Opened      uint64 // records authenticated and decrypted
	Skipped     uint64 // records of which only the content type was read
	Failed      uint64 // records that did not authenticate; nothing of them is read
	Lost        uint64 // records of which bytes were not captured
	Resumed     uint64 // times that a record was found again after a gap, by its number
	Abandoned   uint64 // directions given up after too many tries
	Full        uint64 // records or connections given up because too much was held
	Late        uint64 // connections given up because no keys came in time
	Unsupported uint64 // connections with a cipher suite that cannot be read
	Recalled    uint64 // resumed sessions read by the keys of the full handshake
}

// A Decryption is what the Decrypters of one goroutine share. It is not safe for concurrent
// use; the Store is.
type Decryption struct {
	Stats  DecryptionStats
	Hellos *Hellos // of their Observers
	Opened *Opened // records that were opened ahead; nil: none

	store    *keylog.Store
	max      int64 // bytes held
	held     int64
	schedule protection.Schedule
	secrets  keylog.Secrets
	info     Info
	plain    [][]byte // one for each connection that is inside another
	depth    int
	ciphers  [cipherSlots]cipherSlot
	serial   uint32
	buffers  []*recordBuffer // not in use
	idle     []*negotiation  // not in use
}

// A cipherSlot keeps the Cipher of the direction that has a serial number.
type cipherSlot struct {
	serial uint32
	cipher *protection.Cipher
}

// A recordBuffer holds a record that comes in pieces: its body, or, of one that
// is not kept whole, the last bytes of it.
type recordBuffer struct{ b [maxRecord]byte }

// NewDecryption returns what the Decrypters of a goroutine share: they take their keys from
// store, and together hold at most that many bytes of records, DefaultHeld
// where it is 0.
func NewDecryption(store *keylog.Store, held int64) *Decryption {
	if held <= 0 {
		held = DefaultHeld
	}
	return &Decryption{store: store, max: held}
}

// Held returns the bytes of records that are held now.
func (s *Decryption) Held() int64 { return s.held }

// New returns a Decrypter of a connection, or of what is inside a tunnel. Its plaintext goes
// to above, and what the records show to listener.
func (s *Decryption) New(above http.Conn, listener Listener) *Decrypter {
	d := &Decrypter{shared: s, above: above, listener: listener, observer: Observer{Hellos: s.Hellos}}
	d.skipper, _ = above.(Skipper)
	return d
}

// hold accounts for n more bytes held, or says that there is no room.
func (s *Decryption) hold(n int64) bool {
	if s.held+n > s.max {
		return false
	}
	s.held += n
	return true
}

// buffer lends a buffer; nil where too much is held.
func (s *Decryption) buffer() *recordBuffer {
	if !s.hold(bufferSize) {
		s.Stats.Full++
		return nil
	}
	if n := len(s.buffers); n > 0 {
		b := s.buffers[n-1]
		s.buffers = s.buffers[:n-1]
		return b
	}
	return new(recordBuffer)
}

// maxSpare is how many buffers, and negotiations, that are not in use are kept.
const maxSpare = 64

func (s *Decryption) negotiation() *negotiation {
	if n := len(s.idle); n > 0 {
		hs := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return hs
	}
	return &negotiation{}
}

func (s *Decryption) release(b *recordBuffer) {
	s.held -= bufferSize
	if len(s.buffers) < maxSpare {
		s.buffers = append(s.buffers, b)
	}
}

// scratch lends room for a record's content until done: what is in a tunnel inside TLS is
// read while the record around it is.
func (s *Decryption) scratch() []byte {
	if s.depth == len(s.plain) {
		s.plain = append(s.plain, make([]byte, 0, maxRecord))
	}
	s.depth++
	return s.plain[s.depth-1]
}

func (s *Decryption) done() { s.depth-- }

// cipher returns the Cipher of a direction.
func (s *Decryption) cipher(h *direction) *protection.Cipher {
	slot := &s.ciphers[h.serial%cipherSlots]
	if slot.serial != h.serial || slot.cipher == nil {
		if slot.cipher != nil {
			slot.cipher.Wipe()
		}
		slot.serial, slot.cipher = h.serial, h.keys.Cipher(&s.schedule)
	}
	if h.keys.Chained() {
		slot.cipher.Chain(&h.keys)
	}
	return slot.cipher
}

// forget drops the Cipher of a direction.
func (s *Decryption) forget(h *direction) {
	slot := &s.ciphers[h.serial%cipherSlots]
	if slot.cipher != nil && slot.serial == h.serial {
		slot.cipher.Wipe()
		*slot = cipherSlot{}
	}
}
