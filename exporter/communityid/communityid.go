// Package communityid names a TCP connection as Zeek, Suricata and Wireshark do: by
// Community ID, version 1 with seed 0 (https://github.com/corelight/community-id-spec).
package communityid

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"

	"github.com/keepscope/keepscope/sniffer"
)

// Append appends the Community ID of the TCP connections between two endpoints,
// whichever of them is named first, 30 bytes.
func Append(dst []byte, a, b sniffer.Endpoint) []byte {
	if k := bytes.Compare(a.Addr[:], b.Addr[:]); k > 0 || k == 0 && a.Port > b.Port {
		a, b = b, a
	}
	const tcp = 6
	var tuple [2 + 16 + 16 + 2 + 4]byte
	in := address(address(tuple[:2], &a), &b) // behind the seed, 0
	in = append(in, tcp, 0)
	in = binary.BigEndian.AppendUint16(in, a.Port)
	in = binary.BigEndian.AppendUint16(in, b.Port)
	sum := sha1.Sum(in)
	return base64.StdEncoding.AppendEncode(append(dst, "1:"...), sum[:])
}

// address appends the 4 or 16 bytes of an address.
func address(dst []byte, e *sniffer.Endpoint) []byte {
	if e.Addr.Netip().Is4() {
		return append(dst, e.Addr[12:]...)
	}
	return append(dst, e.Addr[:]...)
}
