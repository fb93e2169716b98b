package history_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/exporter/history"
	"github.com/keepscope/keepscope/exporter/report"
)

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// server returns figures of which n tells all.
func server(name string, n uint64) report.Server {
	s := report.Server{Name: name}
	s.Connections, s.Used, s.Requests, s.ReusedRequests = 3*n, 2*n, 7*n, 5*n
	s.Wasted = report.Wasted{Total: 2 * n, Probed: n, Seconds: float64(n), ByCause: map[string]uint64{"pool_miss": n, "server_close": n}}
	return s
}

func counts(n uint64) history.Counts {
	s := server("", n)
	return history.Of(&s.Parts()[0])
}

func reportOf(servers ...report.Server) *report.Report { return &report.Report{Servers: servers} }

// TestWindows: within each window as much was counted as was at its end and not yet
// at its beginning, and the steps add up to it.
func TestWindows(t *testing.T) {
	var h history.History
	r := rand.New(rand.NewPCG(1, 2))
	key := history.Key{Server: "a"}
	at := map[time.Time]uint64{}
	n := uint64(0)
	for now := epoch; now.Before(epoch.Add(3 * time.Hour)); now = now.Add(time.Second) {
		if r.IntN(3) == 0 {
			n += r.Uint64N(10)
		}
		h.Add(now, reportOf(server("a", n)))
		at[now] = n
		for w := range history.NumWindows {
			begin := h.Begin(w)
			if begin.IsZero() != (now.Sub(epoch) < w.Length()) {
				t.Fatalf("after %v a window of %v begins at %v", now.Sub(epoch), w.Length(), begin)
			}
			if !begin.IsZero() && (now.Sub(begin) < w.Length() || now.Sub(begin) >= w.Length()+w.Step()) {
				t.Fatalf("after %v a window of %v is %v long", now.Sub(epoch), w.Length(), now.Sub(begin))
			}
			got, want := h.Since(w, key, counts(n)), n-at[begin]
			if got.Requests != 7*want || got.Wasted != 2*want || got.Probed != want || got.Seconds != float64(want) || got.Connections != 3*want || got.Used != 2*want || got.Reused != 5*want {
				t.Fatalf("after %v a window of %v has %+v, want %d times", now.Sub(epoch), w.Length(), got, want)
			}
			steps := h.Steps(w, key, func(c *history.Counts) uint64 { return c.Used / 2 })
			sum := uint64(0)
			for _, s := range steps {
				sum += s
			}
			newest := now.Add(-now.Sub(epoch) % w.Step())
			if want := at[newest] - at[begin]; !begin.IsZero() && sum != want {
				t.Fatalf("after %v the steps of %v are %v, in all not %d", now.Sub(epoch), w.Length(), steps, want)
			}
		}
	}
}

// fill gives a history of n points, a minute's step from one to the next.
func fill(h *history.History, from time.Time, n int, r *report.Report) time.Time {
	for range n {
		h.Add(from, r)
		from = from.Add(history.Minute.Step())
	}
	return from
}

// TestComingAndGoing: a server that is new, or that was forgotten and counts anew, has
// all that it counts in the window.
func TestComingAndGoing(t *testing.T) {
	var h history.History
	now := fill(&h, epoch, history.Points+1, reportOf(server("old", 9)))
	now = fill(&h, now, 1, reportOf(server("old", 9), server("new", 4)))
	for name, want := range map[string]uint64{"old": 0, "new": 4} {
		if got := h.Since(history.Minute, history.Key{Server: name}, counts(max(9*(1-want/4), want))); got.Requests != 7*want {
			t.Errorf("%s: %+v, want %d times", name, got, want)
		}
	}
	now = fill(&h, now, 1, reportOf(server("old", 2)))
	if got := h.Since(history.Minute, history.Key{Server: "old"}, counts(3)); got.Requests != 21 {
		t.Errorf("it counts anew, and %+v is told of it", got)
	}
	fill(&h, now, 1, reportOf())
	if got := h.Since(history.Minute, history.Key{Server: "old"}, counts(1)); got.Requests != 7 {
		t.Errorf("it was forgotten, and %+v is told of it", got)
	}
	if steps := h.Steps(history.Minute, history.Key{Server: "old"}, func(c *history.Counts) uint64 { return c.Requests }); steps != ([history.Points]uint64{}) {
		t.Errorf("it was forgotten, and has the steps %v", steps)
	}
}

// TestClone: what happens later changes no clone.
func TestClone(t *testing.T) {
	var h history.History
	now := fill(&h, epoch, history.Points+1, reportOf(server("a", 1)))
	c := h.Clone()
	for range 3 * history.Points {
		now = fill(&h, now, 1, reportOf(server("a", 9), server("b", 1)))
	}
	key := history.Key{Server: "a"}
	if was, is := c.Since(history.Minute, key, counts(9)), h.Since(history.Minute, key, counts(9)); was.Used != 16 || is.Used != 0 {
		t.Errorf("%d in the clone, %d beside it", was.Used, is.Used)
	}
	if c.Begin(history.Minute) != epoch {
		t.Errorf("the clone's minute begins at %v", c.Begin(history.Minute))
	}
}

// TestCap: servers beyond the cap are counted since the start, and it is told how many
// they are.
func TestCap(t *testing.T) {
	const maxSeries, more = 4096, 7
	var list []report.Server
	for i := range maxSeries + more - 1 { // the totals have a history, too
		list = append(list, server(fmt.Sprint(i), 1))
	}
	var h history.History
	fill(&h, epoch, history.Points+1, reportOf(list...))
	if h.Unkept != more {
		t.Errorf("%d have no history, want %d", h.Unkept, more)
	}
	if got := h.Since(history.Minute, history.Key{Server: "0"}, counts(1)); got.Requests != 0 {
		t.Errorf("the first has a history, and %+v", got)
	}
	last := list[len(list)-1].Name
	if diff := cmp.Diff(counts(1), h.Since(history.Minute, history.Key{Server: last}, counts(1))); diff != "" {
		t.Error(diff)
	}
}

func TestCounts(t *testing.T) {
	c := history.Counts{Reused: 3, Wasted: 3, Probed: 2, Causes: []history.Cause{{"client_close", 1}, {"pool_miss", 2}}}
	if v := c.Effectiveness(); v == nil || *v != 0.75 {
		t.Errorf("effectiveness %v", v)
	}
	if top := c.TopCause(); top != "pool_miss" {
		t.Errorf("mostly %q", top)
	}
	var none history.Counts
	if v, top := none.Effectiveness(), none.TopCause(); v != nil || top != "" {
		t.Errorf("of nothing: %v, %q", v, top)
	}
	sum := counts(1)
	other := history.Counts{Requests: 1, Wasted: 7, Causes: []history.Cause{{"client_close", 3}, {"pool_miss", 4}}}
	sum.Add(&other)
	if sum.Requests != 8 || sum.Wasted != 9 || sum.Reused != 5 {
		t.Errorf("a sum of %+v", sum)
	}
	if diff := cmp.Diff([]history.Cause{{"client_close", 3}, {"pool_miss", 5}, {"server_close", 1}}, sum.Causes); diff != "" {
		t.Error(diff)
	}
	if other.Causes[1].N != 4 {
		t.Error("what is added has changed")
	}
	s := server("a", 1)
	s.Estimated = &report.Estimated{Requests: 4, ReusedRequests: 2, Connections: 1, FailedRequests: map[string]uint64{"race": 2}}
	seen := map[history.Key]uint64{}
	history.Each(reportOf(s), func(k history.Key, c history.Counts) { seen[k] = c.Requests + c.Failed })
	if diff := cmp.Diff(map[history.Key]uint64{{}: 0, {Server: "a"}: 7, {Server: "a", Estimated: true}: 6}, seen); diff != "" {
		t.Error(diff)
	}
}

func ExampleHistory() {
	var h history.History
	key := history.Key{Server: "shop.example"}
	var now history.Counts
	for i := range 200 { // a request every 5 s
		now.Requests = uint64(i)
		r := &report.Report{Servers: []report.Server{{Name: key.Server}}}
		r.Servers[0].Requests = now.Requests
		h.Add(epoch.Add(time.Duration(i)*history.Minute.Step()), r)
	}
	for w := range history.NumWindows {
		fmt.Println(w.Length(), h.Since(w, key, now).Requests)
	}
	// Output:
	// 1m0s 12
	// 5m0s 64
	// 1h0m0s 199
}
