package events

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/sniffer"
)

// A Key says where a line stands in the output: by start, then client address
// and port, then Seq (0 for a connection, an exchange's index).
type Key struct {
	Start  int64
	Client sniffer.Endpoint
	Seq    uint32
}

func (k Key) compare(o Key) int {
	if c := cmp.Compare(k.Start, o.Start); c != 0 {
		return c
	}
	if c := naming.CompareEndpoints(k.Client, o.Client); c != 0 {
		return c
	}
	return cmp.Compare(k.Seq, o.Seq)
}

const (
	blockBytes  = 256 << 10
	entryBytes  = 88 // of a line besides its bytes
	headerBytes = 8 + 16 + 2 + 4 + 2*9 + 4
)

// A Sorter brings one worker's lines into order. It holds at most about
// maxBytes of them in memory; what is over goes, as sorted runs, to a temporary
// file. WriteSorted joins the Sorters of all workers. Lines that are equal in
// their Key are ordered by their bytes, so the joined output is the same for
// any number of workers. It is not safe for concurrent use.
type Sorter struct {
	// Line appends the line of a connection, with its newline if it is text, to b.
	// NewSorter sets it to NDJSON's.
	Line func(b []byte, c *fact.Connection) []byte
	// Open leaves questions open, and marks the lines that have one.
	Open bool

	dir      string
	maxBytes int
	used     int
	blocks   [][]byte // of blockBytes, but for lines longer than that; all but the last are full
	free     [][]byte
	lines    []line
	buf      []byte
	file     *os.File
	size     int64
	runs     []int64 // where each run ends in file
	err      error
}

type line struct {
	key  Key
	ifs  conditions
	text []byte
}

func (l *line) compare(o *line) int {
	if c := l.key.compare(o.key); c != 0 {
		return c
	}
	return bytes.Compare(l.text, o.text)
}

// NewSorter returns a Sorter that spills to a file in dir; "" is the system's
// directory for temporary files. A maxBytes of 0 means 16 MiB.
func NewSorter(maxBytes int, dir string) *Sorter {
	if maxBytes <= 0 {
		maxBytes = 16 << 20
	}
	return &Sorter{Line: appendLine, dir: dir, maxBytes: maxBytes}
}

func appendLine(b []byte, c *fact.Connection) []byte { return append(AppendConnection(b, c), '\n') }

// Connection adds the line of a connection. The first error is kept, and
// returned by WriteSorted.
func (s *Sorter) Connection(c *fact.Connection) {
	if !s.Open && (c.Unheard || mayChange(c)) {
		s.answers(c)
		return
	}
	s.connection(c, conditions{})
}

func (s *Sorter) connection(c *fact.Connection, ifs conditions) {
	s.buf = s.Line(s.buf[:0], c)
	s.keep(s.add(Key{c.Start, c.Client, 0}, ifs, s.buf))
}

// Exchange adds the line of an exchange.
func (s *Sorter) Exchange(x *fact.Exchange) {
	if !s.Open && x.Unheard {
		s.exchangeAnswers(x)
		return
	}
	s.exchange(x, conditions{})
}

func (s *Sorter) exchange(x *fact.Exchange, ifs conditions) {
	s.buf = append(AppendExchange(s.buf[:0], x), '\n')
	s.keep(s.add(Key{x.Start, x.Client, x.Index}, ifs, s.buf))
}

func (s *Sorter) keep(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Add adds a line, with its newline; text is copied.
func (s *Sorter) Add(k Key, text []byte) error { return s.add(k, conditions{}, text) }

func (s *Sorter) add(k Key, ifs conditions, text []byte) error {
	if s.used > 0 && s.used+len(text)+entryBytes > s.maxBytes {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.used += len(text) + entryBytes
	s.lines = append(s.lines, line{k, ifs, s.store(text)})
	return nil
}

// store copies text into a block and returns the copy.
func (s *Sorter) store(text []byte) []byte {
	last := len(s.blocks) - 1
	if last < 0 || cap(s.blocks[last])-len(s.blocks[last]) < len(text) {
		s.blocks = append(s.blocks, s.block(len(text)))
		last++
	}
	b := s.blocks[last]
	at := len(b)
	b = append(b, text...)
	s.blocks[last] = b
	return b[at:len(b):len(b)]
}

func (s *Sorter) block(need int) []byte {
	if need > blockBytes {
		return make([]byte, 0, need)
	}
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return make([]byte, 0, blockBytes)
}

func (s *Sorter) sort() {
	slices.SortFunc(s.lines, func(a, b line) int { return a.compare(&b) })
}

// spill writes what is in memory as a run.
func (s *Sorter) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "keepscope-*.sort")
		if err != nil {
			return fmt.Errorf("sort output lines: %w", err)
		}
		// Where the system allows it, the file has no name any more, so that
		// nothing stays behind whatever ends the program.
		_ = os.Remove(f.Name())
		s.file = f
	}
	s.sort()
	w := bufio.NewWriterSize(s.file, 64<<10)
	var header [headerBytes]byte
	for i := range s.lines {
		l := &s.lines[i]
		putHeader(&header, l)
		// bufio keeps the first error until Flush.
		_, _ = w.Write(header[:])
		_, _ = w.Write(l.text)
		s.size += int64(headerBytes + len(l.text))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort output lines: %w", err)
	}
	s.runs = append(s.runs, s.size)
	s.empty()
	return nil
}

// empty forgets the lines and keeps the memory of blocks of the usual size.
func (s *Sorter) empty() {
	for _, b := range s.blocks {
		if cap(b) == blockBytes {
			s.free = append(s.free, b[:0])
		}
	}
	s.blocks, s.lines, s.used = s.blocks[:0], s.lines[:0], 0
}

func putHeader(h *[headerBytes]byte, l *line) {
	binary.BigEndian.PutUint64(h[0:], uint64(l.key.Start))
	copy(h[8:24], l.key.Client.Addr[:])
	binary.BigEndian.PutUint16(h[24:], l.key.Client.Port)
	binary.BigEndian.PutUint32(h[26:], l.key.Seq)
	l.ifs.put(h[30:48])
	binary.BigEndian.PutUint32(h[48:], uint32(len(l.text)))
}

// Close gives up the temporary file.
func (s *Sorter) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	_ = os.Remove(s.file.Name()) // already gone where spill could remove it
	s.file = nil
	return err
}

// A run is a source of lines in order. line is its next one.
type run struct {
	line
	lines []line        // those in memory, or
	r     *bufio.Reader // those in a file
}

// next moves to the next line, and returns io.EOF after the last.
func (r *run) next() error {
	if r.r == nil {
		if len(r.lines) == 0 {
			return io.EOF
		}
		r.line, r.lines = r.lines[0], r.lines[1:]
		return nil
	}
	var h [headerBytes]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return err
	}
	r.key.Start = int64(binary.BigEndian.Uint64(h[0:]))
	copy(r.key.Client.Addr[:], h[8:24])
	r.key.Client.Port = binary.BigEndian.Uint16(h[24:])
	r.key.Seq = binary.BigEndian.Uint32(h[26:])
	r.ifs.get(h[30:48])
	n := int(binary.BigEndian.Uint32(h[48:]))
	r.text = slices.Grow(r.text[:0], n)[:n]
	if _, err := io.ReadFull(r.r, r.text); err != nil {
		return io.ErrUnexpectedEOF // the header promised a line
	}
	return nil
}

// runs is a heap whose top is the run with the lowest line.
type runs []*run

func (h runs) Len() int           { return len(h) }
func (h runs) Less(i, j int) bool { return h[i].compare(&h[j].line) < 0 }
func (h runs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *runs) Push(r any) { *h = append(*h, r.(*run)) }

// Pop implements heap.Interface.
func (h *runs) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	*h = (*h)[:last]
	return r
}

// WriteSorted writes the lines of all sorters in order, of those that differ by an
// answer the one that fits. They stay usable for Close only.
func WriteSorted(w io.Writer, answers Answers, sorters ...*Sorter) error {
	out := bufio.NewWriterSize(w, 64<<10)
	err := EachSorted(func(line []byte) error {
		_, err := out.Write(line)
		return err
	}, answers, sorters...)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write sorted lines: %w", err)
	}
	return nil
}

// EachSorted calls f with the lines that WriteSorted writes, each valid during the
// call, until it returns an error.
func EachSorted(f func(line []byte) error, answers Answers, sorters ...*Sorter) error {
	var all []*run
	for _, s := range sorters {
		if s.err != nil {
			return s.err
		}
		s.sort()
		all = append(all, &run{lines: s.lines})
		var from int64
		size := max(4<<10, min(64<<10, s.maxBytes/(len(s.runs)+1)))
		for _, to := range s.runs {
			all = append(all, &run{r: bufio.NewReaderSize(io.NewSectionReader(s.file, from, to-from), size)})
			from = to
		}
	}
	return mergeRuns(f, answers, all)
}

func mergeRuns(f func([]byte) error, answers Answers, all []*run) error {
	var left runs
	for _, r := range all {
		if err := r.next(); err == nil {
			left = append(left, r)
		} else if !errors.Is(err, io.EOF) {
			return err
		}
	}
	heap.Init(&left)
	for len(left) > 0 {
		if left[0].ifs.hold(answers) {
			if err := f(left[0].text); err != nil {
				return err
			}
		}
		switch err := left[0].next(); {
		case err == nil:
			heap.Fix(&left, 0)
		case errors.Is(err, io.EOF):
			heap.Pop(&left)
		default:
			return err
		}
	}
	return nil
}
