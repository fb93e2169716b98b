package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/keepscope/keepscope/analyzer/http1"
)

// A cli is the command line: its commands and the flags that all of them have.
type cli struct {
	LogFormat string     `group:"Log:" enum:"text,json" default:"text" help:"Format of the log on stderr: ${enum}."`
	LogLevel  slog.Level `group:"Log:" default:"info" help:"Least severe log line that is written: debug, info, warn or error."`

	Show versionFlag `name:"version" env:"-" help:"Print the version."`

	Read       readCmd       `cmd:"" help:"Read capture files and print the report."`
	Explain    explainCmd    `cmd:"" help:"Show single connections of capture files: what a figure is made of, and what reuse saves."`
	Compare    compareCmd    `cmd:"" help:"Say what changed between two captures, or two saved reports."`
	Merge      mergeCmd      `cmd:"" help:"Add saved reports of several machines, or of the shards of captures, up to one."`
	Watch      watchCmd      `cmd:"" set:"tunnels=false" help:"Capture on this host, show figures while it runs, and print the report."`
	Run        runCmd        `cmd:"" help:"Capture and serve metrics and a page: the sidecar."`
	Config     configCmd     `cmd:"" help:"Look at configuration files."`
	Dashboards dashboardsCmd `cmd:"" help:"Write the Grafana dashboards and the Prometheus rules."`
	Demo       demoCmd       `cmd:"" set:"tunnels=false" help:"Let clients and servers with good and bad habits meet on loopback, and report on them."`
	Interfaces interfacesCmd `cmd:"" help:"List the interfaces that can be captured on."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Help       helpCmd       `cmd:"" help:"Explain a command and its flags."`
	Completion completionCmd `cmd:"" help:"Print a script that has a shell complete commands and flags."`
	Man        manCmd        `cmd:"" help:"Print the manual page: keepscope man | man -l -."`
}

// analysis are the flags of every command that analyses packets.
type analysis struct {
	ReuseWindow    time.Duration `default:"60s" help:"How long the ideal pool keeps an idle connection."`
	Ports          []uint16      `placeholder:"PORT" help:"Analyse only these TCP ports. Without it HTTP is found on any port."`
	DecodeTunnels  bool          `default:"${tunnels}" negatable:"" help:"Look inside GRE, IP-in-IP, VXLAN, Geneve, GTP-U and L2TP."`
	MaxConnections int           `default:"262144" help:"Connections tracked at once; beyond, the least recently active is given up."`
	MaxMemory      size          `default:"256MiB" help:"Bound on the memory for bytes that wait for others: out-of-order segments, cut headers, lines being sorted. At least 1MiB for each worker."`
	Workers        int           `default:"1" help:"Goroutines that analyse. The output is the same for any number."`

	SharedClients []netip.Prefix `placeholder:"CIDR" help:"Addresses that are known to hide many clients, as a NAT's: their handshakes are counted, and not judged. Repeatable."`
	Keylog        []string       `placeholder:"FILE" help:"Read TLS by this key log in NSS format, as SSLKEYLOGFILE gives it, or by every one in this folder. Whoever has the file can read the traffic. Repeatable."`

	keys *keys // nil where none are
}

// minMemory is what a worker needs at the least: of its quarters, see share, one
// must hold the longest header section.
const minMemory = 4 * http1.MaxHead

func (a *analysis) check() error {
	return errors.Join(
		takes(a.Workers >= 1 && a.Workers <= 256, "workers", a.Workers, "1 to 256"),
		takes(a.MaxConnections >= 1, "max-connections", a.MaxConnections, "at least 1"),
		takes(a.MaxMemory >= size(a.Workers)*minMemory, "max-memory", a.MaxMemory, "at least 1MiB for each worker"),
		takes(a.ReuseWindow > 0, "reuse-window", a.ReuseWindow, "a time above 0, as 60s"),
	)
}

// A flagError is what is wrong with the value of a flag.
type flagError struct {
	flag string
	error
}

// wrong returns a wrong use of a flag.
func wrong(flag string, err error) error { return usageError{flagError{flag, err}} }

// takes says what a flag takes, unless its value is right.
func takes(right bool, flag string, value any, what string) error {
	if right {
		return nil
	}
	return wrong(flag, fmt.Errorf("--%s=%v: it takes %s", flag, value, what))
}

// version and commit are set by the linker (see deploy/image/static.sh); where
// they are not, the build's own information tells.
var version, commit string

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(con console) error {
	v, c, goVersion := buildVersion()
	_, err := fmt.Fprintf(con.out, "keepscope %s (commit %s, %s)\n", v, c, goVersion)
	return err
}

// buildVersion says what this binary was built from.
func buildVersion() (v, c, goVersion string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	v, c = versionOf(info, version, commit)
	return v, c, info.GoVersion
}

// pseudoVersion ends with the time and the first digits of a commit
// (https://go.dev/ref/mod#pseudo-versions), and with +dirty where the work tree
// was changed.
var pseudoVersion = regexp.MustCompile(`[-.][0-9]{14}-([0-9a-f]{12})(?:\+.*)?$`)

// versionOf returns a build's version, without the v of tags, and its commit:
// what the linker was told, else what the go command knew. It knows the commit
// of a build in a clone, and of `go install ...@COMMIT` its first digits.
func versionOf(info *debug.BuildInfo, linkedVersion, linkedCommit string) (v, c string) {
	v, c = cmp.Or(linkedVersion, info.Main.Version, "(devel)"), linkedCommit
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			c = cmp.Or(c, s.Value)
		}
	}
	if m := pseudoVersion.FindStringSubmatch(v); m != nil {
		c = cmp.Or(c, m[1])
	}
	return strings.TrimPrefix(v, "v"), cmp.Or(c, "unknown")
}
