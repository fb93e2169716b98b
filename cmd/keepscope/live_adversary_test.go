package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

const (
	honestClients = 12
	honestEvery   = 500 * time.Millisecond
	forgedFrames  = 20_000
)

// An attack makes the i-th of what is sent to a server.
type attack func(s *sniffertest.Script, r *rand.Rand, server netip.Addr, i int)

// liveAttacks make what is sent again and again beside honest clients, to the server at an
// address, from anybody.
var liveAttacks = []struct {
	name string
	make attack
}{
	{"SYN flood", func(s *sniffertest.Script, r *rand.Rand, server netip.Addr, _ int) {
		anybody(s, r, server, 8100).Send(sniffertest.Message{Flags: sniffer.SYN})
	}},
	{"port scan", func(s *sniffertest.Script, _ *rand.Rand, server netip.Addr, i int) {
		c := s.Conn("198.51.100.1:4000", netip.AddrPortFrom(server, uint16(1+i)).String(), sniffertest.ConnConfig{})
		c.Send(sniffertest.Message{Flags: sniffer.SYN})
	}},
	{"requests of nobody", func(s *sniffertest.Script, r *rand.Rand, server netip.Addr, i int) {
		anybody(s, r, server, 8100).Client(0, fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: h%d.example\r\n\r\n", i))
	}},
	{"RSTs", func(s *sniffertest.Script, r *rand.Rand, server netip.Addr, _ int) {
		anybody(s, r, server, 8100).Send(sniffertest.Message{Flags: sniffer.RST})
	}},
	{"answers that nobody asked for", func(s *sniffertest.Script, r *rand.Rand, server netip.Addr, _ int) {
		to := netip.AddrPortFrom(server, uint16(1024+r.IntN(60000)))
		s.Datagram(netip.MustParseAddrPort("11.0.0.1:53"), to, sniffertest.Message{Payload: []byte(longAnswer)})
	}},
	{"PROXY headers and TLS of nobody", func(s *sniffertest.Script, r *rand.Rand, server netip.Addr, i int) {
		text := "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n" + strings.Repeat("x", 500)
		if i%2 == 0 {
			text = "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + strings.Repeat("\x17\x03\x03\x00\x00", 100)
		}
		anybody(s, r, server, 8100).Client(0, []byte(text))
	}},
	{"rapid resets of nobody", func(s *sniffertest.Script, r *rand.Rand, server netip.Addr, i int) {
		text := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
			strings.Repeat("\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x84\x86\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08", 30)
		if i%2 == 0 {
			text = text[:33] + "\x00\x00\x03\x01\x01\x00\x00\x00\x01\x82\x84\x86" + strings.Repeat("\x00\x00\x05\x09\x00\x00\x00\x00\x01\x40\x01x\x01y", 60)
		}
		anybody(s, r, server, 8100).Client(0, []byte(text))
	}},
}

// longAnswer is a DNS message of a long name with 80 aliases, each of which is that name.
var longAnswer = "\x12\x34\x81\x80\x00\x01\x00\x50\x00\x00\x00\x00" + strings.Repeat("\x3d"+strings.Repeat("a", 61), 4) + "\x00\x00\x01\x00\x01" +
	strings.Repeat("\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c", 80)

// forged makes the frames of an attack.
func forged(t *testing.T, play attack, server netip.Addr) []sniffer.Frame {
	t.Helper()
	var s sniffertest.Script
	r := rand.New(rand.NewPCG(1, 2))
	for i := range forgedFrames {
		play(&s, r, server, i)
	}
	frames, err := s.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// anybody is a connection of an address that is made up.
func anybody(s *sniffertest.Script, r *rand.Rand, server netip.Addr, port uint16) *sniffertest.Conn {
	from := netip.AddrFrom4([4]byte{11, byte(r.IntN(256)), byte(r.IntN(256)), byte(1 + r.IntN(254))})
	return s.Conn(netip.AddrPortFrom(from, uint16(1024+r.IntN(60000))).String(), netip.AddrPortFrom(server, port).String(), sniffertest.ConnConfig{})
}

// TestAdversary plays floods live, beside twelve clients that open a connection for each
// request to a server that ends it: whatever arrives, all but the first handshake of each
// are wasted. It lasts 2 s an attack at 10 000 frames a second, or what KEEPSCOPE_ADVERSARY
// and KEEPSCOPE_ADVERSARY_RATE say.
func TestAdversary(t *testing.T) {
	long := 2 * time.Second
	if text := testVariables["KEEPSCOPE_ADVERSARY"]; text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	rate := 10_000
	if text := testVariables["KEEPSCOPE_ADVERSARY_RATE"]; text != "" {
		var err error
		if rate, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	l := newLab(t, lab.Config{ClientAddrs: honestClients, Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "0"}})
	server := l.Server.Addrs[0]
	listener, err := l.Server.Listen(t.Context(), "tcp", netip.AddrPortFrom(server, 8100).String())
	if err != nil {
		t.Fatal(err)
	}
	site := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })}
	go func() { _ = site.Serve(listener) }() // it ends with the listener
	defer site.Close()
	for _, attack := range liveAttacks {
		t.Run(attack.name, func(t *testing.T) {
			frames := forged(t, attack.make, server)
			w := watch(t, l.Server, "-i", l.Server.Interface, "--buffer-size=64MiB")
			ends := time.Now().Add(long)
			sent := make(chan int)
			go func() { sent <- forge(t, l.Client, server, frames, rate, ends) }()
			rounds := 0
			for ; rounds < 2 || time.Now().Before(ends); rounds++ {
				next := time.Now().Add(honestEvery)
				for _, client := range l.Client.Addrs {
					askOnce(t, l.Client, client, server)
				}
				time.Sleep(time.Until(next)) // the interval is what is played
			}
			t.Logf("%d frames beside %d rounds", <-sent, rounds)
			got := map[string]int{}
			for _, line := range w.stop(t) {
				if line.Requests > 0 && slices.Contains(l.Client.Addrs, line.Client.IP) {
					got[line.Verdict]++
				}
			}
			if got["needed"] != honestClients || got["wasted"] != honestClients*(rounds-1) {
				t.Errorf("verdicts %v of %d clients in %d rounds", got, honestClients, rounds)
			}
		})
	}
}

// askOnce sends one request from a client's address, and reads until the server closes.
func askOnce(t *testing.T, n *lab.Namespace, client, server netip.Addr) {
	t.Helper()
	var conn net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0)), Timeout: 5 * time.Second}
		conn, err = d.DialContext(t.Context(), "tcp", netip.AddrPortFrom(server, 8100).String())
		return err
	})
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // of a TCP connection it cannot fail
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
		t.Error(err)
		return
	}
	answer := bufio.NewScanner(conn)
	for answer.Scan() {
	}
	if answer.Err() != nil {
		t.Error(answer.Err())
	}
}

// forge sends frames, so many a second, again and again until it ends, and returns how many.
func forge(t *testing.T, n *lab.Namespace, server netip.Addr, frames []sniffer.Frame, rate int, ends time.Time) (sent int) {
	f := newForger(t, n, server)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); time.Now().Before(ends); <-tick.C {
		for due := int(time.Since(begun).Seconds() * float64(rate)); sent < due && time.Now().Before(ends); {
			at := sent % len(frames)
			sent += f.send(frames[at:min(at+100, len(frames))])
		}
	}
	return sent
}

// A forger sends frames whose addresses are anybody's through a host.
type forger struct {
	fd int
	to unix.SockaddrInet4
}

func newForger(t *testing.T, n *lab.Namespace, host netip.Addr) *forger {
	t.Helper()
	f := &forger{to: unix.SockaddrInet4{Addr: host.As4()}}
	err := n.Do(func() (err error) {
		f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(f.fd) })
	return f
}

// send sends frames once, and returns how many; its queue may be full.
func (f *forger) send(frames []sniffer.Frame) (sent int) {
	for i := range frames {
		if unix.Sendto(f.fd, frames[i].Data, 0, &f.to) == nil {
			sent++
		}
	}
	return sent
}
