package analyzer

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

func TestProxyHeader(t *testing.T) {
	const (
		v2   = proxySignature
		inet = "\xc0\x00\x02\x01\xcb\x00\x71\x09\xc3\x50\x01\xbb"
	)
	for _, c := range []struct {
		name, in, from, rest string
	}{
		{"nothing", "", "[::]:0", ""},
		{"no header", "GET / HTTP/1.1\r\n\r\n", "[::]:0", "GET / HTTP/1.1\r\n\r\n"},
		{"version 1", "PROXY TCP4 192.0.2.1 203.0.113.9 50000 443\r\nGET", "192.0.2.1:50000", "GET"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 50000 443\r\nGET", "[2001:db8::1]:50000", "GET"},
		{"version 1, unknown", "PROXY UNKNOWN\r\nGET", "[::]:0", "GET"},
		{"version 1, cut", "PROXY TCP4 192.0.2.1", "[::]:0", "PROXY TCP4 192.0.2.1"},
		{"version 1, too long", "PROXY TCP4 " + strings.Repeat("1", 100) + "\r\nGET", "[::]:0", "PROXY TCP4 " + strings.Repeat("1", 100) + "\r\nGET"},
		{"version 1, no address", "PROXY TCP4 x 203.0.113.9 50000 443\r\nGET", "[::]:0", "GET"},
		{"version 1, no port", "PROXY TCP4 192.0.2.1 203.0.113.9 99999 443\r\nGET", "[::]:0", "GET"},
		{"version 2", v2 + "\x21\x11\x00\x0c" + inet + "GET", "192.0.2.1:50000", "GET"},
		{"version 2 with more", v2 + "\x21\x11\x00\x0f" + inet + "abcGET", "192.0.2.1:50000", "GET"},
		{"version 2, IPv6", v2 + "\x21\x21\x00\x24" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x02", 16) + "\xc3\x50\x01\xbb" + "GET", "[2001:db8::1]:50000", "GET"},
		{"version 2, local", v2 + "\x20\x11\x00\x0c" + inet + "GET", "[::]:0", "GET"},
		{"version 2, short", v2 + "\x21\x11\x00\x04abcdGET", "[::]:0", "GET"},
		{"version 2, cut", v2 + "\x21\x11\x00\x0cabc", "[::]:0", v2 + "\x21\x11\x00\x0cabc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(Config{})
			l := &a.ledger
			l.conn = &conn{}
			rest := l.skipProxyHeader([]byte(c.in))
			var from sniffer.Endpoint
			if l.conn.cold != nil {
				from = l.conn.cold.proxied
			}
			if diff := cmp.Diff([]string{c.from, c.rest}, []string{from.String(), string(rest)}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestProxiedClientsStayApart has clients of one network come through two balancers: no
// connection of one is to be had from the other.
func TestProxiedClientsStayApart(t *testing.T) {
	balancers := []sniffer.Addr{netip.MustParseAddr("10.0.0.1").As16(), netip.MustParseAddr("10.0.0.2").As16(), netip.MustParseAddr("2001:db8::1").As16()}
	who := map[sniffer.Addr]string{}
	for _, b := range balancers {
		who[b] = "a balancer"
	}
	for i := range 256 {
		client := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		for _, b := range balancers {
			key, name := mixed(b, client.As16()), client.String()+" through "+b.Netip().String()
			if other, ok := who[key]; ok {
				t.Errorf("%s is taken for %s", name, other)
			}
			who[key] = name
		}
	}
}
