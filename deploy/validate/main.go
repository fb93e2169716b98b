// Command validate reads what is shipped with the code of the programs that it
// is for, as no schema says all that they refuse:
//
//	validate kubernetes FILE...  what kube-apiserver does with an object before it is stored
//	validate prometheus FILE...  Prometheus' configuration
//	validate compose FILE...     docker compose's
//
// It writes a JSON list of what it found, in order, for the tests of package deploy.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// A result is what is said of one object of Kubernetes, or of one file.
type result struct {
	File   string
	Errors []string
	Kind   string
	// The strictest level of Pod Security that admits the object's pods, and why
	// baseline and restricted do not.
	PodSecurity string
	Forbidden   []string
}

func main() {
	kinds := map[string]func(file string) []result{
		"kubernetes": kubernetes, "prometheus": prometheus, "compose": compose,
	}
	if len(os.Args) < 3 || kinds[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: validate kubernetes|prometheus|compose FILE...")
		os.Exit(2)
	}
	var results []result
	for _, file := range os.Args[2:] {
		results = append(results, kinds[os.Args[1]](file)...)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		fmt.Fprintln(os.Stderr, "validate:", err)
		os.Exit(1)
	}
}

// verdict is the result of a file of which there is one.
func verdict(file string, err error) []result {
	r := result{File: file}
	if err != nil {
		r.Errors = []string{err.Error()}
	}
	return []result{r}
}
