package protection

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// A Hash is one that TLS uses.
type Hash uint8

// The hashes.
const (
	SHA256 Hash = iota
	SHA384
	SHA1
	MD5
	numHashes
)

// Size returns the hash's length in bytes.
func (h Hash) Size() int { return [numHashes]int{32, 48, 20, 16}[h] }

const maxHash = 48

// An hmac is HMAC (RFC 2104) whose hash is used again and again.
type hmac struct {
	hash         hash.Hash
	inner, outer [sha512.BlockSize]byte
	block        int
	sum          [maxHash]byte
}

func newHMAC(h Hash) *hmac {
	m := &hmac{}
	switch h {
	case SHA256:
		m.hash = sha256.New()
	case SHA384:
		m.hash = sha512.New384()
	case SHA1:
		m.hash = sha1.New()
	default:
		m.hash = md5.New()
	}
	m.block = m.hash.BlockSize()
	return m
}

// key sets the key. The secrets of TLS are never longer than a block.
func (m *hmac) key(k []byte) {
	clear(m.inner[:])
	copy(m.inner[:], k)
	for i := range m.inner {
		m.outer[i] = m.inner[i] ^ 0x5c
		m.inner[i] ^= 0x36
	}
}

// of returns the HMAC of the parts together, valid until the next call.
func (m *hmac) of(parts ...[]byte) []byte {
	m.hash.Reset()
	m.hash.Write(m.inner[:m.block])
	for _, p := range parts {
		m.hash.Write(p)
	}
	sum := m.hash.Sum(m.sum[:0])
	m.hash.Reset()
	m.hash.Write(m.outer[:m.block])
	m.hash.Write(sum)
	return m.hash.Sum(m.sum[:0])
}

func (m *hmac) wipe() {
	clear(m.inner[:])
	clear(m.outer[:])
	clear(m.sum[:])
	m.hash.Reset()
}

// A Schedule derives keys. It is not safe for concurrent use.
type Schedule struct {
	hmacs [numHashes]*hmac
	info  [64]byte
	seed  [96]byte
	chain [maxHash]byte
	block [maxKeyBlock]byte
}

// maxKeyBlock is the longest key block: two of each MAC key, key and IV (RFC 5246
// §6.3).
const maxKeyBlock = 2 * (48 + 32 + 16)

func (s *Schedule) hmac(h Hash) *hmac {
	if s.hmacs[h] == nil {
		s.hmacs[h] = newHMAC(h)
	}
	return s.hmacs[h]
}

// expandLabel fills out, at most a hash long, by HKDF-Expand-Label without a context
// (RFC 8446 §7.1) from the secret that m has as its key.
func (s *Schedule) expandLabel(m *hmac, label string, out []byte) {
	info := binary.BigEndian.AppendUint16(s.info[:0], uint16(len(out)))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0, 1) // no context; the first block
	copy(out, m.of(info))
}

// traffic derives a traffic secret's key and IV (RFC 8446 §7.3).
func (s *Schedule) traffic(h Hash, secret, key, iv []byte) {
	m := s.hmac(h)
	m.key(secret)
	s.expandLabel(m, "key", key)
	s.expandLabel(m, "iv", iv)
	m.wipe()
}

// prf fills s.block[:n] from a master secret (RFC 5246 §5, RFC 2246 §5).
func (s *Schedule) prf(version uint16, h Hash, master []byte, label string, a, b *[32]byte, n int) {
	seed := append(append(append(s.seed[:0], label...), a[:]...), b[:]...)
	clear(s.block[:])
	if version >= version12 {
		s.xorHash(s.hmac(h), master, seed, s.block[:n])
		return
	}
	half := (len(master) + 1) / 2
	s.xorHash(s.hmac(MD5), master[:half], seed, s.block[:n])
	s.xorHash(s.hmac(SHA1), master[len(master)-half:], seed, s.block[:n])
}

// xorHash adds P_hash to out by exclusive or.
func (s *Schedule) xorHash(m *hmac, secret, seed, out []byte) {
	m.key(secret)
	chain := s.chain[:copy(s.chain[:], m.of(seed))]
	for len(out) > 0 {
		sum := m.of(chain, seed)
		n := min(len(sum), len(out))
		for i := range n {
			out[i] ^= sum[i]
		}
		out = out[n:]
		copy(chain, m.of(chain))
	}
	m.wipe()
	clear(s.chain[:])
}
