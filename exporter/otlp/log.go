package otlp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/recordlog"
)

const (
	// maxEvents is how many events are pushed at once, and pushAfter how long one
	// may wait for others.
	maxEvents = 1024
	pushAfter = time.Second
	// retryAfter is how long an endpoint that is busy is left alone, at first.
	retryAfter = time.Second
	maxAnswer  = 64 << 10 // bytes of an answer that are read
)

// An eventLog pushes an event for each connection to an OTLP endpoint. Events wait in a
// bounded queue, never the workers; those that the endpoint does not take in time are
// dropped and counted.
type eventLog struct {
	*recordlog.Log
	client   *http.Client
	to       *url.URL
	header   http.Header
	envelope envelope
	zip      *gzip.Writer // nil where nothing is compressed
	body     bytes.Buffer
}

// OpenLog starts a log that pushes an event for each connection.
func OpenLog(t Target) (*recordlog.Log, error) {
	l, err := newEventLog(t)
	if err != nil {
		return nil, err
	}
	l.Start(l, 0)
	return l.Log, nil
}

func newEventLog(t Target) (*eventLog, error) {
	to, err := t.url("/v1/logs")
	if err != nil {
		return nil, err
	}
	l := &eventLog{
		Log:    recordlog.New(appendElement, pushAfter, recordlog.Words{Fails: "OTLP events: they are dropped", Again: "OTLP events: pushing again"}, t.Log),
		client: t.Own.client(), header: headers(),
	}
	if l.to, err = url.Parse(to); err != nil {
		return nil, err
	}
	l.header.Set("Content-Type", protobuf)
	l.header.Set("User-Agent", "keepscope/"+t.Version)
	if l.envelope, err = newEnvelope(t); err != nil {
		return nil, err
	}
	if setting("COMPRESSION") != "none" {
		l.header.Set("Content-Encoding", "gzip")
		l.zip, err = gzip.NewWriterLevel(&l.body, gzip.BestSpeed)
	}
	return l, err
}

const protobuf = "application/x-protobuf"

// setting returns what OTEL_EXPORTER_OTLP_NAME says, or OTEL_EXPORTER_OTLP_LOGS_NAME in
// its place (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
func setting(name string) string {
	if value, ok := os.LookupEnv("OTEL_EXPORTER_OTLP_LOGS_" + name); ok {
		return value
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_" + name)
}

// headers are what is to be sent with each push: a token, say.
func headers() http.Header {
	h := http.Header{}
	for pair := range strings.SplitSeq(setting("HEADERS"), ",") {
		name, value, ok := strings.Cut(pair, "=")
		if value, err := url.PathUnescape(strings.TrimSpace(value)); ok && err == nil {
			h.Set(strings.TrimSpace(name), value)
		}
	}
	return h
}

// Reopen implements recordlog.Writer: there is nothing to open anew.
func (*eventLog) Reopen() {}

// Tick implements recordlog.Writer.
func (*eventLog) Tick() {}

// Close implements recordlog.Writer.
func (*eventLog) Close() {}

// Write implements recordlog.Writer: it pushes events.
func (l *eventLog) Write(events *recordlog.Batch) {
	for from := 0; from < events.Len(); from += maxEvents {
		to := min(from+maxEvents, events.Len())
		l.push(events.Bytes(from, to), uint64(to-from))
	}
}

// push sends n events.
func (l *eventLog) push(events []byte, n uint64) {
	l.body.Reset()
	var to io.Writer = &l.body
	if l.zip != nil {
		l.zip.Reset(&l.body)
		to = l.zip
	}
	_, _ = to.Write(l.envelope.around(events)) // memory takes all
	_, _ = to.Write(events)
	if l.zip != nil {
		_ = l.zip.Close()
	}
	lost, err := l.send(n)
	l.Wrote(n-lost, lost, err)
}

// send sends the body, again where the endpoint is busy, and returns how many of its n
// events are lost.
func (l *eventLog) send(n uint64) (lost uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	for wait := retryAfter; ; wait *= 2 {
		answer, text, err := l.post(ctx) //nolint:bodyclose // post has read and closed it
		if err != nil {
			return n, err
		}
		switch answer.StatusCode {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			if s, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 16); err == nil {
				wait = max(time.Duration(s)*time.Second, retryAfter)
			}
			if sleep(ctx, wait) {
				continue
			}
		}
		if answer.StatusCode/100 != 2 {
			return n, fmt.Errorf("%s answers %s", l.to.Redacted(), answer.Status)
		}
		return rejected(answer, text, n)
	}
}

// sleep waits, and says whether there is time for it.
func sleep(ctx context.Context, d time.Duration) bool {
	if until, ok := ctx.Deadline(); ok && time.Until(until) <= d {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// post sends the body once.
func (l *eventLog) post(ctx context.Context) (answer *http.Response, text []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.to.String(), bytes.NewReader(l.body.Bytes()))
	if err != nil {
		return nil, nil, err
	}
	req.Header = l.header
	if answer, err = l.client.Do(req); err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	text, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer, text, err
}

// rejected returns how many of n events an endpoint that answers well did not take.
func rejected(answer *http.Response, text []byte, n uint64) (uint64, error) {
	var said collector.ExportLogsServiceResponse
	if answer.Header.Get("Content-Type") != protobuf || proto.Unmarshal(text, &said) != nil {
		return 0, nil // it took them, whatever it says
	}
	part := said.GetPartialSuccess()
	if part.GetRejectedLogRecords() <= 0 {
		return 0, nil
	}
	return min(uint64(part.GetRejectedLogRecords()), n), errors.New("the endpoint rejects some: " + strconv.Quote(part.GetErrorMessage()))
}

// An envelope is what stands around events in a request of the protocol: whose they
// are. It is the same for all, but for the lengths.
type envelope struct {
	resource []byte // fields of ResourceLogs
	scope    []byte // fields of ScopeLogs
}

// The tags of the messages that events are in.
const (
	tagResourceLogs = 1<<3 | long // of the request
	tagScopeLogs    = 2<<3 | long // of ResourceLogs
	tagEvent        = 2<<3 | long // of ScopeLogs
)

func newEnvelope(t Target) (e envelope, err error) {
	of, err := sdk.Merge(sdk.Environment(), t.resource())
	if err != nil {
		return e, err
	}
	var who resource.Resource
	for _, kv := range of.Attributes() {
		who.Attributes = append(who.Attributes, textAttribute(kv))
	}
	if e.resource, err = proto.Marshal(&logs.ResourceLogs{Resource: &who, SchemaUrl: of.SchemaURL()}); err != nil {
		return e, err
	}
	e.scope, err = proto.Marshal(&logs.ScopeLogs{
		Scope:     &common.InstrumentationScope{Name: scope, Version: t.Version},
		SchemaUrl: semconv.SchemaURL,
	})
	return e, err
}

func textAttribute(kv attribute.KeyValue) *common.KeyValue {
	return &common.KeyValue{Key: string(kv.Key), Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: kv.Value.String()}}}
}

// appendElement appends an event as an envelope has it.
func appendElement(b []byte, c *fact.Connection) []byte {
	b, at := open(b, tagEvent)
	return shut(appendEvent(b, c), at)
}

// around returns what comes before events.
func (e *envelope) around(events []byte) []byte {
	length := len(e.scope) + len(events)
	inner := binary.AppendUvarint(append(slices.Clone(e.resource), tagScopeLogs), uint64(length))
	outer := binary.AppendUvarint([]byte{tagResourceLogs}, uint64(len(inner)+length))
	return slices.Concat(outer, inner, e.scope)
}
