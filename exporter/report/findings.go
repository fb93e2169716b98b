package report

import (
	"cmp"
	"fmt"
	"slices"
)

// A Finding is something to change, with the figures that say so. It is what a
// person should act on first; Seconds orders findings.
type Finding struct {
	Code     string             `json:"code"`
	Severity Severity           `json:"severity"`
	Server   string             `json:"server"`
	Seconds  float64            `json:"seconds_lost"`
	Summary  string             `json:"summary"` // what is the matter, one sentence with figures
	Evidence map[string]float64 `json:"evidence"`
	Advice   string             `json:"advice"` // the setting to change

	// Estimated says that it rests on requests that were guessed from encrypted
	// records.
	Estimated bool `json:"estimated,omitempty"`
}

// A Severity says how much a finding matters.
type Severity string

// The severities.
const (
	Critical Severity = "critical" // requests fail, or soon will
	Warning  Severity = "warning"  // time is lost
	Info     Severity = "info"     // worth knowing
	OK       Severity = "ok"
)

// A Rule is one thing that can be wrong with a server. Check looks at the
// server's figures; it returns false where the threshold is not reached. A Rule
// whose Code another finding of the same server names in Overrides is left out.
type Rule struct {
	Code      string
	Severity  Severity
	Threshold string // in words, for the documentation
	Overrides []string
	OneServer bool // it weighs figures against each other that different servers do not share
	// Connections says that it is about connections as such, not their requests:
	// nothing of it is estimated.
	Connections bool
	Advice      string
	Check       func(s *Server) (Finding, bool)
}

// The smallest samples on which a finding may rest.
const (
	minWasted      = 10   // wasted handshakes of the causes of one rule
	minWastedShare = 0.02 // of them in reused requests + wasted handshakes
	minReused      = 10   // reused requests, before idle timeouts are judged
	minRequests    = 20   // requests, before the totals are judged
	minRaces       = 2    // races where fewer than minReused requests were reused
	minNeverUsed   = 10   // connections that carried nothing
	minUnused      = 0.10 // of them in all connections
	minUnread      = 10
	minSticky      = 1000 // requests, before balance is judged
	minUneven      = 1.5  // of the busiest address's even share
	minBalanced    = 100  // requests, before the text report notes that
	minPortsNoted  = 0.10 // of the ports, before the text report notes them

	// wellEffectiveness is from where on all is well, without a race.
	wellEffectiveness = 0.95
)

// findings returns what the rules say of each server, own, and of those together
// about which they say nothing, rest (nil where fewer than two are left): many
// small servers waste as much as a large one. Most seconds lost come first, then
// severity, code and server. Where no rule fires it is one finding about the
// totals; it is empty where the sample is too small for that.
func findings(own []Finding, rest *Server, totals *Summary) []Finding {
	found := append([]Finding{}, own...)
	if rest != nil {
		found = append(found, together(rest)...)
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(b.Seconds, a.Seconds),
			cmp.Compare(severityRank(a.Severity), severityRank(b.Severity)),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Server, b.Server),
			cmp.Compare(a.mark(), b.mark()),
		)
	})
	if len(found) == 0 {
		found = append(found, overall(totals)...)
	}
	return found
}

func severityRank(s Severity) int {
	return slices.Index([]Severity{Critical, Warning, Info, OK}, s)
}

// check applies the rules to one server.
func check(s *Server) []Finding {
	return apply(s, func(*Rule) bool { return true })
}

// together applies the rules that hold of several servers as of one, which s
// stands for: it has no name, and counts them in AddressCount.
func together(s *Server) []Finding {
	found := apply(s, func(r *Rule) bool { return !r.OneServer })
	for i := range found {
		f := &found[i]
		f.Evidence["servers"] = float64(s.AddressCount)
		f.Summary = fmt.Sprintf("%s together: %s", plural(uint64(s.AddressCount), "server"), f.Summary)
	}
	return found
}

// apply tries those rules that may be on what was counted and on what was
// estimated; those about connections as such once.
func apply(s *Server, may func(*Rule) bool) []Finding {
	var found []Finding
	for i, p := range s.Parts() {
		found = append(found, applyTo(&p, *s, func(r *Rule) bool { return may(r) && (i == 0 || !r.Connections) })...)
	}
	return found
}

// applyTo tries those rules that may be on a part of a server's figures.
func applyTo(p *Part, s Server, may func(*Rule) bool) []Finding {
	s.Summary = p.Summary
	var found []Finding
	var overridden []string
	for i := range Rules {
		rule := &Rules[i]
		if !may(rule) || slices.Contains(overridden, rule.Code) {
			continue
		}
		f, ok := rule.Check(&s)
		if !ok {
			continue
		}
		f.Code, f.Server = rule.Code, s.Name
		f.Severity = cmp.Or(f.Severity, rule.Severity)
		f.Advice = cmp.Or(f.Advice, rule.Advice)
		if p.IsEstimated && !rule.Connections {
			f.estimate()
		}
		found = append(found, f)
		overridden = append(overridden, rule.Overrides...)
	}
	return found
}

// mark orders what was counted before what was estimated.
func (f *Finding) mark() string {
	if f.Estimated {
		return "~"
	}
	return ""
}

// estimate labels a finding that rests on estimated requests.
func (f *Finding) estimate() {
	f.Estimated = true
	f.Summary = "Estimated from encrypted records: " + f.Summary
}

// overall says what the totals are like where no rule fires: that all is well if
// it is so of what was counted and of what was estimated, else what is not. It is
// empty on too small a sample.
func overall(t *Summary) []Finding {
	parts := t.Parts()
	if !slices.ContainsFunc(parts, func(p Part) bool { return p.Requests >= minRequests }) {
		return nil
	}
	var well, others []Finding
	for _, p := range parts {
		if p.Requests < minRequests && p.Races == 0 {
			continue
		}
		f := overallOf(&p.Summary)
		if p.IsEstimated {
			f.estimate()
		}
		if f.Severity == OK {
			well = append(well, f)
		} else {
			others = append(others, f)
		}
	}
	if len(others) > 0 {
		return others
	}
	return well
}

func overallOf(t *Summary) Finding {
	requests, reused, wasted := t.Requests, t.ReusedRequests, t.Wasted.Total
	figures := fmt.Sprintf("%s of %s rode a connection that was already open, and %s wasted",
		group3(reused), plural(requests, "request"), pluralWere(wasted, "handshake"))
	f := Finding{
		Code: "all_is_well", Severity: OK,
		Summary: "All is well: " + figures + ".",
		Evidence: map[string]float64{
			"requests": float64(requests), "reused_requests": float64(reused), "wasted_handshakes": float64(wasted),
		},
		Advice: "Nothing to change.",
	}
	if t.Races == 0 && reused > 0 && share(reused, reused+wasted) >= wellEffectiveness {
		return f
	}
	f.Code, f.Severity = "nothing_stands_out", Info
	f.Summary = "Nothing stands out: " + figures + "."
	if t.Races > 0 {
		f.Evidence["races"] = float64(t.Races)
		f.Summary = fmt.Sprintf("Nothing stands out: %s; %s met the server's closing.", figures, plural(t.Races, "request"))
	}
	f.Advice = fmt.Sprintf("No cause comes to %d wasted handshakes and %.0f %%, which a finding takes. "+
		"Capture for longer, or see the reasons of single connections: `--output ndjson`.", minWasted, minWastedShare*100)
	return f
}

// Rules are all rules, in the order in which they are tried: one that
// overrides another stands before it.
var Rules = []Rule{
	races, idleRisk, serverCloses, clientCloses, http10, poolTooSmall, clientDiscards, bodyUnread, clientAborts,
	serverDiscards, serverAborts, requestLimit, noLength, errorCloses, serverIdleShort, clientIdleShort, poolSplit,
	neverUsed, portsRunOut, tooSticky,
}

// The rules about one habit that wastes handshakes.
var (
	serverCloses = causeRule("server_closes", Warning,
		"The server answers “Connection: close”: %s wasted, %s.",
		"Let the server keep connections open: nginx `keepalive_timeout 75s` (0 turns it off), Apache `KeepAlive On`; "+
			"HAProxy: remove `option httpclose` and `http-server-close`; Node.js: do not set `Connection: close`.",
		"server_close")

	clientCloses = causeRule("client_closes", Warning,
		"The client asks for “Connection: close”: %s wasted, %s.",
		"Stop the client from asking: nginx as a proxy needs `proxy_http_version 1.1`, `proxy_set_header Connection \"\"` and "+
			"`keepalive 32` in the upstream; Go: no `DisableKeepAlives`, no `Request.Close`; "+
			"Node.js: `new Agent({keepAlive: true})`; Python: one `requests.Session`.",
		"client_close")

	http10 = causeRule("http10", Warning,
		"HTTP/1.0 is spoken without keep-alive: %s wasted, %s.",
		"Speak HTTP/1.1 to the upstream: nginx `proxy_http_version 1.1` with `proxy_set_header Connection \"\"`; "+
			"ab needs `-k`; an old client can send `Connection: keep-alive`, which the server must confirm (nginx `keepalive_disable none`); "+
			"let a server answer in HTTP/1.1, too (Python's http.server `protocol_version = \"HTTP/1.1\"`).",
		"http10_not_requested", "http10_declined")

	serverDiscards = causeRule("server_discards", Warning,
		"The server closes right after its response, without announcing it: %s wasted, %s.",
		"Look for a keep-alive timeout near zero or a worker that ends after each request: nginx `keepalive_timeout`, "+
			"Apache `KeepAliveTimeout`, gunicorn `--keep-alive` (needs a threaded or async worker), PHP's built-in server.",
		"server_discard")

	serverAborts = causeRule("server_aborts", Critical,
		"The server closes before its response is complete: %s wasted, %s.",
		"Look for what ends the server in the middle of a request: crashes, out-of-memory kills and restarts in its log and exit status, "+
			"worker timeouts (gunicorn `--timeout`, default 30 s; uWSGI `harakiri`; PHP-FPM `request_terminate_timeout`; Go `Server.WriteTimeout`), "+
			"deployments that do not drain (Kubernetes `terminationGracePeriodSeconds`, a `preStop` hook).",
		"server_abort")

	requestLimit = Rule{
		Code: "request_limit", Severity: Warning, OneServer: true,
		Threshold: causeThreshold("server_limit"),
		Advice: "Raise the limit: nginx `keepalive_requests 10000` (default 1000; 100 before 1.19.10), " +
			"Apache `MaxKeepAliveRequests 0`, Envoy `max_requests_per_connection`, Node.js `server.maxRequestsPerSocket = 0`.",
		Check: func(s *Server) (Finding, bool) {
			f, w, ok := causeFinding(s, "server_limit")
			if !ok {
				return f, false
			}
			f.Summary = "The server ends connections that were in use"
			if n := s.LimitRequests; n != nil {
				f.Evidence["requests_at_limit_p50"] = float64(*n)
				f.Summary += ", after about " + plural(uint64(*n), "request")
			}
			if n := s.Idle.AdvertisedMax; n != nil {
				f.Evidence["advertised_max"] = float64(*n)
			}
			f.Summary += fmt.Sprintf(": %s wasted, %s.", pluralWere(w.n, "handshake"), SecondsText(w.seconds))
			return f, true
		},
	}

	noLength = causeRule("no_length", Warning,
		"Responses without a length end with their connection: %s wasted, %s.",
		"Send `Content-Length` or `Transfer-Encoding: chunked`: nginx as a proxy `proxy_http_version 1.1`; "+
			"in CGI or FastCGI applications set Content-Length; check that a proxy does not strip it.",
		"no_length")

	errorCloses = causeRule("errors_close", Warning,
		"The server closes the connection with error responses: %s wasted, %s.",
		"Find what answers 4xx or 5xx, and let it keep the connection: read the request body before answering with an error, "+
			"and do not send `Connection: close` with it (nginx closes after 400, 413, 414 and 500 to 501: see `error_page`).",
		"server_error_close")

	poolSplit = causeRule("pool_split", Info,
		"A new connection was opened although one to the same server idled: %s wasted, %s.",
		"Share one pool: one client object for the whole process (Go `http.Client`, Python `Session`, Java `HttpClient`), "+
			"fewer worker processes with a pool each, nginx `keepalive` in the upstream. "+
			"Several clients behind one address (NAT, a load balancer) look the same.",
		"pool_miss")
)

var clientDiscards = Rule{
	Code: "client_discards", Severity: Warning,
	Threshold: causeThreshold("client_discard"),
	Advice: "Keep the client: reuse one client object for all requests, and read bodies to their end before closing them. " +
		"Go: drain and close `resp.Body`; curl: several URLs in one call; PHP: `curl_init` once; Python: one `requests.Session`.",
	Check: func(s *Server) (Finding, bool) {
		f, w, ok := causeFinding(s, "client_discard")
		f.Summary = fmt.Sprintf("The client closes right after the response, though the server would have kept the connection: %s wasted, %s.",
			pluralWere(w.n, "handshake"), SecondsText(w.seconds))
		return f, ok
	},
}

var poolTooSmall = Rule{
	Code: "pool_too_small", Severity: Warning, OneServer: true,
	Threshold: causeThreshold("client_discard") + ", and at least 10 % of the requests reuse a connection: there is a pool, but it overflows",
	Overrides: []string{"client_discards"},
	Advice: "Let the pool keep more idle connections: Go `Transport.MaxIdleConnsPerHost` (default 2), nginx upstream `keepalive`, " +
		"Node.js `Agent.maxFreeSockets`, Python `HTTPAdapter(pool_maxsize=…)`, Apache HttpClient `setMaxConnPerRoute`.",
	Check: func(s *Server) (Finding, bool) {
		f, w, ok := causeFinding(s, "client_discard")
		reuse := s.reuse()
		if !ok || reuse < 0.10 {
			return f, false
		}
		f.Evidence["reuse_ratio"] = reuse
		f.Summary = fmt.Sprintf("The client's pool is too small: it closes connections as soon as they are free, and opens others; %s wasted, %s.",
			pluralWere(w.n, "handshake"), SecondsText(w.seconds))
		return f, true
	},
}

var bodyUnread = Rule{
	Code: "body_unread", Severity: Warning, Connections: true,
	Threshold: fmt.Sprintf("at least %d connections that the client closed in the middle of a body, 2 %% of all", minUnread),
	Advice: "Read every response body to its end, also of responses you do not want: Go `io.Copy(io.Discard, resp.Body)` before `Close`; " +
		"Java `EntityUtils.consume`; Node.js `res.resume()`. For large unwanted bodies ask with HEAD or a range.",
	Check: func(s *Server) (Finding, bool) {
		if !s.leavesBodiesUnread() {
			return Finding{}, false
		}
		return Finding{
			Seconds: s.wasted("client_abort").seconds,
			Summary: fmt.Sprintf("The client closed %s before the response body was read: such a connection cannot be reused.",
				plural(s.UnreadBodies, "connection")),
			Evidence: map[string]float64{"unread_bodies": float64(s.UnreadBodies), "connections": float64(s.Connections)},
		}, true
	},
}

func (s *Summary) leavesBodiesUnread() bool {
	return s.UnreadBodies >= minUnread && share(s.UnreadBodies, s.Connections) >= 0.02
}

var clientAborts = Rule{
	Code: "client_aborts", Severity: Warning,
	Threshold: causeThreshold("client_abort") + "; not where most of the client's aborts are unread bodies",
	Advice: "Find why the client does not wait: a server that is slow, a request that was cancelled (over HTTP/1 that ends the connection), " +
		"or a timeout that is too short: Go `Client.Timeout`, nginx `proxy_read_timeout` (default 60 s), " +
		"Envoy route `timeout` (default 15 s), HAProxy `timeout server`, Python requests `timeout=`.",
	Check: func(s *Server) (Finding, bool) {
		f, w, ok := causeFinding(s, "client_abort")
		if s.leavesBodiesUnread() && 2*s.UnreadBodies >= s.Reasons["client_abort"] {
			return f, false
		}
		f.Summary = fmt.Sprintf("The client closes before it has the whole response: %s wasted, %s.",
			pluralWere(w.n, "handshake"), SecondsText(w.seconds))
		return f, ok
	},
}

// The rules about idle timeouts.
var races = Rule{
	Code: "races", Severity: Critical,
	Threshold: fmt.Sprintf("at least 1 race among at least %d reused requests, or %d races: each is a request that failed", minReused, minRaces),
	Overrides: []string{"idle_timeout_order"},
	Advice: "Make the client's idle timeout shorter than the server's, by some seconds: raise the server's (nginx `keepalive_timeout`, " +
		"Node.js `server.keepAliveTimeout`, default 5 s, above the 60 s of an AWS ALB; Go `Server.IdleTimeout`), or lower the client's " +
		"(Go `Transport.IdleConnTimeout`, Envoy `idle_timeout`, HAProxy `timeout http-keep-alive`, nginx upstream `keepalive_timeout`).",
	Check: func(s *Server) (Finding, bool) {
		if s.Races == 0 || s.Races < minRaces && s.ReusedRequests < minReused {
			return Finding{}, false
		}
		f := Finding{
			Seconds:  s.wasted("race").seconds,
			Evidence: map[string]float64{"races": float64(s.Races), "reused_requests": float64(s.ReusedRequests)},
			Summary:  fmt.Sprintf("%s met the server's closing and went unanswered", upperFirst(plural(s.Races, "request"))),
		}
		if p := s.Idle.Race.P50; p != nil {
			f.Evidence["idle_seconds_p50"] = *p
			f.Summary += ", after idling " + SecondsText(*p)
		}
		f.Summary += ": behind a proxy these are occasional 502s."
		return f, true
	},
}

var idleRisk = Rule{
	Code: "idle_timeout_order", Severity: Warning, OneServer: true,
	Threshold: "the server's observed idle timeout (5 idle closings) at or below the client's, or, where the client's was not seen, " +
		"at most twice the longest idle time before a reuse; at least 10 reused requests",
	Advice: "Make the client's idle timeout shorter than the server's before a request meets the closing: raise the server's " +
		"(nginx `keepalive_timeout`, Node.js `server.keepAliveTimeout`, Go `Server.IdleTimeout`) above that of the client or load balancer " +
		"(AWS ALB 60 s, Envoy `idle_timeout` 1 h, Go `Transport.IdleConnTimeout` 90 s, nginx upstream `keepalive_timeout` 60 s).",
	Check: checkIdleRisk,
}

func checkIdleRisk(s *Server) (Finding, bool) {
	server, client := s.Idle.ObservedTimeout.Server, s.Idle.ObservedTimeout.Client
	if server == nil || s.ReusedRequests < minReused {
		return Finding{}, false
	}
	f := Finding{Evidence: map[string]float64{
		"server_timeout_seconds": *server, "server_idle_closings": float64(s.Idle.IdleClosings.Server),
	}}
	switch {
	case client != nil && *client >= *server:
		f.Evidence["client_timeout_seconds"] = *client
		f.Summary = fmt.Sprintf("The server closes idle connections after %s, the client keeps them for %s: a request may meet the closing.",
			SecondsText(*server), SecondsText(*client))
	case client == nil && s.Idle.Reuse.Max != nil && 2**s.Idle.Reuse.Max >= *server:
		f.Evidence["reuse_idle_max_seconds"] = *s.Idle.Reuse.Max
		f.Summary = fmt.Sprintf("The server closes idle connections after %s, and the client reuses them after up to %s: a request may meet the closing.",
			SecondsText(*server), SecondsText(*s.Idle.Reuse.Max))
	default:
		return Finding{}, false
	}
	return f, true
}

var serverIdleShort = Rule{
	Code: "server_idle_timeout", Severity: Warning, OneServer: true, Threshold: causeThreshold("server_idle"),
	Advice: "Raise the server's idle timeout above the pauses of its clients: nginx `keepalive_timeout`, Apache `KeepAliveTimeout` (default 5 s), " +
		"Node.js `server.keepAliveTimeout` (default 5 s), gunicorn `--keep-alive` (default 2 s), Go `Server.IdleTimeout`.",
	Check: idleTimeoutCheck("server_idle", "server", func(i *Idle) *float64 { return i.ObservedTimeout.Server }),
}

var clientIdleShort = Rule{
	Code: "client_idle_timeout", Severity: Warning, OneServer: true, Threshold: causeThreshold("client_idle"),
	Advice: "Raise the client's idle timeout, but keep it below the server's: Go `Transport.IdleConnTimeout`, nginx upstream `keepalive_timeout`, " +
		"Envoy `idle_timeout`, Apache HttpClient `evictIdleConnections`, HAProxy `pool-purge-delay`.",
	Check: idleTimeoutCheck("client_idle", "client", func(i *Idle) *float64 { return i.ObservedTimeout.Client }),
}

func idleTimeoutCheck(cause, side string, timeout func(*Idle) *float64) func(*Server) (Finding, bool) {
	return func(s *Server) (Finding, bool) {
		f, w, ok := causeFinding(s, cause)
		if !ok {
			return f, false
		}
		f.Summary = fmt.Sprintf("The %s gives up idle connections too soon", side)
		if t := timeout(&s.Idle); t != nil {
			f.Evidence[side+"_timeout_seconds"] = *t
			f.Summary += ", after " + SecondsText(*t)
		}
		f.Summary += fmt.Sprintf(": %s wasted, %s.", pluralWere(w.n, "handshake"), SecondsText(w.seconds))
		return f, true
	}
}

// The rules about connections as such.
var neverUsed = Rule{
	Code: "never_used", Severity: Info, Connections: true,
	Threshold: fmt.Sprintf("at least %d connections without a byte of payload, %.0f %% of all", minNeverUsed, minUnused*100),
	Advice: "Find who connects and asks nothing: TCP health checks (let them ask over HTTP, or less often), " +
		"preconnecting browsers, a pool's minimum size (`minIdle`) above what the traffic needs.",
	Check: func(s *Server) (Finding, bool) {
		n := s.Silent
		if n < minNeverUsed || share(n, s.Connections) < minUnused {
			return Finding{}, false
		}
		return Finding{
			Seconds:  s.SilentSeconds,
			Evidence: map[string]float64{"silent_connections": float64(n), "connections": float64(s.Connections), "seconds": s.SilentSeconds},
			Summary: fmt.Sprintf("%s of %s carried nothing from either side; opening them took %s.",
				group3(n), plural(s.Connections, "connection"), SecondsText(s.SilentSeconds)),
		}, true
	},
}

var portsRunOut = Rule{
	Code: "ports", Severity: Warning, Connections: true, OneServer: true,
	Threshold: fmt.Sprintf("one client address opened more than half of %d connections to one address and port in 60 s, "+
		"and closed at least half of them itself, so that TIME_WAIT held its ports (critical from 80 %%)", ephemeralPorts),
	Advice: "Keep connections instead of opening them (see the other findings). Until then: `net.ipv4.ip_local_port_range = 1024 65535` and " +
		"`net.ipv4.tcp_tw_reuse = 1` on the client, or more addresses on either side.",
	Check: func(s *Server) (Finding, bool) {
		p := s.Ports
		if p == nil || p.Peak*2 < p.Range {
			return Finding{}, false
		}
		closed := p.TimeWait.Client + p.TimeWait.Server + p.TimeWait.None
		if closed == 0 || p.TimeWait.Client*2 < closed {
			return Finding{}, false
		}
		f := Finding{Evidence: map[string]float64{
			"peak_new_connections_per_minute": float64(p.Peak), "ports": float64(p.Range),
			"time_wait_client": float64(p.TimeWait.Client), "time_wait_server": float64(p.TimeWait.Server),
		}}
		if p.Peak*10 >= p.Range*8 {
			f.Severity = Critical
		}
		f.Summary = fmt.Sprintf("%s opened %s to %s in 60 s and holds their TIME_WAIT: it has %s ports.",
			p.Client, plural(p.Peak, "connection"), p.Server, group3(p.Range))
		return f, true
	},
}

var tooSticky = Rule{
	Code: "too_sticky", Severity: Info, OneServer: true,
	Threshold: fmt.Sprintf("at least %d requests over at least 2 addresses of one name, of which the busiest has %.1f times its even share; "+
		"at least 100 requests a connection, half of the connections older than 60 s", minSticky, minUneven),
	Advice: "Let connections end now and then so that load can spread: a maximum age on the client or proxy " +
		"(Envoy `max_connection_duration`, Go: close idle connections on a timer, Java `setConnectionTimeToLive`), " +
		"nginx `keepalive_time 10m` on the server, or balance requests instead of connections.",
	Check: func(s *Server) (Finding, bool) {
		if s.AddressCount < 2 || s.BusiestShare == nil || s.Age.P50 == nil || s.Requests < minSticky {
			return Finding{}, false
		}
		per := s.RequestsPerConn.Mean
		if s.unevenness() < minUneven || per < 100 || *s.Age.P50 < 60 {
			return Finding{}, false
		}
		return Finding{
			Evidence: map[string]float64{
				"addresses": float64(s.AddressCount), "busiest_share": *s.BusiestShare,
				"requests_per_connection": per, "connection_seconds_p50": *s.Age.P50,
			},
			Summary: fmt.Sprintf("Connections live so long that load cannot spread: the busiest of %d addresses serves %s, and a connection carries %s over %s.",
				s.AddressCount, PercentText(*s.BusiestShare), plural(uint64(per), "request"), SecondsText(*s.Age.P50)),
		}, true
	},
}

// unevenness is the busiest address's share of the load by its even share; 0
// where there is one address only.
func (s *Server) unevenness() float64 {
	if s.BusiestShare == nil {
		return 0
	}
	return *s.BusiestShare * float64(s.AddressCount)
}

// A loss is what some causes cost.
type loss struct {
	n       uint64
	seconds float64
}

// wasted sums the causes.
func (s *Summary) wasted(causes ...string) (l loss) {
	for _, c := range causes {
		l.n += s.Wasted.ByCause[c]
		l.seconds += s.Wasted.SecondsByCause[c]
	}
	return l
}

// reuse is the share of all requests that rode a used connection.
func (s *Summary) reuse() float64 { return share(s.ReusedRequests, s.Requests) }

func share(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// causeFinding returns the finding on some causes, and whether they reach the
// threshold that all rules about causes have.
func causeFinding(s *Server, causes ...string) (Finding, loss, bool) {
	w := s.wasted(causes...)
	could := s.ReusedRequests + s.Wasted.Total
	ok := w.n >= minWasted && share(w.n, could) >= minWastedShare
	f := Finding{Seconds: w.seconds, Evidence: map[string]float64{
		"wasted_handshakes": float64(w.n), "seconds": w.seconds, "share": share(w.n, could),
	}}
	return f, w, ok
}

func causeThreshold(causes string) string {
	return fmt.Sprintf("at least %d wasted handshakes with cause %s, %.0f %% of the requests that could have reused a connection",
		minWasted, causes, minWastedShare*100)
}

// causeRule makes the rule for causes about which nothing more is to be said.
// The summary has two verbs: handshakes, and their time.
func causeRule(code string, severity Severity, summary, advice string, causes ...string) Rule {
	list := causes[0]
	for _, c := range causes[1:] {
		list += ", " + c
	}
	return Rule{
		Code: code, Severity: severity, Threshold: causeThreshold(list), Advice: advice,
		Check: func(s *Server) (Finding, bool) {
			f, w, ok := causeFinding(s, causes...)
			f.Summary = fmt.Sprintf(summary, pluralWere(w.n, "handshake"), SecondsText(w.seconds))
			return f, ok
		},
	}
}
