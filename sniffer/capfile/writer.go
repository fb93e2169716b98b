package capfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/keepscope/keepscope/sniffer"
)

// A Writer writes a pcap file with nanoseconds, which every reader of our time
// understands. It is for one goroutine.
type Writer struct {
	w       *bufio.Writer
	header  [headerSize]byte
	link    sniffer.LinkType
	snaplen uint32
}

// NewWriter writes the file's header, which stays in memory until Flush or
// until 64 KiB have come together. A snaplen of 0 is the greatest one, 256 KiB.
func NewWriter(w io.Writer, link sniffer.LinkType, snaplen uint32) (*Writer, error) {
	if snaplen == 0 || snaplen > maxFrame {
		snaplen = maxFrame
	}
	out := &Writer{w: bufio.NewWriterSize(w, 64<<10), link: link, snaplen: snaplen}
	p := out.header[:]
	binary.LittleEndian.PutUint32(p, magicNano)
	binary.LittleEndian.PutUint16(p[4:], 2)
	binary.LittleEndian.PutUint16(p[6:], 4)
	binary.LittleEndian.PutUint32(p[16:], snaplen)
	binary.LittleEndian.PutUint32(p[20:], uint32(link))
	if _, err := out.w.Write(p); err != nil {
		return nil, fmt.Errorf("write capture header: %w", err)
	}
	return out, nil
}

// Write appends a frame, cut to the snaplen. A frame of another link type than
// the file's is an error, and is not written. Times that the format cannot
// hold, before 1970 or after 2106, are written as the nearest that it can.
func (w *Writer) Write(frame *sniffer.Frame) error {
	if frame.Link != w.link {
		return fmt.Errorf("write capture: frame of link type %d in a file of link type %d", frame.Link, w.link)
	}
	data := frame.Data[:min(len(frame.Data), int(w.snaplen))]
	const latest = math.MaxUint32*int64(time.Second) + int64(time.Second) - 1
	at := min(max(frame.Time, 0), latest)
	p := w.header[:16]
	binary.LittleEndian.PutUint32(p, uint32(at/int64(time.Second)))
	binary.LittleEndian.PutUint32(p[4:], uint32(at%int64(time.Second)))
	binary.LittleEndian.PutUint32(p[8:], uint32(len(data)))
	binary.LittleEndian.PutUint32(p[12:], max(frame.Length, uint32(len(frame.Data))))
	if _, err := w.w.Write(p); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	if _, err := w.w.Write(data); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// Flush hands what was written to the underlying writer. Call it at the end.
func (w *Writer) Flush() error {
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}
