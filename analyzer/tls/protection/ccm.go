package protection

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// counterMode is CCM (RFC 3610). What the nonce leaves of 15 bytes counts: 3 in TLS,
// whose nonces have 12 (RFC 6655 §3).
type counterMode struct {
	block               cipher.Block
	tag                 int
	chain, count, input [16]byte
}

// open takes the protection off sealed, of which the tag is the last part, into
// dst. It allocates nothing where dst has room.
func (c *counterMode) open(dst, nonce, sealed, extra []byte) ([]byte, bool) {
	if len(sealed) < c.tag {
		return nil, false
	}
	text, tag := sealed[:len(sealed)-c.tag], sealed[len(sealed)-c.tag:]
	start := len(dst)
	dst = append(dst, text...)
	plain := dst[start:]

	c.begin(nonce, len(text), extra)
	c.stream(nonce, 0)
	var sealedTag [16]byte
	copy(sealedTag[:], tag)
	subtle.XORBytes(sealedTag[:c.tag], sealedTag[:c.tag], c.input[:c.tag])
	for i := 0; i < len(plain); i += 16 {
		part := plain[i:min(i+16, len(plain))]
		c.stream(nonce, uint32(i/16)+1)
		subtle.XORBytes(part, part, c.input[:])
		c.add(part)
	}
	if subtle.ConstantTimeCompare(sealedTag[:c.tag], c.chain[:c.tag]) != 1 {
		clear(plain)
		return nil, false
	}
	return dst, true
}

// begin puts B_0 and the additional data into the chain (RFC 3610 §2.2).
func (c *counterMode) begin(nonce []byte, length int, extra []byte) {
	flags := byte((c.tag-2)/2)<<3 | byte(14-len(nonce))
	if len(extra) > 0 {
		flags |= 0x40
	}
	c.input = [16]byte{flags}
	binary.BigEndian.PutUint32(c.input[12:], uint32(length))
	copy(c.input[1:], nonce)
	c.block.Encrypt(c.chain[:], c.input[:])
	if len(extra) == 0 {
		return
	}
	clear(c.input[:])
	binary.BigEndian.PutUint16(c.input[:], uint16(len(extra)))
	n := copy(c.input[2:], extra)
	c.add(c.input[:2+n])
	for extra = extra[n:]; len(extra) > 0; extra = extra[min(16, len(extra)):] {
		c.add(extra[:min(16, len(extra))])
	}
}

// add puts a block, filled up with zeros, into the chain.
func (c *counterMode) add(part []byte) {
	subtle.XORBytes(c.chain[:], c.chain[:], part)
	c.block.Encrypt(c.chain[:], c.chain[:])
}

// stream puts block i of the key stream into c.input (RFC 3610 §2.3).
func (c *counterMode) stream(nonce []byte, i uint32) {
	c.count = [16]byte{byte(14 - len(nonce))}
	binary.BigEndian.PutUint32(c.count[12:], i)
	copy(c.count[1:], nonce)
	c.block.Encrypt(c.input[:], c.count[:])
}
