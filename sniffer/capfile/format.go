package capfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	maxWindow = 32 << 20 // what zstd --ultra -20 writes
	// packedBuffer is how much compressed data is read at once.
	packedBuffer = 64 << 10
)

// begin finds out what the source holds, puts a decompressor on it where that
// is needed, and reads a pcap header.
func (f *File) begin() error {
	if err := f.peek(); err != nil {
		return err
	}
	if f.packed = compression(f.carry); f.packed != "" {
		if err := f.decompress(); err != nil {
			return err
		}
		if err := f.peek(); err != nil {
			return err
		}
	}
	return f.beginCapture()
}

// peek reads the head of the source into carry.
func (f *File) peek() error {
	f.carry = append(f.carry[:0], make([]byte, headerSize)...)
	n, err := io.ReadFull(f.source, f.carry)
	f.carry = f.carry[:n]
	switch {
	case err == nil:
	case n == 0 && err == io.EOF:
		return fmt.Errorf("%s: %w: the capture wrote nothing; check that it ran and was allowed to", f.name, ErrEmpty)
	case n > 0 && errors.Is(err, io.ErrUnexpectedEOF):
		f.pending = io.EOF
	default:
		return f.readError(err)
	}
	return nil
}

// compression names what head is compressed by, if that can be read.
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b\x08")):
		return "gzip"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return "zstd"
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")):
		return "zstd" // a skippable frame first, as pzstd writes (RFC 8878 §3.1.2)
	}
	return ""
}

func (f *File) decompress() error {
	f.pending = nil
	head := bytes.NewReader(bytes.Clone(f.carry))
	f.carry = f.carry[:0]
	packed := bufio.NewReaderSize(io.MultiReader(head, &f.raw), packedBuffer)
	if f.packed == "gzip" {
		reader, err := gzip.NewReader(packed)
		if err != nil {
			return f.readError(err)
		}
		f.source = reader
		f.addCloser(reader.Close)
		return nil
	}
	reader, err := zstd.NewReader(packed,
		zstd.WithDecoderConcurrency(1), // on the caller's goroutine
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return f.readError(err)
	}
	f.source = reader
	f.addCloser(func() error { reader.Close(); return nil })
	return nil
}

func (f *File) readError(err error) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("read %s: %w: it needs more than %d MiB to decompress; pipe it: zstd -dc --long=31 FILE | keepscope read -",
			f.name, err, maxWindow>>20)
	case f.packed != "":
		return fmt.Errorf("read %s: decompress %s: %w, at byte %d of the decompressed data", f.name, f.packed, err, f.offset+int64(len(f.carry)))
	}
	return fmt.Errorf("read %s: %w, at byte %d", f.name, err, f.raw.count)
}

// beginCapture reads the magic number (and the rest of a pcap header) in carry.
func (f *File) beginCapture() error {
	if len(f.carry) < headerSize {
		return f.notCapture()
	}
	if f.ng = isSection(f.carry); f.ng {
		return nil
	}
	if !f.pcapHeader(f.carry) {
		return f.notCapture()
	}
	f.carry = f.carry[:0]
	f.offset = headerSize
	return f.err
}

// Things that are given to a capture reader by mistake, by how they begin.
var lookalikes = []struct{ magic, is string }{
	{"\xfd7zXZ\x00", "an xz file: decompress it first (xz -dc FILE | keepscope read -)"},
	{"BZh", "a bzip2 file: decompress it first (bzip2 -dc FILE | keepscope read -)"},
	{"\x04\x22\x4d\x18", "an lz4 file: decompress it first (lz4 -dc FILE | keepscope read -)"},
	{"\x1f\x8b", "a gzip file within a compressed one: decompress it first"},
	{"\x28\xb5\x2f\xfd", "a zstd file within a compressed one: decompress it first"},
	{"PK\x03\x04", "a zip archive: unpack it first"},
	{"snoop\x00", "a snoop capture: convert it with editcap -F pcapng"},
	{"GMBU", "a Network Monitor capture: convert it with editcap -F pcapng"},
	{"RTSS", "a Network Monitor capture: convert it with editcap -F pcapng"},
	{"TRSNIFF data", "a Sniffer capture: convert it with editcap -F pcapng"},
	{"XCP\x00", "a NetXRay capture: convert it with editcap -F pcapng"},
	{"\x7fELF", "a program"},
	{"{", "JSON text"},
	{"<", "XML or HTML text"},
}

func (f *File) notCapture() error {
	head := f.carry
	for _, l := range lookalikes {
		if bytes.HasPrefix(head, []byte(l.magic)) {
			return fmt.Errorf("%s: %w: it looks like %s", f.name, ErrNotCapture, l.is)
		}
	}
	switch {
	case len(head) < headerSize:
		return fmt.Errorf("%s: %w: it has only %d bytes; a pcap or pcapng file has at least %d", f.name, ErrNotCapture, len(head), headerSize)
	case isText(head):
		return fmt.Errorf("%s: %w: it looks like text; capture with tcpdump -w FILE", f.name, ErrNotCapture)
	}
	return fmt.Errorf("%s: %w: neither pcap nor pcapng, nor gzip or zstd of them; it begins with % x", f.name, ErrNotCapture, head[:4])
}

func isText(head []byte) bool {
	for _, c := range head {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
