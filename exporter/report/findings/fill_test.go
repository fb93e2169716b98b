package findings

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/clients"
)

// TestClients holds that a client that closes each connection after 4 requests is found
// from its connections.
func TestClients(t *testing.T) {
	var table clients.Table
	for i := range uint16(12) {
		table.Add(&fact.Connection{
			ID: uint64(i + 1), Client: endpoint(7, 4000+i), Server: endpoint(9, 80), Requests: 4, Start: int64(i) * 2e9, End: int64(i)*2e9 + 1e9, CloseIdle: 5e8,
			Verdict: fact.VerdictWasted, Cause: causeClientDiscard, Cost: fact.Cost{TCP: 1e6},
		}, software.Nginx)
	}
	f := base()
	s := &f.Servers[0]
	s.Clients = Clients(&table)
	s.Counted.Wasted[causeClientDiscard] = Loss{N: 12, Seconds: 0.012}
	want := Client{
		Address: "10.0.0.7", Software: software.Nginx, Connections: 12, Requests: 48, More: 12, Busy: 0.5,
		ClosedAt: Cluster{12, 12, 4},
		Example:  Example{1, endpoint(7, 4000), endpoint(9, 80)},
	}
	want.Wasted = Losses{{causeClientDiscard, Loss{12, 0.012, want.Example}}}
	got := s.Clients[0]
	got.Busy = float64(int(got.Busy*100+0.5)) / 100
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	x := find(Evaluate(f), "client_request_limit")
	if x == nil || len(x.Servers[0].Clients) != 1 || x.Servers[0].Clients[0].Address != "10.0.0.7" {
		t.Errorf("%+v", x)
	}
}
