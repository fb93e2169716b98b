package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A process is the whole program at work.
type process struct {
	cmd       *exec.Cmd
	out, said lockedBuffer
	done      chan struct{}
}

// startProgram starts keepscope; what is not set of cmd's files is filled in.
func startProgram(t *testing.T, prepare func(*exec.Cmd), args ...string) *process {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.said
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its status says the same
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

// says waits until the program has said something, and returns what matched.
func (p *process) says(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	eventually(t, 20*time.Second, func() error {
		if found = re.FindStringSubmatch(p.said.String()); found == nil {
			return fmt.Errorf("it has not said %q: %q", pattern, p.said.String())
		}
		return nil
	})
	return found
}

// signal sends a signal.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// status waits for the end and returns the exit status.
func (p *process) status(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not end: %s", p.said.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// needsCapture skips where packets can't be captured.
func needsCapture(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("live tests take seconds: not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may capture")
	}
}

// served starts a web server on loopback and returns its port.
func served(t *testing.T) (port string, get func()) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, func() {
		t.Helper()
		resp, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // a few bytes
		resp.Body.Close()
	}
}

const listening = `msg=listening address=(127\.0\.0\.1:\d+)`

// TestHangup sends SIGHUP, as a terminal that closes and logrotate do, with a log
// of connections and without.
func TestHangup(t *testing.T) {
	needsCapture(t)
	port, get := served(t)
	for _, name := range []string{"", "log"} {
		t.Run("log "+name, func(t *testing.T) {
			args := []string{"run", "-i", "lo", "--ports", port, "--listen=127.0.0.1:0", "--user=root"}
			path := filepath.Join(t.TempDir(), "log")
			if name != "" {
				args = append(args, "--log-connections="+path)
			}
			p := startProgram(t, nil, args...)
			p.says(t, "msg=capturing")
			for range 3 {
				p.signal(t, syscall.SIGHUP)
			}
			if name != "" {
				if err := os.Rename(path, path+".1"); err != nil {
					t.Fatal(err)
				}
				p.signal(t, syscall.SIGHUP)
				get()
				eventually(t, 10*time.Second, func() error {
					text, err := os.ReadFile(path)
					if err == nil && len(text) == 0 {
						err = errors.New("no line")
					}
					return err
				})
			}
			p.signal(t, syscall.SIGTERM)
			if code := p.status(t); code != exitDone {
				t.Errorf("exit status %d: %s", code, p.said.String())
			}
		})
	}
}

// TestReaderOfLogDies closes the pipe that the log of connections goes to.
func TestReaderOfLogDies(t *testing.T) {
	needsCapture(t)
	port, get := served(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, func(cmd *exec.Cmd) { cmd.Stdout = w },
		"run", "-i", "lo", "--ports", port, "--listen=127.0.0.1:0", "--log-connections=-")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p.says(t, "msg=capturing")
	address := p.says(t, listening)[1]
	get()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	get()
	eventually(t, 10*time.Second, func() error {
		_, text, err := ask(t, http.DefaultClient, "http://"+address+"/metrics")
		if err == nil && !strings.Contains(text, "\nkeepscope_log_dropped_lines_total 1\n") {
			err = errors.New("no dropped line is counted")
		}
		return err
	})
	p.says(t, "lines are dropped.*broken pipe")
	p.signal(t, syscall.SIGTERM)
	if code := p.status(t); code != exitDone {
		t.Errorf("exit status %d: %s", code, p.said.String())
	}
}

// TestRunWithoutInterface has an interface that is not there: status 1 and one
// line, or where it is told to wait, alive and not ready.
func TestRunWithoutInterface(t *testing.T) {
	needsCapture(t)
	args := []string{"run", "-i", "nope0", "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0"}
	p := startProgram(t, nil, args...)
	want := "keepscope: capture on nope0: no such interface: 'keepscope interfaces' lists them"
	if code := p.status(t); code != exitFailed || !strings.HasPrefix(p.said.String(), want) || strings.Count(p.said.String(), "\n") != 1 {
		t.Errorf("exit status %d: %s", code, p.said.String())
	}
	p = startProgram(t, nil, append(args, "--wait-for-interface")...)
	health := p.says(t, `(?s)listening.*`+listening)[1]
	if status, _, err := ask(t, http.DefaultClient, "http://"+health+"/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("alive: %d, %v", status, err)
	}
	if status, text, err := ask(t, http.DefaultClient, "http://"+health+"/readyz"); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(text, "nope0") {
		t.Errorf("ready: %d %s, %v", status, text, err)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.status(t); code != exitDone {
		t.Errorf("exit status %d: %s", code, p.said.String())
	}
}

// smallCapture is one connection with two requests.
func smallCapture(t *testing.T) []byte {
	t.Helper()
	script := sniffertest.MustParse(`conn c1 10.0.0.1:40000 10.0.0.2:80
@0s    c1 handshake
@10ms  c1 > "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
@11ms  c1 < "HTTP/1.1 204 No Content\r\n\r\n"
@20ms  c1 > "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
@21ms  c1 < "HTTP/1.1 204 No Content\r\n\r\n"
@50ms  c1 > close
`)
	var b bytes.Buffer
	if err := script.WritePCAP(&b, sniffer.LinkEthernet, sniffertest.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// emptied says whether all that a pipe held was read.
func emptied(pipe *os.File) error {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return err
	}
	left := -1
	if failed := conn.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); failed != nil || left != 0 {
		return fmt.Errorf("%d bytes are left (%w)", left, errors.Join(failed, err))
	}
	return nil
}

// TestInterruptSilence interrupts once a program that reads a pipe on which
// nothing comes any more, or has never come.
func TestInterruptSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts programs: not with -short")
	}
	capture := smallCapture(t)
	tests := []struct {
		name   string
		fed    []byte
		code   int
		report bool
	}{
		{"after a capture", capture, exitDone, true},
		{"in a packet", capture[:len(capture)-7], exitDone, true},
		{"nothing", nil, exitFailed, false},
		{"half a header", capture[:10], exitFailed, false},
	}
	for _, tt := range tests {
		for _, way := range []string{"standard input", "named pipe"} {
			t.Run(tt.name+", "+way, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "pipe")
				if err := syscall.Mkfifo(path, 0o600); err != nil {
					t.Fatal(err)
				}
				feed, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Close()
				file, stdin := path, io.Reader(nil)
				if way == "standard input" {
					file, stdin = "-", feed
				}
				p := startProgram(t, func(cmd *exec.Cmd) { cmd.Stdin = stdin }, "read", "--log-level=debug", file)
				p.says(t, "msg=reading")
				if _, err := feed.Write(tt.fed); err != nil {
					t.Fatal(err)
				}
				eventually(t, 10*time.Second, func() error { return emptied(feed) })
				p.signal(t, syscall.SIGINT)
				if code := p.status(t); code != tt.code || tt.report != strings.Contains(p.out.String(), "requests on") {
					t.Errorf("exit status %d: %s\n%s", code, p.said.String(), p.out.String())
				}
			})
		}
	}
}

// TestWriteToFullDisk keeps what is captured where there is no room: the report
// comes all the same.
func TestWriteToFullDisk(t *testing.T) {
	needsCapture(t)
	port, get := served(t)
	p := startProgram(t, nil, "watch", "-i", "lo", "--ports", port, "--write=/dev/full", "--requests=20")
	p.says(t, "msg=capturing")
	for range 20 {
		get()
	}
	if code := p.status(t); code != exitFailed || !strings.Contains(p.out.String(), "20 requests on 20 connections") ||
		!strings.Contains(p.said.String(), "keepscope: --write: /dev/full is not complete: ") {
		t.Errorf("exit status %d: %s\n%s", code, p.said.String(), p.out.String())
	}
}
