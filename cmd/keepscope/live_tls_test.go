package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// The mark is in every path, header and body of TestLiveTLS.
const mark = "7b3f-marked-secret-9c1e"

const (
	tlsNginx = tlsServer + `ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0; keepalive_requests 10000000;
		add_header X-Secret ` + mark + ` always;`
	haproxyKeys = `http-request return status 200 content-type text/plain string ` + mark + `
	log-format "CLIENT_HANDSHAKE_TRAFFIC_SECRET %[ssl_fc_client_random,hex] %[ssl_fc_client_handshake_traffic_secret]\nSERVER_HANDSHAKE_TRAFFIC_SECRET %[ssl_fc_client_random,hex] %[ssl_fc_server_handshake_traffic_secret]\nCLIENT_TRAFFIC_SECRET_0 %[ssl_fc_client_random,hex] %[ssl_fc_client_traffic_secret_0]\nSERVER_TRAFFIC_SECRET_0 %[ssl_fc_client_random,hex] %[ssl_fc_server_traffic_secret_0]\nCLIENT_RANDOM %[ssl_fc_client_random,hex] %[ssl_fc_session_key,hex]\n%ci:%cp>%fp"`
)

// tlsTests are servers and clients whose keys one of them logs.
var tlsTests = slices.Concat([]causeTest{
	{name: "nginx, curl, HTTP/2", nginx: tlsNginx, listen: "ssl http2", client: repeat(2, tlsCurls(3)), want: inTurn(6, 2, "client_discard"), check: decrypted("h2")},
	{name: "nginx, Python", needs: "python3", nginx: tlsNginx, listen: "ssl", client: pythons(2, 3), want: inTurn(6, 3, "client_discard"), check: decrypted("http/1.1")},
	{name: "nginx, h2load", needs: "h2load", nginx: tlsNginx, listen: "ssl", client: tlsH2load("--h1"), want: causesSeen{
		anyNumber, map[string]int{"client_discard": h2loadConnections}, h2loadConnections, 0, nil,
	}, check: decrypted("http/1.1")},
	{name: "nginx, h2load, HTTP/2", needs: "h2load", nginx: tlsNginx, listen: "ssl http2", client: tlsH2load("-m10"), want: causesSeen{
		anyNumber, map[string]int{"client_goaway": h2loadConnections}, h2loadConnections, 0, nil,
	}, check: decrypted("h2")},
	{
		name: "nginx, keepalive_requests", nginx: strings.Replace(tlsNginx, "10000000", "4", 1), listen: "ssl", client: tlsCurls(10),
		want: causesSeen{10, map[string]int{"server_limit": 2, "client_discard": 1}, 1, 0, map[string]int{"server_limit": 2}}, check: decrypted("http/1.1"),
	},
	{
		name: "HAProxy, its own keys, TLS 1.3", haproxy: haproxyKeys, bind: "ssl crt DIR/both.pem", client: repeat(2, curlsInsideTLS(2)),
		want: inTurn(4, 2, "client_discard"), check: decrypted("http/1.1"),
	},
	{
		name: "HAProxy, its own keys, TLS 1.2", haproxy: haproxyKeys, bind: "ssl crt DIR/both.pem ssl-max-ver TLSv1.2", client: repeat(2, curlsInsideTLS(2)),
		want: inTurn(4, 2, "client_discard"), check: decrypted("http/1.1"),
	},
	{name: "Node, its own keys", serve: nodeTLS, client: repeat(2, curlsInsideTLS(3)), want: inTurn(6, 2, "client_discard"), check: decrypted("h2")},
	{
		name: "Node, its own keys, HTTP/1.1", serve: nodeTLS, client: repeat(2, curlsInsideTLS(3, "--http1.1")),
		want: inTurn(6, 2, "client_discard"), check: decrypted("http/1.1"),
	},
	{name: "Go, its own keys", handler: marked, tls: goTLS(appendTo), client: repeat(2, curlsInsideTLS(3)), want: inTurn(6, 2, "client_discard"), check: decrypted("h2")},
	{
		name: "Go, keys that come a second late", handler: marked, tls: goTLS(late), client: repeat(2, tlsPauses(3)),
		want: inTurn(6, 2, "client_discard"), check: decrypted("http/1.1"),
	},
	{
		name: "Go, a key log that rotates", handler: marked, tls: goTLS(rotating), client: repeat(3, curlsInsideTLS(2)),
		want: inTurn(6, 3, "client_discard"), check: decrypted("h2"),
	},
	{
		name: "openssl s_server", serve: sServer, client: repeat(3, openSSLCurl), want: inTurn(3, 3, "http10_declined"), check: decrypted("http/1.1"),
	},
	{
		name: "Go, Java", needs: "javac", handler: marked, tls: goTLS(appendTo), client: java, want: inTurn(4, 1, "client_discard"), check: decrypted("h2"),
	},
}, suites())

// suites are what nginx and curl can agree on here.
func suites() (tests []causeTest) {
	suite := func(name string, args ...string) {
		tests = append(tests, causeTest{
			name: "nginx, curl, " + name, nginx: tlsNginx, listen: "ssl", client: repeat(2, tlsCurls(2, args...)),
			want: inTurn(4, 2, "client_discard"), check: decrypted("http/1.1"),
		})
	}
	for _, name := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		suite(name, "--tls13-ciphers", name)
	}
	for _, name := range []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
		"ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384",
	} {
		suite(name, "--tls-max", "1.2", "--ciphers", name+":@SECLEVEL=0")
	}
	return tests
}

// TestLiveTLS is TestLiveCauses inside TLS, with the keys: the requests of each
// connection are what the servers logged, and no secret is in what is told.
func TestLiveTLS(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "haproxy", "node", "curl", "openssl", "ss", "sh", "sysctl")
	certify(t, l.Dir)
	var both []byte
	for _, name := range []string{"cert.pem", "key.pem"} {
		text, err := os.ReadFile(filepath.Join(l.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, text...)
	}
	if _, err := l.File("both.pem", both); err != nil {
		t.Fatal(err)
	}
	keys := []string{"--keylog=" + keyDir(l), "--keylog=" + haproxyLog(l)}
	file := filepath.Join(l.Dir, "kept.pcap")
	found := runCauses(t, l, tlsTests, append(keys, "--user=root", "--write="+file)...)
	t.Run("loss", func(t *testing.T) { found.checkLoss(t, file, keys) })
	t.Run("secrets", func(t *testing.T) { checkSecrets(t, l, found, file, keys) })
}

// checkSecrets looks for what was marked, and for the secrets of the key logs, in all
// that is told of the connections.
func checkSecrets(t *testing.T, l *lab.Lab, found *causesFound, file string, keys []string) {
	t.Helper()
	told := map[string]string{"watch": found.told}
	metrics := filepath.Join(l.Dir, "metrics.prom")
	for _, output := range []string{"ndjson", "json", "text"} {
		var out bytes.Buffer
		args := append([]string{"read", "--output=" + output, "--metrics-file=" + metrics, file}, keys...)
		if status := run(t.Context(), args, console{out: &out, err: &out}); status != exitDone {
			t.Fatalf("read: status %d: %s", status, &out)
		}
		told[output] = out.String()
	}
	text, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	told["metrics"] = string(text)
	secrets := append(loggedSecrets(t, l), []byte(mark))
	for name, text := range told {
		if len(text) == 0 {
			t.Errorf("%s says nothing", name)
		}
		for _, secret := range secrets {
			if at := strings.Index(strings.ToLower(text), string(secret)); at >= 0 {
				t.Errorf("%s tells a secret: %.100q", name, text[max(0, at-60):])
			}
		}
	}
}

// loggedSecrets are the secrets of all key logs, in hex and as they are.
func loggedSecrets(t *testing.T, l *lab.Lab) (secrets [][]byte) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(keyDir(l), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, haproxyLog(l)) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(text)) {
			if raw, err := hex.DecodeString(word); err == nil && len(raw) >= 48 || len(raw) == 32 {
				secrets = append(secrets, bytes.ToLower([]byte(word)), bytes.ToLower(raw))
			}
		}
	}
	if len(secrets) < 100 {
		t.Errorf("%d secrets in the key logs", len(secrets))
	}
	return secrets
}

// keyDir is the folder of key logs.
func keyDir(l *lab.Lab) string { return filepath.Join(l.Dir, "keys") }

// keyLog is the key log of a site.
func (s *causeSite) keyLog() string {
	return filepath.Join(keyDir(s.l), strconv.Itoa(int(s.addr.Port())))
}

func (s *causeSite) secureURL() string { return "https://" + s.addr.String() + "/" + mark }

// curlsInsideTLS has one curl ask n times.
func curlsInsideTLS(n int, args ...string) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		return s.l.Client.Run(ctx, "curl", s.curlArgs(n, args)...)
	}
}

func (s *causeSite) curlArgs(n int, args []string) []string {
	args = append([]string{"-sSk", "-H", "Cookie: " + mark, "-A", mark}, args...)
	for range n {
		args = append(args, "-o", "/dev/null", s.secureURL())
	}
	return args
}

// tlsCurls has one curl ask n times, and log its keys.
func tlsCurls(n int, args ...string) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		return s.runLogged(ctx, "curl", s.curlArgs(n, args)...)
	}
}

// runLogged runs a program that logs its keys where SSLKEYLOGFILE says.
func (s *causeSite) runLogged(ctx context.Context, name string, args ...string) error {
	cmd := s.l.Client.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), "SSLKEYLOGFILE="+s.keyLog())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if name == "h2load" && !strings.Contains(string(out), fmt.Sprintf("%d succeeded", h2loadRequests())) {
		return fmt.Errorf("not all succeeded: %s", out)
	}
	return nil
}

func tlsH2load(mode string) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		return s.runLogged(ctx, "h2load", "-n", strconv.Itoa(h2loadRequests()), "-c", strconv.Itoa(h2loadConnections), mode, s.secureURL())
	}
}

// decrypted holds that each connection was read, and in which protocol.
func decrypted(protocol string) func(*testing.T, *causeSite, *causesFound) {
	return func(t *testing.T, s *causeSite, found *causesFound) {
		t.Helper()
		for _, l := range found.lines[s.addr.Port()] {
			if !l.Decrypted || l.Estimated || l.Incomplete || l.Protocol != protocol {
				t.Errorf("%s: decrypted %v, estimated %v, incomplete %v, protocol %s", l.client(), l.Decrypted, l.Estimated, l.Incomplete, l.Protocol)
			}
		}
	}
}

func marked(_ *causeSite, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Set-Cookie", mark)
	_, _ = io.WriteString(w, mark) // the client misses it if it fails
}

// nodeTLSServer notes each request before it answers.
const nodeTLSServer = `
const http2 = require("http2"), fs = require("fs");
const [address, port, log, dir, mark] = process.argv.slice(2);
const files = { cert: fs.readFileSync(dir + "/cert.pem"), key: fs.readFileSync(dir + "/key.pem"), allowHTTP1: true };
http2.createSecureServer(files, (q, r) => {
	const s = q.stream?.session?.socket ?? q.socket;
	fs.appendFileSync(log, s.remoteAddress + ":" + s.remotePort + ">" + port + "\n");
	r.setHeader("X-Secret", mark);
	r.end(mark);
}).listen(+port, address);
`

func nodeTLS(t *testing.T, s *causeSite) {
	t.Helper()
	script, err := s.l.File("tls.js", []byte(nodeTLSServer))
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(int(s.addr.Port()))
	s.log = filepath.Join(s.l.Dir, "node-tls-"+port)
	start(t, s.l, int(s.addr.Port()), "node", "--tls-keylog="+s.keyLog(), script, s.addr.Addr().String(), port, s.log, s.l.Dir, mark)
}

// goTLS is a server's configuration that logs its keys to what open returns.
func goTLS(open func(*testing.T, string) io.Writer) func(*testing.T, *causeSite) *tls.Config {
	return func(t *testing.T, s *causeSite) *tls.Config {
		t.Helper()
		cert, err := tls.LoadX509KeyPair(filepath.Join(s.l.Dir, "cert.pem"), filepath.Join(s.l.Dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{cert}, KeyLogWriter: open(t, s.keyLog()), NextProtos: []string{"h2", "http/1.1"}}
	}
}

func appendTo(t *testing.T, path string) io.Writer {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// late writes each line a second after it was told to.
func late(t *testing.T, path string) io.Writer {
	f := appendTo(t, path)
	return writerFunc(func(line []byte) (int, error) {
		line = bytes.Clone(line)
		time.AfterFunc(time.Second, func() { _, _ = f.Write(line) }) // a line that misses is a connection that is not read
		return len(line), nil
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// rotating begins a new file after each connection's lines, of which there are five.
func rotating(_ *testing.T, path string) io.Writer {
	var mu sync.Mutex
	lines := 0
	return writerFunc(func(line []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if lines++; lines%5 == 1 && lines > 1 {
			if err := os.Rename(path, path+".1"); err != nil {
				return 0, err
			}
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		n, err := f.Write(line)
		return n, errors.Join(err, f.Close())
	})
}

// tlsPauses asks n times on a connection, and pauses between.
func tlsPauses(n int) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		t := s.transport()
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		for i := range n {
			if i > 0 {
				pause(ctx, 700*time.Millisecond)
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.secureURL(), nil)
			if err != nil {
				return err
			}
			resp, err := t.RoundTrip(req)
			if err != nil {
				return err
			}
			if err := errors.Join(drain(resp), resp.Body.Close()); err != nil {
				return err
			}
		}
		t.CloseIdleConnections()
		return await(ctx, s.closed, 1)
	}
}

// sServer logs no requests: its client tells.
func sServer(t *testing.T, s *causeSite) {
	t.Helper()
	start(t, s.l, int(s.addr.Port()), "openssl", "s_server", "-quiet", "-www", "-accept", s.addr.String(),
		"-cert", filepath.Join(s.l.Dir, "cert.pem"), "-key", filepath.Join(s.l.Dir, "key.pem"), "-keylogfile", s.keyLog())
}

func openSSLCurl(ctx context.Context, s *causeSite) error {
	said, err := s.l.Client.Command(ctx, "curl", s.curlArgs(1, []string{"-w", "%{local_ip}:%{local_port}"})...).Output()
	if err == nil {
		s.note(string(said), s.addr.Port())
	}
	return err
}

// javaClient asks four times on a connection, and trusts anybody.
const javaClient = `
import java.net.URI;
import java.net.http.*;
import java.security.cert.X509Certificate;
import javax.net.ssl.*;
class Ask {
	public static void main(String[] args) throws Exception {
		System.setProperty("jdk.internal.httpclient.disableHostnameVerification", "true");
		SSLContext context = SSLContext.getInstance("TLS");
		context.init(null, new TrustManager[] { new X509ExtendedTrustManager() {
			public void checkClientTrusted(X509Certificate[] c, String a) {}
			public void checkServerTrusted(X509Certificate[] c, String a) {}
			public void checkClientTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
			public void checkServerTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
			public void checkClientTrusted(X509Certificate[] c, String a, SSLEngine e) {}
			public void checkServerTrusted(X509Certificate[] c, String a, SSLEngine e) {}
			public X509Certificate[] getAcceptedIssuers() { return null; }
		} }, null);
		HttpClient client = HttpClient.newBuilder().sslContext(context).build();
		for (int i = 0; i < 4; i++)
			client.send(HttpRequest.newBuilder(URI.create(args[0])).build(), HttpResponse.BodyHandlers.ofString());
		System.exit(0);
	}
}
`

func java(ctx context.Context, s *causeSite) error {
	file, err := s.l.File("Ask.java", []byte(javaClient))
	if err != nil {
		return err
	}
	return s.l.Client.Run(ctx, "java", file, s.secureURL())
}
