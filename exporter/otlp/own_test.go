package otlp

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer"
)

// TestRefusedPushIsOwn checks that a connection that never came about is known
// as well, and so is not among the server's failed handshakes.
func TestRefusedPushIsOwn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	own := &OwnTraffic{Local: func(sniffer.Addr) bool { return true }}
	conn, err := own.transport().DialContext(t.Context(), "tcp", address)
	if err == nil {
		conn.Close()
		t.Fatal("somebody listens on a port that was free")
	}
	if own.next != 1 || own.newest[0].port == 0 {
		t.Errorf("%d connections known: %v", own.next, own.newest[0])
	}
}

// TestOwnIsLeftOut counts what an observer hears of own connections and others.
func TestOwnIsLeftOut(t *testing.T) {
	own := &OwnTraffic{Local: func(sniffer.Addr) bool { return true }}
	own.newest[0] = dialed{port: 5, at: 1e18}
	own.any.Store(true)
	var heard, watched []uint16
	o, w := own.LeftOut(heardObserver{&heard}), own.LeftOut(heardWatcher{heardObserver{&watched}}).(fact.Watcher)
	if _, ok := o.(fact.Watcher); ok {
		t.Error("an Observer is a Watcher now")
	}
	for _, port := range []uint16{4, 5, 6} {
		c := &fact.Connection{Client: sniffer.Endpoint{Port: port}, Start: 1e18 + 1}
		w.Opened(c)
		w.Judged(c)
		for _, o := range []fact.Follower{o.(fact.Follower), w.(fact.Follower)} {
			o.Exchange(&fact.Exchange{Client: c.Client, Opened: c.Start})
			o.Connection(c)
		}
	}
	if diff := cmp.Diff([][]uint16{{4, 4, 6, 6}, {4, 4, 4, 4, 6, 6, 6, 6}}, [][]uint16{heard, watched}); diff != "" {
		t.Error(diff)
	}
}

type heardObserver struct{ ports *[]uint16 }

func (h heardObserver) Exchange(e *fact.Exchange)     { *h.ports = append(*h.ports, e.Client.Port) }
func (h heardObserver) Connection(c *fact.Connection) { *h.ports = append(*h.ports, c.Client.Port) }

type heardWatcher struct{ heardObserver }

func (h heardWatcher) Opened(c *fact.Connection) { *h.ports = append(*h.ports, c.Client.Port) }
func (h heardWatcher) Judged(c *fact.Connection) { *h.ports = append(*h.ports, c.Client.Port) }
