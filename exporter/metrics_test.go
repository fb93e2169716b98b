package exporter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

func endpoint(text string) sniffer.Endpoint {
	a := netip.MustParseAddrPort(text)
	return sniffer.Endpoint{Addr: sniffer.Addr(a.Addr().As16()), Port: a.Port()}
}

// facts are those of one connection, wasted or needed, of two requests.
type facts struct {
	opened, judged, closed fact.Connection
	first, second          fact.Exchange
}

func factsOf(client, server, name string, start int64) *facts {
	c := fact.Connection{
		Client: endpoint(client), Server: endpoint(server), ServerName: name,
		Start: start, End: start + 1e9, HandshakeTime: 1e6, CloseIdle: -1, RaceIdle: -1,
	}
	f := &facts{opened: c, judged: c, closed: c}
	f.judged.Verdict, f.judged.Cause, f.judged.Cost.TCP = fact.VerdictWasted, fact.PoolMiss, 1e6
	f.closed.Verdict = fact.VerdictWasted
	f.closed.Requests, f.closed.Responses, f.closed.Reused = 2, 2, 1
	f.closed.Negotiated[fact.KeepAlive] = 2
	f.closed.End, f.closed.CloseIdle = start+6e9, 5e9
	f.closed.ClosedBy, f.closed.Reason = fact.ByServer, fact.ReasonServerIdle
	e := fact.Exchange{
		Client: c.Client, Server: c.Server, ServerName: name, Opened: start, Index: 1,
		Start: start + 1e6, End: start + 2e6, Version: http.HTTP11, Outcome: fact.KeepAlive, Idle: -1,
	}
	f.first, f.second = e, e
	f.second.Index, f.second.Reuse, f.second.Idle = 2, fact.ReusedRequest, 1e9
	return f
}

func (f *facts) tell(o *tally.Worker) {
	o.Opened(&f.opened)
	mark := f.opened.Mark
	f.first.Mark, f.second.Mark, f.judged.Mark, f.closed.Mark = mark, mark, mark, mark
	o.Exchange(&f.first)
	o.Judged(&f.judged)
	o.Exchange(&f.second)
	o.Connection(&f.closed)
}

// attached returns an Exporter and what counts for it, for a test that counts and
// gathers by turns.
func attached(cfg Config, counts tally.Config) (*Exporter, *tally.Worker) {
	if counts.Desk.Local == nil {
		counts.Desk.Local = local
	}
	counts.Desk.Inbound = true
	cfg.MaxAge, cfg.ByNetwork = -1, counts.ByNetwork
	set := tally.New(counts)
	return New(set, cfg), set.Worker(nil)
}

func TestRecorderDoesNotAllocate(t *testing.T) {
	_, r := attached(Config{}, tally.Config{})
	f := factsOf("10.0.0.1:40000", "10.0.0.2:80", "shop.example", 1e18)
	f.tell(r)
	if n := testing.AllocsPerRun(1000, func() { f.tell(r) }); n != 0 {
		t.Errorf("%v allocations a connection", n)
	}
}

// TestUnopenedConnection has a connection of which Opened was not heard.
func TestUnopenedConnection(t *testing.T) {
	e, r := attached(Config{}, tally.Config{})
	factsOf("10.0.0.1:1", "10.0.0.2:1", "a.example", 1e18).tell(r)
	f := factsOf("10.0.0.1:1", "10.0.0.2:1", "b.example", 2e18)
	f.closed.Cause, f.closed.Cost = fact.PoolMiss, f.judged.Cost
	r.Exchange(&f.first)
	r.Exchange(&f.second)
	r.Connection(&f.closed)
	for _, metric := range []string{Exchanges, Requests, WastedHandshakes, ConnectionsClosed} {
		sums := map[string]float64{}
		for labels, n := range series(t, e, metric) {
			_, server, _ := strings.Cut(labels, "server=")
			server, _, _ = strings.Cut(server, " ")
			sums[server] += n
		}
		if sums["a.example"] == 0 || sums["a.example"] != sums["b.example"] {
			t.Errorf("%s: %v", metric, sums)
		}
	}
}

// TestServersAreBounded has clients invent names, and addresses, without end.
func TestServersAreBounded(t *testing.T) {
	tests := []struct {
		name   string
		cfg    tally.Config
		names  bool
		client func(i int) string
		server func(i int) string
		most   int // values of the labels
	}{
		{"names in outbound Host fields", tally.Config{}, true,
			func(int) string { return "10.0.0.1:40000" }, func(int) string { return "10.0.0.2:80" }, 201},
		{"addresses and ports of servers", tally.Config{}, false,
			func(int) string { return "10.0.0.1:40000" }, func(i int) string { return fmt.Sprintf("10.%d.%d.%d:%d", 1+i>>16, i>>8&255, i&255, i&0xffff) }, 201},
		{"client networks", tally.Config{ByNetwork: true}, false,
			func(i int) string { return fmt.Sprintf("[2001:db8:%x:%x::1]:40000", i>>16, i&0xffff) }, func(int) string { return "10.0.0.1:80" }, 202},
		{"client networks and servers", tally.Config{ByNetwork: true}, false,
			func(i int) string { return fmt.Sprintf("192.%d.%d.1:40000", i>>8&255, i&255) },
			func(i int) string { return fmt.Sprintf("10.%d.%d.%d:%d", 1+i>>16, i>>8&255, i&255, i&0xffff) }, 401},
		{"names that inbound clients send", tally.Config{}, true,
			func(i int) string { return fmt.Sprintf("192.0.2.1:%d", i&0xffff) }, func(int) string { return "10.0.0.1:80" }, 1},
	}
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.MaxServers = 200
			e, r := attached(Config{}, tt.cfg)
			f := factsOf(tt.client(0), tt.server(0), "", 1e18)
			attack := func(from, to int) {
				for i := from; i < to; i++ {
					if tt.names {
						f.first.ServerName = fmt.Sprintf("host-%d.example", i)
					} else if i&15 == 0 {
						f.first.Client, f.first.Server = endpoint(tt.client(i)), endpoint(tt.server(i))
					}
					r.Exchange(&f.first)
				}
			}
			attack(0, n/2)
			serversOf(t, e) // gathers
			attack(n/2, n*3/4)
			series, memory := seriesCount(e), heap()
			attack(n*3/4, n)
			serversOf(t, e)
			if got := len(serversOf(t, e)); got > tt.most {
				t.Errorf("%d servers, want at most %d", got, tt.most)
			}
			if got := seriesCount(e); got > series {
				t.Errorf("series grew from %d to %d", series, got)
			}
			if got := heap(); got > memory+4<<20 {
				t.Errorf("memory grew from %d to %d bytes", memory, got)
			}
			if per := series / len(serversOf(t, e)); per > 300 {
				t.Errorf("%d series a server", per)
			}
			t.Logf("%d servers, %d series, heap %d KiB", len(serversOf(t, e)), series, memory>>10)
			runtime.KeepAlive(e)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestLabels(t *testing.T) {
	tests := []struct {
		name           string
		cfg            tally.Config
		client, server string
		host           string
		want           string
	}{
		{"outbound by name", tally.Config{}, "10.0.0.1:40000", "10.0.0.2:80", "shop.example:80", "direction=outbound server=shop.example:80"},
		{"outbound by address", tally.Config{}, "10.0.0.1:40000", "[2001:db8::1]:80", "", "direction=outbound server=[2001:db8::1]:80"},
		{"inbound by address", tally.Config{}, "192.0.2.1:40000", "10.0.0.1:80", "evil.example", "direction=inbound server=10.0.0.1:80"},
		{"inbound by flag", tally.Config{Desk: naming.Desk{Name: "shop \"x\""}}, "192.0.2.1:40000", "10.0.0.1:80", "evil.example", "direction=inbound server=shop%20%22x%22"},
		{"loopback", tally.Config{}, "127.0.0.1:40000", "127.0.0.1:80", "a.example", "direction=loopback server=a.example"},
		{"own address is loopback, too", tally.Config{}, "10.0.0.1:40000", "10.0.0.1:80", "", "direction=loopback server=10.0.0.1:80"},
		{"forwarded", tally.Config{}, "192.0.2.1:40000", "192.0.2.2:80", "a.example", "direction=forwarded server=a.example"},
		{"name too long", tally.Config{}, "10.0.0.1:40000", "10.0.0.2:80", strings.Repeat("a", 300), "direction=outbound server=" + strings.Repeat("a", 128)},
		{"name of bad bytes", tally.Config{}, "10.0.0.1:40000", "10.0.0.2:80", "a\xff\n\"}ü", "direction=outbound server=a%FF%0A%22%7D%C3%BC"},
		{"client network v4", tally.Config{ByNetwork: true}, "192.0.2.77:40000", "10.0.0.1:80", "", "client=192.0.2.0/24 direction=inbound server=10.0.0.1:80"},
		{"client network v6", tally.Config{ByNetwork: true}, "[2001:db8::77]:40000", "10.0.0.1:80", "", "client=2001:db8::/64 direction=inbound server=10.0.0.1:80"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, r := attached(Config{}, tt.cfg)
			factsOf(tt.client, tt.server, tt.host, 1e18).tell(r)
			if diff := cmp.Diff([]string{tt.want}, serversOf(t, e)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNamesThatReadAlike has names that would make the same labels as other
// servers' addresses, or as what is beyond the cap.
func TestNamesThatReadAlike(t *testing.T) {
	for _, cfg := range []tally.Config{{MaxServers: 3}, {MaxServers: 3, ByNetwork: true}} {
		e, r := attached(Config{}, cfg)
		for _, name := range []string{"", "10.0.0.2:80", "other", "a\"b", "a_b", "b.example", "c.example", "d.example"} {
			factsOf("10.0.0.1:1", "10.0.0.2:80", name, 1e18).tell(r)
			factsOf("10.0.0.1:1", "[2001:db8::1]:80", name, 1e18).tell(r)
			factsOf("10.0.0.1:1", "10.0.0.3:80", "[2001:db8::1]:80", 1e18).tell(r)
		}
		if _, err := (prometheus.Gatherers{e}).Gather(); err != nil {
			t.Error(err)
		}
	}
}

// TestIdleServersMakeRoom fills the table, lets an hour pass and expects the
// idle ones, but none with an open connection, to go.
func TestIdleServersMakeRoom(t *testing.T) {
	e, r := attached(Config{}, tally.Config{MaxServers: 3})
	const hour = int64(time.Hour)
	open := factsOf("10.0.0.1:1", "10.0.0.2:1", "open.example", 1e18)
	r.Opened(&open.opened)
	factsOf("10.0.0.1:1", "10.0.0.2:1", "idle.example", 1e18).tell(r)
	factsOf("10.0.0.1:1", "10.0.0.2:1", "busy.example", 1e18).tell(r)
	serversOf(t, e) // gathers, and gives names
	late := 1e18 + 2*hour
	factsOf("10.0.0.1:1", "10.0.0.2:1", "busy.example", late).tell(r)
	factsOf("10.0.0.1:1", "10.0.0.2:1", "new.example", late).tell(r)
	serversOf(t, e)
	factsOf("10.0.0.1:1", "10.0.0.2:1", "new.example", late+1e9).tell(r)
	want := []string{
		"direction=outbound server=busy.example", "direction=outbound server=new.example",
		"direction=outbound server=open.example",
	}
	if diff := cmp.Diff(want, serversOf(t, e)); diff != "" {
		t.Error(diff)
	}
	if got := series(t, e, Servers)[""]; got != 3 {
		t.Errorf("%v servers, want 3", got)
	}
}

// TestFactsBecomeMetrics tells facts that conversations rarely bring.
func TestFactsBecomeMetrics(t *testing.T) {
	const labels = "direction=outbound server=a.example"
	tests := []struct {
		name   string
		change func(f *facts)
		metric string
		want   map[string]float64
	}{
		{"TLS handshake at the verdict", func(f *facts) {
			tls := &fact.TLS{Handshake: 3e6, Resumed: true}
			f.opened.TLS, f.judged.TLS, f.closed.TLS = tls, tls, tls
		}, HandshakeSeconds, map[string]float64{
			"direction=outbound kind=tcp server=a.example":         1,
			"direction=outbound kind=tls_resumed server=a.example": 1,
		}},
		{"TLS handshake without verdict", func(f *facts) {
			tls := &fact.TLS{Handshake: 3e6}
			f.opened.TLS, f.closed.TLS = tls, tls
			f.closed.Verdict, f.closed.Requests = fact.VerdictNone, 0
		}, HandshakeSeconds, map[string]float64{
			"direction=outbound kind=tcp server=a.example":      1,
			"direction=outbound kind=tls_full server=a.example": 1,
		}},
		{"race", func(f *facts) { f.closed.Race = true }, Races, map[string]float64{labels: 1}},
		{"advertised timeout", func(f *facts) {
			f.closed.HasAdvertisedTimeout, f.closed.AdvertisedTimeout = true, 0
		}, AdvertisedTimeout, map[string]float64{labels: 0}},
		{"unsolicited", func(f *facts) { f.closed.Unsolicited = 2 }, Unsolicited, map[string]float64{labels: 2}},
		{"version unknown", func(f *facts) { f.first.Version, f.second.Version = 77, 77 }, Exchanges, map[string]float64{
			"direction=outbound negotiated=keep_alive server=a.example traffic=application": 2,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, r := attached(Config{}, tally.Config{})
			f := factsOf("10.0.0.1:1", "10.0.0.2:1", "a.example", 1e18)
			tt.change(f)
			if f.closed.Verdict == fact.VerdictNone {
				r.Opened(&f.opened)
				f.closed.Mark = f.opened.Mark
				r.Connection(&f.closed)
			} else {
				f.tell(r)
			}
			if diff := cmp.Diff(tt.want, series(t, e, tt.metric)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestObservedTimeout(t *testing.T) {
	e, r := attached(Config{}, tally.Config{})
	for i := range int64(6) {
		f := factsOf("10.0.0.1:1", "10.0.0.2:1", "a.example", 1e18)
		f.closed.CloseIdle = 75e9 + i
		f.tell(r)
	}
	want := map[string]float64{"direction=outbound server=a.example side=server": 75.000000002}
	if diff := cmp.Diff(want, series(t, e, ObservedTimeout)); diff != "" {
		t.Error(diff)
	}
}

// TestFirstEventIsAnIncrease checks that the series of those label sets that alerts
// and rules use are there before anything has happened, and that others are not: they
// would be most of a page.
func TestFirstEventIsAnIncrease(t *testing.T) {
	e, r := attached(Config{}, tally.Config{})
	f := factsOf("10.0.0.1:1", "10.0.0.2:1", "a.example", 1e18)
	r.Opened(&f.opened)
	for name, want := range map[string]int{
		ConnectionsOpened: 1, Exchanges: 1, Requests: 2, WastedHandshakes: 6, ConnectionsClosed: 0, WastedSeconds: 2,
		NeededHandshakes: 1, Races: 1, CloseIdle: 0, HandshakeSeconds: 1, StaleReuses: 0,
		FailedRequests: 6, HandshakeAttempts: 2, PathDrops: 1, // of HTTP/1: it refuses no streams
		EstimatedFailed: 0, EstimatedRaces: 0,
	} {
		if got := len(series(t, e, name)); got != want {
			t.Errorf("%s has %d series, want %d", name, got, want)
		}
	}
	// A connection of HTTP/2 may not end for days, and refuse streams when it does.
	f.first.Version, f.first.Mark = http.HTTP2, f.opened.Mark
	r.Exchange(&f.first)
	for name, want := range map[string]int{FailedRequests: 7, RefusedStreams: 1} {
		if got := len(series(t, e, name)); got != want {
			t.Errorf("HTTP/2: %s has %d series, want %d", name, got, want)
		}
	}
}

// TestProbesAreLabelled: what a health check does is told apart from the moment that
// it is known for one.
func TestProbesAreLabelled(t *testing.T) {
	// Five connections tell it, but of one that leaves them open until they have idled.
	for reason, want := range map[fact.Reason]map[string]float64{
		fact.ReasonClientDiscard: {"application": 6, "probe": 5},
		fact.ReasonClientIdle:    {"application": 11},
	} {
		byTraffic := map[string]float64{}
		for labels, n := range series(t, steady(reason), WastedHandshakes) {
			_, traffic, _ := strings.Cut(labels, "traffic=")
			byTraffic[traffic] += n
		}
		if diff := cmp.Diff(want, byTraffic); diff != "" {
			t.Errorf("%v: %s", reason, diff)
		}
	}
}

// steady has ten connections of one request each at a steady interval, which ended so.
func steady(reason fact.Reason) *Exporter {
	e, r := attached(Config{}, tally.Config{})
	factsOf("192.0.2.9:40000", "10.0.0.2:80", "a.example", 1e18).tell(r) // an application, which keeps its connection
	for i := range int64(10) {
		f := factsOf("192.0.2.1:40000", "10.0.0.2:80", "a.example", 1e18+i*10e9)
		f.closed.Requests, f.closed.Reused, f.closed.Reason = 1, 0, reason
		f.second = f.first
		r.Opened(&f.opened)
		f.first.Mark, f.judged.Mark, f.closed.Mark = f.opened.Mark, f.opened.Mark, f.opened.Mark
		r.Exchange(&f.first)
		r.Judged(&f.judged)
		r.Connection(&f.closed)
	}
	return e
}

// TestProxiesThatProbe: the traffic of a proxy which names itself in its health checks
// is the application's, once a connection shows that it does more.
func TestProxiesThatProbe(t *testing.T) {
	e, r := attached(Config{}, tally.Config{})
	for i := range int64(3) {
		f := factsOf("192.0.2.1:40000", "10.0.0.2:80", "a.example", 1e18+i*10e9)
		f.opened.Software[0] = software.ELBHealthChecker
		r.Opened(&f.opened)
		f.first.Mark, f.second.Mark = f.opened.Mark, f.opened.Mark
		r.Exchange(&f.first)
		if i > 0 {
			r.Exchange(&f.second)
		}
	}
	byTraffic := map[string]float64{}
	for labels, n := range series(t, e, Requests) {
		_, traffic, _ := strings.Cut(labels, "traffic=")
		byTraffic[traffic] += n
	}
	if diff := cmp.Diff(map[string]float64{"application": 3, "probe": 2}, byTraffic); diff != "" {
		t.Error(diff)
	}
}

// TestExemplarAddresses: an exemplar has the addresses of its connection where they
// were asked for, and is never longer than OpenMetrics allows.
func TestExemplarAddresses(t *testing.T) {
	for _, asked := range []bool{false, true} {
		e, r := attached(Config{ExemplarAddresses: asked}, tally.Config{})
		const client = "[2001:db8:1111:2222:3333:4444:5555:6666]:40000"
		f := factsOf(client, "[2001:db8:1111:2222:3333:4444:5555:7777]:40000", "a.example", 1e18)
		f.judged.ID = 0xabc
		f.tell(r)
		all := page(t, e, openMetrics)
		if !strings.Contains(all, ` # {id="0000000000000abc"`) || strings.Contains(all, client) != asked {
			t.Errorf("asked for %t:\n%s", asked, all)
		}
		if _, err := (prometheus.Gatherers{e}).Gather(); err != nil { // checks lengths
			t.Error(err)
		}
	}
}

func TestNativeAndClassicCanBeLeftOut(t *testing.T) {
	for _, cfg := range []Config{{}, {NoNative: true}, {NoClassic: true}} {
		e, r := attached(cfg, tally.Config{})
		factsOf("10.0.0.1:1", "10.0.0.2:1", "a.example", 1e18).tell(r)
		families, err := e.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != ReuseIdle {
				continue
			}
			h := f.Metric[0].Histogram
			if got := h.Schema == nil && h.PositiveSpan == nil; got != cfg.NoNative {
				t.Errorf("%+v: native buckets left out: %v", cfg, got)
			}
			if got := h.Bucket == nil; got != cfg.NoClassic {
				t.Errorf("%+v: classic buckets left out: %v", cfg, got)
			}
		}
	}
}

// TestGatherWhileRecording gathers from many sides while facts come in; the
// race detector watches.
func TestGatherWhileRecording(t *testing.T) {
	set := tally.New(tally.Config{Desk: naming.Desk{Local: local}, MaxServers: 20})
	e := New(set, Config{MaxAge: time.Nanosecond})
	var w *run.Worker
	r := set.Worker(func(f func()) { w.Do(f) })
	w = run.NewWorker(reassembly.Config{}, analyzer.Config{}, r)
	stop := make(chan struct{})
	var recording, gathering sync.WaitGroup
	recording.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			f := factsOf("10.0.0.1:40000", "10.0.0.2:80", fmt.Sprintf("host-%d", i%40), 1e18+int64(i)*int64(time.Minute))
			w.Do(func() { f.tell(r) })
		}
	})
	for range 20 {
		gathering.Go(func() {
			for range 5 {
				families, err := e.Gather()
				if err != nil || len(families) == 0 {
					t.Error(len(families), err)
				}
				for _, f := range families {
					for _, m := range f.Metric {
						if m.Histogram != nil && m.Histogram.Bucket[len(m.Histogram.Bucket)-1].GetCumulativeCount() != m.Histogram.GetSampleCount() {
							t.Errorf("%s is torn", f.GetName())
						}
					}
				}
			}
		})
	}
	gathering.Wait()
	close(stop)
	recording.Wait()
}

func BenchmarkExchange(b *testing.B) {
	for _, servers := range []int{1, 200} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			_, r := attached(Config{}, tally.Config{})
			names := make([]string, servers) // one string for each, as the analyzer has
			for i := range names {
				names[i] = fmt.Sprintf("host-%d.example", i)
			}
			list := make([]fact.Exchange, 1024)
			for i := range list {
				f := factsOf(fmt.Sprintf("10.0.0.1:%d", 20000+i), fmt.Sprintf("10.1.0.%d:80", i%servers), names[i%servers], 1e18)
				r.Opened(&f.opened)
				list[i] = f.second
				list[i].Mark = f.opened.Mark
				list[i].Idle = rand.Int64N(1 << (10 + rand.IntN(30)))
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				r.Exchange(&list[i&1023])
				i++
			}
		})
	}
}

func BenchmarkConnection(b *testing.B) {
	_, r := attached(Config{}, tally.Config{})
	f := factsOf("10.0.0.1:40000", "10.0.0.2:80", "shop.example", 1e18)
	b.ReportAllocs()
	for b.Loop() {
		r.Opened(&f.opened)
		r.Judged(&f.judged)
		r.Connection(&f.closed)
	}
}

func BenchmarkGather(b *testing.B) {
	for _, servers := range []int{1, 10, 200} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			e, r := attached(Config{}, tally.Config{})
			for i := range servers {
				factsOf("10.0.0.1:1", "10.0.0.2:1", fmt.Sprintf("host-%d", i), 1e18).tell(r)
			}
			b.ReportMetric(float64(seriesCount(e)), "series")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
