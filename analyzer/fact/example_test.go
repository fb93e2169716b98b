package fact_test

import (
	"fmt"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// A cause names whose side has to change.
func Example() {
	for _, c := range []fact.Cause{fact.Cause(fact.ReasonServerIdle), fact.Cause(fact.ReasonRace), fact.PoolMiss} {
		fmt.Println(c, "is an affair of:", c.Blames())
	}
	// Output:
	// server_idle is an affair of: server
	// race is an affair of: both
	// pool_miss is an affair of: client
}
