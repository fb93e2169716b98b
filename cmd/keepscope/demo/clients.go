package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A visitor is a client of one server.
type visitor struct {
	*http.Client
	url string
}

// visitorOf returns a client that finds a name at an address.
func visitorOf(addr, name string, configure func(*http.Transport)) visitor {
	t := &http.Transport{
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}
	if configure != nil {
		configure(t)
	}
	scheme := "http://"
	if t.TLSClientConfig != nil {
		scheme = "https://"
	}
	return visitor{&http.Client{Transport: t, Timeout: 5 * time.Second}, scheme + name + "/"}
}

// get asks once. An error is what many of the habits are about.
func (v visitor) get(ctx context.Context, read bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, nil)
	if err != nil {
		return
	}
	resp, err := v.Do(req)
	if err != nil {
		return
	}
	if read {
		_, _ = io.Copy(io.Discard, resp.Body) // cut short where the server closes
	}
	_ = resp.Body.Close() // cut short too
}

// burst asks n times at once, over one pool for all rounds.
func burst(n int, configure func(*http.Transport)) func(addr, name string) func(context.Context) {
	return func(addr, name string) func(context.Context) {
		v := visitorOf(addr, name, configure)
		return func(ctx context.Context) {
			together(n, func() { v.get(ctx, true) })
		}
	}
}

// together does something n times at once.
func together(n int, do func()) {
	var doing sync.WaitGroup
	for range n {
		doing.Go(do)
	}
	doing.Wait()
}

// newPools makes a transport for each request and forgets it: its connection
// stays open, and nobody finds it.
func newPools(addr, name string) func(context.Context) {
	return func(ctx context.Context) {
		visitorOf(addr, name, func(t *http.Transport) { t.IdleConnTimeout = 2 * time.Second }).get(ctx, true)
	}
}

// unread closes bodies that it has not read.
func unread(addr, name string) func(context.Context) {
	v := visitorOf(addr, name, nil)
	return func(ctx context.Context) { v.get(ctx, false) }
}

// impatient gives up before the answer comes.
func impatient(addr, name string) func(context.Context) {
	v := visitorOf(addr, name, nil)
	v.Timeout = 40 * time.Millisecond
	return func(ctx context.Context) { v.get(ctx, true) }
}

// preconnect opens a connection and does not use it.
func preconnect(addr, _ string) func(context.Context) {
	return func(ctx context.Context) {
		var d net.Dialer
		if c, err := d.DialContext(ctx, "tcp", addr); err == nil {
			_ = c.Close() // nothing was sent
		}
	}
}

// rawLines sends a request as it is written, on a connection of its own.
func rawLines(format string) func(addr, name string) func(context.Context) {
	return func(addr, name string) func(context.Context) {
		return func(ctx context.Context) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()                   // nothing follows
			_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // never fails on a connection that is open
			fmt.Fprintf(c, format, name)
			_, _ = io.Copy(io.Discard, c) // to its end, however that comes
		}
	}
}
