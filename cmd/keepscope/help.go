package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// versionFlag is --version.
type versionFlag bool

// BeforeReset is kong's hook for a flag that acts at once.
func (versionFlag) BeforeReset(k *kong.Kong, con console) error {
	err := versionCmd{}.Run(con)
	k.Exit(exitDone)
	return err
}

// helpCmd is 'keepscope help'.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command; all of them without."`
}

// Run prints what COMMAND --help prints.
func (h helpCmd) Run(ctx context.Context, con console) error {
	var c cli
	shown := false
	parser, err := c.parser(ctx, con, kong.Exit(func(int) { shown = true }))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(append(slices.Clone(h.Command), "--help")); err != nil && !shown {
		return usageError{err}
	}
	return nil
}

// manCmd is 'keepscope man'.
type manCmd struct{}

// Run prints the manual page.
func (manCmd) Run(ctx context.Context, con console) error {
	app, err := commandLine(ctx, con)
	if err != nil {
		return err
	}
	return writeManual(con.out, app)
}

// commandLine returns the command line's commands and flags.
func commandLine(ctx context.Context, con console) (*kong.Application, error) {
	var c cli
	parser, err := c.parser(ctx, con)
	if err != nil {
		return nil, err
	}
	return parser.Model, nil
}

// roff escapes text for a manual page.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

// writeManual writes the manual page, of the man macros.
func writeManual(w io.Writer, app *kong.Application) error {
	var b strings.Builder
	v, _, _ := buildVersion()
	fmt.Fprintf(&b, ".TH KEEPSCOPE 1 \"\" \"keepscope %s\" \"User Commands\"\n", roff(v))
	fmt.Fprintf(&b, ".SH NAME\nkeepscope \\- %s\n", roff(strings.TrimSuffix(lowerFirst(app.Help), ".")))
	b.WriteString(".SH SYNOPSIS\n.B keepscope\n.I command\n.RI [ flags ]\n.SH COMMON FLAGS\n")
	writeManualFlags(&b, app.Flags)
	b.WriteString(".SH COMMANDS\n")
	for _, n := range app.Leaves(true) {
		fmt.Fprintf(&b, ".SS keepscope %s\n%s\n", roff(n.Summary()), roff(n.Help))
		for _, p := range n.Positional {
			fmt.Fprintf(&b, ".TP\n.I %s\n%s\n", roff(p.Summary()), roff(p.Help))
		}
		writeManualFlags(&b, n.Flags)
	}
	b.WriteString(".SH ENVIRONMENT\nEach flag has a variable, which " + roff("is named with it above, as KEEPSCOPE_MAX_SERVERS for --max-servers. A flag takes precedence.") + "\n")
	b.WriteString(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nit could not do its job; one line on standard error names the remedy\n.TP\n2\nwrong usage\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func writeManualFlags(b *strings.Builder, flags []*kong.Flag) {
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(f.String()), roff(formatHelp(f.Value)))
	}
}

func lowerFirst(text string) string { return strings.ToLower(text[:1]) + text[1:] }
