package tls

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	gotls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOpenSSL reads connections of openssl's s_client and s_server, for what crypto/tls
// lacks. The server answers each line with the line reversed.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	if testing.Short() {
		t.Skip("starts servers: not with -short")
	}
	const (
		update  = "K" // KeyUpdate, and ask for one
		renew   = "R" // renegotiate
		resumed = "resumed"
	)
	args := strings.Fields
	tests := []struct {
		name           string
		server, client []string
		between        string // s_client's command, or a second connection
	}{
		{"1.3 ccm", nil, args("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256"), ""},
		{"1.3 ccm-8", nil, args("-tls1_3 -ciphersuites TLS_AES_128_CCM_8_SHA256"), ""},
		{"1.3 key update", nil, args("-tls1_3"), update},
		{"1.3 key update, chacha20", nil, args("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256"), update},
		{"1.3 hello retry", args("-groups P-384"), args("-tls1_3 -groups X25519:P-384"), ""},
		{"1.3 padded", args("-record_padding 300"), args("-tls1_3 -record_padding 512"), ""},
		{"1.3 psk", args("-psk 0123456789abcdef"), args("-tls1_3 -psk 0123456789abcdef"), ""},
		{"1.3 resumed", nil, args("-tls1_3"), resumed},
		{"1.2 ccm", nil, args("-tls1_2 -cipher ECDHE-ECDSA-AES128-CCM"), ""},
		{"1.2 ccm-8, 256", nil, args("-tls1_2 -cipher ECDHE-ECDSA-AES256-CCM8"), ""},
		{"1.2 encrypt then mac", nil, args("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256"), ""},
		{"1.2 encrypt then mac, sha-384", nil, args("-tls1_2 -cipher ECDHE-RSA-AES256-SHA384"), ""},
		{"1.2 encrypt then mac, sha-1", nil, args("-tls1_2 -cipher AES256-SHA"), ""},
		{"1.1 encrypt then mac", args("-cipher ALL:@SECLEVEL=0"), args("-tls1_1 -cipher AES128-SHA:@SECLEVEL=0"), ""},
		{"1.0 encrypt then mac", args("-cipher ALL:@SECLEVEL=0"), args("-tls1 -cipher ECDHE-RSA-AES256-SHA:@SECLEVEL=0"), ""},
		{"1.2 dhe", nil, args("-tls1_2 -cipher DHE-RSA-CHACHA20-POLY1305"), ""},
		{"1.2 psk", args("-psk 0123456789abcdef"), args("-tls1_2 -psk 0123456789abcdef -cipher PSK-AES128-CBC-SHA256"), ""},
		{"1.2 psk gcm", args("-psk 0123456789abcdef"), args("-tls1_2 -psk 0123456789abcdef -cipher DHE-PSK-AES256-GCM-SHA384"), ""},
		{"1.2 renegotiation", args("-client_renegotiation"), args("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256"), renew},
		{"1.2 renegotiation, cbc", args("-client_renegotiation"), args("-tls1_2 -cipher ECDHE-RSA-AES128-SHA"), renew},
		{"1.2 resumed", nil, args("-tls1_2"), resumed},
		{"1.2 resumed by id", args("-no_ticket"), args("-tls1_2"), resumed},
	}
	dir := t.TempDir()
	writePEM(t, filepath.Join(dir, "ec.pem"), certificate(t))
	writePEM(t, filepath.Join(dir, "rsa.pem"), rsaCertificate(t))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines := []string{"first line", "and the second, which is a little longer", "last"}
			o := &openssl{dir: dir, keys: filepath.Join(t.TempDir(), "keys")}
			stop := o.serve(t, tt.server)
			defer stop()
			talks := 1
			client := tt.client
			if tt.between == resumed {
				talks = 2
				session := filepath.Join(t.TempDir(), "session")
				client = append(slices.Clone(client), "-sess_out", session)
				defer func() { _ = os.Remove(session) }()
			}
			var all [][]chunk
			for k := range talks {
				if k == 1 {
					client[len(client)-2] = "-sess_in"
				}
				all = append(all, o.talk(t, client, lines, tt.between))
			}
			keys, err := os.ReadFile(o.keys)
			if err != nil {
				t.Fatal(err)
			}
			if tt.between == resumed && slices.Contains(tt.client, "-tls1_2") {
				// As if the program logged no line for a session that it resumes.
				if n := bytes.Count(keys, []byte("CLIENT_RANDOM")); n != 2 {
					t.Fatalf("%d lines in the key log", n)
				}
				keys = keys[:bytes.LastIndex(keys, []byte("CLIENT_RANDOM"))]
			}
			shared := NewDecryption(storeOf(t, keys), 0)
			for k, chunks := range all {
				for _, size := range []int{0, 7} {
					p := decrypt(t, shared, chunks, size)
					var want, answer string
					for _, l := range lines {
						want += l + "\n"
						answer += reversed(l) + "\n"
					}
					for dir, want := range map[Dir]string{Client: want, Server: answer} {
						if diff := diffText([]byte(want), p.text[dir]); diff != "" || p.gaps[dir] > 0 {
							t.Errorf("connection %d, pieces of %d, %v: %s\n%v", k, size, dir, diff, p.events)
						}
					}
				}
			}
			if recalls := tt.between == resumed && slices.Contains(tt.client, "-tls1_2"); shared.Stats.Failed+shared.Stats.Lost > 0 || (shared.Stats.Recalled > 0) != recalls {
				t.Errorf("%+v", shared.Stats)
			}
		})
	}
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

func writePEM(t *testing.T, path string, cert gotls.Certificate) {
	t.Helper()
	var key []byte
	var err error
	switch k := cert.PrivateKey.(type) {
	case *ecdsa.PrivateKey:
		key, err = x509.MarshalPKCS8PrivateKey(k)
	case *rsa.PrivateKey:
		key, err = x509.MarshalPKCS8PrivateKey(k)
	}
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// An openssl is a server of openssl, and where its clients write keys.
type openssl struct{ dir, keys, address string }

var accepts = regexp.MustCompile(`ACCEPT .*:(\d+)`)

func (o *openssl) serve(t *testing.T, more []string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	args := append([]string{"s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", "ec.pem", "-key", "ec.pem",
		"-dcert", "rsa.pem", "-dkey", "rsa.pem", "-cipher", "ALL:@SECLEVEL=0"}, more...)
	if !slices.Contains(more, "-ciphersuites") {
		args = append(args, "-ciphersuites", "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256")
	}
	cmd := exec.CommandContext(ctx, "openssl", args...)
	cmd.Dir = o.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		cancel()
		_ = cmd.Wait()
	}
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if m := accepts.FindStringSubmatch(scan.Text()); m != nil {
			o.address = "127.0.0.1:" + m[1]
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return stop
		}
	}
	stop()
	t.Fatalf("the server does not start: %s", said.String())
	return nil
}

// talk makes a connection through a tap, with all lines but the first after what
// is between.
func (o *openssl) talk(t *testing.T, more, lines []string, between string) []chunk {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var w wire
	tapped := make(chan struct{})
	go func() {
		defer close(tapped)
		defer l.Close()
		a, err := l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", o.address)
		if err != nil {
			a.Close()
			return
		}
		var both sync.WaitGroup
		pass := func(dir Dir, from, to net.Conn) {
			_, _ = io.Copy(tap{to, dir, &w}, from)
			_ = to.(*net.TCPConn).CloseWrite()
		}
		both.Go(func() { pass(Client, a, b) })
		both.Go(func() { pass(Server, b, a) })
		both.Wait()
		a.Close()
		b.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", l.Addr().String(), "-keylogfile", o.keys}, more...)...)
	cmd.Dir = o.dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	obeyed := make(chan bool, 100)
	go func() {
		defer close(obeyed)
		for scan := bufio.NewScanner(said); scan.Scan(); {
			if scan.Text() == "KEYUPDATE" || scan.Text() == "RENEGOTIATING" {
				obeyed <- true
			}
		}
	}()
	scan := bufio.NewScanner(out)
	for i, line := range lines {
		if i > 0 && len(between) == 1 {
			_, _ = io.WriteString(in, between+"\n")
			<-obeyed // a command has to stand alone in what s_client reads
		}
		_, _ = io.WriteString(in, line+"\n")
		for scan.Scan() && scan.Text() != reversed(line) {
		}
	}
	in.Close()
	_, _ = io.Copy(io.Discard, out)
	for range obeyed {
		t.Error("a command was obeyed that was not given")
	}
	_ = cmd.Wait()
	<-tapped
	if len(w.chunks) == 0 {
		t.Fatal("nothing was sent")
	}
	return w.chunks
}
