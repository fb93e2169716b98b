package sniffer_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// frames is a source of them.
type frames []sniffer.Frame

func (f *frames) Read(b *sniffer.Batch) error {
	b.Frames = append(b.Frames[:0], *f...)
	*f = nil
	if len(b.Frames) == 0 {
		return io.EOF
	}
	return nil
}

// passes says whether libpcap lets a frame pass, as it does for a live capture:
// on Ethernet behind up to two VLAN tags, too.
func passes(t *testing.T, expr string, f sniffer.Frame) bool {
	t.Helper()
	if f.Link == sniffer.LinkEthernet {
		expr = fmt.Sprintf("(%s) or (vlan and ((%[1]s) or (vlan and (%[1]s))))", expr)
	}
	filter, err := pcap.NewFilter(&frames{f}, expr)
	if err != nil {
		t.Fatal(err)
	}
	var b sniffer.Batch
	if err := filter.Read(&b); err != nil {
		t.Fatal(err)
	}
	return len(b.Frames) == 1
}

// TestFilterPasses holds that the filter of a live capture lets pass whatever
// is decoded, on the links that one meets.
func TestFilterPasses(t *testing.T) {
	live := []sniffer.LinkType{sniffer.LinkEthernet, sniffer.LinkSLL, sniffer.LinkSLL2, sniffer.LinkRaw}
	expr := sniffer.DecoderConfig{DNS: true}.Filter()
	tried := 0
	for name, e := range encapsulations(t) {
		if !slices.Contains(live, e.link) || strings.Contains(name, "llc") || name == "vlan, length" || name == "cooked vlan" {
			continue
		}
		tried++
		if !passes(t, expr, sniffer.Frame{Data: e.data, Length: uint32(len(e.data)), Link: e.link}) {
			t.Errorf("%s does not pass", name)
		}
	}
	if tried < 80 {
		t.Errorf("%d frames were tried", tried)
	}
	_, v4 := one(t, conversation)
	_, v6 := one(t, conversation6)
	vxlan := ip4(17, udp(1, 4789, "0800000000000700", eth("0800", v4)))
	for name, data := range map[string][]byte{
		"dns query":            ip4(17, udp(50000, 53, "0001")),
		"dns answer":           ip6(17, udp(53, 50000, "0001")),
		"fragment of tcp":      fragmentOf(v4, piece{8, 16, 0, true}, 1).Data,
		"first of a tunnel":    fragmentOf(vxlan, piece{0, 32, 0, true}, 1).Data,
		"later of a tunnel":    fragmentOf(vxlan, piece{32, 64, 0, true}, 1).Data,
		"fragment in IPv6":     ip6(44, "06 00 0009 00000001", v6[40:]),
		"mobility, HIP, shim6": ip6(135, "8b 00 0104 00000000", "8c 00 0104 00000000", "06 00 0104 00000000", v6[40:]),
	} {
		if !passes(t, expr, sniffer.Frame{Data: data, Length: uint32(len(data)), Link: sniffer.LinkRaw}) {
			t.Errorf("%s does not pass", name)
		}
	}
}

// TestFilterStops holds that what is not decoded does not pass: it would take
// the ring's room.
func TestFilterStops(t *testing.T) {
	_, v4 := one(t, conversation)
	all := sniffer.DecoderConfig{DNS: true}
	noTunnels := sniffer.DecoderConfig{DNS: true, NoTunnels: true}
	noDNS := sniffer.DecoderConfig{NoTunnels: true}
	for _, tt := range []struct {
		name   string
		config sniffer.DecoderConfig
		data   []byte
	}{
		{"quic", all, eth("0800", ip4(17, udp(50000, 443, "c0")))},
		{"arp", all, eth("0806", "0001 0800")},
		{"icmp", all, eth("0800", ip4(1, "0301 0000 00000000", v4))},
		{"from a tunnel's port", all, eth("0800", ip4(17, udp(4789, 50000, "08")))},
		{"vxlan", noTunnels, eth("0800", ip4(17, udp(50000, 4789, "0800000000000700", eth("0800", v4))))},
		{"gre", noTunnels, eth("0800", ip4(47, "0000 0800", v4))},
		{"ip in ip", noTunnels, eth("0800", ip4(4, v4))},
		{"dns", noDNS, eth("0800", ip4(17, udp(50000, 53, "0001")))},
	} {
		if passes(t, tt.config.Filter(), sniffer.Frame{Data: tt.data, Length: uint32(len(tt.data)), Link: sniffer.LinkEthernet}) {
			t.Errorf("%s passes", tt.name)
		}
	}
}
