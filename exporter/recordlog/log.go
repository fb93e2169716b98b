package recordlog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events"
)

// The bounds of a Log.
const (
	// MaxQueued is how many records wait, or are being written.
	MaxQueued = 8192
	maxBatch  = 512 << 10 // bytes of records that wait for no others
	maxKept   = 2 << 20   // bytes of a buffer that is used again

	// batchAfter is how long a record of a file waits for others.
	batchAfter = 100 * time.Millisecond
)

// IdleTimes is how many idle times a record has room for.
const IdleTimes = 64

// A Log has records of connections wait for who writes them: to wake somebody for each
// would cost more than the record. It never keeps a worker waiting: what has no room is
// dropped and counted.
type Log struct {
	Folder string // that it writes in; empty for none

	appendTo         func(b []byte, c *fact.Connection) []byte // makes a record
	say              *slog.Logger
	words            Words
	after            time.Duration // how long a record waits for others
	due              *time.Timer   // when the batch is to be written
	again            chan struct{} // asks to open anew
	ended            chan struct{} // closed once no record will come
	done             chan struct{} // closed once all are written
	waiting          atomic.Int64  // records that are not written yet
	written, dropped atomic.Uint64

	mu    sync.Mutex
	batch Batch

	failing bool // for the goroutine that writes
}

// A Batch is records, the oldest first.
type Batch struct {
	bytes []byte
	ends  []int // of each record
}

// Len returns how many there are.
func (b *Batch) Len() int { return len(b.ends) }

// Bytes returns those from one to before another, one after the other.
func (b *Batch) Bytes(from, to int) []byte {
	if from == to {
		return nil
	}
	begin := 0
	if from > 0 {
		begin = b.ends[from-1]
	}
	return b.bytes[begin:b.ends[to-1]]
}

// Add copies a record to the end.
func (b *Batch) Add(record []byte) {
	b.bytes = append(b.bytes, record...)
	b.ends = append(b.ends, len(b.bytes))
}

// reset leaves no record, and room for as many where that is not too much.
func (b *Batch) reset() {
	if cap(b.bytes) > maxKept {
		b.bytes = nil
	}
	b.bytes, b.ends = b.bytes[:0], b.ends[:0]
}

// Words are what a log says where it can't write records, and where it can again.
type Words struct{ Fails, Again string }

// A Writer writes the records of a log. Its methods are called by one goroutine.
type Writer interface {
	Write(records *Batch) // which is valid during the call
	Reopen()              // somebody has renamed the file, say
	Tick()                // now and then
	Close()               // after the last record
}

// New makes a log of what appendTo appends for a connection, which waits for others as
// long as after says. Start starts it.
func New(appendTo func([]byte, *fact.Connection) []byte, after time.Duration, words Words, say *slog.Logger) *Log {
	l := &Log{
		appendTo: appendTo, after: after, words: words, say: say, due: time.NewTimer(after),
		again: make(chan struct{}, 1), ended: make(chan struct{}), done: make(chan struct{}),
	}
	l.due.Stop() // nothing waits
	return l
}

// AppendLine makes a record that is a line of NDJSON.
func AppendLine(b []byte, c *fact.Connection) []byte {
	return append(events.AppendConnection(b, c), '\n')
}

// Start has w write the records until the log is closed, and ticks for it where
// every is not 0.
func (l *Log) Start(w Writer, every time.Duration) {
	var tick <-chan time.Time
	if every > 0 {
		tick = time.Tick(every)
	}
	go func() {
		defer close(l.done)
		var b Batch
		for open := true; open; {
			select {
			case <-l.due.C:
				l.handOn(w, &b)
			case <-l.again:
				l.handOn(w, &b)
				w.Reopen()
			case <-tick:
				w.Tick()
			case <-l.ended:
				l.handOn(w, &b)
				open = false
			}
		}
		w.Close()
	}()
}

// handOn has w write the batch, in whose place is b from now on.
func (l *Log) handOn(w Writer, b *Batch) {
	l.mu.Lock()
	l.batch, *b = *b, l.batch
	l.mu.Unlock()
	if n := b.Len(); n > 0 {
		w.Write(b)
		l.waiting.Add(-int64(n))
	}
	b.reset()
}

// Observer returns what hears one worker's connections.
func (l *Log) Observer() fact.Observer { return &observer{log: l} }

// An observer makes records of a worker's connections.
type observer struct {
	log    *Log
	record []byte
}

// Connection implements fact.Observer. The record is made before the batch is locked:
// no worker waits while another makes one.
func (o *observer) Connection(c *fact.Connection) {
	l := o.log
	if l.waiting.Load() >= MaxQueued { // saves making a record that has no room
		l.dropped.Add(1)
		return
	}
	o.record = l.appendTo(o.record[:0], c)
	l.waiting.Add(1)
	l.mu.Lock()
	before := len(l.batch.bytes)
	l.batch.Add(o.record)
	after := len(l.batch.bytes)
	l.mu.Unlock()
	switch {
	case after >= maxBatch && before < maxBatch:
		l.due.Reset(0)
	case before == 0:
		l.due.Reset(l.after)
	}
}

// Reopen asks to open the file anew, as who has renamed it wants it, or to complete
// it where each has a name of its own.
func (l *Log) Reopen() {
	select {
	case l.again <- struct{}{}:
	default: // it was asked already
	}
}

// Counts returns how many records were written, and how many dropped.
func (l *Log) Counts() (written, dropped uint64) { return l.written.Load(), l.dropped.Load() }

// Wrote counts records as written, and as dropped where err says why. The log tells
// the first error of several, and when there is none any more. It is for who writes.
func (l *Log) Wrote(written, dropped uint64, err error) {
	l.written.Add(written)
	l.dropped.Add(dropped)
	switch {
	case err != nil && !l.failing:
		l.say.Warn(l.words.Fails, "error", err)
	case err == nil && l.failing:
		l.say.Info(l.words.Again, "dropped", l.dropped.Load())
	}
	l.failing = err != nil
}

// Close writes the last records. No worker may run any more. A disk that does not
// take them before ctx is done loses them.
func (l *Log) Close(ctx context.Context) {
	close(l.ended)
	select {
	case <-l.done:
	case <-ctx.Done():
		l.say.Warn("connection log: the last lines were not taken in time", "lines", l.waiting.Load())
	}
}
