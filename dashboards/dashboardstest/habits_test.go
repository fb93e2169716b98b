package dashboardstest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// A client is somebody with a habit: do is what is done once, and again after
// every pause.
type client struct {
	name  string
	every time.Duration
	do    func(context.Context) error
}

// clients returns the habits, good and bad.
func (s *site) clients(t *testing.T) []client {
	l, dial := s.l, s.l.Client.DialContext
	get := func(pool *http.Transport, url string) func(context.Context) error {
		return func(ctx context.Context) error { return fetch(ctx, pool, url, "", false) }
	}
	tlsPool := func(config *tls.Config) *http.Transport {
		pool := &http.Transport{DialContext: dial, TLSClientConfig: config}
		s.atEnd(t, pool.CloseIdleConnections)
		return pool
	}
	pool := func() *http.Transport { return tlsPool(nil) }
	http2 := func(pool *http.Transport) *http.Transport {
		pool.Protocols = new(http.Protocols)
		pool.Protocols.SetHTTP2(true)
		pool.Protocols.SetUnencryptedHTTP2(true)
		return pool
	}
	mixed, proxied := pool(), pool()
	unverified := &tls.Config{InsecureSkipVerify: true} // the certificate is the test's own
	logged := unverified.Clone()
	logged.KeyLogWriter = s.keylog
	return []client{
		{"keeps connections to one that does", 100 * time.Millisecond, get(pool(), l.URL(portKeeps, "/"))},
		{"checks health", time.Second, func(ctx context.Context) error { return probe(ctx, l) }},
		{"keeps connections among others", 100 * time.Millisecond, get(mixed, l.URL(portMixed, "/"))},
		{"asks for closing", 400 * time.Millisecond, func(ctx context.Context) error { return fetch(ctx, mixed, l.URL(portMixed, "/"), "", true) }},
		{"forgets its pool", 700 * time.Millisecond, func(ctx context.Context) error {
			fresh := &http.Transport{DialContext: dial, IdleConnTimeout: 1500 * time.Millisecond}
			return fetch(ctx, fresh, l.URL(portMixed, "/"), "", false)
		}},
		{"speaks HTTP/1.0", 500 * time.Millisecond, func(ctx context.Context) error { return old(ctx, l) }},
		{"knocks only", time.Second, func(ctx context.Context) error {
			c, err := dial(ctx, "tcp", address(l, portMixed))
			if err != nil {
				return err
			}
			return c.Close()
		}},
		{"comes too late", idleTimeout + time.Second, twice(get(pool(), l.URL(portHurries, "/")))},
		{"races", time.Second, func(ctx context.Context) error { return race(ctx, l) }},
		{"is counted out", 150 * time.Millisecond, get(pool(), l.URL(portCounts, "/"))},
		{"is turned away", 400 * time.Millisecond, get(pool(), l.URL(portCloses, "/"))},
		{"is a curl each", 700 * time.Millisecond, func(ctx context.Context) error {
			return l.Client.Run(ctx, "curl", "-sS", "-o", "/dev/null", l.URL(portCurl, "/"))
		}},
		{"goes through HAProxy", 200 * time.Millisecond, func(ctx context.Context) error {
			return fetch(ctx, proxied, fmt.Sprintf("http://127.0.0.1:%d/", portHAProxy), address(l, portProxied), false)
		}},
		{"is broken off now and then", 200 * time.Millisecond, tolerating(io.ErrUnexpectedEOF, get(pool(), l.URL(portAborts, "/")))},
		{"is forgotten", 3 * time.Second, func(ctx context.Context) error { return forgotten(ctx, l) }},
		{"is refused", time.Second, tolerating(syscall.ECONNREFUSED, get(pool(), l.URL(portDead, "/")))},
		{"hears nothing", 3 * time.Second, func(ctx context.Context) error {
			ctx, stop := context.WithTimeout(ctx, 2500*time.Millisecond)
			defer stop()
			return tolerating(context.DeadlineExceeded, get(pool(), "http://"+silentHost+"/"))(ctx)
		}},

		{"keeps an HTTP/2 connection", 200 * time.Millisecond, get(http2(pool()), l.URL(portHTTP2, "/"))},
		{"is an h2load each", 700 * time.Millisecond, func(ctx context.Context) error {
			return l.Client.Run(ctx, "h2load", "-n1", "-c1", l.URL(portH2load, "/"))
		}},
		{"keeps HTTP/2 in TLS, with its keys", 200 * time.Millisecond, get(http2(tlsPool(logged.Clone())), secure(l, portKeys))},
		{"begins TLS for each request, with its keys", 400 * time.Millisecond, func(ctx context.Context) error {
			fresh := &http.Transport{DialContext: dial, TLSClientConfig: logged.Clone()}
			defer fresh.CloseIdleConnections()
			return fetch(ctx, fresh, secure(l, portSlow), "", false)
		}},
		{"keeps TLS", 200 * time.Millisecond, get(tlsPool(unverified), secure(l, portTLSKept))},
		{"resumes TLS sessions", 2 * time.Second, encrypted(l, &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)})},
		{"begins TLS sessions", 2 * time.Second, encrypted(l, unverified.Clone())},

		{"calls one host mostly", 100 * time.Millisecond, calling(s.channel(t, portSticky, l), "")},
		{"calls the other", time.Second, calling(s.channel(t, portSticky, s.second), "")},
		{"calls both in turn", 100 * time.Millisecond, calling(s.channel(t, portEven, l, s.second), "")},
		{"calls what is not there", 5 * time.Second, calling(s.channel(t, portEven, l), "nothing of that name")},
	}
}

func secure(l *lab.Lab, port int) string { return "https://" + address(l, port) + "/" }

// encrypted sends two requests on a connection with TLS.
func encrypted(l *lab.Lab, config *tls.Config) func(context.Context) error {
	return func(ctx context.Context) error {
		fresh := &http.Transport{DialContext: l.Client.DialContext, TLSClientConfig: config}
		defer fresh.CloseIdleConnections()
		return twice(func(ctx context.Context) error { return fetch(ctx, fresh, secure(l, portTLS), "", false) })(ctx)
	}
}

func twice(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error { return errors.Join(do(ctx), do(ctx)) }
}

// tolerating takes an error for what has to happen.
func tolerating(expected error, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := do(ctx); !errors.Is(err, expected) {
			return err
		}
		return nil
	}
}

// fetch asks a host of another name than the address's where that is not empty.
func fetch(ctx context.Context, pool *http.Transport, url, host string, closing bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close, req.Host = closing, host
	resp, err := (&http.Client{Transport: pool}).Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// probe checks health as Kubernetes does: from another address than the clients'.
func probe(ctx context.Context, l *lab.Lab) error {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: l.Client.Addrs[1].AsSlice()}}
	pool := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = l.Client.Do(func() error {
			c, err = from.DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL(portKeeps, "/"), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-probe/1.30")
	resp, err := pool.RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

func old(ctx context.Context, l *lab.Lab) error {
	c, err := l.Client.DialContext(ctx, "tcp", address(l, portMixed))
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	if err == nil {
		_, err = io.Copy(io.Discard, c)
	}
	return errors.Join(err, c.Close())
}

// race sends a second request when the server's FIN is there already.
func race(ctx context.Context, l *lab.Lab) error {
	c, err := l.Client.DialContext(ctx, "tcp", address(l, portHurries))
	if err != nil {
		return err
	}
	return errors.Join(cross(c, address(l, portHurries)), c.Close())
}

func cross(c net.Conn, host string) error {
	r := bufio.NewReader(c)
	if err := askOn(c, r, host); err != nil {
		return err
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) { // the server's FIN
		return fmt.Errorf("the server did not close: %w", err)
	}
	_, err := io.WriteString(c, request(host))
	return err
}

func request(host string) string { return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }

// askOn sends a request and reads its response.
func askOn(c net.Conn, r *bufio.Reader, host string) error {
	if _, err := io.WriteString(c, request(host)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// forgotten asks again when the server does not know of the connection.
func forgotten(ctx context.Context, l *lab.Lab) error {
	c, err := l.Client.DialContext(ctx, "tcp", address(l, portForgets))
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	if err := askOn(c, r, address(l, portForgets)); err != nil {
		return err
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	return tolerating(syscall.ECONNRESET, func(context.Context) error { return askOn(c, r, address(l, portForgets)) })(ctx)
}

// channel makes a gRPC channel to a port of hosts, which take turns.
func (s *site) channel(t *testing.T, port int, hosts ...*lab.Lab) *grpc.ClientConn {
	byName := map[string]*lab.Lab{}
	var state resolver.State
	for _, l := range hosts {
		byName[l.Server.Name] = l
		state.Addresses = append(state.Addresses, resolver.Address{Addr: l.Server.Name})
	}
	names := manual.NewBuilderWithScheme("lab")
	names.InitialState(state)
	c, err := grpc.NewClient("lab:///service", grpc.WithResolvers(names), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority(address(s.l, port)), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) {
			return byName[name].Client.DialContext(ctx, "tcp", address(byName[name], port))
		}))
	if err != nil {
		t.Fatal(err)
	}
	s.atEnd(t, func() { c.Close() })
	return c
}

// calling asks for the health of a service: that of no name is there.
func calling(c *grpc.ClientConn, service string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
		if err != nil && service != "" && strings.Contains(err.Error(), "NotFound") {
			return nil
		}
		return err
	}
}

// live runs the clients at the same time until the context's end.
func live(ctx context.Context, t *testing.T, all []client) {
	var running sync.WaitGroup
	for _, c := range all {
		running.Go(func() {
			tick := time.NewTicker(c.every)
			defer tick.Stop()
			for {
				// What has begun is ended: the server's log has it, too.
				if err := c.do(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Errorf("the client who %s: %v", c.name, err)
					return
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	running.Wait()
}
