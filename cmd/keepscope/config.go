package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/keepscope/keepscope/exporter/endpoint"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

// maxConfig bounds the size of a configuration file.
const maxConfig = 1 << 20

// A configFile is a flag that names a YAML file with values for its command's
// other flags.
type configFile string

// BeforeResolve is kong's hook: it reads the file once the flag has a value.
func (configFile) BeforeResolve(ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(configFile))
	if path == "" {
		return nil
	}
	f, err := loadConfig(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	if _, err := f.problems(ctx.Model); err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	ctx.AddResolver(f)
	return nil
}

// A config is what a configuration file says.
type config struct {
	path   string
	values map[string]setting
}

// A setting is a flag's value, as it would stand on a command line.
type setting struct {
	value string
	line  int
}

func loadConfig(path string) (*config, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxConfig)
	}
	return parseConfig(path, text)
}

// parseConfig reads one mapping of flags' names to scalars or lists of them. With
// an error about some of them it still returns the others.
func parseConfig(path string, text []byte) (*config, error) {
	c := &config{path: path, values: map[string]setting{}}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // an empty file, or only comments
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", path)
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return c, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, c.at(top, "it takes lines such as 'listen: 127.0.0.1:9737'")
	}
	var errs []error
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		text, err := c.text(key.Value, value)
		if _, twice := c.values[key.Value]; twice {
			err = c.at(key, "%q is there twice", key.Value)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.values[key.Value] = setting{text, key.Line}
	}
	return c, errors.Join(errs...)
}

// A lineError is what is wrong in a line of a file.
type lineError struct {
	path string
	line int
	error
}

func (e lineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.path, e.line, e.error) }
func (e lineError) Unwrap() error { return e.error }

func (c *config) at(n *yaml.Node, format string, args ...any) error {
	return lineError{c.path, n.Line, fmt.Errorf(format, args...)}
}

// text returns a value as it would stand on a command line.
func (c *config) text(key string, n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		list := make([]string, 0, len(n.Content))
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode || e.Tag == "!!null" {
				return "", c.at(e, "%s: a list takes single values", key)
			}
			list = append(list, e.Value)
		}
		return kong.JoinEscaped(list, ','), nil
	}
	return "", c.at(n, "%s: no value", key)
}

// problems says which keys are no flags of 'keepscope run', and which values
// their flags can't take; bad lists these keys.
func (c *config) problems(app *kong.Application) (bad []string, err error) {
	flags := slices.Clone(app.Flags)
	for _, command := range app.Children {
		if command.Name == "run" {
			flags = append(flags, command.Flags...)
		}
	}
	known := map[string]*kong.Flag{}
	var names []string
	for _, f := range flags {
		if f.Name != "help" && f.Name != "version" && f.Name != "config" {
			known[f.Name], names = f, append(names, f.Name)
		}
	}
	keys := slices.Collect(maps.Keys(c.values))
	slices.SortFunc(keys, func(a, b string) int { return c.values[a].line - c.values[b].line })
	var errs []error
	for _, key := range keys {
		s := c.values[key]
		var wrong error
		if f := known[key]; f != nil {
			wrong = s.fits(f)
		} else {
			hint := ""
			if like := nearest(key, names); like != "" {
				hint = fmt.Sprintf(" (did you mean %q?)", like)
			}
			wrong = fmt.Errorf("unknown key %q%s", key, hint)
		}
		if wrong != nil {
			bad, errs = append(bad, key), append(errs, lineError{c.path, s.line, wrong})
		}
	}
	return bad, errors.Join(errs...)
}

// fits says why a flag can't take a value.
func (s setting) fits(flag *kong.Flag) error {
	scan := kong.Scan().PushTyped(s.value, kong.FlagValueToken)
	if err := flag.Parse(scan, reflect.New(flag.Target.Type()).Elem()); err != nil {
		// kong's words begin with the flag's name.
		return fmt.Errorf("--%s: %s", flag.Name, strings.TrimPrefix(err.Error(), "--"+flag.Name+": "))
	}
	if flag.Enum != "" && !slices.Contains(flag.EnumSlice(), s.value) {
		return fmt.Errorf("--%s: it takes one of %s, not %q", flag.Name, flag.Enum, s.value)
	}
	return nil
}

// nearest returns the name that differs from key in at most two letters, or in
// how its words are joined.
func nearest(key string, names []string) string {
	joined := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(key))
	best, distance := "", 3
	for _, n := range names {
		if d := edits(joined, n); d < distance {
			best, distance = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}

// Validate implements kong.Resolver. Keys were checked when the file was read.
func (c *config) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver: it gives a flag the file's value, unless
// the environment has one. kong asks only for flags that the command line does
// not have.
func (c *config) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	s, ok := c.values[flag.Name]
	if !ok || slices.ContainsFunc(flag.Envs, func(env string) bool { _, set := os.LookupEnv(env); return set }) {
		return nil, nil
	}
	return s.value, nil
}

// configCmd is 'keepscope config'.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Say what is wrong with a configuration file of 'keepscope run'."`
}

type configCheckCmd struct {
	File string `arg:"" help:"The file."`
}

// Run reads the file as 'keepscope run' would, looks at what its values name,
// and tells all that is wrong.
func (c *configCheckCmd) Run(ctx context.Context, con console, _ *slog.Logger) error {
	file, parseErr := loadConfig(c.File)
	if file == nil {
		return parseErr
	}
	var into cli
	parser, err := into.parser(ctx, con, kong.Resolvers(file))
	if err != nil {
		return err
	}
	bad, valueErr := file.problems(parser.Model)
	for _, key := range bad { // what is left is looked at without them
		delete(file.values, key)
	}
	all := []error{parseErr, valueErr, checkEnvironment(parser.Model)}
	if _, err := parser.Parse([]string{"run", "--config="}); err != nil {
		all = append(all, err)
	} else {
		r := &into.Run
		var user *privileges.User
		if os.Geteuid() == 0 {
			user, _ = findUser(r.User) // check says why there is none
		}
		all = append(all, file.located(r.check(ctx)), file.located(webConfigError(endpoint.CheckWebConfig(r.WebConfigFile, user))))
	}
	if err := byLine(errors.Join(all...)); err != nil {
		return errors.New(err.Error()) // about the file, not about this command's use
	}
	_, err = fmt.Fprintf(con.out, "%s is fine\n", c.File)
	return err
}

// byLine sorts joined errors by their lines; those without come last.
func byLine(err error) error {
	list := flatten(err)
	line := func(err error) int {
		if at, ok := errors.AsType[lineError](err); ok {
			return at.line
		}
		return math.MaxInt
	}
	slices.SortStableFunc(list, func(a, b error) int { return cmp.Compare(line(a), line(b)) })
	return errors.Join(list...)
}

// flatten lists the errors that are joined in err.
func flatten(err error) (list []error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			list = append(list, flatten(err)...)
		}
		return list
	}
	if err != nil {
		list = append(list, err)
	}
	return list
}

// located names the lines of the values that the errors joined in err are about.
func (c *config) located(err error) error {
	if list := flatten(err); len(list) != 1 {
		for i, err := range list {
			list[i] = c.located(err)
		}
		return errors.Join(list...)
	}
	wrong, ok := errors.AsType[flagError](err)
	if !ok {
		return err
	}
	s, ok := c.values[wrong.flag]
	if _, set := os.LookupEnv(variableName(wrong.flag)); set || !ok {
		return err // the value is not the file's
	}
	return lineError{c.path, s.line, err}
}
