package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keepscope/keepscope/dashboards/generated"
)

// dashboardsCmd is 'keepscope dashboards'.
type dashboardsCmd struct {
	Out string `required:"" placeholder:"DIR" help:"Directory to write to; it is made where it does not exist."`
}

// Run writes the dashboards and the rules, and lists what it wrote.
func (d *dashboardsCmd) Run(con console) error {
	if err := os.MkdirAll(d.Out, 0o755); err != nil {
		return err
	}
	return fs.WalkDir(generated.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := generated.Files.ReadFile(name)
		if err != nil {
			return err
		}
		path := filepath.Join(d.Out, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
		_, err = fmt.Fprintln(con.out, path)
		return err
	})
}
