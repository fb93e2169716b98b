package analyzer

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/keepscope/keepscope/sniffer"
)

// proxySignature begins version 2 of the PROXY protocol's header.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// maxProxyLine is the longest header of version 1.
const maxProxyLine = 107

// skipProxyHeader takes a PROXY protocol header (versions 1 and 2) that b, the first that
// the client sent, begins with, and returns what follows. Senders write it at once: one
// that is cut is not recognised, and HTTP is found behind it.
func (l *ledger) skipProxyHeader(b []byte) []byte {
	var from sniffer.Endpoint
	n := 0
	switch {
	case bytes.HasPrefix(b, []byte("PROXY ")):
		from, n = proxyLine(b)
	case bytes.HasPrefix(b, []byte(proxySignature)):
		from, n = proxyBlock(b)
	}
	if from != (sniffer.Endpoint{}) {
		l.table.coldOf(l.conn).proxied = from
	}
	return b[n:]
}

// proxyLine reads a header of version 1, "PROXY TCP4 source destination port port\r\n".
func proxyLine(b []byte) (from sniffer.Endpoint, n int) {
	i := bytes.Index(b[:min(len(b), maxProxyLine)], []byte("\r\n"))
	if i < 0 {
		return from, 0
	}
	f := bytes.Fields(b[:i])
	if len(f) < 5 || string(f[1]) != "TCP4" && string(f[1]) != "TCP6" {
		return from, i + 2
	}
	a, err := netip.ParseAddr(string(f[2]))
	if err != nil {
		return from, i + 2
	}
	p, err := netip.ParseAddrPort("0.0.0.0:" + string(f[4]))
	if err != nil {
		return from, i + 2
	}
	return sniffer.Endpoint{Addr: a.As16(), Port: p.Port()}, i + 2
}

// proxyBlock reads a header of version 2.
func proxyBlock(b []byte) (from sniffer.Endpoint, n int) {
	const head = 16
	if len(b) < head {
		return from, 0
	}
	n = head + int(binary.BigEndian.Uint16(b[14:]))
	if n > len(b) {
		return from, 0
	}
	const local, inet, inet6 = 0x20, 1, 2
	addresses := b[head:n]
	switch {
	case b[12] == local: // its sender's own connection
	case b[13]>>4 == inet && len(addresses) >= 12:
		from.Addr = netip.AddrFrom4([4]byte(addresses)).As16()
		from.Port = binary.BigEndian.Uint16(addresses[8:])
	case b[13]>>4 == inet6 && len(addresses) >= 36:
		from.Addr = sniffer.Addr(addresses[:16])
		from.Port = binary.BigEndian.Uint16(addresses[32:])
	}
	return from, n
}
