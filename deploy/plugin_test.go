package deploy

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// plugged is a folder with kubectl-keepscope, a keepscope, and a kubectl that writes its
// arguments and the files that they name into a log, and reports as a pod would.
func plugged(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	output(t, "go", "build", "-pgo=off", "-o", filepath.Join(dir, "keepscope"), "../cmd/keepscope")
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
	}
	put("kubectl-keepscope", read(t, "kubernetes/kubectl-keepscope"))
	put("kubectl", `#!/bin/sh
echo "$@" >>"$0.log"
case "$*" in
*"get pods"*) echo "web-1 web-2" ;;
*"debug gone"*) echo "pods \"gone\" not found" >&2; exit 1 ;;
*debug*)
	while [ "$1" != --custom ]; do shift; done
	cp "$2" "$0.custom"
	exec "${0%/*}/keepscope" demo --replay --output json
	;;
esac
`)
	return dir
}

// plugin runs kubectl-keepscope.
func plugin(t *testing.T, dir string, args ...string) (stdout, stderr, log string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "kubectl-keepscope"), args...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	text, _ := os.ReadFile(filepath.Join(dir, "kubectl.log")) // there is none where nothing was asked
	_ = os.Remove(filepath.Join(dir, "kubectl.log"))
	return out.String(), errs.String(), string(text), err
}

// The plugin adds the pods' reports up; a pod without one is said.
func TestPlugin(t *testing.T) {
	dir := plugged(t)
	connections := func(text string) int {
		t.Helper()
		var r struct{ Totals struct{ Connections int } }
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatalf("%v in %.200s", err, text)
		}
		return r.Totals.Connections
	}
	one := connections(string(output(t, filepath.Join(dir, "keepscope"), "demo", "--replay", "--output", "json")))
	out, errs, log, err := plugin(t, dir, "-n", "shop", "--context", "east", "-l", "app=web", "--duration", "2m", "-o", "json", "--image", "registry.example/keepscope:1", "pod/gone", "--", "--ports", "8080")
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	if got := connections(out); got != 2*one || one == 0 {
		t.Errorf("%d connections of two pods with %d each", got, one)
	}
	if !strings.Contains(errs, `gone: pods "gone" not found`) {
		t.Errorf("it says %q", errs)
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	slices.Sort(lines)
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(line, " --custom ")
		if _, run, ok := strings.Cut(line, "/debug.yaml -- "); ok {
			lines[i] += " -- " + run
		}
	}
	const debug = "--context east --namespace shop debug "
	const how = " --quiet --attach --image registry.example/keepscope:1 --profile general -- /keepscope watch --plain --interface any --duration 2m --output json --ports 8080"
	want := []string{debug + "gone" + how, debug + "web-1" + how, debug + "web-2" + how,
		"--context east --namespace shop get pods --selector app=web --field-selector status.phase=Running --output jsonpath={.items[*].metadata.name}"}
	if !slices.Equal(lines, want) {
		t.Errorf("kubectl was asked\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	var said, shipped object
	custom, err := os.ReadFile(filepath.Join(dir, "kubectl.custom"))
	if err != nil {
		t.Fatal(err)
	}
	for text, to := range map[string]*object{string(custom): &said, read(t, "kubernetes/debug.yaml"): &shipped} {
		if err := yaml.Unmarshal([]byte(text), to); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := asJSON(t, said), asJSON(t, shipped); a != b {
		t.Errorf("the container gets %s, debug.yaml says %s", a, b)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What is asked wrongly asks no cluster.
func TestPluginUsage(t *testing.T) {
	dir := plugged(t)
	for _, tt := range []struct {
		args []string
		says string
		code int
	}{
		{nil, "name a pod", 2},
		{[]string{"--frob"}, "unknown flag --frob", 2},
		{[]string{"-n"}, "-n takes a value", 2},
		{[]string{"gone"}, "no pod reported", 1},
		{[]string{"--help"}, "", 0},
	} {
		out, errs, log, err := plugin(t, dir, tt.args...)
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != tt.code || !strings.Contains(errs, tt.says) || tt.code == 2 && log != "" || (tt.code == 0) != strings.Contains(out, "Usage:") {
			t.Errorf("%v: status %d, it says %q and %q, and asks %q", tt.args, code, out, errs, log)
		}
	}
	if kubectl, err := exec.LookPath("kubectl"); err == nil { // the real one finds it
		cmd := exec.CommandContext(t.Context(), kubectl, "keepscope", "--help")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Usage: kubectl keepscope") {
			t.Errorf("%v: %s", err, out)
		}
	}
}
