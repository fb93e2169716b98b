package analyzer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// traces keeps what a worker tells of traces.
type traces struct {
	all    int
	traced map[uint16]fact.Trace // by the client's port
}

func (t *traces) Connection(c *fact.Connection) {
	t.all++
	if c.Trace != nil {
		k := *c.Trace
		k.Exchanges = append([]fact.Traced(nil), k.Exchanges...)
		t.traced[c.Client.Port] = k
	}
}

func traced(cfg analyzer.Config, segments []sniffer.Segment) (*traces, *run.Worker) {
	t := &traces{traced: map[uint16]fact.Trace{}}
	w := run.NewWorker(reassembly.Config{}, cfg, t)
	w.Process(segments...)
	w.Flush()
	return t, w
}

func limit(w *run.Worker, name string) uint64 {
	for _, l := range w.Limits() {
		if l.Name == name {
			return l.Count
		}
	}
	return 0
}

// open plays n connections that are all open at once.
func open(n int) []sniffer.Segment {
	var s sniffertest.Script
	var all []*sniffertest.Conn
	for i := range n {
		c := s.Conn(fmt.Sprint("10.0.0.1:", 1000+i), "10.0.0.2:80", sniffertest.ConnConfig{})
		c.Handshake(time.Duration(i)*time.Millisecond, time.Microsecond)
		all = append(all, c)
	}
	for i, c := range all {
		at := time.Duration(n+i) * time.Millisecond
		c.Client(at, []byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
		c.Server(at, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	}
	return s.Segments()
}

// TestMaxTraced has more connections open than traces are kept for: the newest have
// one, and all are told.
func TestMaxTraced(t *testing.T) {
	got, w := traced(analyzer.Config{Traces: 4, MaxTraced: 10}, open(25))
	if got.all != 25 || len(got.traced) != 10 || limit(w, "traces") != 15 {
		t.Errorf("%d connections, %d traces, %d taken away", got.all, len(got.traced), limit(w, "traces"))
	}
	for port := uint16(1015); port < 1025; port++ {
		if k, ok := got.traced[port]; !ok || len(k.Exchanges) != 1 {
			t.Errorf("port %d: %+v", port, k)
		}
	}
	if got, _ := traced(analyzer.Config{}, open(25)); len(got.traced) != 0 {
		t.Error("there are traces that nobody asked for")
	}
}

// TestTraceKeepsFirstAndNewest has fewer exchanges on a connection than its trace has room
// for, as many, and more.
func TestTraceKeepsFirstAndNewest(t *testing.T) {
	for _, room := range []int{1, 5, 6} {
		for exchanges := range 3*room + 2 {
			var s sniffertest.Script
			c := s.Conn("10.0.0.1:1000", "10.0.0.2:80", sniffertest.ConnConfig{})
			c.Handshake(0, time.Millisecond)
			var want []uint32
			for i := range exchanges {
				at := time.Duration(10+2*i) * time.Millisecond
				c.Client(at, []byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
				c.Server(at+time.Millisecond, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
				if i < room/2 || i >= exchanges-(room-room/2) {
					want = append(want, uint32(i+1))
				}
			}
			got, _ := traced(analyzer.Config{Traces: room}, s.Segments())
			k := got.traced[1000]
			var index []uint32
			for _, e := range k.Exchanges {
				index = append(index, e.Index)
				if e.FirstByte-e.Start != 1e6 || e.End != e.FirstByte || e.Status != 200 {
					t.Errorf("%+v", e)
				}
			}
			if !slices.Equal(index, want) || int(k.More) != exchanges-len(want) {
				t.Errorf("room for %d: %v and %d more, not %v", room, index, k.More, want)
			}
		}
	}
}

// TestTraceAllocatesNothing takes connections that come and go.
func TestTraceAllocatesNothing(t *testing.T) {
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:1000", "10.0.0.2:80", sniffertest.ConnConfig{})
	c.Handshake(0, time.Millisecond)
	c.Client(2*time.Millisecond, []byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
	c.Server(3*time.Millisecond, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	c.Close(4*time.Millisecond, sniffertest.Client, time.Millisecond)
	segments := s.Segments()
	count := func(traces int) float64 {
		w := run.NewWorker(reassembly.Config{}, analyzer.Config{Traces: traces}, nobody{})
		shift := int64(0)
		return testing.AllocsPerRun(500, func() {
			shift += 10e9
			for i := range segments {
				g := segments[i]
				g.Time += shift
				w.Process(g)
			}
		})
	}
	if without, with := count(0), count(8); with > without {
		t.Errorf("%v allocations with traces, %v without", with, without)
	}
}

type nobody struct{}

func (nobody) Connection(*fact.Connection) {}
