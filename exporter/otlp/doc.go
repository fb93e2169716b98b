// Package otlp pushes what was counted (PushMetrics), and an event for each connection
// that ends (OpenLog), to OTLP endpoints over HTTP.
//
// Connections that this program opens to push are left out of its figures: see
// OwnTraffic. A push that fails is told in the log and ends nothing.
package otlp
