package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/recordlog"
)

const (
	// eventName is what an event of a connection is called.
	eventName = "keepscope.connection"
	// maxEvents is how many events are pushed at once, and pushAfter how long one
	// may wait for others.
	maxEvents = 512
	pushAfter = time.Second
)

// An eventLog pushes an event for each connection to an OTLP endpoint: the fields of its
// line, under the names of OpenTelemetry's conventions where they have one. Lines wait
// in a bounded queue, never the workers; those that the collector does not take in
// time are dropped and counted. (The SDK's own queue drops, too, and tells nobody.)
type eventLog struct {
	*recordlog.Log
	exporter sdklog.Exporter
	logger   log.Logger
	batch    []sdklog.Record
}

// OpenLog starts a log that pushes an event for each connection.
func OpenLog(t Target) (*recordlog.Log, error) {
	l, err := newEventLog(t)
	if err != nil {
		return nil, err
	}
	l.Start(l, pushAfter)
	return l.Log, nil
}

func newEventLog(t Target) (*eventLog, error) {
	to, err := t.url("/v1/logs")
	if err != nil {
		return nil, err
	}
	exporter, err := otlploghttp.New(context.Background(),
		otlploghttp.WithEndpointURL(to), otlploghttp.WithTimeout(pushTimeout),
		otlploghttp.WithCompression(otlploghttp.GzipCompression), otlploghttp.WithHTTPClient(t.Own.client()))
	if err != nil {
		return nil, err
	}
	l := &eventLog{
		Log:      recordlog.New(recordlog.AppendLine, recordlog.Words{Fails: "OTLP events: they are dropped", Again: "OTLP events: pushing again"}, t.Log),
		exporter: exporter,
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(t.resource()), sdklog.WithProcessor(l),
		sdklog.WithAllowKeyDuplication()) // there is none, and to look for it takes time
	l.logger = provider.Logger(scope, log.WithInstrumentationVersion(t.Version), log.WithSchemaURL(semconv.SchemaURL))
	return l, nil
}

// Reopen implements recordlog.Writer: there is nothing to open anew.
func (*eventLog) Reopen() {}

// Tick implements recordlog.Writer.
func (l *eventLog) Tick() { l.push() }

// Close implements recordlog.Writer.
func (l *eventLog) Close() { l.push() }

// Write implements recordlog.Writer: it makes an event of a connection's line and adds
// it to the batch.
func (l *eventLog) Write(line []byte) {
	fields := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		l.Wrote(0, 1, err)
		return
	}
	l.logger.Emit(context.Background(), connectionEvent(fields))
	if len(l.batch) == maxEvents {
		l.push()
	}
}

// Enabled implements sdklog.Processor.
func (*eventLog) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// OnEmit implements sdklog.Processor.
func (l *eventLog) OnEmit(_ context.Context, r *sdklog.Record) error {
	l.batch = append(l.batch, *r)
	return nil
}

// ForceFlush implements sdklog.Processor: Tick pushes.
func (*eventLog) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdklog.Processor: Close ends it.
func (*eventLog) Shutdown(context.Context) error { return nil }

// push sends the batch.
func (l *eventLog) push() {
	if len(l.batch) == 0 {
		return
	}
	n := uint64(len(l.batch))
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	err := l.exporter.Export(ctx, l.batch)
	clear(l.batch)
	l.batch = l.batch[:0]
	lost := rejected(err, n)
	l.Wrote(n-lost, lost, err)
}

// partial is what the exporter says where an endpoint took only a part.
var partial = regexp.MustCompile(`OTLP partial success: .*\(([0-9]+) logs rejected\)`)

// rejected returns how many of n events an endpoint did not take.
func rejected(err error, n uint64) uint64 {
	if err == nil {
		return 0
	}
	if m := partial.FindStringSubmatch(err.Error()); m != nil {
		if some, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			return min(some, n)
		}
	}
	return n
}

// conventional are the names of OpenTelemetry's conventions for fields of a line.
var conventional = map[string]attribute.Key{
	"client.ip":   semconv.ClientAddressKey,
	"client.port": semconv.ClientPortKey,
	"server.ip":   semconv.NetworkPeerAddressKey,
	"server.port": semconv.NetworkPeerPortKey,
	"tls.version": semconv.TLSProtocolVersionKey,
	"tls.alpn":    semconv.TLSNextProtocolKey,
	"tls.resumed": semconv.TLSResumedKey,
}

// versions are the versions of HTTP that a line's protocol names.
var versions = map[string]string{"http/0.9": "0.9", "http/1.0": "1.0", "http/1.1": "1.1", "h2": "2"}

// connectionEvent makes an event of a line's fields. It is of the connection's end.
func connectionEvent(fields map[string]any) (r log.Record) {
	text := func(name string) string {
		s, _ := fields[name].(string)
		return s
	}
	r.SetEventName(eventName)
	r.SetSeverity(log.SeverityInfo)
	end, _ := time.Parse(time.RFC3339Nano, text("end")) // it is ours
	r.SetTimestamp(end)
	r.SetObservedTimestamp(time.Now())

	server, _ := fields["server"].(map[string]any)
	address, _ := server["ip"].(string)
	name := address
	if s := text("server_name"); s != "" {
		name = s
		if host, _, ok := strings.Cut(s, ":"); ok && !strings.HasPrefix(s, "[") {
			name = host
		}
	}
	r.SetBody(attribute.StringValue(sentence(name, fields)))
	r.AddAttributes(semconv.NetworkTransportTCP, semconv.ServerAddress(name))
	if port, ok := server["port"].(json.Number); ok {
		r.AddAttributes(attributeOf(string(semconv.ServerPortKey), port))
	}
	if ip, err := netip.ParseAddr(address); err == nil {
		kind := semconv.NetworkTypeIPv6
		if ip.Is4() {
			kind = semconv.NetworkTypeIPv4
		}
		r.AddAttributes(kind)
	}
	if v := versions[text("protocol")]; v != "" {
		r.AddAttributes(semconv.NetworkProtocolName("http"), semconv.NetworkProtocolVersion(v))
	}
	delete(fields, "type")
	delete(fields, "end")
	r.AddAttributes(attributes(nil, "", fields)...)
	return r
}

// sentence says of a connection what a person looks for.
func sentence(server string, fields map[string]any) string {
	requests := uint64(0)
	if n, ok := fields["requests"].(json.Number); ok {
		if i, err := n.Int64(); err == nil && i > 0 {
			requests = uint64(i)
		}
	}
	s := fmt.Sprintf("%s: %s, ended by %v", server, prose.Plural(requests, "request"), fields["reason"])
	if cause := fields["cause"]; cause != nil {
		s += fmt.Sprintf("; its handshake was wasted by %v", cause)
	}
	return s
}

// attributes appends the fields of an object, those of objects in it by their path.
func attributes(list []attribute.KeyValue, path string, fields map[string]any) []attribute.KeyValue {
	for name, v := range fields {
		key := path + name
		if object, ok := v.(map[string]any); ok {
			list = attributes(list, key+".", object)
			continue
		}
		convention, ok := conventional[key]
		if !ok {
			convention = attribute.Key("keepscope." + key)
		}
		list = append(list, attributeOf(string(convention), v))
	}
	return list
}

func attributeOf(key string, v any) attribute.KeyValue {
	return attribute.KeyValue{Key: attribute.Key(key), Value: valueOf(v)}
}

// valueOf returns a value that JSON knows.
func valueOf(v any) attribute.Value {
	switch v := v.(type) {
	case string:
		return attribute.StringValue(v)
	case bool:
		return attribute.BoolValue(v)
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return attribute.Int64Value(i)
		}
		f, _ := v.Float64() // it is ours
		return attribute.Float64Value(f)
	case []any:
		values := make([]attribute.Value, len(v))
		for i := range v {
			values[i] = valueOf(v[i])
		}
		return attribute.SliceValue(values...)
	case map[string]any:
		var values []attribute.KeyValue
		for name, field := range v {
			values = append(values, attributeOf(name, field))
		}
		return attribute.MapValue(values...)
	}
	return attribute.Value{} // null
}
