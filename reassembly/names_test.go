package reassembly

import (
	"fmt"
	"testing"
)

// TestNames gives each value a name, and no two the same.
func TestNames(t *testing.T) {
	for _, values := range [][]fmt.Stringer{
		{Client, Server, Dir(2)},
		{EndFIN, EndReset, EndClosed, EndReplaced, EndTimeout, EndEvicted, EndCapture, EndCapture + 1},
		{Lost, Cut, Skipped, Skipped + 1},
	} {
		seen := map[string]bool{}
		for i, v := range values {
			if last := i == len(values)-1; seen[v.String()] || last != (v.String() == "unknown") {
				t.Errorf("%T %d is called %q", v, i, v)
			}
			seen[v.String()] = true
		}
	}
}
