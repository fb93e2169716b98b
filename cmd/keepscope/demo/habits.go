package demo

import (
	"context"
	"io"
	"net"
	"net/http"
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
	idleTimeout = 1100 * time.Millisecond // after which one side closes
	idlePause   = 1400 * time.Millisecond // after which the client comes back
	shortPause  = 80 * time.Millisecond
)

// habits are what the demo shows. What TLS carries is read by its clients' keys, which go to
// keys.
func habits(keys io.Writer) ([]habit, error) {
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) }
	newer, err := newerHabits(answer, keys)
	if err != nil {
		return nil, err
	}
	plain := serveHTTP(answer, nil)
	return append([]habit{
		{name: "good.demo", pause: 30 * time.Millisecond, serve: plain, client: burst(4, nil)},
		{name: "client-says-close.demo", pause: shortPause, serve: plain, client: burst(2, func(t *http.Transport) { t.DisableKeepAlives = true })},
		{name: "client-pool-too-small.demo", pause: 2 * shortPause, serve: plain, client: burst(8, func(t *http.Transport) { t.MaxIdleConnsPerHost = 1 })},
		{name: "client-new-pool-each-time.demo", pause: 3 * shortPause, serve: plain, client: newPools},
		{name: "client-leaves-bodies-unread.demo", pause: 3 * shortPause, serve: serveHTTP(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 512<<10)) // the client goes away meanwhile
		}, nil), client: unread},
		{name: "client-gives-up.demo", pause: 3 * shortPause, serve: serveHTTP(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		}, nil), client: impatient},
		{name: "client-idles-out.demo", pause: idlePause, serve: plain, client: burst(3, func(t *http.Transport) { t.IdleConnTimeout = idleTimeout })},
		{name: "client-speaks-http10.demo", pause: shortPause, serve: plain, client: rawLines("GET / HTTP/1.0\r\nHost: %s\r\n\r\n")},
		{name: "client-only-connects.demo", pause: 3 * shortPause, serve: plain, client: preconnect},
		{name: "server-says-close.demo", pause: shortPause, serve: serveHTTP(answer, func(s *http.Server) { s.SetKeepAlivesEnabled(false) }), client: burst(2, nil)},
		{name: "server-limits-requests.demo", pause: shortPause, serve: serveHTTP(limited(answer, 5), nil), client: burst(1, nil)},
		{name: "server-closes-on-errors.demo", pause: shortPause, serve: serveHTTP(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			http.Error(w, "out of order", http.StatusInternalServerError)
		}, nil), client: burst(1, nil)},
		{name: "server-idles-out.demo", pause: idlePause, serve: serveHTTP(answer, func(s *http.Server) { s.IdleTimeout = idleTimeout }), client: burst(3, nil)},
		{name: "server-gives-up.demo", pause: 3 * shortPause, serve: serveHTTP(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil), client: burst(1, nil)},
		{name: "server-races.demo", pause: 3 * shortPause, serve: serveRaw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n", true), client: burst(1, nil)},
		{name: "server-closes-unannounced.demo", pause: shortPause, serve: serveRaw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n", false), client: burst(1, nil)},
		{name: "server-gives-no-length.demo", pause: shortPause, serve: serveRaw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhi\n", false), client: burst(1, nil)},
		{name: "server-ignores-http10.demo", pause: shortPause, serve: serveRaw("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhi\n", false), client: rawLines("GET / HTTP/1.0\r\nHost: %s\r\nConnection: keep-alive\r\n\r\n")},
	}, newer...), nil
}
