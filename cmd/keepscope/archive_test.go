package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// archiveJobs returns the arguments of the two jobs of archive-job.yaml, with folders
// for their volumes, and how many parts the first has.
func archiveJobs(t *testing.T, captures, archive string) (read, merge []string, parts int) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/kubernetes/archive-job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type job struct {
		Spec struct {
			CompletionMode           string `yaml:"completionMode"`
			Completions, Parallelism int
			Deadline                 int `yaml:"activeDeadlineSeconds"`
			Template                 struct {
				Spec struct{ Containers []struct{ Args []string } }
			}
		}
	}
	var jobs [2]job
	d := yaml.NewDecoder(bytes.NewReader(text))
	var args [2][]string
	for i := range jobs {
		if err := d.Decode(&jobs[i]); err != nil {
			t.Fatal(err)
		}
		if jobs[i].Spec.Deadline == 0 {
			t.Errorf("job %d has no deadline", i)
		}
		for _, a := range jobs[i].Spec.Template.Spec.Containers[0].Args {
			args[i] = append(args[i], strings.NewReplacer("/captures", captures, "/archive", archive).Replace(a))
		}
	}
	if jobs[0].Spec.CompletionMode != "Indexed" || jobs[0].Spec.Parallelism != jobs[0].Spec.Completions {
		t.Error("the first job has no index")
	}
	return args[0], args[1], jobs[0].Spec.Completions
}

// The jobs of an archive, run by their own command lines, say what one run over it
// says, and their records are its records.
func TestArchiveJobs(t *testing.T) {
	captures, archive := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(captures, "demo.pcapng.gz"), demoCapture, 0o600); err != nil {
		t.Fatal(err)
	}
	read, merge, parts := archiveJobs(t, captures, archive)
	merged := make(chan int)
	go func() {
		var out, errs bytes.Buffer
		merged <- run(t.Context(), merge, console{out: &out, err: &errs}) // it waits for the others
	}()
	rows := 0
	for i := range parts {
		args := make([]string, len(read))
		for k, a := range read {
			args[k] = strings.ReplaceAll(a, "$(JOB_COMPLETION_INDEX)", strconv.Itoa(i))
		}
		printed(t, args...)
	}
	if code := <-merged; code != exitDone {
		t.Fatalf("merging: exit status %d", code)
	}
	got, err := os.ReadFile(filepath.Join(archive, "merged.report"))
	if err != nil {
		t.Fatal(err)
	}
	want := printed(t, "read", "--output=json", captures)
	if diff := cmp.Diff(shown(t, want), shown(t, got)); diff != "" {
		t.Errorf("report (-one run +jobs):\n%s", diff)
	}
	files, err := filepath.Glob(filepath.Join(archive, "*.parquet"))
	if err != nil || len(files) != parts {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		rows += len(readRows(t, text))
	}
	if all := len(connections(t, captures)); rows != all || all == 0 {
		t.Errorf("%d rows of %d connections", rows, all)
	}
}

func TestFolderWithoutCaptures(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"read", t.TempDir()}, console{out: &out, err: &errs}); code != exitFailed || !strings.Contains(errs.String(), "holds no capture") {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
}
