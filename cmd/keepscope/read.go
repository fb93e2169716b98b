package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/wholefile"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// readCmd is 'keepscope read'.
type readCmd struct {
	Files   []string `arg:"" name:"file" help:"pcap or pcapng, plain or compressed by gzip or zstd, or a folder of such files; '-' is standard input. Several files are one timeline."`
	Shard   shard    `group:"Analysis:" placeholder:"I/N" help:"Analyse only one in N of the pairs of hosts, I being from 0: 'keepscope merge' adds the N reports up to what one run says."`
	Save    string   `group:"Output:" placeholder:"FILE" help:"Write to this file, which is replaced once all is written, in place of standard output."`
	Records string   `group:"Output:" placeholder:"FILE" help:"Write a row for each connection to this Parquet file, too, which is replaced once all is written."`
	Server  string   `group:"Output:" placeholder:"NAME|ADDR" help:"Report on this server only, and list only its connections: its name, its address or address:port. All is analysed, so that what is said of it is the same."`

	MetricsFile string `group:"Metrics:" placeholder:"FILE" help:"Write the metrics that 'keepscope run' would have shown to this file, too, for node_exporter's textfile collector. The file is replaced at once, also behind a symbolic link; a pipe is written to."`
	metricFlags `embed:"" group:"Metrics:" set:"max_servers=1000"`
	outputFlags `group:"Output:"`
	part        `group:"Analysis:"`
	analysis    `group:"Analysis:"`

	opened *capfile.File // in place of Files, where it is set
	read   []string      // of Files, those that could be opened
}

// Run reads the files and prints the report.
func (r *readCmd) Run(ctx context.Context, con console, log *slog.Logger) error {
	return saved(r.Save, con.out, func(to io.Writer) error {
		con.out = to
		return r.print(ctx, con, log)
	})
}

func (r *readCmd) print(ctx context.Context, con console, log *slog.Logger) error {
	if err := errors.Join(r.analysis.check(), r.metricFlags.check(), r.checkOutput(con.out)); err != nil {
		return err
	}
	metrics, err := newMetricsFile(r.MetricsFile, &r.metricFlags, &r.analysis)
	if err != nil {
		return err
	}
	out := r.output(con, int64(r.MaxMemory)/4, r.Workers)
	out.part, out.server, out.explain = r.Shard.Of > 0, r.Server, r.explanation()
	defer out.close()
	l := r.listen(out)
	records := outputFlags{Output: "parquet"}.output(con, int64(r.MaxMemory)/4, r.Workers)
	records.part, records.server = out.part, r.Server
	defer records.close()
	if r.Records != "" {
		more := records.listen()
		l.reuseIdle, l.each = more.reuseIdle, append(l.each, more.each...)
	}
	p, capture, readErr := r.analyse(ctx, con, log, l)
	if p == nil {
		return readErr
	}
	if err := p.checkServer(r.Server); err != nil {
		return errors.Join(err, readErr)
	}
	// None of them takes the others with it.
	return errors.Join(metrics.write(p, capture), r.writeRecords(records, p, capture), out.print(p, capture), readErr)
}

// writeRecords writes the file that --records names.
func (r *readCmd) writeRecords(records *output, p *pipeline, capture report.Capture) error {
	if r.Records == "" {
		return nil
	}
	return wholefile.Write(r.Records, 0o644, func(to io.Writer) error { return writeRows(to, records.sorters, p, capture) })
}

// listen says how facts are counted, and what hears them beside.
func (r *readCmd) listen(out *output) listen {
	l := out.listen()
	l.tally = r.metricFlags.tally(r.local)
	return l
}

// collectSeldom lets the heap grow to five times what was kept last, not twice,
// unless GOGC says otherwise. Reading keeps nearly all that it allocates, so
// that each collection finds next to nothing: twice costs up to a tenth more CPU, and
// saves 2 MiB at most (BenchmarkRead with GOGC=100).
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// analyse reads the files to their end. With an error that comes in the middle
// of a file it still returns what was found before; p is nil where nothing
// could be read.
func (r *readCmd) analyse(ctx context.Context, con console, log *slog.Logger, l listen) (p *pipeline, c report.Capture, err error) {
	files, err := r.open(ctx, log)
	if err != nil {
		return nil, c, err
	}
	if err := r.readKeys(r.read, files, log); err != nil {
		return nil, c, err
	}
	collectSeldom()
	merged := capfile.Merge(files...)
	defer func() { _ = merged.Close() }() // it was only read
	span := &span{Source: merged, part: r.part}
	var src sniffer.Source = span
	var left uint64 // packets of link types that are not supported
	if r.Filter != "" {
		if src, err = pcap.NewFilter(supportedLinks(span, &left), r.Filter); err != nil {
			return nil, c, usageError{err}
		}
	}
	p = r.pipeline(l)
	p.reader.Shard, p.reader.Shards = r.Shard.Index, r.Shard.Of
	bar := startProgress(con.err, merged)
	err = p.run(ctx, src)
	bar.stop()
	if w := merged.Warning(); w != nil {
		log.Warn(w.Error())
	}
	if ctx.Err() != nil {
		log.Warn("interrupted: the report is of what was read before")
	}
	p.finish()
	links, only := unsupportedLinks(files)
	left += p.reader.Decoder.Stats().Errors[sniffer.UnknownLink]
	switch {
	case only:
		return nil, c, fmt.Errorf("%s is not supported: capture on an interface with Ethernet, Linux cooked, PPP or IP frames", strings.Join(links, ", "))
	case left > 0:
		log.Warn("packets of a link type that is not supported were left out", "packets", left, "link_types", strings.Join(links, ", "))
	}
	if err := span.check(); err != nil {
		return nil, c, err
	}
	c = r.capture(merged)
	if !span.whole() {
		c.Span = &span.Span
		log.Info("packets outside of --since and --until were left out", "packets", span.LeftOut)
	}
	return p, c, err
}

// supportedLinks leaves out and counts the frames whose link type is not decoded.
// A filter, which libpcap does not compile for most of those, would end at them.
func supportedLinks(src sniffer.Source, left *uint64) sniffer.Source {
	return sourceFunc(func(b *sniffer.Batch) error {
		err := src.Read(b)
		all := len(b.Frames)
		b.Frames = slices.DeleteFunc(b.Frames, func(f sniffer.Frame) bool { return !f.Link.Supported() })
		*left += uint64(all - len(b.Frames))
		return err
	})
}

// unsupportedLinks names the files' link types that are not decoded, and says
// whether there are no others.
func unsupportedLinks(files []*capfile.File) (list []string, only bool) {
	only = true
	for _, f := range files {
		for _, i := range f.Interfaces() {
			if i.Link.Supported() {
				only = false
				continue
			}
			if name := fmt.Sprintf("%s: link type %v", i.File, i.Link); !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list, only && len(list) > 0
}

// open opens the files, unless somebody has. Of several, those that can't be read
// and those that are there already are left out with a warning.
func (r *readCmd) open(ctx context.Context, log *slog.Logger) ([]*capfile.File, error) {
	if r.opened != nil {
		r.read = r.Files
		return []*capfile.File{r.opened}, nil
	}
	var err error
	if r.Files, err = inFolders(r.Files); err != nil {
		return nil, err
	}
	var files []*capfile.File
	var seen []fs.FileInfo
	for _, path := range r.Files {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() {
			if slices.ContainsFunc(seen, func(s fs.FileInfo) bool { return os.SameFile(s, info) }) {
				log.Warn("the same file is given more than once: it is read once", "file", path)
				continue
			}
		}
		log.Debug("reading", "file", path)
		f, err := capfile.OpenInterruptible(ctx, path)
		switch {
		case err != nil && len(r.Files) == 1:
			return nil, err
		case err != nil:
			log.Warn("a file is left out", "error", err)
			continue
		}
		files, r.read = append(files, f), append(r.read, path)
		if info != nil {
			seen = append(seen, info)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("none of the %d files could be read", len(r.Files))
	}
	return files, nil
}

// inFolders lists the captures that folders hold in place of them.
func inFolders(paths []string) (files []string, err error) {
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			files = append(files, path)
			continue
		}
		n := len(files)
		for _, pattern := range []string{"*.pcap", "*.pcapng", "*.cap", "*.dmp"} {
			for _, suffix := range []string{"", ".gz", ".zst"} {
				found, _ := filepath.Glob(filepath.Join(path, pattern+suffix)) // the pattern is right
				files = append(files, found...)
			}
		}
		if slices.Sort(files[n:]); len(files) == n {
			return nil, fmt.Errorf("%s holds no capture: no file whose name ends with .pcap, .pcapng, .cap or .dmp, nor with .gz or .zst behind that", path)
		}
	}
	return files, nil
}

// capture describes the files for the report.
func (r *readCmd) capture(m *capfile.Merged) report.Capture {
	c := report.Capture{Files: r.read, Filter: r.Filter, Server: r.Server, CutShort: errors.Is(m.Warning(), capfile.ErrTruncated)}
	for _, i := range m.Interfaces() {
		if i.Name != "" && !slices.Contains(c.Interfaces, i.Name) {
			c.Interfaces = append(c.Interfaces, i.Name)
		}
		if name := i.Link.String(); !slices.Contains(c.LinkTypes, name) {
			c.LinkTypes = append(c.LinkTypes, name)
		}
	}
	c.Dropped.Interface, c.Dropped.Kernel = m.Drops()
	if r.Shard.Of > 0 {
		c.Shard = &r.Shard.Shard
	}
	return c
}

// A progress draws how far reading has come, while stderr is a terminal.
type progress struct{ done, drawn chan struct{} }

// progressDelay is how long reading goes on before a bar is worth showing.
const progressDelay = time.Second

func startProgress(w io.Writer, m *capfile.Merged) progress {
	p := progress{make(chan struct{}), make(chan struct{})}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		close(p.drawn)
		return p
	}
	go func() {
		defer close(p.drawn)
		start := time.Now()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-p.done:
				if shown {
					fmt.Fprint(f, "\r\x1b[K")
				}
				return
			case now := <-tick.C:
				if now.Sub(start) >= progressDelay {
					shown = true
					read, total := m.Bytes()
					fmt.Fprint(f, "\r", progressLine(read, total, now.Sub(start)), "\x1b[K")
				}
			}
		}
	}()
	return p
}

// progressLine words a bar of 30 characters, or where the total is not known
// (a pipe) the bytes alone.
func progressLine(read, total int64, passed time.Duration) string {
	const mb, width = 1e6, 30
	rate := float64(read) / mb / passed.Seconds()
	if total <= 0 {
		return fmt.Sprintf("reading %.0f MB, %.0f MB/s", float64(read)/mb, rate)
	}
	part := min(float64(read)/float64(total), 1)
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = ' '
		if float64(i) < part*width {
			bar[i] = '#'
		}
	}
	return fmt.Sprintf("reading [%s] %3.0f%% of %.0f MB, %.0f MB/s", bar, part*100, float64(total)/mb, rate)
}

func (p progress) stop() {
	close(p.done)
	<-p.drawn
}
