package dashboardstest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/dashboards"
	"github.com/keepscope/keepscope/dashboards/dashboardstest"
	"github.com/keepscope/keepscope/exporter"
)

// metricsAt is where a sidecar serves, on its host.
const metricsAt = "127.0.0.1:9737"

// TestRealTraffic runs clients and servers with every habit for 40 seconds
// (TRAFFIC_TIME sets another time) in namespaces of their own, watched by sidecars,
// which two Prometheus scrape, with native histograms and without; then it looks at
// every dashboard, holds the main panels against the servers' log, the panels against
// the report of the same packets, and the alerts against the faults.
func TestRealTraffic(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	for _, name := range []string{"prometheus", "haproxy", "node", "curl", "h2load"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed")
		}
	}
	if err := lab.Check(t.Context(), "nginx"); err != nil {
		t.Skip(err)
	}
	duration := 40 * time.Second
	if s := os.Getenv("TRAFFIC_TIME"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t)
	w := s.watch(t, duration)
	captured := packets(t, s.l)
	s.proxy(t)
	start := time.Now()
	running, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { s.reload(running, t, min(duration/2, 10*time.Minute)) })
	all.Go(func() { s.leak(running, t) })
	all.Go(func() { w.lose(running, t, s.second, start.Add(2*duration/3)) })
	all.Go(func() { live(running, t, s.clients(t)) })
	all.Wait()
	s.end(t)
	logged := logs(t, s.nginx.Log)
	end := time.Now().Add(3 * w.scrape)
	capture := captured()
	for _, session := range w.sessions {
		session.End, session.Range = end, end.Sub(start).Round(time.Second)
		awaitScrape(t, session, end)
		holdAgainstLog(t, session, s.l, logged)
		lookAtAll(t, session, s.l, logged)
		holdAgainstReport(t, *session, s.l, w.binary, capture, s.keylog.Name())
	}
	holdAlerts(t, w.sessions[0], s.l, duration)
}

// A watch is what sees the traffic.
type watch struct {
	binary   string
	scrape   time.Duration
	losing   *program // a sidecar that loses packets
	sessions []*dashboardstest.Session
}

// Where Prometheus, on the host of the clients, finds the sidecars.
const (
	atClients = metricsAt
	atServers = "127.0.0.1:9738" // of gRPC
	atSecond  = "127.0.0.1:9739" // of gRPC on the second host
	atLosing  = "127.0.0.1:9740"
)

// watch builds Keepscope and runs it beside the clients, beside the servers of gRPC,
// and beside a flood; two Prometheus run beside the clients.
func (s *site) watch(t *testing.T, duration time.Duration) *watch {
	w := &watch{binary: filepath.Join(t.TempDir(), "keepscope"), scrape: 2 * time.Second}
	if duration > 10*time.Minute {
		w.scrape = 10 * time.Second
	}
	build := exec.Command("go", "build", "-pgo=off", "-o", w.binary, "./cmd/keepscope")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building keepscope: %v\n%s", err, out)
	}
	run := func(n *lab.Namespace, args ...string) *program {
		return background(t, n, w.binary, append([]string{"run", "--user=root", "--listen", metricsAt}, args...)...)
	}
	run(s.l.Client, "-i", s.l.Client.Interface, "--keylog", s.keylog.Name())
	gRPC := fmt.Sprintf("--ports=%d,%d", portSticky, portEven)
	run(s.l.Server, "-i", s.l.Server.Interface, gRPC)
	run(s.second.Server, "-i", s.second.Server.Interface, gRPC)
	w.losing = run(s.second.Client, "-i", "lo", "--buffer-size=1MiB")
	s.forward(t, atServers, s.l.Server)
	s.forward(t, atSecond, s.second.Server)
	s.forward(t, atLosing, s.second.Client)
	for _, native := range []bool{true, false} {
		w.sessions = append(w.sessions, s.monitor(t, w.scrape, native))
	}
	return w
}

// forward has what serves at metricsAt in a namespace be reached beside the clients.
func (s *site) forward(t *testing.T, at string, to *lab.Namespace) {
	listener, err := s.l.Client.Listen(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: metricsAt}) },
		Transport: &http.Transport{DialContext: to.DialContext},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	go func() { _ = http.Serve(listener, proxy) }() // until the listener is closed
}

// A program is one that runs in a namespace.
type program struct {
	*exec.Cmd
	stop func()
}

// background runs a program in a namespace until the test's end.
func background(t *testing.T, n *lab.Namespace, name string, args ...string) *program {
	ctx, interrupt := context.WithCancel(context.Background())
	cmd := n.Command(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		interrupt()
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %v\n%s", name, err, &output)
		}
	})
	t.Cleanup(stop)
	return &program{cmd, stop}
}

// lose has a sidecar lose packets: it is held while more come than its buffer takes.
// At last it is ended.
func (w *watch) lose(ctx context.Context, t *testing.T, l *lab.Lab, until time.Time) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for time.Now().Before(until) {
		if err := errors.Join(w.losing.Process.Signal(syscall.SIGSTOP), flood(ctx, l), w.losing.Process.Signal(syscall.SIGCONT)); err != nil {
			t.Error(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	w.losing.stop()
}

// flood sends 16 MiB over the loopback interface.
func flood(ctx context.Context, l *lab.Lab) error {
	listener, err := l.Client.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() {
		if c, err := listener.Accept(); err == nil {
			_, _ = c.Write(make([]byte, 16<<20)) // the reader counts
			c.Close()
		}
	}()
	c, err := l.Client.DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, c)
	if n != 16<<20 {
		err = errors.Join(err, fmt.Errorf("%d bytes came", n))
	}
	return errors.Join(err, c.Close())
}

// monitor runs a Prometheus that has scraped once.
func (s *site) monitor(t *testing.T, scrape time.Duration, native bool) *dashboardstest.Session {
	server := dashboardstest.Server{
		Listen: "127.0.0.1:9090", Targets: []string{atClients, atServers, atSecond, atLosing},
		Interval: scrape, Native: native,
	}
	if native {
		server.Rules = ruleFiles(t)
	} else {
		server.Listen = "127.0.0.1:9091"
	}
	args, err := server.Arguments(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	background(t, s.l.Client, "prometheus", args...)
	session := &dashboardstest.Session{
		URL:            "http://" + server.Listen,
		Client:         &http.Client{Transport: &http.Transport{DialContext: s.l.Client.DialContext, DisableKeepAlives: true}},
		ScrapeInterval: scrape,
	}
	session.End, session.Range = time.Now(), time.Minute
	awaitScrape(t, session, time.Now())
	return session
}

// awaitScrape waits for a scrape after a time.
func awaitScrape(t *testing.T, session *dashboardstest.Session, after time.Time) {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		series, err := session.Ask(t.Context(), "max(timestamp("+exporter.BuildInfo+"))", time.Now())
		if err == nil && len(series) == 1 && series[0].Last() > float64(after.Unix()) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no scrape: %v", err)
		}
	}
}

// counted is what a log says of a port.
type counted struct{ requests, connections int }

func logs(t *testing.T, path string) map[int]counted {
	connections, err := lab.ReadLog(path)
	if err != nil {
		t.Fatal(err)
	}
	ports := map[int]counted{}
	for _, c := range connections {
		p := ports[int(c.Tuple.ServerPort)]
		p.connections++
		p.requests += c.Requests
		ports[int(c.Tuple.ServerPort)] = p
	}
	return ports
}

// holdAgainstLog compares counters exactly.
func holdAgainstLog(t *testing.T, session *dashboardstest.Session, l *lab.Lab, logged map[int]counted) {
	for port, want := range logged {
		if estimated(port) { // so not counted
			continue
		}
		server := fmt.Sprintf(`{server=%q}`, address(l, port))
		failed := unlogged(t, session, address(l, port))
		for _, c := range []struct {
			what, expr string
			want       int
		}{
			{"requests", "sum(" + exporter.Requests + server + ")", want.requests + failed},
			{"reused requests", "sum(" + exporter.Requests + strings.TrimSuffix(server, "}") + `,reused="true"})`, want.requests - want.connections + failed},
			{"connections", fmt.Sprintf(`sum(%s%s) - (sum(%s%s,reason="never_used"}) or vector(0))`, exporter.ConnectionsOpened, server, exporter.ConnectionsClosed, strings.TrimSuffix(server, "}")), want.connections},
		} {
			if got := ask(t, session, c.expr); int(got) != c.want {
				t.Errorf("port %d: %v %s, the log has %d", port, got, c.what, c.want)
			}
		}
	}
}

// unlogged is how many requests a server does not log: those that come when it has
// closed, and not those that the client gives up.
func unlogged(t *testing.T, session *dashboardstest.Session, server string) int {
	return int(ask(t, session, fmt.Sprintf("sum(%s{server=%q,how!=\"client_abort\"}) or vector(0)", exporter.FailedRequests, server)))
}

// estimated tells whether a port speaks TLS of which the keys are not logged.
func estimated(port int) bool { return port == portTLS || port == portTLSKept }

func ask(t *testing.T, session *dashboardstest.Session, expr string) float64 {
	series, err := session.Ask(t.Context(), expr, session.End)
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 1 {
		t.Fatalf("%s has %d series", expr, len(series))
	}
	return series[0].Last()
}

// rare are queries of what does not happen here: a cap that is met, and
// lines of what is estimated in vain.
var rare = regexp.MustCompile(`(Caps met).*|Idle times.* / F|Sidecars, those.* / I`)

// lookAtAll fails where a query of a panel stays empty for every server.
func lookAtAll(t *testing.T, session *dashboardstest.Session, l *lab.Lab, logged map[int]counted) {
	boards, err := dashboards.Dashboards(dashboards.Config{})
	if err != nil {
		t.Fatal(err)
	}
	filled := map[string]bool{}
	for _, d := range boards {
		ports := []int{portMixed, portHurries, portCounts, portCloses, portTLS, portHTTP2, portKeys, portForgets, portEven}
		if !strings.HasSuffix(*d.Uid, "-server") {
			ports = ports[:1] // the others are about all servers
		}
		for _, port := range ports {
			session.Variables = nil
			if len(ports) > 1 {
				session.Variables = map[string]string{exporter.LabelServer: address(l, port)}
			}
			results, err := session.Look(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				filled[r.String()] = filled[r.String()] || !r.Empty()
			}
			plausible(t, results)
			if strings.HasSuffix(*d.Uid, "-overview") {
				holdTable(t, session, results, l, logged)
			}
		}
	}
	for query, ok := range filled {
		if !ok && !rare.MatchString(query) {
			t.Errorf("%s: no data", query)
		}
	}
}

const worstFirst = "Servers, worst first"

// holdTable compares the table of servers with the log.
func holdTable(t *testing.T, session *dashboardstest.Session, results []dashboardstest.Result, l *lab.Lab, logged map[int]counted) {
	for port, want := range logged {
		if estimated(port) {
			continue
		}
		reused := float64(want.requests - want.connections + unlogged(t, session, address(l, port)))
		wasted := ask(t, session, fmt.Sprintf("sum(%s{server=%q,traffic=\"application\"}) or vector(0)", exporter.WastedHandshakes, address(l, port)))
		for _, column := range []struct {
			ref  string
			want float64
		}{
			{"A", reused / (reused + wasted)},
			{"C", wasted / session.Range.Seconds()},
		} {
			got := shown(t, results, worstFirst, column.ref, address(l, port))
			if math.Abs(got-column.want) > 0.15*column.want+2/session.Range.Seconds() {
				t.Errorf("port %d: column %s shows %v, the log says %v", port, column.ref, got, column.want)
			}
		}
	}
	for port, want := range map[int]string{ // on a busy machine, requests that are to cross a closing come late
		portMixed: "pool_miss|client_close|http10_not_requested", portHurries: "race|stale_reuse", portCounts: "server_limit", portCloses: "server_close", portTLS: "closes_after_response|pool_miss",
		portCurl: "client_discard", portH2load: "client_goaway", portSlow: "client_discard", portAborts: "server_abort", portForgets: "path_dropped", portDead: "refused",
	} {
		if got := mainCause(results, address(l, port)); !slices.Contains(strings.Split(want, "|"), got) {
			t.Errorf("port %d: the main cause shown is %q, want %s", port, got, want)
		}
	}
}

// mainCause returns what the table says of a server.
func mainCause(results []dashboardstest.Result, server string) string {
	for _, r := range results {
		if r.Panel != worstFirst || r.RefID != "E" {
			continue
		}
		for _, s := range r.Series {
			if s.Labels[exporter.LabelServer] == server {
				return s.Labels["why"]
			}
		}
	}
	return ""
}

// plausible finds shares that are none.
func plausible(t *testing.T, results []dashboardstest.Result) {
	for _, r := range results {
		if !strings.Contains(r.Panel, "effectiveness") {
			continue
		}
		for _, s := range r.Series {
			for _, v := range s.Values {
				if v < 0 || v > 1+1e-9 || math.IsInf(v, 0) {
					t.Errorf("%v shows %v", r, v)
				}
			}
		}
	}
}
