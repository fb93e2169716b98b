package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var updateTLS = flag.Bool("update-tls", false, "talk TLS anew for the conversations of the TLS cases, then use -update")

// A talk is a TLS connection as crypto/tls speaks it.
type talk struct {
	name      string // of the connection in the conversation
	at        time.Duration
	sni       string
	exchanges int
	close     bool // by the client, with an alert and a FIN
}

// tlsTalks are the conversations of the TLS cases; the talks of one share a
// session cache.
var tlsTalks = []struct {
	path    string
	version uint16
	alpn    []string
	talks   []talk
}{
	{"tls13_full", tls.VersionTLS13, []string{"h2", "http/1.1"}, []talk{{"c1", 0, "shop.example", 2, true}}},
	{"tls12_full", tls.VersionTLS12, []string{"http/1.1"}, []talk{{"c1", 0, "shop.example", 2, true}}},
	{"tls13_resumed", tls.VersionTLS13, nil, []talk{{"c1", 0, "shop.example", 1, true}, {"c2", time.Second, "shop.example", 1, false}}},
	{"tls12_resumed", tls.VersionTLS12, nil, []talk{{"c1", 0, "shop.example", 1, true}, {"c2", time.Second, "shop.example", 1, false}}},
	{"tls_never_used", tls.VersionTLS13, nil, []talk{{"c1", 0, "shop.example", 0, true}, {"c2", time.Second, "shop.example", 1, true}}},
	{"tls_sni_pools", tls.VersionTLS13, nil, []talk{
		{"c1", 0, "shop.example", 1, true},
		{"c2", time.Second, "blog.example", 1, true},
		{"c3", 2 * time.Second, "shop.example", 1, true},
	}},
}

// TestUpdateTLS writes the conversations of the TLS cases.
func TestUpdateTLS(t *testing.T) {
	if !*updateTLS {
		t.Skip("only with -update-tls: keys and randoms are new each time")
	}
	certificate := selfSigned(t)
	for _, c := range tlsTalks {
		path := filepath.Join("testdata", "cases", c.path+".txtar")
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		client := &tls.Config{InsecureSkipVerify: true, NextProtos: c.alpn, MaxVersion: c.version, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
		server := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: c.alpn, MinVersion: c.version}
		var text bytes.Buffer
		for i, k := range c.talks {
			fmt.Fprintf(&text, "conn %s 10.0.0.1:%d 10.0.0.2:443\n", k.name, 40000+i)
		}
		for _, k := range c.talks {
			client.ServerName = k.sni
			k.write(t, &text, client, server)
		}
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "conversation" })
		archive.Files[i].Data = text.Bytes()
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"shop.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// certify writes a certificate that signs itself, and its key.
func certify(t *testing.T, dir string) {
	t.Helper()
	cert := selfSigned(t)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// write talks and writes what went over the wire: 1 ms each way, the first
// flight 2 ms after the SYN, the exchanges 100 ms apart.
func (k *talk) write(t *testing.T, w io.Writer, client, server *tls.Config) {
	t.Helper()
	var wire recorder
	ends := wire.pipe()
	c, s := tls.Client(ends[0], client), tls.Server(ends[1], server)
	both := func(f, g func() error) {
		t.Helper()
		done := make(chan error)
		go func() { done <- g() }()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(w, "@%v %s handshake rtt=1ms\n", k.at, k.name)
	both(c.Handshake, s.Handshake)
	wire.flush(w, k.name, k.at+2*time.Millisecond)
	at := k.at
	for range k.exchanges {
		at += 100 * time.Millisecond
		both(func() error { return say(c, "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n") }, func() error { return hear(s) })
		both(func() error { return say(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }, func() error { return hear(c) })
		wire.flush(w, k.name, at)
	}
	if k.close {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		wire.flush(w, k.name, at+10*time.Millisecond)
		fmt.Fprintf(w, "%s > close\n", k.name)
	}
}

func say(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func hear(r io.Reader) error {
	_, err := r.Read(make([]byte, 1024))
	return err
}

// A recorder notes what two ends write to each other.
type recorder struct {
	sync.Mutex
	sent []flight
}

type flight struct {
	from int // 0 the client
	data []byte
}

// flush writes what was sent as lines of a conversation that begins at a time.
func (r *recorder) flush(w io.Writer, name string, at time.Duration) {
	r.Lock()
	defer r.Unlock()
	for i, f := range r.sent {
		if i > 0 && f.from != r.sent[i-1].from {
			at += time.Millisecond
		}
		fmt.Fprintf(w, "@%v %s %c hex:%x\n", at, name, "><"[f.from], f.data)
	}
	r.sent = nil
}

// pipe returns two ends that never block a writer.
func (r *recorder) pipe() [2]net.Conn {
	to := [2]chan []byte{make(chan []byte, 64), make(chan []byte, 64)}
	var ends [2]net.Conn
	for i := range ends {
		ends[i] = &recorded{recorder: r, side: i, in: to[i], out: to[1-i]}
	}
	return ends
}

// recorded is one end; it has no address and no deadline.
type recorded struct {
	net.Conn
	*recorder
	side int
	in   <-chan []byte
	out  chan<- []byte
	rest []byte
}

func (c *recorded) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		c.rest = <-c.in
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *recorded) Write(b []byte) (int, error) {
	data := bytes.Clone(b)
	c.Lock()
	c.sent = append(c.sent, flight{c.side, data})
	c.Unlock()
	c.out <- data
	return len(b), nil
}

func (c *recorded) Close() error                     { return nil }
func (c *recorded) SetWriteDeadline(time.Time) error { return nil }
