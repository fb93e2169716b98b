package events

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"

	"github.com/keepscope/keepscope/sniffer"
)

// communityID reads a connection's Community ID, version 1 with seed 0: the hash of
// the 5-tuple by which other tools name the same flow
// (https://github.com/corelight/community-id-spec).
func communityID(c *connection, v *Value) bool {
	a, b := &c.Client, &c.Server
	if k := bytes.Compare(a.Addr[:], b.Addr[:]); k > 0 || k == 0 && a.Port > b.Port {
		a, b = b, a
	}
	const tcp = 6
	var tuple [2 + 16 + 16 + 2 + 4]byte
	in := appendAddress(appendAddress(tuple[:2], a), b)
	in = append(in, tcp, 0)
	in = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(in, a.Port), b.Port)
	sum := sha1.Sum(in)
	v.Identity = base64.StdEncoding.AppendEncode(append(v.scratch[:0], "1:"...), sum[:])
	return true
}

// appendAddress appends the 4 or 16 bytes of an address.
func appendAddress(b []byte, e *sniffer.Endpoint) []byte {
	if e.Addr.Netip().Is4() {
		return append(b, e.Addr[12:]...)
	}
	return append(b, e.Addr[:]...)
}
