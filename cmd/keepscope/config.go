package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
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
	if err := f.known(ctx.Model); err != nil {
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

// parseConfig reads one mapping of flags' names to scalars or lists of them.
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
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		if _, twice := c.values[key.Value]; twice {
			return nil, c.at(key, "%q is there twice", key.Value)
		}
		text, err := c.text(key.Value, value)
		if err != nil {
			return nil, err
		}
		c.values[key.Value] = setting{text, key.Line}
	}
	return c, nil
}

func (c *config) at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", c.path, n.Line, fmt.Sprintf(format, args...))
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

// known says which keys are no flags of the command.
func (c *config) known(app *kong.Application) error {
	flags := slices.Clone(app.Flags)
	for _, command := range app.Children {
		if command.Name == "run" {
			flags = append(flags, command.Flags...)
		}
	}
	var names []string
	for _, f := range flags {
		if f.Name != "help" && f.Name != "config" {
			names = append(names, f.Name)
		}
	}
	var unknown []string
	for key := range c.values {
		if !slices.Contains(names, key) {
			unknown = append(unknown, key)
		}
	}
	slices.SortFunc(unknown, func(a, b string) int { return c.values[a].line - c.values[b].line })
	var errs []error
	for _, key := range unknown {
		hint := ""
		if like := nearest(key, names); like != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", like)
		}
		errs = append(errs, fmt.Errorf("%s:%d: unknown key %q%s", c.path, c.values[key].line, key, hint))
	}
	return errors.Join(errs...)
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
// not have. A value that the flag can't take is named with its line.
func (c *config) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	s, ok := c.values[flag.Name]
	if !ok || slices.ContainsFunc(flag.Envs, func(env string) bool { _, set := os.LookupEnv(env); return set }) {
		return nil, nil
	}
	scan := kong.Scan().PushTyped(s.value, kong.FlagValueToken)
	if err := flag.Parse(scan, reflect.New(flag.Target.Type()).Elem()); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", c.path, s.line, err)
	}
	if flag.Enum != "" && !slices.Contains(flag.EnumSlice(), s.value) {
		return nil, fmt.Errorf("%s:%d: it takes one of %s", c.path, s.line, flag.Enum)
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

// Run reads the file as 'keepscope run' would, and looks at what its values
// name.
func (c *configCheckCmd) Run(ctx context.Context, con console, _ *slog.Logger) error {
	var into cli
	parser, err := into.parser(ctx, con)
	if err != nil {
		return err
	}
	if _, err := parser.Parse([]string{"run", "--config=" + c.File}); err != nil {
		return err
	}
	file, err := loadConfig(c.File)
	if err != nil {
		return err
	}
	r := &into.Run
	var user *userIDs
	if os.Geteuid() == 0 {
		user, _ = findUser(r.User) // check says why there is none
	}
	if err := errors.Join(r.check(ctx), checkWebConfig(r.WebConfigFile, user)); err != nil {
		return errors.New(file.located(err).Error()) // about the file, not about this command's use
	}
	_, err = fmt.Fprintf(con.out, "%s is fine\n", c.File)
	return err
}

// located names the lines of the values that the errors joined in err are about.
func (c *config) located(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var list []error
		for _, err := range joined.Unwrap() {
			list = append(list, c.located(err))
		}
		return errors.Join(list...)
	}
	wrong, ok := errors.AsType[flagError](err)
	if !ok {
		return err
	}
	s, ok := c.values[wrong.flag]
	if _, set := os.LookupEnv("KEEPSCOPE_" + strings.ToUpper(strings.ReplaceAll(wrong.flag, "-", "_"))); set || !ok {
		return err // the value is not the file's
	}
	return fmt.Errorf("%s:%d: %w", c.path, s.line, err)
}
