package http2

import (
	"encoding/binary"
	"hash/maphash"
)

// The code of RFC 7541 Appendix B is canonical: shorter codes come first, and
// those of one length in the order of their symbols, so that the lengths alone
// define it.
var huffmanLengths = [eos + 1]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30,
}

const (
	eos       = 256
	shortBits = 10 // codes up to this length are looked up at once
	longBits  = 30
)

type huffmanCode struct {
	short   [1 << shortBits]struct{ symbol, bits uint8 } // bits is 0 where the code is longer
	symbols [eos + 1]uint16                              // in the order of their codes
	first   [longBits + 1]uint32                         // the first code of each length
	count   [longBits + 1]uint32                         // how many have it
	index   [longBits + 1]uint32                         // of the first one in symbols
}

var huffman = newHuffmanCode()

func newHuffmanCode() *huffmanCode {
	h := new(huffmanCode)
	code, n := uint32(0), uint32(0)
	for bits := uint8(1); bits <= longBits; bits++ {
		code <<= 1
		h.first[bits], h.index[bits] = code, n
		for symbol, length := range huffmanLengths {
			if length != bits {
				continue
			}
			h.symbols[n] = uint16(symbol)
			if bits <= shortBits {
				shift := shortBits - bits
				for i := code << shift; i < (code+1)<<shift; i++ {
					h.short[i].symbol, h.short[i].bits = uint8(symbol), bits
				}
			}
			code++
			n++
		}
		h.count[bits] = n - h.index[bits]
	}
	return h
}

// decode writes the string that src holds to dst, as far as it has room. It
// returns the whole string's length. It fails where src holds the end-of-string
// symbol, or its padding is not the beginning of that (RFC 7541 §5.2).
func (h *huffmanCode) decode(dst, src []byte) (n int, ok bool) {
	var acc uint64 // its lowest bits are those not yet decoded
	var have uint8
	for {
		if have < longBits {
			if len(src) >= 4 {
				acc = acc<<32 | uint64(binary.BigEndian.Uint32(src))
				src, have = src[4:], have+32
			} else {
				for _, c := range src {
					acc, have = acc<<8|uint64(c), have+8
				}
				src = nil
			}
		}
		for have >= shortBits {
			e := h.short[acc>>((have-shortBits)&63)%(1<<shortBits)]
			if e.bits == 0 {
				break
			}
			have -= e.bits
			if n < len(dst) {
				dst[n] = e.symbol
			}
			n++
		}
		if have < longBits && len(src) > 0 {
			continue
		}
		top := acc << (64 - have)
		e := h.short[top>>(64-shortBits)]
		symbol, bits := e.symbol, e.bits
		if bits == 0 || bits > have {
			if have < 8 {
				return n, top == ^uint64(0)<<(64-have)
			}
			if symbol, bits = h.long(top); bits == 0 || bits > have {
				return n, false
			}
		}
		have -= bits
		if n < len(dst) {
			dst[n] = symbol
		}
		n++
	}
}

// long decodes a code of more than shortBits bits, which top begins with. Bits is 0
// where it is end-of-string.
func (h *huffmanCode) long(top uint64) (symbol, bits uint8) {
	for bits = shortBits + 1; bits <= longBits; bits++ {
		i := uint32(top>>(64-bits)) - h.first[bits]
		if i >= h.count[bits] {
			continue
		}
		s := h.symbols[h.index[bits]+i]
		if s == eos {
			return 0, 0
		}
		return uint8(s), bits
	}
	return 0, 0
}

// lengths remembers how long strings are that nobody reads: of what goes into a table
// the length counts, and servers send the same fields again and again. It keeps hashes,
// for the strings may have been decrypted.
type lengths struct {
	seed  maphash.Seed
	known *[256]codedLength
}

type codedLength struct {
	hash   uint64
	length int
}

// of returns the length of the string that src holds, as decode does.
func (l *lengths) of(src []byte) (n int, ok bool) {
	if l.known == nil {
		l.seed = maphash.MakeSeed()
		l.known = new([256]codedLength)
	}
	hash := maphash.Bytes(l.seed, src) | 1 // 0 is for none
	k := &l.known[hash>>56]
	if k.hash == hash {
		return k.length, true
	}
	if n, ok = huffman.decode(nil, src); ok {
		k.hash, k.length = hash, n
	}
	return n, ok
}
