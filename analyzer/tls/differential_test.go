package tls

import (
	"bytes"
	gotls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/tls/keylog"
)

// A conversation is what two ends of crypto/tls said: what went over the wire,
// the plaintext, and the key log.
type conversation struct {
	chunks []chunk
	text   [2][]byte
	state  gotls.ConnectionState
}

// converse makes a connection by crypto/tls, on which both ends write and read turns of random
// lengths.
func converse(t testing.TB, r *rand.Rand, client, server *gotls.Config, keys *bytes.Buffer, turns int) *conversation {
	t.Helper()
	var w wire
	v := &conversation{}
	client, server = client.Clone(), server.Clone()
	client.KeyLogWriter = keys
	a, b := loopback(t)
	deadline := time.Now().Add(30 * time.Second)
	if err := errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	cc, sc := gotls.Client(tap{a, Client, &w}, client), gotls.Server(tap{b, Server, &w}, server)
	sizes := make([][2]int, turns)
	for i := range sizes {
		sizes[i] = [2]int{1 + r.IntN(2000), 1 + r.IntN(1<<r.IntN(17))}
	}
	served := make(chan error, 1)
	reply := func(n int) []byte { return bytes.Repeat([]byte{byte(n) | 1}, n) }
	go func() {
		defer b.Close()
		for _, size := range sizes {
			if _, err := io.ReadFull(sc, make([]byte, size[0])); err != nil {
				served <- err
				return
			}
			if _, err := sc.Write(reply(size[1])); err != nil {
				served <- err
				return
			}
		}
		_, err := sc.Read(make([]byte, 1))
		sc.Close()
		if errors.Is(err, io.EOF) {
			err = nil
		}
		served <- err
	}()
	for _, size := range sizes {
		request := reply(size[0])
		if _, err := cc.Write(request); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size[1])
		if _, err := io.ReadFull(cc, got); err != nil {
			t.Fatal(err)
		}
		v.text[Client] = append(v.text[Client], request...)
		v.text[Server] = append(v.text[Server], got...)
	}
	v.state = cc.ConnectionState()
	cc.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	a.Close()
	v.chunks = w.chunks
	return v
}

// TestDifferential reads connections that crypto/tls made, of random configurations, and
// compares the plaintext, whatever pieces the bytes come in.
func TestDifferential(t *testing.T) {
	d := newDifferential(t)
	for i := range uint64(120) {
		d.check(t, i)
	}
	if d.late < 50 {
		t.Errorf("only %d connections waited for their keys", d.late)
	}
	if d.resumed < 5 {
		t.Errorf("only %d sessions of TLS 1.2 were resumed", d.resumed)
	}
}

// FuzzDifferential is TestDifferential of configurations without end.
func FuzzDifferential(f *testing.F) {
	d := newDifferential(f)
	f.Add(uint64(0))
	f.Fuzz(d.check)
}

// A differential makes connections by crypto/tls, and counts the sessions of TLS 1.2 that
// were resumed, and the connections that waited for their keys.
type differential struct {
	suites        []*gotls.CipherSuite
	certs         []gotls.Certificate
	resumed, late int
}

func newDifferential(t testing.TB) *differential {
	t.Helper()
	return &differential{
		suites: slices.Concat(gotls.CipherSuites(), gotls.InsecureCipherSuites()),
		certs:  []gotls.Certificate{certificate(t), rsaCertificate(t)},
	}
}

// check reads up to three connections of one random configuration.
func (d *differential) check(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(7, seed))
	server := &gotls.Config{
		Certificates: d.certs, MinVersion: gotls.VersionTLS10,
		NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: r.IntN(4) == 0,
		DynamicRecordSizingDisabled: r.IntN(2) == 0,
	}
	client := &gotls.Config{
		InsecureSkipVerify: true, ServerName: "shop.example", MinVersion: gotls.VersionTLS10,
		ClientSessionCache: gotls.NewLRUClientSessionCache(4), NextProtos: []string{"h2", "http/1.1"},
	}
	server.MaxVersion = []uint16{gotls.VersionTLS10, gotls.VersionTLS11, gotls.VersionTLS12, gotls.VersionTLS12, gotls.VersionTLS13}[r.IntN(5)]
	server.SetSessionTicketKeys([][32]byte{{byte(seed)}})
	suite := d.suites[r.IntN(len(d.suites))]
	if server.MaxVersion < gotls.VersionTLS13 {
		server.CipherSuites = []uint16{suite.ID}
		client.CipherSuites = server.CipherSuites
	}
	if r.IntN(3) == 0 {
		server.ClientAuth = gotls.RequireAnyClientCert
		client.Certificates = d.certs[:1]
	}
	if r.IntN(4) == 0 {
		server.CurvePreferences = []gotls.CurveID{gotls.CurveP384}
	}
	if !usable(suite, server.MaxVersion) {
		return
	}
	var keys bytes.Buffer
	var talks []*conversation
	for range 1 + r.IntN(3) {
		talks = append(talks, converse(t, r, client, server, &keys, 1+r.IntN(5)))
	}
	shared := NewDecryption(storeOf(t, keys.Bytes()), 0)
	for k, v := range talks {
		name := fmt.Sprintf("%d.%d %s %s resumed=%t", seed, k, gotls.VersionName(v.state.Version), gotls.CipherSuiteName(v.state.CipherSuite), v.state.DidResume)
		if v.state.DidResume && v.state.Version < gotls.VersionTLS13 {
			d.resumed++
		}
		for _, size := range []int{0, 1 + r.IntN(50), 1 + r.IntN(3000)} {
			p := decrypt(t, shared, v.chunks, size)
			for _, dir := range []Dir{Client, Server} {
				if diff := diffText(v.text[dir], p.text[dir]); diff != "" || p.gaps[dir] > 0 || p.closed[dir] != 1 {
					t.Fatalf("%s, pieces of %d, %v, closed %d times, %d bytes of gaps: %s\n%v\n%+v", name, size, dir, p.closed[dir], p.gaps[dir], diff, p.events, shared.Stats)
				}
			}
		}
	}
	if n := shared.Stats.Failed + shared.Stats.Lost; n > 0 {
		t.Errorf("%d: %+v", seed, shared.Stats)
	}
	d.late += readLate(t, r, talks, keys.Bytes())
}

// usable says whether a suite is one that is read, and that the version has.
func usable(s *gotls.CipherSuite, version uint16) bool {
	if version == gotls.VersionTLS13 {
		return true
	}
	for _, v := range s.SupportedVersions {
		if v == version {
			switch s.ID {
			case gotls.TLS_RSA_WITH_RC4_128_SHA, gotls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, gotls.TLS_ECDHE_RSA_WITH_RC4_128_SHA,
				gotls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, gotls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA:
				return false
			}
			return true
		}
	}
	return false
}

// readLate reads connections whose keys come when everything was sent, or at a
// random place, and returns how many there were.
func readLate(t *testing.T, r *rand.Rand, talks []*conversation, keys []byte) (n int) {
	t.Helper()
	for _, v := range talks {
		store := keylog.New(0)
		shared := NewDecryption(store, 0)
		total := 0
		for _, c := range v.chunks {
			total += len(c.b) + entryHead
		}
		if total > maxWaiting || v.state.DidResume && v.state.Version < gotls.VersionTLS13 {
			continue
		}
		n++
		p := &plaintext{}
		d := shared.New(p, p)
		p.d = d
		at := r.IntN(len(v.chunks) + 1)
		for i, c := range v.chunks {
			if i == at {
				fill(store, keys)
			}
			d.Data(c.dir, c.b, int64(i))
		}
		d.Close(Client, int64(len(v.chunks)))
		d.Close(Server, int64(len(v.chunks)))
		fill(store, keys)
		d.Tick(int64(len(v.chunks)))
		for _, dir := range []Dir{Client, Server} {
			if diff := diffText(v.text[dir], p.text[dir]); diff != "" || p.gaps[dir] > 0 || p.closed[dir] != 1 {
				t.Fatalf("keys at %d of %d, %v, closed %d times: %s\n%v\n%+v", at, len(v.chunks), dir, p.closed[dir], diff, p.events, shared.Stats)
			}
		}
		if d.End(0); shared.Held() != 0 {
			t.Fatalf("%d bytes are held", shared.Held())
		}
	}
	return n
}
