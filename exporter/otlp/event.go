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
	b, text := open(b, tagString)
	b = shut(shut(appendSentence(b, server, c), text), body)
	v := values.Get().(*events.Value)
	v.Text = server
	b = appendField(b, serverAddress, events.Text, v)
	if ip.Is4() {
		b = append(b, overIPv4...)
	} else {
		b = append(b, overIPv6...)
	}
	b = append(b, versions[c.Protocol]...)
	v.Count = uint64(c.Server.Port)
	b = appendField(b, serverPort, events.Count, v)
	b = connectionFields().append(b, c, v)
	*v = events.Value{} // it may point at what the connection has
	values.Put(v)
	return b
}

// values are what fields are read into: they outlive the call of a getter, as far as the
// compiler knows, and would be allocated for each event.
var values = sync.Pool{New: func() any { return new(events.Value) }}

// The attributes that have no field in a line.
var (
	serverAddress = headOf(tagAttribute, string(semconv.ServerAddressKey))
	serverPort    = headOf(tagAttribute, string(semconv.ServerPortKey))
	overIPv4      = texts(semconv.NetworkTransportTCP, semconv.NetworkTypeIPv4)
	overIPv6      = texts(semconv.NetworkTransportTCP, semconv.NetworkTypeIPv6)
	versions      = [fact.NumProtocols][]byte{
		fact.ProtocolHTTP09: version("0.9"), fact.ProtocolHTTP10: version("1.0"), fact.ProtocolHTTP11: version("1.1"), fact.ProtocolH2: version("2"),
	}
)

func version(v string) []byte {
	return texts(semconv.NetworkProtocolName("http"), semconv.NetworkProtocolVersion(v))
}

// texts are attributes as they stand in an event.
func texts(list ...attribute.KeyValue) (b []byte) {
	for _, kv := range list {
		b = appendField(b, headOf(tagAttribute, string(kv.Key)), events.Word, &events.Value{Word: kv.Value.AsString()})
	}
	return b
}

// appendSentence says of a connection what a person looks for.
func appendSentence(b []byte, server string, c *fact.Connection) []byte {
	b = append(append(b, server...), ": "...)
	b = append(append(b, prose.Plural(uint64(c.Requests), "request")...), ", ended by "...)
	b = append(b, c.Reason.String()...)
	if c.Verdict == fact.VerdictWasted {
		b = append(append(b, "; its handshake was wasted by "...), c.Cause.String()...)
	}
	return b
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
	head   []byte
	heads  [][]byte // of counts
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
	return fieldsOf("", t, func(path string) []byte { return headOf(tagAttribute, attributeKey(path)) })
})

// headOf returns what a KeyValue of a key begins with, in a field with this tag: two
// lengths are open in it.
func headOf(tag byte, key string) []byte {
	b := appendString([]byte{tag, 0}, tagKey, key)
	return append(b, tagValue, 0)
}

// fieldsOf returns the fields of a table, whose heads are by their path.
func fieldsOf[T any](path string, t events.Table[T], head func(path string) []byte) (list fields[T]) {
	for i := range t {
		c := &t[i]
		name := path + c.Name
		f := field[T]{get: c.Get, kind: c.Kind, head: head(name)}
		for _, k := range c.Keys {
			f.heads = append(f.heads, head(name+"."+k))
		}
		switch c.Kind {
		case events.Group:
			f.fields = fieldsOf(name+".", c.Columns, head)
		case events.Groups: // each is a map, whose keys are names
			for _, g := range c.Columns {
				f.fields = append(f.fields, field[T]{get: g.Get, fields: fieldsOf("", g.Columns, func(name string) []byte { return headOf(tagElement, name) })})
			}
		default: // a value
		}
		list = append(list, f)
	}
	return list
}

// append appends what a record has, each as a KeyValue.
func (l fields[T]) append(b []byte, r *T, v *events.Value) []byte {
	for i := range l {
		f := &l[i]
		if f.get != nil && !f.get(r, v) {
			continue
		}
		switch f.kind {
		case events.Group:
			b = f.fields.append(b, r, v)
		case events.Groups:
			b = f.appendMaps(b, r, v)
		case events.Counts:
			for k, n := range v.Counts {
				if v.Count = uint64(n); n > 0 {
					b = appendField(b, f.heads[k], events.Count, v)
				}
			}
		default:
			b = appendField(b, f.head, f.kind, v)
		}
	}
	return b
}

// appendMaps appends a list of those groups that a record has.
func (f *field[T]) appendMaps(b []byte, r *T, v *events.Value) []byte {
	b, all, value := openField(b, f.head)
	b, array := open(b, tagArray)
	for i := range f.fields {
		if !f.fields[i].get(r, v) {
			continue
		}
		var element, list int
		b, element = open(b, tagElement)
		b, list = open(b, tagMap)
		b = shut(shut(f.fields[i].fields.append(b, r, v), list), element)
	}
	return shut(shut(shut(b, array), value), all)
}

// appendField appends a KeyValue that begins so.
func appendField(b, head []byte, k events.Kind, v *events.Value) []byte {
	b, all, value := openField(b, head)
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

// openField begins a KeyValue; shut ends its value, and then all of it.
func openField(b, head []byte) (begun []byte, all, value int) {
	all = len(b) + 2
	b = append(b, head...)
	return b, all, len(b)
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
