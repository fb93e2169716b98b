package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/exporter"
	"github.com/keepscope/keepscope/sniffer/privileges/privilegestest"
)

// A running is a 'keepscope run' at work in a lab.
type running struct {
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan error
}

// startSidecar starts 'keepscope run' in the server's namespace and returns once it
// captures.
func startSidecar(t *testing.T, l *lab.Lab, args ...string) *running {
	t.Helper()
	return startRun(t, l, nil, nil, append([]string{"-i", l.Server.Interface, "-i", "lo"}, args...)...)
}

// startRun does so with more in the environment, and has another program start it.
func startRun(t *testing.T, l *lab.Lab, by, env []string, args ...string) *running {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{done: make(chan error, 1)}
	line := slices.Concat(by, l.Server.Command(t.Context(), path, append([]string{"run"}, args...)...).Args)
	r.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), line[0], line[1:]...)
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stderr = &r.said
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	client := inside(l.Server)
	eventually(t, 20*time.Second, func() error {
		select {
		case err := <-r.done:
			t.Fatalf("keepscope run ended: %v: %s", err, &r.said)
		default:
		}
		status, body, err := ask(t, client, "http://127.0.0.1:9737/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d: %s", status, body)
		}
		return err
	})
	return r
}

// stop asks it to end, which it does in good order.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("keepscope run: %v: %s", err, &r.said)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("keepscope run does not end")
	}
}

// TestRunPages follows the links of a sidecar's pages from its figures to a connection
// that curl made for nothing, and takes its report for a file's.
func TestRunPages(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "curl")
	liveNginx(t, l, "")
	r := startSidecar(t, l)
	for range 2 {
		if out, err := l.Client.Command(t.Context(), "curl", "-sS", "-o", "/dev/null", "-H", "Host: shop.example", l.URL(8100, "/1k.html")).CombinedOutput(); err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
	}
	client := inside(l.Server)
	follow := func(path, link string) (next string) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			status, body, err := ask(t, client, "http://127.0.0.1:9737"+path)
			found := regexp.MustCompile(`<tr id="[^"]*"><th scope="row"><a href="(` + link + `)"`).FindStringSubmatch(body)
			if err == nil && (status != http.StatusOK || found == nil) {
				err = fmt.Errorf("%s: %d, no link to %s: %s", path, status, link, body)
			}
			if err == nil {
				next = found[1]
			}
			return err
		})
		return next
	}
	server := follow("/", "/server/[^\"]*8100")
	connection := follow(server+"?subject=client_discard", "/connection/[0-9a-f]{16}")
	_, body, err := ask(t, client, "http://127.0.0.1:9737"+connection)
	if err != nil || !strings.Contains(body, "a handshake that was not needed: client_discard") {
		t.Errorf("%v: %s", err, body)
	}
	_, body, err = ask(t, client, "http://127.0.0.1:9737/report.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"merge", "compare"} {
		path := filepath.Join(t.TempDir(), "report")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{command, path, path}, console{in: strings.NewReader(""), out: &out, err: &errs}); code != exitDone {
			t.Errorf("%s: exit status %d: %s", command, code, &errs)
		}
	}
	r.stop(t)
}

// TestRunLinger ends a lingering sidecar by a second signal: what was still open
// has its line.
func TestRunLinger(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "sysctl")
	liveNginx(t, l, "")
	path := filepath.Join(t.TempDir(), "connections")
	r := startSidecar(t, l, "--linger=5m", "--user=root", "--log-connections="+path)
	conn, err := l.Client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(l.Server.Addrs[0], 8100).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// It is seen after the signal.
	fmt.Fprintf(conn, "GET /1k.html HTTP/1.1\r\nHost: lab\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client := inside(l.Server)
	eventually(t, 20*time.Second, func() error {
		_, text, err := ask(t, client, "http://127.0.0.1:9737/metrics")
		if err == nil && !strings.Contains(text, exporter.Requests+"{") {
			err = errors.New("no request was counted")
		}
		return err
	})
	asked := time.Now()
	r.stop(t)
	if took := time.Since(asked); took > endsWithin {
		t.Errorf("it took %v to end", took)
	}
	text, err := os.ReadFile(path)
	if want := `"port":` + strconv.Itoa(conn.LocalAddr().(*net.TCPAddr).Port); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("no line with %s in %s (%v)", want, text, err)
	}
}

// TestRunEndsInTime has nobody take what is told at the end: a connection that
// asks nothing, a collector that does not answer, a pipe that is not read.
func TestRunEndsInTime(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "curl")
	nginx := liveNginx(t, l, "")
	silent, err := l.Server.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	pipe := filepath.Join(t.TempDir(), "lines")
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Fatal(err)
	}
	full, err := syscall.Open(pipe, syscall.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(full)
	for err == nil {
		_, err = syscall.Write(full, make([]byte, 4096))
	}
	r := startSidecar(t, l, "--user=root", "--log-connections="+pipe, "--otlp-endpoint=http://"+silent.Addr().String())
	curl(t, l, "-sS", "-o", "/dev/null", fmt.Sprintf("http://%s:8100/1k.html", l.Server.Addrs[0]))
	logged(t, nginx)
	conn, err := l.Server.DialContext(t.Context(), "tcp", "127.0.0.1:9737")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	asked := time.Now()
	r.stop(t)
	if took := time.Since(asked); took > endsWithin {
		t.Errorf("it took %v to end: %s", took, &r.said)
	}
}

// inside returns a client whose connections begin in a namespace.
func inside(n *lab.Namespace) *http.Client {
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true},
	}
}

func ask(t *testing.T, client *http.Client, address string) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// eventually tries f until it returns nil.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// A prom is a Prometheus that scrapes the sidecar every second.
type prom struct {
	client *http.Client
}

func startPrometheus(t *testing.T, l *lab.Lab, features ...string) *prom {
	t.Helper()
	config, err := l.File("prometheus.yml", []byte(`
global: { scrape_interval: 500ms }
scrape_configs:
- job_name: keepscope
  static_configs: [ { targets: ["127.0.0.1:9737"] } ]
`))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(l.Dir, "tsdb"),
		"--web.listen-address=127.0.0.1:9090", "--log.level=warn",
	}
	if len(features) > 0 {
		args = append(args, "--enable-feature="+strings.Join(features, ","))
	}
	start(t, l, 9090, "prometheus", args...)
	return &prom{inside(l.Server)}
}

// query returns the values of an instant query, by the labels that are asked
// for.
func (p *prom) query(t *testing.T, promql string, labels ...string) (map[string]float64, error) {
	t.Helper()
	status, body, err := ask(t, p.client, "http://127.0.0.1:9090/api/v1/query?query="+url.QueryEscape(promql))
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%s: %d %s %w", promql, status, body, err)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, r := range answer.Data.Result {
		var key []string
		for _, l := range labels {
			key = append(key, r.Metric[l])
		}
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		if v != 0 {
			values[strings.Join(key, " ")] = v
		}
	}
	return values, nil
}

// An expectation is a query and its answer: the values that are not 0.
type expectation struct {
	promql string
	labels []string
	want   map[string]float64
}

// expect waits until all answers are as expected.
func (p *prom) expect(t *testing.T, all []expectation) {
	t.Helper()
	var wrong []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(250 * time.Millisecond) {
		wrong = wrong[:0]
		for _, e := range all {
			got, err := p.query(t, e.promql, e.labels...)
			if err != nil {
				wrong = append(wrong, err.Error())
			} else if diff := cmp.Diff(e.want, got, cmpopts.EquateApprox(1e-9, 0), cmpopts.EquateEmpty()); diff != "" {
				wrong = append(wrong, e.promql+"\n"+diff)
			}
		}
		if len(wrong) == 0 {
			return
		}
	}
	t.Errorf("%d of %d answers differ (-want +got):\n%s", len(wrong), len(all), strings.Join(wrong, "\n"))
}

const runServers = `
	root {{.Root}};
	server { listen {{.Addr}}:8100; listen 127.0.0.1:8100; keepalive_requests 1000; }
	server { listen {{.Addr}}:8101; keepalive_timeout 0; }
	server { listen {{.Addr}}:8102; }
	server { listen {{.Addr}}:8103; }
	server { listen {{.Addr}}:8104; keepalive_requests 4; }
`

// nodeServer counts what it accepts and answers, and closes idle connections
// after a second.
const nodeServer = `
const http = require("http"), https = require("https"), fs = require("fs");
const [address, file, cert, key] = process.argv.slice(2);
const seen = { connections: 0, requests: 0 };
const note = () => fs.writeFileSync(file, JSON.stringify(seen));
const plain = http.createServer((q, r) => { seen.requests++; note(); r.end("ok"); });
plain.keepAliveTimeout = 1000;
plain.on("connection", () => { seen.connections++; note(); });
https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), maxVersion: "TLSv1.2" }, (q, r) => r.end("ok"))
	.listen(8443, address, () => plain.listen(8200, address));
`

// TestRunPrometheus has a real Prometheus scrape the sidecar that watches nginx,
// Node and HAProxy, and compares what it answers with what the servers logged.
func TestRunPrometheus(t *testing.T) {
	for _, tt := range []struct {
		name     string
		features []string
	}{
		{"classic histograms", nil},
		{"native histograms", []string{"native-histograms", "exemplar-storage"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, lab.Config{}, "nginx", "haproxy", "node", "curl", "prometheus", "ss", "sysctl")
			testRun(t, l, tt.features)
		})
	}
}

func testRun(t *testing.T, l *lab.Lab, features []string) {
	nginx, err := l.NewNginx(t.Context(), lab.NginxConfig{Servers: runServers, Files: map[string][]byte{"1k.html": bytes.Repeat([]byte("k"), 1024)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nginx.Stop() })
	addr := l.Server.Addrs[0].String()
	haproxy(t, l, "frontend f\n\tbind "+addr+":8080\n\tdefault_backend b\nbackend b\n\thttp-reuse always\n\tserver s 127.0.0.1:8100\n")
	certify(t, l.Dir)
	script, err := l.File("server.js", []byte(nodeServer))
	if err != nil {
		t.Fatal(err)
	}
	counts := filepath.Join(l.Dir, "node.json")
	start(t, l, 8200, "node", script, addr, counts, filepath.Join(l.Dir, "cert.pem"), filepath.Join(l.Dir, "key.pem"))
	sidecar := startSidecar(t, l)
	p := startPrometheus(t, l, features...)

	page := func(port int) string { return fmt.Sprintf("http://%s:%d/1k.html", addr, port) }
	several := func(n, port int) (args []string) {
		args = []string{"-sS"}
		for range n {
			args = append(args, "-o", "/dev/null", page(port))
		}
		return args
	}
	for range 10 {
		curl(t, l, several(5, 8100)...) // keeps its connection, but not for the next run
	}
	for range 20 {
		curl(t, l, several(1, 8101)...) // the server closes
	}
	for range 7 {
		curl(t, l, append([]string{"-H", "Connection: close"}, several(1, 8102)...)...)
	}
	for range 4 {
		curl(t, l, append([]string{"-0"}, several(1, 8103)...)...)
	}
	curl(t, l, several(12, 8104)...) // three connections of four
	curl(t, l, several(30, 8080)...) // one to HAProxy, at least one from it
	curl(t, l, "-sSk", "-o", "/dev/null", fmt.Sprintf("https://%s:8443/", addr))
	neverUsed(t, l, addr+":8102", 3)
	idle := idleOut(t, l, addr+":8200", 6, 2)

	expected := func(name, by string, server int, want map[string]float64) expectation {
		return expectation{
			promql: fmt.Sprintf(`sum by (%s) (%s{direction="inbound",server="%s:%d"})`, by, name, addr, server),
			labels: strings.FieldsFunc(by, func(r rune) bool { return r == ',' || r == ' ' }), want: want,
		}
	}
	all := []expectation{
		{"up", nil, map[string]float64{"": 1}},
		expected(exporter.ConnectionsOpened, "handshake", 8100, map[string]float64{"complete": 10}),
		expected(exporter.ConnectionsClosed, "closed_by, reason", 8100, map[string]float64{"client client_discard": 10}),
		expected(exporter.Requests, "reused", 8100, map[string]float64{"false": 10, "true": 40}),
		expected(exporter.Requests, "protocol", 8100, map[string]float64{"http/1.1": 50}),
		expected(exporter.Exchanges, "negotiated", 8100, map[string]float64{"keep_alive": 50}),
		expected(exporter.WastedHandshakes, "cause", 8100, map[string]float64{"client_discard": 9}),
		expected(exporter.NeededHandshakes, "", 8100, map[string]float64{"": 1}),

		expected(exporter.Exchanges, "negotiated", 8101, map[string]float64{"server_close": 20}),
		expected(exporter.ConnectionsClosed, "reason", 8101, map[string]float64{"server_close": 20}),
		expected(exporter.WastedHandshakes, "cause", 8101, map[string]float64{"server_close": 19}),

		expected(exporter.Exchanges, "negotiated", 8102, map[string]float64{"client_close": 7}),
		expected(exporter.ConnectionsClosed, "reason", 8102, map[string]float64{"client_close": 7, "never_used": 3}),
		expected(exporter.WastedHandshakes, "cause", 8102, map[string]float64{"client_close": 6}),

		expected(exporter.Requests, "protocol", 8103, map[string]float64{"http/1.0": 4}),
		expected(exporter.Exchanges, "negotiated", 8103, map[string]float64{"http10_not_requested": 4}),
		expected(exporter.WastedHandshakes, "cause", 8103, map[string]float64{"http10_not_requested": 3}),

		expected(exporter.ConnectionsClosed, "reason", 8104, map[string]float64{"server_limit": 3}),
		expected(exporter.Exchanges, "negotiated", 8104, map[string]float64{"keep_alive": 9, "server_close": 3}),
		expected(exporter.WastedHandshakes, "cause", 8104, map[string]float64{"server_limit": 2}),

		expected(exporter.ConnectionsOpened, "handshake", 8200, map[string]float64{"complete": 6}),
		expected(exporter.ConnectionsClosed, "closed_by, reason", 8200, map[string]float64{"server server_idle": 6}),
		expected(exporter.AdvertisedTimeout, "", 8200, map[string]float64{"": 1}),
		expected(exporter.Requests, "reused", 8200, map[string]float64{"false": 6, "true": 6}),

		expected(exporter.EstimatedRequests, "reused", 8443, map[string]float64{"false": 1}),
		expected(exporter.EstimatedNeeded, "", 8443, map[string]float64{"": 1}),
		expected(exporter.Requests, "protocol", 8443, nil),
		{fmt.Sprintf(`sum by (protocol) (%s{direction="loopback",server="%s:8080"})`, exporter.Requests, addr), []string{"protocol"}, map[string]float64{"http/1.1": 30}},
		{fmt.Sprintf(`sum(%s) + sum(%s) + sum(%s)`, exporter.MissingBytes, exporter.IncompleteConnections, exporter.CaptureDropped), nil, nil},
		// Nobody sees its own scrapes.
		{`{__name__=~"keepscope_.*",server=~".*:9737"}`, nil, nil},
	}
	histogram := func(name, labels string, server int, count, sum float64, by string) {
		selector := fmt.Sprintf(`%s%s{direction="inbound",server="%s:%d"%s}`, name, "%s", addr, server, labels)
		c, s := fmt.Sprintf(selector, "_count"), fmt.Sprintf(selector, "_sum")
		if len(features) > 0 {
			c, s = "histogram_count("+fmt.Sprintf(selector, "")+")", "histogram_sum("+fmt.Sprintf(selector, "")+")"
		}
		all = append(all, expectation{c, strings.Fields(by), map[string]float64{"": count}})
		if !math.IsNaN(sum) {
			all = append(all, expectation{s, strings.Fields(by), map[string]float64{"": sum}})
		}
	}
	unknown := math.NaN()
	histogram(exporter.ConnectionRequests, "", 8100, 10, 50, "")
	histogram(exporter.ConnectionDuration, "", 8100, 10, unknown, "")
	histogram(exporter.HandshakeSeconds, `,kind="tcp"`, 8100, 10, unknown, "")
	histogram(exporter.HandshakeSeconds, `,kind="tls_full"`, 8443, 1, unknown, "")
	histogram(exporter.ReuseIdle, "", 8100, 40, unknown, "")
	histogram(exporter.CloseIdle, `,closed_by="server"`, 8200, 6, unknown, "")
	histogram(exporter.ConnectionRequests, "", 8104, 3, 12, "")
	p.expect(t, all)
	checkIdle(t, p, addr, idle)
	checkEveryMetric(t, p, len(features) > 0)
	checkServers(t, p, nginx, counts, addr)
	if slices.Contains(features, "exemplar-storage") {
		checkExemplars(t, p, addr)
	}
	restart(t, l, p, sidecar, page(8101))
}

// neverUsed opens connections and closes them without a request.
func neverUsed(t *testing.T, l *lab.Lab, address string, n int) {
	t.Helper()
	for range n {
		conn, err := l.Client.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

// idleOut opens connections, sends requests on each, and waits until the server
// closes them. It returns how long they idled.
func idleOut(t *testing.T, l *lab.Lab, address string, connections, requests int) []time.Duration {
	t.Helper()
	idle := make([]time.Duration, connections)
	var wg sync.WaitGroup
	for i := range idle {
		conn, err := l.Client.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			for range requests {
				fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", address)
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				if err := errors.Join(err, resp.Body.Close()); err != nil {
					t.Error(err)
				}
			}
			since := time.Now()
			if _, err := r.ReadByte(); err != io.EOF {
				t.Error(err)
			}
			idle[i] = time.Since(since)
		})
	}
	wg.Wait()
	return idle
}

// checkIdle holds the observed timeout to what the clients saw.
func checkIdle(t *testing.T, p *prom, addr string, idle []time.Duration) {
	t.Helper()
	got, err := p.query(t, fmt.Sprintf(`%s{server="%s:8200"}`, exporter.ObservedTimeout, addr), "side")
	slices.Sort(idle)
	want := idle[len(idle)/2].Seconds()
	if err != nil || len(got) != 1 || math.Abs(got["server"]-want) > 0.05*want {
		t.Errorf("observed idle timeout %v, %v; the clients saw %v", got, err, idle)
	}
}

// checkEveryMetric checks that Prometheus has every metric of the table but
// those for which nothing happened.
func checkEveryMetric(t *testing.T, p *prom, native bool) {
	t.Helper()
	// These come with their first event, and this traffic has none of them.
	later := map[string]bool{
		exporter.CapMet: true, exporter.EstimatedFailed: true, exporter.EstimatedStaleReuses: true, exporter.FailedRequests: true,
		exporter.Goaways: true, exporter.GRPCErrors: true, exporter.HandshakeAttempts: true, exporter.KeylogLines: true,
		exporter.PathTimeout: true, exporter.PathDrops: true, exporter.RefusedStreams: true, exporter.StaleReuses: true,
		exporter.StreamLimitReached: true, exporter.StreamsConcurrent: true, exporter.Unsolicited: true,
	}
	got, err := p.query(t, `count by (__name__) ({__name__=~"keepscope_.*"})`, "__name__")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range exporter.Metrics {
		name := m.Name
		if m.Kind == exporter.Histogram && !native {
			name += "_bucket"
		}
		if got[name] == 0 && !later[m.Name] {
			t.Errorf("Prometheus has no %s", name)
		}
	}
}

// checkExemplars checks that an increase leads to a connection.
func checkExemplars(t *testing.T, p *prom, addr string) {
	t.Helper()
	now := time.Now()
	status, body, err := ask(t, p.client, fmt.Sprintf("http://127.0.0.1:9090/api/v1/query_exemplars?query=%s&start=%d&end=%d",
		url.QueryEscape(fmt.Sprintf(`%s{cause="server_limit",server="%s:8104"}`, exporter.WastedHandshakes, addr)), now.Add(-5*time.Minute).Unix(), now.Unix()+1))
	if err != nil || status != http.StatusOK || !strings.Contains(body, fmt.Sprintf(`"server":"%s:8104"`, addr)) || !strings.Contains(body, `"labels":{"id":`) {
		t.Errorf("exemplars: %d %s %v", status, body, err)
	}
}

// checkServers compares the sums with the servers' own logs.
func checkServers(t *testing.T, p *prom, nginx *lab.Nginx, node, addr string) {
	t.Helper()
	text, err := os.ReadFile(node)
	if err != nil {
		t.Fatal(err)
	}
	var counted struct{ Connections, Requests float64 }
	if err := json.Unmarshal(text, &counted); err != nil {
		t.Fatal(err)
	}
	requests, err := p.query(t, fmt.Sprintf(`sum(%s{server="%s:8200"})`, exporter.Requests, addr))
	if err != nil || requests[""] != counted.Requests {
		t.Errorf("%v requests to Node, which counted %v (%v)", requests[""], counted.Requests, err)
	}
	connections, err := p.query(t, fmt.Sprintf(`sum(%s{server="%s:8200"})`, exporter.ConnectionsOpened, addr))
	if err != nil || connections[""] != counted.Connections {
		t.Errorf("%v connections to Node, which counted %v (%v)", connections[""], counted.Connections, err)
	}
	accepted, err := nginx.Accepted(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := p.query(t, fmt.Sprintf(`sum(%s{server=~"%s:81.."}) + sum(%s{direction="loopback",server="%s:8080"})`,
		exporter.ConnectionsOpened, strings.ReplaceAll(addr, ".", `\\.`), exporter.ConnectionsOpened, addr))
	if err != nil || opened[""] != float64(accepted) {
		t.Errorf("%v connections to nginx, which accepted %d (%v)", opened[""], accepted, err)
	}
}

// restart starts the sidecar anew: Prometheus sees counters begin at 0 again,
// and counts on.
func restart(t *testing.T, l *lab.Lab, p *prom, old *running, page string) {
	t.Helper()
	old.stop(t)
	startSidecar(t, l)
	for range 5 {
		curl(t, l, "-sS", "-o", "/dev/null", page)
	}
	selector := exporter.Exchanges + `{negotiated="server_close",server=~".*:8101"`
	p.expect(t, []expectation{
		{"up", nil, map[string]float64{"": 1}},
		{selector + "}", nil, map[string]float64{"": 5}},
		{"resets(" + selector + "}[5m])", nil, map[string]float64{"": 1}},
	})
}

// TestRunRotatesLog has a sidecar that was started as root rotate its log when
// it is nobody, and confined to its files.
func TestRunRotatesLog(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "curl")
	_, own, _, _ := privilegestest.Dirs(t)
	nginx, err := l.NewNginx(t.Context(), lab.NginxConfig{Servers: runServers, Files: map[string][]byte{"1k.html": bytes.Repeat([]byte("k"), 1024)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nginx.Stop() })
	path := filepath.Join(own, "log.ndjson")
	sidecar := startSidecar(t, l, "--log-connections="+path, "--log-max-size=2KiB", "--log-keep=100")
	const connections = 18
	for range connections {
		curl(t, l, "-sS", "-o", "/dev/null", fmt.Sprintf("http://%s:8101/1k.html", l.Server.Addrs[0]))
	}
	sidecar.stop(t)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 5 {
		t.Errorf("files %v, %v", files, err)
	}
	lines := 0
	for _, f := range files {
		for _, line := range linesOf(t, f) {
			if strings.Contains(line, `"port":8101}`) {
				lines++
			}
		}
	}
	if lines != connections || strings.Contains(sidecar.said.String(), "dropped") {
		t.Errorf("%d lines for %d connections in %d files: %s", lines, connections, len(files), &sidecar.said)
	}
}
