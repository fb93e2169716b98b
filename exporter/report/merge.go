package report

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/tally"
)

// A Mergeable is what adding a report to others takes beside what it shows: the
// figures of every server before they were settled, histograms with the cells that
// counted something.
type Mergeable struct {
	Figures []byte      `json:"figures"` // of a tally, compressed by zstd
	Limits  fact.Limits `json:"limits"`  // of the stages before it
}

// A Shard is the part of a capture's pairs of hosts that a run analysed.
type Shard struct {
	Index int `json:"index"` // from 0
	Of    int `json:"of"`
}

// String writes the shard as --shard takes it.
func (s *Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Of) }

// maxFigures bounds the figures of a report that is read, decompressed.
const maxFigures = 256 << 20

// NewMergeable returns what merging takes of a sum with details that is not settled
// yet.
func NewMergeable(sum *tally.Sum, c *Capture) (*Mergeable, error) {
	figures, err := sum.State()
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window(len(figures))))
	if err != nil {
		return nil, err
	}
	return &Mergeable{z.EncodeAll(figures, nil), slices.Clone(c.Limits)}, nil
}

// window is how far back zstd looks in n bytes: over all of them, up to its default. It
// allocates as much; the default where less is enough would be most of the memory that
// a report takes.
func window(n int) int {
	const least, most = 128 << 10, 8 << 20 // a block, and the default
	return min(max(1<<bits.Len(uint(n)), least), most)
}

func (m *Mergeable) restore(set *tally.Set) error {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFigures))
	if err != nil {
		return err
	}
	defer z.Close()
	figures, err := z.DecodeAll(m.Figures, nil)
	if err != nil {
		return fmt.Errorf("its figures are damaged: %w", err)
	}
	return set.Restore(figures)
}

// A Merger adds up reports to one, which says what one run over all that they rest on
// would have said: servers that they share are one, quantiles come from the sums of
// histograms (and so are as near as those of one run: within 0.8 %), and what is settled by all connections of a server is settled by those
// of all reports.
type Merger struct {
	set      *tally.Set
	capture  Capture
	captures int // reports
	shards   map[string][]bool
}

// NewMerger returns a Merger of no report; maxServers is as tally.Config has it.
func NewMerger(maxServers int) *Merger {
	return &Merger{set: tally.New(tally.Config{MaxServers: maxServers}), shards: map[string][]bool{}}
}

// Add adds a report that ReadJSON has read. After an error the Merger is of no use.
func (m *Merger) Add(r *Report) error {
	switch {
	case r.Schema < Schema:
		return errors.New("it is a report of schema 1, which has no histograms: read its capture again with this version")
	case r.Mergeable == nil:
		return errors.New("it has no histograms (\"mergeable\"): give what 'keepscope read --output json' wrote without --server")
	}
	c := &r.Capture
	if m.captures > 0 && c.ReuseWindow != m.capture.ReuseWindow {
		return fmt.Errorf("its reuse window is %g s and that of the others %g s: they judge by different measures", c.ReuseWindow, m.capture.ReuseWindow)
	}
	first, err := m.shard(c)
	if err != nil {
		return err
	}
	if err := r.Mergeable.restore(m.set); err != nil {
		return err
	}
	m.captures++
	if first {
		m.capture.addPackets(c)
	}
	m.capture.addSource(c)
	m.capture.Limits.Add(r.Mergeable.Limits)
	return nil
}

// shard says whether the report is the first of its capture. All shards of one have
// decoded all of its packets.
func (m *Merger) shard(c *Capture) (first bool, err error) {
	s := c.Shard
	if s == nil {
		return true, nil
	}
	if s.Of < 1 || s.Of > MaxShards || s.Index < 0 || s.Index >= s.Of {
		return false, fmt.Errorf("there is no shard %v", s)
	}
	key := fmt.Sprintf("%d shards of %s, %d packets", s.Of, strings.Join(c.Files, ", "), c.Packets)
	seen := m.shards[key]
	if seen == nil {
		seen, first = make([]bool, s.Of), true
		m.shards[key] = seen
	}
	if seen[s.Index] {
		return false, fmt.Errorf("it is shard %v, which is there already", s)
	}
	seen[s.Index] = true
	return first, nil
}

// MaxShards is how many shards a capture has at most.
const MaxShards = 4096

// Report returns the sum. It is an error where shards of a capture are missing.
func (m *Merger) Report() (r *Report, err error) {
	if m.captures == 0 {
		return nil, errors.New("there is no report to merge")
	}
	for _, key := range slices.Sorted(maps.Keys(m.shards)) {
		if i := slices.Index(m.shards[key], false); i >= 0 {
			return nil, fmt.Errorf("of the %s, number %d is missing", key, i)
		}
	}
	m.set.Detail(func(s *tally.Sum) {
		c := m.capture
		var kept *Mergeable
		if kept, err = NewMergeable(s, &c); err == nil {
			r = Build(s, c, true)
			r.Mergeable = kept
		}
	})
	return r, err
}

// addPackets adds what became of a capture's packets before they were streams.
func (c *Capture) addPackets(o *Capture) {
	c.Packets += o.Packets
	c.Bytes += o.Bytes
	c.Dropped.Kernel += o.Dropped.Kernel
	c.Dropped.Interface += o.Dropped.Interface
	c.TimeBack += o.TimeBack
	c.Restamped += o.Restamped
	c.LostFragments += o.LostFragments
	for kind, n := range o.DecodeErrors {
		if c.DecodeErrors == nil {
			c.DecodeErrors = map[string]uint64{}
		}
		c.DecodeErrors[kind] += n
	}
	if o.NotDecoded != nil {
		c.addNotDecoded(o.NotDecoded)
	}
	c.Files = append(c.Files, o.Files...)
}

func (c *Capture) addNotDecoded(o *NotDecoded) {
	if c.NotDecoded == nil {
		c.NotDecoded = &NotDecoded{Numbers: []UnreadNumber{}}
	}
	n := c.NotDecoded
	n.Packets += o.Packets
	for _, u := range o.Numbers {
		i := slices.IndexFunc(n.Numbers, func(k UnreadNumber) bool { return k.Kind == u.Kind && k.Number == u.Number })
		if i < 0 {
			n.Numbers = append(n.Numbers, u)
			continue
		}
		n.Numbers[i].Packets += u.Packets
	}
	slices.SortStableFunc(n.Numbers, func(a, b UnreadNumber) int { return cmp.Compare(b.Packets, a.Packets) })
}

// addSource adds where a capture comes from and what became of its streams.
func (c *Capture) addSource(o *Capture) {
	c.ReuseWindow = o.ReuseWindow
	c.Interfaces = union(c.Interfaces, o.Interfaces)
	c.LinkTypes = union(c.LinkTypes, o.LinkTypes)
	if c.Filter != o.Filter {
		c.Filter = strings.Join(union(strings.Split(c.Filter, "; "), []string{o.Filter}), "; ")
	}
	if c.FirstPacket.IsZero() || !o.FirstPacket.IsZero() && o.FirstPacket.Before(c.FirstPacket) {
		c.FirstPacket = o.FirstPacket
	}
	if o.LastPacket.After(c.LastPacket) {
		c.LastPacket = o.LastPacket
	}
	c.CutShort = c.CutShort || o.CutShort
	r, s := &c.Reassembly, &o.Reassembly
	r.MissingBytes += s.MissingBytes
	r.TruncatedBytes += s.TruncatedBytes
	r.OutOfOrderSegments += s.OutOfOrderSegments
	r.Retransmissions += s.Retransmissions
	r.EvictedConnections += s.EvictedConnections
}

// union lists what is in either, without what is empty.
func union(a, b []string) (list []string) {
	for _, s := range slices.Concat(a, b) {
		if s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
