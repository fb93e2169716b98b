package protection

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
)

const (
	explicitNonce = 8 // RFC 5288 §3
	nonceSize     = 12
	headSize      = 5
)

// A Cipher opens the records of one direction. It is not safe for concurrent
// use.
type Cipher struct {
	suite   Suite
	version uint16
	etm     bool
	aead    cipher.AEAD  // GCM, ChaCha20-Poly1305
	ccm     *counterMode // CCM
	block   cipher.Block // AES
	iv      [16]byte
	key     [32]byte // ChaCha20: for single blocks
	macKey  []byte

	nonce, extra [16]byte
	count, ahead [64]byte
}

// Cipher makes the Cipher of k, which must have a suite that is Known. TLS 1.0's has to be
// given the IV of each record, by Chain.
func (k *Keys) Cipher(s *Schedule) *Cipher {
	c := &Cipher{suite: k.Suite, version: k.version, etm: k.etm}
	var key [32]byte
	defer clear(key[:])
	n := int(k.Suite.key)
	if k.version == version13 {
		s.traffic(k.Suite.Hash, k.material[:k.Suite.Hash.Size()], key[:n], c.iv[:nonceSize])
	} else {
		copy(key[:n], k.material[:n])
		copy(c.iv[:], k.material[ivAt:macAt])
	}
	// Keys of these lengths are never refused.
	if k.Suite.mode == chacha {
		c.key = key
		c.aead, _ = chacha20poly1305.New(key[:])
		return c
	}
	c.block, _ = aes.NewCipher(key[:n])
	switch k.Suite.mode {
	case gcm:
		c.aead, _ = cipher.NewGCM(c.block)
	case ccm:
		c.ccm = &counterMode{block: c.block, tag: int(k.Suite.tag)}
	default:
		c.macKey = append(c.macKey, k.material[macAt:][:k.Suite.mac.Size()]...)
	}
	return c
}

// Chain sets TLS 1.0's IV of the next record to be opened from k.
func (c *Cipher) Chain(k *Keys) { copy(c.iv[:], k.material[ivAt:macAt]) }

// Wipe zeroes what can be zeroed of c, which must not be used afterwards.
func (c *Cipher) Wipe() {
	clear(c.key[:])
	clear(c.macKey)
	*c = Cipher{}
}

// setNonce makes record seq's nonce (RFC 8446 §5.3, RFC 7905 §2, RFC 5288 §3),
// and returns what follows an explicit one.
func (c *Cipher) setNonce(seq uint64, body []byte) ([]byte, bool) {
	copy(c.nonce[:], c.iv[:nonceSize])
	if c.version == version13 || c.suite.mode == chacha {
		binary.BigEndian.PutUint64(c.nonce[4:], binary.BigEndian.Uint64(c.nonce[4:nonceSize])^seq)
		return body, true
	}
	if len(body) < explicitNonce {
		return nil, false
	}
	copy(c.nonce[4:], body[:explicitNonce])
	return body[explicitNonce:], true
}

// header makes the additional data of TLS 1.2 (RFC 5246 §6.2.3.3), which is also what
// a MAC begins with.
func (c *Cipher) header(seq uint64, head []byte, length int) []byte {
	binary.BigEndian.PutUint64(c.extra[:], seq)
	copy(c.extra[8:], head[:3])
	binary.BigEndian.PutUint16(c.extra[11:], uint16(length))
	return c.extra[:13]
}

// Open authenticates record seq, of which head is the header and body the rest,
// and appends its content to dst, which must not overlap it. The content's type is the
// one that is authenticated.
func (c *Cipher) Open(s *Schedule, dst []byte, seq uint64, head, body []byte) (content []byte, kind byte, ok bool) {
	if c.suite.mode == cbc {
		content, ok = c.openCBC(s, dst, seq, head, body)
		return content, head[0], ok
	}
	sealed, ok := c.setNonce(seq, body)
	if !ok || len(sealed) < int(c.suite.tag) {
		return nil, 0, false
	}
	extra := c.extra[:copy(c.extra[:], head[:headSize])]
	if c.version != version13 {
		extra = c.header(seq, head, len(sealed)-int(c.suite.tag))
	}
	if c.ccm != nil {
		content, ok = c.ccm.open(dst, c.nonce[:nonceSize], sealed, extra)
	} else {
		var err error
		content, err = c.aead.Open(dst, c.nonce[:nonceSize], sealed, extra)
		ok = err == nil
	}
	if !ok || c.version != version13 {
		return content, head[0], ok
	}
	// The type is the last byte that is not zero (RFC 8446 §5.4).
	end := len(content)
	for end > len(dst) && content[end-1] == 0 {
		end--
	}
	if end == len(dst) {
		return nil, 0, false
	}
	return content[:end-1], content[end-1], true
}

// openCBC is Open for CBC. The MAC covers the content, or by encrypt-then-MAC
// what is sent.
func (c *Cipher) openCBC(s *Schedule, dst []byte, seq uint64, head, body []byte) ([]byte, bool) {
	size := c.suite.mac.Size()
	m := s.hmac(c.suite.mac)
	if c.etm {
		if len(body) < size {
			return nil, false
		}
		sent, mac := body[:len(body)-size], body[len(body)-size:]
		m.key(c.macKey)
		ok := subtle.ConstantTimeCompare(m.of(c.header(seq, head, len(sent)), sent), mac) == 1
		m.wipe()
		if !ok {
			return nil, false
		}
		body = sent
	}
	iv, text := c.iv[:], body
	if c.version > version10 {
		if len(body) < 16 {
			return nil, false
		}
		iv, text = body[:16], body[16:]
	}
	if len(text) == 0 || len(text)%16 != 0 {
		return nil, false
	}
	start := len(dst)
	dst = append(dst, text...)
	plain := dst[start:]
	// Last block first, so that each still has the one before it.
	for i := len(text) - 16; i >= 0; i -= 16 {
		before := iv
		if i > 0 {
			before = text[i-16:]
		}
		c.block.Decrypt(plain[i:i+16], text[i:i+16])
		subtle.XORBytes(plain[i:i+16], plain[i:i+16], before[:16])
	}
	pad := int(plain[len(plain)-1]) + 1
	n := len(plain) - pad
	if !c.etm {
		n -= size
	}
	if n < 0 {
		return nil, false
	}
	if !c.etm {
		m.key(c.macKey)
		ok := subtle.ConstantTimeCompare(m.of(c.header(seq, head, n), plain[:n]), plain[n:n+size]) == 1
		m.wipe()
		if !ok {
			clear(plain)
			return nil, false
		}
	}
	for _, b := range plain[len(plain)-pad:] {
		if int(b) != pad-1 { // RFC 5246 §6.2.3.2
			clear(plain)
			return nil, false
		}
	}
	return dst[:start+n], true
}

// Tail is how many of a record's last bytes Content needs where TLS 1.3 records
// are not padded by more than 47 bytes.
const Tail = 48 + 64

// Content says what record seq holds and how many bytes of it, from its body's
// last bytes, Tail or more, or the whole: not authenticated. It is not ok where
// they do not tell.
func (c *Cipher) Content(seq uint64, head []byte, length int, tail []byte) (kind byte, n int, ok bool) {
	switch {
	case c.suite.mode == cbc:
		n, ok = c.lengthCBC(length, tail)
		return head[0], n, ok
	case c.version != version13:
		n = length - int(c.suite.tag)
		if c.suite.mode != chacha {
			n -= explicitNonce
		}
		return head[0], n, n >= 0
	}
	inner := length - int(c.suite.tag) // content, type and padding
	c.setNonce(seq, nil)
	first := inner - (len(tail) - int(c.suite.tag)) // tail begins here
	for end := inner; end > first; {
		block := (end - 1) / c.blockSize()
		start := max(block*c.blockSize(), first)
		plain := c.ahead[:copy(c.ahead[:], tail[start-first:end-first])]
		c.decrypt(plain, uint32(block), start-block*c.blockSize())
		for i := len(plain) - 1; i >= 0; i-- {
			if plain[i] != 0 {
				return plain[i], start + i, true
			}
		}
		end = start
	}
	return 0, 0, false
}

func (c *Cipher) blockSize() int {
	if c.suite.mode == chacha {
		return 64
	}
	return 16
}

// decrypt takes the key stream of a block off b, which begins skip bytes into it:
// counter i+2 with GCM (NIST SP 800-38D §7.1), i+1 with ChaCha20 (RFC 8439 §2.8)
// and CCM (RFC 3610 §2.3).
func (c *Cipher) decrypt(b []byte, block uint32, skip int) {
	switch c.suite.mode {
	case gcm:
		copy(c.count[:], c.nonce[:nonceSize])
		binary.BigEndian.PutUint32(c.count[nonceSize:], block+2)
		c.block.Encrypt(c.count[16:32], c.count[:16])
		subtle.XORBytes(b, b, c.count[16+skip:32])
	case ccm:
		c.ccm.stream(c.nonce[:nonceSize], block+1)
		subtle.XORBytes(b, b, c.ccm.input[skip:])
	default:
		x, _ := chacha20.NewUnauthenticatedCipher(c.key[:], c.nonce[:nonceSize])
		x.SetCounter(block + 1)
		clear(c.count[:])
		x.XORKeyStream(c.count[:], c.count[:])
		subtle.XORBytes(b, b, c.count[skip:])
	}
}

// lengthCBC reads the length of the padding off the last block.
func (c *Cipher) lengthCBC(length int, tail []byte) (int, bool) {
	size := c.suite.mac.Size()
	if c.etm {
		if len(tail) < size {
			return 0, false
		}
		tail = tail[:len(tail)-size]
	}
	if len(tail) < 32 {
		return 0, false
	}
	c.block.Decrypt(c.ahead[:16], tail[len(tail)-16:])
	pad := int(c.ahead[15]^tail[len(tail)-17]) + 1
	n := length - size - pad
	if c.version > version10 {
		n -= 16
	}
	return n, n >= 0
}
