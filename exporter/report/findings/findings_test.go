package findings

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/report/advice"
	"github.com/keepscope/keepscope/sniffer"
)

func endpoint(last byte, port uint16) sniffer.Endpoint {
	a := sniffer.Addr{10: 0xff, 11: 0xff, 12: 10, 15: last}
	return sniffer.Endpoint{Addr: a, Port: port}
}

func example(id uint64) Example {
	return Example{ID: id, Client: endpoint(7, 40112), Server: endpoint(9, 8080)}
}

// base is a capture in which nothing is wrong: 500 requests on 20 connections.
func base() *Figures {
	f := &Figures{
		Capture: Capture{Seconds: 10, Packets: 10000, Bytes: 1e6},
		Servers: []Server{{
			Name: "shop.example", AddressCount: 1, Connections: 20,
			Counted: Traffic{Connections: 20, Single: 2, Requests: 500, Reused: 480, RequestsPerConn: 25},
			Clients: []Client{{Address: "10.0.0.7", Connections: 20, Requests: 500, Example: example(2)}},
		}},
	}
	f.Totals = f.Servers[0]
	return f
}

// wastes has the server's client waste handshakes of 1 ms each.
func wastes(n uint64, cause fact.Cause) func(*Server) {
	return func(s *Server) {
		l := Loss{n, float64(n) / 1000, example(1)}
		s.Counted.Wasted[cause] = l
		s.Clients[0].Wasted.Add(cause, l)
	}
}

func estimated(n uint64, cause fact.Cause) func(*Server) {
	return func(s *Server) {
		s.Encrypted = true
		s.Estimated.Requests, s.Estimated.Reused, s.Estimated.Connections = 500, 400, 100
		s.Estimated.Wasted[cause] = Loss{n, float64(n) / 1000, example(1)}
	}
}

func fails(n uint64, f fact.Failure) func(*Server) {
	return func(s *Server) {
		s.Counted.Failed[f] = Failed{N: n, Idle: 4.9, Example: example(3)}
		s.Clients[0].Failed[f] = n
	}
}

func both(a ...func(*Server)) func(*Server) {
	return func(s *Server) {
		for _, f := range a {
			f(s)
		}
	}
}

// A thresholdCase has figures at a code's threshold, and figures just below.
type thresholdCase struct {
	name      string
	code      string
	severity  Severity
	at, below func(*Server)
	says      string // in the summary
}

func cause(name, code string, c fact.Cause) thresholdCase {
	return thresholdCase{name, code, Warning, wastes(10, c), wastes(9, c), "10 handshakes were wasted, 10.0 ms"}
}

var thresholds = []thresholdCase{
	cause("server closes", "server_closes", causeServerClose),
	cause("an age limit of the server", "server_closes", causeServerLimit),
	cause("client closes", "client_closes", causeClientClose),
	cause("HTTP/1.0, not asked", "http10", causeNotRequested),
	cause("HTTP/1.0, not confirmed", "http10", causeDeclined),
	cause("no length", "no_length", causeNoLength),
	cause("errors close", "errors_close", causeErrorClose),
	{
		"errors of some status close", "errors_close", Warning,
		both(wastes(10, causeErrorClose), func(s *Server) { s.ErrorsClose = []uint16{429, 404} }), wastes(9, causeErrorClose),
		"with error responses of status 429 (a rate limit), 404: 10 handshakes were wasted",
	},
	cause("client discards", "client_discards", causeClientDiscard),
	cause("server discards", "server_discards", causeServerDiscard),
	cause("server idle", "server_idle_timeout", causeServerIdle),
	cause("client idle", "client_idle_timeout", causeClientIdle),
	{
		"share of a habit", "client_closes", Warning,
		both(wastes(20, causeClientClose), func(s *Server) { s.Counted.Reused = 980 }),
		both(wastes(20, causeClientClose), func(s *Server) { s.Counted.Reused = 981 }), "",
	},
	{
		"short timeout of the server", "server_idle_timeout", Warning,
		both(wastes(10, causeServerDiscard), func(s *Server) { s.Idle.Server, s.Idle.ServerShort = 0.75, true }),
		wastes(10, causeServerDiscard), "after 750 ms",
	},
	{
		"short timeout of the client", "client_idle_timeout", Warning,
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Idle.Client, s.Idle.ClientShort, s.Idle.ClientAtMost = 0.5, true, true }),
		wastes(10, causeClientDiscard), "after at most 500 ms",
	},
	{
		"the client looks late", "client_idle_timeout", Warning,
		both(wastes(4, causeClientIdle), wastes(6, causeClientDiscard), func(s *Server) { s.Idle.ClientFrom, s.Idle.ClientTo = 0.2, 0.9 }),
		both(wastes(4, causeClientIdle), wastes(5, causeClientDiscard), func(s *Server) { s.Idle.ClientFrom, s.Idle.ClientTo = 0.2, 0.9 }), "between 200 ms and 900 ms after the response",
	},
	{
		"pool too small", "pool_too_small", Warning,
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Counted.Discards, s.Counted.Beside = 10, 5 }),
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Counted.Discards, s.Counted.Beside = 10, 4 }), "(5 of 10 closings)",
	},
	{
		"pool too small, or none", "pool_too_small", Warning,
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Counted.Discards, s.Counted.Beside, s.Counted.Reused = 10, 10, 50 }),
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Counted.Discards, s.Counted.Beside, s.Counted.Reused = 10, 10, 49 }), "",
	},
	{"split pools", "pool_split", Info, wastes(10, fact.PoolMiss), wastes(9, fact.PoolMiss), ""},
	{
		"split pools, one request each", "pool_split", Warning,
		both(wastes(10, fact.PoolMiss), func(s *Server) { s.Counted.Single = 18 }), wastes(9, fact.PoolMiss), "",
	},
	{
		"given up at no one time", "client_aborts", Warning,
		both(fails(6, fact.FailClientAbort), func(s *Server) { s.Counted.Failed[fact.FailClientAbort].GivenUp = Cluster{6, 4, 0.2} }),
		fails(2, fact.FailClientAbort), "half of them within 200 ms",
	},
	{
		"inside TLS", "closes_after_response", Warning, both(estimated(5, causeClientDiscard), func(s *Server) {
			s.Estimated.Wasted[causeServerDiscard] = Loss{N: 5}
		}), estimated(9, causeClientDiscard), "Estimated",
	},
	{
		"limit inside TLS", "request_limit", Warning,
		both(estimated(10, causeServerDiscard), func(s *Server) { s.Estimated.ClosedAt = Cluster{10, 8, 4} }),
		both(estimated(10, causeServerDiscard), func(s *Server) { s.Estimated.ClosedAt = Cluster{10, 7, 4} }), "whose side is not known",
	},
	{
		"few requests inside TLS", "request_limit", Warning,
		both(estimated(10, causeServerDiscard), func(s *Server) { s.Estimated.ClosedAt = Cluster{10, 10, 4} }),
		both(estimated(10, causeServerDiscard), func(s *Server) { s.Estimated.ClosedAt = Cluster{10, 10, 3} }), "",
	},
	{
		"request limit", "request_limit", Warning,
		both(wastes(10, causeServerLimit), func(s *Server) { s.Counted.LimitAt = Cluster{10, 8, 5} }),
		both(wastes(10, causeServerLimit), func(s *Server) { s.Counted.LimitAt = Cluster{10, 7, 5} }), "after 5 requests",
	},
	{
		"request or age limit", "request_limit", Warning,
		both(wastes(10, causeServerLimit), func(s *Server) { s.Counted.LimitAt, s.Counted.LimitAge = Cluster{10, 8, 35}, 2 }),
		both(wastes(10, causeServerLimit), func(s *Server) { s.Counted.LimitAge = 2 }), "after 35 requests, or at an age of 2.0 s (8 of 10 closings)",
	},
	{
		"age limit", "server_closes", Warning,
		both(wastes(10, causeServerLimit), func(s *Server) { s.Counted.LimitAge = 2 }),
		wastes(9, causeServerLimit), "that were in use at an age of 2.0 s",
	},
	{
		"age limit of the client", "client_discards", Warning,
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Counted.DiscardAge = 2 }),
		wastes(9, causeClientDiscard), "at an age of 2.0 s of the connection",
	},
	{
		"client's request limit, announced", "client_closes", Warning,
		both(wastes(10, causeClientClose), func(s *Server) { s.Clients[0].ClosedAt = Cluster{11, 10, 6} }),
		both(wastes(9, causeClientClose), func(s *Server) { s.Clients[0].ClosedAt = Cluster{11, 10, 6} }), "“Connection: close” after 6 requests (10 of 11 closings)",
	},
	{
		"client's request limit", "client_request_limit", Warning,
		both(wastes(5, causeClientDiscard), func(s *Server) { s.Clients[0].ClosedAt = Cluster{10, 8, 2} }),
		both(wastes(5, causeClientDiscard), func(s *Server) { s.Clients[0].ClosedAt = Cluster{10, 7, 2} }), "after 2 requests",
	},
	{
		"one request is no limit", "client_request_limit", Warning,
		both(wastes(20, causeClientDiscard), func(s *Server) { s.Clients[0].ClosedAt = Cluster{20, 20, 4} }),
		both(wastes(20, causeClientDiscard), func(s *Server) { s.Clients[0].ClosedAt = Cluster{20, 20, 1} }), "",
	},
	{
		"a limit that wastes little", "client_request_limit", Warning,
		both(wastes(5, causeClientDiscard), func(s *Server) { s.Clients[0].ClosedAt = Cluster{10, 10, 4} }),
		both(wastes(4, causeClientDiscard), func(s *Server) { s.Clients[0].ClosedAt = Cluster{10, 10, 4} }), "",
	},
	{
		"never reused", "never_reused", Warning,
		both(wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once = 10 }),
		both(wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once = 9 }), "10 connections carried one request each",
	},
	{
		"never reused, of several processes perhaps", "never_reused", Warning,
		both(wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once, s.Idle.Server = 10, 5 }),
		both(wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once, s.Clients[0].Replaces = 10, true }), "several processes each ask seldom, and the server closes after 5.0 s",
	},
	{
		"replaced by several processes", "client_idle_timeout", Warning,
		both(wastes(10, fact.PoolMiss), func(s *Server) {
			s.Clients[0].Once, s.Clients[0].Replaces, s.Idle.Client, s.Idle.ClientAtMost = 10, true, 6, true
		}),
		both(wastes(10, fact.PoolMiss), func(s *Server) { s.Clients[0].Once = 10 }), "after at most 6.0 s: 10 handshakes",
	},
	{
		"an idle timeout of a second", "server_idle_timeout", Warning,
		both(wastes(6, causeServerIdle), wastes(4, causeServerDiscard), func(s *Server) { s.Idle.Server = 1 }),
		both(wastes(6, causeServerIdle), wastes(4, causeServerDiscard), func(s *Server) { s.Idle.Server = 1.2 }), "after 1.0 s: 10 handshakes",
	},
	{
		"a small pool inside TLS", "closes_after_response", Warning,
		both(estimated(10, causeClientDiscard), func(s *Server) { s.Estimated.Discards, s.Estimated.Beside = 10, 9 }),
		estimated(9, causeClientDiscard), "the client ended 10, 9 of them while it had others open: its pool may be too small",
	},
	{
		"a hint and its margin", "client_idle_timeout", Warning,
		both(wastes(10, causeClientIdle), func(s *Server) { s.Idle.Client, s.Advertised = 3, 5 }),
		wastes(9, causeClientIdle), "a margin off the server's hint of 5.0 s",
	},
	{
		"reused after all", "never_reused", Warning,
		both(wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once, s.Clients[0].OnceErr = 10, 10 }),
		both(wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once, s.Clients[0].More = 10, 1 }), "does not read error responses",
	},
	{
		"never reused inside TLS", "never_reused", Warning,
		both(estimated(9, fact.PoolMiss), wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once, s.Clients[0].Estimated = 10, true }),
		both(estimated(9, fact.PoolMiss), wastes(9, fact.PoolMiss), func(s *Server) { s.Clients[0].Once, s.Clients[0].Estimated = 9, true }), "Estimated",
	},
	{
		"hint too short", "hint_too_short", Warning,
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Advertised = 2 }),
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Advertised = 2.1 }), "timeout of 2.0 s",
	},
	{
		"hint that nobody reads", "hint_too_short", Warning,
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Advertised, s.Clients[0].Software = 1, software.Node }),
		both(wastes(10, causeClientDiscard), func(s *Server) { s.Advertised, s.Clients[0].Software = 1, software.GoHTTP }), "",
	},
	{
		"pool that queues", "pool_limits", Info,
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.76, Gap: 0.0009, Response: 0.01, Example: example(4)}
		},
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 39, Busy: 0.76, Gap: 0.0009, Response: 0.01}
		}, "2 connections",
	},
	{
		"pool with room", "pool_limits", Info,
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.9, Gap: 0.0009, Response: 0.01}
		},
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.75, Gap: 0.0009, Response: 0.01}
		}, "",
	},
	{
		"pool with pauses", "pool_limits", Info,
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.9, Gap: 0.0009, Trip: 0.001, Response: 0.01}
		},
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.9, Gap: 0.001, Response: 0.01}
		}, "the next request at once after each response",
	},
	{
		"pool that queues, seen at the server", "pool_limits", Info,
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.9, Gap: 0.0089, Trip: 0.008, Response: 0.01}
		},
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.9, Gap: 0.0089, Trip: 0.007, Response: 0.01}
		}, "the next request 900 µs after each response",
	},
	{
		"one busy connection", "pool_limits", Info,
		func(s *Server) {
			s.Clients[0] = Client{Connections: 2, Requests: 40, Busy: 0.9, Gap: 0.0009, Response: 0.01}
		},
		func(s *Server) {
			s.Clients[0] = Client{Connections: 1, Requests: 40, Busy: 0.9, Gap: 0.0009, Response: 0.01}
		}, "",
	},
	{
		"a socket for a message", "short_upgrades", Warning,
		func(s *Server) { s.Clients[0].Upgrades, s.Clients[0].Short = 10, 5 },
		func(s *Server) { s.Clients[0].Upgrades, s.Clients[0].Short = 9, 9 }, "5 of 10 upgraded",
	},
	{
		"upgrades cut", "upgrades_cut", Warning,
		func(s *Server) { s.Cut = Cluster{5, 4, 60} },
		func(s *Server) { s.Cut = Cluster{5, 3, 60} }, "The server ended 5 upgraded connections (WebSocket) after 60.0 s without a message: a time limit",
	},
	{
		"sockets that live", "short_upgrades", Warning,
		func(s *Server) { s.Clients[0].Upgrades, s.Clients[0].Short = 12, 6 },
		func(s *Server) { s.Clients[0].Upgrades, s.Clients[0].Short = 12, 5 }, "",
	},
	{
		"tunnels", "tunnels", Warning,
		func(s *Server) {
			s.Tunnels = []Tunnel{{Target: "api.example:443", Opened: 25, Wasted: Loss{N: 10, Seconds: 0.1}}, {Target: "b", Wasted: Loss{N: 9}}}
		},
		func(s *Server) {
			s.Tunnels = []Tunnel{{Target: "api.example:443", Opened: 25, Wasted: Loss{N: 9}}, {Target: "b", Wasted: Loss{N: 9}}}
		}, "25 tunnels",
	},
	{
		"one name, many addresses", "name_spread", Info,
		func(s *Server) { s.Clients[0].SYNs, s.Clients[0].Spread = 40, 10 },
		func(s *Server) { s.Clients[0].SYNs, s.Clients[0].Spread = 41, 10 }, "10 of 40 handshakes",
	},
	{
		"few beside others", "name_spread", Info,
		func(s *Server) { s.Clients[0].SYNs, s.Clients[0].Spread = 10, 10 },
		func(s *Server) { s.Clients[0].SYNs, s.Clients[0].Spread = 10, 9 }, "",
	},
	{
		"health checks", "health_checks", Info,
		func(s *Server) {
			s.Probers = []Prober{{Address: "10.0.0.2", Software: software.KubeProbe, Connections: 5, Interval: 10}}
		},
		func(s *Server) { s.Probers = []Prober{{Address: "10.0.0.2", Connections: 4}} }, "10.0.0.2 (kube-probe), 5 connections every 10.0 s",
	},
	{"races", "races", Critical, fails(1, fact.FailRace), func(*Server) {}, "1 request met the server's closing and went unanswered, after idling 4.9 s"},
	{
		"races among few", "races", Critical,
		both(fails(2, fact.FailRace), func(s *Server) { s.Counted.Reused = 9 }),
		both(fails(1, fact.FailRace), func(s *Server) { s.Counted.Reused = 9 }), "",
	},
	{
		"races by estimate", "races", Warning,
		both(estimated(0, causeRace), func(s *Server) { s.Estimated.Failed[fact.FailRace].N = 2 }), func(*Server) {}, "by estimate",
	},
	{"stale reuse", "stale_reuse", Warning, fails(2, fact.FailStaleReuse), fails(1, fact.FailStaleReuse), "2 of 500 requests"},
	{
		"stale reuse, one of a thousand", "stale_reuse", Warning,
		both(fails(2, fact.FailStaleReuse), func(s *Server) { s.Counted.Requests = 2000 }),
		both(fails(2, fact.FailStaleReuse), func(s *Server) { s.Counted.Requests = 2001 }), "",
	},
	{
		"races without a timer", "races", Critical,
		both(fails(2, fact.FailRace), func(s *Server) {
			s.Counted.Failed[fact.FailRace].Idle, s.Idle.Server, s.Counted.ReuseIdleMax = 0.2, 0.2, 0.25
		}),
		fails(0, fact.FailRace), "after idling 200 ms: behind a proxy these are occasional 502s; that is no idle timeout, for others were used again after up to 250 ms",
	},
	{
		"races of a short timer", "races", Critical,
		both(fails(2, fact.FailRace), func(s *Server) {
			s.Counted.Failed[fact.FailRace].Idle, s.Idle.Server, s.Counted.ReuseIdleMax = 0.2, 0.2, 0.21
		}),
		fails(0, fact.FailRace), "after idling 200 ms; its idle timeout is 200 ms: behind a proxy these are occasional 502s.",
	},
	{"close ignored", "close_ignored", Warning, fails(2, fact.FailCloseIgnored), fails(1, fact.FailCloseIgnored), "2 requests went out"},
	{
		"GOAWAY ignored", "close_ignored", Warning,
		func(s *Server) { s.H2.Ignored = Loss{N: 2, Example: example(2)} }, func(s *Server) { s.H2.Ignored = Loss{N: 1} }, "2 requests went out",
	},
	{
		"close often ignored", "close_ignored", Critical,
		both(fails(10, fact.FailCloseIgnored), func(s *Server) { s.IgnoredAfter = fact.ReasonServerLimit }), fails(1, fact.FailCloseIgnored), "(server_limit)",
	},
	{
		"close ignored by few of many", "close_ignored", Warning,
		both(fails(10, fact.FailCloseIgnored), func(s *Server) { s.Counted.Requests = 10001 }), fails(1, fact.FailCloseIgnored), "",
	},
	{
		"path forgets", "path_timeout", Critical,
		both(fails(3, fact.FailPathDropped), func(s *Server) {
			s.Counted.Failed[fact.FailPathDropped].Idle = 352
			s.Path = Path{Survived: 300, Dropped: 351}
		}),
		fails(2, fact.FailPathDropped), "after 352 s of idling: something between forgets idle connections (NAT gateway, load balancer, firewall), between 300 s and 351 s",
	},
	{
		"path forgets whatever idled", "path_timeout", Critical,
		both(fails(3, fact.FailPathDropped), func(s *Server) {
			s.Counted.Failed[fact.FailPathDropped].Idle = 12
			s.Path = Path{Dropped: 12}
		}),
		fails(2, fact.FailPathDropped), "(NAT gateway, load balancer, firewall), by 12.0 s at the latest;",
	},
	{
		"host forgets", "path_timeout", Critical,
		both(fails(3, fact.FailPathDropped), func(s *Server) { s.Path.Reset = true }),
		fails(2, fact.FailPathDropped), "answered by the reset of a host that knew of no such connection, after 4.9 s of idling: something between forgets idle connections (NAT gateway, load balancer, firewall), or the server's host does",
	},
	{"path vanished", "path_timeout", Critical, fails(3, fact.FailPathDropped), fails(2, fact.FailPathDropped), "the server or the path to it vanished"},
	{
		"order of timeouts", "idle_timeout_order", Warning,
		func(s *Server) { s.Idle.Server, s.Idle.Client = 5, 5 }, func(s *Server) { s.Idle.Server, s.Idle.Client = 5, 4.9 }, "the client keeps them for 5.0 s",
	},
	{
		"order of timeouts, by reuse", "idle_timeout_order", Warning,
		func(s *Server) { s.Idle.Server, s.Counted.ReuseIdleMax = 5, 2.5 },
		func(s *Server) { s.Idle.Server, s.Counted.ReuseIdleMax = 5, 2.4 }, "after up to 2.5 s",
	},
	{
		"order of timeouts, few reuses", "idle_timeout_order", Warning,
		func(s *Server) { s.Idle.Server, s.Idle.Client, s.Counted.Reused = 5, 6, 10 },
		func(s *Server) { s.Idle.Server, s.Idle.Client, s.Counted.Reused = 5, 6, 9 }, "",
	},
	{
		"bodies unread", "body_unread", Warning,
		func(s *Server) { s.UnreadBodies.N, s.Connections, s.Clients[0].Unread = 10, 500, 10 },
		func(s *Server) { s.UnreadBodies.N, s.Connections = 9, 9 }, "10 of 500 connections",
	},
	{
		"few bodies unread", "body_unread", Warning,
		func(s *Server) { s.UnreadBodies.N, s.Connections = 10, 500 }, func(s *Server) { s.UnreadBodies.N, s.Connections = 10, 501 }, "",
	},
	{
		"bodies stalled", "bodies_stalled", Critical,
		func(s *Server) { s.Stalled.ToEnd, s.Clients[0].Stalled = 3, 3 }, func(s *Server) { s.Stalled.ToEnd = 2 }, "3 responses stood still to the end",
	},
	{
		"downloads paused", "bodies_stalled", Info,
		func(s *Server) { s.Stalled.WentOn = 3 }, func(s *Server) { s.Stalled.WentOn = 2 }, "went on",
	},
	{
		"client aborts", "client_aborts", Warning,
		both(fails(12, fact.FailClientAbort), func(s *Server) {
			s.Counted.Failed[fact.FailClientAbort].GivenUp = Cluster{12, 12, 1.0004}
		}),
		fails(2, fact.FailClientAbort), "The client gave up 12 of 500 requests, 12 of them after exactly 1.00 s",
	},
	{
		"few aborts of many", "client_aborts", Warning,
		both(fails(5, fact.FailClientAbort), func(s *Server) { s.Counted.Requests = 500 }),
		both(fails(5, fact.FailClientAbort), func(s *Server) { s.Counted.Requests = 501 }), "",
	},
	{
		"a hundred aborts", "server_aborts", Critical,
		both(fails(100, fact.FailServerAbort), func(s *Server) { s.Counted.Requests = 1e6 }),
		both(fails(99, fact.FailServerAbort), func(s *Server) { s.Counted.Requests = 1e6 }), "100 of 1 000 000 requests",
	},
	{"server aborts", "server_aborts", Critical, both(fails(5, fact.FailServerAbort)), both(fails(4, fact.FailServerAbort)), "5 of 500"},
	{"aborts that waste", "client_aborts", Warning, wastes(10, causeClientAbort), wastes(9, causeClientAbort), "10 handshakes were wasted"},
	{
		"refused", "refused", Critical,
		func(s *Server) { s.Attempts = Attempts{All: 100, Refused: 5, Since: 8, Refusal: example(5)} },
		func(s *Server) { s.Attempts = Attempts{All: 101, Refused: 5} }, "over 8.0 s; the other 95 came through",
	},
	{
		"all refused", "refused", Warning,
		func(s *Server) { s.Attempts = Attempts{All: 2, Refused: 2} },
		func(s *Server) { s.Attempts = Attempts{All: 1, Refused: 1} }, "2 of 2 handshakes",
	},
	{
		"few refused", "refused", Critical,
		func(s *Server) { s.Attempts = Attempts{All: 6, Refused: 5} },
		func(s *Server) { s.Attempts = Attempts{All: 6, Refused: 4} }, "",
	},
	{
		"unanswered", "unanswered", Critical,
		func(s *Server) { s.Attempts = Attempts{All: 6, Unanswered: 6, TooYoung: 2} },
		func(s *Server) { s.Attempts = Attempts{All: 5, Unanswered: 4} }, "6 of 6 handshakes were never answered: a firewall drops them, the queue is full, or the host is gone (2 of the last 3 s not counted)",
	},
	{
		"slow handshakes", "slow_handshakes", Warning,
		func(s *Server) { s.Attempts = Attempts{All: 48, Repeated: 9, RepeatDelay: 3} },
		func(s *Server) { s.Attempts = Attempts{All: 48, Repeated: 2, RepeatDelay: 3} }, "9 of 48 handshakes needed a SYN again, which delayed them by 3.0 s",
	},
	{
		"few slow handshakes", "slow_handshakes", Warning,
		func(s *Server) { s.Attempts = Attempts{All: 149, Repeated: 3} },
		func(s *Server) { s.Attempts = Attempts{All: 150, Repeated: 3} }, "",
	},
	{
		"slow handshakes of few", "slow_handshakes", Warning,
		func(s *Server) { s.Attempts = Attempts{All: 20, Repeated: 3} },
		func(s *Server) { s.Attempts = Attempts{All: 19, Repeated: 3} }, "",
	},
	{
		"restarts", "restarts", Warning,
		func(s *Server) { s.Mass = Mass{Closings: 2, Connections: 8} },
		func(s *Server) { s.Mass = Mass{Closings: 1, Connections: 8} }, "closed all its connections at once, twice (8 connections)",
	},
	{
		"restart that lost requests", "restarts", Warning,
		func(s *Server) { s.Mass = Mass{Closings: 1, Connections: 8, Failed: 1} },
		func(s *Server) { s.Mass = Mass{Closings: 1, Connections: 8} }, "closed 8 connections at one instant: a reload, restart or scale-down; 1 request went down",
	},
	{
		"pings", "pings_too_often", Critical,
		func(s *Server) { s.H2 = H2{TooManyPings: Loss{N: 1, Example: example(6)}, PingInterval: 0.4} },
		func(*Server) {}, "1 connection was ended by the server for too many pings (GOAWAY ENHANCE_YOUR_CALM), which came every 400 ms",
	},
	{
		"goaways with an error", "goaway_errors", Warning,
		func(s *Server) {
			s.H2 = H2{Errors: Loss{N: 3}, Codes: []GoawayCode{{http.InadequateSecurity, fact.ByServer, 2}, {http.ProtocolError, fact.ByClient, 1}}}
		},
		func(s *Server) {
			s.H2 = H2{Errors: Loss{N: 2}, Codes: []GoawayCode{{http.InadequateSecurity, fact.ByServer, 2}}}
		},
		"3 connections were ended by GOAWAY with an error: INADEQUATE_SECURITY by the server (2), PROTOCOL_ERROR by the client (1).",
	},
	{
		"first requests that meet a closing", "server_aborts", Critical,
		both(fails(5, fact.FailServerAbort), func(s *Server) { s.Counted.Crossed = Cluster{N: 5, Near: 5, Median: 1} }),
		fails(4, fact.FailServerAbort), "had answered 5 of 500 requests, all on connections that it closed unused, 1.0 s after they were opened.",
	},
	{
		"first requests that meet a closing, and others", "server_aborts", Critical,
		both(fails(5, fact.FailServerAbort), func(s *Server) { s.Counted.Crossed = Cluster{N: 3, Near: 3, Median: 1} }),
		fails(4, fact.FailServerAbort), "requests, 3 of them on connections that it closed unused",
	},
	{
		"streams that the server resets", "server_aborts", Critical,
		both(fails(5, fact.FailServerAbort), func(s *Server) { s.H2.Aborted, s.H2.AbortedWith = Loss{N: 5}, http.InternalError }),
		fails(4, fact.FailServerAbort), "The server reset 5 of 500 requests before it had answered, and kept their connections (RST_STREAM INTERNAL_ERROR).",
	},
	{
		"streams that the server resets, and connections", "server_aborts", Critical,
		both(fails(5, fact.FailServerAbort), func(s *Server) { s.H2.Aborted, s.H2.AbortedWith = Loss{N: 3}, http.Cancel }),
		fails(4, fact.FailServerAbort), "had answered 5 of 500 requests, 3 of them by a reset of the stream alone (RST_STREAM CANCEL).",
	},
	{
		"HTTP/1.1 required", "http11_required", Warning,
		func(s *Server) { s.H2.HTTP11 = Loss{N: 3} },
		func(s *Server) { s.H2.HTTP11 = Loss{N: 2} }, "3 requests were refused over HTTP/2",
	},
	{
		"clients that follow the name", "client_discards", Warning,
		func(s *Server) {
			s.Clients[0].Moved, s.Clients[0].Ended = 9, 10
			both(wastes(6, causeClientDiscard), wastes(4, causeClientIdle))(s)
		},
		func(s *Server) {
			s.Clients[0].Moved, s.Clients[0].Ended = 8, 10
			both(wastes(6, causeClientDiscard), wastes(4, causeClientIdle))(s)
		}, "when it opens one to another address of this name (9 of 10 closings)",
	},
	{
		"a channel for a call", "channel_per_call", Warning,
		func(s *Server) {
			s.H2.Connections, s.H2.StreamsP50 = 40, 3
			s.H2.Wasted[causeClientGoaway], s.H2.Wasted[fact.PoolMiss] = Loss{N: 5}, Loss{N: 5}
		},
		func(s *Server) {
			s.H2.Connections, s.H2.StreamsP50 = 40, 3
			s.H2.Wasted[causeClientGoaway], s.H2.Wasted[fact.PoolMiss] = Loss{N: 5}, Loss{N: 4}
		}, "40 connections over HTTP/2",
	},
	{
		"channels of many calls", "channel_per_call", Warning,
		func(s *Server) { s.H2.StreamsP50, s.H2.Wasted[causeClientGoaway] = 1, Loss{N: 10} },
		func(s *Server) { s.H2.StreamsP50, s.H2.Wasted[causeClientGoaway] = 4, Loss{N: 10} }, "",
	},
	{
		"goaway", "goaway_often", Warning,
		both(wastes(10, causeServerGoaway), func(s *Server) { s.H2.GoawayRequests, s.H2.GoawayAge = 5, 1.2 }),
		wastes(9, causeServerGoaway), "ended 10 connections by GOAWAY while they were in use, after 5 requests (median), at an age of 1.2 s",
	},
	{
		"goaway that cuts", "goaway_often", Warning,
		func(s *Server) { s.H2.Goaways = 10 }, func(s *Server) { s.H2.Goaways = 9 }, "",
	},
	{
		"goaways at an age", "goaway_often", Warning,
		both(wastes(10, causeServerGoaway), func(s *Server) {
			s.H2.GoawayRequests, s.H2.GoawayAge, s.Counted.GoawayAge = 5, 1.2, 1.2
		}),
		wastes(9, causeServerGoaway), "while they were in use, at an age of 1.2 s, whatever the requests (median 5): ",
	},
	{
		"goaways beside a reload", "goaway_often", Warning,
		func(s *Server) { s.H2.Goaways, s.Mass = 20, Mass{Closings: 1, Connections: 10, Goaways: 10} },
		func(s *Server) { s.H2.Goaways, s.Mass = 20, Mass{Closings: 1, Connections: 11, Goaways: 11} }, "ended 10 connections by GOAWAY while they were in use.",
	},
	{
		"goaways of a reload", "goaway_often", Warning,
		both(wastes(10, causeServerGoaway), func(s *Server) { s.H2.Goaways, s.Mass = 10, Mass{Closings: 1, Connections: 10, Goaways: 10} }),
		wastes(9, causeServerGoaway), "most of them at one instant, which is a reload",
	},
	{
		"stream limit", "stream_limit", Warning,
		func(s *Server) { s.H2.Limit, s.H2.OpenSeconds, s.H2.AtLimitSeconds = 4, 10, 0.51 },
		func(s *Server) { s.H2.Limit, s.H2.OpenSeconds, s.H2.AtLimitSeconds = 4, 10, 0.5 }, "limit of 4 streams for 5.1 %",
	},
	{
		"gRPC sticks", "grpc_sticky", Warning,
		func(s *Server) {
			c := &s.Clients[0]
			c.GRPC, c.GRPCBusiest, c.GRPCAddresses, c.GRPCOtherServed = 100, 91, 3, true
		},
		func(s *Server) {
			c := &s.Clients[0]
			c.GRPC, c.GRPCBusiest, c.GRPCAddresses, c.GRPCOtherServed = 100, 90, 3, true
		}, "91.0 % of 100 gRPC calls of a client ride one connection, to one of 3 addresses",
	},
	{
		"gRPC sticks, by DNS", "grpc_sticky", Info,
		func(s *Server) { c := &s.Clients[0]; c.GRPC, c.GRPCBusiest, c.GRPCAddresses = 100, 100, 3 },
		func(s *Server) { c := &s.Clients[0]; c.GRPC, c.GRPCBusiest, c.GRPCAddresses = 99, 99, 3 }, "",
	},
	{
		"gRPC of one address", "grpc_sticky", Info,
		func(s *Server) { c := &s.Clients[0]; c.GRPC, c.GRPCBusiest, c.GRPCAddresses = 100, 100, 2 },
		func(s *Server) { c := &s.Clients[0]; c.GRPC, c.GRPCBusiest, c.GRPCAddresses = 100, 100, 1 }, "",
	},
	{"HTTP/2 without keys", "h2_not_read", Info, func(s *Server) { s.H2.Unread = 1 }, func(*Server) {}, "1 connection carried HTTP/2"},
	{
		"never used", "never_used", Info,
		func(s *Server) { s.NeverUsed, s.Connections = Loss{10, 0.01, example(8)}, 100 },
		func(s *Server) { s.NeverUsed, s.Connections = Loss{10, 0.01, example(8)}, 101 }, "10 of 100 connections carried nothing from either side; opening them took 10.0 ms",
	},
	{
		"few never used", "never_used", Info,
		func(s *Server) { s.NeverUsed.N = 10 }, func(s *Server) { s.NeverUsed.N = 9 }, "",
	},
	{
		"unused TLS", "unused_tls", Info,
		func(s *Server) { s.UnusedTLS.N = 10 }, func(s *Server) { s.UnusedTLS.N = 9 }, "10 of 20 connections made a TLS handshake and asked nothing.",
	},
	{
		"ports", "ports", Warning,
		func(s *Server) {
			s.Ports = Ports{Peak: 50, Range: 100, Client: "10.0.0.7", Server: "10.0.0.9:80", HeldByClient: 5, Closed: 10}
		},
		func(s *Server) { s.Ports = Ports{Peak: 49, Range: 100, HeldByClient: 5, Closed: 10} }, "10.0.0.7 opened 50 connections",
	},
	{
		"ports running out", "ports", Critical,
		func(s *Server) {
			s.Ports = Ports{Client: "10.0.0.7", Server: "10.0.0.9:80", Peak: 80, Range: 100, HeldByClient: 5, Closed: 10}
		},
		func(s *Server) {
			s.Ports = Ports{Client: "10.0.0.7", Server: "10.0.0.9:80", Peak: 80, Range: 100, HeldByClient: 4, Closed: 10}
		}, "",
	},
	{
		"sticky", "too_sticky", Info,
		func(s *Server) {
			s.AddressCount, s.BusiestShare, s.Age, s.Counted.Requests, s.Counted.RequestsPerConn = 2, 0.75, 60, 1000, 100
		},
		func(s *Server) {
			s.AddressCount, s.BusiestShare, s.Age, s.Counted.Requests, s.Counted.RequestsPerConn = 2, 0.74, 60, 1000, 100
		}, "the busiest of 2 addresses serves 75.0 %",
	},
	{
		"sticky, short-lived", "too_sticky", Info,
		func(s *Server) {
			s.AddressCount, s.BusiestShare, s.Age, s.Counted.Requests, s.Counted.RequestsPerConn = 2, 0.9, 60, 1000, 100
		},
		func(s *Server) {
			s.AddressCount, s.BusiestShare, s.Age, s.Counted.Requests, s.Counted.RequestsPerConn = 2, 0.9, 59, 1000, 100
		}, "",
	},
	{"heads cut", "heads_cut", Warning, func(s *Server) { s.CutHeads, s.CutLost = 30, 2 }, func(*Server) {}, "30 request heads were cut by the capture's snaplen: what they negotiated is not known, and 2 more were lost."},
}

func find(list []Finding, code string) *Finding {
	for i := range list {
		if list[i].Code == code {
			return &list[i]
		}
	}
	return nil
}

func codes(list []Finding) (codes []string) {
	for _, f := range list {
		codes = append(codes, f.Code)
	}
	return codes
}

func TestThresholds(t *testing.T) {
	for _, c := range thresholds {
		t.Run(c.name, func(t *testing.T) {
			f := base()
			c.at(&f.Servers[0])
			at := Evaluate(f)
			found := find(at, c.code)
			if found == nil {
				t.Fatalf("at its threshold %s is missing: %q", c.code, codes(at))
			}
			if found.Severity != c.severity {
				t.Errorf("severity %s, want %s", found.Severity, c.severity)
			}
			if !strings.Contains(found.Summary, c.says) {
				t.Errorf("%q does not say %q", found.Summary, c.says)
			}
			g := base()
			c.below(&g.Servers[0])
			if below := Evaluate(g); find(below, c.code) != nil && find(below, c.code).Severity == c.severity {
				t.Errorf("below its threshold: %q", codes(below))
			}
		})
	}
}

// TestEveryCode holds that each rule has a case with its code.
func TestEveryCode(t *testing.T) {
	for _, r := range rules {
		if !slices.ContainsFunc(thresholds, func(c thresholdCase) bool { return c.code == r.code }) {
			t.Errorf("no case has %s", r.code)
		}
	}
}

// TestWords holds of every finding of the cases what a reader needs.
func TestWords(t *testing.T) {
	for _, c := range thresholds {
		f := base()
		c.at(&f.Servers[0])
		for _, x := range Evaluate(f) {
			if !strings.HasSuffix(x.Summary, ".") || strings.Contains(x.Summary, "%!") || strings.Contains(x.Summary, "..") || strings.Contains(x.Summary, "  ") {
				t.Errorf("%s: summary %q", x.Code, x.Summary)
			}
			first, _ := utf8.DecodeRuneInString(x.Summary)
			if strings.ToUpper(string(first)) != string(first) {
				t.Errorf("%s: summary begins small: %q", x.Code, x.Summary)
			}
			if x.Advice == "" && x.Code != "health_checks" {
				t.Errorf("%s: no advice", x.Code)
			}
			if x.Advice != "" && (!strings.HasSuffix(x.Advice, ".") || strings.HasSuffix(x.Advice, "..")) {
				t.Errorf("%s: advice %q", x.Code, x.Advice)
			}
			if n := utf8.RuneCountInString(x.Summary); n > 330 {
				t.Errorf("%s: a summary of %d characters", x.Code, n)
			}
			if len(x.Servers[0].Evidence) == 0 {
				t.Errorf("%s: no evidence", x.Code)
			}
		}
	}
}

// TestExplainedOnce holds that a waste is told by the rule that explains it, and not
// again by one that is more general.
func TestExplainedOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Server)
		want []string
	}{
		{"a limit of the client is no discarding", both(wastes(23, causeClientDiscard), func(s *Server) { s.Clients[0].ClosedAt = Cluster{24, 24, 4} }), []string{"client_request_limit"}},
		{"connections never reused are no split pool", both(wastes(39, fact.PoolMiss), func(s *Server) { s.Clients[0].Once = 40 }), []string{"never_reused"}},
		{"a reload is no idle timeout", both(wastes(34, causeServerIdle), func(s *Server) {
			s.Mass = Mass{Closings: 3, Connections: 40}
			s.Counted.MassWasted[causeServerIdle] = Loss{N: 30, Seconds: 0.03}
		}), []string{"restarts"}},
		{"a reload inside TLS", both(estimated(30, causeServerDiscard), func(s *Server) {
			s.Counted.Requests, s.Estimated.Requests = 0, 500
			s.Estimated.ClosedAt = Cluster{30, 30, 15}
			s.Mass = Mass{Closings: 3, Connections: 30}
			s.Estimated.MassWasted[causeServerDiscard] = Loss{N: 30, Seconds: 0.03}
		}), []string{"restarts"}},
		{"a reload beside an idle timeout", both(wastes(42, causeServerIdle), func(s *Server) {
			s.Mass = Mass{Closings: 3, Connections: 40}
			s.Counted.MassWasted[causeServerIdle] = Loss{N: 30, Seconds: 0.03}
		}), []string{"restarts", "server_idle_timeout"}},
		{"a pool that overflows is no discarding", both(wastes(72, causeClientDiscard), func(s *Server) { s.Counted.Discards, s.Counted.Beside = 72, 70 }), []string{"pool_too_small"}},
		{"an age is no small pool", both(wastes(72, causeClientDiscard), func(s *Server) { s.Counted.Discards, s.Counted.Beside, s.Counted.DiscardAge = 72, 70, 1 }), []string{"client_discards"}},
		{"bodies unread are no aborts", both(wastes(40, causeClientAbort), func(s *Server) { s.UnreadBodies = Loss{N: 20, Example: example(1)} }), []string{"body_unread"}},
		{"races are no order of timeouts", both(fails(3, fact.FailRace), func(s *Server) { s.Idle.Server, s.Idle.Client = 5, 10 }), []string{"races"}},
		{"channels are no discarding", both(wastes(39, causeClientDiscard), func(s *Server) {
			s.H2.Connections, s.H2.StreamsP50, s.H2.Wasted[causeClientDiscard] = 40, 1, Loss{N: 39}
		}), []string{"channel_per_call"}},
		{"tunnels are no discarding", both(wastes(24, causeClientDiscard), func(s *Server) {
			tunnel := Tunnel{Target: "a:443", Opened: 25, Wasted: Loss{N: 24}}
			tunnel.Cause[causeClientDiscard] = Loss{N: 24}
			s.Tunnels = []Tunnel{tunnel}
		}), []string{"tunnels"}},
		{"a hint is no discarding", both(wastes(24, causeClientDiscard), func(s *Server) { s.Advertised = 1 }), []string{"hint_too_short"}},
		{"inside TLS no side is named", both(estimated(30, causeServerDiscard)), []string{"closes_after_response"}},
		{"a limit inside TLS", both(estimated(30, causeServerDiscard), func(s *Server) { s.Estimated.ClosedAt = Cluster{30, 30, 5} }), []string{"request_limit"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := base()
			c.set(&f.Servers[0])
			got := codes(Evaluate(f))
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnannounced holds that nothing is called unannounced where that was not seen.
func TestUnannounced(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Server)
		want bool
	}{
		{"clear", func(*Server) {}, true},
		{"TLS", func(s *Server) { s.Encrypted = true }, false},
		{"cut heads", func(s *Server) { s.CutHeads = 1 }, false},
	} {
		for _, cause := range []fact.Cause{causeClientDiscard, causeServerDiscard} {
			f := base()
			wastes(20, cause)(&f.Servers[0])
			c.set(&f.Servers[0])
			for _, x := range Evaluate(f) {
				if strings.Contains(x.Code, "discards") && strings.Contains(x.Summary, "without announcing") != c.want {
					t.Errorf("%s: %q", c.name, x.Summary)
				}
			}
		}
	}
}

// TestOrder holds the one order: seconds lost, with a failed request as one; then
// wasted handshakes.
// TestTwoHabits holds that of two habits that look the same both have their settings.
func TestTwoHabits(t *testing.T) {
	f := base()
	wastes(10, causeClientDiscard)(&f.Servers[0])
	f.Servers[0].Idle.ClientFrom, f.Servers[0].Idle.ClientTo, f.Servers[0].Clients[0].Software = 0.2, 0.9, software.PythonRequests
	list := Evaluate(f)
	if len(list) != 1 || !strings.HasPrefix(list[0].Advice, "requests: one `requests.Session`") || strings.Contains(list[0].Advice, "Likely") {
		t.Fatalf("%+v", list)
	}
	f.Servers[0].Clients[0].Software = software.JavaHTTPClient
	if a := Evaluate(f)[0].Advice; !strings.Contains(a, "jdk.httpclient.keepalive.timeout") || !strings.Contains(a, "one `HttpClient`") {
		t.Error(a)
	}
	f = base()
	both(estimated(10, causeClientDiscard), func(s *Server) { s.Estimated.ClosedAt, s.Software = Cluster{10, 8, 4}, software.Nginx })(&f.Servers[0])
	if a := Evaluate(f)[0].Advice; !strings.Contains(a, "nginx: `keepalive_requests") || !strings.Contains(a, "Or: raise the client's limit") {
		t.Errorf("inside TLS: %q", a)
	}
}

// TestAgeLimitHasItsSetting holds that of a limit of age not the settings of a client made
// anew are named.
func TestAgeLimitHasItsSetting(t *testing.T) {
	f := base()
	wastes(10, causeClientDiscard)(&f.Servers[0])
	f.Servers[0].Counted.DiscardAge, f.Servers[0].Clients[0].Software = 2, software.ApacheHTTPClient
	if list := Evaluate(f); len(list) != 1 || !strings.HasPrefix(list[0].Advice, "Apache HttpClient: `setConnectionTimeToLive`") {
		t.Errorf("%+v", list)
	}
}

func TestOrder(t *testing.T) {
	f := base()
	s := &f.Servers[0]
	s.Counted.Wasted[causeClientClose] = Loss{N: 90, Seconds: 2}              // 2 s
	s.Counted.Wasted[causeServerIdle] = Loss{N: 30, Seconds: 4}               // 4 s
	s.Counted.Failed[fact.FailRace] = Failed{N: 3}                            // 3 s
	s.Counted.Wasted[causeNoLength], s.H2.Unread = Loss{N: 50}, 3             // 0 s
	s.Counted.Wasted[causeErrorClose] = Loss{N: 60}                           // 0 s, more handshakes
	s.Attempts = Attempts{All: 30, Refused: 5, Refusal: example(1), Since: 4} // 5 attempts
	got := codes(Evaluate(f))
	want := []string{"refused", "server_idle_timeout", "races", "client_closes", "errors_close", "no_length", "h2_not_read"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOneEntry holds that a code has one entry, its servers beneath, the worst first,
// with the settings of all who have the habit.
func TestOneEntry(t *testing.T) {
	f := base()
	f.Servers = nil
	for i, n := range []uint64{12, 40, 11} {
		s := base().Servers[0]
		s.Clients = slices.Clone(s.Clients)
		s.Name = fmt.Sprintf("s%d.example", i)
		s.Clients[0].Address = fmt.Sprintf("10.0.1.%d", i)
		s.Clients[0].Software = []software.ID{software.GoHTTP, software.PythonRequests, software.Unknown}[i]
		wastes(n, causeClientClose)(&s)
		f.Servers = append(f.Servers, s)
	}
	list := Evaluate(f)
	if len(list) != 1 {
		t.Fatalf("%q", codes(list))
	}
	x := list[0]
	var names []string
	for _, s := range x.Servers {
		names = append(names, s.Server)
	}
	if diff := cmp.Diff([]string{"s1.example", "s0.example", "s2.example"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if x.Wasted != 63 || x.Seconds != 0.063 || x.Saves != (Saves{6.3, 0.0063, 63}) {
		t.Errorf("%d wasted, %v s, saves %+v", x.Wasted, x.Seconds, x.Saves)
	}
	if !strings.HasPrefix(x.Advice, "requests: ") || !strings.Contains(x.Advice, "DisableKeepAlives") || strings.Contains(x.Advice, "nginx") {
		t.Errorf("advice %q", x.Advice)
	}
	want := []ByClient{{Address: "10.0.1.1", Software: "python-requests", Count: 40}}
	if diff := cmp.Diff(want, x.Servers[0].Clients, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ids" }, cmp.Ignore())); diff != "" {
		t.Errorf("clients (-want +got):\n%s", diff)
	}
	if x.Servers[0].Example != "0000000000000001" || x.Servers[0].DisplayFilter != "ip.addr == 10.0.0.7 && ip.addr == 10.0.0.9 && tcp.port == 40112 && tcp.port == 8080" {
		t.Errorf("example %q, %q", x.Servers[0].Example, x.Servers[0].DisplayFilter)
	}
}

// TestTogether holds that what no server alone wastes is told of several.
func TestTogether(t *testing.T) {
	f := base()
	f.Servers = nil
	for i := range 5 {
		s := base().Servers[0]
		s.Clients = []Client{{Address: "10.0.0.7", Software: software.GoHTTP}}
		s.Clients[0].Wasted = Losses{{causeClientClose, Loss{N: 6}}}
		s.Name = fmt.Sprintf("s%d", i)
		s.Counted.Wasted[causeClientClose] = Loss{N: 6, Seconds: 0.006}
		s.Counted.Reused = 100
		s.Idle.Server, s.Counted.Wasted[causeServerIdle] = 5, Loss{N: 4} // different servers share no timeout
		f.Servers = append(f.Servers, s)
	}
	list := Evaluate(f)
	if diff := cmp.Diff([]string{"client_closes"}, codes(list)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if by := list[0].Servers[0].Clients; len(by) != 1 || by[0].Count != 30 || !strings.HasPrefix(list[0].Advice, "Go: ") {
		t.Errorf("clients %+v, advice %q", by, list[0].Advice)
	}
	on := list[0].Servers[0]
	if on.Server != "" || on.Evidence["servers"] != 5 || !strings.HasPrefix(on.Summary, "5 servers together: The client asks") {
		t.Errorf("%+v", on)
	}
}

func TestOverall(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Figures)
		want []string
	}{
		{"well", func(*Figures) {}, []string{"all_is_well"}},
		{"too few", func(f *Figures) { f.Totals.Counted.Requests = 19 }, nil},
		{"much waste of many causes", func(f *Figures) { f.Totals.Counted.Wasted[causeNoLength].N = 26 }, []string{"nothing_stands_out"}},
		{"just well", func(f *Figures) { f.Totals.Counted.Wasted[causeNoLength].N = 25 }, []string{"all_is_well"}},
		{"a failed request", func(f *Figures) { f.Totals.Counted.Failed[fact.FailServerAbort].N = 1 }, []string{"nothing_stands_out"}},
		{"nothing reused", func(f *Figures) { f.Totals.Counted.Reused = 0 }, []string{"nothing_stands_out"}},
		{"health checks beside", func(f *Figures) { f.Servers[0].Probers = []Prober{{Address: "a", Connections: 5}} }, []string{"all_is_well", "health_checks"}},
		{"HTTP/2 that was not read", func(f *Figures) { f.Servers[0].H2.Unread = 1 }, []string{"h2_not_read"}},
		{"at 5 % missing", func(f *Figures) { f.Capture.Dropped, f.Capture.Packets = 5, 95 }, []string{"all_is_well"}},
		{"above 5 % missing", func(f *Figures) { f.Capture.Dropped, f.Capture.Packets = 6, 94 }, []string{"too_much_missing"}},
		{"bytes missing", func(f *Figures) { f.Capture.Missing, f.Capture.Bytes = 60, 940 }, []string{"too_much_missing"}},
		{"few requests that were given up", func(f *Figures) { f.Totals.Counted.Failed[fact.FailClientAbort].N = 4 }, []string{"all_is_well"}},
		{"more that were given up", func(f *Figures) { f.Totals.Counted.Failed[fact.FailClientAbort].N = 5 }, []string{"nothing_stands_out"}},
		{"errors beside", func(f *Figures) { f.Totals.Errors = 30 }, []string{"all_is_well"}},
		{"one direction", func(f *Figures) { f.Capture.OneWay = true }, []string{"too_much_missing"}},
		{"a scan", func(f *Figures) { f.Scans = []Scan{{"10.0.0.66", 30, 28}} }, []string{"all_is_well", "scan"}},
		{"estimated well", func(f *Figures) { f.Totals.Estimated.Requests, f.Totals.Estimated.Reused = 100, 100 }, []string{"all_is_well"}},
		{"estimated not well", func(f *Figures) {
			f.Totals.Estimated.Requests, f.Totals.Estimated.Reused = 100, 10
			f.Totals.Estimated.Wasted[causeNoLength].N = 9
		}, []string{"nothing_stands_out"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := base()
			c.set(f)
			got := codes(Evaluate(f))
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestErrorsBeside: connections may be well while answers are not.
func TestErrorsBeside(t *testing.T) {
	f := base()
	f.Totals.Errors = 30
	if got := Evaluate(f)[0].Summary; !strings.HasPrefix(got, "All is well: ") || !strings.Contains(got, " 30 of the answers had a status of 500 or above") {
		t.Error(got)
	}
}

// TestStalledOfAll: the clients' counts are of all responses that stood still to the end.
func TestStalledOfAll(t *testing.T) {
	f := base()
	s := &f.Servers[0]
	s.Stalled, s.Clients[0].Stalled = Stalled{ToEnd: 13, Seconds: 40}, 40
	if got := Evaluate(f)[0].Summary; !strings.HasPrefix(got, "40 responses stood still") || !strings.Contains(got, ", 13 of them for long: leaked bodies") {
		t.Error(got)
	}
}

func TestExplain(t *testing.T) {
	f := base()
	f.Singles = []Single{
		{"shop.example", "10.0.0.7", causeServerIdle, 2, 3.001, 0.011, false, false, false, nil, []software.ID{software.Nginx}},
		{"shop.example", "10.0.0.7", causeServerIdle, 2, 3.001, 0.011, false, false, false, nil, []software.ID{software.Nginx}}, // as the first
		{"shop.example", "10.0.0.7", causeClientDiscard, 1, 0.003, 0, true, false, false, nil, nil},
		{"shop.example", "10.0.0.7", fact.PoolMiss, 1, 0, 0.011, false, true, false, []software.ID{software.Unknown, software.GoHTTP}, nil},
		{"shop.example", "10.0.0.7", causeClientClose, 1, 0, 0.011, false, false, false, nil, nil},
	}
	f.Totals.Counted.Wasted[causeServerIdle].N = 5
	want := []string{
		"shop.example: a handshake of 10.0.0.7 (11.0 ms) would not have been needed: the connection before it, 2 requests old, was closed by the server 3.0 s after its last response.",
		"shop.example: a handshake of 10.0.0.7 would not have been needed: the connection before it, 1 request old, was closed by the client 3.0 ms after its last response.",
		"shop.example: a handshake of 10.0.0.7 (11.0 ms), which may be several clients, would not have been needed: a connection to the same server was open and idle.",
		"2 more handshakes would not have been needed.",
	}
	got := Explain(f, nil)
	if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	changes := got[len(want):]
	for i, begins := range []string{"→ nginx: `keepalive_timeout`", "→ Look at both sides: inside TLS", "→ Go: one `http.Client`"} {
		if i >= len(changes) || !strings.HasPrefix(changes[i], begins) {
			t.Errorf("what to change is %q, want %q at %d", changes, begins, i)
		}
	}
	f.Singles = []Single{{"shop.example", "10.0.0.7", causeClientDiscard, 1, 0.6, 0, false, false, false, []software.ID{software.JavaHTTPClient}, nil}}
	if got := Explain(f, nil); !strings.Contains(got[len(got)-1], "one `HttpClient`") || !strings.Contains(got[len(got)-1], "jdk.httpclient.keepalive.timeout") {
		t.Errorf("closed after 600 ms: %q", got)
	}
	f.Singles = []Single{{"shop.example", "10.0.0.7", causeClientDiscard, 1, 0.003, 0, false, false, true, []software.ID{software.GoHTTP}, nil}}
	if got := Explain(f, nil); !strings.Contains(got[0], "while it had others open") || !strings.HasPrefix(got[len(got)-1], "→ Go: `Transport.MaxIdleConnsPerHost`") ||
		!strings.Contains(got[len(got)-1], "one `http.Client`") {
		t.Errorf("closed beside others: %q", got)
	}
	if got := Explain(f, []Finding{{Wasted: 10}}); got != nil {
		t.Errorf("beside findings of waste: %q", got)
	}
	if got := Explain(f, []Finding{{Severity: OK}}); got != nil {
		t.Errorf("where all is well: %q", got)
	}
	if got := Explain(base(), nil); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	for c := range fact.NumCauses {
		s := Single{"a", "b", c, 1, 2, 0.1, false, false, false, nil, nil}
		if text := s.sentence(); !strings.HasSuffix(text, ".") || strings.Contains(text, "unknown") {
			t.Errorf("%v: %q", c, text)
		}
		if c.Possible() && c.Blames() != fact.BlamesNobody && c != causeGoawayError && s.habit() == advice.None { // its code says it
			t.Errorf("%v: nothing to change", c)
		}
	}
}

func TestUndecided(t *testing.T) {
	f := base()
	if got := Undecided(f); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	f.Capture = Capture{Packets: 50, Dropped: 50, Midstream: 2, Open: 1, Protocols: []NotRead{{"UDP 2152", 120}}}
	f.Totals.H2.Unread, f.Totals.CutHeads = 3, 30
	f.Servers[0].Attempts.TooYoung = 200
	if got := Undecided(f); len(got) != 7 || !strings.HasPrefix(got[5], "200 handshakes without an answer") || !strings.Contains(got[6], "120 packets of UDP 2152") {
		t.Errorf("%q", got)
	}
}

// TestText holds that text has whole advice for the first and one line for the others,
// in lines that fit.
func TestText(t *testing.T) {
	f := base()
	s := &f.Servers[0]
	fails(17, fact.FailRace)(s)
	s.Clients[0].Software = software.GoHTTP
	for i, c := range []fact.Cause{causeClientClose, causeServerIdle, causeNoLength, causeErrorClose} {
		s.Counted.Wasted[c] = Loss{N: 30 - uint64(i), Seconds: float64(5-i) / 10, Example: example(1)}
	}
	list := Evaluate(f)
	for _, width := range []int{40, 64, 80, 110} {
		for _, l := range Text(list, width, Whole) {
			if n := utf8.RuneCountInString(l.Lead + l.Text); n > width && strings.Contains(l.Text, " ") {
				t.Errorf("%d columns at %d: %q", n, width, l.Lead+l.Text)
			}
		}
	}
	var lines []string
	for _, l := range Text(list, 78, Whole) {
		lines = append(lines, l.Lead+l.Text)
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"1. shop.example: 17 requests met", "→ Go: Transport.IdleConnTimeout", "by 10.0.0.7 (Go-http-client): 17", "e.g. 0000000000000003 ip.addr ==",
		"4. no_length, shop.example: 28 wasted, 300 ms", "5. errors_close, shop.example: 27 wasted, 200 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "`") || strings.Contains(text, "--output json") || len(Text(list, 78, len(list))) <= len(lines) {
		t.Errorf("text:\n%s", text)
	}
}

func TestFirst(t *testing.T) {
	one := func(severity Severity, summary, advice string) Finding {
		return Finding{Severity: severity, Summary: summary, Advice: advice, Servers: []OnServer{{Server: "shop.example"}}}
	}
	known := one(Info, "Nothing is lost.", "")
	for _, tt := range []struct {
		name string
		list []Finding
		want string
	}{
		{"none", nil, ""},
		{"worth knowing only", []Finding{known}, ""},
		{"the first that is worth a warning", []Finding{known, one(Warning, "It closes: 3 wasted.", "nginx: `keepalive_timeout`. Let it."), one(Critical, "Other.", "")},
			"shop.example: It closes → nginx: keepalive_timeout."},
		{"guessed", []Finding{{Severity: Critical, Summary: estimatedLead + "It closes; 3 wasted.", Advice: "Let it.", Servers: []OnServer{{Server: "shop.example", Estimated: true}}}},
			"shop.example: It closes (estimated) → Let it."},
		{"long advice", []Finding{one(Warning, "It ends.", "Look for what ends the server in the middle of a request: crashes (Kubernetes: out-of-memory kills, restarts), and time limits.")},
			"shop.example: It ends → Look for what ends the server in the middle of a request: crashes …"},
		{"long setting", []Finding{one(Warning, "It ends.", "nginx as a proxy: `keepalive 32` in an upstream block, `proxy_http_version 1.1`, `proxy_set_header Connection \"\"` (from 1.29.7 defaults).")},
			"shop.example: It ends → nginx as a proxy: keepalive 32 in an upstream block, proxy_http_version 1.1 …"},
		{"of several servers", []Finding{{Severity: Warning, Summary: "16 servers together: It closes: 3 wasted.", Advice: "Let it.", Servers: []OnServer{{}}}},
			"16 servers together: It closes → Let it."},
		{"quoted", []Finding{one(Warning, "It says “Connection: close”: 3 wasted.", "")}, "shop.example: It says “Connection: close”."},
		{"of the capture", []Finding{{Severity: Warning, Summary: "Much is missing.", Servers: []OnServer{{}}}}, "Much is missing."},
	} {
		if got := First(tt.list); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestJSON(t *testing.T) {
	f := base()
	fails(3, fact.FailRace)(&f.Servers[0])
	b, err := json.Marshal(Evaluate(f))
	if err != nil {
		t.Fatal(err)
	}
	var back []map[string]any
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"code", "severity", "advice", "servers", "saves", "seconds_lost", "summary"} {
		if _, ok := back[0][key]; !ok {
			t.Errorf("no %q in %s", key, b)
		}
	}
	on := back[0]["servers"].([]any)[0].(map[string]any)
	for _, key := range []string{"server", "evidence", "example", "display_filter", "clients"} {
		if _, ok := on[key]; !ok {
			t.Errorf("no %q in %s", key, b)
		}
	}
}

// TestRandom holds that any figures give findings that add up: one entry a code, in
// order, no waste told twice, no broken text.
func TestRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		f := base()
		for range 1 + rnd.IntN(6) {
			c := thresholds[rnd.IntN(len(thresholds))]
			set := c.at
			if rnd.IntN(4) == 0 {
				set = c.below
			}
			set(&f.Servers[0])
		}
		list := Evaluate(f)
		if !slices.IsSortedFunc(list, compare) {
			t.Fatalf("not in order: %q", codes(list))
		}
		names := codes(list)
		slices.Sort(names)
		if len(slices.Compact(names)) != len(list) {
			t.Fatalf("a code twice: %q", codes(list))
		}
		if diff := cmp.Diff(codes(list), codes(Evaluate(f))); diff != "" {
			t.Fatal("the same figures give other findings")
		}
		for _, l := range Text(list, 80, len(list)) {
			if strings.Contains(l.Text, "%!") || strings.Contains(l.Text, "NaN") || strings.Contains(l.Text, "Inf") {
				t.Fatalf("%q", l.Text)
			}
		}
	}
}

func Example_evaluate() {
	f := Figures{Capture: Capture{Seconds: 10}, Servers: []Server{{
		Name:    "shop.example",
		Counted: Traffic{Requests: 30, Reused: 1},
		Clients: []Client{{Address: "10.77.0.2", Software: software.GoHTTP}},
	}}}
	f.Servers[0].Counted.Wasted[fact.ReasonClientClose] = Loss{N: 29, Seconds: 0.033}
	f.Servers[0].Clients[0].Wasted = Losses{{causeClientClose, Loss{N: 29, Seconds: 0.033}}}
	for _, line := range Text(Evaluate(&f), 72, Whole) {
		fmt.Println(line.Lead + line.Text)
	}
	// Output:
	// 1. shop.example: The client asks for “Connection: close”: 29 handshakes
	//    were wasted, 33.0 ms.
	//    → Go: no Transport.DisableKeepAlives, no Request.Close, and do not
	//      copy a Connection header into requests. Stop the client, or a proxy
	//      that sends its requests on, from asking for “Connection: close”.
	//    by 10.77.0.2 (Go-http-client): 29
}
