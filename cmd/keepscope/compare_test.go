package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// compareFiles writes a capture of a case, the report of it, and both compressed.
func compareFiles(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	c := parseCase(t, filepath.Join("testdata", "cases", "cause_client_close.txtar"))
	var capture, report bytes.Buffer
	if err := c.conversation.WritePCAPNG(&capture, sniffer.LinkEthernet, sniffertest.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("capture", capture.Bytes())
	if code := run(t.Context(), []string{"read", "--output=json", filepath.Join(dir, "capture")}, console{out: &report, err: io.Discard}); code != exitDone {
		t.Fatal("exit status", code)
	}
	for name, data := range map[string][]byte{"capture": capture.Bytes(), "report": report.Bytes()} {
		write(name, data)
		for suffix, compress := range map[string]func(io.Writer) io.WriteCloser{".gz": toGzip, ".zst": toZstd} {
			var packed bytes.Buffer
			w := compress(&packed)
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			write(name+suffix, packed.Bytes())
		}
	}
	write("hello", []byte(`{"hello":1}`))
	write("lines", []byte(c.ndjson))
	write("twice", append(report.Bytes(), report.Bytes()...))
	write("cut", report.Bytes()[:report.Len()/2])
	return dir
}

// TestCompare takes captures and saved reports in every form for the same.
func TestCompare(t *testing.T) {
	dir := compareFiles(t)
	for _, name := range []string{"capture", "capture.gz", "capture.zst", "report", "report.gz", "report.zst"} {
		for _, stdin := range []bool{false, true} {
			path := filepath.Join(dir, name)
			in, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if stdin {
				path = "-"
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"compare", filepath.Join(dir, "report"), path}, console{in: in, out: &out, err: &errs})
			if code != exitDone || errs.Len() > 0 || !strings.HasPrefix(out.String(), " No change: 500.0 wasted") {
				t.Errorf("%s, standard input %t: exit status %d: %s%s", name, stdin, code, errs.String(), out.String())
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCompareRunning asks a running keepscope, and what is none.
func TestCompareRunning(t *testing.T) {
	dir := compareFiles(t)
	served := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer served.Close()
	for path, want := range map[string]string{
		"/report": "", "/report.gz": "", "/none": "404 Not Found; the report of a running keepscope is at /report.json",
		"/capture": "that is no report; that of a running keepscope is at /report.json", "/hello": "no report",
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"compare", filepath.Join(dir, "report"), served.URL + path}, console{out: &out, err: &errs})
		if want == "" && (code != exitDone || !strings.HasPrefix(out.String(), " No change")) ||
			want != "" && (code != exitFailed || !strings.Contains(errs.String(), want)) {
			t.Errorf("%s: exit status %d: %s%s", path, code, errs.String(), out.String())
		}
	}
}

// TestCompareNoReport wants one line that names the file and the remedy.
func TestCompareNoReport(t *testing.T) {
	dir := compareFiles(t)
	for _, name := range []string{"hello", "lines", "twice", "cut"} {
		for _, stdin := range []bool{false, true} {
			path, named := filepath.Join(dir, name), filepath.Join(dir, name)
			in, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if stdin {
				path, named = "-", "standard input"
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"compare", filepath.Join(dir, "report"), path}, console{in: in, out: &out, err: &errs})
			text := errs.String()
			if code != exitFailed || out.Len() > 0 || strings.Count(text, "\n") != 1 ||
				!strings.Contains(text, named+": no report: ") || !strings.Contains(text, "keepscope read --output json") {
				t.Errorf("%s: exit status %d: %s%s", name, code, text, out.String())
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"compare", "-", "-"}, console{in: strings.NewReader(""), out: io.Discard, err: &errs}); code != exitUsage {
		t.Errorf("twice standard input: exit status %d: %s", code, errs.String())
	}
}

// TestCompareIsHonest wants both captures' losses and a difference of the reuse
// windows said, whether captures are read or saved reports.
func TestCompareIsHonest(t *testing.T) {
	dir := t.TempDir()
	c := parseCase(t, filepath.Join("testdata", "cases", "gap_in_response_head.txtar"))
	var capture, saved bytes.Buffer
	if err := c.conversation.WritePCAPNG(&capture, sniffer.LinkEthernet, sniffertest.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
	if err := os.WriteFile(after, capture.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"read", "--output=json", "--reuse-window=5s", after}, console{out: &saved, err: io.Discard}); code != exitDone {
		t.Fatal("exit status", code)
	}
	if err := os.WriteFile(before, saved.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"text", "json"} {
		var out bytes.Buffer
		if code := run(t.Context(), []string{"compare", "--output=" + output, before, after}, console{out: &out, err: io.Discard}); code != exitDone {
			t.Fatal("exit status", code)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		for _, want := range []string{
			"Neither capture is whole: ", "missing from streams",
			"The reuse windows differ, 5.0 s before and 60.0 s after",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q: %s", output, want, text)
			}
		}
	}
}
