package columnar

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// A leaf says how a column's values are stored.
type leaf struct {
	path     []string
	physical format.Type
	kind     byte // of a row's values; kindTrue for flags
	most     byte // the definition level of what is there
	head     byte // of a value, where a row has one at most; else of none
	list     bool // a row may have several
	distinct bool // many are the same: a dictionary may pay
}

// leavesOf returns the columns of a schema in their order.
func leavesOf(schema *parquet.Schema) (list []leaf) {
	for _, path := range schema.Columns() {
		of, _ := schema.Lookup(path...) // it is there
		l := leaf{path: path, physical: format.Type(of.Node.Type().Kind()), most: byte(of.MaxDefinitionLevel), list: of.MaxRepetitionLevel > 0}
		switch l.physical {
		case format.Boolean:
			l.kind = kindTrue
		case format.Int64:
			l.kind = kindInt
		default:
			l.kind, l.distinct = kindBytes, of.Node.Encoding() != nil
		}
		if !l.list && l.kind != kindTrue {
			l.head = l.kind | l.most
		}
		list = append(list, l)
	}
	return list
}

// A column gathers its values in a row group. What rows have not is added when there is
// need: most columns of most rows are empty.
type column struct {
	leaf
	rows        int
	definitions []byte  // levels
	repetitions []byte  // levels of a list
	ints        []int64 // values of kindInt
	flags       []byte  // of kindTrue, a bit each
	numFlags    int
	texts       []byte // of kindBytes, as PLAIN has them: all, or those of the dictionary

	dictionary map[string]int32
	starts     []int   // of the dictionary's texts
	words      []int32 // values as indexes of the dictionary
	plain      int     // bytes that they would have as PLAIN
}

// begin adds the levels of a value of a row, and says whether the column can have it.
func (c *column) begin(head byte, row int) bool {
	level, kind := head&levelMask, head&kindMask
	switch kind {
	case kindNull: // an element without a value
		if level == 0 || level >= c.most {
			return false
		}
	case kindFalse:
		kind = kindTrue
		fallthrough
	default:
		if kind != c.kind || level != c.most {
			return false
		}
	}
	again := head & repeated / repeated
	if again == 0 {
		c.upTo(row)
	}
	if c.rows != row+int(again) || again == 1 && !c.list {
		return false
	}
	c.rows = row + 1
	c.definitions = append(c.definitions, level)
	if c.list {
		c.repetitions = append(c.repetitions, again)
	}
	return true
}

// upTo adds nulls for rows before the n-th.
func (c *column) upTo(n int) {
	more := n - c.rows
	if more <= 0 {
		return
	}
	c.rows = n
	c.definitions = append(c.definitions, make([]byte, more)...)
	if c.list {
		c.repetitions = append(c.repetitions, make([]byte, more)...)
	}
}

func (c *column) addFlag(is bool) {
	if c.numFlags%8 == 0 {
		c.flags = append(c.flags, 0)
	}
	if is {
		c.flags[len(c.flags)-1] |= 1 << (c.numFlags % 8)
	}
	c.numFlags++
}

func (c *column) addText(text []byte) {
	if !c.distinct {
		c.texts = appendPlain(c.texts, text)
		return
	}
	c.plain += lengthSize + len(text)
	if n := len(c.words); n > 0 { // mostly it is the same again
		if last := c.words[n-1]; bytes.Equal(c.word(last), text) {
			c.words = append(c.words, last)
			return
		}
	}
	i, known := c.dictionary[string(text)]
	if !known {
		i = int32(len(c.starts))
		c.dictionary[string(text)] = i
		c.starts = append(c.starts, len(c.texts))
		c.texts = appendPlain(c.texts, text)
	}
	c.words = append(c.words, i)
}

// fill has all rows of a group say the same.
func (c *column) fill(text string, rows int) {
	for range rows {
		c.begin(kindBytes|inRow, c.rows)
		c.addText([]byte(text))
	}
}

// lengthSize are the bytes before a text as PLAIN has it.
const lengthSize = 4

func appendPlain(b, text []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
}

// stored returns a text of the dictionary as PLAIN has it.
func (c *column) stored(i int32) []byte {
	if int(i)+1 < len(c.starts) {
		return c.texts[c.starts[i]:c.starts[i+1]]
	}
	return c.texts[c.starts[i]:]
}

// word returns a text of the dictionary.
func (c *column) word(i int32) []byte { return c.stored(i)[lengthSize:] }

// dictionaryPays says whether the dictionary and indexes are shorter than the texts.
func (c *column) dictionaryPays() bool { return len(c.texts)+2*len(c.words) < c.plain }

// undone appends the texts of which there are indexes, as PLAIN has them.
func (c *column) undone(b []byte) []byte {
	for _, i := range c.words {
		b = append(b, c.stored(i)...)
	}
	return b
}

// nulls returns how many of the values are none.
func (c *column) nulls() int { return len(c.definitions) - bytes.Count(c.definitions, []byte{c.most}) }

// statistics returns what readers skip row groups by: the least and the greatest
// number or word. Ids have no order that tells anything.
func (c *column) statistics() format.Statistics {
	s := format.Statistics{NullCount: int64(c.nulls())}
	switch {
	case len(c.ints) > 0:
		s.MinValue = binary.LittleEndian.AppendUint64(nil, uint64(slices.Min(c.ints)))
		s.MaxValue = binary.LittleEndian.AppendUint64(nil, uint64(slices.Max(c.ints)))
	case len(c.starts) > 0:
		least, most := c.word(0), c.word(0)
		for i := range c.starts[1:] {
			switch word := c.word(int32(i + 1)); {
			case bytes.Compare(word, least) < 0:
				least = word
			case bytes.Compare(word, most) > 0:
				most = word
			}
		}
		s.MinValue, s.MaxValue = bytes.Clone(least), bytes.Clone(most)
	}
	return s
}

// reset leaves no value.
func (c *column) reset() {
	clear(c.dictionary)
	*c = column{
		leaf: c.leaf, definitions: c.definitions[:0], repetitions: c.repetitions[:0], ints: c.ints[:0], flags: c.flags[:0],
		texts: c.texts[:0], dictionary: c.dictionary, starts: c.starts[:0], words: c.words[:0],
	}
}
