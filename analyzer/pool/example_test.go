package pool_test

import (
	"fmt"

	"github.com/keepscope/keepscope/analyzer/pool"
)

// A server closes a client's connection after an answer; the client opens another.
func Example() {
	p := pool.New(pool.Config{Window: 60e9})
	key := pool.Pair{Client: [16]byte{15: 1}, Server: [16]byte{15: 2}, Port: 80}

	a := pool.Conn{Ref: 1}
	fmt.Println(p.First(&a, key, 0, 1e9).Verdict)
	p.End(&a, 2e9)
	p.Lost(&a, 3e9, false, pool.Note{})
	p.Close(&a, 3e9)

	b := pool.Conn{Ref: 2}
	j := p.First(&b, key, 4e9, 5e9)
	fmt.Printf("%v: connection %d could have carried it, but for its end at %d s\n", j.Verdict, j.Ref, j.Since/1e9)

	c := pool.Conn{Ref: 3}
	fmt.Println(p.First(&c, key, 5e9, 6e9).Verdict) // b is busy
	p.End(&b, 7e9)

	d := pool.Conn{Ref: 4}
	j = p.First(&d, key, 8e9, 9e9)
	fmt.Printf("%v: connection %d was there\n", j.Verdict, j.Ref)
	// Output:
	// needed
	// wasted: connection 1 could have carried it, but for its end at 3 s
	// needed
	// wasted: connection 2 was there
}
