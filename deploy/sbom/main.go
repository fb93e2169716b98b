// Command sbom writes the bill of materials of a binary of Keepscope, as
// CycloneDX 1.6 in JSON (https://cyclonedx.org/docs/1.6/json/): Go and the
// modules that the go command wrote into the binary, with the checksums by which
// it verified them, and the C libraries that are named.
//
//	sbom -version 1.2.3 -c libpcap=1.10.3 -c glibc=2.36 BINARY
//
// cyclonedx-gomod lists the same modules, but no C library, and brings 40 modules
// of its own. What is written depends on the arguments, the binary and
// SOURCE_DATE_EPOCH alone.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	version := flags.String("version", "", "the version of Keepscope; what the binary says where empty")
	var libraries []component
	flags.Func("c", "a C library that is linked in, as name=version", func(text string) error {
		name, v, ok := strings.Cut(text, "=")
		if !ok || name == "" || v == "" {
			return errors.New("it takes name=version")
		}
		libraries = append(libraries, component{Type: "library", Ref: "c:" + name, Name: name, Version: v, PURL: "pkg:generic/" + name + "@" + v})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("usage: sbom [-version VERSION] [-c NAME=VERSION]... BINARY")
	}
	data, err := os.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	b, err := billOf(info, *version, sha256.Sum256(data), libraries)
	if err != nil {
		return err
	}
	if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		b.Metadata.Timestamp = time.Unix(epoch, 0).UTC().Format(time.RFC3339)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(b)
}

type bill struct {
	Schema       string       `json:"$schema"`
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp,omitempty"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl"`
	Hashes     []checksum `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type checksum struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// billOf lists what a binary consists of: Go's standard library, the modules in
// the order of the go command, which is that of their paths, and the libraries.
func billOf(info *debug.BuildInfo, version string, sum [sha256.Size]byte, libraries []component) (*bill, error) {
	version = "v" + strings.TrimPrefix(cmp.Or(version, info.Main.Version), "v")
	main := component{
		Type: "application", Name: info.Main.Path, Version: version, PURL: "pkg:golang/" + info.Main.Path + "@" + escape(version),
		Hashes: []checksum{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	main.Ref = main.PURL
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" {
			main.Properties = append(main.Properties, property{"cdx:gomod:build:env:" + s.Key, s.Value})
		}
	}
	std := component{Type: "library", Name: "std", Version: info.GoVersion, PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
	std.Ref = std.PURL
	list := []component{std}
	for _, m := range info.Deps {
		c, err := module(m)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	list = append(list, libraries...)
	b := &bill{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{Component: main}, Components: list, Dependencies: []dependency{{Ref: main.Ref}},
	}
	for _, c := range list {
		b.Dependencies[0].DependsOn = append(b.Dependencies[0].DependsOn, c.Ref)
	}
	return b, nil
}

// module describes a module as it was built, which is its replacement's where
// there is one. Its checksum is that of go.sum, h1: SHA-256 of the list of its
// files' checksums (https://go.dev/ref/mod#go-sum-files).
func module(m *debug.Module) (component, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + escape(m.Version)}
	c.Ref = c.PURL
	sum, ok := strings.CutPrefix(m.Sum, "h1:")
	raw, err := base64.StdEncoding.DecodeString(sum)
	if !ok || err != nil || len(raw) != sha256.Size {
		return c, fmt.Errorf("%s %s: no checksum: %q", m.Path, m.Version, m.Sum)
	}
	c.Hashes = []checksum{{"SHA-256", hex.EncodeToString(raw)}}
	return c, nil
}

// escape encodes the one character of versions that package URLs do not take as
// it is (https://github.com/package-url/purl-spec).
func escape(version string) string { return strings.ReplaceAll(version, "+", "%2B") }
