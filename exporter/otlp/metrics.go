package otlp

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
)

// PushMetrics pushes what g gathers every interval: by its names in Prometheus, or by
// those of OpenTelemetry's conventions. It answers for the errors of OpenTelemetry in
// the whole process. stop pushes once more and ends it.
func PushMetrics(t Target, g prometheus.Gatherer, interval time.Duration, conventional bool) (stop func(context.Context), err error) {
	to, err := t.url("/v1/metrics")
	if err != nil {
		return nil, err
	}
	exp, err := otlpmetrichttp.New(context.Background(),
		otlpmetrichttp.WithEndpointURL(to),
		otlpmetrichttp.WithTimeout(pushTimeout),
		otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
		otlpmetrichttp.WithHTTPClient(t.Own.client()))
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Log.Warn("OTLP push", "error", err) }))
	provider := metric.NewMeterProvider(
		metric.WithResource(t.resource()),
		metric.WithReader(metric.NewPeriodicReader(exp,
			metric.WithInterval(interval), metric.WithTimeout(pushTimeout),
			metric.WithProducer(newPushed(g, conventional, t.Version)))))
	return func(ctx context.Context) {
		if err := provider.Shutdown(ctx); err != nil {
			t.Log.Warn("OTLP push", "error", err)
		}
	}, nil
}
