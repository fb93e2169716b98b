package exporter

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
)

// A Config sets up an Exporter; its zero value works.
type Config struct {
	// ByNetwork adds LabelClient, which the tally must keep apart, too.
	ByNetwork bool
	// ExemplarAddresses tells the addresses and ports of exemplars' connections, too.
	ExemplarAddresses bool
	// NoClassic leaves classic buckets out, NoNative native ones.
	NoClassic, NoNative bool
	// Stages tells what the stages before the workers, and these, counted.
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

// Stages is what was counted before and beside the tally.
type Stages struct {
	Interfaces           []InterfaceStats
	LastPacket           int64 // Unix nanoseconds, 0 if there was none
	Decode               sniffer.DecodeErrors
	Reassembly           reassembly.Stats // of all workers
	LogLines, LogDropped uint64
	KeylogLines          map[string]uint64 // by what became of them
	Limits               fact.Limits       // caps of all stages
}

// InterfaceStats counts what one interface gave, and what was lost.
type InterfaceStats struct {
	Name                              string
	Packets, Bytes                    uint64
	DroppedKernel, DroppedByInterface uint64
}

// An Exporter makes metrics of a tally. It is a prometheus.Gatherer, safe for
// concurrent use.
type Exporter struct {
	cfg Config
	set *tally.Set

	mu       sync.Mutex // held while gathering: scrapes at once share one result
	gathered []*dto.MetricFamily
	at       time.Time
}

// New returns an Exporter of what set counts.
func New(set *tally.Set, cfg Config) *Exporter {
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 100 * time.Millisecond
	}
	return &Exporter{cfg: cfg, set: set}
}

// Gather implements prometheus.Gatherer. The result is shared and must not be
// changed.
func (e *Exporter) Gather() ([]*dto.MetricFamily, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gathered != nil && time.Since(e.at) < e.cfg.MaxAge {
		return e.gathered, nil
	}
	var stages Stages
	if e.cfg.Stages != nil {
		stages = e.cfg.Stages()
	}
	b := newBuilder(&e.cfg)
	e.set.View(func(s *tally.Sum) {
		for _, t := range e.servers(s) {
			b.server(t)
		}
		b.stages(&stages, s)
	})
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

// A server is the labels of a server's series, and their figures.
type server struct {
	direction, name, client string
	*tally.Figures
}

// servers returns the servers in the order of their labels.
func (e *Exporter) servers(sum *tally.Sum) (list []*server) {
	byLabels := map[[3]string]*server{}
	for _, r := range sum.Rows {
		if r.Fold == tally.Gone {
			continue
		}
		labels := [3]string{r.Direction.String(), r.Label(), ""}
		if e.cfg.ByNetwork {
			labels[2] = r.Client()
		}
		s := byLabels[labels]
		if s == nil {
			s = &server{labels[0], labels[1], labels[2], new(tally.Figures)}
			byLabels[labels] = s
			list = append(list, s)
		}
		s.Merge(&r.Figures)
	}
	slices.SortFunc(list, func(a, b *server) int {
		return cmp.Or(cmp.Compare(a.direction, b.direction), cmp.Compare(a.name, b.name), cmp.Compare(a.client, b.client))
	})
	return list
}
