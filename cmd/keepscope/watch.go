package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/live"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

// watchCmd is 'keepscope watch'.
type watchCmd struct {
	liveFlags `group:"Capture:"`
	Duration  *time.Duration `group:"End:" placeholder:"TIME" help:"Stop after this time, e.g. 30s. By default when it is interrupted."`
	Requests  uint64         `group:"End:" placeholder:"N" help:"Stop after this many requests."`
	Write     string         `group:"Output:" placeholder:"FILE" help:"Keep what was captured in this pcap file; with --ports only TCP from or to these, and no DNS."`
	Plain     bool           `group:"Output:" help:"Print a line now and then instead of the screen."`

	outputFlags `group:"Output:"`
	analysis    `group:"Analysis:"`
	storyFlags  `group:"Analysis:"`
}

// Run captures until it is told to stop, and prints the report.
func (w *watchCmd) Run(ctx context.Context, con console, log *slog.Logger) error {
	if err := errors.Join(w.analysis.check(), w.storyFlags.check()); err != nil {
		return err
	}
	if w.Duration != nil && *w.Duration <= 0 {
		return wrong("duration", fmt.Errorf("--duration=%v: it takes a time above 0, as 30s; without it there is no limit", *w.Duration))
	}
	if err := w.checkOutput(con.out); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := w.liveOutput(con, cancel)
	go w.followKeys(log)(ctx)
	listen := out.listen()
	listen.stories = w.stories(w.Workers)
	s := newSession(listen, &w.analysis, w.Requests, cancel)
	file, err := newPCAPTee(w.Write, w.Ports)
	if err != nil {
		return err
	}
	defer func() { _ = file.close() }() // where it matters it was closed before
	l, err := w.openLive(ctx, live.Config{Copy: w.Workers > 1, Tunnels: w.DecodeTunnels, Log: log, Confine: w.confine()})
	if err != nil {
		return err
	}
	defer l.Close()
	src, err := file.tee(l, l.Links(), log)
	if err != nil {
		return err
	}
	if w.Duration != nil {
		timer := time.AfterFunc(*w.Duration, cancel)
		defer timer.Stop()
	}
	s.live = l
	readErr := s.show(ctx, con, src, w.Plain || w.Output != "text")
	s.pipeline.finish()
	l.Close()
	if d := l.Dropped(); d.Kernel+d.Interface > 0 {
		log.Warn("packets were dropped: the figures are too low (a larger --buffer-size, a --filter or --workers helps)", "kernel", d.Kernel, "interface", d.Interface)
	}
	// None of them takes the others with it.
	return errors.Join(out.print(s.pipeline, w.capture(l)), readErr, file.close())
}

// confine says what watching takes of the file system: a terminal, and key logs.
func (w *watchCmd) confine() privileges.Confinement {
	terminal := []string{"/dev/tty", "/etc/localtime", "/usr/share/zoneinfo", "/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo"}
	return privileges.Confinement{Read: append(terminal, w.keyFolders()...)}
}

// capture describes the interfaces for the report.
func (f *liveFlags) capture(l *live.Source) report.Capture {
	c := report.Capture{Interfaces: l.Interfaces(), Filter: f.Filter}
	for _, link := range l.Links() {
		if name := link.String(); !slices.Contains(c.LinkTypes, name) {
			c.LinkTypes = append(c.LinkTypes, name)
		}
	}
	d := l.Dropped()
	c.Dropped.Kernel, c.Dropped.Interface = d.Kernel, d.Interface
	return c
}

// A session is a pipeline that is watched while it runs.
type session struct {
	pipeline *pipeline
	requests requestCounter
	limit    uint64 // of requests; 0 for none
	stop     func()
	live     *live.Source
	start    time.Time
}

// newSession returns a session whose facts are heard by l, too. It stops itself by
// stop once it has seen limit requests, if that is above 0.
func newSession(l listen, a *analysis, limit uint64, stop func()) *session {
	s := &session{start: time.Now(), limit: limit, stop: stop}
	if limit > 0 {
		l.each = append(l.each, func(int) fact.Observer { return &s.requests })
	}
	l.tally.Desk.Local = func(addr sniffer.Addr) bool { return s.live != nil && s.live.Local(addr) }
	s.pipeline = a.pipeline(l)
	return s
}

// A requestCounter counts the requests of all workers, counted and estimated.
type requestCounter struct{ n atomic.Uint64 }

// Exchange implements fact.Follower.
func (r *requestCounter) Exchange(*fact.Exchange) { r.n.Add(1) }

// Connection implements fact.Observer.
func (r *requestCounter) Connection(c *fact.Connection) {
	if c.Estimated {
		r.n.Add(uint64(c.Requests))
	}
}

// show analyses src to its end, and shows figures meanwhile where somebody sees
// them.
func (s *session) show(ctx context.Context, con console, src sniffer.Source, plain bool) error {
	done := make(chan error, 1)
	go func() {
		done <- s.pipeline.run(context.WithoutCancel(ctx), s.limited(src))
		close(done)
	}()
	in, inOK := con.in.(*os.File)
	out, outOK := con.out.(*os.File)
	if !plain && inOK && outOK && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) {
		return s.screen(in, out, done)
	}
	return s.lines(con.err, done)
}

// limited stops the session once it has seen enough requests.
func (s *session) limited(src sniffer.Source) sniffer.Source {
	if s.limit == 0 {
		return src
	}
	return sourceFunc(func(b *sniffer.Batch) error {
		if s.requests.n.Load() >= s.limit {
			s.stop()
			return io.EOF
		}
		return src.Read(b)
	})
}

// A sourceFunc is a function as a source.
type sourceFunc func(*sniffer.Batch) error

// Read implements sniffer.Source.
func (f sourceFunc) Read(b *sniffer.Batch) error { return f(b) }

// A snapshot is a session's state at one moment.
type snapshot struct {
	*report.Report
	at time.Time
}

// snapshot reports on the figures so far.
func (s *session) snapshot() snapshot {
	var c report.Capture
	if s.live != nil {
		c.Interfaces = s.live.Interfaces()
		d := s.live.Dropped()
		c.Dropped.Kernel, c.Dropped.Interface = d.Kernel, d.Interface
	}
	return snapshot{s.pipeline.reportLive(c, sniffer.DecodeStats{}), time.Now()}
}

// linesEvery is the time between two lines where there is no terminal.
const linesEvery = 5 * time.Second

// lines prints a line now and then until the pipeline is done.
func (s *session) lines(w io.Writer, done <-chan error) error {
	tick := time.NewTicker(linesEvery)
	defer tick.Stop()
	last := s.snapshot()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			now := s.snapshot()
			if _, err := fmt.Fprintln(w, now.line(&last, s.start)); err != nil {
				s.stop()
				return cmp.Or(<-done, err)
			}
			last = now
		}
	}
}

// line words the figures so far, and those since last: counted and estimated ones
// apart.
func (n *snapshot) line(last *snapshot, start time.Time) string {
	t := &n.Totals
	text := fmt.Sprintf("%s  %s, %s (%d open)", n.at.Sub(start).Round(time.Second),
		prose.Plural(n.Capture.Packets, "packet"), prose.Plural(t.Connections, "connection"), t.Open)
	before := map[bool]uint64{}
	for _, p := range last.Totals.Parts() {
		before[p.IsEstimated] = p.Requests
	}
	for _, p := range t.Parts() {
		mark := p.Mark()
		more := p.Requests - min(before[p.IsEstimated], p.Requests)
		text += fmt.Sprintf(", %s (%s%.0f/s)", mark+prose.Plural(p.Requests, "request"), mark, float64(more)/n.at.Sub(last.at).Seconds())
		if v := p.Effectiveness; v != nil {
			text += ", effectiveness " + mark + prose.Percent(*v)
		}
		text += ", " + mark + prose.Plural(p.Wasted.Total, "wasted handshake")
		if cause := p.TopCause(); cause != "" {
			text += " (mostly " + mark + cause + ")"
		}
	}
	if d := n.Capture.Dropped.Total(); d > 0 {
		text += fmt.Sprintf(", %s DROPPED", prose.Plural(d, "packet"))
	}
	return text
}
