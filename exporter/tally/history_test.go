package tally_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/tally"
)

// sums counts up: each minute some servers waste one handshake more.
type sums map[string]*tally.Row

func (s sums) waste(n uint64, names ...string) *tally.Sum {
	for _, name := range names {
		r := s[name]
		if r == nil {
			r = &tally.Row{Key: tally.Key{Server: naming.Server{Name: name}}}
			if name == naming.Other {
				r.Key = tally.Key{Fold: tally.Others}
			}
			s[name] = r
		}
		r.Opened[0] += n
		r.Counted.Wasted[fact.PoolMiss] += n
		r.Counted.WastedNS[fact.PoolMiss] += int64(n) * 1e6
	}
	out := &tally.Sum{}
	for _, r := range s {
		out.Rows = append(out.Rows, r)
	}
	return out
}

func wasted(l *tally.Lately, name string) uint64 {
	c := l.Servers[naming.Server{Name: name}]
	if c == nil {
		return 0
	}
	return c.Counted.AllWasted()
}

// TestHistory wastes at one server in the first minute, and at another in each: what
// was long ago goes, and nothing twice.
func TestHistory(t *testing.T) {
	start := time.Unix(1e9, 0)
	s, h := sums{}, tally.NewHistory(start)
	s.waste(100, "old")
	for m := range 180 {
		now := start.Add(time.Duration(m+1) * tally.HistoryStep)
		sum := s.waste(1, "busy", naming.Other)
		for while, slack := range map[time.Duration]time.Duration{5 * time.Minute: tally.HistoryStep, time.Hour: 5 * time.Minute} {
			l := h.Lately(sum, now, while)
			minutes := uint64(now.Sub(l.Since) / tally.HistoryStep)
			if age := now.Sub(l.Since); age < min(while, now.Sub(start)) || age > while+slack {
				t.Fatalf("minute %d: the last %v are %v", m, while, age)
			}
			if got := wasted(l, "busy"); got != minutes {
				t.Fatalf("minute %d: %d wasted in %d minutes", m, got, minutes)
			}
			old := uint64(0)
			if l.Since.Equal(start) {
				old = 100
			}
			if got := wasted(l, "old"); got != old {
				t.Fatalf("minute %d: %d wasted of long ago, want %d", m, got, old)
			}
			if l.Other.Counted.AllWasted() != minutes || l.Total.Counted.AllWasted() != 2*minutes+old || l.Total.Connections != 2*minutes+old || l.Total.Counted.WastedNS != int64(2*minutes+old)*1e6 {
				t.Fatalf("minute %d: other %d, total %+v", m, l.Other.Counted.AllWasted(), l.Total)
			}
		}
		h.Note(sum, now)
	}
}

// TestHistoryForgets has a server give up its label: what it was is the others' from
// then on, and no figure goes back.
func TestHistoryForgets(t *testing.T) {
	start := time.Unix(1e9, 0)
	s, h := sums{}, tally.NewHistory(start)
	h.Note(s.waste(50, "a", naming.Other), start.Add(time.Minute))
	delete(s, "a")
	sum := s.waste(50, naming.Other) // those of a
	l := h.Lately(sum, start.Add(10*time.Minute), 5*time.Minute)
	if n := l.Total.Counted.AllWasted(); n != 0 || l.Other.Counted.AllWasted() != 0 {
		t.Errorf("%d wasted, %d by others", n, l.Other.Counted.AllWasted())
	}
	l = h.Lately(s.waste(1, "a"), start.Add(10*time.Minute), 5*time.Minute)
	if wasted(l, "a") != 1 || l.Total.Counted.AllWasted() != 1 {
		t.Errorf("%+v", l)
	}
}

// TestHistoryIsBounded counts with more servers than are told apart, all of them busy
// in every minute.
func TestHistoryIsBounded(t *testing.T) {
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	for _, c := range []struct{ servers, most int }{{200, 3 << 19}, {3000, 8 << 20}} {
		names := make([]string, c.servers)
		for i := range names {
			names[i] = fmt.Sprint("s", i)
		}
		s, now := sums{}, time.Unix(1e9, 0)
		s.waste(1, names...)
		before := heap()
		h := tally.NewHistory(now)
		for range 70 {
			now = now.Add(time.Minute)
			h.Note(s.waste(1, names...), now)
		}
		l := h.Lately(s.waste(0, names...), now, time.Hour)
		if n := l.Total.Counted.AllWasted(); len(l.Servers) > 1024 || l.Other.Counted.AllWasted()+wasted(l, "s0")*uint64(len(l.Servers)) != n {
			t.Errorf("%d servers, %d of %d wasted by others", len(l.Servers), l.Other.Counted.AllWasted(), n)
		}
		l = nil
		n := heap() - before
		t.Logf("%d servers: %d bytes", c.servers, n)
		if n > c.most {
			t.Errorf("%d bytes for %d servers", n, c.servers)
		}
		runtime.KeepAlive(h)
		runtime.KeepAlive(s)
	}
}
