package dashboardstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A Server is a Prometheus that is to be run: that of the PATH, 2.40 or newer.
type Server struct {
	Listen   string        // address and port of its API
	Targets  []string      // addresses and ports that it scrapes
	Interval time.Duration // between scrapes, and between evaluations of rules
	Native   bool          // scrape native histograms, where there are any
	Rules    []string      // absolute paths of rule files
}

// Arguments writes a configuration into a folder, which will hold its data, too, and
// returns what the program is to be called with.
func (s Server) Arguments(ctx context.Context, dir string) ([]string, error) {
	version, err := exec.CommandContext(ctx, "prometheus", "--version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the version of Prometheus: %w", err)
	}
	global := map[string]any{"scrape_interval": s.Interval.String(), "evaluation_interval": s.Interval.String()}
	args := []string{
		"--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + s.Listen,
		"--enable-feature=exemplar-storage",
	}
	switch old := bytes.HasPrefix(version, []byte("prometheus, version 2.")); {
	case s.Native && old:
		args = append(args, "--enable-feature=native-histograms")
	case s.Native:
		global["scrape_native_histograms"] = true
	}
	config, err := json.Marshal(map[string]any{ // JSON is YAML
		"global": global, "rule_files": s.Rules,
		"scrape_configs": []any{map[string]any{
			"job_name": "keepscope", "static_configs": []any{map[string]any{"targets": s.Targets}},
		}},
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "prometheus.yml")
	return append(args, "--config.file="+path), os.WriteFile(path, config, 0o600)
}
