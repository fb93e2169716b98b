package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
)

// A part says which packets of capture files are read.
type part struct {
	Filter string `placeholder:"BPF" help:"Of captures, analyse only frames that match, in tcpdump's language."`
	Since  moment `placeholder:"TIME" help:"Of captures, read only packets from this time on: a time in UTC, as outputs have it ('2026-11-22 10:00:00', 10:00), one with its zone (2026-11-22T10:00:00+01:00), or how long after the first packet (90s, 1h30m). Connections that were open before are joined in the middle."`
	Until  moment `placeholder:"TIME" help:"Of captures, read only packets before this time, written as for --since. Connections that go on are taken to be open."`
}

// A moment is a point of a capture's time.
type moment struct {
	// on returns it, by the time of the first packet. It is nil for none.
	on func(first time.Time) time.Time
}

// The ways to write a time: of the first packet's day, and of any.
var (
	clocks = []string{"15:04", time.TimeOnly}
	dates  = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly}
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	s := strings.TrimSuffix(string(text), " UTC")
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		m.on = func(first time.Time) time.Time { return first.Add(d) }
		return nil
	}
	for _, layout := range clocks {
		if t, err := time.Parse(layout, s); err == nil {
			m.on = func(first time.Time) time.Time { return midnight(first).Add(t.Sub(midnight(t))) }
			return nil
		}
	}
	for _, layout := range dates {
		if t, err := time.Parse(layout, s); err == nil {
			m.on = func(time.Time) time.Time { return t.UTC() }
			return nil
		}
	}
	return fmt.Errorf("%q is no time: write '2026-11-22 10:00:00' (in UTC), 2026-11-22T10:00:00+01:00, 10:00, or 90s (after the first packet)", text)
}

func midnight(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }

// A span is a source of the packets in a part of the captures' time.
type span struct {
	sniffer.Source
	part
	report.Span // known once there was a packet
	begun, any  bool
	first, last time.Time // of all packets
}

// Read implements sniffer.Source.
func (s *span) Read(b *sniffer.Batch) error {
	err := s.Source.Read(b)
	if s.whole() || len(b.Frames) == 0 {
		return err
	}
	if !s.begun {
		s.begun, s.first = true, time.Unix(0, b.Frames[0].Time).UTC()
		if s.part.Since.on != nil {
			s.Span.Since = s.part.Since.on(s.first)
		}
		if s.part.Until.on != nil {
			s.Span.Until = s.part.Until.on(s.first)
		}
	}
	all := len(b.Frames)
	b.Frames = slices.DeleteFunc(b.Frames, func(f sniffer.Frame) bool {
		s.last = time.Unix(0, f.Time).UTC()
		return s.last.Before(s.Span.Since) || s.part.Until.on != nil && !s.last.Before(s.Span.Until)
	})
	s.LeftOut += uint64(all - len(b.Frames))
	s.any = s.any || len(b.Frames) > 0
	return err
}

// whole says that nothing is to be left out.
func (s *span) whole() bool { return s.part.Since.on == nil && s.part.Until.on == nil }

// check says that there is no packet in the span, and when there are some.
func (s *span) check() error {
	if s.any || !s.begun {
		return nil
	}
	return errors.New("no packet is between --since and --until: what was read is of " +
		s.first.Format(time.DateTime) + " to " + s.last.Format(time.DateTime) + " UTC")
}
