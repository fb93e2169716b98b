package main

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/events"
)

// The bounds of a recordQueue.
const (
	maxQueued  = 8192    // records that wait for the disk
	maxKeptBuf = 4 << 10 // bytes of a buffer that is used again
)

// A recordQueue has records of connections wait for who writes them. It never keeps
// a worker waiting: what has no room is dropped and counted.
type recordQueue struct {
	appendTo         func(b []byte, c *fact.Connection) []byte // makes a record
	log              *slog.Logger
	queue            chan []byte
	free             chan []byte
	done             chan struct{} // closed once all are written
	written, dropped atomic.Uint64
}

func newRecordQueue(appendTo func([]byte, *fact.Connection) []byte, log *slog.Logger) recordQueue {
	return recordQueue{
		appendTo: appendTo, log: log,
		queue: make(chan []byte, maxQueued), free: make(chan []byte, maxQueued), done: make(chan struct{}),
	}
}

// appendConnectionLine makes a line of NDJSON.
func appendConnectionLine(b []byte, c *fact.Connection) []byte {
	return append(events.AppendConnection(b, c), '\n')
}

// observer returns what hears one worker's connections.
func (q *recordQueue) observer() fact.Observer { return queueObserver{q} }

// A queueObserver makes records of a worker's connections.
type queueObserver struct{ *recordQueue }

// Exchange implements fact.Observer.
func (queueObserver) Exchange(*fact.Exchange) {}

// Connection implements fact.Observer.
func (q queueObserver) Connection(c *fact.Connection) {
	if len(q.queue) == cap(q.queue) { // saves making a record that has no room
		q.dropped.Add(1)
		return
	}
	var b []byte
	select {
	case b = <-q.free:
	default:
		b = make([]byte, 0, 1<<10)
	}
	b = q.appendTo(b[:0], c)
	select {
	case q.queue <- b:
	default:
		q.dropped.Add(1)
	}
}

// recycle has a record's memory used again.
func (q *recordQueue) recycle(b []byte) {
	if b == nil || cap(b) > maxKeptBuf {
		return
	}
	select {
	case q.free <- b:
	default:
	}
}

// counts returns how many records were written, and how many dropped.
func (q *recordQueue) counts() (written, dropped uint64) { return q.written.Load(), q.dropped.Load() }

// close writes the last records. No worker may run any more. A disk that does not
// take them before ctx is done loses them.
func (q *recordQueue) close(ctx context.Context) {
	close(q.queue)
	select {
	case <-q.done:
	case <-ctx.Done():
		q.log.Warn("connection log: the last lines were not taken in time", "lines", len(q.queue))
	}
}
