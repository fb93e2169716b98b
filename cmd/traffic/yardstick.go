package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
)

// A contestant is a program that is measured on a file.
type contestant struct {
	name string
	args []string // FILE stands for the file
}

// A sample is the cost of one run.
type sample struct {
	seconds float64 // CPU, user and system
	rss     float64 // peak, in MiB
}

// yardstick measures the contestants on each file in interleaved rounds, so that
// whatever else the machine does falls on all of them, and prints medians.
func yardstick(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("traffic yardstick", flag.ContinueOnError)
	flags.SetOutput(stderr)
	rounds := flags.Int("rounds", 3, "how often each program reads each file")
	keepscope := flags.String("keepscope", "", "the keepscope to measure; none by default")
	only := flags.String("only", "", "a comma-separated choice of cat, walk, keepscope, gopacket, in-place, tshark; all that are installed by default")
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	if *rounds < 1 || flags.NArg() == 0 {
		flags.Usage()
		return usageError{errors.New("wrong usage")}
	}
	field, err := contestants(*keepscope, *only)
	if err != nil {
		return err
	}
	for _, file := range flags.Args() {
		// Once beforehand, so that every run finds the file in the page cache.
		if _, err := measure(ctx, contestant{"cat", []string{"cat", "FILE"}}, file); err != nil {
			return err
		}
		samples := make([][]sample, len(field))
		for range *rounds {
			for i, c := range field {
				s, err := measure(ctx, c, file)
				if err != nil {
					return err
				}
				samples[i] = append(samples[i], s)
			}
		}
		if err := table(stdout, file, *rounds, field, samples); err != nil {
			return err
		}
	}
	return nil
}

// contestants is the field: what is asked for, or whatever there is.
func contestants(keepscope, only string) ([]contestant, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	all := []contestant{
		{"cat", []string{"cat", "FILE"}},
		{"walk", []string{self, "walk", "FILE"}},
		{"keepscope", []string{keepscope, "read", "--output", "text", "FILE"}},
		{"gopacket", []string{self, "gopacket", "FILE"}},
		{"in-place", []string{self, "gopacket", "-in-place", "FILE"}},
		{"tshark", []string{"tshark", "-q", "-z", "http,tree", "-r", "FILE"}},
	}
	wanted := strings.Split(only, ",")
	var field []contestant
	for _, c := range all {
		asked := slices.Contains(wanted, c.name)
		_, err := exec.LookPath(c.args[0])
		switch {
		case asked && err != nil:
			return nil, fmt.Errorf("%s: %w", c.name, err)
		case asked || only == "" && err == nil:
			field = append(field, c)
		}
	}
	if len(field) == 0 {
		return nil, usageError{fmt.Errorf("nothing to measure in %q", only)}
	}
	return field, nil
}

// measure runs a contestant once.
func measure(ctx context.Context, c contestant, file string) (sample, error) {
	args := slices.Clone(c.args)
	for i, arg := range args {
		if arg == "FILE" {
			args[i] = file
		}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, said.Bytes())
	}
	state := cmd.ProcessState
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return sample{}, errors.New("this system does not tell what a process used")
	}
	return sample{
		seconds: (state.UserTime() + state.SystemTime()).Seconds(),
		rss:     float64(usage.Maxrss) / 1024,
	}, nil
}

// table prints the medians. The peak of a small program reads too high: Linux
// counts what this program had when it forked.
func table(w io.Writer, file string, rounds int, field []contestant, samples [][]sample) error {
	fmt.Fprintf(w, "\n%s, median of %d interleaved rounds\n", file, rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "program\tCPU s\tmin\tmax\tpeak MiB\t× cat\t× keepscope\t")
	var seconds []float64
	base := map[string]float64{}
	for i, c := range field {
		m := median(samples[i], func(s sample) float64 { return s.seconds })
		seconds = append(seconds, m)
		base[c.name] = m
	}
	for i, c := range field {
		lowest, highest := slices.MinFunc(samples[i], byCPU), slices.MaxFunc(samples[i], byCPU)
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.0f\t%s\t%s\t\n", c.name, seconds[i], lowest.seconds, highest.seconds,
			median(samples[i], func(s sample) float64 { return s.rss }),
			ratio(seconds[i], base["cat"]), ratio(seconds[i], base["keepscope"]))
	}
	return t.Flush()
}

func byCPU(a, b sample) int { return cmp.Compare(a.seconds, b.seconds) }

func median(samples []sample, of func(sample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
