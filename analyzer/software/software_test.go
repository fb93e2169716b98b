package software

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestClient(t *testing.T) {
	for _, c := range []struct {
		agent string
		want  ID
	}{
		{"", Unknown},
		{"Go-http-client/1.1", GoHTTP},
		{"Go-http-client/2.0", GoHTTP},
		{"go-http-client", GoHTTP},
		{"Go-http-client-x/1.1", Unknown},
		{"python-requests/2.28.1", PythonRequests},
		{"python-urllib3/2.0.7", PythonURLLib3},
		{"Python-urllib/3.11", PythonURLLib},
		{"Python/3.11 aiohttp/3.8.4", AIOHTTP},
		{"Python/3.11", Unknown},
		{"Python/3.11 websockets/10.4", Unknown},
		{"python-httpx/0.27.0", HTTPX},
		{"curl/7.88.1", Curl},
		{"curl/7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1", Curl},
		{"curlie/1", Unknown},
		{"Wget/1.21.3", Wget},
		{"Java/17.0.9", Java},
		{"Java/1.8.0_392", Java},
		{"Java-http-client/17.0.9", JavaHTTPClient},
		{"Apache-HttpClient/4.5.13 (Java/17.0.9)", ApacheHTTPClient},
		{"Apache-HttpAsyncClient/5.2.1 (Java/17.0.9)", ApacheHTTPClient},
		{"okhttp/4.12.0", OkHTTP},
		{"axios/1.6.2", Axios},
		{"node", Node},
		{"undici", Node},
		{"got (https://github.com/sindresorhus/got)", Got},
		{"node-fetch/1.0 (+https://github.com/bitinn/node-fetch)", NodeFetch},
		{"node-fetch", NodeFetch},
		{"GuzzleHttp/7", Guzzle},
		{"GuzzleHttp/6.5.5 curl/7.88.1 PHP/8.2.7", Guzzle},
		{"PHP-SOAP/8.2.7", PHP},
		{"PHP/8.2", PHP},
		{"PycURL/7.45.2 libcurl/7.88.1 OpenSSL/3.0.11", PycURL},
		{"libcurl-agent/1.0", LibCurl},
		{"Ruby", Ruby},
		{"Faraday v2.7.12", Faraday},
		{"excon/0.104.0", Excon},
		{"libwww-perl/6.68", LWP},
		{"LWP::Simple/6.68 libwww-perl/6.68", LWP},
		{"ApacheBench/2.3", ApacheBench},
		{"wrk/4.2", Wrk},
		{"hey/0.0.1", Hey},
		{"Mozilla/5.0 (pc-x86_64-linux-gnu) Siege/4.1.6", Siege},
		{"k6/0.49.0 (https://k6.io/)", K6},
		{"Grafana k6/1.0.0", K6},
		{"grpc-go/1.60.1", GRPCGo},
		{"shop/1.2 grpc-go/1.60.1", GRPCGo},
		{"grpc-java-netty/1.60.0", GRPCJava},
		{"grpc-python/1.60.0 grpc-c/37.0.0 (linux; chttp2)", GRPCPython},
		{"grpc-node-js/1.9.13", GRPCNode},
		{"grpc-c++/1.51.1 grpc-c/29.0.0 (linux; chttp2)", GRPCCPP},
		{"grpc-dotnet/2.60.0 (.NET 8.0.0; CLR 8.0.0; net8.0; linux; x64)", GRPCDotnet},
		{"Prometheus/2.48.1", Prometheus},
		{"kube-probe/1.29", KubeProbe},
		{"ELB-HealthChecker/2.0", ELBHealthChecker},
		{"GoogleHC/1.0", GoogleHC},
		{"HAProxy", HAProxy},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36", Chrome},
		{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36", Chrome},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0", Chrome},
		{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", Firefox},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1", Safari},
		{"Mozilla/5.0 (compatible; somebot/1.0)", Unknown},

		// Made up, or other software's.
		{"my-app/1.0", Unknown},
		{"my-app/1.0 (python-requests)", Unknown},
		{"my-app curl/7.88.1", Unknown},
		{"/1.1", Unknown},
		{"()(),;; \t", Unknown},
		{"  Go-http-client/1.1", GoHTTP},
		{"GO-HTTP-CLIENT/1.1", GoHTTP},
		{"Go\x00http-client/1.1", Unknown},
		{"Go-http-client\xff/1.1", Unknown},
		{strings.Repeat("a", MaxLen) + " grpc-go/1", Unknown},
		{strings.Repeat("(", 10000) + "curl", Unknown},
	} {
		if got := Client([]byte(c.agent), nil, false); got != c.want {
			t.Errorf("%q: %q, want %q", c.agent, got, c.want)
		}
	}
}

func TestServer(t *testing.T) {
	for _, c := range []struct {
		server, via string
		want        ID
	}{
		{"", "", Unknown},
		{"nginx", "", Nginx},
		{"nginx/1.22.1", "", Nginx},
		{"NGINX/1.22.1 (Ubuntu)", "", Nginx},
		{"openresty/1.21.4.1", "", OpenResty},
		{"Apache/2.4.57 (Debian)", "", Apache},
		{"Apache", "", Apache},
		{"Apache-Coyote/1.1", "", Tomcat},
		{"Apache Tomcat/9.0", "", Apache}, // it never names itself so: somebody's setting
		{"Jetty(9.4.53.v20231009)", "", Jetty},
		{"gunicorn", "", Gunicorn},
		{"gunicorn/20.1.0", "", Gunicorn},
		{"uvicorn", "", Uvicorn},
		{"hypercorn-h11", "", Hypercorn},
		{"Werkzeug/2.2.2 Python/3.11.2", "", Werkzeug},
		{"BaseHTTP/0.6 Python/3.11.2", "", PythonHTTPServer},
		{"SimpleHTTP/0.6 Python/3.11.2", "", PythonHTTPServer},
		{"Kestrel", "", Kestrel},
		{"Microsoft-IIS/10.0", "", IIS},
		{"lighttpd/1.4.69", "", Lighttpd},
		{"Caddy", "", Caddy},
		{"envoy", "", Envoy},
		{"istio-envoy", "", IstioEnvoy},
		{"Varnish", "", Varnish},
		{"squid/5.7", "", Squid},
		{"awselb/2.0", "", AWSELB},
		{"cloudflare", "", Cloudflare},
		{"Express", "", Express},
		{"nginxy/1.2", "", Unknown},
		{"my nginx", "", Unknown},

		// Behind a proxy the Server is not of who sent it.
		{"nginx/1.22.1", "1.1 varnish (Varnish/6.0)", Varnish},
		{"nginx/1.22.1", "1.1 cache (squid/5.7)", Squid},
		{"nginx/1.22.1", "1.1 google", Unknown},
		{"Caddy", "1.1 Caddy", Caddy},
		{"nginx", "1.1 a (squid/5.7), 1.1 varnish (Varnish/7, x)", Varnish},
		{"nginx", "1.1 varnish, 1.1 edge", Unknown},
		{"nginx", "1.1 www.example.com (Apache/2.4.57)", Apache},
		{"nginx", strings.Repeat("(", 10000), Unknown},
		{"nginx", strings.Repeat("1.1 a, ", 10000) + "1.1 varnish", Varnish},
		{"nginx", ",,,", Unknown},
	} {
		if got := Server([]byte(c.server), []byte(c.via)); got != c.want {
			t.Errorf("%q, via %q: %q, want %q", c.server, c.via, got, c.want)
		}
	}
}

// TestForwarded holds that who passes a request on is not taken for who made it.
func TestForwarded(t *testing.T) {
	for _, c := range []struct {
		agent, via string
		forwarded  bool
		want       ID
	}{
		{"curl/7.88.1", "", true, Unknown},
		{"curl/7.88.1", "1.1 varnish (Varnish/7.1)", false, Varnish},
		{"curl/7.88.1", "1.1 somebody", false, Unknown},
		{"curl/7.88.1", "", false, Curl},
	} {
		if got := Client([]byte(c.agent), []byte(c.via), c.forwarded); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestNames holds that each software has a name of its own, and can be recognised.
func TestNames(t *testing.T) {
	seen := map[string]ID{}
	for id := Unknown + 1; id < NumIDs; id++ {
		if other, twice := seen[id.String()]; id.String() == "" || twice {
			t.Errorf("%d: name %q, as that of %d", id, id, other)
		}
		seen[id.String()] = id
	}
	if Unknown.String() != "" || NumIDs.String() != "" {
		t.Error("what is no software has a name")
	}
	found := map[ID]bool{}
	for _, table := range [][]row{clients, browsers, servers, proxies} {
		for _, r := range table {
			found[r.id] = true
			if r.token != strings.ToLower(r.token) {
				t.Errorf("%q is not in lower case", r.token)
			}
		}
	}
	for id := Unknown + 1; id < NumIDs; id++ {
		if !found[id] {
			t.Errorf("nothing names %s", id)
		}
	}
}

func TestKinds(t *testing.T) {
	grpc, prober := 0, 0
	for id := range NumIDs {
		if id.IsGRPC() != strings.HasPrefix(id.String(), "grpc-") {
			t.Errorf("%s: IsGRPC %v", id, id.IsGRPC())
		}
		grpc, prober = grpc+btoi(id.IsGRPC()), prober+btoi(id.IsProber())
	}
	if grpc != 6 || prober != 4 || Prometheus.IsProber() {
		t.Errorf("%d gRPC libraries, %d probers", grpc, prober)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestAllocs(t *testing.T) {
	agent, server, via := []byte("Mozilla/5.0 (X11; rv:128.0) Gecko/20100101 Firefox/128.0"), []byte("nginx/1.22.1"), []byte("1.1 a (squid/5.7)")
	var r Recent
	if n := testing.AllocsPerRun(100, func() {
		Client(agent, nil, false)
		Server(server, nil)
		Server(server, via)
		r.Client(agent, nil, false)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestRecent holds that what is remembered changes nothing, whatever takes its place.
func TestRecent(t *testing.T) {
	var r Recent
	values := []string{"", "nginx", "nginx/1.22.1", "Caddy", "curl/8.5.0", "curl/8.5.1", "node", strings.Repeat("x", 160), strings.Repeat("x", 161)}
	for i := range 400 {
		values = append(values, fmt.Sprintf("wrk/%d", i), fmt.Sprintf("Apache/2.4.%d", i), fmt.Sprintf("made-up-%d", i))
	}
	for range 2 {
		for _, v := range values {
			for _, via := range []string{"", "1.1 a (squid/5.7)"} {
				if got, want := r.Client([]byte(v), []byte(via), false), Client([]byte(v), []byte(via), false); got != want {
					t.Errorf("client %q via %q: %s, want %s", v, via, got, want)
				}
				if got, want := r.Server([]byte(v), []byte(via)), Server([]byte(v), []byte(via)); got != want {
					t.Errorf("server %q via %q: %s, want %s", v, via, got, want)
				}
			}
		}
	}
}

func FuzzSoftware(f *testing.F) {
	f.Add([]byte("Python/3.11 aiohttp/3.8.4"), []byte("1.1 a (squid/5.7), 1.1 b"), false)
	f.Add([]byte("Mozilla/5.0 (X11; Linux) Gecko/2 Firefox/128.0"), []byte{}, false)
	f.Fuzz(func(t *testing.T, value, via []byte, forwarded bool) {
		before := bytes.Clone(value)
		for _, id := range []ID{Client(value, via, forwarded), Client(value, nil, false), Server(value, via), Server(value, nil)} {
			if id >= NumIDs || id != Unknown && id.String() == "" {
				t.Fatalf("%q: %d", value, id)
			}
		}
		if !bytes.Equal(before, value) {
			t.Fatal("the value was changed")
		}
		if id := Client(value, nil, false); id != Client(bytes.ToUpper(value), nil, false) && isASCII(value) {
			t.Fatalf("%q: case matters", value)
		}
	})
}

func isASCII(b []byte) bool { return bytes.IndexFunc(b, func(r rune) bool { return r >= 128 }) < 0 }

func BenchmarkClient(b *testing.B) {
	for _, agent := range []string{"Go-http-client/1.1", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "some-application/1.0"} {
		b.Run(agent[:7], func(b *testing.B) {
			value := []byte(agent)
			b.ReportAllocs()
			for b.Loop() {
				Client(value, nil, false)
			}
		})
	}
}

func BenchmarkRecent(b *testing.B) {
	var r Recent
	value := []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	for b.Loop() {
		r.Client(value, nil, false)
	}
}

func Example() {
	fmt.Println(Client([]byte("python-requests/2.28.1"), nil, false))
	fmt.Println(Server([]byte("nginx/1.22.1"), nil))
	fmt.Println(Server([]byte("nginx/1.22.1"), []byte("1.1 cache (squid/5.7)")))
	// Output:
	// python-requests
	// nginx
	// Squid
}
