package demo

import (
	"io"
	"testing"
)

// TestHabits gives every habit a name of its own.
func TestHabits(t *testing.T) {
	all, err := habits(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, h := range all {
		if names[h.name] {
			t.Errorf("%s is there twice", h.name)
		}
		names[h.name] = true
	}
}
