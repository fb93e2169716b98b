package capfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/klauspost/compress/gzip"

	"github.com/keepscope/keepscope/sniffer"
)

// captures returns the shared captures, or skips the test.
func captures(t *testing.T) []string {
	dir := os.Getenv("KEEPSCOPE_CAPTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "captures")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range paths {
		if strings.Contains(p, ".pcap") || strings.Contains(p, ".dmp") {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		t.Skip("the shared captures are not here; set KEEPSCOPE_CAPTURES")
	}
	return list
}

// byGopacket reads a capture with pcapgo.
func byGopacket(t *testing.T, path string) (frames []sniffer.Frame, last error) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(data)
	if compression(data) == "gzip" {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(data)
	}
	var source gopacket.PacketDataSource
	var link func(gopacket.CaptureInfo) layers.LinkType
	if isSection(data) {
		ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal(err)
		}
		source = ng
		link = func(info gopacket.CaptureInfo) layers.LinkType { return info.AncillaryData[0].(layers.LinkType) }
	} else {
		// pcapgo refuses frames over the snaplen, which real files have.
		copy(data[16:20], "\x00\xff\xff\x00") // in either order
		old, err := pcapgo.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		source = old
		link = func(gopacket.CaptureInfo) layers.LinkType { return old.LinkType() }
	}
	for {
		data, info, err := source.ReadPacketData()
		if err != nil {
			return frames, err
		}
		frames = append(frames, sniffer.Frame{
			Time: info.Timestamp.UnixNano(), Data: data, Length: uint32(max(info.Length, len(data))),
			Interface: uint32(info.InterfaceIndex), Link: sniffer.LinkType(link(info)), // 8 bits of it
			Number: uint32(len(frames) + 1),
		})
	}
}

func TestSharedCapturesEqualGopacket(t *testing.T) {
	for _, path := range captures(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want, last := byGopacket(t, path)
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := all(f)
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			for i := range got {
				got[i].Link &= 0xff
			}
			if diff := diffFrames(want, got); diff != "" {
				t.Fatalf("frames (-pcapgo +capfile):\n%s", diff)
			}
			if truncated := !errors.Is(last, io.EOF); truncated != f.Truncated() {
				t.Errorf("Truncated() = %v (%v), pcapgo: %v", f.Truncated(), f.Warning(), last)
			}
		})
	}
}

// FuzzRead reads any bytes whole and in small pieces: no panic, the same frames
// and the same end, no more memory than the caps. What is compressed is left out:
// to make a decompressor takes longer than all the rest, and they are fuzzed where
// they come from.
func FuzzRead(f *testing.F) {
	for _, data := range variants(f, someFrames(4)) {
		if compression(data) == "" {
			f.Add(data)
		}
	}
	var whole, pieces fuzzReader // reused, as their buffers are what takes the time
	f.Fuzz(func(t *testing.T, data []byte) {
		if compression(data) != "" {
			return
		}
		first := whole.read(t, bytes.NewReader(data))
		second := pieces.read(t, &shortReader{data: data})
		if !slices.EqualFunc(whole.frames, pieces.frames, sameFrame) {
			t.Fatalf("reads of other sizes give other frames: %s", diffFrames(whole.frames, pieces.frames))
		}
		if (first == nil) != (second == nil) || first != nil && first.Error() != second.Error() {
			t.Fatalf("reads of other sizes give another end: %v, %v", first, second)
		}
	})
}

func sameFrame(a, b sniffer.Frame) bool {
	return a.Time == b.Time && a.Length == b.Length && a.Interface == b.Interface && a.Link == b.Link && a.Number == b.Number &&
		bytes.Equal(a.Data, b.Data)
}

// A fuzzReader reads one capture after the other.
type fuzzReader struct {
	batch  sniffer.Batch
	frames []sniffer.Frame
	bytes  []byte // what frames view
}

// read reads a capture, at most a few thousand frames of it.
func (r *fuzzReader) read(t *testing.T, source io.Reader) error {
	r.frames, r.bytes = r.frames[:0], r.bytes[:0]
	f, err := NewReader(source, "fuzz")
	if err != nil {
		return errors.New("cannot be opened")
	}
	defer f.Close()
	f.KeyLog(io.Discard)
	for b := &r.batch; len(r.frames) < 4000; {
		if err := f.Read(b); err != nil {
			if len(b.Frames) > 0 {
				t.Fatal("frames together with an error")
			}
			return err
		}
		if len(b.Frames) == 0 || len(b.Frames) > sniffer.BatchFrames {
			t.Fatalf("batch of %d frames", len(b.Frames))
		}
		if cap(b.Buffer) > 300<<10 || cap(f.carry) > 400<<10 {
			t.Fatal("memory over the caps")
		}
		for _, frame := range b.Frames {
			if len(frame.Data) > maxFrame || int(frame.Length) < len(frame.Data) || int(frame.Interface) >= len(f.interfaces) {
				t.Fatalf("frame %+v", frame)
			}
			at := len(r.bytes)
			r.bytes = append(r.bytes, frame.Data...)
			frame.Data = r.bytes[at:]
			r.frames = append(r.frames, frame)
		}
	}
	r.frames = r.frames[:4000]
	return nil
}

// shortReader reads a few bytes at a time.
type shortReader struct {
	data []byte
	step int
}

func (r *shortReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	r.step = r.step%13 + 1
	n := copy(p[:min(len(p), r.step)], r.data)
	r.data = r.data[n:]
	return n, nil
}
