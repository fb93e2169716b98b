package http2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keepscope/keepscope/analyzer/http"
)

// A wire notes what passes over a connection, seen from the client.
type wire struct {
	net.Conn
	mu       sync.Mutex
	segments []sent
}

func (w *wire) note(from http.Side, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(b) > 0 { // as TCP would cut it
		n := min(len(b), 1448)
		w.segments = append(w.segments, sent{from, append([]byte(nil), b[:n]...)})
		b = b[n:]
	}
}

func (w *wire) Write(b []byte) (int, error) {
	w.note(http.Client, b)
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.note(http.Server, b[:n])
	return n, err
}

// A once is a Listener of one connection.
type once struct {
	conn net.Conn
	done bool
}

func (l *once) Accept() (net.Conn, error) {
	if l.done {
		return nil, errors.New("no more connections")
	}
	l.done = true
	return l.conn, nil
}

func (l *once) Close() error   { return nil }
func (l *once) Addr() net.Addr { return l.conn.LocalAddr() }

// converse has net/http's client ask net/http's server n times, some at once, and returns what passed.
func converse(t *testing.T, n int) []sent {
	t.Helper()
	protocols := new(nethttp.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &nethttp.Server{Protocols: protocols, Handler: nethttp.HandlerFunc(serve)}
	near, far := net.Pipe()
	w := &wire{Conn: near}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(&once{conn: far})
	}()
	dial := func(context.Context, string, string) (net.Conn, error) { return w, nil }
	client := &nethttp.Transport{Protocols: protocols, DialContext: dial}
	conn, err := client.NewClientConn(t.Context(), "http", "peer:80")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() {
			for i := worker; i < n; i += 10 {
				if err := ask(conn, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	conn.Close()
	server.Close()
	<-served
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.segments)
}

func ask(conn *nethttp.ClientConn, i int) error {
	r, err := nethttp.NewRequest([]string{"GET", "POST", "PUT"}[i%3], fmt.Sprintf("http://host%d.example/%d", i%7, i), strings.NewReader(strings.Repeat("q", i%3*1000)))
	if err != nil {
		return err
	}
	r.Header.Set("X-Some", strings.Repeat("s", i%40))
	answer, err := conn.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func serve(w nethttp.ResponseWriter, r *nethttp.Request) {
	var i int
	if _, err := fmt.Sscanf(r.URL.Path, "/%d", &i); err != nil {
		panic(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil { // else the server resets the stream
		panic(err)
	}
	w.Header().Set("Server", "peer")
	w.WriteHeader([]int{200, 404, 302, 418, 503}[i%5])
	_, _ = io.WriteString(w, strings.Repeat("a", i%9*700))
}

// A log is what is told of each stream of a connection.
type log struct {
	counter
	hosts    map[http.Stream]string
	statuses map[http.Stream]uint16
	partial  int
	lost     uint32 // requests whose heads were
}

func (k *log) Request(s http.Stream, h *http.Head, _ int64) {
	k.hosts[s] = h.Method.String() + " " + string(h.Host)
	if h.Partial {
		k.partial++
		k.hosts[s] = ""
	}
}

func (k *log) Response(s http.Stream, h *http.Head, _ int64) { k.statuses[s] = h.Status }
func (k *log) Lost(_ http.Side, n uint32)                    { k.lost += n }

// readAll reads a conversation, of which the segments for which drop says so are missing.
func readAll(segments []sent, drop func() bool) *log {
	k := &log{hosts: map[http.Stream]string{}, statuses: map[http.Stream]uint16{}}
	var c Conn
	c.Reset(new(Pool), k, Prior)
	for i, s := range segments {
		if drop() {
			c.Gap(s.from, int64(len(s.in)), int64(i))
		} else {
			c.Data(s.from, s.in, int64(i))
		}
	}
	c.Close(http.Client, 0)
	c.Close(http.Server, 0)
	c.Release()
	return k
}

// TestPeers reads what real peers say, whole and with losses: nothing is invented.
func TestPeers(t *testing.T) {
	const n = 2000
	segments := converse(t, n)
	whole := readAll(segments, func() bool { return false })
	if len(whole.hosts) != n || len(whole.statuses) != n || whole.ends != 2*n || whole.lost != 0 || whole.partial != 0 {
		t.Fatalf("%d requests, %d responses, %d ends, %d lost, %d partial", len(whole.hosts), len(whole.statuses), whole.ends, whole.lost, whole.partial)
	}
	statuses := map[uint16]int{}
	for _, status := range whole.statuses {
		statuses[status]++
	}
	if len(statuses) != 5 || statuses[418] != n/5 {
		t.Errorf("statuses %v", statuses)
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 5))
		k := readAll(segments, func() bool { return r.IntN(100) < int(seed%4) })
		for s, host := range k.hosts {
			if want, ok := whole.hosts[s]; !ok || host != "" && host != want {
				t.Fatalf("seed %d: stream %d asks %q, and truly %q", seed, s, host, want)
			}
		}
		for s, status := range k.statuses {
			if want, ok := whole.statuses[s]; !ok || status != 0 && status != want {
				t.Fatalf("seed %d: stream %d answers %d, and truly %d", seed, s, status, want)
			}
		}
		told := len(k.hosts) + int(k.lost)
		t.Logf("%d %% lost: %d requests told, %d more known, %d responses", seed%4, len(k.hosts), k.lost, len(k.statuses))
		if told > n || seed%4 > 0 && told < n*8/10 {
			t.Errorf("seed %d: %d requests told and %d lost, of %d", seed, len(k.hosts), k.lost, n)
		}
	}
}
