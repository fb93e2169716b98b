package tls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	gotls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A tap notes what one side of a connection writes.
type tap struct {
	net.Conn
	dir  Dir
	wire *wire
}

type wire struct {
	mu     sync.Mutex
	chunks []chunk
}

func (w tap) Write(b []byte) (int, error) {
	w.wire.mu.Lock()
	w.wire.chunks = append(w.wire.chunks, chunk{dir: w.dir, b: append([]byte(nil), b...)})
	w.wire.mu.Unlock()
	return w.Conn.Write(b)
}

// talk makes a connection by crypto/tls with three exchanges on it and returns
// what went over the wire.
func talk(t *testing.T, client, server *gotls.Config) ([]chunk, gotls.ConnectionState) {
	t.Helper()
	var w wire
	a, b := loopback(t)
	deadline := time.Now().Add(30 * time.Second)
	if err := errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	cc, sc := gotls.Client(tap{a, Client, &w}, client), gotls.Server(tap{b, Server, &w}, server)
	served := make(chan error, 1)
	go func() {
		defer b.Close()
		buf := make([]byte, 100)
		for {
			n, err := io.ReadFull(sc, buf) // TLS 1.0 splits records
			if err != nil {
				if err == io.EOF {
					err = nil
				}
				served <- err
				return
			}
			if _, err := sc.Write([]byte(strings.Repeat("r", 10*n))); err != nil {
				served <- err
				return
			}
		}
	}()
	buf := make([]byte, 1000)
	for range 3 {
		if _, err := cc.Write([]byte(strings.Repeat("q", 100))); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(cc, buf); err != nil {
			t.Fatal(err)
		}
	}
	state := cc.ConnectionState()
	cc.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	return w.chunks, state
}

// loopback returns the two ends of a TCP connection. crypto/tls would block
// itself on net.Pipe, which has no buffer: both ends of TLS 1.3 may write at once.
func loopback(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func certificate(t testing.TB) gotls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, key)
}

func rsaCertificate(t testing.TB) gotls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, key)
}

func selfSigned(t testing.TB, key crypto.Signer) gotls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"shop.example"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return gotls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestAgainstCryptoTLS compares what is observed with what the two ends say.
func TestAgainstCryptoTLS(t *testing.T) {
	cert := certificate(t)
	noTickets := func(c, s *gotls.Config) { s.SessionTicketsDisabled = true }
	retry := func(c, s *gotls.Config) {
		c.CurvePreferences = []gotls.CurveID{gotls.X25519, gotls.CurveP384}
		s.CurvePreferences = []gotls.CurveID{gotls.CurveP384}
	}
	mutual := func(c, s *gotls.Config) {
		s.ClientAuth = gotls.RequireAnyClientCert
		c.Certificates = []gotls.Certificate{cert}
	}
	tests := []struct {
		name    string
		version uint16
		talks   int // connections made; the last is observed
		change  func(client, server *gotls.Config)
		retry   bool
	}{
		{"1.0", gotls.VersionTLS10, 1, nil, false},
		{"1.1", gotls.VersionTLS11, 1, nil, false},
		{"1.2", gotls.VersionTLS12, 1, nil, false},
		{"1.2 resumed", gotls.VersionTLS12, 2, nil, false},
		{"1.2 without tickets", gotls.VersionTLS12, 2, noTickets, false},
		{"1.2 client certificate", gotls.VersionTLS12, 1, mutual, false},
		{"1.2 client certificate resumed", gotls.VersionTLS12, 2, mutual, false},
		{"1.3", gotls.VersionTLS13, 1, nil, false},
		{"1.3 resumed", gotls.VersionTLS13, 2, nil, false},
		{"1.3 without tickets", gotls.VersionTLS13, 2, noTickets, false},
		{"1.3 retry", gotls.VersionTLS13, 1, retry, true},
		{"1.3 client certificate", gotls.VersionTLS13, 1, mutual, false},
		{"1.3 client certificate resumed", gotls.VersionTLS13, 2, mutual, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := &gotls.Config{
				InsecureSkipVerify: true, ServerName: "Shop.Example", NextProtos: []string{"h2", "http/1.1"},
				ClientSessionCache: gotls.NewLRUClientSessionCache(4), MinVersion: gotls.VersionTLS10,
			}
			server := &gotls.Config{
				Certificates: []gotls.Certificate{cert}, NextProtos: []string{"http/1.1"},
				MinVersion: gotls.VersionTLS10, MaxVersion: tt.version,
			}
			if tt.change != nil {
				tt.change(client, server)
			}
			var chunks []chunk
			var state gotls.ConnectionState
			for range tt.talks {
				chunks, state = talk(t, client, server)
			}
			want := summary{
				SNI: "shop.example", Offered: "h2,http/1.1", ALPN: state.NegotiatedProtocol, Version: state.Version,
				Resumed: state.DidResume, Retry: tt.retry, Done: 1, Bursts: "cscscs",
			}
			if tt.version == gotls.VersionTLS13 {
				want.ALPN = ""
			}
			for _, size := range []int{0, 1, 5, 1000} {
				if diff := cmp.Diff(want, summarize(t, chunks, size)); diff != "" {
					t.Errorf("pieces of %d (-crypto/tls +observed):\n%s", size, diff)
				}
			}
		})
	}
}

type summary struct {
	SNI, Offered, ALPN string
	Version            uint16
	Resumed, Retry     bool
	Done               int
	Bursts             string // who sent application data, once a turn
	Lost               int
}

// summarize observes chunks.
func summarize(t *testing.T, chunks []chunk, size int) summary {
	t.Helper()
	var o Observer
	var i Info
	var s summary
	for _, ch := range chunks {
		for b := ch.b; len(b) > 0; {
			piece := b
			if size > 0 {
				piece = b[:min(size, len(b))]
			}
			b = b[len(piece):]
			for {
				n, e := o.Next(ch.dir, piece, &i)
				piece = piece[n:]
				if e == NeedMore {
					break
				}
				s.add(ch.dir, e, &i)
			}
		}
	}
	return s
}

func (s *summary) add(dir Dir, e Event, i *Info) {
	switch e {
	case ClientHello:
		s.SNI, s.Offered = string(i.SNI), string(i.Offered)
	case HelloRetry:
		s.Retry = true
	case ServerHello:
		s.ALPN = string(i.ALPN)
	case HandshakeDone:
		s.Done++
		s.Version, s.Resumed = i.Version, i.Resumed
	case ApplicationData:
		if who := "cs"[dir : dir+1]; !strings.HasSuffix(s.Bursts, who) {
			s.Bursts += who
		}
	case Lost:
		s.Lost++
	}
}
