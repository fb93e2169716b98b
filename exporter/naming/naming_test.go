package naming

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/printable"
)

func TestClean(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a host", "shop.example:8080", "shop.example:8080"},
		{"an IPv6 address", "[2001:db8::1%25eth0]:80", "[2001:db8::1%25eth0]:80"},
		{"none", "", ""},
		{"the bucket's name", "other", "other."},
		{"escapes", "a\x1b[31m", "a%1B[31m"},
		{"another script", "例え.jp", "%E4%BE%8B%E3%81%88.jp"},
		{"another name of that length", "異な.jp", "%E7%95%B0%E3%81%AA.jp"},
		{"not UTF-8", "a\xff", "a%FF"},
		{"markup", "<b>\"", "%3Cb%3E%22"},
		{"too long", strings.Repeat("a", 300), strings.Repeat("a", MaxName)},
		{"not cut within a byte", strings.Repeat("a", MaxName-2) + "\x00", strings.Repeat("a", MaxName-2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Clean(tt.in)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if Clean(got) != got {
				t.Errorf("%q becomes %q", got, Clean(got))
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("shop.example")
	f.Add("other")
	f.Add("\x1b]0;x\a")
	f.Fuzz(func(t *testing.T, in string) {
		got := Clean(in)
		if len(got) > MaxName || got == Other || !printable.IsHost(got) || Clean(got) != got {
			t.Errorf("%q becomes %q", in, got)
		}
	})
}

func TestServer(t *testing.T) {
	own := netip.MustParseAddr("10.0.0.1")
	local := func(a sniffer.Addr) bool { return a.Netip() == own || a.Netip().IsLoopback() }
	address := func(text string) sniffer.Endpoint {
		a := netip.MustParseAddrPort(text)
		return sniffer.Endpoint{Addr: sniffer.Addr(a.Addr().As16()), Port: a.Port()}
	}
	for _, tt := range []struct {
		name, client, server, host string
		desk                       Desk
		want                       string
	}{
		{"outbound", "10.0.0.1:4", "10.0.0.2:80", "shop.example", Desk{Local: local, Inbound: true}, "outbound shop.example"},
		{"inbound", "10.0.0.2:4", "10.0.0.1:80", "evil.example", Desk{Local: local, Inbound: true}, "inbound 10.0.0.1:80"},
		{"inbound with a name", "10.0.0.2:4", "10.0.0.1:80", "evil.example", Desk{Local: local, Inbound: true, Name: "shop \"x\""}, "inbound shop%20%22x%22"},
		{"inbound by Host", "10.0.0.2:4", "10.0.0.1:80", "shop.example", Desk{Local: local}, "inbound shop.example"},
		{"loopback", "127.0.0.1:4", "127.0.0.1:80", "", Desk{Local: local, Inbound: true}, "loopback 127.0.0.1:80"},
		{"neither side is known", "10.0.0.1:4", "10.0.0.2:80", "shop.example", Desk{}, "forwarded shop.example"},
		{"a Host that is the address", "10.0.0.3:4", "[2001:db8::1]:80", "[2001:db8::1]:80", Desk{}, "forwarded [2001:db8::1]:80"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := address(tt.client), address(tt.server)
			s := tt.desk.Server(tt.desk.IsLocal(client.Addr), &server, tt.host)
			if got := fmt.Sprint(s.Direction, " ", s.Label()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if s.Endpoint != server {
				t.Errorf("the address is %v", s.Endpoint)
			}
		})
	}
}

func TestNetworkLabel(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.77":      "192.0.2.0/24",
		"2001:db8:1:2::3": "2001:db8:1:2::/64",
	} {
		network := Network(sniffer.Addr(netip.MustParseAddr(in).As16()))
		if got := NetworkLabel(network); got != want || Network(network) != network {
			t.Errorf("%s is of %s, want %s", in, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	server := func(d Direction, name string, last byte, port uint16) *Server {
		return &Server{Direction: d, Name: name, Endpoint: sniffer.Endpoint{Addr: sniffer.Addr{15: last}, Port: port}}
	}
	ascending := []*Server{
		server(Inbound, "b", 2, 2), server(Outbound, "a", 2, 2), server(Outbound, "b", 1, 2), server(Outbound, "b", 2, 1), server(Outbound, "b", 2, 2),
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := a.Compare(b), cmp.Compare(i, j); got != want {
				t.Errorf("%v to %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

func ExampleDesk() {
	server := sniffer.Endpoint{Addr: sniffer.Addr(netip.MustParseAddr("10.0.0.9").As16()), Port: 8080}
	var desk Desk
	named, unnamed := desk.Server(false, &server, "shop.example"), desk.Server(false, &server, "")
	fmt.Println(named.Label(), unnamed.Label(), named.Direction)
	// Output: shop.example 10.0.0.9:8080 forwarded
}
