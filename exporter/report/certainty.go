package report

import (
	"fmt"
	"math"
)

// A Certainty says how sure it is that a share of requests, of which each capture has
// a sample, has changed. It goes by the counts alone, as if each request were drawn by
// itself: what a client does many times over is surer in it than in truth.
type Certainty struct {
	Says Says `json:"says"`
	// P is how often chance makes a difference as large between two captures of the
	// same habit: Fisher's exact test, both ways.
	P float64 `json:"p"`
	// Low and High hold the change in 95 of 100 cases, in the figure's unit
	// (Agresti and Caffo, 2000).
	Low  float64 `json:"change_low"`
	High float64 `json:"change_high"`
}

// Says is what a Certainty comes to.
type Says string

// What there is to say.
const (
	SaysSame      Says = "no_difference" // nor as much as noChange
	SaysNoise     Says = "within_noise"  // chance may have made it
	SaysTooLittle Says = "too_little"    // and not even a half of it less would have stood out
	SaysDifferent Says = "different"
)

// maxChance is how often chance may make what is called a difference, in all that is
// looked at.
const maxChance = 0.01

// A proportion is how many of so many requests.
type proportion struct{ part, whole uint64 }

func (s proportion) of() float64 { return float64(s.part) / float64(s.whole) }

// certainty compares shares of requests, one of so many comparisons; unit is what all
// of the requests are in the figure's unit.
func certainty(before, after proportion, comparisons int, unit float64) *Certainty {
	if before.whole == 0 || after.whole == 0 || before.part > before.whole || after.part > after.whole {
		return nil
	}
	c := &Certainty{P: chance(before, after)}
	low, high := changeWithin(before, after)
	c.Low, c.High = low*unit, high*unit
	sure := maxChance / float64(max(comparisons, 1))
	switch {
	case math.Abs(after.of()-before.of()) <= noChange*max(before.of(), after.of()):
		c.Says = SaysSame
	case c.P < sure:
		c.Says = SaysDifferent
	case !standsOut(before, after, sure):
		c.Says = SaysTooLittle
	default:
		c.Says = SaysNoise
	}
	return c
}

// standsOut says whether captures of that size would show that the larger of two
// proportions was halved; that there is a tenth, where both are none.
func standsOut(a, b proportion, sure float64) bool {
	p := max(a.of(), b.of())
	if p == 0 {
		p = 0.1
	}
	of := func(p float64, whole uint64) proportion {
		return proportion{uint64(math.Round(p * float64(whole))), whole}
	}
	return chance(of(p, a.whole), of(p/2, b.whole)) < sure && chance(of(p/2, a.whole), of(p, b.whole)) < sure
}

// many is how many there must be, expected, in each of the four cells for the normal
// distribution to do.
const many = 50

// chance is the probability that two samples of one habit differ as much as these.
func chance(a, b proportion) float64 {
	n := float64(a.whole) + float64(b.whole)
	part := float64(a.part) + float64(b.part)
	if part == 0 || part == n {
		return 1
	}
	if min(part, n-part)*float64(min(a.whole, b.whole))/n >= many {
		p := part / n
		z := (a.of() - b.of()) / math.Sqrt(p*(1-p)*(1/float64(a.whole)+1/float64(b.whole)))
		return math.Erfc(math.Abs(z) / math.Sqrt2)
	}
	return fisher(a, b)
}

// fisher adds up the probabilities of all tables with the same sums that are at most as
// likely as this one.
func fisher(a, b proportion) float64 {
	parts, n1, n2 := a.part+b.part, a.whole, b.whole
	first, last := parts-min(parts, n2), min(parts, n1)
	logOf := func(k uint64) float64 { return logChoose(n1, k) + logChoose(n2, parts-k) }
	total := logChoose(n1+n2, parts)
	seen, sum := logOf(a.part)+1e-7, 0.0
	for k := first; k <= last; k++ {
		if l := logOf(k); l <= seen {
			sum += math.Exp(l - total)
		}
	}
	return min(sum, 1)
}

// logChoose is the logarithm of n over k.
func logChoose(n, k uint64) float64 {
	gamma := func(x uint64) float64 {
		l, _ := math.Lgamma(float64(x) + 1)
		return l
	}
	return gamma(n) - gamma(k) - gamma(n-k)
}

// changeWithin is the interval of the change from one share to the other.
func changeWithin(a, b proportion) (low, high float64) {
	const z95 = 1.959964
	n1, n2 := float64(a.whole)+2, float64(b.whole)+2
	p1, p2 := (float64(a.part)+1)/n1, (float64(b.part)+1)/n2
	half := z95 * math.Sqrt(p1*(1-p1)/n1+p2*(1-p2)/n2)
	return max(p2-p1-half, -1), min(p2-p1+half, 1)
}

// chanceText words how often chance makes a difference as large.
func chanceText(p float64) string {
	switch {
	case p < 0.001:
		return "less than once in 1000 times"
	case p < 0.5:
		return fmt.Sprintf("once in %.0f times", 1/p)
	}
	return "every other time or more often"
}
