package otlp

import (
	"context"
	"net"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/keepscope/keepscope/exporter"
)

// A pushed is what g gathers, as OpenTelemetry wants it: with a scope of its own,
// with units, and by the names of its conventions where these are asked for.
type pushed struct {
	metric.Producer
	conventional bool
	version      string // of the program
}

func newPushed(g prometheus.Gatherer, conventional bool, version string) pushed {
	if conventional {
		g = conventionalNames{g}
	}
	return pushed{bridge.NewMetricProducer(bridge.WithGatherer(g)), conventional, version}
}

func (p pushed) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	list, err := p.Producer.Produce(ctx)
	for i := range list {
		list[i].Scope = instrumentation.Scope{Name: scope, Version: p.version}
		for j := range list[i].Metrics {
			m := &list[i].Metrics[j]
			m.Unit = unitOf(m.Name)
			if p.conventional {
				p.rename(m)
			}
		}
	}
	return list, err
}

// unitOf returns the unit that a metric's name ends in, by UCUM; empty for counts,
// whose unit would become a part of names in Prometheus.
func unitOf(name string) string {
	name = strings.TrimSuffix(name, "_total")
	switch {
	case strings.HasSuffix(name, "_seconds"):
		return "s"
	case strings.HasSuffix(name, "_bytes"):
		return "By"
	}
	return ""
}

// conventions are the names of metrics in OpenTelemetry's semantic conventions
// (https://opentelemetry.io/docs/specs/semconv/): http/http-metrics,
// system/process-metrics, runtime/go-metrics.
var conventions = map[string]string{
	exporter.ConnectionsOpen:        "http.client.open_connections",
	exporter.ConnectionDuration:     "http.client.connection.duration",
	"process_cpu_seconds_total":     "process.cpu.time",
	"process_resident_memory_bytes": "process.memory.usage",
	"process_virtual_memory_bytes":  "process.memory.virtual",
	"process_open_fds":              "process.unix.file_descriptor.count",
	"go_goroutines":                 "go.goroutine.count",
	"go_sched_gomaxprocs_threads":   "go.processor.limit",
	"go_gc_gomemlimit_bytes":        "go.memory.limit",
	"go_gc_gogc_percent":            "go.config.gogc",
}

// upDown are those of conventions that are sums of what comes and goes.
var upDown = map[string]bool{
	"http.client.open_connections": true, "process.memory.usage": true, "process.memory.virtual": true,
	"process.unix.file_descriptor.count": true, "go.goroutine.count": true, "go.processor.limit": true,
	"go.memory.limit": true, "go.config.gogc": true,
}

// rename gives a metric the name of a convention, else one without the unit and the
// type, which OpenTelemetry has beside a name.
func (p pushed) rename(m *metricdata.Metrics) {
	if name, ok := conventions[m.Name]; ok {
		m.Name = name
		if g, ok := m.Data.(metricdata.Gauge[float64]); ok && upDown[name] {
			m.Data = metricdata.Sum[float64]{DataPoints: g.DataPoints, Temporality: metricdata.CumulativeTemporality}
		}
		return
	}
	name := strings.TrimSuffix(m.Name, "_total")
	switch m.Unit {
	case "s":
		name = strings.TrimSuffix(name, "_seconds")
	case "By":
		name = strings.TrimSuffix(name, "_bytes")
	}
	m.Name = strings.Replace(name, "_", ".", 1) // keepscope.requests
}

// conventionalNames gathers with the attributes of conventions in the place of labels.
type conventionalNames struct{ prometheus.Gatherer }

func (c conventionalNames) Gather() ([]*dto.MetricFamily, error) {
	families, err := c.Gatherer.Gather()
	out := make([]*dto.MetricFamily, len(families))
	for i, f := range families { // which is shared
		out[i] = &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type}
		for _, m := range f.Metric {
			out[i].Metric = append(out[i].Metric, &dto.Metric{
				Label: conventionalLabels(m.Label), Counter: m.Counter, Gauge: m.Gauge, Histogram: m.Histogram, Summary: m.Summary,
			})
		}
	}
	return out, err
}

func conventionalLabels(labels []*dto.LabelPair) (list []*dto.LabelPair) {
	add := func(name, value string) { list = append(list, &dto.LabelPair{Name: &name, Value: &value}) }
	for _, l := range labels {
		value := l.GetValue()
		switch l.GetName() {
		case exporter.LabelServer:
			host, port, err := net.SplitHostPort(value)
			if err != nil {
				host = value
			}
			add("server.address", host)
			if err == nil {
				add("server.port", port)
			}
		case exporter.LabelProtocol:
			name, version, _ := strings.Cut(value, "/")
			if value == "h2" {
				name, version = "http", "2"
			}
			add("network.protocol.name", name)
			if version != "" {
				add("network.protocol.version", version)
			}
		case exporter.LabelInterface:
			add("network.interface.name", value)
		default:
			list = append(list, l)
		}
	}
	return list
}
