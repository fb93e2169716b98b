package events

import "github.com/keepscope/keepscope/sniffer"

// A Kind is the type of a column.
type Kind uint8

// The kinds. Seconds and Times are integers of nanoseconds in a Value.
const (
	Word        Kind = iota // of a closed set of ours
	Text                    // from outside
	Count                   // at least 0
	Flag                    // true or false
	Time                    // Unix time
	Seconds                 // a duration
	SecondsList             // several
	Words                   // several
	Counts                  // by the keys of the column, which are a closed set
	Address                 // an IP address
	Identity                // short ASCII text of ours
	Group                   // columns of its own
	Groups                  // a list of groups, one a column
)

// A Value is what a column holds in one record: the field that its Kind names.
type Value struct {
	Word, Text string
	Count      uint64
	Flag       bool
	Null       bool // of a Flag: neither
	Int        int64
	Ints       []int64
	Words      []string
	Counts     []uint32
	Address    *sniffer.Addr
	Identity   []byte // in scratch
	scratch    [64]byte
}

// A Column is one field of a record of type T.
type Column[T any] struct {
	Name string
	Kind Kind
	// Get reads the value and says whether the record has one. What it points at
	// is the record's. Of a Group it may be nil: every record has it.
	Get func(record *T, v *Value) bool
	// Zero says that a record of which Get says no has a value all the same: false,
	// or 0, which a line leaves out for brevity.
	Zero bool
	// Keys are those of Counts, in the order of their counts.
	Keys []string
	// Columns are those of a Group, or each a Group of Groups.
	Columns Table[T]
}

// A Table is the columns of a record, in their order.
type Table[T any] []Column[T]

// always makes a getter for what every record has.
func always[T any](get func(r *T, v *Value)) func(*T, *Value) bool {
	return func(r *T, v *Value) bool {
		get(r, v)
		return true
	}
}

// The constructors of columns. The second function of an optional one says
// whether a record has it.

func word[T any, E interface{ String() string }](name string, get func(*T) E) Column[T] {
	return Column[T]{Name: name, Kind: Word, Get: always(func(r *T, v *Value) { v.Word = get(r).String() })}
}

func count[T any, N ~uint16 | ~uint32 | ~uint64](name string, get func(*T) N) Column[T] {
	return Column[T]{Name: name, Kind: Count, Get: always(func(r *T, v *Value) { v.Count = uint64(get(r)) })}
}

// countIf leaves out what is 0.
func countIf[T any, N ~uint16 | ~uint32 | ~uint64](name string, get func(*T) N) Column[T] {
	return Column[T]{Name: name, Kind: Count, Zero: true, Get: func(r *T, v *Value) bool {
		v.Count = uint64(get(r))
		return v.Count != 0
	}}
}

// number has none where it is 0.
func number[T any, N ~uint16 | ~uint32 | ~uint64](name string, get func(*T) N) Column[T] {
	c := countIf(name, get)
	c.Zero = false
	return c
}

func flag[T any](name string, get func(*T) bool) Column[T] {
	return Column[T]{Name: name, Kind: Flag, Get: always(func(r *T, v *Value) { v.Flag = get(r) })}
}

// flagIf leaves out what is false.
func flagIf[T any](name string, get func(*T) bool) Column[T] {
	return Column[T]{Name: name, Kind: Flag, Zero: true, Get: func(r *T, v *Value) bool {
		v.Flag = get(r)
		return v.Flag
	}}
}

// text leaves out what is empty.
func text[T any](name string, get func(*T) string) Column[T] {
	return Column[T]{Name: name, Kind: Text, Get: func(r *T, v *Value) bool {
		v.Text = get(r)
		return v.Text != ""
	}}
}

func moment[T any](name string, get func(*T) int64) Column[T] {
	return Column[T]{Name: name, Kind: Time, Get: always(func(r *T, v *Value) { v.Int = get(r) })}
}

// seconds leaves out what is absent.
func seconds[T any](name string, get func(*T) int64) Column[T] {
	return Column[T]{Name: name, Kind: Seconds, Get: func(r *T, v *Value) bool {
		v.Int = get(r)
		return v.Int >= 0
	}}
}

// secondsIf leaves out what is absent, or 0.
func secondsIf[T any](name string, get func(*T) int64) Column[T] {
	return Column[T]{Name: name, Kind: Seconds, Get: func(r *T, v *Value) bool {
		v.Int = get(r)
		return v.Int > 0
	}}
}

// identity is a number as 16 hexadecimal digits; 0 is none.
func identity[T any](name string, get func(*T) uint64) Column[T] {
	return Column[T]{Name: name, Kind: Identity, Get: func(r *T, v *Value) bool {
		const hex = "0123456789abcdef"
		id := get(r)
		v.Identity = v.scratch[:16]
		for i := range v.Identity {
			v.Identity[i] = hex[id>>(60-4*i)&15]
		}
		return id != 0
	}}
}

func group[T any](name string, has func(*T) bool, columns ...Column[T]) Column[T] {
	c := Column[T]{Name: name, Kind: Group, Columns: columns}
	if has != nil {
		c.Get = func(r *T, _ *Value) bool { return has(r) }
	}
	return c
}

// list is a list of groups: those of the columns that a record has.
func list[T any](name string, has func(*T) bool, columns ...Column[T]) Column[T] {
	c := group(name, has, columns...)
	c.Kind = Groups
	return c
}

func endpoint[T any](name string, get func(*T) *sniffer.Endpoint) Column[T] {
	return group(name, nil,
		Column[T]{Name: "ip", Kind: Address, Get: always(func(r *T, v *Value) { v.Address = &get(r).Addr })},
		count("port", func(r *T) uint16 { return get(r).Port }))
}

// sides is a group of a count of each side.
func sides[T any, N ~uint32 | ~uint64](name string, has func(*T) bool, get func(*T) *[2]N) Column[T] {
	return group(name, has,
		count("client", func(r *T) N { return get(r)[0] }),
		count("server", func(r *T) N { return get(r)[1] }))
}
