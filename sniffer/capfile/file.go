package capfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/printable"
)

const (
	maxFrame   = 256 << 10 // libpcap's MAXIMUM_SNAPLEN
	maxHeld    = maxFrame + 64
	bufferSize = 128 << 10
	minBuffer  = 16 << 10
	// headerSize is what tells every format apart: a pcap header, or a
	// section header up to its version.
	headerSize = 24
)

// Errors that a caller may want to tell apart with errors.Is. The messages
// around them name the file and the remedy.
var (
	ErrEmpty      = errors.New("empty file")
	ErrNotCapture = errors.New("not a capture file")
	ErrDirectory  = errors.New("is a directory")
	ErrMalformed  = errors.New("malformed capture file")
	ErrTruncated  = errors.New("capture cut short") // only ever a warning
)

// An Interface describes one interface of a capture.
type Interface struct {
	File       string // the file that described it first; see File.Name
	Name       string // fit to be shown; empty where the file does not say, as in every pcap
	Link       sniffer.LinkType
	Snaplen    uint32        // 0 where there was no limit
	Resolution time.Duration // length of a tick; 0 where shorter than 1 ns

	// Packets that the capturing program lost, as far as pcapng statistics
	// read so far tell: on the interface, and in the operating system.
	InterfaceDrops, SystemDrops uint64
}

// A File is an open capture. It implements sniffer.Source. Its methods are for
// one goroutine, except Bytes, which any may call.
type File struct {
	name   string
	raw    countReader
	source io.Reader // raw, or what decompresses it
	close  func() error
	total  int64
	read   atomic.Int64
	number uint32 // of the last frame delivered

	size    int    // of a batch's buffer
	record  int    // bytes of a record, a moving average
	carry   []byte // bytes read from source and not yet parsed
	offset  int64  // in the decompressed stream, of the next byte to parse
	need    int    // bytes that the next record needs, as far as known
	ready   bool   // carry holds at least one complete record
	stream  bool   // a read may wait for a writer
	packed  string // compression, or empty
	pending error  // why source ended; reported once carry is parsed
	err     error  // what Read returns from now on
	warning error

	ng   bool
	swap bool // big endian
	pcap pcapState
	pcapngState

	interfaces []Interface
}

type pcapState struct {
	header   int   // bytes of a record header
	fraction int64 // nanoseconds per unit of the fraction
	lengths  lengthOrder
}

// Open opens the capture at path; "-" is standard input. An error is one line
// that names the file and what to do about it.
func Open(path string) (*File, error) {
	if path == "-" {
		return open(os.Stdin, "standard input", nil)
	}
	name := printable.Text(path)
	file, err := os.Open(path)
	if err != nil {
		return nil, openError(name, err)
	}
	f, err := open(file, name, file.Close)
	if err != nil {
		_ = file.Close() // why it is no capture says more
		return nil, err
	}
	return f, nil
}

func openError(path string, err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		err = pathError.Err // the path is in our own message
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open %s: %w: make it readable for this user, or run as a user who may read it", path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open %s: %w: check the path", path, err)
	}
	return fmt.Errorf("open %s: %w", path, err)
}

func open(file *os.File, name string, closeFile func() error) (*File, error) {
	var total int64
	stream := true
	if info, err := file.Stat(); err == nil {
		if info.IsDir() {
			return nil, fmt.Errorf("%s %w: name the capture files in it", name, ErrDirectory)
		}
		if info.Mode().IsRegular() {
			total, stream = info.Size(), false
		}
	}
	f, err := newFile(file, name, stream)
	if err != nil {
		return nil, err
	}
	f.total = total
	f.addCloser(closeFile)
	return f, nil
}

// NewReader reads a capture from r; name is what errors call it. Close does
// not close r.
func NewReader(r io.Reader, name string) (*File, error) {
	return newFile(r, printable.Text(name), true)
}

func newFile(r io.Reader, name string, stream bool) (*File, error) {
	f := &File{name: name, raw: countReader{reader: r}, stream: stream, size: bufferSize, record: bufferSize / sniffer.BatchFrames}
	f.source = &f.raw
	if err := f.begin(); err != nil {
		_ = f.Close() // why it is no capture says more
		return nil, err
	}
	f.read.Store(f.raw.count)
	return f, nil
}

// addCloser has Close call more after what it calls already.
func (f *File) addCloser(more func() error) {
	if more == nil {
		return
	}
	before := f.close
	f.close = func() error {
		if before == nil {
			return more()
		}
		return errors.Join(before(), more())
	}
}

// Close releases the file. It may be called twice.
func (f *File) Close() error {
	if f.err == nil {
		f.err = fmt.Errorf("read %s: %w", f.name, fs.ErrClosed)
	}
	closer := f.close
	f.close = nil
	if closer == nil {
		return nil
	}
	return closer()
}

// Name returns the path, or the name given to NewReader, fit to be shown
// (package printable).
func (f *File) Name() string { return f.name }

// Interfaces returns the interfaces met so far, a copy. Frame.Interface is an
// index into it. A pcapng file may describe more of them later.
func (f *File) Interfaces() []Interface {
	return append([]Interface(nil), f.interfaces...)
}

// Drops sums what the capture's statistics, read so far, say was lost over all
// interfaces: see Interface.
func (f *File) Drops() (byInterface, bySystem uint64) {
	for i := range f.interfaces {
		byInterface += f.interfaces[i].InterfaceDrops
		bySystem += f.interfaces[i].SystemDrops
	}
	return byInterface, bySystem
}

// Bytes returns how many bytes of the file have been read, compressed as they
// are, and how many it has; total is 0 where that is not known, as in a pipe.
// It may be called from any goroutine at any time.
func (f *File) Bytes() (read, total int64) {
	return f.read.Load(), f.total
}

// Truncated says whether the capture ended within a packet.
func (f *File) Truncated() bool { return errors.Is(f.warning, ErrTruncated) }

// Warning returns what is wrong with the capture without having kept it from
// being read, or nil; it is complete once Read has returned io.EOF.
func (f *File) Warning() error { return f.warning }

func (f *File) warn(format string, args ...any) {
	f.warning = errors.Join(f.warning, fmt.Errorf(format, args...))
}

// Read implements sniffer.Source. It allocates only to give the batch its
// buffer, or to grow that for a frame longer than any before.
func (f *File) Read(b *sniffer.Batch) error {
	if cap(b.Frames) < sniffer.BatchFrames {
		b.Frames = make([]sniffer.Frame, 0, sniffer.BatchFrames)
	}
	b.Frames = b.Frames[:0]
	if f.err != nil {
		return f.err
	}
	grow(b, max(f.size, f.need, len(f.carry)), 0)
	n := copy(b.Buffer, f.carry)
	f.carry = f.carry[:0]
	if !(f.ready && f.stream) {
		n = f.fill(b, n)
	}
	for {
		used := f.parse(b, b.Buffer[:n])
		f.offset += int64(used)
		if len(b.Frames) > 0 {
			f.carry = append(f.carry, b.Buffer[used:n]...)
			f.record = (3*f.record + used/len(b.Frames)) / 4
			break
		}
		// No frame views the buffer yet, so that it can be moved.
		n = copy(b.Buffer, b.Buffer[used:n])
		if f.err == nil && f.pending != nil {
			f.err = f.end(n)
		}
		if f.err != nil {
			break
		}
		n = f.fill(b, n)
	}
	f.read.Store(f.raw.count)
	if len(b.Frames) == 0 {
		return f.err
	}
	for i := range b.Frames {
		f.number++
		b.Frames[i].Number = f.number
	}
	return nil
}

// fill reads once from the source, behind the n bytes that b.Buffer has, and
// returns how many it has then. It asks for what a batch full of frames is
// likely to take: the less is left over, the less is copied.
func (f *File) fill(b *sniffer.Batch, n int) int {
	if f.pending != nil {
		return n
	}
	grow(b, f.need, n)
	want := min(max(f.record*sniffer.BatchFrames, minBuffer, f.need), len(b.Buffer))
	if want <= n {
		if f.ready {
			return n
		}
		want = len(b.Buffer)
	}
	for range 100 { // as bufio does with a reader that returns nothing
		m, err := f.source.Read(b.Buffer[n:want])
		if err != nil {
			f.pending = err
		}
		if m > 0 || err != nil {
			return n + m
		}
	}
	f.pending = io.ErrNoProgress
	return n
}

// grow makes b.Buffer at least size bytes long, and keeps the first n.
func grow(b *sniffer.Batch, size, n int) {
	b.Buffer = b.Buffer[:cap(b.Buffer)]
	if len(b.Buffer) >= size {
		return
	}
	old := b.Buffer[:n]
	b.Buffer = make([]byte, (size+4095)&^4095)
	copy(b.Buffer, old)
}

// parse appends the complete records of data to b.Frames and returns how many
// bytes it is done with. It sets need and ready, and err where data is wrong.
func (f *File) parse(b *sniffer.Batch, data []byte) (used int) {
	f.need = 0
	if f.ng {
		used = f.parseBlocks(b, data)
	} else {
		used = f.parseRecords(b, data)
	}
	f.ready = f.need == 0 && used < len(data)
	return used
}

// end returns what Read ends with when the source has ended with rest bytes of
// an incomplete record.
func (f *File) end(rest int) error {
	ended := errors.Is(f.pending, io.EOF)
	switch {
	case !ended && !errors.Is(f.pending, io.ErrUnexpectedEOF):
		return f.readError(f.pending)
	case rest > 0 || f.midBlock() || !ended:
		what, at := "packet", f.offset
		if f.ng {
			what = "block"
		}
		if f.midBlock() {
			at = f.began
		} else if rest == 0 {
			what = f.packed + " stream"
		}
		f.warn("%s: %w within a %s at byte %d; everything before it was read", f.name, ErrTruncated, what, at)
	}
	return io.EOF
}

// malformed ends the file at the record that begins at byte at of the data
// being parsed.
func (f *File) malformed(at int, format string, args ...any) {
	f.err = fmt.Errorf("%s: %w: %s at byte %d%s: the file is damaged there; everything before it was read",
		f.name, ErrMalformed, fmt.Sprintf(format, args...), f.offset+int64(at), f.where())
}

func (f *File) where() string {
	if f.packed == "" {
		return ""
	}
	return " of the decompressed data"
}

// A countReader counts what is read through it.
type countReader struct {
	reader io.Reader
	count  int64
}

func (r *countReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	r.count += int64(n)
	return n, err
}
