package keylog

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	randomA = strings.Repeat("0a", 32)
	randomB = strings.Repeat("0B", 32)
)

func line(label, random string, secret, size int) string {
	return fmt.Sprintf("%s %s %s\n", label, random, strings.Repeat(fmt.Sprintf("%02x", secret), size))
}

// dump says what a Store has of a random.
func dump(s *Store, random byte) string {
	var out Secrets
	r := [32]byte(bytes.Repeat([]byte{random}, 32))
	if !s.Get(&r, &out) {
		return ""
	}
	var parts []string
	for l := range numLabels {
		if b := out[l].Bytes(); len(b) > 0 {
			parts = append(parts, fmt.Sprintf("%v=%dx%02x", l, len(b), b[len(b)-1]))
		}
	}
	return strings.Join(parts, " ")
}

func TestParser(t *testing.T) {
	tests := []struct {
		name  string
		text  string
		a, b  string
		lines Lines
	}{
		{"nothing", "", "", "", Lines{}},
		{"tls 1.2", line("CLIENT_RANDOM", randomA, 1, 48), "CLIENT_RANDOM=48x01", "", Lines{Taken: 1}},
		{"tls 1.3, in any order", line("SERVER_TRAFFIC_SECRET_0", randomA, 4, 32) + line("CLIENT_EARLY_TRAFFIC_SECRET", randomA, 5, 32) +
			line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", randomA, 1, 32) + line("CLIENT_TRAFFIC_SECRET_0", randomA, 3, 32) +
			line("SERVER_HANDSHAKE_TRAFFIC_SECRET", randomA, 2, 32),
			"CLIENT_HANDSHAKE_TRAFFIC_SECRET=32x01 SERVER_HANDSHAKE_TRAFFIC_SECRET=32x02 CLIENT_TRAFFIC_SECRET_0=32x03 " +
				"SERVER_TRAFFIC_SECRET_0=32x04 CLIENT_EARLY_TRAFFIC_SECRET=32x05", "", Lines{Taken: 5}},
		{"sha-384", line("CLIENT_EARLY_TRAFFIC_SECRET", randomA, 7, 48) + line("CLIENT_TRAFFIC_SECRET_0", randomA, 8, 48),
			"CLIENT_TRAFFIC_SECRET_0=48x08 CLIENT_EARLY_TRAFFIC_SECRET=48x07", "", Lines{Taken: 2}},
		{"two randoms, capital digits", line("CLIENT_RANDOM", randomA, 1, 48) + line("CLIENT_RANDOM", randomB, 0xAB, 48),
			"CLIENT_RANDOM=48x01", "CLIENT_RANDOM=48xab", Lines{Taken: 2}},
		{"doubles", strings.Repeat(line("CLIENT_RANDOM", randomA, 1, 48), 3), "CLIENT_RANDOM=48x01", "", Lines{Taken: 1, Double: 2}},
		{"a second secret for one random", line("CLIENT_RANDOM", randomA, 1, 48) + line("CLIENT_RANDOM", randomA, 2, 48),
			"CLIENT_RANDOM=48x01", "", Lines{Taken: 1, Broken: 1}},
		{"lengths that contradict", line("CLIENT_TRAFFIC_SECRET_0", randomA, 1, 32) + line("SERVER_TRAFFIC_SECRET_0", randomA, 1, 48) +
			line("CLIENT_RANDOM", randomA, 1, 48), "CLIENT_TRAFFIC_SECRET_0=32x01", "", Lines{Taken: 1, Broken: 2}},
		{"a literal N", line("CLIENT_TRAFFIC_SECRET_N", randomA, 1, 32) + line("SERVER_TRAFFIC_SECRET_1", randomA, 1, 32), "", "", Lines{Other: 2}},
		{"others", line("EXPORTER_SECRET", randomA, 1, 32) + line("EARLY_EXPORTER_SECRET", randomA, 1, 32) + "RSA 0a0b 0c0d\n# a comment\n\n",
			"", "", Lines{Other: 5}},
		{"carriage returns and spaces", strings.ReplaceAll(line("CLIENT_RANDOM", randomA, 1, 48), "\n", " \r\n"), "CLIENT_RANDOM=48x01", "", Lines{Taken: 1}},
		{"no line end", strings.TrimSpace(line("CLIENT_RANDOM", randomA, 1, 48)), "CLIENT_RANDOM=48x01", "", Lines{Taken: 1}},
		{"a long comment", "#" + strings.Repeat("x", 1000) + "\n", "", "", Lines{Other: 1}},
		{"broken", "CLIENT_RANDOM\nCLIENT_RANDOM " + randomA + "\nCLIENT_RANDOM " + randomA + " 00\n" +
			line("CLIENT_RANDOM", randomA, 1, 32) + line("CLIENT_RANDOM", randomA, 1, 49) + line("CLIENT_TRAFFIC_SECRET_0", randomA, 1, 33) +
			strings.Replace(line("CLIENT_RANDOM", randomA, 1, 48), "0a", "0g", 1) + strings.Replace(line("CLIENT_RANDOM", randomA, 1, 48), "01", "0x", 1) +
			"client_random\n" + strings.Repeat("x", 1000) + "\n\x00\xff\n", "", "", Lines{Broken: 11}},
		{"a label too long", strings.Repeat("A", 300) + " 00\n" + strings.Repeat(" ", 300) + "\n", "", "", Lines{Broken: 2}},
		{"a good line after a broken one", "CLIENT_RANDOM 0a\n" + line("CLIENT_RANDOM", randomA, 1, 48), "CLIENT_RANDOM=48x01", "", Lines{Taken: 1, Broken: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 255, 256, 257, 1 << 20} {
				s := New(0)
				p := NewParser(s)
				for b := []byte(tt.text); len(b) > 0; {
					n := min(size, len(b))
					piece := bytes.Clone(b[:n])
					if k, err := p.Write(piece); k != n || err != nil {
						t.Fatal(k, err)
					}
					clear(piece)
					b = b[n:]
				}
				unfinished := p.line
				_ = p.Close()
				if !bytes.Equal(unfinished, make([]byte, len(unfinished))) {
					t.Error("the unfinished line was not wiped")
				}
				if diff := cmp.Diff(tt.lines, s.Stats().Lines); diff != "" {
					t.Errorf("pieces of %d, lines (-want +got):\n%s", size, diff)
				}
				if diff := cmp.Diff(tt.a+"|"+tt.b, dump(s, 0x0a)+"|"+dump(s, 0x0b)); diff != "" {
					t.Errorf("pieces of %d (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

func random(i int) *[32]byte { return &[32]byte{byte(i), byte(i >> 8), byte(i >> 16)} }

// TestStoreCap fills a Store beyond its cap: the oldest go, wiped; what is used up
// goes first.
func TestStoreCap(t *testing.T) {
	s := New(10)
	secret := bytes.Repeat([]byte{7}, 48)
	for i := range 10 {
		s.Add(Master, random(i), secret)
	}
	s.Used(random(5), 1)
	data := s.entries[*random(5)].data
	oldest := s.entries[*random(0)].data
	for i := range 4 {
		s.Add(Master, random(10+i), secret)
	}
	var out Secrets
	var have []int
	for i := range 14 {
		if s.Get(random(i), &out) {
			have = append(have, i)
		}
	}
	if diff := cmp.Diff([]int{3, 4, 6, 7, 8, 9, 10, 11, 12, 13}, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Stats{Randoms: 10, Evicted: 4}, s.Stats()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if zero := make([]byte, 48); !bytes.Equal(data, zero) || !bytes.Equal(oldest, zero) {
		t.Error("an evicted secret was not wiped")
	}
	last := s.entries[*random(13)].data
	if s.Close(); !bytes.Equal(last, make([]byte, 48)) || s.Get(random(13), &out) {
		t.Error("Close left a secret")
	}
}

// TestUsed drops a secret a minute of packet time after it was used.
func TestUsed(t *testing.T) {
	s := New(0)
	var out Secrets
	s.Add(Master, random(1), make([]byte, 48))
	s.Add(Master, random(2), make([]byte, 48))
	s.Used(random(1), 100)
	s.Sweep(100 + grace)
	if !s.Get(random(1), &out) {
		t.Error("dropped too early")
	}
	s.Sweep(101 + grace)
	if s.Get(random(1), &out) || !s.Get(random(2), &out) {
		t.Error("what was used is kept, or what was not is dropped")
	}
}

// TestMoved wipes where a random's secrets were before they were moved to make room
// for one of early data.
func TestMoved(t *testing.T) {
	s := New(0)
	secret := bytes.Repeat([]byte{9}, 32)
	s.Add(ServerTraffic, random(1), secret)
	old := s.entries[*random(1)].data
	s.Add(ClientEarly, random(1), secret)
	if !bytes.Equal(old, make([]byte, len(old))) {
		t.Error("the old place was not wiped")
	}
	var out Secrets
	if s.Get(random(1), &out); !bytes.Equal(out[ServerTraffic].Bytes(), secret) || !bytes.Equal(out[ClientEarly].Bytes(), secret) {
		t.Error("a secret was lost")
	}
}

func TestSessions(t *testing.T) {
	s := New(0)
	master := bytes.Repeat([]byte{3}, 48)
	id, ticket := SessionID([]byte("x")), Ticket([]byte("x"))
	if id == ticket {
		t.Error("an id is taken for a ticket")
	}
	var out [masterSize]byte
	s.Remember(SessionKey{}, master, 0)
	if s.Recall(SessionKey{}, 0, &out) || s.Recall(id, 0, &out) {
		t.Error("recalled what was never there")
	}
	hour := int64(time.Hour)
	s.Remember(id, master, 0)
	s.Remember(ticket, master, hour)
	if !s.Recall(id, 2*hour, &out) || !bytes.Equal(out[:], master) || s.Recall(id, 2*hour+1, &out) {
		t.Error("a session does not live for two hours")
	}
	s.Sweep(2*hour + 1)
	if s.Stats().Sessions != 1 || !s.Recall(ticket, 2*hour, &out) {
		t.Errorf("%+v", s.Stats())
	}
	s.Close()
	for i := range maxSessions + 5 {
		s.Remember(SessionID(fmt.Append(nil, i)), master, 0)
	}
	if diff := cmp.Diff(Stats{Sessions: maxSessions, Forgotten: 5}, s.Stats()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.Recall(SessionID([]byte("4")), 0, &out) || !s.Recall(SessionID([]byte("5")), 0, &out) {
		t.Error("not the oldest were forgotten")
	}
}

// TestConcurrent has goroutines add, ask and sweep at once, for the race detector.
func TestConcurrent(t *testing.T) {
	s := New(100)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			var out Secrets
			var session [masterSize]byte
			for i := range 1000 {
				s.Add(Label(w), random(i), make([]byte, 48))
				s.Get(random(i), &out)
				s.Used(random(i), int64(i))
				s.Remember(SessionID(random(i)[:]), make([]byte, 48), 0)
				s.Recall(SessionID(random(i)[:]), 0, &session)
				s.Sweep(int64(i))
				s.Stats()
			}
		})
	}
	all.Wait()
	if s.Stats().Randoms > 100 {
		t.Errorf("%+v", s.Stats())
	}
}

func TestAllocs(t *testing.T) {
	s := New(0)
	p := NewParser(s)
	text := []byte(line("CLIENT_RANDOM", randomA, 1, 48) + line("EXPORTER_SECRET", randomA, 1, 32) + "# x\n" + line("CLIENT_RANDOM", randomA, 1, 47))
	_, _ = p.Write(text)
	var out Secrets
	r := [32]byte(bytes.Repeat([]byte{0x0a}, 32))
	if n := testing.AllocsPerRun(100, func() {
		_, _ = p.Write(text)
		s.Get(&r, &out)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzKeyLog holds that any bytes are read without a panic, and that the pieces in
// which they come do not matter.
func FuzzKeyLog(f *testing.F) {
	f.Add([]byte(line("CLIENT_RANDOM", randomA, 1, 48)+line("CLIENT_TRAFFIC_SECRET_0", randomB, 2, 32)), uint8(3))
	f.Add([]byte("# c\r\nCLIENT_RANDOM  \nEXPORTER_SECRET x\n"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		whole, pieces := NewParser(New(4)), NewParser(New(4))
		_, _ = whole.Write(text)
		_ = whole.Close()
		for b := text; len(b) > 0; {
			n := min(int(size)+1, len(b))
			_, _ = pieces.Write(b[:n])
			b = b[n:]
		}
		_ = pieces.Close()
		if diff := cmp.Diff(whole.store.Stats().Lines, pieces.store.Stats().Lines); diff != "" {
			t.Fatal(diff)
		}
		if n := whole.store.Stats().Randoms; n > 4 {
			t.Fatalf("%d randoms", n)
		}
	})
}

func BenchmarkParser(b *testing.B) {
	var text []byte
	for i := range 1000 {
		r := fmt.Sprintf("%064x", i)
		text = append(text, line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", r, 1, 32)...)
		text = append(text, line("CLIENT_TRAFFIC_SECRET_0", r, 2, 32)...)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		p := NewParser(New(0))
		_, _ = p.Write(text)
	}
}

func Example() {
	store := New(0)
	p := NewParser(store)
	fmt.Fprintf(p, "CLIENT_RANDOM %064x %096x\n", 1, 2)
	p.Close()
	var secrets Secrets
	random := [32]byte{31: 1}
	fmt.Println(store.Get(&random, &secrets), secrets.Has(Master), store.Stats().Lines.Taken)
	// Output: true true 1
}
