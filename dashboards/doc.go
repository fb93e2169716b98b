// Package dashboards builds the Grafana dashboards and the Prometheus rules of
// Keepscope from the metric names of package exporter.
//
// Three dashboards answer three questions: [Overview] where in the fleet
// connections are wasted, [Server] why one server's connections are, [Capture]
// whether the figures can be trusted. [RecordingRules] hold the ratios that
// have to be computed after summing over pods, [AlertingRules] say when a person
// should look; runbook.md says what that person does.
//
// To put them into a generator of one's own, call those functions with a
// [Config], change what they return (they return the Foundation SDK's own
// types), and write it as one's other dashboards are written. [Files] returns
// all of it as it is in generated/.
//
// The look (colours, heights, legends) is in look.go, the variables in
// variables.go, the query language in promql.go; a dashboard is one file and a
// panel one function in it.
package dashboards

//go:generate go test -run ^TestGenerated$ . -update
