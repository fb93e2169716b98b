package sniffer_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
)

// A nesting is a header that may stand in one of its own kind: around wraps a
// body in it.
type nesting struct {
	link   sniffer.LinkType
	around func(b []byte) []byte
	inner  []byte // what is innermost
	outer  func(b []byte) []byte
}

// nestings returns one for each header that may be repeated.
func nestings(tb testing.TB) map[string]nesting {
	_, v4 := one(tb, conversation)
	_, v6 := one(tb, conversation6)
	same := func(b []byte) []byte { return b }
	asEth := func(typ string) func(b []byte) []byte {
		return func(b []byte) []byte { return eth(typ, b) }
	}
	inUDP := func(port int, header ...any) func(b []byte) []byte {
		return func(b []byte) []byte { return ip4(17, udp(port, port, cat(header...), b)) }
	}
	overEthernet := func(port int, header string) func(b []byte) []byte {
		return func(b []byte) []byte { return ip4(17, udp(port, port, header, eth("0800", b))) }
	}
	in := func(header string) func(b []byte) []byte {
		return func(b []byte) []byte { return cat(header, b) }
	}
	return map[string]nesting{
		"vlan":           {1, in("0064 8100"), cat("0064 0800", v4), asEth("8100")},
		"mpls":           {1, in("00010040"), cat("00010140", v4), asEth("8847")},
		"ethernet":       {1, asEth("6558"), eth("0800", v4), same},
		"pppoe":          {1, func(b []byte) []byte { return cat("11000001", be16(20+len(b)), "0281 00010140", eth("8864", b)) }, cat("11000001", be16(2+len(v4)), "0021", v4), asEth("8864")},
		"ipv4":           {101, func(b []byte) []byte { return ip4(4, b) }, v4, same},
		"ipv6":           {101, func(b []byte) []byte { return ip6(41, b) }, v6, same},
		"ipv6 options":   {101, in("3c00 0104 00000000"), cat("0600 0104 00000000", v6[40:]), func(b []byte) []byte { return ip6(60, b) }},
		"ipv6 atomic":    {101, in("2c00 0000 00000001"), cat("0600 0000 00000001", v6[40:]), func(b []byte) []byte { return ip6(44, b) }},
		"ah":             {101, in("3301 0000 00000001 00000001"), cat("0601 0000 00000001 00000001", v4[20:]), func(b []byte) []byte { return ip4(51, b) }},
		"gre":            {101, func(b []byte) []byte { return ip4(47, "0000 0800", b) }, v4, same},
		"gre routes":     {101, in("0800 0000"), cat("0000 0000", v4), func(b []byte) []byte { return ip4(47, "4000 0800 00000000", b) }},
		"etherip":        {101, func(b []byte) []byte { return ip4(97, "3000", eth("0800", b)) }, v4, same},
		"vxlan":          {101, overEthernet(4789, "0800000000000700"), v4, same},
		"vxlan gpe":      {101, inUDP(4790, "0c00000100000700"), v4, same},
		"geneve":         {101, inUDP(6081, "0000080000000700"), v4, same},
		"gtp":            {101, func(b []byte) []byte { return ip4(17, udp(2152, 2152, "30ff", be16(len(b)), "00000007", b)) }, v4, same},
		"gtp extensions": {101, in("01000085"), cat("01000000", v4), func(b []byte) []byte { return ip4(17, udp(1, 2152, "34ff", be16(4+len(b)), "00000007 00000085", b)) }},
		"l2tp":           {101, inUDP(1701, "0002 0001 0002 0021"), v4, same},
		"l2tp 3":         {101, func(b []byte) []byte { return ip4(115, "00000007 0102030405060708 00000000", eth("0800", b)) }, v4, same},
		"mpls in udp":    {101, inUDP(6635, "00010140"), v4, same},
		"gre in udp":     {101, inUDP(4754, "00000800"), v4, same},
	}
}

// nest returns a frame of n headers of a kind.
func (k *nesting) nest(n int) sniffer.Frame {
	b := k.inner
	for range n {
		if len(b) > 60000 { // no IP datagram is longer
			break
		}
		b = k.around(b)
	}
	b = k.outer(b)
	return sniffer.Frame{Data: b, Length: uint32(len(b)), Link: k.link}
}

// TestDepth repeats each header: a few are decoded, and what no network stacks
// is given up after 32 headers, however long the frame.
func TestDepth(t *testing.T) {
	for name, k := range nestings(t) {
		t.Run(name, func(t *testing.T) {
			var d sniffer.Decoder
			var s sniffer.Segment
			few, many := k.nest(5), k.nest(1000)
			if !d.Decode(&few, &s) {
				t.Errorf("5 are not decoded: %v", d.Stats().Errors)
			}
			d.Decode(&many, &s)
			if got := d.Stats().Errors[sniffer.TooDeep]; got != 1 {
				t.Errorf("1000 are not too deep: %v", d.Stats().Errors)
			}
		})
	}
}

// BenchmarkWorst decodes the deepest stack of each header, to be compared with
// an ordinary frame: as these get no further, with what that costs until it is
// counted.
func BenchmarkWorst(b *testing.B) {
	_, v4 := one(b, conversation)
	frames := map[string]sniffer.Frame{}
	for name, k := range nestings(b) {
		frames[name] = k.nest(40)
	}
	for name, data := range map[string][]byte{"ordinary": eth("0800", v4), "ordinary, tagged": eth("8100", "0064 0800", v4)} {
		frames[name] = sniffer.Frame{Data: data, Length: uint32(len(data)), Link: 1}
	}
	var names []string
	for name := range frames {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			var d sniffer.Decoder
			var s sniffer.Segment
			f := frames[name]
			for b.Loop() {
				d.Decode(&f, &s)
			}
		})
	}
}

// BenchmarkFragments decodes datagrams in two fragments, as senders cut them, and
// what costs the most: each fragment before those that are there, each one of
// another datagram, each a copy.
func BenchmarkFragments(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 256*8)
	whole := ip4(6, body)
	streams := map[string]func(i int) sniffer.Frame{
		"ordinary": func(i int) sniffer.Frame {
			if i%2 == 0 {
				return fragmentOf(whole, piece{0, 1024, 0, false}, uint16(i/2))
			}
			return fragmentOf(whole, piece{1024, 2048, 0, true}, uint16(i/2))
		},
		"backwards": func(i int) sniffer.Frame {
			at := 255 - i%256
			return fragmentOf(whole, piece{at * 8, at*8 + 8, 0, at == 255}, uint16(i/256))
		},
		"of many datagrams": func(i int) sniffer.Frame { return fragmentOf(whole, piece{8, 16, 0, false}, uint16(i)) },
		"copies":            func(int) sniffer.Frame { return fragmentOf(whole, piece{8, 16, 0, false}, 1) },
		"overlaps":          func(i int) sniffer.Frame { return fragmentOf(whole, piece{8, 24 + i%2*8, 0, false}, uint16(i/2)) },
	}
	for _, name := range []string{"ordinary", "backwards", "of many datagrams", "copies", "overlaps"} {
		var frames []sniffer.Frame
		for i := range 1 << 14 {
			frames = append(frames, streams[name](i))
		}
		b.Run(name, func(b *testing.B) {
			var d sniffer.Decoder
			var s sniffer.Segment
			for i := 0; b.Loop(); i++ {
				f := &frames[i%len(frames)]
				f.Time = int64(i) * 1000
				d.Decode(f, &s)
			}
		})
	}
}

// TestFragmentSteps holds that what a fragment costs does not grow with how many
// have come: neither parts nor datagrams are more than their caps.
func TestFragmentSteps(t *testing.T) {
	whole := ip4(6, make([]byte, 65000))
	var d sniffer.Decoder
	var s sniffer.Segment
	for i := range 8000 { // of one datagram, the later ones first
		at := 64000 - i*8
		f := fragmentOf(whole, piece{at, at + 8, 0, false}, 7)
		d.Decode(&f, &s)
	}
	if got := d.Stats(); got.Errors[sniffer.BadFragment] != 1 || got.Fragments != 7999 {
		t.Errorf("of one datagram 256 parts are kept, and then it is given up, once: %d fragments, %d bad", got.Fragments, got.Errors[sniffer.BadFragment])
	}
	for id := range 5000 { // each of another
		f := fragmentOf(whole, piece{8, 16, 0, false}, uint16(id+8))
		d.Decode(&f, &s)
	}
	if got := d.Stats().FragmentsEvicted; got != 5000-256 {
		t.Errorf("%d datagrams were evicted, want %d", got, 5000-256)
	}
}
