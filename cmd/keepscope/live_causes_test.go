package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// A causeTest is a server and a client with one habit. The server is what its
// fields say: an nginx with these directives, perhaps behind a proxy; a Node with
// this keepAliveTimeout in ms; a Go handler; or none.
type causeTest struct {
	name    string
	nginx   string
	haproxy string // an option of the HAProxy before it
	pass    string // directives of an nginx before it
	node    int
	handler func(*causeSite, http.ResponseWriter, *http.Request)
	server  func(*http.Server) // sets up the Go server
	client  func(context.Context, *causeSite) error
	want    causesSeen
	behind  causesSeen // between the proxy and its nginx
}

// A causesSeen is what was seen of the connections to one port.
type causesSeen struct {
	Requests     int
	Reasons      map[string]int // connections
	Needed, None int
	Wasted       map[string]int // handshakes, by cause
}

// inTurn is a client's one connection after the other: an ideal pool needs the
// first, and each later one is wasted for the reason of the one before.
func inTurn(requests, connections int, reason string) causesSeen {
	got := causesSeen{Requests: requests, Reasons: map[string]int{reason: connections}, Needed: 1}
	if connections > 1 {
		got.Wasted = map[string]int{reason: connections - 1}
	}
	return got
}

// notJudged connections are neither needed nor wasted.
func notJudged(requests, connections int, reason string) causesSeen {
	return causesSeen{Requests: requests, Reasons: map[string]int{reason: connections}, None: connections}
}

func causesOf(lines []line) causesSeen {
	got := causesSeen{Reasons: map[string]int{}, Wasted: map[string]int{}}
	for _, l := range lines {
		got.Requests += l.Requests
		got.Reasons[l.Reason]++
		switch l.Verdict {
		case "needed":
			got.Needed++
		case "wasted":
			got.Wasted[l.Cause]++
		default:
			got.None++
		}
	}
	return got
}

// nginxDefault changes nothing.
const nginxDefault = "keepalive_timeout 75s;"

// causeIdle is more than the second that parts idling from discarding.
const causeIdle = 1500 * time.Millisecond

// causeTests wait for what must be seen in order, and never for a time: what is
// over before the next SYN is the cause of that one, whatever the load. Left to
// the clock is only that who discards does so within a second, and that a second
// request comes before the idle timeout.
var causeTests = []causeTest{
	{name: "nginx, keepalive_requests", nginx: "keepalive_requests 4;", client: curls(12), want: inTurn(12, 3, "server_limit")},
	{name: "nginx, keepalive_timeout", nginx: "keepalive_timeout 1500ms;", client: idlers(2, false), want: inTurn(6, 3, "server_idle")},
	{name: "nginx, keepalive_timeout of less than a second", nginx: "keepalive_timeout 100ms;", client: idlers(1, false), want: inTurn(3, 3, "server_discard")},
	// Its requests after the closing reach nobody: seen, not logged.
	{name: "nginx, keepalive_timeout, and a client that does not look", nginx: "keepalive_timeout 100ms;", client: idlers(1, true), want: inTurn(6, 3, "race")},
	{name: "nginx, keepalive_timeout 0", nginx: "keepalive_timeout 0;", client: curls(4), want: inTurn(4, 4, "server_close")},
	{
		name: "nginx, keepalive_disable", nginx: "keepalive_disable safari;",
		client: curls(4, "-A", "Mozilla/5.0 (Macintosh; Intel Mac OS X) Safari/605"), want: inTurn(4, 4, "server_close"),
	},
	{name: "nginx, keepalive_disable of another client", nginx: "keepalive_disable safari;", client: curls(4), want: inTurn(4, 1, "client_discard")},
	{name: "nginx, errors", nginx: "return 500;", client: curls(3), want: inTurn(3, 3, "server_error_close")},
	{name: "curl, Connection: close", nginx: nginxDefault, client: curls(4, "-H", "Connection: close"), want: inTurn(4, 4, "client_close")},
	{name: "curl, a process each", nginx: nginxDefault, client: repeat(3, curls(2)), want: inTurn(6, 3, "client_discard")},
	{name: "curl -0", nginx: nginxDefault, client: curls(4, "-0"), want: inTurn(4, 4, "http10_not_requested")},
	{name: "ab", nginx: nginxDefault, client: ab("-n", "6"), want: inTurn(6, 6, "http10_not_requested")},
	{name: "ab -k", nginx: nginxDefault, client: ab("-n", "12", "-k"), want: inTurn(12, 1, "client_discard")},
	{
		name: "HAProxy, http-server-close", haproxy: "http-server-close", nginx: nginxDefault, client: curls(4),
		want: inTurn(4, 1, "client_discard"), behind: inTurn(4, 4, "client_close"),
	},
	// What forceclose was until HAProxy 2.0.
	{
		name: "HAProxy, httpclose", haproxy: "httpclose", nginx: nginxDefault, client: curls(4),
		want: inTurn(4, 4, "server_close"), behind: inTurn(4, 4, "client_close"),
	},
	{
		name: "nginx, proxy_pass", pass: "proxy_http_version 1.0;", nginx: nginxDefault, client: curls(4),
		want: inTurn(4, 1, "client_discard"), behind: inTurn(4, 4, "client_close"),
	},
	// It does not say close any more, and still keeps nothing without keepalive.
	{
		name: "nginx, proxy_pass without upstream keepalive", pass: `proxy_http_version 1.1; proxy_set_header Connection "";`, nginx: nginxDefault, client: curls(4),
		want: inTurn(4, 1, "client_discard"), behind: inTurn(4, 4, "client_discard"),
	},
	{name: "Node, keepAliveTimeout", node: 1100, client: idlers(2, false), want: inTurn(6, 3, "server_idle")},
	{
		name: "Go, SetKeepAlivesEnabled(false)", handler: answerOK, server: func(s *http.Server) { s.SetKeepAlivesEnabled(false) },
		client: goClient(3, nil, drain), want: inTurn(3, 3, "server_close"),
	},
	{
		name: "Go, DisableKeepAlives", handler: answerOK,
		client: goClient(3, func(t *http.Transport) { t.DisableKeepAlives = true }, drain), want: inTurn(3, 3, "client_close"),
	},
	{
		name: "Go, IdleConnTimeout", handler: answerOK,
		client: goClient(3, func(t *http.Transport) { t.IdleConnTimeout = causeIdle }, drain, drain), want: inTurn(6, 3, "client_idle"),
	},
	// The answer is one segment, so it is complete before the client has it.
	{name: "Go, bodies not drained", handler: answerOK, client: goClient(3, nil, leave), want: inTurn(3, 3, "client_discard")},
	{name: "Go, bodies not drained while they come", handler: endless, client: goClient(3, nil, leave), want: inTurn(3, 3, "client_abort")},
	{name: "Go, a Transport for each request", handler: answerOK, client: transports(3), want: causesSeen{
		3, map[string]int{"open": 3}, 1, 0, map[string]int{"pool_miss": 2},
	}},
	// Of each burst's four connections one is kept and three are thrown away;
	// the next burst reuses the one before it opens three others.
	{name: "Go, small MaxIdleConnsPerHost", handler: gated, client: bursts(3, 4), want: causesSeen{
		12, map[string]int{"client_discard": 10}, 4, 0, map[string]int{"client_discard": 6},
	}},
	{name: "Go, a handler that aborts", handler: abort, client: repeat(3, unanswered), want: inTurn(3, 3, "server_abort")},
	{name: "a body without length", handler: raw("HTTP/1.1 200 OK\r\n\r\nok"), client: curls(3), want: inTurn(3, 3, "no_length")},
	{name: "ab -k, not confirmed", handler: raw("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), client: ab("-n", "3", "-k"), want: inTurn(3, 3, "http10_declined")},
	{name: "upgrades", handler: raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"), client: repeat(3, upgrade), want: notJudged(3, 3, "upgraded")},
	{name: "connections without a request", nginx: nginxDefault, client: repeat(3, connect), want: notJudged(0, 3, "never_used")},
	{name: "nobody listens", client: repeat(3, refused), want: notJudged(0, 3, "handshake_failed")},
}

// A causeSite is one test's server, as its handler and its client see it.
type causeSite struct {
	l                       *lab.Lab
	addr                    netip.AddrPort
	note                    func(client string) // a request that a Go server got
	closed, arrived, answer chan struct{}       // in a Go server: connections, requests of gated
}

// nodeCauses notes each request before it answers.
const nodeCauses = `
const http = require("http"), fs = require("fs");
const [address, port, timeout, log] = process.argv.slice(2);
const server = http.createServer((q, r) => {
	fs.appendFileSync(log, q.socket.remoteAddress + ":" + q.socket.remotePort + ">" + port + "\n");
	r.end("ok");
});
server.keepAliveTimeout = +timeout;
server.listen(+port, address);
`

// behindPort is what a proxy's port is short of that of the nginx behind it.
const behindPort = 1000

// TestLiveCauses has real servers and clients with one habit each, all at once,
// and holds what was seen to what the servers logged and to what the habit
// implies.
func TestLiveCauses(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "haproxy", "node", "ab", "curl", "ss", "sh", "sysctl")
	var mu sync.Mutex
	var requests []string // of Go servers, as the others log them
	sites := make([]*causeSite, len(causeTests))
	for i := range sites {
		addr := netip.AddrPortFrom(l.Server.Addrs[0], uint16(8100+i))
		sites[i] = &causeSite{
			l: l, addr: addr, closed: make(chan struct{}, 100), arrived: make(chan struct{}), answer: make(chan struct{}),
			note: func(client string) {
				mu.Lock()
				defer mu.Unlock()
				requests = append(requests, fmt.Sprintf("%s>%d", client, addr.Port()))
			},
		}
	}
	nginx, logs := startServers(t, l, sites)
	w := watch(t, l.Server, "-i", l.Server.Interface, "-i", "lo")

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var asking sync.WaitGroup
	for i, tt := range causeTests {
		asking.Go(func() {
			if err := tt.client(ctx, sites[i]); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
	}
	asking.Wait()
	served := logged(t, nginx)
	lines := map[uint16][]line{}
	for _, l := range w.stop(t) {
		lines[l.Server.Port] = append(lines[l.Server.Port], l)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, key := range append(requests, readRequests(t, logs)...) {
		if served[key] == nil {
			served[key] = []int{0}
		}
		served[key][0]++
	}
	for i, tt := range causeTests {
		t.Run(tt.name, func(t *testing.T) {
			checkCauses(t, served, lines, sites[i].addr.Port(), tt.want)
			if tt.behind.Requests > 0 {
				checkCauses(t, served, lines, sites[i].addr.Port()+behindPort, tt.behind)
			}
		})
	}
}

// startServers starts what the tests say. It returns the nginx of them all, and
// the files in which HAProxy and Node note their requests.
func startServers(t *testing.T, l *lab.Lab, sites []*causeSite) (nginx *lab.Nginx, logs [2]string) {
	t.Helper()
	logs = [2]string{filepath.Join(l.Dir, "haproxy.log"), filepath.Join(l.Dir, "node.log")}
	script, err := l.File("causes.js", []byte(nodeCauses))
	if err != nil {
		t.Fatal(err)
	}
	var servers, proxies strings.Builder
	proxied := 0
	for i, tt := range causeTests {
		port := int(sites[i].addr.Port())
		behind := netip.AddrPortFrom(sites[i].addr.Addr(), uint16(port+behindPort))
		switch {
		case tt.haproxy != "":
			fmt.Fprintf(&proxies, "listen l%d\n\tbind %v\n\toption %s\n\tserver s %v\n", port, sites[i].addr, tt.haproxy, behind)
			proxied = port
			port += behindPort
		case tt.pass != "":
			fmt.Fprintf(&servers, "server { listen %v; location / { proxy_pass http://%v; %s } }\n", sites[i].addr, behind, tt.pass)
			port += behindPort
		}
		switch {
		case tt.nginx != "":
			fmt.Fprintf(&servers, "server { listen {{.Addr}}:%d; %s location / { return 200 ok; } }\n", port, tt.nginx)
		case tt.node > 0:
			start(t, l, port, "node", script, sites[i].addr.Addr().String(), strconv.Itoa(port), strconv.Itoa(tt.node), logs[1])
		case tt.handler != nil:
			serveCause(t, sites[i], tt)
		}
	}
	nginx, err = l.NewNginx(t.Context(), lab.NginxConfig{Servers: servers.String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nginx.Stop() }) // what matters is told where it is stopped first
	config, err := l.File("causes.cfg", []byte(`defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
	log stdout format raw daemon
	log-format "%ci:%cp>%fp"
`+proxies.String()))
	if err != nil {
		t.Fatal(err)
	}
	start(t, l, proxied, "sh", "-c", "exec haproxy -db -f "+config+" >"+logs[0])
	return nginx, logs
}

// serveCause starts a Go server that notes its requests.
func serveCause(t *testing.T, s *causeSite, tt causeTest) {
	t.Helper()
	listener, err := s.l.Server.Listen(t.Context(), "tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	serve := serveHTTP(func(w http.ResponseWriter, r *http.Request) {
		s.note(r.RemoteAddr)
		tt.handler(s, w, r)
	}, func(server *http.Server) {
		server.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				s.closed <- struct{}{}
			}
		}
		if tt.server != nil {
			tt.server(server)
		}
		t.Cleanup(func() { _ = server.Close() }) // with it the connections that its clients forgot
	})
	go func() { _ = serve(listener) }() // until Close
}

// readRequests reads the logs of HAProxy and Node. HAProxy writes a line when it
// is done with a request, which may be after its client is.
func readRequests(t *testing.T, logs [2]string) (requests []string) {
	t.Helper()
	want := 0
	for _, tt := range causeTests {
		if tt.haproxy != "" || tt.node > 0 {
			want += tt.want.Requests
		}
	}
	eventually(t, 5*time.Second, func() error {
		requests = nil
		for _, log := range logs {
			text, err := os.ReadFile(log)
			if err != nil {
				return err
			}
			requests = append(requests, strings.Fields(string(text))...)
		}
		if len(requests) < want {
			return fmt.Errorf("HAProxy and Node logged %d requests, want %d", len(requests), want)
		}
		return nil
	})
	return requests
}

// checkCauses checks what was seen of the connections to one port.
func checkCauses(t *testing.T, served perTuple, lines map[uint16][]line, port uint16, want causesSeen) {
	t.Helper()
	if diff := cmp.Diff(want, causesOf(lines[port]), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("port %d (-want +got):\n%s", port, diff)
	}
	reached := slices.Clone(lines[port])
	for i, l := range reached {
		if l.Race {
			reached[i].Requests-- // the server had closed
		}
	}
	log := perTuple{}
	for key, counts := range served {
		if strings.HasSuffix(key, fmt.Sprintf(">%d", port)) {
			log[key] = counts
		}
	}
	if diff := cmp.Diff(log, seen(reached), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("port %d: requests of each connection (-log +seen):\n%s", port, diff)
	}
}

// Handlers.

func answerOK(_ *causeSite, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

func abort(*causeSite, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// endless answers until its client has gone.
func endless(s *causeSite, w http.ResponseWriter, r *http.Request) {
	answerOK(s, w, r)
	_ = http.NewResponseController(w).Flush() // the client misses it if it fails
	<-r.Context().Done()
}

// gated says when a request has arrived, and is told when to answer.
func gated(s *causeSite, w http.ResponseWriter, r *http.Request) {
	s.arrived <- struct{}{}
	<-s.answer
	answerOK(s, w, r)
}

// raw answers by these bytes, and closes.
func raw(response string) func(*causeSite, http.ResponseWriter, *http.Request) {
	return func(_ *causeSite, w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, response) // the client misses it if it fails
		_ = conn.Close()
	}
}

// Clients.

type causeClient = func(context.Context, *causeSite) error

// repeat does one thing after the other.
func repeat(n int, do causeClient) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		for range n {
			if err := do(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// curls has one curl ask n times.
func curls(n int, args ...string) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		args := append([]string{"-sS"}, args...)
		for range n {
			args = append(args, "-o", "/dev/null", "http://"+s.addr.String()+"/")
		}
		return s.l.Client.Run(ctx, "curl", args...)
	}
}

func ab(args ...string) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		return s.l.Client.Run(ctx, "ab", append(append([]string{"-q"}, args...), "http://"+s.addr.String()+"/")...)
	}
}

// idlers are three connections in turn, with so many requests each and then idle
// until the server closes. A blind one asks again all the same.
func idlers(requests int, blind bool) causeClient {
	return repeat(3, func(ctx context.Context, s *causeSite) error {
		conn, err := s.l.Client.DialContext(ctx, "tcp", s.addr.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		request := func() { fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %v\r\n\r\n", s.addr) }
		r := bufio.NewReader(conn)
		for range requests {
			request()
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return err
			}
			if err := errors.Join(drain(resp), resp.Body.Close()); err != nil {
				return err
			}
		}
		if _, err := r.ReadByte(); err != io.EOF {
			return fmt.Errorf("the server did not close: %w", err)
		}
		if !blind {
			return nil
		}
		request()
		return awaitReset(conn)
	})
}

// awaitReset returns once the kernel knows that the other side has reset the
// connection.
func awaitReset(conn net.Conn) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var pollErr error
	err = raw.Control(func(fd uintptr) {
		n, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 10_000) // hang-ups and errors are always told
	})
	if err == nil && pollErr == nil && n == 0 {
		err = errors.New("the server did not reset the connection")
	}
	return errors.Join(err, pollErr)
}

// connect asks nothing.
func connect(ctx context.Context, s *causeSite) error {
	conn, err := s.l.Client.DialContext(ctx, "tcp", s.addr.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

func refused(ctx context.Context, s *causeSite) error {
	if err := connect(ctx, s); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w, want a refusal", err)
	}
	return nil
}

// upgrade asks for another protocol.
func upgrade(ctx context.Context, s *causeSite) error {
	conn, err := s.l.Client.DialContext(ctx, "tcp", s.addr.String())
	if err != nil {
		return err
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %v\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", s.addr)
	_, err = io.Copy(io.Discard, conn) // to its end
	return errors.Join(err, conn.Close())
}

// ask asks by a Transport, and closes the body after the use of the answer.
func (s *causeSite) ask(ctx context.Context, t *http.Transport, use func(*http.Response) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr.String()+"/", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: t}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return errors.Join(use(resp), resp.Body.Close())
}

func drain(resp *http.Response) error {
	_, err := io.Copy(io.Discard, resp.Body)
	return err
}

func leave(*http.Response) error { return nil }

func (s *causeSite) transport() *http.Transport {
	return &http.Transport{DialContext: s.l.Client.DialContext}
}

// await returns when it has been told n times.
func await(ctx context.Context, told <-chan struct{}, n int) error {
	for range n {
		select {
		case <-told:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// goClient asks once for each use, and waits until the server has seen the
// connection end, n times over.
func goClient(n int, configure func(*http.Transport), uses ...func(*http.Response) error) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		t := s.transport()
		if configure != nil {
			configure(t)
		}
		for range n {
			for _, use := range uses {
				if err := s.ask(ctx, t, use); err != nil {
					return err
				}
			}
			if err := await(ctx, s.closed, 1); err != nil {
				return err
			}
		}
		return nil
	}
}

// unanswered asks where no answer comes.
func unanswered(ctx context.Context, s *causeSite) error {
	if err := s.ask(ctx, s.transport(), leave); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w, want no answer", err)
	}
	return await(ctx, s.closed, 1)
}

// transports asks by a Transport for each request, all of which it forgets.
func transports(n int) causeClient {
	return repeat(n, func(ctx context.Context, s *causeSite) error { return s.ask(ctx, s.transport(), drain) })
}

// bursts asks several times at once, n times over, and keeps one connection.
func bursts(n, size int) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		t := s.transport()
		t.MaxIdleConnsPerHost = 1
		for range n {
			errs := make(chan error, size)
			for range size { // one after the other, so that the first finds what was kept
				go func() { errs <- s.ask(ctx, t, drain) }()
				if err := await(ctx, s.arrived, 1); err != nil {
					return err
				}
			}
			for range size {
				s.answer <- struct{}{}
			}
			for range size {
				if err := <-errs; err != nil {
					return err
				}
			}
			if err := await(ctx, s.closed, size-1); err != nil {
				return err
			}
		}
		t.CloseIdleConnections()
		return await(ctx, s.closed, 1)
	}
}
