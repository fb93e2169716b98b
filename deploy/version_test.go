package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The version that deploy/version.sh tells is the one that the go command gives
// the same commit.
func TestVersionIsTheGoCommands(t *testing.T) {
	git, script := tool(t, "git"), read(t, "version.sh")
	dir := t.TempDir()
	put(t, dir, "go.mod", "module example.com/m\n\ngo 1.26\n")
	put(t, dir, "main.go", "package main\n\nfunc main() {}\n")
	put(t, dir, "deploy/version.sh", script)
	in := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_COMMITTER_DATE=2026-01-02T03:04:05+02:00")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := func() { in(git, "commit", "-q", "--allow-empty", "-m", "x") }
	in(git, "init", "-q")
	in(git, "add", ".")
	for _, step := range []struct {
		name string
		do   func()
		want string // how the version begins
	}{
		{"no tag", commit, "0.0.0-20260102010405-"},
		{"another tag", func() { in(git, "tag", "nightly") }, "0.0.0-20260102010405-"},
		{"tagged", func() { in(git, "tag", "v0.9.0") }, "0.9.0"},
		{"after a tag", commit, "0.9.1-0.20260102010405-"},
		{"tagged for a trial", func() { in(git, "tag", "v0.10.0-rc.1") }, "0.10.0-rc.1"},
		{"after a trial", commit, "0.10.0-rc.1.0.20260102010405-"},
		{"tagged after a trial", func() { in(git, "tag", "v0.10.0") }, "0.10.0"},
		{"after both", commit, "0.10.1-0.20260102010405-"},
		{"changed", func() { put(t, dir, "new", "") }, "0.10.1-0.20260102010405-"},
	} {
		step.do()
		binary := filepath.Join(t.TempDir(), "m")
		in("go", "build", "-buildvcs=true", "-o", binary, ".")
		_, theirs, _ := strings.Cut(in("go", "version", "-m", binary), "\tmod\texample.com/m\tv")
		theirs, _, _ = strings.Cut(theirs, "\t")
		ours := in("deploy/version.sh", "version")
		if ours != theirs || !strings.HasPrefix(ours, step.want) {
			t.Errorf("%s: %s, the go command has %s, want %s...", step.name, ours, theirs, step.want)
		}
	}
	if got, want := in("deploy/version.sh", "commit"), in(git, "rev-parse", "HEAD"); got != want {
		t.Errorf("commit %s, want %s", got, want)
	}
	if got, want := in("deploy/version.sh", "date"), "1767315845"; got != want {
		t.Errorf("date %s, want %s", got, want)
	}
}

// An archive of a commit knows what the clone knew.
func TestVersionOfAnArchive(t *testing.T) {
	git, script := tool(t, "git"), read(t, "version.sh")
	dir := t.TempDir()
	put(t, dir, "deploy/version.sh", script)
	put(t, dir, ".gitattributes", read(t, "../.gitattributes"))
	const as = "-c user.name=a -c user.email=a@example.com"
	shell(t, dir, git+" init -q && "+git+" add . && "+git+" "+as+" commit -q -m x")
	for _, step := range []string{"true", git + " tag v1.2.3", git + " " + as + " commit -q --allow-empty -m y"} {
		shell(t, dir, step)
		unpacked := t.TempDir()
		shell(t, dir, fmt.Sprintf("%s archive HEAD | tar -x -C '%s'", git, unpacked))
		const all = "for what in version commit date; do deploy/version.sh $what; done"
		if d := cmp.Diff(shell(t, dir, all), shell(t, unpacked, all)); d != "" {
			t.Errorf("after %s: %s", step, d)
		}
	}
	// In another repository it is that one's history that is there.
	put(t, dir, "vendor/deploy/version.sh", script)
	if out, err := exec.Command(filepath.Join(dir, "vendor/deploy/version.sh"), "version").CombinedOutput(); err == nil {
		t.Errorf("a copy in another repository has the version %s", out)
	}
}

// shell runs a line of bash in a directory and returns what it writes.
func shell(t *testing.T, dir, line string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", line)
	cmd.Dir = dir
	cmd.Stderr = new(bytes.Buffer)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", line, err, out, cmd.Stderr)
	}
	return string(out)
}

// put makes a file with what it needs around it, and returns its path.
func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o644)
	if filepath.Ext(name) == ".sh" {
		mode = 0o755
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// The go command refuses a module two of whose files or directories have the
// same name but for case (https://go.dev/ref/mod#zip-path-size-constraints), and
// so `go install` of it.
func TestGoCommandTakesTheModule(t *testing.T) {
	files, err := exec.Command(tool(t, "git"), "-C", "..", "ls-files").Output()
	if err != nil {
		t.Skip("not a clone")
	}
	spelled := map[string]string{}
	for _, file := range strings.Fields(string(files)) {
		for path := file; path != "."; path = filepath.Dir(path) {
			folded := strings.ToLower(path)
			if other, ok := spelled[folded]; ok && other != path {
				t.Errorf("%s and %s differ by case alone", path, other)
			}
			spelled[folded] = path
		}
	}
}
