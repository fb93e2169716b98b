package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wastedServer is a server with n handshakes wasted for a cause among requests
// that reused a connection.
func wastedServer(cause string, n, reused uint64) *Server {
	return &Server{Name: "s", Summary: Summary{
		Connections: 1000, Requests: reused + n, ReusedRequests: reused,
		Wasted: Wasted{Total: n, ByCause: map[string]uint64{cause: n}, SecondsByCause: map[string]float64{cause: 1.5}, Seconds: 1.5},
	}}
}

func TestRulesAboutCauses(t *testing.T) {
	for cause, want := range map[string]string{
		"server_close": "server_closes", "client_close": "client_closes",
		"http10_not_requested": "http10", "http10_declined": "http10",
		"client_abort": "client_aborts", "server_discard": "server_discards", "server_abort": "server_aborts",
		"server_limit": "request_limit", "no_length": "no_length", "server_error_close": "errors_close",
		"server_idle": "server_idle_timeout", "client_idle": "client_idle_timeout", "pool_miss": "pool_split",
		"client_discard": "pool_too_small", // with 90 % reuse
	} {
		t.Run(cause, func(t *testing.T) {
			for _, test := range []struct {
				name      string
				n, reused uint64
				fires     bool
			}{
				{"at both thresholds", 10, 490, true},
				{"too few", 9, 90, false},
				{"too small a share", 10, 491, false},
			} {
				found := check(wastedServer(cause, test.n, test.reused))
				if !test.fires {
					if len(found) > 0 {
						t.Errorf("%s: %s fires", test.name, found[0].Code)
					}
					continue
				}
				if len(found) != 1 || found[0].Code != want {
					t.Errorf("%s: got %+v, want %s", test.name, found, want)
				}
			}
		})
	}
}

func TestRules(t *testing.T) {
	reusing := func(change func(*Server)) *Server {
		s := &Server{Name: "s", Summary: Summary{Connections: 100, Requests: 200, ReusedRequests: 100}}
		change(s)
		return s
	}
	sec := pointer[float64]
	ports := func(peak, client, server uint64) *Ports {
		return &Ports{Peak: peak, Range: ephemeralPorts, Client: "10.0.0.1", Server: "10.0.0.2:80", TimeWait: TimeWait{Client: client, Server: server}}
	}
	sticky := func(s *Server, share float64, age float64, mean float64) {
		s.Requests, s.AddressCount, s.BusiestShare = minSticky, 4, &share
		s.Age.P50, s.RequestsPerConn = &age, Requests{Mean: mean}
	}
	for _, test := range []struct {
		name   string
		server *Server
		want   []string
	}{
		{"a race", reusing(func(s *Server) { s.Races = 1 }), []string{"races"}},
		{"a race, few reuses", reusing(func(s *Server) { s.Races, s.ReusedRequests = 1, 9 }), nil},
		{"races, few reuses", reusing(func(s *Server) { s.Races, s.ReusedRequests = 2, 2 }), []string{"races"}},
		{"server's timeout at the client's", reusing(func(s *Server) {
			s.Idle.ObservedTimeout = SideSeconds{Client: sec(5), Server: sec(5)}
		}), []string{"idle_timeout_order"}},
		{"server's timeout above the client's", reusing(func(s *Server) {
			s.Idle.ObservedTimeout = SideSeconds{Client: sec(4.9), Server: sec(5)}
		}), nil},
		{"reuse near the server's timeout", reusing(func(s *Server) {
			s.Idle.ObservedTimeout.Server, s.Idle.Reuse.Max = sec(5), sec(2.5)
		}), []string{"idle_timeout_order"}},
		{"reuse far from the server's timeout", reusing(func(s *Server) {
			s.Idle.ObservedTimeout.Server, s.Idle.Reuse.Max = sec(5), sec(2.4)
		}), nil},
		{"a race says it already", reusing(func(s *Server) {
			s.Races, s.Idle.ObservedTimeout = 2, SideSeconds{Client: sec(9), Server: sec(5)}
		}), []string{"races"}},
		{"bodies unread", reusing(func(s *Server) { s.UnreadBodies = minUnread }), []string{"body_unread"}},
		{"the client's aborts are unread bodies", func() *Server {
			s := wastedServer("client_abort", 20, 0)
			s.UnreadBodies, s.Reasons = 20, map[string]uint64{"client_abort": 40}
			return s
		}(), []string{"body_unread"}},
		{"the client's aborts are mostly others", func() *Server {
			s := wastedServer("client_abort", 20, 0)
			s.UnreadBodies, s.Reasons = 20, map[string]uint64{"client_abort": 41}
			return s
		}(), []string{"body_unread", "client_aborts"}},
		{"few bodies unread", reusing(func(s *Server) { s.UnreadBodies = minUnread - 1 }), nil},
		{"never used", reusing(func(s *Server) { s.Silent = 10 }), []string{"never_used"}},
		{"few never used", reusing(func(s *Server) { s.Silent = 9 }), nil},
		{"small share never used", reusing(func(s *Server) {
			s.Connections, s.Silent = 101, 10
		}), nil},
		{"half the ports", reusing(func(s *Server) { s.Ports = ports(ephemeralPorts/2, 50, 50) }), []string{"ports"}},
		{"less than half the ports", reusing(func(s *Server) { s.Ports = ports(ephemeralPorts/2-1, 50, 50) }), nil},
		{"the server holds TIME_WAIT", reusing(func(s *Server) { s.Ports = ports(ephemeralPorts, 49, 51) }), nil},
		{"sticky", reusing(func(s *Server) { sticky(s, 0.375, 60, 100) }), []string{"too_sticky"}},
		{"balanced", reusing(func(s *Server) { sticky(s, 0.37, 60, 100) }), nil},
		{"young", reusing(func(s *Server) { sticky(s, 0.5, 59, 100) }), nil},
		{"few requests on each", reusing(func(s *Server) { sticky(s, 0.5, 60, 99) }), nil},
		{"discards without a pool", wastedServer("client_discard", 100, 11), []string{"client_discards"}},
		{"discards with a pool", wastedServer("client_discard", 90, 10), []string{"pool_too_small"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, f := range check(test.server) {
				got = append(got, f.Code)
				if len(f.Evidence) == 0 || f.Advice == "" || f.Summary == "" || f.Severity == "" {
					t.Errorf("%s lacks figures or advice: %+v", f.Code, f)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortsAreCriticalFrom80Percent(t *testing.T) {
	s := wastedServer("none", 0, 0)
	s.Ports = &Ports{Peak: ephemeralPorts*8/10 + 1, Range: ephemeralPorts, TimeWait: TimeWait{Client: 1}}
	if found := check(s); len(found) != 1 || found[0].Severity != Critical {
		t.Errorf("got %+v, want one critical finding", found)
	}
}

func TestTotals(t *testing.T) {
	for _, test := range []struct {
		name                   string
		reused, wasted, needed uint64
		races                  uint64
		want                   string
	}{
		{"enough", 19, 1, 0, 0, "all_is_well"},
		{"too small a sample", 19, 0, 0, 0, ""},
		{"waste below the threshold of any rule", 18, 2, 0, 0, "nothing_stands_out"},
		{"all wasted", 0, 20, 0, 0, "nothing_stands_out"},
		{"all needed", 0, 0, 20, 0, "nothing_stands_out"},
		{"a race", 100, 0, 0, 1, "nothing_stands_out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := findings(nil, nil, &Summary{
				Requests: test.reused + test.wasted + test.needed, ReusedRequests: test.reused,
				Wasted: Wasted{Total: test.wasted}, Races: test.races,
			})
			got := ""
			if len(found) > 0 {
				got = found[0].Code
			}
			if got != test.want {
				t.Errorf("%+v, want %q", found, test.want)
			}
		})
	}
}

// A server that speaks in clear and encrypted is judged by each alone.
func TestEstimatesAreApart(t *testing.T) {
	s := wastedServer("client_discard", 9, 0)
	s.Estimated = &Estimated{Connections: 30, Requests: 30, Wasted: wastedServer("client_discard", 12, 0).Wasted}
	found := check(s)
	if len(found) != 1 || !found[0].Estimated || found[0].Evidence["wasted_handshakes"] != 12 {
		t.Errorf("of 9 counted and 12 estimated: %+v", found)
	}
	s.Wasted.ByCause["client_discard"] = 11
	s.Estimated.Wasted.ByCause["client_discard"] = 9
	if found := check(s); len(found) != 1 || found[0].Estimated || found[0].Evidence["wasted_handshakes"] != 11 {
		t.Errorf("of 11 counted and 9 estimated: %+v", found)
	}
	s.Estimated.Wasted.ByCause["client_discard"] = 12
	s.Silent = 500
	found = findings(check(s), nil, &s.Summary)
	if len(found) != 3 || found[0].Estimated == found[1].Estimated {
		t.Errorf("of both, and connections without a request: %+v", found)
	}
}

// Servers of which none is large enough for a finding are judged together; but
// by no rule that would hold one's pool against another's timeout.
func TestSmallServersTogether(t *testing.T) {
	for _, test := range []struct{ cause, want string }{
		{"client_close", "client_closes"}, {"client_discard", "client_discards"}, {"server_idle", ""},
	} {
		rest := wastedServer(test.cause, 30, 30)
		rest.Name, rest.AddressCount = "", 10
		found := findings(nil, rest, &rest.Summary)
		if test.want == "" {
			test.want = "nothing_stands_out"
		} else if want := "10 servers together: "; !strings.HasPrefix(found[0].Summary, want) {
			t.Errorf("%s: %q does not begin with %q", test.cause, found[0].Summary, want)
		}
		if len(found) != 1 || found[0].Code != test.want || found[0].Server != "" {
			t.Errorf("%s: %+v, want %s", test.cause, found, test.want)
		}
	}
}

func TestFindingsAreSortedBySeconds(t *testing.T) {
	cheap, dear := wastedServer("server_close", 20, 20), wastedServer("client_close", 20, 20)
	dear.Wasted.SecondsByCause["client_close"] = 9
	found := findings(append(check(cheap), check(dear)...), nil, &Summary{})
	if len(found) != 2 || found[0].Code != "client_closes" {
		t.Errorf("got %+v, want client_closes first", found)
	}
}

func TestRulesAreDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules {
		if r.Code == "" || r.Threshold == "" || r.Advice == "" || r.Severity == "" || r.Check == nil || seen[r.Code] {
			t.Errorf("rule %q is incomplete or twice", r.Code)
		}
		seen[r.Code] = true
	}
}
