package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// newerHabits are those of HTTP/2, gRPC and TLS. What TLS carries is read by the clients'
// keys, which go to keys.
func newerHabits(answer http.HandlerFunc, keys io.Writer) ([]habit, error) {
	server, client, err := tlsConfigs(keys)
	if err != nil {
		return nil, err
	}
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	inClear := func(t *http.Transport) { t.Protocols = h2c }
	serveInClear := serveHTTP(answer, func(s *http.Server) { s.Protocols = h2c })
	inside := func(http1, http2 bool) (func(net.Listener) error, func(*http.Transport)) {
		p := new(http.Protocols)
		p.SetHTTP1(http1)
		p.SetHTTP2(http2)
		return serveHTTP(answer, func(s *http.Server) { s.TLSConfig, s.Protocols = server.Clone(), p }),
			func(t *http.Transport) { t.TLSClientConfig, t.Protocols = client.Clone(), p }
	}
	serveTLS1, tls1 := inside(true, false)
	serveTLS2, tls2 := inside(false, true)
	return []habit{
		{name: "http2-good.demo", pause: 3 * shortPause, serve: serveInClear, client: multiplexed(4, inClear)},
		{name: "http2-connection-per-request.demo", pause: 4 * shortPause, serve: serveInClear, client: oneEach(inClear)},
		{name: "grpc-good.demo", pause: 3 * shortPause, serve: serveGRPC, client: oneChannel},
		{name: "grpc-channel-per-call.demo", pause: 4 * shortPause, serve: serveGRPC, client: channelPerCall},
		{name: "tls-good.demo", pause: 4 * shortPause, serve: serveTLS1, client: burst(2, tls1)},
		{name: "tls-client-says-close.demo", pause: 5 * shortPause, serve: serveTLS1, client: burst(1, func(t *http.Transport) {
			tls1(t)
			t.DisableKeepAlives = true
		})},
		{name: "tls-http2-good.demo", pause: 4 * shortPause, serve: serveTLS2, client: multiplexed(3, tls2)},
		{name: "tls-http2-connection-per-request.demo", pause: 5 * shortPause, serve: serveTLS2, client: oneEach(tls2)},
	}, nil
}

// tlsConfigs returns what a server and a client that trusts it go by.
func tlsConfigs(keys io.Writer) (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("demo: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.demo"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(100 * 365 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("demo: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("demo: %w", err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(cert)
	curves := []tls.CurveID{tls.X25519} // short hellos: the capture that is embedded has to be small
	server = &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: curves, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	client = &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: curves, RootCAs: trusted, KeyLogWriter: keys}
	return server, client, nil
}

// multiplexed asks once, and then n times at once, over one connection for all rounds.
func multiplexed(n int, configure func(*http.Transport)) func(addr, name string) func(context.Context) {
	return func(addr, name string) func(context.Context) {
		v := visitorOf(addr, name, configure)
		return func(ctx context.Context) {
			v.get(ctx, true)
			together(n, func() { v.get(ctx, true) })
		}
	}
}

// oneEach makes a transport for each request, and closes it.
func oneEach(configure func(*http.Transport)) func(addr, name string) func(context.Context) {
	return func(addr, name string) func(context.Context) {
		return func(ctx context.Context) {
			v := visitorOf(addr, name, configure)
			v.get(ctx, true)
			v.CloseIdleConnections()
		}
	}
}

// serveGRPC answers any call by what it asked with.
func serveGRPC(l net.Listener) error {
	return grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var m emptypb.Empty
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		return stream.SendMsg(&m)
	})).Serve(l)
}

// channel opens a channel to a name that is found at an address.
func channel(addr, name string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}))
}

// callOnce calls, if there is a channel. It fails where the demo ends meanwhile.
func callOnce(ctx context.Context, c *grpc.ClientConn) {
	if c != nil {
		_ = c.Invoke(ctx, "/demo.Shop/Look", &emptypb.Empty{}, &emptypb.Empty{})
	}
}

// oneChannel calls over one channel for all rounds.
func oneChannel(addr, name string) func(context.Context) {
	c, _ := channel(addr, name) // it fails for options that contradict each other
	return func(ctx context.Context) {
		callOnce(ctx, c)
		together(4, func() { callOnce(ctx, c) })
	}
}

// channelPerCall opens a channel for each call.
func channelPerCall(addr, name string) func(context.Context) {
	return func(ctx context.Context) {
		c, err := channel(addr, name)
		if err != nil {
			return
		}
		callOnce(ctx, c)
		_ = c.Close() // nothing follows
	}
}
