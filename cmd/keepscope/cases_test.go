package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/keepscope/keepscope/exporter/report"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

var update = flag.Bool("update", false, "rewrite the expected output of the cases")

// A conversationCase is a file of testdata/cases: what it proves, a
// conversation (package sniffertest), and the lines that 'keepscope read
// --output=ndjson' has for it. Where the file has flags, one a line, they are
// given too. A section named segments says why the conversation's own
// segmentation matters, so that it is not cut anew. One named report holds lines
// of what '--output=json' has: a path into the object, such as
// servers.0.connections or findings.#.code ("#" stands for every element), and
// the value there.
type conversationCase struct {
	path         string
	archive      *txtar.Archive
	conversation *sniffertest.Script
	ndjson       string
	report       string
	flags        []string
	asWritten    bool
}

func parseCase(t *testing.T, path string) *conversationCase {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &conversationCase{path: path, archive: archive}
	for _, f := range archive.Files {
		switch f.Name {
		case "conversation":
			if c.conversation, err = sniffertest.Parse(f.Data); err != nil {
				t.Fatal(err)
			}
		case "ndjson":
			c.ndjson = string(f.Data)
		case "report":
			c.report = string(f.Data)
		case "flags":
			c.flags = strings.Fields(string(f.Data))
		case "segments":
			c.asWritten = true
		default:
			t.Fatalf("%s: what is section %q?", path, f.Name)
		}
	}
	if c.conversation == nil || len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Fatalf("%s: a case has a comment and a conversation", path)
	}
	return c
}

// rewrite puts what the program says now into a section of the case's file.
func (c *conversationCase) rewrite(t *testing.T, section, text string) {
	t.Helper()
	i := slices.IndexFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == section })
	if i < 0 {
		i = len(c.archive.Files)
		c.archive.Files = append(c.archive.Files, txtar.File{Name: section})
	}
	c.archive.Files[i].Data = []byte(text)
	if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// excerpt returns the lines of the case's report section as they are in a
// report that the program wrote.
func (c *conversationCase) excerpt(t *testing.T, object string) string {
	t.Helper()
	var root any
	if err := json.Unmarshal([]byte(object), &root); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(c.report) {
		path, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := json.Marshal(at(root, strings.Split(path, ".")))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %s\n", path, value)
	}
	return out.String()
}

// at follows a path into an object; where it ends in nothing, that is nil.
func at(v any, path []string) any {
	if len(path) == 0 {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		return at(v[path[0]], path[1:])
	case []any:
		if path[0] == "#" {
			all := []any{}
			for _, e := range v {
				all = append(all, at(e, path[1:]))
			}
			return all
		}
		if i, err := strconv.Atoi(path[0]); err == nil && i < len(v) {
			return at(v[i], path[1:])
		}
	}
	return nil
}

// TestCases runs each conversation in every mode: whichever way the packets
// come, how many workers there are and how the streams are cut, the lines are
// the same, byte for byte.
func TestCases(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "cases", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			c := parseCase(t, path)
			if *update {
				c.ndjson = c.throughFile(t, fileModes[0], 1)
				c.rewrite(t, "ndjson", c.ndjson)
				if c.report != "" {
					c.report = c.excerpt(t, c.throughFile(t, fileModes[0], 1, "--output=json"))
					c.rewrite(t, "report", c.report)
				}
			}
			if !unjudged[filepath.Base(path)] {
				checkInvariants(t, c.ndjson)
			}
			for _, m := range fileModes {
				if m.interfaces || !c.severalInterfaces(t) {
					c.check(t, m.name, c.ndjson, c.throughFile(t, m, 1))
				}
			}
			for _, workers := range []int{2, 4} {
				c.check(t, fmt.Sprintf("%d workers", workers), c.ndjson, c.throughFile(t, fileModes[0], workers))
			}
			if c.report != "" {
				for _, workers := range []int{1, 4} {
					got := c.excerpt(t, c.throughFile(t, fileModes[0], workers, "--output=json"))
					c.check(t, fmt.Sprintf("report, %d workers", workers), c.report, got)
				}
			}
			for _, workers := range []int{1, 2, 4} {
				for _, size := range []int{1, 7, 256, sniffer.BatchFrames} {
					got := c.throughBatches(t, c.conversation, size, workers)
					c.check(t, fmt.Sprintf("batches of %d, %d workers", size, workers), c.ndjson, got)
				}
			}
			if c.asWritten {
				return
			}
			for _, mss := range []int{1, 7, 1460} {
				got := c.throughBatches(t, c.conversation.WithMSS(mss), 256, 1)
				c.check(t, fmt.Sprintf("segments of %d bytes", mss), maskPackets(c.ndjson), maskPackets(got))
			}
		})
	}
}

func (c *conversationCase) check(t *testing.T, mode, want, got string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s", mode, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
	}
}

// maskPackets hides the only figures that the size of segments may change.
func maskPackets(ndjson string) string {
	return packetCounts.ReplaceAllString(ndjson, `"packets":…`)
}

var packetCounts = regexp.MustCompile(`"packets":\{[^}]*\}`)

func (c *conversationCase) severalInterfaces(t *testing.T) bool {
	t.Helper()
	frames, err := c.conversation.Frames(sniffer.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(frames, func(f sniffer.Frame) bool { return f.Interface != 0 })
}

// A fileMode is a way to store a conversation.
type fileMode struct {
	name       string
	interfaces bool // it tells interfaces apart
	link       sniffer.LinkType
	options    sniffertest.FileOptions
	compress   func(io.Writer) io.WriteCloser
}

// fileModes begins with the one that -update believes.
var fileModes = []fileMode{
	{name: "pcapng", interfaces: true, link: sniffer.LinkEthernet},
	{name: "pcapng, big endian, microseconds", interfaces: true, link: sniffer.LinkEthernet, options: sniffertest.FileOptions{BigEndian: true, Microseconds: true}},
	{name: "pcapng, raw IP, zstd", interfaces: true, link: sniffer.LinkRaw, compress: toZstd},
	{name: "pcap, cooked, every interface", interfaces: true, link: sniffer.LinkSLL2},
	{name: "pcap", link: sniffer.LinkEthernet},
	{name: "pcap, big endian", link: sniffer.LinkEthernet, options: sniffertest.FileOptions{BigEndian: true}},
	{name: "pcap, microseconds", link: sniffer.LinkEthernet, options: sniffertest.FileOptions{Microseconds: true}},
	{name: "pcap, big endian, microseconds, gzip", link: sniffer.LinkEthernet, options: sniffertest.FileOptions{BigEndian: true, Microseconds: true}, compress: toGzip},
	{name: "pcap, null, zstd", link: sniffer.LinkNull, compress: toZstd},
}

func toGzip(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func toZstd(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options are constant
	}
	return z
}

// throughFile writes the conversation to a file and returns what the program
// says of it.
func (c *conversationCase) throughFile(t *testing.T, m fileMode, workers int, flags ...string) string {
	t.Helper()
	var file bytes.Buffer
	write := c.conversation.WritePCAP
	if strings.HasPrefix(m.name, "pcapng") {
		write = c.conversation.WritePCAPNG
	}
	w := io.WriteCloser(nopCloser{&file})
	if m.compress != nil {
		w = m.compress(&file)
	}
	if err := write(w, m.link, m.options); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "capture")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), c.args(workers, path, flags...), console{out: &out, err: &errs}); code != exitDone || errs.Len() > 0 {
		t.Fatalf("%s: exit status %d: %s", m.name, code, errs.String())
	}
	return out.String()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (c *conversationCase) args(workers int, path string, flags ...string) []string {
	args := []string{"read", "--output=ndjson", fmt.Sprint("--workers=", workers)}
	return append(slices.Concat(args, c.flags, flags), path)
}

// throughBatches gives the conversation to the same pipeline in batches of a
// size, as a capture does.
func (c *conversationCase) throughBatches(t *testing.T, s *sniffertest.Script, size, workers int) string {
	t.Helper()
	frames, err := s.Frames(sniffer.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	var flags struct {
		Read readCmd `cmd:""`
	}
	parser, err := kong.New(&flags, kong.Vars{"tunnels": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(c.args(workers, "-")); err != nil {
		t.Fatal(err)
	}
	r := &flags.Read
	var out bytes.Buffer
	o := r.output(console{out: &out}, int64(r.MaxMemory)/4, r.Workers)
	defer o.close()
	p := r.pipeline(o.listen())
	if err := p.run(context.Background(), &sniffertest.Source{Frames: frames, Size: size}); err != nil {
		t.Fatal(err)
	}
	p.finish()
	if err := o.print(p, report.Capture{}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// unjudged are the cases in which a complete handshake has no verdict because
// it came to light too late.
var unjudged = map[string]bool{"handshake_after_data.txtar": true}

// checkInvariants holds each line to what is true of any connection.
func checkInvariants(t *testing.T, ndjson string) {
	t.Helper()
	for text := range strings.Lines(ndjson) {
		var l struct {
			Type string
			line
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if l.Type != "connection" {
			continue
		}
		sum := 0
		for _, n := range l.Negotiated {
			sum += n
		}
		if !l.Estimated && sum != l.Requests {
			t.Errorf("%s: outcomes of %d exchanges for %d requests", l.client(), sum, l.Requests)
		}
		judged := l.Handshake == "complete" && l.Requests > 0
		if (l.Verdict != "none") != judged && l.Reason != "upgraded" { // a CONNECT is judged, another upgrade is not
			t.Errorf("%s: verdict %s on a connection with %d requests, handshake %s, reason %s",
				l.client(), l.Verdict, l.Requests, l.Handshake, l.Reason)
		}
		if (l.Verdict == "wasted") != (l.Cause != "") {
			t.Errorf("%s: verdict %s, cause %q", l.client(), l.Verdict, l.Cause)
		}
	}
}
