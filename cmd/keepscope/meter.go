package main

import (
	"sync"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// maxMetered bounds the interfaces that a meter counts apart; a file can have any
// number. What comes from further ones counts for the last.
const maxMetered = 64

// A meter counts the frames that a source gives, by interface, for those who look
// on while it runs.
type meter struct {
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
func (m *meter) Read(b *sniffer.Batch) error {
	err := m.src.Read(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.decode = m.decoder.Stats()
	if err != nil {
		return err
	}
	for i := range b.Frames {
		f := &b.Frames[i]
		n := min(int(f.Interface), maxMetered-1)
		for n >= len(m.counts) {
			m.counts = append(m.counts, counted{})
		}
		m.counts[n].packets++
		m.counts[n].bytes += uint64(f.Length)
		m.last = max(m.last, f.Time)
	}
	return nil
}

// finish takes the decoder's last counts, once Read won't be called any more.
func (m *meter) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.decode = m.decoder.Stats()
}

// decoded returns the decoder's counts up to the last Read.
func (m *meter) decoded() sniffer.DecodeStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.decode
}

// stages tells the counts as the exporter wants them; n is how many interfaces
// are known by name.
func (m *meter) stages(n int) exporter.Stages {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := exporter.Stages{LastPacket: m.last, Decode: m.decode.Errors}
	for i := range max(n, len(m.counts)) {
		out := exporter.InterfaceStats{Name: m.name(i)}
		if i < len(m.counts) {
			out.Packets, out.Bytes = m.counts[i].packets, m.counts[i].bytes
		}
		if m.drops != nil {
			d := m.drops(i)
			out.DroppedKernel, out.DroppedByInterface = d.Kernel, d.Interface
		}
		s.Interfaces = append(s.Interfaces, out)
	}
	return s
}
