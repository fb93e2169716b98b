package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/keepscope/keepscope/sniffer"
)

// variants are the same frames in every format.
func variants(t testing.TB, frames []sniffer.Frame) map[string][]byte {
	list := make(map[string][]byte)
	for name, o := range orders() {
		list["pcap micro "+name] = pcapFile(o, magicMicro, frames)
		list["pcap nano "+name] = pcapFile(o, magicNano, frames)
		list["pcap modified "+name] = pcapFile(o, magicModified, frames)
		list["pcapng "+name] = ngFile(o, frames)
	}
	for name, plain := range list {
		half := len(plain) / 2
		list["gzip "+name] = gzipped(t, plain[:half], plain[half:])
		list["zstd "+name] = zstded(t, plain)
	}
	skippable := append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), list["zstd pcapng big"]...)
	list["zstd after a skippable frame"] = skippable
	return list
}

func TestEveryVariantYieldsTheSameFrames(t *testing.T) {
	want := someFrames(1000)
	readers := map[string]func([]byte) io.Reader{
		"whole":        func(p []byte) io.Reader { return bytes.NewReader(p) },
		"byte by byte": func(p []byte) io.Reader { return iotest.OneByteReader(bytes.NewReader(p)) },
		"data and EOF": func(p []byte) io.Reader { return iotest.DataErrReader(bytes.NewReader(p)) },
		"halves":       func(p []byte) io.Reader { return iotest.HalfReader(bytes.NewReader(p)) },
	}
	for name, data := range variants(t, want) {
		path := filepath.Join(t.TempDir(), "capture")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(name+"/file", func(t *testing.T) {
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			wantFrames(t, f, want)
			if read, total := f.Bytes(); read != int64(len(data)) || total != read {
				t.Errorf("Bytes() = %d, %d, want %d twice", read, total, len(data))
			}
			if f.Warning() != nil || f.Truncated() {
				t.Errorf("Warning() = %v", f.Warning())
			}
		})
		for how, reader := range readers {
			t.Run(name+"/"+how, func(t *testing.T) {
				f, err := NewReader(reader(data), name)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				wantFrames(t, f, want)
			})
		}
	}
}

// oldPcap is a pcap file of an older version: before 2.3 a record's lengths are
// the other way round, in 2.3 either way.
func oldPcap(o order, minor byte, swapped func(i int) bool, frames []sniffer.Frame) []byte {
	p := pcapHead(o, magicMicro, 262144, 1)
	o.PutUint16(p[6:], uint16(minor))
	for i, f := range frames {
		p = o.AppendUint32(p, uint32(f.Time/second))
		p = o.AppendUint32(p, uint32(f.Time%second/1000))
		captured, length := uint32(len(f.Data)), f.Length
		if swapped(i) {
			captured, length = length, captured
		}
		p = o.AppendUint32(o.AppendUint32(p, captured), length)
		p = append(p, f.Data...)
	}
	return p
}

// TestOldPcapVersions reads files as tcpdump wrote them before 1996, and has
// tshark read them, too.
func TestOldPcapVersions(t *testing.T) {
	want := someFrames(600)
	always := func(int) bool { return true }
	never := func(int) bool { return false }
	now := func(i int) bool { return i%3 == 0 }
	for name, o := range orders() {
		for _, tt := range []struct {
			minor   byte
			swapped func(i int) bool
		}{
			{0, always}, {1, always}, {2, always}, {3, always}, {3, never}, {3, now}, {4, never},
		} {
			t.Run(fmt.Sprintf("2.%d %s", tt.minor, name), func(t *testing.T) {
				data := oldPcap(o, tt.minor, tt.swapped, want)
				wantFrames(t, mustOpen(t, data), want)
				if name == "big" && (tt.minor == 1 || tt.minor == 3 && tt.swapped(0) != tt.swapped(1)) {
					tsharkAgrees(t, data, want)
				}
			})
		}
	}
}

// tsharkAgrees has tshark say how long the frames of a file are.
func tsharkAgrees(t *testing.T, data []byte, frames []sniffer.Frame) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "tshark", "-r", "-", "-n", "-T", "fields", "-e", "frame.number", "-e", "frame.cap_len", "-e", "frame.len")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i, f := range frames {
		fmt.Fprintf(&want, "%d\t%d\t%d\n", i+1, len(f.Data), f.Length)
	}
	if diff := cmp.Diff(want.String(), string(out)); diff != "" {
		t.Errorf("tshark reads other lengths (-want +tshark):\n%s", diff)
	}
}

// A frame that a live capture has written is delivered without waiting for
// the next.
func TestPipeIsNotDelayed(t *testing.T) {
	frames := someFrames(600)
	for name, data := range map[string][]byte{
		"pcap":   pcapFile(binary.LittleEndian, magicMicro, frames),
		"pcapng": ngFile(binary.LittleEndian, frames),
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close() // stays open while all frames are read
			go func() {
				if _, err := w.Write(data); err != nil {
					t.Error(err)
				}
			}()
			f, err := NewReader(r, "pipe")
			if err != nil {
				t.Fatal(err)
			}
			var b sniffer.Batch
			for n := 0; n < len(frames); n += len(b.Frames) {
				if err := f.Read(&b); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestBatchStaysWhileTheOtherIsFilled(t *testing.T) {
	f := mustOpen(t, pcapFile(binary.LittleEndian, magicMicro, someFrames(5000)))
	var batches [2]sniffer.Batch
	if err := f.Read(&batches[0]); err != nil {
		t.Fatal(err)
	}
	for i := 1; ; i++ {
		held := &batches[i&1^1]
		before := appendClones(nil, held.Frames)
		buffer := bytes.Clone(held.Buffer)
		done := make(chan struct{})
		go func() { // under -race, a File that writes to held shows here
			defer close(done)
			for range 3 {
				_ = bytes.Count(held.Buffer, []byte{0x55})
			}
		}()
		err := f.Read(&batches[i&1])
		<-done
		if !bytes.Equal(buffer, held.Buffer) {
			t.Fatal("the other batch's buffer changed")
		}
		if diff := diffFrames(before, held.Frames); diff != "" {
			t.Fatal(diff)
		}
		clear(held.Buffer) // nothing of it is needed later
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestClearedBatchesLoseNothing(t *testing.T) {
	want := someFrames(5000)
	f := mustOpen(t, pcapFile(binary.LittleEndian, magicMicro, want))
	var b sniffer.Batch
	var got []sniffer.Frame
	for {
		err := f.Read(&b)
		if errors.Is(err, io.EOF) {
			break
		}
		got = appendClones(got, b.Frames)
		clear(b.Buffer)
	}
	if diff := diffFrames(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestLargeFrames(t *testing.T) {
	frames := someFrames(20)
	for i := range frames {
		frames[i].Data = bytes.Repeat([]byte{byte(i)}, []int{100_000, 60, maxFrame, 3}[i%4])
		frames[i].Length = uint32(len(frames[i].Data))
	}
	for name, data := range map[string][]byte{
		"pcap":   pcapFile(binary.LittleEndian, magicMicro, frames),
		"pcapng": ngFile(binary.BigEndian, frames),
		"gzip":   gzipped(t, ngFile(binary.BigEndian, frames)),
	} {
		t.Run(name, func(t *testing.T) {
			f := mustOpen(t, data)
			wantFrames(t, f, frames)
			if got := cap(f.carry); got > 300<<10 {
				t.Errorf("kept piece of %d bytes", got)
			}
		})
	}
}

func TestFrameAtAndOverTheCap(t *testing.T) {
	first := someFrames(3)
	for _, over := range []int{0, 1} {
		big := sniffer.Frame{Time: second, Data: make([]byte, maxFrame+over), Length: maxFrame + 1, Link: 1}
		frames := append(append([]sniffer.Frame{}, first...), big)
		head := pcapHead(binary.LittleEndian, magicMicro, 0, 1)
		for name, data := range map[string][]byte{
			"pcap":   append(head, pcapFile(binary.LittleEndian, magicMicro, frames)[headerSize:]...),
			"pcapng": ngFile(binary.LittleEndian, frames),
		} {
			got, err := all(mustOpen(t, data))
			if over == 0 && (!errors.Is(err, io.EOF) || len(got) != 4) {
				t.Errorf("%s: at the cap: %d frames, %v", name, len(got), err)
			}
			if over == 1 && (!errors.Is(err, ErrMalformed) || len(got) != 3) {
				t.Errorf("%s: over the cap: %d frames, %v", name, len(got), err)
			}
		}
	}
}

// Some programs write a snaplen that they do not keep to, among the shared
// captures that of tcptrace__http.dmp.gz.
func TestFramesOverTheSnaplen(t *testing.T) {
	want := someFrames(50)
	data := append(pcapHead(binary.BigEndian, magicMicro, 96, 1), pcapFile(binary.BigEndian, magicMicro, want)[headerSize:]...)
	wantFrames(t, mustOpen(t, data), want)
	g := &ng{order: binary.BigEndian}
	g.section()
	g.iface(1, 2)
	g.enhanced(0, 1, []byte("longer"), 6)
	wantFrames(t, mustOpen(t, g.data), []sniffer.Frame{{Time: 1000, Data: []byte("longer"), Length: 6, Link: 1}})
}

func TestTruncationYieldsAPrefix(t *testing.T) {
	want := someFrames(6)
	for name, data := range variants(t, want) {
		t.Run(name, func(t *testing.T) {
			boundary := 0
			for cut := range data {
				f, err := NewReader(bytes.NewReader(data[:cut]), "cut")
				if err != nil {
					continue
				}
				got, err := all(f)
				if !errors.Is(err, io.EOF) {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				if diff := diffFrames(want[:len(got)], got); diff != "" {
					t.Fatalf("cut at %d: %s", cut, diff)
				}
				if !f.Truncated() {
					boundary++
				} else if strings.Contains(f.Warning().Error(), "\n") {
					t.Fatalf("warning of several lines: %v", f.Warning())
				}
				f.Close()
			}
			if most := 2*len(want) + 2; boundary > most {
				t.Errorf("no warning for %d cuts, of which at most %d are between records", boundary, most)
			}
		})
	}
}

func TestTruncatedWarningNamesTheByte(t *testing.T) {
	data := pcapFile(binary.LittleEndian, magicMicro, someFrames(3))
	f := mustOpen(t, data[:len(data)-1])
	if _, err := all(f); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	const want = "test: capture cut short within a packet at byte 167; everything before it was read"
	if got := f.Warning().Error(); got != want {
		t.Errorf("Warning() = %q, want %q", got, want)
	}
}

func TestNotACapture(t *testing.T) {
	plain := pcapFile(binary.LittleEndian, magicMicro, someFrames(3))
	cases := []struct {
		name string
		data []byte
		is   error
		says string
	}{
		{"empty", nil, ErrEmpty, "empty file"},
		{"empty gzip", gzipped(t, nil), ErrEmpty, "empty file"},
		{"short", plain[:23], ErrNotCapture, "only 23 bytes"},
		{"text", []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"), ErrNotCapture, "looks like text"},
		{"json", []byte(`{"capture": {"files": ["a.pcap"]}}`), ErrNotCapture, "JSON"},
		{"xz", append([]byte("\xfd7zXZ\x00"), make([]byte, 50)...), ErrNotCapture, "xz -dc"},
		{"snoop", append([]byte("snoop\x00\x00\x00"), make([]byte, 50)...), ErrNotCapture, "editcap"},
		{"gzip twice", gzipped(t, gzipped(t, plain)), ErrNotCapture, "gzip file within"},
		{"zeros", make([]byte, 100), ErrNotCapture, "begins with 00 00 00 00"},
		{"pcap 543.0", bytes.Replace(plain, []byte{2, 0, 4, 0}, []byte{0x1f, 2, 0, 0}, 1), ErrNotCapture, "version 543.0"},
		{"zstd window", zstdWindow(64 << 20), zstd.ErrWindowSizeExceeded, "zstd -dc"},
		{"gzip cut in its header", gzipped(t, plain)[:6], io.ErrUnexpectedEOF, "decompress gzip"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := NewReader(bytes.NewReader(c.data), "some.file")
			if err == nil {
				f.Close()
				t.Fatal("no error")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) ||
				!strings.Contains(err.Error(), "some.file") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q: want %v, and the words %q", err, c.is, c.says)
			}
		})
	}
}

// zstdWindow is a frame header (RFC 8878 §3.1.1) that asks for a window, and
// the head of a block that would need it.
func zstdWindow(size int) []byte {
	exponent := 0
	for 1<<(10+exponent) < size {
		exponent++
	}
	return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, byte(exponent << 3), 0x03, 0xff, 0x01, 'x'}, make([]byte, 40)...)
}

func TestZstdWindowAtTheCap(t *testing.T) {
	want := someFrames(300)
	data := zstded(t, pcapFile(binary.LittleEndian, magicMicro, want), zstd.WithWindowSize(maxWindow))
	wantFrames(t, mustOpen(t, data), want)
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrDirectory) || !strings.Contains(err.Error(), dir) {
		t.Errorf("directory: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) || strings.Count(err.Error(), "missing") != 1 {
		t.Errorf("missing: %v", err)
	}
	denied := openError("x.pcap", &os.PathError{Op: "open", Path: "x.pcap", Err: os.ErrPermission})
	if !errors.Is(denied, os.ErrPermission) || !strings.Contains(denied.Error(), "readable") {
		t.Errorf("permission: %v", denied)
	}
}

func TestDamageComesAfterWhatWasRead(t *testing.T) {
	frames := someFrames(700)
	good := pcapFile(binary.LittleEndian, magicMicro, frames)
	lie := func(captured uint32) []byte {
		p := append(bytes.Clone(good), make([]byte, 100)...)
		binary.LittleEndian.PutUint32(p[len(good)+8:], captured)
		return p
	}
	damaged := gzipped(t, good)
	damaged[len(damaged)-8] ^= 1 // the checksum
	cases := []struct {
		name   string
		data   []byte
		frames int
		says   string
	}{
		{"4 GiB", lie(1<<32 - 1), 700, "packet of 4294967295 bytes where 262144 are the most at byte"},
		{"over the cap", lie(maxFrame + 1), 700, "packet of 262145 bytes"},
		{"compressed", zstded(t, lie(1<<31)), 700, "of the decompressed data"},
		{"checksum", damaged, 700, "decompress gzip"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := mustOpen(t, c.data)
			got, err := all(f)
			if len(got) != c.frames || err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "test") {
				t.Fatalf("%d frames, then %v; want %d, then %q", len(got), err, c.frames, c.says)
			}
			var b sniffer.Batch
			if again := f.Read(&b); !errors.Is(again, err) || len(b.Frames) != 0 {
				t.Errorf("second time %v", again)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	frames := someFrames(5)
	broken := errors.New("input/output error")
	data := pcapFile(binary.LittleEndian, magicMicro, frames)
	f, err := NewReader(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), "disk")
	if err != nil {
		t.Fatal(err)
	}
	got, err := all(f)
	if len(got) != 5 || !errors.Is(err, broken) || !strings.Contains(err.Error(), "disk") {
		t.Errorf("%d frames, %v", len(got), err)
	}
	f, err = NewReader(io.MultiReader(bytes.NewReader(data), zeroReader{}), "disk")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := all(f); len(got) != 5 || !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%d frames, %v", len(got), err)
	}
	f.Close()
	f.Close()
}

// zeroReader reads nothing, and does not say why.
type zeroReader struct{}

func (zeroReader) Read([]byte) (int, error) { return 0, nil }

func TestPcapInterface(t *testing.T) {
	f := mustOpen(t, pcapFile(binary.BigEndian, magicNano, nil))
	want := []Interface{{File: "test", Link: 1, Snaplen: 262144, Resolution: time.Nanosecond}}
	if diff := cmp.Diff(want, f.Interfaces()); diff != "" {
		t.Error(diff)
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	frames := someFrames(20000)
	for name, data := range map[string][]byte{
		"pcap":   pcapFile(binary.LittleEndian, magicMicro, frames),
		"pcapng": ngFile(binary.LittleEndian, frames),
	} {
		f := mustOpen(t, data)
		var batches [2]sniffer.Batch
		for range 8 { // buffers, and the kept piece, come to their size
			for i := range batches {
				if err := f.Read(&batches[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		i := 0
		if n := testing.AllocsPerRun(20, func() {
			if err := f.Read(&batches[i&1]); err != nil {
				t.Fatal(err)
			}
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations per Read", name, n)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	f := mustOpen(t, pcapFile(binary.LittleEndian, magicMicro, someFrames(20000)))
	var b sniffer.Batch
	for f.Read(&b) == nil {
		if len(b.Frames) > sniffer.BatchFrames || cap(b.Buffer) > bufferSize || cap(f.carry) > 2*bufferSize {
			t.Fatalf("%d frames, buffer of %d, kept %d", len(b.Frames), cap(b.Buffer), cap(f.carry))
		}
	}
}
