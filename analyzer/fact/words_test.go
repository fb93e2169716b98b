package fact

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// words returns the names of an enum's values, the last of which is before num, and of one
// that is none.
func words[E interface {
	~uint8
	fmt.Stringer
}](num E) (all []string, beyond string) {
	for e := range num {
		all = append(all, e.String())
	}
	return all, E(255).String()
}

// TestWords has every enum of the package: each value has a name, and none has the name
// of another.
func TestWords(t *testing.T) {
	type enum struct {
		all    []string
		beyond string
	}
	of := func(all []string, beyond string) enum { return enum{all, beyond} }
	tests := map[string]enum{
		"Handshake": of(words(NumHandshakes)), "Protocol": of(words(NumProtocols)), "Keys": of(words(NumKeys)),
		"Outcome": of(words(NumOutcomes)), "Failure": of(words(NumFailures)), "ClosedBy": of(words(NumClosedBy)),
		"ClosedWith": of(words(NumClosedWith)), "Verdict": of(words(NumVerdicts)), "Reuse": of(words(NumReuses)),
		"Reason": of(words(NumReasons)), "Blame": of(words(NumBlames)), "Cause": of(words(NumCauses)),
	}
	// Values that mean it, and the one that stands for the absence of a closing.
	exceptions := map[string]string{"Protocol": unknownName, "Outcome": unknownName, "Reuse": unknownName, "ClosedWith": ""}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for i, word := range tt.all {
				if seen[word] {
					t.Errorf("%q is there twice", word)
				}
				seen[word] = true
				if allowed, ok := exceptions[name]; (word == "" || word == unknownName) && (!ok || word != allowed) {
					t.Errorf("value %d is %q", i, word)
				}
			}
			if tt.beyond != unknownName {
				t.Errorf("a value out of range is %q", tt.beyond)
			}
		})
	}
	if d := cmp.Diff(enums(t), slices.Sorted(maps.Keys(tests))); d != "" {
		t.Errorf("enums of the package (-there +tested):\n%s", d)
	}
}

// enums returns the names of the package's types that are numbers of 8 bits, sorted.
func enums(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				s := spec.(*ast.TypeSpec)
				if id, ok := s.Type.(*ast.Ident); ok && id.Name == "uint8" {
					names = append(names, s.Name.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// TestBlames holds the side that a word names against the one that is blamed.
func TestBlames(t *testing.T) {
	for r := range NumReasons {
		for _, side := range []Blame{BlamesClient, BlamesServer} {
			if word := r.String(); len(word) > 7 && word[:7] == side.String()+"_" && r.Blames() != side {
				t.Errorf("%v blames %v", r, r.Blames())
			}
		}
	}
	if PoolMiss.Blames() != BlamesClient || NoCause.Blames() != BlamesNobody || Reason(255).Blames() != BlamesNobody {
		t.Error("a pool miss blames the client, and nothing blames nobody")
	}
}

// TestPossibleCauses lists the reasons that no wasted handshake has for its cause.
func TestPossibleCauses(t *testing.T) {
	var never []string
	for c := range NumCauses {
		if !c.Possible() {
			never = append(never, c.String())
		}
	}
	want := []string{"none", "handshake_failed", "never_used", "not_http", "open"}
	if d := cmp.Diff(want, never); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLimitsAdd(t *testing.T) {
	l := Limits{{Name: "a", Count: 1}, {Name: "b"}}
	l.Add(Limits{{Name: "b", Count: 2}, {Name: "a", Count: 3}, {Name: "c", Count: 4}})
	if d := cmp.Diff(Limits{{Name: "a", Count: 4}, {Name: "b", Count: 2}, {Name: "c", Count: 4}}, l); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
