package main

import (
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// The network behind a wire, beside the lab's own.
const (
	wirePort   = "wire0" // at either end
	wireServer = "10.78.0.1"
	wireClient = "10.78.0.2"
	mirrorPort = "mirror1" // in the server's namespace
)

// A wire joins the two namespaces of a lab by two TAP devices, and does to
// frames what wires do: no kernel needs a module (netem, 8021q) for it.
type wire struct {
	lose, reorder, duplicate float64 // shares of the frames
	delay                    time.Duration
	tag                      []byte // VLAN tags of the copies on a mirror port; none without

	mirror int // socket, 0 without
	to     int // interface of the mirror
}

// connect makes the wire, until the test ends.
func (w *wire) connect(t *testing.T, l *lab.Lab) {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("no TAP devices here: %v", err)
	}
	if w.tag != nil {
		w.openMirror(t, l.Server)
	}
	a, b := openTAP(t, l.Client, wireClient), openTAP(t, l.Server, wireServer)
	var carrying sync.WaitGroup
	carrying.Go(func() { w.carry(a, b, 1) })
	carrying.Go(func() { w.carry(b, a, 2) })
	t.Cleanup(func() {
		a.Close()
		b.Close()
		carrying.Wait()
	})
}

// openTAP makes one end.
func openTAP(t *testing.T, n *lab.Namespace, addr string) *os.File {
	t.Helper()
	var f *os.File
	err := n.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(wirePort)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "/dev/net/tun")
		return nil
	})
	if err != nil {
		t.Skipf("no TAP device can be made here: %v", err)
	}
	for _, words := range []string{"ip addr add " + addr + "/24 dev " + wirePort, "ip link set " + wirePort + " txqueuelen 10000 up"} {
		args := strings.Fields(words)
		if err := n.Run(t.Context(), args[0], args[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// openMirror makes the port that gets a copy of each frame, tagged.
func (w *wire) openMirror(t *testing.T, n *lab.Namespace) {
	t.Helper()
	for _, words := range []string{"link add mirror0 type veth peer name " + mirrorPort, "link set mirror0 up", "link set " + mirrorPort + " up"} {
		if err := n.Run(t.Context(), "ip", strings.Fields(words)...); err != nil {
			t.Fatal(err)
		}
	}
	err := n.Do(func() error {
		i, err := net.InterfaceByName("mirror0")
		if err != nil {
			return err
		}
		w.to = i.Index
		w.mirror, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(w.mirror) })
}

// carry moves frames from one end to the other until either is closed. The seed
// makes the losses the same each time, as far as the frames are.
func (w *wire) carry(from, to *os.File, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	deliver, closeLine := w.line(to)
	defer closeLine()
	buffer := make([]byte, 65536)
	var held []byte // overtaken by the next frame
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		frame := buffer[:n]
		if random.Float64() < w.lose {
			continue
		}
		if held == nil && random.Float64() < w.reorder {
			held = append([]byte(nil), frame...)
			continue
		}
		deliver(frame)
		if random.Float64() < w.duplicate {
			deliver(frame)
		}
		if held != nil {
			deliver(held)
			held = nil
		}
	}
}

// line returns what delivers a frame after the delay, in order.
func (w *wire) line(to *os.File) (deliver func([]byte), end func()) {
	now := func(frame []byte) {
		// A frame that the receiver has no room for is lost, as on any wire.
		_, _ = to.Write(frame)
		w.copyToMirror(frame)
	}
	if w.delay == 0 {
		return now, func() {}
	}
	type late struct {
		frame []byte
		due   time.Time
	}
	queue := make(chan late, 10_000)
	var sending sync.WaitGroup
	sending.Go(func() {
		for l := range queue {
			time.Sleep(time.Until(l.due))
			now(l.frame)
		}
	})
	deliver = func(frame []byte) {
		queue <- late{append([]byte(nil), frame...), time.Now().Add(w.delay)}
	}
	return deliver, func() {
		close(queue)
		sending.Wait()
	}
}

func (w *wire) copyToMirror(frame []byte) {
	if w.mirror == 0 || len(frame) < 14 {
		return
	}
	tagged := make([]byte, 0, len(frame)+len(w.tag))
	tagged = append(tagged, frame[:12]...)
	tagged = append(append(tagged, w.tag...), frame[12:]...)
	for unix.Sendto(w.mirror, tagged, 0, &unix.SockaddrLinklayer{Ifindex: w.to}) == unix.ENOBUFS {
		time.Sleep(100 * time.Microsecond)
	}
}
