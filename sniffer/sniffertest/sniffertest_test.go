package sniffertest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// show writes segments as lines: time, direction by ports, numbers, flags,
// length, payload.
func show(segments []sniffer.Segment) string {
	var b strings.Builder
	for _, s := range segments {
		flags := ""
		for i, c := range "FSRPAU" {
			if s.Flags&(1<<i) != 0 {
				flags += string(c)
			}
		}
		fmt.Fprintf(&b, "%v %d>%d seq=%d ack=%d %s %d %q", time.Duration(s.Time-sniffertest.Base.UnixNano()),
			s.Src.Port, s.Dst.Port, s.Seq, s.Ack, flags, s.Length, s.Payload)
		if s.Window != 64240 {
			fmt.Fprintf(&b, " win=%d", s.Window)
		}
		if s.Interface != 0 {
			fmt.Fprintf(&b, " if=%d", s.Interface)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestScript(t *testing.T) {
	const conn = "conn c 10.0.0.1:4000 10.0.0.2:80 isn=100,500\n"
	tests := map[string]struct{ text, want string }{
		"exchange": {conn + `
# a comment
@0s   c handshake rtt=2ms
@10ms c > "GET\r\n" # another, "quoted"
@+1ms c < "a#b" ` + "`\\n`" + ` "x"*3 hex:0d0a
      c > ack
@20ms c > close rtt=4ms
`, `0s 4000>80 seq=100 ack=0 S 0 ""
1ms 80>4000 seq=500 ack=101 SA 0 ""
2ms 4000>80 seq=101 ack=501 A 0 ""
10ms 4000>80 seq=101 ack=501 PA 5 "GET\r\n"
11ms 80>4000 seq=501 ack=106 PA 10 "a#b\\nxxx\r\n"
11ms 4000>80 seq=106 ack=511 A 0 ""
20ms 4000>80 seq=106 ack=511 FA 0 ""
22ms 80>4000 seq=511 ack=107 FA 0 ""
24ms 4000>80 seq=107 ack=512 A 0 ""
`},
		"step by step": {conn + `
c syn
@1ms c synack
@2ms c ack
@1ms c < fin "bye"
`, `0s 4000>80 seq=100 ack=0 S 0 ""
1ms 80>4000 seq=500 ack=101 SA 0 ""
2ms 4000>80 seq=101 ack=501 A 0 ""
1ms 80>4000 seq=501 ack=101 FPA 3 "bye"
`},
		"refused": {conn + "c syn\nc < rst\n", `0s 4000>80 seq=100 ack=0 S 0 ""
0s 80>4000 seq=0 ack=101 RA 0 ""
`},
		"fast open": {conn + "c > syn \"GET\"\nc > dup\nc synack\nc > \"x\"\n", `0s 4000>80 seq=100 ack=0 S 3 "GET"
0s 4000>80 seq=100 ack=0 S 3 "GET"
0s 80>4000 seq=500 ack=104 SA 0 ""
0s 4000>80 seq=104 ack=501 PA 1 "x"
`},
		"loss, order, overlap": {conn + `
c > "abc"
c > gap 10
c < ack
c > "xyz" seq=20
c > "tuvwxy" seq=16 ack=7
c > "!"
c > dup
c > rst noack
`, `0s 4000>80 seq=101 ack=501 PA 3 "abc"
0s 80>4000 seq=501 ack=114 A 0 ""
0s 4000>80 seq=121 ack=501 PA 3 "xyz"
0s 4000>80 seq=117 ack=508 PA 6 "tuvwxy"
0s 4000>80 seq=124 ack=501 PA 1 "!"
0s 4000>80 seq=124 ack=501 PA 1 "!"
0s 4000>80 seq=125 ack=0 R 0 ""
`},
		"probes": {conn + `
c > "abc"
c > probe
c > probe "\x00"
c < ack win=0
c < probe
c > fin
c > probe
c > dup
`, `0s 4000>80 seq=101 ack=501 PA 3 "abc"
0s 4000>80 seq=103 ack=501 A 0 ""
0s 4000>80 seq=103 ack=501 PA 1 "\x00"
0s 80>4000 seq=501 ack=104 A 0 "" win=0
0s 80>4000 seq=500 ack=104 A 0 ""
0s 4000>80 seq=104 ack=501 FA 0 ""
0s 4000>80 seq=104 ack=501 A 0 ""
0s 4000>80 seq=104 ack=501 FA 0 ""
`},
		"wrap, mss, interface, snaplen": {`
conn c [2001:db8::1]:4000 [2001:db8::2]:80 isn=4294967294,4294967295 mss=2 win=9 if=3
c syn
c > "abcde" fin if=1
c < "12345" mss=4 cap=1
`, `0s 4000>80 seq=4294967294 ack=0 S 0 "" win=9 if=3
0s 4000>80 seq=4294967295 ack=0 A 2 "ab" win=9 if=1
0s 4000>80 seq=1 ack=0 A 2 "cd" win=9 if=1
0s 4000>80 seq=3 ack=0 FPA 1 "e" win=9 if=1
0s 80>4000 seq=0 ack=5 A 4 "1" win=9 if=3
0s 80>4000 seq=4 ack=5 PA 1 "5" win=9 if=3
`},
		"simultaneous": {conn + "c > syn\nc < syn\nc > syn ack\nc < syn ack\nc > \"a\\\n b\"\n", `0s 4000>80 seq=100 ack=0 S 0 ""
0s 80>4000 seq=500 ack=0 S 0 ""
0s 4000>80 seq=100 ack=501 SA 0 ""
0s 80>4000 seq=500 ack=101 SA 0 ""
0s 4000>80 seq=101 ack=501 PA 4 "a  b"
`},
		"reuse": {conn + "c > \"a\"\nconn d 10.0.0.1:4000 10.0.0.2:80 isn=9,9\nd syn\nc < \"b\" urg psh\n", `0s 4000>80 seq=101 ack=501 PA 1 "a"
0s 4000>80 seq=9 ack=0 S 0 ""
0s 80>4000 seq=501 ack=102 PAU 1 "b"
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := sniffertest.Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, show(s.Segments())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	const conn = "conn c 10.0.0.1:1 10.0.0.2:2\n"
	for name, text := range map[string]string{
		"unknown connection":  "c syn",
		"conn short":          "conn c 10.0.0.1:1",
		"conn address":        "conn c 10.0.0.1 10.0.0.2:1",
		"conn versions":       "conn c 10.0.0.1:1 [::1]:1",
		"conn option":         "conn c 10.0.0.1:1 10.0.0.2:1 foo=1",
		"conn isn":            "conn c 10.0.0.1:1 10.0.0.2:1 isn=1",
		"conn twice":          conn + conn,
		"conn named dns":      "conn dns 10.0.0.1:1 10.0.0.2:2",
		"time":                conn + "@1 c syn",
		"only a time":         conn + "@1s",
		"only a name":         conn + "c",
		"verb":                conn + "c syns",
		"nothing sent":        conn + "c >",
		"item":                conn + "c > foo",
		"after noack":         conn + "c > noack=1",
		"seq":                 conn + "c > seq=x",
		"window":              conn + "c > win=65536",
		"literal":             conn + "c > \"abc",
		"literal, no space":   conn + "c > \"abc\"fin",
		"repetition":          conn + "c > \"abc\"*x",
		"repetition too long": conn + "c > \"abc\"*1000000000",
		"hex":                 conn + "c > hex:0",
		"rtt":                 conn + "c handshake 1ms",
		"gap":                 conn + "c > gap",
		"gap negative":        conn + "c > gap -1",
		"dup of something":    conn + "c > dup 2",
		"dns short":           "dns 10.0.0.1 10.0.0.2 query",
		"dns word":            "dns 10.0.0.1 10.0.0.2 ask a",
		"dns address":         "dns a 10.0.0.2 query a",
		"dns name":            "dns 10.0.0.1 10.0.0.2 query a..b",
		"dns option":          "dns 10.0.0.1 10.0.0.2 answer a foo=1",
		"dns answer":          "dns 10.0.0.1 10.0.0.2 answer a b",
	} {
		if s, err := sniffertest.Parse([]byte(text)); err == nil {
			t.Errorf("%s: no error: %s", name, show(s.Segments()))
		} else if want := fmt.Sprintf("sniffertest: line %d: ", 1+strings.Count(text, "\n")); name != "conn twice" && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBuilder(t *testing.T) {
	built := new(sniffertest.Script)
	c := built.Conn("10.0.0.1:4000", "10.0.0.2:80", sniffertest.ConnConfig{ISN: &[2]uint32{1, 2}, MSS: 3})
	c.Handshake(0, time.Millisecond)
	c.Client(2*time.Millisecond, []byte("hello"))
	c.Gap(sniffertest.Server, 5)
	c.Server(3*time.Millisecond, []byte("world"))
	c.Repeat(4*time.Millisecond, sniffertest.Server)
	c.Probe(5*time.Millisecond, sniffertest.Client, nil)
	c.Close(6*time.Millisecond, sniffertest.Server, time.Millisecond)
	written := sniffertest.MustParse(`
conn c 10.0.0.1:4000 10.0.0.2:80 isn=1,2 mss=3
@0   c handshake
@2ms c > "hello"
     c < gap 5
@3ms c < "world"
@4ms c < dup
@5ms c > probe
@6ms c < close
`)
	if diff := cmp.Diff(show(written.Segments()), show(built.Segments())); diff != "" {
		t.Error(diff)
	}
}

// everything is a script of all kinds of packets.
const everything = `
conn c 10.0.0.1:4000 10.0.0.2:80
conn d [2001:db8::1]:4001 [2001:db8::2]:443 isn=4294967290,7 if=2
@0     c handshake
@1ms   d handshake
@2ms   c > "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
@3ms   d > "odd"
@4ms   c < "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" "0123456789"*7000
@4ms   d < "abcdefghij" cap=4
@5ms   dns 10.0.0.1 10.0.0.53 query www.example.org
@6ms   dns 10.0.0.1 10.0.0.53 answer www.example.org 10.0.0.2 10.0.0.3 cname=a.example.org
@6ms   dns [2001:db8::1]:999 2001:db8::53 answer b.example 2001:db8::2 ttl=5 id=9 rcode=0 if=1
@7ms   c < close
@8ms   d > rst
`

// TestFramesDecode: the frames of a script decode to its segments, on every
// link type and with every MSS.
func TestFramesDecode(t *testing.T) {
	for _, link := range []sniffer.LinkType{
		sniffer.LinkEthernet, sniffer.LinkNull, sniffer.LinkRaw, sniffer.LinkPPP, sniffer.LinkSLL, sniffer.LinkSLL2,
	} {
		for _, mss := range []int{0, 100, 1460, 100000} {
			s := sniffertest.MustParse(everything)
			if mss > 0 {
				s = s.WithMSS(mss)
			}
			frames, err := s.Frames(link)
			if err != nil {
				t.Fatal(err)
			}
			want := s.Segments()
			var got []sniffer.Segment
			d := sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true})
			for i := range frames {
				var seg sniffer.Segment
				if !d.Decode(&frames[i], &seg) {
					t.Fatalf("frame %d: %+v", i, d.Stats())
				}
				got = append(got, seg)
			}
			if link == sniffer.LinkSLL2 {
				for i := range want {
					want[i].Interface = (want[i].Interface + 1) << 12
				}
			}
			if show(want) != show(got) {
				t.Errorf("link type %d, MSS %d: %s", link, mss, cmp.Diff(show(want), show(got)))
			}
		}
	}
	if _, err := sniffertest.MustParse(everything).Frames(147); err == nil {
		t.Error("frames of link type 147")
	}
}

// TestWithMSS: what each side says is the same however it is cut.
func TestWithMSS(t *testing.T) {
	s := sniffertest.MustParse(everything)
	stream := func(s *sniffertest.Script) map[sniffer.Endpoint]string {
		said := map[sniffer.Endpoint]string{}
		for _, seg := range s.Segments() {
			if seg.Protocol == sniffer.TCP && uint32(len(seg.Payload)) == seg.Length {
				said[seg.Src] += string(seg.Payload)
			}
		}
		return said
	}
	for _, mss := range []int{10, 1460} { // of 10 and up, the one message that is cut stays in one piece
		if diff := cmp.Diff(stream(s), stream(s.WithMSS(mss))); diff != "" {
			t.Errorf("MSS %d: %s", mss, diff)
		}
	}
}

// TestFramesChecksums has gopacket compute lengths and checksums again.
func TestFramesChecksums(t *testing.T) {
	text := strings.ReplaceAll(everything, " cap=4", "") // a cut packet has no checksum to compute
	frames, err := sniffertest.MustParse(text).Frames(sniffer.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		p := gopacket.NewPacket(f.Data, layers.LinkTypeEthernet, gopacket.NoCopy)
		if e := p.ErrorLayer(); e != nil {
			t.Fatalf("frame %d: %v", i, e.Error())
		}
		network := p.NetworkLayer()
		var parts []gopacket.SerializableLayer
		for _, l := range p.Layers()[:3] {
			switch l := l.(type) {
			case *layers.TCP:
				if err := l.SetNetworkLayerForChecksum(network); err != nil {
					t.Fatal(err)
				}
			case *layers.UDP:
				if err := l.SetNetworkLayerForChecksum(network); err != nil {
					t.Fatal(err)
				}
			}
			parts = append(parts, l.(gopacket.SerializableLayer))
		}
		parts = append(parts, gopacket.Payload(p.TransportLayer().LayerPayload()))
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
			t.Fatal(err)
		}
		if want := b.Bytes()[:len(f.Data)]; !bytes.Equal(want, f.Data) { // gopacket pads
			t.Errorf("frame %d:\n got %x\nwant %x", i, f.Data[:60], want[:60])
		}
	}
}

func TestDNS(t *testing.T) {
	segments := sniffertest.MustParse(`
dns 10.0.0.1 10.0.0.53 answer www.example.org 10.0.0.2 10.0.0.3 cname=a.example.org id=7 ttl=9
dns 10.0.0.1:77 10.0.0.53:5353 answer none.example rcode=3 type=HTTPS
dns 10.0.0.1 10.0.0.53 query www.example.org type=AAAA
`).Segments()
	var got []string
	for _, s := range segments {
		var m layers.DNS
		if err := m.DecodeFromBytes(s.Payload, gopacket.NilDecodeFeedback); err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s>%s %d qr=%t rcode=%d %s %d:", s.Src, s.Dst, m.ID, m.QR, m.ResponseCode, m.Questions[0].Name, m.Questions[0].Type)
		for _, a := range m.Answers {
			line += fmt.Sprintf(" %s=%s%s/%d", a.Name, a.CNAME, ip(a.IP), a.TTL)
		}
		got = append(got, line)
	}
	want := []string{
		"10.0.0.53:53>10.0.0.1:40053 7 qr=true rcode=0 www.example.org 1: www.example.org=a.example.org/9 a.example.org=10.0.0.2/9 a.example.org=10.0.0.3/9",
		"10.0.0.53:5353>10.0.0.1:77 1 qr=true rcode=3 none.example 65:",
		"10.0.0.1:40053>10.0.0.53:53 1 qr=false rcode=0 www.example.org 28:",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func ip(b []byte) string {
	if a, ok := netip.AddrFromSlice(b); ok {
		return a.String()
	}
	return ""
}

// TestFiles reads what was written with gopacket's readers.
func TestFiles(t *testing.T) {
	script := sniffertest.MustParse(everything)
	frames, err := script.Frames(sniffer.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	type reader interface {
		ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	}
	for name, o := range map[string]sniffertest.FileOptions{
		"plain": {}, "big endian": {BigEndian: true}, "microseconds": {Microseconds: true}, "snaplen": {Snaplen: 60, BigEndian: true},
	} {
		for _, format := range []string{"pcap", "pcapng"} {
			t.Run(name+" "+format, func(t *testing.T) {
				var file bytes.Buffer
				var r reader
				var err error
				if format == "pcap" {
					err = script.WritePCAP(&file, sniffer.LinkEthernet, o)
				} else {
					err = script.WritePCAPNG(&file, sniffer.LinkEthernet, o)
				}
				if err != nil {
					t.Fatal(err)
				}
				if format == "pcap" {
					r, err = pcapgo.NewReader(&file)
				} else {
					r, err = pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
				}
				if err != nil {
					t.Fatal(err)
				}
				for i, f := range frames {
					data, info, err := r.ReadPacketData()
					if err != nil {
						t.Fatal(err)
					}
					if o.Snaplen > 0 {
						f.Data = f.Data[:min(len(f.Data), o.Snaplen)]
					}
					if !bytes.Equal(data, f.Data) || info.Length != int(f.Length) || info.Timestamp.UnixNano() != f.Time {
						t.Fatalf("frame %d: %d bytes, %+v", i, len(data), info)
					}
					if format == "pcapng" && info.InterfaceIndex != int(f.Interface) {
						t.Fatalf("frame %d: interface %d", i, info.InterfaceIndex)
					}
				}
				if _, _, err := r.ReadPacketData(); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			})
		}
	}
	for _, write := range []func(io.Writer, sniffer.LinkType, sniffertest.FileOptions) error{script.WritePCAP, script.WritePCAPNG} {
		if write(io.Discard, 147, sniffertest.FileOptions{}) == nil {
			t.Error("a file of link type 147")
		}
	}
}

func TestSource(t *testing.T) {
	frames, err := sniffertest.MustParse(everything).WithMSS(100).Frames(sniffer.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 7, 1000} {
		source := sniffertest.Source{Frames: frames, Size: size}
		var b sniffer.Batch
		n := 0
		for {
			err := source.Read(&b)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || len(b.Frames) == 0 || len(b.Frames) > sniffer.BatchFrames {
				t.Fatal(len(b.Frames), err)
			}
			for _, f := range b.Frames {
				if !bytes.Equal(f.Data, frames[n].Data) || f.Time != frames[n].Time {
					t.Fatalf("frame %d differs", n)
				}
				n++
			}
		}
		if n != len(frames) || len(b.Frames) != 0 {
			t.Errorf("size %d: %d frames of %d", size, n, len(frames))
		}
	}
}

// TestSourceOverwrites: a view of a batch is garbage after the next Read.
func TestSourceOverwrites(t *testing.T) {
	frame := sniffer.Frame{Data: []byte("frame"), Length: 5}
	source := sniffertest.Source{Frames: []sniffer.Frame{frame}}
	var b sniffer.Batch
	if err := source.Read(&b); err != nil {
		t.Fatal(err)
	}
	kept := b.Frames[0].Data
	if err := source.Read(&b); !errors.Is(err, io.EOF) || string(kept) == "frame" {
		t.Errorf("%q, %v", kept, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1000 || bytes.Contains(text, []byte("*")) {
			return // repetitions make a lot of a little
		}
		s, err := sniffertest.Parse(text)
		if err != nil {
			return
		}
		frames, err := s.Frames(sniffer.LinkEthernet)
		if err != nil || len(frames) != len(s.Segments()) {
			t.Fatal(len(frames), err)
		}
	})
}
