package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/keepscope/keepscope/sniffer"
)

// order is a byte order to build a file in.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func orders() map[string]order {
	return map[string]order{"little": binary.LittleEndian, "big": binary.BigEndian}
}

const second = int64(1e9)

// someFrames are n frames of 0 to 1500 bytes at whole microseconds.
func someFrames(n int) []sniffer.Frame {
	frames := make([]sniffer.Frame, n)
	for i := range frames {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8), 0x55}, i*37%500)
		frames[i] = sniffer.Frame{
			Time:   1700000000*second + int64(i)*1234000,
			Data:   data,
			Length: uint32(len(data) + i%3),
			Link:   1,
			Number: uint32(i + 1),
		}
	}
	return frames
}

func pcapHead(o order, magic uint32, snaplen, link uint32) []byte {
	p := o.AppendUint32(nil, magic)
	p = o.AppendUint16(p, 2)
	p = o.AppendUint16(p, 4)
	p = append(p, make([]byte, 8)...)
	p = o.AppendUint32(p, snaplen)
	return o.AppendUint32(p, link)
}

func pcapFile(o order, magic uint32, frames []sniffer.Frame) []byte {
	p := pcapHead(o, magic, 262144, 1|4<<28|1<<26) // with FCS bits
	unit := int64(1000)
	if magic == magicNano {
		unit = 1
	}
	for _, f := range frames {
		p = o.AppendUint32(p, uint32(f.Time/second))
		p = o.AppendUint32(p, uint32(f.Time%second/unit))
		p = o.AppendUint32(p, uint32(len(f.Data)))
		p = o.AppendUint32(p, f.Length)
		if magic == magicModified {
			p = append(p, 1, 2, 3, 4, 5, 6, 7, 8)
		}
		p = append(p, f.Data...)
	}
	return p
}

// ng builds a pcapng file.
type ng struct {
	order
	data []byte
}

type option struct {
	code  uint16
	value []byte
}

func (g *ng) block(kind uint32, body ...[]byte) {
	joined := bytes.Join(body, nil)
	joined = append(joined, make([]byte, -len(joined)&3)...)
	total := uint32(len(joined) + 12)
	g.data = g.AppendUint32(g.data, kind)
	g.data = g.AppendUint32(g.data, total)
	g.data = append(g.data, joined...)
	g.data = g.AppendUint32(g.data, total)
}

func (g *ng) u32(values ...uint32) (p []byte) {
	for _, v := range values {
		p = g.AppendUint32(p, v)
	}
	return p
}

func (g *ng) u64(v uint64) []byte { return g.AppendUint64(nil, v) }

func (g *ng) options(list ...option) (p []byte) {
	for _, o := range list {
		p = g.AppendUint16(p, o.code)
		p = g.AppendUint16(p, uint16(len(o.value)))
		p = append(p, o.value...)
		p = append(p, make([]byte, -len(o.value)&3)...)
	}
	return g.AppendUint32(p, 0)
}

func (g *ng) section() {
	version := g.AppendUint16(g.AppendUint16(nil, 1), 0)
	g.block(blockSection, g.u32(byteOrderMagic), version, g.u64(1<<64-1),
		g.options(option{4, []byte("a comment")}))
}

func (g *ng) iface(link uint16, snaplen uint32, list ...option) {
	g.block(blockInterface, g.AppendUint16(g.AppendUint16(nil, link), 0), g.u32(snaplen), g.options(list...))
}

func pad(p []byte) []byte { return append(bytes.Clone(p), make([]byte, -len(p)&3)...) }

func (g *ng) enhanced(iface uint32, ticks uint64, data []byte, length uint32) {
	g.block(blockEnhanced, g.u32(iface, uint32(ticks>>32), uint32(ticks), uint32(len(data)), length),
		pad(data), g.options(option{1, []byte("comment")}))
}

func ngFile(o order, frames []sniffer.Frame) []byte {
	g := &ng{order: o}
	g.section()
	g.iface(1, 0)
	for _, f := range frames {
		g.block(0xbad, []byte("unknown block"))
		g.enhanced(0, uint64(f.Time/1000), f.Data, f.Length)
	}
	return g.data
}

func gzipped(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&out)
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func zstded(t testing.TB, p []byte, options ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, options...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// all reads source to its end, and copies what it yields. Two batches
// alternate, and a frame is copied only when the other batch has been filled
// and the frames' own is next, so that a view which does not last shows.
func all(source sniffer.Source) (frames []sniffer.Frame, err error) {
	var batches [2]sniffer.Batch
	for i := 0; ; i++ {
		b := &batches[i&1]
		frames = appendClones(frames, batches[i&1].Frames)
		if err = source.Read(b); err != nil {
			frames = appendClones(frames, batches[i&1^1].Frames)
			return frames, err
		}
	}
}

func appendClones(to, from []sniffer.Frame) []sniffer.Frame {
	for _, f := range from {
		f.Data = append([]byte{}, f.Data...)
		to = append(to, f)
	}
	return to
}

func mustOpen(t testing.TB, data []byte) *File {
	t.Helper()
	f, err := NewReader(bytes.NewReader(data), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// wantFrames reads source to its end. The frames of a file are numbered from 1.
func wantFrames(t testing.TB, source sniffer.Source, want []sniffer.Frame) {
	t.Helper()
	if _, isFile := source.(*File); isFile {
		want = slices.Clone(want)
		for i := range want {
			want[i].Number = uint32(i + 1)
		}
	}
	got, err := all(source)
	if !errors.Is(err, io.EOF) {
		t.Fatalf("Read: %v, want EOF", err)
	}
	if diff := diffFrames(want, got); diff != "" {
		t.Fatalf("frames (-want +got):\n%s", diff)
	}
}

// diffFrames is cmp.Diff, which takes a microsecond per byte, for frames that
// are mostly equal.
func diffFrames(want, got []sniffer.Frame) string {
	if len(want) == 0 && len(got) == 0 {
		return ""
	}
	return cmp.Diff(want, got, cmp.Comparer(bytes.Equal))
}
