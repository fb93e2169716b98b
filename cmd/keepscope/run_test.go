package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keepscope/keepscope/sniffer/privileges/privilegestest"
)

func TestLingering(t *testing.T) {
	tests := []struct {
		name       string
		wait, want time.Duration
		signals    int // at the moment when it is told
		cancelled  bool
	}{
		{"at once", 0, 0, 0, false},
		{"later", 15 * time.Second, 15 * time.Second, 1, false},
		{"told twice", 15 * time.Second, 0, 2, false},
		{"cancelled", 15 * time.Second, 0, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				told, tell := context.WithCancel(t.Context())
				ctx, cancel := lingers(told, tt.wait, signals)
				defer cancel()
				time.Sleep(time.Hour)
				if err := ctx.Err(); err != nil {
					t.Fatalf("ended before it was told: %v", err)
				}
				start := time.Now()
				tell()
				for range tt.signals {
					signals <- syscall.SIGTERM
				}
				if tt.cancelled {
					cancel()
				}
				<-ctx.Done()
				if got := time.Since(start); got != tt.want {
					t.Errorf("ended after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestRunRefusesLog starts the whole program as root with a log that it could
// not rotate once it is another user.
func TestRunRefusesLog(t *testing.T) {
	root, _, _, _ := privilegestest.Dirs(t)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"run", "-i", "lo", "--listen=127.0.0.1:0", "--log-connections=" + root + "/log"}, console{out: &out, err: &errs})
	want := "keepscope: --log-connections: open " + root + "/log: permission denied: user nobody, whom keepscope becomes (--user names another), " +
		"must be allowed to write, make and rename the log's files in " + root + "\n"
	if code != exitFailed || errs.String() != want {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
}

// TestRunRefusesEndpoint has a configuration that is wrong, and a port that is taken.
func TestRunRefusesEndpoint(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(file, []byte("tls_server_conf: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--listen=127.0.0.1:0", "--web-config-file=" + file}, exitUsage, "keepscope: --web-config-file: "},
		{[]string{"--listen=" + taken.Addr().String()}, exitFailed, "another port is set by --listen\n"},
		{[]string{"--listen=127.0.0.1:0", "--health-listen=" + taken.Addr().String()}, exitFailed, "another port is set by --health-listen\n"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"run", "-i", "lo"}, tt.args...), console{out: &out, err: &errs})
		if code != tt.code || !strings.Contains(errs.String(), tt.says) {
			t.Errorf("%v: exit status %d, %s", tt.args, code, errs.String())
		}
	}
}
