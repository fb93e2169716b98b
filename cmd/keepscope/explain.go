package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/story"
	"github.com/keepscope/keepscope/sniffer/printable"
)

// explainCmd is 'keepscope explain'.
type explainCmd struct {
	Files      []string `arg:"" name:"file" help:"Capture files, as for 'keepscope read'."`
	Server     string   `group:"Which:" placeholder:"NAME|ADDR" help:"Only connections to this server: its name, its address or address:port."`
	Cause      string   `group:"Which:" placeholder:"CAUSE" help:"Only handshakes wasted by this cause, server_idle say, or connections lost by this reason."`
	Connection string   `group:"Which:" placeholder:"ID" help:"The connection with this id, as other outputs name it."`
	Client     string   `group:"Which:" placeholder:"ADDR[:PORT]" help:"Only connections of this client."`
	Limit      int      `group:"Which:" default:"1" help:"How many stories at most."`
	Output     string   `group:"Output:" short:"o" enum:"text,svg,html,json" default:"text" help:"What to print: ${enum}. svg draws one story."`
	part       `group:"Analysis:"`
	analysis   `group:"Analysis:"`
}

// tracedExchanges is how many exchanges a drawn connection has at most.
const tracedExchanges = 64

// storyMemory is the part of --max-memory that stories of a file may take, and again
// the traces of open connections, of traceBytes each.
const (
	storyMemory = 4
	traceBytes  = tracedExchanges * 80
)

// Run reads the files and explains what is worth it.
func (e *explainCmd) Run(ctx context.Context, con console, log *slog.Logger) error {
	q, err := e.query()
	if err := errors.Join(e.analysis.check(), err); err != nil {
		return err
	}
	r := readCmd{Files: e.Files, part: e.part, analysis: e.analysis}
	p, _, readErr := r.analyse(ctx, con, log, listen{stories: e.storiesOf(q)})
	if p == nil {
		return readErr
	}
	stories := p.stories.Pick(q)
	if len(stories) == 0 {
		return errors.Join(e.none(), readErr)
	}
	return errors.Join(e.print(con.out, stories), readErr)
}

// storiesOf keeps what a query asks for of traffic that is looked at once.
func (a *analysis) storiesOf(q story.Query) *stories {
	return &stories{
		Config:    story.Config{Query: q, MaxPairs: a.MaxConnections / a.Workers, MaxBytes: int(a.MaxMemory) / storyMemory / a.Workers},
		exchanges: tracedExchanges, traced: max(int(a.MaxMemory)/storyMemory/traceBytes, a.Workers),
	}
}

// none says why there is nothing to explain.
func (e *explainCmd) none() error {
	if e.Server+e.Cause+e.Connection+e.Client == "" {
		return errors.New("there is no TCP connection in what was read")
	}
	return errors.New("there is no such connection: without --server, --cause, --connection and --client what there is is shown")
}

// query is what the flags ask for.
func (e *explainCmd) query() (q story.Query, err error) {
	q = story.Query{Server: e.Server, Limit: e.Limit}
	if err := takes(e.Limit >= 1 && e.Limit <= 100, "limit", e.Limit, "1 to 100"); err != nil {
		return q, err
	}
	if e.Output == "svg" {
		q.Limit = 1
	}
	if e.Connection != "" {
		id, ok := story.ParseID(e.Connection)
		if !ok {
			return q, takes(false, "connection", e.Connection, "an id: 16 hexadecimal digits")
		}
		q.Connection = uint64(id)
	}
	if e.Client != "" {
		if q.Client, err = parseClient(e.Client); err != nil {
			return q, err
		}
	}
	if e.Cause != "" {
		q.Cause, err = parseCause(e.Cause)
	}
	return q, err
}

// parseClient reads an address with or without a port.
func parseClient(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, takes(false, "client", s, "an address, or address:port")
	}
	return a, nil
}

// parseCause reads the name of a cause.
func parseCause(s string) (fact.Cause, error) {
	var names []string
	for c := fact.NoCause + 1; c < fact.NumCauses; c++ {
		if c.String() == s {
			return c, nil
		}
		if c.Possible() {
			names = append(names, c.String())
		}
	}
	return fact.NoCause, takes(false, "cause", s, "one of "+strings.Join(names, ", "))
}

// maxNamedFiles is how many files a command to copy names.
const maxNamedFiles = 3

// explanation is the command that explains connections of the same files; empty where
// these can't be read again.
func (r *readCmd) explanation() string {
	if slices.Contains(r.Files, "-") {
		return ""
	}
	words := []string{"keepscope explain"}
	for _, file := range r.Keylog {
		words = append(words, "--keylog "+shellWord(file))
	}
	if len(r.Files) > maxNamedFiles {
		return strings.Join(append(words, "FILE..."), " ")
	}
	for _, file := range r.Files {
		words = append(words, shellWord(file))
	}
	return strings.Join(words, " ")
}

// plainWord is what a shell takes as it stands.
var plainWord = regexp.MustCompile(`^[\w./:+@%,=][\w./:+@%,=-]*$`)

// shellWord writes a word so that a shell takes it for one.
func shellWord(s string) string {
	if s = printable.Text(s); plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// print writes the stories in the form that was asked for.
func (e *explainCmd) print(w io.Writer, stories []*story.Story) error {
	switch e.Output {
	case "svg":
		return stories[0].WriteSVG(w)
	case "html":
		return story.WriteHTML(w, stories...)
	case "json":
		return story.WriteJSON(w, stories...)
	}
	return writeStories(w, stories)
}

// writeStories writes stories as text.
func writeStories(w io.Writer, stories []*story.Story) error {
	o := story.TextOptions{}
	o.Width, o.Color = shownOn(w)
	for i, s := range stories {
		if i > 0 {
			if _, err := fmt.Fprintf(w, "\n%s\n\n", strings.Repeat("─", 40)); err != nil {
				return err
			}
		}
		if err := s.WriteText(w, o); err != nil {
			return err
		}
	}
	return nil
}
