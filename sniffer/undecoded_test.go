package sniffer_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
)

// TestNotDecoded counts by number what is not decoded, and what is met often
// keeps its place while a scan touches every port.
func TestNotDecoded(t *testing.T) {
	var d sniffer.Decoder
	var s sniffer.Segment
	decode := func(link sniffer.LinkType, data []byte) {
		if d.Decode(&sniffer.Frame{Data: data, Length: uint32(len(data)), Link: link}, &s) {
			t.Fatal("decoded")
		}
	}
	for port := range 20000 {
		decode(101, ip4(17, udp(60000, port, "00"))) // tunnels and DNS are among them
		if port%100 == 0 {
			decode(101, ip4(17, udp(443, 50000, "00")))
			decode(101, ip4(17, udp(50000, 443, "00")))
		}
		if port%1000 == 0 {
			decode(101, ip4(50, "00000001 00000001"))
			decode(1, eth("0806", "0001 0800"))
			decode(1, eth("0026", "424203"))
		}
	}
	stats := d.Stats()
	all := stats.NotDecoded.All()
	sum := stats.NotDecoded.Rest
	for _, u := range all {
		sum += u.Frames
	}
	if sum != stats.Other {
		t.Errorf("%d frames by number, %d in all", sum, stats.Other)
	}
	want := []sniffer.Undecoded{
		{Registry: sniffer.UDPPort, Number: 443, Frames: 401}, // the scan's is one
		{Registry: sniffer.EtherType, Number: 0x0806, Frames: 20},
		{Registry: sniffer.IPProtocol, Number: 50, Frames: 20},
	}
	if diff := cmp.Diff(want, all[:3]); diff != "" || len(all) != 3+15 {
		t.Errorf("%d numbers, the first (-want +got):\n%s", len(all), diff)
	}
}

// TestTimeBack counts the frames stamped before the one that they follow.
func TestTimeBack(t *testing.T) {
	_, v4 := one(t, conversation)
	var d sniffer.Decoder
	var s sniffer.Segment
	for _, at := range []int64{5, 5, 7, 6, 7, 1 << 62, 8, 9} {
		d.Decode(&sniffer.Frame{Time: at, Data: v4, Length: uint32(len(v4)), Link: sniffer.LinkRaw}, &s)
	}
	if got := d.Stats().TimeBack; got != 2 {
		t.Errorf("time went back %d times, want 2", got)
	}
}
