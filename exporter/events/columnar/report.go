package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	reportKey = "keepscope.report" // in a file's metadata
	magic     = "PAR1"             // at a file's begin and end
	maxFooter = 128 << 20          // bytes of metadata that are read
)

// ErrNoReport is that a Parquet file has rows only.
var ErrNoReport = errors.New("the Parquet file has no report of its rows, as those of 'keepscope read' have")

// Is says whether a file that begins so is Parquet.
func Is(head []byte) bool { return len(head) >= len(magic) && string(head[:len(magic)]) == magic }

// Report returns the report that SetReport kept in a file. It reads the file's metadata
// only.
func Report(file io.ReaderAt, size int64) ([]byte, error) {
	var end [8]byte // the length of the metadata, and the magic
	if _, err := file.ReadAt(end[:], size-int64(len(end))); err != nil || !Is(end[4:]) {
		return nil, errors.New("the Parquet file is cut short")
	}
	n := int64(binary.LittleEndian.Uint32(end[:]))
	if n > maxFooter || n > size-int64(len(end)) {
		return nil, fmt.Errorf("the Parquet file is damaged: %d bytes of metadata", n)
	}
	footer := make([]byte, n)
	if _, err := file.ReadAt(footer, size-int64(len(end))-n); err != nil {
		return nil, fmt.Errorf("read the Parquet file's metadata: %w", err)
	}
	var meta format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), footer, &meta); err != nil {
		return nil, fmt.Errorf("the Parquet file's metadata are damaged: %w", err)
	}
	for _, kv := range meta.KeyValueMetadata {
		if kv.Key == reportKey {
			return []byte(kv.Value), nil
		}
	}
	return nil, ErrNoReport
}
