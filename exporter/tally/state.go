package tally

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/software"
	"github.com/keepscope/keepscope/exporter/naming"
	"github.com/keepscope/keepscope/sniffer"
)

// A state is a Sum as bytes: what one process counted, for another one that counts
// it as it counts a worker's.
type state struct {
	Layout    [sha256.Size]byte
	Rows      []savedRow
	Pairs     []savedPair
	Untracked uint64 // connections of pairs that are not watched
	Forgotten uint64
	Displaced uint64
	Others    uint64 // servers without a label
}

type savedRow struct {
	Key
	Figures *Figures
}

type savedPair struct {
	Client   sniffer.Addr
	Server   sniffer.Endpoint
	TimeWait TimeWait
	Total    uint64
	Peak     uint64
	Bins     []int64 // at and n by turns
}

// stateVersion changes where what a figure means does.
const stateVersion = 1

// layout names all that a state's numbers stand for: states of two programs whose
// closed sets or histograms differ cannot be added up.
func layout() [sha256.Size]byte {
	h := sha256.New()
	write := func(list ...string) { fmt.Fprintf(h, "%q\n", list) }
	write(fmt.Sprint("version ", stateVersion, len(cells.upper), numFine))
	write(words(fact.NumReasons)...)
	write(words(fact.NumCauses)...)
	write(words(fact.NumOutcomes)...)
	write(words(fact.NumHandshakes)...)
	write(words(fact.NumProtocols)...)
	write(words(fact.NumKeys)...)
	write(words(fact.NumClosedBy)...)
	write(words(fact.NumFailures)...)
	write(words(http.NumVersions)...)
	write(words(http.GRPCStatus(http.NumGRPCStatuses))...)
	write(words(http.NumCodes)...)
	write(words(software.NumIDs)...)
	write(words(naming.NumDirections)...)
	return [sha256.Size]byte(h.Sum(nil))
}

func words[E interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64
	String() string
}](n E) (list []string) {
	for i := E(0); i < n; i++ {
		list = append(list, i.String())
	}
	return list
}

// State returns all that was counted, for Restore. It must be called before Endpoints
// settles, and the sum must have details. The same figures give the same bytes,
// however many workers counted them.
func (s *Sum) State() ([]byte, error) {
	out := state{Layout: layout(), Displaced: s.set.displaced.Load(), Others: s.set.folded + s.set.evicted}
	for _, r := range s.Rows {
		out.Rows = append(out.Rows, savedRow{r.Key, &r.Figures})
	}
	watched := s.watched()
	out.Untracked = watched.untracked
	slices.SortFunc(watched.kept.items, func(a, b *pair) int { return a.key.compare(b.key) })
	for _, p := range watched.kept.items {
		q := savedPair{p.key.client, p.key.server, p.holds, p.total, p.peak, nil}
		for _, b := range p.bins {
			q.Bins = append(q.Bins, int64(b.at), int64(b.n))
		}
		out.Pairs = append(out.Pairs, q)
	}
	for _, source := range s.set.sources {
		source.do(func() { out.Forgotten += source.worker.forgotten })
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&out); err != nil {
		return nil, fmt.Errorf("save figures: %w", err)
	}
	return b.Bytes(), nil
}

// ErrLayout says that a state is of a program with other closed sets or histograms.
var ErrLayout = errors.New("its figures are of another version of keepscope, whose words or histograms differ")

var errState = errors.New("its figures are damaged")

// Restore adds what State returned, as what one more worker counted.
func (s *Set) Restore(b []byte) error {
	var in state
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&in); err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	if in.Layout != layout() {
		return ErrLayout
	}
	for _, r := range in.Rows {
		if r.Figures == nil || r.Direction >= naming.NumDirections || r.Fold > Gone {
			return errState
		}
	}
	w := s.Worker(nil)
	w.forgotten, w.pairs.untracked = in.Forgotten, in.Untracked
	for _, r := range in.Rows {
		w.rows[r.Key] = &row{Key: r.Key, mark: unmarked, Figures: *r.Figures}
		w.records += len(r.Figures.Newest.list)
		if r.Name != "" {
			w.names++
		}
	}
	for _, p := range in.Pairs {
		w.pairs.restore(&p)
	}
	s.displaced.Add(in.Displaced)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicted += in.Others
	return nil
}

func (t *pairs) restore(saved *savedPair) {
	p := t.get(pairKey{saved.Client, saved.Server})
	if p == nil {
		t.untracked += saved.Total
		return
	}
	p.holds, p.total, p.peak = saved.TimeWait, saved.Total, saved.Peak
	for i := 0; i+1 < len(saved.Bins); i += 2 {
		p.count(int32(saved.Bins[i]), uint32(saved.Bins[i+1]))
	}
}

// GobEncode writes the cells that counted something, in their order.
func (h *Histogram) GobEncode() ([]byte, error) {
	b := binary.AppendVarint(nil, h.Max)
	last := uint16(0)
	for number, c := range h.ascending {
		b = binary.AppendUvarint(b, uint64(number-last))
		b = binary.AppendUvarint(b, c.n)
		b = binary.AppendVarint(b, c.sum)
		last = number
	}
	return b, nil
}

// GobDecode reads what GobEncode wrote.
func (h *Histogram) GobDecode(b []byte) (err error) {
	*h = Histogram{}
	in := bytes.NewReader(b)
	if h.Max, err = binary.ReadVarint(in); err != nil || h.Max < 0 {
		return errState
	}
	for number := uint64(0); in.Len() > 0; {
		step, err1 := binary.ReadUvarint(in)
		n, err2 := binary.ReadUvarint(in)
		sum, err3 := binary.ReadVarint(in)
		number += step
		if errors.Join(err1, err2, err3) != nil || number >= uint64(len(cells.upper)) || n == 0 || sum < 0 {
			return errState
		}
		*h.cell(uint16(number)) = cell{n, sum}
	}
	return nil
}

// GobEncode writes the closings in their order.
func (r *Recent) GobEncode() ([]byte, error) {
	b := binary.AppendUvarint(nil, r.N)
	for c := range r.each {
		b = binary.AppendVarint(binary.AppendVarint(b, c.at), c.idle)
	}
	return b, nil
}

// GobDecode reads what GobEncode wrote.
func (r *Recent) GobDecode(b []byte) error {
	*r = Recent{}
	in := bytes.NewReader(b)
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return errState
	}
	for in.Len() > 0 {
		at, err1 := binary.ReadVarint(in)
		idle, err2 := binary.ReadVarint(in)
		if err1 != nil || err2 != nil {
			return errState
		}
		r.keep(closing{at, idle})
	}
	if r.N = n; n < uint64(len(r.list)) {
		return errState
	}
	return nil
}

// GobEncode writes the records in their order.
func (n *Newest) GobEncode() ([]byte, error) {
	records := make([]Record, 0, len(n.list))
	for r := range n.each {
		records = append(records, *r)
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(records)
	return b.Bytes(), err
}

// GobDecode reads what GobEncode wrote.
func (n *Newest) GobDecode(b []byte) error {
	*n = Newest{}
	var records []Record
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&records); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for i := range records {
		r := &records[i]
		if r.Software >= software.NumIDs || r.Handshake >= fact.NumHandshakes || r.ClosedBy >= fact.NumClosedBy ||
			r.Reason >= fact.NumReasons || r.Cause >= fact.NumCauses {
			return errState
		}
		n.add(r, true)
	}
	return nil
}

// A target is one of Tunnels, which are written in their order.
type target struct {
	Name   string
	Tunnel *Tunnel
}

// GobEncode writes the targets in their order.
func (t Tunnels) GobEncode() ([]byte, error) {
	var list []target
	for _, name := range slices.Sorted(maps.Keys(t)) {
		list = append(list, target{name, t[name]})
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(list)
	return b.Bytes(), err
}

// GobDecode reads what GobEncode wrote.
func (t *Tunnels) GobDecode(b []byte) error {
	var list []target
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&list); err != nil {
		return err
	}
	*t = Tunnels{}
	for _, x := range list {
		if x.Tunnel == nil {
			return errState
		}
		(*t)[x.Name] = x.Tunnel
	}
	return nil
}
