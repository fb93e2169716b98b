package main

import (
	"sync"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// maxTapped bounds the interfaces that a tap counts apart; a file can have any
// number. What comes from further ones counts for the last.
const maxTapped = 64

// A tap counts the frames that a source gives, by interface, for those who look
// on while it runs.
type tap struct {
	src     sniffer.Source
	decoder *sniffer.Decoder
	name    func(i int) string
	drops   func(i int) pcap.Drops // nil where nothing can be lost

	mu     sync.Mutex
	counts []counted
	last   int64
	decode sniffer.DecodeStats
}

// A counted is what came from one interface.
type counted struct{ packets, bytes uint64 }

// Read implements sniffer.Source. The goroutine that calls it is the one that
// decodes: between two calls the decoder's counts stand still.
func (t *tap) Read(b *sniffer.Batch) error {
	err := t.src.Read(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.decode = t.decoder.Stats()
	if err != nil {
		return err
	}
	for i := range b.Frames {
		f := &b.Frames[i]
		n := min(int(f.Interface), maxTapped-1)
		for n >= len(t.counts) {
			t.counts = append(t.counts, counted{})
		}
		t.counts[n].packets++
		t.counts[n].bytes += uint64(f.Length)
		t.last = max(t.last, f.Time)
	}
	return nil
}

// ended takes the decoder's last counts, once Read won't be called any more.
func (t *tap) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.decode = t.decoder.Stats()
}

// decoded returns the decoder's counts up to the last Read.
func (t *tap) decoded() sniffer.DecodeStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.decode
}

// stages tells the counts as the exporter wants them; n is how many interfaces
// are known by name.
func (t *tap) stages(n int) exporter.Stages {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := exporter.Stages{LastPacket: t.last, Decode: t.decode.Errors}
	for i := range max(n, len(t.counts)) {
		out := exporter.InterfaceStats{Name: t.name(i)}
		if i < len(t.counts) {
			out.Packets, out.Bytes = t.counts[i].packets, t.counts[i].bytes
		}
		if t.drops != nil {
			d := t.drops(i)
			out.DroppedKernel, out.DroppedByInterface = d.Kernel, d.Interface
		}
		s.Interfaces = append(s.Interfaces, out)
	}
	return s
}
