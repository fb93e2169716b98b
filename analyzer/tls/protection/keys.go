package protection

// Keys is what the records of one direction are protected with.
type Keys struct {
	Suite   Suite
	version uint16
	etm     bool
	// TLS 1.3: the traffic secret. Before: the cipher's key, its IV or salt, and
	// the key of the MAC.
	material [32 + 16 + 48]byte
}

const (
	ivAt  = 32
	macAt = ivAt + 16
)

// Traffic makes k those of a traffic secret of TLS 1.3, which has the length of
// the suite's hash.
func (k *Keys) Traffic(s Suite, secret []byte) {
	*k = Keys{Suite: s, version: version13}
	copy(k.material[:maxHash], secret)
}

// Update makes k those after a KeyUpdate (RFC 8446 §7.2).
func (k *Keys) Update(s *Schedule) {
	n := k.Suite.Hash.Size()
	m := s.hmac(k.Suite.Hash)
	m.key(k.material[:n])
	s.expandLabel(m, "traffic upd", k.material[:n])
	m.wipe()
}

// Master holds what both directions' Keys are derived from up to TLS 1.2.
type Master struct {
	Suite          Suite
	Version        uint16
	EncryptThenMAC bool // agreed on (RFC 7366)
	Secret         [48]byte
	Client, Server [32]byte // randoms
}

// Derive fills in the Keys of both directions (RFC 5246 §6.3).
func (m *Master) Derive(s *Schedule, client, server *Keys) {
	mac, iv := 0, 4 // the salt of GCM and CCM (RFC 5288 §3)
	switch m.Suite.mode {
	case chacha:
		iv = 12 // RFC 7905 §2
	case cbc:
		mac, iv = m.Suite.mac.Size(), 0
		if m.Version <= version10 {
			iv = 16
		}
	}
	key := int(m.Suite.key)
	s.prf(m.Version, m.Suite.Hash, m.Secret[:], "key expansion", &m.Server, &m.Client, 2*(mac+key+iv))
	both := [2]*Keys{client, server}
	at := 0
	for _, part := range []struct{ size, at int }{{mac, macAt}, {key, 0}, {iv, ivAt}} {
		for _, k := range both {
			if part.at == macAt {
				*k = Keys{Suite: m.Suite, version: m.Version, etm: m.EncryptThenMAC && m.Suite.mode == cbc}
			}
			copy(k.material[part.at:], s.block[at:at+part.size])
			at += part.size
		}
	}
	clear(s.block[:])
}

// A Mark tells the Keys of a connection apart: it is a part of them, and as secret.
type Mark [16]byte

// Mark returns that of k.
func (k *Keys) Mark() Mark { return Mark(k.material[:]) }

// Wipe zeroes k.
func (k *Keys) Wipe() { *k = Keys{} }

// Chained says whether a record's IV is the end of the record before, as in TLS 1.0
// (RFC 2246 §6.2.3.2). Follow is then told of each record.
func (k *Keys) Chained() bool { return k.Suite.mode == cbc && k.version <= version10 }

// Follow notes the end of a record whose body's last bytes are given.
func (k *Keys) Follow(body []byte) {
	if k.etm {
		body = body[:max(len(body)-k.Suite.mac.Size(), 0)]
	}
	if len(body) >= 16 {
		copy(k.material[ivAt:], body[len(body)-16:])
	}
}

// Overhead returns how much longer a record's body is than its content, where it has
// no padding, or CBC's least.
func (k *Keys) Overhead() int { return k.Suite.Overhead(k.version) }

// Overhead is that of Keys.
func (s Suite) Overhead(version uint16) int {
	n := int(s.tag)
	switch {
	case version >= version13:
		return n + 1
	case s.mode == cbc:
		n = s.mac.Size() + 1
		if version > version10 {
			n += 16
		}
	case s.mode != chacha:
		n += explicitNonce
	}
	return n
}

// Exact says whether Overhead is exact where TLS 1.3's padding is not used: CBC
// pads every record.
func (s Suite) Exact() bool { return s.mode != 0 && s.mode != cbc }
