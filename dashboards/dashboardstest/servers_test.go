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
	"math"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// The ports of the servers, each with a habit of its own.
const (
	portMixed   = 8080 // keeps connections, which most of its clients don't
	portHurries = 8081 // closes idle ones after 2 s
	portCounts  = 8082 // closes after 3 requests
	portCloses  = 8083 // closes after each
	portKeeps   = 8084 // keeps connections, as its client does
	portCurl    = 8085 // is asked by one curl after the other
	portHTTP2   = 8090
	portH2load  = 8091 // is asked by one h2load after the other
	portProxied = 8093 // HAProxy is its client, and checks its health
	portLeaks   = 8094 // a Node whose client uses connections once, and keeps them
	portDead    = 8098 // nobody listens
	portAborts  = 8100 // a Node that breaks off one response of 25
	portForgets = 8101 // forgets connections as a host does that loses its power
	portTLS     = 8443
	portKeys    = 8445 // HTTP/2 inside TLS, with a log of its keys
	portTLSKept = 8446 // TLS, with a client that keeps its connection
	portSlow    = 8447 // takes its time for a handshake of TLS; with a log of its keys
	portSticky  = 9000 // gRPC on two hosts, of which one has most of the calls
	portEven    = 9001 // gRPC on two hosts, which take turns

	portHAProxy = 8200 // of HAProxy, on the host of the clients

	idleTimeout = 2 * time.Second // of portHurries
	slowness    = 60 * time.Millisecond
	breaksOff   = 25
)

// silentHost is an address that nobody has.
const silentHost = "10.77.0.99"

const serverBlocks = `
	keepalive_timeout 2h; keepalive_requests 1000000; keepalive_time 2h; client_header_timeout 2h;
	ssl_certificate {{.Root}}/cert.pem; ssl_certificate_key {{.Root}}/key.pem;
	root {{.Root}};
	server { listen {{.Addr}}:8080; keepalive_timeout 75s 75s; }
	server { listen {{.Addr}}:8081; keepalive_timeout 2s 2s; }
	server { listen {{.Addr}}:8082; keepalive_requests 3; }
	server { listen {{.Addr}}:8083; keepalive_timeout 0; }
	server { listen {{.Addr}}:8084; }
	server { listen {{.Addr}}:8085; }
	server { listen {{.Addr}}:8090 http2; }
	server { listen {{.Addr}}:8091 http2; }
	server { listen {{.Addr}}:8093; }
	server { listen {{.Addr}}:8443 ssl; }
	server { listen {{.Addr}}:8445 ssl http2; }
	server { listen {{.Addr}}:8446 ssl; }
`

// A site is two hosts with servers, and two with clients.
type site struct {
	l      *lab.Lab
	second *lab.Lab // its server has the addresses of the first
	nginx  *lab.Nginx
	keylog *os.File // of TLS, by clients
	ends   []func() // of whatever keeps connections, but for nginx
}

// atEnd has f called when the traffic ends, and in any case when the test does.
func (s *site) atEnd(t *testing.T, f func()) {
	s.ends = append(s.ends, f)
	t.Cleanup(f)
}

// end closes all connections, so that no packet comes any more.
func (s *site) end(t *testing.T) {
	for _, f := range slices.Backward(s.ends) {
		f()
	}
	if err := s.nginx.Stop(); err != nil {
		t.Fatal(err)
	}
}

func newSite(t *testing.T) *site {
	s := &site{l: newLab(t, 2), second: newLab(t, 1)}
	cert, key := certificate(t)
	var err error
	s.nginx, err = s.l.NewNginx(t.Context(), lab.NginxConfig{
		Servers: serverBlocks,
		Files:   map[string][]byte{"index.html": []byte("hello\n"), "cert.pem": cert, "key.pem": key},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.nginx.Kill(); err != nil {
			t.Error(err)
		}
	})
	if s.keylog, err = os.Create(filepath.Join(s.l.Dir, "keys.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.keylog.Close() })
	if err := s.l.Client.Run(t.Context(), "ip", "neigh", "add", silentHost, "lladdr", "02:00:00:00:00:99", "dev", s.l.Client.Interface); err != nil {
		t.Fatal(err)
	}
	s.node(t, portAborts, breaksOff)
	s.node(t, portLeaks, math.MaxInt32)
	s.slow(t, cert, key)
	go forgetting(listen(t, s.l, portForgets))
	for _, l := range []*lab.Lab{s.l, s.second} {
		for _, port := range []int{portSticky, portEven} {
			server := grpc.NewServer()
			grpc_health_v1.RegisterHealthServer(server, health.NewServer())
			s.atEnd(t, server.Stop)
			listener := listen(t, l, port)
			go func() { _ = server.Serve(listener) }() // until Stop
		}
	}
	return s
}

func newLab(t *testing.T, clients int) *lab.Lab {
	l, err := lab.New(t.Context(), lab.Config{ClientAddrs: clients})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func listen(t *testing.T, l *lab.Lab, port int) net.Listener {
	listener, err := l.Server.Listen(t.Context(), "tcp", address(l, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func address(l *lab.Lab, port int) string { return fmt.Sprintf("%v:%d", l.Server.Addrs[0], port) }

// certificate makes one that no client here verifies.
func certificate(t *testing.T) (cert, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err = x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err = x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
}

// aborting answers, and breaks off every so many responses.
const aborting = `
const [address, port, every] = process.argv.slice(2);
let n = 0;
require("http").createServer({keepAliveTimeout: 7200e3}, (q, r) => {
	if (++n % every) { r.end("ok"); return; }
	r.writeHead(200, {"Content-Length": 100});
	r.write("half", () => q.socket.destroy());
}).listen(+port, address);
`

func (s *site) node(t *testing.T, port, every int) {
	script, err := s.l.File("aborts.js", []byte(aborting))
	if err != nil {
		t.Fatal(err)
	}
	node := background(t, s.l.Server, "node", script, s.l.Server.Addrs[0].String(), strconv.Itoa(port), strconv.Itoa(every))
	s.atEnd(t, node.stop)
	awaitListener(t, s.l.Server, address(s.l, port))
}

func awaitListener(t *testing.T, n *lab.Namespace, address string) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := n.DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// proxy runs HAProxy beside the clients: one of its two backends is dead.
func (s *site) proxy(t *testing.T) {
	config, err := s.l.File("haproxy.cfg", fmt.Appendf(nil, `
defaults
	mode http
	timeout connect 1s
	timeout client 2h
	timeout server 2h
	timeout http-keep-alive 2h
frontend clients
	bind 127.0.0.1:%d
	default_backend servers
backend servers
	http-reuse always
	option httpchk GET /
	default-server inter 2s check
	server alive %[2]s
	server dead %[3]s
`, portHAProxy, address(s.l, portProxied), address(s.l, portDead)))
	if err != nil {
		t.Fatal(err)
	}
	haproxy := background(t, s.l.Client, "haproxy", "-db", "-f", config)
	s.atEnd(t, haproxy.stop)
	awaitListener(t, s.l.Client, fmt.Sprintf("127.0.0.1:%d", portHAProxy))
}

// slow serves TLS, and thinks before it shows its certificate: as one does whose
// private key is elsewhere.
func (s *site) slow(t *testing.T, cert, key []byte) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
		ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			time.Sleep(slowness)
			return &pair, nil
		}},
	}
	s.atEnd(t, func() { server.Close() })
	listener := listen(t, s.l, portSlow)
	go func() { _ = server.ServeTLS(listener, "", "") }() // until Close
}

// forgetting answers a connection's first request, and then knows it no more.
func forgetting(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			time.Sleep(100 * time.Millisecond) // until that is acknowledged
			_ = errors.Join(err, repair(conn.(*net.TCPConn)))
		}
		conn.Close()
	}
}

// repair has a connection close without a packet.
func repair(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) })
	return errors.Join(err, optErr)
}

// leak opens connections and keeps them to itself, as a program does that is started
// anew when it has no more descriptors.
func (s *site) leak(ctx context.Context, t *testing.T) {
	const aSecond, most = 20, 16_000
	var held []net.Conn
	release := func() {
		for _, c := range held {
			c.Close()
		}
		held = nil
	}
	defer release()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	// None is silent for so long that it is no longer followed. What has begun is ended.
	dialer := net.Dialer{KeepAlive: 5 * time.Minute, Timeout: time.Minute}
	for {
		if len(held) >= most {
			release()
		}
		err := s.l.Client.Do(func() error {
			for range aSecond {
				c, err := dialer.Dial("tcp", address(s.l, portLeaks))
				if err != nil {
					return err
				}
				held = append(held, c)
				if err := askOn(c, bufio.NewReader(c), address(s.l, portLeaks)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// reload has nginx take a new configuration now and then.
func (s *site) reload(ctx context.Context, t *testing.T, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.nginx.Reload(); err != nil {
				t.Error(err)
			}
		case <-ctx.Done():
			return
		}
	}
}
