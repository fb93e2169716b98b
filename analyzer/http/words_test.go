package http

import (
	"fmt"
	"testing"
)

// names returns the names of an enum's values before num.
func names[E interface {
	~uint8 | ~uint32
	fmt.Stringer
}](num E) (all []string) {
	for e := E(0); e < num; e++ {
		all = append(all, e.String())
	}
	return all
}

// TestWords has every enum of the package: each value has a name, and none has the name of
// another. A value out of range has one, too.
func TestWords(t *testing.T) {
	for kind, words := range map[string][]string{
		"Side": names(Server + 1), "Version": names(NumVersions), "Method": names(NumMethods),
		"Code": names(NumCodes), "GRPCStatus": names(GRPCStatus(NumGRPCStatuses)),
	} {
		seen := map[string]bool{}
		for i, word := range words {
			unknown := word == "" || word == "unknown"
			if seen[word] || unknown && (kind != "Version" || Version(i) != VersionUnknown) {
				t.Errorf("%s: value %d is %q", kind, i, word)
			}
			seen[word] = true
		}
	}
	for got, want := range map[string]string{
		Version(200).String(): "unknown", Method(201).String(): "unknown", Code(1 << 20).String(): "UNKNOWN", GRPCStatus(202).String(): "unknown",
	} {
		if got != want {
			t.Errorf("a value out of range is %q, want %q", got, want)
		}
	}
}

func TestInterim(t *testing.T) {
	for status, want := range map[uint16]bool{0: false, 100: true, 101: false, 103: true, 200: false, 304: false} {
		if got := (&Head{Status: status}).Interim(); got != want {
			t.Errorf("%d is interim: %v", status, got)
		}
	}
}

func TestMethodOf(t *testing.T) {
	for m := range NumMethods {
		if got := MethodOf([]byte(m.String())); got != m {
			t.Errorf("%v is read as %v", m, got)
		}
	}
	for _, token := range []string{"", "get", "GETS", "PROPFIND"} {
		if got := MethodOf([]byte(token)); got != Other {
			t.Errorf("%q is read as %v", token, got)
		}
	}
}
