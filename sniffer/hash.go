package sniffer

import (
	"encoding/binary"
	"math/bits"
)

// Hash returns a hash of the two addresses, the same for both directions and
// all ports: all connections of a client–server pair hash alike. It is for
// spreading work, not for a table that an attacker could aim at.
func (s *Segment) Hash() uint64 {
	// A sum of two mixed values, for it is symmetric and, unlike XOR, does not
	// lose everything where both addresses are one.
	return mix(mixAddr(&s.Src.Addr) + mixAddr(&s.Dst.Addr))
}

func mixAddr(a *Addr) uint64 {
	hi, lo := binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])
	return mix(hi ^ bits.RotateLeft64(lo, 29) ^ lo*0x9e3779b97f4a7c15)
}

// mix is the finisher of MurmurHash3: every bit of x reaches every bit.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
