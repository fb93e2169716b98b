package events

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/sniffer"
)

func address(s string) sniffer.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return sniffer.Endpoint{Addr: ap.Addr().As16(), Port: ap.Port()}
}

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 1, time.UTC).UnixNano()

// sample is the connection of the documented NDJSON line.
func sample() *fact.Connection {
	return &fact.Connection{
		Client: address("10.0.0.7:40112"), Server: address("10.0.0.9:8080"), ServerName: "shop.example:8080",
		Start: epoch, End: epoch + 5_100_000_000 - 1,
		Handshake: fact.HandshakeComplete, HandshakeTime: 310_000,
		TLS:      &fact.TLS{Version: 0x0304, SNI: "shop.example", ALPN: "h2", Handshake: 2_100_000},
		Protocol: fact.ProtocolHTTP11, Versions: [http.NumVersions]bool{http.HTTP11: true},
		Requests: 3, Responses: 3, Reused: 2,
		Negotiated:           [fact.NumOutcomes]uint32{fact.KeepAlive: 2, fact.ClientClose: 1},
		HasAdvertisedTimeout: true, HasAdvertisedMax: true, AdvertisedTimeout: 5, AdvertisedMax: 100,
		ReuseIdle: []int64{510_000_000, 1_020_000_000}, CloseIdle: 400_000,
		ClosedBy: fact.ByClient, ClosedWith: fact.WithFIN, Reason: fact.ReasonClientClose,
		Verdict: fact.VerdictWasted, Cause: fact.Cause(fact.ReasonServerClose),
		Cost:  fact.Cost{TCP: 300_000, TLS: 2_100_000},
		Bytes: [2]uint64{412, 9120}, Packets: [2]uint32{9, 8},
	}
}

// randomConnection fills c with any of many servers, names, clients, reasons
// and verdicts, always the same ones for a seed.
func randomConnection(r *rand.Rand, c *fact.Connection, names int) {
	*c = fact.Connection{
		Client: address(fmt.Sprintf("10.1.%d.%d:%d", r.IntN(3), r.IntN(200), 1024+r.IntN(60000))),
		Server: address(fmt.Sprintf("10.0.0.%d:80", r.IntN(20))),
		Start:  epoch + r.Int64N(600e9), Handshake: fact.Handshake(r.IntN(5)), HandshakeTime: r.Int64N(1e7) - 1,
		Protocol: fact.ProtocolHTTP11, Versions: [http.NumVersions]bool{3: true},
		Requests: uint32(r.IntN(5)), CloseIdle: r.Int64N(9e9) - 1,
		Reason: fact.Reason(r.IntN(int(fact.NumReasons))), ClosedBy: fact.ClosedBy(r.IntN(5)),
		ClosedWith: fact.ClosedWith(r.IntN(3)), Verdict: fact.Verdict(r.IntN(3)),
		Cause: fact.Cause(r.IntN(int(fact.NumCauses))), Estimated: r.IntN(10) == 0,
		Cost: fact.Cost{TCP: r.Int64N(1e6), TLS: r.Int64N(1e6)}, Race: r.IntN(50) == 0, RaceIdle: r.Int64N(1e10),
		BodyUnread: r.IntN(40) == 0, Incomplete: r.IntN(40) == 0, HasAdvertisedTimeout: r.IntN(2) == 0, AdvertisedTimeout: 5,
	}
	if n := r.IntN(names * 2); n < names {
		c.ServerName = fmt.Sprintf("name%d.example", n)
	}
	c.End = c.Start + r.Int64N(100e9)
	c.Responses, c.Reused = c.Requests, max(c.Requests, 1)-1
	for range c.Reused {
		c.ReuseIdle = append(c.ReuseIdle, r.Int64N(2e9))
	}
	c.Negotiated[fact.KeepAlive] = c.Requests
}

func exchangeOf(c *fact.Connection, i uint32) *fact.Exchange {
	idle := int64(-1)
	if i > 0 && int(i) <= len(c.ReuseIdle) {
		idle = c.ReuseIdle[i-1]
	}
	return &fact.Exchange{
		Client: c.Client, Server: c.Server, ServerName: c.ServerName, Opened: c.Start, Index: i + 1,
		Start: c.Start + int64(i)*1e6, End: c.Start + int64(i)*1e6 + 3e5, Method: http.GET, Version: http.HTTP11,
		Status: 200, Outcome: fact.KeepAlive, Idle: idle,
	}
}
