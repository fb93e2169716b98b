package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sum is the checksum of example.com/a as go.sum has it, and hexSum as a bill
// does.
const (
	sum    = "h1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	hexSum = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

func TestBillOf(t *testing.T) {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.1", Path: "example.com/m/cmd/m", Main: debug.Module{Path: "example.com/m", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "example.com/a", Version: "v1.0.0", Sum: sum},
			{Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/c", Version: "v2.0.0+incompatible", Sum: sum}},
		},
		Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "arm64"}, {Key: "CGO_ENABLED", Value: "1"}, {Key: "GOOS", Value: "linux"}},
	}
	b, err := billOf(info, "1.2.3", [32]byte{0xab}, []component{{Type: "library", Ref: "c:libpcap", Name: "libpcap", Version: "1.10.3", PURL: "pkg:generic/libpcap@1.10.3"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range append([]component{b.Metadata.Component}, b.Components...) {
		line := c.Type + " " + c.PURL
		for _, h := range c.Hashes {
			line += " " + h.Content
		}
		for _, p := range c.Properties {
			line += " " + p.Value
		}
		got = append(got, line)
	}
	want := []string{
		"application pkg:golang/example.com/m@v1.2.3 ab" + strings.Repeat("00", 31) + " arm64 linux",
		"library pkg:golang/std@1.26.1",
		"library pkg:golang/example.com/a@v1.0.0 " + hexSum,
		"library pkg:golang/example.com/c@v2.0.0%2Bincompatible " + hexSum,
		"library pkg:generic/libpcap@1.10.3",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	depends := []dependency{{Ref: b.Metadata.Component.Ref, DependsOn: []string{
		"pkg:golang/std@1.26.1", "pkg:golang/example.com/a@v1.0.0", "pkg:golang/example.com/c@v2.0.0%2Bincompatible", "c:libpcap",
	}}}
	if d := cmp.Diff(depends, b.Dependencies); d != "" {
		t.Error(d)
	}
}

// A module whose checksum is not known was not verified: that is no bill.
func TestBillOfUnverified(t *testing.T) {
	for _, sum := range []string{"", "h1:AAEC", "h2:" + strings.TrimPrefix(sum, "h1:"), "h1:!"} {
		info := &debug.BuildInfo{Deps: []*debug.Module{{Path: "example.com/a", Version: "v1.0.0", Sum: sum}}}
		if _, err := billOf(info, "1.2.3", [32]byte{}, nil); err == nil || !strings.Contains(err.Error(), "example.com/a v1.0.0: no checksum") {
			t.Errorf("%q: %v", sum, err)
		}
	}
}

func TestRun(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1767315845")
	var out bytes.Buffer
	if err := run([]string{"-version", "1.2.3", "-c", "glibc=2.36", binary}, &out); err != nil {
		t.Fatal(err)
	}
	var got bill
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	last := got.Components[len(got.Components)-1]
	if got.SpecVersion != "1.6" || got.Metadata.Timestamp != "2026-01-02T01:04:05Z" || last.PURL != "pkg:generic/glibc@2.36" || got.Components[0].Name != "std" {
		t.Errorf("%+v", got)
	}
	for _, args := range [][]string{nil, {"-c", "glibc", binary}, {"-c", "=1", binary}, {"main.go"}, {"none"}, {binary, binary}} {
		if err := run(args, &out); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
