package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer/privileges/privilegestest"

	"golang.org/x/crypto/bcrypt"

	"github.com/keepscope/keepscope/analyzer"
	analyzerrun "github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/exporter/web"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// serveTest serves an endpoint on a free port until the test ends.
func serveTest(t *testing.T, cfg endpointConfig) (address string) {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", startEndpoint(t, cfg).ports()[0])
}

func startEndpoint(t *testing.T, cfg endpointConfig) *endpoint {
	t.Helper()
	cfg.listen = "127.0.0.1:0"
	if cfg.metrics == nil {
		cfg.metrics = exporter.New(tally.New(tally.Config{}), exporter.Config{Version: "v1"})
	}
	if cfg.page == nil {
		cfg.page = web.New(web.Source{Latest: func() web.Latest { return web.Latest{Report: &report.Report{}} }})
	}
	if cfg.ready == nil {
		cfg.ready = func() error { return nil }
	}
	e, err := listenEndpoint(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	e.serve()
	t.Cleanup(func() { e.stop(context.Background()) })
	return e
}

// fetch asks and returns the answer with its body.
func fetch(t testing.TB, client *http.Client, method, url string, header http.Header, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestEndpoint(t *testing.T) {
	var notReady atomic.Bool
	address := serveTest(t, endpointConfig{ready: func() error {
		if notReady.Load() {
			return errors.New("eth0 is down")
		}
		return nil
	}})
	tests := []struct {
		name, method, path, accept string
		notReady                   bool
		status                     int
		kind                       string // of the content
		want                       string // in the body
	}{
		{"metrics", "GET", "/metrics", "", false, 200, "text/plain; version=0.0.4", "keepscope_build_info"},
		{"OpenMetrics", "GET", "/metrics", "application/openmetrics-text;version=1.0.0", false, 200, "application/openmetrics-text", "# EOF"},
		{"protobuf", "GET", "/metrics", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", false, 200, "application/vnd.google.protobuf", "keepscope_build_info"},
		{"page", "GET", "/", "", false, 200, "text/html", "Keepscope"},
		{"page, head only", "HEAD", "/", "", false, 200, "text/html", ""},
		{"alive", "GET", "/healthz", "", false, 200, "text/plain", "alive"},
		{"alive while not ready", "GET", "/healthz", "", true, 200, "text/plain", "alive"},
		{"ready", "GET", "/readyz", "", false, 200, "text/plain", "capturing"},
		{"not ready", "GET", "/readyz", "", true, 503, "text/plain", "eth0 is down"},
		{"no profile", "GET", "/debug/pprof/", "", false, 404, "text/plain", ""},
		{"nothing else", "GET", "/etc/passwd", "", false, 404, "text/plain", ""},
		{"no other method", "POST", "/metrics", "", false, 405, "text/plain", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			notReady.Store(tt.notReady)
			resp, body := fetch(t, http.DefaultClient, tt.method, "http://"+address+tt.path, http.Header{"Accept": {tt.accept}}, nil)
			if resp.StatusCode != tt.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), tt.kind) || !strings.Contains(body, tt.want) {
				t.Errorf("%s, %s, %.200s", resp.Status, resp.Header.Get("Content-Type"), body)
			}
		})
	}
}

// TestCreatedLines: they are there where they were asked for.
func TestCreatedLines(t *testing.T) {
	set := tally.New(tally.Config{})
	set.Worker(nil).Exchange(exchangeTo(1, 2e9))
	for _, created := range []bool{false, true} {
		address := serveTest(t, endpointConfig{created: created, metrics: exporter.New(set, exporter.Config{})})
		_, body := fetch(t, http.DefaultClient, http.MethodGet, "http://"+address+"/metrics", http.Header{"Accept": {"application/openmetrics-text;version=1.0.0"}}, nil)
		if got := strings.Contains(body, "_created{"); got != created || !strings.Contains(body, exporter.Requests) {
			t.Errorf("asked for %t: there %t", created, got)
		}
	}
}

func TestEndpointProfiles(t *testing.T) {
	address := serveTest(t, endpointConfig{pprof: true})
	if resp, _ := fetch(t, http.DefaultClient, "GET", "http://"+address+"/debug/pprof/heap?debug=1", nil, nil); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestEndpointLimits(t *testing.T) {
	address := serveTest(t, endpointConfig{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 4*maxHeaderBytes))
	// The server may close before the client has sent everything.
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a long header: %s", resp.Status)
		}
	}
	resp, _ := fetch(t, http.DefaultClient, "GET", "http://"+address+"/healthz", nil, bytes.NewReader(make([]byte, 1000)))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a body within the limit: %s", resp.Status)
	}
}

// TestEndpointAuth serves with TLS, a password and client certificates.
func TestEndpointAuth(t *testing.T) {
	dir := t.TempDir()
	certificate := certify(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "web.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const server = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate.pem)
	client := func(certs ...tls.Certificate) *http.Client {
		return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}}}
	}
	t.Run("password", func(t *testing.T) {
		write(server + "basic_auth_users:\n  prometheus: " + string(hash) + "\n")
		address := serveTest(t, endpointConfig{webConfig: file})
		if resp, _ := fetch(t, client(), "GET", "https://"+address+"/metrics", nil, nil); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("without password: %s", resp.Status)
		}
		if resp, body := fetch(t, client(), "GET", "https://prometheus:secret@"+address+"/metrics", nil, nil); resp.StatusCode != http.StatusOK || !strings.Contains(body, "keepscope_") {
			t.Errorf("with password: %s", resp.Status)
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		write(server + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: cert.pem\n")
		address := serveTest(t, endpointConfig{webConfig: file})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client().Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("without certificate: %s", resp.Status)
		}
		if resp, _ := fetch(t, client(certificate.pair), "GET", "https://"+address+"/metrics", nil, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("with certificate: %s", resp.Status)
		}
	})
	t.Run("a wrong file", func(t *testing.T) {
		write("tls_server_conf: 1\n")
		_, err := listenEndpoint(endpointConfig{listen: "127.0.0.1:0", webConfig: file}, quiet)
		var usage usageError
		if !errors.As(err, &usage) {
			t.Error(err)
		}
	})
	t.Run("a key of root's", func(t *testing.T) {
		_, own, _, user := privilegestest.Dirs(t)
		certify(t, own)
		file, key := filepath.Join(own, "web.yml"), filepath.Join(own, "key.pem")
		if err := errors.Join(os.Chmod(filepath.Join(own, "cert.pem"), 0o644), os.WriteFile(file, []byte("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"run", "-i", "lo", "--listen=127.0.0.1:0", "--web-config-file=" + file}, console{out: &out, err: &errs})
		want := "keepscope: --web-config-file: failed to read key_file (" + key + "): open " + key + ": permission denied: " +
			"user nobody, whom keepscope becomes (--user names another), or its group must be allowed to read it, which happens again for every connection\n"
		if code != exitFailed || errs.String() != want {
			t.Errorf("exit status %d: %s", code, errs.String())
		}
		if err := errors.Join(os.Chown(key, 0, user.GID), os.Chmod(key, 0o640)); err != nil {
			t.Fatal(err)
		}
		if err := checkWebConfig(file, user); err != nil {
			t.Error(err)
		}
	})
	t.Run("what it reads", func(t *testing.T) {
		write("tls_server_config:\n  cert_file: sub/cert.pem\n  key_file: /etc/tls/key.pem\n")
		want := []string{dir, filepath.Join(dir, "sub"), "/etc/tls"}
		if got := webFiles(file); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

type keyPair struct {
	pem  []byte
	pair tls.Certificate
}

// certify writes a certificate for 127.0.0.1 that signs itself, and its key.
func certify(t *testing.T, dir string) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600), os.WriteFile(filepath.Join(dir, "key.pem"), private, 0o600)); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, private)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{cert, pair}
}

// busyWorker is a worker with many servers, whose capture is played by feed.
func busyWorker(tb testing.TB, servers int) (*exporter.Exporter, *analyzerrun.Worker, *tally.Worker) {
	tb.Helper()
	set := tally.New(tally.Config{MaxServers: servers})
	var w *analyzerrun.Worker
	r := set.Worker(func(f func()) { w.Do(f) })
	w = analyzerrun.NewWorker(reassembly.Config{}, analyzer.Config{}, r)
	for i := range servers {
		r.Exchange(exchangeTo(i, 0))
	}
	stages := func() exporter.Stages { return exporter.Stages{Reassembly: w.Assembler.Stats()} }
	return exporter.New(set, exporter.Config{Stages: stages}), w, r
}

func exchangeTo(server int, idle int64) *fact.Exchange {
	return &fact.Exchange{
		Client: sniffer.Endpoint{Port: 40000}, Server: sniffer.Endpoint{Port: 80}, ServerName: fmt.Sprintf("host-%d.example", server),
		Start: 1e18, End: 1e18 + 1, Outcome: fact.KeepAlive, Reuse: fact.ReusedRequest, Idle: idle,
	}
}

// TestScrapersDoNotHoldCapture has 20 scrapers at once, one that reads slowly
// and some that never read, while batches are worked off: none of these may
// wait for more than the copying of a few servers.
func TestScrapersDoNotHoldCapture(t *testing.T) {
	e, w, r := busyWorker(t, 200)
	address := serveTest(t, endpointConfig{metrics: e})
	for range 5 { // ask and never read: the answer is larger than what sockets hold
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	stop, worst := make(chan struct{}), time.Duration(0)
	var capture, scrapers sync.WaitGroup
	capture.Go(func() {
		x := exchangeTo(0, 1e9)
		for {
			select {
			case <-stop:
				return
			default:
			}
			begin := time.Now()
			w.Do(func() {
				for range 256 {
					r.Exchange(x)
				}
			})
			worst = max(worst, time.Since(begin))
		}
	})
	took := make([]time.Duration, 20)
	for i := range took {
		scrapers.Go(func() {
			for range 3 {
				begin := time.Now()
				// Compressed as scrapers ask for it, and left so: what a scraper does
				// with a page is not to be measured here.
				resp, body := fetch(t, http.DefaultClient, "GET", "http://"+address+"/metrics", http.Header{"Accept-Encoding": {"gzip"}}, nil)
				took[i] = max(took[i], time.Since(begin))
				if resp.StatusCode != http.StatusOK || len(body) < 20_000 {
					t.Errorf("%s, %d bytes", resp.Status, len(body))
				}
				if _, err := bufio.NewReader(slow).Peek(1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	scrapers.Wait()
	close(stop)
	capture.Wait()
	t.Logf("slowest of 60 scrapes of 200 servers, 20 at a time: %v; longest that a batch took meanwhile: %v", slices.Max(took), worst)
	if worst > time.Second { // of which the scheduler of a busy machine has the largest part
		t.Errorf("a batch took %v", worst)
	}
}

// TestPagesAreShared counts how often a page is made.
func TestPagesAreShared(t *testing.T) {
	var made atomic.Int32
	p := &pages{offer: metricsOffer, age: pageAge, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.RawQuery) > 0 || len(r.Header) != 2 {
			t.Errorf("what a client sends goes on: %v", r)
		}
		w.Header().Set("Content-Type", "a/b")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, made.Add(1))
	})}
	ask := func(accept string, more ...string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics?a="+strings.Join(more, "&"), nil)
		r.Header.Set("Accept", accept)
		for _, m := range more {
			r.Header.Set("X-More", m)
			r.Header.Set("Accept-Encoding", m)
		}
		p.ServeHTTP(w, r)
		return w
	}
	for range 50 {
		if w := ask("a"); w.Code != http.StatusTeapot || w.Header().Get("Content-Type") != "a/b" || w.Body.Len() == 0 {
			t.Fatal(w.Code, w.Header(), w.Body)
		}
	}
	if n := made.Load(); n > 5 { // it is renewed ten times a second
		t.Errorf("%d pages for 50 requests at once", n)
	}
	if a, b := ask("text/plain").Body.String(), ask("application/openmetrics-text;version=1.0.0").Body.String(); a == b {
		t.Error("another form is the same page")
	}
	before := made.Load()
	for i := range 1000 {
		ask(fmt.Sprint("form/", i), fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	if n := made.Load() - before; n > 100 || len(p.kept) > maxPages {
		t.Errorf("%d pages made for one form, %d kept", n, len(p.kept))
	}
}

// TestSiteIsBounded asks for pages that differ, in what makes a difference and in what
// does not.
func TestSiteIsBounded(t *testing.T) {
	var made atomic.Int32
	p := &pages{offer: siteOffer, age: time.Hour, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made.Add(1)
		fmt.Fprint(w, r.URL)
	})}
	ask := func(address string) string {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, address, nil)
		r.Header.Set("X-More", address)
		p.ServeHTTP(w, r)
		return w.Body.String()
	}
	for i := range 100 {
		if got := ask(fmt.Sprintf("/?window=5m&x=%d#%d", i, i)); got != "/?window=5m" {
			t.Fatal(got)
		}
	}
	if n := made.Load(); n != 1 {
		t.Errorf("%d pages for one address", n)
	}
	for i := range 1000 {
		path := fmt.Sprintf("/server/s%d?filter=f%d", i%10, i)
		if got := ask(path); got != path || len(p.kept) > maxPages {
			t.Fatalf("%s, %d kept", got, len(p.kept))
		}
	}
}

// A held is a client that reads nothing until it is cut off.
type held struct {
	http.ResponseWriter
	in, cut chan struct{}
}

func (h *held) Write([]byte) (int, error) {
	close(h.in)
	<-h.cut
	return 0, os.ErrDeadlineExceeded
}

func (h *held) SetWriteDeadline(time.Time) error {
	close(h.cut)
	return nil
}

// TestPagesAreFew has many clients that never read, each at another time: no more
// pages are held than there may be, and others still get a new one.
func TestPagesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pages{offer: metricsOffer, age: pageAge, handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, time.Now().UnixNano()) })}
		var clients []*held
		for range 10 * maxPages {
			h := &held{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
			clients = append(clients, h)
			go p.ServeHTTP(h, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			<-h.in
			if len(p.kept) > maxPages {
				t.Fatalf("%d pages are kept", len(p.kept))
			}
			time.Sleep(time.Second)
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		at, err := strconv.ParseInt(w.Body.String(), 10, 64)
		if age := time.Since(time.Unix(0, at)); err != nil || age > pageAgeMax {
			t.Errorf("a page of %v ago (%v)", age, err)
		}
		for _, h := range clients {
			select {
			case <-h.cut:
			default:
				close(h.cut)
			}
		}
	})
}

func TestTakesGzip(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "gzip": true, "identity": false, "deflate, gzip;q=1.0, *;q=0.5": true, "gzip;q=0": false,
		"gzip; q=0.0": false, "gzip;q=0.1": true, "xgzip": false, "br,gzip": true,
	} {
		if got := takesGzip(http.Header{"Accept-Encoding": {text}}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// secured writes a web configuration with TLS and a password, and returns it
// with a client that trusts it.
func secured(t *testing.T, dir string) (file string, client *http.Client) {
	t.Helper()
	certificate := certify(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "web.yml")
	text := "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prometheus: " + string(hash) + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate.pem)
	return file, &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
}

// TestEndpointHeld has one address hold more connections than there may be, idle,
// silent or in the middle of a request: health checks and scrapes of others, and
// where it can be told apart of the same address, are answered.
func TestEndpointHeld(t *testing.T) {
	file, secure := secured(t, t.TempDir())
	plain := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	other := func(c *http.Client) *http.Client {
		transport := c.Transport.(*http.Transport).Clone()
		transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext
		return &http.Client{Timeout: c.Timeout, Transport: transport}
	}
	const asked = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name, webConfig, says string
		reads, same           bool
	}{
		{"idle", "", asked, true, true},
		{"silent", "", "", false, true},
		{"half a request", "", "GET /metrics HTT", false, false},
		{"a page unread", "", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", false, false},
		{"idle after one 401", file, asked, true, true},
		{"no TLS handshake", file, "", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := startEndpoint(t, endpointConfig{webConfig: tt.webConfig, health: "127.0.0.1:0"})
			ports := e.ports()
			for range 2 * maxClients {
				hold(t, ports[0], tt.webConfig != "", tt.says, tt.reads)
				hold(t, ports[1], false, strings.Replace(tt.says, "/metrics", "/healthz", 1), tt.reads)
			}
			client, base := plain, fmt.Sprintf("http://127.0.0.1:%d", ports[0])
			if tt.webConfig != "" {
				client, base = secure, fmt.Sprintf("https://prometheus:secret@127.0.0.1:%d", ports[0])
			}
			health := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
			all := []struct {
				client *http.Client
				url    string
			}{{other(client), base + "/healthz"}, {other(client), base + "/metrics"}, {other(plain), health + "/healthz"}, {other(plain), health + "/readyz"}}
			if tt.same {
				all = append(all, all...)
				for i := range 4 {
					all[i].client = client
				}
				all[2].client, all[3].client = plain, plain
			}
			for _, one := range all {
				if resp, _ := fetch(t, one.client, "GET", one.url, nil, nil); resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", one.url, resp.Status)
				}
			}
			if e.clients.displaced.Load()+e.clients.refused.Load() == 0 {
				t.Error("no connection is counted as closed or refused")
			}
		})
	}
}

// hold opens a connection, says something and keeps it to the end of the test.
func hold(t *testing.T, port uint16, secure bool, says string, reads bool) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if secure && says != "" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	_, _ = io.WriteString(conn, says) // it may have been refused
	if reads {
		_, _ = bufio.NewReader(conn).ReadString('\n')
	}
}

// TestHealthServesNothingElse asks the listener for probes for figures.
func TestHealthServesNothingElse(t *testing.T) {
	file, _ := secured(t, t.TempDir())
	e := startEndpoint(t, endpointConfig{webConfig: file, health: "127.0.0.1:0", pprof: true})
	base := fmt.Sprint("http://127.0.0.1:", e.ports()[1])
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 404, "/": 404, "/debug/pprof/": 404} {
		if resp, _ := fetch(t, http.DefaultClient, "GET", base+path, nil, nil); resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// TestCertificateBreaks has the files of an endpoint break and heal: it serves on
// and says so once, and a new certificate is used.
func TestCertificateBreaks(t *testing.T) {
	dir := t.TempDir()
	file, _ := secured(t, dir)
	key := filepath.Join(dir, "key.pem")
	var said lockedBuffer
	web, err := newWebConfig(file, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := web.settings().tls.Certificates[0].Certificate[0]
	now := func() []byte {
		web.checked = time.Time{}
		return web.settings().tls.Certificates[0].Certificate[0]
	}
	for name, breaks := range map[string]func() error{
		"empty key":   func() error { return os.WriteFile(key, nil, 0o600) },
		"no key":      func() error { return os.Remove(key) },
		"broken file": func() error { return os.WriteFile(file, []byte("tls_server_conf: 1\n"), 0o600) },
		"TLS off":     func() error { return os.WriteFile(file, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			said.Reset()
			if err := breaks(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if !bytes.Equal(now(), first) {
					t.Fatal("another certificate is served")
				}
			}
			if web.sound() || strings.Count(said.String(), "level=WARN") != 1 || !strings.Contains(said.String(), "the one before serves on") {
				t.Errorf("sound: %v; it said %q", web.sound(), said.String())
			}
			secured(t, dir)
			if bytes.Equal(now(), first) || !web.sound() || !strings.Contains(said.String(), "right again") {
				t.Errorf("the renewed certificate is not served: %q", said.String())
			}
			first = now()
		})
	}
}

// TestGuardRemembersFew tries many passwords.
func TestGuardRemembersFew(t *testing.T) {
	file, _ := secured(t, t.TempDir())
	web, err := newWebConfig(file, quiet)
	if err != nil {
		t.Fatal(err)
	}
	guard := web.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask := func(user, password string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.SetBasicAuth(user, password)
		guard.ServeHTTP(w, r)
		return w.Code
	}
	for i := range 20 {
		if code := ask("prometheus", fmt.Sprint(i)); code != http.StatusUnauthorized {
			t.Errorf("password %d: %d", i, code)
		}
	}
	for _, user := range []string{"nobody", ""} {
		if code := ask(user, "secret"); code != http.StatusUnauthorized {
			t.Errorf("user %q: %d", user, code)
		}
	}
	for range 3 {
		if code := ask("prometheus", "secret"); code != http.StatusOK {
			t.Errorf("the right password: %d", code)
		}
	}
	n := 0
	web.known.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d passwords are remembered", n)
	}
}

// TestScrapeWithManyConnections measures a scrape with 100 000 connections
// open.
func TestScrapeWithManyConnections(t *testing.T) {
	e, w, _ := busyWorker(t, 10)
	const n = 100_000
	w.Do(func() {
		for i := range n {
			client := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).As16()
			w.Assembler.Process(&sniffer.Segment{
				Time: 1e18 + int64(i), Seq: 1, Flags: sniffer.SYN,
				Src: sniffer.Endpoint{Addr: client, Port: 40000}, Dst: sniffer.Endpoint{Addr: sniffer.Addr(netip.MustParseAddr("192.0.2.1").As16()), Port: 80},
			})
		}
	})
	begin := time.Now()
	families, err := e.Gather()
	took := time.Since(begin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("scrape with %d connections open: %v", n, took)
	if took > time.Second {
		t.Errorf("it took %v", took)
	}
	for _, f := range families {
		if f.GetName() == exporter.TrackedConnections && f.Metric[0].Gauge.GetValue() != n {
			t.Errorf("%v connections tracked", f.Metric[0].Gauge.GetValue())
		}
	}
}
