package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	keepalive "github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/exporter/events"
	"github.com/keepscope/keepscope/exporter/recordlog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
)

// An eventServer is a collector that keeps what is pushed to it.
type eventServer struct {
	*httptest.Server
	mu        sync.Mutex
	resource  map[string]string
	scope     string
	token     string // that a request has
	encoding  string // and its body's
	events    []*logs.LogRecord
	answer    int   // a status in place of 200
	busy      int   // how many requests get it; 0 are all
	rejects   int64 // of each request's events
	exhausted chan struct{}
}

func newEventServer(t *testing.T) *eventServer {
	s := &eventServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if s.exhausted != nil {
			<-s.exhausted
		}
		var z io.Reader = req.Body
		var err error
		if s.encoding = req.Header.Get("Content-Encoding"); s.encoding == "gzip" {
			z, err = gzip.NewReader(req.Body)
		}
		if err != nil || req.URL.Path != "/v1/logs" || req.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Error(req.URL, req.Header, err)
			return
		}
		text, err := io.ReadAll(z)
		var pushed collector.ExportLogsServiceRequest
		if err != nil || proto.Unmarshal(text, &pushed) != nil {
			t.Error("no request of the protocol:", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.token = req.Header.Get("X-Token"); s.answer != 0 {
			answer := s.answer
			if s.busy--; s.busy == 0 {
				s.answer = 0
			}
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(answer)
			return
		}
		for _, r := range pushed.ResourceLogs {
			s.resource = plain(r.Resource.Attributes)
			for _, sc := range r.ScopeLogs {
				s.scope = sc.Scope.Name
				s.events = append(s.events, sc.LogRecords...)
			}
		}
		var answer collector.ExportLogsServiceResponse
		if s.rejects > 0 {
			answer.PartialSuccess = &collector.ExportLogsPartialSuccess{RejectedLogRecords: s.rejects, ErrorMessage: "too old"}
		}
		out, err := proto.Marshal(&answer)
		w.Header().Set("Content-Type", "application/x-protobuf")
		if _, failed := w.Write(out); err != nil || failed != nil {
			t.Error(err, failed)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// plain writes attributes as text, by their names.
func plain(list []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		m[kv.Key] = plainValue(kv.Value)
	}
	return m
}

func plainValue(v *common.AnyValue) string {
	switch v := v.Value.(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *common.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *common.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'f', -1, 64)
	case *common.AnyValue_ArrayValue:
		list := []string{}
		for _, e := range v.ArrayValue.Values {
			list = append(list, plainValue(e))
		}
		return fmt.Sprint(list)
	case *common.AnyValue_KvlistValue:
		return fmt.Sprint(plain(v.KvlistValue.Values))
	}
	return "none"
}

// push gives the connections of the demo's capture to a log and ends it. It returns
// their lines, too.
func push(t *testing.T, s *eventServer) (lines []byte, written, dropped uint64) {
	t.Helper()
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=web-1")
	l, err := OpenLog(target(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	file, err := capfile.Open("../../cmd/keepscope/demo.pcapng.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := run.Reader{
		Source:  file,
		Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{DNS: true}),
		Workers: []*run.Worker{run.NewWorker(reassembly.Config{}, analyzer.Config{MaxReuseIdle: recordlog.IdleTimes}, l.Observer(), &events.Encoder{W: &told})},
	}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	l.Close(t.Context())
	written, dropped = l.Counts()
	return told.Bytes(), written, dropped
}

func target(endpoint string) Target {
	return Target{Endpoint: endpoint, Own: &OwnTraffic{Local: func(sniffer.Addr) bool { return false }}, Version: "1.0", Log: quiet}
}

// TestEvents holds every event, field by field, to the connection's line.
func TestEvents(t *testing.T) {
	s := newEventServer(t)
	lines, written, dropped := push(t, s)
	conventions := map[string]string{
		"client.ip": "client.address", "client.port": "client.port", "server.ip": "network.peer.address", "server.port": "network.peer.port",
		"tls.version": "tls.protocol.version", "tls.alpn": "tls.next_protocol", "tls.resumed": "tls.resumed",
	}
	var want []map[string]string
	for line := range bytes.Lines(lines) {
		var fields map[string]any
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&fields); err != nil {
			t.Fatal(err)
		}
		m := map[string]string{"network.transport": "tcp", "network.type": "ipv4"}
		flat(m, conventions, "", fields)
		m["server.port"], m["server.address"] = m["network.peer.port"], m["network.peer.address"]
		if name := m["keepscope.server_name"]; name != "" {
			m["server.address"] = name
		}
		if v, ok := map[string]string{"http/1.0": "1.0", "http/1.1": "1.1", "h2": "2"}[m["keepscope.protocol"]]; ok {
			m["network.protocol.name"], m["network.protocol.version"] = "http", v
		}
		delete(m, "keepscope.type")
		want = append(want, m)
	}
	got := map[string]map[string]string{}
	for _, e := range s.events {
		m := plain(e.Attributes)
		m["keepscope.end"] = time.Unix(0, int64(e.TimeUnixNano)).UTC().Format(time.RFC3339Nano)
		got[m["keepscope.id"]] = m
		if e.EventName != "keepscope.connection" || e.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_INFO || e.ObservedTimeUnixNano == 0 || e.DroppedAttributesCount > 0 {
			t.Errorf("%+v", e)
		}
	}
	if s.encoding != "gzip" || len(s.events) != len(want) || len(got) != len(want) || written != uint64(len(want)) || dropped != 0 || len(want) < 1000 {
		t.Errorf("%d events of %d connections; %d taken, %d dropped; want %d", len(s.events), len(got), written, dropped, len(want))
	}
	for _, w := range want {
		if diff := cmp.Diff(w, got[w["keepscope.id"]]); diff != "" {
			t.Fatalf("(-line +event):\n%s", diff)
		}
	}
	if s.resource["service.name"] != "keepscope" || s.resource["k8s.pod.name"] != "web-1" || s.scope != "github.com/keepscope/keepscope" {
		t.Errorf("resource %v, scope %s", s.resource, s.scope)
	}
}

// flat writes the fields of an object as text by their names in an event.
func flat(m, conventions map[string]string, path string, fields map[string]any) {
	for name, v := range fields {
		name = path + name
		if object, ok := v.(map[string]any); ok {
			flat(m, conventions, name+".", object)
			continue
		}
		if c := conventions[name]; c != "" {
			m[c] = fmt.Sprint(v)
			continue
		}
		m["keepscope."+name] = fmt.Sprint(v)
	}
}

func endpoint(s string) sniffer.Endpoint {
	ap := netip.MustParseAddrPort(s)
	return sniffer.Endpoint{Addr: ap.Addr().As16(), Port: ap.Port()}
}

// TestEventByHand holds one event of TLS, HTTP/2 and a proxy's habits to what it
// should say.
func TestEventByHand(t *testing.T) {
	c := &fact.Connection{
		ID: 0xab, Client: endpoint("10.0.0.7:40112"), Server: endpoint("[2001:db8::9]:8443"), ServerName: "shop.example:8443",
		Start: 1795341600_000000001, End: 1795341605_100000000, HandshakeTime: 310_000, CloseIdle: fact.Absent, Handshake: fact.HandshakeComplete,
		TLS: &fact.TLS{Version: 0x0304, SNI: "sh\xffop.example", ALPN: "h2", Handshake: 2_100_000}, Protocol: fact.ProtocolH2, Requests: 3,
		Negotiated: [fact.NumOutcomes]uint32{fact.KeepAlive: 2, fact.ClientClose: 1}, ReuseIdle: []int64{5e8, 2e9},
		Streams: &fact.Streams{Limit: keepalive.Unlimited, AtLimit: fact.Absent}, Reason: fact.ReasonClientClose,
		Verdict: fact.VerdictWasted, Cause: fact.Cause(fact.ReasonServerClose), Cost: fact.Cost{TCP: 310_000},
	}
	c.Streams.Goaway[fact.ByServer] = fact.Goaway{Seen: true, Last: 5, At: c.Start + 1e9}
	var e logs.LogRecord
	if err := proto.Unmarshal(appendEvent(nil, c), &e); err != nil {
		t.Fatal(err)
	}
	got := plain(e.Attributes)
	got["at"], got["body"] = time.Unix(0, int64(e.TimeUnixNano)).UTC().Format(time.RFC3339Nano), plainValue(e.Body)
	want := map[string]string{
		"at": "2026-11-22T10:00:05.1Z", "body": "shop.example: 3 requests, ended by client_close; its handshake was wasted by server_close",
		"client.address": "10.0.0.7", "client.port": "40112",
		"server.address": "shop.example", "server.port": "8443", "network.peer.address": "2001:db8::9", "network.peer.port": "8443",
		"network.transport": "tcp", "network.type": "ipv6", "network.protocol.name": "http", "network.protocol.version": "2",
		"tls.protocol.version": "1.3", "tls.next_protocol": "h2", "tls.resumed": "false", "keepscope.tls.sni": "sh\uFFFDop.example", "keepscope.tls.handshake_seconds": "0.0021",
		"keepscope.id": "00000000000000ab", "keepscope.server_name": "shop.example:8443", "keepscope.start": "2026-11-22T10:00:00.000000001Z",
		"keepscope.handshake_seconds": "0.00031", "keepscope.protocol": "h2", "keepscope.requests": "3",
		"keepscope.negotiated.keep_alive": "2", "keepscope.negotiated.client_close": "1", "keepscope.reuse_idle_seconds": "[0.5 2]",
		"keepscope.goaway": "[map[age_seconds:1 by:server code:NO_ERROR last_stream:5]]", "keepscope.reason": "client_close", "keepscope.cause": "server_close",
	}
	for name, value := range want { // TestEvents has all
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	if got["keepscope.type"]+got["keepscope.end"] != "" {
		t.Error("it says twice what it is, or when")
	}
}

// TestLogDrops has endpoints that take nothing, or not all: each event is taken or
// counted.
func TestLogDrops(t *testing.T) {
	refuses := newEventServer(t)
	refuses.answer = http.StatusBadRequest
	lines, written, dropped := push(t, refuses)
	all := uint64(bytes.Count(lines, []byte("\n")))
	if written != 0 || dropped != all {
		t.Errorf("refused: %d taken and %d dropped of %d", written, dropped, all)
	}
	part := newEventServer(t)
	part.rejects = 2
	_, written, dropped = push(t, part)
	if pushes := (all + maxEvents - 1) / maxEvents; dropped < 2*pushes || dropped > 6*pushes || written+dropped != all {
		t.Errorf("in part: %d taken and %d dropped of %d", written, dropped, all)
	}
}

// TestLogTriesAgain has an endpoint that is busy for a moment, and wants a token
// and no compression.
func TestLogTriesAgain(t *testing.T) {
	s := newEventServer(t)
	s.answer, s.busy = http.StatusServiceUnavailable, 1
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=b, X-Token=abc%3D")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none")
	l, err := newEventLog(target(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	var two recordlog.Batch
	two.Add(appendElement(nil, &fact.Connection{}))
	two.Add(appendElement(nil, &fact.Connection{}))
	l.Write(&two)
	if written, dropped := l.Counts(); written != 2 || dropped != 0 || len(s.events) != 2 || s.token != "abc=" || s.encoding != "" {
		t.Errorf("%d taken and %d dropped; it has %d by %q, %q", written, dropped, len(s.events), s.token, s.encoding)
	}
}

// TestLogIsBounded has an endpoint that does not answer: what has no room is
// dropped, counted, and keeps nobody waiting.
func TestLogIsBounded(t *testing.T) {
	s := newEventServer(t)
	s.exhausted = make(chan struct{})
	l, err := OpenLog(target(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	const offered = recordlog.MaxQueued + 4*maxEvents
	o := l.Observer()
	for i := range offered {
		o.Connection(&fact.Connection{ID: uint64(i + 1), Start: 1e18, End: 2e18})
	}
	if _, dropped := l.Counts(); dropped < offered-recordlog.MaxQueued-2*maxEvents {
		t.Errorf("%d dropped of %d", dropped, offered)
	}
	close(s.exhausted)
	l.Close(context.Background())
	if written, dropped := l.Counts(); written+dropped != offered || written < recordlog.MaxQueued {
		t.Errorf("%d taken and %d dropped of %d", written, dropped, offered)
	}
}

// No event takes memory of its own, but for its sentence.
func TestEventAllocates(t *testing.T) {
	b := make([]byte, 0, 4096)
	c := &fact.Connection{Streams: &fact.Streams{}, ReuseIdle: []int64{1}, ServerName: "shop.example"}
	if n := testing.AllocsPerRun(100, func() { b = appendEvent(b[:0], c) }); n > 4 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkEvent is what an event costs from its connection to the endpoint, without the
// endpoint's own work.
func BenchmarkEvent(b *testing.B) {
	taken := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
	}))
	defer taken.Close()
	l, err := newEventLog(target(taken.URL))
	if err != nil {
		b.Fatal(err)
	}
	c := &fact.Connection{ID: 7, ServerName: "shop.example", Start: 1e18, End: 2e18, Requests: 3, Responses: 3, ReuseIdle: []int64{5e8, 6e8}}
	var events recordlog.Batch
	var event []byte
	for b.Loop() {
		event = appendElement(event[:0], c)
		if events.Add(event); events.Len() == maxEvents {
			l.Write(&events)
			events = recordlog.Batch{}
		}
	}
}
