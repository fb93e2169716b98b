package main

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"golang.org/x/sys/unix"
)

// secretMarks are in all of a request and its response that may be secret, each so long
// that nothing has it by chance.
var secretMarks = map[string]string{
	"path": "mark-of-path-4e1d0a", "query": "mark-of-query-77b2c9", "agent": "mark-of-agent-0d93fa",
	"request header": "mark-of-request-header-a81e02", "cookie": "mark-of-cookie-5cc0d7", "request body": "mark-of-request-body-e3964b",
	"response header": "mark-of-response-header-19fd58", "set-cookie": "mark-of-set-cookie-b60c7e", "response body": "mark-of-response-body-8f2a41",
	"trailer": "mark-of-trailer-2b77d0",
}

// shownName is a server's name, which may be shown.
const shownName = "name-that-is-shown.example"

// keptSecrets serves and asks over TLS whatever is marked, and logs the keys. It returns
// the port and what asks.
func keptSecrets(t *testing.T, keys string) (port string, ask func()) {
	t.Helper()
	marks := secretMarks
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the client misses the response if it fails
		w.Header().Set("X-Mark", marks["response header"])
		w.Header().Set("X-Long", strings.Repeat(marks["response header"], 200))
		w.Header().Set("Trailer", "X-Trailer")
		http.SetCookie(w, &http.Cookie{Name: "session", Value: marks["set-cookie"]})
		_, _ = io.WriteString(w, strings.Repeat(marks["response body"], 100))
		w.Header().Set("X-Trailer", marks["trailer"])
	}))
	log, err := os.OpenFile(keys, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{SessionTicketsDisabled: true} // a session that can be resumed is remembered for 2 h
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err = net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, func() {
		t.Helper()
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, protocol := range []string{"http/1.1", "h2"} {
				transport := &http.Transport{
					TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MaxVersion: version, KeyLogWriter: log, ServerName: shownName},
					ForceAttemptHTTP2: protocol == "h2",
				}
				for i := range 3 {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/"+marks["path"]+"?q="+marks["query"],
						strings.NewReader(strings.Repeat(marks["request body"], 1+100*i)))
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("User-Agent", marks["agent"])
					r.Header.Set("X-Mark", marks["request header"])
					r.Header.Set("X-Long", strings.Repeat(marks["request header"], 200)) // in several records
					r.Header.Set("Cookie", "session="+marks["cookie"])
					resp, err := transport.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					if resp.TLS.NegotiatedProtocol == "h2" != (protocol == "h2") {
						t.Fatalf("it is %q", resp.TLS.NegotiatedProtocol)
					}
					if err := errors.Join(drain(resp), resp.Body.Close()); err != nil {
						t.Fatal(err)
					}
				}
				transport.CloseIdleConnections()
			}
		}
	}
}

// secretsOf are the marks, and the secrets of a key log in hexadecimal and as they are, by
// what they are.
func secretsOf(t *testing.T, keys string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, mark := range secretMarks {
		all[name] = []byte(mark)
	}
	text, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fields := strings.Fields(line)
		raw, err := hex.DecodeString(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d, %s", i, fields[0])
		all[name], all[name+", raw"] = []byte(fields[2]), raw
	}
	return all
}

// found says which secrets are in something.
func found(secrets map[string][]byte, where string, b []byte) (errs error) {
	for name, secret := range secrets {
		if at := bytes.Index(b, secret); at >= 0 {
			errs = errors.Join(errs, fmt.Errorf("%s: %s, at %d of %d: %.100q", where, name, at, len(b), b[max(at-30, 0):]))
		}
	}
	return errs
}

// foundInMemory says which secrets are in what a process can write to. A server's name,
// which may be shown, is there.
func foundInMemory(t *testing.T, secrets map[string][]byte, pid int) (errs error) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	named := false
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(rights, "rw") {
			continue
		}
		b := make([]byte, to-from)
		n, _ := mem.ReadAt(b, int64(from)) // what the kernel maps for itself cannot be read
		named = named || bytes.Contains(b[:n], []byte(shownName))
		errs = errors.Join(errs, found(secrets, "memory "+strings.TrimSpace(line), b[:n]))
	}
	if !named {
		errs = errors.Join(errs, errors.New("the server's name is not in memory"))
	}
	return errs
}

// dumpsCore has a program that reads a capture crash where it may dump a core, and says
// whether it did.
func dumpsCore(t *testing.T, capture []byte, args ...string) bool {
	t.Helper()
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	p := startProgram(t, func(cmd *exec.Cmd) {
		cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), "GOTRACEBACK=crash"), r
	}, args...)
	if _, err := w.Write(capture); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error { return emptied(w) })
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGQUIT)
	p.status(t)
	cores, err := filepath.Glob(filepath.Join(dir, "core*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(cores) > 0
}

// valuesOf returns all values of a Parquet file, which is compressed.
func valuesOf(t *testing.T, b []byte) (values []byte) {
	t.Helper()
	file, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		buf := make([]parquet.Row, 16)
		for n, err := 1, error(nil); n > 0 && err == nil; {
			n, err = rows.ReadRows(buf)
			for _, row := range buf[:n] {
				for _, v := range row {
					values = append(append(values, v.String()...), ' ')
				}
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Contains(values, []byte(shownName)) {
		t.Error("the server's name is not in the rows")
	}
	return values
}

// TestSecrets has marked requests and their keys go through run, watch, read and explain,
// and looks for them in all that is told, in logs, in the capture that is kept, in a core
// and, once the connections are over, in memory. What crypto/* makes of a key is not looked
// for: package protection's documentation says what that is.
func TestSecrets(t *testing.T) {
	needsCapture(t)
	dir := t.TempDir()
	keys, kept, rows := filepath.Join(dir, "keys"), filepath.Join(dir, "kept.pcap"), filepath.Join(dir, "rows")
	port, talk := keptSecrets(t, keys)
	live := []string{"-i", "lo", "--filter=tcp port " + port, "--user=root", "--log-level=debug"}
	keylog := "--keylog=" + keys
	sidecar := startProgram(t, nil, append([]string{
		"run", "--listen=127.0.0.1:0", "--log-connections=" + rows + "/", "--connections-format=parquet", keylog,
	}, live...)...)
	watcher := startProgram(t, nil, append([]string{"watch", "--write=" + kept, "--output=ndjson", "--exchanges", keylog}, live...)...)
	sidecar.says(t, "msg=capturing")
	watcher.says(t, "msg=capturing")
	address := sidecar.says(t, listening)[1]
	talk()
	secrets := secretsOf(t, keys)
	if len(secrets) < 30 {
		t.Fatalf("only %d secrets", len(secrets))
	}
	look := func(where string, b []byte) {
		t.Helper()
		if err := found(secrets, where, b); err != nil || len(b) == 0 {
			t.Errorf("%s, %d bytes: %v", where, len(b), err)
		}
	}

	var metrics string
	eventually(t, 20*time.Second, func() (err error) {
		if _, metrics, err = ask(t, http.DefaultClient, "http://"+address+"/metrics"); err == nil && !strings.Contains(metrics, `keys="decrypted"`) {
			err = errors.New("nothing is decrypted")
		}
		return err
	})
	look("metrics", []byte(metrics))
	_, page, err := ask(t, http.DefaultClient, "http://"+address+"/")
	if err != nil {
		t.Fatal(err)
	}
	look("page", []byte(page))
	for name, p := range map[string]*process{"run": sidecar, "watch": watcher} {
		eventually(t, 60*time.Second, func() error { // keys that were used are dropped 10 s later
			if err := foundInMemory(t, secrets, p.cmd.Process.Pid); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	watcher.signal(t, syscall.SIGINT)
	watcher.status(t)
	look("watch", []byte(watcher.out.String()))
	look("watch's log", []byte(watcher.said.String()))
	if n := strings.Count(watcher.out.String(), `"decrypted":true`); n != 4 {
		t.Errorf("%d connections were decrypted", n)
	}
	capture, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	look("the capture that is kept", capture)

	sidecar.signal(t, syscall.SIGTERM)
	sidecar.status(t)
	look("run's log", []byte(sidecar.said.String()))
	written, err := filepath.Glob(filepath.Join(rows, "*", "*", "*.parquet"))
	if err != nil || len(written) == 0 {
		t.Fatalf("no rows were written: %v", err)
	}
	for _, path := range written {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		look("run's rows", valuesOf(t, b))
	}
	if dumpsCore(t, capture, "read", keylog, "-") {
		t.Error("a core was dumped")
	}
	if !dumpsCore(t, capture, "read", "-") {
		t.Log("cores go elsewhere here, so that there is none tells nothing")
	}
	for _, output := range []string{"text", "json", "ndjson", "parquet"} {
		args := []string{"read", "--output=" + output, "--metrics-file=" + filepath.Join(dir, "prom"), keylog, kept}
		if output == "ndjson" {
			args = append(args, "--exchanges")
		}
		out := printed(t, args...)
		if output == "parquet" {
			out = valuesOf(t, out)
		}
		look("read "+output, out)
	}
	file, err := os.ReadFile(filepath.Join(dir, "prom"))
	if err != nil {
		t.Fatal(err)
	}
	look("read's metrics", file)
	for _, output := range []string{"text", "svg", "html", "json"} {
		look("explain "+output, printed(t, "explain", "--output="+output, keylog, kept))
	}
}
