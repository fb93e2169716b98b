package capfile

import (
	"errors"
	"io"
	"math"

	"github.com/keepscope/keepscope/sniffer"
)

// mergeBuffers is what the buffers of merged files share.
const mergeBuffers = 1 << 20

// A Merged is several files as one timeline. It implements sniffer.Source; its
// methods are for one goroutine, except Bytes, which any may call.
type Merged struct {
	files   []*File
	inputs  []*input  // of the files not yet at their end: a heap, see before
	numbers []*number // by value
	byKey   map[interfaceKey][]*number
	begun   bool
	failed  error // what the files that failed returned
}

// An input is a file and the batch that waits to be merged.
type input struct {
	file    *File
	index   int // in the order of the arguments
	batch   sniffer.Batch
	next    int       // first frame of batch not yet delivered
	numbers []*number // by the file's own interface numbers
}

// A number is an interface of the merged timeline.
type number struct {
	value uint32
	user  *input // nil once the file that uses it has ended
	parts []part // in order of time, at least one
}

// A part is an interface of one file.
type part struct {
	file *File
	own  uint32
}

// Merge joins files into one timeline: the next frame is always the earliest
// of those that the files have next, of equal ones that of the file named
// first. A file's own order is kept, also where its time goes back; a frame then
// counts as early as the one behind it, so that one stamped far ahead does not
// hold up the rest of its file.
//
// Interfaces of different files have different numbers. Only where a file has
// ended before another delivers its first frame, an interface of the same
// place, name and link type goes on under its number: those are the parts of a
// rotated capture, and connections go on in the next part.
//
// Frames are copied, except a whole batch that is earlier than all else; one
// file alone is read as if it were not merged. A file that fails ends there;
// the error is returned when the other files have ended.
func Merge(files ...*File) *Merged {
	m := &Merged{files: files, byKey: make(map[interfaceKey][]*number)}
	if len(files) > 1 {
		for _, f := range files {
			f.size = min(max(mergeBuffers/len(files)&^4095, minBuffer), bufferSize)
		}
	}
	return m
}

// Interfaces returns the interfaces that have delivered a frame so far, a copy.
// Frame.Interface is an index into it. One that goes on in another file is as
// the first file describes it, with the drops of all.
func (m *Merged) Interfaces() []Interface {
	if len(m.files) == 1 {
		return m.files[0].Interfaces()
	}
	list := make([]Interface, len(m.numbers))
	for i, n := range m.numbers {
		list[i] = n.parts[0].file.interfaces[n.parts[0].own]
		for _, p := range n.parts[1:] {
			list[i].InterfaceDrops += p.file.interfaces[p.own].InterfaceDrops
			list[i].SystemDrops += p.file.interfaces[p.own].SystemDrops
		}
	}
	return list
}

// Bytes is File.Bytes summed; total is 0 if that of any file is not known.
func (m *Merged) Bytes() (read, total int64) {
	known := true
	for _, f := range m.files {
		r, t := f.Bytes()
		read, total = read+r, total+t
		known = known && t > 0
	}
	if !known {
		total = 0
	}
	return read, total
}

// Drops is File.Drops summed.
func (m *Merged) Drops() (byInterface, bySystem uint64) {
	for _, f := range m.files {
		i, s := f.Drops()
		byInterface, bySystem = byInterface+i, bySystem+s
	}
	return byInterface, bySystem
}

// Warning joins the warnings of the files, nil if there are none.
func (m *Merged) Warning() error {
	var warnings []error
	for _, f := range m.files {
		warnings = append(warnings, f.Warning())
	}
	return errors.Join(warnings...)
}

// Close closes every file.
func (m *Merged) Close() error {
	var failed []error
	for _, f := range m.files {
		failed = append(failed, f.Close())
	}
	return errors.Join(failed...)
}

// Read implements sniffer.Source.
func (m *Merged) Read(b *sniffer.Batch) error {
	if len(m.files) == 1 {
		return m.files[0].Read(b)
	}
	if cap(b.Frames) < sniffer.BatchFrames {
		b.Frames = make([]sniffer.Frame, 0, sniffer.BatchFrames)
	}
	b.Frames = b.Frames[:0]
	m.begin()
	if len(m.inputs) == 0 {
		if m.failed != nil {
			return m.failed
		}
		return io.EOF
	}
	if in := m.inputs[0]; m.whole(in) {
		in.batch.Frames, b.Frames = b.Frames, in.batch.Frames
		in.batch.Buffer, b.Buffer = b.Buffer, in.batch.Buffer
		for i := range b.Frames {
			m.renumber(in, &b.Frames[i])
		}
		m.advance(in)
		return nil
	}
	m.copyFrames(b)
	return nil
}

// begin reads the first batch of every file.
func (m *Merged) begin() {
	if m.begun {
		return
	}
	m.begun = true
	for i, f := range m.files {
		in := &input{file: f, index: i}
		if m.refill(in) {
			m.inputs = append(m.inputs, in)
		}
	}
	for i := len(m.inputs)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
}

// refill reads the next batch of in, and reports whether there was one.
func (m *Merged) refill(in *input) bool {
	in.next = 0
	err := in.file.Read(&in.batch)
	if err == nil {
		return true
	}
	if !errors.Is(err, io.EOF) {
		m.failed = errors.Join(m.failed, err)
	}
	for _, n := range in.numbers {
		if n != nil {
			n.user = nil
		}
	}
	in.batch = sniffer.Batch{}
	return false
}

// whole says whether the batch of in, the earliest input, can be delivered as
// it is: untouched, and no frame of it after what another input has next.
func (m *Merged) whole(in *input) bool {
	if in.next > 0 {
		return false
	}
	bound, tie := m.bound(in)
	for i := range in.batch.Frames {
		if at := in.time(i); at > bound || at == bound && !tie {
			return false
		}
	}
	return true
}

// bound returns the time up to which the earliest input goes before all
// others, and whether a frame at just that time does too.
func (m *Merged) bound(first *input) (at int64, tie bool) {
	at, tie = math.MaxInt64, true
	for i := 1; i < min(3, len(m.inputs)); i++ { // the second is a child of the first
		other := m.inputs[i]
		if t := other.time(other.next); t < at {
			at, tie = t, first.index < other.index
		} else if t == at {
			tie = tie && first.index < other.index
		}
	}
	return at, tie
}

// copyFrames fills b from the inputs in turn.
func (m *Merged) copyFrames(b *sniffer.Batch) {
	grow(b, bufferSize, 0)
	used := 0
	for len(b.Frames) < sniffer.BatchFrames && len(m.inputs) > 0 {
		in := m.inputs[0]
		from := &in.batch.Frames[in.next]
		end := used + len(from.Data)
		if end > len(b.Buffer) {
			if used > 0 {
				return
			}
			grow(b, end, 0)
		}
		copy(b.Buffer[used:], from.Data)
		b.Frames = b.Frames[:len(b.Frames)+1]
		to := &b.Frames[len(b.Frames)-1]
		*to = *from
		to.Data = b.Buffer[used:end:end]
		m.renumber(in, to)
		used = end
		if in.next++; in.next < len(in.batch.Frames) {
			m.down(0)
		} else {
			m.advance(in)
		}
	}
}

// advance replaces the batch of in, the earliest input, which is done with.
func (m *Merged) advance(in *input) {
	if !m.refill(in) {
		last := len(m.inputs) - 1
		m.inputs[0] = m.inputs[last]
		m.inputs[last] = nil
		m.inputs = m.inputs[:last]
	}
	m.down(0)
}

// time returns the time by which the i-th frame of the batch is sorted: its own,
// or that of the next where that is earlier.
func (in *input) time(i int) int64 {
	frames := in.batch.Frames
	if i+1 < len(frames) {
		return min(frames[i].Time, frames[i+1].Time)
	}
	return frames[i].Time
}

func before(a, b *input) bool {
	if at, bt := a.time(a.next), b.time(b.next); at != bt {
		return at < bt
	}
	return a.index < b.index
}

// down restores the heap below i.
func (m *Merged) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.inputs) {
			return
		}
		if other := child + 1; other < len(m.inputs) && before(m.inputs[other], m.inputs[child]) {
			child = other
		}
		if !before(m.inputs[child], m.inputs[i]) {
			return
		}
		m.inputs[i], m.inputs[child] = m.inputs[child], m.inputs[i]
		i = child
	}
}

// renumber gives frame the number that its interface has in the timeline.
func (m *Merged) renumber(in *input, frame *sniffer.Frame) {
	own := frame.Interface
	if int(own) < len(in.numbers) && in.numbers[own] != nil {
		frame.Interface = in.numbers[own].value
		return
	}
	for len(in.numbers) <= int(own) {
		in.numbers = append(in.numbers, nil)
	}
	n := m.number(in, own)
	in.numbers[own] = n
	frame.Interface = n.value
}

func (m *Merged) number(in *input, own uint32) *number {
	iface := &in.file.interfaces[own]
	key := interfaceKey{own, iface.Link, iface.Name}
	for _, n := range m.byKey[key] {
		if n.user == nil {
			n.user = in
			n.parts = append(n.parts, part{in.file, own})
			return n
		}
	}
	n := &number{value: uint32(len(m.numbers)), user: in, parts: []part{{in.file, own}}}
	m.byKey[key] = append(m.byKey[key], n)
	m.numbers = append(m.numbers, n)
	return n
}
