package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
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
// fields say: an nginx with these directives, perhaps an instance of its own; a
// Node with this keepAliveTimeout in ms; a Go handler; what serve starts; or none.
// A proxy may stand before it.
type causeTest struct {
	name    string
	needs   string // a program that not every machine has
	nginx   string
	listen  string // what nginx's listen says beside the address
	own     bool
	haproxy string // directives of the HAProxy before it
	bind    string // what its bind says beside the address
	server  string // what HAProxy says of the server behind it
	pass    string // directives of an nginx before it
	node    int
	handler func(*causeSite, http.ResponseWriter, *http.Request)
	setUp   func(*http.Server)                       // of the Go server
	tls     func(*testing.T, *causeSite) *tls.Config // of the Go server
	serve   func(*testing.T, *causeSite)
	client  func(context.Context, *causeSite) error
	want    causesSeen
	behind  causesSeen // between the proxy and its server
	with    string     // what closes each connection, where that matters
	lost    string     // the reason of connections whose last request the server never saw
	inside  int        // requests of a connection that the proxy cannot see
	check   func(*testing.T, *causeSite, *causesFound)
}

// A causesFound is what the servers logged, and what was seen, by port.
type causesFound struct {
	served perTuple
	lines  map[uint16][]line
	lost   map[uint16]bool // ports on which there are requests that were never logged
	told   string          // all that the watch said
}

// anyNumber of requests is what a test wants that leaves their number to the log.
const anyNumber = -1

// proxied reports whether a proxy stands before the server.
func (tt *causeTest) proxied() bool { return tt.haproxy != "" || tt.pass != "" || tt.inside > 0 }

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
		got.Reasons[l.why()]++
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

// openQuestion is what is seen of a server's abort that may be a race: which of them is
// told depends on whose end is seen first.
const openQuestion = "server_abort or race"

func (l *line) why() string {
	if l.Unsettled {
		return openQuestion
	}
	return l.Reason
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
	{
		name: "nginx, keepalive_timeout, and a client that does not look", nginx: "keepalive_timeout 100ms;", client: idlers(1, true),
		want: inTurn(6, 3, "stale_reuse"), lost: "stale_reuse",
	},
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
		name: "HAProxy, http-server-close", haproxy: "option http-server-close", nginx: nginxDefault, client: curls(4),
		want: inTurn(4, 1, "client_discard"), behind: inTurn(4, 4, "client_close"),
	},
	// What forceclose was until HAProxy 2.0.
	{
		name: "HAProxy, httpclose", haproxy: "option httpclose", nginx: nginxDefault, client: curls(4),
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
		name: "Go, SetKeepAlivesEnabled(false)", handler: answerOK, setUp: func(s *http.Server) { s.SetKeepAlivesEnabled(false) },
		client: goClient(3, nil, drain), want: inTurn(3, 3, "server_close"),
	},
	{
		name: "Go, DisableKeepAlives", handler: answerOK,
		client: goClient(3, disableKeepAlives, drain), want: inTurn(3, 3, "client_close"),
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
	{
		name: "HAProxy, timeout http-keep-alive", haproxy: "timeout http-keep-alive 1100ms", nginx: nginxDefault,
		client: idlers(2, false), want: inTurn(6, 3, "server_idle"),
	},
	// It answers what nobody asked.
	{
		name: "HAProxy, timeout http-request", haproxy: "timeout http-request 200ms", nginx: nginxDefault,
		client: repeat(3, unasked), want: notJudged(0, 3, "never_used"),
	},
	{
		name: "HAProxy, timeout server", haproxy: "timeout server 200ms", handler: silent, client: curls(3),
		want: inTurn(3, 1, "client_discard"), behind: inTurn(3, 3, "client_abort"),
	},
	{
		name: "nginx, proxy_read_timeout", pass: "proxy_read_timeout 200ms;", handler: silent, client: untilClosed(3, curls(1)),
		want: inTurn(3, 3, "client_discard"), behind: inTurn(3, 3, "client_abort"),
	},
	{
		name: "nginx, a backend that refuses", pass: "proxy_connect_timeout 5s;", client: curls(3),
		want: inTurn(3, 1, "client_discard"), behind: notJudged(0, 3, "handshake_failed"),
	},
	// Two of its connections idle for a second and more by then.
	{name: "nginx, reload", nginx: nginxDefault, own: true, client: reloaded, want: causesSeen{
		6, map[string]int{"server_idle": 2, "server_discard": 2}, 4, 0, nil,
	}},
	// Its timer runs before it looks: the requests that came meanwhile are reset.
	{name: "Node, a busy event loop", node: 700, client: overBusy, lost: openQuestion, want: causesSeen{
		12, map[string]int{"server_idle": 5, openQuestion: 3, "client_discard": 1}, 9, 0, nil,
	}},
	{
		name: "uWSGI, --http-socket", needs: "uwsgi", serve: uwsgi("--http-socket"), client: idlers(1, false), want: inTurn(3, 3, "server_discard"),
	},
	{
		name: "uWSGI, --http11-socket", needs: "uwsgi", serve: uwsgi("--http11-socket"), client: repeat(2, curls(3)), want: inTurn(6, 2, "client_discard"),
	},
	{
		name: "a firewall that forgets", needs: "nft", nginx: nginxDefault, serve: forgetful, client: repeat(2, forgotten),
		want: inTurn(4, 2, "path_dropped"), lost: "path_dropped",
	},
	{
		name: "a server that dies without a word", serve: dying, client: repeat(3, unheard),
		want: inTurn(6, 3, "path_dropped"), lost: "path_dropped",
	},
	{
		name: "HAProxy, send-proxy", haproxy: "option http-server-close", server: "send-proxy", nginx: nginxDefault, listen: "proxy_protocol",
		client: curls(3), want: inTurn(3, 1, "client_discard"), behind: inTurn(3, 3, "client_close"),
	},
	{
		name: "HAProxy, send-proxy-v2", haproxy: "option http-server-close", server: "send-proxy-v2", nginx: nginxDefault, listen: "proxy_protocol",
		client: curls(3), want: inTurn(3, 1, "client_discard"), behind: inTurn(3, 3, "client_close"),
	},
	// One tunnel for each of three processes.
	{
		name: "Tinyproxy, CONNECT", needs: "tinyproxy", serve: tinyproxy, nginx: nginxDefault, inside: 2, client: repeat(3, tunnelled),
		want: inTurn(9, 3, "client_discard"), behind: inTurn(6, 3, "client_discard"),
	},
	{name: "a full backlog", serve: backlogged, client: queue, check: repeatedSYNs, want: causesSeen{
		queued, map[string]int{"server_discard": queued}, queued, 0, nil,
	}},
	{
		name: "curl inside TLS", nginx: tlsServer, listen: "ssl", client: repeat(3, secureCurls(2)),
		want: inTurn(6, 3, "client_discard"), with: "close_notify",
	},
	{
		name: "Python inside TLS", needs: "python3", nginx: tlsServer, listen: "ssl", client: pythons(2, 3),
		want: inTurn(6, 3, "client_discard"), with: "fin",
	},
	{
		name: "nginx, keepalive_timeout inside TLS", needs: "python3", nginx: tlsServer + "keepalive_timeout 1200ms;", listen: "ssl",
		client: pythonIdlers, want: inTurn(4, 2, "server_idle"), with: "close_notify",
	},
}

// A causeSite is one test's server, as its handler and its client see it.
type causeSite struct {
	l                       *lab.Lab
	addr                    netip.AddrPort
	server                  netip.AddrPort                   // where the server is: behind the proxy, if there is one
	nginx                   *lab.Nginx                       // its own
	log                     string                           // in which what serve starts notes its requests
	note                    func(client string, port uint16) // a request that a Go server got, or that its client made
	closed, arrived, answer chan struct{}                    // in a Go server: connections, requests of gated
}

// nodeCauses notes each request before it answers.
const nodeCauses = `
const http = require("http"), fs = require("fs");
const [address, port, timeout, log] = process.argv.slice(2);
const server = http.createServer((q, r) => {
	fs.appendFileSync(log, q.socket.remoteAddress + ":" + q.socket.remotePort + ">" + port + "\n");
	for (const until = Date.now() + 3 * timeout; q.url === "/busy" && Date.now() < until;);
	r.end("ok");
});
server.keepAliveTimeout = +timeout;
server.listen(+port, address);
`

// causeTime is what all clients have: more where h2load is to ask more.
func causeTime() time.Duration {
	return 30*time.Second + time.Duration(h2loadRequests())*100*time.Microsecond
}

// behindPort is what a proxy's port is short of that of the nginx behind it.
const behindPort = 1000

// TestLiveCauses has real servers and clients with one habit each, all at once,
// and holds what was seen to what the servers logged and to what the habit
// implies.
func TestLiveCauses(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "haproxy", "node", "ab", "curl", "ss", "sh", "sysctl")
	certify(t, l.Dir)
	runCauses(t, l, causeTests)
}

// runCauses runs tests that the machine has the programs for, under a watch with
// these arguments.
func runCauses(t *testing.T, l *lab.Lab, tests []causeTest, args ...string) *causesFound {
	t.Helper()
	tests = causesHere(t, tests)
	if err := os.MkdirAll(keyDir(l), 0o700); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var requests []string // of Go servers, as the others log them
	sites := make([]*causeSite, len(tests))
	for i, tt := range tests {
		sites[i] = newCauseSite(l, tt, uint16(8100+i), func(request string) {
			mu.Lock()
			defer mu.Unlock()
			requests = append(requests, request)
		})
	}
	nginxes := startServers(t, l, tests, sites)
	w := watch(t, l.Server, append([]string{"-i", l.Server.Interface, "-i", "lo"}, args...)...)

	ctx, cancel := context.WithTimeout(t.Context(), causeTime())
	defer cancel()
	var asking sync.WaitGroup
	for i, tt := range tests {
		asking.Go(func() {
			if err := tt.client(ctx, sites[i]); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
	}
	asking.Wait()
	found := &causesFound{served: perTuple{}, lines: map[uint16][]line{}, lost: map[uint16]bool{}}
	for _, nginx := range nginxes {
		maps.Copy(found.served, logged(t, nginx))
	}
	for _, l := range w.stop(t) {
		found.lines[l.Server.Port] = append(found.lines[l.Server.Port], l)
	}
	found.told = w.out.String() + w.err.String()
	mu.Lock()
	defer mu.Unlock()
	for _, key := range append(requests, readRequests(t, tests, sites)...) {
		if found.served[key] == nil {
			found.served[key] = []int{0}
		}
		found.served[key][0]++
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found.lost[sites[i].addr.Port()] = tt.lost != "" || tt.inside > 0
			found.check(t, sites[i].addr.Port(), tt, tt.want)
			if len(tt.behind.Reasons) > 0 {
				found.check(t, sites[i].server.Port(), causeTest{}, tt.behind)
			}
			if tt.check != nil {
				tt.check(t, sites[i], found)
			}
		})
	}
	return found
}

// causesHere are the tests that this machine has the programs for.
func causesHere(t *testing.T, all []causeTest) (tests []causeTest) {
	t.Helper()
	for _, tt := range all {
		if tt.needs != "" {
			if _, err := exec.LookPath(tt.needs); err != nil {
				t.Run(tt.name, func(t *testing.T) { t.Skipf("%s is not installed", tt.needs) })
				continue
			}
		}
		tests = append(tests, tt)
	}
	return tests
}

func newCauseSite(l *lab.Lab, tt causeTest, port uint16, note func(request string)) *causeSite {
	addr := netip.AddrPortFrom(l.Server.Addrs[0], port)
	server := addr
	if tt.proxied() {
		server = netip.AddrPortFrom(addr.Addr(), port+behindPort)
	}
	return &causeSite{
		l: l, addr: addr, server: server, closed: make(chan struct{}, 100), arrived: make(chan struct{}), answer: make(chan struct{}),
		note: func(client string, port uint16) { note(fmt.Sprintf("%s>%d", client, port)) },
	}
}

// startServers starts what the tests say. It returns every nginx: that of most
// tests, and those that some have to themselves.
func startServers(t *testing.T, l *lab.Lab, tests []causeTest, sites []*causeSite) (nginxes []*lab.Nginx) {
	t.Helper()
	script, err := l.File("causes.js", []byte(nodeCauses))
	if err != nil {
		t.Fatal(err)
	}
	startNginx := func(servers string) *lab.Nginx {
		nginx, err := l.NewNginx(t.Context(), lab.NginxConfig{Servers: servers})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nginx.Stop() }) // what matters is told where it is stopped first
		nginxes = append(nginxes, nginx)
		return nginx
	}
	var servers, proxies strings.Builder
	proxied := 0
	for i, tt := range tests {
		s := sites[i]
		switch {
		case tt.haproxy != "":
			fmt.Fprintf(&proxies, "listen l%d\n\tbind %v %s\n\t%s\n\tserver s %v %s\n",
				s.addr.Port(), s.addr, strings.ReplaceAll(tt.bind, "DIR", l.Dir), tt.haproxy, s.server, tt.server)
			proxied = int(s.addr.Port())
		case tt.pass != "":
			fmt.Fprintf(&servers, "server { listen %v; location / { proxy_pass http://%v; %s } }\n", s.addr, s.server, tt.pass)
		}
		block := fmt.Sprintf("server { listen %v %s; %s location / { return 200 ok; } }\n", s.server, tt.listen,
			strings.ReplaceAll(tt.nginx, "DIR", l.Dir))
		switch {
		case tt.own:
			s.nginx = startNginx(block)
		case tt.nginx != "":
			servers.WriteString(block)
		case tt.node > 0:
			s.log = filepath.Join(l.Dir, tt.name)
			start(t, l, int(s.server.Port()), "node", script, s.server.Addr().String(), strconv.Itoa(int(s.server.Port())), strconv.Itoa(tt.node), s.log)
		case tt.handler != nil:
			serveCause(t, s, tt)
		}
		if tt.serve != nil {
			tt.serve(t, s)
		}
	}
	startNginx(servers.String())
	if proxied == 0 {
		return nginxes
	}
	startProxies(t, l, tests, sites, proxied, proxies.String())
	return nginxes
}

// startProxies starts the HAProxy of all tests that have one. All share a log.
func startProxies(t *testing.T, l *lab.Lab, tests []causeTest, sites []*causeSite, port int, proxies string) {
	t.Helper()
	log := haproxyLog(l)
	for i, tt := range tests {
		if tt.haproxy != "" {
			sites[i].log = log
		}
	}
	config, err := l.File("causes.cfg", []byte(`global
	tune.ssl.keylog on
defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
	log stdout len 8192 format raw daemon
	option dontlognull
	log-format "%ci:%cp>%fp"
`+proxies))
	if err != nil {
		t.Fatal(err)
	}
	start(t, l, port, "sh", "-c", "exec haproxy -db -f "+config+" >"+log)
}

// haproxyLog is the path of HAProxy's log.
func haproxyLog(l *lab.Lab) string { return filepath.Join(l.Dir, "haproxy.log") }

// serveCause starts a Go server that notes its requests.
func serveCause(t *testing.T, s *causeSite, tt causeTest) {
	t.Helper()
	listener, err := s.l.Server.Listen(t.Context(), "tcp", s.server.String())
	if err != nil {
		t.Fatal(err)
	}
	if tt.tls != nil {
		listener = tls.NewListener(listener, tt.tls(t, s))
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.note(r.RemoteAddr, s.server.Port())
			tt.handler(s, w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				s.closed <- struct{}{}
			}
		},
	}
	if tt.setUp != nil {
		tt.setUp(server)
	}
	t.Cleanup(func() { _ = server.Close() })   // with it the connections that its clients forgot
	go func() { _ = server.Serve(listener) }() // until Close
}

// readRequests reads the logs of all but nginx. HAProxy writes a line
// when it is done with a request, which may be after the client is.
func readRequests(t *testing.T, tests []causeTest, sites []*causeSite) (requests []string) {
	t.Helper()
	want := 0
	logs := map[string]bool{}
	for i, tt := range tests {
		if sites[i].log != "" {
			logs[sites[i].log] = true
			want += max(0, tt.want.Requests-tt.inside*tt.want.connections())
			if tt.lost != "" {
				want -= tt.want.Reasons[tt.lost]
			}
		}
	}
	eventually(t, 5*time.Second, func() error {
		requests = nil
		for log := range logs {
			text, err := os.ReadFile(log)
			if err != nil {
				return err
			}
			for word := range strings.FieldsSeq(string(text)) {
				if strings.Contains(word, ">") { // in HAProxy's there may be keys as well
					requests = append(requests, word)
				}
			}
		}
		if len(requests) < want {
			return fmt.Errorf("HAProxy, Node and others logged %d requests, want %d", len(requests), want)
		}
		return nil
	})
	return requests
}

// connections is how many there were.
func (t causesSeen) connections() (sum int) {
	for _, n := range t.Reasons {
		sum += n
	}
	return sum
}

// check checks what was seen of the connections to one port.
func (f *causesFound) check(t *testing.T, port uint16, tt causeTest, want causesSeen) {
	t.Helper()
	got := causesOf(f.lines[port])
	if want.Requests == anyNumber {
		want.Requests = got.Requests
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("port %d (-want +got):\n%s", port, diff)
	}
	reached := slices.Clone(f.lines[port])
	for i, l := range reached {
		reached[i].Requests -= tt.inside + l.Streams.Refused
		if l.why() == tt.lost {
			reached[i].Requests--
		}
		if tt.with != "" && l.ClosedWith != tt.with {
			t.Errorf("%s was closed with %q, want %q", l.client(), l.ClosedWith, tt.with)
		}
	}
	log := perTuple{}
	for key, counts := range f.served {
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

func disableKeepAlives(t *http.Transport) { t.DisableKeepAlives = true }

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
		pause(ctx, 200*time.Millisecond) // too long for the two to have crossed
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
