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

// TestProbesBesideTraffic: a proxy's steady requests without a name are checks where it keeps
// its connections to the same address for requests with one, and are waste elsewhere.
func TestProbesBesideTraffic(t *testing.T) {
	for _, beside := range []bool{true, false} {
		set := tally.New(tally.Config{})
		w := set.Worker(nil)
		for i := range int64(12) {
			c := sample()
			c.ID, c.Client.Port, c.ServerName = uint64(i+1), uint16(40000+i), ""
			c.Start, c.End = epoch+i*1e9, epoch+i*1e9+1e6
			c.Requests, c.Responses, c.Reused, c.TLS = 1, 1, 0, nil
			c.Negotiated, c.ReuseIdle = [fact.NumOutcomes]uint32{fact.HTTP10NotRequested: 1}, nil
			c.Cause = fact.Cause(fact.ReasonHTTP10NotRequested)
			addTo(w, c)
		}
		traffic := sample()
		traffic.ID, traffic.ServerName = 100, "shop.example"
		if !beside {
			traffic.Server.Port++
		}
		addTo(w, traffic)
		r := built(set, Capture{})
		if got := r.Totals.Probes.Connections; got != map[bool]uint64{true: 12}[beside] {
			t.Errorf("traffic to the same address %v: %d checks", beside, got)
		}
	}
}

// TestWhoLeavesConnectionsOpenChecksNothing: a client that asks at a steady interval, and whose
// idle connections end before, has a timeout that is too short.
func TestWhoLeavesConnectionsOpenChecksNothing(t *testing.T) {
	for reason, want := range map[fact.Reason]uint64{fact.ReasonClientDiscard: 12, fact.ReasonClientIdle: 0, fact.ReasonServerIdle: 0} {
		set := tally.New(tally.Config{})
		w := set.Worker(nil)
		for i := range int64(12) {
			c := sample()
			c.ID, c.Client.Port = uint64(i+1), uint16(40000+i)
			c.Start, c.End = epoch+i*3e9, epoch+i*3e9+2e9
			c.Requests, c.Responses, c.Reused, c.TLS, c.ReuseIdle = 1, 1, 0, nil, nil
			c.Negotiated = [fact.NumOutcomes]uint32{fact.KeepAlive: 1}
			c.Reason, c.Cause = reason, fact.Cause(reason)
			addTo(w, c)
		}
		others := sample()
		others.ID, others.Client = 100, endpoint("10.0.0.8:40000")
		addTo(w, others)
		if got := built(set, Capture{}).Totals.Probes.Connections; got != want {
			t.Errorf("%v: %d checks, want %d", reason, got, want)
		}
	}
}
