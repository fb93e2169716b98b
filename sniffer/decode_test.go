package sniffer_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

const conversation = `
conn c 10.0.0.1:40000 10.0.0.2:80
@1s c > "GET / HTTP/1.1\r\n\r\n" seq=7 ack=9
`

const conversation6 = `
conn c [2001:db8::1]:40000 [2001:db8::2]:80
@1s c > "GET / HTTP/1.1\r\n\r\n" seq=7 ack=9
`

// one returns the only segment of a script, and its bytes from IP on.
func one(tb testing.TB, text string) (sniffer.Segment, []byte) {
	tb.Helper()
	s := sniffertest.MustParse(text)
	frames, err := s.Frames(sniffer.LinkRaw)
	if err != nil || len(frames) != 1 {
		tb.Fatalf("%d frames, %v", len(frames), err)
	}
	return s.Segments()[0], frames[0].Data
}

func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			raw, err := hex.DecodeString(strings.ReplaceAll(p, " ", ""))
			if err != nil {
				panic(err)
			}
			b = append(b, raw...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

const macs = "02000a000002 02000a000001"

func eth(typ string, rest ...any) []byte { return cat(macs, typ, cat(rest...)) }

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func ip4(protocol byte, rest ...any) []byte {
	body := cat(rest...)
	return cat("4500", be16(20+len(body)), "0001 4000 40", []byte{protocol}, "0000 c0a80001 c0a80002", body)
}

func ip6(next byte, rest ...any) []byte {
	body := cat(rest...)
	return cat("60000000", be16(len(body)), []byte{next}, "40", "fd000000000000000000000000000001 fd000000000000000000000000000002", body)
}

func udp(src, dst int, rest ...any) []byte {
	body := cat(rest...)
	return cat(be16(src), be16(dst), be16(8+len(body)), "0000", body)
}

// An encapsulated is the one segment of conversation or conversation6 under
// some headers.
type encapsulated struct {
	link sniffer.LinkType
	data []byte
}

// encapsulations returns a segment under every kind of header.
func encapsulations(tb testing.TB) map[string]encapsulated {
	_, v4 := one(tb, conversation)
	_, v6 := one(tb, conversation6)
	ether, ether6 := eth("0800", v4), eth("86dd", v6)
	fromV6 := func(next string, headers ...any) []byte { // v6 with extension headers put in
		h := cat(headers...)
		b := bytes.Clone(v6)
		b[6] = cat(next)[0]
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40+len(h)))
		return cat(b[:40], h, v6[40:])
	}
	return map[string]encapsulated{
		"ethernet":              {1, ether},
		"ethernet padded":       {1, cat(ether, "000000000000")},
		"ethernet ipv6":         {1, ether6},
		"vlan":                  {1, eth("8100", "2064 0800", v4)},
		"vlan priority":         {1, eth("8100", "0000 86dd", v6)},
		"802.1ad":               {1, eth("88a8", "0064 8100 0065 0800", v4)},
		"old q-in-q":            {1, eth("9100", "0064 9200 0065 86dd", v6)},
		"vlan, length":          {1, eth("8100", "0064", be16(8+len(v4)), "aaaa03 000000 0800", v4)},
		"llc snap":              {1, cat(macs, be16(8+len(v4)), "aaaa03 000000 0800", v4, "0000")},
		"llc 802.1h":            {1, cat(macs, be16(8+len(v6)), "aaaa03 0000f8 86dd", v6)},
		"llc ip":                {1, cat(macs, be16(3+len(v4)), "060603", v4)},
		"mpls":                  {1, eth("8847", "00010040 00020140", v4)},
		"mpls ipv6":             {1, eth("8848", "00010140", v6)},
		"mpls explicit null":    {1, eth("8847", "00000140", v4)},
		"mpls explicit null 6":  {1, eth("8847", "00002140", v6)},
		"mpls pseudowire":       {1, eth("8847", "00010140 00000000", ether)},
		"mpls pseudowire, bare": {1, eth("8847", "00010140", ether)},
		"mpls pseudowire 4x":    {1, eth("8847", "00010140", "450000000002 4c000a000001 0800", v4)},
		"mpls pseudowire 6x":    {1, eth("8847", "00010140", "600000000002 4c000a000001 86dd", v6)},
		"pppoe":                 {1, eth("8864", "11000001", be16(2+len(v4)), "0021", v4, "00000000")},
		"pppoe ipv6":            {1, eth("8864", "11000001", be16(2+len(v6)), "0057", v6)},
		"pppoe short protocol":  {1, eth("8864", "11000001", be16(1+len(v4)), "21", v4)},
		"pppoe mpls":            {1, eth("8864", "11000001", be16(6+len(v4)), "0281 00010140", v4)},
		"pppoe of no length":    {1, eth("8864", "11000001 0000 0021", v4)},
		"bridged in ethernet":   {1, eth("6558", ether)},

		"null little endian": {0, cat("02000000", v4)},
		"null big endian":    {0, cat("00000002", v4)},
		"null darwin ipv6":   {0, cat("1e000000", v6)},
		"null freebsd ipv6":  {0, cat("0000001c", v6)},
		"null netbsd ipv6":   {0, cat("18000000", v6)},
		"null windows ipv6":  {0, cat("17000000", v6)},
		"null linux ipv6":    {0, cat("0a000000", v6)},
		"loop":               {108, cat("00000002", v4)},
		"loop ipv6":          {108, cat("00000018", v6)},
		"raw":                {101, v4},
		"raw ipv6":           {101, v6},
		"raw 12":             {12, v4},
		"raw 14":             {14, v6},
		"raw ipv4 only":      {228, v4},
		"raw ipv6 only":      {229, v6},
		"ppp":                {9, cat("0021", v4)},
		"ppp framed":         {9, cat("ff03 0057", v6)},
		"ppp serial":         {50, cat("ff03 0021", v4)},
		"ppp over ethernet":  {51, cat("11000001", be16(2+len(v4)), "0021", v4)},
		"cisco hdlc":         {104, cat("0f00 0800", v4)},
		"cisco hdlc, ppp":    {104, cat("ff03 0057", v6)},
		"cooked":             {113, cat("0000 0001 0006 02000a0000010000 0800", v4)},
		"cooked vlan":        {113, cat("0000 0001 0006 02000a0000010000 8100 0064 86dd", v6)},
		"cooked llc":         {113, cat("0000 0001 0006 02000a0000010000 0004 aaaa03 000000 0800", v4)},
		"cooked 2":           {276, cat("0800 0000 00000000 0001 00 06 02000a0000010000", v4)},

		"ipv6 hop by hop":      {101, fromV6("00", "06 00 0502 0000 0100")},
		"ipv6 routing":         {101, fromV6("2b", "06 02 0400", make([]byte, 20))},
		"ipv6 chain":           {101, fromV6("00", "3c 00 0104 00000000", "33 00 0104 00000000", "06 04 0000 00000001 00000001", make([]byte, 12))},
		"ipv6 atomic":          {101, fromV6("2c", "06 00 0000 00000001")},
		"ipv4 in ipv4":         {101, ip4(4, v4)},
		"ipv6 in ipv4":         {101, ip4(41, v6)},
		"ipv4 in ipv6":         {101, ip6(4, v4)},
		"ipv6 in ipv6":         {101, ip6(41, v6)},
		"in ipv6, option":      {101, ip6(60, "29 00 04 01 04 01 01 00", v6)},
		"ah":                   {101, ip4(51, "04 04 0000 00000001 00000001", make([]byte, 12), v4)},
		"mpls in ip":           {101, ip4(137, "00010140", v4)},
		"etherip":              {101, ip4(97, "3000", ether)},
		"gre":                  {101, ip4(47, "0000 0800", v4)},
		"gre over ipv6":        {101, ip6(47, "0000 86dd", v6)},
		"gre checksum":         {101, ip4(47, "8000 0800 12340000", v4)},
		"gre key":              {101, ip4(47, "2000 0800 00000007", v4)},
		"gre key, sequence":    {101, ip4(47, "3000 86dd 00000007 00000001", v6)},
		"gre all":              {101, ip4(47, "b000 0800 12340000 00000007 00000001", v4)},
		"gre routing":          {101, ip4(47, "4000 0800 00000000 0800 0004 0a000001 0000 0000", v4)},
		"gre bridging":         {101, ip4(47, "0000 6558", ether)},
		"nvgre":                {101, ip4(47, "2000 6558 00000700", ether6)},
		"gre vlan":             {101, ip4(47, "0000 8100 0064 0800", v4)},
		"gre mpls":             {101, ip4(47, "0000 8847 00010140", v4)},
		"gre ppp":              {101, ip4(47, "3081 880b", be16(4+len(v4)), "0001 00000001 00000001 ff03 0021", v4)},
		"gre wccp":             {101, ip4(47, "0000 883e 00000000", v4)},
		"gre wccp 1":           {101, ip4(47, "0000 883e", v4)},
		"erspan 1":             {101, ip4(47, "0000 88be", ether)},
		"erspan 2":             {101, ip4(47, "1000 88be 00000001 1001 0001 00000000", ether)},
		"erspan 3":             {101, ip4(47, "1000 22eb 00000001 2001 0001 00000000 0000 0000", ether)},
		"erspan 3, platform":   {101, ip4(47, "1000 22eb 00000001 2001 0001 00000000 0000 0001 0000000000000000", ether)},
		"erspan 3, ip":         {101, ip4(47, "1000 22eb 00000001 2001 0001 00000000 0000 0800", v6)},
		"gre in udp":           {101, ip4(17, udp(50000, 4754, "2000 0800 00000007", v4))},
		"mpls in udp":          {101, ip4(17, udp(50000, 6635, "00010140", v4))},
		"vxlan":                {101, ip4(17, udp(50000, 4789, "08000000 00000700", ether))},
		"vxlan over ipv6":      {101, ip6(17, udp(50000, 8472, "08000000 00000700", ether6))},
		"vxlan group policy":   {101, ip4(17, udp(50000, 4789, "88000001 00000700", ether))},
		"vxlan, reserved bits": {101, ip4(17, udp(50000, 4789, "fffffffe 000007ff", ether))},
		"vxlan, bits of gpe":   {101, ip4(17, udp(50000, 4789, "0c000001 00000700", ether))},
		"vxlan gpe ipv4":       {101, ip4(17, udp(50000, 4790, "0c000001 00000700", v4))},
		"vxlan gpe ipv6":       {101, ip4(17, udp(50000, 4790, "0c000002 00000700", v6))},
		"vxlan gpe ethernet":   {101, ip4(17, udp(50000, 4790, "0c000003 00000700", ether))},
		"vxlan gpe, no type":   {101, ip4(17, udp(50000, 4790, "08000000 00000700", ether))},
		"gtp":                  {101, ip4(17, udp(50000, 2152, "30 ff", be16(len(v4)), "00000007", v4))},
		"gtp ipv6":             {101, ip6(17, udp(2152, 2152, "30 ff", be16(len(v6)), "00000007", v6))},
		"gtp ethernet":         {101, ip4(17, udp(50000, 2152, "30 ff", be16(len(ether)), "00000007", ether))},
		"gtp, sequence":        {101, ip4(17, udp(50000, 2152, "32 ff", be16(4+len(v4)), "00000007 0001 00 00", v4))},
		"gtp, unused type":     {101, ip4(17, udp(50000, 2152, "32 ff", be16(4+len(v4)), "00000007 0001 00 85", v4))},
		"gtp, extensions":      {101, ip4(17, udp(50000, 2152, "34 ff", be16(16+len(v4)), "00000007 0000 00 85", "01 1001 c0", "02 000000 000000 00", v4))},
		"gtp, padded":          {101, ip4(17, udp(50000, 2152, "30 ff", be16(len(v4)), "00000007", v4, "0000"))},
		"l2tp":                 {101, ip4(17, udp(1701, 1701, "0002 0001 0002", "ff03 0021", v4))},
		"l2tp, from":           {101, ip4(17, udp(1701, 50000, "0002 0001 0002", "0057", v6))},
		"l2tp, all fields":     {101, ip4(17, udp(50000, 1701, "4a02", be16(17+4+len(v4)), "0001 0002 0003 0004 0003 abcdef", "ff03 0021", v4, "00"))},
		"l2tp 3":               {101, ip4(115, "00000007", ether)},
		"l2tp 3, sublayer":     {101, ip4(115, "00000007 00000000", ether)},
		"l2tp 3, cookie":       {101, ip6(115, "00000007 0102030405060708 40000001", ether6)},
		"l2tp 3, vlan":         {101, ip4(115, "00000007 01020304", eth("8100", "0064 0800", v4))},
		"l2tp 3, ppp":          {101, ip4(115, "00000007 01020304", "ff03 0021", v4)},
		"l2tp 3, bare ppp":     {101, ip4(115, "00000007", "0057", v6)},
		"l2tp 3 in udp":        {101, ip4(17, udp(1701, 1701, "0003 0000 00000007 00000000", ether))},
		"vxlan, padded":        {101, ip4(17, udp(50000, 4789, "08000000 00000700", ether, "0000000000"))},
		"geneve":               {101, ip4(17, udp(50000, 6081, "0000 6558 00000700", ether))},
		"geneve options":       {101, ip4(17, udp(50000, 6081, "0300 6558 00000700 01080102 0000000000000007", ether))},
		"geneve ip":            {101, ip4(17, udp(50000, 6081, "0000 0800 00000700", v4))},
		"vxlan in vxlan":       {101, ip4(17, udp(1, 4789, "0800000000000700", eth("0800", ip4(17, udp(1, 4789, "0800000000000800", ether)))))},
	}
}

// segment returns what decoding should yield.
func (e *encapsulated) segment(tb testing.TB) sniffer.Segment {
	want, v4 := one(tb, conversation)
	want6, v6 := one(tb, conversation6)
	if bytes.Contains(e.data, v6[40:]) && !bytes.Contains(e.data, v4) {
		return want6
	}
	return want
}

// TestDecodeLayers decodes a segment under every kind of header.
func TestDecodeLayers(t *testing.T) {
	for name, tt := range encapsulations(t) {
		t.Run(name, func(t *testing.T) {
			want := tt.segment(t)
			f := sniffer.Frame{Time: want.Time, Data: tt.data, Length: uint32(len(tt.data)), Interface: 3, Link: tt.link}
			want.Interface = 3
			var d sniffer.Decoder
			var got sniffer.Segment
			if !d.Decode(&f, &got) {
				t.Fatalf("no segment: %+v", d.Stats())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			checkEveryCut(t, f, want)
		})
	}
}

// checkEveryCut cuts the frame to every length, as a snaplen does. Wherever
// the TCP header is left, the segment is, with its length; elsewhere the cut is
// what is counted.
func checkEveryCut(t *testing.T, f sniffer.Frame, want sniffer.Segment) {
	t.Helper()
	whole := f.Data
	tcp := bytes.LastIndex(whole, []byte{0x9c, 0x40, 0, 80}) // the ports
	for n := range whole {
		f.Data = whole[:n:n]
		var d sniffer.Decoder
		var got sniffer.Segment
		ok := d.Decode(&f, &got)
		if ok != (n >= tcp+20) {
			t.Fatalf("cut to %d bytes: segment found: %t", n, ok)
		}
		if ok {
			want.Payload = want.Payload[:min(int(want.Length), n-tcp-20)]
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("cut to %d bytes: %s", n, diff)
			}
			want.Payload = want.Payload[:want.Length]
		} else if s := d.Stats(); s.Errors[sniffer.CutHeader] != 1 && s.Other != 1 {
			// Other: what is left of a guess under MPLS.
			t.Fatalf("cut to %d bytes: %+v", n, s)
		}
	}
}

func TestDecodeCounts(t *testing.T) {
	_, v4 := one(t, conversation)
	_, v6 := one(t, conversation6)
	change := func(b []byte, at int, to string) []byte {
		b = bytes.Clone(b)
		copy(b[at:], cat(to))
		return b
	}
	other := sniffer.NumDecodeErrors
	tests := map[string]struct {
		link sniffer.LinkType
		data []byte
		want sniffer.DecodeError
		// Of what is well formed: which number says that it is not decoded.
		named string
	}{
		"unknown link":            {147, v4, sniffer.UnknownLink, ""},
		"empty":                   {1, nil, sniffer.BadEthernet, ""},
		"ethernet short":          {1, cat(macs), sniffer.BadEthernet, ""},
		"vlan short":              {1, eth("8100", "0064"), sniffer.BadEthernet, ""},
		"vlan for ever":           {1, eth("8100", bytes.Repeat(cat("0064 8100"), 100)), sniffer.TooDeep, ""},
		"arp":                     {1, eth("0806", "0001 0800"), other, "EtherType 0x0806"},
		"spanning tree":           {1, eth("0026", "424203", make([]byte, 35)), other, "rest"},
		"llc short":               {1, eth("0002", "aaaa 03"), sniffer.BadEthernet, ""},
		"snap short":              {1, eth("0005", "aaaa03 0000"), sniffer.BadEthernet, ""},
		"snap cisco":              {1, eth("0008", "aaaa03 00000c 2000"), other, "rest"},
		"between length, type":    {1, eth("05ff", "aaaa03"), other, "rest"},
		"mpls short":              {1, eth("8847", "000100"), sniffer.BadMPLS, ""},
		"mpls nothing under":      {1, eth("8847", "00010140"), sniffer.BadMPLS, ""},
		"mpls for ever":           {1, eth("8847", make([]byte, 400)), sniffer.TooDeep, ""},
		"mpls oam":                {1, eth("8847", "00010140 10000021", make([]byte, 20)), other, "rest"},
		"mpls bad ipv4":           {1, eth("8847", "00010140", change(v4, 0, "44")), sniffer.BadIPv4, ""},
		"pppoe short":             {1, eth("8864", "1100"), sniffer.BadPPPoE, ""},
		"pppoe version":           {1, eth("8864", "21000001 0000"), sniffer.BadPPPoE, ""},
		"pppoe echo":              {1, eth("8864", "11000001 0002 c021"), other, "rest"},
		"pppoe discovery":         {51, cat("11090000 0000"), other, "rest"},
		"ppp short":               {9, cat("00"), sniffer.BadLink, ""},
		"null short":              {0, cat("0200"), sniffer.BadLink, ""},
		"null appletalk":          {0, cat("10000000"), other, "rest"},
		"cooked short":            {113, cat("0000"), sniffer.BadLink, ""},
		"cooked 2 short":          {276, cat("0000"), sniffer.BadLink, ""},
		"hdlc short":              {104, cat("0f00"), sniffer.BadLink, ""},
		"raw version":             {101, change(v4, 0, "55"), sniffer.BadLink, ""},
		"raw empty":               {101, nil, sniffer.BadLink, ""},
		"ipv4 short":              {228, v4[:19], sniffer.BadIPv4, ""},
		"ipv4 version":            {228, v6, sniffer.BadIPv4, ""},
		"ipv4 header length":      {101, change(v4, 0, "44"), sniffer.BadIPv4, ""},
		"ipv4 length":             {101, change(v4, 2, "0013"), sniffer.BadIPv4, ""},
		"ipv6 short":              {229, v6[:39], sniffer.BadIPv6, ""},
		"ipv6 version":            {229, v4, sniffer.BadIPv6, ""},
		"ipv6 option short":       {101, ip6(0, "06 00"), sniffer.BadIPv6, ""},
		"ipv6 option long":        {101, ip6(0, "06 09 000000000000"), sniffer.BadIPv6, ""},
		"ipv6 fragment short":     {101, ip6(44, "06 00"), sniffer.BadIPv6, ""},
		"ipv6 options for ever":   {101, ip6(60, bytes.Repeat(cat("3c00 0104 00000000"), 50)), sniffer.TooDeep, ""},
		"ipv6 none":               {101, ip6(59), other, "IP protocol 59"},
		"ah short":                {101, ip4(51, "0600"), sniffer.BadIPv4, ""},
		"ah too short":            {101, ip6(51, "06 00 0000 00000001 00000001"), sniffer.BadIPv6, ""},
		"esp":                     {101, ip4(50, make([]byte, 40)), other, "IP protocol 50"},
		"tcp short":               {101, ip4(6, make([]byte, 19)), sniffer.BadTCP, ""},
		"tcp data offset":         {1, eth("0800", change(v4, 32, "40")), sniffer.BadTCP, ""},
		"tcp data offset 6":       {101, change(v6, 52, "40"), sniffer.BadTCP, ""},
		"tcp options too long":    {1, eth("0800", change(v4, 32, "f0")), sniffer.BadTCP, ""},
		"udp short":               {101, ip4(17, "0001"), sniffer.BadUDP, ""},
		"udp length":              {101, ip4(17, "0035 0035 0007 0000"), sniffer.BadUDP, ""},
		"udp other":               {101, ip4(17, udp(1, 2)), other, "UDP port 1"},
		"dns not asked for":       {101, ip4(17, udp(53, 4789, make([]byte, 12))), other, "UDP port 53"},
		"icmp error":              {101, ip4(1, "0301 0000 00000000", v4), other, "IP protocol 1"},
		"icmp6 error":             {101, ip6(58, "0100 0000 00000000", v6), other, "IP protocol 58"},
		"gre short":               {101, ip4(47, "0000"), sniffer.BadGRE, ""},
		"gre flags short":         {101, ip4(47, "b000 0800 0000"), sniffer.BadGRE, ""},
		"gre routing short":       {101, ip4(47, "4000 0800 00000000 0800 00ff"), sniffer.BadGRE, ""},
		"gre version":             {101, ip4(47, "0002 0800", v4), sniffer.BadGRE, ""},
		"gre acknowledgment":      {101, ip4(47, "2081 880b 0000 0001 00000001"), other, "rest"},
		"gre keep-alive":          {101, ip4(47, "0000 0000"), other, "EtherType 0x0000"},
		"erspan short":            {101, ip4(47, "1000 88be 00000001 1001"), sniffer.BadGRE, ""},
		"erspan version":          {101, ip4(47, "1000 88be 00000001 7001 0001 00000000"), sniffer.BadGRE, ""},
		"erspan 3 version":        {101, ip4(47, "1000 22eb 00000001", make([]byte, 12)), sniffer.BadGRE, ""},
		"vxlan short":             {101, ip4(17, udp(1, 4789, "0800")), sniffer.BadVXLAN, ""},
		"vxlan no id":             {101, ip4(17, udp(1, 8472, "00000000 00000000", v4)), sniffer.BadVXLAN, ""},
		"vxlan gpe nsh":           {101, ip4(17, udp(1, 4790, "0c000004 00000000")), other, "UDP port 4790"},
		"vxlan gpe oam":           {101, ip4(17, udp(1, 4790, "0d000001 00000000", v4)), other, "UDP port 4790"},
		"vxlan gpe short":         {101, ip4(17, udp(1, 4790, "0c0000")), sniffer.BadVXLAN, ""},
		"vxlan gpe version":       {101, ip4(17, udp(1, 4790, "1c000001 00000000", v4)), sniffer.BadVXLAN, ""},
		"udp of clients":          {101, ip4(17, udp(50000, 40000)), other, "rest"},
		"gtp short":               {101, ip4(17, udp(1, 2152, "30ff 0000")), sniffer.BadGTP, ""},
		"gtp echo":                {101, ip4(17, udp(1, 2152, "3201 0004 00000000 00010000")), other, "UDP port 2152"},
		"gtp version 2":           {101, ip4(17, udp(1, 2152, "48ff 0000 00000000")), other, "UDP port 2152"},
		"gtp nothing in it":       {101, ip4(17, udp(1, 2152, "30ff 0000 00000000")), sniffer.BadGTP, ""},
		"gtp length":              {101, ip4(17, udp(1, 2152, "30ff 0008 00000000", v4)), sniffer.BadIPv4, ""},
		"gtp options short":       {101, ip4(17, udp(1, 2152, "32ff 0002 00000000 0000 0000")), sniffer.BadGTP, ""},
		"gtp extension of none":   {101, ip4(17, udp(1, 2152, "34ff 0008 00000000 00000085 00000000")), sniffer.BadGTP, ""},
		"gtp extension short":     {101, ip4(17, udp(1, 2152, "34ff 0008 00000000 00000085 02000000")), sniffer.BadGTP, ""},
		"gtp extension missing":   {101, ip4(17, udp(1, 2152, "34ff 0004 00000000 00000085")), sniffer.BadGTP, ""},
		"gtp extensions for ever": {101, ip4(17, udp(1, 2152, "34ff 0194 00000000 00000085", bytes.Repeat(cat("01000085"), 100))), sniffer.TooDeep, ""},
		"gtp not ip":              {101, ip4(17, udp(1, 2152, "30ff 0004 00000000 00000001")), other, "rest"},
		"l2tp short":              {101, ip4(17, udp(1, 1701, "0002 0001")), sniffer.BadL2TP, ""},
		"l2tp control":            {101, ip4(17, udp(1, 1701, "c802 000c 0001 0000 0000 0000")), other, "UDP port 1701"},
		"l2f":                     {101, ip4(17, udp(1, 1701, "0001 0000 0000 0000")), other, "UDP port 1701"},
		"l2tp length":             {101, ip4(17, udp(1, 1701, "4002 0004 0001 0002 0021", v4)), sniffer.BadL2TP, ""},
		"l2tp offset":             {101, ip4(17, udp(1, 1701, "0202 0001 0002 ffff 0021", v4)), sniffer.BadL2TP, ""},
		"l2tp lcp":                {101, ip4(17, udp(1, 1701, "0002 0001 0002 ff03 c021 0901 0008")), other, "rest"},
		"l2tp 3 short":            {101, ip4(115, "0000"), sniffer.BadL2TP, ""},
		"l2tp 3 control":          {101, ip4(115, "00000000 c803 0014"), other, "IP protocol 115"},
		"l2tp 3 of other":         {101, ip4(115, "00000007", make([]byte, 60)), other, "IP protocol 115"},
		"l2tp 3 in udp, other":    {101, ip4(17, udp(1, 1701, "0003 0000 00000007", v4)), other, "UDP port 1701"},
		"geneve short":            {101, ip4(17, udp(1, 6081, "0000")), sniffer.BadGeneve, ""},
		"geneve version":          {101, ip4(17, udp(1, 6081, "4000 6558 00000000")), sniffer.BadGeneve, ""},
		"geneve options short":    {101, ip4(17, udp(1, 6081, "0100 6558 00000000")), sniffer.BadGeneve, ""},
		"etherip version":         {101, ip4(97, "4000"), sniffer.BadEthernet, ""},
		"tunnels for ever":        {101, nested(60), sniffer.TooDeep, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var d sniffer.Decoder
			var got sniffer.Segment
			f := sniffer.Frame{Data: tt.data, Length: uint32(len(tt.data)), Link: tt.link}
			if d.Decode(&f, &got) {
				t.Fatalf("segment found: %+v", got)
			}
			want, stats := sniffer.DecodeStats{Frames: 1}, d.Stats()
			if tt.want == other {
				want.Other = 1
			} else {
				want.Errors[tt.want] = 1
			}
			if named := notDecoded(&stats.NotDecoded); named != tt.named {
				t.Errorf("not decoded: %q, want %q", named, tt.named)
			}
			want.NotDecoded = stats.NotDecoded
			if diff := cmp.Diff(want, stats, cmpopts.EquateComparable(sniffer.NotDecoded{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// notDecoded returns the numbers of n, and "rest" for what has none.
func notDecoded(n *sniffer.NotDecoded) string {
	var names []string
	for _, u := range n.All() {
		names = append(names, u.String())
	}
	if n.Rest > 0 {
		names = append(names, "rest")
	}
	return strings.Join(names, ", ")
}

// nested returns n IPv4 headers, one in the other.
func nested(n int) []byte {
	var b []byte
	for range n {
		b = ip4(4, b)
	}
	return b
}

func TestDecodeLengths(t *testing.T) {
	segment, v4 := one(t, conversation)
	_, v6 := one(t, conversation6)
	n := segment.Length
	zero := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at], b[at+1] = 0, 0
		return b
	}
	options := cat(v4[:20], "94040000", v4[20:32], "60", v4[33:40], "01010101", v4[40:])
	options[0] = 0x46
	options[3] += 8
	tests := map[string]struct {
		data    []byte
		length  uint32 // of the frame
		want    uint32 // of the segment
		payload int
	}{
		"offload":            {eth("0800", zero(v4, 2)), 0, n, int(n)},
		"offload, cut":       {eth("0800", zero(v4, 2)), 200054, 200000, int(n)},
		"offload 6":          {eth("86dd", zero(v6, 4)), 0, n, int(n)},
		"offload 6, cut":     {eth("86dd", zero(v6, 4)), 500074, 500000, int(n)},
		"offload in tunnel":  {eth("0800", zero(ip4(4, zero(v4, 2)), 2)), 0, n, int(n)},
		"options":            {eth("0800", options), 0, n, int(n)},
		"cut amid options":   {eth("0800", options[:24+22]), 14 + uint32(len(options)), n, 0},
		"padded":             {eth("0800", v4, "00000000"), 0, n, int(n)},
		"length past frame":  {eth("0800", v4[:len(v4)-3]), 0, n, int(n) - 3},
		"length below bytes": {eth("0800", v4), 3, n, int(n)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := sniffer.Frame{Data: tt.data, Length: max(tt.length, uint32(len(tt.data))), Link: 1}
			if name == "length below bytes" {
				f.Length = tt.length
			}
			var d sniffer.Decoder
			var got sniffer.Segment
			if !d.Decode(&f, &got) {
				t.Fatalf("no segment: %+v", d.Stats())
			}
			if got.Length != tt.want || len(got.Payload) != tt.payload {
				t.Errorf("length %d, payload of %d bytes, want %d, %d", got.Length, len(got.Payload), tt.want, tt.payload)
			}
		})
	}
	t.Run("offload too long", func(t *testing.T) {
		for want, data := range map[sniffer.DecodeError][]byte{
			sniffer.BadIPv4: eth("0800", zero(v4, 2)), sniffer.BadIPv6: eth("86dd", zero(v6, 4)),
		} {
			var d sniffer.Decoder
			f := sniffer.Frame{Data: data, Length: 1<<32 - 1, Link: 1}
			if d.Decode(&f, new(sniffer.Segment)) || d.Stats().Errors[want] != 1 {
				t.Errorf("%v: %+v", want, d.Stats())
			}
		}
	})
}

func TestDecodeConfig(t *testing.T) {
	_, v4 := one(t, conversation)
	message := cat("0001 0100 0001 0000 0000 0000 016100 0001 0001")
	decode := func(c sniffer.DecoderConfig, b []byte) (sniffer.Segment, bool) {
		var s sniffer.Segment
		ok := sniffer.NewDecoder(c).Decode(&sniffer.Frame{Time: 5, Data: b, Length: uint32(len(b)), Link: 101}, &s)
		return s, ok
	}
	for name, b := range map[string][]byte{
		"ip in ip": ip4(4, v4), "gre": ip4(47, "0000 0800", v4), "mpls in ip": ip4(137, "00010140", v4),
		"vxlan": ip4(17, udp(1, 4789, "0800000000000700", eth("0800", v4))),
	} {
		if s, ok := decode(sniffer.DecoderConfig{NoTunnels: true, DNS: true}, b); ok {
			t.Errorf("NoTunnels: %s: %+v", name, s)
		}
	}
	query := ip4(17, udp(40053, 53, message))
	if s, ok := decode(sniffer.DecoderConfig{}, query); ok {
		t.Errorf("DNS off: %+v", s)
	}
	for name, b := range map[string][]byte{
		"query": query, "answer": ip6(17, udp(53, 40053, message)), "answer to a port of VXLAN": ip4(17, udp(53, 4789, message)),
		"in vxlan": ip4(17, udp(1, 4789, "0800000000000700", eth("0800", query))),
	} {
		s, ok := decode(sniffer.DecoderConfig{DNS: true}, b)
		if !ok || s.Protocol != sniffer.DNS || !bytes.Equal(s.Payload, message) || s.Length != uint32(len(message)) || s.Time != 5 {
			t.Errorf("DNS: %s: %t %+v", name, ok, s)
		}
	}
}

func TestCookedInterface(t *testing.T) {
	_, v4 := one(t, conversation)
	b := cat("0800 0000 00000007 0001 00 06 02000a0000010000", v4)
	var d sniffer.Decoder
	var s sniffer.Segment
	if !d.Decode(&sniffer.Frame{Data: b, Length: uint32(len(b)), Interface: 2, Link: sniffer.LinkSLL2}, &s) || s.Interface != 7<<12+2 {
		t.Errorf("interface %#x", s.Interface)
	}
}

func TestSupported(t *testing.T) {
	for link := range 300 {
		var d sniffer.Decoder
		d.Decode(&sniffer.Frame{Link: sniffer.LinkType(link)}, new(sniffer.Segment))
		if unknown := d.Stats().Errors[sniffer.UnknownLink] == 1; unknown == sniffer.LinkType(link).Supported() {
			t.Errorf("link type %d: supported: %t, decoded: %t", link, !unknown, !unknown)
		}
	}
}

func TestHash(t *testing.T) {
	a, b, c := sniffer.Addr{15: 1}, sniffer.Addr{15: 2}, sniffer.Addr{15: 3}
	hash := func(src, dst sniffer.Addr, port uint16) uint64 {
		return (&sniffer.Segment{Src: sniffer.Endpoint{Addr: src, Port: port}, Dst: sniffer.Endpoint{Addr: dst}}).Hash()
	}
	if hash(a, b, 1) != hash(b, a, 2) {
		t.Error("not symmetric, or ports matter")
	}
	if hash(a, b, 1) == hash(a, c, 1) || hash(a, a, 1) == hash(b, b, 1) {
		t.Error("addresses do not matter")
	}
	// A client and 4096 servers must spread over 4 workers evenly.
	var n [4]int
	for i := range 4096 {
		n[hash(a, sniffer.Addr{10: 0xff, 11: 0xff, 12: 10, 14: byte(i >> 8), 15: byte(i)}, 1)%4]++
	}
	for _, share := range n {
		if share < 900 || share > 1150 {
			t.Errorf("spread over workers: %v", n)
			break
		}
	}
}

func TestDecodeErrorNames(t *testing.T) {
	seen := map[string]bool{}
	errs := sniffer.DecodeErrors{sniffer.BadTCP: 2, sniffer.CutHeader: 3}
	kinds, sum := 0, uint64(0)
	for kind, n := range errs.All() {
		if kind.String() == "" || seen[kind.String()] {
			t.Errorf("name %q of %d", kind, int(kind))
		}
		seen[kind.String()] = true
		kinds++
		sum += n
	}
	for range errs.All() {
		break
	}
	if kinds != int(sniffer.NumDecodeErrors) || sum != errs.Total() || sniffer.NumDecodeErrors.String() != "unknown" {
		t.Errorf("%d kinds, sum %d, total %d", kinds, sum, errs.Total())
	}
}
