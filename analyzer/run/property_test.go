package run

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A wire is random traffic: what happens, at which time.
type wire struct {
	*rand.Rand
	script sniffertest.Script
	events []wireEvent
	ports  uint16
}

type wireEvent struct {
	at time.Duration
	do func(at time.Duration)
}

func (w *wire) at(t time.Duration, do func(at time.Duration)) {
	w.events = append(w.events, wireEvent{t, do})
}

func (w *wire) ms(limit int) time.Duration { return time.Duration(1+w.IntN(limit)) * time.Millisecond }

// frames plays n random connections of two clients to three servers, and some
// look-ups, in order of time.
func (w *wire) frames(t testing.TB, n int) []sniffer.Frame {
	t.Helper()
	spread := []int{900, 30000}[w.IntN(2)] // dense, or with silences of minutes
	for range n {
		w.connection(time.Duration(w.IntN(n*spread)) * time.Millisecond)
	}
	slices.SortStableFunc(w.events, func(a, b wireEvent) int { return int(a.at - b.at) })
	for _, e := range w.events {
		e.do(e.at)
	}
	frames, err := w.script.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// connection adds one connection, of any kind.
func (w *wire) connection(t time.Duration) {
	w.ports++
	c := w.script.Conn(fmt.Sprintf("10.0.0.%d:%d", 1+w.IntN(2), 30000+w.ports), fmt.Sprintf("10.0.1.%d:80", 1+w.IntN(3)),
		sniffertest.ConnConfig{ISN: &[2]uint32{w.Uint32(), w.Uint32()}, MSS: 1 + w.IntN(100)})
	switch kind := w.IntN(20); kind {
	case 0: // midstream
	case 1: // unanswered
		w.at(t, func(at time.Duration) { c.Send(sniffertest.Message{At: at, Flags: sniffer.SYN}) })
		return
	case 2: // refused
		w.at(t, func(at time.Duration) {
			c.Send(sniffertest.Message{At: at, Flags: sniffer.SYN})
			c.Send(sniffertest.Message{At: at, From: sniffertest.Server, Flags: sniffer.RST})
		})
		return
	case 3: // partial
		w.at(t, func(at time.Duration) {
			c.Send(sniffertest.Message{At: at, Flags: sniffer.SYN})
			c.Send(sniffertest.Message{At: at})
		})
	default:
		w.at(t, func(at time.Duration) { c.Handshake(at, 2*time.Millisecond) })
	}
	t += 3 * time.Millisecond
	for range []int{0, 1, 1, 1, 2, 5}[w.IntN(6)] {
		t = w.exchange(c, t)
	}
	w.end(c, t)
}

var (
	someRequests = []string{
		"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789",
		"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
	}
	someResponses = []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nuntil close",
		"HTTP/1.1 101 Switching Protocols\r\n\r\nnot HTTP",
	}
)

// exchange adds a request, mostly answered, and returns the time after it.
func (w *wire) exchange(c *sniffertest.Conn, t time.Duration) time.Duration {
	request, response := someRequests[w.IntN(len(someRequests))], someResponses[w.IntN(len(someResponses))]
	w.at(t, func(at time.Duration) { c.Client(at, []byte(request)) })
	t += w.ms(300)
	if w.IntN(10) > 0 {
		w.at(t, func(at time.Duration) { c.Server(at, []byte(response)) })
	}
	switch w.IntN(8) {
	case 0: // the next one is on its way at once
		return t
	case 1:
		return t + time.Duration(w.IntN(2)*600+w.IntN(200))*time.Second
	}
	return t + w.ms(3000)
}

// end adds the end of a connection, or none.
func (w *wire) end(c *sniffertest.Conn, t time.Duration) {
	side := sniffertest.Side(w.IntN(2))
	flag := sniffer.FIN
	switch w.IntN(6) {
	case 0:
		return
	case 1:
		flag = sniffer.RST
	case 2: // a request crosses it
		w.at(t+time.Millisecond, func(at time.Duration) { c.Client(at, []byte(someRequests[0])) })
	}
	w.at(t, func(at time.Duration) { c.Send(sniffertest.Message{At: at, From: side, Flags: flag}) })
	if w.IntN(3) > 0 {
		t += w.ms(2000)
		w.at(t, func(at time.Duration) { c.Send(sniffertest.Message{At: at, From: side ^ 1, Flags: flag}) })
		w.at(t, func(at time.Duration) { c.Send(sniffertest.Message{At: at, From: side}) })
	}
}

// facts hears what a worker finds.
type facts struct {
	t           *testing.T
	lines       []string
	needed      int
	wasted      int
	marks       uint16
	judgeable   int
	outstanding map[string]string // verdicts told before the end
	open        map[uint16]string // connections told of and not over, by Mark
	names       map[uint16]string // what Opened said that their servers are called
}

func newFacts(t *testing.T) *facts {
	return &facts{t: t, outstanding: map[string]string{}, open: map[uint16]string{}, names: map[uint16]string{}}
}

func (f *facts) key(c *fact.Connection) string { return fmt.Sprint(c.Client, c.Server, c.Start) }

// of checks that a fact has the mark that Opened left on its connection.
func (f *facts) of(mark uint16, client, server sniffer.Endpoint, start int64) {
	f.t.Helper()
	if got := fmt.Sprint(client, server, start); got != f.open[mark] {
		f.t.Errorf("fact of %q, opened as %q", got, f.open[mark])
	}
}

func (f *facts) Opened(c *fact.Connection) {
	if c.Mark != 0 {
		f.t.Errorf("%s is marked from the start", f.key(c))
	}
	f.marks++
	c.Mark = f.marks
	f.open[c.Mark] = fmt.Sprint(c.Client, c.Server, c.Start)
	f.names[c.Mark] = c.ServerName
}

func (f *facts) Judged(c *fact.Connection) {
	f.of(c.Mark, c.Client, c.Server, c.Start)
	if _, twice := f.outstanding[f.key(c)]; twice {
		f.t.Errorf("%s judged twice", f.key(c))
	}
	f.outstanding[f.key(c)] = fmt.Sprint(c.Verdict, c.Cause)
}

func (f *facts) Exchange(e *fact.Exchange) {
	f.of(e.Mark, e.Client, e.Server, e.Opened)
	copied := *e
	copied.Mark = 0 // each worker has its own
	f.lines = append(f.lines, fmt.Sprintf("%+v", copied))
}

func (f *facts) Connection(c *fact.Connection) {
	f.of(c.Mark, c.Client, c.Server, c.Start)
	delete(f.open, c.Mark)
	if was := f.names[c.Mark]; was != c.ServerName {
		f.t.Errorf("the server of %s is called %q, opened as %q", f.key(c), c.ServerName, was)
	}
	judged, told := f.outstanding[f.key(c)]
	delete(f.outstanding, f.key(c))
	upgraded := c.Upgrade != nil
	judgeable := c.Handshake == fact.HandshakeComplete && c.Requests > 0 && !upgraded
	switch {
	case judgeable != (c.Verdict != fact.VerdictNone):
		f.t.Errorf("verdict %v on %v: handshake %v, %d requests, upgraded %t", c.Verdict, f.key(c), c.Handshake, c.Requests, upgraded)
	case c.Verdict != fact.VerdictNone && judged != fmt.Sprint(c.Verdict, c.Cause):
		f.t.Errorf("verdict %v %v on %v, told before: %q", c.Verdict, c.Cause, f.key(c), judged)
	case c.Verdict == fact.VerdictNone && told && !upgraded:
		f.t.Errorf("no verdict on %v, told before: %q", f.key(c), judged)
	}
	if judgeable {
		f.judgeable++
	}
	switch c.Verdict {
	case fact.VerdictNeeded:
		f.needed++
	case fact.VerdictWasted:
		f.wasted++
		switch fact.Reason(c.Cause) {
		case fact.ReasonNone, fact.ReasonNeverUsed, fact.ReasonHandshakeFailed, fact.ReasonOpen:
			f.t.Errorf("cause %v of %v", c.Cause, f.key(c))
		}
		if c.Cause >= fact.NumCauses {
			f.t.Errorf("cause %d of %v", c.Cause, f.key(c))
		}
	}
	var sum uint32
	for _, n := range c.Negotiated {
		sum += n
	}
	if sum != c.Requests && !c.Estimated {
		f.t.Errorf("%d outcomes of %d requests on %v", sum, c.Requests, f.key(c))
	}
	f.lines = append(f.lines, line(c))
}

// line shows a connection but for its Mark, of which each worker has its own.
func line(c *fact.Connection) string {
	k := *c
	k.Mark = 0
	k.TLS, k.CouldReuse, k.Tunnel, k.Upgrade, k.Streams, k.Path = nil, nil, nil, nil, nil, nil
	var inside string
	if c.Tunnel != nil {
		tunnel := *c.Tunnel
		inside, tunnel.TLS = shown(tunnel.TLS), nil
		inside += shown(&tunnel)
	}
	return fmt.Sprintf("%+v", k) + shown(c.TLS) + shown(c.CouldReuse) + inside + shown(c.Upgrade) + shown(c.Streams) + shown(c.Path)
}

func shown[T any](p *T) string {
	if p == nil {
		return " -"
	}
	return fmt.Sprintf(" %+v", *p)
}

// A liveSource gives frames as a live capture does: in small batches, empty
// ones in between, with the clock's time once the wire is silent.
type liveSource struct {
	*rand.Rand
	sniffertest.Source
	last int64
}

func (s *liveSource) Read(b *sniffer.Batch) error {
	b.Now = 0
	if len(s.Frames) > 0 && s.last != 0 && s.IntN(2) == 0 {
		b.Frames = b.Frames[:0]
		b.Now = s.last + s.Int64N(max(s.Frames[0].Time-s.last, 1))
		s.last = b.Now
		return nil
	}
	s.Size = 1 + s.IntN(20)
	if err := s.Source.Read(b); err != nil {
		return err
	}
	s.last = b.Frames[len(b.Frames)-1].Time
	return nil
}

// play runs frames through workers and returns what they found, sorted.
func play(t *testing.T, src sniffer.Source, workers int) (lines []string) {
	t.Helper()
	return playKeyed(t, src, workers, nil)
}

// playKeyed is play with keys.
func playKeyed(t *testing.T, src sniffer.Source, workers int, keys *keylog.Store) (lines []string) {
	t.Helper()
	r := Reader{Source: src, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true})}
	var all []*facts
	for range workers {
		f := newFacts(t)
		all = append(all, f)
		r.Workers = append(r.Workers, NewWorker(reassembly.Config{}, analyzer.Config{Keys: keys, MaxReuseIdle: 16}, f))
	}
	if err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	var needed, wasted, judgeable int
	for _, f := range all {
		if len(f.outstanding) > 0 {
			t.Errorf("judged and never told: %v", f.outstanding)
		}
		needed, wasted, judgeable = needed+f.needed, wasted+f.wasted, judgeable+f.judgeable
		lines = append(lines, f.lines...)
	}
	if needed+wasted != judgeable {
		t.Errorf("%d needed and %d wasted of %d", needed, wasted, judgeable)
	}
	slices.Sort(lines)
	return lines
}

// TestRandomTraffic holds random traffic to what is true of any, and to the
// same facts for any number of workers, any batches, live and replayed.
func TestRandomTraffic(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for seed := range uint64(rounds) {
		frames := (&wire{Rand: rand.New(rand.NewPCG(seed, 1))}).frames(t, 120)
		want := play(t, &sniffertest.Source{Frames: frames}, 1)
		check := func(what string, got []string) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, %s:\n%s", seed, what, diff)
			}
		}
		check("batches of one", play(t, &sniffertest.Source{Frames: frames, Size: 1}, 1))
		check("2 workers", play(t, &sniffertest.Source{Frames: frames, Size: 7}, 2))
		check("4 workers", play(t, &sniffertest.Source{Frames: frames}, 4))
		live := func() *liveSource {
			return &liveSource{Rand: rand.New(rand.NewPCG(seed, 2)), Source: sniffertest.Source{Frames: frames}}
		}
		check("live", play(t, live(), 1))
		check("live, 3 workers", play(t, live(), 3))
	}
}

// TestRandomLoss lets packets go missing: what each connection tells must hold
// its own, in any batches. When a loss is noticed depends on the sweep, so
// verdicts of others may differ from live to replay.
func TestRandomLoss(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 3))
		frames := (&wire{Rand: r}).frames(t, 120)
		frames = slices.DeleteFunc(frames, func(sniffer.Frame) bool { return r.IntN(20) == 0 })
		want := play(t, &sniffertest.Source{Frames: frames}, 1)
		for _, workers := range []int{1, 2, 4} {
			got := play(t, &sniffertest.Source{Frames: frames, Size: 3}, workers)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, %d workers:\n%s", seed, workers, diff)
			}
		}
		live := &liveSource{Rand: rand.New(rand.NewPCG(seed, 2)), Source: sniffertest.Source{Frames: frames}}
		if diff := cmp.Diff(want, play(t, live, 1)); diff != "" {
			t.Errorf("seed %d, live:\n%s", seed, diff)
		}
	}
}

// TestSweepTellsNothingNew holds what is found to be the same whether the
// sweep comes by often, seldom or not at all before the end.
func TestSweepTellsNothingNew(t *testing.T) {
	for seed := range uint64(20) {
		frames := (&wire{Rand: rand.New(rand.NewPCG(seed, 4))}).frames(t, 120)
		run := func(every int64) []string {
			f := newFacts(t)
			w := NewWorker(reassembly.Config{}, analyzer.Config{}, f)
			d := sniffer.NewDecoder(sniffer.DecoderConfig{})
			var s sniffer.Segment
			var next int64
			for i := range frames {
				if every > 0 && frames[i].Time >= next {
					w.Assembler.Sweep(frames[i].Time)
					next = frames[i].Time + every
				}
				if d.Decode(&frames[i], &s) {
					w.Process(s)
				}
			}
			w.Assembler.Sweep(frames[len(frames)-1].Time)
			w.Flush()
			slices.Sort(f.lines)
			return f.lines
		}
		want := run(0)
		for _, every := range []int64{1, 1e9, 30e9, 300e9} {
			if diff := cmp.Diff(want, run(every)); diff != "" {
				t.Fatalf("seed %d, sweep every %v:\n%s", seed, time.Duration(every), diff)
			}
		}
	}
}

// TestCaptureAfterCapture gives a worker the same capture twice: it must find the
// same.
func TestCaptureAfterCapture(t *testing.T) {
	for seed := range uint64(20) {
		frames := (&wire{Rand: rand.New(rand.NewPCG(seed, 5))}).frames(t, 120)
		f := newFacts(t)
		w := NewWorker(reassembly.Config{}, analyzer.Config{}, f)
		read := func() []string {
			f.lines = nil
			d := sniffer.NewDecoder(sniffer.DecoderConfig{})
			var s sniffer.Segment
			for i := range frames {
				if d.Decode(&frames[i], &s) {
					w.Process(s)
				}
			}
			w.Flush()
			slices.Sort(f.lines)
			return f.lines
		}
		want := read()
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Fatalf("seed %d: the first and the second time:\n%s", seed, diff)
		}
	}
}

// loop gives the segments of one connection, whose exchange it repeats for
// ever.
type loop struct {
	open, exchange []sniffer.Segment
}

func newLoop(requests, responses string) *loop {
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:40000", "10.0.0.2:80", sniffertest.ConnConfig{})
	c.Handshake(0, time.Millisecond)
	opened := len(s.Segments())
	c.Client(10*time.Millisecond, []byte(requests))
	c.Server(11*time.Millisecond, []byte(responses))
	all := s.Segments()
	return &loop{open: all[:opened], exchange: all[opened:]}
}

// next moves the exchange on by what it has sent, and by 20 ms.
func (l *loop) next() []sniffer.Segment {
	q, p := &l.exchange[0], &l.exchange[1]
	sent, answered := q.Length, p.Length
	q.Seq, q.Ack, q.Time = q.Seq+sent, q.Ack+answered, q.Time+20e6
	p.Seq, p.Ack, p.Time = p.Seq+answered, p.Ack+sent, p.Time+20e6
	return l.exchange
}

type deaf struct{}

func (deaf) Connection(*fact.Connection) {}

func TestNoAllocationPerExchange(t *testing.T) {
	tests := []struct{ name, request, response string }{
		{"one", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"pipelined", strings.Repeat("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 3), strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 3)},
		{"chunked", "HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := NewWorker(reassembly.Config{}, analyzer.Config{}, deaf{})
			l := newLoop(tt.request, tt.response)
			w.Process(l.open...)
			round := func() {
				w.Process(l.exchange...)
				l.next()
			}
			for range 10 {
				round()
			}
			if n := testing.AllocsPerRun(1000, round); n != 0 {
				t.Errorf("%v allocations an exchange", n)
			}
		})
	}
}

// TestNoAllocationPerConnection opens and closes connections with one request
// each, the most that verdicts can be asked for.
func TestNoAllocationPerConnection(t *testing.T) {
	w := NewWorker(reassembly.Config{}, analyzer.Config{}, deaf{})
	c := newChurn()
	for range 20000 { // the closed 4-tuples that are remembered come first
		c.round(w)
	}
	if n := testing.AllocsPerRun(2000, func() { c.round(w) }); n != 0 {
		t.Errorf("%v allocations a connection", n)
	}
}

// churn is a connection with one request that is played again and again from
// other ports.
type churn struct{ segments []sniffer.Segment }

func newChurn() *churn {
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:1024", "10.0.0.2:80", sniffertest.ConnConfig{})
	c.Handshake(0, time.Millisecond)
	c.Client(2*time.Millisecond, []byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
	c.Server(3*time.Millisecond, []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
	c.Close(4*time.Millisecond, sniffertest.Server, time.Millisecond)
	return &churn{s.Segments()}
}

func (c *churn) round(w *Worker) {
	w.Process(c.segments...)
	for i := range c.segments {
		s := &c.segments[i]
		s.Time += 6e6
		client := &s.Src
		if client.Port == 80 {
			client = &s.Dst
		}
		if client.Port++; client.Port == 0 {
			client.Port = 1024
		}
	}
}

// BenchmarkVerdicts measures what the ideal pool costs where it costs most:
// connections of one request. It does not count frames' decoding.
func BenchmarkVerdicts(b *testing.B) {
	for _, without := range []bool{false, true} {
		b.Run(map[bool]string{false: "with", true: "without"}[without], func(b *testing.B) {
			w := NewWorker(reassembly.Config{}, analyzer.Config{NoVerdicts: without}, deaf{})
			c := newChurn()
			b.ReportAllocs()
			for b.Loop() {
				c.round(w)
			}
		})
	}
}

// BenchmarkPairs measures connections of one request of so many clients in turn, which
// come back, and beside them what a map of as many costs whose value is looked at: the
// rest of the growth is what memory costs that is in no cache.
func BenchmarkPairs(b *testing.B) {
	for _, pairs := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("pairs=%d", pairs), func(b *testing.B) {
			w := NewWorker(reassembly.Config{}, analyzer.Config{MaxConnections: pairs, ReuseWindow: 1 << 62}, deaf{})
			c := newChurn()
			visit := func(i int) {
				for j := range c.segments {
					client := &c.segments[j].Src
					if client.Port == 80 {
						client = &c.segments[j].Dst
					}
					binary.BigEndian.PutUint32(client.Addr[12:], uint32(i*7919%pairs))
				}
				c.round(w)
			}
			for i := range pairs {
				visit(i)
			}
			for i := 0; b.Loop(); i++ {
				visit(i)
			}
		})
		b.Run(fmt.Sprintf("map=%d", pairs), func(b *testing.B) {
			m := map[[36]byte]*[128]byte{}
			var key [36]byte
			at := func(i int) []byte {
				binary.BigEndian.PutUint32(key[12:], uint32(i*7919%pairs))
				return key[:]
			}
			for i := range pairs {
				m[[36]byte(at(i))] = new([128]byte)
			}
			for i := 0; b.Loop(); i++ {
				m[[36]byte(at(i))][0]++
			}
		})
	}
}

// BenchmarkSlots measures a connection of one request of a client that has so many others
// under way at a server, each a slot of its pool: one of them, in turn, is answered and
// closed, and the next one opens. Beside it stand what that costs without verdicts, and
// what it takes to touch a record in a plain array of as many, which are as large as what
// is kept of a connection: the rest of the growth is memory that is in no cache.
func BenchmarkSlots(b *testing.B) {
	for _, n := range []int{100, 60_000} {
		for _, without := range []bool{false, true} {
			b.Run(fmt.Sprintf("slots=%d/%s", n, map[bool]string{false: "with", true: "without"}[without]), func(b *testing.B) {
				w := NewWorker(reassembly.Config{}, analyzer.Config{NoVerdicts: without}, deaf{})
				c := newChurn()
				begin, rest := c.segments[:4], c.segments[4:]
				now := c.segments[0].Time
				play := func(segments []sniffer.Segment, i int) {
					for j := range segments {
						s := &segments[j]
						now += 10_000
						s.Time = now
						client := &s.Src
						if s.Src.Port == 80 {
							client = &s.Dst
						}
						client.Port = uint16(1024 + i*7919%n)
						at := uint32(i/n) << 20
						s.Seq, s.Ack = s.Seq&(1<<20-1)|at, s.Ack&(1<<20-1)|at
					}
					w.Process(segments...)
				}
				for i := range n {
					play(begin, i)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					play(rest, i)
					play(begin, n+i)
				}
			})
		}
		b.Run(fmt.Sprintf("array=%d", n), func(b *testing.B) {
			list := make([][768]byte, n)
			for i := 0; b.Loop(); i++ {
				for record, j := &list[i*7919%n], 0; j < len(record); j += 64 {
					record[j]++
				}
			}
		})
	}
}

// BenchmarkExchange measures an exchange on a connection that is kept.
func BenchmarkExchange(b *testing.B) {
	for _, without := range []bool{false, true} {
		b.Run(map[bool]string{false: "with verdicts", true: "without"}[without], func(b *testing.B) {
			w := NewWorker(reassembly.Config{}, analyzer.Config{NoVerdicts: without}, deaf{})
			l := newLoop(someRequests[0], someResponses[0])
			w.Process(l.open...)
			b.ReportAllocs()
			for b.Loop() {
				w.Process(l.exchange...)
				l.next()
			}
		})
	}
}
