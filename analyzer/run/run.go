package run

import (
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/tls"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// sweepEvery is how often, in packet time, every worker collects what is past
// its deadline. The sweep has its place in the order of packets, so that it
// finds the same connections for any number of workers and any batch size.
const sweepEvery = int64(time.Second)

// setBack is how far before the next sweep a time lies only where a clock was set back:
// packets come out of order by less.
const setBack = 4 * sweepEvery

// yieldEvery is how many batches a goroutine that does all takes on end. After
// 10 ms the runtime's monitor would interrupt it, and then look after it every
// 20 microseconds for the next millisecond.
const yieldEvery = 64

// sweep is the Protocol of a segment that stands for the time reaching
// Segment.Time; it goes to a Worker and no further.
const sweep = sniffer.Protocol(255)

// A Worker owns everything of its share of the connections.
type Worker struct {
	Assembler *reassembly.Assembler
	Analyzer  *analyzer.Analyzer

	keys  *keylog.Store // nil: none
	batch sync.Mutex    // held while a batch is processed
}

// Do calls f between two batches: f may read what the worker's packages hold.
// The worker waits meanwhile, so f should copy and return.
func (w *Worker) Do(f func()) {
	w.batch.Lock()
	defer w.batch.Unlock()
	f()
}

// NewWorker returns a worker that tells each of obs what it finds.
func NewWorker(rc reassembly.Config, ac analyzer.Config, obs ...fact.Observer) *Worker {
	w := &Worker{Analyzer: analyzer.New(ac, obs...), keys: ac.Keys}
	w.Assembler = reassembly.New(rc, w.Analyzer)
	w.Analyzer.Frames(w.Assembler)
	return w
}

// sweep lets time pass, up to that of a packet.
func (w *Worker) sweep(now int64) {
	w.Assembler.Sweep(now)
	w.Analyzer.Sweep(now)
}

// Flush ends the connections that are still open. Another capture may follow.
func (w *Worker) Flush() {
	w.Assembler.Flush()
	w.Analyzer.Flush()
}

// Process takes segments, and the sweeps among them, in their order.
func (w *Worker) Process(segments ...sniffer.Segment) {
	for len(segments) > 0 {
		n := 0
		for n < len(segments) && segments[n].Protocol == sniffer.TCP {
			n++
		}
		w.Assembler.ProcessAll(segments[:n])
		if n == len(segments) {
			return
		}
		switch s := &segments[n]; s.Protocol {
		case sweep:
			w.sweep(s.Time)
		case sniffer.DNS:
			w.Analyzer.Datagram(s)
		default: // TCP's were taken above
		}
		segments = segments[n+1:]
	}
}

// Progress is what a Run has read so far. Its fields may be read at any time.
type Progress struct {
	Packets, Bytes atomic.Uint64
	First, Last    atomic.Int64 // times of the earliest and of the latest packet, 0 before there is one
	// Mended counts packets whose times were far off and were taken for those of the
	// packets before them.
	Mended atomic.Uint64
}

// A Reader takes a source's frames to the workers. Source, Decoder and Workers
// must be set.
type Reader struct {
	Source  sniffer.Source
	Decoder *sniffer.Decoder
	Workers []*Worker
	Ports   []uint16 // analyse only segments from or to one of these; empty: all
	// Of Shards parts into which the pairs of addresses fall only number Shard, from 0,
	// is analysed; 0 Shards: all are.
	Shard, Shards int
	Progress      Progress

	clock   reassembly.Clock
	next    int64               // time of the next sweep
	decoded [64]sniffer.Segment // not processed yet, see frames
}

// Run reads the source to its end, or until ctx is done, and gives each
// segment to the worker that its two addresses name. It returns when every
// worker has finished what was read, with the source's error, if any. The
// workers still hold the connections that are open: Flush ends those.
func (r *Reader) Run(ctx context.Context) error {
	if len(r.Workers) == 1 {
		return r.inline(ctx)
	}
	return r.parallel(ctx)
}

// Flush ends the connections that are still open, as the end of the capture
// does.
func (r *Reader) Flush() {
	for _, w := range r.Workers {
		w.Do(func() {
			w.sweep(r.clock.Now())
			w.Flush()
		})
	}
}

// wanted says whether a decoded segment is of one of the ports, or may name who
// is.
func (r *Reader) wanted(s *sniffer.Segment) bool {
	return s.Protocol == sniffer.DNS ||
		slices.Contains(r.Ports, s.Src.Port) || slices.Contains(r.Ports, s.Dst.Port)
}

// mine says whether a segment is of the Reader's shard: all that is of two addresses
// is in one, and names are in every one. The worker is chosen by other bits.
func (r *Reader) mine(s *sniffer.Segment) bool {
	return s.Protocol == sniffer.DNS || s.Hash()>>32%uint64(r.Shards) == uint64(r.Shard)
}

// decode decodes a frame and says whether what it holds is to be analysed.
func (r *Reader) decode(f *sniffer.Frame, s *sniffer.Segment) bool {
	return r.Decoder.Decode(f, s) && (len(r.Ports) == 0 || r.wanted(s)) && (r.Shards == 0 || r.mine(s))
}

// read fills b and counts; done says that there is no more.
func (r *Reader) read(ctx context.Context, b *sniffer.Batch) (done bool, err error) {
	if ctx.Err() != nil {
		return true, nil
	}
	err = r.Source.Read(b)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return true, err
	}
	r.clock.Mend(b.Frames)
	p := &r.Progress
	p.Mended.Store(r.clock.Mended)
	var bytes uint64
	first, last := p.First.Load(), p.Last.Load()
	if first == 0 && len(b.Frames) > 0 {
		first = b.Frames[0].Time
	}
	for i := range b.Frames {
		f := &b.Frames[i]
		bytes += uint64(f.Length)
		if f.Time > last { // nearly always, and so never first
			last = f.Time
		} else if f.Time < first {
			first = f.Time
		}
	}
	p.Packets.Add(uint64(len(b.Frames)))
	p.Bytes.Add(bytes)
	p.First.Store(first)
	p.Last.Store(last)
	return false, nil
}

// due says whether a sweep belongs before a segment of time t: each second, and where
// the clock was set back.
func (r *Reader) due(t int64) bool {
	if t < r.next && r.next-t < setBack {
		return false
	}
	r.next = t + sweepEvery
	return true
}

// inline decodes and processes in one goroutine.
func (r *Reader) inline(ctx context.Context) error {
	var b sniffer.Batch
	w := r.Workers[0]
	for i := 1; ; i++ {
		if i%yieldEvery == 0 {
			runtime.Gosched()
		}
		done, err := r.read(ctx, &b)
		if done {
			return err
		}
		w.Do(func() {
			r.frames(w, b.Frames)
			if b.Now != 0 && r.due(b.Now) {
				w.sweep(b.Now)
			}
		})
	}
}

// frames gives the worker what the frames hold. Decoding some and processing them
// by turns keeps the code of both in the processor's cache.
func (r *Reader) frames(w *Worker, frames []sniffer.Frame) {
	n := 0
	for i := range frames {
		f := &frames[i]
		if r.due(f.Time) {
			w.Process(r.decoded[:n]...)
			n = 0
			w.sweep(f.Time)
		}
		if r.decode(f, &r.decoded[n]) {
			n++
		}
		if n == len(r.decoded) {
			w.Process(r.decoded[:]...)
			n = 0
		}
	}
	w.Process(r.decoded[:n]...)
}

// A load is a batch and what each worker has to do of it.
type load struct {
	batch sniffer.Batch
	share [][]sniffer.Segment
	left  atomic.Int32 // workers that have not finished

	most   int        // the worker that has most of it, see ahead; -1: none
	opened tls.Opened // records of its share
}

// process has worker i do its share.
func (l *load) process(i int, w *Worker) {
	if i != l.most {
		w.Process(l.share[i]...)
		return
	}
	w.Analyzer.Ahead(&l.opened)
	w.Process(l.share[i]...)
	w.Analyzer.Ahead(nil)
	l.opened.Wipe()
}

// parallel decodes in this goroutine, which with keys also opens records of TLS ahead, and
// processes in one for each worker.
func (r *Reader) parallel(ctx context.Context) error {
	n := len(r.Workers)
	free := make(chan *load, n+3)
	for range cap(free) {
		free <- &load{share: make([][]sniffer.Segment, n), most: -1}
	}
	queues := make([]chan *load, n)
	var wg sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan *load, cap(free))
		wg.Go(func() {
			for l := range queues[i] {
				w := r.Workers[i]
				w.Do(func() {
					l.process(i, w)
				})
				if l.left.Add(-1) == 0 {
					free <- l
				}
			}
		})
	}
	defer wg.Wait()
	defer func() {
		for _, q := range queues {
			close(q)
		}
	}()
	var a *ahead
	if keys := r.Workers[0].keys; keys != nil {
		a = newAhead(keys)
		defer a.end(math.MaxInt64)
	}
	for l := range free {
		done, err := r.read(ctx, &l.batch)
		if done {
			return err
		}
		r.deal(l)
		if a != nil {
			a.open(l, queues)
		}
		l.left.Store(int32(n))
		for _, q := range queues {
			q <- l
		}
	}
	return nil
}

// deal decodes the batch and gives each worker its share.
func (r *Reader) deal(l *load) {
	for i := range l.share {
		l.share[i] = l.share[i][:0]
	}
	all := func(s sniffer.Segment) {
		for i := range l.share {
			l.share[i] = append(l.share[i], s)
		}
	}
	var s sniffer.Segment
	for i := range l.batch.Frames {
		f := &l.batch.Frames[i]
		if r.due(f.Time) {
			all(sniffer.Segment{Protocol: sweep, Time: f.Time})
		}
		if !r.decode(f, &s) {
			continue
		}
		if s.Protocol == sniffer.DNS {
			all(s)
			continue
		}
		w := s.Hash() % uint64(len(l.share))
		l.share[w] = append(l.share[w], s)
	}
	if now := l.batch.Now; now != 0 && r.due(now) {
		all(sniffer.Segment{Protocol: sweep, Time: now})
	}
}

// Limits returns the caps that a worker's packages have, each with how often it was
// met. It is called as Do calls its function, or when the worker has finished.
func (w *Worker) Limits() fact.Limits {
	s := w.Assembler.Stats()
	return append(fact.Limits{
		{Name: "connections", Count: s.Evicted, Means: "a connection was given up for a newer one"},
		{Name: "out_of_order_bytes", Count: s.HolesGivenUp, Means: "bytes that may have been late were taken for lost"},
	}, w.Analyzer.Limits()...)
}
