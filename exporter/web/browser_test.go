package web

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keepscope/keepscope/exporter/report"
)

// shops is a capture of as many servers as a page has to list; at every third one the
// client throws connections away.
func shops(n int) string {
	var b strings.Builder
	for i := range n {
		for k := range 2 {
			c := fmt.Sprintf("c%d_%d", i, k)
			fmt.Fprintf(&b, "conn %s 10.0.0.%d:%d 10.1.%d.%d:80\n", c, 1+i%7, 20000+2*i+k, i/200, 1+i%200)
			at := 100*i + 40*k
			say := func(after int, what string) { fmt.Fprintf(&b, "@%dms %s %s\n", at+after, c, what) }
			say(0, "handshake")
			say(5, fmt.Sprintf(`> "GET / HTTP/1.1\r\nHost: s%03d.example\r\n\r\n"`, i))
			say(8, `< "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"`)
			say(9+i%3, "> close")
		}
	}
	return b.String()
}

// TestBrowser visits the pages with Chromium.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of a browser")
	}
	modules, err := filepath.Abs("../../build/tools/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join(modules, module)); err != nil {
			t.Skip(module + " is not here: `make build/tools/node_modules/" + module + "` brings it")
		}
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip(err)
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip(err)
	}
	many := &ending{Handler: growing(captured(t, shops(1000)))}
	many.start(t, "127.0.0.1:0")
	address := many.address
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stop", func(http.ResponseWriter, *http.Request) { many.stop() })
	mux.HandleFunc("GET /start", func(http.ResponseWriter, *http.Request) { many.start(t, address) })
	addresses, err := json.Marshal(map[string]string{
		"none": serve(t, site(&report.Report{})), "one": serve(t, captured(t, shop)), "many": "http://" + address,
		"stop": serve(t, mux) + "/stop", "start": serve(t, mux) + "/start",
		"pictures": os.Getenv("KEEPSCOPE_PICTURES"), // a folder for screenshots
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "testdata/browser.mjs", modules, string(addresses))
	cmd.Env = append(cmd.Environ(), "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "WRONG") {
		t.Errorf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "ok    "); n < 60 {
		t.Errorf("only %d checks:\n%s", n, out)
	}
}

// growing is a site whose requests become more with each report.
func growing(s *Site) *Site {
	var n atomic.Uint64
	latest := s.src.Latest
	s.src.Latest = func() Latest {
		l := latest()
		l.Report.Totals.Requests += n.Add(1)
		return l
	}
	return s
}

// serve serves until the test ends.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	e := &ending{Handler: h}
	e.start(t, "127.0.0.1:0")
	return "http://" + e.address
}

// An ending server can be stopped, and started again at the same address.
type ending struct {
	http.Handler
	address string
	server  *http.Server
}

func (e *ending) start(t *testing.T, address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	server := &http.Server{Handler: e.Handler}
	e.address, e.server = l.Addr().String(), server
	go func() { _ = server.Serve(l) }() // until it is closed
	t.Cleanup(e.stop)
}

func (e *ending) stop() { _ = e.server.Close() }
