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
	batchRows   = 16        // that are handed on at once: column by column, which is faster
)

// A Writer makes one file of rows. It is not safe for concurrent use.
type Writer struct {
	file   *parquet.GenericWriter[any]
	place  [numPlaces]parquet.Value
	bytes  int           // in the row group
	rows   []parquet.Row // that wait to be handed on: parts of
	values parquet.Row   // which point into
	kept   []byte
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
	for i, s := range place.values() {
		w.place[i] = parquet.NullValue().Level(0, 0, i)
		if s != "" {
			w.place[i] = parquet.ByteArrayValue([]byte(s)).Level(0, inRow, i)
		}
	}
	return w
}

var errRow = errors.New("a row that Append did not make")

// Write adds a row, which it does not keep.
func (w *Writer) Write(row []byte) error {
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
	at, begin := len(w.kept), len(w.values)
	w.kept = append(w.kept, row...)
	w.values = append(w.values, w.place[:]...)
	if err := w.decode(w.kept[at:]); err != nil {
		w.kept, w.values = w.kept[:at], w.values[:begin]
		return err
	}
	w.rows = append(w.rows, w.values[begin:])
	if len(w.rows) < batchRows {
		return nil
	}
	return w.handOn()
}

// handOn writes the rows that wait.
func (w *Writer) handOn() error {
	_, err := w.file.WriteRows(w.rows)
	w.rows, w.values, w.kept = w.rows[:0], w.values[:0], w.kept[:0]
	if err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

func (w *Writer) decode(b []byte) error {
	column := numPlaces - 1
	for len(b) > 0 {
		head := b[0]
		b = b[1:]
		again := int(head & repeated / repeated)
		column += 1 - again
		v := parquet.NullValue()
		switch head & kindMask {
		case kindInt:
			i, n := binary.Varint(b)
			if n <= 0 {
				return errRow
			}
			v, b = parquet.Int64Value(i), b[n:]
		case kindBytes:
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return errRow
			}
			v, b = parquet.ByteArrayValue(b[n:n+int(length)]), b[n+int(length):]
		case kindTrue, kindFalse:
			v = parquet.BooleanValue(head&kindMask == kindTrue)
		}
		w.values = append(w.values, v.Level(again, int(head&levelMask), column))
	}
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
