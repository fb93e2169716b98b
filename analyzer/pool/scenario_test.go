package pool

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A script has one event a line: time, event, connection, arguments (of a move the
// pair and the time of the SYN), and after "->" what it must return. The window is
// 60.
var scenarios = []struct {
	name   string
	config Config
	script string
}{
	{name: "closed after the response", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		2 closed 1 3
		4 syn 2 -> wasted 3`},
	{name: "still open", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 syn 2 -> wasted miss`},
	{name: "busy, so the pool grows", script: `
		0 syn 1 -> needed
		1 syn 2 -> needed
		1 request 1
		1 request 2
		2 idle 2
		3 syn 3 -> wasted miss
		4 syn 4 -> needed`},
	{name: "another pair", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 syn 2 b -> needed`},
	{name: "announced, not seen yet", script: `
		0 syn 1 -> needed
		1 request 1
		2 unusable 1 7
		2 idle 1
		3 syn 2 -> wasted 7`},
	{name: "the closing replaces the announcement", script: `
		0 syn 1 -> needed
		1 request 1
		2 unusable 1 7
		2 idle 1
		3 closed 1 8
		4 syn 2 -> wasted 8`},
	{name: "another request takes the announcement back", script: `
		0 syn 1 -> needed
		1 request 1
		2 unusable 1 7
		2 idle 1
		3 request 1
		4 idle 1
		5 syn 2 -> wasted miss`},
	{name: "the last instant of the window", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		2 closed 1 3
		62 syn 2 -> wasted 3`},
	{name: "past the window", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		2 closed 1 3
		63 syn 2 -> needed`},
	{name: "past the window, the rider open", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		500 syn 2 -> wasted miss`},
	{name: "past the window, the rider closes", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		499 closed 1 3
		500 syn 2 -> needed`},
	{name: "past the window, the tracker says the rider is gone",
		config: Config{Open: func(_ uint32, now int64) bool { return now < 400 }}, script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		399 syn 2 -> wasted miss
		400 request 2
		401 idle 2
		470 syn 3 -> needed`},
	{name: "below a dead slot an open one", script: `
		0 syn 1 -> needed
		0 syn 2 -> needed
		1 request 1
		1 request 2
		2 idle 1
		3 idle 2
		3 closed 2 5
		100 syn 3 -> wasted miss
		101 syn 4 -> needed`},
	{name: "most recently used first", script: `
		0 syn 1 -> needed
		0 syn 2 -> needed
		1 request 1
		1 request 2
		2 idle 2
		2 closed 2 2
		3 idle 1
		3 closed 1 1
		4 syn 3 -> wasted 1
		4 syn 4 -> wasted 2`},
	{name: "never used: the pool had grown", script: `
		0 syn 1 -> needed
		1 closed 1 9
		2 syn 2 -> needed`},
	{name: "never used: the slot goes back with rider and time", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		2 closed 1 3
		50 syn 2 -> wasted 3
		55 closed 2 9
		62 syn 3 -> wasted 3
		62 closed 3 9
		63 syn 4 -> needed`},
	{name: "never used: back to its place", script: `
		0 syn 1 -> needed
		0 syn 2 -> needed
		0 syn 3 -> needed
		1 request 1
		1 request 2
		1 request 3
		2 idle 1
		2 closed 1 1
		3 idle 2
		3 closed 2 2
		4 syn 4 -> wasted 2
		5 idle 3
		5 closed 3 3
		6 closed 4 9
		7 syn 5 -> wasted 3
		7 syn 6 -> wasted 2
		7 syn 7 -> wasted 1`},
	{name: "never used: verdicts in between stay", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 syn 2 -> wasted miss
		4 syn 3 -> needed
		5 closed 2 9
		6 syn 4 -> wasted miss`},
	{name: "the rider closes while its slot is held for nothing", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 syn 2 -> wasted miss
		4 closed 1 3
		4 release 1
		5 syn 1 b -> needed
		6 closed 2 9
		7 syn 3 -> wasted 3`},
	{name: "reused: its own slot, though not the last used", script: `
		0 syn 1 -> needed
		0 syn 2 -> needed
		1 request 1
		1 request 2
		2 idle 1
		3 idle 2
		3 closed 2 2
		4 request 1
		5 syn 3 -> wasted 2`},
	{name: "reused: its slot held by another, an idle one taken", script: `
		0 syn 1 -> needed
		0 syn 2 -> needed
		1 request 1
		1 request 2
		2 idle 2
		2 closed 2 2
		3 idle 1
		4 syn 3 -> wasted miss
		5 request 1
		6 syn 4 -> needed`},
	{name: "reused: its slot held by another, none idle", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 syn 2 -> wasted miss
		4 request 2
		5 request 1
		6 idle 1
		6 closed 1 1
		7 syn 3 -> wasted 1
		8 syn 4 -> needed`},
	{name: "reused: its own slot back after another rode it", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 syn 2 -> wasted miss
		4 request 2
		5 idle 2
		6 request 1
		7 syn 3 -> needed`},
	{name: "pipelined requests hold one slot", script: `
		0 syn 1 -> needed
		1 request 1
		1 request 1
		2 syn 2 -> needed
		3 idle 1
		4 syn 3 -> wasted miss`},
	{name: "idle said again moves the time", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 closed 1 1
		40 idle 1
		90 syn 2 -> wasted 1`},
	{name: "an unfinished exchange ends with its connection", script: `
		0 syn 1 -> needed
		1 request 1
		2 syn 2 -> needed
		3 closed 1 4
		4 syn 3 -> wasted 4`},
	{name: "a request crosses the closing of a connection never used", script: `
		0 syn 1 -> needed
		1 closed 1 4
		2 request 1
		3 syn 2 -> needed
		4 release 1
		5 syn 3 -> wasted 4`},
	{name: "midstream holds a slot", script: `
		0 midstream 1
		1 syn 2 -> needed
		2 idle 1
		3 syn 3 -> wasted miss`},
	{name: "midstream takes an idle slot", script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 midstream 2
		4 syn 3 -> needed`},
	{name: "move: judged in the other pair as of the SYN", script: `
		0 syn 1 b -> needed
		1 request 1
		2 idle 1
		2 closed 1 1
		3 syn 2 -> needed
		4 move 2 b 3 -> wasted 1
		5 syn 3 -> needed`},
	{name: "move: idle since the SYN only", script: `
		0 syn 1 b -> needed
		1 request 1
		2 syn 2 -> needed
		3 idle 1
		4 move 2 b 2 -> needed
		5 syn 3 b -> wasted miss`},
	{name: "move: past what became idle since to what was", script: `
		0 syn 1 b -> needed
		0 syn 2 b -> needed
		0 request 1
		0 request 2
		1 idle 1
		1 closed 1 1
		2 syn 3 -> needed
		3 idle 2
		3 closed 2 2
		4 move 3 b 2 -> wasted 1
		5 syn 4 b -> wasted 2`},
	{name: "move: alive at the SYN", script: `
		0 syn 1 b -> needed
		1 request 1
		2 idle 1
		2 closed 1 1
		62 syn 2 -> needed
		63 move 2 b 62 -> wasted 1`},
	{name: "move: too late", script: `
		0 syn 1 -> needed
		1 request 1
		2 move 1 b 0 -> none`},
	{name: "a pair forgotten starts again", config: Config{MaxPairs: 1}, script: `
		0 syn 1 -> needed
		1 request 1
		2 idle 1
		3 syn 2 b -> needed
		4 syn 3 -> needed
		5 request 1
		6 idle 1
		7 syn 4 -> wasted miss
		8 closed 3 9
		8 closed 2 9`},
	{name: "no room for a slot", config: Config{MaxSlots: 1}, script: `
		0 syn 1 -> needed
		1 syn 2 -> needed
		2 request 1
		2 request 2
		3 idle 1
		4 idle 2
		5 request 2
		6 syn 3 -> needed`},
	{name: "no room in the pair", config: Config{MaxPairSlots: 1}, script: `
		0 syn 1 -> needed
		1 syn 2 -> needed
		2 request 2
		3 request 1
		4 idle 1
		5 syn 3 -> wasted miss`},
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if s.config.Window == 0 {
				s.config.Window = 60
			}
			p := newNumbered(s.config)
			for _, line := range strings.Split(strings.TrimSpace(s.script), "\n") {
				line = strings.TrimSpace(line)
				event, _, _ := strings.Cut(line, " -> ")
				if diff := cmp.Diff(line, event+play(t, p, event)); diff != "" {
					t.Fatalf("verdict (-want +got):\n%s", diff)
				}
				check(t, p)
			}
		})
	}
}

// play runs one line of a script.
func play(t *testing.T, p *numbered, line string) string {
	t.Helper()
	var at, syn int64
	var event string
	var conn uint32
	var arg string
	if n, err := fmt.Sscan(line, &at, &event, &conn, &arg, &syn); n < 3 {
		t.Fatalf("script line %q: %v", line, err)
	}
	var key Pair
	if arg == "b" {
		key.Name = 1
	}
	var why Reason
	_, _ = fmt.Sscan(arg, &why) // where the argument is a reason
	switch event {
	case "syn":
		return verdictText(p.SYN(conn, &key, at))
	case "move":
		return verdictText(p.Move(conn, &key, syn))
	case "midstream":
		p.Midstream(conn, &key, at)
	case "request":
		p.Request(conn, at)
	case "idle":
		p.Idle(conn, at)
	case "unusable":
		p.Unusable(conn, why)
	case "closed":
		p.Closed(conn, at, why)
	case "release":
		p.Release(conn, at)
	default:
		t.Fatalf("script line %q: no such event", line)
	}
	return ""
}

func verdictText(v Verdict, cause Reason) string {
	switch {
	case v == None:
		return " -> none"
	case v == Needed:
		return " -> needed"
	case cause == PoolMiss:
		return " -> wasted miss"
	}
	return fmt.Sprintf(" -> wasted %d", cause)
}
