package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/prometheus/common/expfmt"

	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
)

// A metricsFile is what --metrics-file asks for: the metrics of what is read,
// as a scraper would have got them. nil stands for none.
type metricsFile struct {
	path      string // where symbolic links lead to
	direct    bool   // it is no file, so it is written to, not replaced
	cfg       exporter.Config
	exporter  *exporter.Exporter
	recorders []*exporter.Recorder
	capture   report.Capture
	decode    sniffer.DecodeErrors
}

// newMetricsFile says at once where there is something at path that can be
// neither replaced nor written to.
func newMetricsFile(path string, flags *metricFlags, a *analysis) (*metricsFile, error) {
	if path == "" {
		return nil, nil
	}
	m := &metricsFile{cfg: flags.config()}
	var err error
	if m.path, err = followLinks(path); err != nil {
		return nil, fmt.Errorf("--metrics-file: %w", err)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if m.direct = info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0; !m.direct {
			return nil, fmt.Errorf("--metrics-file: %s is neither a file nor a pipe: name a file", path)
		}
	}
	m.cfg.Local, m.cfg.ReuseWindow = flags.local, a.ReuseWindow
	m.cfg.Stages = m.stages
	m.exporter = exporter.New(m.cfg)
	return m, nil
}

// listen adds a recorder to what hears each worker.
func (m *metricsFile) listen(l listen) listen {
	if m == nil {
		return l
	}
	l.each = append(l.each, func(int) fact.Observer {
		recorder := m.exporter.NewRecorder()
		m.recorders = append(m.recorders, recorder)
		return recorder
	})
	return l
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
	s.Decode = m.decode
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
	m.capture, m.decode = capture, p.reader.Decoder.Stats().Errors
	for i, w := range p.reader.Workers {
		m.exporter.Attach(m.recorders[i], w)
	}
	put := m.replace
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

// replace replaces the file at once, so that nobody reads half of it.
func (m *metricsFile) replace() (err error) {
	f, err := os.CreateTemp(filepath.Dir(m.path), "."+filepath.Base(m.path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	// node_exporter, which reads such files, is another user.
	if err := errors.Join(m.print(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), m.path)
}

func (m *metricsFile) print(w io.Writer) error {
	families, err := m.exporter.Gather()
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
