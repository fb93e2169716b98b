package sniffer_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/keepscope/keepscope/sniffer"
)

// capturesDir returns where the shared captures lie, or skips the test.
func capturesDir(tb testing.TB) string {
	dir := os.Getenv("KEEPSCOPE_CAPTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "captures")
	}
	if _, err := os.Stat(dir); err != nil {
		tb.Skipf("no shared captures: %v (KEEPSCOPE_CAPTURES names their directory)", err)
	}
	return dir
}

// captures returns the paths of all shared captures.
func captures(tb testing.TB) []string {
	var paths []string
	for _, pattern := range []string{"*.pcap", "*.pcapng", "*.gz"} {
		found, err := filepath.Glob(filepath.Join(capturesDir(tb), pattern))
		if err != nil {
			tb.Fatal(err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// readCapture returns the frames of a file, read by gopacket.
func readCapture(path string) ([]sniffer.Frame, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(file))
		if err != nil {
			return nil, err
		}
		if file, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	if binary.BigEndian.Uint32(file) == 0x0a0d0d0a {
		return readNg(file)
	}
	return readClassic(file)
}

func readNg(file []byte) ([]sniffer.Frame, error) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, err
	}
	var frames []sniffer.Frame
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			return frames, onlyEnd(err)
		}
		link := r.LinkType()
		if len(info.AncillaryData) > 0 {
			link = info.AncillaryData[0].(layers.LinkType)
		}
		frames = append(frames, frame(data, info, sniffer.LinkType(link)))
	}
}

func readClassic(file []byte) ([]sniffer.Frame, error) {
	// gopacket keeps only 8 bits of the link type.
	var order binary.ByteOrder = binary.LittleEndian
	if file[0] == 0xa1 {
		order = binary.BigEndian
	}
	link := sniffer.LinkType(order.Uint32(file[20:]))
	// And it refuses records longer than the snaplen of the header, which one
	// capture has.
	order.PutUint32(file[16:], 262144)
	r, err := pcapgo.NewReader(bufio.NewReader(bytes.NewReader(file)))
	if err != nil {
		return nil, err
	}
	var frames []sniffer.Frame
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			return frames, onlyEnd(err)
		}
		frames = append(frames, frame(data, info, link))
	}
}

// onlyEnd passes errors other than the end of the file, also amid a record:
// some captures are cut.
func onlyEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func frame(data []byte, info gopacket.CaptureInfo, link sniffer.LinkType) sniffer.Frame {
	return sniffer.Frame{
		Time: info.Timestamp.UnixNano(), Data: data, Length: uint32(info.Length),
		Interface: uint32(info.InterfaceIndex), Link: link,
	}
}

// An oracle finds with gopacket's decoders what a Decoder ought to find.
type oracle struct {
	defragmenter *ip4defrag.IPv4Defragmenter
}

// decode returns the innermost TCP segment, or nil. Where gopacket knows the
// parts but not their connection, it is told: Linux cooked v2 (whose type is
// that of Ethernet), GRE in UDP, and fragments, which it leaves to ip4defrag.
func (o *oracle) decode(f *sniffer.Frame) *sniffer.Segment {
	data := f.Data
	var first gopacket.Decoder
	switch f.Link {
	case sniffer.LinkSLL2:
		first, data = layers.EthernetType(binary.BigEndian.Uint16(data)), data[20:]
	case sniffer.LinkIPv4:
		first = layers.LayerTypeIPv4
	case sniffer.LinkIPv6:
		first = layers.LayerTypeIPv6
	default:
		first = layers.LinkType(f.Link)
	}
	return o.walk(f, &sniffer.Segment{Time: f.Time, Interface: f.Interface}, gopacket.NewPacket(data, first, gopacket.NoCopy))
}

// walk goes through the layers of p, which lies within those that filled s.
func (o *oracle) walk(f *sniffer.Frame, s *sniffer.Segment, p gopacket.Packet) (found *sniffer.Segment) {
	var ip *layers.IPv4
	cut := 0 // bytes that the innermost IP datagram misses
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			ip = l
			s.Src.Addr, s.Dst.Addr = sniffer.Addr(l.SrcIP.To16()), sniffer.Addr(l.DstIP.To16())
			cut = int(l.Length) - len(l.Contents) - len(l.Payload)
		case *layers.IPv6:
			s.Src.Addr, s.Dst.Addr = sniffer.Addr(l.SrcIP.To16()), sniffer.Addr(l.DstIP.To16())
			cut = int(l.Length) - len(l.Payload)
		case *layers.UDP:
			if l.DstPort == 4754 {
				found = o.walk(f, s, gopacket.NewPacket(l.Payload, layers.LayerTypeGRE, gopacket.NoCopy))
			}
		case *gopacket.Fragment:
			whole, err := o.defragmenter.DefragIPv4WithTimestamp(ip, time.Unix(0, f.Time))
			if err == nil && whole != nil {
				found = o.walk(f, s, gopacket.NewPacket(whole.Payload, whole.NextLayerType(), gopacket.NoCopy))
			}
		case *layers.TCP:
			s.Src.Port, s.Dst.Port = uint16(l.SrcPort), uint16(l.DstPort)
			s.Seq, s.Ack, s.Window, s.Flags = l.Seq, l.Ack, l.Window, oracleFlags(l)
			s.Payload, s.Length = l.Payload, uint32(cut+len(l.Payload))
			found = s
		}
	}
	return found
}

func oracleFlags(t *layers.TCP) (f sniffer.Flags) {
	for i, set := range []bool{t.FIN, t.SYN, t.RST, t.PSH, t.ACK, t.URG} {
		if set {
			f |= 1 << i
		}
	}
	return f
}

// TestOracle holds the Decoder against gopacket's decoders, frame by frame.
// There is no frame in the shared captures on which they differ.
func TestOracle(t *testing.T) {
	for _, path := range captures(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			frames, err := readCapture(path)
			if err != nil {
				t.Fatal(err)
			}
			o := oracle{ip4defrag.NewIPv4Defragmenter()}
			var d sniffer.Decoder
			for i := range frames {
				want := o.decode(&frames[i])
				got := new(sniffer.Segment)
				if !d.Decode(&frames[i], got) {
					got = nil
				} else if frames[i].Link == sniffer.LinkSLL2 {
					got.Interface &= 1<<12 - 1 // gopacket was not shown the rest
				}
				if !sameSegment(got, want) {
					t.Errorf("frame %d (-gopacket +decoder):\n%s", i+1, cmp.Diff(want, got))
				}
			}
			t.Logf("%+v", d.Stats())
			checkStats(t, d.Stats(), len(frames))
		})
	}
}

// sameSegment spares the cost of cmp.Diff where there is nothing to show.
func sameSegment(a, b *sniffer.Segment) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Payload, y.Payload = nil, nil
	return reflect.DeepEqual(x, y) && bytes.Equal(a.Payload, b.Payload)
}

// checkStats checks that every frame is counted once.
func checkStats(t testing.TB, s sniffer.DecodeStats, frames int) {
	t.Helper()
	sum := s.Segments + s.Datagrams + s.Fragments + s.Other + s.Errors.Total()
	if s.Frames != uint64(frames) || sum != s.Frames {
		t.Errorf("%d frames in, %d counted, %d accounted for: %+v", frames, s.Frames, sum, s)
	}
}
