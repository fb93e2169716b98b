package reassembly

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// lives are whole connections that end in each of the ways.
var lives = map[string]string{
	"client's FIN": `
		@10ms c > "GET /one HTTP/1.1"
		@30ms c < "HTTP/1.1 200 OK and its body"
		@1s c > "GET /two HTTP/1.1"
		@1020ms c < "HTTP/1.1 200 OK and its body"
		@2s c > fin
		@2001ms c < fin
		@2002ms c > ack`,
	"server's FIN": `
		@10ms c > "GET /one HTTP/1.1"
		@30ms c < "HTTP/1.1 200 OK and its body"
		@30100us c > ack
		@2s c < fin
		@2001ms c > fin
		@2002ms c < ack`,
	"server's RST": `
		@10ms c > "GET /one HTTP/1.1"
		@30ms c < "HTTP/1.1 200 OK and its body"
		@30100us c > ack
		@1s c > "GET /two HTTP/1.1"
		@1001ms c < ack
		@2s c < rst ack`,
	"server's FIN, then its RST, for a request that crossed": `
		@10ms c > "GET /one HTTP/1.1"
		@30ms c < "HTTP/1.1 200 OK and its body"
		@30100us c > ack
		@2s c < fin
		@2020ms c > "GET /two HTTP/1.1"
		@2040ms c < rst noack`,
}

// told is what a conversation's connections say of who ended them, and of what
// the closing acknowledged.
func told(segs []sniffer.Segment) string {
	k := factKeeper{of: func(c *Conn) string {
		return fmt.Sprint([...]string{"nothing", "fin", "rst"}[c.ClosedWith], " of ", "cs"[c.ClosedBy:c.ClosedBy+1],
			" bytes ", c.Bytes, " missing ", c.Missing(Client), " ", c.Missing(Server),
			" closings ", c.Closing(Client).Seq, "/", c.Closing(Client).Ack, " ", c.Closing(Server).Seq, "/", c.Closing(Server).Ack)
	}}
	a := New(Config{}, &k)
	for i := range segs {
		a.Process(&segs[i])
	}
	a.Sweep(segs[len(segs)-1].Time + int64(time.Minute))
	a.Flush()
	return fmt.Sprint(len(k.facts), k.facts)
}

// TestCaptureOrder holds that neither segmentation, nor duplicates, nor the order
// of two segments of opposite directions changes what is told of an end.
func TestCaptureOrder(t *testing.T) {
	for name, text := range lives {
		script := sniffertest.MustParse(onceOpen + text)
		plain := script.Segments()
		want := told(plain)
		for _, mss := range []int{1, 7, 1460} {
			if got := told(script.WithMSS(mss).Segments()); got != want {
				t.Errorf("%s, segments of %d bytes: %s, want %s", name, mss, got, want)
			}
		}
		for i := range plain {
			twice := slices.Insert(slices.Clone(plain), i+1, plain[i])
			if got := told(twice); got != want {
				t.Errorf("%s, segment %d twice: %s, want %s", name, i, got, want)
			}
			if i == 0 || plain[i].Src == plain[i-1].Src || plain[i].Time-plain[i-1].Time > 20*ms {
				continue
			}
			swapped := slices.Clone(plain)
			swapped[i], swapped[i-1] = plain[i-1], plain[i]
			if got := told(swapped); got != want && plain[i].Flags&rst == 0 {
				t.Errorf("%s, segments %d and %d swapped: %s, want %s", name, i-1, i, got, want)
			}
		}
	}
}

// TestLossBlamesNobodyElse loses each segment of a connection in turn: who closed
// it is told as before, or not at all where the closings themselves were lost.
func TestLossBlamesNobodyElse(t *testing.T) {
	for name, text := range lives {
		plain := sniffertest.MustParse(onceOpen + text).Segments()
		blame := func(segs []sniffer.Segment) string {
			k := factKeeper{of: func(c *Conn) string {
				if c.ClosedWith == NotClosed {
					return "nobody"
				}
				return "cs"[c.ClosedBy : c.ClosedBy+1]
			}}
			a := New(Config{}, &k)
			for i := range segs {
				a.Process(&segs[i])
			}
			a.Flush()
			if len(k.facts) != 1 {
				return fmt.Sprint(k.facts)
			}
			return k.facts[0]
		}
		want := blame(plain)
		for i := range plain {
			got := blame(slices.Delete(slices.Clone(plain), i, i+1))
			if got != want && (got != "nobody" || plain[i].Flags&(fin|rst) == 0) {
				t.Errorf("%s, without segment %d: %s, want %s", name, i, got, want)
			}
		}
	}
}

// A companion is what a Handler hears of the connections to one port, with the sweep
// after which it was heard.
type companion struct {
	at    int64
	lines []string
}

func (k *companion) note(c *Conn, what string, n int64) {
	if c.Endpoint[Server].Port == 80 {
		k.lines = append(k.lines, fmt.Sprintf("%v %d %s %d", time.Duration(k.at), c.Endpoint[Client].Port, what, n))
	}
}

func (*companion) Open(*Conn)                               {}
func (*companion) Data(*Conn, Dir, []byte)                  {}
func (k *companion) Gap(c *Conn, _ Dir, n int64, _ GapKind) { k.note(c, "gap", n) }
func (k *companion) End(c *Conn, _ Dir, e End)              { k.note(c, "end", int64(e)) }

// TestSweepAmongOthers holds what a sweep tells of holes, doubtful RSTs and closings,
// and in which order, to be the same whatever other connections there are.
func TestSweepAmongOthers(t *testing.T) {
	told := func(others int) []string {
		k := &companion{}
		a := New(Config{MaxClosed: 16}, k)
		var s sniffertest.Script
		for i := range others {
			s.Conn(fmt.Sprintf("10.0.0.9:%d", 1024+i), "10.0.0.2:81", sniffertest.ConnConfig{}).Handshake(0, time.Millisecond)
		}
		for i := range 8 {
			c := s.Conn(fmt.Sprintf("10.0.0.1:%d", 1024+i), "10.0.0.2:80", sniffertest.ConnConfig{})
			at := time.Duration(i) * 700 * time.Millisecond
			c.Handshake(at, time.Millisecond)
			switch i % 4 {
			case 0: // a hole that is waited for
				c.Gap(sniffertest.Server, 100)
				c.Send(sniffertest.Message{At: at + 2*time.Millisecond, From: sniffertest.Server, Payload: []byte("behind")})
			case 1: // a FIN behind a hole
				c.Gap(sniffertest.Client, 100)
				c.Send(sniffertest.Message{At: at + 2*time.Millisecond, Flags: sniffer.FIN})
			case 2: // a RST in the window
				c.Client(at+2*time.Millisecond, []byte("before"))
				seq := int64(700)
				c.Send(sniffertest.Message{At: at + 3*time.Millisecond, Flags: sniffer.RST, Seq: &seq})
			case 3: // a RST that counts at once
				c.Client(at+2*time.Millisecond, []byte("before"))
				c.Send(sniffertest.Message{At: at + 3*time.Millisecond, Flags: sniffer.RST})
			}
		}
		segs := s.Segments()
		slices.SortStableFunc(segs, func(x, y sniffer.Segment) int { return cmp.Compare(x.Time, y.Time) })
		start := segs[0].Time
		for at := int64(0); at < 30e9; at += 1e9 {
			for len(segs) > 0 && segs[0].Time-start < at {
				a.Process(&segs[0])
				segs = segs[1:]
			}
			k.at = at
			a.Sweep(start + at)
		}
		return k.lines
	}
	want := told(0)
	if len(want) < 12 {
		t.Fatalf("little is told: %q", want)
	}
	for _, others := range []int{1, 100, 3000} {
		if got := told(others); !slices.Equal(got, want) {
			t.Errorf("beside %d others:\n%s\nwithout:\n%s", others, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
