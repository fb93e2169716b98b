package pcap

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/sniffer"
)

// namespace moves the test into a network namespace of its own, whose loopback
// is up.
func namespace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip (iproute2) is not installed")
	}
	// Never unlocked: the thread ends with the test's goroutine.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("a network namespace can't be made here (it takes root): %v", err)
	}
	ip(t, "link set lo up")
}

// ip runs ip(8) with these words.
func ip(t *testing.T, words string, args ...any) {
	t.Helper()
	cmd := exec.Command("ip", strings.Fields(fmt.Sprintf(words, args...))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
}

// veth makes a pair of interfaces with 10.9.0.1 on the one, and a neighbour at
// 10.9.0.2 to send to.
func veth(t *testing.T) {
	t.Helper()
	ip(t, "link add v0 type veth peer name v1")
	ip(t, "link set v1 up")
	ip(t, "link set v0 up")
	ip(t, "addr add 10.9.0.1/24 dev v0")
	ip(t, "neigh add 10.9.0.2 lladdr 02:00:00:00:00:01 dev v0")
}

func open(t *testing.T, cfg Config) *Source {
	t.Helper()
	if cfg.Buffer == 0 {
		cfg.Buffer = 1 << 20
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// send sends n datagrams of size bytes to an address.
func send(t *testing.T, to string, n, size int) {
	t.Helper()
	// Not connected: so nobody is told that nobody listens.
	c, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range n {
		if _, err := c.WriteTo(make([]byte, size), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			t.Fatal(err)
		}
	}
}

// collect reads until there are n frames, or for a second none.
func collect(t *testing.T, s *Source, n int) (frames []sniffer.Frame) {
	t.Helper()
	var b sniffer.Batch
	for empty := 0; len(frames) < n && empty < 10; {
		if err := s.Read(&b); err != nil {
			t.Fatal(err)
		}
		for _, f := range b.Frames {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
		if len(b.Frames) == 0 {
			empty++
		}
	}
	return frames
}

func TestLoopback(t *testing.T) {
	namespace(t)
	s := open(t, Config{Interfaces: []string{"lo"}, Filter: "udp port 53"})
	send(t, "127.0.0.1:53", 300, 100)
	frames := collect(t, s, 301)
	if len(frames) != 300 {
		t.Fatalf("%d frames, want 300: each packet once", len(frames))
	}
	last := int64(0)
	for _, f := range frames {
		if f.Length != 142 || len(f.Data) != 142 || f.Link != sniffer.LinkEthernet || f.Time < last || time.Since(time.Unix(0, f.Time)) > time.Minute {
			t.Fatalf("frame %+v: want 142 bytes of Ethernet at the present, in order", f)
		}
		last = f.Time
	}
	var b sniffer.Batch
	for range 3 {
		if err := s.Read(&b); err != nil {
			t.Fatal(err)
		}
	}
	if behind := time.Since(time.Unix(0, b.Now)); len(b.Frames) > 0 || behind < 2*wait || behind > time.Minute {
		t.Errorf("on a silent wire time is %v behind, want a little over %v", behind, 2*wait)
	}
}

func TestSnaplen(t *testing.T) {
	namespace(t)
	s := open(t, Config{Interfaces: []string{"lo"}, Filter: "udp port 53", Snaplen: 128, Buffer: 4 << 20})
	whole := open(t, Config{Interfaces: []string{"lo"}, Filter: "udp port 53", Buffer: 8 << 20})
	send(t, "127.0.0.1:53", 40, 60_000)
	frames := collect(t, s, 40)
	if len(frames) != 40 || len(frames[0].Data) != 128 || frames[0].Length != 60_042 {
		t.Errorf("%d frames, the first with %d of %d bytes; want 40 with 128 of 60042", len(frames), len(frames[0].Data), frames[0].Length)
	}
	// More than a batch's buffer holds: none is lost, none is cut.
	frames = collect(t, whole, 40)
	if len(frames) != 40 {
		t.Fatalf("%d whole frames, want 40", len(frames))
	}
	for i, f := range frames {
		if len(f.Data) != 60_042 {
			t.Errorf("frame %d has %d bytes, want 60042", i, len(f.Data))
		}
	}
}

func TestTwoInterfacesAndAny(t *testing.T) {
	namespace(t)
	veth(t)
	two := open(t, Config{Interfaces: []string{"lo", "v0"}, Filter: "udp port 53"})
	every := open(t, Config{Interfaces: []string{"any"}, Filter: "udp port 53"})
	send(t, "127.0.0.1:53", 5, 10)
	send(t, "10.9.0.2:53", 7, 10)
	var by [2]int
	for _, f := range collect(t, two, 12) {
		by[f.Interface]++
	}
	if by != [2]int{5, 7} {
		t.Errorf("%v frames by interface, want 5 and 7", by)
	}
	frames := collect(t, every, 20)
	if len(frames) != 5+2*7 { // both ends of the pair are here
		t.Errorf("%d frames on any, want 19", len(frames))
	}
	for _, f := range frames {
		if f.Link != sniffer.LinkSLL2 {
			t.Fatalf("link type %v on any, want cooked v2", f.Link)
		}
	}
}

// TestTagged captures VLAN-tagged frames, with one tag and with two, by a
// filter that does not name them.
func TestTagged(t *testing.T) {
	namespace(t)
	veth(t)
	for _, name := range []string{"v0", "v1"} {
		s := open(t, Config{Interfaces: []string{name}, Filter: "udp port 53", Tagged: true})
		inject(t, "v0", 2, 53)
		inject(t, "v0", 3, 53, 0x8100)
		inject(t, "v0", 4, 53, 0x88a8, 0x8100)
		inject(t, "v0", 5, 54)
		inject(t, "v0", 5, 54, 0x8100)
		inject(t, "v0", 5, 54, 0x88a8, 0x8100)
		frames := collect(t, s, 10)
		if len(frames) != 9 {
			t.Errorf("%s: %d frames, want 2 without tag, 3 with one, 4 with two", name, len(frames))
		}
		for _, f := range frames[5:] {
			if f.Data[12] != 0x88 || f.Data[16] != 0x81 {
				t.Fatalf("%s: both tags should be there: % x", name, f.Data[:20])
			}
		}
	}
}

// inject sends n frames with a UDP datagram to a port behind VLAN tags.
func inject(t *testing.T, device string, n int, port byte, tags ...uint16) {
	t.Helper()
	i, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	frame := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for _, tag := range tags {
		frame = append(frame, byte(tag>>8), byte(tag), 0, 7)
	}
	frame = append(frame, 0x08, 0x00,
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2,
		0x10, 0, 0, port, 0, 8, 0, 0)
	frame = append(frame, make([]byte, 18)...)
	for range n {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInterfaceComesAndGoes takes the interface down and up, removes it and
// makes another of its name, while the process has no right left.
func TestInterfaceComesAndGoes(t *testing.T) {
	namespace(t)
	missing := open(t, Config{Interfaces: []string{"v0"}, Await: true})
	if !missing.Lost(0) {
		t.Fatal("an interface that does not exist is not lost")
	}
	veth(t)
	if err := missing.Reopen(0); err != nil || missing.Lost(0) {
		t.Fatalf("Reopen of an interface that has come: %v", err)
	}
	s := open(t, Config{Interfaces: []string{"v0"}, Filter: "udp port 53"})
	ip(t, "link set v0 down")
	collect(t, s, 1)
	ip(t, "link set v0 up")
	ip(t, "neigh replace 10.9.0.2 lladdr 02:00:00:00:00:01 dev v0")
	send(t, "10.9.0.2:53", 3, 10)
	if got := len(collect(t, s, 3)); got != 3 {
		t.Errorf("%d frames after down and up, want 3", got)
	}
	ip(t, "link del v0")
	err := untilError(s)
	var lost *InterfaceError
	if !errors.As(err, &lost) || !errors.Is(err, ErrGone) || lost.Name != "v0" {
		t.Fatalf("Read after the interface is gone: %v", err)
	}
	if !s.Lost(0) {
		t.Error("an interface that is gone is not lost")
	}
	if err := s.Reopen(0); !errors.Is(err, ErrNoInterface) {
		t.Errorf("Reopen while it is gone: %v", err)
	}
	var b sniffer.Batch
	if err := s.Read(&b); err != nil || len(b.Frames) > 0 {
		t.Errorf("Read without any interface: %v", err)
	}
	veth(t)
	undo := dropCapabilities(t)
	err = s.Reopen(0)
	undo()
	if err != nil || s.Lost(0) {
		t.Fatalf("Reopen without rights: %v", err)
	}
	send(t, "10.9.0.2:53", 3, 10)
	send(t, "10.9.0.2:54", 3, 10)
	if got := len(collect(t, s, 4)); got != 3 {
		t.Errorf("%d frames on the new interface, want the 3 that match", got)
	}
}

// untilError reads until there is an error, for a few seconds at most.
func untilError(s *Source) error {
	var b sniffer.Batch
	for range 50 {
		if err := s.Read(&b); err != nil {
			return err
		}
	}
	return nil
}

// dropCapabilities takes this thread's effective capabilities, until undone.
func dropCapabilities(t *testing.T) (undo func()) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&header, &had[0]); err != nil {
		t.Fatal(err)
	}
	none := had
	none[0].Effective, none[1].Effective = 0, 0
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Capset(&header, &had[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	namespace(t)
	ip(t, "link add d0 type veth peer name d1")
	tests := []struct {
		name   string
		cfg    Config
		denied bool
		want   string
	}{
		{name: "none", want: "capture on 0 interfaces: 1 to 64 can be named"},
		{name: "too many", cfg: Config{Interfaces: make([]string, 65)}, want: "capture on 65 interfaces: 1 to 64 can be named"},
		{name: "snaplen", cfg: Config{Interfaces: []string{"lo"}, Snaplen: 10}, want: "a snaplen of 10: it takes 64 to 262144"},
		{name: "no such", cfg: Config{Interfaces: []string{"nope0"}}, want: "capture on nope0: " + ErrNoInterface.Error()},
		{name: "down", cfg: Config{Interfaces: []string{"d0"}}, want: "capture on d0: " + ErrDown.Error()},
		{name: "denied", cfg: Config{Interfaces: []string{"lo"}}, denied: true, want: "capture on lo: " + ErrPermission.Error()},
		{name: "filter", cfg: Config{Interfaces: []string{"lo"}, Filter: "tcp port"}, want: `capture on lo: filter "tcp port": can't parse filter expression: syntax error`},
	}
	for _, tt := range tests {
		undo := func() {}
		if tt.denied {
			undo = dropCapabilities(t)
		}
		s, err := Open(tt.cfg)
		undo()
		if err == nil {
			s.Close()
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestDrops(t *testing.T) {
	namespace(t)
	s := open(t, Config{Interfaces: []string{"lo"}, Filter: "udp port 53", Buffer: 256 << 10})
	send(t, "127.0.0.1:53", 2000, 1000)
	got := len(collect(t, s, 2000))
	s.Close()
	d := s.Drops(0)
	if d.Kernel == 0 || uint64(got)+d.Kernel != 2000 || d.Interface != 0 {
		t.Errorf("%d frames and %+v, want some dropped and 2000 in all", got, d)
	}
}

// TestHeldBatches keeps batches while the ring goes round: what they view stays
// as it was, and the kernel drops for want of their blocks.
func TestHeldBatches(t *testing.T) {
	namespace(t)
	s := open(t, Config{Interfaces: []string{"lo"}, Filter: "udp port 53"})
	var held [3]sniffer.Batch
	sent := 0
	for i := range held {
		for len(held[i].Frames) == 0 {
			send(t, "127.0.0.1:53", 1, 101+i)
			sent++
			if err := s.Read(&held[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := sent
	for range 3 { // more than the ring has room for
		send(t, "127.0.0.1:53", 2000, 1000)
		sent += 2000
		got += len(collect(t, s, 2000))
	}
	for i, b := range held {
		if want := 143 + i; len(b.Frames[0].Data) != want || int(b.Frames[0].Data[17]) != want-14 {
			t.Errorf("frame %d that is held has become % x", i, b.Frames[0].Data)
		}
	}
	for i := range held { // gives them back
		if err := s.Read(&held[i]); err != nil {
			t.Fatal(err)
		}
	}
	send(t, "127.0.0.1:53", 700, 1000)
	if n := len(collect(t, s, 700)); n != 700 {
		t.Errorf("%d frames once all blocks are given back, want 700", n)
	}
	s.Close()
	if d := s.Drops(0); d.Kernel == 0 || uint64(got)+d.Kernel != uint64(sent) {
		t.Errorf("%d frames of %d and %+v, want some dropped and all counted", got, sent, d)
	}
}

// TestBlocks divides rings so that each block holds a frame.
func TestBlocks(t *testing.T) {
	for _, tt := range []struct{ size, snaplen, bytes, count int }{
		{DefaultBuffer, DefaultSnaplen, 1 << 20, 64},
		{1 << 20, DefaultSnaplen, 128 << 10, 8},
		{8 << 20, DefaultSnaplen, 512 << 10, 16},
		{1, 64, 128 << 10, 2},
		{1 << 20, MaxSnaplen, 512 << 10, 2},
		{64 << 20, MaxSnaplen, 1 << 20, 64},
	} {
		if bytes, count := blocks(tt.size, tt.snaplen); bytes != tt.bytes || count != tt.count {
			t.Errorf("%d bytes, snaplen %d: %d blocks of %d bytes, want %d of %d", tt.size, tt.snaplen, count, bytes, tt.count, tt.bytes)
		}
	}
}

// TestReadAllocates holds Read to no allocation.
func TestReadAllocates(t *testing.T) {
	namespace(t)
	s := open(t, Config{Interfaces: []string{"lo"}, Filter: "udp port 53", Buffer: 8 << 20})
	b := sniffer.Batch{Frames: make([]sniffer.Frame, 0, sniffer.BatchFrames)}
	s.counted = time.Now().Add(time.Hour) // what is counted once a second may allocate
	send(t, "127.0.0.1:53", 20_000, 100)
	frames := 0
	read := func() {
		if err := s.Read(&b); err != nil {
			t.Fatal(err)
		}
		frames += len(b.Frames)
	}
	if allocs := testing.AllocsPerRun(30, read); allocs > 0 || frames < 20*sniffer.BatchFrames {
		t.Errorf("a Read of %d frames allocates %v times", frames/31, allocs)
	}
}

func TestLinks(t *testing.T) {
	namespace(t)
	ip(t, "tuntap add dev tun0 mode tun")
	ip(t, "link set tun0 up")
	s := open(t, Config{Interfaces: []string{"tun0"}, Filter: "tcp or udp", Tagged: true})
	if s.Links()[0] != sniffer.LinkRaw {
		t.Errorf("link type %v on a tun device, want raw IP", s.Links()[0])
	}
}

func TestCheckFilter(t *testing.T) {
	if err := CheckFilter("tcp port 80 and host 10.0.0.1"); err != nil {
		t.Error(err)
	}
	var bad *FilterError
	if err := CheckFilter("tcp prot 80"); !errors.As(err, &bad) || bad.Filter != "tcp prot 80" {
		t.Errorf("a bad filter: %v", err)
	}
}
