package run

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// never is for keys that do not come.
const never = -1

// A keyedConn is a connection with TLS and the key log of it.
type keyedConn struct {
	at    time.Duration // of its SYN
	heard []said
	gaps  []time.Duration // before each of heard
	end   int             // 0: none, else a FIN of the client, of the server, or a RST of the client
	keys  []byte
	host  int
	late  time.Duration // from the SYN to the keys, or never
}

// keyed puts a talk inside TLS, with a gap before each of its messages.
func keyed(t testing.TB, talk []said, version uint16, gap func() time.Duration) keyedConn {
	t.Helper()
	var log logWriter
	k := keyedConn{heard: encrypted(t, talk, version, false, &log), keys: log.b}
	for i := range k.heard {
		k.gaps = append(k.gaps, 500*time.Microsecond)
		if len(k.heard)-i < len(talk) {
			k.gaps[i] = gap()
		}
	}
	return k
}

// keyedFrames returns the packets of connections, in the order of time, and behind them
// silence.
func keyedFrames(t testing.TB, conns []keyedConn) []sniffer.Frame {
	t.Helper()
	w := &wire{}
	for i, k := range conns {
		c := w.script.Conn(fmt.Sprintf("10.0.0.%d:%d", k.host, 30000+i), "10.0.1.1:443", sniffertest.ConnConfig{})
		at := k.at
		w.at(at, func(at time.Duration) { c.Handshake(at, 200*time.Microsecond) })
		for j, m := range k.heard {
			at += k.gaps[j]
			w.at(at, func(at time.Duration) {
				c.Send(sniffertest.Message{At: at, From: sniffertest.Side(m.from), Payload: []byte(m.text)})
			})
		}
		at += 10 * time.Millisecond
		switch k.end {
		case 1, 2:
			w.at(at, func(at time.Duration) { c.Close(at, sniffertest.Side(k.end-1), 100*time.Microsecond) })
		case 3:
			w.at(at, func(at time.Duration) { c.Send(sniffertest.Message{At: at, Flags: sniffer.RST}) })
		}
	}
	ticks := w.script.Conn("10.9.9.1:1", "10.9.9.2:2", sniffertest.ConnConfig{})
	for i := range 40 {
		w.at(time.Duration(i)*500*time.Millisecond, func(at time.Duration) { ticks.Send(sniffertest.Message{At: at}) })
	}
	slices.SortStableFunc(w.events, func(a, b wireEvent) int { return int(a.at - b.at) })
	for _, e := range w.events {
		e.do(e.at)
	}
	frames, err := w.script.Frames(sniffer.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// A lateSource gives frames, and each connection's keys as late as they are.
type lateSource struct {
	sniffertest.Source
	store *keylog.Store
	conns []keyedConn
}

func (s *lateSource) Read(b *sniffer.Batch) error {
	if len(s.Frames) > 0 {
		now := time.Duration(s.Frames[0].Time - sniffertest.Base.UnixNano())
		s.conns = slices.DeleteFunc(s.conns, func(k keyedConn) bool {
			if k.late == never || k.at+k.late > now {
				return false
			}
			_, _ = keylog.NewParser(s.store).Write(k.keys)
			return true
		})
	}
	return s.Source.Read(b)
}

// missed is the connection that a pool_miss names: one that was closed is known for some
// seconds only.
var missed = regexp.MustCompile(`{ID:\d+ Port:\d+ Start:\d+ UsableUntil:-1 Reason:open}`)

// judgedWith returns what is found where the keys come so late; sealed, where they are
// there before, and no others come.
func judgedWith(t *testing.T, conns []keyedConn, frames []sniffer.Frame, workers int, sealed bool) (lines []string) {
	t.Helper()
	src := &lateSource{Source: sniffertest.Source{Frames: frames, Size: 1}, store: keylog.New(0), conns: slices.Clone(conns)}
	if sealed {
		for _, k := range conns {
			if k.late != never {
				_, _ = keylog.NewParser(src.store).Write(k.keys)
			}
		}
		src.store.Seal()
	}
	var all []*facts
	r := Reader{Source: src, Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{})}
	for range workers {
		f := newFacts(t)
		all = append(all, f)
		r.Workers = append(r.Workers, NewWorker(reassembly.Config{}, analyzer.Config{Keys: src.store, MaxReuseIdle: 16}, f))
	}
	if err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	for _, f := range all {
		for _, l := range f.lines {
			lines = append(lines, missed.ReplaceAllString(l, "-"))
		}
	}
	for _, w := range r.Workers {
		for _, l := range w.Limits() {
			if l.Count > 0 {
				t.Errorf("%s: %d", l.Name, l.Count)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// TestLateKeysOfOne holds that the second connection of two is found to be one too many,
// however late the keys of the first come. The server's name has a port, which the SNI
// has not.
func TestLateKeysOfOne(t *testing.T) {
	gap := func() time.Duration { return 2 * time.Millisecond }
	for _, late := range []time.Duration{0, 100 * time.Millisecond, 900 * time.Millisecond, never} {
		t.Run(late.String(), func(t *testing.T) {
			talk := []said{{fromClient, "GET / HTTP/1.1\r\nHost: a.example:8443\r\n\r\n"}, {fromServer, response11}}
			first, second := keyed(t, talk, tls.VersionTLS13, gap), keyed(t, talk, tls.VersionTLS13, gap)
			first.host, second.host = 1, 1
			first.late, second.at = late, 50*time.Millisecond
			conns := []keyedConn{first, second}
			lines := judgedWith(t, conns, keyedFrames(t, conns), 1, false)
			for port, want := range map[string]string{":30000 ": "Verdict:needed Cause:none", ":30001 ": "Verdict:wasted Cause:pool_miss"} {
				if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "10.0.0.1"+port) && strings.Contains(l, want) }) {
					t.Errorf("%s is not %s: %s", port, want, strings.Join(lines, "\n"))
				}
			}
		})
	}
}

// TestLateKeys holds that keys change no verdict, cause or count by coming late, whoever's
// come first, and for any number of workers.
func TestLateKeys(t *testing.T) {
	const ms = time.Millisecond
	lates := []time.Duration{0, 20 * ms, 100 * ms, 900 * ms, 1900 * ms, never}
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 3))
		var conns []keyedConn
		for range 2 + r.IntN(6) {
			talk := someTalks[r.IntN(len(someTalks))]
			if r.IntN(2) == 0 {
				talk = nil
				for range 1 + r.IntN(4) {
					talk = append(talk, said{fromClient, request11}, said{fromServer, response11})
				}
				if r.IntN(4) == 0 {
					talk[len(talk)-1].text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
				}
			}
			k := keyed(t, talk, []uint16{tls.VersionTLS12, tls.VersionTLS13}[r.IntN(2)], func() time.Duration { return time.Duration(1+r.IntN(300)) * ms })
			k.at, k.end, k.host, k.late = time.Duration(r.IntN(4000))*ms, r.IntN(4), 1+r.IntN(2), lates[r.IntN(len(lates))]
			conns = append(conns, k)
		}
		frames := keyedFrames(t, conns)
		want := judgedWith(t, conns, frames, 1, true)
		for _, workers := range []int{1, 2, 3} {
			if diff := cmp.Diff(want, judgedWith(t, conns, frames, workers, false)); diff != "" {
				for i, k := range conns {
					t.Logf("%d: host %d, %v + %v, ends %d", i, k.host, k.at, k.late, k.end)
				}
				t.Fatalf("seed %d, %d workers:\n%s", seed, workers, diff)
			}
		}
	}
}

// TestRolesOfTLSStay has bytes like HTTP's behind the ClientHello of a connection that was
// joined in the middle: they say nothing of who the client is, by which those that wait
// for keys are found again.
func TestRolesOfTLSStay(t *testing.T) {
	talk := encrypted(t, someTalks[0], tls.VersionTLS13, false, io.Discard)
	p := newFuzzPlayer([][]said{talk}, nil)
	p.facts.t = t
	play := func(port uint16) *fuzzConn {
		c := &fuzzConn{endpoint: [2]sniffer.Endpoint{{Addr: [16]byte{15: 1}, Port: port}, {Addr: [16]byte{15: 2}, Port: 443}}}
		for range talk {
			p.say(c, 0)
		}
		return c
	}
	c := play(40000)
	p.process(p.segment(c, fromClient, 0, response11))
	p.process(p.segment(c, fromClient, sniffer.RST, ""))
	p.now += 30e9
	p.worker.sweep(p.now)
	if p.facts.told != 1 {
		t.Fatalf("%d connections were told", p.facts.told)
	}
	c = play(40001)
	for range 3 * 256 << 10 >> 10 { // more than waits for keys
		p.process(p.segment(c, fromClient, 0, strings.Repeat("x", 1<<10)))
	}
	p.worker.Flush()
	if p.facts.told != 2 {
		t.Errorf("%d connections were told", p.facts.told)
	}
}

// TestLineOfRolesSwapped has a connection stand in line behind others that wait for their
// keys. It turns out not to be TLS, and a SYN that was captured late says who is the client:
// what it said is found all the same.
func TestLineOfRolesSwapped(t *testing.T) {
	talk := encrypted(t, someTalks[0], tls.VersionTLS13, false, io.Discard)
	w := NewWorker(reassembly.Config{}, analyzer.Config{Keys: keylog.New(0)}, newFacts(t))
	var s sniffertest.Script
	said := 0
	play := func() {
		segments := s.Segments()
		w.Process(segments[said:]...)
		said = len(segments)
	}
	sweep := func(at time.Duration) { w.sweep(sniffertest.Base.Add(at).UnixNano()) }
	waits := func(port int, at time.Duration) {
		c := s.Conn(fmt.Sprintf("10.0.0.1:%d", port), "10.0.1.1:443", sniffertest.ConnConfig{})
		c.Handshake(at, time.Millisecond)
		for _, m := range talk[:3] {
			c.Send(sniffertest.Message{At: at + 2*time.Millisecond, From: sniffertest.Side(m.from), Payload: []byte(m.text)})
		}
	}
	waits(40000, 0)
	b := s.Conn("10.0.0.1:50000", "10.0.1.1:443", sniffertest.ConnConfig{})
	b.Client(100*time.Millisecond, []byte("\x17\x03\x03\x00\x04abcd"))
	b.Send(sniffertest.Message{At: 110 * time.Millisecond, From: sniffertest.Server, Flags: sniffer.SYN})
	b.Client(120*time.Millisecond, []byte("no record"))
	waits(40001, 1500*time.Millisecond)
	b.Client(1600*time.Millisecond, []byte("more"))
	play()
	sweep(2200 * time.Millisecond) // the first waits no longer
	b.Client(2300*time.Millisecond, []byte("and more"))
	b.Close(2400*time.Millisecond, sniffertest.Client, time.Millisecond)
	play()
	sweep(4 * time.Second)
	w.Flush()
}
