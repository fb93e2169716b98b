package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keepscope/keepscope/exporter/events/columnar"
	"github.com/keepscope/keepscope/exporter/report"
)

// mergeCmd is 'keepscope merge'.
type mergeCmd struct {
	Reports    []string      `arg:"" name:"report" help:"Reports saved with --output json, plain or compressed by gzip or zstd, or Parquet files of 'keepscope read' and 'watch', which have one; or a folder of reports (*.json, *.json.gz, *.json.zst, and those beside the records of 'keepscope run --log-connections DIR/'), or where it has none of Parquet files."`
	Wait       int           `placeholder:"N" help:"Wait until there are so many reports."`
	Timeout    time.Duration `default:"1h" help:"With --wait: how long at most."`
	Output     string        `short:"o" enum:"text,markdown,json" default:"text" help:"What to print: ${enum}; markdown is a report for a ticket, json can be merged again."`
	MaxServers int           `default:"1000" help:"Servers that are called by their name; beyond, they are counted as 'other'."`
	Findings   whole         `default:"3" placeholder:"N" help:"With --output text or markdown: tell so many findings with their whole advice, or 'all'."`
	Save       string        `placeholder:"FILE" help:"Write to this file, which is replaced once all is written, in place of standard output."`
}

// Run prints one report in place of many.
func (m *mergeCmd) Run(ctx context.Context, con console) error {
	if err := errors.Join(
		takes(m.MaxServers >= 1 && m.MaxServers <= 10000, "max-servers", m.MaxServers, "1 to 10000"),
		takes(m.Wait >= 0, "wait", m.Wait, "a number of reports"),
	); err != nil {
		return err
	}
	files, err := m.files(ctx)
	if err != nil {
		return err
	}
	merger := report.NewMerger(m.MaxServers)
	for _, path := range files {
		r, err := reportIn(path)
		if err == nil {
			err = merger.Add(r)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	r, err := merger.Report()
	if err != nil {
		return err
	}
	return saved(m.Save, con.out, func(to io.Writer) error {
		if m.Output == "json" {
			return r.WriteJSON(to)
		}
		return writeReport(r, to, m.Output, m.Findings, "")
	})
}

// reportIn returns the report that a file is, or that a Parquet file has of its rows.
func reportIn(path string) (*report.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	in := bufio.NewReaderSize(f, peekBytes)
	if head, _ := in.Peek(4); columnar.Is(head) {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		text, err := columnar.Report(f, info.Size())
		if err != nil {
			return nil, err
		}
		in = bufio.NewReaderSize(bytes.NewReader(text), peekBytes)
	}
	r, err := savedReport(in, path)
	if r == nil && err == nil {
		err = errors.New("it is no report: 'keepscope read --output json' writes one")
	}
	return r, err
}

// waitEvery is how often it is looked for more reports.
const waitEvery = time.Second

// files lists the reports, once there are enough of them.
func (m *mergeCmd) files(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	for {
		files, err := m.list()
		if err != nil || len(files) >= m.Wait {
			return files, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("there are %d of %d reports", len(files), m.Wait)
		}
	}
}

// inFolder is where the reports in a folder are, the first that are there: those that
// were saved; one of each process that keeps records there; those of Parquet files.
var inFolder = [][]string{
	{"*.json", "*.json.gz", "*.json.zst"},
	{"node=*/report-*.json", "dt=*/node=*/report-*.json"},
	{"*.parquet"},
}

// list lists the reports that there are.
func (m *mergeCmd) list() (files []string, err error) {
	for _, path := range m.Reports {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist) && m.Wait > 0:
			continue
		case err != nil:
			return nil, err
		case !info.IsDir():
			files = append(files, path)
			continue
		}
		for _, patterns := range inFolder {
			n := len(files)
			for _, pattern := range patterns {
				found, _ := filepath.Glob(filepath.Join(path, pattern)) // the patterns are right
				files = append(files, found...)
			}
			if len(files) > n {
				break // others may be of the same runs
			}
		}
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasPrefix(filepath.Base(f), ".") })
	slices.Sort(files)
	return slices.Compact(files), nil
}
