package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/prometheus/common/expfmt"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/wholefile"
	"github.com/keepscope/keepscope/sniffer"
)

// A metricsFile is what --metrics-file asks for: the metrics of what is read,
// as a scraper would have got them. nil stands for none.
type metricsFile struct {
	path     string // where symbolic links lead to
	direct   bool   // it is no file, so it is written to, not replaced
	cfg      exporter.Config
	analysis *analysis
	pipeline *pipeline
	capture  report.Capture
	decode   sniffer.DecodeErrors
}

// newMetricsFile says at once where there is something at path that can be
// neither replaced nor written to.
func newMetricsFile(path string, flags *metricFlags, a *analysis) (*metricsFile, error) {
	if path == "" {
		return nil, nil
	}
	m := &metricsFile{cfg: flags.config(), analysis: a}
	var err error
	if m.path, err = wholefile.FollowLinks(path); err != nil {
		return nil, fmt.Errorf("--metrics-file: %w", err)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if m.direct = info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0; !m.direct {
			return nil, fmt.Errorf("--metrics-file: %s is neither a file nor a pipe: name a file", path)
		}
	}
	m.cfg.ReuseWindow, m.cfg.Stages = a.ReuseWindow, m.stages
	return m, nil
}

// stages makes one interface of those that the files name.
func (m *metricsFile) stages() exporter.Stages {
	c := &m.capture
	s := exporter.Stages{Interfaces: []exporter.InterfaceStats{{
		Name: strings.Join(c.Interfaces, ","), Packets: c.Packets, Bytes: c.Bytes,
		DroppedKernel: c.Dropped.Kernel, DroppedByInterface: c.Dropped.Interface,
	}}}
	if s.Interfaces[0].Name == "" {
		s.Interfaces[0].Name = "file"
	}
	s.Decode, s.Reassembly, s.Limits, s.KeylogLines = m.decode, m.pipeline.reassembly(), m.pipeline.limits(), m.analysis.keylogLines()
	if !c.LastPacket.IsZero() {
		s.LastPacket = c.LastPacket.UnixNano()
	}
	return s
}

// write writes the metrics of all that was read.
func (m *metricsFile) write(p *pipeline, capture report.Capture) error {
	if m == nil {
		return nil
	}
	p.progress(&capture)
	m.capture, m.decode, m.pipeline = capture, p.reader.Decoder.Stats().Errors, p
	put := func() error { return wholefile.Write(m.path, 0o644, m.print) } // nobody reads half of it
	if m.direct {
		put = m.pass
	}
	if err := put(); err != nil {
		return fmt.Errorf("--metrics-file: %w", err)
	}
	return nil
}

// pass writes to the pipe or the device.
func (m *metricsFile) pass() error {
	f, err := os.OpenFile(m.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(m.print(f), f.Close())
}

func (m *metricsFile) print(w io.Writer) error {
	families, err := exporter.New(m.pipeline.tally, m.cfg).Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}
