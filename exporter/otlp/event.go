package otlp

import (
	"encoding/binary"
	"math"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events"
	"github.com/keepscope/keepscope/exporter/prose"
)

// eventName is what an event of a connection is called.
const eventName = "keepscope.connection"

// The tags of the fields that an event has: number and wire type, as
// opentelemetry/proto/logs/v1/logs.proto and common/v1/common.proto number them. Those
// that are followed by a length are long.
const (
	fixed64 = 1
	long    = 2

	tagTime      = 1<<3 | fixed64 // of a LogRecord
	tagSeverity  = 2 << 3
	tagBody      = 5<<3 | long
	tagAttribute = 6<<3 | long
	tagObserved  = 11<<3 | fixed64
	tagEventName = 12<<3 | long
	tagKey       = 1<<3 | long // of a KeyValue
	tagValue     = 2<<3 | long
	tagString    = 1<<3 | long // of an AnyValue
	tagBool      = 2 << 3
	tagInt       = 3 << 3
	tagDouble    = 4<<3 | fixed64
	tagArray     = 5<<3 | long
	tagMap       = 6<<3 | long
	tagElement   = 1<<3 | long // of an ArrayValue, and of a KeyValueList

	severityInfo = 9
)

// appendEvent appends a connection as an event, a LogRecord of the protocol: the fields
// of its line, under the names of OpenTelemetry's conventions where they have one. It
// is of the connection's end.
//
// It is written as bytes at once: the SDK makes a record of attributes, a message of
// the record and bytes of that, which takes ten times as long.
func appendEvent(b []byte, c *fact.Connection) []byte {
	b = binary.LittleEndian.AppendUint64(append(b, tagTime), uint64(c.End))
	b = binary.LittleEndian.AppendUint64(append(b, tagObserved), uint64(time.Now().UnixNano()))
	b = append(b, tagSeverity, severityInfo)
	b = appendString(b, tagEventName, eventName)

	ip := c.Server.Addr.Netip()
	server := ip.String()
	if c.ServerName != "" {
		server = sound(c.ServerName)
		if host, _, ok := strings.Cut(server, ":"); ok && server[0] != '[' {
			server = host
		}
	}
	b, body := open(b, tagBody)
	b = shut(appendString(b, tagString, sentence(server, c)), body)
	b = appendText(b, semconv.ServerAddressKey, server)
	b = appendText(b, semconv.NetworkTransportTCP.Key, semconv.NetworkTransportTCP.Value.AsString())
	kind := semconv.NetworkTypeIPv6
	if ip.Is4() {
		kind = semconv.NetworkTypeIPv4
	}
	b = appendText(b, kind.Key, kind.Value.AsString())
	if v := versions[c.Protocol]; v != "" {
		b = appendText(b, semconv.NetworkProtocolNameKey, "http")
		b = appendText(b, semconv.NetworkProtocolVersionKey, v)
	}
	v := values.Get().(*events.Value)
	v.Count = uint64(c.Server.Port)
	b = appendField(b, tagAttribute, string(semconv.ServerPortKey), events.Count, v)
	b = connectionFields().append(b, tagAttribute, c, v)
	*v = events.Value{} // it may point at what the connection has
	values.Put(v)
	return b
}

// values are what fields are read into: they outlive the call of a getter, as far as the
// compiler knows, and would be allocated for each event.
var values = sync.Pool{New: func() any { return new(events.Value) }}

// versions are the versions of HTTP that a protocol names.
var versions = [fact.NumProtocols]string{fact.ProtocolHTTP09: "0.9", fact.ProtocolHTTP10: "1.0", fact.ProtocolHTTP11: "1.1", fact.ProtocolH2: "2"}

// sentence says of a connection what a person looks for.
func sentence(server string, c *fact.Connection) string {
	s := server + ": " + prose.Plural(uint64(c.Requests), "request") + ", ended by " + c.Reason.String()
	if c.Verdict == fact.VerdictWasted {
		s += "; its handshake was wasted by " + c.Cause.String()
	}
	return s
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

// attributeKey returns what an attribute of a line's field is called.
func attributeKey(path string) string {
	if key, ok := conventional[path]; ok {
		return string(key)
	}
	return "keepscope." + path
}

// A field is a column of a table, as an attribute.
type field[T any] struct {
	get    func(*T, *events.Value) bool
	kind   events.Kind
	key    string
	keys   []string // of counts
	fields fields[T]
}

type fields[T any] []field[T]

// connectionFields are those of a connection that are not said otherwise.
var connectionFields = sync.OnceValue(func() fields[fact.Connection] {
	var t events.Table[fact.Connection]
	for _, c := range events.Connections {
		if c.Name != "type" && c.Name != "end" {
			t = append(t, c)
		}
	}
	return fieldsOf("", t, attributeKey)
})

// fieldsOf returns the fields of a table, which key names by their path.
func fieldsOf[T any](path string, t events.Table[T], key func(path string) string) (list fields[T]) {
	for i := range t {
		c := &t[i]
		name := path + c.Name
		f := field[T]{get: c.Get, kind: c.Kind, key: key(name)}
		for _, k := range c.Keys {
			f.keys = append(f.keys, key(name+"."+k))
		}
		switch c.Kind {
		case events.Group:
			f.fields = fieldsOf(name+".", c.Columns, key)
		case events.Groups: // each is a map, whose keys are names
			for _, g := range c.Columns {
				f.fields = append(f.fields, field[T]{get: g.Get, fields: fieldsOf("", g.Columns, func(name string) string { return name })})
			}
		default: // a value
		}
		list = append(list, f)
	}
	return list
}

// append appends what a record has, each as a KeyValue in a field with this tag.
func (l fields[T]) append(b []byte, tag byte, r *T, v *events.Value) []byte {
	for i := range l {
		f := &l[i]
		if f.get != nil && !f.get(r, v) {
			continue
		}
		switch f.kind {
		case events.Group:
			b = f.fields.append(b, tag, r, v)
		case events.Groups:
			b = f.appendMaps(b, tag, r, v)
		case events.Counts:
			for k, n := range v.Counts {
				if v.Count = uint64(n); n > 0 {
					b = appendField(b, tag, f.keys[k], events.Count, v)
				}
			}
		default:
			b = appendField(b, tag, f.key, f.kind, v)
		}
	}
	return b
}

// appendMaps appends a list of those groups that a record has.
func (f *field[T]) appendMaps(b []byte, tag byte, r *T, v *events.Value) []byte {
	b, all := open(b, tag)
	b, value := open(appendString(b, tagKey, f.key), tagValue)
	b, array := open(b, tagArray)
	for i := range f.fields {
		if !f.fields[i].get(r, v) {
			continue
		}
		var element, list int
		b, element = open(b, tagElement)
		b, list = open(b, tagMap)
		b = shut(shut(f.fields[i].fields.append(b, tagElement, r, v), list), element)
	}
	return shut(shut(shut(b, array), value), all)
}

// appendText appends an attribute.
func appendText(b []byte, key attribute.Key, text string) []byte {
	b, all := open(b, tagAttribute)
	b, value := open(appendString(b, tagKey, string(key)), tagValue)
	return shut(shut(appendString(b, tagString, text), value), all)
}

// appendField appends a KeyValue in a field with this tag.
func appendField(b []byte, tag byte, key string, k events.Kind, v *events.Value) []byte {
	b, all := open(b, tag)
	b, value := open(appendString(b, tagKey, key), tagValue)
	switch k {
	case events.Words:
		b = appendArray(b, v.Words, func(b []byte, word string) []byte { return appendString(b, tagString, word) })
	case events.SecondsList:
		b = appendArray(b, v.Ints, appendSeconds)
	default:
		b = appendValue(b, k, v)
	}
	return shut(shut(b, value), all)
}

func appendArray[E any](b []byte, list []E, one func([]byte, E) []byte) []byte {
	b, array := open(b, tagArray)
	for _, e := range list {
		var element int
		b, element = open(b, tagElement)
		b = shut(one(b, e), element)
	}
	return shut(b, array)
}

// appendValue appends what an AnyValue holds.
func appendValue(b []byte, k events.Kind, v *events.Value) []byte {
	switch k {
	case events.Word:
		return appendString(b, tagString, v.Word)
	case events.Text:
		return appendString(b, tagString, sound(v.Text))
	case events.Count:
		return binary.AppendUvarint(append(b, tagInt), v.Count)
	case events.Seconds:
		return appendSeconds(b, v.Int)
	case events.Flag:
		switch {
		case v.Null:
			return b
		case v.Flag:
			return append(b, tagBool, 1)
		}
		return append(b, tagBool, 0)
	default:
		b, at := open(b, tagString)
		return shut(appendWritten(b, k, v), at)
	}
}

// appendWritten appends the text of what is written as text.
func appendWritten(b []byte, k events.Kind, v *events.Value) []byte {
	switch k {
	case events.Time:
		return time.Unix(0, v.Int).UTC().AppendFormat(b, time.RFC3339Nano)
	case events.Address:
		return v.Address.Netip().AppendTo(b)
	case events.Identity:
		return append(b, v.Identity...)
	default: // what is of several values is written one by one
		return b
	}
}

func appendSeconds(b []byte, ns int64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, tagDouble), math.Float64bits(float64(ns)/1e9))
}

// sound replaces what is not UTF-8, for else no receiver would take the event.
func sound(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// appendString appends a field of sound text.
func appendString(b []byte, tag byte, s string) []byte {
	return append(binary.AppendUvarint(append(b, tag), uint64(len(s))), s...)
}

// open begins a field whose length is not known yet; shut ends what began at at.
func open(b []byte, tag byte) (begun []byte, at int) {
	b = append(b, tag, 0)
	return b, len(b)
}

func shut(b []byte, at int) []byte {
	n := len(b) - at
	if n < 0x80 {
		b[at-1] = byte(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	more := binary.PutUvarint(length[:], uint64(n)) - 1 // than the byte that is there
	b = append(b, length[:more]...)
	copy(b[at+more:], b[at:at+n])
	copy(b[at-1:], length[:more+1])
	return b
}
