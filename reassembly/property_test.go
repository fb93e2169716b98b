package reassembly

import (
	"fmt"
	"slices"
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
