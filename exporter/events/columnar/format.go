package columnar

import (
	"encoding/binary"
	"io"
	"reflect"
	"strings"
	"sync"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/format"

	"github.com/keepscope/keepscope/exporter/events"
	"github.com/keepscope/keepscope/sniffer"
)

// SchemaVersion changes when a column changes its name, its type or its meaning.
const SchemaVersion = "1"

// A Place says where records come from. It fills the same columns in all rows of a
// file; what is empty is null.
type Place struct{ Node, Namespace, Pod, Workload string }

func (p *Place) values() [numPlaces]string {
	return [numPlaces]string{p.Node, p.Namespace, p.Pod, p.Workload}
}

const numPlaces = 4

var placeNames = [numPlaces]string{"node", "namespace", "pod", "workload"}

// A Format is how records of type T become rows. It is safe for concurrent use.
type Format[T any] struct {
	columns []source[T]
	schema  *parquet.Schema
	leaves  []leaf
	blank   format.FileMetaData // of a file of no rows
	zstd    zstd.Codec
	values  sync.Pool // of *events.Value
}

// New returns the format of a table. Its name is that of the file's root.
func New[T any](name string, t events.Table[T]) *Format[T] {
	root := fields{}
	for _, place := range placeNames {
		root.add(place, word())
	}
	root.table(len(t), func(i int) (string, parquet.Node) { return columnName(&t[i]), nodeOf(&t[i]) })
	f := &Format[T]{columns: sourcesOf(t), schema: parquet.NewSchema(name, &root)}
	f.leaves = leavesOf(f.schema)
	blank := parquet.NewGenericWriter[any](io.Discard, f.schema)
	_ = blank.Close() // it writes to nowhere
	f.blank = *blank.File().Metadata()
	f.zstd.Level = zstd.SpeedFastest
	f.values.New = func() any { return new(events.Value) }
	return f
}

// Schema returns the schema in Parquet's own words.
func (f *Format[T]) Schema() string { return f.schema.String() }

// columnName says what a duration is counted in.
func columnName[T any](c *events.Column[T]) string {
	if c.Kind != events.Seconds && c.Kind != events.SecondsList {
		return c.Name
	}
	return strings.TrimSuffix(c.Name, "seconds") + "nanoseconds"
}

func nodeOf[T any](c *events.Column[T]) parquet.Node {
	switch c.Kind {
	case events.Group:
		return groupOf(c.Columns)
	case events.Groups:
		return parquet.List(groupOf(c.Columns[0].Columns)) // they all have the same
	case events.Counts:
		g := &fields{}
		for _, key := range c.Keys {
			g.add(key, whole())
		}
		return g
	case events.Words:
		return parquet.List(parquet.Encoded(parquet.String(), &parquet.RLEDictionary))
	case events.SecondsList:
		return parquet.List(parquet.Int(64))
	case events.Count, events.Seconds:
		return whole()
	case events.Flag:
		return parquet.Optional(parquet.Leaf(parquet.BooleanType))
	case events.Time:
		return parquet.Optional(parquet.TimestampAdjusted(parquet.Nanosecond, false))
	case events.Identity:
		return parquet.Optional(parquet.String()) // each is another
	default:
		return word()
	}
}

func word() parquet.Node {
	return parquet.Optional(parquet.Encoded(parquet.String(), &parquet.RLEDictionary))
}

func whole() parquet.Node { return parquet.Optional(parquet.Int(64)) }

func groupOf[T any](t events.Table[T]) *fields {
	g := &fields{}
	g.table(len(t), func(i int) (string, parquet.Node) { return columnName(&t[i]), nodeOf(&t[i]) })
	return g
}

// fields is a group whose fields stand in the order in which they were added;
// parquet.Group sorts them by name.
type fields struct {
	parquet.Group
	list []parquet.Field
}

func (f *fields) add(name string, n parquet.Node) {
	if f.Group == nil {
		f.Group = parquet.Group{}
	}
	f.Group[name] = n
	f.list = append(f.list, field{n, name})
}

func (f *fields) table(n int, column func(int) (string, parquet.Node)) {
	for i := range n {
		f.add(column(i))
	}
}

// Fields implements parquet.Node.
func (f *fields) Fields() []parquet.Field { return f.list }

type field struct {
	parquet.Node
	name string
}

// Name implements parquet.Field.
func (f field) Name() string { return f.name }

// Value implements parquet.Field, for rows that are Go maps.
func (f field) Value(base reflect.Value) reflect.Value {
	return base.MapIndex(reflect.ValueOf(f.name))
}

// A row is its values in the order of the file's columns. Each begins with a byte
// that has its definition level in bits 0 and 1, its repetition level in bit 2
// (0 is the first of a column) and its kind above.
const (
	kindNull = iota << 3
	kindInt
	kindBytes
	kindTrue
	kindFalse
	kindNulls // several columns that are null; how many is the next byte

	levelMask   = 3
	repeated    = 1 << 2
	kindMask    = 7 << 3
	inRow       = 1 // definition level of what is there, in a row or a list of its own
	inListGroup = 2 // of a value in a list's group
)

// Append appends a record's row to b.
func (f *Format[T]) Append(b []byte, r *T) []byte {
	v := f.values.Get().(*events.Value)
	b = appendColumns(b, f.columns, r, v)
	*v = events.Value{} // it may point at what the record has
	f.values.Put(v)
	return b
}

// A source is a column of a table, and how many columns of a file it fills.
type source[T any] struct {
	*events.Column[T]
	columns []source[T] // of a group
	leaves  int
}

func sourcesOf[T any](t events.Table[T]) (list []source[T]) {
	for i := range t {
		s := source[T]{Column: &t[i], leaves: 1}
		switch s.Kind {
		case events.Group:
			s.columns = sourcesOf(s.Columns)
			s.leaves = leaves(s.columns)
		case events.Groups:
			s.leaves = leaves(sourcesOf(s.Columns[0].Columns))
		case events.Counts:
			s.leaves = len(s.Keys)
		default: // a value, or a list of them
		}
		list = append(list, s)
	}
	return list
}

func leaves[T any](list []source[T]) (n int) {
	for i := range list {
		n += list[i].leaves
	}
	return n
}

func appendColumns[T any](b []byte, list []source[T], r *T, v *events.Value) []byte {
	for i := range list {
		c := &list[i]
		if c.Get != nil && !c.Get(r, v) && !c.Zero {
			b = appendNulls(b, c.leaves)
			continue
		}
		switch c.Kind {
		case events.Group:
			b = appendColumns(b, c.columns, r, v)
		case events.Groups:
			b = appendGroups(b, c.Columns, r, v)
		case events.Counts:
			for k := range c.Keys {
				b = appendInt(b, inRow, int64(v.Counts[k]))
			}
		case events.Words:
			b = appendList(b, v.Words, appendBytes[string])
		case events.SecondsList:
			b = appendList(b, v.Ints, appendInt)
		default:
			b = appendValue(b, c.Kind, v, true, inRow)
		}
	}
	return b
}

func appendNulls(b []byte, n int) []byte {
	if n == 1 {
		return append(b, kindNull)
	}
	return append(b, kindNulls, byte(n))
}

// appendGroups appends those of a list of groups that the record has, a column of
// them all after the other.
func appendGroups[T any](b []byte, list events.Table[T], r *T, v *events.Value) []byte {
	for leaf := range list[0].Columns {
		var again byte
		for i := range list {
			if !list[i].Get(r, v) {
				continue
			}
			c := &list[i].Columns[leaf]
			at := len(b)
			b = appendValue(b, c.Kind, v, c.Get(r, v) || c.Zero, inListGroup)
			if b[at]&kindMask == kindNull {
				b[at] |= inListGroup - 1 // the group is there, its value is not
			}
			b[at] |= again
			again = repeated
		}
		if again == 0 {
			b = append(b, kindNull)
		}
	}
	return b
}

func appendList[E any](b []byte, list []E, one func([]byte, byte, E) []byte) []byte {
	if len(list) == 0 {
		return append(b, kindNull)
	}
	for i, e := range list {
		level := byte(inRow)
		if i > 0 {
			level |= repeated
		}
		b = one(b, level, e)
	}
	return b
}

func appendValue(b []byte, k events.Kind, v *events.Value, has bool, level byte) []byte {
	if !has {
		return append(b, kindNull)
	}
	switch k {
	case events.Word:
		return appendBytes(b, level, v.Word)
	case events.Text:
		return appendBytes(b, level, strings.ToValidUTF8(v.Text, "\uFFFD"))
	case events.Count:
		return appendInt(b, level, int64(v.Count))
	case events.Time, events.Seconds:
		return appendInt(b, level, v.Int)
	case events.Identity:
		return appendBytes(b, level, v.Identity)
	case events.Address:
		return appendAddress(b, level, v.Address)
	case events.Flag:
		switch {
		case v.Null:
			return append(b, kindNull)
		case v.Flag:
			return append(b, kindTrue|level)
		}
		return append(b, kindFalse|level)
	default: // of several values, which are written one by one
		return append(b, kindNull)
	}
}

func appendInt(b []byte, level byte, n int64) []byte {
	return binary.AppendVarint(append(b, kindInt|level), n)
}

// appendAddress writes the text's length, which fits a byte, when it is known.
func appendAddress(b []byte, level byte, a *sniffer.Addr) []byte {
	b = append(b, kindBytes|level, 0)
	at := len(b)
	b = a.Netip().AppendTo(b)
	b[at-1] = byte(len(b) - at)
	return b
}

func appendBytes[S ~string | ~[]byte](b []byte, level byte, s S) []byte {
	return append(binary.AppendUvarint(append(b, kindBytes|level), uint64(len(s))), s...)
}
