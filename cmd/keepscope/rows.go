package main

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events"
	"github.com/keepscope/keepscope/exporter/events/columnar"
	"github.com/keepscope/keepscope/exporter/report"
)

// place says where rows come from, as far as the resource attributes of
// OpenTelemetry tell, which the manifests set.
func place() columnar.Place {
	attributes := map[string]string{}
	for pair := range strings.SplitSeq(os.Getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			attributes[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return columnar.Place{
		Node: cmp.Or(attributes["k8s.node.name"], attributes["host.name"]), Namespace: attributes["k8s.namespace.name"],
		Pod: attributes["k8s.pod.name"],
		Workload: cmp.Or(attributes["k8s.deployment.name"], attributes["k8s.statefulset.name"], attributes["k8s.daemonset.name"],
			attributes["k8s.job.name"], os.Getenv("OTEL_SERVICE_NAME"), attributes["service.name"]),
	}
}

// livePlace is place where the traffic is this host's.
func livePlace() columnar.Place {
	p := place()
	if p.Node == "" {
		p.Node, _ = os.Hostname() // it may have none
	}
	return p
}

func newRows(w io.Writer, from columnar.Place) *columnar.Writer {
	v, _, _ := buildVersion()
	return columnar.Connections().NewWriter(w, from, v)
}

// keepReport keeps in a run's rows what 'keepscope merge' adds up: nothing where they are
// of one server, for the figures are of all.
func keepReport(rows *columnar.Writer, p *pipeline, capture report.Capture) error {
	if capture.Server != "" {
		return nil
	}
	p.complete(&capture, p.reader.Decoder.Stats())
	r, err := p.mergeable(capture, true)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	sum := report.Report{Schema: report.Schema, Capture: r.Capture, Servers: []report.Server{}, Mergeable: r.Mergeable}
	if err := sum.WriteJSON(&text); err != nil {
		return err
	}
	rows.SetReport(text.Bytes())
	return nil
}

// writeRows writes the rows of all sorters in order, as a final report answers.
func writeRows(to io.Writer, sorters []*events.Sorter, p *pipeline, capture report.Capture) error {
	w := bufio.NewWriterSize(to, 64<<10)
	rows := newRows(w, place())
	if err := events.EachSorted(rows.Write, p.answers(), sorters...); err != nil {
		return err
	}
	if err := keepReport(rows, p, capture); err != nil {
		return err
	}
	if err := rows.Close(); err != nil {
		return err
	}
	return w.Flush()
}

// liveRows writes the rows of all workers as they come. Its first error ends it.
type liveRows struct {
	mu   sync.Mutex
	w    *bufio.Writer
	rows *columnar.Writer
	row  []byte
	err  error
	stop func() // called on errors
}

func newLiveRows(to io.Writer, from columnar.Place, stop func()) *liveRows {
	w := bufio.NewWriterSize(to, 64<<10)
	return &liveRows{w: w, rows: newRows(w, from), stop: stop}
}

// Connection implements fact.Observer.
func (l *liveRows) Connection(c *fact.Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.row = columnar.Connections().Append(l.row[:0], c)
	if l.err = l.rows.Write(l.row); l.err != nil {
		l.stop()
	}
}

// finish completes the file with the report of the run, and returns the first error of
// all.
func (l *liveRows) finish(p *pipeline, capture report.Capture) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = keepReport(l.rows, p, capture)
	}
	if l.err == nil {
		l.err = l.rows.Close()
	}
	if l.err == nil {
		l.err = l.w.Flush()
	}
	return l.err
}
