package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// A terminal is a tmux of its own in which the program runs.
type terminal struct {
	t    *testing.T
	name string
}

// terminals numbers them, so that each has a server of its own.
var terminals atomic.Int64

// openTerminal starts a command in a terminal in a namespace, and keeps the terminal
// once the command has ended: it shows "status N" then. (What tmux says of that itself it
// may never learn: it loses the signal of a child's end now and then.)
func openTerminal(t *testing.T, n *lab.Namespace, width, height int, command string) *terminal {
	t.Helper()
	s := &terminal{t, fmt.Sprintf("%s-%d", n.Name, terminals.Add(1))}
	start := n.Command(t.Context(), "tmux", "-L", s.name, "-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), command+"; echo status $?",
		";", "set", "-g", "remain-on-exit", "on")
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("tmux", "-L", s.name, "kill-server").Run() }) // it may have ended by itself
	return s
}

// tmux runs a command of tmux.
func (s *terminal) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), "tmux", append([]string{"-L", s.name}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// press sends keys, after which the screen shows what is wanted.
func (s *terminal) press(keys string, wants ...string) {
	s.t.Helper()
	for k := range strings.FieldsSeq(keys) {
		s.tmux("send-keys", k)
	}
	s.shows(wants...)
}

// shows waits until the screen shows what is wanted.
func (s *terminal) shows(wants ...string) {
	s.t.Helper()
	eventually(s.t, 15*time.Second, func() error {
		text := s.tmux("capture-pane", "-p")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				return fmt.Errorf("%q is not on the screen:\n%s", want, text)
			}
		}
		return nil
	})
}

// visiting has a client visit a server until the test ends.
func visiting(t *testing.T, l *lab.Lab) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		visit(ctx, l)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// visit asks a server now and then, each time on a connection of its own for the first
// name and on one that is kept for the second, until ctx is done.
func visit(ctx context.Context, l *lab.Lab) {
	for i := 0; ctx.Err() == nil; i++ {
		once := &http.Transport{DialContext: l.Client.DialContext, DisableKeepAlives: true}
		kept := &http.Transport{DialContext: l.Client.DialContext}
		for range 10 {
			askAs(ctx, once, l.URL(8100, "/1k.html"), "once.example")
			askAs(ctx, kept, l.URL(8100, "/1k.html"), "kept.example")
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		kept.CloseIdleConnections()
	}
}

// askAs makes a request; what is answered does not matter.
func askAs(ctx context.Context, by http.RoundTripper, url, host string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return
	}
	r.Host = host
	if resp, err := by.RoundTrip(r); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

// TestScreenLive plays the screen in a real terminal over real traffic: every key, other
// sizes, without colours, from a server to the story of one of its connections.
func TestScreenLive(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "tmux", "sysctl")
	liveNginx(t, l, "")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	colour := regexp.MustCompile(`\x1b\[(\d+;)*(3[0-7]|9[0-7])[;m]`)
	for _, env := range []string{"", "NO_COLOR=yes"} {
		t.Run("env "+env, func(t *testing.T) {
			s := openTerminal(t, l.Server, 120, 40, "env "+env+" TERM=tmux-256color "+path+" watch -i "+l.Server.Interface+" 2>/dev/null")
			s.shows("no packet seen yet") // else connections are joined midstream, and have no name
			visiting(t, l)
			s.shows("SERVERS 1 of 2", "once.example", "kept.example", "client_close", "none dropped", "? help")
			s.shows("The client asks for “Connection: close”")
			if got := colour.MatchString(s.tmux("capture-pane", "-p", "-e")); got != (env == "") {
				t.Errorf("coloured: %t:\n%s", got, s.tmux("capture-pane", "-p", "-e"))
			}
			s.press("j", "SERVERS 2 of 2", "── kept.example ─")
			s.press("k w", "last minute")
			s.press("w", "last 5 minutes")
			s.press("w", "since start")
			s.press("s r", "sorted by wasted handshakes a second, reversed", "▲WASTED/S")
			s.press("5", "sorted by requests", "▼REQUESTS")
			s.press("1 / k e p", "/kep", "SERVERS 1 of 1 that match /kep, of 2")
			s.press("Escape", "SERVERS 1 of 2")
			s.press("p", "PAUSED")
			s.press("p", "figures go on")
			s.press("?", "HELP", "filter as you type")
			s.press("Escape", "SERVERS 1 of 2") // a key that follows at once would be Alt with that key
			s.press("a", "ADVICE", "e.g. ")
			s.press("Escape", "SERVERS 1 of 2")
			s.press("Enter", "once.example · CONNECTIONS 1 of", "wasted, client_close")
			s.press("Down Enter", "CONNECTION ", "SYN .. ACK", "GET 200", "enough")
			for _, size := range [][2]int{{60, 15}, {200, 60}, {80, 24}} {
				s.tmux("resize-window", "-x", fmt.Sprint(size[0]), "-y", fmt.Sprint(size[1]))
				s.shows("CONNECTION ", "Esc back")
				eventually(t, 5*time.Second, func() error {
					text := strings.TrimRight(s.tmux("capture-pane", "-p"), "\n")
					if n := strings.Count(text, "\n") + 1; n != size[1] {
						return fmt.Errorf("%d lines of %d:\n%s", n, size[1], text)
					}
					for line := range strings.Lines(text) {
						if utf8.RuneCountInString(line) > size[0]+1 {
							return fmt.Errorf("too wide for %d: %s", size[0], line)
						}
					}
					return nil
				})
			}
			s.press("Escape", "CONNECTIONS")
			s.press("Escape", "SERVERS 1 of 2")
			s.press("q", "WHAT TO CHANGE", "status 0")
		})
	}
}
