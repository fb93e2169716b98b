package reassembly

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

const (
	syn = sniffer.SYN
	ack = sniffer.ACK
	fin = sniffer.FIN
	rst = sniffer.RST
)

func endpoint(s string) sniffer.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return sniffer.Endpoint{Addr: ap.Addr().As16(), Port: ap.Port()}
}

var (
	client = endpoint("10.0.0.1:40000")
	server = endpoint("10.0.0.2:80")
)

const ms = int64(time.Millisecond)

// c and s make segments of the client and the server. Options: a payload
// (string), flags, a time, an acknowledgment.
type (
	at    time.Duration
	acks  uint32
	cut   uint32
	iface uint32
)

func segment(from, to sniffer.Endpoint, seq uint32, opts []any) sniffer.Segment {
	s := sniffer.Segment{Time: 1, Src: from, Dst: to, Seq: seq, Window: 64240}
	for _, o := range opts {
		switch o := o.(type) {
		case string:
			s.Payload = []byte(o)
		case sniffer.Flags:
			s.Flags |= o
		case at:
			s.Time = int64(o) + 1
		case acks:
			s.Ack = uint32(o)
			s.Flags |= ack
		case cut:
			s.Length = uint32(o)
		case iface:
			s.Interface = uint32(o)
		}
	}
	s.Length += uint32(len(s.Payload))
	return s
}

func c(seq uint32, opts ...any) sniffer.Segment { return segment(client, server, seq, opts) }
func s(seq uint32, opts ...any) sniffer.Segment { return segment(server, client, seq, opts) }

// A recorder writes down what it hears, adjacent data joined, for each
// connection by its number.
type recorder struct {
	lines  []string
	number map[uint32]int
	opened int
}

func (r *recorder) add(c *Conn, dir string, what string) {
	n := r.number[c.ID]
	head := fmt.Sprintf("%d %s", n, dir)
	if last := len(r.lines) - 1; last >= 0 && strings.HasPrefix(what, "data ") && strings.HasPrefix(r.lines[last], head+" data ") {
		r.lines[last] += what[len("data "):]
		return
	}
	r.lines = append(r.lines, head+" "+what)
}

func (r *recorder) Open(c *Conn) {
	if r.number == nil {
		r.number = map[uint32]int{}
	}
	r.opened++
	r.number[c.ID] = r.opened
	what := c.Endpoint[Client].String()
	if c.Resumed() {
		what += " resumed"
	}
	r.add(c, "open", what)
}

func (r *recorder) Data(c *Conn, dir Dir, p []byte) { r.add(c, "cs"[dir:dir+1], "data "+string(p)) }

func (r *recorder) Gap(c *Conn, dir Dir, n int64, k GapKind) {
	r.add(c, "cs"[dir:dir+1], fmt.Sprintf("%s %d", [...]string{"lost", "cut", "skipped"}[k], n))
}

func (r *recorder) End(c *Conn, dir Dir, e End) {
	name := [...]string{"fin", "reset", "closed", "replaced", "timeout", "evicted", "capture"}[e]
	if e <= EndReset {
		r.add(c, "cs"[dir:dir+1], name)
		return
	}
	by := ""
	if c.ClosedWith != NotClosed {
		by = " " + [...]string{"", "fin ", "rst "}[c.ClosedWith] + "cs"[c.ClosedBy:c.ClosedBy+1]
	}
	r.add(c, "end", name+by)
}

func handshake() []sniffer.Segment {
	return []sniffer.Segment{c(999, syn), s(1999, syn, acks(1000)), c(1000, acks(2000))}
}

func TestConnSize(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n != 144 {
		t.Errorf("Conn is %d bytes, want 144", n)
	}
	if n := unsafe.Sizeof(page{}); n != 2040 {
		t.Errorf("page is %d bytes, want 2040", n)
	}
	for _, kind := range []struct {
		name       string
		size, want uintptr
	}{
		{"coldState", unsafe.Sizeof(coldState{}), 240},
		{"doubts", unsafe.Sizeof(doubts{}), 136},
		{"windows", unsafe.Sizeof([2]window{}), 64},
		{"probes", unsafe.Sizeof([2]probeLog{}), 208},
	} {
		if kind.size != kind.want {
			t.Errorf("%s are %d bytes, want %d", kind.name, kind.size, kind.want)
		}
	}
	if n := unsafe.Sizeof(closed{}); n != 64 {
		t.Errorf("closed is %d bytes, want 64", n)
	}
}

func TestProcess(t *testing.T) {
	const hour = at(time.Hour)
	tests := []struct {
		name  string
		cfg   Config
		after []sniffer.Segment // the handshake; nil means no handshake
		whole []sniffer.Segment // instead: everything
		want  []string          // after "1 open 10.0.0.1:40000"; the capture's end is left out
	}{
		{name: "in order", after: []sniffer.Segment{c(1000, "GET", acks(2000)), s(2000, "OK", acks(1003))},
			want: []string{"1 c data GET", "1 s data OK"}},
		{name: "out of order", after: []sniffer.Segment{c(1003, "def"), c(1000, "abc")},
			want: []string{"1 c data abcdef"}},
		{name: "reverse order", after: []sniffer.Segment{c(1004, "e"), c(1002, "cd"), c(1001, "b"), c(1000, "a")},
			want: []string{"1 c data abcde"}},
		{name: "retransmission", after: []sniffer.Segment{c(1000, "abc"), c(1000, "abc"), c(1003, "d")},
			want: []string{"1 c data abcd"}},
		{name: "overlap in front", after: []sniffer.Segment{c(1000, "abc"), c(1001, "BCde")},
			want: []string{"1 c data abcde"}},
		{name: "overlap of what waits: the first copy wins", after: []sniffer.Segment{c(1002, "cd"), c(1000, "ABCDEF")},
			want: []string{"1 c data ABcdEF"}},
		{name: "overlap among what waits", after: []sniffer.Segment{c(1004, "ef"), c(1008, "ij"), c(1003, "DEFGHIJK"), c(1000, "abc")},
			want: []string{"1 c data abcDefGHijK"}},
		{name: "keep-alive probe of no byte", after: []sniffer.Segment{c(1000, "abc"), c(1002, acks(2000)), c(1003, "d")},
			want: []string{"1 c data abcd"}},
		{name: "keep-alive probe of one byte", after: []sniffer.Segment{c(1000, "abc"), c(1002, "\x00", acks(2000)), c(1003, "d")},
			want: []string{"1 c data abcd"}},
		{name: "probe before any data", after: []sniffer.Segment{c(999, "\x00", acks(2000)), c(1000, "abc")},
			want: []string{"1 c data abc"}},
		{name: "zero-window probe carries the next byte", after: []sniffer.Segment{c(1000, "abc"), c(1003, "d"), c(1003, "def")},
			want: []string{"1 c data abcdef"}},
		{name: "FIN with data", after: []sniffer.Segment{c(1000, "abc", fin), s(2000, "x", acks(1004), fin), c(1004, acks(2002))},
			want: []string{"1 c data abc", "1 c fin", "1 s data x", "1 s fin", "1 end closed fin c"}},
		{name: "FIN before its data", after: []sniffer.Segment{c(1003, fin), c(1000, "abc")},
			want: []string{"1 c data abc", "1 c fin", "1 end capture fin c"}},
		{name: "half-close", after: []sniffer.Segment{c(1000, "abc", fin), s(2000, "x", acks(1004)), s(2001, "yz")},
			want: []string{"1 c data abc", "1 c fin", "1 s data xyz", "1 end capture fin c"}},
		{name: "simultaneous close", after: []sniffer.Segment{s(2000, fin), c(1000, fin), c(1001, acks(2001)), s(2001, acks(1001))},
			want: []string{"1 s fin", "1 c fin", "1 end closed fin s"}},
		{name: "FIN again, late data and late RST are absorbed", after: []sniffer.Segment{c(1000, fin), s(2000, fin), s(2000, fin), c(1000, "a"), c(1001, acks(2001)), s(2000, fin), c(1000, "a"), c(1001, rst)},
			want: []string{"1 c fin", "1 s fin", "1 end closed fin c"}},
		{name: "the last ACK is the connection's", after: []sniffer.Segment{c(1000, fin), s(2000, fin, acks(1001)), c(1001, acks(2001), at(time.Second)), c(1001, acks(2001), at(2*time.Second))},
			want: []string{"1 c fin", "1 s fin", "1 end closed fin c"}},
		{name: "RST in place of the last ACK", after: []sniffer.Segment{c(1000, fin), s(2000, fin), c(1001, rst), s(2000, fin)},
			want: []string{"1 c fin", "1 s fin", "1 c reset", "1 end closed fin c"}},
		{name: "data behind a FIN is not the stream's", after: []sniffer.Segment{c(1000, fin), c(1001, "xyz")},
			want: []string{"1 c fin", "1 end capture fin c"}},
		{name: "data after a RST is delivered", after: []sniffer.Segment{c(1000, "a"), c(1001, rst), s(2000, "late")},
			want: []string{"1 c data a", "1 c reset", "1 s data late", "1 end closed rst c"}},
		{name: "RST ends after a silence", after: []sniffer.Segment{c(1000, rst), s(2000, "late", at(3*time.Second))},
			want: []string{"1 c reset", "1 end closed rst c"}},
		{name: "RST after the other's FIN", after: []sniffer.Segment{s(2000, fin), c(1000, rst), s(2000, "x")},
			want: []string{"1 s fin", "1 c reset", "1 end closed fin s"}},
		{name: "RST far off is not believed", after: []sniffer.Segment{c(1000+1<<25, rst), c(1000, "a")},
			want: []string{"1 c data a", "1 end capture"}},
		{name: "refused", whole: []sniffer.Segment{c(999, syn), s(0, rst, acks(1000)), c(999, syn)},
			want: []string{"1 s reset", "1 end closed rst s"}},
		{name: "a RST that answers another SYN", whole: []sniffer.Segment{c(999, syn), s(0, rst, acks(77))},
			want: []string{"1 end capture"}},
		{name: "SYN again", whole: []sniffer.Segment{c(999, syn), c(999, syn, at(time.Second)), s(1999, syn, acks(1000)), c(1000, acks(2000)), c(1000, "a")},
			want: []string{"1 c data a", "1 end capture"}},
		{name: "another SYN", after: []sniffer.Segment{c(1000, "a"), c(5000, syn), c(5001, "b")},
			want: []string{"1 c data a", "1 end replaced", "2 open 10.0.0.1:40000", "2 c data b", "2 end capture"}},
		{name: "another SYN after a close", after: []sniffer.Segment{c(1000, fin), s(2000, fin), c(5000, syn), s(1, syn, acks(5001)), c(5001, "b")},
			want: []string{"1 c fin", "1 s fin", "1 end closed fin c", "2 open 10.0.0.1:40000", "2 c data b", "2 end capture"}},
		{name: "another SYN after a RST", after: []sniffer.Segment{c(1000, rst), c(5000, syn), c(5001, "b")},
			want: []string{"1 c reset", "1 end closed rst c", "2 open 10.0.0.1:40000", "2 c data b", "2 end capture"}},
		{name: "SYN-ACK first", whole: []sniffer.Segment{s(1999, syn, acks(1000)), c(999, syn), c(1000, "a"), s(2000, "b")},
			want: []string{"1 c data a", "1 s data b", "1 end capture"}},
		{name: "data before its SYN", whole: []sniffer.Segment{c(1000, "ab"), c(999, syn), c(1002, "c")},
			want: []string{"1 c data abc", "1 end capture"}},
		{name: "data, then a SYN that is not its", whole: []sniffer.Segment{c(1000, "ab"), c(4999, syn), c(5000, "c")},
			want: []string{"1 c data ab", "1 end replaced", "2 open 10.0.0.1:40000", "2 c data c", "2 end capture"}},
		{name: "fast open", whole: []sniffer.Segment{c(999, syn, "abc"), s(1999, syn, acks(1003)), s(2000, "x"), c(1003, "d", acks(2001))},
			want: []string{"1 c data abc", "1 s data x", "1 c data d", "1 end capture"}},
		{name: "fast open not taken", whole: []sniffer.Segment{c(999, syn, "abc"), s(1999, syn, acks(1000)), c(1000, "abcd", acks(2000))},
			want: []string{"1 c data abcd", "1 end capture"}},
		{name: "simultaneous open", whole: []sniffer.Segment{c(999, syn), s(1999, syn), c(999, syn, acks(2000)), s(1999, syn, acks(1000)), c(1000, "a"), s(2000, "b")},
			want: []string{"1 c data a", "1 s data b", "1 end capture"}},
		{name: "midstream by the server's data", whole: []sniffer.Segment{s(7, "x", acks(50)), s(8, "yz"), c(50, "a")},
			want: []string{"1 s data yz", "1 c data a", "1 end capture"}},
		{name: "midstream by a bare ACK", whole: []sniffer.Segment{c(50, acks(7)), s(7, "xyz"), c(50, "abc")},
			want: []string{"1 s data xyz", "1 c data abc", "1 end capture"}},
		{name: "midstream by a keep-alive probe of no byte", whole: []sniffer.Segment{c(49, acks(7)), s(7, acks(50)), c(50, "abc"), s(7, "x")},
			want: []string{"1 c data abc", "1 s data x", "1 end capture"}},
		{name: "midstream by a keep-alive probe of one byte", whole: []sniffer.Segment{c(49, "\x00", acks(7)), s(7, acks(50)), c(50, "abc")},
			want: []string{"1 c data abc", "1 end capture"}},
		{name: "midstream by a FIN", whole: []sniffer.Segment{s(7, fin, acks(50)), c(50, fin, acks(8))},
			want: []string{"1 s fin", "1 c fin", "1 end closed fin s"}},
		{name: "midstream by a RST", whole: []sniffer.Segment{s(7, rst)},
			want: []string{"1 s reset", "1 end closed rst s"}},
		{name: "lost, by the peer's acknowledgment", after: []sniffer.Segment{s(2010, "late"), c(1000, acks(2014)), s(2014, "r")},
			want: []string{"1 s lost 10", "1 s data later", "1 end capture"}},
		{name: "not lost, where the acknowledgment stops at the hole", after: []sniffer.Segment{s(2003, "def"), c(1000, acks(2000)), s(2000, "abc")},
			want: []string{"1 s data abcdef", "1 end capture"}},
		{name: "acknowledged before it is captured", after: []sniffer.Segment{c(1000, acks(2006)), s(2000, "abc"), s(2003, "def")},
			want: []string{"1 s data abcdef", "1 end capture"}},
		{name: "acknowledged before it is captured in wrong order", after: []sniffer.Segment{c(1000, acks(2006)), s(2003, "def"), s(2000, "abc")},
			want: []string{"1 s data abcdef", "1 end capture"}},
		{name: "acknowledged long before, never captured", after: []sniffer.Segment{c(1000, acks(2003)), s(2003, "def", at(time.Second))},
			want: []string{"1 s lost 3", "1 s data def", "1 end capture"}},
		{name: "lost at the tail", after: []sniffer.Segment{s(2000, "a"), c(1000, acks(2011))},
			want: []string{"1 s data a", "1 s lost 10", "1 end capture"}},
		{name: "a FIN that was not captured is no byte", after: []sniffer.Segment{s(2000, "a"), c(1000, acks(2002))},
			want: []string{"1 s data a", "1 end capture"}},
		{name: "lost before the FIN", after: []sniffer.Segment{s(2000, "a"), s(2006, fin), c(1000, fin, acks(2007))},
			want: []string{"1 s data a", "1 s lost 5", "1 s fin", "1 c fin", "1 end closed fin s"}},
		{name: "lost, by the wait", after: []sniffer.Segment{s(2010, "late"), s(2014, "r", at(11*time.Second))},
			want: []string{"1 s lost 10", "1 s data later", "1 end capture"}},
		{name: "cut", after: []sniffer.Segment{c(1000, "ab", cut(3)), c(1005, "c")},
			want: []string{"1 c data ab", "1 c cut 3", "1 c data c", "1 end capture"}},
		{name: "cut out of order, not refilled", after: []sniffer.Segment{c(1001, "b", cut(3)), c(1001, "BCDE"), c(1000, "a"), c(1005, "f")},
			want: []string{"1 c data ab", "1 c cut 3", "1 c data f", "1 end capture"}},
		{name: "cut before all", after: []sniffer.Segment{c(1000, "", cut(3)), c(1003, "c")},
			want: []string{"1 c cut 3", "1 c data c", "1 end capture"}},
		{name: "a jump out of all windows", after: []sniffer.Segment{c(1000+1<<30, "evil"), c(1000, "a")},
			want: []string{"1 c data a", "1 end capture"}},
		{name: "a jump that the stream follows", after: []sniffer.Segment{c(1000+1<<30, "a"), c(1001+1<<30, "b"), c(1002+1<<30, "c"), c(1003+1<<30, "d")},
			want: []string{"1 c skipped 1073741826", "1 c data cd", "1 end capture"}},
		{name: "a new connection whose SYN was lost", after: []sniffer.Segment{c(1000, "x"), c(0xc0000000+1000, "aa"), c(0xc0000000+1002, "bb"), c(0xc0000000+1004, "cc"), c(0xc0000000+1006, "dd")},
			want: []string{"1 c data x", "1 end replaced", "2 open 10.0.0.1:40000", "2 c data ccdd", "2 end capture"}},
		{name: "a copy from another interface", after: []sniffer.Segment{c(1000, "a"), c(1000, "a", iface(1)), c(1001, "b", iface(1)), c(1001, "b")},
			want: []string{"1 c data ab", "1 end capture"}},
		{name: "a direction on each interface", whole: []sniffer.Segment{c(999, syn), s(1999, syn, acks(1000), iface(1)), c(1000, "a", acks(2000)), s(2000, "b", iface(1))},
			want: []string{"1 c data a", "1 s data b", "1 end capture"}},
		{name: "idle too long", after: []sniffer.Segment{c(1000, "a"), c(1001, "bc", hour)},
			want: []string{"1 c data a", "1 end timeout", "2 open 10.0.0.1:40000", "2 c data bc", "2 end capture"}},
		{name: "SYNs that nobody answers", whole: []sniffer.Segment{c(999, syn), c(999, syn, at(2*time.Minute)), c(999, syn, at(5*time.Minute)), c(1000, "a", at(5*time.Minute))},
			want: []string{"1 end timeout", "2 open 10.0.0.1:40000", "2 c data a", "2 end capture"}},
		{name: "a SYN alone and what follows late", whole: []sniffer.Segment{c(999, syn), c(1000, "a"), c(1001, "b", at(5*time.Minute))},
			want: []string{"1 c data ab", "1 end capture"}},
		{name: "late after the closed record's time", after: []sniffer.Segment{c(1000, fin), s(2000, fin), c(1001, acks(2001), hour)},
			want: []string{"1 c fin", "1 s fin", "1 end closed fin c", "2 open 10.0.0.1:40000", "2 end capture"}},
		{name: "sequence wrap", whole: []sniffer.Segment{c(0xfffffffd, syn), c(0xfffffffe, "abc"), c(3, "fg"), c(1, "de"), c(5, fin)},
			want: []string{"1 c data abcdefg", "1 c fin", "1 end capture fin c"}},
		{name: "the cap of a direction", cfg: Config{MaxBufferedPerDirection: pageSize}, after: []sniffer.Segment{c(1001, "b"), c(1003, "d"), c(1000, "a")},
			want: []string{"1 c lost 1", "1 c data b", "1 c lost 1", "1 c data d", "1 end capture"}},
		{name: "no room at all", cfg: Config{MaxBuffered: 1}, after: []sniffer.Segment{c(1001, "b"), c(1002, "c")},
			want: []string{"1 c lost 1", "1 c data bc", "1 end capture"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r recorder
			a := New(tt.cfg, &r)
			segs := tt.whole
			if segs == nil {
				segs = append(handshake(), tt.after...)
			}
			for i := range segs {
				a.Process(&segs[i])
			}
			a.Flush()
			want := append([]string{"1 open 10.0.0.1:40000"}, tt.want...)
			if !strings.Contains(want[len(want)-1], " end ") {
				want = append(want, "1 end capture")
			}
			if d := cmp.Diff(want, r.lines); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
			if st := a.Stats(); st.Open != 0 || st.Buffered != 0 || st.Closed != 0 {
				t.Errorf("after Flush: %+v", st)
			}
		})
	}
}

// TestProcessAll mixes a connection's segments with what is not TCP, in more
// than one group: that is passed over.
func TestProcessAll(t *testing.T) {
	const each = groupLen
	segs := append(handshake(), sniffer.Segment{Protocol: sniffer.DNS, Time: 1})
	for i := range uint32(each) {
		segs = append(segs, c(1000+i, "x"), sniffer.Segment{Protocol: sniffer.DNS, Time: int64(i)})
	}
	var r recorder
	a := New(Config{}, &r)
	a.ProcessAll(segs)
	if d := cmp.Diff([]string{"1 open 10.0.0.1:40000", "1 c data " + strings.Repeat("x", each)}, r.lines); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	if got := a.Stats().Segments; got != 3+each {
		t.Errorf("%d TCP segments, want %d", got, 3+each)
	}
}

// A SYN that nobody answers is told of as soon as no answer can come any more.
func TestSweepSYN(t *testing.T) {
	unanswered := []sniffer.Segment{c(999, syn)}
	for _, tt := range []struct {
		segments []sniffer.Segment
		at       time.Duration
		open     int
	}{
		{unanswered, 129 * time.Second, 1},
		{unanswered, 133 * time.Second, 0},
		{append(unanswered, s(1999, syn, acks(1000))), 133 * time.Second, 1},
	} {
		a := New(Config{}, &recorder{})
		for i := range tt.segments {
			a.Process(&tt.segments[i])
		}
		if a.Sweep(int64(tt.at)); a.Stats().Open != tt.open {
			t.Errorf("%d open after %d segments and %v, want %d", a.Stats().Open, len(tt.segments), tt.at, tt.open)
		}
	}
}
