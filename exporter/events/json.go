package events

import (
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/keepscope/keepscope/analyzer/fact"
)

// An Encoder writes NDJSON lines to W as they come: one write a line. The line
// is built by appending, without reflection and without allocation in the
// steady state (BenchmarkEncoder). The first error of W is kept and ends it.
type Encoder struct {
	W         io.Writer
	Exchanges bool // write lines of exchanges as well
	buf       []byte
	err       error
}

// Connection writes the line of a connection.
func (e *Encoder) Connection(c *fact.Connection) {
	if e.err != nil {
		return
	}
	e.buf = append(AppendConnection(e.buf[:0], c), '\n')
	_, e.err = e.W.Write(e.buf)
}

// Exchange writes the line of an exchange, if they are wanted.
func (e *Encoder) Exchange(x *fact.Exchange) {
	if e.err != nil || !e.Exchanges {
		return
	}
	e.buf = append(AppendExchange(e.buf[:0], x), '\n')
	_, e.err = e.W.Write(e.buf)
}

// Err returns the first error of W.
func (e *Encoder) Err() error { return e.err }

// AppendConnection appends the JSON object of a connection, without a newline.
func AppendConnection(b []byte, c *fact.Connection) []byte { return Connections.AppendJSON(b, c) }

// AppendExchange appends the JSON object of an exchange, without a newline.
func AppendExchange(b []byte, x *fact.Exchange) []byte { return Exchanges.AppendJSON(b, x) }

// values are what records are read into: they outlive the call of a getter, as far
// as the compiler knows, and would be allocated for each line.
var values = sync.Pool{New: func() any { return new(Value) }}

// AppendJSON appends a record as a JSON object, without a newline. What it has
// not, and keys with a count of 0, are left out.
func (t Table[T]) AppendJSON(b []byte, r *T) []byte {
	v := values.Get().(*Value)
	b = t.appendObject(b, r, v)
	*v = Value{} // it may point at what the record has
	values.Put(v)
	return b
}

func (t Table[T]) appendObject(b []byte, r *T, v *Value) []byte {
	b = append(b, '{')
	first := len(b)
	for i := range t {
		c := &t[i]
		if c.Get != nil && !c.Get(r, v) {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), c.Name...), `":`...)
		switch c.Kind {
		case Group:
			b = c.Columns.appendObject(b, r, v)
		case Groups:
			b = c.Columns.appendObjects(b, r, v)
		default:
			b = appendValue(b, c.Kind, c.Keys, v)
		}
	}
	return append(b, '}')
}

// appendObjects appends a list of those groups that the record has.
func (t Table[T]) appendObjects(b []byte, r *T, v *Value) []byte {
	b = append(b, '[')
	first := len(b)
	for i := range t {
		if !t[i].Get(r, v) {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = t[i].Columns.appendObject(b, r, v)
	}
	return append(b, ']')
}

func appendValue(b []byte, k Kind, keys []string, v *Value) []byte {
	switch k {
	case Word:
		return appendWord(b, v.Word)
	case Text:
		return appendString(b, v.Text)
	case Count:
		return strconv.AppendUint(b, v.Count, 10)
	case Flag:
		if v.Null {
			return append(b, "null"...)
		}
		return strconv.AppendBool(b, v.Flag)
	case Time:
		return appendTime(b, v.Int)
	case Seconds:
		return appendSeconds(b, v.Int)
	case Address:
		return append(v.Address.Netip().AppendTo(append(b, '"')), '"')
	case Identity:
		return append(append(append(b, '"'), v.Identity...), '"')
	case Counts:
		return appendCounts(b, keys, v.Counts)
	case Words:
		return appendList(b, v.Words, appendWord)
	case SecondsList:
		return appendList(b, v.Ints, appendSeconds)
	default: // a Group and Groups, which are written by their parts
		return append(b, "null"...)
	}
}

func appendList[E any](b []byte, list []E, one func([]byte, E) []byte) []byte {
	b = append(b, '[')
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, e)
	}
	return append(b, ']')
}

// appendCounts writes the keys that occurred. The last, which is the good one of
// those that readers look for, stands first.
func appendCounts(b []byte, keys []string, counts []uint32) []byte {
	b = append(b, '{')
	first := len(b)
	for i := range counts {
		k := (i + len(counts) - 1) % len(counts)
		if counts[k] == 0 {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), keys[k]...), `":`...)
		b = strconv.AppendUint(b, uint64(counts[k]), 10)
	}
	return append(b, '}')
}

// appendWord appends a word of ours, which needs no escaping.
func appendWord(b []byte, word string) []byte {
	return append(append(append(b, '"'), word...), '"')
}

// appendSeconds appends nanoseconds as exact seconds in the fewest digits:
// 310000 is 0.00031.
func appendSeconds(b []byte, ns int64) []byte {
	u := uint64(ns)
	if ns < 0 {
		b, u = append(b, '-'), -u
	}
	b = strconv.AppendUint(b, u/1e9, 10)
	frac := u % 1e9
	if frac == 0 {
		return b
	}
	b = append(b, '.')
	for div := uint64(1e8); frac > 0; div /= 10 {
		b = append(b, byte('0'+frac/div))
		frac %= div
	}
	return b
}

// appendTime appends Unix nanoseconds as RFC 3339 in UTC, without trailing
// zeros in the fraction.
func appendTime(b []byte, ns int64) []byte {
	b = append(b, '"')
	b = time.Unix(0, ns).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendString appends a JSON string (RFC 8259 §7). Besides what must be
// escaped it escapes what a terminal would obey or show out of order: C1
// controls and invisible formatting; and it replaces what is not UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if c >= utf8.RuneSelf && !(r == utf8.RuneError && n == 1) && r >= 0xa0 && !isFormat(r) {
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, r)
		i += n
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// isFormat says whether a rune is one of the invisible ones that reorder or split a
// line.
func isFormat(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff
}

// appendEscape escapes a rune of the basic plane.
func appendEscape(b []byte, r rune) []byte {
	if r == '"' || r == '\\' {
		return append(b, '\\', byte(r))
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
