package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// groupBytes are the bytes of a row group's rows, as Append made them.
const groupBytes = 4 << 20

// A Writer makes one file of rows. It is not safe for concurrent use.
//
// It gathers a row group in memory, each column apart, and writes of each column one
// page, by the encodings of package parquet. That package's own writer takes every
// value, nulls too, through three buffers, which is more than twice the work of all that
// is done here (BenchmarkWrite).
type Writer struct {
	to      io.Writer
	offset  int64 // how much is written
	meta    format.FileMetaData
	place   [numPlaces]string
	columns []column
	rows    int // in the row group
	bytes   int // of them

	zstd                                             *zstd.Codec
	repetitions, definitions, values, packed, header []byte // of a page
}

// NewWriter begins a file of rows from place; version is the program's. Nothing is
// complete in to before Close.
func (f *Format[T]) NewWriter(to io.Writer, place Place, version string) *Writer {
	w := &Writer{to: to, meta: f.blank, place: place.values(), zstd: &f.zstd}
	w.meta.CreatedBy = "keepscope version " + version + "(build )"
	w.meta.KeyValueMetadata = []format.KeyValue{{Key: "keepscope.schema", Value: SchemaVersion}}
	for _, l := range f.leaves {
		w.columns = append(w.columns, column{leaf: l, dictionary: map[string]int32{}})
	}
	return w
}

var errRow = errors.New("a row that Append did not make")

// Write adds a row, which it does not keep. After an error the file is of no use.
func (w *Writer) Write(row []byte) error {
	if w.bytes > 0 && w.bytes+len(row) > groupBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.bytes += len(row)
	return w.decode(row)
}

// decode adds a row's values to their columns.
func (w *Writer) decode(b []byte) error {
	at := numPlaces - 1
	for len(b) > 0 {
		head := b[0]
		b = b[1:]
		switch {
		case head == kindNull:
			at++
			continue
		case head == kindNulls && len(b) > 0:
			at += int(b[0])
			b = b[1:]
			continue
		case head&repeated == 0:
			at++
		}
		if at < numPlaces || at >= len(w.columns) {
			return errRow
		}
		c := &w.columns[at]
		if head == c.head && c.rows == w.rows { // most values are the next of their columns
			c.rows++
			c.definitions = append(c.definitions, c.most)
		} else if !c.begin(head, w.rows) {
			return errRow
		}
		switch head & kindMask {
		case kindInt:
			i, n := binary.Varint(b)
			if n <= 0 {
				return errRow
			}
			c.ints, b = append(c.ints, i), b[n:]
		case kindBytes:
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return errRow
			}
			end := n + int(length)
			c.addText(b[n:end])
			b = b[end:]
		case kindTrue, kindFalse:
			c.addFlag(head&kindMask == kindTrue)
		}
	}
	w.rows++
	return nil
}

// flush writes the row group.
func (w *Writer) flush() error {
	if w.offset == 0 {
		if err := w.write([]byte(magic)); err != nil {
			return err
		}
	}
	if w.rows == 0 {
		return nil
	}
	g := format.RowGroup{NumRows: int64(w.rows), FileOffset: w.offset}
	for i := range w.columns {
		c := &w.columns[i]
		if i < numPlaces && w.place[i] != "" {
			c.fill(w.place[i], w.rows)
		}
		c.upTo(w.rows)
		chunk, err := w.writeColumn(c)
		if err != nil {
			return fmt.Errorf("write a row group: %w", err)
		}
		g.Columns = append(g.Columns, format.ColumnChunk{MetaData: chunk})
		g.TotalByteSize += chunk.TotalUncompressedSize
		g.TotalCompressedSize += chunk.TotalCompressedSize
		c.reset()
	}
	w.meta.NumRows += g.NumRows
	w.meta.RowGroups = append(w.meta.RowGroups, g)
	w.rows, w.bytes = 0, 0
	return nil
}

// writeColumn writes a column's page, behind that of its dictionary where one pays.
func (w *Writer) writeColumn(c *column) (chunk format.ColumnMetaData, err error) {
	chunk = format.ColumnMetaData{
		Type: c.physical, PathInSchema: c.path, Codec: format.Zstd, NumValues: int64(len(c.definitions)),
		Encoding: []format.Encoding{format.RLE}, Statistics: c.statistics(),
	}
	encoding, values := format.Plain, w.values[:0]
	switch {
	case c.kind == kindInt:
		encoding = format.DeltaBinaryPacked
		values, err = new(delta.BinaryPackedEncoding).EncodeInt64(values, c.ints)
	case c.kind == kindTrue:
		values = append(values, c.flags...)
	case !c.distinct:
		values = append(values, c.texts...)
	case !c.dictionaryPays():
		values = c.undone(values)
	default:
		encoding = format.RLEDictionary
		chunk.Encoding = append(chunk.Encoding, format.Plain) // of the dictionary
		chunk.DictionaryPageOffset = w.offset
		head := format.PageHeader{Type: format.DictionaryPage}
		head.DictionaryPageHeader.Set(format.DictionaryPageHeader{NumValues: int32(len(c.starts)), Encoding: format.Plain})
		if err = w.writePage(&chunk, &head, nil, nil, c.texts); err == nil {
			values, err = new(rle.DictionaryEncoding).EncodeInt32(values, c.words)
		}
	}
	if err != nil {
		return chunk, err
	}
	w.values = values
	w.repetitions = w.repetitions[:0]
	if c.list {
		if w.repetitions, err = (&rle.Encoding{BitWidth: 1}).EncodeLevels(w.repetitions, c.repetitions); err != nil {
			return chunk, err
		}
	}
	if w.definitions, err = (&rle.Encoding{BitWidth: bits.Len8(c.most)}).EncodeLevels(w.definitions, c.definitions); err != nil {
		return chunk, err
	}
	chunk.Encoding = append(chunk.Encoding, encoding)
	chunk.DataPageOffset = w.offset
	head := format.PageHeader{Type: format.DataPageV2}
	head.DataPageHeaderV2.Set(format.DataPageHeaderV2{
		NumValues: int32(len(c.definitions)), NumNulls: int32(chunk.Statistics.NullCount), NumRows: int32(w.rows), Encoding: encoding,
		DefinitionLevelsByteLength: int32(len(w.definitions)), RepetitionLevelsByteLength: int32(len(w.repetitions)),
		IsCompressed: thrift.New(true),
	})
	return chunk, w.writePage(&chunk, &head, w.repetitions, w.definitions, values)
}

// writePage writes a page of a column: its header, its levels, and its values, which it
// compresses.
func (w *Writer) writePage(chunk *format.ColumnMetaData, head *format.PageHeader, repetitions, definitions, values []byte) (err error) {
	if w.packed, err = w.zstd.Encode(w.packed, values); err != nil {
		return err
	}
	levels := len(repetitions) + len(definitions)
	head.UncompressedPageSize = int32(levels + len(values))
	head.CompressedPageSize = int32(levels + len(w.packed))
	sum := crc32.Update(crc32.ChecksumIEEE(repetitions), crc32.IEEETable, definitions)
	head.CRC = int32(crc32.Update(sum, crc32.IEEETable, w.packed))
	if w.header, err = thrift.Marshal(new(thrift.CompactProtocol), head); err != nil {
		return err
	}
	chunk.TotalUncompressedSize += int64(len(w.header)) + int64(head.UncompressedPageSize)
	chunk.TotalCompressedSize += int64(len(w.header)) + int64(head.CompressedPageSize)
	for _, part := range [...][]byte{w.header, repetitions, definitions, w.packed} {
		if err := w.write(part); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) write(b []byte) error {
	n, err := w.to.Write(b)
	w.offset += int64(n)
	return err
}

// SetReport keeps the report of the run whose rows these are in the file.
func (w *Writer) SetReport(text []byte) {
	w.meta.KeyValueMetadata = append(w.meta.KeyValueMetadata, format.KeyValue{Key: reportKey, Value: string(text)})
}

// Close completes the file. It does not close what it is written to.
func (w *Writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &w.meta)
	if err == nil {
		err = w.write(append(binary.LittleEndian.AppendUint32(footer, uint32(len(footer))), magic...))
	}
	if err != nil {
		return fmt.Errorf("complete a Parquet file: %w", err)
	}
	return nil
}
