package story_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// read takes frames to who listens, with traces of so many exchanges.
func read(t testing.TB, frames []sniffer.Frame, traces int, obs ...fact.Observer) {
	t.Helper()
	analyse(t, frames, analyzer.Config{Traces: traces, MaxTraced: 1024}, obs...)
}

func analyse(t testing.TB, frames []sniffer.Frame, cfg analyzer.Config, obs ...fact.Observer) {
	t.Helper()
	r := run.Reader{
		Source: &sniffertest.Source{Frames: frames, Size: 256}, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{}),
		Workers: []*run.Worker{run.NewWorker(reassembly.Config{}, cfg, obs...)},
	}
	if err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.Flush()
}

// A visit is a connection of a client to a server, which it closes after some requests
// unless it stays open.
type visit struct {
	client, server int
	at             time.Duration
	requests       int
	open           bool // until the end
}

// play writes visits, in order of time.
func play(t testing.TB, visits []visit) []sniffer.Frame {
	t.Helper()
	var s sniffertest.Script
	for i, v := range visits {
		c := s.Conn(fmt.Sprintf("10.0.%d.%d:%d", v.client/200, v.client%200+1, 1024+i%60000), fmt.Sprintf("10.1.%d.%d:80", v.server/200, v.server%200+1), sniffertest.ConnConfig{})
		at := v.at
		c.Handshake(at, time.Millisecond)
		for range v.requests {
			at += 2 * time.Millisecond
			c.Client(at, []byte(fmt.Sprintf("GET /secret?key=%d HTTP/1.1\r\nHost: s%d.example\r\nCookie: secret\r\n\r\n", i, v.server)))
			at += time.Millisecond
			c.Server(at, []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Secret: secret\r\n\r\nok"))
		}
		if v.open {
			continue
		}
		c.Close(at+time.Millisecond, sniffertest.Client, time.Millisecond)
	}
	frames, err := s.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// wasteful makes n connections of one request, from clients to servers in turn.
func wasteful(n, clients, servers int) (list []visit) {
	for i := range n {
		list = append(list, visit{i % clients, i % servers, time.Duration(i) * 20 * time.Millisecond, 1 + i%3, false})
	}
	return list
}

func text(t *testing.T, s *story.Story) string {
	t.Helper()
	var b strings.Builder
	if err := s.WriteText(&b, story.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCaps holds a store to its bytes and its numbers.
func TestCaps(t *testing.T) {
	frames := play(t, wasteful(6000, 300, 40))
	for _, newest := range []bool{false, true} {
		for _, c := range []struct {
			name string
			story.Config
			stories int // most
			evicts  bool
		}{
			{"default", story.Config{}, 40 * 10, false},
			{"one of each", story.Config{PerCause: 1, Ordinary: 1}, 40 * 2, false},
			{"few bytes", story.Config{MaxBytes: 100 << 10}, 200, true},
			{"few pairs", story.Config{MaxPairs: 3}, 40 * 10, false},
			{"few stories", story.Config{MaxStories: 100}, 100, true},
		} {
			t.Run(fmt.Sprint(c.name, ", newest ", newest), func(t *testing.T) {
				cfg := c.Config
				cfg.Newest = newest
				s := story.New(cfg)
				read(t, frames, 8, s)
				u := s.Usage()
				most := cfg.MaxBytes
				if most == 0 {
					most = 4 << 20
				}
				if u.Bytes > most || u.Stories > c.stories || u.Stories == 0 || (u.Evicted > 0) != c.evicts {
					t.Errorf("%+v", u)
				}
				for _, st := range (story.Stores{s}).Pick(story.Query{}) {
					if n := len(st.Lanes); n == 0 || n > 6 {
						t.Errorf("%d connections", n)
					}
				}
			})
		}
	}
}

// TestFlood has every connection bring a pair and a name of its own.
func TestFlood(t *testing.T) {
	s := story.New(story.Config{Newest: true, MaxBytes: 200 << 10})
	read(t, play(t, wasteful(8000, 8000, 8000)), 8, s)
	if u := s.Usage(); u.Bytes > 200<<10 || u.Stories == 0 || u.Evicted == 0 {
		t.Errorf("%+v", u)
	}
}

// TestBytesAreWhatTheHeapHolds compares the count with what is allocated.
func TestBytesAreWhatTheHeapHolds(t *testing.T) {
	frames := play(t, wasteful(6000, 300, 40))
	before := heap()
	s := story.New(story.Config{})
	read(t, frames, 8, s)
	after := heap()
	u := s.Usage()
	if got := int(after) - int(before); got > 2*u.Bytes+300<<10 {
		t.Errorf("the heap has %d bytes more, %d are counted", got, u.Bytes)
	}
	_ = s.Usage() // it is alive until here
}

// TestNewest keeps what came last, and TestBest what shows it best: the first that
// a client wasted.
func TestNewest(t *testing.T) {
	frames := play(t, wasteful(100, 1, 1))
	for _, c := range []struct {
		newest bool
		want   string
	}{{true, "port 1123"}, {false, "port 1025"}} {
		s := story.New(story.Config{Newest: c.newest, PerCause: 2})
		read(t, frames, 8, s)
		got := story.Stores{s}.Pick(story.Query{Cause: fact.Cause(fact.ReasonClientDiscard)})
		if len(got) != 2 {
			t.Fatalf("newest %t: %d stories", c.newest, len(got))
		}
		if all := text(t, got[0]) + text(t, got[1]); !strings.Contains(all, c.want) {
			t.Errorf("newest %t: no %s in\n%s", c.newest, c.want, all)
		}
	}
}

// TestConnectionAndServer looks stories up as a page does.
func TestConnectionAndServer(t *testing.T) {
	s := story.New(story.Config{Newest: true})
	read(t, play(t, wasteful(100, 4, 2)), 8, s)
	stores := story.Stores{s}
	list := stores.List(story.Query{Server: "s1.example"})
	if len(list) == 0 || len(stores.Pick(story.Query{Server: "s1.example"})) != len(list) || len(stores.List(story.Query{Server: "other.example"})) != 0 {
		t.Fatalf("%d connections, %d stories", len(list), len(stores.Pick(story.Query{Server: "s1.example"})))
	}
	for i, e := range list {
		st := stores.Connection(uint64(e.ID))
		if st == nil || st.Connection != e.ID || st.Name != "s1.example" || st.Subject != e.Subject || st.Who != e.Who {
			t.Errorf("%+v: %+v", e, st)
		}
		if i > 0 && e.Start.After(list[i-1].Start) {
			t.Error("the newest is not first")
		}
		pair := stores.Pick(story.Query{Server: "s1.example", Client: netip.AddrPortFrom(netip.MustParseAddrPort(e.Client).Addr(), 0), Limit: 1})
		if len(pair) != 1 || pair[0].Client != st.Client {
			t.Errorf("no story of the pair of %s", e.Client)
		}
	}
	if stores.Connection(1) != nil {
		t.Error("there is a connection 1")
	}
	none := story.Query{Of: func(n naming.Server) bool { return n.Name == "" }}
	if len(stores.List(none)) != 0 {
		t.Error("every server has a name")
	}
}

// TestInbound calls a server on this host by its address, whatever a client calls it.
func TestInbound(t *testing.T) {
	s := story.New(story.Config{PerCause: 1, Ordinary: 1, Desk: naming.Desk{Inbound: true, Local: func(a sniffer.Addr) bool { return a.Netip().As4()[1] == 1 }}})
	var visits []visit
	for i := range 100 { // of one name each
		visits = append(visits, visit{0, 1, time.Duration(i) * 20 * time.Millisecond, 1, false})
	}
	read(t, play(t, visits), 8, s)
	list := story.Stores{s}.List(story.Query{})
	if len(list) != 2 || list[0].Who.Label() != "10.1.0.2:80" || list[0].Who.Direction != naming.Inbound {
		t.Errorf("%+v", list)
	}
}

// TestRareStays floods a store with one server's connections of one cause: the story of
// a server that came once is there still.
func TestRareStays(t *testing.T) {
	cfg := story.Live(8, 1)
	cfg.PerCause = 100
	s := story.New(cfg)
	visits := append([]visit{{1, 7, 0, 2, false}}, wasteful(500, 1, 1)...)
	read(t, play(t, visits), 8, s)
	stores := story.Stores{s}
	if u := stores.Usage(); u.Stories != 8 || u.Evicted == 0 || stores.Limits()[0].Count != u.Evicted {
		t.Errorf("%+v", u)
	}
	if len(stores.List(story.Query{Server: "s7.example"})) != 1 {
		t.Error("the server that came once is forgotten")
	}
}

// TestLiveHeap fills what is kept by default while packets arrive, with traces, and
// compares with what is promised: 4 MiB in all.
func TestLiveHeap(t *testing.T) {
	visits := wasteful(8000, 240, 60) // so that stories have many connections, and full ones
	for i := range story.LiveMaxTraced {
		visits = append(visits, visit{client: i, at: 3 * time.Minute, open: true})
	}
	for i := range visits {
		visits[i].requests = story.LiveTraces + 2
	}
	frames := play(t, visits)
	grows := func(cfg analyzer.Config, obs fact.Observer) int {
		cfg.MaxConnections = 2000
		before := heap()
		w := run.NewWorker(reassembly.Config{MaxConnections: 2000}, cfg, obs)
		r := run.Reader{Source: &sniffertest.Source{Frames: frames, Size: 256}, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{}), Workers: []*run.Worker{w}}
		if err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := int(heap()) - int(before)
		runtime.KeepAlive(w)
		runtime.KeepAlive(frames)
		return n
	}
	without := grows(analyzer.Config{}, nothing{})
	s := story.New(story.Live(story.LiveStories, 1))
	with := grows(analyzer.Config{Traces: story.LiveTraces, MaxTraced: story.LiveMaxTraced}, s)
	u := s.Usage()
	t.Logf("%d bytes more, %d are counted, %d stories", with-without, u.Bytes, u.Stories)
	if u.Stories < story.LiveStories*3/4 || with-without > 4<<20 {
		t.Errorf("%d bytes more for %+v", with-without, u)
	}
}

// TestToldWhileKept tells stories while connections end: what is told of one is not what
// another has become in its place.
func TestToldWhileKept(t *testing.T) {
	s := story.New(story.Config{Newest: true, PerCause: 1, MaxPairs: 2})
	stores := story.Stores{s}
	frames := play(t, wasteful(3000, 5, 3))
	done := make(chan struct{})
	go func() {
		defer close(done)
		read(t, frames, 8, s)
	}()
	told := 0
	for running := true; running || told == 0; {
		select {
		case <-done:
			running = false
		default:
		}
		for _, e := range stores.List(story.Query{Limit: 3}) {
			if st := stores.Connection(uint64(e.ID)); st != nil {
				before := text(t, st)
				runtime.Gosched()
				if after := text(t, st) + string(st.HTML()); !strings.HasPrefix(after, before) {
					t.Fatalf("a story has changed:\n%s\n%s", before, after)
				}
				told++
			}
		}
	}
}

// TestNothingSecret looks for what must not leave the process, in every form.
func TestNothingSecret(t *testing.T) {
	s := story.New(story.Config{})
	read(t, play(t, wasteful(20, 1, 1)), 8, s)
	list := story.Stores{s}.Pick(story.Query{})
	var b strings.Builder
	for _, st := range list {
		b.WriteString(text(t, st))
		if err := st.WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := story.WriteHTML(&b, list...); err != nil {
		t.Fatal(err)
	}
	if err := story.WriteJSON(&b, list...); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "s0.example") || strings.Contains(strings.ToLower(b.String()), "secret") {
		t.Error(b.String())
	}
}

// TestManyExchanges draws the first and the last of a connection that carried many.
func TestManyExchanges(t *testing.T) {
	s := story.New(story.Config{})
	read(t, play(t, []visit{{0, 0, 0, 500, false}}), 8, s)
	st := story.Stores{s}.Pick(story.Query{})[0]
	if got := text(t, st); !strings.Contains(got, "and 492 more requests") || !strings.Contains(got, "499 of them needed no handshake") {
		t.Error(got)
	}
}

// TestSampled begins no more traces than asked for, of whole pairs, and of each pair
// sooner or later.
func TestSampled(t *testing.T) {
	var visits []visit
	for i := range 40000 { // 1000 a second, of 500 pairs
		visits = append(visits, visit{i % 500, 0, time.Duration(i) * time.Millisecond, 1, false})
	}
	s := &counting{seconds: map[int64]int{}, pairs: map[sniffer.Addr]int{}}
	analyse(t, play(t, visits), analyzer.Config{Traces: 4, TraceRate: 50}, s)
	for at, n := range s.seconds {
		if n > 100 {
			t.Errorf("%d traces in second %d", n, at)
		}
	}
	alone := 0
	for _, n := range s.pairs {
		if n == 1 {
			alone++
		}
	}
	if len(s.pairs) < 150 || alone > len(s.pairs)/2 || s.traced < 500 || s.all != len(visits) {
		t.Errorf("%d of %d connections, %d pairs, %d of them with one", s.traced, s.all, len(s.pairs), alone)
	}
}

// counting counts traces by second and by client.
type counting struct {
	seconds     map[int64]int
	pairs       map[sniffer.Addr]int
	all, traced int
}

func (c *counting) Connection(f *fact.Connection) {
	c.all++
	if f.Trace != nil {
		c.traced++
		c.seconds[f.Start/1e9]++
		c.pairs[f.Client.Addr]++
	}
}

type nothing struct{}

func (nothing) Connection(*fact.Connection) {}

func Example() {
	script := sniffertest.MustParse(`
conn c1 10.0.0.1:40000 10.0.0.2:80
@0s    c1 handshake
@10ms  c1 > "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
@20ms  c1 < "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
@1s    c1 > "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
@1010ms  c1 < "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
@1020ms  c1 > close
`)
	store := story.New(story.Config{})
	w := run.NewWorker(reassembly.Config{}, analyzer.Config{Traces: 8}, store)
	w.Process(script.Segments()...)
	w.Flush()
	for _, s := range (story.Stores{store}).Pick(story.Query{}) {
		if err := s.WriteText(os.Stdout, story.TextOptions{}); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// shop.example: 2 requests on one connection
	// 10.0.0.1 → 10.0.0.2:80, 2026-01-01 00:00:00.000000 UTC, 1.02 s
	//
	//             0 s                            ⋯      1.0 s                  1.02 s
	// c1 40000    ░░░░░··········█████████──────────────▓▓▓▓▓▓▓▓▓──────────╳···╳····
	// enough                     █████████──────────────▓▓▓▓▓▓▓▓▓─
	//             ░ opening  █ exchange  ─ idle  ╳ closing  ⋯ long gaps are shortened
	//
	// c1 port 40000, 2 requests: needed
	//   0.000000 s  SYN .. ACK   1.0 ms   SYN-ACK after 500 µs; each new
	//                                     connection pays this
	//   0.010000 s  GET 200      10.0 ms  first
	//   0.020000 s    idle       980 ms   two sockets wait, nothing is sent
	//   1.000000 s  GET 200      10.0 ms  reused: no handshake
	//   1.010000 s    idle       10.0 ms  two sockets wait, nothing is sent
	//   1.020000 s  client FIN            client_discard, 10.0 ms after the
	//                                     last response
	//   1.020500 s  server FIN
	//
	//   c1 carried 2 requests: 1 of them needed no handshake, which saved 1.0 ms of
	//     waiting (1.0 ms each).
	//   c1 idled for 980 ms. What was kept alive is a socket at each side: two
	//     addresses, two ports and some numbers. Nothing had to be sent for it.
	//   One connection for 2 requests: no fewer would do.
	//
	// Wireshark, tshark -Y:
	// ip.addr == 10.0.0.1 && ip.addr == 10.0.0.2 && tcp.port == 80 && tcp.port in {40000} && frame.time_epoch >= 1767225600.000000000 && frame.time_epoch <= 1767225601.021000000
}
