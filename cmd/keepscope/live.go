package main

import (
	"context"
	"fmt"
	"os"

	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/sniffer/live"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

// liveFlags are the flags of the commands that capture.
type liveFlags struct {
	Interface   []string `short:"i" default:"any" placeholder:"NAME" help:"Interface to capture on, or 'any'. May be given several times."`
	Filter      string   `placeholder:"BPF" help:"Analyse only packets that match, in tcpdump's language. In any case only TCP, DNS and, with --decode-tunnels, tunnels are captured."`
	Snaplen     int      `default:"${snaplen}" help:"Bytes kept of each packet. Fewer leave room for more packets, and lose chunked bodies, long header sections and some of many pipelined messages."`
	BufferSize  size     `default:"64MiB" help:"Memory of the kernel for packets not analysed yet, for each interface."`
	Promiscuous bool     `help:"Capture also what is not for this host."`
	User        string   `placeholder:"NAME" help:"User to become once capture has begun, where started as root. By default nobody."`
}

// findUser returns the user that --user names.
func findUser(name string) (*privileges.User, error) {
	user, err := privileges.Find(name)
	if err != nil {
		return nil, wrong("user", fmt.Errorf("--user: %w", err))
	}
	return user, nil
}

// becomes returns the user that this process becomes once it captures: nil
// where it stays the one that started it.
func becomes(name string) (*privileges.User, error) {
	switch {
	case os.Geteuid() == 0:
		return findUser(name)
	case name != "":
		return nil, wrong("user", fmt.Errorf("--user=%s: only root can become another user", name))
	}
	return nil, nil
}

// storyFlags are the flags of the commands that show single connections while they
// capture.
type storyFlags struct {
	MaxStories int `default:"${max_stories}" placeholder:"N" help:"Connections that are kept so that they can be drawn: the newest of each server and cause. They and those that are being looked at take 4 MiB with the default; more take 6 KiB each. 0 keeps none."`
}

func (f *storyFlags) check() error {
	return takes(f.MaxStories >= 0 && f.MaxStories <= 1000000, "max-stories", f.MaxStories, "0 to 1000000")
}

// stories is what the flags have a number of workers keep; nil for nothing.
func (f *storyFlags) stories(workers int) *stories {
	if f.MaxStories == 0 {
		return nil
	}
	return &stories{
		Config:    story.Live(f.MaxStories, workers),
		exchanges: story.LiveTraces, traced: story.LiveMaxTraced, rate: story.LiveTraceRate,
	}
}

// openLive starts the capture that the flags describe; cfg says the rest.
func (f *liveFlags) openLive(ctx context.Context, cfg live.Config) (*live.Source, error) {
	user, err := becomes(f.User)
	if err != nil {
		return nil, err
	}
	cfg.Interfaces, cfg.Filter, cfg.Snaplen, cfg.Buffer, cfg.Promiscuous = f.Interface, f.Filter, f.Snaplen, int(f.BufferSize), f.Promiscuous
	cfg.User = user
	return live.Open(ctx, cfg)
}
