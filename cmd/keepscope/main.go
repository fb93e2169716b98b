// Command keepscope measures how well HTTP keep-alive works, from packets
// alone. README.md describes its commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/sniffer/pcap"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // it could not do its job
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in order; after it, the next one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], console{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// A console is where a command reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer
}

// fail says what went wrong. Names that are given on the command line, or come
// from a file, may be in it.
func (c console) fail(err error) { fmt.Fprintln(c.err, "keepscope:", printable.Lines(err.Error())) }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, con console) int {
	var c cli
	status, exited, none := 0, false, false
	if len(args) == 0 {
		con.out, args, none = con.err, []string{"--help"}, true
	}
	parser, err := c.parser(ctx, con, kong.Exit(func(code int) { status, exited = code, true }), onlyCommand(args[0]))
	if err != nil {
		con.fail(err)
		return exitUsage
	}
	k, err := parser.Parse(args)
	switch {
	case none:
		return exitUsage
	case exited: // --help, --version
		return status
	}
	if err != nil {
		con.fail(err)
		fmt.Fprintln(con.err, whereHelpIs(err))
		return exitUsage
	}
	if strings.HasPrefix(k.Command(), "run") {
		if err := checkEnvironment(parser.Model); err != nil {
			con.fail(err)
			return exitUsage
		}
	}
	log := c.logger(con.err)
	k.Bind(log)
	err = k.Run(ctx, con, log)
	var usage usageError
	var filter *pcap.FilterError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.As(err, &filter):
		con.fail(err)
		return exitUsage
	}
	con.fail(err)
	return exitFailed
}

// whereHelpIs names the help that a command line which can't be parsed was missing.
func whereHelpIs(err error) string {
	var at *kong.ParseError
	if errors.As(err, &at) {
		if command := at.Context.Selected(); command != nil {
			return fmt.Sprintf("Run 'keepscope %s --help' for its flags.", command.Path())
		}
	}
	return "Run 'keepscope --help' for the commands and their flags."
}

// parser returns what parses a command line into c.
func (c *cli) parser(ctx context.Context, con console, options ...kong.Option) (*kong.Kong, error) {
	return kong.New(c, append(append(worded(), []kong.Option{
		kong.Name("keepscope"),
		kong.Description("Measures how well HTTP keep-alive works, from packets alone."),
		kong.DefaultEnvars("KEEPSCOPE"),
		flagDefaults(),
		kong.Writers(con.out, con.err),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(con),
		kong.ValueFormatter(formatHelp),
	}...), options...)...)
}

// onlyCommand leaves the commands other than the named one out of the parser: to look at
// the flags of all of them takes longer than all else before the first packet is read.
// Where there is no such command it leaves out none.
func onlyCommand(name string) kong.Option {
	var others []string
	there := false
	for field := range reflect.TypeFor[cli]().Fields() {
		if _, command := field.Tag.Lookup("cmd"); !command {
			continue
		}
		if strings.ToLower(field.Name) == name {
			there = true
		} else {
			others = append(others, field.Name)
		}
	}
	if !there {
		others = nil
	}
	return kong.IgnoreFields(`^cli\.(` + strings.Join(others, "|") + `)$`)
}

// flagDefaults are those defaults of flags that are set elsewhere.
func flagDefaults() kong.Vars {
	return kong.Vars{"tunnels": "true", "snaplen": strconv.Itoa(pcap.DefaultSnaplen), "max_stories": strconv.Itoa(story.LiveStories)}
}

// A usageError is a wrong use of the command line that its parser can't see.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// logger returns the logger that the flags ask for.
func (c *cli) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
