package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/common/expfmt"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
)

// A metricsFile is what --metrics-file asks for: the metrics of what is read,
// as a scraper would have got them. nil stands for none.
type metricsFile struct {
	path      string
	cfg       exporter.Config
	exporter  *exporter.Exporter
	recorders []*exporter.Recorder
	capture   report.Capture
	decode    sniffer.DecodeErrors
}

func newMetricsFile(path string, flags *metricFlags, a *analysis) *metricsFile {
	if path == "" {
		return nil
	}
	m := &metricsFile{path: path, cfg: flags.config()}
	m.cfg.Local, m.cfg.ReuseWindow = flags.local, a.ReuseWindow
	m.cfg.Stages = m.stages
	m.exporter = exporter.New(m.cfg)
	return m
}

// listen adds a recorder to what hears each worker.
func (m *metricsFile) listen(l listen) listen {
	if m == nil {
		return l
	}
	each := l.each
	l.each = func(i int) analyzer.Observer {
		recorder := m.exporter.NewRecorder()
		m.recorders = append(m.recorders, recorder)
		if each == nil {
			return recorder
		}
		return join(each(i), recorder)
	}
	return l
}

// stages makes one interface of those that the files name.
func (m *metricsFile) stages() exporter.Stages {
	c := &m.capture
	s := exporter.Stages{Interfaces: []exporter.InterfaceStats{{
		Name: strings.Join(c.Interfaces, ","), Packets: c.Packets, Bytes: c.Bytes,
		DroppedKernel: c.Dropped.Kernel, DroppedByInterface: c.Dropped.Interface, DroppedQueue: c.Dropped.Queue,
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

// write writes the file at once, so that nobody reads half of it.
func (m *metricsFile) write(p *pipeline, capture report.Capture) error {
	if m == nil {
		return nil
	}
	p.progress(&capture)
	m.capture, m.decode = capture, p.reader.Decoder.Stats().Errors
	for i, w := range p.reader.Workers {
		m.exporter.Attach(m.recorders[i], w)
	}
	if err := m.replace(); err != nil {
		return fmt.Errorf("--metrics-file: %w", err)
	}
	return nil
}

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
