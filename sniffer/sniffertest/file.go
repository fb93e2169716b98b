package sniffertest

import (
	"encoding/binary"
	"io"

	"github.com/keepscope/keepscope/sniffer"
)

// FileOptions says how a capture file is written. The zero value is little
// endian, nanoseconds, frames whole.
type FileOptions struct {
	BigEndian    bool
	Microseconds bool
	Snaplen      int // bytes of each frame that are kept, 0: all
}

func (o FileOptions) order() binary.AppendByteOrder {
	if o.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// snaplen returns the limit that the file states.
func (o FileOptions) snaplen() int {
	if o.Snaplen > 0 {
		return o.Snaplen
	}
	return 262144
}

// WritePCAP writes the conversation as a pcap file of a link type of Frames.
// Such a file does not tell interfaces.
func (s *Script) WritePCAP(w io.Writer, link sniffer.LinkType, o FileOptions) error {
	frames, err := s.Frames(link)
	if err != nil {
		return err
	}
	return WritePCAP(w, link, frames, o)
}

// WritePCAPNG writes the conversation as a pcapng file of a link type of
// Frames, with as many interfaces as it names.
func (s *Script) WritePCAPNG(w io.Writer, link sniffer.LinkType, o FileOptions) error {
	frames, err := s.Frames(link)
	if err != nil {
		return err
	}
	return WritePCAPNG(w, link, frames, o)
}

// WritePCAP writes frames, all of one link type, as a pcap file
// (draft-ietf-opsawg-pcap).
func WritePCAP(w io.Writer, link sniffer.LinkType, frames []sniffer.Frame, o FileOptions) error {
	order, magic, unit := o.order(), uint32(0xa1b23c4d), int64(1)
	if o.Microseconds {
		magic, unit = 0xa1b2c3d4, 1000
	}
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = order.AppendUint64(b, 0)
	b = order.AppendUint32(b, uint32(o.snaplen()))
	b = order.AppendUint32(b, uint32(link))
	for _, f := range frames {
		data := f.Data[:min(len(f.Data), o.snaplen())]
		b = order.AppendUint32(b, uint32(f.Time/1e9))
		b = order.AppendUint32(b, uint32(f.Time%1e9/unit))
		b = order.AppendUint32(b, uint32(len(data)))
		b = order.AppendUint32(b, f.Length)
		b = append(b, data...)
	}
	_, err := w.Write(b)
	return err
}

// WritePCAPNG writes frames, all of one link type, as a pcapng file
// (draft-ietf-opsawg-pcapng): one section, an interface for each number up to
// the highest in use, enhanced packet blocks.
func WritePCAPNG(w io.Writer, link sniffer.LinkType, frames []sniffer.Frame, o FileOptions) error {
	const sectionHeader, interfaceDescription, enhancedPacket, tsresol = 0x0a0d0d0a, 1, 6, 9
	order, unit := o.order(), int64(1)
	resolution := byte(9) // 10^-9 s
	if o.Microseconds {
		resolution, unit = 6, 1000
	}
	head := order.AppendUint32(nil, 0x1a2b3c4d)
	head = order.AppendUint16(head, 1)
	head = order.AppendUint16(head, 0)
	head = order.AppendUint64(head, ^uint64(0)) // section of unknown length
	b := appendBlock(nil, order, sectionHeader, head)

	description := order.AppendUint16(nil, uint16(link))
	description = order.AppendUint16(description, 0)
	description = order.AppendUint32(description, uint32(o.snaplen()))
	description = order.AppendUint16(description, tsresol)
	description = order.AppendUint16(description, 1)
	description = append(description, resolution, 0, 0, 0, 0, 0, 0, 0)
	var last uint32
	for _, f := range frames {
		last = max(last, f.Interface)
	}
	for range last + 1 {
		b = appendBlock(b, order, interfaceDescription, description)
	}
	for _, f := range frames {
		data, t := f.Data[:min(len(f.Data), o.snaplen())], uint64(f.Time/unit)
		block := order.AppendUint32(nil, f.Interface)
		block = order.AppendUint32(block, uint32(t>>32))
		block = order.AppendUint32(block, uint32(t))
		block = order.AppendUint32(block, uint32(len(data)))
		block = order.AppendUint32(block, f.Length)
		b = appendBlock(b, order, enhancedPacket, append(block, data...))
	}
	_, err := w.Write(b)
	return err
}

func appendBlock(b []byte, order binary.AppendByteOrder, typ uint32, body []byte) []byte {
	padding := -len(body) & 3
	length := uint32(12 + len(body) + padding)
	b = order.AppendUint32(b, typ)
	b = order.AppendUint32(b, length)
	b = append(b, body...)
	b = append(b, make([]byte, padding)...)
	return order.AppendUint32(b, length)
}
