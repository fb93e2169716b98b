package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// TestReadRestamped tells of a packet that is stamped a year ahead of all others.
func TestReadRestamped(t *testing.T) {
	frames, err := sniffertest.MustParse(`conn c 10.0.0.1:40000 10.0.0.2:80
@0s    c handshake
@10ms  c > "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
@11ms  c < "HTTP/1.1 204 No Content\r\n\r\n"
@50ms  c > close
`).Frames(sniffer.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	frames[3].Time += int64(365 * 24 * time.Hour)
	var b, out bytes.Buffer
	if err := sniffertest.WritePCAP(&b, sniffer.LinkEthernet, frames, sniffertest.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"read", "--output=json", path}, console{out: &out, err: io.Discard}); code != exitDone {
		t.Fatal(code)
	}
	if !strings.Contains(out.String(), `"packets_restamped": 1`) {
		t.Errorf("it tells %s", &out)
	}
}

// TestReadUnsupportedLink reads captures of a link type that is not decoded:
// one line says so, and what else there is is reported.
func TestReadUnsupportedLink(t *testing.T) {
	dir := t.TempDir()
	frames := []sniffer.Frame{{Time: 1e18, Length: 4, Data: []byte("data")}, {Time: 1e18 + 1, Length: 4, Data: []byte("data")}}
	name := func(file string) string { return filepath.Join(dir, file) }
	for file, packets := range map[string][]sniffer.Frame{"wlan.pcap": frames, "empty.pcap": nil} {
		var b bytes.Buffer
		if err := sniffertest.WritePCAP(&b, 105, packets, sniffertest.FileOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name(file), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const demo, remedy = "demo.pcapng.zst", " is not supported: capture on an interface with Ethernet, Linux cooked, PPP or IP frames\n"
	left := `level=WARN msg="packets of a link type that is not supported were left out" packets=2 link_types="` + name("wlan.pcap") + `: link type 105"` + "\n"
	tests := []struct {
		name   string
		args   []string
		code   int
		said   string
		report bool
	}{
		{"alone", []string{name("wlan.pcap")}, exitFailed, "keepscope: " + name("wlan.pcap") + ": link type 105" + remedy, false},
		{"with a filter", []string{"--filter=tcp", name("wlan.pcap")}, exitFailed, "keepscope: " + name("wlan.pcap") + ": link type 105" + remedy, false},
		{"without packets", []string{name("empty.pcap")}, exitFailed, "keepscope: " + name("empty.pcap") + ": link type 105" + remedy, false},
		{"two", []string{name("wlan.pcap"), name("empty.pcap")}, exitFailed,
			"keepscope: " + name("wlan.pcap") + ": link type 105, " + name("empty.pcap") + ": link type 105" + remedy, false},
		{"beside another", []string{name("wlan.pcap"), demo}, exitDone, left, true},
		{"beside another, with a filter", []string{"--filter=tcp", demo, name("wlan.pcap")}, exitDone, left, true},
		{"without packets beside another", []string{demo, name("empty.pcap")}, exitDone, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"read"}, tt.args...), console{out: &out, err: &errs})
			if said := errs.String(); code != tt.code || !strings.HasSuffix(said, tt.said) || strings.Count(said, "\n") > 1 || tt.said == "" && said != "" {
				t.Errorf("exit status %d: %s", code, said)
			}
			if tt.report != strings.Contains(out.String(), "requests on") {
				t.Errorf("the report: %q", out.String())
			}
		})
	}
}

// TestReadLeastMemory has the least memory, and less: a share of nothing would
// be taken for the default.
func TestReadLeastMemory(t *testing.T) {
	for args, want := range map[string]string{
		"--max-memory=1MiB":              "",
		"--max-memory=2MiB --workers=2":  "",
		"--max-memory=1":                 "keepscope: --max-memory=1: it takes at least 1MiB for each worker\n",
		"--max-memory=1MiB --workers=2":  "keepscope: --max-memory=1MiB: it takes at least 1MiB for each worker\n",
		"--max-memory=1MiB --workers=-1": "keepscope: --workers=-1: it takes 1 to 256\n",
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"read", "demo.pcapng.zst"}, strings.Fields(args)...), console{out: &out, err: &errs})
		if errs.String() != want || (code == exitUsage) != (want != "") {
			t.Errorf("%s: exit status %d: %s", args, code, errs.String())
		}
	}
}

// TestNamesAreShownPrintable holds that an escape in a file's name reaches no
// terminal, neither in an error nor in the report.
func TestNamesAreShownPrintable(t *testing.T) {
	demo, err := os.ReadFile("demo.pcapng.zst")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	capture, text := filepath.Join(dir, "y\x1b[31mred\u202e.pcap"), filepath.Join(dir, "y\x1b[31mred\n.txt")
	for path, data := range map[string][]byte{capture: demo, text: []byte("no capture at all, but a text")} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"report", []string{"read", capture}, exitDone, ""}, // too long for its line, so cut before the escape
		{"no capture", []string{"read", text}, exitFailed, `y\x1b[31mred\n.txt: not a capture file`},
		{"no such file", []string{"read", "y\x1b[31mred"}, exitFailed, `open y\x1b[31mred: `},
		{"no such command", []string{"y\x1b[31mred"}, exitUsage, `y\x1b[31mred`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs strings.Builder
			if code := run(t.Context(), tt.args, console{out: &out, err: &errs}); code != tt.code {
				t.Errorf("exit status %d, want %d", code, tt.code)
			}
			if all := out.String() + errs.String(); strings.ContainsAny(all, "\x1b\u202e") || !strings.Contains(all, tt.want) {
				t.Errorf("%q, want %q in it and no escape", all, tt.want)
			}
		})
	}
}

// TestReadSeveral has files that can't be read, are empty, or are there twice,
// beside good ones: they are left out and named.
func TestReadSeveral(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.pcap")
	for name, text := range map[string][]byte{"good.pcap": smallCapture(t), "empty": nil, "text": []byte("no capture at all, but long enough for one\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"link": good, "nowhere": "no such file"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		files string
		code  int
		said  []string // each on a line of its own
	}{
		{"one", "good.pcap", exitDone, nil},
		{"an empty one", "empty good.pcap", exitDone, []string{"left out.*empty"}},
		{"one that is not there", "good.pcap nowhere", exitDone, []string{"left out.*nowhere"}},
		{"a directory and a text", ". text good.pcap", exitDone, []string{"left out.*text", "more than once.*good.pcap"}},
		{"twice", "good.pcap good.pcap", exitDone, []string{"more than once.*good.pcap"}},
		{"by another name", "good.pcap link good.pcap", exitDone, []string{"more than once.*link", "more than once.*good.pcap"}},
		{"none", "empty nowhere", exitFailed, []string{"left out.*empty", "left out.*nowhere", "none of the 2 files could be read"}},
		{"an empty one alone", "empty", exitFailed, []string{"keepscope: .*empty"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := []string{"read"}
			for _, f := range strings.Fields(tt.files) {
				args = append(args, filepath.Join(dir, f))
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), args, console{out: &out, err: &errs})
			lines := strings.FieldsFunc(errs.String(), func(r rune) bool { return r == '\n' })
			if code != tt.code || len(lines) != len(tt.said) || (code == exitDone) != strings.Contains(out.String(), "2 requests on 1 connection") {
				t.Fatalf("exit status %d: %s\n%s", code, errs.String(), out.String())
			}
			if code == exitDone && !strings.Contains(out.String(), " 10 packets") {
				t.Errorf("packets are counted twice: %s", out.String())
			}
			for i, want := range tt.said {
				if ok, err := regexp.MatchString(want, lines[i]); err != nil || !ok {
					t.Errorf("line %d is %s, want %s", i, lines[i], want)
				}
			}
		})
	}
}
