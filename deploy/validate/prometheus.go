package main

import (
	"log/slog"

	"github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/kubernetes" // kubernetes_sd_configs
)

// prometheus reads a configuration as Prometheus does.
func prometheus(file string) []result {
	_, err := config.LoadFile(file, false, slog.New(slog.DiscardHandler))
	return verdict(file, err)
}
