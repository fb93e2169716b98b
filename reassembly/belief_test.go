package reassembly

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// converse passes a conversation, whose connection is c, to an Assembler that
// tells h.
func converse(text string, h Handler) (*Assembler, []sniffer.Segment) {
	segs := sniffertest.MustParse(text).Segments()
	a := New(Config{}, h)
	for i := range segs {
		a.Process(&segs[i])
	}
	return a, segs
}

// A factKeeper writes facts of each connection down when it ends.
type factKeeper struct {
	recorder
	facts []string
	of    func(c *Conn) string
}

func (k *factKeeper) End(c *Conn, dir Dir, e End) {
	k.recorder.End(c, dir, e)
	if e >= EndClosed {
		k.facts = append(k.facts, k.of(c))
	}
}

// Connection f is c as a forger sends it, n and m are others of its 4-tuple.
const declared = `
conn c 10.0.0.1:40000 10.0.0.2:80 isn=1000,5000
conn f 10.0.0.1:40000 10.0.0.2:80 isn=1000,5000
conn n 10.0.0.1:40000 10.0.0.2:80 isn=701000,805000
conn m 10.0.0.1:40000 10.0.0.2:80 isn=1000,90005000
`

// onceOpen opens the connection of a conversation: client bytes begin at 1001,
// server bytes at 5001.
const onceOpen = declared + `
@0s c handshake rtt=1ms
`

// TestBelief plays what no TCP stack believes, or only later.
func TestBelief(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
		resets     uint64 // strays
		syns       uint64
		stale      uint64
		resumed    uint64
	}{
		{name: "a RST beyond the next number, after which the side goes on", text: onceOpen + `
			@1s c > "a"
			@1100ms f > rst noack seq=1001
			@1200ms c > "b"
			@9s c > "c"`,
			want: []string{"1 c data abc", "1 end capture"}, resets: 1},
		{name: "a RST beyond the next number, then silence of its side", text: onceOpen + `
			@1s c > "a"
			@1100ms f > rst noack seq=11
			@2s c < "x"
			@4s c < "y"`,
			want: []string{"1 c data a", "1 s data x", "1 c reset", "1 s data y", "1 end closed rst c"}},
		{name: "a RST beyond the next number, a pause, and then the side goes on", text: onceOpen + `
			@1s c > "one"
			@2s f > rst noack seq=1003
			@5s c > "two"
			@6s c < "x"`,
			want: []string{"1 c data one", "1 c reset", "1 end closed rst c", "2 open 10.0.0.1:40000 resumed", "2 c data two", "2 s data x", "2 end capture"}, resumed: 1},
		{name: "a RST out of the window", text: onceOpen + `
			@1s c > "a"
			@2s f > rst noack seq=3000000
			@9s c < "x"`,
			want: []string{"1 c data a", "1 s data x", "1 end capture"}, resets: 1},
		{name: "a RST behind what was acknowledged", text: onceOpen + `
			@1s c > "abcdef"
			@1s c < ack
			@2s f > rst noack seq=3
			@9s c < "x"`,
			want: []string{"1 c data abcdef", "1 s data x", "1 end capture"}, resets: 1},
		{name: "a RST in a new connection's way", text: onceOpen + `
			@1s c > "a"
			@2s f > rst noack seq=77
			@2500ms n > syn
			@2501ms n < syn ack`,
			want: []string{"1 c data a", "1 c reset", "1 end closed rst c", "2 open 10.0.0.1:40000", "2 end capture"}},
		{name: "a RST that overtook the bytes before it", text: onceOpen + `
			@1s c > "a"
			@1001ms f > rst noack seq=4
			@1002ms c > "bcd" seq=1
			@1010ms c < "x"`,
			want: []string{"1 c data abcd", "1 c reset", "1 s data x", "1 end closed rst c"}},
		{name: "a RST behind bytes that were not captured but acknowledged", text: onceOpen + `
			@1s c > "a"
			@1s c < ack ack=51
			@1001ms c > rst noack seq=51
			@1001ms c < "x" ack=51`,
			want: []string{"1 c data a", "1 c reset", "1 s data x", "1 c lost 50", "1 end closed rst c"}},
		{name: "a RST behind what waits", text: onceOpen + `
			@1s c > "z" seq=10
			@1001ms c > rst noack seq=11`,
			want: []string{"1 c reset", "1 c lost 10", "1 c data z", "1 end closed rst c"}},
		{name: "a RST behind a FIN that was not captured", text: onceOpen + `
			@1s c > "a"
			@2s c > rst seq=2`,
			want: []string{"1 c data a", "1 c reset", "1 end closed rst c"}},
		{name: "a RST with the number of its side's FIN", text: onceOpen + `
			@1s c < "bye" fin
			@1s c > "more" ack=3
			@1s c < rst noack seq=3`,
			want: []string{"1 s data bye", "1 s fin", "1 c data more", "1 s reset", "1 end closed fin s"}},
		{name: "the peer acknowledges bytes behind an exact RST", text: onceOpen + `
			@1s c > "a"
			@1s f > rst noack seq=1
			@1100ms c > "bcd" seq=1
			@1101ms c < ack ack=4
			@1200ms c > "ef"`,
			want: []string{"1 c data a", "1 c reset", "1 c data bcd", "1 end closed rst c", "2 open 10.0.0.1:40000 resumed", "2 c data ef", "2 end capture"}, resumed: 1},
		{name: "a RST of one direction alone", text: declared + `
			@1s c < "abc"
			@2s f < rst noack seq=900
			@3s c < "def"
			@4s c < rst noack`,
			want: []string{"1 s data abcdef", "1 s reset", "1 end closed rst s"}, resets: 1},
		{name: "half-open discovery", text: declared + `
			@0s c > syn
			@10ms f < ack seq=772776 ack=554554
			@11ms f > rst noack seq=554554
			@1s c > dup
			@1010ms c < syn ack
			@1011ms c > ack
			@2s c > "a"
			@3s c < "x"`,
			want: []string{"1 c data a", "1 s data x", "1 end capture"}, resets: 1, stale: 1},
		{name: "a RST without ACK answers no SYN", text: declared + `
			@0s c > syn
			@10ms f < rst noack seq=0
			@20ms c < syn ack
			@30ms c > ack
			@40ms c > "a"`,
			want: []string{"1 c data a", "1 end capture"}, resets: 1},
		{name: "two SYN-ACKs, of which the first counts", text: declared + `
			@0s c > syn
			@10ms c < syn ack
			@20ms m < syn ack ack=0
			@30ms c > ack
			@40ms c > "a"
			@50ms c < "x"`,
			want: []string{"1 c data a", "1 s data x", "1 end capture"}},
		{name: "three SYN-ACKs, of which the second counts", text: declared + `
			conn y 10.0.0.1:40000 10.0.0.2:80 isn=1000,70005000
			@0s c > syn
			@10ms c < syn ack
			@20ms m < syn ack ack=0
			@30ms y < syn ack ack=0
			@40ms m > ack seq=0
			@50ms m > "a" seq=0
			@60ms m < "x"`,
			want: []string{"1 c data a", "1 s data x", "1 end capture"}},
		{name: "a forged SYN on a live connection", text: onceOpen + `
			@1s c > "a"
			@2s n > syn
			@2001ms c < ack
			@3s c > "b"
			@4s c < "x"`,
			want: []string{"1 c data ab", "1 s data x", "1 end capture"}, syns: 1},
		{name: "a SYN on a live connection that is answered", text: onceOpen + `
			@1s c > "a"
			@2s n > syn
			@2001ms n < syn ack
			@2002ms n > "b"
			@3s n < "x"`,
			want: []string{"1 c data a", "1 end replaced", "2 open 10.0.0.1:40000", "2 c data b", "2 s data x", "2 end capture"}},
		{name: "a SYN on a live connection that is refused", text: onceOpen + `
			@1s c > "a"
			@2s n > syn
			@2001ms n < rst`,
			want: []string{"1 c data a", "1 end replaced", "2 open 10.0.0.1:40000", "2 s reset", "2 end closed rst s"}},
		{name: "a SYN-ACK of a SYN that was not captured", text: onceOpen + `
			@1s c > "a"
			@2s n < syn ack ack=0
			@2002ms n > ack seq=0
			@2003ms n > "b" seq=0`,
			want: []string{"1 c data a", "1 end replaced", "2 open 10.0.0.1:40000", "2 c data b", "2 end capture"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r recorder
			a, _ := converse(tt.text, &r)
			a.Flush()
			if d := cmp.Diff(tt.want, r.lines[1:]); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
			st := a.Stats()
			if got, want := [...]uint64{st.StrayResets, st.StraySYNs, st.StaleACKs, st.Resumed}, [...]uint64{tt.resets, tt.syns, tt.stale, tt.resumed}; got != want {
				t.Errorf("stray RSTs, stray SYNs, stale ACKs, resumed: %d, want %d", got, want)
			}
		})
	}
}

// TestPairOfFINs swaps the two FINs, as a capture from several queues does: who
// closed first does not depend on it.
func TestPairOfFINs(t *testing.T) {
	for _, by := range []Dir{Client, Server} {
		segs := append(handshake(), c(1000, "a", acks(2000)), s(2000, "x", acks(1001)))
		first, second, last := c(1001, fin, acks(2001), at(ms)), s(2001, fin, acks(1002), at(2*ms)), c(1002, acks(2002), at(3*ms))
		if by == Server {
			first, second, last = s(2001, fin, acks(1001), at(ms)), c(1001, fin, acks(2002), at(2*ms)), s(2002, acks(1002), at(3*ms))
		}
		for _, pair := range [][]sniffer.Segment{{first, second, last}, {second, first, last}} {
			var r recorder
			a := New(Config{}, &r)
			for _, seg := range append(segs[:len(segs):len(segs)], pair...) {
				a.Process(&seg)
			}
			want := "1 end closed fin " + "cs"[by:by+1]
			if got := r.lines[len(r.lines)-1]; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

// TestFacts looks at what a connection knows when it ends.
func TestFacts(t *testing.T) {
	rel := func(t int64) string { return time.Unix(0, t).Sub(sniffertest.Base).String() }
	closing := func(c *Conn, d Dir) string {
		k := c.Closing(d)
		if k.With == NotClosed {
			return "-"
		}
		return fmt.Sprint([...]string{"", "fin", "rst"}[k.With], " at ", rel(k.At), " seq ", k.Seq, " ack ", k.Ack, " ", k.HasAck)
	}
	closings := func(c *Conn) string { return closing(c, Client) + ", " + closing(c, Server) }
	probes := func(c *Conn) string {
		p := c.Probes(Client)
		return fmt.Sprint(p.Count, " from ", rel(p.First), " to ", rel(p.Last), ", ", p.Gaps, " of ", time.Duration(p.Gap))
	}
	stall := func(c *Conn) string {
		s := c.Stall(Client)
		return fmt.Sprint(time.Duration(s.Longest), " of ", time.Duration(s.Total), " moved ", s.Moved, " now ", s.Since != 0)
	}
	acked := func(c *Conn) string {
		x, _ := c.Acked(Client)
		y, _ := c.Acked(Server)
		return fmt.Sprint(x, " ", y, " behind ", c.Behind(Client), " ", c.Behind(Server))
	}
	syns := func(c *Conn) string {
		n, last := c.SYNs()
		return fmt.Sprint(n, " SYNs, last at ", rel(last), ", SYN-ACK at ", rel(c.SYNACK()), ", ACK at ", rel(c.Established))
	}
	again := func(c *Conn) string { return fmt.Sprint(c.Retransmissions()) }
	unanswered := func(c *Conn) string { return fmt.Sprint(c.Unanswered(Client), " ", c.Unanswered(Server)) }
	tests := []struct {
		name string
		of   func(*Conn) string
		text string
		want string
	}{
		{"a FIN that acknowledges nothing of the request", closings, onceOpen + `
			@1s c > "GET"
			@1001ms c < fin ack=0
			@1002ms c < rst noack seq=1`, "-, fin at 1.001s seq 5001 ack 1001 true"},
		{"a RST without ACK", closings, onceOpen + `
			@1s c > "GET"
			@2s c < rst noack`, "-, rst at 2s seq 5001 ack 0 false"},
		{"both close", closings, onceOpen + `
			@1s c > "GET" fin
			@2s c < "x" fin
			@2001ms c > ack`, "fin at 1s seq 1004 ack 5001 true, fin at 2s seq 5002 ack 1005 true"},
		{"a doubtful RST keeps its time", closings, onceOpen + `
			@1s c > "GET"
			@2s f < rst noack seq=100
			@9s c > "x"`, "-, rst at 2s seq 5101 ack 0 false"},
		{"acknowledged whole", acked, onceOpen + `
			@1s c > "GET"
			@2s c < ack
			@2s c < "response"`, "1004 5001 behind false false"},
		{"acknowledged what was not captured, and nothing follows", acked, onceOpen + `
			@1s c > gap 35
			@1s c < ack`, "1036 5001 behind false false"}, // at the end it is told as a gap
		{"a handshake at once", syns, onceOpen, "1 SYNs, last at 0s, SYN-ACK at 500µs, ACK at 1ms"},
		{"a handshake with repetitions", syns, declared + `
			@0s c > syn
			@1s c > dup
			@3s c > dup
			@10s c < syn ack
			@10001ms c > ack`, "3 SYNs, last at 3s, SYN-ACK at 10s, ACK at 10.001s"},
		{"a SYN that was repeated before it was answered on a live connection", syns, onceOpen + `
			@20s n > syn
			@21s n > dup
			@21001ms n < syn ack
			@21002ms n > ack`, "2 SYNs, last at 21s, SYN-ACK at 21.001s, ACK at 21.002s"},
		{"nobody answers", unanswered, onceOpen + `
			@1s c > "GET"
			@2s c > dup
			@4s c > dup`, "2 0"},
		{"somebody answers", unanswered, onceOpen + `
			@1s c > "GET"
			@2s c > dup
			@4s c > dup
			@5s c < ack`, "0 0"},
		{"nothing new is retransmitted", unanswered, onceOpen + `
			@1s c > "GET "
			@1s c > "GET "
			@2s c > "GET " seq=0`, "0 0"},
		{"what is sent again, probes aside", again, onceOpen + `
			@1s c > "GET"
			@2s c > dup
			@3s c > dup
			@4s c < "OK"
			@5s c < dup
			@11s c > probe
			@11s c < ack`, "3"},
		{"keep-alive probes", probes, onceOpen + `
			@1s c > "GET"
			@1s c < "OK"
			@11s c > probe
			@11s c < ack
			@21s c > probe
			@21s c < ack
			@22s c > "GET"
			@22s c < "OK"
			@32s c > probe
			@32s c < ack
			@52s c > probe "\x00"
			@52s c < ack`, "4 from 11s to 52s, 2 of 20s"},
		{"a window that opens again", stall, onceOpen + `
			@1s c > "GET"
			@2s c < "xxxx"
			@2s c > ack win=0
			@2500ms c < probe
			@2500ms c > ack win=0
			@5s c > ack win=9000
			@5s c < "yyy"
			@6s c > ack win=0
			@7s c > ack win=9000
			@7s c < "zzz"`, "3s of 4s moved true now false"},
		{"a window that stays shut", stall, onceOpen + `
			@1s c > "GET"
			@2s c < "xxxx"
			@2s c > ack win=0
			@8s c > ack win=0`, "6s of 6s moved false now true"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := factKeeper{of: tt.of}
			a, _ := converse(tt.text, &k)
			a.Flush()
			if got := k.facts[len(k.facts)-1]; got != tt.want {
				t.Errorf("%s\nwant %s\n%s", got, tt.want, strings.Join(k.lines, "\n"))
			}
		})
	}
}

// A positioned notes where each piece of data is, and what its segment acknowledged.
type positioned struct {
	recorder
	notes []string
}

func (k *positioned) Data(c *Conn, d Dir, p []byte) {
	ack, ok := c.Acknowledges(d)
	k.notes = append(k.notes, fmt.Sprintf("%c %q at %d acknowledges %d %t", "cs"[d], p, c.Position(d, p), ack, ok))
}

func (k *positioned) Unseen(c *Conn, d Dir) {
	k.notes = append(k.notes, fmt.Sprintf("%c unseen up to %d", "cs"[d], c.Known(d)))
}

func TestPositions(t *testing.T) {
	var k positioned
	converse(onceOpen+`
		@1s c > "abc"
		@1s c < "x"
		@1s c > "gh" seq=6 ack=0
		@1s c > ack seq=8 ack=1
		@1s c > "def" seq=3 ack=1
		@2s c < "y" ack=28
		@2s c < "z" ack=28
	`, &k)
	want := []string{
		`c "abc" at 1001 acknowledges 5001 true`,
		`s "x" at 5001 acknowledges 1004 true`,
		`c "def" at 1004 acknowledges 5002 true`,
		`c "gh" at 1007 acknowledges 5001 true`,
		`c unseen up to 1029`,
		`s "y" at 5002 acknowledges 1029 true`,
		`s "z" at 5003 acknowledges 1029 true`,
	}
	if d := cmp.Diff(want, k.notes); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
