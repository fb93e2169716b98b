package pool

import (
	"fmt"
	"testing"
)

// BenchmarkChurn measures connections of one request each, of so many clients in
// turn: first request, end, loss, close and release.
func BenchmarkChurn(b *testing.B) {
	for _, pairs := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("pairs=%d", pairs), func(b *testing.B) {
			p := New(Config{Window: 1 << 62, MaxPairs: 1 << 20, MaxSlots: 1 << 21})
			conns := make([]Conn, 64)
			serve := func(i int) {
				c, now := &conns[i%64], int64(i)*1e3
				c.Ref = uint64(i + 1)
				p.First(c, Pair{Client: client(i * 7919 % pairs)}, now, now)
				p.End(c, now)
				p.Lost(c, now, false, Note{})
				p.Close(c, now)
				p.Release(c, now)
			}
			for i := range pairs {
				serve(i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				serve(pairs + i)
			}
		})
	}
}

// BenchmarkReuse measures a request and its end on one of so many connections of a
// pair, in turn.
func BenchmarkReuse(b *testing.B) {
	for _, n := range []int{1, 64, 1000, 100_000} {
		b.Run(fmt.Sprintf("slots=%d", n), func(b *testing.B) {
			p, conns := busy(n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c := &conns[i*7919%n]
				p.Request(c, int64(i))
				p.End(c, int64(i))
			}
		})
	}
}

// BenchmarkFirst measures a first request, of which the SYN was sent when half of so
// many slots were busy that are idle now, its end and release.
func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{2, 64, 1000, 100_000} {
		b.Run(fmt.Sprintf("slots=%d", n), func(b *testing.B) {
			p, conns := busy(n)
			for i := range conns {
				p.End(&conns[i], int64(i))
			}
			var c Conn
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Ref = uint64(n + i + 1)
				p.First(&c, Pair{}, int64(n/2), int64(n))
				p.End(&c, int64(i*7919%n))
				p.Release(&c, int64(n))
			}
		})
	}
}

// busy returns pools with a pair of so many busy connections.
func busy(n int) (*Pools, []Conn) {
	p := New(Config{MaxPairSlots: n + 1, Window: 1 << 62})
	conns := make([]Conn, n)
	for i := range conns {
		conns[i].Ref = uint64(i + 1)
		p.First(&conns[i], Pair{}, 0, 0)
	}
	return p, conns
}
