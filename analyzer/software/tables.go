package software

import "strings"

// A row says which software a product token names (RFC 9110 §10.1.5). The token is in
// lower case, and compared without regard to case.
type row struct {
	token string
	id    ID
}

// The tokens with which clients begin their User-Agent. Of a browser's, which are many,
// the last that is in browsers counts.
var clients = []row{
	{"go-http-client", GoHTTP},
	{"python-requests", PythonRequests},
	{"python-urllib3", PythonURLLib3},
	{"python-urllib", PythonURLLib},
	{"aiohttp", AIOHTTP}, // behind Python/3.11
	{"python-httpx", HTTPX},
	{"pycurl", PycURL}, // before libcurl/8
	{"curl", Curl},
	{"libcurl", LibCurl},
	{"libcurl-agent", LibCurl},
	{"wget", Wget},
	{"java", Java},
	{"java-http-client", JavaHTTPClient},
	{"apache-httpclient", ApacheHTTPClient},
	{"apache-httpasyncclient", ApacheHTTPClient},
	{"okhttp", OkHTTP},
	{"axios", Axios},
	{"node", Node},
	{"undici", Node},
	{"got", Got},
	{"node-fetch", NodeFetch},
	{"guzzlehttp", Guzzle},
	{"php", PHP},
	{"php-soap", PHP},
	{"ruby", Ruby},
	{"faraday", Faraday},
	{"excon", Excon},
	{"libwww-perl", LWP},
	{"lwp::simple", LWP},
	{"apachebench", ApacheBench},
	{"wrk", Wrk},
	{"hey", Hey},
	{"siege", Siege}, // behind Mozilla/5.0
	{"k6", K6},       // behind Grafana since 1.0
	{"grpc-go", GRPCGo},
	{"grpc-java-netty", GRPCJava},
	{"grpc-java-okhttp", GRPCJava},
	{"grpc-java-cronet", GRPCJava},
	{"grpc-java-jetty", GRPCJava},
	{"grpc-java", GRPCJava},
	{"grpc-python", GRPCPython},
	{"grpc-python-asyncio", GRPCPython},
	{"grpc-node-js", GRPCNode},
	{"grpc-node", GRPCNode},
	{"grpc-c++", GRPCCPP},
	{"grpc-dotnet", GRPCDotnet},
	{"prometheus", Prometheus},
	{"kube-probe", KubeProbe},
	{"elb-healthchecker", ELBHealthChecker},
	{"googlehc", GoogleHC},
	{"haproxy", HAProxy},
}

// Each browser names itself and those that it is like: Chrome says Safari as well.
var browsers = []row{
	{"siege", Siege},
	{"firefox", Firefox},
	{"headlesschrome", Chrome},
	{"chrome", Chrome},
	{"chromium", Chrome},
	{"safari", Safari},
}

var servers = []row{
	{"nginx", Nginx},
	{"openresty", OpenResty},
	{"apache", Apache},
	{"apache-coyote", Tomcat},
	{"tomcat", Tomcat},
	{"jetty", Jetty},
	{"gunicorn", Gunicorn},
	{"uwsgi", UWSGI},
	{"uvicorn", Uvicorn},
	{"hypercorn", Hypercorn},
	{"hypercorn-h11", Hypercorn},
	{"hypercorn-h2", Hypercorn},
	{"werkzeug", Werkzeug},
	{"basehttp", PythonHTTPServer},
	{"simplehttp", PythonHTTPServer},
	{"kestrel", Kestrel},
	{"microsoft-iis", IIS},
	{"lighttpd", Lighttpd},
	{"caddy", Caddy},
	{"envoy", Envoy},
	{"istio-envoy", IstioEnvoy},
	{"varnish", Varnish},
	{"squid", Squid},
	{"awselb", AWSELB},
	{"cloudflare", Cloudflare},
	{"express", Express},
}

// Those that write Via.
var proxies = []row{
	{"varnish", Varnish},
	{"squid", Squid},
	{"caddy", Caddy},
	{"apache", Apache},
	{"nginx", Nginx},
	{"envoy", Envoy},
	{"cloudflare", Cloudflare},
}

// client reads a User-Agent: product tokens with versions and comments. Most name
// themselves first. An application may put its own name before that of its gRPC library,
// and a library that of its language.
func client(agent []byte) ID {
	agent = agent[:min(len(agent), MaxLen)]
	first, rest := product(agent)
	switch {
	case isFold(first, "mozilla"):
		return browser(rest)
	case isFold(first, "python"), isFold(first, "grafana"):
		second, _ := product(rest)
		return lookup(second, clients)
	}
	if id := lookup(first, clients); id != Unknown {
		return id
	}
	for len(rest) > 0 {
		var word []byte
		word, rest = product(rest)
		if id := lookup(word, clients); id.IsGRPC() {
			return id
		}
	}
	return Unknown
}

// browser reads what follows Mozilla/5.0.
func browser(rest []byte) (id ID) {
	for len(rest) > 0 {
		var word []byte
		word, rest = product(rest)
		found := lookup(word, browsers)
		if found == Siege {
			return Siege
		}
		if found != Unknown && (id == Unknown || found != Safari) {
			id = found
		}
	}
	return id
}

// serverOf reads a Server: the software that it names first.
func serverOf(value []byte) ID {
	first, _ := product(value[:min(len(value), MaxLen)])
	return lookup(first, servers)
}

func lookup(token []byte, table []row) ID {
	for i := range table {
		if isFold(token, table[i].token) {
			return table[i].id
		}
	}
	return Unknown
}

// product returns the first word of b up to its version, and what follows the word.
// Brackets part words, so that comments are read as words, too.
func product(b []byte) (token, rest []byte) {
	for len(b) > 0 && parts(b[0]) {
		b = b[1:]
	}
	end, n := 0, -1
	for end < len(b) && !parts(b[end]) {
		if b[end] == '/' && n < 0 {
			n = end
		}
		end++
	}
	if n < 0 {
		n = end
	}
	return b[:n], b[end:]
}

func parts(c byte) bool {
	return c <= ' ' || c == '(' || c == ')' || c == ';' || c == ','
}

// isFold reports whether b is name in any case.
func isFold(b []byte, name string) bool {
	return len(b) == len(name) && strings.EqualFold(string(b), name)
}
