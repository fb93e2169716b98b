package dashboardstest_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// The ports of the server, each with a habit of its own.
const (
	portGood    = 8080 // keeps connections
	portHurries = 8081 // closes idle ones after 2 s
	portCounts  = 8082 // closes after 3 requests
	portCloses  = 8083 // closes after each
	portTLS     = 8443
	idleTimeout = 2 * time.Second // of portHurries
)

const serverBlocks = `
	server { listen {{.Addr}}:8080; root {{.Root}}; keepalive_timeout 75s 75s; keepalive_requests 100000; }
	server { listen {{.Addr}}:8081; root {{.Root}}; keepalive_timeout 2s 2s; }
	server { listen {{.Addr}}:8082; root {{.Root}}; keepalive_requests 3; }
	server { listen {{.Addr}}:8083; root {{.Root}}; keepalive_timeout 0; }
	server { listen {{.Addr}}:8443 ssl; root {{.Root}}; ssl_certificate {{.Root}}/cert.pem; ssl_certificate_key {{.Root}}/key.pem; }
`

func serverFiles(t *testing.T) map[string][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"index.html": []byte("hello\n"),
		"cert.pem":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"key.pem":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// A client is somebody with a habit: do is what is done once, and again after
// every pause.
type client struct {
	name  string
	every time.Duration
	do    func(context.Context) error
}

// clients returns the habits, good and bad.
func clients(l *lab.Lab) []client {
	dial := l.Client.DialContext
	get := func(pool *http.Client, url string, closing bool) func(context.Context) error {
		return func(ctx context.Context) error { return fetch(ctx, pool, url, closing) }
	}
	pool := func() *http.Client { return &http.Client{Transport: &http.Transport{DialContext: dial}} }
	sessions := tls.NewLRUClientSessionCache(4)
	return []client{
		{"keeps connections", 100 * time.Millisecond, get(pool(), l.URL(portGood, "/"), false)},
		{"asks for closing", 400 * time.Millisecond, get(pool(), l.URL(portGood, "/"), true)},
		{"forgets its pool", 700 * time.Millisecond, func(ctx context.Context) error {
			fresh := &http.Client{Transport: &http.Transport{DialContext: dial, IdleConnTimeout: 1500 * time.Millisecond}}
			return fetch(ctx, fresh, l.URL(portGood, "/"), false)
		}},
		{"comes too late", idleTimeout + time.Second, twice(get(pool(), l.URL(portHurries, "/"), false))},
		{"is counted out", 150 * time.Millisecond, get(pool(), l.URL(portCounts, "/"), false)},
		{"is turned away", 400 * time.Millisecond, get(pool(), l.URL(portCloses, "/"), false)},
		{"speaks HTTP/1.0", 500 * time.Millisecond, func(ctx context.Context) error { return old(ctx, l) }},
		{"races", 4 * time.Second, func(ctx context.Context) error { return race(ctx, l) }},
		{"knocks only", time.Second, func(ctx context.Context) error {
			c, err := dial(ctx, "tcp", address(l, portGood))
			if err != nil {
				return err
			}
			return c.Close()
		}},
		{"resumes TLS sessions", 2 * time.Second, encrypted(l, sessions)},
		{"begins TLS sessions", 2 * time.Second, encrypted(l, nil)},
	}
}

// encrypted sends two requests on a connection with TLS.
func encrypted(l *lab.Lab, sessions tls.ClientSessionCache) func(context.Context) error {
	config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: sessions} // the certificate is the test's own
	return func(ctx context.Context) error {
		secure := &http.Transport{DialContext: l.Client.DialContext, TLSClientConfig: config}
		defer secure.CloseIdleConnections()
		request := func(ctx context.Context) error {
			return fetch(ctx, &http.Client{Transport: secure}, "https://"+address(l, portTLS)+"/", false)
		}
		return twice(request)(ctx)
	}
}

func address(l *lab.Lab, port int) string { return fmt.Sprintf("%v:%d", l.Server.Addrs[0], port) }

func twice(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error { return errors.Join(do(ctx), do(ctx)) }
}

func fetch(ctx context.Context, pool *http.Client, url string, closing bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = closing
	resp, err := pool.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

func old(ctx context.Context, l *lab.Lab) error {
	c, err := l.Client.DialContext(ctx, "tcp", address(l, portGood))
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
	request := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	if _, err := io.WriteString(c, request); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) { // the server's FIN
		return fmt.Errorf("the server did not close: %w", err)
	}
	_, err = io.WriteString(c, request)
	return err
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
