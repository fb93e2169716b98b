package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ms = int64(1e6)

func addr(s string) Addr { return netip.MustParseAddr(s).As16() }

// play runs a written story, one step a line, times in milliseconds, and tells
// what Lookup returns:
//
//	time query  client port id A|AAAA name.
//	time answer client port id A|AAAA name. [address...]
//	time nx     client port id A|AAAA name.
//	time lookup client server
func play(t *testing.T, c *Cache, story string) []string {
	t.Helper()
	var got []string
	var m Message
	for line := range strings.Lines(story) {
		var at int64
		var verb string
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if _, err := fmt.Sscan(f[0]+" "+f[1], &at, &verb); err != nil {
			t.Fatal(err)
		}
		at *= ms
		client := addr(f[2])
		if verb == "lookup" {
			name, cost, ok := c.Lookup(client, addr(f[3]), at)
			got = append(got, fmt.Sprintf("%s %d %t", name, cost/ms, ok))
			continue
		}
		var port, id uint16
		if _, err := fmt.Sscan(f[3]+" "+f[4], &port, &id); err != nil {
			t.Fatal(err)
		}
		kind, rcode := typeA, 0
		if f[5] == "AAAA" {
			kind = typeAAAA
		}
		var rrs []rr
		for _, a := range f[7:] {
			rrs = append(rrs, rr{f[6], 1, a})
		}
		resolver := addr("192.0.2.53")
		switch verb {
		case "query":
			rcode = -1
		case "nx":
			rcode = NXDomain
		}
		if !Parse(build(t, id, f[6], kind, rcode, rrs...), &m) {
			t.Fatalf("not parsed: %s", line)
		}
		if m.Response {
			c.Message(&m, resolver, 53, client, port, at)
		} else {
			c.Message(&m, client, port, resolver, 53, at)
		}
	}
	return got
}

func TestCache(t *testing.T) {
	tests := []struct {
		name, story string
		want        []string
	}{
		{"cost goes to the first connection to each address", `
			0 query 10.0.0.1 5000 1 A a.example.
			20 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1 192.0.2.2
			21 lookup 10.0.0.1 192.0.2.2
			22 lookup 10.0.0.1 192.0.2.1
			23 lookup 10.0.0.1 192.0.2.2
			99999999 lookup 10.0.0.1 192.0.2.2`,
			[]string{"a.example 20 true", "a.example 20 true", "a.example 0 true", "a.example 0 true"}},
		{"just within 10 s", `
			0 query 10.0.0.1 5000 1 A a.example.
			20 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			10020 lookup 10.0.0.1 192.0.2.1`, []string{"a.example 20 true"}},
		{"after 10 s", `
			0 query 10.0.0.1 5000 1 A a.example.
			20 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			10021 lookup 10.0.0.1 192.0.2.1`, []string{"a.example 0 true"}},
		{"connection before the answer", `
			0 query 10.0.0.1 5000 1 A a.example.
			20 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			10 lookup 10.0.0.1 192.0.2.1`, []string{"a.example 0 true"}},
		{"unknown", `
			0 query 10.0.0.1 5000 1 A a.example.
			20 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			21 lookup 10.0.0.1 192.0.2.9
			21 lookup 10.0.0.2 192.0.2.1`, []string{" 0 false", " 0 false"}},
		{"A and AAAA together", `
			0 query 10.0.0.1 5000 1 A a.example.
			1 query 10.0.0.1 5000 2 AAAA a.example.
			20 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			30 answer 10.0.0.1 5000 2 AAAA a.example. 2001:db8::1
			31 lookup 10.0.0.1 2001:db8::1
			281 lookup 10.0.0.1 192.0.2.1`, []string{"a.example 30 true", "a.example 20 true"}},
		{"A after AAAA was empty", `
			0 query 10.0.0.1 5000 1 AAAA a.example.
			20 answer 10.0.0.1 5000 1 AAAA a.example.
			21 query 10.0.0.1 5000 2 A a.example.
			40 answer 10.0.0.1 5000 2 A a.example. 192.0.2.1
			41 lookup 10.0.0.1 192.0.2.1`, []string{"a.example 40 true"}},
		{"a later look-up is its own", `
			0 query 10.0.0.1 5000 1 A a.example.
			20 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			21 lookup 10.0.0.1 192.0.2.1
			101 query 10.0.0.1 5001 9 A a.example.
			104 answer 10.0.0.1 5001 9 A a.example. 192.0.2.1
			105 lookup 10.0.0.1 192.0.2.1`, []string{"a.example 20 true", "a.example 3 true"}},
		{"search list", `
			0 query 10.0.0.1 5000 1 A a.ns.svc.
			10 nx 10.0.0.1 5000 1 A a.ns.svc.
			11 query 10.0.0.1 5000 2 A a.svc.
			15 answer 10.0.0.1 5000 2 A a.svc. 192.0.2.1
			16 lookup 10.0.0.1 192.0.2.1`, []string{"a.svc 4 true"}},
		{"query sent again", `
			0 query 10.0.0.1 5000 1 A a.example.
			5000 query 10.0.0.1 5000 1 A a.example.
			5020 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			5021 answer 10.0.0.1 5000 1 A a.example. 192.0.2.66
			5022 lookup 10.0.0.1 192.0.2.1
			5022 lookup 10.0.0.1 192.0.2.66`, []string{"a.example 5020 true", " 0 false"}},
		{"answers that match no query", `
			0 query 10.0.0.1 5000 1 A a.example.
			1 answer 10.0.0.1 5000 2 A a.example. 192.0.2.1
			1 answer 10.0.0.1 5001 1 A a.example. 192.0.2.1
			1 answer 10.0.0.1 5000 1 A b.example. 192.0.2.1
			1 answer 10.0.0.2 5000 1 A a.example. 192.0.2.1
			2 lookup 10.0.0.1 192.0.2.1`, []string{" 0 false"}},
		{"answer too late", `
			0 query 10.0.0.1 5000 1 A a.example.
			10001 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			10002 lookup 10.0.0.1 192.0.2.1`, []string{" 0 false"}},
		{"id used for another name", `
			0 query 10.0.0.1 5000 1 A a.example.
			10 query 10.0.0.1 5000 1 A b.example.
			20 answer 10.0.0.1 5000 1 A b.example. 192.0.2.1
			21 lookup 10.0.0.1 192.0.2.1`, []string{"b.example 10 true"}},
		{"the newest name of an address counts", `
			0 query 10.0.0.1 5000 1 A a.example.
			1 answer 10.0.0.1 5000 1 A a.example. 192.0.2.1
			2 query 10.0.0.1 5000 2 A b.example.
			5 answer 10.0.0.1 5000 2 A b.example. 192.0.2.1
			6 lookup 10.0.0.1 192.0.2.1`, []string{"b.example 3 true"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, play(t, NewCache(Config{}), tt.story)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// numbered is the i-th address of a test.
func numbered(i int) Addr { return Addr{0: 0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)} }

// TestCacheCaps asks for more names than fit: what was unused for longest goes,
// what was looked up stays, and memory does not grow.
func TestCacheCaps(t *testing.T) {
	const names, queries, n = 100, 10, 5000
	c := NewCache(Config{Names: names, Queries: queries})
	client := addr("10.0.0.1")
	var q, a Message
	for i := range n {
		name := fmt.Sprintf("n%d.example.", i)
		Parse(build(t, uint16(i), name, typeA, -1), &q)
		Parse(build(t, uint16(i), name, typeA, 0, rr{name, 1, netip.AddrFrom16(numbered(i)).String()}), &a)
		c.Query(client, 5000, &q, int64(i))
		c.Query(addr("10.0.0.2"), 5000, &q, int64(i)) // never answered
		c.Answer(client, 5000, &a, int64(i))
		if _, _, ok := c.Lookup(client, numbered(0), int64(i)); !ok {
			t.Fatalf("a name in use is gone after %d", i)
		}
	}
	if c.Len() != names || len(c.names.slots) != names+2 {
		t.Errorf("%d names in %d slots", c.Len(), len(c.names.slots))
	}
	if k := len(c.queries.index); k > queries || len(c.queries.slots) > queries+2 || len(c.rounds.slots) > queries+2 {
		t.Errorf("%d queries in %d slots", k, len(c.queries.slots))
	}
	// An answer makes room for one query; timings are kept beyond it.
	want := Stats{NamesForgotten: n - names, QueriesForgotten: n - (queries - 1), TimingsForgotten: 2*n - queries}
	if diff := cmp.Diff(want, c.Stats()); diff != "" {
		t.Errorf("forgotten (-want +got):\n%s", diff)
	}
	for _, i := range []int{1, n - names} {
		if _, ok := c.Name(client, numbered(i)); ok {
			t.Errorf("name %d is still known", i)
		}
	}
	if got, ok := c.Name(client, numbered(n-1)); !ok || got != fmt.Sprintf("n%d.example", n-1) {
		t.Errorf("the newest is %q", got)
	}
}

// TestCacheKeepsNamesInUse asks for names that no connection uses, ten times as
// many as fit: those in use stay. Once they are idle and others are used, those
// stay instead.
func TestCacheKeepsNamesInUse(t *testing.T) {
	const names = 800
	c := NewCache(Config{Names: names})
	client := addr("10.0.0.1")
	next := 0
	ask := func(n int, used bool) {
		var m Message
		for range n {
			name := fmt.Sprintf("n%d.example.", next)
			Parse(build(t, uint16(next), name, typeA, -1), &m)
			c.Query(client, 5000, &m, int64(next))
			Parse(build(t, uint16(next), name, typeA, 0, rr{name, 1, netip.AddrFrom16(numbered(next)).String()}), &m)
			c.Answer(client, 5000, &m, int64(next))
			if used {
				c.Lookup(client, numbered(next), int64(next))
			}
			next++
		}
	}
	known := func(from, n int) (found int) {
		for i := from; i < from+n; i++ {
			if _, ok := c.Name(client, numbered(i)); ok {
				found++
			}
		}
		return found
	}
	ask(400, true)
	ask(10*names, false)
	if n := known(0, 400); n != 400 {
		t.Errorf("after a flood %d of 400 names in use are known", n)
	}
	if s := c.Stats(); s.UsedForgotten != 0 || s.NamesForgotten != 10*names-400 {
		t.Errorf("forgotten: %+v", s)
	}
	later := next
	ask(1000, true)
	if n := known(later, 1000); n < names*7/8 {
		t.Errorf("of the newest used names only %d are known", n)
	}
	if s := c.Stats(); s.UsedForgotten == 0 {
		t.Error("idle names went uncounted")
	}
}

// A rings is what TestCacheModel compares with: the keys of each ring, the
// oldest first.
type rings [2][]int

func (r *rings) drop(k int) (ring int) {
	for i := range r {
		if at := slices.Index(r[i], k); at >= 0 {
			r[i] = slices.Delete(r[i], at, at+1)
			return i
		}
	}
	return fresh
}

// evict drops what an lru of at most limit entries should.
func (r *rings) evict(limit int) eviction {
	if len(r[fresh]) <= limit/8 && len(r[used]) > 0 {
		r[used] = r[used][1:]
		return evictedUsed
	}
	r[fresh] = r[fresh][1:]
	return evictedFresh
}

// TestCacheModel compares the table with plain lists.
func TestCacheModel(t *testing.T) {
	const limit = 17
	l := newLRU[int, int](limit)
	var model rings
	x := uint32(1)
	for step := range 50000 {
		x = x*1664525 + 1013904223
		k := int(x>>16) % 40
		known := l.get(k) != nil
		switch op := x >> 28 % 8; {
		case op < 4:
			gone, ring := evictedNone, fresh
			if known {
				ring = model.drop(k)
			} else if len(model[fresh])+len(model[used]) == limit {
				gone = model.evict(limit)
			}
			model[ring] = append(model[ring], k)
			if got := l.put(k, step); got != gone || *l.get(k) != step {
				t.Fatalf("step %d: evicted %d, want %d; value %d", step, got, gone, *l.get(k))
			}
		case op < 7 && known:
			l.touch(k)
			model.drop(k)
			model[used] = append(model[used], k)
		case known:
			l.remove(k)
			model.drop(k)
		}
		var got rings
		for ring := range got {
			for i := l.slots[ring].prev; i != int32(ring); i = l.slots[i].prev {
				got[ring] = append(got[ring], l.slots[i].key)
			}
			if l.count[ring] != len(model[ring]) || !slices.Equal(got[ring], model[ring]) {
				t.Fatalf("step %d: ring %d: %v, want %v", step, ring, got[ring], model[ring])
			}
		}
		if len(l.slots) > limit+2 {
			t.Fatalf("step %d: %d slots", step, len(l.slots))
		}
	}
}

func TestCacheAllocs(t *testing.T) {
	c := NewCache(Config{})
	client, server := addr("10.0.0.1"), addr("192.0.2.1")
	var q, a Message
	Parse(build(t, 1, "a.example.", typeA, -1), &q)
	Parse(build(t, 1, "a.example.", typeA, 0, rr{"a.example.", 1, "192.0.2.1"}), &a)
	c.Query(client, 5000, &q, 0)
	c.Answer(client, 5000, &a, 1)
	if n := testing.AllocsPerRun(100, func() {
		c.Lookup(client, server, 2)
		c.Lookup(server, client, 2)
		c.Answer(client, 5000, &a, 3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
