package history

import (
	"time"

	"github.com/keepscope/keepscope/exporter/report"
)

// A Window is a stretch of time that ends now.
type Window uint8

// The windows.
const (
	Minute Window = iota
	FiveMinutes
	Hour
	NumWindows
)

// Length returns how long a window is.
func (w Window) Length() time.Duration {
	return [NumWindows]time.Duration{time.Minute, 5 * time.Minute, time.Hour}[w]
}

// Points is how many steps a window has.
const Points = 12

// Step is how often Add has to be called at the least for a window to be as long as it
// is called.
func (w Window) Step() time.Duration { return w.Length() / Points }

// maxSeries is how many servers have a history, counted and estimated figures apart.
const maxSeries = 4096

// A Key names a server's figures: those that were counted, or those that are estimated.
type Key struct {
	Server    string // as the report calls it; "" for all
	Estimated bool
}

// A History is what was counted at some points of the last hour. Its zero value is
// empty. It is for one goroutine.
type History struct {
	Unkept uint64 // servers without a history, at the newest point

	tiers  [NumWindows]tier
	series map[Key]*series
}

// A tier has the points of a window.
type tier struct {
	at  [Points + 1]time.Time
	n   int // points there are
	pos int // of the next
}

// A series has a server's counters at the points of all tiers, nil where it was not
// known then.
type series struct {
	at   [NumWindows][Points + 1]*Counts
	last *Counts
	seen bool // in the report that is added
}

// Add notes how much was counted until now. It is cheap to call more often than steps
// are: what comes before a step is over is passed over.
func (h *History) Add(now time.Time, r *report.Report) {
	due := false
	for w := range h.tiers {
		due = due || h.tiers[w].due(now, Window(w))
	}
	if !due {
		return
	}
	if h.series == nil {
		h.series = map[Key]*series{}
	}
	h.Unkept = 0
	Each(r, h.note)
	for k, s := range h.series {
		if !s.seen {
			delete(h.series, k)
		}
		s.seen = false
	}
	for w := range h.tiers {
		if h.tiers[w].due(now, Window(w)) {
			h.put(now, Window(w))
		}
	}
}

// Clone returns a History that stays as this one is now.
func (h *History) Clone() *History {
	c := *h
	c.series = make(map[Key]*series, len(h.series))
	for k, s := range h.series {
		copied := *s
		c.series[k] = &copied
	}
	return &c
}

// due says whether a step is over.
func (t *tier) due(now time.Time, w Window) bool {
	return t.n == 0 || now.Sub(t.newest(0)) >= w.Step()
}

// newest returns the time of a point, counted from the newest one.
func (t *tier) newest(i int) time.Time { return t.at[t.index(i)] }

// index returns where a point is, counted from the newest one.
func (t *tier) index(i int) int { return (t.pos - 1 - i + 2*(Points+1)) % (Points + 1) }

// note takes a server's counters of now.
func (h *History) note(k Key, c Counts) {
	s := h.series[k]
	switch {
	case s == nil && len(h.series) >= maxSeries:
		h.Unkept++
		return
	case s == nil:
		s = new(series)
		h.series[k] = s
	case s.last.above(&c): // it was forgotten, and counts anew
		*s = series{}
	}
	s.seen = true
	if s.last == nil || !s.last.equal(&c) {
		s.last = &c
	}
}

// put makes what is known now a window's newest point.
func (h *History) put(now time.Time, w Window) {
	t := &h.tiers[w]
	t.at[t.pos] = now
	for _, s := range h.series {
		s.at[w][t.pos] = s.last
	}
	t.pos = (t.pos + 1) % (Points + 1)
	t.n = min(t.n+1, Points+1)
}

// Since returns how much was counted since a window began, of what is counted until
// now: all of it where the history is no longer than that.
func (h *History) Since(w Window, k Key, now Counts) Counts {
	t := &h.tiers[w]
	s := h.series[k]
	if s == nil || t.n <= Points {
		return now
	}
	base := s.at[w][t.index(Points)]
	if base == nil || base.above(&now) {
		return now
	}
	return now.minus(base)
}

// Begin returns when a window began; zero where the history is no longer than that.
func (h *History) Begin(w Window) time.Time {
	t := &h.tiers[w]
	if t.n <= Points {
		return time.Time{}
	}
	return t.newest(Points)
}

// Steps returns what of was counted in each step of a window, the newest last.
func (h *History) Steps(w Window, k Key, of func(*Counts) uint64) (steps [Points]uint64) {
	t := &h.tiers[w]
	s := h.series[k]
	if s == nil {
		return steps
	}
	value := func(i int) uint64 {
		if c := s.at[w][t.index(i)]; c != nil {
			return of(c)
		}
		return 0
	}
	for i := range min(Points, max(t.n-1, 0)) {
		newer, older := value(i), value(i+1)
		steps[Points-1-i] = newer - min(older, newer)
	}
	return steps
}
