// Package demo lets clients and servers with good and bad habits meet on loopback: what
// keepscope demo captures.
package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A Scenario is where the habits meet: a listener for each, on loopback.
type Scenario struct{ acts []act }

type act struct {
	habit
	listener net.Listener
}

// New opens the ports of the servers. What TLS carries is read by its clients' keys, which
// go to keys.
func New(keys io.Writer) (*Scenario, error) {
	s := &Scenario{}
	var lc net.ListenConfig
	all, err := habits(keys)
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("demo: %w", err)
		}
		s.acts = append(s.acts, act{h, l})
	}
	return s, nil
}

// Play lets the clients go on for a time, or until ctx is done.
func (s *Scenario) Play(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var playing sync.WaitGroup
	for _, a := range s.acts {
		go func() { _ = a.serve(a.listener) }() // until Close
		playing.Go(func() { a.repeat(ctx) })
	}
	playing.Wait()
}

// repeat does the client's rounds.
func (a *act) repeat(ctx context.Context) {
	round := a.client(a.listener.Addr().String(), a.name)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			round(ctx)
			timer.Reset(a.pause)
		}
	}
}

// Ports are where the servers listen.
func (s *Scenario) Ports() (list []int) {
	for _, a := range s.acts {
		list = append(list, a.listener.Addr().(*net.TCPAddr).Port)
	}
	return list
}

// Close closes the ports.
func (s *Scenario) Close() {
	for _, a := range s.acts {
		_ = a.listener.Close() // nothing follows
	}
}
