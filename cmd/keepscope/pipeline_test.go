package main

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/sniffer/capfile"
)

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

// TestStoriesWhilePacketsArrive reads the demo as a live capture: with some of its
// connections kept, shared out to the workers, and with none.
func TestStoriesWhilePacketsArrive(t *testing.T) {
	for _, most := range []int{512, 6, 0} {
		for _, workers := range []int{1, 3} {
			a := analysis{Workers: workers, ReuseWindow: time.Minute, MaxConnections: 10000, MaxMemory: 64 << 20}
			f := storyFlags{MaxStories: most}
			p := a.pipeline(listen{stories: f.stories(workers)})
			src, err := capfile.NewReader(bytes.NewReader(demoCapture), "demo")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.run(t.Context(), src); err != nil {
				t.Fatal(err)
			}
			p.finish()
			list := p.stories.List(story.Query{})
			if len(list) > most || len(list) < min(most/workers, 20) { // the pairs may all be one worker's
				t.Errorf("%d of %d with %d workers", len(list), most, workers)
			}
			evicted := slices.ContainsFunc(p.limits(), func(l fact.Limit) bool { return l.Name == "stories" && l.Count > 0 })
			if evicted != (most == 6) {
				t.Errorf("%d stories at most: evicted %t", most, evicted)
			}
			for _, e := range list {
				if p.stories.Connection(uint64(e.ID)) == nil {
					t.Errorf("%v is listed and not there", e.ID)
				}
			}
		}
	}
}

// TestKeysForgotten has more keys than are held: it is counted, once for all workers.
func TestKeysForgotten(t *testing.T) {
	a := analysis{Workers: 2, ReuseWindow: time.Minute, MaxConnections: 100, MaxMemory: 1 << 20}
	a.keys = newKeys()
	log := a.keys.sink()
	const more = 3
	for i := range keylog.DefaultRandoms + more {
		if _, err := fmt.Fprintf(log, "CLIENT_RANDOM %064x %096x\n", i, i); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.keylogLines()["taken"]; n != keylog.DefaultRandoms+more {
		t.Errorf("%d lines are taken", n)
	}
	for _, l := range a.pipeline(listen{}).limits() {
		if l.Name == "tls_keys" && l.Count == more {
			return
		}
	}
	t.Error("what was forgotten is not counted")
}
