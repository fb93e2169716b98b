package dashboardstest_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
	"github.com/keepscope/keepscope/dashboards"
	"github.com/keepscope/keepscope/dashboards/dashboardstest"
	"github.com/keepscope/keepscope/exporter"
)

const (
	metricsAt    = "127.0.0.1:9737"
	prometheusAt = "127.0.0.1:9090"
	scrape       = 2 * time.Second
)

// TestRealTraffic runs clients and a server with every habit for 40 seconds
// (TRAFFIC_TIME sets another time) in namespaces of their own, watched by "keepscope
// run", which a Prometheus scrapes; then it looks at every dashboard, and holds
// the main panels against the server's log, and tiles and table against the report of
// the same packets.
func TestRealTraffic(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("prometheus is not installed")
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
	l, nginx := network(t)
	binary, captured := sidecar(t, l), packets(t, l)
	session := monitor(t, l)
	start := time.Now()
	running, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	live(running, t, clients(l))
	if err := nginx.Stop(); err != nil { // and with that every connection
		t.Fatal(err)
	}
	logged := logs(t, nginx)
	session.End = time.Now().Add(3 * scrape)
	awaitScrape(t, session, session.End)
	session.Range = session.End.Sub(start).Round(time.Second)
	holdAgainstLog(t, session, l, logged)
	lookAtAll(t, session, l, logged)
	holdAgainstReport(t, *session, binary, captured())
}

func network(t *testing.T) (*lab.Lab, *lab.Nginx) {
	l, err := lab.New(t.Context(), lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	nginx, err := l.NewNginx(t.Context(), lab.NginxConfig{Servers: serverBlocks, Files: serverFiles(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nginx.Kill(); err != nil {
			t.Error(err)
		}
	})
	return l, nginx
}

// sidecar builds and runs Keepscope beside the clients.
func sidecar(t *testing.T, l *lab.Lab) (binary string) {
	binary = filepath.Join(t.TempDir(), "keepscope")
	build := exec.Command("go", "build", "-pgo=off", "-o", binary, "./cmd/keepscope")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building keepscope: %v\n%s", err, out)
	}
	background(t, l, binary, "run", "-i", l.Client.Interface, "--listen", metricsAt)
	return binary
}

// background runs a program in the client's namespace until the test's end.
func background(t *testing.T, l *lab.Lab, name string, args ...string) {
	ctx, stop := context.WithCancel(context.Background())
	cmd := l.Client.Command(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %v\n%s", name, err, &output)
		}
	})
}

// monitor runs a Prometheus that has scraped once.
func monitor(t *testing.T, l *lab.Lab) *dashboardstest.Session {
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: %v}\nscrape_configs: [{job_name: keepscope, static_configs: [{targets: [%q]}]}]\n", scrape, metricsAt)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, l, "prometheus", "--enable-feature=native-histograms,exemplar-storage", "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAt)
	session := &dashboardstest.Session{
		URL:            "http://" + prometheusAt,
		Client:         &http.Client{Transport: &http.Transport{DialContext: l.Client.DialContext, DisableKeepAlives: true}},
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

func logs(t *testing.T, nginx *lab.Nginx) map[int]counted {
	connections, err := lab.ReadLog(nginx.Log)
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

// holdAgainstLog compares counters exactly, and what panels show as nearly as a
// rate can: the first scrape of a server lacks what was before it.
func holdAgainstLog(t *testing.T, session *dashboardstest.Session, l *lab.Lab, logged map[int]counted) {
	for port, want := range logged {
		if port == portTLS { // not decrypted, so not counted
			continue
		}
		server := fmt.Sprintf(`{server=%q}`, address(l, port))
		races := ask(t, session, "sum("+exporter.Races+server+")")
		for _, c := range []struct {
			what, expr string
			want       int
		}{
			{"requests", "sum(" + exporter.Requests + server + ")", want.requests + int(races)}, // a race is never answered
			{"reused requests", "sum(" + exporter.Requests + strings.TrimSuffix(server, "}") + `,reused="true"})`, want.requests - want.connections + int(races)},
			{"connections", fmt.Sprintf(`sum(%s%s) - (sum(%s%s,reason="never_used"}) or vector(0))`, exporter.ConnectionsOpened, server, exporter.ConnectionsClosed, strings.TrimSuffix(server, "}")), want.connections},
		} {
			if got := ask(t, session, c.expr); int(got) != c.want {
				t.Errorf("port %d: %v %s, the log has %d", port, got, c.what, c.want)
			}
		}
		if (races > 0) != (port == portHurries) {
			t.Errorf("port %d: %v races", port, races)
		}
	}
}

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

// rare are queries of what the clients here don't do: HTTP/2 (the stand-in of
// package dashboards has it), probes, a second sidecar, a path that forgets, and
// lines of what is estimated in vain.
var rare = regexp.MustCompile(`(Streams at once|Stream limits met|GOAWAY frames|gRPC errors|HTTP/2 requests|Lines of the key log|Health checks|Uneven load|Caps met).*|Idle times.* / F|Sidecars, those.* / I`)

// lookAtAll fails where a query of a panel stays empty for every server.
func lookAtAll(t *testing.T, session *dashboardstest.Session, l *lab.Lab, logged map[int]counted) {
	boards, err := dashboards.Dashboards(dashboards.Config{})
	if err != nil {
		t.Fatal(err)
	}
	filled := map[string]bool{}
	for _, d := range boards {
		ports := []int{portGood, portHurries, portCounts, portCloses, portTLS}
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

// holdTable compares the table of servers with the log.
func holdTable(t *testing.T, session *dashboardstest.Session, results []dashboardstest.Result, l *lab.Lab, logged map[int]counted) {
	for port, want := range logged {
		if port == portTLS {
			continue
		}
		// The server logs no request that comes when it has closed.
		want.requests += int(ask(t, session, fmt.Sprintf("sum(%s{server=%q})", exporter.Races, address(l, port))))
		reused := float64(want.requests - want.connections)
		wasted := ask(t, session, fmt.Sprintf("sum(%s{server=%q})", exporter.WastedHandshakes, address(l, port)))
		for _, column := range []struct {
			ref  string
			want float64
		}{
			{"A", reused / (reused + wasted)},
			{"C", wasted / session.Range.Seconds()},
		} {
			got := cell(results, column.ref, address(l, port))
			if math.Abs(got-column.want) > 0.15*column.want+0.01 {
				t.Errorf("port %d: column %s shows %v, the log says %v", port, column.ref, got, column.want)
			}
		}
	}
	for port, want := range map[int]string{portGood: "pool_miss|client_close|http10_not_requested", portHurries: "race", portCounts: "server_limit", portCloses: "server_close", portTLS: "closes_after_response|pool_miss"} {
		if got := mainCause(results, address(l, port)); !slices.Contains(strings.Split(want, "|"), got) {
			t.Errorf("port %d: the main cause shown is %q, want %s", port, got, want)
		}
	}
}

// mainCause returns what the table says of a server.
func mainCause(results []dashboardstest.Result, server string) string {
	for _, r := range results {
		if r.Panel != "Servers, worst first" || r.RefID != "E" {
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

func cell(results []dashboardstest.Result, ref, server string) float64 {
	for _, r := range results {
		if r.Panel != "Servers, worst first" || r.RefID != ref {
			continue
		}
		for _, s := range r.Series {
			if s.Labels[exporter.LabelServer] == server {
				return s.Last()
			}
		}
	}
	return math.NaN()
}

// plausible finds shares that are none.
func plausible(t *testing.T, results []dashboardstest.Result) {
	for _, r := range results {
		if !strings.Contains(r.Panel, "effectiveness") {
			continue
		}
		for _, s := range r.Series {
			for _, v := range s.Values {
				if v < 0 || v > 1 || math.IsInf(v, 0) {
					t.Errorf("%v shows %v", r, v)
				}
			}
		}
	}
}
