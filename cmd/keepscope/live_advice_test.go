package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// An adviceTest is a server and a client of which one has a habit that wastes
// handshakes, and the finding that has to tell of it: its code, and how its advice
// begins, with the setting of the software at fault. What does not name itself on the
// wire stands among the likely ones.
type adviceTest struct {
	causeTest
	programs []string // that the row needs, or Python's modules as python3:NAME
	behind   bool     // the finding is about what is behind the proxy
	code     string
	advice   string
	likely   bool // advice is among the likely settings
}

var adviceTests = []adviceTest{
	{causeTest: causeTest{name: "nginx", nginx: "keepalive_timeout 0;", client: gets(12, nil)},
		code: "server_closes", advice: "nginx: `keepalive_timeout 75s`"},
	{causeTest: causeTest{name: "HAProxy", haproxy: "option forwardfor\n\toption http-server-close", nginx: nginxDefault, client: curls(12)}, behind: true,
		code: "client_closes", advice: "HAProxy without `option httpclose` and `option http-server-close`", likely: true},
	{causeTest: causeTest{name: "Apache", serve: apache, client: gets(12, nil)}, programs: []string{"apache2"},
		code: "server_closes", advice: "Apache: `KeepAlive On`"},
	{causeTest: causeTest{name: "Varnish", serve: varnish, client: repeat(12, untilTimeout)}, programs: []string{"varnishd"},
		code: "server_idle_timeout", advice: "Varnish: `timeout_idle`"},
	{causeTest: causeTest{name: "gunicorn", serve: gunicorn, client: gets(12, nil)}, programs: []string{"gunicorn"},
		code: "server_closes", advice: "gunicorn: "},
	{causeTest: causeTest{name: "uWSGI", serve: uwsgi("--http-socket"), client: gets(12, nil)}, programs: []string{"uwsgi"},
		code: "server_discards", advice: "uWSGI", likely: true},
	{causeTest: causeTest{name: "Tomcat", serve: tomcat, client: gets(36, nil)}, programs: []string{"javac", tomcatJar},
		code: "request_limit", advice: "Tomcat: `maxKeepAliveRequests"},
	{causeTest: causeTest{name: "Node.js", node: 1000, client: script("node", `
(async () => { for (let i = 0; i < 14; i++) { await (await fetch(process.argv[2])).text(); await new Promise(r => setTimeout(r, 50)); } })();`)},
		code: "hint_too_short", advice: "Node.js fetch (undici): "},
	{causeTest: causeTest{name: "Go", nginx: nginxDefault, client: gets(12, disableKeepAlives)},
		code: "client_closes", advice: "Go: no `Transport.DisableKeepAlives`"},
	{causeTest: causeTest{name: "requests", nginx: nginxDefault, client: script(debianPython, `
import requests, sys
for _ in range(12): requests.get(sys.argv[1])`)}, programs: []string{"python3:requests"},
		code: "client_discards", advice: "requests: one `requests.Session`"},
	{causeTest: causeTest{name: "requests beside a Session", nginx: nginxDefault, client: script(debianPython, `
import requests, sys
kept = requests.Session()
for _ in range(12):
    kept.get(sys.argv[1])
    requests.get(sys.argv[1])`)}, programs: []string{"python3:requests"},
		code: "client_discards", advice: "requests: one `requests.Session`"},
	{causeTest: causeTest{name: "aiohttp", nginx: nginxDefault, client: script(debianPython, `
import aiohttp, asyncio, sys
async def one():
    async with aiohttp.ClientSession() as s:
        async with s.get(sys.argv[1]) as r: await r.read()
async def main():
    for _ in range(12): await one()
asyncio.run(main())`)}, programs: []string{"python3:aiohttp"},
		code: "client_discards", advice: "aiohttp: "},
	{causeTest: causeTest{name: "httpx", nginx: nginxDefault, client: script(debianPython, `
import httpx, sys
for _ in range(12): httpx.get(sys.argv[1])`)}, programs: []string{"python3:httpx"},
		code: "client_discards", advice: "httpx: "},
	{causeTest: causeTest{name: "Java 17", nginx: nginxDefault, client: script("java", `
import java.net.*;
public class Main {
	public static void main(String[] a) throws Exception {
		for (int i = 0; i < 12; i++) {
			HttpURLConnection c = (HttpURLConnection) new URL(a[0]).openConnection();
			c.getInputStream().readAllBytes();
			c.disconnect();
			Thread.sleep(20);
		}
		HttpURLConnection c = (HttpURLConnection) new URL(a[0]).openConnection();
		c.getInputStream().readAllBytes();
		c.disconnect();
	}
}`)}, programs: []string{"javac"},
		code: "client_discards", advice: "Java HttpURLConnection: "},
	{causeTest: causeTest{name: "PHP", nginx: nginxDefault, client: script("php", `<?php
ini_set('user_agent', 'PHP/' . PHP_VERSION);
for ($i = 0; $i < 12; $i++) file_get_contents($argv[1]);`)}, programs: []string{"php"},
		code: "client_closes", advice: "PHP's stream wrappers"},
	{causeTest: causeTest{name: "Ruby", nginx: nginxDefault, client: script("ruby", `
require "net/http"
uri = URI(ARGV[0])
http = Net::HTTP.new(uri.host, uri.port)
12.times { http.get("/") }`)}, programs: []string{"ruby"},
		code: "client_closes", advice: "Ruby Net::HTTP: "},
	{causeTest: causeTest{name: "curl", nginx: nginxDefault, client: repeat(12, curls(1))},
		code: "client_discards", advice: "curl: "},
}

// TestLiveAdvice has real software with one habit each, and holds the findings of the
// whole capture, each port by itself, to the habit's code and to the software's setting.
func TestLiveAdvice(t *testing.T) {
	l := newLab(t, lab.Config{}, "nginx", "haproxy", "node", "curl", "ss", "sh")
	tests := adviceHere(t)
	var serving []causeTest
	var sites []*causeSite
	for i, tt := range tests {
		serving = append(serving, tt.causeTest)
		sites = append(sites, newCauseSite(l, tt.causeTest, uint16(8400+i), func(string) {}))
	}
	startServers(t, l, serving, sites)
	capture := filepath.Join(t.TempDir(), "advice.pcap")
	w := watch(t, l.Server, "-i", l.Server.Interface, "-i", "lo", "--write", capture)
	ctx, cancel := context.WithTimeout(t.Context(), 2*causeTime())
	defer cancel()
	var asking sync.WaitGroup
	for i, tt := range tests {
		asking.Go(func() {
			if err := tt.client(ctx, sites[i]); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
	}
	asking.Wait()
	w.stop(t)
	for i, tt := range tests {
		port := sites[i].addr.Port()
		if tt.behind {
			port = sites[i].server.Port()
		}
		t.Run(tt.name, func(t *testing.T) { tt.hold(t, capture, port) })
	}
}

// hold reads what went to a port, and looks for the finding.
func (tt *adviceTest) hold(t *testing.T, capture string, port uint16) {
	var r struct {
		Findings []struct{ Code, Advice string }
	}
	if err := json.Unmarshal(printed(t, "read", "--output=json", "--filter", fmt.Sprintf("tcp port %d", port), capture), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) == 0 || r.Findings[0].Code != tt.code {
		t.Fatalf("findings are %+v, want %s first", r.Findings, tt.code)
	}
	advice := r.Findings[0].Advice
	if _, likely, _ := strings.Cut(advice, "Likely: "); tt.likely {
		if !strings.Contains(likely, tt.advice) {
			t.Errorf("advice %q lacks %q among the likely", advice, tt.advice)
		}
	} else if !strings.HasPrefix(advice, tt.advice) {
		t.Errorf("advice %q, want %q first", advice, tt.advice)
	}
}

// adviceHere are the tests that this machine has the software for.
func adviceHere(t *testing.T) (tests []adviceTest) {
	t.Helper()
	for _, tt := range adviceTests {
		missing := slices.IndexFunc(tt.programs, func(p string) bool { return !here(t.Context(), p) })
		if missing >= 0 {
			t.Run(tt.name, func(t *testing.T) { t.Skipf("%s is not installed", tt.programs[missing]) })
			continue
		}
		tests = append(tests, tt)
	}
	return tests
}

// debianPython is the Python that packages bring modules for.
const debianPython = "/usr/bin/python3"

const tomcatJar = "/usr/share/java/tomcat10-embed-core.jar"

func here(ctx context.Context, program string) bool {
	if module, ok := strings.CutPrefix(program, "python3:"); ok {
		return exec.CommandContext(ctx, debianPython, "-c", "import "+module).Run() == nil
	}
	if filepath.IsAbs(program) {
		_, err := os.Stat(program)
		return err == nil
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// gets asks n times in turn, by one Transport.
func gets(n int, configure func(*http.Transport)) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		t := s.transport()
		defer t.CloseIdleConnections()
		if configure != nil {
			configure(t)
		}
		for range n {
			if err := s.ask(ctx, t, drain); err != nil {
				return err
			}
			pause(ctx, 20*time.Millisecond) // by then the server has closed, if it does
		}
		return nil
	}
}

// script has an interpreter run a program with the site's URL.
func script(interpreter, program string) causeClient {
	return func(ctx context.Context, s *causeSite) error {
		name := fmt.Sprintf("script%d", s.addr.Port())
		if interpreter == "java" {
			name += ".java"
		}
		file, err := s.l.File(name, []byte(program))
		if err != nil {
			return err
		}
		return s.l.Client.Run(ctx, interpreter, file, "http://"+s.addr.String()+"/")
	}
}

// untilTimeout asks twice, and then waits until the server closes.
func untilTimeout(ctx context.Context, s *causeSite) error {
	all, err := s.talkers(ctx, 1)
	if err != nil {
		return err
	}
	return errors.Join(all[0].ask(), all[0].ask(), all[0].end())
}

// apache is one that keeps no connection.
func apache(t *testing.T, s *causeSite) {
	t.Helper()
	modules := "/usr/lib/apache2/modules/"
	dir := t.TempDir()
	config, err := s.l.File("apache.conf", fmt.Appendf(nil, `ServerRoot %q
ServerName localhost
PidFile %[1]s/pid
ErrorLog %[1]s/error.log
Listen %[2]v
LoadModule mpm_event_module %[3]smod_mpm_event.so
LoadModule authz_core_module %[3]smod_authz_core.so
LoadModule alias_module %[3]smod_alias.so
DocumentRoot %[1]s
AliasMatch ^/$ %[1]s/ok
KeepAlive Off
`, dir, s.server, modules))
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "ok"), []byte("ok"), 0o600)); err != nil {
		t.Fatal(err)
	}
	start(t, s.l, int(s.server.Port()), "apache2", "-f", config, "-DFOREGROUND")
}

// varnish answers by itself, and ends what has idled for a little more than a second.
func varnish(t *testing.T, s *causeSite) {
	t.Helper()
	vcl, err := s.l.File("default.vcl", []byte(`vcl 4.1;
backend none none;
sub vcl_recv { return (synth(200)); }
`))
	if err != nil {
		t.Fatal(err)
	}
	start(t, s.l, int(s.server.Port()), "varnishd", "-F", "-n", t.TempDir(), "-j", "none", "-a", s.server.String(), "-f", vcl,
		"-s", "malloc,8m", "-p", "timeout_idle=1.2", "-p", "thread_pool_min=5")
}

// wsgiApp answers.
const wsgiApp = `
def application(env, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
`

// gunicorn has its default worker, which keeps no connection.
func gunicorn(t *testing.T, s *causeSite) {
	t.Helper()
	if _, err := s.l.File("wsgiapp.py", []byte(wsgiApp)); err != nil {
		t.Fatal(err)
	}
	start(t, s.l, int(s.server.Port()), "gunicorn", "--chdir", s.l.Dir, "-b", s.server.String(), "--worker-tmp-dir", s.l.Dir, "wsgiapp:application")
}

// tomcat keeps a connection for three requests, and names itself as it did by default
// up to version 8.
func tomcat(t *testing.T, s *causeSite) {
	t.Helper()
	program, err := s.l.File("Tomcat.java", fmt.Appendf(nil, `
import jakarta.servlet.http.*;
import org.apache.catalina.connector.Connector;
public class Tomcat {
	public static void main(String[] a) throws Exception {
		var tomcat = new org.apache.catalina.startup.Tomcat();
		tomcat.setBaseDir(%q);
		var connector = new Connector();
		connector.setPort(%d);
		connector.setProperty("address", %q);
		connector.setProperty("maxKeepAliveRequests", "3");
		connector.setProperty("server", "Apache-Coyote/1.1");
		tomcat.setConnector(connector);
		var context = tomcat.addContext("", null);
		org.apache.catalina.startup.Tomcat.addServlet(context, "ok", new HttpServlet() {
			protected void doGet(HttpServletRequest q, HttpServletResponse r) throws java.io.IOException { r.getWriter().write("ok"); }
		});
		context.addServletMappingDecoded("/", "ok");
		tomcat.start();
		tomcat.getServer().await();
	}
}
`, t.TempDir(), s.server.Port(), s.server.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	start(t, s.l, int(s.server.Port()), "java", "-cp", "/usr/share/java/*", program)
}
