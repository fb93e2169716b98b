package main

import (
	"context"

	"github.com/compose-spec/compose-go/v2/cli"
)

// compose loads a project as docker compose does: it holds it against the
// schema, and its references against each other.
func compose(file string) []result {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithResolvedPaths(true))
	if err == nil {
		_, err = options.LoadProject(context.Background())
	}
	return verdict(file, err)
}
