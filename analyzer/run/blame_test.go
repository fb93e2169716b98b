package run

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// rules has for each reason, failure and cause conversations that show it, with what is
// to be told of each connection: its reason, its verdict or the cause of the waste, its
// failed requests.
var rules = []struct {
	name, text, want string
	lost             string // what may be told instead, at a loss that nothing shows
}{
	{"client_close", `
		@10ms c > $get.close
		@20ms c < $ok
		@21ms c < fin
		@22ms c > fin
		@23ms c < ack
		$then d`, "client_close needed; client_idle client_close", ""},
	{"http10_not_requested", `
		@10ms c > "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n"
		@20ms c < $ok
		@21ms c < fin
		@22ms c > fin
		@23ms c < ack
		$then d`, "http10_not_requested needed; client_idle http10_not_requested", ""},
	{"http10_declined", `
		@10ms c > "GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n"
		@20ms c < $ok
		@21ms c < fin
		@22ms c > fin
		@23ms c < ack
		$then d`, "http10_declined needed; client_idle http10_declined", ""},
	{"no_length", `
		@10ms c > $get
		@20ms c < "HTTP/1.1 200 OK\r\n\r\nuntil close"
		@21ms c < fin
		@22ms c > fin
		@23ms c < ack
		$then d`, "no_length needed; client_idle no_length", ""},
	{"server_error_close", `
		@10ms c > $get
		@20ms c < "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		@21ms c < fin
		@22ms c > fin
		@23ms c < ack
		$then d`, "server_error_close needed; client_idle server_error_close", ""},
	{"server_close", `
		@10ms c > $get
		@20ms c < $ok.close
		@21ms c < fin
		@22ms c > fin
		@23ms c < ack
		$then d`, "server_close needed; client_idle server_close", ""},
	{"server_limit", `
		@10ms c > $get
		@20ms c < $ok
		@30ms c > $get
		@40ms c < $ok.close
		@41ms c < fin
		@42ms c > fin
		@43ms c < ack
		$then d`, "server_limit needed; client_idle server_limit", ""},
	{"close_ignored", `
		@10ms c > $get
		@20ms c < $ok.close
		@25ms c > ack
		@30ms c > $get
		@31ms c < fin
		@40ms c > fin
		@41ms c < rst
		$then d`, "server_close needed close_ignored; client_idle server_close", ""},
	{"race", `
		@10ms c > $get
		@20ms c < $ok
		@25ms c > ack
		@5s c < fin
		@5000500us c > $get ack=40
		@5001ms c < rst noack seq=40
		$then d`, "race needed race; client_idle race", "path_dropped needed path_dropped; client_idle path_dropped"},
	{"stale_reuse", `
		@10ms c > $get
		@20ms c < $ok
		@25ms c > ack
		@5s c < fin
		@5001ms c > ack
		@7s c > $get
		@7001ms c < rst noack seq=41
		$then d`, "stale_reuse needed stale_reuse; client_idle stale_reuse", ""},
	{"path_dropped in silence", `
		@10ms c > $get
		@20ms c < $ok
		@25ms c > ack
		@300s c > $get
		@300200ms c > dup
		@300600ms c > dup
		@301400ms c > dup
		@303s c > dup
		@306s c > fin
		$then d at 310s`, "path_dropped needed path_dropped; client_idle path_dropped", ""},
	{"path_dropped by a RST", `
		@10ms c > $get
		@20ms c < $ok
		@25ms c > ack
		@300s c > $get
		@300001ms c < rst noack
		$then d at 310s`, "path_dropped needed path_dropped; client_idle path_dropped", ""},
	{"client_abort", `
		@10ms c > $get
		@20ms c < $ok
		@1s c > $get
		@1001ms c < ack
		@3s c > fin
		@3001ms c < fin
		@3002ms c > ack
		$then d`, "client_abort needed client_abort; client_idle client_abort", ""},
	{"server_abort", `
		@10ms c > $get
		@20ms c < $ok
		@1s c > $get
		@1001ms c < ack
		@3s c < fin
		@3001ms c > fin
		@3002ms c < ack
		$then d`, "server_abort needed server_abort; client_idle server_abort", ""},
	{"client_discard", `
		@10ms c > $get
		@20ms c < $ok
		@21ms c > fin
		@22ms c < fin
		@23ms c > ack
		$then d`, "client_discard needed; client_idle client_discard", ""},
	{"server_discard", `
		@10ms c > $get
		@20ms c < $ok
		@21ms c > ack
		@30ms c < fin
		@31ms c > fin
		@32ms c < ack
		$then d`, "server_discard needed; client_idle server_discard", ""},
	{"client_idle", `
		@10ms c > $get
		@20ms c < $ok
		@21ms c > ack
		@5s c > fin
		@5001ms c < fin
		@5002ms c > ack
		$then d`, "client_idle needed; client_idle client_idle", ""},
	{"server_idle", `
		@10ms c > $get
		@20ms c < $ok
		@30ms c > $get
		@40ms c < $ok
		@41ms c > ack
		@5s c < fin
		@5001ms c > fin
		@5002ms c < ack
		$then d`, "server_idle needed; client_idle server_idle", ""},
	{"server_idle by RST", `
		@10ms c > $get
		@20ms c < $ok
		@30ms c > $get
		@40ms c < $ok
		@41ms c > ack
		@5s c < rst
		$then d`, "server_idle needed; client_idle server_idle", ""},
	{"open, pool_miss", `
		@10ms c > $get
		@20ms c < $ok
		@30ms c > $get
		@40ms c < $ok
		@41ms c > ack
		$then d`, "open needed; client_idle pool_miss", ""},
	{"busy", `
		@10ms c > $get
		@11ms c < ack
		$then d
		@20s c < $ok
		@20001ms c > close`, "client_discard needed; client_idle needed", ""},
	{"never_used", `
		@1s c > fin
		@1001ms c < fin
		@1002ms c > ack
		$then d`, "never_used none; client_idle needed", ""},
	{"not_http", `
		@1s c > "SSH-2.0-OpenSSH_9.6\r\n"
		@1001ms c < "SSH-2.0-OpenSSH_9.6\r\n"
		@2s c > fin
		@2001ms c < fin
		@2002ms c > ack`, "not_http none", ""},
	{"upgraded", `
		@10ms c > "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
		@20ms c < "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
		@30ms c > "\x81\x02hi"
		@40ms c < "\x81\x02hi"
		@2s c > fin
		@2001ms c < fin
		@2002ms c > ack`, "upgraded none", ""},
	{"server_goaway", `
		@10ms c > $preface $h2get1
		@11ms c < $settings
		@20ms c < $h2ok1
		@21ms c > $settingsACK
		@30ms c < $goaway1
		@31ms c < fin
		@32ms c > fin
		@33ms c < ack`, "server_goaway needed", ""},
	{"client_goaway", `
		@10ms c > $preface $h2get1
		@11ms c < $settings
		@20ms c < $h2ok1
		@30ms c > $goaway0
		@31ms c > fin
		@32ms c < fin
		@33ms c > ack`, "client_goaway needed", ""},
	{"goaway_error", `
		@10ms c > $preface $h2get1
		@11ms c < $settings
		@20ms c < $h2ok1
		@30ms c < $goawayError
		@31ms c < fin
		@32ms c > fin
		@33ms c < ack`, "goaway_error needed", ""},
	{"refused_stream", `
		@10ms c > $preface $h2get1
		@11ms c < $settings
		@20ms c < $h2ok1
		@30ms c > $h2get3
		@40ms c < $refused3
		@41ms c > ack
		@5s c > fin
		@5001ms c < fin
		@5002ms c > ack`, "client_idle needed refused_stream", ""},
}

// vocabulary stands for what conversations say often.
var vocabulary = strings.NewReplacer(
	"$get.close", `"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"`,
	"$get", `"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"`,
	"$ok.close", `"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"`,
	"$ok", `"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"`+` "ok"`,
	"$preface", fmt.Sprintf("hex:%x", preface+settings),
	"$settingsACK", fmt.Sprintf("hex:%x", settingsACK),
	"$settings", fmt.Sprintf("hex:%x", settings),
	"$h2get1", fmt.Sprintf("hex:%x", get1),
	"$h2get3", fmt.Sprintf("hex:%x", get3),
	"$h2ok1", fmt.Sprintf("hex:%x", ok1),
	"$goaway0", fmt.Sprintf("hex:%x", goaway0),
	"$goaway1", "hex:0000080700000000000000000100000000",
	"$goawayError", "hex:0000080700000000000000000100000001",
	"$refused3", fmt.Sprintf("hex:%x", refused3),
	"$then d at 310s", then(310*time.Second),
	"$then d", then(10*time.Second),
)

// then is a connection that comes afterwards.
func then(at time.Duration) string {
	line := func(after time.Duration, what string) string { return fmt.Sprintf("\n@%v d %s", at+after, what) }
	const ms = time.Millisecond
	return line(0, "handshake rtt=1ms") + line(10*ms, `> "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"`) +
		line(20*ms, `< "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"`) + line(21*ms, "> ack") +
		line(5*time.Second, "> fin") + line(5*time.Second+ms, "< fin") + line(5*time.Second+2*ms, "> ack")
}

// conversation returns the segments of a rule's text, in order of time.
func conversation(text string, mss int) []sniffer.Segment {
	s := sniffertest.MustParse("conn c 10.0.0.1:40000 10.0.0.2:80\nconn d 10.0.0.1:40001 10.0.0.2:80\n@0s c handshake rtt=1ms\n" + vocabulary.Replace(text))
	if mss > 0 {
		s = s.WithMSS(mss)
	}
	segments := s.Segments()
	sortByTime(segments)
	return segments
}

// A blame is what is told of a connection that somebody may be blamed for.
type blame struct {
	reason  fact.Reason
	verdict fact.Verdict
	cause   fact.Cause
	failed  [fact.NumFailures]uint32
	shaky   bool // it says that some of it is missing
}

func (b blame) String() string {
	s := b.reason.String() + " " + b.verdict.String()
	if b.verdict == fact.VerdictWasted {
		s = b.reason.String() + " " + b.cause.String()
	}
	for f, n := range b.failed {
		if n > 0 && fact.Failure(f) != fact.NotFailed {
			s += " " + fact.Failure(f).String()
		}
	}
	return s
}

// blames hears whom connections blame, by the client's port.
type blames map[uint16]blame

func (m blames) Connection(c *fact.Connection) {
	m[c.Client.Port] = blame{c.Reason, c.Verdict, c.Cause, c.Failed, c.Incomplete || c.Missing > 0 || c.Handshake != fact.HandshakeComplete}
}

func (m blames) String() string {
	var all []string
	for _, port := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[port].String())
	}
	return strings.Join(all, "; ")
}

// blamed plays segments and returns whom the connections blame.
func blamed(t *testing.T, segments []sniffer.Segment) blames {
	t.Helper()
	m := blames{}
	w := NewWorker(reassembly.Config{}, analyzer.Config{}, m)
	next := int64(0)
	for _, s := range segments {
		if s.Time >= next {
			w.sweep(s.Time)
			next = s.Time + sweepEvery
		}
		w.Process(s)
	}
	w.sweep(segments[len(segments)-1].Time)
	w.Flush()
	return m
}

// TestRules holds each rule to what the conversation says, however it is cut into
// segments, whatever is captured twice, and whichever direction of what came within a
// millisecond is captured first.
func TestRules(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			whole := conversation(r.text, 0)
			check := func(what string, segments []sniffer.Segment) {
				t.Helper()
				if got := blamed(t, segments).String(); got != r.want {
					t.Errorf("%s: %s, want %s", what, got, r.want)
				}
			}
			check("as it is", whole)
			for _, mss := range []int{1, 7, 30} {
				check(fmt.Sprintf("segments of %d", mss), conversation(r.text, mss))
			}
			var twice []sniffer.Segment
			for i, s := range whole {
				check(fmt.Sprintf("segment %d twice", i), slices.Insert(slices.Clone(whole), i, s))
				twice = append(twice, s, s)
			}
			check("all twice", twice)
			for i := 1; i < len(whole); i++ {
				x, y := whole[i-1], whole[i]
				if x.Src != y.Dst || y.Time-x.Time > 1e6 {
					continue
				}
				swapped := slices.Clone(whole)
				swapped[i-1], swapped[i] = y, x
				swapped[i-1].Time, swapped[i].Time = x.Time, y.Time
				check(fmt.Sprintf("segments %d and %d swapped", i-1, i), swapped)
			}
		})
	}
}

// TestRulesAtLoss takes a single segment away. Who was blamed is blamed still, or nobody
// is: where evidence is lost less is told, and never something else. What was announced
// and not captured leaves a closing that nothing announced, of a connection that says so;
// a closing that was not captured leaves a connection that is open.
func TestRulesAtLoss(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			whole := conversation(r.text, 0)
			all := blamed(t, whole)
			for i := range whole {
				got := blamed(t, slices.Delete(slices.Clone(whole), i, i+1))
				if got.String() == r.lost {
					continue
				}
				for port, b := range got {
					if more := b.more(all[port], got[whole[0].Src.Port], all[whole[0].Src.Port]); more != "" {
						t.Errorf("without segment %d (%v %q): %s of %v, not %v", i, whole[i].Flags, whole[i].Payload, more, b, all[port])
					}
				}
			}
		})
	}
}

// more says what b claims that is not so, with all that there was to capture: w; "" for
// nothing. c is the connection that it may have replaced, and d what that is in truth.
func (b blame) more(w, c, d blame) string {
	if b.reason != w.reason && b.reason.Blames() != fact.BlamesNobody && !b.unannounced(w) {
		return "the reason"
	}
	if b.verdict == fact.VerdictWasted && (w.verdict != fact.VerdictWasted || b.cause.Blames() != w.cause.Blames()) {
		lost := b.cause == fact.Cause(c.reason) && c.more(d, c, d) == ""
		if open := b.cause == fact.PoolMiss && c.reason.Blames() == fact.BlamesNobody; !lost && !open {
			return "the cause"
		}
	}
	for f, n := range b.failed {
		if n > w.failed[f] {
			return "the failure " + fact.Failure(f).String()
		}
	}
	return ""
}

// unannounced says whether all that b tells is that somebody closed a connection that
// nothing was under way on, where w is a closing that a request met which was not
// captured.
func (b blame) unannounced(w blame) bool {
	switch b.reason {
	case fact.ReasonClientDiscard, fact.ReasonServerDiscard, fact.ReasonClientIdle, fact.ReasonServerIdle:
		return w.reason == fact.ReasonRace || w.reason == fact.ReasonStaleReuse || w.reason == fact.ReasonPathDropped
	}
	return false
}
