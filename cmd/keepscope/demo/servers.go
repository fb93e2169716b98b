package demo

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// page is what the servers answer.
const page = "<!doctype html><title>demo</title><p>A page that anybody may have, over any connection.\n"

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
