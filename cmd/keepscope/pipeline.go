package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	analyzerrun "github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/events"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// A pipeline takes frames to facts: a decoder, the workers, and who listens to
// each of them.
type pipeline struct {
	reader  analyzerrun.Reader
	tally   *tally.Set
	stories story.Stores // empty where none are kept
	keys    *keys        // nil without a key log
	window  time.Duration
}

// idleTimeout is the silence after which a connection is given up. It is never
// shorter than the reuse window: the ideal pool must be able to tell a
// connection that is open from one that was given up.
const idleTimeout = 10 * time.Minute

// listen says how a pipeline's facts are counted, and who hears them beside.
type listen struct {
	tally     tally.Config
	reuseIdle int      // idle times to list for each connection
	stories   *stories // nil for none
	// each of them returns a worker's own listener.
	each []func(worker int) fact.Observer
	// wrap stands between a worker and who listens to it; nil for nothing.
	wrap func(fact.Observer) fact.Observer
}

// stories says what is kept of single connections, so that they can be drawn.
type stories struct {
	story.Config     // of each worker
	exchanges    int // of a connection
	traced       int // connections at once, before they have ended
	rate         int // connections a second; 0 for each
}

func (a *analysis) pipeline(l listen) *pipeline {
	n := a.Workers
	p := &pipeline{
		reader: analyzerrun.Reader{
			Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true, NoTunnels: !a.DecodeTunnels}),
			Ports:   a.Ports,
		},
		tally:  tally.New(l.tally),
		window: a.ReuseWindow,
		keys:   a.keys,
	}
	for i := range n {
		var w *analyzerrun.Worker
		observers := []fact.Observer{p.tally.Worker(func(f func()) { w.Do(f) })}
		if l.stories != nil {
			l.stories.Desk = l.tally.Desk
			s := story.New(l.stories.Config)
			p.stories = append(p.stories, s)
			observers = append(observers, s)
		}
		for _, listener := range l.each {
			observers = append(observers, listener(i))
		}
		if l.wrap != nil {
			for i, o := range observers {
				observers[i] = l.wrap(o)
			}
		}
		w = analyzerrun.NewWorker(
			a.assembler(n),
			a.analyzer(n, l),
			observers...)
		p.reader.Workers = append(p.reader.Workers, w)
	}
	return p
}

// analyzer is what each of n workers' analyzers is set up with.
func (a *analysis) analyzer(n int, l listen) analyzer.Config {
	c := analyzer.Config{
		ReuseWindow: a.ReuseWindow, IdleLimit: max(idleTimeout, a.ReuseWindow), SharedClients: a.SharedClients,
		MaxReuseIdle: l.reuseIdle, MaxHeaderBytes: a.share(n) / 4, MaxConnections: max(a.MaxConnections/n, 1),
	}
	if s := l.stories; s != nil {
		c.Traces, c.MaxTraced = s.exchanges, max(s.traced/n, 1)
		if s.rate > 0 {
			c.TraceRate = max(s.rate/n, 1)
		}
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
	p.complete(&capture, p.reader.Decoder.Stats())
	return p.build(capture, true)
}

// mergeable is report with what adding it to others takes; capture is complete.
func (p *pipeline) mergeable(capture report.Capture, final bool) (r *report.Report, err error) {
	p.tally.Detail(func(s *tally.Sum) {
		var m *report.Mergeable
		if capture.Server == "" { // else it would be merged with the others
			m, err = report.NewMergeable(s, &capture)
		}
		r = report.Build(s, capture, final)
		r.Mergeable = m
	})
	return r, err
}

// answers is what a final report answers to open questions.
func (p *pipeline) answers() (a events.Answers) {
	p.tally.Detail(func(s *tally.Sum) { a = s.Answers() })
	return a
}

// reportLive is report while packets are still read: it takes the decoder's
// counts from decoded.
func (p *pipeline) reportLive(capture report.Capture, decoded sniffer.DecodeStats) *report.Report {
	p.complete(&capture, decoded)
	return p.build(capture, false)
}

// complete fills in what the stages before the tally know.
func (p *pipeline) complete(c *report.Capture, decoded sniffer.DecodeStats) {
	p.progress(c)
	c.SetDecoded(decoded)
	addReassembly(c, p.reassembly())
	c.Limits = p.limits()
}

func (p *pipeline) build(capture report.Capture, final bool) (r *report.Report) {
	p.tally.Detail(func(s *tally.Sum) { r = report.Build(s, capture, final) })
	return r
}

// checkServer says that there is no such server, and which there are.
func (p *pipeline) checkServer(asked string) error {
	if asked == "" {
		return nil
	}
	var known []string
	found := false
	p.tally.View(func(s *tally.Sum) {
		for _, r := range s.Rows {
			found = found || naming.IsCalled(asked, r.Label(), r.Endpoint)
			known = append(known, r.Label())
		}
	})
	if found {
		return nil
	}
	slices.Sort(known)
	known = slices.Compact(known)
	there := strings.Join(known[:min(len(known), maxKnown)], ", ")
	if more := len(known) - maxKnown; more > 0 {
		there += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Errorf("--server=%s: there is no such server; there is %s", asked, cmp.Or(there, "none"))
}

// maxKnown is how many servers are named where another is asked for.
const maxKnown = 8

// reassembly sums up what the workers' assemblers counted, each between two of
// its batches.
func (p *pipeline) reassembly() (sum reassembly.Stats) {
	for _, w := range p.reader.Workers {
		w.Do(func() { addStats(&sum, w.Assembler.Stats()) })
	}
	return sum
}

// limits sums up the caps of the workers' stages, and those on keys and stories.
func (p *pipeline) limits() (sum fact.Limits) {
	for _, w := range p.reader.Workers {
		w.Do(func() { sum.Add(w.Limits()) })
	}
	sum.Add(p.keys.limits())
	sum.Add(p.stories.Limits())
	return sum
}

func addStats(sum *reassembly.Stats, s reassembly.Stats) {
	sum.Open += s.Open
	sum.Buffered += s.Buffered
	sum.OutOfOrder += s.OutOfOrder
	sum.Retransmissions += s.Retransmissions
	sum.MissingBytes += s.MissingBytes
	sum.TruncatedBytes += s.TruncatedBytes
	sum.Evicted += s.Evicted
	sum.StrayResets += s.StrayResets
}

// progress fills in how far reading has come.
func (p *pipeline) progress(c *report.Capture) {
	c.ReuseWindow, c.Ports = p.window.Seconds(), p.reader.Ports
	c.Packets, c.Bytes = p.reader.Progress.Packets.Load(), p.reader.Progress.Bytes.Load()
	c.Restamped = p.reader.Progress.Mended.Load()
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
