package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// explainedCases are the conversations whose stories are kept: one of every cause, and
// what else there is to draw.
func explainedCases(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "cases", "cause_*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range []string{
		"http2_prior_knowledge", "tls13_full", "tls12_resumed", "interim_responses", "keep_alive_advertised", "tcp_keep_alive_probes",
		"dns_name_and_cost", "handshake_syn_retransmitted", "handshake_refused", "midstream", "outcome_upgraded_connect", "reason_never_used", "pipelining",
	} {
		paths = append(paths, filepath.Join("testdata", "cases", name+".txtar"))
	}
	own, err := filepath.Glob(filepath.Join("testdata", "stories", "*.txtar"))
	if err != nil || len(own) == 0 {
		t.Fatal("no stories", err)
	}
	return append(paths, own...)
}

// explain returns what the program prints of a file.
func explain(t *testing.T, path string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), append(append([]string{"explain"}, args...), path), console{out: &out, err: &errs}); code != exitDone || errs.Len() > 0 {
		t.Fatalf("exit status %d: %s", code, errs.String())
	}
	return out.String()
}

// analysisFlags are the flags of the case that do not say what to print.
func (c *conversationCase) analysisFlags() []string {
	return slices.DeleteFunc(slices.Clone(c.flags), func(f string) bool { return f == "--exchanges" })
}

// write stores the conversation and returns where.
func (c *conversationCase) write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.conversation.WritePCAPNG(f, sniffer.LinkEthernet, sniffertest.FileOptions{}), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStories holds the stories of conversations to what they were when somebody looked
// at them: text and drawing. They are the same for any number of workers.
func TestStories(t *testing.T) {
	for _, path := range explainedCases(t) {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := parseCase(t, path)
			file := c.write(t)
			for output, ending := range map[string]string{"text": ".txt", "svg": ".svg"} {
				golden := filepath.Join("testdata", "stories", name+ending)
				got := explain(t, file, append(c.analysisFlags(), "--output="+output)...)
				if *update {
					if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, []byte(got), 0o644)); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
					t.Errorf("%s:\n%s", golden, diff)
				}
				checkPrintable(t, got)
				if output == "svg" {
					checkXML(t, got)
				}
			}
			want := explain(t, file, append(c.analysisFlags(), "--output=json", "--limit=20")...)
			for _, workers := range []int{2, 4} {
				got := explain(t, file, append(c.analysisFlags(), "--output=json", "--limit=20", fmt.Sprint("--workers=", workers))...)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%d workers:\n%s", workers, diff)
				}
			}
		})
	}
}

// TestReportLeadsToStory runs the command that a report ends with: a shell finds the same
// files in it, and it draws the connection that the first finding names.
func TestReportLeadsToStory(t *testing.T) {
	for name, named := range map[string]bool{"finding_aborts": true, "cause_client_close": false} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "it's a $(capture).pcapng")
			if err := os.Rename(parseCase(t, filepath.Join("testdata", "cases", name+".txtar")).write(t), path); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"read", path}, console{out: &out, err: &errs}); code != exitDone {
				t.Fatal(errs.String())
			}
			_, command, ok := strings.Cut(out.String(), "\n Draw it: keepscope ")
			if !ok {
				t.Fatalf("no command:\n%s", out.String())
			}
			words, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\n' "+command).Output()
			if err != nil {
				t.Fatal(err)
			}
			args := strings.Split(strings.TrimSuffix(string(words), "\n"), "\n")
			if got := slices.Contains(args, "--connection"); got != named {
				t.Errorf("names a connection: %t: %q", got, args)
			}
			out.Reset()
			if code := run(t.Context(), append(args, "--output=json"), console{out: &out, err: &errs}); code != exitDone || errs.Len() > 0 {
				t.Fatalf("%q: %s", args, errs.String())
			}
			if id := args[len(args)-1]; named && !strings.Contains(out.String(), id) {
				t.Errorf("%s is not in its story:\n%s", id, out.String())
			}
		})
	}
}

// TestStoriesOfCaptures tells the stories of the captures that the project was given:
// each in every form, the same for any number of workers, and decrypted where there
// are keys.
func TestStoriesOfCaptures(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "cases", "*.pcap.gz"))
	if len(paths) == 0 {
		t.Skip("../shared/cases is absent")
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".pcap.gz")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--limit=50"}
			if keys := strings.TrimSuffix(path, ".pcap.gz") + ".keys"; exists(keys) {
				copied := filepath.Join(t.TempDir(), "keys")
				b, err := os.ReadFile(keys)
				if err := errors.Join(err, os.WriteFile(copied, b, 0o600)); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--keylog="+copied)
			}
			checkPrintable(t, explain(t, path, append(args, "--output=text")...))
			checkPrintable(t, explain(t, path, append(args, "--output=html")...))
			svg := explain(t, path, append(args, "--output=svg")...)
			checkPrintable(t, svg)
			checkXML(t, svg)
			want := explain(t, path, append(args, "--output=json")...)
			if got := explain(t, path, append(args, "--output=json", "--workers=3")...); got != want {
				t.Error(cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
			}
			if strings.HasPrefix(name, "keys_") && !strings.Contains(want, `"method": "GET"`) && !strings.Contains(want, `"method": "POST"`) {
				t.Error("nothing was decrypted")
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkPrintable looks for bytes that a terminal would act on.
func checkPrintable(t *testing.T, text string) {
	t.Helper()
	for i, r := range text {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd {
			t.Fatalf("byte %d is %q", i, r)
		}
	}
}

func checkXML(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoriesWithWidths holds every line to the width of the terminal.
func TestStoriesWithWidths(t *testing.T) {
	for _, path := range explainedCases(t) {
		for line := range strings.Lines(explain(t, parseCase(t, path).write(t), "--output=text")) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 && !strings.HasPrefix(line, "ip") {
				t.Errorf("%s: %d columns: %s", path, n, line)
			}
		}
	}
}

// drawnStories are what a test reads of stories.
type drawnStories struct {
	Stories []struct {
		Filter string `json:"display_filter"`
		Lanes  []struct {
			ID          string
			CommunityID string `json:"community_id"`
			Frame       int
			Exchanges   []struct{ Frames []struct{ Number int } }
			Closings    []struct{ Frame int }
		}
	}
}

// TestStoriesInTshark has another program apply the filter of each story and look for
// the frames that the story names.
func TestStoriesInTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	for _, path := range explainedCases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			c := parseCase(t, path)
			file := c.write(t)
			var all drawnStories
			if err := json.Unmarshal([]byte(explain(t, file, append(c.analysisFlags(), "--output=json", "--limit=20")...)), &all); err != nil {
				t.Fatal(err)
			}
			for _, s := range all.Stories {
				out, err := exec.CommandContext(t.Context(), tshark, "-r", file, "--enable-protocol", "communityid", "-Y", s.Filter, "-T", "fields", "-e", "frame.number", "-e", "communityid").CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v: %s", s.Filter, err, out)
				}
				frames := map[int]string{}
				for line := range strings.Lines(string(out)) {
					if number, id, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
						n, _ := strconv.Atoi(number)
						frames[n] = id
					} else if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
						frames[n] = ""
					}
				}
				for _, l := range s.Lanes {
					named := []int{l.Frame}
					for _, e := range l.Exchanges {
						for _, f := range e.Frames {
							named = append(named, f.Number)
						}
					}
					for _, k := range l.Closings {
						named = append(named, k.Frame)
					}
					for _, n := range slices.Compact(slices.Sorted(slices.Values(named))) {
						id, found := frames[n]
						if n != 0 && !found {
							t.Errorf("%s: frame %d is not found by %s", l.ID, n, s.Filter)
						}
						if id != "" && id != l.CommunityID {
							t.Errorf("frame %d: community id %s, tshark has %s", n, l.CommunityID, id)
						}
					}
					if l.Frame == 0 {
						t.Errorf("%s has no frame", l.ID)
					}
				}
			}
		})
	}
}

// TestExplainChooses asks by each flag.
func TestExplainChooses(t *testing.T) {
	c := parseCase(t, filepath.Join("testdata", "cases", "cause_server_idle.txtar"))
	file := c.write(t)
	var all drawnStories
	if err := json.Unmarshal([]byte(explain(t, file, "--output=json")), &all); err != nil {
		t.Fatal(err)
	}
	first := all.Stories[0].Lanes[0].ID
	for _, args := range [][]string{
		{"--server=a.example"}, {"--server=10.0.0.2:80"}, {"--cause=server_idle"}, {"--connection=" + first},
		{"--client=10.0.0.1"}, {"--client=10.0.0.1:40001"}, {"--limit=5"},
	} {
		if got := explain(t, file, args...); !strings.Contains(got, "a.example") {
			t.Errorf("%v: %s", args, got)
		}
	}
	for _, c := range []struct{ flag, want string }{
		{"--server=b.example", "no such connection"}, {"--cause=server_idl", "pool_miss"}, {"--connection=12", "16 hexadecimal"},
		{"--client=10.0.0.1:40009", "no such connection"}, {"--client=x", "address"}, {"--limit=0", "1 to 100"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"explain", c.flag, file}, console{out: &out, err: &errs})
		if code == exitDone || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: exit status %d, %s%s", c.flag, code, out.String(), errs.String())
		}
	}
}
