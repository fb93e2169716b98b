package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// envPrefix begins the names of the variables that stand for flags.
const envPrefix = "KEEPSCOPE_"

// serviceVariable matches what Kubernetes sets in a pod for a Service whose name
// begins with keepscope.
var serviceVariable = regexp.MustCompile(`^KEEPSCOPE_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=|^KEEPSCOPE_(.*_)?PORT=(tcp|udp|sctp)://`)

// unknownVariables says which variables of an environment look as if they were
// for a command, and are not.
func unknownVariables(environ []string, command *kong.Node) error {
	known := map[string]bool{}
	for _, level := range command.AllFlags(false) {
		for _, f := range level {
			for _, env := range f.Envs {
				known[env] = true
			}
		}
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, flagName(name))
	}
	slices.Sort(names)
	var errs []error
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || known[name] || serviceVariable.MatchString(variable) {
			continue
		}
		hint := ""
		if like := nearest(flagName(name), names); like != "" {
			hint = fmt.Sprintf(" (did you mean %s?)", variableName(like))
		}
		errs = append(errs, usageError{fmt.Errorf("the environment has %s, for which there is no flag%s", name, hint)})
	}
	return errors.Join(errs...)
}

func flagName(variable string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(variable, envPrefix), "_", "-"))
}

func variableName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// checkEnvironment is unknownVariables for 'keepscope run', of which variables
// are the whole configuration in a container. What stands there for another
// program or command bothers no other command.
func checkEnvironment(app *kong.Application) error {
	i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == "run" })
	return unknownVariables(os.Environ(), app.Children[i])
}
