package exporter

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/exporter/tally"
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
	b.number(name, float64(n), nil, labels...)
}

func (b *builder) seconds(name string, ns int64, labels ...string) {
	b.number(name, float64(ns)/1e9, nil, labels...)
}

func (b *builder) number(name string, v float64, x *tally.Example, labels ...string) {
	b.add(name, &dto.Metric{Counter: &dto.Counter{Value: &v, CreatedTimestamp: b.created, Exemplar: b.exemplar(x)}}, labels...)
}

func (b *builder) gauge(name string, v float64, labels ...string) {
	b.add(name, &dto.Metric{Gauge: &dto.Gauge{Value: &v}}, labels...)
}

// exemplar tells by which connection a counter was increased last, by the id that it
// has in the log of connections and on the page. OpenMetrics allows 128 characters,
// more than an id and two endpoints take.
func (b *builder) exemplar(x *tally.Example) *dto.Exemplar {
	if x == nil || x.Time == 0 {
		return nil
	}
	labels := []*dto.LabelPair{pair(LabelID, fmt.Sprintf("%016x", x.ID))}
	if b.cfg.ExemplarAddresses {
		labels = append(labels, pair(LabelClient, x.Client.String()), pair(LabelServer, x.Server.String()))
	}
	one := 1.0
	return &dto.Exemplar{Label: labels, Value: &one, Timestamp: timestamp(x.Time)}
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

func timestamp(ns int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, ns)) }

// server adds the series of a server.
func (b *builder) server(t *server) {
	b.common = []*dto.LabelPair{b.label(LabelDirection, t.direction), b.label(LabelServer, t.name)}
	if b.cfg.ByNetwork {
		b.common = append(b.common, b.label(LabelClient, t.client))
	}
	b.created = timestamp(t.Created)
	b.connections(t)
	b.exchanges(t)
	b.judged(t)
	b.idle(t)
	if t.Encrypted {
		b.estimates(t)
	}
	b.common, b.created = nil, nil
}

// application and probe are the values of LabelTraffic.
const (
	application = iota
	probe
)

// parts adds what is of the application, and what is of health checks where there is
// any; all has both.
func (b *builder) parts(name string, all, probed uint64, x *tally.Example, labels ...string) {
	b.number(name, float64(all-min(probed, all)), x, append(labels, LabelTraffic, traffics[application])...)
	if probed > 0 {
		b.number(name, float64(probed), nil, append(labels, LabelTraffic, traffics[probe])...)
	}
}

// noProbes is what health checks did where there are none.
var noProbes tally.Probed

func (t *server) probed() *tally.Probed {
	if t.Probed == nil {
		return &noProbes
	}
	return t.Probed
}

// some adds a counter unless it is 0: labels that most servers never have.
func (b *builder) some(name string, n uint64, labels ...string) {
	if n > 0 {
		b.counter(name, n, labels...)
	}
}

func (b *builder) connections(t *server) {
	for h, n := range t.Opened {
		if n > 0 || fact.Handshake(h) == fact.HandshakeComplete {
			b.counter(ConnectionsOpened, n, LabelHandshake, fact.Handshake(h).String())
		}
	}
	for by := range t.Closed {
		for reason, n := range t.Closed[by] {
			if n > 0 {
				b.parts(ConnectionsClosed, n, t.probed().Closed[by][reason], nil, LabelClosedBy, fact.ClosedBy(by).String(), LabelReason, fact.Reason(reason).String())
			}
		}
	}
	b.gauge(ConnectionsOpen, float64(max(t.Open-t.Leaving, 0)))
	b.histogram(ConnectionRequests, tally.Things, &t.Counted.PerConnection, tally.RequestBounds)
	b.histogram(ConnectionDuration, tally.Seconds, &t.Duration, tally.DurationBounds)
	for kind, name := range handshakeKinds {
		b.histogram(HandshakeSeconds, tally.Seconds, &t.HandshakeTimes[kind], tally.HandshakeBounds, LabelKind, name)
	}
	b.counter(HandshakeAttempts, t.Handshakes[fact.HandshakeRefused], LabelResult, "refused")
	b.counter(HandshakeAttempts, t.Handshakes[fact.HandshakeUnanswered], LabelResult, "unanswered")
	b.some(HandshakeAttempts, t.Repeated.N, LabelResult, "repeated")
	for k, n := range t.Keys {
		b.some(TLSConnections, n, LabelKeys, fact.Keys(k).String())
	}
	b.path(t)
}

func (b *builder) path(t *server) {
	b.counter(PathDrops, t.Ended(fact.ReasonPathDropped))
	survived, dropped, ok := t.PathTimeout()
	if ok {
		b.gauge(PathTimeout, float64(survived)/1e9, LabelBound, "survived")
		b.gauge(PathTimeout, float64(dropped)/1e9, LabelBound, "dropped")
	}
}

// mainProtocol is the protocol that has series before it has requests.
const mainProtocol = "http/1.1"

func (b *builder) exchanges(t *server) {
	for v := range t.Counted.Requests {
		if total(t.Counted.Requests[v][:]) == 0 && protocols[v] != mainProtocol {
			continue
		}
		for reuse, n := range t.Counted.Requests[v] {
			if n == 0 && fact.Reuse(reuse) == fact.UnknownReuse {
				continue // of most servers every connection is seen from its beginning
			}
			b.parts(Requests, n, t.probed().Traffic.Requests[v][reuse], nil, LabelProtocol, protocols[v], LabelReused, fact.Reuse(reuse).String())
		}
	}
	for o, n := range t.Outcomes {
		if n > 0 || fact.Outcome(o) == fact.KeepAlive {
			b.parts(Exchanges, n, t.probed().Outcomes[o], nil, LabelNegotiated, fact.Outcome(o).String())
		}
	}
	b.some(Unsolicited, t.Unsolicited)
	b.number(Races, float64(t.Counted.Races), &t.Counted.Raced)
	b.some(StaleReuses, t.Counted.StaleReuses)
	h2 := t.HTTP2
	if h2 == nil && total(t.Counted.Requests[http.HTTP2][:]) > 0 { // none of its connections has ended
		h2 = new(tally.HTTP2)
	}
	b.failed(FailedRequests, &t.Counted, h2 != nil)
	if h2 != nil {
		b.http2(h2)
	}
}

func (b *builder) http2(h *tally.HTTP2) {
	for by := range h.Goaways {
		for code, n := range h.Goaways[by] {
			b.some(Goaways, n, LabelBy, sides[by], LabelCode, http.Code(code).String())
		}
	}
	b.histogram(StreamsConcurrent, tally.Things, &h.MaxConcurrent, tally.RequestBounds)
	b.seconds(StreamLimitReached, h.AtLimitNS)
	b.counter(RefusedStreams, h.Refused)
	for status, n := range h.GRPCStatus[1:] {
		b.some(GRPCErrors, n, LabelCode, http.GRPCStatus(status+1).String())
	}
}

func total(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// common says whether a cause is one of those by which most handshakes are wasted:
// their series are there before the first, so that it is an increase. The others are
// most of two dozen, and of most servers never seen.
func common(c fact.Cause) bool {
	switch c {
	case fact.PoolMiss, fact.Cause(fact.ReasonClientClose), fact.Cause(fact.ReasonServerClose), fact.Cause(fact.ReasonClientDiscard),
		fact.Cause(fact.ReasonClientIdle), fact.Cause(fact.ReasonServerIdle):
		return true
	default:
		return false
	}
}

// judged adds verdicts on what is counted.
func (b *builder) judged(t *server) {
	v, probed := &t.Counted, &t.probed().Traffic
	b.parts(NeededHandshakes, v.Needed, probed.Needed, nil)
	for cause, n := range v.Wasted {
		if n > 0 || common(fact.Cause(cause)) {
			b.parts(WastedHandshakes, n, probed.Wasted[cause], &v.WastedBy[cause], LabelCause, fact.Cause(cause).String())
		}
	}
	for kind, name := range costKinds {
		if v.CostNS[kind] == 0 && (kind == tally.CostConnect || kind == tally.CostTLS && !t.Encrypted) {
			continue // it has no tunnels, or no TLS
		}
		b.seconds(WastedSeconds, v.CostNS[kind]-probed.CostNS[kind], LabelKind, name, LabelTraffic, traffics[application])
		if probed.CostNS[kind] > 0 {
			b.seconds(WastedSeconds, probed.CostNS[kind], LabelKind, name, LabelTraffic, traffics[probe])
		}
	}
}

func (b *builder) idle(t *server) {
	b.histogram(ReuseIdle, tally.Seconds, &t.Counted.ReuseIdle, tally.IdleBounds)
	for side, name := range sides {
		b.histogram(CloseIdle, tally.Seconds, &t.CloseIdle[side], tally.CloseBounds, LabelClosedBy, name)
		if ns, ok := t.IdleClosings[side].Timeout(); ok {
			b.gauge(ObservedTimeout, float64(ns)/1e9, LabelSide, name)
		}
	}
	if t.AdvertisedAt != 0 {
		b.gauge(AdvertisedTimeout, float64(t.Advertised))
	}
}

func (b *builder) estimates(t *server) {
	e := t.Estimated
	if e == nil {
		e = new(tally.Traffic)
	}
	for reuse := range fact.NumReuses {
		b.counter(EstimatedRequests, e.Reuse(reuse), LabelReused, reuse.String())
	}
	b.counter(EstimatedNeeded, e.Needed)
	for cause, n := range e.Wasted {
		if n > 0 || fact.Cause(cause) == fact.PoolMiss {
			b.number(EstimatedWasted, float64(n), &e.WastedBy[cause], LabelCause, fact.Cause(cause).String())
		}
	}
	for kind, name := range costKinds {
		b.seconds(EstimatedSeconds, e.CostNS[kind], LabelKind, name)
	}
	b.number(EstimatedRaces, float64(e.Races), &e.Raced)
	b.some(EstimatedStaleReuses, e.StaleReuses)
	b.failed(EstimatedFailed, e, false)
}

// failed adds requests that failed, by how. Streams are refused by HTTP/2 alone.
func (b *builder) failed(name string, t *tally.Traffic, streams bool) {
	for how := fact.NotFailed + 1; how < fact.NumFailures; how++ {
		if n := t.Failed[how].N; n > 0 || streams || how != fact.FailRefusedStream {
			b.counter(name, n, LabelHow, how.String())
		}
	}
}

// stages adds what is not about a server.
func (b *builder) stages(s *Stages, sum *tally.Sum) {
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
	var incomplete uint64
	for _, r := range sum.Rows {
		incomplete += r.Incomplete
	}
	b.counter(MissingBytes, s.Reassembly.MissingBytes)
	b.counter(OutOfOrderSegments, s.Reassembly.OutOfOrder)
	b.counter(IncompleteConnections, incomplete)
	b.counter(StrayResets, s.Reassembly.StrayResets)
	for _, kind := range slices.Sorted(maps.Keys(s.KeylogLines)) {
		b.counter(KeylogLines, s.KeylogLines[kind], LabelKind, kind)
	}
	for _, l := range slices.Concat(sum.Limits(), s.Limits) {
		b.some(CapMet, l.Count, LabelCap, l.Name)
	}
	b.counter(ResettledReasons, sum.Resettled())
	b.counter(EvictedConnections, s.Reassembly.Evicted)
	b.gauge(TrackedConnections, float64(s.Reassembly.Open))
	b.gauge(BufferedBytes, float64(s.Reassembly.Buffered))
	b.gauge(Servers, float64(sum.Labels))
	b.gauge(ServerLimit, float64(sum.MaxServers()))
	b.counter(LogLines, s.LogLines)
	b.counter(LogDropped, s.LogDropped)
	b.gauge(ReuseWindow, b.cfg.ReuseWindow.Seconds())
	b.gauge(BuildInfo, 1, LabelVersion, b.cfg.Version, LabelCommit, b.cfg.Commit, LabelGoVersion, b.cfg.GoVersion)
}

// histogram adds a histogram, classic and native, once it has a value.
func (b *builder) histogram(name string, u *tally.Unit, h *tally.Histogram, bounds []float64, labels ...string) {
	n, sum := h.Count(), float64(h.Sum())/u.Per
	if n == 0 {
		return // it would be dozens of lines that say nothing
	}
	d := &dto.Histogram{SampleCount: &n, SampleSum: &sum, CreatedTimestamp: b.created}
	if !b.cfg.NoClassic {
		d.Bucket = classic(u, h, bounds)
	}
	if !b.cfg.NoNative {
		nativeBuckets(u, h, d, maxNative)
	}
	b.add(name, &dto.Metric{Histogram: d}, labels...)
}

// classic returns the cumulative buckets of the bounds.
func classic(u *tally.Unit, h *tally.Histogram, bounds []float64) []*dto.Bucket {
	buckets := make([]*dto.Bucket, 0, len(bounds)+1)
	counts := append(h.Cumulative(u, bounds), h.Count())
	for i, bound := range append(bounds[:len(bounds):len(bounds)], math.Inf(1)) {
		buckets = append(buckets, &dto.Bucket{UpperBound: &bound, CumulativeCount: &counts[i]})
	}
	return buckets
}

const (
	maxNative      = 160 // populated buckets; what agents commonly accept
	coarsestSchema = -4
)

// nativeBuckets fills in the native buckets. Their resolution is halved until
// no more than limit are populated.
func nativeBuckets(u *tally.Unit, h *tally.Histogram, d *dto.Histogram, limit int) {
	zero, list := h.Native(u)
	resolution := int32(tally.NativeSchema)
	for len(list) > limit && resolution > coarsestSchema {
		resolution--
		list = halved(list)
	}
	d.Schema, d.ZeroThreshold, d.ZeroCount = &resolution, &u.Zero, &zero
	d.PositiveSpan, d.PositiveDelta = spans(list)
}

// halved joins each two neighbours, in the memory of list.
func halved(list []tally.NativeBucket) []tally.NativeBucket {
	half := list[:0]
	for _, p := range list {
		p.Index = (p.Index + 1) >> 1
		if last := len(half) - 1; last >= 0 && half[last].Index == p.Index {
			half[last].N += p.N
		} else {
			half = append(half, p)
		}
	}
	return half
}

// spans writes buckets as spans of adjacent ones, and each count as the
// difference to the one before.
func spans(list []tally.NativeBucket) (spans []*dto.BucketSpan, deltas []int64) {
	next, before := 0, int64(0)
	for i, p := range list {
		if i == 0 || p.Index != next {
			offset, length := int32(p.Index-next), uint32(0)
			spans = append(spans, &dto.BucketSpan{Offset: &offset, Length: &length})
		}
		*spans[len(spans)-1].Length++
		deltas = append(deltas, int64(p.N)-before)
		next, before = p.Index+1, int64(p.N)
	}
	if spans == nil { // what tells an empty native histogram from none
		spans = []*dto.BucketSpan{{Offset: new(int32), Length: new(uint32)}}
	}
	return spans, deltas
}
