package tls

import (
	"crypto/sha256"
	"encoding/binary"
)

// The versions, as on the wire (RFC 8446 §4.1.2, §4.2.1).
const (
	VersionTLS12 = 0x0303
	VersionTLS13 = 0x0304
)

// Handshake message types (RFC 8446 §4, RFC 5077 §3.3).
const (
	typeClientHello      = 1
	typeServerHello      = 2
	typeNewSessionTicket = 4
)

// Extensions (RFC 6066 §3, RFC 7301 §3.1, RFC 5077 §3.2, RFC 8446 §4.2).
const (
	extServerName        = 0
	extALPN              = 16
	extSessionTicket     = 35
	extPreSharedKey      = 41
	extEarlyData         = 42
	extSupportedVersions = 43
)

const (
	maxName    = 255
	helloHead  = 4 // type and length of a handshake message
	randomSize = 32
)

// retryRandom marks a ServerHello as a HelloRetryRequest (RFC 8446 §4.1.3).
var retryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// A cursor reads fields off the front of a message. After a field that is not
// there whole it is at its end, and stays there.
type cursor []byte

func (c *cursor) take(n int) []byte {
	if n > len(*c) {
		*c = nil
		return nil
	}
	b := (*c)[:n]
	*c = (*c)[n:]
	return b
}

func (c *cursor) uint8() int {
	if b := c.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (c *cursor) uint16() int {
	if b := c.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

// rest returns a vector of n bytes, or what is there of it.
func (c *cursor) rest(n int) cursor { return cursor(c.take(min(n, len(*c)))) }

// extension returns the next extension that is there whole.
func (c *cursor) extension() (id int, body cursor, ok bool) {
	if len(*c) < 4 {
		return 0, nil, false
	}
	id = c.uint16()
	n := c.uint16()
	if n > len(*c) {
		return 0, nil, false
	}
	return id, cursor(c.take(n)), true
}

// A session is a session id, reduced to what comparing two takes.
type session uint32

// sessionOf hashes an id (FNV-1a); no id is 0.
func sessionOf(id []byte) session {
	if len(id) == 0 {
		return 0
	}
	h := uint32(2166136261)
	for _, b := range id {
		h = (h ^ uint32(b)) * 16777619
	}
	return session(max(h, 1))
}

// clientHello reads a ClientHello's body (RFC 8446 §4.1.2) as far as it goes
// into i, and returns its session id.
func (i *Info) clientHello(c cursor) session {
	i.SNI, i.Offered, i.ALPN = i.SNI[:0], i.Offered[:0], i.ALPN[:0]
	i.Version, i.Resumed = 0, false
	i.SessionID, i.Ticket, i.PSK, i.EarlyData = false, false, false, false

	c.take(2 + randomSize)
	id := c.take(c.uint8())
	i.SessionID = len(id) > 0
	c.take(c.uint16()) // cipher suites
	c.take(c.uint8())  // compression methods
	exts := c.rest(c.uint16())
	for {
		ext, body, ok := exts.extension()
		if !ok {
			return sessionOf(id)
		}
		switch ext {
		case extServerName:
			i.serverName(body)
		case extALPN:
			i.offered(body)
		case extSessionTicket:
			i.Ticket = len(body) > 0 // empty: only supported (RFC 5077 §3.2)
		case extPreSharedKey:
			i.PSK = true
		case extEarlyData:
			i.EarlyData = true
		}
	}
}

// serverName reads the host_name of a server_name extension (RFC 6066 §3).
func (i *Info) serverName(c cursor) {
	list := c.rest(c.uint16())
	for len(list) > 0 {
		kind := list.uint8()
		name := list.take(list.uint16())
		if kind == 0 {
			i.SNI = appendHost(i.SNI[:0], name)
			return
		}
	}
}

// appendHost appends name in lower case without a final dot; nothing where it
// is no host name. The underscore is not one's, but is used.
func appendHost(dst, name []byte) []byte {
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if len(name) > maxName {
		return dst
	}
	start := len(dst)
	for _, b := range name {
		switch {
		case 'A' <= b && b <= 'Z':
			b += 'a' - 'A'
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9', b == '-', b == '.', b == '_':
		default:
			return dst[:start]
		}
		dst = append(dst, b)
	}
	return dst
}

// offered reads the protocol names of an ALPN extension (RFC 7301 §3.1).
func (i *Info) offered(c cursor) {
	i.Offered = i.Offered[:0]
	list := c.rest(c.uint16())
	for len(list) > 0 {
		name := list.take(list.uint8())
		if !printable(name) || len(i.Offered)+1+len(name) > maxName {
			continue
		}
		if len(i.Offered) > 0 {
			i.Offered = append(i.Offered, ',')
		}
		i.Offered = append(i.Offered, name...)
	}
}

// printable says whether a protocol name is visible ASCII without a comma, as
// all registered ones for HTTP are; GREASE (RFC 8701) is not.
func printable(name []byte) bool {
	for _, b := range name {
		if b <= ' ' || b > '~' || b == ',' {
			return false
		}
	}
	return len(name) > 0
}

// A serverHello is what a ServerHello says.
type serverHello struct {
	version uint16
	suite   uint16
	session session
	psk     bool
	retry   bool
	sure    bool // the version is not a guess: all extensions were there
}

// serverHello reads a ServerHello's body (RFC 8446 §4.1.3) as far as it goes;
// the ALPN protocol goes into i.
func (i *Info) serverHello(c cursor) serverHello {
	i.ALPN = i.ALPN[:0]
	var s serverHello
	s.version = uint16(c.uint16())
	random := c.take(randomSize)
	s.retry = len(random) == randomSize && [randomSize]byte(random) == retryRandom
	s.session = sessionOf(c.take(c.uint8()))
	s.suite = uint16(c.uint16())
	if c.take(1) == nil { // compression method
		return s
	}
	if len(c) == 0 {
		s.sure = true // no extensions at all (RFC 5246 §7.4.1.3)
		return s
	}
	n := c.uint16()
	s.sure = n == len(c)
	exts := c.rest(n)
	for {
		ext, body, ok := exts.extension()
		if !ok {
			return s
		}
		switch ext {
		case extSupportedVersions:
			s.version, s.sure = selected(body), true
		case extPreSharedKey:
			s.psk = true
		case extALPN:
			list := body.rest(body.uint16())
			if name := list.take(list.uint8()); printable(name) {
				i.ALPN = append(i.ALPN, name...)
			}
		}
	}
}

// selected is the version in a supported_versions extension of a ServerHello;
// the drafts of TLS 1.3 (0x7fNN) that used it count as TLS 1.3.
func selected(body cursor) uint16 {
	v := uint16(body.uint16())
	if v>>8 == 0x7f {
		return VersionTLS13
	}
	return v
}
