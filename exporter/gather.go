package exporter

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A builder makes metrics of figures. The series of one server share labels.
type builder struct {
	cfg    *Config
	byName map[string]*dto.MetricFamily
	labels map[[2]string]*dto.LabelPair

	common  []*dto.LabelPair // of the server at hand
	created *timestamppb.Timestamp
}

func newBuilder(cfg *Config) *builder {
	b := &builder{cfg: cfg, byName: make(map[string]*dto.MetricFamily, len(Metrics)), labels: map[[2]string]*dto.LabelPair{}}
	types := [...]dto.MetricType{Counter: dto.MetricType_COUNTER, Gauge: dto.MetricType_GAUGE, Histogram: dto.MetricType_HISTOGRAM}
	for _, m := range Metrics {
		b.byName[m.Name] = &dto.MetricFamily{Name: &m.Name, Help: &m.Help, Type: &types[m.Kind]}
	}
	return b
}

// families returns the families that have a metric.
func (b *builder) families() []*dto.MetricFamily {
	list := make([]*dto.MetricFamily, 0, len(b.byName))
	for _, f := range b.byName {
		if len(f.Metric) > 0 {
			list = append(list, f)
		}
	}
	return list
}

func (b *builder) label(name, value string) *dto.LabelPair {
	p := b.labels[[2]string{name, value}]
	if p == nil {
		p = &dto.LabelPair{Name: &name, Value: &value}
		b.labels[[2]string{name, value}] = p
	}
	return p
}

// add adds a metric with the server's labels and those given as names and
// values, in the order of names.
func (b *builder) add(name string, m *dto.Metric, labels ...string) {
	m.Label = make([]*dto.LabelPair, 0, len(b.common)+len(labels)/2)
	m.Label = append(m.Label, b.common...)
	for i := 0; i < len(labels); i += 2 {
		m.Label = append(m.Label, b.label(labels[i], labels[i+1]))
	}
	slices.SortFunc(m.Label, func(x, y *dto.LabelPair) int { return cmp.Compare(*x.Name, *y.Name) })
	f := b.byName[name]
	f.Metric = append(f.Metric, m)
}

func (b *builder) counter(name string, n uint64, labels ...string) {
	b.number(name, float64(n), example{}, labels...)
}

func (b *builder) seconds(name string, ns int64, labels ...string) {
	b.number(name, float64(ns)/1e9, example{}, labels...)
}

func (b *builder) number(name string, v float64, x example, labels ...string) {
	b.add(name, &dto.Metric{Counter: &dto.Counter{Value: &v, CreatedTimestamp: b.created, Exemplar: b.exemplar(x)}}, labels...)
}

func (b *builder) gauge(name string, v float64, labels ...string) {
	b.add(name, &dto.Metric{Gauge: &dto.Gauge{Value: &v}}, labels...)
}

// exemplar tells by which connection a counter was increased last: with its
// endpoints and the time it is found in the log of connections. OpenMetrics
// allows 128 characters, more than two endpoints take.
func (b *builder) exemplar(x example) *dto.Exemplar {
	if x.time == 0 {
		return nil
	}
	one := 1.0
	return &dto.Exemplar{
		Label: []*dto.LabelPair{pair(LabelClient, x.client.String()), pair(LabelServer, x.server.String())},
		Value: &one, Timestamp: timestamp(x.time),
	}
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

func timestamp(ns int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, ns)) }

// server adds the series of a server.
func (b *builder) server(k key, t *total) {
	b.common = []*dto.LabelPair{b.label(LabelDirection, Directions[k.direction]), b.label(LabelServer, k.label())}
	if b.cfg.ByNetwork {
		b.common = append(b.common, b.label(LabelClient, k.client()))
	}
	b.created = timestamp(t.created)
	b.connections(t)
	b.exchanges(t)
	b.judged(&t.counted, NeededHandshakes, WastedHandshakes, WastedSeconds)
	b.idle(t)
	if t.encrypted {
		b.estimates(t)
	}
	b.common, b.created = nil, nil
}

func (b *builder) connections(t *total) {
	for i, n := range t.opened {
		b.counter(ConnectionsOpened, n, LabelHandshake, fact.Handshake(i).String())
	}
	for by := range t.closed {
		for reason, n := range t.closed[by] {
			if n > 0 || usual[by][reason] {
				b.counter(ConnectionsClosed, n, LabelClosedBy, fact.ClosedBy(by).String(), LabelReason, fact.Reason(reason).String())
			}
		}
	}
	b.gauge(ConnectionsOpen, float64(max(t.open, 0)))
	b.histogram(ConnectionRequests, countScale, &t.histograms[histRequests], requestBounds)
	b.histogram(ConnectionDuration, timeScale, &t.histograms[histDuration], durationBounds)
	for kind, name := range handshakeKinds {
		if kind == kindTCP || t.encrypted {
			b.histogram(HandshakeSeconds, timeScale, &t.histograms[histHandshake+kind], handshakeBounds, LabelKind, name)
		}
	}
}

// usual tells which sides end a connection for which reasons. Other pairs can
// only come of odd captures; they are exported once they have.
var usual = func() (u [fact.NumClosedBy][fact.NumReasons]bool) {
	for r := range fact.NumReasons {
		switch r {
		case fact.ReasonHandshakeFailed:
			u[fact.ByServer][r], u[fact.ByTimeout][r] = true, true
		case fact.ReasonClientAbort, fact.ReasonClientDiscard, fact.ReasonClientIdle:
			u[fact.ByClient][r] = true
		case fact.ReasonServerAbort, fact.ReasonServerDiscard, fact.ReasonServerIdle, fact.ReasonRace:
			u[fact.ByServer][r] = true
		case fact.ReasonTimeout:
			u[fact.ByTimeout][r] = true
		case fact.ReasonEvicted:
			u[fact.ByEviction][r] = true
		case fact.ReasonOpen:
			u[fact.ByEnd][r] = true
		default:
			u[fact.ByClient][r], u[fact.ByServer][r] = true, true
		}
	}
	return u
}()

// mainProtocol is the protocol that has series before it has requests.
const mainProtocol = "http/1.1"

func (b *builder) exchanges(t *total) {
	for p := range t.requests {
		if t.requests[p] == [numReuses]uint64{} && protocols[p] != mainProtocol {
			continue
		}
		for reuse, n := range t.requests[p] {
			b.counter(Requests, n, LabelProtocol, protocols[p], LabelReused, reuses[reuse])
		}
	}
	for o, n := range t.block.exchanges {
		b.counter(Exchanges, n, LabelNegotiated, fact.Outcome(o).String())
	}
	b.counter(Unsolicited, t.unsolicited)
	b.number(Races, float64(t.races), t.raced)
}

// judged adds verdicts, under the names of those that are counted or of those
// that are estimated.
func (b *builder) judged(v *verdicts, needed, wasted, seconds string) {
	b.counter(needed, v.needed)
	for cause, n := range v.wasted {
		if n > 0 || fact.Cause(cause).Possible() {
			b.number(wasted, float64(n), v.last[cause], LabelCause, fact.Cause(cause).String())
		}
	}
	for kind, name := range costKinds {
		b.seconds(seconds, v.ns[kind], LabelKind, name)
	}
}

func (b *builder) idle(t *total) {
	b.histogram(ReuseIdle, timeScale, &t.histograms[histReuseIdle], idleBounds)
	for side, name := range sides {
		b.histogram(CloseIdle, timeScale, &t.histograms[histCloseIdle+side], idleBounds, LabelClosedBy, name)
		if ns, ok := timeout(t.idleClosings[side]); ok {
			b.gauge(ObservedTimeout, float64(ns)/1e9, LabelSide, name)
		}
	}
	if t.advertisedAt != 0 {
		b.gauge(AdvertisedTimeout, float64(t.advertised))
	}
}

func (b *builder) estimates(t *total) {
	for reuse, n := range t.guesses {
		b.counter(EstimatedRequests, n, LabelReused, reuses[reuse])
	}
	b.judged(&t.estimated, EstimatedNeeded, EstimatedWasted, EstimatedSeconds)
}

// stages adds what is not about a server.
func (b *builder) stages(s Stages, w workerStats) {
	if !b.cfg.Start.IsZero() {
		b.created = timestamppb.New(b.cfg.Start)
	}
	for _, i := range s.Interfaces {
		b.counter(CapturePackets, i.Packets, LabelInterface, i.Name)
		b.counter(CaptureBytes, i.Bytes, LabelInterface, i.Name)
		for where, n := range [...]uint64{i.DroppedKernel, i.DroppedByInterface} {
			b.counter(CaptureDropped, n, LabelInterface, i.Name, LabelWhere, wheres[where])
		}
	}
	if s.LastPacket != 0 {
		b.gauge(LastPacket, float64(s.LastPacket)/1e9)
	}
	for kind, n := range s.Decode.All() {
		b.counter(DecodeErrors, n, LabelLayer, kind.String())
	}
	b.counter(MissingBytes, w.MissingBytes)
	b.counter(OutOfOrderSegments, w.OutOfOrder)
	b.counter(IncompleteConnections, w.incomplete)
	b.counter(EvictedConnections, w.Evicted)
	b.gauge(TrackedConnections, float64(w.Open))
	b.gauge(BufferedBytes, float64(w.Buffered))
	b.gauge(Servers, float64(w.servers))
	b.gauge(ServerLimit, float64(b.cfg.MaxServers))
	b.counter(LogLines, s.LogLines)
	b.counter(LogDropped, s.LogDropped)
	b.gauge(ReuseWindow, b.cfg.ReuseWindow.Seconds())
	b.gauge(BuildInfo, 1, LabelVersion, b.cfg.Version, LabelCommit, b.cfg.Commit, LabelGoVersion, b.cfg.GoVersion)
}

// histogram adds a histogram, classic and native.
func (b *builder) histogram(name string, s *scale, h *histogram, bounds []float64, labels ...string) {
	sum := float64(h.sum) / s.per
	n := h.n // a copy: the totals are filled anew at the next scrape
	d := &dto.Histogram{SampleCount: &n, SampleSum: &sum, CreatedTimestamp: b.created}
	if !b.cfg.NoClassic {
		d.Bucket = s.classic(h, bounds)
	}
	if !b.cfg.NoNative {
		s.nativeBuckets(h, d, maxNative)
	}
	b.add(name, &dto.Metric{Histogram: d}, labels...)
}

// classic returns the cumulative buckets of the bounds.
func (s *scale) classic(h *histogram, bounds []float64) []*dto.Bucket {
	buckets := make([]*dto.Bucket, 0, len(bounds)+1)
	var n uint64
	cell := 0
	add := func(bound float64, n uint64) {
		buckets = append(buckets, &dto.Bucket{UpperBound: &bound, CumulativeCount: &n})
	}
	for _, bound := range bounds {
		limit := s.integer(bound)
		for ; cell < len(h.cells) && cell < len(s.upper) && s.upper[cell] <= limit; cell++ {
			n += h.cells[cell]
		}
		add(bound, n)
	}
	add(math.Inf(1), h.n)
	return buckets
}

// A populated is a native bucket that is not empty.
type populated struct {
	index int
	n     uint64
}

// nativeBuckets fills in the native buckets. Their resolution is halved until
// no more than limit are populated.
func (s *scale) nativeBuckets(h *histogram, d *dto.Histogram, limit int) {
	var list []populated
	var zero uint64
	for cell, n := range h.cells {
		switch {
		case n == 0:
		case s.zero >= minPositive && cell == 0:
			zero = n
		default:
			list = appendPopulated(list, int(s.native[cell]), n)
		}
	}
	resolution := int32(schema)
	for len(list) > limit && resolution > coarsestSchema {
		resolution--
		half := list[:0]
		for _, p := range list {
			half = appendPopulated(half, (p.index+1)>>1, p.n)
		}
		list = half
	}
	d.Schema, d.ZeroThreshold, d.ZeroCount = &resolution, &s.zero, &zero
	d.PositiveSpan, d.PositiveDelta = spans(list)
}

// minPositive parts a zero bucket that takes small values from one for 0 alone.
const minPositive = 1e-30

// appendPopulated adds n to the bucket of an index not below the last one's.
func appendPopulated(list []populated, index int, n uint64) []populated {
	if last := len(list) - 1; last >= 0 && list[last].index == index {
		list[last].n += n
		return list
	}
	return append(list, populated{index, n})
}

// spans writes buckets as spans of adjacent ones, and each count as the
// difference to the one before.
func spans(list []populated) (spans []*dto.BucketSpan, deltas []int64) {
	next, before := 0, int64(0)
	for i, p := range list {
		if i == 0 || p.index != next {
			offset, length := int32(p.index-next), uint32(0)
			spans = append(spans, &dto.BucketSpan{Offset: &offset, Length: &length})
		}
		*spans[len(spans)-1].Length++
		deltas = append(deltas, int64(p.n)-before)
		next, before = p.index+1, int64(p.n)
	}
	if spans == nil { // what tells an empty native histogram from none
		spans = []*dto.BucketSpan{{Offset: new(int32), Length: new(uint32)}}
	}
	return spans, deltas
}
