package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/google/go-cmp/cmp"
)

// The figures are the same for any number of workers, any order of merging,
// and with tables so small that most keys are folded.
func TestMergeEqualsOne(t *testing.T) {
	for _, o := range []Options{{}, {MaxServers: 7, MaxPairs: 50}, {MaxServers: 1, MaxPairs: 1}} {
		one := aggregateOf(o, 1, 3000)
		want := jsonOf(t, Build(one, Capture{}))
		for _, workers := range []int{2, 4, 7} {
			got := jsonOf(t, Build(aggregateOf(o, workers, 3000), Capture{}))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v, %d workers (-one +merged):\n%s", o, workers, diff)
			}
		}
	}
}

// aggregateOf divides the same traffic over workers by address pair, as the
// reader does, and merges them in reverse.
func aggregateOf(o Options, workers, n int) *Aggregate {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]*Aggregate, workers)
	for i := range all {
		all[i] = NewAggregate(o)
	}
	var c fact.Connection
	for range n {
		randomConnection(r, &c, 30)
		a := all[(int(c.Client.Addr[14])+int(c.Client.Addr[15])+int(c.Server.Addr[15]))%workers]
		addTo(a, &c)
	}
	last := all[workers-1]
	for i := workers - 2; i >= 0; i-- {
		last.Merge(all[i])
	}
	return last
}

func TestTotalsDoNotDependOnFolding(t *testing.T) {
	large, small := Build(aggregateOf(Options{}, 1, 2000), Capture{}), Build(aggregateOf(Options{MaxServers: 2}, 1, 2000), Capture{})
	if len(small.Servers) > 2+2+1 {
		t.Errorf("%d servers listed with a cap of 2", len(small.Servers))
	}
	large.Totals.Ports, small.Totals.Ports = nil, nil
	if diff := cmp.Diff(large.Totals, small.Totals); diff != "" {
		t.Errorf("totals differ (-large +small):\n%s", diff)
	}
}

// A million invented names leave the tables at their caps and every address
// in the list.
func TestFloodOfNames(t *testing.T) {
	a := NewAggregate(Options{MaxServers: 100})
	c := sample()
	for i := range 100_000 {
		c.ServerName = fmt.Sprintf("x%d.example\x1b[2J", i)
		c.Client.Addr[13] = byte(i >> 12)
		a.Connection(c)
	}
	if n := len(a.names.byKey); n != 100 {
		t.Errorf("%d names kept, want 100", n)
	}
	r := Build(a, Capture{})
	if r.Totals.Connections != 100_000 {
		t.Errorf("%d connections in all", r.Totals.Connections)
	}
	found := slices.IndexFunc(r.Servers, func(s Server) bool { return s.Name == "10.0.0.9:8080" })
	if found < 0 || r.Servers[found].Connections != 100_000-100 {
		t.Errorf("the address does not hold the names that were folded")
	}
	for _, s := range r.Servers {
		if strings.ContainsRune(s.Name, '\x1b') {
			t.Errorf("name %q reaches the terminal", s.Name)
		}
	}
}

func TestCapOfPairs(t *testing.T) {
	a := NewAggregate(Options{MaxPairs: 10})
	c := sample()
	for i := range 1000 {
		c.Client.Addr[14], c.Client.Addr[15] = byte(i>>8), byte(i)
		a.Connection(c)
	}
	if len(a.pairs.byKey) != 10 || a.pairs.untracked != 990 {
		t.Errorf("%d pairs, %d connections untracked; want 10, 990", len(a.pairs.byKey), a.pairs.untracked)
	}
	r := rand.New(rand.NewPCG(3, 4))
	a = NewAggregate(Options{MaxPairs: 3})
	for n := range uint64(3000) {
		c.Client.Addr[15] = byte(r.IntN(40))
		a.Connection(c)
		tracked := a.pairs.untracked
		for _, p := range a.pairs.kept.items {
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

func TestNoAllocation(t *testing.T) {
	a := NewAggregate(Options{})
	c := sample()
	dirty := sample()
	dirty.ServerName = "evil\x1b[31m.example"
	x := exchangeOf(c, 0)
	run := func() {
		a.Connection(c)
		a.Connection(dirty)
		a.Exchange(x)
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations a run, want 0", n)
	}
}

func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var h histogram
	for i := range 200 {
		if i%2 == 0 {
			h = histogram{}
		} else {
			h.reset() // its memory is used again
		}
		values := make([]int64, 1+r.IntN(400))
		for i := range values {
			values[i] = int64(math.Exp(r.Float64() * 40))
			h.add(values[i])
		}
		slices.Sort(values)
		for _, p := range []uint64{1, 50, 90, 99, 100} {
			want := values[(uint64(len(values))*p+99)/100-1]
			got := h.quantile(p)
			if err := math.Abs(float64(got-want)) / float64(want); err > 0.01 || want < 128 && got != want {
				t.Fatalf("p%d of %d values: got %d, want %d", p, len(values), got, want)
			}
		}
	}
}

func TestBucketsAreContinuous(t *testing.T) {
	for v := int64(1); v < 1<<20; v++ {
		if d := bucketOf(v) - bucketOf(v-1); d > 1 || v < 256 && d != 1 {
			t.Fatalf("bucket of %d is %d past that of %d", v, d, v-1)
		}
	}
	if b := bucketOf(math.MaxInt64); b != 7295 {
		t.Errorf("last bucket %d, want 7295", b)
	}
}

func TestObservedTimeout(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []int64
		want   int64
		ok     bool
	}{
		{"five near", []int64{4990e6, 4995e6, 5000e6, 5005e6, 5010e6}, 5000e6, true},
		{"four", []int64{5000e6, 5000e6, 5000e6, 5000e6}, 0, false},
		{"five apart", []int64{1e9, 2e9, 5e9, 20e9, 60e9}, 0, false},
		{"outliers", []int64{1e9, 5e9, 5e9, 5e9, 5e9, 5e9, 90e9}, 5e9, true},
		{"none", nil, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h histogram
			for _, v := range test.values {
				h.add(v)
			}
			got, ok := observedTimeout(&h)
			if ok != test.ok || ok && math.Abs(float64(got-test.want)) > float64(test.want)/100 {
				t.Errorf("got %d, %v; want %d, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestPortsHaveOneOwner(t *testing.T) {
	a := NewAggregate(Options{})
	c := sample()
	for i := range 30 {
		c.ServerName = []string{"a.example", "b.example", "b.example"}[i%3]
		c.Start = epoch + int64(i%2)*windowNS
		a.Connection(c)
	}
	for _, s := range Build(a, Capture{}).Servers {
		if (s.Ports != nil) != (s.Name == "b.example") {
			t.Errorf("%s: ports %+v", s.Name, s.Ports)
		}
		if s.Ports != nil && (s.Ports.Peak != 15 || s.Ports.TimeWait.Client != 30) {
			t.Errorf("ports %+v, want a peak of 15 and 30 in TIME_WAIT at the client", s.Ports)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	a := NewAggregate(Options{})
	r := rand.New(rand.NewPCG(1, 2))
	var c fact.Connection
	xs := make([]*fact.Exchange, 1024)
	for i := range xs {
		randomConnection(r, &c, 5)
		xs[i] = exchangeOf(&c, 0)
		xs[i].End = xs[i].Start + int64(math.Exp(10+r.Float64()*6))
	}
	b.ReportAllocs()
	for i := range b.N {
		a.Exchange(xs[i&1023])
	}
}

func BenchmarkConnection(b *testing.B) {
	a := NewAggregate(Options{})
	r := rand.New(rand.NewPCG(1, 2))
	cs := make([]fact.Connection, 1024)
	for i := range cs {
		randomConnection(r, &cs[i], 5)
	}
	b.ReportAllocs()
	for i := range b.N {
		a.Connection(&cs[i&1023])
	}
}
