package printable_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/keepscope/keepscope/sniffer/printable"
)

func TestText(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"plain", "eth0.100", "eth0.100"},
		{"space", "my file.pcap", "my file.pcap"},
		{"other scripts", "захват-捕获-סשן-👍.pcap", "захват-捕获-סשן-👍.pcap"},
		{"a mark", "e\u0301te\u0301", "e\u0301te\u0301"},
		{"a colour", "y\x1b[31mred.pcap", `y\x1b[31mred.pcap`},
		{"line ends", "a\r\nlevel=ERROR", `a\r\nlevel=ERROR`},
		{"NUL and DEL", "a\x00b\x7f", `a\x00b\x7f`},
		{"C1", "a\u009b31m", `a\u009b31m`},
		{"C1 as a byte", "a\x9b31m", `a\x9b31m`},
		{"no UTF-8", "caf\xe9", `caf\xe9`},
		{"cut UTF-8", "caf\xc3", `caf\xc3`},
		{"a surrogate", "\xed\xa0\x80", `\xed\xa0\x80`},
		{"right to left", "invoice\u202egnp.exe", `invoice\u202egnp.exe`},
		{"isolates", "\u2066a\u2069", `\u2066a\u2069`},
		{"no width", "pay\u200bpal\ufeff", `pay\u200bpal\ufeff`},
		{"separators", "a\u2028b\u2029c\u00a0d", `a\u2028b\u2029c\u00a0d`},
		{"tags", "a\U000e0041", `a\U000e0041`},
		{"private use", "\ue000", `\ue000`},
		{"replacement", "a\ufffd", `a�`},
		{"backslash", `C:\x1b`, `C:\x1b`},
		{"quotes", `"'`, `"'`},
		{"quotes beside a control", "\"'\a", `"'\a`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := printable.Text(tt.in); got != tt.want {
				t.Errorf("%q becomes %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestLines(t *testing.T) {
	if got, want := printable.Lines("a\tb\n\x1b[2J\r\nc"), "a\tb\n"+`\x1b[2J\r`+"\nc"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAllocs(t *testing.T) {
	name := strings.Repeat("имя", 20)
	if n := testing.AllocsPerRun(100, func() { printable.Text(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzText holds for any bytes that the result is printable, that what was
// printable stays, and that nothing is escaped twice.
func FuzzText(f *testing.F) {
	f.Add("y\x1b[31mred.pcap")
	f.Add("caf\xe9 \u202e 👍")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable.Text(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q becomes %q", s, got)
		}
		if printable.Text(got) != got || len(got) > 10*len(s) {
			t.Fatalf("%q becomes %q", s, got)
		}
		if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) && got != s {
			t.Fatalf("%q becomes %q", s, got)
		}
		if lines := printable.Lines(s); printable.Text(lines) != strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(lines) {
			t.Fatalf("%q becomes %q", s, lines)
		}
	})
}

func ExampleText() {
	fmt.Println(printable.Text("y\x1b[31mred.pcap"))
	fmt.Println(printable.Text("захват.pcap"))
	// Output:
	// y\x1b[31mred.pcap
	// захват.pcap
}
