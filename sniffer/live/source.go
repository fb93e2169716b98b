package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
	"github.com/keepscope/keepscope/sniffer/printable"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

// The times of a live capture.
const (
	retryFirst   = 500 * time.Millisecond
	retryMost    = 30 * time.Second
	drainLeast   = 150 * time.Millisecond // longer than the kernel holds frames back
	drainMost    = time.Second
	refreshAddrs = 10 * time.Second
)

// A Source is a running capture. Read and Close are for one goroutine, the rest
// for any.
type Source struct {
	src        *pcap.Source
	cfg        Config
	failed     error        // for the next Read
	privileged bool         // it still has the rights that capturing takes
	stopped    atomic.Int64 // when the context was done, 0 before
	attempts   []attempt    // by interface
	names      []string     // of the interfaces, printable

	local   atomic.Pointer[map[sniffer.Addr]struct{}]
	unready atomic.Pointer[error]
}

// An attempt is the trying to capture again on one interface.
type attempt struct {
	next  time.Time
	wait  time.Duration
	words string // last said about it
}

// Open starts a capture, and gives up every right that this took. Where cfg.Await is
// set, interfaces that can't be captured on are no error; rights are then kept until
// all can. Once ctx is done, Read returns what was captured before, for a second at
// most, and then io.EOF. A filter that is wrong is a *pcap.FilterError.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	filter, err := cfg.filter()
	if err != nil {
		return nil, err
	}
	names := slices.Clone(cfg.Interfaces)
	slices.Sort(names)
	src, err := pcap.Open(pcap.Config{
		Interfaces: slices.Compact(names), Filter: filter, Tagged: true, Snaplen: cfg.Snaplen,
		Buffer: cfg.Buffer, Promiscuous: cfg.Promiscuous, Await: cfg.Await, Copy: cfg.Copy,
	})
	if err != nil {
		return nil, err
	}
	l := &Source{src: src, cfg: cfg, privileged: true, attempts: make([]attempt, len(src.Interfaces()))}
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

// Read implements sniffer.Source.
func (l *Source) Read(b *sniffer.Batch) error {
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
func (l *Source) drain(b *sniffer.Batch, stopped int64, now time.Time) {
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
func (l *Source) reopen(now time.Time) error {
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
				return err
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

func (l *Source) dropRights() error {
	if !l.privileged {
		return nil
	}
	l.privileged = false
	if err := privileges.Drop(l.cfg.User, l.cfg.Confine); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	l.cfg.Log.Info("capturing", "interface", strings.Join(l.src.Interfaces(), ","))
	return nil
}

// report says that an interface can't be captured on, once for each reason, and
// sets the time for the next attempt.
func (l *Source) report(err error, now time.Time) {
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
func (l *Source) Ready() error {
	if err := l.unready.Load(); err != nil {
		return *err
	}
	return nil
}

// Interfaces returns the names of the interfaces, fit to be shown.
func (l *Source) Interfaces() []string { return l.names }

// Drops returns what was lost on the i-th interface.
func (l *Source) Drops(i int) pcap.Drops { return l.src.Drops(i) }

// Dropped sums up what was lost on all interfaces.
func (l *Source) Dropped() (sum pcap.Drops) {
	for i := range l.names {
		d := l.Drops(i)
		sum.Kernel += d.Kernel
		sum.Interface += d.Interface
	}
	return sum
}

// Links returns the link types of the interfaces.
func (l *Source) Links() []sniffer.LinkType { return l.src.Links() }

// Close ends the capture.
func (l *Source) Close() { l.src.Close() }
