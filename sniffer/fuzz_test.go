package sniffer_test

import (
	"testing"
	"unsafe"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// FuzzDecode decodes any bytes twice over: no panic, every frame counted once,
// a payload within the frame and no longer than its length.
func FuzzDecode(f *testing.F) {
	_, v4 := one(f, conversation)
	_, v6 := one(f, conversation6)
	ether := eth("0800", v4)
	for _, seed := range []struct {
		link uint16
		data []byte
	}{
		{1, ether}, {1, eth("8100", "0064 86dd", v6)}, {1, eth("8847", "00010140 00000000", ether)},
		{1, eth("8864", "11000001", be16(2+len(v4)), "0021", v4)}, {0, cat("02000000", v4)}, {9, cat("ff03 0021", v4)},
		{113, cat("0000 0001 0006 02000a0000010000 0800", v4)}, {276, cat("0800 0000 00000007 0001 00 06 02000a0000010000", v4)},
		{101, ip4(47, "b000 6558 12340000 00000007 00000001", ether)}, {101, ip4(47, "1000 88be 00000001 1001 0001 00000000", ether)},
		{101, ip4(17, udp(50000, 4789, "08000000 00000700", ether))},
		{101, ip4(17, udp(50000, 6081, "0300 6558 00000700 01080102 0000000000000007", ether))},
		{101, ip4(17, udp(50000, 2152, "34 ff", be16(8+len(v4)), "00000007 00000085 01100100", v4))},
		{101, ip4(17, udp(1701, 1701, "4a02", be16(17+4+len(v4)), "0001 0002 0003 0004 0003 abcdef ff03 0021", v4))},
		{101, ip4(115, "00000007 00000000", ether)}, {101, ip4(17, udp(50000, 4790, "0c000001 00000700", v4))},
		{101, ip6(60, "2c 00 04 01 04 01 01 00", "06 00 0001 00000001", v6[40:])},
		{101, fragmentOf(v4, piece{0, 16, 0, false}, 1).Data}, {101, ip4(17, udp(1, 53, "0001"))},
	} {
		f.Add(seed.link, uint32(len(seed.data)), seed.data, seed.data)
	}
	f.Fuzz(func(t *testing.T, link uint16, length uint32, first, second []byte) {
		d := sniffer.NewDecoder(sniffer.DecoderConfig{DNS: link&0x8000 != 0, NoTunnels: link&0x4000 != 0, MaxFragmentBytes: 4096})
		link &= 0x1ff
		for i, data := range [][]byte{first, second, first} {
			frame := sniffer.Frame{Time: int64(i), Data: data, Length: max(length, uint32(len(data))), Link: sniffer.LinkType(link)}
			before := d.Stats().Reassembled
			var s sniffer.Segment
			if !d.Decode(&frame, &s) {
				continue
			}
			if len(s.Payload) > int(s.Length) {
				t.Fatalf("%d bytes of payload, length %d", len(s.Payload), s.Length)
			}
			if d.Stats().Reassembled == before && !within(s.Payload, data) {
				t.Fatalf("payload %q outside of the frame", s.Payload)
			}
			if cap(s.Payload) != len(s.Payload) && d.Stats().Reassembled == before {
				t.Fatal("an append to the payload would write into the batch")
			}
		}
		checkStats(t, d.Stats(), 3)
	})
}

// within says whether b views a part of whole.
func within(b, whole []byte) bool {
	if len(b) == 0 {
		return true
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	start := uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	return at >= start && at+uintptr(len(b)) <= start+uintptr(len(whole))
}

func TestDecodeAllocations(t *testing.T) {
	_, v4 := one(t, conversation)
	_, v6 := one(t, conversation6)
	ether := eth("0800", v4)
	d := sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true})
	for name, data := range map[string][]byte{
		"common": ether,
		"ipv6":   eth("86dd", v6),
		"vlan":   eth("8100", "0064 0800", v4),
		"vxlan":  eth("0800", ip4(17, udp(1, 4789, "0800000000000700", ether))),
		"gre":    eth("0800", ip4(47, "2000 0800 00000007", v4)),
		"ah":     eth("0800", ip4(51, "04 04 0000 00000001 00000001", make([]byte, 12), v4)),
		"dns":    eth("0800", ip4(17, udp(1, 53, "0001"))),
		"gtp":    eth("0800", ip4(17, udp(1, 2152, "30 ff", be16(len(v4)), "00000007", v4))),
		"l2tp":   eth("0800", ip4(17, udp(1701, 1701, "0002 0001 0002", "ff03 0021", v4))),
		"other":  eth("0800", ip4(17, udp(50000, 443, "c0"))),
		"bad":    eth("0800", "44"),
	} {
		f := sniffer.Frame{Data: data, Length: uint32(len(data)), Link: sniffer.LinkEthernet}
		var s sniffer.Segment
		if n := testing.AllocsPerRun(100, func() { d.Decode(&f, &s) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// benchmarkFrames is a few segments of an ordinary connection.
func benchmarkFrames(b *testing.B, text string) []sniffer.Frame {
	frames, err := sniffertest.MustParse(text).Frames(sniffer.LinkEthernet)
	if err != nil {
		b.Fatal(err)
	}
	return frames
}

const exchange = `
@0s  c handshake
@1ms c > "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
@2ms c < "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" "x"*4000
@3ms c > ack
@4ms c > close
`

func BenchmarkDecode(b *testing.B) {
	for name, text := range map[string]string{
		"ipv4": "conn c 10.0.0.1:40000 10.0.0.2:80 mss=1460" + exchange,
		"ipv6": "conn c [2001:db8::1]:40000 [2001:db8::2]:80 mss=1440" + exchange,
	} {
		frames := benchmarkFrames(b, text)
		b.Run(name+"/sniffer", func(b *testing.B) {
			b.ReportAllocs()
			var d sniffer.Decoder
			var s sniffer.Segment
			for i := 0; b.Loop(); i++ {
				d.Decode(&frames[i%len(frames)], &s)
			}
		})
		b.Run(name+"/gopacket", func(b *testing.B) {
			b.ReportAllocs()
			var ether layers.Ethernet
			var ip4 layers.IPv4
			var ip6 layers.IPv6
			var tcp layers.TCP
			parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &ether, &ip4, &ip6, &tcp)
			parser.IgnoreUnsupported = true
			var decoded []gopacket.LayerType
			for i := 0; b.Loop(); i++ {
				if err := parser.DecodeLayers(frames[i%len(frames)].Data, &decoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
