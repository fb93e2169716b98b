package main

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"io"
	"maps"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
)

const (
	// hotShare is the share of samples from which on a function that is gone makes
	// the profile stale.
	hotShare = 0.005
	// knownShare is the same for one that the profile does not know, in the some 75 samples
	// of a short run.
	knownShare = 0.1
)

// shares says which part of a profile's samples each function of this module was
// on the stack of.
func shares(t *testing.T, p *profile.Profile) map[string]float64 {
	t.Helper()
	sum, total := map[string]float64{}, 0.0
	for _, s := range p.Sample {
		n := float64(s.Value[len(s.Value)-1])
		total += n
		seen := map[string]bool{}
		for _, l := range s.Location {
			for _, line := range l.Line {
				// A function literal is named for where it was inlined, which differs.
				if name := line.Function.Name; strings.HasPrefix(name, module) && !strings.Contains(name, ".func") && !seen[name] {
					seen[name] = true
					sum[name] += n
				}
			}
		}
	}
	if total == 0 {
		t.Fatal("the profile has no sample")
	}
	for name := range sum {
		sum[name] /= total
	}
	return sum
}

// functions lists what a program is made of, also what is inlined everywhere.
func functions(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]bool{}
	for r := data.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return list
		}
		if e.Tag == dwarf.TagSubprogram {
			name, _ := e.Val(dwarf.AttrName).(string)
			list[name] = true
		}
	}
}

// lessType cuts what tells instances of a generic function apart.
func lessType(name string) string {
	before, _, _ := strings.Cut(name, "[")
	return before
}

// TestProfileIsFresh compares default.pgo, which the compiler optimises by, with
// the program: what it names as hot must be there, and what is hot must be named.
func TestProfileIsFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program: not with -short")
	}
	text, err := os.ReadFile("default.pgo")
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(text)
	if err != nil {
		t.Fatal(err)
	}
	recorded := shares(t, p)
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for name := range functions(t, path) {
		exists[lessType(name)] = true
	}
	const remedy = "`make profile` renews default.pgo"
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		// The profile is recorded by a benchmark, the function literals of which are
		// not in the program.
		plain := strings.Replace(lessType(name), module+"cmd/keepscope.", "main.", 1)
		if recorded[name] >= hotShare && !strings.Contains(plain, "main.") && !exists[plain] {
			t.Errorf("%s is gone, and had %.1f %% of the samples: %s", name, 100*recorded[name], remedy)
		}
	}
	for name, share := range shares(t, readProfile(t)) {
		if share >= knownShare && recorded[name] == 0 && !strings.HasPrefix(name, module+"cmd/") {
			t.Errorf("%s has %.0f %% of the samples of a run, and none in the profile: %s", name, 100*share, remedy)
		}
	}
}

// readProfile records how the packets of the program's own capture are analysed.
func readProfile(t *testing.T) *profile.Profile {
	t.Helper()
	var raw bytes.Buffer
	if err := pprof.StartCPUProfile(&raw); err != nil {
		t.Skipf("this process is profiled already: %v", err)
	}
	for before := cpuTime(t); cpuTime(t)-before < 3*time.Second; { // a busy machine gives less in a time
		if code := run(t.Context(), []string{"read", "demo.pcapng.zst"}, console{out: io.Discard, err: io.Discard}); code != exitDone {
			t.Fatal(code)
		}
	}
	pprof.StopCPUProfile()
	p, err := profile.Parse(&raw)
	if err != nil {
		t.Fatal(err)
	}
	// Opening files is much of so short a capture.
	p.Sample = slices.DeleteFunc(p.Sample, func(s *profile.Sample) bool {
		return !slices.ContainsFunc(s.Location, func(l *profile.Location) bool {
			return slices.ContainsFunc(l.Line, func(l profile.Line) bool { return strings.HasSuffix(l.Function.Name, ".(*pipeline).run") })
		})
	})
	return p
}
