package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// shutdownWait is how long all that is still to be told may take once capture has
// ended: with the second that live takes, the program is gone within two seconds of the signal.
const shutdownWait = 800 * time.Millisecond

// shutdownHooks are what is told to those who listen once capture has ended: lines,
// a push, answers under way. One that does not listen holds none of the others up.
type shutdownHooks []func(context.Context)

func (h shutdownHooks) run() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	var wg sync.WaitGroup
	for _, f := range h {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
}

// lingering is lingers with the process's signals. Without a time to linger a
// second one kills, by default. With one it ends that in order, so that what was
// seen is told, and it is the third that kills.
func (r *runCmd) lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.Linger == 0 {
		return lingers(ctx, 0, nil)
	}
	// Heard from the start: so none comes while nobody listens.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	later, cancel := lingers(ctx, r.Linger, signals)
	context.AfterFunc(later, func() { signal.Stop(signals) })
	return later, cancel
}

// lingers returns a context that is done a time after ctx is, at the second
// signal (the first has ended ctx), or once it is cancelled.
func lingers(ctx context.Context, wait time.Duration, signals <-chan os.Signal) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(wait, cancel) })
	go func() {
		for range 2 {
			select {
			case <-signals:
			case <-later.Done():
			}
		}
		cancel()
	}()
	return later, cancel
}
