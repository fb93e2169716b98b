package report

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrderOfServers(t *testing.T) {
	server := func(name string, requests, wasted, guessed uint64, seconds float64) Server {
		s := Server{Name: name, Summary: Summary{Requests: requests, Wasted: Wasted{Total: wasted, Seconds: seconds}}}
		if guessed > 0 {
			s.Estimated = &Estimated{Connections: 1, Requests: guessed}
		}
		return s
	}
	list := []Server{
		server("asked nothing", 0, 0, 0, 0), server("busy", 40, 0, 0, 0), server("busier by estimate", 1, 0, 90, 0),
		server("few", 5, 0, 0, 0), server("as few", 5, 0, 0, 0), server("dear", 3, 1, 0, 2), server("cheap", 90, 30, 0, 1),
	}
	slices.SortFunc(list, compareServers)
	var names []string
	for i := range list {
		names = append(names, list[i].Name)
	}
	want := []string{"dear", "cheap", "busier by estimate", "busy", "as few", "few", "asked nothing"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestNameOfCapture(t *testing.T) {
	for want, c := range map[string]Capture{
		"capture":               {},
		"a.pcap":                {Files: []string{"a.pcap"}, Interfaces: []string{"eth0"}},
		"eth0 and 1 more":       {Interfaces: []string{"eth0", "eth1"}},
		"standard input":        {Files: []string{"-"}},
		"a\\nb.pcap and 2 more": {Files: []string{"a\nb.pcap", "c.pcap", "-"}},
	} {
		if got := c.name(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
