package main

import "testing"

// TestSeed: where a connection lies in the flow table must be another guess in
// each run, and for each worker.
func TestSeed(t *testing.T) {
	a := analysis{MaxConnections: 100, MaxMemory: 1 << 20}
	seen := map[uint64]bool{}
	for range 4 {
		seed := a.assembler(2).Seed
		if seen[seed] || seed == 0 {
			t.Errorf("seed %#x is no secret", seed)
		}
		seen[seed] = true
	}
}
