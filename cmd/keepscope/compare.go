package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/keepscope/keepscope/exporter/report"
)

// compareCmd is 'keepscope compare'.
type compareCmd struct {
	Before string `arg:"" help:"A capture, or a report saved with --output json."`
	After  string `arg:"" help:"The same, of what is to be compared with it."`
	Output string `short:"o" enum:"text,json" default:"text" help:"What to print: ${enum}."`
	Filter string `placeholder:"BPF" help:"Of captures, analyse only frames that match, in tcpdump's language."`
	analysis
}

// Run prints how the figures of two captures differ.
func (c *compareCmd) Run(ctx context.Context, con console, log *slog.Logger) error {
	if err := c.check(); err != nil {
		return err
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
	if c.Output == "json" {
		return cmp.WriteJSON(con.out)
	}
	return cmp.WriteText(con.out, textOptions(con.out))
}

// load returns the report of a file: the one that it is, or that of the
// capture that it is.
func (c *compareCmd) load(ctx context.Context, con console, log *slog.Logger, path string) (*report.Report, error) {
	if saved, err := savedReport(path); saved != nil || err != nil {
		return saved, err
	}
	r := readCmd{Files: []string{path}, Filter: c.Filter, analysis: c.analysis}
	p, capture, err := r.analyse(ctx, con, log, listen{})
	if err != nil {
		return nil, err
	}
	return p.report(capture), nil
}

// savedReport reads a saved report; it returns nil for a file that is none.
func savedReport(path string) (*report.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil // reading it as a capture says what is wrong with it
	}
	defer func() { _ = f.Close() }() // it was only read
	in := bufio.NewReader(f)
	if first, err := in.Peek(1); err != nil || first[0] != '{' {
		return nil, nil
	}
	r, err := report.ReadJSON(in)
	if err != nil {
		return nil, fmt.Errorf("%s: no report that 'keepscope read --output json' wrote: %w", path, err)
	}
	return r, nil
}
