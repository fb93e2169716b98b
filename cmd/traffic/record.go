package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// limit bounds the making of one file.
const limit = 15 * time.Minute

// A generator makes the traffic of one file.
type generator struct {
	lab     *lab.Lab
	scale   float64
	truth   truth
	holders []*holder // of connections that outlast the capture
}

// scaled is n for this run, at least 1.
func (g *generator) scaled(n int) int { return max(1, int(float64(n)*g.scale)) }

func record(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("traffic", flag.ContinueOnError)
	flags.SetOutput(stderr)
	all := kinds()
	name := flags.String("kind", "", "which traffic: "+strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	out := flags.String("out", "", "the pcap to write; the truth goes beside it as FILE.truth.json")
	scale := flags.Float64("scale", 1, "how much of it, from 0.001 to 1")
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	k, known := all[*name]
	if !known || *out == "" || *scale < 0.001 || *scale > 1 || flags.NArg() > 0 {
		flags.Usage()
		return usageError{errors.New("wrong usage")}
	}
	if err := lab.Check(ctx, "nginx", "tcpdump", "wrk", "ab", "curl", "sysctl"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	g := &generator{scale: *scale, truth: truth{Kind: *name, Scale: *scale}}
	if err := g.make(ctx, k, *out); err != nil {
		return fmt.Errorf("make %s: %w", *out, err)
	}
	t := g.truth
	_, err := fmt.Fprintf(stdout, "%s: %d packets, %d connections with %d requests, %d never used, %d refused, %d reused 4-tuples, %d open at the end, %.1f s\n",
		*out, t.Packets, t.Connections, t.Requests, t.NeverUsed, t.Refused, t.ReusedTuples, t.OpenAtEnd, t.Seconds)
	return err
}

// make runs the traffic under capture, then reads the truth from the log.
func (g *generator) make(ctx context.Context, k kind, out string) (err error) {
	g.lab, err = lab.New(ctx, k.network)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.lab.Close()) }()
	g.truth.Server = g.lab.Server.Addrs[0].String()
	nginx, err := g.lab.NewNginx(ctx, k.server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nginx.Kill()) }()
	accepted, err := g.capture(ctx, k, nginx, out)
	for _, h := range g.holders {
		err = errors.Join(err, h.close())
	}
	if err = errors.Join(err, nginx.Stop()); err != nil {
		return err
	}
	connections, err := lab.ReadLog(nginx.Log)
	if err != nil {
		return err
	}
	g.truth.count(connections, accepted)
	return g.truth.write(out + ".truth.json")
}

// capture runs the traffic between the start and the end of the capture. Unless
// the kind leaves connections open, nginx is stopped in between, so that its
// closing of idle connections is in the file.
func (g *generator) capture(ctx context.Context, k kind, nginx *lab.Nginx, out string) (accepted int, err error) {
	capture, err := g.lab.Client.Capture(ctx, out, lab.CaptureConfig{})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = k.traffic(ctx, g)
	if err == nil {
		accepted, err = nginx.AllAccepted(ctx)
	}
	if !k.openAtEnd {
		err = errors.Join(err, nginx.Stop())
	}
	packets, stopErr := capture.Stop()
	g.truth.Packets = packets
	g.truth.Seconds = time.Since(start).Seconds()
	return accepted, errors.Join(err, stopErr)
}
