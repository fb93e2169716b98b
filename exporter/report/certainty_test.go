package report

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestCertainty holds what is said against what there was to see.
func TestCertainty(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after proportion
		comparisons   int
		want          Says
	}{
		{"the same", proportion{500, 1000}, proportion{500, 1000}, 1, SaysSame},
		{"the same, little", proportion{1, 2}, proportion{2, 4}, 1, SaysSame},
		{"nothing, twice", proportion{0, 5}, proportion{0, 500}, 1, SaysSame},
		{"all, nearly", proportion{57, 58}, proportion{398, 400}, 1, SaysSame},
		{"repaired", proportion{500, 1000}, proportion{20, 1000}, 1, SaysDifferent},
		{"repaired, and many", proportion{5_000_000, 10_000_000}, proportion{4_800_000, 10_000_000}, 1, SaysDifferent},
		{"a first try", proportion{2, 4}, proportion{0, 4}, 1, SaysTooLittle},
		{"a few", proportion{10, 20}, proportion{6, 20}, 1, SaysTooLittle},
		{"noise", proportion{500, 1000}, proportion{520, 1000}, 1, SaysNoise},
		{"sure alone", proportion{50, 100}, proportion{30, 100}, 1, SaysDifferent},
		{"one of many", proportion{50, 100}, proportion{30, 100}, 100, SaysTooLittle},
		{"rare, and too little for that", proportion{1, 6800}, proportion{0, 90}, 1, SaysTooLittle},
	} {
		for _, turned := range []bool{false, true} {
			a, b := tt.before, tt.after
			if turned {
				a, b = b, a
			}
			if got := certainty(a, b, tt.comparisons, 1000); got.Says != tt.want || got.Low > got.High || got.P < 0 || got.P > 1 {
				t.Errorf("%s: %+v, want %s", tt.name, got, tt.want)
			}
		}
	}
	for _, none := range [][2]proportion{{{0, 0}, {1, 2}}, {{3, 2}, {1, 2}}} {
		if got := certainty(none[0], none[1], 1, 1); got != nil {
			t.Errorf("%v is compared: %+v", none, got)
		}
	}
}

// TestFisher compares with tables of which the probability is known, and with what the
// normal distribution says of many.
func TestFisher(t *testing.T) {
	for _, tt := range []struct {
		a, b proportion
		want float64
	}{
		{proportion{3, 4}, proportion{1, 4}, 34.0 / 70}, // Fisher's lady and her tea
		{proportion{4, 4}, proportion{0, 4}, 2.0 / 70},
		{proportion{1, 10}, proportion{11, 14}, 0.002759456}, // R's fisher.test
	} {
		if got := fisher(tt.a, tt.b); math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("%v, %v: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
	a, b := proportion{500, 2000}, proportion{560, 2000}
	if exact, normal := fisher(a, b), chance(a, b); math.Abs(exact-normal) > 0.1*exact {
		t.Errorf("exact %v, normal %v", exact, normal)
	}
}

// TestSameHabit: of two captures of one habit hardly any two are called different.
func TestSameHabit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(p float64, n int) proportion {
		s := proportion{whole: uint64(n)}
		for range n {
			if r.Float64() < p {
				s.part++
			}
		}
		return s
	}
	different := 0
	const rounds = 2000
	for range rounds {
		p := r.Float64()
		if certainty(draw(p, 5+r.IntN(500)), draw(p, 5+r.IntN(500)), 1, 1000).Says == SaysDifferent {
			different++
		}
	}
	if different > rounds*3/200 {
		t.Errorf("%d of %d", different, rounds)
	}
}
