package clients

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/sniffer"
)

func endpoint(n uint16, port uint16) sniffer.Endpoint {
	return sniffer.Endpoint{Addr: sniffer.Addr{10: 0xff, 11: 0xff, 12: 10, 14: byte(n >> 8), 15: byte(n)}, Port: port}
}

// some returns a connection of a client, as any may be.
func some(rnd *rand.Rand, id uint64, clients int) (*fact.Connection, software.ID) {
	c := &fact.Connection{
		ID: id, Client: endpoint(uint16(rnd.IntN(clients)), uint16(1024+id)), Server: endpoint(9, 80),
		Start: int64(id) * 1e9, End: int64(id)*1e9 + rnd.Int64N(5e9), Requests: uint32(rnd.IntN(40)), CloseIdle: rnd.Int64N(1e9),
		Handshake: fact.Handshake(rnd.IntN(int(fact.NumHandshakes))), ClosedBy: fact.ClosedBy(rnd.IntN(int(fact.NumClosedBy))),
		Reason: fact.Reason(rnd.IntN(int(fact.NumReasons))), BodyUnread: rnd.IntN(5) == 0, Estimated: rnd.IntN(5) == 0,
	}
	if rnd.IntN(3) == 0 {
		c.Verdict, c.Cause, c.Cost.TCP = fact.VerdictWasted, fact.Cause(rnd.IntN(int(fact.NumCauses))), rnd.Int64N(1e6)
	}
	if rnd.IntN(6) == 0 {
		c.Streams = &fact.Streams{GRPC: rnd.IntN(2) == 0}
	}
	if rnd.IntN(6) == 0 {
		c.Upgrade = &fact.Upgrade{At: c.Start, Segments: [2]uint32{rnd.Uint32N(3), rnd.Uint32N(3)}}
	}
	c.Failed[rnd.IntN(int(fact.NumFailures))] = rnd.Uint32N(2)
	return c, []software.ID{software.Unknown, software.Curl, software.GoHTTP}[rnd.IntN(3)]
}

// TestMerge holds that clients are the same however their connections are shared out
// among workers, and in whatever order they are told.
func TestMerge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		clients := 1 + rnd.IntN(3*Max)
		type told struct {
			c  *fact.Connection
			id software.ID
		}
		var all []told
		for i := range 400 {
			c, id := some(rnd, uint64(i+1), clients)
			all = append(all, told{c, id})
		}
		var one Table
		for _, x := range all {
			one.Add(x.c, x.id)
		}
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		parts, sum := make([]Table, 3), Table{}
		for i, x := range all {
			parts[i%3].Add(x.c, x.id)
		}
		for i := range parts {
			sum.Merge(&parts[i])
		}
		// Which connection is the example is open.
		diff := cmp.Diff(one.Worst(), sum.Worst(), cmp.AllowUnexported(Client{}, count{}, span{}),
			cmpopts.IgnoreTypes(Example{}), cmpopts.EquateEmpty())
		if diff != "" || one.Untold != sum.Untold {
			t.Fatalf("%d clients, %d and %d connections untold (-one +parts):\n%s", clients, one.Untold, sum.Untold, diff)
		}
		if n := len(one.list); n > Max || clients <= Max/2 && one.Untold > 0 {
			t.Fatalf("%d clients told apart of %d, %d connections untold", n, clients, one.Untold)
		}
		total := one.Untold
		for _, c := range one.Worst() {
			total += c.Connections
			if len(c.closings) > maxCounts {
				t.Fatalf("%d numbers kept", len(c.closings))
			}
		}
		if total != 400 {
			t.Fatalf("%d connections of 400", total)
		}
	}
}

func add(list ...fact.Connection) *Client {
	var t Table
	for i := range list {
		list[i].ID = uint64(i + 1)
		t.Add(&list[i], software.Curl)
	}
	return t.Worst()[0]
}

func TestClosedAt(t *testing.T) {
	closed := func(requests ...uint32) (list []fact.Connection) {
		for _, n := range requests {
			list = append(list, fact.Connection{Requests: n})
		}
		return list
	}
	for _, c := range []struct {
		name    string
		list    []fact.Connection
		n, near uint64
		median  float64
	}{
		{"one number", closed(4, 4, 4, 4), 4, 4, 4},
		{"a last one is short", closed(4, 4, 4, 1), 4, 3, 4},
		{"within a tenth", closed(90, 100, 110, 111), 4, 3, 100},
		{"none without a request", closed(0, 0, 3), 1, 1, 3},
		{"closed by the server", []fact.Connection{{Requests: 3, ClosedBy: fact.ByServer}}, 0, 0, 0},
		{"closed by the server, who was asked to", []fact.Connection{{Requests: 3, ClosedBy: fact.ByServer, Reason: fact.ReasonClientClose}}, 1, 1, 3},
		{"midstream", []fact.Connection{{Requests: 3, Handshake: fact.HandshakeMidstream}}, 0, 0, 0},
		{"more numbers than are kept", closed(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18), 18, 1, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, near, median := add(c.list...).ClosedAt()
			if n != c.n || near != c.near || median != c.median {
				t.Errorf("%d, %d near %v; want %d, %d near %v", n, near, median, c.n, c.near, c.median)
			}
		})
	}
}

func TestSeveral(t *testing.T) {
	spans := func(n int, requests uint32, length, step int64) (list []fact.Connection) {
		for i := range int64(n) {
			list = append(list, fact.Connection{Requests: requests, Start: i * step, End: i*step + length})
		}
		return list
	}
	for _, c := range []struct {
		name string
		list []fact.Connection
		want bool
	}{
		{"one after the other", spans(40, 5, 10, 10), false},
		{"eight at once", spans(8, 1, 100, 1), true},
		{"seven at once", spans(7, 1, 100, 1), false},
		{"seven at once, of many", spans(40, 1, 7, 1), false},
		{"ten that overlap and are reused", spans(10, 2, 11, 10), true},
		{"nine that overlap and are reused", spans(9, 2, 11, 10), false},
		{"ten that overlap, of one request", spans(10, 1, 11, 10), false},
		{"without a request", spans(20, 0, 100, 1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := add(c.list...).Several(); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	wasted := fact.Connection{
		Requests: 1, Verdict: fact.VerdictWasted, Cause: fact.PoolMiss, Client: endpoint(7, 1), Server: endpoint(9, 80),
		Cost: fact.Cost{TCP: 1, TLS: 20, DNS: 300, Connect: 4000},
	}
	pinged := &fact.Streams{GRPC: true, Pings: [2]uint32{fact.ByClient: 2}}
	pinged.Goaway[fact.ByServer] = fact.Goaway{Seen: true, Code: http.EnhanceYourCalm}
	c := add(
		wasted, wasted,
		fact.Connection{Client: endpoint(7, 2), Requests: 5, End: 10e9, ReuseIdle: []int64{2e9, 2e9}, MoreReuseIdle: 2, CloseIdle: 1e9, ClientTrip: 1e9},
		fact.Connection{Client: endpoint(7, 3), Handshake: fact.HandshakeRefused},
		fact.Connection{Client: endpoint(7, 4), Requests: 1, End: 20e9, Upgrade: &fact.Upgrade{Segments: [2]uint32{1, 1}}},
		fact.Connection{Client: endpoint(7, 5), Requests: 1, End: 20e9, Upgrade: &fact.Upgrade{Segments: [2]uint32{2, 1}}},
		fact.Connection{Client: endpoint(7, 6), Requests: 90, Streams: pinged, Reason: fact.ReasonGoawayError},
		fact.Connection{Client: endpoint(7, 7), Requests: 10, Streams: &fact.Streams{GRPC: true}, Path: &fact.Path{StalledAtEnd: [2]bool{true, false}}},
		fact.Connection{Client: endpoint(1, 8), Proxied: endpoint(7, 9), BodyUnread: true, Failed: [fact.NumFailures]uint32{fact.FailRace: 2}},
	)
	want := &Client{
		Addr: endpoint(7, 0).Addr, Software: software.Curl, Connections: 9, Requests: 109,
		Wasted: []Waste{{Cause: fact.PoolMiss, N: 2, NS: 8642, Example: Example{1, endpoint(7, 1), endpoint(9, 80)}}},
		Failed: [fact.NumFailures]uint64{fact.FailRace: 2}, Unread: 1, Stalled: 1, InVain: 1, Once: 4, More: 3, IdleShare: 0.5, Trip: 1e9,
		Upgrades: 2, Short: 1, Streams: 100, Pinged: 1, GRPC: 100, GRPCBusiest: 90,
		Example: Example{1, endpoint(7, 1), endpoint(9, 80)}, GRPCExample: Example{7, endpoint(7, 6), sniffer.Endpoint{}},
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(Client{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n, ns := c.Lost(); n != 2 || ns != 8642 {
		t.Errorf("lost %d, %d ns", n, ns)
	}
}

func TestAllocs(t *testing.T) {
	var table Table
	c := &fact.Connection{ID: 1, Client: endpoint(7, 1), Server: endpoint(9, 80), Requests: 3, Verdict: fact.VerdictWasted, Cause: fact.PoolMiss}
	if n := testing.AllocsPerRun(100, func() { table.Add(c, software.Curl) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func ExampleTable() {
	var table Table
	for port := range uint16(3) {
		table.Add(&fact.Connection{
			ID: uint64(port + 1), Client: endpoint(7, 4000+port), Server: endpoint(9, 80), Requests: 4,
			Verdict: fact.VerdictWasted, Cause: fact.Cause(fact.ReasonClientDiscard),
		}, software.GoHTTP)
	}
	for _, c := range table.Worst() {
		n, near, median := c.ClosedAt()
		wasted, _ := c.Lost()
		fmt.Printf("%v (%v): %d wasted, %d of %d closed after %v requests\n", c.Addr.Netip(), c.Software, wasted, near, n, median)
	}
	// Output:
	// 10.0.0.7 (Go-http-client): 3 wasted, 3 of 3 closed after 4 requests
}

// TestUntoldTakesNothing counts connections of clients that are not told apart.
func TestUntoldTakesNothing(t *testing.T) {
	var table Table
	c := fact.Connection{}
	n := 0
	add := func() {
		n++
		binary.BigEndian.PutUint32(c.Client.Addr[12:], uint32(n))
		table.Add(&c, software.Unknown)
	}
	for range 100_000 { // the lowest hashes come first
		add()
	}
	if allocations := testing.AllocsPerRun(100, add); allocations != 0 {
		t.Errorf("%v allocations a connection", allocations)
	}
}
