package dashboards

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/exporter"
)

// Labels that Prometheus, not Keepscope, gives a series. On a host without
// Kubernetes the first three are absent, and a matcher that allows the empty
// string selects the series all the same.
const (
	labelCluster   = "cluster"
	labelNamespace = "namespace"
	labelPod       = "pod"
	labelJob       = "job"
	labelInstance  = "instance"
	labelLe        = "le"
)

// Metrics of Prometheus itself and of the process collector that every Go
// program exports.
const (
	metricUp        = "up"
	metricMemory    = "process_resident_memory_bytes"
	metricCPU       = "process_cpu_seconds_total"
	metricStartTime = "process_start_time_seconds"
)

// ForeignMetrics are the metrics that the queries use besides exporter.Metrics.
var ForeignMetrics = []string{metricUp, metricMemory, metricCPU, metricStartTime}

// TargetLabels are the labels that the queries use besides those of the metrics.
var TargetLabels = []string{labelCluster, labelNamespace, labelPod, labelJob, labelInstance}

// perInstance joins what two metrics say of one sidecar.
var perInstance = []string{labelCluster, labelNamespace, labelJob, labelInstance}

// rateInterval is what Grafana puts in for at least four scrapes.
const rateInterval = "$__rate_interval"

// wholeRange is the time range that the dashboard shows.
const wholeRange = "$__range"

// application leaves health checks out.
var application = is(exporter.LabelTraffic, "application")

// A scope is the matchers that every selector of a dashboard has.
type scope []string

var (
	targetScope = scope{
		labelCluster + `=~"$cluster"`,
		labelNamespace + `=~"$namespace"`,
		labelPod + `=~"$pod"`,
		labelJob + `=~"$job"`,
	}
	fleetScope  = targetScope.with(exporter.LabelDirection + `=~"$direction"`)
	serverScope = targetScope.with(exporter.LabelDirection+`=~"$direction"`, exporter.LabelServer+`="$server"`)
	noScope     = scope{} // rules see everything
)

func (s scope) with(matchers ...string) scope {
	return append(append(scope{}, s...), matchers...)
}

// pick returns the selector of a metric.
func (s scope) pick(metric string, matchers ...string) string {
	all := s.with(matchers...)
	if len(all) == 0 {
		return metric
	}
	return metric + "{" + strings.Join(all, ",") + "}"
}

// rate returns the metric's increase per second over the window.
func (s scope) rate(window, metric string, matchers ...string) string {
	return "rate(" + s.pick(metric, matchers...) + "[" + window + "])"
}

// increase returns the metric's increase over the window.
func (s scope) increase(window, metric string, matchers ...string) string {
	return "increase(" + s.pick(metric, matchers...) + "[" + window + "])"
}

func is(label, value string) string    { return fmt.Sprintf("%s=%q", label, value) }
func isNot(label, value string) string { return fmt.Sprintf("%s!=%q", label, value) }
func oneOf(label string, values ...string) string {
	return fmt.Sprintf("%s=~%q", label, strings.Join(values, "|"))
}

// fullest keeps of an expression those five of a label that had the largest
// values in the time range shown, and so the same ones all along.
func fullest(label, expr string) string {
	return fmt.Sprintf("%s and on (%s) topk(5, max by (%s) (max_over_time((%s)[%s:$__interval] @ end())))", expr, label, label, expr, wholeRange)
}

func by(labels ...string) []string { return labels }

func aggregate(op string, labels []string, expr string) string {
	if len(labels) == 0 {
		return op + "(" + expr + ")"
	}
	return op + " by (" + joined(labels) + ") (" + expr + ")"
}

func sum(labels []string, expr string) string { return aggregate("sum", labels, expr) }

// either adds up metrics that have different labels: "or" keeps the series of
// both, as no two of them have the same labels: see estimated.
func either(exprs ...string) string { return strings.Join(exprs, " or ") }

// ratio has no value, rather than NaN, where there is nothing to divide by.
func ratio(part, whole string) string { return part + " / (" + whole + " > 0)" }

// effectiveness is the share of requests that rode an open connection, of those
// for which one could have been at hand. Matchers select wasted handshakes.
func (s scope) effectiveness(window string, labels []string, matchers ...string) string {
	reused := s.rate(window, exporter.Requests, is(exporter.LabelReused, "true"), application)
	wasted := s.rate(window, exporter.WastedHandshakes, append([]string{application}, matchers...)...)
	return ratio(sum(labels, reused), sum(labels, either(reused, wasted)))
}

// estimatedEffectiveness is that of TLS without keys.
func (s scope) estimatedEffectiveness(window string, labels []string) string {
	reused := s.rate(window, exporter.EstimatedRequests, is(exporter.LabelReused, "true"))
	return ratio(sum(labels, reused), sum(labels, either(reused, s.rate(window, exporter.EstimatedWasted))))
}

// quantile works with native histograms, and with classic ones where there are
// no native ones. Labels don't include le. It has no value, rather than NaN,
// where nothing was observed.
func (s scope) quantile(q float64, window string, labels []string, metric string, matchers ...string) string {
	native := sum(labels, s.rate(window, metric, matchers...))
	classic := sum(append(append([]string{}, labels...), labelLe), s.rate(window, metric+"_bucket", matchers...))
	return fmt.Sprintf("((histogram_quantile(%g, %s) >= 0) or (histogram_quantile(%g, %s) >= 0))", q, native, q, classic)
}

// mean works like quantile.
func (s scope) mean(window string, labels []string, metric string, matchers ...string) string {
	native := sum(labels, s.rate(window, metric, matchers...))
	return fmt.Sprintf("((histogram_sum(%s) / (histogram_count(%s) > 0)) or (%s))", native, native,
		ratio(sum(labels, s.rate(window, metric+"_sum", matchers...)), sum(labels, s.rate(window, metric+"_count", matchers...))))
}

// buckets is what a heatmap draws: native where there is any, else classic, and
// nothing where nothing was observed.
func (s scope) buckets(metric string, matchers ...string) string {
	native := sum(nil, s.rate(rateInterval, metric, matchers...))
	return fmt.Sprintf("(%s and on () (histogram_count(%s) > 0)) or on () (%s and on () (%s > 0))", native, native,
		sum(by(labelLe), s.rate(rateInterval, metric+"_bucket", matchers...)),
		sum(nil, s.rate(rateInterval, metric+"_count", matchers...)))
}

// upTo is how many observations per second are at most each of the bounds, times
// a weight, added up: native histograms where there are any, else classic ones.
func (s scope) upTo(window, metric string, weights map[string]float64) string {
	native := sum(nil, s.rate(window, metric))
	var natives, classics []string
	for _, bound := range slices.Sorted(maps.Keys(weights)) {
		natives = append(natives, fmt.Sprintf("%g * histogram_fraction(-1, %s, %s)", weights[bound], bound, native))
		// Prometheus 3 writes the bound 10 as 10.0.
		le := fmt.Sprintf(`%s=~"%s(\\.0)?"`, labelLe, bound)
		classics = append(classics, fmt.Sprintf("%g * %s", weights[bound], sum(nil, s.rate(window, metric+"_bucket", le))))
	}
	return fmt.Sprintf("((%s) * histogram_count(%s) >= 0) or (%s)", strings.Join(natives, " + "), native, strings.Join(classics, " + "))
}

// ownProcess keeps of a metric that any program may have those of Keepscope.
func (s scope) ownProcess(expr string) string {
	return expr + " and on (" + joined(perInstance) + ") " + s.pick(exporter.BuildInfo)
}

func joined(labels []string) string { return strings.Join(labels, ", ") }
