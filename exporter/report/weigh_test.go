package report

import (
	"testing"

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
		{"an age", func(i int) uint32 { return uint32(30 + i%4) }, func(i int) int64 { return int64(2000 + i) }, 12, 2.006},
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
