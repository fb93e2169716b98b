package tally

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/clients"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/sniffer"
)

func endpoint(s string) sniffer.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return sniffer.Endpoint{Addr: ap.Addr().As16(), Port: ap.Port()}
}

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 1, time.UTC).UnixNano()

// sample is a connection of three requests.
func sample() *fact.Connection {
	c := &fact.Connection{
		ID: 7, Client: endpoint("10.0.0.7:40112"), Server: endpoint("10.0.0.9:8080"), ServerName: "shop.example:8080",
		Start: epoch, End: epoch + 5e9, HandshakeTime: 310_000, TLS: &fact.TLS{Handshake: 2_100_000},
		Protocol: fact.ProtocolHTTP11, Requests: 3, Responses: 3, Reused: 2, CloseIdle: 400_000,
		ClosedWith: fact.WithFIN, Reason: fact.ReasonClientClose,
		Verdict: fact.VerdictWasted, Cause: fact.Cause(fact.ReasonServerClose), Cost: fact.Cost{TCP: 300_000, TLS: 2_100_000},
	}
	c.Negotiated[fact.KeepAlive] = 3
	return c
}

// randomConnection fills c with any of many servers, names, clients, reasons
// and verdicts, always the same ones for a seed.
func randomConnection(r *rand.Rand, c *fact.Connection, names int) {
	*c = fact.Connection{
		ID:     r.Uint64(),
		Client: endpoint(fmt.Sprintf("10.1.%d.%d:%d", r.IntN(3), r.IntN(200), 1024+r.IntN(60000))),
		Server: endpoint(fmt.Sprintf("10.0.0.%d:80", r.IntN(20))),
		Start:  epoch + r.Int64N(600e9), Handshake: fact.Handshake(r.IntN(5)), HandshakeTime: r.Int64N(1e7) - 1,
		Protocol: fact.ProtocolHTTP11, Requests: uint32(r.IntN(5)), CloseIdle: r.Int64N(9e9) - 1,
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
}

// tell tells w of a connection and its exchanges, as the analyzer does: none of
// an encrypted one's. Half of them it opens first.
func tell(w *Worker, c *fact.Connection) {
	if c.Client.Port%2 == 0 {
		w.Opened(c)
		if c.Verdict != fact.VerdictNone {
			w.Judged(c)
		}
	}
	for i := range c.Requests {
		if !c.Estimated {
			x := exchangeOf(c, i)
			w.Exchange(&x)
		}
	}
	w.Connection(c)
}

func exchangeOf(c *fact.Connection, i uint32) fact.Exchange {
	x := fact.Exchange{
		Client: c.Client, Server: c.Server, ServerName: c.ServerName, Mark: c.Mark, Opened: c.Start, Index: i + 1,
		Start: c.Start + int64(i)*1e6, End: c.Start + int64(i)*1e6 + 3e5, Method: http.GET, Version: http.HTTP11,
		Status: 200, Outcome: fact.KeepAlive, Idle: -1,
	}
	if i > 0 {
		x.Reuse = fact.ReusedRequest
		if int(i) <= len(c.ReuseIdle) {
			x.Idle = c.ReuseIdle[i-1]
		}
	}
	return x
}

// textOf writes figures to the last field, but for what package clients tests, and
// when a health check is known for one, which depends on its worker.
func textOf(t testing.TB, f *Figures) string {
	t.Helper()
	c := *f
	c.Clients, c.Probed, c.Created = clients.Table{}, nil, 0 // which fact came first depends on the order of ends
	text, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	traffic := []*Traffic{&f.Counted}
	if f.Estimated != nil {
		traffic = append(traffic, f.Estimated)
	}
	for _, h := range f.histograms() {
		text = fmt.Append(text, bucketsOf(h), h.Max)
	}
	for _, part := range traffic {
		for _, h := range part.histograms() {
			text = fmt.Append(text, bucketsOf(h), h.Max)
		}
	}
	for _, r := range []*Recent{&f.IdleClosings[0], &f.IdleClosings[1], &f.Discards[0], &f.Discards[1], &f.StallsOpen} {
		text = fmt.Append(text, sorted(r))
	}
	for k := range f.Newest.All() {
		text = fmt.Append(text, *k)
	}
	return string(text)
}

type bucket struct {
	at uint16
	cell
}

func bucketsOf(h *Histogram) (list []bucket) {
	for at, c := range h.ascending {
		list = append(list, bucket{at, *c})
	}
	return list
}

func sorted(r *Recent) (list []closing) {
	for c := range r.each {
		list = append(list, *c)
	}
	return list
}

// TestRing keeps the last of many, in order, for any order of coming and any growth.
func TestRing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var r ring[closing, *closing]
		var all []closing
		most := 1 + rnd.IntN(20)
		for i := range rnd.IntN(60) {
			c := closing{int64(i) - rnd.Int64N(10), rnd.Int64N(3)}
			all = append(all, c)
			grow := len(r.list) < most
			if r.add(c, grow) != grow {
				t.Fatalf("grown to %d of %d", len(r.list), most)
			}
		}
		slices.SortFunc(all, func(a, b closing) int { return a.compare(&b) })
		want := all[max(len(all)-most, 0):]
		var got []closing
		for c := range r.each {
			got = append(got, *c)
		}
		if !slices.Equal(want, got) {
			t.Fatalf("of %v: %v, want %v", all, got, want)
		}
	}
}

// rowsOf returns what a set counted, by key.
func rowsOf(t testing.TB, s *Set) (rows map[string]string) {
	t.Helper()
	rows = map[string]string{}
	s.Detail(func(sum *Sum) {
		for _, r := range sum.Rows {
			rows[fmt.Sprintf("%d %s %v %d", r.Fold, r.Label(), r.Endpoint, r.Network[14])] = textOf(t, &r.Figures)
		}
	})
	return rows
}

// filled divides the same traffic over workers by address pair, as the reader
// does.
func filled(cfg Config, workers, n int) *Set {
	r := rand.New(rand.NewPCG(1, 2))
	s := New(cfg)
	var list []*Worker
	for range workers {
		list = append(list, s.Worker(nil))
	}
	var c fact.Connection
	for range n {
		randomConnection(r, &c, 30)
		tell(list[(int(c.Client.Addr[14])+int(c.Client.Addr[15])+int(c.Server.Addr[15]))%workers], &c)
	}
	return s
}

// TestMergeEqualsOne: the figures are the same for any number of workers, also
// where not every server gets a name.
func TestMergeEqualsOne(t *testing.T) {
	for _, cfg := range []Config{{}, {MaxServers: 200, MaxPairs: 50}, {ByNetwork: true}} {
		want := filled(cfg, 1, 3000)
		wantRows := rowsOf(t, want)
		for _, workers := range []int{2, 4, 7} {
			got := filled(cfg, workers, 3000)
			if diff := cmp.Diff(wantRows, rowsOf(t, got)); diff != "" {
				t.Fatalf("%+v, %d workers (-one +many):\n%s", cfg, workers, diff)
			}
			if diff := cmp.Diff(pairsOf(want), pairsOf(got)); diff != "" {
				t.Fatalf("%+v, %d workers (-one +many):\n%s", cfg, workers, diff)
			}
		}
	}
}

func pairsOf(s *Set) (pairs map[string]Pair) {
	pairs = map[string]Pair{}
	s.View(func(sum *Sum) {
		list, unwatched := sum.Pairs()
		for _, p := range list {
			pairs[fmt.Sprint(p.Client, p.Server)] = p
		}
		pairs["unwatched"] = Pair{Busiest: unwatched}
	})
	return pairs
}

// TestTotalsDoNotDependOnFolding folds most servers, looking again and again, and
// loses none of their figures.
func TestTotalsDoNotDependOnFolding(t *testing.T) {
	sumOf := func(s *Set) string {
		var sum Figures
		s.View(func(v *Sum) {
			for _, r := range v.Rows {
				sum.Merge(&r.Figures)
			}
		})
		return textOf(t, &sum)
	}
	want := sumOf(filled(Config{}, 1, 2000))
	s := New(Config{MaxServers: 2})
	w := s.Worker(nil)
	r := rand.New(rand.NewPCG(1, 2))
	var c fact.Connection
	for i := range 2000 {
		randomConnection(r, &c, 30)
		tell(w, &c)
		if i%100 == 0 {
			sumOf(s)
		}
	}
	if diff := cmp.Diff(want, sumOf(s)); diff != "" {
		t.Errorf("totals differ (-large +small):\n%s", diff)
	}
	if n := len(w.rows); n > 2+2*int(naming.NumDirections)+30 {
		t.Errorf("%d rows are kept for 2 names", n)
	}
}

// labelsOf lists the names in use and how many requests each has.
func labelsOf(s *Set) map[string]uint64 {
	m := map[string]uint64{}
	s.View(func(sum *Sum) {
		for _, r := range sum.Rows {
			m[r.Label()] += r.Load()
		}
	})
	return m
}

// TestFloodOfNames has a client invent a million names: the tables stay at their
// caps, and nothing is lost.
func TestFloodOfNames(t *testing.T) {
	s := New(Config{MaxServers: 100})
	w := s.Worker(nil)
	c := sample()
	x := exchangeOf(c, 0)
	const n = 200_000
	for i := range n {
		x.ServerName = fmt.Sprintf("x%d.example\x1b[2J", i)
		w.Exchange(&x)
	}
	if len(w.rows) > 2*s.maxRows+1 {
		t.Errorf("%d rows", len(w.rows))
	}
	var sum uint64
	labels := labelsOf(s)
	for name, load := range labels {
		sum += load
		if strings.ContainsRune(name, '\x1b') {
			t.Errorf("name %q reaches the terminal", name)
		}
	}
	if len(labels) != 101 || sum != n {
		t.Errorf("%d names with %d requests, want 101 with %d", len(labels), sum, n)
	}
	if s.displaced.Load() == 0 {
		t.Error("no displaced server is counted")
	}
}

// TestWhatCarriedNoRequestTakesNoName scans ports that nobody asks anything of,
// before and after the names are all given.
func TestWhatCarriedNoRequestTakesNoName(t *testing.T) {
	s := New(Config{MaxServers: 3})
	w := s.Worker(nil)
	scan := func(from, to int) {
		for port := from; port < to; port++ {
			c := &fact.Connection{Client: endpoint("10.0.0.7:40112"), Server: endpoint(fmt.Sprintf("10.0.0.9:%d", port)), Start: epoch, End: epoch,
				Handshake: fact.HandshakeRefused, Reason: fact.ReasonHandshakeFailed, HandshakeTime: -1, CloseIdle: -1}
			tell(w, c)
		}
	}
	ask := func(name string) {
		c := sample()
		c.ServerName = name
		tell(w, c)
	}
	scan(1000, 1200)
	if got := labelsOf(s); len(got) != 4 {
		t.Errorf("%v: want three names while there is room, and other", got)
	}
	for _, name := range []string{"a.example", "b.example", "c.example"} {
		ask(name)
	}
	scan(1200, 1400)
	want := map[string]uint64{"a.example": 3, "b.example": 3, "c.example": 3, "other": 0}
	if diff := cmp.Diff(want, labelsOf(s)); diff != "" {
		t.Error(diff)
	}
	ask("d.example") // the others are not idle
	want["other"] = 3
	if diff := cmp.Diff(want, labelsOf(s)); diff != "" {
		t.Error(diff)
	}
	if s.evicted != 3 {
		t.Errorf("%d names are counted as given up, want 3", s.evicted)
	}
}

// TestRequestsOfAnotherHost: a request belongs to its own Host.
func TestRequestsOfAnotherHost(t *testing.T) {
	s := New(Config{})
	w := s.Worker(nil)
	c := sample()
	w.Opened(c)
	for i := range uint32(6) {
		x := exchangeOf(c, i)
		x.ServerName = []string{c.ServerName, "b.example", "10.0.0.9:8080"}[i%3]
		w.Exchange(&x)
	}
	w.Connection(c)
	want := map[string]uint64{"shop.example:8080": 2, "b.example": 2, "10.0.0.9:8080": 2}
	if diff := cmp.Diff(want, labelsOf(s)); diff != "" {
		t.Error(diff)
	}
}

// TestMoreRowsThanMarks: a server beyond the last mark is found with each fact.
func TestMoreRowsThanMarks(t *testing.T) {
	s := New(Config{})
	w := s.Worker(nil)
	w.marks = make([]*row, maxMarks)
	c := sample()
	c.Client.Port = 2 // opened first
	tell(w, c)
	if len(w.marks) != maxMarks || c.Mark&^timed != unmarked {
		t.Errorf("%d marks, that of the newest is %d", len(w.marks), c.Mark)
	}
	s.View(func(sum *Sum) {
		if r := sum.Rows[0]; r.Open != 0 || r.Load() != 3 || r.Connections() != 1 {
			t.Errorf("%d open of %d, %d requests", r.Open, r.Connections(), r.Load())
		}
	})
}

// TestHandshakeAfterRequest: a handshake that is complete after the first request
// is timed, once.
func TestHandshakeAfterRequest(t *testing.T) {
	for _, early := range []bool{true, false} {
		s := New(Config{})
		w := s.Worker(nil)
		c := sample()
		if early {
			c.HandshakeTime = -1
		}
		w.Opened(c)
		c.HandshakeTime = 310_000
		w.Connection(c)
		s.View(func(sum *Sum) {
			if n := sum.Rows[0].HandshakeTimes[HandshakeTCP].Count(); n != 1 {
				t.Errorf("request before the handshake's end %v: timed %d times", early, n)
			}
		})
	}
}

func TestNoAllocation(t *testing.T) {
	w := New(Config{}).Worker(nil)
	c, x := sample(), exchangeOf(sample(), 0)
	dirty := sample()
	dirty.ServerName = "evil\x1b[31m.example"
	run := func() {
		for _, c := range []*fact.Connection{c, dirty} {
			w.Opened(c)
			w.Judged(c)
			x.Mark, x.ServerName = c.Mark, c.ServerName
			w.Exchange(&x)
			x.ServerName = "sibling.example"
			w.Exchange(&x)
			w.Connection(c)
		}
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations a run, want 0", n)
	}
}

func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var h Histogram
	for i := range 200 {
		if i%2 == 0 {
			h = Histogram{}
		} else {
			h.reset() // its memory is used again
		}
		values := make([]int64, 1+r.IntN(400))
		for i := range values {
			values[i] = int64(math.Exp(r.Float64() * 40))
			h.Add(values[i])
		}
		slices.Sort(values)
		for _, p := range []uint64{1, 50, 90, 99, 100} {
			want := values[(uint64(len(values))*p+99)/100-1]
			got := h.Quantile(p)
			if err := math.Abs(float64(got-want)) / float64(want); err > 0.01 || want < 128 && got != want {
				t.Fatalf("p%d of %d values: got %d, want %d", p, len(values), got, want)
			}
		}
		for _, unit := range []*Unit{Things, Seconds} {
			for _, bounds := range unit.classic {
				checkCumulative(t, &h, unit, bounds, values)
			}
		}
	}
}

// TestHistogramOfOthers uses a histogram of high values again for low ones, as a worker
// does with the figures of a server that it has no room for any more.
func TestHistogramOfOthers(t *testing.T) {
	var h Histogram
	h.Add(math.MaxInt64)
	h.reset()
	h.Add(1)
	if n, most := h.Count(), h.Quantile(100); n != 1 || most != 1 {
		t.Errorf("%d values, of which %d is the largest", n, most)
	}
}

func checkCumulative(t *testing.T, h *Histogram, u *Unit, bounds []float64, values []int64) {
	t.Helper()
	for i, n := range h.Cumulative(u, bounds) {
		at, _ := slices.BinarySearch(values, u.integer(bounds[i])+1)
		if n != uint64(at) {
			t.Fatalf("%d values up to %v, want %d", n, bounds[i], at)
		}
	}
}

func TestBucketsAreContinuous(t *testing.T) {
	for v := int64(1); v < 1<<20; v++ {
		if d := fineOf(v) - fineOf(v-1); d > 1 || v < 256 && d != 1 {
			t.Fatalf("bucket of %d is %d past that of %d", v, d, v-1)
		}
	}
	if b := fineOf(math.MaxInt64); b != numFine-1 {
		t.Errorf("last bucket %d, want %d", b, numFine-1)
	}
}

func TestCellsAreMonotonic(t *testing.T) {
	last := len(cells.upper) - 1
	for i, u := range cells.upper {
		if got := cells.cell(u); got != i {
			t.Fatalf("value %d is in cell %d, want %d", u, got, i)
		}
		if i == last {
			break
		}
		if got := cells.cell(u + 1); got != i+1 {
			t.Fatalf("value %d is in cell %d, want %d", u+1, got, i+1)
		}
	}
	if cells.upper[last] != math.MaxInt64 || last > math.MaxUint16 {
		t.Errorf("the last cell, %d, ends at %d", last, cells.upper[last])
	}
}

// TestAnswers: a server's abort is a race where its other closings tell a timer, and
// not by itself. What is told as a race is so for who hears of it next.
func TestAnswers(t *testing.T) {
	for _, closings := range []int{0, 4, 5} {
		set := New(Config{})
		w := set.Worker(nil)
		aborted := func(id uint64) *fact.Connection {
			c := sample()
			c.ID, c.Reason, c.ClosedBy, c.CloseIdle, c.Unheard = id, fact.ReasonServerAbort, fact.ByServer, 5e9, true
			return c
		}
		first := aborted(1)
		w.Connection(first)
		if first.Reason != fact.ReasonServerAbort {
			t.Errorf("%d closings: the first is told as %v", closings, first.Reason)
		}
		for range closings {
			c := sample()
			c.Reason, c.ClosedBy, c.CloseIdle = fact.ReasonServerIdle, fact.ByServer, 5e9
			w.Connection(c)
		}
		last := aborted(2)
		last.Cause, last.CouldReuse = fact.Cause(fact.ReasonServerAbort), &fact.CouldReuse{ID: 1, Reason: fact.ReasonServerAbort}
		w.Connection(last)
		// The aborts themselves are closings that a timer can have made, and the first
		// was told when there were too few.
		if race := last.Race && last.Reason == fact.ReasonRace; race != (closings+1 >= minIdleClosings) {
			t.Errorf("%d closings: the last is told as %v", closings, last.Reason)
		}
		want := closings+2 >= minIdleClosings
		set.Detail(func(s *Sum) {
			if diff := cmp.Diff(map[uint64]bool{1: want, 2: want}, s.Answers()); diff != "" {
				t.Errorf("%d closings: %s", closings, diff)
			}
		})
		next := sample()
		next.Cause, next.CouldReuse = fact.Cause(fact.ReasonServerAbort), &fact.CouldReuse{ID: 2, Reason: fact.ReasonServerAbort}
		w.Connection(next)
		if got := next.CouldReuse.Reason; got != last.Reason || next.Cause != fact.Cause(got) {
			t.Errorf("%d closings: what replaced a %v is told as wasted for %v, %v", closings, last.Reason, next.Cause, got)
		}
	}
}

// TestForgotten: a connection beyond maxNewest counts as forgotten where it may be missed,
// for its question is open or it may be one of many closings at once.
func TestForgotten(t *testing.T) {
	const more = 10
	for _, tc := range []struct {
		name string
		end  func(c *fact.Connection, i int)
		want uint64
	}{
		{"single closings", func(c *fact.Connection, i int) { c.End += int64(i) * second }, 0},
		{"closings of the client at once", func(*fact.Connection, int) {}, 0},
		{"closings of the server at once", func(c *fact.Connection, _ int) {
			c.Reason, c.ClosedBy, c.CloseIdle = fact.ReasonServerIdle, fact.ByServer, second
		}, more},
		{"open questions", func(c *fact.Connection, i int) { c.End += int64(i) * second; c.Unheard = true }, more},
	} {
		set := New(Config{})
		w := set.Worker(nil)
		for i := range maxNewest + more {
			c := sample()
			c.ID = uint64(i)
			tc.end(c, i)
			w.Connection(c)
		}
		set.View(func(s *Sum) {
			for _, l := range s.Limits() {
				if l.Name == "remembered_connections" && l.Count != tc.want {
					t.Errorf("%s: %d are said to be forgotten, want %d", tc.name, l.Count, tc.want)
				}
			}
		})
	}
}

// TestDrain: GOAWAYs at one instant are a reload where the connections were opened further
// apart, and no limit of age or requests.
func TestDrain(t *testing.T) {
	for _, tc := range []struct {
		name         string
		apart, later int64 // between the openings, and between the GOAWAYs
		idle         int64
		others       int // connections that go on
		want         int
	}{
		{"reload", 10 * millisecond, millisecond / 10, 50 * millisecond, 0, 1},
		{"reload of one of two workers", 10 * millisecond, millisecond / 10, 50 * millisecond, 4, 0},
		{"opened at one instant", millisecond / 10, millisecond / 10, 50 * millisecond, 0, 0},
		{"age limit", 3 * millisecond, 3 * millisecond, 50 * millisecond, 0, 0},
		{"request limit", 10 * millisecond, millisecond / 10, millisecond, 0, 0},
		{"idle timeout", 10 * millisecond, millisecond / 10, 2 * second, 0, 0},
	} {
		set := New(Config{})
		w := set.Worker(nil)
		for i := range int64(4 + tc.others) {
			c := sample()
			c.ID, c.Start, c.End, c.Reason, c.CloseIdle = uint64(i), epoch+i*tc.apart, epoch+2*second, fact.ReasonOpen, fact.Absent
			c.Protocol, c.Streams = fact.ProtocolH2, &fact.Streams{}
			if i < 4 {
				c.Reason, c.ClosedBy, c.CloseIdle = fact.ReasonServerGoaway, fact.ByServer, tc.idle
				c.Streams.Goaway[fact.ByServer] = fact.Goaway{Seen: true, First: epoch + second + i*tc.later}
			}
			w.Connection(c)
		}
		set.Detail(func(s *Sum) {
			endpoints, _ := s.Endpoints(false)
			if got := len(endpoints[0].Masses); got != tc.want {
				t.Errorf("%s: %d closings of many at once, want %d", tc.name, got, tc.want)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	const s = int64(1e9)
	many := func(n int, v int64) []int64 { return slices.Repeat([]int64{v}, n) }
	for _, tt := range []struct {
		name   string
		values []int64
		want   int64
		ok     bool
	}{
		{"none", nil, 0, false},
		{"too few", many(4, 5*s), 0, false},
		{"five alike", []int64{5*s + 3, 5*s + 1, 5*s + 2, 5*s + 5, 5*s + 4}, 5*s + 3, true},
		{"most elsewhere", []int64{1 * s, 2 * s, 3 * s, 4 * s, 5 * s, 60 * s, 61 * s}, 4 * s, false},
		{"some strays", []int64{9 * s, 75 * s, 75 * s, 75 * s, 75 * s, 75 * s, 1 * s}, 75 * s, true},
		{"five near the median of twenty", append(many(5, 10*s), []int64{1, 2, 3, 4, 5, 6, 7, 20e9, 21e9, 22e9, 23e9, 24e9, 25e9, 26e9, 27e9}...), 0, false},
		{"the newest 64 count", append(many(70, 5*s), many(70, 60*s)...), 60 * s, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var one, two, halves Recent
			for i, v := range tt.values {
				one.add(int64(i), v)
				if i%2 == 0 {
					two.add(int64(i), v)
				} else {
					halves.add(int64(i), v)
				}
			}
			halves.merge(&two)
			for _, r := range []*Recent{&one, &halves} {
				got, ok := r.Timeout()
				if ok != tt.ok || ok && got != tt.want {
					t.Errorf("timeout is %d, %v; want %d, %v", got, ok, tt.want, tt.ok)
				}
			}
		})
	}
}

func TestCapOfPairs(t *testing.T) {
	w := New(Config{MaxPairs: 10}).Worker(nil)
	c := sample()
	for i := range 1000 {
		c.Client.Addr[14], c.Client.Addr[15] = byte(i>>8), byte(i)
		w.Connection(c)
	}
	if len(w.pairs.byKey) != 10 || w.pairs.untracked != 990 {
		t.Errorf("%d pairs, %d connections untracked; want 10, 990", len(w.pairs.byKey), w.pairs.untracked)
	}
	r := rand.New(rand.NewPCG(3, 4))
	w = New(Config{MaxPairs: 3}).Worker(nil)
	c.Mark = 0
	for n := range uint64(3000) {
		c.Client.Addr[15] = byte(r.IntN(40))
		w.Connection(c)
		tracked := w.pairs.untracked
		for _, p := range w.pairs.kept.items {
			tracked += p.total
		}
		if tracked != n+1 {
			t.Fatalf("%d connections counted of %d", tracked, n+1)
		}
	}
	p := &pair{}
	for at := range int32(3 * maxBins) {
		p.count(windowBins*at, uint32(at%7)+1)
	}
	if len(p.bins) != maxBins || p.busiest() != 7 {
		t.Errorf("%d bins, busiest %d; want %d, 7", len(p.bins), p.busiest(), maxBins)
	}
}

// The busiest 60 s are found wherever they begin, in whatever order connections
// end, and where one worker saw one half of them and one the other.
func TestBusiestMinute(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		var starts []int32
		for range 1 + r.IntN(300) {
			starts = append(starts, r.Int32N(100)-50)
		}
		var want uint64
		for first := int32(-50); first < 50; first++ {
			var n uint64
			for _, at := range starts {
				if at >= first && at < first+windowBins {
					n++
				}
			}
			want = max(want, n)
		}
		var p, q pair
		for i, at := range starts {
			if i%2 == 0 {
				p.count(at, 1)
			} else {
				q.count(at, 1)
			}
		}
		for _, b := range q.bins {
			p.count(b.at, b.n)
		}
		if got := p.busiest(); got != want {
			t.Fatalf("%v: %d in the busiest 60 s, want %d", starts, got, want)
		}
	}
}

// What falls out of a full list has counted in the windows that began there.
func TestBusiestMinuteLongAgo(t *testing.T) {
	var p pair
	for at := range int32(3 * maxBins) {
		p.count(at, 1)
		if at < windowBins {
			p.count(at, 9)
		}
	}
	if got := p.busiest(); got != 10*windowBins {
		t.Errorf("%d in the busiest 60 s, want %d", got, 10*windowBins)
	}
}

func BenchmarkExchange(b *testing.B) {
	for _, servers := range []int{1, 200} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			w := New(Config{}).Worker(nil)
			list := make([]fact.Exchange, 1024)
			for i := range list {
				c := sample()
				c.ServerName = fmt.Sprintf("host-%d.example", i%servers)
				w.Opened(c)
				list[i] = exchangeOf(c, 1)
				list[i].Idle = rand.Int64N(1 << (10 + rand.IntN(30)))
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				w.Exchange(&list[i&1023])
				i++
			}
		})
	}
}

func BenchmarkConnection(b *testing.B) {
	w := New(Config{}).Worker(nil)
	r := rand.New(rand.NewPCG(1, 2))
	cs := make([]fact.Connection, 1024)
	for i := range cs {
		randomConnection(r, &cs[i], 5)
	}
	b.ReportAllocs()
	for i := range b.N {
		c := &cs[i&1023]
		w.Opened(c)
		w.Judged(c)
		w.Connection(c)
	}
}

func BenchmarkHistogram(b *testing.B) {
	var h Histogram
	values := make([]int64, 4096)
	for i := range values {
		values[i] = rand.Int64N(1 << (10 + rand.IntN(30)))
	}
	i := 0
	for b.Loop() {
		h.Add(values[i&4095])
		i++
	}
}

// TestTake: what is taken is as if it had never been added, but for Max.
func TestTake(t *testing.T) {
	var with, without Histogram
	for _, v := range []int64{5, 300, 7e9, 300, 1e6} {
		with.Add(v)
		if v != 300 && v != 1e6 {
			without.Add(v)
		}
	}
	for _, v := range []int64{300, 1e6, 300} {
		if !with.Take(v) {
			t.Errorf("%d was not there", v)
		}
	}
	if with.Take(300) || with.Take(1) {
		t.Error("what was never added was taken")
	}
	if diff := cmp.Diff(encoded(t, &without), encoded(t, &with)); diff != "" {
		t.Error(diff)
	}
}

func encoded(t *testing.T, h *Histogram) []byte {
	t.Helper()
	b, err := h.GobEncode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
