package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/tally"
)

// TestProbesAreNotExplained has a few handshakes wasted by the same cause: by health
// checks nothing is to be changed about them, by others there is.
func TestProbesAreNotExplained(t *testing.T) {
	for _, tt := range []struct {
		client software.ID
		told   bool
	}{{software.KubeProbe, false}, {software.Curl, true}} {
		set := tally.New(tally.Config{})
		w := set.Worker(nil)
		for i := range int64(tally.MinProbes) {
			c := sample()
			c.ID, c.Client.Port = uint64(i+1), uint16(40000+i)
			c.Start, c.End = epoch+i*1e10, epoch+i*1e10+1e6
			c.Requests, c.Responses, c.Reused, c.TLS = 1, 1, 0, nil
			c.Negotiated, c.ReuseIdle = [fact.NumOutcomes]uint32{fact.ClientClose: 1}, nil
			c.Software[0], c.Cause = tt.client, fact.Cause(fact.ReasonClientClose)
			if i == 0 {
				c.Verdict, c.Cause = fact.VerdictNeeded, fact.NoCause
			}
			addTo(w, c)
		}
		r := built(set, Capture{})
		if got := strings.Contains(fmt.Sprint(r.Explained), "would not have been needed"); got != tt.told {
			t.Errorf("%v: explained %q", tt.client, r.Explained)
		}
	}
}
