package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// A pcapTee is the pcap file of --write; nil without.
type pcapTee struct {
	f       *os.File
	w       *capfile.Writer
	ports   []uint16 // whose frames are kept; empty for all
	decoder *sniffer.Decoder
	closed  bool
	failed  error // why no more is kept
}

func newPCAPTee(path string, ports []uint16) (*pcapTee, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("--write: %w", err)
	}
	return &pcapTee{f: f, ports: ports, decoder: sniffer.NewDecoder(sniffer.DecoderConfig{})}, nil
}

// wants says whether a frame is kept. Whoever asks for some ports may give the file
// away, and what others of the host look up is not theirs.
func (t *pcapTee) wants(f *sniffer.Frame) bool {
	if len(t.ports) == 0 {
		return true
	}
	var s sniffer.Segment
	return t.decoder.Decode(f, &s) && s.Protocol == sniffer.TCP &&
		(slices.Contains(t.ports, s.Src.Port) || slices.Contains(t.ports, s.Dst.Port))
}

// tee returns a source that keeps the frames of src, of interfaces of these kinds.
// Where the file takes no more the capture goes on without.
func (t *pcapTee) tee(src sniffer.Source, links []sniffer.LinkType, log *slog.Logger) (sniffer.Source, error) {
	if t == nil {
		return src, nil
	}
	for _, link := range links {
		if link != links[0] {
			return nil, usageError{errors.New("--write: a file holds interfaces of one kind; capture on 'any', or on fewer")}
		}
	}
	var err error
	if t.w, err = capfile.NewWriter(t.f, links[0], pcap.MaxSnaplen); err != nil {
		return nil, err
	}
	return sourceFunc(func(b *sniffer.Batch) error {
		if err := src.Read(b); err != nil {
			return err
		}
		for i := 0; i < len(b.Frames) && t.failed == nil; i++ {
			if !t.wants(&b.Frames[i]) {
				continue
			}
			if t.failed = t.w.Write(&b.Frames[i]); t.failed != nil {
				log.Warn("--write: no more is kept of what is captured, which goes on", "file", t.f.Name(), "error", t.failed)
			}
		}
		return nil
	}), nil
}

// close writes the file to its end.
func (t *pcapTee) close() error {
	if t == nil || t.closed {
		return nil
	}
	t.closed = true
	err := t.failed
	if t.w != nil && err == nil {
		err = t.w.Flush()
	}
	if err = cmp.Or(err, t.f.Close()); err != nil {
		return fmt.Errorf("--write: %s is not complete: %w", t.f.Name(), err)
	}
	return nil
}
