package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer/capfile"
)

// compareCmd is 'keepscope compare'.
type compareCmd struct {
	Before   string `arg:"" help:"A capture, or a report saved with --output json, plain or compressed by gzip or zstd; '-' is standard input, and http://localhost:9737/report.json is what a running keepscope has seen."`
	After    string `arg:"" help:"The same, of what is to be compared with it."`
	Output   string `group:"Output:" short:"o" enum:"text,markdown,json" default:"text" help:"What to print: ${enum}; markdown is for a ticket."`
	Server   string `group:"Output:" placeholder:"NAME|ADDR" help:"Of captures, compare only what is said of this server: its name, its address or address:port."`
	part     `group:"Analysis:"`
	analysis `group:"Analysis:"`
}

// Run prints how the figures of two captures differ.
func (c *compareCmd) Run(ctx context.Context, con console, log *slog.Logger) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Before == "-" && c.After == "-" {
		return usageError{errors.New("standard input can be only one of the two: name a file for the other")}
	}
	before, err := c.load(ctx, con, log, c.Before)
	if err != nil {
		return err
	}
	after, err := c.load(ctx, con, log, c.After)
	if err != nil {
		return err
	}
	cmp := report.Compare(before, after)
	switch c.Output {
	case "json":
		return cmp.WriteJSON(con.out)
	case "markdown":
		return cmp.WriteMarkdown(con.out)
	}
	return cmp.WriteText(con.out, textOptions(con.out))
}

// load returns the report of a file: the one that it is, or that of the
// capture that it is. "-" is standard input.
func (c *compareCmd) load(ctx context.Context, con console, log *slog.Logger, path string) (*report.Report, error) {
	r := readCmd{Files: []string{path}, Server: c.Server, part: c.part, analysis: c.analysis}
	if path == "-" {
		from := con.in
		if f, ok := from.(*os.File); ok {
			var err error
			if from, err = capfile.Interruptible(ctx, f); err != nil {
				return nil, err
			}
		}
		in := bufio.NewReaderSize(from, peekBytes)
		saved, err := savedReport(in, "standard input")
		if saved != nil || err != nil {
			return saved, err
		}
		if r.opened, err = capfile.NewReader(in, "standard input"); err != nil {
			return nil, err
		}
	} else if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		return fetchReport(ctx, path)
	} else if saved, err := savedFile(path); saved != nil || err != nil {
		return saved, err
	}
	p, capture, err := r.analyse(ctx, con, log, listen{})
	if err != nil {
		return nil, err
	}
	if err := p.checkServer(c.Server); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p.report(capture), nil
}

const (
	// peekBytes is how much of a file it takes to see how it begins: zstd
	// decompresses whole blocks only, of up to 128 KiB (RFC 8878 §3.1.1.2.4).
	peekBytes = 192 << 10
	// maxReport bounds a saved report: one with as many servers as an aggregate
	// keeps has a fifth of it.
	maxReport = 64 << 20
)

// savedFile is savedReport for a file.
func savedFile(path string) (*report.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil // reading it as a capture says what is wrong with it
	}
	defer func() { _ = f.Close() }() // it was only read
	return savedReport(bufio.NewReaderSize(f, peekBytes), path)
}

// fetchTimeout is how long a running keepscope may take to answer.
const fetchTimeout = 30 * time.Second

// fetchReport asks a running keepscope for its report.
func fetchReport(ctx context.Context, address string) (*report.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, usageError{err}
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s; the report of a running keepscope is at /report.json", address, answer.Status)
	}
	saved, err := savedReport(bufio.NewReaderSize(answer.Body, peekBytes), address)
	if saved == nil && err == nil {
		err = fmt.Errorf("%s: that is no report; that of a running keepscope is at /report.json", address)
	}
	return saved, err
}

// savedReport reads a saved report, plain or compressed as captures may be. It
// returns nil, and has read nothing, where in does not begin as JSON.
func savedReport(in *bufio.Reader, name string) (*report.Report, error) {
	head, _ := in.Peek(peekBytes) // why there is no more of it, reading says
	begin, _ := bufio.NewReader(decompress(bytes.NewReader(head))).Peek(1)
	if len(begin) == 0 || begin[0] != '{' {
		return nil, nil
	}
	most := &io.LimitedReader{R: decompress(in), N: maxReport}
	r, err := report.ReadJSON(most)
	if most.N == 0 {
		err = fmt.Errorf("larger than %d MiB", maxReport>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: no report: %w; give what 'keepscope read --output json' wrote, or the capture itself", name, err)
	}
	return r, nil
}

// decompress returns what r holds, which gzip or zstd may have compressed.
func decompress(r io.Reader) io.Reader {
	in := bufio.NewReader(r)
	switch head, _ := in.Peek(4); {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		if z, err := gzip.NewReader(in); err == nil {
			return z
		}
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		if z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxReport)); err == nil {
			return z // on this goroutine: there is nothing to close
		}
	}
	return in
}
