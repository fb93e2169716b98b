package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// A habit is a way in which a client or a server treats its connections.
type habit struct {
	name  string        // the Host that its requests ask for
	pause time.Duration // between two rounds
	// serve accepts until the listener is closed.
	serve func(net.Listener) error
	// client returns what one round of the client does.
	client func(addr, name string) func(context.Context)
}

// The idle times of the demo: more than the second from which on closing is for
// idleness, and few enough of them for a short demo.
const (
	demoTimeout = 1100 * time.Millisecond // after which one side closes
	demoPause   = 1400 * time.Millisecond // after which the client comes back
	demoShort   = 80 * time.Millisecond
)

// habits are what the demo shows. What TLS carries is read by its clients' keys, which go to
// keys.
func habits(keys io.Writer) ([]habit, error) {
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, demoPage) }
	newer, err := newerHabits(answer, keys)
	if err != nil {
		return nil, err
	}
	plain := serveHTTP(answer, nil)
	return append([]habit{
		{name: "good.demo", pause: 30 * time.Millisecond, serve: plain, client: burst(4, nil)},
		{name: "client-says-close.demo", pause: demoShort, serve: plain, client: burst(2, func(t *http.Transport) { t.DisableKeepAlives = true })},
		{name: "client-pool-too-small.demo", pause: 2 * demoShort, serve: plain, client: burst(8, func(t *http.Transport) { t.MaxIdleConnsPerHost = 1 })},
		{name: "client-new-pool-each-time.demo", pause: 3 * demoShort, serve: plain, client: newPools},
		{name: "client-leaves-bodies-unread.demo", pause: 3 * demoShort, serve: serveHTTP(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 512<<10)) // the client goes away meanwhile
		}, nil), client: unread},
		{name: "client-gives-up.demo", pause: 3 * demoShort, serve: serveHTTP(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		}, nil), client: impatient},
		{name: "client-idles-out.demo", pause: demoPause, serve: plain, client: burst(3, func(t *http.Transport) { t.IdleConnTimeout = demoTimeout })},
		{name: "client-speaks-http10.demo", pause: demoShort, serve: plain, client: rawLines("GET / HTTP/1.0\r\nHost: %s\r\n\r\n")},
		{name: "client-only-connects.demo", pause: 3 * demoShort, serve: plain, client: preconnect},
		{name: "server-says-close.demo", pause: demoShort, serve: serveHTTP(answer, func(s *http.Server) { s.SetKeepAlivesEnabled(false) }), client: burst(2, nil)},
		{name: "server-limits-requests.demo", pause: demoShort, serve: serveHTTP(limited(answer, 5), nil), client: burst(1, nil)},
		{name: "server-closes-on-errors.demo", pause: demoShort, serve: serveHTTP(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			http.Error(w, "out of order", http.StatusInternalServerError)
		}, nil), client: burst(1, nil)},
		{name: "server-idles-out.demo", pause: demoPause, serve: serveHTTP(answer, func(s *http.Server) { s.IdleTimeout = demoTimeout }), client: burst(3, nil)},
		{name: "server-gives-up.demo", pause: 3 * demoShort, serve: serveHTTP(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil), client: burst(1, nil)},
		{name: "server-races.demo", pause: 3 * demoShort, serve: serveRaw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n", true), client: burst(1, nil)},
		{name: "server-closes-unannounced.demo", pause: demoShort, serve: serveRaw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n", false), client: burst(1, nil)},
		{name: "server-gives-no-length.demo", pause: demoShort, serve: serveRaw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhi\n", false), client: burst(1, nil)},
		{name: "server-ignores-http10.demo", pause: demoShort, serve: serveRaw("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhi\n", false), client: rawLines("GET / HTTP/1.0\r\nHost: %s\r\nConnection: keep-alive\r\n\r\n")},
	}, newer...), nil
}

// demoPage is what the servers answer.
const demoPage = "<!doctype html><title>demo</title><p>A page that anybody may have, over any connection.\n"

// serveHTTP serves by net/http.
func serveHTTP(h http.HandlerFunc, configure func(*http.Server)) func(net.Listener) error {
	return func(l net.Listener) error {
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		if configure != nil {
			configure(s)
		}
		if s.TLSConfig != nil {
			s.ErrorLog = log.New(io.Discard, "", 0) // a client that goes away in a handshake
			return s.ServeTLS(l, "", "")
		}
		return s.Serve(l)
	}
}

// limited says close on every n-th request of a connection, as nginx does by
// keepalive_requests.
func limited(h http.HandlerFunc, n int) http.HandlerFunc {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.RemoteAddr]++
		if seen[r.RemoteAddr] == n {
			w.Header().Set("Connection", "close")
			delete(seen, r.RemoteAddr)
		}
		mu.Unlock()
		h(w, r)
	}
}

// serveRaw answers a request by these bytes and closes. Where it waits, it
// closes instead of answering a second request: what a client sees whose
// request crosses the server's idle timeout.
func serveRaw(response string, waits bool) func(net.Listener) error {
	one := func(c net.Conn) {
		defer func() { _ = c.Close() }()                    // nothing follows
		_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // never fails on a connection that is open
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := io.WriteString(c, response); err != nil {
			return
		}
		if waits {
			_, _ = http.ReadRequest(r) // whatever came, the connection closes
		}
	}
	return func(l net.Listener) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			go one(c)
		}
	}
}

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

// A stage is where the habits meet: a listener for each, on loopback.
type stage struct{ acts []act }

type act struct {
	habit
	listener net.Listener
}

func (a *act) port() int { return a.listener.Addr().(*net.TCPAddr).Port }

func newStage(keys io.Writer) (*stage, error) {
	s := &stage{}
	var lc net.ListenConfig
	all, err := habits(keys)
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			s.close()
			return nil, fmt.Errorf("demo: %w", err)
		}
		s.acts = append(s.acts, act{h, l})
	}
	return s, nil
}

// play lets the clients go on for a time, or until ctx is done.
func (s *stage) play(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var playing sync.WaitGroup
	for _, a := range s.acts {
		go func() { _ = a.serve(a.listener) }() // until close
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

func (s *stage) close() {
	for _, a := range s.acts {
		_ = a.listener.Close() // nothing follows
	}
}
