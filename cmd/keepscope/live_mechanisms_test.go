package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Servers and clients of TestLiveCauses that take more than a line.

// tlsServer is an nginx that speaks TLS.
const tlsServer = "ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem;"

// silent never answers, not even when its client has gone.
func silent(_ *causeSite, _ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// untilClosed does one thing after the other, each once the Go server has closed the
// connection of the one before.
func untilClosed(n int, do causeClient) causeClient {
	return repeat(n, func(ctx context.Context, s *causeSite) error {
		return errors.Join(do(ctx, s), await(ctx, s.closed, 1))
	})
}

// unasked asks nothing, and waits until the server closes.
func unasked(ctx context.Context, s *causeSite) error {
	conn, err := s.l.Client.DialContext(ctx, "tcp", s.addr.String())
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return errors.Join(err, conn.Close())
}

// A talker is a connection on which one request follows another.
type talker struct {
	net.Conn
	answers *bufio.Reader
	host    string
}

// talkers are n connections, all made before the first is used.
func (s *causeSite) talkers(ctx context.Context, n int) ([]*talker, error) {
	var all []*talker
	for range n {
		conn, err := s.l.Client.DialContext(ctx, "tcp", s.addr.String())
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		all = append(all, &talker{conn, bufio.NewReader(conn), s.addr.String()})
	}
	return all, nil
}

func (k *talker) request(path string) error {
	_, err := fmt.Fprintf(k, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, k.host)
	return err
}

func (k *talker) response() error {
	resp, err := http.ReadResponse(k.answers, nil)
	if err != nil {
		return err
	}
	return errors.Join(drain(resp), resp.Body.Close())
}

func (k *talker) ask() error { return errors.Join(k.request("/"), k.response()) }

// end waits until the server closes or resets.
func (k *talker) end() error {
	_, err := io.Copy(io.Discard, k.answers)
	if errors.Is(err, unix.ECONNRESET) {
		err = nil
	}
	return errors.Join(err, k.Close())
}

// pause is what a client does that has nothing to ask for a time.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// reloaded has four connections when nginx reloads: two idle for long, and two
// that were just used.
func reloaded(ctx context.Context, s *causeSite) error {
	all, err := s.talkers(ctx, 4)
	if err != nil {
		return err
	}
	for _, k := range all {
		if err := k.ask(); err != nil {
			return err
		}
	}
	pause(ctx, causeIdle)
	if err := errors.Join(all[2].ask(), all[3].ask(), s.nginx.Reload()); err != nil {
		return err
	}
	for _, k := range all {
		if err := k.end(); err != nil {
			return err
		}
	}
	return nil
}

// overBusy has eight connections to a server whose event loop is then held by a
// ninth, until all of them have idled for too long; on three there is a request by
// then.
func overBusy(ctx context.Context, s *causeSite) error {
	all, err := s.talkers(ctx, 9)
	if err != nil {
		return err
	}
	ninth := all[8]
	for _, k := range all[:8] {
		if err := k.ask(); err != nil {
			return err
		}
	}
	if err := ninth.request("/busy"); err != nil {
		return err
	}
	for !strings.Contains(s.logText(), ninth.LocalAddr().String()) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause(ctx, 5*time.Millisecond)
	}
	for _, k := range all[:3] {
		if err := k.request("/"); err != nil {
			return err
		}
	}
	if err := errors.Join(ninth.response(), ninth.Close()); err != nil {
		return err
	}
	for _, k := range all[:8] {
		if err := k.end(); err != nil {
			return err
		}
	}
	return nil
}

// logText is what the site's log says so far.
func (s *causeSite) logText() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return "" // nothing yet
	}
	return string(text)
}

// uwsgiApp notes each request before it answers.
const uwsgiApp = `
import os, socket, uwsgi
def application(env, start_response):
    with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as s, open(os.environ["LOG"], "a") as log:
        log.write("%s:%s>%s\n" % (*s.getpeername(), env["SERVER_PORT"]))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
`

// uwsgi starts uWSGI with one of its sockets for HTTP.
func uwsgi(socket string) func(*testing.T, *causeSite) {
	return func(t *testing.T, s *causeSite) {
		app, err := s.l.File("app.py", []byte(uwsgiApp))
		if err != nil {
			t.Fatal(err)
		}
		s.log = filepath.Join(s.l.Dir, "uwsgi"+socket)
		start(t, s.l, int(s.server.Port()), "env", "LOG="+s.log, "uwsgi", "--plugin", "python3", socket, s.server.String(),
			"--wsgi-file", app, "--disable-logging", "--die-on-term")
	}
}

// forgetful is a firewall that takes a connection for unknown which has idled for
// more than a second.
func forgetful(t *testing.T, s *causeSite) {
	t.Helper()
	rules := fmt.Sprintf(`add table ip forgetful
add chain ip forgetful input { type filter hook input priority 0; }
add rule ip forgetful input tcp dport %[1]d ct state invalid drop
add chain ip forgetful output { type filter hook output priority 0; }
add rule ip forgetful output tcp sport %[1]d ct state invalid drop
`, s.server.Port())
	file, err := s.l.File("forgetful.nft", []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{
		"nft -f " + file,
		"sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0",
		"sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=1",
	} {
		args := strings.Fields(words)
		if err := s.l.Server.Run(t.Context(), args[0], args[1:]...); err != nil {
			t.Fatal(err)
		}
	}
}

// forgotten asks again after the firewall has forgotten, and gives up by a reset.
func forgotten(ctx context.Context, s *causeSite) error {
	all, err := s.talkers(ctx, 1)
	if err != nil {
		return err
	}
	k := all[0]
	if err := k.ask(); err != nil {
		return err
	}
	pause(ctx, 1500*time.Millisecond)
	if err := k.request("/"); err != nil {
		return err
	}
	return errors.Join(awaitRetransmissions(ctx, k.Conn, 2), k.Conn.(*net.TCPConn).SetLinger(0), k.Close())
}

// tcpInfo is what the kernel knows of a connection.
func tcpInfo(conn net.Conn) (info *unix.TCPInfo, err error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var infoErr error
	err = raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(err, infoErr)
}

// awaitRetransmissions returns when n more segments of a connection have been sent
// again.
func awaitRetransmissions(ctx context.Context, conn net.Conn, n uint32) error {
	for first := true; ; first = false {
		info, err := tcpInfo(conn)
		if err != nil {
			return err
		}
		if first {
			n += info.Total_retrans
		}
		if info.Total_retrans >= n {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// dying answers a connection's first request, and then forgets the connection as a
// host does that loses its power.
func dying(t *testing.T, s *causeSite) {
	t.Helper()
	listener, err := s.l.Server.Listen(t.Context(), "tcp", s.server.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.note(conn.RemoteAddr().String(), s.server.Port())
			if err := errors.Join(answerOnce(conn), forget(conn)); err != nil {
				t.Error(err)
			}
			s.closed <- struct{}{}
		}
	}()
}

func answerOnce(conn net.Conn) error {
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
		return err
	}
	_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	return err
}

// forget closes a connection and sends nothing.
func forget(conn net.Conn) error {
	for deadline := time.Now().Add(5 * time.Second); ; { // until all is acknowledged
		info, err := tcpInfo(conn)
		if err != nil {
			return err
		}
		if info.Unacked == 0 || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) })
	return errors.Join(err, optErr, conn.Close())
}

// unheard asks again when the server has forgotten the connection.
func unheard(ctx context.Context, s *causeSite) error {
	all, err := s.talkers(ctx, 1)
	if err != nil {
		return err
	}
	k := all[0]
	if err := errors.Join(k.ask(), await(ctx, s.closed, 1), k.request("/")); err != nil {
		return err
	}
	return k.end()
}

// tinyproxy starts Tinyproxy, which makes tunnels to the nginx of the site.
func tinyproxy(t *testing.T, s *causeSite) {
	t.Helper()
	config, err := s.l.File("tinyproxy.conf", fmt.Appendf(nil, "Port %d\nListen %v\nTimeout 30\nMaxClients 10\nLogLevel Error\nConnectPort %d\n",
		s.addr.Port(), s.addr.Addr(), s.server.Port()))
	if err != nil {
		t.Fatal(err)
	}
	start(t, s.l, int(s.addr.Port()), "tinyproxy", "-d", "-c", config)
}

// tunnelled has one curl ask twice through a tunnel. Its own end of it is what curl
// tells.
func tunnelled(ctx context.Context, s *causeSite) error {
	url := "http://" + s.server.String() + "/"
	said, err := s.l.Client.Command(ctx, "curl", "-sS", "-p", "-x", "http://"+s.addr.String(),
		"-w", "%{local_ip}:%{local_port}\n", "-o", "/dev/null", url, "-o", "/dev/null", url).Output()
	lines := strings.Fields(string(said))
	if err != nil || len(lines) != 2 || lines[0] != lines[1] {
		return fmt.Errorf("curl: %q, want twice the same end: %w", said, err)
	}
	s.note(lines[0], s.addr.Port())
	return nil
}

// queued is how many connections are made to a server that takes none for a while,
// and whose queue holds two.
const queued = 5

// backlogged listens with a short queue, and accepts when it is told to.
func backlogged(t *testing.T, s *causeSite) {
	t.Helper()
	var file *os.File
	err := s.l.Server.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), "listener")
		return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: int(s.server.Port()), Addr: s.server.Addr().As4()}), unix.Listen(fd, 1))
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		<-s.answer
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.note(conn.RemoteAddr().String(), s.server.Port())
			if err := errors.Join(answerOnce(conn), conn.Close()); err != nil {
				t.Error(err)
			}
		}
	}()
}

// queue makes its connections all at once, has the server accept when the first two
// are made, and counts those whose SYN had to be sent again.
func queue(ctx context.Context, s *causeSite) error {
	errs := make([]error, queued)
	var asking sync.WaitGroup
	made := make(chan struct{}, queued)
	for i := range errs {
		asking.Go(func() { errs[i] = queueUp(ctx, s, made) })
	}
	if err := await(ctx, made, 2); err != nil {
		return err
	}
	pause(ctx, 300*time.Millisecond) // for the SYNs of the others
	s.answer <- struct{}{}
	asking.Wait()
	return errors.Join(errs...)
}

func queueUp(ctx context.Context, s *causeSite, made chan<- struct{}) error {
	all, err := s.talkers(ctx, 1)
	if err != nil {
		return err
	}
	info, err := tcpInfo(all[0].Conn)
	made <- struct{}{}
	if err != nil {
		return err
	}
	if info.Total_retrans > 0 {
		s.closed <- struct{}{}
	}
	return errors.Join(all[0].ask(), all[0].end())
}

// repeatedSYNs holds the handshakes that took a second SYN to what the client's
// kernel counted.
func repeatedSYNs(t *testing.T, s *causeSite, found *causesFound) {
	t.Helper()
	seen := 0
	for _, l := range found.lines[s.addr.Port()] {
		if l.HandshakeSeconds >= 1 {
			seen++
		}
	}
	if want := len(s.closed); seen != want || want == 0 {
		t.Errorf("%d handshakes took a second or more, and the client's kernel sent the SYN of %d again", seen, want)
	}
}

// secureCurls has one curl ask n times inside TLS.
func secureCurls(n int) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		args := []string{"-sSk"}
		for range n {
			args = append(args, "-o", "/dev/null", "https://"+s.addr.String()+"/")
		}
		return s.l.Client.Run(ctx, "curl", args...)
	}
}

// python has Python's http.client do something with connections c.
func python(ctx context.Context, s *causeSite, do string) error {
	return s.runLogged(ctx, "python3", "-c", `
import http.client, select, ssl, sys
def connect(): return http.client.HTTPSConnection(sys.argv[1], context=context())
def context():
    c = ssl.create_default_context() # it logs its keys where it is told to
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c
def ask(c):
    c.request("GET", "/")
    c.getresponse().read()
`+do, s.addr.String())
}

// pythons are n connections in turn, with so many requests each.
func pythons(requests, n int) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		return python(ctx, s, `
for _ in range(`+strconv.Itoa(n)+`):
    c = connect()
    for _ in range(`+strconv.Itoa(requests)+`): ask(c)
    c.close()
`)
	}
}

// pythonIdlers are two connections in turn, each with two requests and then idle
// until the server closes.
func pythonIdlers(ctx context.Context, s *causeSite) error {
	return python(ctx, s, `
for _ in range(2):
    c = connect()
    ask(c)
    ask(c)
    while c.sock.recv(1): pass
    c.close()
`)
}
