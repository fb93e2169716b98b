package story

import (
	"math"
	"slices"
)

// An axis lays a story's time out over a width. It is not to scale: what is short must
// be seen beside what is long, so that a stretch is as wide as the logarithm of its
// time, and a gap in which nothing happens at most as wide as something that happens.
type axis struct {
	at   []Moment
	x    []float64 // where each is, up to width
	gaps []gap     // stretches that are much shorter than they were
}

// A gap is a stretch of time that is drawn shortened.
type gap struct {
	from, to Moment
	x        float64 // of its middle
}

// longGap is from when on a shortened stretch is marked.
const longGap = Moment(100e6)

// newAxis lays a story out. Total is how wide it would like to be, in units of what one
// short event takes.
func newAxis(s *Story, width float64) (a axis, total float64) {
	var busy [][2]Moment
	add := func(from, to Moment) {
		a.at = append(a.at, from, to)
		if to > from {
			busy = append(busy, [2]Moment{from, to})
		}
	}
	add(0, 0)
	add(s.Length, s.Length)
	for i := range s.Lanes {
		l := &s.Lanes[i]
		add(l.Start, l.Start)
		for _, p := range l.Opening {
			add(p.At, p.At+p.Lasts)
		}
		for k := range l.Exchanges {
			add(l.Exchanges[k].Start, l.Exchanges[k].until)
			if b := l.Exchanges[k].FirstByte; b != nil {
				add(*b, *b)
			}
		}
		for _, c := range l.Closings {
			add(c.At, c.At)
		}
	}
	slices.Sort(a.at)
	a.at = slices.Compact(a.at)
	a.x = make([]float64, len(a.at))
	wide := make([]float64, len(a.at))
	for i := 1; i < len(a.at); i++ {
		from, to := a.at[i-1], a.at[i]
		wide[i] = 1 + math.Log2(1+float64(to-from)/1e6)/2
		if !within(busy, from, to) {
			wide[i] = min(wide[i], 4)
		}
		total += wide[i]
	}
	if total == 0 {
		return a, total
	}
	sum := 0.0
	for i := 1; i < len(a.at); i++ {
		from, to := a.at[i-1], a.at[i]
		middle := sum + wide[i]/2
		sum += wide[i]
		a.x[i] = sum / total * width
		if to-from >= longGap && !within(busy, from, to) {
			a.gaps = append(a.gaps, gap{from, to, middle / total * width})
		}
	}
	return a, total
}

// within says whether something was under way all the time between two moments.
func within(busy [][2]Moment, from, to Moment) bool {
	return slices.ContainsFunc(busy, func(b [2]Moment) bool { return b[0] <= from && to <= b[1] })
}

// X is where a moment lies.
func (a *axis) X(m Moment) float64 {
	i, found := slices.BinarySearch(a.at, m)
	switch {
	case found:
		return a.x[i]
	case i == 0:
		return 0
	case i == len(a.at):
		return a.x[i-1]
	}
	part := float64(m-a.at[i-1]) / float64(a.at[i]-a.at[i-1])
	return a.x[i-1] + part*(a.x[i]-a.x[i-1])
}
