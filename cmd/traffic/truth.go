package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// A truth is what really happened in a capture, by the server's log and by what
// the clients know of themselves.
type truth struct {
	Kind    string  `json:"kind"`
	Scale   float64 `json:"scale"`
	Seconds float64 `json:"seconds"` // from the first connection to the last packet
	Server  string  `json:"server"`
	Packets int     `json:"packets"`

	Accepted       int              `json:"accepted"`          // connections that the server accepted
	NeverUsed      int              `json:"never_used"`        // of those, the ones without a request
	Refused        int              `json:"refused"`           // connections to a port without a listener
	Requests       int              `json:"requests"`          // logged by the server
	ReusedRequests int              `json:"reused_requests"`   // second or later on their connection
	ReusedTuples   int              `json:"reused_tuples"`     // connections on a 4-tuple that was used before
	OpenAtOnce     int              `json:"open_at_once"`      // 0 where not controlled
	OpenAtEnd      int              `json:"open_at_end"`       // of those, never closed
	Wasted         map[string]int   `json:"wasted_by_cause"`   // null where the traffic does not determine it
	WastedTotal    int              `json:"wasted"`            // their sum
	Connections    int              `json:"connections"`       // with a request: the rest of this object
	PerConnection  map[string][]int `json:"requests_by_tuple"` // "client:port>server port": requests of each connection, in order
}

// count fills in what the log says.
func (t *truth) count(connections []lab.Logged, accepted int) {
	t.Accepted, t.Connections = accepted, len(connections)
	t.NeverUsed = accepted - len(connections)
	tuples := map[string][]int{}
	for _, c := range connections {
		t.Requests += c.Requests
		t.ReusedRequests += c.Requests - 1
		key := fmt.Sprintf("%v>%d", c.Tuple.Client, c.Tuple.ServerPort)
		if len(tuples[key]) > 0 {
			t.ReusedTuples++
		}
		tuples[key] = append(tuples[key], c.Requests)
	}
	for _, n := range t.Wasted {
		t.WastedTotal += n
	}
	t.PerConnection = tuples
}

func (t *truth) write(path string) error {
	text, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return fmt.Errorf("write truth: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write truth: %w", err)
	}
	return nil
}
