package report

import (
	"slices"
	"testing"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/tally"
)

// TestProbedAddresses has a server's address asked for all, and a connection that carried
// nothing, as a probe of TCP makes it: to the same address, where it has no name, or to
// another of the name. Addresses count once, and where requests went.
func TestProbedAddresses(t *testing.T) {
	for _, tt := range []struct{ name, probed, probedName string }{
		{"10.0.0.9:8080", "10.0.0.9:8080", ""},
		{"shop.example:8080", "10.0.0.8:8080", "shop.example:8080"},
	} {
		set := tally.New(tally.Config{})
		w := set.Worker(nil)
		for i := range int64(9) {
			c := sample()
			c.ID, c.Client.Port, c.TLS = uint64(i+1), uint16(40000+i), nil
			c.Start, c.End = epoch+i*1e9, epoch+i*1e9+100e9
			c.Requests, c.Responses, c.Reused, c.ServerName = 200, 200, 199, tt.name
			c.Negotiated, c.ReuseIdle = [fact.NumOutcomes]uint32{fact.KeepAlive: 200}, nil
			c.Verdict, c.Cause = fact.VerdictNeeded, fact.NoCause
			if i == 8 {
				c.Requests, c.Responses, c.Reused, c.Server, c.ServerName = 0, 0, 0, endpoint(tt.probed), tt.probedName
				c.Negotiated, c.Verdict, c.Reason = [fact.NumOutcomes]uint32{}, fact.VerdictNone, fact.ReasonNeverUsed
			}
			addTo(w, c)
		}
		r := built(set, Capture{})
		if len(r.Servers) != 1 || r.Servers[0].AddressCount != 1 || !slices.Equal(r.Servers[0].Addresses, []string{"10.0.0.9:8080"}) {
			t.Errorf("%s: %+v", tt.name, r.Servers)
		}
		for _, f := range r.Findings {
			if f.Code == "too_sticky" {
				t.Errorf("%s: %+v", tt.name, f)
			}
		}
	}
}
