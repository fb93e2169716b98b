package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
	"github.com/keepscope/keepscope/sniffer/printable"
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

// A liveConfig is what a command says about its capture beside the flags.
type liveConfig struct {
	Tunnels      bool                   // capture tunnelled traffic, too
	Workers      int                    // of the pipeline that reads
	ExcludePorts []uint16               // own ports: their TCP traffic is left out
	Retry        bool                   // try lost interfaces again for ever
	Await        bool                   // start without those that are missing yet, and try them, too
	Confine      privileges.Confinement // what the process may still do once capture has begun
	Log          *slog.Logger
}

// The times of a live capture.
const (
	retryFirst      = 500 * time.Millisecond
	retryMost       = 30 * time.Second
	drainLeast      = 150 * time.Millisecond // longer than the kernel holds frames back
	drainMost       = time.Second
	refreshAddrs    = 10 * time.Second
	maxExcludePorts = 64
)

// A live is a running capture. Read and Close are for one goroutine, the rest
// for any.
type live struct {
	src      *pcap.Source
	cfg      liveConfig
	drop     func() error // gives up what rights are left; nil once done
	failed   error        // for the next Read
	stopped  atomic.Int64 // when the context was done, 0 before
	attempts []attempt    // by interface
	names    []string     // of the interfaces, printable

	local   atomic.Pointer[map[sniffer.Addr]struct{}]
	unready atomic.Pointer[error]
}

// An attempt is the trying to capture again on one interface.
type attempt struct {
	next  time.Time
	wait  time.Duration
	words string // last said about it
}

// openLive starts the capture that the flags describe, and gives up every right
// that it took. Where cfg.Await is set, interfaces that can't be captured on are
// no error; rights are then kept until all can. Once ctx is done, Read returns
// what was captured before, for a second at most, and then io.EOF.
func (f *liveFlags) openLive(ctx context.Context, cfg liveConfig) (*live, error) {
	filter, err := f.filter(&cfg)
	if err != nil {
		return nil, err
	}
	user, err := becomes(f.User) // while the file system is there to look it up
	if err != nil {
		return nil, err
	}
	names := slices.Clone(f.Interface)
	slices.Sort(names)
	src, err := pcap.Open(pcap.Config{
		Interfaces: slices.Compact(names), Filter: filter, Tagged: true, Snaplen: f.Snaplen,
		Buffer: int(f.BufferSize), Promiscuous: f.Promiscuous, Await: cfg.Await, Copy: cfg.Workers > 1,
	})
	if err != nil {
		return nil, err
	}
	drop := func() error { return privileges.Drop(user, cfg.Confine) }
	l := &live{src: src, cfg: cfg, drop: drop, attempts: make([]attempt, len(src.Interfaces()))}
	for _, name := range src.Interfaces() {
		l.names = append(l.names, printable.Text(name))
	}
	l.refresh()
	if err := l.reopen(time.Now()); err != nil {
		src.Close()
		return nil, err
	}
	context.AfterFunc(ctx, func() { l.stopped.Store(time.Now().UnixNano()) })
	go l.keepFresh(ctx)
	return l, nil
}

// filter composes what the kernel is to pass on.
func (f *liveFlags) filter(cfg *liveConfig) (string, error) {
	decoded := sniffer.DecoderConfig{DNS: true, NoTunnels: !cfg.Tunnels}
	expr := "(" + decoded.Filter() + ")"
	if f.Filter != "" {
		if err := pcap.CheckFilter(f.Filter); err != nil {
			return "", usageError{err}
		}
		expr += " and (" + f.Filter + ")"
	}
	if n := len(cfg.ExcludePorts); n > maxExcludePorts {
		return "", usageError{fmt.Errorf("%d ports to exclude: at most %d", n, maxExcludePorts)}
	}
	for _, port := range cfg.ExcludePorts {
		expr += fmt.Sprintf(" and not tcp port %d", port)
	}
	return expr, nil
}

// Read implements sniffer.Source.
func (l *live) Read(b *sniffer.Batch) error {
	if l.failed != nil {
		return l.failed
	}
	now := time.Now()
	stopped := l.stopped.Load()
	if stopped != 0 && now.UnixNano()-stopped > int64(drainMost) {
		return io.EOF
	}
	if l.unready.Load() != nil {
		if err := l.reopen(now); err != nil {
			return err
		}
	}
	err := l.src.Read(b)
	if stopped != 0 {
		l.drain(b, stopped, now)
	}
	if err == nil {
		return nil
	}
	if lost, ok := errors.AsType[*pcap.InterfaceError](err); ok && l.cfg.Retry {
		l.report(lost, now)
		return nil
	}
	// The batch holds what came before.
	l.failed = err
	return nil
}

// drain leaves out what came after the stop, and ends the capture once nothing from
// before it can be left: of each interface, for a busy one may hide a quiet one
// whose frames the kernel still holds back.
func (l *live) drain(b *sniffer.Batch, stopped int64, now time.Time) {
	read := len(b.Frames)
	for n := read; n > 0 && b.Frames[n-1].Time > stopped; n-- {
		b.Frames = b.Frames[:n-1]
	}
	if read == 0 || len(b.Frames) < read && now.UnixNano()-stopped > int64(drainLeast) {
		l.failed = io.EOF
	}
}

// reopen tries the interfaces whose time has come, and once it has all of them
// gives up the rights that this took.
func (l *live) reopen(now time.Time) error {
	var unready error
	for i, name := range l.src.Interfaces() {
		a := &l.attempts[i]
		if !l.src.Lost(i) && a.words != "" {
			*a = attempt{}
		}
		if l.src.Lost(i) && now.Before(a.next) {
			unready = errors.New(a.words)
			continue
		}
		if !l.src.Lost(i) {
			continue
		}
		if err := l.src.Reopen(i); err != nil {
			if _, ok := errors.AsType[*pcap.FilterError](err); ok {
				return usageError{err}
			}
			l.report(err, now)
			unready = err
			continue
		}
		if a.words != "" {
			l.cfg.Log.Info("capturing", "interface", name)
		}
		*a = attempt{}
	}
	if unready != nil {
		l.unready.Store(&unready)
		return nil
	}
	l.unready.Store(nil)
	return l.dropRights()
}

func (l *live) dropRights() error {
	if l.drop == nil {
		return nil
	}
	drop := l.drop
	l.drop = nil
	if err := drop(); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	l.cfg.Log.Info("capturing", "interface", strings.Join(l.src.Interfaces(), ","))
	return nil
}

// report says that an interface can't be captured on, once for each reason, and
// sets the time for the next attempt.
func (l *live) report(err error, now time.Time) {
	failed, ok := errors.AsType[*pcap.InterfaceError](err)
	if !ok {
		return
	}
	a := &l.attempts[failed.Index]
	a.wait = min(max(2*a.wait, retryFirst), retryMost)
	a.next = now.Add(a.wait)
	if a.words != err.Error() {
		a.words = err.Error()
		l.cfg.Log.Warn(a.words, "retry_after", a.wait)
	}
	l.unready.Store(&err)
}

// Ready returns nil while every interface is captured on, or why not.
func (l *live) Ready() error {
	if err := l.unready.Load(); err != nil {
		return *err
	}
	return nil
}

// Interfaces returns the names of the interfaces, fit to be shown.
func (l *live) Interfaces() []string { return l.names }

// Drops returns what was lost on the i-th interface.
func (l *live) Drops(i int) pcap.Drops { return l.src.Drops(i) }

// Local says whether an address is one of this host's (in a pod: the pod's).
func (l *live) Local(a sniffer.Addr) bool {
	if addrs := l.local.Load(); addrs != nil {
		if _, ok := (*addrs)[a]; ok {
			return true
		}
	}
	return a.Netip().IsLoopback()
}

// keepFresh reads the addresses anew now and then, for they come and go. The
// kernel tells them under a lock that it holds while any interface on the machine
// comes or goes: so it is not Read that waits.
func (l *live) keepFresh(ctx context.Context) {
	tick := time.NewTicker(refreshAddrs)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.refresh()
		}
	}
}

func (l *live) refresh() {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return // the old ones are the best guess
	}
	set := make(map[sniffer.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To16() != nil {
			set[sniffer.Addr(n.IP.To16())] = struct{}{}
		}
	}
	l.local.Store(&set)
}

// Close ends the capture.
func (l *live) Close() { l.src.Close() }
