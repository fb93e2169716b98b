package dns

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// wire returns a name of these labels as it is written in a message.
func wire(labels ...string) (b []byte) {
	for _, l := range labels {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0)
}

// pointer returns one to a place of a message.
func pointer(to int) []byte { return binary.BigEndian.AppendUint16(nil, 0xc000|uint16(to)) }

// A writer writes an answer section without any care for what is allowed.
type writer struct{ msg []byte }

func newWriter(question []byte) *writer {
	return &writer{append(append([]byte{0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...), 0, TypeA, 0, classIN)}
}

func (w *writer) record(owner []byte, kind byte, data []byte) (dataAt int) {
	w.msg = append(append(w.msg, owner...), 0, kind, 0, classIN, 0, 0, 0, 9)
	w.msg = binary.BigEndian.AppendUint16(w.msg, uint16(len(data)))
	at := len(w.msg)
	w.msg = append(w.msg, data...)
	binary.BigEndian.PutUint16(w.msg[6:], binary.BigEndian.Uint16(w.msg[6:])+1)
	return at
}

// longest is the longest name there is, in as many labels as fit.
func longest() []byte { return wire(strings.Split(strings.Repeat("x", 127), "")...) }

// worst is what a malicious server may answer to take the most time for it.
func worst() map[string][]byte {
	all := map[string][]byte{}
	address := []byte{192, 0, 2, 1}

	// Each link of a chain after the one that it leads to, under names of 253
	// bytes that all others have to be told from.
	w := newWriter(wire("c0"))
	long := w.record(longest(), 16, nil) - 10 - len(longest())
	for range 220 {
		w.record(pointer(long), 16, nil)
	}
	for i := maxChain - 1; i >= 0; i-- {
		w.record(wire(fmt.Sprint("c", i)), TypeCNAME, wire(fmt.Sprint("c", i+1)))
	}
	all["chain in reverse"] = w.msg

	// Addresses of two long names in turn.
	w = newWriter(longest())
	other := w.record(longest(), TypeA, address) - 10 - len(longest())
	for i := range 255 {
		w.record(pointer([]int{headerSize, other}[i%2]), TypeA, address)
	}
	all["two names in turn"] = w.msg

	// Addresses of one name, each time through another pointer.
	w = newWriter(wire("a"))
	hop := headerSize
	for range 256 {
		at := len(w.msg)
		w.record(pointer(hop), TypeA, address)
		hop = at
	}
	all["pointers to pointers"] = w.msg

	// As many addresses as are kept, all of the name.
	w = newWriter(longest())
	for i := range 256 {
		w.record(pointer(headerSize), TypeAAAA, append(make([]byte, 14), byte(i>>8), byte(i)))
	}
	all["all addresses"] = w.msg

	// A chain of long names, whose records are the last.
	w = newWriter(longest())
	names := [][]byte{longest()}
	for i := range maxChain {
		n := longest()
		n[1] = 'a' + byte(i)
		names = append(names, n)
	}
	for i := maxChain - 1; i >= 0; i-- {
		w.record(names[i], TypeCNAME, names[i+1])
	}
	all["chain of long names"] = w.msg

	// Records of no interest whose owners are written out.
	w = newWriter(wire("a"))
	for range 250 {
		w.record(longest(), 16, nil)
	}
	all["long owners"] = w.msg
	return all
}

func ordinary(t testing.TB) []byte {
	return build(t, 1, "www.example.com.", typeA, 0, rr{"www.example.com.", 300, "example.com."}, rr{"example.com.", 60, "192.0.2.1"}, rr{"example.com.", 60, "192.0.2.2"})
}

// checkSteps holds that a message takes no more steps than the cap, and the
// name that reached it.
func checkSteps(t *testing.T, msg []byte) {
	t.Helper()
	var m Message
	if !Parse(msg, &m) {
		return
	}
	m.ReadAnswers()
	if got := m.index.steps; got > maxSteps+maxName+maxPointers {
		t.Fatalf("%d steps, at most %d", got, maxSteps)
	}
}

// TestSteps holds the bound for what an adversary wrote, and that an answer in
// good faith is far from it.
func TestSteps(t *testing.T) {
	for name, msg := range worst() {
		t.Run(name, func(t *testing.T) { checkSteps(t, msg) })
	}
	// As many addresses as fit into 1232 bytes, behind two CNAMEs.
	rrs := []rr{{"api.prod.example.com.", 5, "lb.example.net."}, {"lb.example.net.", 5, "lb7.eu.example.net."}}
	for i := range maxAddrs {
		rrs = append(rrs, rr{"lb7.eu.example.net.", 5, fmt.Sprint("192.0.2.", i)})
	}
	msg := build(t, 1, "api.prod.example.com.", typeA, 0, rrs...)
	var m Message
	if Parse(msg, &m); m.msg == nil {
		t.Fatal("no answer")
	}
	m.ReadAnswers()
	if len(m.Addrs) != maxAddrs || m.index.steps > maxSteps/4 {
		t.Errorf("%d addresses in %d steps", len(m.Addrs), m.index.steps)
	}
}

// TestAnswersUnread holds that an answer which nobody asked for is not read.
func TestAnswersUnread(t *testing.T) {
	c := NewCache(Config{})
	client := addr("10.0.0.1")
	var m Message
	for _, msg := range worst() {
		if !Parse(msg, &m) {
			t.Fatal("not parsed")
		}
		m.index.steps = -1
		c.Answer(client, 5000, &m, 1)
		if m.index.steps != -1 {
			t.Error("answers were read")
		}
	}
	if got := c.Stats().Unsolicited; got != uint64(len(worst())) {
		t.Errorf("%d unsolicited, want %d", got, len(worst()))
	}
}

// BenchmarkAnswer takes what an adversary wrote, unasked for and asked for, and
// an ordinary answer to compare with.
func BenchmarkAnswer(b *testing.B) {
	all := worst()
	all["ordinary"] = ordinary(b)
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	client := addr("10.0.0.1")
	for _, name := range names {
		msg := all[name]
		query := slices.Clone(msg)
		query[2] &^= 0x80
		var q, m Message
		if !Parse(query, &q) {
			b.Fatal(name)
		}
		b.Run(name+"/unsolicited", func(b *testing.B) {
			c := NewCache(Config{})
			for b.Loop() {
				Parse(msg, &m)
				c.Answer(client, 5000, &m, 1)
			}
		})
		b.Run(name+"/solicited", func(b *testing.B) {
			c := NewCache(Config{})
			for b.Loop() {
				c.Query(client, 5000, &q, 1)
				Parse(msg, &m)
				c.Answer(client, 5000, &m, 1)
			}
		})
	}
}
