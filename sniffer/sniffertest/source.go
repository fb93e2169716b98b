package sniffertest

import (
	"io"

	"github.com/keepscope/keepscope/sniffer"
)

// A Source yields frames as a capture does: in batches that view a buffer,
// which it overwrites with garbage before the next. Who keeps a view too long
// sees that.
type Source struct {
	Frames []sniffer.Frame // those left
	Size   int             // frames in a batch, by default sniffer.BatchFrames
}

// Read implements sniffer.Source.
func (s *Source) Read(b *sniffer.Batch) error {
	for i := range b.Buffer {
		b.Buffer[i] = 0xdb
	}
	b.Frames, b.Buffer = b.Frames[:0], b.Buffer[:0]
	if len(s.Frames) == 0 {
		return io.EOF
	}
	n := s.Size
	if n <= 0 || n > sniffer.BatchFrames {
		n = sniffer.BatchFrames
	}
	n = min(n, len(s.Frames))
	for _, f := range s.Frames[:n] {
		b.Buffer = append(b.Buffer, f.Data...)
	}
	at := 0
	for _, f := range s.Frames[:n] {
		f.Data = b.Buffer[at : at+len(f.Data) : at+len(f.Data)]
		at += len(f.Data)
		b.Frames = append(b.Frames, f)
	}
	s.Frames = s.Frames[n:]
	return nil
}
