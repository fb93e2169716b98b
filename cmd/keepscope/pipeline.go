package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/analyzer"
	analyzerrun "github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// A pipeline takes frames to facts: a decoder, the workers, and who listens to
// each of them.
type pipeline struct {
	reader     analyzerrun.Reader
	aggregates []*report.Aggregate // one a worker
	window     time.Duration
}

// idleTimeout is the silence after which a connection is given up. It is never
// shorter than the reuse window: the ideal pool must be able to tell a
// connection that is open from one that was given up.
const idleTimeout = 10 * time.Minute

// listen says who hears a pipeline's facts beside the report.
type listen struct {
	reuseIdle int // idle times to list for each connection
	// each of them returns a worker's own listener.
	each []func(worker int) fact.Observer
	// wrap stands between a worker and who listens to it; nil for nothing.
	wrap func(fact.Observer) fact.Observer
}

func (a *analysis) pipeline(l listen) *pipeline {
	n := a.Workers
	p := &pipeline{
		reader: analyzerrun.Reader{
			Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true, NoTunnels: !a.DecodeTunnels}),
			Ports:   a.Ports,
		},
		window: a.ReuseWindow,
	}
	for i := range n {
		sum := report.NewAggregate(report.Options{})
		observers := []fact.Observer{sum}
		for _, listener := range l.each {
			observers = append(observers, listener(i))
		}
		if l.wrap != nil {
			for i, o := range observers {
				observers[i] = l.wrap(o)
			}
		}
		p.aggregates = append(p.aggregates, sum)
		p.reader.Workers = append(p.reader.Workers, analyzerrun.NewWorker(
			a.assembler(n),
			a.analyzer(n, l),
			observers...))
	}
	return p
}

// analyzer is what each of n workers' analyzers is set up with.
func (a *analysis) analyzer(n int, l listen) analyzer.Config {
	c := analyzer.Config{
		ReuseWindow: a.ReuseWindow, IdleLimit: max(idleTimeout, a.ReuseWindow), SharedClients: a.SharedClients,
		MaxReuseIdle: l.reuseIdle, MaxHeaderBytes: a.share(n) / 4, MaxConnections: max(a.MaxConnections/n, 1),
	}
	if a.keys != nil {
		c.Keys = a.keys.store
	}
	return c
}

// assembler is what each of n workers' assemblers is set up with. Whoever sends
// packets must not be able to choose 4-tuples that collide, so the seed is drawn.
func (a *analysis) assembler(n int) reassembly.Config {
	return reassembly.Config{
		MaxConnections: max(a.MaxConnections/n, 1),
		MaxBuffered:    2 * a.share(n),
		IdleTimeout:    max(idleTimeout, a.ReuseWindow),
		Seed:           rand.Uint64(),
	}
}

// share is a quarter of each of n workers' part of the memory.
func (a *analysis) share(n int) int { return int(a.MaxMemory) / 4 / n }

// run analyses src to its end, or until ctx is done.
func (p *pipeline) run(ctx context.Context, src sniffer.Source) error {
	p.reader.Source = src
	return p.reader.Run(ctx)
}

// finish ends the connections that are still open.
func (p *pipeline) finish() { p.reader.Flush() }

// report sums up what was seen; capture says where it comes from.
func (p *pipeline) report(capture report.Capture) *report.Report {
	sum := report.NewAggregate(report.Options{})
	for _, a := range p.aggregates {
		sum.Merge(a)
	}
	p.account(&capture)
	return report.Build(sum, capture)
}

// reportLive is report while packets are still read: it takes the decoder's
// counts from decoded, and each worker's between two of its batches.
func (p *pipeline) reportLive(capture report.Capture, decoded sniffer.DecodeStats) *report.Report {
	sum := report.NewAggregate(report.Options{})
	for i, w := range p.reader.Workers {
		w.Do(func() {
			sum.Merge(p.aggregates[i])
			addReassembly(&capture, w.Assembler.Stats())
		})
	}
	p.progress(&capture)
	capture.SetDecoded(decoded)
	return report.Build(sum, capture)
}

// account fills in what the stages counted.
func (p *pipeline) account(c *report.Capture) {
	p.progress(c)
	c.SetDecoded(p.reader.Decoder.Stats())
	for _, w := range p.reader.Workers {
		addReassembly(c, w.Assembler.Stats())
	}
}

// progress fills in how far reading has come.
func (p *pipeline) progress(c *report.Capture) {
	c.ReuseWindow = p.window.Seconds()
	c.Packets, c.Bytes = p.reader.Progress.Packets.Load(), p.reader.Progress.Bytes.Load()
	if first := p.reader.Progress.First.Load(); first != 0 {
		c.FirstPacket = time.Unix(0, first).UTC()
		c.LastPacket = time.Unix(0, p.reader.Progress.Last.Load()).UTC()
	}
}

func addReassembly(c *report.Capture, s reassembly.Stats) {
	c.Reassembly.MissingBytes += s.MissingBytes
	c.Reassembly.TruncatedBytes += s.TruncatedBytes
	c.Reassembly.OutOfOrderSegments += s.OutOfOrder
	c.Reassembly.Retransmissions += s.Retransmissions
	c.Reassembly.EvictedConnections += s.Evicted
}
