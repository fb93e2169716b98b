package capfile

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/keepscope/keepscope/sniffer"
)

// Magic numbers of pcap (draft-ietf-opsawg-pcap §4), in the file's order.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // record headers of 24 bytes
)

// A lengthOrder says which of the two lengths of a record comes first: the bytes
// captured, as the format has it now, or those on the wire.
type lengthOrder uint8

const (
	capturedFirst lengthOrder = iota
	// capturedLess is version 2.3, which some programs wrote the old way: as
	// libpcap does, the smaller length is taken for the captured one.
	capturedLess
	capturedLast // before version 2.3
)

// u32 reads four bytes in the file's order.
func u32(p []byte, swap bool) uint32 {
	v := binary.LittleEndian.Uint32(p)
	if swap {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func u16(p []byte, swap bool) uint16 {
	v := binary.LittleEndian.Uint16(p)
	if swap {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func u64(p []byte, swap bool) uint64 {
	v := binary.LittleEndian.Uint64(p)
	if swap {
		v = bits.ReverseBytes64(v)
	}
	return v
}

// pcapHeader reads the header of a pcap file, and reports whether it is one.
func (f *File) pcapHeader(p []byte) bool {
	state := pcapState{header: 16, fraction: int64(time.Microsecond)}
	for _, f.swap = range []bool{false, true} {
		switch u32(p, f.swap) {
		case magicMicro:
		case magicNano:
			state.fraction = 1
		case magicModified:
			state.header = 24
		default:
			continue
		}
		f.setPcap(p, state)
		return true
	}
	return false
}

func (f *File) setPcap(p []byte, state pcapState) {
	major, minor := u16(p[4:], f.swap), u16(p[6:], f.swap)
	switch {
	case major != 2:
		f.err = fmt.Errorf("%s: %w: pcap version %d.%d cannot be read; convert it with editcap -F pcapng", f.name, ErrNotCapture, major, minor)
		return
	case minor < 3:
		state.lengths = capturedLast
	case minor == 3:
		state.lengths = capturedLess
	}
	snaplen := u32(p[16:], f.swap)
	f.pcap = state
	f.interfaces = []Interface{{
		File: f.name,
		// The upper half says whether frames have a check sequence.
		Link:       sniffer.LinkType(u32(p[20:], f.swap)),
		Snaplen:    snaplen,
		Resolution: time.Duration(state.fraction),
	}}
}

// parseRecords is parse for pcap.
func (f *File) parseRecords(b *sniffer.Batch, data []byte) (used int) {
	header, fraction, swap := f.pcap.header, f.pcap.fraction, f.swap
	link := f.interfaces[0].Link
	n, frames, rest := 0, b.Frames[:sniffer.BatchFrames], data
	if !swap && header == 16 && f.pcap.lengths == capturedFirst {
		n, rest = plainRecords(frames, data, fraction, link)
	}
	for ; n < len(frames); n++ {
		if len(rest) < header {
			f.need = header
			break
		}
		record := (*[16]byte)(rest)
		seconds, part := binary.LittleEndian.Uint32(record[:]), binary.LittleEndian.Uint32(record[4:])
		captured, length := binary.LittleEndian.Uint32(record[8:]), binary.LittleEndian.Uint32(record[12:])
		if swap {
			seconds, part = bits.ReverseBytes32(seconds), bits.ReverseBytes32(part)
			captured, length = bits.ReverseBytes32(captured), bits.ReverseBytes32(length)
		}
		if order := f.pcap.lengths; order == capturedLast || order == capturedLess && captured > length {
			captured, length = length, captured
		}
		if captured > maxFrame {
			f.malformed(len(data)-len(rest), "packet of %d bytes where %d are the most", captured, maxFrame)
			break
		}
		size := header + int(captured)
		if len(rest) < size {
			f.need = size
			break
		}
		frame := &frames[n]
		frame.Time = int64(seconds)*int64(time.Second) + int64(part)*fraction
		frame.Data = rest[header:size:size]
		frame.Length = max(length, captured)
		frame.Interface, frame.Link = 0, link
		rest = rest[size:]
	}
	b.Frames = frames[:n]
	return len(data) - len(rest)
}

// plainRecords fills frames with records as nearly every file has them, and
// returns how many it did and the data behind them. It leaves the last of data,
// and what is odd, to parseRecords.
func plainRecords(frames []sniffer.Frame, data []byte, fraction int64, link sniffer.LinkType) (n int, rest []byte) {
	for n < len(frames) && len(data) > 16 {
		seconds, part := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		captured, length := binary.LittleEndian.Uint32(data[8:]), binary.LittleEndian.Uint32(data[12:])
		if captured > maxFrame || len(data)-16 <= int(captured) {
			break
		}
		frame := &frames[n]
		frame.Time = int64(seconds)*int64(time.Second) + int64(part)*fraction
		frame.Data = data[16 : 16+captured : 16+captured]
		frame.Length = max(length, captured)
		frame.Interface, frame.Link = 0, link
		data = data[16+captured:]
		n++
	}
	return n, data
}
