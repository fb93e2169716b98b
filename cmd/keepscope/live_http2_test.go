package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
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

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c" //nolint:staticcheck // deprecated with the upgrade, which others still do
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	grpctap "google.golang.org/grpc/tap"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// http2Tests are servers and clients of HTTP/2 in clear.
var http2Tests = []causeTest{
	// This curl cannot use such a connection again (fixed in 8.0).
	{
		name: "nginx, a curl each", nginx: nginxDefault, listen: "http2", client: repeat(3, curls(1, "--http2-prior-knowledge")),
		want: inTurn(3, 3, "client_discard"), check: isHTTP2,
	},
	{name: "nginx, nghttp", nginx: nginxDefault, listen: "http2", needs: "nghttp", client: nghttp(12), want: inTurn(12, 1, "client_goaway"), check: isHTTP2},
	{
		name: "nginx, keepalive_requests", nginx: "keepalive_requests 5;", listen: "http2", client: http2Asks(12),
		want: causesSeen{12, map[string]int{"server_goaway": 2, "client_discard": 1}, 1, 0, map[string]int{"server_goaway": 2}}, check: isHTTP2,
	},
	{
		name: "nginx, keepalive_timeout", nginx: "keepalive_timeout 1200ms;", listen: "http2", client: repeat(2, http2Idler),
		want: inTurn(4, 2, "server_idle"), check: isHTTP2,
	},
	{name: "nginx, h2load", nginx: "keepalive_requests 10000000;", listen: "http2", needs: "h2load", client: h2load(), want: causesSeen{
		anyNumber, map[string]int{"client_goaway": h2loadConnections}, h2loadConnections, 0, nil,
	}, check: isHTTP2},
	{
		name: "HAProxy", haproxy: "http-request return status 200 content-type text/plain string ok", client: repeat(2, http2Asks(4)),
		want: inTurn(8, 2, "client_discard"), check: isHTTP2,
	},
	{
		name: "x/net, curl that upgrades", handler: answerOK, setUp: upgrading, client: repeat(2, curls(3, "--http2")),
		want: inTurn(6, 2, "client_discard"), check: isHTTP2,
	},
	{name: "Node", serve: nodeHTTP2, client: repeat(2, http2Asks(4)), want: inTurn(8, 2, "client_discard"), check: isHTTP2},
	{
		name: "Go", handler: answerOK, setUp: unencryptedHTTP2, client: untilClosed(3, http2Asks(2)),
		want: inTurn(6, 3, "client_discard"), check: isHTTP2,
	},
	{
		name: "Go, IdleTimeout", handler: answerOK, setUp: func(s *http.Server) {
			unencryptedHTTP2(s)
			s.IdleTimeout = 1200 * time.Millisecond
		}, client: repeat(2, http2Idler), want: inTurn(4, 2, "server_idle"), check: isHTTP2,
	},
	{
		name: "Go, more at once than a connection takes", handler: gated, setUp: func(s *http.Server) {
			unencryptedHTTP2(s)
			s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 2}
		}, client: overLimit, want: causesSeen{
			anyNumber, map[string]int{"client_discard": 3}, 3, 0, nil, // one may be refused, and asked again
		}, check: isHTTP2,
	},
	{
		name: "gRPC, a channel for each call", serve: grpcServers(1), client: repeat(4, grpcCalls(1)),
		want: inTurn(4, 4, "client_goaway"), check: isGRPC,
	},
	{name: "gRPC, pick_first", serve: grpcServers(1), client: grpcCalls(12), want: inTurn(12, 1, "client_goaway"), check: isGRPC},
	{name: "gRPC, round_robin", serve: grpcServers(3), client: roundRobin, check: balanced, want: causesSeen{
		anyNumber, map[string]int{"client_goaway": 1}, 1, 0, nil,
	}},
	{
		name: "gRPC, MaxConnectionAge", serve: grpcServers(1, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 500 * time.Millisecond})),
		client: grpcAged, want: inTurn(4, 2, "server_goaway"), check: isGRPC,
	},
	{
		name: "gRPC, too many pings", serve: grpcServers(1), client: repeat(2, grpcPings), check: tooManyPings,
		want: inTurn(2, 2, "goaway_error"),
	},
}

// TestLiveHTTP2 is TestLiveCauses for HTTP/2 and gRPC: the streams of each
// connection are what the servers logged.
func TestLiveHTTP2(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "haproxy", "node", "curl", "ss", "sh", "sysctl")
	file := filepath.Join(l.Dir, "kept.pcap")
	found := runCauses(t, l, http2Tests, "--user=root", "--write="+file)
	t.Run("loss", func(t *testing.T) { found.checkLoss(t, file, nil) })
}

// checkLoss takes a frame of a hundred out of the capture: of each connection no more
// is told than the servers logged, and where it is less, that something is missing.
func (f *causesFound) checkLoss(t *testing.T, file string, args []string) {
	t.Helper()
	thinned := filepath.Join(t.TempDir(), "thinned.pcap")
	thin(t, file, thinned, 0.01)
	logged, seen, incomplete := 0, 0, 0
	for _, l := range connections(t, append(args, thinned)...) {
		counts := f.served[fmt.Sprintf("%s>%d", l.client(), l.Server.Port)]
		if len(counts) != 1 || l.Estimated || f.lost[l.Server.Port] {
			continue
		}
		logged += counts[0]
		l.Requests -= l.Streams.Refused
		seen += l.Requests
		switch unread := len(args) > 0 && !l.Decrypted; {
		case l.Requests > counts[0]:
			t.Errorf("%s: %d requests, the log says %d", l.client(), l.Requests, counts[0])
		case l.Requests < counts[0] && !l.Incomplete && !unread:
			t.Errorf("%s: %d requests of %d, and nothing is said to miss: %+v", l.client(), l.Requests, counts[0], l)
		case l.Race:
			t.Errorf("%s: a race", l.client())
		}
		if l.Incomplete {
			incomplete++
		}
	}
	t.Logf("%d requests of %d, %d connections incomplete", seen, logged, incomplete)
	if logged == 0 || incomplete == 0 || float64(seen) < 0.9*float64(logged) {
		t.Error("that is not what a hundredth of the frames holds")
	}
}

// thin copies a pcap file, and leaves out a share of its frames. Which ones is the same
// each time, as far as the file is.
func thin(t *testing.T, from, to string, share float64) {
	t.Helper()
	in, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	const fileHead, frameHead = 24, 16
	random := rand.New(rand.NewPCG(1, 0))
	out := append(make([]byte, 0, len(in)), in[:fileHead]...)
	for in = in[fileHead:]; len(in) >= frameHead; {
		n := frameHead + int(binary.LittleEndian.Uint32(in[8:]))
		if random.Float64() >= share {
			out = append(out, in[:n]...)
		}
		in = in[n:]
	}
	if err := os.WriteFile(to, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

const h2loadConnections = 20

// h2loadRequests is how many requests h2load makes: 50 000, or what
// KEEPSCOPE_REQUESTS says.
func h2loadRequests() int {
	if n, err := strconv.Atoi(testVariables["KEEPSCOPE_REQUESTS"]); err == nil {
		return n
	}
	return 50_000
}

// h2load asks on all connections, with ten streams at once on each.
func h2load() causeClient {
	return func(ctx context.Context, s *causeSite) error {
		out, err := s.l.Client.Command(ctx, "h2load", "-n", strconv.Itoa(h2loadRequests()), "-c", strconv.Itoa(h2loadConnections), "-m", "10", "http://"+s.addr.String()+"/").Output()
		if want := fmt.Sprintf("%d succeeded", h2loadRequests()); err == nil && !strings.Contains(string(out), want) {
			err = fmt.Errorf("it does not say %q: %s", want, out)
		}
		return err
	}
}

// nghttp asks n times at once, on one connection.
func nghttp(n int) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		return s.l.Client.Run(ctx, "nghttp", "-n", "-m", strconv.Itoa(n), "http://"+s.addr.String()+"/")
	}
}

func isHTTP2(t *testing.T, s *causeSite, found *causesFound) {
	t.Helper()
	for _, l := range found.lines[s.addr.Port()] {
		if l.Protocol != "h2" || l.Incomplete || l.RequestsLost > 0 {
			t.Errorf("%s: protocol %s, incomplete %v, %d requests lost", l.client(), l.Protocol, l.Incomplete, l.RequestsLost)
		}
	}
}

func isGRPC(t *testing.T, s *causeSite, found *causesFound) {
	t.Helper()
	isHTTP2(t, s, found)
	for _, l := range found.lines[s.addr.Port()] {
		if !l.GRPC || len(l.GRPCStatus) > 0 {
			t.Errorf("%s: gRPC %v, errors %v", l.client(), l.GRPC, l.GRPCStatus)
		}
	}
}

// nodeHTTP2Server notes each request before it answers.
const nodeHTTP2Server = `
const http2 = require("http2"), fs = require("fs");
const [address, port, log] = process.argv.slice(2);
http2.createServer((q, r) => {
	const s = q.stream.session.socket;
	fs.appendFileSync(log, s.remoteAddress + ":" + s.remotePort + ">" + port + "\n");
	r.end("ok");
}).listen(+port, address);
`

func nodeHTTP2(t *testing.T, s *causeSite) {
	t.Helper()
	script, err := s.l.File("http2.js", []byte(nodeHTTP2Server))
	if err != nil {
		t.Fatal(err)
	}
	s.log = filepath.Join(s.l.Dir, "node-http2.log")
	port := strconv.Itoa(int(s.addr.Port()))
	start(t, s.l, int(s.addr.Port()), "node", script, s.addr.Addr().String(), port, s.log)
}

// unencryptedHTTP2 has a Go server speak HTTP/2 in clear.
func unencryptedHTTP2(s *http.Server) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetUnencryptedHTTP2(true)
}

// upgrading has a Go server upgrade to HTTP/2 in clear, which only x/net does.
func upgrading(s *http.Server) {
	s.Handler = h2c.NewHandler(s.Handler, new(http2.Server)) //nolint:staticcheck // see the import
}

// http2Transport speaks HTTP/2 in clear.
func (s *causeSite) http2Transport() *http.Transport {
	t := s.transport()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// http2Asks asks n times on a connection, and closes it.
func http2Asks(n int) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		t := s.http2Transport()
		for range n {
			if err := s.ask(ctx, t, drain); err != nil {
				return err
			}
		}
		t.CloseIdleConnections()
		return nil
	}
}

// http2Idler asks twice and then idles until the server closes.
func http2Idler(ctx context.Context, s *causeSite) error {
	t := s.http2Transport()
	closed := make(chan struct{})
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := s.l.Client.DialContext(ctx, network, addr)
		return closeTeller{conn, sync.OnceFunc(func() { close(closed) })}, err
	}
	if err := errors.Join(s.ask(ctx, t, drain), s.ask(ctx, t, drain)); err != nil {
		return err
	}
	return await(ctx, closed, 1)
}

// A closeTeller tells when its connection is closed.
type closeTeller struct {
	net.Conn
	tell func()
}

func (c closeTeller) Close() error {
	defer c.tell()
	return c.Conn.Close()
}

// overLimit asks five times at once a server that takes two on a connection.
func overLimit(ctx context.Context, s *causeSite) error {
	t := s.http2Transport()
	errs := make(chan error, 5)
	for range cap(errs) {
		go func() { errs <- s.ask(ctx, t, drain) }()
		if err := await(ctx, s.arrived, 1); err != nil {
			return err
		}
	}
	for range cap(errs) {
		s.answer <- struct{}{}
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			return err
		}
	}
	t.CloseIdleConnections()
	return await(ctx, s.closed, 3)
}

// grpcServers are n health services, at ports from the site's on.
func grpcServers(n int, options ...grpc.ServerOption) func(*testing.T, *causeSite) {
	return func(t *testing.T, s *causeSite) {
		for i := range n {
			port := s.addr.Port() + uint16(i)*grpcStep
			listener, err := s.l.Server.Listen(t.Context(), "tcp", netip.AddrPortFrom(s.addr.Addr(), port).String())
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer(append([]grpc.ServerOption{grpc.InTapHandle(func(ctx context.Context, _ *grpctap.Info) (context.Context, error) {
				if p, ok := peer.FromContext(ctx); ok {
					s.note(p.Addr.String(), port)
				}
				return ctx, nil
			})}, options...)...)
			grpc_health_v1.RegisterHealthServer(server, health.NewServer())
			t.Cleanup(server.Stop)
			go func() { _ = server.Serve(listener) }() // until Stop
		}
	}
}

// grpcStep is between the ports of servers of one name.
const grpcStep = 2000

// channel makes a gRPC channel to the servers of the site.
func (s *causeSite) channel(policy string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	var state resolver.State
	for i := range 3 {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: fmt.Sprintf("%v:%d", s.addr.Addr(), int(s.addr.Port())+i*grpcStep)})
		if policy == "pick_first" {
			break
		}
	}
	names := manual.NewBuilderWithScheme("lab")
	names.InitialState(state)
	return grpc.NewClient("lab:///backend", append([]grpc.DialOption{
		grpc.WithResolvers(names), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + policy + `":{}}]}`),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return s.l.Client.DialContext(ctx, "tcp", addr)
		}),
	}, options...)...)
}

// call makes n calls over a channel.
func call(ctx context.Context, c *grpc.ClientConn, n int) error {
	for range n {
		if _, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
			return err
		}
	}
	return nil
}

// grpcCalls makes n calls over one channel.
func grpcCalls(n int) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		c, err := s.channel("pick_first")
		if err != nil {
			return err
		}
		return errors.Join(call(ctx, c, n), c.Close())
	}
}

// roundRobin calls until each of the three servers was called four times.
func roundRobin(ctx context.Context, s *causeSite) error {
	c, err := s.channel("round_robin")
	if err != nil {
		return err
	}
	for calls := map[string]int{}; len(calls) < 3 || slices.Min(slices.Collect(maps.Values(calls))) < 4; {
		var to peer.Peer
		_, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true), grpc.Peer(&to))
		if err != nil {
			return err
		}
		calls[to.Addr.String()]++
	}
	return c.Close()
}

// balanced holds that all three servers had their share, as far as they were
// connected.
func balanced(t *testing.T, s *causeSite, found *causesFound) {
	t.Helper()
	isGRPC(t, s, found)
	for i := range uint16(3) {
		found.check(t, s.addr.Port()+i*grpcStep, causeTest{}, causesSeen{anyNumber, map[string]int{"client_goaway": 1}, 1, 0, nil})
	}
}

// grpcAged calls twice on each of two connections, and waits until the server has
// sent it away.
func grpcAged(ctx context.Context, s *causeSite) error {
	c, err := s.channel("pick_first")
	if err != nil {
		return err
	}
	for range 2 {
		if err := call(ctx, c, 2); err != nil {
			return err
		}
		c.WaitForStateChange(ctx, connectivity.Ready)
	}
	return c.Close()
}

// grpcPings sends a ping whenever nothing came for 50 ms, while a call waits: more
// than a gRPC server stands.
func grpcPings(ctx context.Context, s *causeSite) error {
	t := s.http2Transport()
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 50 * time.Millisecond}
	const empty = "\x00\x00\x00\x00\x00"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr.String()+"/grpc.health.v1.Health/Watch", strings.NewReader(empty))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		return errors.New("the server stands every ping")
	}
	return resp.Body.Close()
}

// tooManyPings holds that the servers said so.
func tooManyPings(t *testing.T, s *causeSite, found *causesFound) {
	t.Helper()
	for _, l := range found.lines[s.addr.Port()] {
		said := map[string]string{}
		for _, g := range l.Goaway {
			said[g.By] = g.Code
		}
		if !l.GRPC || said["server"] != "ENHANCE_YOUR_CALM" {
			t.Errorf("%s: gRPC %v, GOAWAY %v", l.client(), l.GRPC, said)
		}
	}
}
