package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/tally"
)

// TestAgeLimit: closings at one age are a limit of it, unless they come after one number of
// requests, too: then that is the limit.
func TestAgeLimit(t *testing.T) {
	for _, c := range []struct {
		name     string
		requests func(i int) uint32
		age      func(i int) int64 // ms
		n        int
		want     float64
	}{
		{"an age", func(i int) uint32 { return uint32(30 + i%4) }, func(i int) int64 { return int64(2000 + i) }, 12, 2.001},
		{"an age, met by the next request", func(i int) uint32 { return uint32(20 + 3*(i%5)) }, func(i int) int64 { return []int64{1000, 1330, 1010, 1020, 1490}[i%5] }, 15, 1},
		{"a number of requests, nearly", func(i int) uint32 { return uint32(30 + i%4) }, func(i int) int64 { return []int64{1000, 1330, 1010, 1020, 1490}[i%5] }, 15, 0},
		{"ages that scatter", func(i int) uint32 { return uint32(20 + 3*(i%5)) }, func(i int) int64 { return []int64{1000, 1400, 1010, 1020, 1490}[i%5] }, 15, 0},
		{"a number of requests", func(int) uint32 { return 30 }, func(i int) int64 { return int64(2000 + i) }, 12, 0},
		{"neither", func(i int) uint32 { return uint32(30 + i) }, func(i int) int64 { return int64(2000 + 300*i) }, 12, 0},
		{"too few", func(i int) uint32 { return uint32(30 + i%4) }, func(int) int64 { return 2000 }, 9, 0},
	} {
		var a ages
		for i := range c.n {
			a.add(&tally.Record{Start: epoch, At: epoch + c.age(i)*1e6, Requests: c.requests(i)})
		}
		if got := a.limit(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestAgeOfMost: what is closed after one request has no limit of its age, and where those are
// many, the others have none either.
func TestAgeOfMost(t *testing.T) {
	for unused, want := range map[int64]bool{2: true, 6: false} {
		set := tally.New(tally.Config{})
		w := set.Worker(nil)
		for i := range 16 + unused {
			c := sample()
			c.ID, c.Client.Port = uint64(i+1), uint16(40000+i)
			c.Start, c.End, c.TLS, c.CloseIdle = epoch+i*1e9, epoch+i*1e9+2e9, nil, 1e6
			c.Requests = uint32(2 + i%4)
			if i >= 16 {
				c.Requests = 1
			}
			c.Responses, c.Reused = c.Requests, c.Requests-1
			c.Negotiated, c.ReuseIdle = [fact.NumOutcomes]uint32{fact.KeepAlive: c.Requests}, nil
			c.Reason, c.Cause = fact.ReasonClientDiscard, fact.Cause(fact.ReasonClientDiscard)
			addTo(w, c)
		}
		if got := strings.Contains(fmt.Sprint(built(set, Capture{}).Findings), "a limit of its age"); got != want {
			t.Errorf("%d of one request: an age %v, want %v", unused, got, want)
		}
	}
}

// TestBusyCountsPauses: connections that list no pauses idle all the same, so that requests do
// not queue for them.
func TestBusyCountsPauses(t *testing.T) {
	for pause, want := range map[int64]bool{1e6: true, 90e6: false} {
		set := tally.New(tally.Config{})
		w := set.Worker(nil)
		for i := range int64(2) {
			c := sample()
			c.ID, c.Client.Port, c.TLS, c.ReuseIdle = uint64(i+1), uint16(40000+i), nil, nil
			c.Requests, c.Responses, c.Reused, c.CloseIdle = 60, 60, 59, 0
			c.Start, c.End, c.Verdict, c.Cause = epoch, epoch+60*(100e6+pause/2), fact.VerdictNeeded, fact.NoCause
			c.Negotiated, c.Reason = [fact.NumOutcomes]uint32{fact.KeepAlive: 60}, fact.ReasonClientDiscard
			for j := range int64(60) {
				x := exchangeOf(c, uint32(j))
				x.Start, x.End = epoch+j*100e6, epoch+j*100e6+100e6
				if j > 0 {
					x.Reuse, x.Idle = fact.ReusedRequest, 1e6
					if j%2 == 0 {
						x.Idle = pause
					}
				}
				w.Exchange(x)
			}
			c.Mark = 0
			w.Connection(c)
		}
		if got := strings.Contains(fmt.Sprint(built(set, Capture{}).Findings), "requests queue in its pool"); got != want {
			t.Errorf("every other pause %d ns: queues %v, want %v", pause, got, want)
		}
	}
}
