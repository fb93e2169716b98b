package tally

import (
	"bytes"
	"encoding/gob"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// counted returns a set of so many workers that counted the same facts.
func counted(t testing.TB, workers int) *Set {
	t.Helper()
	s := New(Config{})
	var all []*Worker
	for range workers {
		all = append(all, s.Worker(nil))
	}
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 3000 {
		var c fact.Connection
		randomConnection(r, &c, 10)
		c.ID = uint64(i + 1)
		w := all[c.Server.Addr[15]%uint8(workers)]
		w.Connection(&c)
	}
	return s
}

func stateOf(t testing.TB, s *Set) (b []byte) {
	t.Helper()
	s.Detail(func(sum *Sum) {
		var err error
		if b, err = sum.State(); err != nil {
			t.Fatal(err)
		}
	})
	return b
}

// A state is the same for any number of workers, and what restores it has it, too.
func TestState(t *testing.T) {
	one := stateOf(t, counted(t, 1))
	if !bytes.Equal(one, stateOf(t, counted(t, 3))) {
		t.Error("three workers have another state than one")
	}
	again := New(Config{})
	if err := again.Restore(one); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, stateOf(t, again)) {
		t.Error("what is restored is not what was saved")
	}
}

func TestRestoreRefuses(t *testing.T) {
	s := New(Config{})
	if err := s.Restore([]byte("no state")); !errors.Is(err, errState) {
		t.Error(err)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&state{Layout: [32]byte{1}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(b.Bytes()); !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
}

// Whatever a histogram, or a list of closings, is read from, it is none or one that
// can be merged and asked.
func FuzzGobDecode(f *testing.F) {
	var h Histogram
	for _, v := range []int64{0, 3, 1e9} {
		h.Add(v)
	}
	b, _ := h.GobEncode()
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		var h, sum Histogram
		if h.GobDecode(b) == nil {
			sum.Merge(&h)
			sum.Quantile(50)
		}
		var r, all Recent
		if r.GobDecode(b) == nil {
			all.merge(&r)
			all.Timeout()
		}
		var n Newest
		_ = n.GobDecode(b)
	})
}
