package report

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

func endpoint(s string) sniffer.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return sniffer.Endpoint{Addr: ap.Addr().As16(), Port: ap.Port()}
}

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 1, time.UTC).UnixNano()

// sample is the connection of the documented NDJSON line.
func sample() *fact.Connection {
	return &fact.Connection{
		Client: endpoint("10.0.0.7:40112"), Server: endpoint("10.0.0.9:8080"), ServerName: "shop.example:8080",
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

// addTo tells w of a connection and its exchanges: none of an encrypted one's.
func addTo(w *tally.Worker, c *fact.Connection) {
	c.Mark = 0
	for i := range c.Requests {
		if !c.Estimated {
			x := exchangeOf(c, i)
			if i > 0 {
				x.Reuse = fact.ReusedRequest
			} else if c.Handshake == fact.HandshakeMidstream {
				x.Reuse = fact.UnknownReuse
			}
			w.Exchange(x)
		}
	}
	w.Connection(c)
}

// built returns the report of what a set counted.
func built(set *tally.Set, c Capture) (r *Report) {
	set.Detail(func(s *tally.Sum) { r = Build(s, c, true) })
	return r
}

func exchangeOf(c *fact.Connection, i uint32) *fact.Exchange {
	idle := int64(-1)
	if i > 0 && int(i) <= len(c.ReuseIdle) {
		idle = c.ReuseIdle[i-1]
	}
	x := &fact.Exchange{
		Client: c.Client, Server: c.Server, ServerName: c.ServerName, Opened: c.Start, Index: i + 1,
		Start: c.Start + int64(i)*1e6, End: c.Start + int64(i)*1e6 + 3e5, Method: http.GET, Version: http.HTTP11,
		Status: 200, Outcome: fact.KeepAlive, Idle: idle,
	}
	if i+1 == c.Requests && c.Negotiated[fact.ClientClose] > 0 {
		x.Outcome = fact.ClientClose
	}
	return x
}

func jsonOf(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
