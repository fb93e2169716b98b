// Package software recognises what software a client or a server is, by the fields
// in which it names itself: User-Agent, Server and Via (RFC 9110 §10.1.5, §10.2.4,
// §7.6.3).
//
// The lists are closed: a value gives one of the names below, or [Unknown]. Nothing
// else of it is told, no version and no comment, for that may name a user. Whatever
// is sent in these fields can be made up: it decides which advice comes first, and no
// figure.
//
// # Cost and caps
//
// Nothing is allocated. A value's first [MaxLen] bytes are looked at, each a bounded
// number of times; what comes later does not count. A [Recent] keeps 64 hashes.
package software

// MaxLen is how many bytes of a value are looked at.
const MaxLen = 256

// An ID is a software of the closed lists.
type ID uint8

// The clients, then the servers and proxies. Proxies are clients, too.
const (
	Unknown ID = iota
	GoHTTP
	PythonRequests
	PythonURLLib3
	PythonURLLib
	AIOHTTP
	HTTPX
	Curl
	Wget
	Java // HttpURLConnection
	JavaHTTPClient
	ApacheHTTPClient
	OkHTTP
	Axios
	Node // fetch, undici
	Got
	NodeFetch
	Guzzle
	PHP
	PycURL
	LibCurl
	Ruby
	Faraday
	Excon
	LWP
	ApacheBench
	Wrk
	Hey
	Siege
	K6
	GRPCGo
	GRPCJava
	GRPCPython
	GRPCNode
	GRPCCPP
	GRPCDotnet
	Prometheus
	KubeProbe
	ELBHealthChecker
	GoogleHC
	HAProxy
	Chrome
	Firefox
	Safari

	Nginx
	OpenResty
	Apache
	Tomcat
	Jetty
	Gunicorn
	UWSGI
	Uvicorn
	Hypercorn
	Werkzeug
	PythonHTTPServer // BaseHTTP, SimpleHTTP: http.server
	Kestrel
	IIS
	Lighttpd
	Caddy
	Envoy
	IstioEnvoy
	Varnish
	Squid
	AWSELB
	Cloudflare
	Express

	NumIDs
)

var names = [NumIDs]string{
	GoHTTP: "Go-http-client", PythonRequests: "python-requests", PythonURLLib3: "python-urllib3", PythonURLLib: "Python-urllib",
	AIOHTTP: "aiohttp", HTTPX: "httpx", Curl: "curl", Wget: "Wget", Java: "Java", JavaHTTPClient: "Java-http-client",
	ApacheHTTPClient: "Apache-HttpClient", OkHTTP: "okhttp", Axios: "axios", Node: "node", Got: "got", NodeFetch: "node-fetch",
	Guzzle: "GuzzleHttp", PHP: "PHP", PycURL: "PycURL", LibCurl: "libcurl", Ruby: "Ruby", Faraday: "Faraday", Excon: "excon",
	LWP: "libwww-perl", ApacheBench: "ApacheBench", Wrk: "wrk", Hey: "hey", Siege: "Siege", K6: "k6",
	GRPCGo: "grpc-go", GRPCJava: "grpc-java", GRPCPython: "grpc-python", GRPCNode: "grpc-node", GRPCCPP: "grpc-c++", GRPCDotnet: "grpc-dotnet",
	Prometheus: "Prometheus", KubeProbe: "kube-probe", ELBHealthChecker: "ELB-HealthChecker", GoogleHC: "GoogleHC", HAProxy: "HAProxy",
	Chrome: "Chrome", Firefox: "Firefox", Safari: "Safari",

	Nginx: "nginx", OpenResty: "openresty", Apache: "Apache", Tomcat: "Tomcat", Jetty: "Jetty", Gunicorn: "gunicorn", UWSGI: "uWSGI",
	Uvicorn: "uvicorn", Hypercorn: "hypercorn", Werkzeug: "Werkzeug", PythonHTTPServer: "http.server", Kestrel: "Kestrel",
	IIS: "Microsoft-IIS", Lighttpd: "lighttpd", Caddy: "Caddy", Envoy: "envoy", IstioEnvoy: "istio-envoy", Varnish: "Varnish",
	Squid: "Squid", AWSELB: "awselb", Cloudflare: "cloudflare", Express: "Express",
}

// String returns the software's name, "" where it is not known.
func (i ID) String() string {
	if i < NumIDs {
		return names[i]
	}
	return ""
}

// IsGRPC reports whether it is a gRPC library.
func (i ID) IsGRPC() bool { return GRPCGo <= i && i <= GRPCDotnet }

// IsProber reports whether what names itself so checks health, and does nothing else.
// Prometheus reads what it asks for.
func (i ID) IsProber() bool { return KubeProbe <= i && i <= HAProxy }

// IsProxy reports whether what serves under this name often sends requests on.
func (i ID) IsProxy() bool {
	switch i {
	case Nginx, OpenResty, Apache, Caddy, Envoy, IstioEnvoy, Varnish, Squid, HAProxy:
		return true
	default:
		return false
	}
}

// Client returns who sent a request with this User-Agent and Via. What was forwarded
// names the software of who sent it first: forwarded says that there was a field which
// tells so, such as X-Forwarded-For. Then Via tells who sent it here, or nothing does.
func Client(userAgent, via []byte, forwarded bool) ID {
	if forwarded || len(via) > 0 {
		return proxy(via)
	}
	return client(userAgent)
}

// Server returns who sent a response with this Server and Via. A Server that came
// through a proxy is not the proxy's.
func Server(server, via []byte) ID {
	if len(via) > 0 {
		return proxy(via)
	}
	return serverOf(server)
}

// proxy reads the last element of Via, that of who sent the message: a version, a name
// or pseudonym, and often a comment with the software.
func proxy(via []byte) ID {
	via = via[max(0, len(via)-MaxLen):]
	start, depth := 0, 0
	for i, c := range via {
		switch {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ',' && depth == 0:
			start = i + 1
		}
	}
	for rest := via[start:]; len(rest) > 0; {
		var word []byte
		word, rest = product(rest)
		if id := lookup(word, proxies); id != Unknown {
			return id
		}
	}
	return Unknown
}
