// Package generated holds what package dashboards writes: the Grafana
// dashboards and the Prometheus rules, as files. A program that only hands
// them out embeds these and not the generator, whose schema is large.
package generated

import "embed"

// Files are the files, all at the top.
//
//go:embed *.json *.yaml
var Files embed.FS
