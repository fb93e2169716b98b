package advice

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	s "github.com/keepscope/keepscope/analyzer/software"
)

// TestCaseBook holds that the software of the case book, with the habit that it shows
// there, gets its own setting, alone of its side.
func TestCaseBook(t *testing.T) {
	for _, c := range []struct {
		name           string
		habit          Habit
		client, server s.ID
		want           string // in the first sentence
		not            string // in none
	}{
		{"go_body_closed_unread", BodyUnread, s.GoHTTP, s.Unknown, "io.Copy(io.Discard, resp.Body)", "EntityUtils"},
		{"go_body_never_closed", NeverReused, s.GoHTTP, s.Unknown, "resp.Body", "requests.Session"},
		{"go_bodies_stalled", BodyUnread, s.GoHTTP, s.Unknown, "io.Discard", "EntityUtils"},
		{"go_transport_per_request", NeverReused, s.GoHTTP, s.Unknown, "http.Client", "Node.js"},
		{"requests_get", ClientDiscards, s.PythonRequests, s.Unknown, "requests.Session", "nginx"},
		{"go_disable_keepalives", ClientCloses, s.GoHTTP, s.Unknown, "DisableKeepAlives", "nginx"},
		{"keys_client_close", ClientCloses, s.GoHTTP, s.Unknown, "DisableKeepAlives", "nginx"},
		{"ab_http10", HTTP10NotRequested, s.ApacheBench, s.Unknown, "ab needs `-k`", "nginx"},
		{"http10_declined", HTTP10Declined, s.ApacheBench, s.Unknown, "ApacheBench speaks HTTP/1.0 only", ""},
		{"go_pool_too_small", PoolTooSmall, s.GoHTTP, s.Unknown, "MaxIdleConnsPerHost", "nginx"},
		{"go_pool_queues", PoolLimits, s.GoHTTP, s.Unknown, "MaxConnsPerHost", "HttpClient"},
		{"go_idle_timeout", ClientIdleTimeout, s.GoHTTP, s.Unknown, "IdleConnTimeout", "nginx"},
		{"fetch_short_hint", HintTooShort, s.Node, s.Unknown, "keepAliveTimeoutThreshold", ""},
		{"go_post_race_late_fin", IdleTimeoutOrder, s.GoHTTP, s.Unknown, "IdleConnTimeout", "timeout http-keep-alive"},
		{"grpc_channel_per_call", ChannelPerCall, s.GRPCGo, s.Unknown, "grpc.ClientConn", "OkHttp"},
		{"connect_tunnel_per_request", Tunnels, s.PythonRequests, s.Unknown, "requests.Session", "HttpsProxyAgent"},
		{"client_request_limit", ClientRequestLimit, s.Nginx, s.Unknown, "keepalive_requests", "Envoy"},
		{"many_clients_one_address", ClientRequestLimit, s.Unknown, s.Nginx, "several clients behind one address", ""},
		{"masked_idle_timeout", ServerIdleTimeout, s.Unknown, s.Apache, "KeepAliveTimeout", "nginx"},
		{"reload_closes_all", Restarts, s.Unknown, s.Nginx, "keepalive_min_timeout", "gunicorn"},
		{"worker_recycling", Restarts, s.Unknown, s.Gunicorn, "--graceful-timeout", "nginx"},
		{"timeouts_abort", ServerAborts, s.Unknown, s.Gunicorn, "`--timeout`", "FPM"},
		{"timeouts_abort", ClientAborts, s.Nginx, s.Unknown, "proxy_read_timeout", "Envoy"},
		{"curl_two_urls", ClientDiscards, s.Curl, s.Nginx, "several URLs in one call", "nginx"},
		{"stale_reuse_many_names", StaleReuse, s.ApacheBench, s.Nginx, "ApacheBench does not look", "requests:"},
		{"grpc_one_busy_of_three", GRPCSticky, s.GRPCNode, s.Unknown, "round_robin", "grpc-java"},
		{"close_ignored", CloseIgnored, s.Unknown, s.Nginx, "RFC 9112 §9.6", "nginx"},
		{"a channel's idle timeout", ClientIdleTimeout, s.GRPCGo, s.Unknown, "grpc.WithIdleTimeout", "IdleConnTimeout"},
		{"curl of HTTP/1.0", HTTP10NotRequested, s.Curl, s.Unknown, "--http1.0", "nginx"},
		{"undici's request limit, which it announces", ClientCloses, s.Node, s.Unknown, "maxRequestsPerClient", "nginx"},
		{"keys_limit_five", RequestLimit, s.Unknown, s.Unknown, "Raise the server's limit", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := one(c.habit, c.client, c.server)
			all := got.String()
			if first := strings.Join(append(got.Settings, got.General), " "); !strings.Contains(first, c.want) {
				t.Errorf("%q lacks %q at its beginning", all, c.want)
			}
			if c.not != "" && strings.Contains(all, c.not) {
				t.Errorf("%q has %q", all, c.not)
			}
		})
	}
}

// TestSides holds that no row names a setting of the other side. A setting that both
// sides have, such as nginx's keepalive_timeout, has to be told by where it stands.
func TestSides(t *testing.T) {
	of := map[string]Side{
		"IdleConnTimeout": Client, "MaxIdleConnsPerHost": Client, "DisableKeepAlives": Client, "pool-purge-delay": Client,
		"http-reuse": Client, "pool-max-conn` of the server": Client, "backend_idle_timeout": Client, "server_idle_pconn_timeout": Client,
		"server_persistent_connections": Client, "ProxyPass": Client, "proxy_http_version 1.1`, `proxy_set_header": Client, "disablereuse": Client,
		"`upstream` block": Client, "requests.Session": Client, "keepAliveTimeoutThreshold": Client, "freeSocketTimeout": Client,
		"http-server-close": Client, "keepalive off": Client,
		"timeout http-keep-alive": Server, "`KeepAliveTimeout`": Server, "MaxKeepAliveRequests": Server, "server.keepAliveTimeout": Server,
		"timeout_idle": Server, "client_idle_pconn_timeout": Server, "client_persistent_connections": Server, "`--keep-alive": Server,
		"--timeout-keep-alive": Server, "maxKeepAliveRequests": Server, "Server.IdleTimeout": Server, "http11-socket": Server,
		"`KeepAlive On`": Server, "keepalive_min_timeout": Server, "max-keep-alive-idle": Server,
	}
	seen := map[string]bool{}
	for habit := range NumHabits {
		for _, r := range table[habit].by {
			for _, row := range r.list {
				for setting, side := range of {
					if !strings.Contains(row.Setting, setting) {
						continue
					}
					seen[setting] = true
					// Of a closing inside TLS either side may be at fault.
					if side != r.side && habit != ClosesAfterResponse {
						t.Errorf("habit %d: %q is a setting of the other side", habit, row.Setting)
					}
				}
			}
		}
	}
	for setting := range of {
		if !seen[setting] {
			t.Errorf("no row has %q", setting)
		}
	}
}

// TestTable holds what each entry has to be like.
func TestTable(t *testing.T) {
	const longest, longestAll = 230, 1250
	for habit := None + 1; habit < NumHabits; habit++ {
		e := table[habit]
		if e.general == "" {
			t.Errorf("habit %d: nothing in general", habit)
		}
		for _, r := range e.by {
			seen := map[s.ID]bool{}
			for _, row := range r.list {
				n := utf8.RuneCountInString(row.String())
				if n > longest || n < 10 || strings.HasSuffix(row.Setting, ".") || strings.Count(row.Setting, "`")%2 != 0 {
					t.Errorf("habit %d: %q", habit, row.Setting)
				}
				if row.Software != s.Unknown && seen[row.Software] {
					t.Errorf("habit %d: %s twice", habit, row.Software)
				}
				seen[row.Software] = true
			}
		}
		advice := one(habit, s.Unknown, s.Unknown)
		all := advice.String()
		if n := utf8.RuneCountInString(all); n > longestAll {
			t.Errorf("habit %d: %d characters:\n%s", habit, n, all)
		}
	}
}

// TestKnownIsShorter holds that naming the software leaves nothing to guess on its side.
func TestKnownIsShorter(t *testing.T) {
	for habit := None + 1; habit < NumHabits; habit++ {
		for _, r := range table[habit].by {
			for _, row := range r.list {
				if row.Software == s.Unknown {
					continue
				}
				client, server := row.Software, s.Unknown
				if r.side == Server {
					client, server = server, client
				}
				got := one(habit, client, server)
				if !strings.HasPrefix(got.String(), row.String()+". ") {
					t.Errorf("habit %d, %s: first %q", habit, row.Software, got.Settings)
				}
				if !Known(habit, row.Software) {
					t.Errorf("habit %d, %s: not known", habit, row.Software)
				}
				if len(table[habit].by) == 1 && len(got.Likely) != 0 {
					t.Errorf("habit %d, %s: %q", habit, row.Software, got.Likely)
				}
			}
		}
	}
}

// one is the advice to one client and one server.
func one(habit Habit, client, server s.ID) Advice {
	return For(habit, []s.ID{client}, []s.ID{server})
}

// TestLikelyOverHTTP2 holds that who does not name itself is not taken for gRPC, whose
// libraries do.
func TestLikelyOverHTTP2(t *testing.T) {
	a := one(ChannelPerCall, s.Unknown, s.Unknown)
	if got := a.String(); !strings.Contains(got, "http2.connect") || !strings.Contains(got, "grpc-go") {
		t.Errorf("%q", got)
	}
}

func TestFor(t *testing.T) {
	for _, c := range []struct {
		name             string
		habit            Habit
		clients, servers []s.ID
		settings, likely int
	}{
		{"none", None, []s.ID{s.GoHTTP}, []s.ID{s.Nginx}, 0, 0},
		{"beyond", NumHabits, []s.ID{s.GoHTTP}, []s.ID{s.Nginx}, 0, 0},
		{"unknown: in general and five", ClientCloses, nil, nil, 0, Likely},
		{"recognised, without a row: as unknown", ClientCloses, []s.ID{s.Firefox}, nil, 0, Likely},
		{"the server's software is not the client's", ClientCloses, nil, []s.ID{s.Nginx}, 0, Likely},
		{"kin", ClientCloses, []s.ID{s.Axios}, nil, 1, 0},
		{"kin of a server", ServerIdleTimeout, nil, []s.ID{s.OpenResty}, 1, 0},
		{"two clients", ClientCloses, []s.ID{s.GoHTTP, s.Unknown, s.PythonRequests}, nil, 2, 0},
		{"two of one kin", ClientCloses, []s.ID{s.Axios, s.Got}, nil, 1, 0},
		{"both sides known", IdleTimeoutOrder, []s.ID{s.GoHTTP}, []s.ID{s.Nginx}, 2, 0},
		{"of the server nothing is guessed", IdleTimeoutOrder, []s.ID{s.GoHTTP}, nil, 1, 0},
		{"nobody's", ShortUpgrades, []s.ID{s.Node}, []s.ID{s.Nginx}, 0, 0},
	} {
		if got := For(c.habit, c.clients, c.servers); len(got.Settings) != c.settings || len(got.Likely) != c.likely {
			t.Errorf("%s: %d settings, %d likely, want %d and %d: %+v", c.name, len(got.Settings), len(got.Likely), c.settings, c.likely, got)
		}
	}
}

func TestString(t *testing.T) {
	for _, c := range []struct {
		advice Advice
		want   string
	}{
		{Advice{}, ""},
		{Advice{General: "Do it"}, "Do it."},
		{Advice{General: "Do it", Likely: []string{"a: b", "c: d"}}, "Do it. Likely: a: b; c: d."},
		{one(ServerIdleTimeout, s.Unknown, s.Nginx),
			"nginx: `keepalive_timeout` (default 75s). Let the server, or the proxy that answers in its name (HAProxy: `timeout http-keep-alive`), keep idle connections longer than its clients' pauses."},
		{one(IdleTimeoutOrder, s.Nginx, s.Unknown),
			"nginx as a proxy: `keepalive_timeout` in the `upstream` block (default 60s; since 1.15.3). " +
				"The client's idle timeout has to be shorter than the server's, by a second or more; else requests meet the server's closing."},
	} {
		if diff := cmp.Diff(c.want, c.advice.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func Example() {
	advice := For(PoolTooSmall, []s.ID{s.GoHTTP}, nil)
	fmt.Println(advice.String())
	// Output:
	// Go: `Transport.MaxIdleConnsPerHost` (default 2), and `MaxIdleConns` (100) above it. Let the client's pool keep as many idle connections as it uses at once; where it makes a client or session for some requests alone, let them share the one that it keeps.
}
