package pool

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A script has one event a line: time, event, connection, arguments, and after "->"
// what it must return. Of a first request the arguments are the time of the SYN, "-"
// for none, and the origin, "tls:" before an SNI. The window is 60.
var scenarios = []struct {
	name   string
	config Config
	script string
}{
	{name: "lost before the SYN", script: `
		1 first 1 0 -> needed
		2 end 1
		3 lost 1
		3 close 1
		5 first 2 4 -> wasted, lost 1 at 3`},
	{name: "open and usable", script: `
		1 first 1 0 -> needed
		2 end 1
		4 first 2 3 -> wasted, missed 1`},
	{name: "busy at the SYN", script: `
		1 first 1 0 -> needed
		2 first 2 1 -> needed`},
	{name: "busy at the SYN, idle at the first request", script: `
		1 first 1 0 -> needed
		3 end 1
		4 first 2 2 -> needed`},
	{name: "idle at the SYN, taken in between", script: `
		1 first 1 0 -> needed
		2 end 1
		4 request 1
		5 first 2 3 -> needed`},
	{name: "idle at the SYN, taken and idle again", script: `
		1 first 1 0 -> needed
		2 end 1
		4 request 1
		5 end 1
		6 first 2 3 -> needed`},
	{name: "past what became idle since the SYN to what was", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 end 1
		3 end 2
		4 first 3 2 -> wasted, missed 1
		6 first 4 5 -> wasted, missed 2`},
	{name: "what carries nothing never enters a pool", script: `
		0 lost 9
		0 close 9
		0 release 9
		1 first 1 0 -> needed
		2 end 1
		3 lost 8
		5 first 2 4 -> wasted, missed 1`},
	{name: "most recently used first", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 end 2
		2 end 1
		4 first 3 3 -> wasted, missed 1
		6 first 4 5 -> wasted, missed 2`},
	{name: "the last instant of the window", script: `
		1 first 1 0 -> needed
		2 end 1
		2 close 1
		63 first 2 62 -> wasted, missed 1`},
	{name: "past the window", script: `
		1 first 1 0 -> needed
		2 end 1
		2 close 1
		63 first 2 63 -> needed`},
	{name: "alive at the SYN, dead at the first request", script: `
		1 first 1 0 -> needed
		2 end 1
		2 close 1
		70 first 2 62 -> wasted, missed 1`},
	{name: "past the window, the last user open", script: `
		1 first 1 0 -> needed
		2 end 1
		500 first 2 499 -> wasted, missed 1`},
	{name: "past the window, the last user closed", script: `
		1 first 1 0 -> needed
		2 end 1
		490 close 1
		500 first 2 499 -> needed`},
	{name: "past the window, the last user silent for too long", config: Config{IdleLimit: 100}, script: `
		1 first 1 0 -> needed
		2 end 1
		102 first 2 102 -> wasted, missed 1
		103 end 2
		204 first 3 204 -> needed`},
	{name: "below a dead slot an open one", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 end 1
		2 end 2
		3 close 2
		100 first 3 100 -> wasted, missed 1
		101 first 4 101 -> needed`},
	{name: "another origin, another server's TLS", script: `
		1 first 1 0 a -> needed
		2 end 1
		3 first 2 3 b -> needed
		3 first 3 3 tls:a -> needed
		3 first 4 3 -> needed`},

	{name: "a request takes its own slot, not the last used", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 end 1
		2 end 2
		4 request 1
		5 first 3 5 -> wasted, missed 2`},
	{name: "a request finds its slot busy and takes an idle one", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 end 2
		2 end 1
		4 first 3 4 -> wasted, missed 1
		5 request 1
		6 first 4 6 -> needed`},
	{name: "a request finds its slot busy and none idle", script: `
		1 first 1 0 -> needed
		2 end 1
		3 first 2 3 -> wasted, missed 1
		5 request 1
		6 end 1
		7 first 3 7 -> wasted, missed 1
		8 first 4 8 -> needed`},
	{name: "a request finds its slot back after another rode it", script: `
		1 first 1 0 -> needed
		2 end 1
		3 first 2 3 -> wasted, missed 1
		5 end 2
		6 request 1
		7 first 3 7 -> needed`},
	{name: "pipelined requests ride one slot", script: `
		1 first 1 0 -> needed
		1 request 1
		2 end 1
		3 first 2 3 -> needed
		4 end 1
		5 first 3 5 -> wasted, missed 1
		6 first 4 6 -> needed`},
	{name: "an unfinished exchange ends with its connection", script: `
		1 first 1 0 -> needed
		3 lost 1
		3 close 1
		5 first 2 4 -> wasted, lost 1 at 3`},
	{name: "release ends what is outstanding", script: `
		1 first 1 0 -> needed
		3 release 1
		5 first 2 4 -> wasted, missed 1`},
	{name: "one end too many", script: `
		1 first 1 0 -> needed
		2 end 1
		4 end 1
		5 first 2 3 -> wasted, missed 1`},
	{name: "a request crosses the closing", script: `
		1 first 1 0 -> needed
		2 end 1
		3 close 1
		4 request 1
		5 first 2 5 -> needed
		6 release 1
		7 first 3 7 -> wasted, missed 1`},
	{name: "midstream: no verdict, a slot", script: `
		0 first 1 - -> none
		1 first 2 1 -> needed
		2 end 1
		3 first 3 3 -> wasted, missed 1`},
	{name: "midstream takes an idle slot", script: `
		1 first 1 0 -> needed
		2 end 1
		3 first 2 - -> none
		4 first 3 4 -> needed`},
	{name: "midstream replaces no loss", script: `
		1 first 1 0 -> needed
		1 first 2 0 -> needed
		2 end 1
		2 end 2
		2 lost 1
		3 first 3 - -> none
		5 first 4 4 -> wasted, lost 1 at 2`},

	{name: "bytes acknowledged unseen keep the slot busy", script: `
		1 first 1 0 -> needed
		2 end 1
		3 busy 1
		4 first 2 4 -> needed
		5 end 1
		6 first 3 6 -> wasted, missed 1`},
	{name: "the next request is what was under way", script: `
		1 first 1 0 -> needed
		2 end 1
		3 busy 1
		4 request 1
		5 end 1
		6 first 2 6 -> wasted, missed 1`},
	{name: "busy until it closes", script: `
		1 first 1 0 -> needed
		2 end 1
		3 busy 1
		4 close 1
		5 first 2 5 -> wasted, missed 1`},
	{name: "busy beside a request adds nothing", script: `
		1 first 1 0 -> needed
		2 busy 1
		3 end 1
		4 first 2 4 -> wasted, missed 1`},

	{name: "room for others only once it was told", script: `
		1 first 1 0 -> needed
		3 room 1 100
		4 first 2 2 -> needed
		6 first 3 5 -> wasted, missed 1`},
	{name: "room told before the first request", script: `
		2 room 1 100
		5 first 1 0 -> needed
		6 first 2 1 -> needed
		7 first 3 3 -> wasted, missed 1`},
	{name: "room for so many", script: `
		1 first 1 0 -> needed
		1 room 1 3
		2 request 1
		3 first 2 3 -> wasted, missed 1
		4 first 3 4 -> needed
		5 end 2
		6 first 4 6 -> wasted, missed 2`},
	{name: "more than the room of every slot", script: `
		1 first 1 0 -> needed
		1 room 1 2
		2 first 2 2 -> wasted, missed 1
		3 request 1
		4 first 3 4 -> wasted, missed 1
		5 first 4 5 -> needed
		6 end 1
		7 first 5 7 -> wasted, missed 3`},
	{name: "its own requests ride its slot before its room is told", script: `
		1 first 1 0 -> needed
		1 request 1
		1 request 1
		2 room 1 4
		3 first 2 3 -> wasted, missed 1
		4 first 3 4 -> needed`},
	{name: "room shrinks", script: `
		1 first 1 0 -> needed
		1 room 1 3
		2 first 2 2 -> wasted, missed 1
		3 room 1 1
		4 first 3 4 -> needed
		5 end 1
		6 first 4 6 -> needed
		7 end 2
		8 first 5 8 -> wasted, missed 2`},
	{name: "room of nothing counts as one", script: `
		1 first 1 0 -> needed
		1 room 1 0
		2 end 1
		3 first 2 3 -> wasted, missed 1
		4 first 3 4 -> needed`},
	{name: "a slot keeps its room when its connection is lost", script: `
		1 first 1 0 -> needed
		1 room 1 2
		2 end 1
		3 lost 1
		3 close 1
		5 first 2 4 -> wasted, lost 1 at 3
		7 first 3 6 -> wasted, missed 2
		8 first 4 8 -> needed`},
	{name: "a slot that carries something is alive", script: `
		1 first 1 0 -> needed
		1 room 1 2
		400 first 2 399 -> wasted, missed 1`},

	{name: "the newest loss, though another slot is taken", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		0 first 3 0 -> needed
		1 end 1
		2 end 2
		3 end 3
		4 lost 2
		5 lost 1
		7 first 4 6 -> wasted, lost 1 at 5
		9 first 5 8 -> wasted, lost 2 at 4
		11 first 6 10 -> wasted, missed 1`},
	{name: "a loss after the SYN is none", script: `
		1 first 1 0 -> needed
		2 end 1
		4 lost 1
		5 first 2 3 -> wasted, missed 1
		6 end 2
		8 first 3 7 -> wasted, lost 1 at 4`},
	{name: "a needed handshake replaces nothing", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 lost 1
		1 close 1
		3 first 3 0 -> needed
		4 first 4 2 -> wasted, lost 1 at 1`},
	{name: "a loss past the window", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 end 1
		1 end 2
		2 lost 1
		63 first 3 63 -> wasted, missed 2`},
	{name: "the last instant of a loss", script: `
		0 first 1 0 -> needed
		0 first 2 0 -> needed
		1 end 1
		1 end 2
		2 lost 1
		63 first 3 62 -> wasted, lost 1 at 2`},
	{name: "the announcement counts, not the closing", script: `
		1 first 1 0 -> needed
		2 lost 1
		3 end 1
		9 lost 1
		9 close 1
		12 first 2 5 -> wasted, lost 1 at 2`},
	{name: "another exchange takes the announcement back", script: `
		1 first 1 0 -> needed
		2 lost 1
		3 end 1
		4 request 1
		5 usable 1
		6 end 1
		8 first 2 7 -> wasted, missed 1
		9 lost 1
		10 end 2
		12 first 3 11 -> wasted, lost 1 at 9`},
	{name: "taken back after it was replaced", script: `
		1 first 1 0 -> needed
		2 lost 1
		3 end 1
		5 first 2 4 -> wasted, lost 1 at 2
		6 end 2
		7 usable 1
		9 first 3 8 -> wasted, missed 2`},

	{name: "a leak: the server's idle closing lost nothing", script: `
		1 first 1 0 -> needed
		2 end 1
		4 first 2 3 -> wasted, missed 1
		5 end 2
		10 lost 1 idle
		10 close 1
		13 first 3 11 -> wasted, missed 2`},
	{name: "the pair reuses its connections, so it did", script: `
		1 first 1 0 -> needed
		2 end 1
		4 first 2 3 -> wasted, missed 1
		5 end 2
		6 request 2
		7 end 2
		10 lost 1 idle
		10 close 1
		13 first 3 11 -> wasted, lost 1 at 10, another idled`},
	{name: "beside a kept connection", script: `
		1 first 1 0 -> needed
		2 end 1
		3 request 1
		4 first 2 4 -> needed
		5 end 2
		5 lost 2
		5 close 2
		7 end 1
		8 first 3 6 -> wasted, lost 2 at 5
		9 end 3
		9 lost 3
		9 close 3
		10 first 4 9 -> wasted, lost 3 at 9, another idled
		11 end 4
		11 lost 4
		11 close 4
		12 lost 1
		13 first 5 13 -> wasted, lost 1 at 12`},
	{name: "reused longer ago than the window", script: `
		1 first 1 0 -> needed
		2 end 1
		2 request 1
		3 end 1
		5 first 2 4 -> wasted, missed 1
		6 end 2
		60 lost 1 idle
		62 first 3 62 -> wasted, lost 1 at 60
		62 end 3
		63 lost 2 idle
		65 first 4 64 -> wasted, missed 3`},
	{name: "no SYN while it idled", script: `
		1 first 1 0 -> needed
		2 end 1
		10 lost 1 idle
		13 first 2 11 -> wasted, lost 1 at 10`},
	{name: "a SYN while it idled, told later", script: `
		1 first 1 0 -> needed
		2 end 1
		10 lost 1 idle
		13 first 2 5 -> wasted, missed 1
		14 end 2
		17 first 3 15 -> wasted, missed 2`},
	{name: "a SYN after the idling, told before", script: `
		1 first 1 0 -> needed
		2 end 1
		12 first 2 11 -> wasted, missed 1
		13 end 2
		10 lost 1 idle
		15 first 3 14 -> wasted, lost 1 at 10`},
	{name: "not an idle closing", script: `
		1 first 1 0 -> needed
		2 end 1
		4 first 2 3 -> wasted, missed 1
		5 end 2
		10 lost 1
		13 first 3 11 -> wasted, lost 1 at 10`},
	{name: "an idle closing, as is learned later", script: `
		1 first 1 0 -> needed
		2 end 1
		4 first 2 3 -> wasted, missed 1
		5 end 2
		10 lost 1
		11 lost 1 idle
		14 first 3 12 -> wasted, missed 2`},

	{name: "joined: slots and losses are shared", script: `
		1 first 1 0 a -> needed
		1 first 2 0 b -> needed
		2 end 1
		3 end 2
		4 lost 1
		5 join
		7 first 3 6 c -> wasted, lost 1 at 4
		8 first 4 8 -> wasted, missed 1
		9 first 5 9 a -> needed`},
	{name: "joined: what is busy comes along", script: `
		1 first 1 0 a -> needed
		1 first 2 0 b -> needed
		5 join
		6 end 2
		8 first 3 7 a -> wasted, missed 2
		9 request 2
		10 end 2
		11 first 4 11 b -> wasted, missed 2`},
	{name: "joined: whoever reuses connections leaks none", script: `
		1 first 1 0 a -> needed
		1 first 2 0 b -> needed
		2 end 2
		2 request 2
		3 end 1
		5 first 3 4 a -> wasted, missed 1
		6 end 3
		9 lost 1 idle
		10 join
		12 first 4 11 c -> wasted, lost 1 at 9`},
	{name: "joined: TLS is another matter", script: `
		1 first 1 0 tls:a -> needed
		1 first 2 0 a -> needed
		2 end 1
		5 join
		7 first 3 6 tls:b -> needed
		8 first 4 8 b -> needed`},
	{name: "joined: the pool is empty for long", script: `
		1 first 1 0 a -> needed
		2 end 1
		3 join
		4 release 1
		1000 first 2 999 tls:x -> needed
		1001 first 3 1000 a -> needed
		1002 end 3
		1004 first 4 1003 b -> wasted, missed 3`},

	{name: "a pair forgotten begins again", config: Config{MaxPairs: 1}, script: `
		1 first 1 0 a -> needed
		2 end 1
		3 first 2 3 b -> needed
		4 end 2
		5 first 3 5 a -> needed
		6 request 2
		7 first 4 7 b -> needed
		8 end 2
		9 first 5 9 b -> wasted, missed 2`},
	{name: "no room for a slot", config: Config{MaxSlots: 1}, script: `
		1 first 1 0 -> needed
		1 first 2 1 -> needed
		3 end 1
		4 end 2
		5 request 2
		6 first 3 6 -> needed`},
	{name: "no room in the pair", config: Config{MaxPairSlots: 1}, script: `
		1 first 1 0 -> needed
		1 first 2 1 -> needed
		2 end 2
		3 first 3 3 -> needed
		4 end 1
		5 first 4 5 -> wasted, missed 1`},
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			s.config.Window = 60
			g := &game{t: t, p: New(s.config)}
			for _, line := range strings.Split(strings.TrimSpace(s.script), "\n") {
				line = strings.TrimSpace(line)
				event, _, _ := strings.Cut(line, " -> ")
				if diff := cmp.Diff(line, event+g.play(event)); diff != "" {
					t.Fatalf("verdict (-want +got):\n%s", diff)
				}
				check(t, g.p, g.conns[:])
			}
		})
	}
}

// A game plays scripts.
type game struct {
	t     *testing.T
	p     *Pools
	conns [10]*Conn
}

// conn returns a connection, which is seen at a time.
func (g *game) conn(id int, at int64) *Conn {
	for i := range g.conns {
		if g.conns[i] == nil {
			g.conns[i] = &Conn{Ref: uint64(i), Seen: new(int64)}
		}
	}
	*g.conns[id].Seen = at
	return g.conns[id]
}

// play runs one line of a script.
func (g *game) play(line string) string {
	g.t.Helper()
	f := append(strings.Fields(line), "", "", "")
	at, _ := strconv.ParseInt(f[0], 10, 64)
	id, _ := strconv.Atoi(f[2])
	c, arg := g.conn(id, at), f[3]
	switch f[1] {
	case "first":
		syn, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			syn = -1
		}
		name, tls := strings.CutPrefix(f[4], "tls:")
		key := Pair{TLS: tls}
		if name != "" {
			key.Origin = uint32(name[0])
		}
		return g.text(g.p.First(c, key, syn, at))
	case "request":
		g.p.Request(c, at)
	case "end":
		g.p.End(c, at)
	case "busy":
		g.p.Busy(c, at)
	case "room":
		n, _ := strconv.ParseUint(arg, 10, 32)
		g.p.Room(c, uint32(n), at)
	case "lost":
		g.p.Lost(c, at, arg == "idle", Note{})
	case "usable":
		g.p.Usable(c)
	case "close":
		g.p.Close(c, at)
	case "release":
		g.p.Release(c, at)
	case "join":
		g.p.Join([16]byte{}, [16]byte{}, 0)
	default:
		g.t.Fatalf("script line %q: no such event", line)
	}
	return ""
}

func (g *game) text(j Judgement) string {
	switch {
	case j.Verdict != Wasted && j != Judgement{Verdict: j.Verdict}:
		g.t.Fatalf("a judgement names a connection: %+v", j)
	case j.Verdict != Wasted:
		return " -> " + j.Verdict.String()
	case j.Miss:
		return fmt.Sprintf(" -> wasted, missed %d", j.Ref)
	case j.PassedOver:
		return fmt.Sprintf(" -> wasted, lost %d at %d, another idled", j.Ref, j.Since)
	}
	return fmt.Sprintf(" -> wasted, lost %d at %d", j.Ref, j.Since)
}
