package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// programDir holds what program built, if anything.
var programDir string

func TestMain(m *testing.M) {
	takeTestVariables()
	code := m.Run()
	if programDir != "" {
		_ = os.RemoveAll(programDir)
	}
	os.Exit(code)
}

// testVariables are what the environment says to tests. It is taken out of the
// environment, where the program refuses variables that are no flags.
var testVariables = map[string]string{}

func takeTestVariables() {
	for _, name := range []string{"KEEPSCOPE_ADVERSARY", "KEEPSCOPE_ADVERSARY_RATE", "KEEPSCOPE_CAPTURES", "KEEPSCOPE_OVERHEAD", "KEEPSCOPE_PCAP", "KEEPSCOPE_REQUESTS", "KEEPSCOPE_SOAK"} {
		testVariables[name] = os.Getenv(name)
		_ = os.Unsetenv(name) // it fails for no such name
	}
}

// program builds keepscope once and returns its path.
var program = sync.OnceValues(func() (path string, err error) {
	programDir, err = os.MkdirTemp("", "keepscope-live-")
	if err != nil {
		return "", err
	}
	path = filepath.Join(programDir, "keepscope")
	build := exec.Command("go", "build", "-o", path)
	if testVariables["KEEPSCOPE_OVERHEAD"] == "" {
		build.Args = append(build.Args, "-pgo=off") // with it the build takes a minute
	}
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// newLab makes a lab for a live test, or skips it.
func newLab(t *testing.T, config lab.Config, programs ...string) *lab.Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("live tests take seconds: not with -short")
	}
	if err := lab.Check(t.Context(), programs...); err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// A watching is a running 'keepscope watch'.
type watching struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer
	done     chan error
}

// watch starts 'keepscope watch' in a namespace and returns once it captures.
func watch(t *testing.T, n *lab.Namespace, args ...string) *watching {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{done: make(chan error, 1)}
	w.cmd = n.Command(context.WithoutCancel(t.Context()), path, append([]string{"watch", "--output=ndjson"}, args...)...)
	w.cmd.Stdout = &w.out
	said, err := w.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	captures := make(chan bool)
	go func() {
		lines := bufio.NewScanner(said)
		for told := false; lines.Scan(); {
			if !told && strings.Contains(lines.Text(), "msg=capturing") {
				told = true
				close(captures)
			}
			w.err.Write(lines.Bytes())
			w.err.WriteByte('\n')
		}
		w.done <- w.cmd.Wait()
	}()
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	select {
	case <-captures:
	case err := <-w.done:
		t.Fatalf("keepscope watch: %v: %s", err, &w.err)
	case <-time.After(20 * time.Second):
		t.Fatal("keepscope watch does not capture after 20 s")
	}
	return w
}

// endsWithin is how long a program that captures may take to end: its two seconds, and as
// much for a busy machine.
const endsWithin = 4 * time.Second

// stop interrupts it and returns its lines. It must have dropped nothing.
func (w *watching) stop(t *testing.T) []line {
	t.Helper()
	w.interrupt(t)
	if w.dropped() {
		t.Errorf("packets were dropped: %s", &w.err)
	}
	return w.lines(t)
}

func (w *watching) dropped() bool { return strings.Contains(w.err.String(), "dropped") }

// interrupt interrupts it, and waits for its end.
func (w *watching) interrupt(t *testing.T) {
	t.Helper()
	asked := time.Now()
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-w.done:
		if err != nil {
			t.Errorf("keepscope watch: %v: %s", err, &w.err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("keepscope watch does not end")
	}
	if took := time.Since(asked); took > endsWithin {
		t.Errorf("it took %v to end", took)
	}
}

// lines returns what it printed.
func (w *watching) lines(t *testing.T) []line {
	t.Helper()
	var lines []line
	for text := range bytes.Lines(w.out.Bytes()) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		lines = append(lines, l)
	}
	return lines
}

// perTuple lists the requests of the connections of each 4-tuple, in order.
type perTuple map[string][]int

func seen(lines []line) perTuple {
	p := perTuple{}
	for _, l := range lines {
		if l.Requests > 0 {
			key := fmt.Sprintf("%s>%d", l.client(), l.Server.Port)
			p[key] = append(p[key], l.Requests)
		}
	}
	return p
}

// logged reads the same from the log of an nginx, which it stops.
func logged(t *testing.T, nginx *lab.Nginx) perTuple {
	t.Helper()
	if err := nginx.Stop(); err != nil {
		t.Fatal(err)
	}
	connections, err := lab.ReadLog(nginx.Log)
	if err != nil {
		t.Fatal(err)
	}
	p := perTuple{}
	for _, c := range connections {
		key := fmt.Sprintf("%v>%d", c.Tuple.Client, c.Tuple.ServerPort)
		p[key] = append(p[key], c.Requests)
	}
	return p
}

func (p perTuple) total() (connections, requests int) {
	for _, counts := range p {
		connections += len(counts)
		for _, n := range counts {
			requests += n
		}
	}
	return connections, requests
}

// compareCounts holds what was seen to what the server logged.
func compareCounts(t *testing.T, got, want perTuple) {
	t.Helper()
	gotConns, gotRequests := got.total()
	conns, requests := want.total()
	t.Logf("%d requests on %d connections by the server's log", requests, conns)
	if conns == 0 || gotConns != conns || gotRequests != requests {
		t.Errorf("%d requests on %d connections, the log says %d on %d", gotRequests, gotConns, requests, conns)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests of each connection (-log +seen): %.1000s", diff)
	}
}

// liveServers listens on any address, for a lab with several networks.
const liveServers = `
	root {{.Root}};
	gzip_types text/html;
	gzip_min_length 1;
	server { listen {{.Addr}}:8100; EXTRA keepalive_requests 100; location = /text.html { gzip on; } }
	server { listen {{.Addr}}:8001; EXTRA keepalive_timeout 0; }
`

func liveNginx(t *testing.T, l *lab.Lab, alsoOn string) *lab.Nginx {
	t.Helper()
	extra := func(port string) string {
		if alsoOn == "" {
			return ""
		}
		return "listen " + alsoOn + ":" + port + ";"
	}
	servers := strings.Replace(liveServers, "EXTRA", extra("8100"), 1)
	servers = strings.Replace(servers, "EXTRA", extra("8001"), 1)
	nginx, err := l.NewNginx(t.Context(), lab.NginxConfig{Servers: servers, Files: map[string][]byte{
		"1k.html":   bytes.Repeat([]byte("k"), 1024),
		"100k.html": bytes.Repeat([]byte("k"), 100<<10),
		"text.html": bytes.Repeat([]byte("text that is compressed and so sent in chunks; "), 2000),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nginx.Stop() }) // what matters is told where it is stopped first
	return nginx
}

// load sends requests in many ways to the server at an address.
func load(t *testing.T, l *lab.Lab, addr string, scale int) {
	t.Helper()
	url := func(port int, path string) string { return fmt.Sprintf("http://%s:%d%s", addr, port, path) }
	wrk(t, l, url(8100, "/1k.html"), 20*scale, 1)
	wrk(t, l, url(8100, "/1k.html"), 4*scale, 4)
	wrk(t, l, url(8100, "/100k.html"), scale, 1)
	wrk(t, l, url(8100, "/text.html"), scale, 1, "Accept-Encoding=gzip")
	wrk(t, l, url(8001, "/1k.html"), scale, 1)
	ab := func(args ...string) {
		if err := l.Client.Run(t.Context(), "ab", append([]string{"-q", "-s", "60"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	ab("-n", strconv.Itoa(scale), "-c", "4", url(8100, "/1k.html"))
	ab("-n", strconv.Itoa(3*scale), "-c", "4", "-k", url(8100, "/1k.html"))
	curl(t, l, "-sS", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", url(8100, "/1k.html"), url(8100, "/text.html"), url(8100, "/100k.html"))
	curl(t, l, "-sS", "-0", "-o", "/dev/null", url(8100, "/1k.html"))
	curl(t, l, "-sS", "-I", "-o", "/dev/null", url(8100, "/1k.html"))
}

func curl(t *testing.T, l *lab.Lab, args ...string) {
	t.Helper()
	if err := l.Client.Run(t.Context(), "curl", append([]string{"--max-time", "60"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

// wrk sends a fixed number of batches on 16 connections, and waits for every
// answer: see the script.
func wrk(t *testing.T, l *lab.Lab, url string, batches, pipeline int, headers ...string) {
	t.Helper()
	path := url[strings.LastIndexByte(url, '/'):]
	args := append([]string{"-t1", "-c" + strconv.Itoa(min(16, batches)), "-d600s", "--timeout", "60s", "-s", "../traffic/wrk.lua", url, "--",
		strconv.Itoa(batches), strconv.Itoa(pipeline), "GET", path, "0"}, headers...)
	cmd := l.Client.Command(t.Context(), "wrk", args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, interrupting := make(chan struct{}), sync.WaitGroup{}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if lines.Text() != "answered" {
			t.Logf("wrk: %s", lines.Text())
			continue
		}
		interrupting.Go(func() {
			for cmd.Process.Signal(os.Interrupt) == nil {
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ended:
					return
				}
			}
		})
	}
	close(ended)
	interrupting.Wait()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

// TestLive compares the requests of every connection with nginx's own log, on
// the wire and on wires that lose, repeat, reorder and delay.
func TestLive(t *testing.T) {
	tests := []struct {
		name  string
		lab   lab.Config
		args  []string
		scale int
		wire  *wire  // nil is the veth pair
		on    string // the interface; the server's end by default
	}{
		{name: "low rate", scale: 20},
		{name: "full speed", scale: 2000},
		{name: "workers", scale: 300, args: []string{"--workers=3"}},
		{name: "ipv6", lab: lab.Config{IPv6: true}, scale: 200},
		{name: "any", scale: 200, on: "any"},
		{name: "two interfaces", scale: 200, args: []string{"-i", "lo"}},
		{name: "loss", scale: 60, wire: &wire{lose: 0.01}},
		{name: "reordering", scale: 60, wire: &wire{reorder: 0.05}},
		{name: "duplication", scale: 60, wire: &wire{duplicate: 0.05}},
		{name: "delay", scale: 20, wire: &wire{delay: 5 * time.Millisecond}},
		{name: "all at once, on any", scale: 20, on: "any", wire: &wire{lose: 0.01, reorder: 0.02, duplicate: 0.02, delay: time.Millisecond}},
		{name: "vlan, on a mirror port", scale: 60, wire: &wire{tag: []byte{0x81, 0x00, 0x00, 0x05}}, on: mirrorPort},
		{name: "q-in-q, on a mirror port", scale: 60, wire: &wire{tag: []byte{0x88, 0xa8, 0x00, 0x06, 0x81, 0x00, 0x00, 0x05}}, on: mirrorPort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, tt.lab, "nginx", "wrk", "ab", "curl", "sysctl")
			addr, on, also := l.Server.Addrs[0].String(), l.Server.Interface, ""
			if l.Server.Addrs[0].Is6() {
				addr = "[" + addr + "]"
			}
			if tt.wire != nil {
				tt.wire.connect(t, l)
				addr, on, also = wireServer, wirePort, wireServer
			}
			if tt.on != "" {
				on = tt.on
			}
			nginx := liveNginx(t, l, also)
			w := watch(t, l.Server, append(tt.args, "-i", on)...)
			load(t, l, addr, tt.scale)
			want := logged(t, nginx)
			// The last packets, of closing, count for no request.
			compareCounts(t, seen(w.stop(t)), want)
		})
	}
}

// TestLiveManyWorkers has more batches than the ring has blocks, each of a few
// frames that came alone: none of them may keep the kernel from a block. A busy machine
// may not run the program for as long as so small a ring lasts: it has another try.
func TestLiveManyWorkers(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "curl")
	const tries = 3
	for range tries {
		nginx := liveNginx(t, l, "")
		w := watch(t, l.Server, "-i", l.Server.Interface, "--workers=16", "--buffer-size=1MiB")
		for range 60 {
			curl(t, l, "-sS", "-o", "/dev/null", fmt.Sprintf("http://%s:8100/1k.html", l.Server.Addrs[0]))
		}
		want := logged(t, nginx)
		if w.interrupt(t); !w.dropped() {
			compareCounts(t, seen(w.lines(t)), want)
			return
		}
	}
	t.Errorf("packets were dropped in each of %d tries", tries)
}

// TestLiveStopsWhole stops while one interface is busy: what came on a quiet one
// before, and the kernel may hold back yet, is told.
func TestLiveStopsWhole(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "wrk", "curl")
	liveNginx(t, l, "127.0.0.1")
	busy := l.Client.Command(t.Context(), "wrk", "-t1", "-c1", "-d20s", fmt.Sprintf("http://%s:8100/1k.html", l.Server.Addrs[0]))
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = busy.Process.Kill()
		_ = busy.Wait() // it was killed
	}()
	for range 4 {
		w := watch(t, l.Server, "-i", l.Server.Interface, "-i", "lo")
		const quiet = 6
		for range quiet {
			if err := l.Server.Run(t.Context(), "curl", "-sS", "-o", "/dev/null", "http://127.0.0.1:8100/1k.html"); err != nil {
				t.Fatal(err)
			}
		}
		closed := 0
		for _, c := range w.stop(t) {
			if c.Server.IP.IsLoopback() && c.Server.Port == 8100 && c.ClosedBy == "client" {
				closed++
			}
		}
		if closed != quiet {
			t.Errorf("%d connections on the quiet interface are told whole, want %d", closed, quiet)
		}
	}
}

// TestLivePod has a proxy, its server and Keepscope in one namespace, as a pod
// with a sidecar has: the client's connections and the proxy's are both right.
func TestLivePod(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "haproxy", "ab", "sysctl")
	nginx := liveNginx(t, l, "127.0.0.1")
	haproxy(t, l, fmt.Sprintf(`
frontend f
	bind %s:8080
	default_backend b
backend b
	http-reuse always
	server s 127.0.0.1:8100
`, l.Server.Addrs[0]))
	w := watch(t, l.Server, "-i", l.Server.Interface, "-i", "lo")
	url := fmt.Sprintf("http://%s:8080/1k.html", l.Server.Addrs[0])
	for _, args := range [][]string{{"-k", "-n", "300", "-c", "3"}, {"-n", "50", "-c", "2"}} {
		if err := l.Client.Run(t.Context(), "ab", append(append([]string{"-q"}, args...), url)...); err != nil {
			t.Fatal(err)
		}
	}
	want := logged(t, nginx)
	var inbound, outbound []line
	for _, c := range w.stop(t) {
		switch {
		case c.Server.Port == 8080:
			inbound = append(inbound, c)
		case c.Server.Port == 8100:
			outbound = append(outbound, c)
		default:
			t.Errorf("a connection to port %d", c.Server.Port)
		}
	}
	compareCounts(t, seen(outbound), want)
	connections, requests := seen(inbound).total()
	if requests != 350 || connections != 3+50 {
		t.Errorf("inbound: %d requests on %d connections, want 350 on 53", requests, connections)
	}
}

// haproxy starts HAProxy in the server's namespace.
func haproxy(t *testing.T, l *lab.Lab, config string) {
	t.Helper()
	path, err := l.File("haproxy.cfg", []byte("defaults\n\tmode http\n\ttimeout connect 5s\n\ttimeout client 30s\n\ttimeout server 30s\n"+config))
	if err != nil {
		t.Fatal(err)
	}
	start(t, l, 8080, "haproxy", "-db", "-f", path)
}

// start runs a server in the server's namespace until the test ends, and
// returns once it listens on the port.
func start(t *testing.T, l *lab.Lab, port int, name string, args ...string) {
	t.Helper()
	cmd := l.Server.Command(context.WithoutCancel(t.Context()), name, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
	})
	for deadline := time.Now().Add(40 * time.Second); ; { // a JVM takes its time
		out, err := l.Server.Command(t.Context(), "ss", "-Hltn", "sport", "=", strconv.Itoa(port)).Output()
		if err == nil && len(out) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %d: %s", name, port, &said)
		}
		select {
		case <-done:
			t.Fatalf("%s ended: %s", name, &said)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestLiveRights reads what a capturing process may still do, of each of its
// threads.
func TestLiveRights(t *testing.T) {
	l := newLab(t, lab.Config{}, "sysctl")
	w := watch(t, l.Server, "-i", l.Server.Interface)
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.cmd.Process.Pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("threads: %v, %v", files, err)
	}
	want := map[string]string{
		"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "", "NoNewPrivs": "1",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000", "CapAmb": "0000000000000000",
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for l := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(l, ":")
			if _, ok := want[name]; ok {
				got[name] = strings.Join(strings.Fields(value), " ")
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
	w.stop(t)
}

// TestLiveSecondSignal ends at once at the second signal.
func TestLiveSecondSignal(t *testing.T) {
	l := newLab(t, lab.Config{}, "sysctl")
	w := watch(t, l.Server, "-i", l.Server.Interface)
	for range 2 {
		if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // two that come at once are one to the kernel
	}
	select {
	case err := <-w.done:
		t.Logf("it ended: %v", err) // in order or killed, as it comes
	case <-time.After(time.Second):
		t.Error("it goes on after two signals")
	}
}

// TestLiveWrite reads back what --write kept: the figures are the same.
func TestLiveWrite(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "wrk", "ab", "curl", "sysctl")
	nginx := liveNginx(t, l, "")
	file := filepath.Join(t.TempDir(), "kept.pcap")
	w := watch(t, l.Server, "-i", l.Server.Interface, "--write", file)
	load(t, l, l.Server.Addrs[0].String(), 20)
	compareCounts(t, seen(w.stop(t)), logged(t, nginx))
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"read", "--output=ndjson", file}, console{out: &out, err: &errs}); code != 0 {
		t.Fatalf("read: %s", &errs)
	}
	sorted := func(lines string) []string { // live they come as connections end
		return slices.Sorted(strings.SplitSeq(lines, "\n"))
	}
	if diff := cmp.Diff(sorted(w.out.String()), sorted(out.String())); diff != "" {
		t.Errorf("what was kept reads otherwise (-live +kept): %.2000s", diff)
	}
}

// TestLiveFails words what can't be captured.
func TestLiveFails(t *testing.T) {
	l := newLab(t, lab.Config{}, "setpriv", "sysctl")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no such interface", []string{path, "watch", "-i", "nope0"}, 1, "capture on nope0: no such interface: 'keepscope interfaces' lists them"},
		{"no permission", []string{"setpriv", "--reuid=65534", "--clear-groups", "--", path, "watch", "-i", "lo"}, 1, "setcap cap_net_raw+ep"},
		{"bad filter", []string{path, "watch", "-i", "lo", "--filter", "tcp prot"}, 2, `filter "tcp prot"`},
		{"no such user", []string{path, "watch", "-i", "lo", "--user", "nobody-at-all"}, 2, "--user: user: unknown user nobody-at-all"},
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		out, err := l.Server.Command(t.Context(), tt.args[0], tt.args[1:]...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v: %s; want status %d and %q", tt.name, err, out, tt.code, tt.want)
		}
		if n := strings.Count(strings.TrimSpace(string(out)), "\n"); n > 0 {
			t.Errorf("%s: %d lines, want one: %s", tt.name, n+1, out)
		}
	}
}
