package recordlog

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events"
)

// The bounds of a Log.
const (
	// MaxQueued is how many records wait for who writes them.
	MaxQueued  = 8192
	maxKeptBuf = 4 << 10 // bytes of a buffer that is used again
)

// IdleTimes is how many idle times a record has room for.
const IdleTimes = 64

// A Log has records of connections wait for who writes them. It never keeps a worker
// waiting: what has no room is dropped and counted.
type Log struct {
	Folder string // that it writes in; empty for none

	appendTo         func(b []byte, c *fact.Connection) []byte // makes a record
	say              *slog.Logger
	words            Words
	queue            chan []byte
	free             chan []byte
	again            chan struct{} // asks to open anew
	done             chan struct{} // closed once all are written
	written, dropped atomic.Uint64

	failing bool // for the goroutine that writes
}

// Words are what a log says where it can't write records, and where it can again.
type Words struct{ Fails, Again string }

// A Writer writes the records of a log. Its methods are called by one goroutine.
type Writer interface {
	Write(record []byte) // which is valid during the call
	Reopen()             // somebody has renamed the file, say
	Tick()               // now and then
	Close()              // after the last record
}

// New makes a log of what appendTo appends for a connection. Start starts it.
func New(appendTo func([]byte, *fact.Connection) []byte, words Words, say *slog.Logger) *Log {
	return &Log{
		appendTo: appendTo, words: words, say: say,
		queue: make(chan []byte, MaxQueued), free: make(chan []byte, MaxQueued),
		again: make(chan struct{}, 1), done: make(chan struct{}),
	}
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
		for open := true; open; {
			var b []byte
			select {
			case b, open = <-l.queue:
				if open {
					w.Write(b)
					l.recycle(b)
				}
			case <-l.again:
				w.Reopen()
			case <-tick:
				w.Tick()
			}
		}
		w.Close()
	}()
}

// Observer returns what hears one worker's connections.
func (l *Log) Observer() fact.Observer { return observer{l} }

// An observer makes records of a worker's connections.
type observer struct{ *Log }

// Connection implements fact.Observer.
func (o observer) Connection(c *fact.Connection) {
	if len(o.queue) == cap(o.queue) { // saves making a record that has no room
		o.dropped.Add(1)
		return
	}
	var b []byte
	select {
	case b = <-o.free:
	default:
		b = make([]byte, 0, 1<<10)
	}
	b = o.appendTo(b[:0], c)
	select {
	case o.queue <- b:
	default:
		o.dropped.Add(1)
	}
}

// recycle has a record's memory used again.
func (l *Log) recycle(b []byte) {
	if cap(b) > maxKeptBuf {
		return
	}
	select {
	case l.free <- b:
	default:
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
	close(l.queue)
	select {
	case <-l.done:
	case <-ctx.Done():
		l.say.Warn("connection log: the last lines were not taken in time", "lines", len(l.queue))
	}
}
