package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events"
	"github.com/keepscope/keepscope/exporter/events/columnar"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/wholefile"
	"github.com/keepscope/keepscope/sniffer"
)

// outputFlags are the flags of the commands that end with a report.
type outputFlags struct {
	Output    string `short:"o" enum:"text,markdown,json,ndjson,parquet" default:"text" help:"What to print: ${enum}; markdown is a report for a ticket, parquet is a file with a row for each connection."`
	Exchanges bool   `help:"With --output ndjson: a line for each exchange, too."`
	Findings  whole  `default:"3" placeholder:"N" help:"With --output text or markdown: tell so many findings with their whole advice, or 'all'."`
}

// whole is how many findings are told with their whole advice; below 0 all are.
type whole int

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *whole) UnmarshalText(text []byte) error {
	if string(text) == "all" {
		*w = -1
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q: it takes a number from 1 to 65535, or 'all'", text)
	}
	*w = whole(n)
	return nil
}

// maxReuseIdle is how many idle times a connection's line lists.
const maxReuseIdle = 1024

// An output prints a pipeline's findings in the form that was asked for.
type output struct {
	outputFlags
	to        io.Writer
	maxMemory int64 // for lines that wait to be sorted
	workers   int
	part      bool // a shard's: what other shards' connections tell stays open
	sorters   []*events.Sorter
	server    string     // whose connections are listed; empty for all
	explain   string     // the command that a report in words ends with; empty for none
	live      *liveLines // where lines are not to wait
	rows      *liveRows  // where rows are not to
}

func (f outputFlags) output(con console, maxMemory int64, workers int) *output {
	return &output{outputFlags: f, to: con.out, maxMemory: maxMemory, workers: workers}
}

// liveOutput returns an output whose lines are written when connections end, and
// so not in their order. Where they are not taken it calls stop.
func (f outputFlags) liveOutput(con console, stop func()) *output {
	o := &output{outputFlags: f, to: con.out}
	if f.Output == "parquet" {
		o.rows = newLiveRows(con.out, livePlace(), stop)
	} else {
		o.live = newLiveLines(con.out, stop)
	}
	return o
}

// saved calls write with the file at path, which is there once all is written, or
// with out where there is no path.
func saved(path string, out io.Writer, write func(io.Writer) error) error {
	if path == "" {
		return write(out)
	}
	return wholefile.Write(path, 0o644, write)
}

// checkOutput says what is wrong with the flags, where the output goes to w.
func (f *outputFlags) checkOutput(w io.Writer) error {
	if f.Output != "parquet" {
		return nil
	}
	if f.Exchanges {
		return wrong("exchanges", errors.New("--exchanges: a Parquet file has one table, which is the connections': take --output ndjson"))
	}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return wrong("output", errors.New("--output parquet is no text: send it to a file, as with '> connections.parquet'"))
	}
	return nil
}

// listen says what the output has to hear while packets are read.
func (o *output) listen() listen {
	switch {
	case o.Output != "ndjson" && o.Output != "parquet":
		return listen{}
	case o.rows != nil:
		return listen{reuseIdle: maxReuseIdle, each: []func(int) fact.Observer{func(int) fact.Observer { return o.rows }}}
	case o.live != nil:
		return listen{reuseIdle: maxReuseIdle, each: []func(int) fact.Observer{func(int) fact.Observer {
			return &events.Encoder{W: o.live, Exchanges: o.Exchanges}
		}}}
	}
	return listen{reuseIdle: maxReuseIdle, each: []func(int) fact.Observer{func(int) fact.Observer {
		s := events.NewSorter(int(o.maxMemory)/o.workers, "")
		if o.Output == "parquet" {
			s.Line = columnar.Connections().Append
		}
		s.Open = o.part
		o.sorters = append(o.sorters, s)
		return &lines{sorter: s, exchanges: o.Exchanges, server: o.server}
	}}}
}

// print writes the output to its end.
func (o *output) print(p *pipeline, capture report.Capture) error {
	switch {
	case o.rows != nil:
		return o.rows.finish(p, capture)
	case o.Output == "parquet":
		return writeRows(o.to, o.sorters, p, capture)
	case o.Output == "ndjson" && o.live != nil:
		return o.live.Flush()
	case o.Output == "ndjson":
		w := bufio.NewWriterSize(o.to, 64<<10)
		if err := events.WriteSorted(w, p.answers(), o.sorters...); err != nil {
			return err
		}
		return w.Flush()
	case o.Output == "json":
		p.complete(&capture, p.reader.Decoder.Stats())
		r, err := p.mergeable(capture, true)
		return errors.Join(r.WriteJSON(o.to), err)
	}
	return writeReport(p.report(capture), o.to, o.Output, o.Findings, o.explain)
}

// writeReport writes a report for people, as text or Markdown. explain is the command that
// explains connections of it, empty for none.
func writeReport(r *report.Report, to io.Writer, output string, told whole, explain string) error {
	options := textOptions(to)
	options.Findings, options.Explain = int(told), explain
	if output == "markdown" {
		return r.WriteMarkdown(to, options)
	}
	return r.WriteText(to, options)
}

// close removes what the output kept on disk.
func (o *output) close() {
	for _, s := range o.sorters {
		_ = s.Close() // what it cannot remove is of no use to anybody
	}
}

// textOptions fits the text report to where it is shown.
func textOptions(w io.Writer) (o report.TextOptions) {
	o.Width, o.Color = shownOn(w)
	return o
}

// shownOn returns the columns of the terminal that w is, 0 where they are not known or
// it is none, and whether it may have colours.
func shownOn(w io.Writer) (width int, color bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		width = 0
	}
	return width, colorAllowed()
}

// colorAllowed keeps to no-color.org: NO_COLOR counts where it is not empty.
func colorAllowed() bool { return os.Getenv("NO_COLOR") == "" }

// lines hands a worker's facts to its sorter.
type lines struct {
	sorter    *events.Sorter
	exchanges bool
	server    string // that is listed; empty for all
}

func (l *lines) Exchange(e *fact.Exchange) {
	if l.exchanges && l.lists(e.ServerName, e.Server) {
		l.sorter.Exchange(e)
	}
}

func (l *lines) Connection(c *fact.Connection) {
	if l.lists(c.ServerName, c.Server) {
		l.sorter.Connection(c)
	}
}

func (l *lines) lists(name string, server sniffer.Endpoint) bool {
	return l.server == "" || naming.IsCalled(l.server, naming.Clean(name), server)
}

// flushAfter is how long a line may wait for others.
const flushAfter = 200 * time.Millisecond

// liveLines writes the lines of all workers. One that is not taken keeps its
// worker waiting: then it is the kernel that drops, and counts.
type liveLines struct {
	mu    sync.Mutex
	w     *bufio.Writer
	timer *time.Timer // flushes
	stop  func()      // called on errors
}

func newLiveLines(w io.Writer, stop func()) *liveLines {
	l := &liveLines{w: bufio.NewWriterSize(w, 64<<10), stop: stop}
	l.timer = time.AfterFunc(flushAfter, func() { _ = l.Flush() }) // an error stays for the last one
	return l
}

// Write implements io.Writer.
func (l *liveLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w.Buffered() == 0 {
		l.timer.Reset(flushAfter)
	}
	n, err := l.w.Write(line)
	if err != nil {
		l.stop()
	}
	return n, err
}

// Flush writes what waits, and returns the first error of all.
func (l *liveLines) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.w.Flush()
	if err != nil {
		l.stop()
	}
	return err
}
