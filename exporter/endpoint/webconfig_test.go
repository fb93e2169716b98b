package endpoint

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/sniffer/privileges/privilegestest"

	"golang.org/x/crypto/bcrypt"
)

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
		address := serveTest(t, Config{Web: configured(t, file)})
		if resp, _ := fetch(t, client(), "GET", "https://"+address+"/metrics", nil, nil); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("without password: %s", resp.Status)
		}
		if resp, body := fetch(t, client(), "GET", "https://prometheus:secret@"+address+"/metrics", nil, nil); resp.StatusCode != http.StatusOK || !strings.Contains(body, "keepscope_") {
			t.Errorf("with password: %s", resp.Status)
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		write(server + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: cert.pem\n")
		address := serveTest(t, Config{Web: configured(t, file)})
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
		_, err := OpenWebConfig(file, nil, quiet)
		if _, forbidden := errors.AsType[ForbiddenError](err); err == nil || forbidden {
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
		err := CheckWebConfig(file, user)
		want := "failed to read key_file (" + key + "): open " + key + ": permission denied: " +
			"user nobody, whom keepscope becomes (--user names another), or its group must be allowed to read it, which happens again for every connection"
		if _, forbidden := errors.AsType[ForbiddenError](err); !forbidden || err.Error() != want {
			t.Error(err)
		}
		if err := errors.Join(os.Chown(key, 0, user.GID), os.Chmod(key, 0o640)); err != nil {
			t.Fatal(err)
		}
		if err := CheckWebConfig(file, user); err != nil {
			t.Error(err)
		}
	})
	t.Run("what it reads", func(t *testing.T) {
		write("tls_server_config:\n  cert_file: sub/cert.pem\n  key_file: /etc/tls/key.pem\n")
		want := []string{dir, filepath.Join(dir, "sub"), "/etc/tls"}
		if got := WebConfigFiles(file); !slices.Equal(got, want) {
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

// TestCertificateBreaks has the files of an endpoint break and heal: it serves on
// and says so once, and a new certificate is used.
func TestCertificateBreaks(t *testing.T) {
	dir := t.TempDir()
	file, _ := secured(t, dir)
	key := filepath.Join(dir, "key.pem")
	var said bytes.Buffer
	web, err := OpenWebConfig(file, nil, slog.New(slog.NewTextHandler(&said, nil)))
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
	web := configured(t, file)
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
