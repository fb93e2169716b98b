package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

const (
	groupBytes  = 8 << 20   // of rows, as Append made them
	pageBytes   = 64 << 10  // of a column in memory
	distinctMax = 256 << 10 // bytes of a column's distinct values
	batchBytes  = 64 << 10  // of rows that are handed on at once, column by column
)

// A Writer makes one file of rows. It is not safe for concurrent use.
type Writer struct {
	file    *parquet.GenericWriter[any]
	bytes   int             // in the row group
	kept    []byte          // rows that wait to be handed on
	rows    int             // how many
	columns []column        // of them
	nulls   []parquet.Value // for columns that no row has
}

// A column is its values in the rows that wait to be handed on. What the newest rows
// have not is added when there is need: most columns of most rows are empty.
type column struct {
	to     *parquet.ColumnWriter
	absent parquet.Value // what a row has that says nothing of it
	rows   int
	values []parquet.Value // bytes point into kept
}

// upTo adds what is absent from the rows before the n-th.
func (c *column) upTo(n int) {
	for ; c.rows < n; c.rows++ {
		c.values = append(c.values, c.absent)
	}
}

// NewWriter begins a file of rows from place; version is the program's. Nothing is
// complete in to before Close.
func (f *Format[T]) NewWriter(to io.Writer, place Place, version string) *Writer {
	w := &Writer{file: parquet.NewGenericWriter[any](to, f.schema,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
		parquet.PageBufferSize(pageBytes), parquet.DictionaryMaxBytes(distinctMax),
		parquet.KeyValueMetadata("keepscope.schema", SchemaVersion),
		parquet.CreatedBy("keepscope", version, ""),
	)}
	places := place.values()
	for i, to := range w.file.ColumnWriters() {
		var absent parquet.Value
		if i < numPlaces && places[i] != "" {
			absent = parquet.ByteArrayValue([]byte(places[i])).Level(0, inRow, i)
		}
		w.columns = append(w.columns, column{to: to, absent: absent})
	}
	return w
}

var errRow = errors.New("a row that Append did not make")

// Write adds a row, which it does not keep. After an error the file is of no use.
func (w *Writer) Write(row []byte) error {
	if len(w.kept)+len(row) > batchBytes {
		if err := w.handOn(); err != nil {
			return err
		}
	}
	if w.bytes > 0 && w.bytes+len(row) > groupBytes {
		if err := w.handOn(); err != nil {
			return err
		}
		if err := w.file.Flush(); err != nil {
			return fmt.Errorf("write a row group: %w", err)
		}
		w.bytes = 0
	}
	w.bytes += len(row)
	at := len(w.kept)
	w.kept = append(w.kept, row...)
	return w.decode(w.kept[at:])
}

// handOn writes the rows that wait.
func (w *Writer) handOn() error {
	if w.rows == 0 {
		return nil
	}
	for len(w.nulls) < w.rows {
		w.nulls = append(w.nulls, parquet.NullValue())
	}
	for i := range w.columns {
		c := &w.columns[i]
		values := w.nulls[:w.rows]
		if len(c.values) > 0 || !c.absent.IsNull() {
			c.upTo(w.rows)
			values = c.values
		}
		if _, err := c.to.WriteRowValues(values); err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		c.rows, c.values = 0, c.values[:0]
	}
	w.rows, w.kept = 0, w.kept[:0]
	return nil
}

// small are the values of most counts. To make a value takes longer than to copy one.
var small = func() (list [256]parquet.Value) {
	for i := range list {
		list[i] = parquet.Int64Value(int64(i)).Level(0, inRow, 0)
	}
	return list
}()

// decode adds a row's values to their columns.
func (w *Writer) decode(b []byte) error {
	at := numPlaces - 1
	for len(b) > 0 {
		head := b[0]
		b = b[1:]
		again := int(head & repeated / repeated)
		at += 1 - again
		if head == kindNull {
			continue
		}
		if at < numPlaces || at >= len(w.columns) {
			return errRow
		}
		c := &w.columns[at]
		if again == 0 {
			c.upTo(w.rows)
			c.rows++
		}
		var v parquet.Value
		switch head & kindMask {
		case kindInt:
			i, n := binary.Varint(b)
			if n <= 0 {
				return errRow
			}
			b = b[n:]
			if uint64(i) < uint64(len(small)) && head == kindInt|inRow {
				c.values = append(c.values, small[i])
				continue
			}
			v = parquet.Int64Value(i)
		case kindBytes:
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return errRow
			}
			v, b = parquet.ByteArrayValue(b[n:n+int(length)]), b[n+int(length):]
		case kindTrue, kindFalse:
			v = parquet.BooleanValue(head&kindMask == kindTrue)
		}
		c.values = append(c.values, v.Level(again, int(head&levelMask), at))
	}
	w.rows++
	return nil
}

// SetReport keeps the report of the run whose rows these are in the file.
func (w *Writer) SetReport(text []byte) { w.file.SetKeyValueMetadata(reportKey, string(text)) }

// Close completes the file. It does not close what it is written to.
func (w *Writer) Close() error {
	if err := w.handOn(); err != nil {
		return err
	}
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("complete a Parquet file: %w", err)
	}
	return nil
}
