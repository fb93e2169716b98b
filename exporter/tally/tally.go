package tally

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keepscope/keepscope/exporter/naming"
)

// A Config sets up a Set. Its zero value works.
type Config struct {
	Desk naming.Desk
	// MaxServers bounds the names of servers, over all directions (default 1000).
	MaxServers int
	// MaxPairs bounds the pairs of client and server that are watched for ports
	// (default 16384).
	MaxPairs int
	// ByNetwork tells the networks of clients apart.
	ByNetwork bool
}

// A Set is what all workers counted, and the only place that decides which server
// is called by its name and which is one of the others. It is safe for concurrent
// use.
type Set struct {
	cfg       Config
	maxRows   int           // of a worker, with names and as many without
	displaced atomic.Uint64 // servers that a worker had no room for

	mu        sync.Mutex
	detail    bool // the newest collection has it
	sources   []source
	sum       map[Key]*Row
	labels    map[Label]*label
	pairs     map[Key]bool // with client networks that are told apart
	evicted   uint64       // labels
	resettled uint64       // reasons that were told otherwise
	folded    uint64       // servers without a label, at the newest collection
}

// A source is a worker and how to have it stand still.
type source struct {
	worker *Worker
	do     func(func())
}

// A Label is what stands for servers in every view.
type Label struct {
	Direction naming.Direction
	Name      string
}

// A label is what is known of those that a Label stands for.
type label struct {
	load   uint64 // requests
	open   int64
	active int64
	fresh  bool // there is one at the newest collection
}

// A Row is what all workers counted of a server. Rows of one Label are one server
// in metrics.
type Row struct {
	Key
	Figures
	fresh bool // part of the newest collection
}

// Label returns what the row's server is called.
func (r *Row) Label() string { return r.Key.Label() }

// New returns a Set.
func New(cfg Config) *Set {
	if cfg.MaxServers <= 0 {
		cfg.MaxServers = 1000
	}
	if cfg.MaxPairs <= 0 {
		cfg.MaxPairs = 16384
	}
	cfg.Desk.Name = naming.Clean(cfg.Desk.Name)
	return &Set{
		cfg: cfg, maxRows: rowsPerLabel * cfg.MaxServers,
		sum: map[Key]*Row{}, labels: map[Label]*label{}, pairs: map[Key]bool{},
	}
}

// rowsPerLabel is how many servers a worker counts apart, for each of those that
// can have a name: with names, and as many without.
const rowsPerLabel = 4

// Worker returns what counts for one worker. Each time that figures are wanted do
// is called with what is to be run while that worker stands still; nil stands for
// calling it, where counting and looking take turns.
func (s *Set) Worker(do func(func())) *Worker {
	if do == nil {
		do = func(f func()) { f() }
	}
	w := &Worker{
		set: s, rows: map[Key]*row{}, marks: []*row{nil, nil},
		pairs: pairs{max: s.cfg.MaxPairs, byKey: map[pairKey]*pair{}},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = append(s.sources, source{w, do})
	return w
}

// View collects what all workers counted and calls f with it. The rows are f's
// until it returns, and in the order of their keys.
func (s *Set) View(f func(*Sum)) { s.view(false, f) }

// Detail is View with what is known of single clients and connections.
func (s *Set) Detail(f func(*Sum)) { s.view(true, f) }

func (s *Set) view(detail bool, f func(*Sum)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detail = detail
	s.collect()
	s.label()
	rows := make([]*Row, 0, len(s.sum))
	for _, r := range s.sum {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *Row) int { return a.compare(&b.Key) })
	f(&Sum{Rows: rows, Labels: len(s.labels), set: s})
}

func (k *Key) compare(o *Key) int {
	return cmp.Or(cmp.Compare(k.Fold, o.Fold), k.Server.Compare(&o.Server), slices.Compare(k.Network[:], o.Network[:]))
}

// A Sum is what all workers counted.
type Sum struct {
	Rows   []*Row
	Labels int // in use
	set    *Set
}

// MaxServers returns the cap on labels.
func (s *Sum) MaxServers() int { return s.set.cfg.MaxServers }

// copied is how many rows are copied while a worker stands still.
const copied = 16

// collect adds up the workers' rows in s.sum.
func (s *Set) collect() {
	for _, r := range s.sum {
		r.fresh = false
	}
	for _, source := range s.sources {
		var keys []Key
		source.do(func() {
			for k := range source.worker.rows {
				keys = append(keys, k)
			}
		})
		for some := range slices.Chunk(keys, copied) {
			source.do(func() {
				for _, k := range some {
					s.add(k, &source.worker.rows[k].Figures)
				}
			})
		}
	}
	for k, r := range s.sum {
		if !r.fresh {
			delete(s.sum, k)
		}
	}
}

func (s *Set) add(k Key, f *Figures) {
	r := s.sum[k]
	if r == nil {
		r = &Row{Key: k}
		s.sum[k] = r
	}
	if !r.fresh {
		r.Figures.reset()
		r.fresh = true
	}
	r.Figures.Merge(f)
	if s.detail {
		r.MergeDetail(f)
	}
}

// evictAfter is how long a server without open connections must have been idle
// to make room for another.
const evictAfter = int64(time.Hour)

// label gives names to those that have none, while there are any left, and adds
// the figures of the rest to the others' for good: a counter can't go back.
func (s *Set) label() {
	waiting := s.waiting()
	if n := len(s.labels) + len(waiting) - s.cfg.MaxServers; n > 0 {
		s.evict(n, waiting)
	}
	for _, l := range waiting[:min(len(waiting), max(s.cfg.MaxServers-len(s.labels), 0))] {
		s.labels[l.Label] = l.label
	}
	s.folded = 0
	for _, k := range s.named() {
		if s.labels[k.label()] == nil {
			s.folded++
			s.fold(k, other(k.Direction))
		} else if s.cfg.ByNetwork && !s.admitNetwork(k) {
			into := k
			into.Network, into.Fold = [16]byte{}, AnyNetwork
			s.fold(k, into)
		}
	}
}

func (k *Key) label() Label { return Label{k.Direction, k.Server.Label()} }

// A candidate is a label that is not given yet.
type candidate struct {
	Label
	*label
}

// waiting brings the labels up to date and returns those that want to be given,
// the one with most requests first.
func (s *Set) waiting() (list []candidate) {
	for _, l := range s.labels {
		*l = label{}
	}
	fresh := map[Label]*label{}
	for _, r := range s.sum {
		if r.Fold > AnyNetwork {
			continue
		}
		name := r.Key.label()
		l := cmp.Or(s.labels[name], fresh[name])
		if l == nil {
			l = &label{}
			fresh[name] = l
			list = append(list, candidate{name, l})
		}
		l.fresh = true
		l.load += r.Load()
		l.open += r.Open
		l.active = max(l.active, r.Active)
	}
	for name, l := range s.labels {
		if !l.fresh {
			delete(s.labels, name)
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.load, a.load), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// named lists the keys that have a label of their own or want one, in their
// order.
func (s *Set) named() (keys []Key) {
	for k := range s.sum {
		if k.Fold == NotFolded {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return a.compare(&b) })
	return keys
}

// admitNetwork says whether a client's network is told apart.
func (s *Set) admitNetwork(k Key) bool {
	if !s.pairs[k] && len(s.pairs) < s.cfg.MaxServers {
		s.pairs[k] = true
	}
	return s.pairs[k]
}

// fold adds what was counted of a key to another's, in the sum and in every
// worker.
func (s *Set) fold(k, into Key) {
	s.add(into, &s.sum[k].Figures)
	delete(s.sum, k)
	for _, source := range s.sources {
		source.do(func() { source.worker.dissolve(k, into) })
	}
}

// evict takes labels for n of those that wait: first from servers that carried no
// request, then from those that were long idle, the idlest first. What carried no
// request takes none.
func (s *Set) evict(n int, waiting []candidate) {
	wanted := 0
	for wanted < len(waiting) && waiting[wanted].load > 0 {
		wanted++
	}
	newest := int64(0)
	for _, r := range s.sum {
		newest = max(newest, r.Active)
	}
	var idle []candidate
	for name, l := range s.labels {
		if l.open <= 0 && (l.load == 0 || l.active < newest-evictAfter) {
			idle = append(idle, candidate{name, l})
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(min(a.load, 1), min(b.load, 1)), cmp.Compare(a.active, b.active), cmp.Compare(a.Name, b.Name))
	})
	for _, c := range idle[:min(n, wanted, len(idle))] {
		s.hold(0, func() { s.forget(c.Label) })
	}
}

// hold runs f while the workers from i on stand still.
func (s *Set) hold(i int, f func()) {
	if i == len(s.sources) {
		f()
		return
	}
	s.sources[i].do(func() { s.hold(i+1, f) })
}

// forget takes a label away unless one of its servers has become active. It runs
// in hold.
func (s *Set) forget(l Label) {
	var keys []Key
	for k, r := range s.sum {
		if k.Fold > AnyNetwork || k.label() != l {
			continue
		}
		for _, source := range s.sources {
			if w := source.worker.rows[k]; w != nil && (w.Open > 0 || w.Active > r.Active) {
				return
			}
		}
		keys = append(keys, k)
	}
	for _, k := range keys {
		into := other(k.Direction)
		into.Fold = Gone
		s.add(into, &s.sum[k].Figures)
		delete(s.sum, k)
		delete(s.pairs, k)
		for _, source := range s.sources {
			source.worker.dissolve(k, into)
		}
	}
	delete(s.labels, l)
	s.evicted++
}
