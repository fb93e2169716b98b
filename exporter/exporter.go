package exporter

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// A Config sets up an Exporter; its zero value works.
type Config struct {
	// Local says whether an address is one of the host's own; it is called for
	// every exchange, from every worker. Without it no address is.
	Local func(sniffer.Addr) bool
	// ServerName stands for the local address and port of inbound connections.
	ServerName string
	// MaxServers bounds the values of the server label, over all directions
	// (default 200).
	MaxServers int
	// ByNetwork adds LabelClient: the /24 or /64 network of the client.
	ByNetwork bool
	// NoClassic leaves classic buckets out, NoNative native ones.
	NoClassic, NoNative bool
	// Stages tells what the stages before the workers counted.
	Stages func() Stages
	// Also is gathered beside the metrics of this package. Its names must be
	// others.
	Also prometheus.Gatherer

	Version, Commit, GoVersion string
	Start                      time.Time // since when Stages counts, zero if it is of no interest
	ReuseWindow                time.Duration
	// MaxAge is how long the metrics may be given to further scrapers
	// (default 100 ms, negative for not at all).
	MaxAge time.Duration
}

// Stages is what was counted before and beside the workers.
type Stages struct {
	Interfaces           []InterfaceStats
	LastPacket           int64 // Unix nanoseconds, 0 if there was none
	Decode               sniffer.DecodeErrors
	LogLines, LogDropped uint64
}

// InterfaceStats counts what one interface gave, and what was lost.
type InterfaceStats struct {
	Name                              string
	Packets, Bytes                    uint64
	DroppedKernel, DroppedByInterface uint64
}

// An Exporter makes metrics of what its Recorders count. It is a
// prometheus.Gatherer, safe for concurrent use.
type Exporter struct {
	cfg     Config
	servers *servers

	mu       sync.Mutex // held while gathering: scrapes at once share one result
	sources  []source
	sum      map[key]*total
	gathered []*dto.MetricFamily
	at       time.Time
}

// A source is a worker and its Recorder.
type source struct {
	recorder *Recorder
	worker   *run.Worker
}

// do runs f while the worker stands still.
func (s source) do(f func()) {
	if s.worker == nil {
		f()
		return
	}
	s.worker.Do(f)
}

// New returns an Exporter.
func New(cfg Config) *Exporter {
	if cfg.MaxServers <= 0 {
		cfg.MaxServers = 200
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 100 * time.Millisecond
	}
	if cfg.Local == nil {
		cfg.Local = func(sniffer.Addr) bool { return false }
	}
	return &Exporter{
		cfg:     cfg,
		servers: newServers(cfg.ServerName, cfg.MaxServers, cfg.ByNetwork),
		sum:     map[key]*total{},
	}
}

// NewRecorder returns the Recorder for one worker. It is part of what is
// gathered from Attach on.
func (e *Exporter) NewRecorder() *Recorder {
	return &Recorder{
		servers: e.servers, local: e.cfg.Local, byNetwork: e.cfg.ByNetwork,
		blocks: map[key]*block{}, marked: []*block{nil},
	}
}

// Attach adds a Recorder and the worker that fills it, which may be nil where
// gathering and recording take turns.
func (e *Exporter) Attach(r *Recorder, w *run.Worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sources = append(e.sources, source{r, w})
}

// Gather implements prometheus.Gatherer. The result is shared and must not be
// changed.
func (e *Exporter) Gather() ([]*dto.MetricFamily, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gathered != nil && time.Since(e.at) < e.cfg.MaxAge {
		return e.gathered, nil
	}
	e.collect()
	b := newBuilder(&e.cfg)
	for _, k := range e.keys() {
		b.server(k, e.sum[k])
	}
	stages, workers := e.stages()
	b.stages(stages, workers)
	if workers.full {
		e.evict()
	}
	families := b.families()
	var err error
	if e.cfg.Also != nil {
		var also []*dto.MetricFamily
		also, err = e.cfg.Also.Gather()
		families = append(families, also...)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	e.gathered, e.at = families, time.Now()
	return families, err
}

// A total is the sum of a server's blocks.
type total struct {
	block
	idleClosings [numSides][]int64
	fresh        bool // part of the newest collection
}

func (t *total) add(b *block) {
	if t.fresh {
		t.merge(b)
	} else {
		b.copyTo(&t.block)
		t.fresh = true
	}
	for side := range t.idleClosings {
		t.idleClosings[side] = append(t.idleClosings[side], b.idleClosing[side].list()...)
	}
}

// copied is how many servers are copied while a worker stands still.
const copied = 16

// collect adds up the workers' blocks in e.sum.
func (e *Exporter) collect() {
	for _, t := range e.sum {
		t.fresh = false
		for side := range t.idleClosings {
			t.idleClosings[side] = t.idleClosings[side][:0]
		}
	}
	for _, s := range e.sources {
		var keys []key
		s.do(func() {
			for k := range s.recorder.blocks {
				keys = append(keys, k)
			}
		})
		for some := range slices.Chunk(keys, copied) {
			for _, k := range some {
				if e.sum[k] == nil {
					e.sum[k] = new(total)
				}
			}
			s.do(func() {
				for _, k := range some {
					e.sum[k].add(s.recorder.blocks[k])
				}
			})
		}
	}
	for k, t := range e.sum {
		if !t.fresh {
			delete(e.sum, k)
		}
	}
}

// keys returns the servers in the order of their labels.
func (e *Exporter) keys() []key {
	keys := make([]key, 0, len(e.sum))
	for k := range e.sum {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(Directions[a.direction], Directions[b.direction]),
			cmp.Compare(a.label(), b.label()), cmp.Compare(a.client(), b.client()))
	})
	return keys
}

// stages adds the workers' counts to those of the other stages.
func (e *Exporter) stages() (s Stages, w workerStats) {
	if e.cfg.Stages != nil {
		s = e.cfg.Stages()
	}
	for _, source := range e.sources {
		source.do(func() {
			w.incomplete += source.recorder.incomplete
			if source.worker != nil {
				w.add(source.worker.Assembler.Stats())
			}
		})
	}
	w.servers, w.full = e.servers.turnedAway()
	return s, w
}

// workerStats sums up what the workers counted, beside servers.
type workerStats struct {
	reassembly.Stats
	incomplete uint64
	servers    int
	full       bool
}

func (w *workerStats) add(s reassembly.Stats) {
	w.Open += s.Open
	w.Buffered += s.Buffered
	w.OutOfOrder += s.OutOfOrder
	w.MissingBytes += s.MissingBytes
	w.Evicted += s.Evicted
}
