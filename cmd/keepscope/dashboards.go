package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/keepscope/keepscope/dashboards"
)

// dashboardsCmd is 'keepscope dashboards'.
type dashboardsCmd struct {
	Out string `required:"" placeholder:"DIR" help:"Directory to write to; it is made where it does not exist."`
}

// Run writes the dashboards and the rules, and lists what it wrote.
func (d *dashboardsCmd) Run(con console) error {
	files, err := dashboards.Files(dashboards.Config{})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.Out, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(d.Out, f.Name)
		if err := os.WriteFile(path, f.Content, 0o644); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(con.out, path); err != nil {
			return err
		}
	}
	return nil
}
