package dns_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/keepscope/keepscope/analyzer/dns"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A client asks for a name, and connects to an address of the answer.
func Example() {
	client, resolver, server := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("10.0.0.2")
	cache := dns.NewCache(dns.Config{})
	hear := func(m sniffertest.DNSMessage, from, to netip.AddrPort, at time.Duration) {
		b, err := m.Pack()
		if err != nil {
			fmt.Println(err)
			return
		}
		var message dns.Message
		if dns.Parse(b, &message) {
			cache.Message(&message, from.Addr().As16(), from.Port(), to.Addr().As16(), to.Port(), int64(at))
		}
	}
	ask, answer := netip.AddrPortFrom(client, 5353), netip.AddrPortFrom(resolver, 53)
	hear(sniffertest.DNSMessage{ID: 7, Name: "shop.example"}, ask, answer, 0)
	hear(sniffertest.DNSMessage{ID: 7, Name: "shop.example", Answer: true, Addresses: []netip.Addr{server}}, answer, ask, 4*time.Millisecond)

	name, cost, _ := cache.Lookup(client.As16(), server.As16(), int64(5*time.Millisecond))
	fmt.Println(name, "took", time.Duration(cost))
	_, cost, _ = cache.Lookup(client.As16(), server.As16(), int64(9*time.Millisecond))
	fmt.Println("the next connection paid", time.Duration(cost))
	// Output:
	// shop.example took 4ms
	// the next connection paid 0s
}
