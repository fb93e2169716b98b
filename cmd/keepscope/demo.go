package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"github.com/keepscope/keepscope/cmd/keepscope/demo"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/live"
	"github.com/keepscope/keepscope/sniffer/pcap"
)

// demoCmd is 'keepscope demo'.
type demoCmd struct {
	Duration    time.Duration `group:"Demo:" default:"9s" help:"How long the clients go on; below 5s some habits do not show."`
	Serve       bool          `group:"Demo:" help:"Go on until interrupted, and serve the page and the metrics, as 'keepscope run' does."`
	Listen      string        `group:"Demo:" default:"127.0.0.1:9737" placeholder:"ADDRESS" help:"With --serve: where."`
	Replay      bool          `group:"Demo:" help:"Show what was captured when this program was made, instead of capturing."`
	Write       string        `group:"Output:" placeholder:"FILE" help:"Keep what was captured in this pcap file."`
	outputFlags `group:"Output:"`
	analysis    `group:"Analysis:"`
}

// demoCapture is a capture of the demo, with the secrets of its TLS: see TestUpdateDemo.
//
//go:embed demo.pcapng.zst
var demoCapture []byte

// Run lets clients and servers with good and bad habits meet, captures them and
// reports. Where it may not capture, it reads a capture of the same.
func (d *demoCmd) Run(ctx context.Context, con console, log *slog.Logger) error {
	if err := errors.Join(d.check(), d.checkOutput(con.out)); err != nil {
		return err
	}
	if d.Duration <= 0 {
		return usageError{fmt.Errorf("--duration=%v: it takes a time above 0", d.Duration)}
	}
	if d.Replay {
		return d.replay(ctx, con)
	}
	d.use(newKeys())
	scenario, err := demo.New(d.keys.sink())
	if err != nil {
		return err
	}
	defer scenario.Close()
	flags := liveFlags{Interface: []string{loopback()}, Filter: demoFilter(scenario.Ports()), Snaplen: pcap.DefaultSnaplen, BufferSize: 16 << 20}
	if d.Serve {
		return d.serve(ctx, con, log, scenario, flags)
	}
	err = d.live(ctx, con, log, scenario, flags)
	if errors.Is(err, pcap.ErrPermission) {
		con.fail(err)
		fmt.Fprintln(con.err, "So this is the report on a capture of the same habits, made when this program was.")
		return d.replay(ctx, con)
	}
	return err
}

// live captures the scenario.
func (d *demoCmd) live(ctx context.Context, con console, log *slog.Logger, scenario *demo.Scenario, flags liveFlags) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := d.liveOutput(con, cancel)
	go d.followKeys(log)(ctx)
	file, err := newPCAPTee(d.Write, d.Ports)
	if err != nil {
		return err
	}
	defer func() { _ = file.close() }() // where it matters it was closed before
	l, err := flags.openLive(ctx, live.Config{Copy: d.Workers > 1, Log: log})
	if err != nil {
		return err
	}
	defer l.Close()
	src, err := file.tee(l, l.Links(), log)
	if err != nil {
		return err
	}
	p := d.pipeline(d.listen(out))
	fmt.Fprintf(con.err, "Clients and servers with good and bad habits meet on %s for %v ...\n", flags.Interface[0], d.Duration)
	done := make(chan error, 1)
	go func() { done <- p.run(context.WithoutCancel(ctx), src) }()
	scenario.Play(ctx, d.Duration)
	cancel()
	readErr := <-done
	p.finish()
	l.Close()
	c := flags.capture(l)
	c.Filter = "" // the demo's own, and long
	return errors.Join(out.print(p, c), d.story(con, p), readErr, file.close())
}

// listen is what hears of the demo: the output, and what a report in words ends with.
func (d *demoCmd) listen(out *output) listen {
	l := out.listen()
	if d.Output == "text" {
		l.stories = d.storiesOf(demoStory)
	}
	return l
}

// demoStory asks for the connections that teach most.
var demoStory = story.Query{Limit: 1}

// story ends a report in words with some connections of the demo, drawn.
func (d *demoCmd) story(con console, p *pipeline) error {
	if p.stories == nil {
		return nil
	}
	fmt.Fprintf(con.out, "\n SOME CONNECTIONS OF THE DEMO (keepscope explain draws those of a file)\n\n")
	return writeStories(con.out, p.stories.Pick(demoStory))
}

// replay reports on the embedded capture.
func (d *demoCmd) replay(ctx context.Context, con console) error {
	f, err := capfile.NewReader(bytes.NewReader(demoCapture), "the embedded capture")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	d.use(newKeys())
	f.KeyLog(d.keys.sink())
	out := d.outputFlags.output(con, int64(d.MaxMemory)/4, d.Workers)
	defer out.close()
	p := d.pipeline(d.listen(out))
	readErr := p.run(ctx, sniffer.Source(f))
	p.finish()
	c := report.Capture{Files: []string{"the embedded capture"}, LinkTypes: []string{sniffer.LinkEthernet.String()}}
	return errors.Join(out.print(p, c), d.story(con, p), readErr)
}

// serve is 'keepscope run' on the scenario.
func (d *demoCmd) serve(ctx context.Context, con console, log *slog.Logger, scenario *demo.Scenario, flags liveFlags) error {
	var playing sync.WaitGroup
	r := runCmd{captures: func() { playing.Go(func() { scenario.Play(ctx, forever) }) }}
	if err := kong.ApplyDefaults(&r, append(worded(), flagDefaults())...); err != nil {
		return err
	}
	r.liveFlags, r.Listen, r.analysis = flags, d.Listen, d.analysis
	fmt.Fprintf(con.err, "The page is at http://%s/ until you press Ctrl-C.\n", d.Listen)
	err := r.Run(ctx, con, log)
	if ctx.Err() != nil {
		playing.Wait()
	}
	return err
}

// forever is longer than anybody watches a demo.
const forever = 100 * 365 * 24 * time.Hour

// loopback names the interface of 127.0.0.1.
func loopback() string {
	list, err := net.Interfaces()
	if err == nil {
		for _, i := range list {
			if i.Flags&net.FlagLoopback != 0 {
				return i.Name
			}
		}
	}
	return "lo"
}

// demoFilter matches the demo's servers.
func demoFilter(ports []int) string {
	var list []string
	for _, port := range ports {
		list = append(list, fmt.Sprint("tcp port ", port))
	}
	return strings.Join(list, " or ")
}
