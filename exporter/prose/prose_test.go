package prose

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFigures(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(9999), "9999"}, {Count(1234567), "1 234 567"},
		{Seconds(0), "0 s"}, {Seconds(-1), "−1.0 s"}, {Seconds(0.0000123), "12.3 µs"}, {Seconds(0.0051), "5.1 ms"}, {Seconds(7.25), "7.25 s"},
		{Seconds(75), "75.0 s"}, {Seconds(120), "120 s"}, {Seconds(7200), "2.0 h"}, {Seconds(864000), "10.0 d"},
		{Percent(1), "100 %"}, {Percent(0), "0 %"}, {Percent(0.99999), "> 99.9 %"}, {Percent(0.0001), "< 0.1 %"}, {Percent(0.5), "50.0 %"},
		{Bytes(1), "1 byte"}, {Bytes(12), "12 bytes"}, {Bytes(1500), "1.5 kB"}, {Bytes(2_000_000_000_000), "2.0 TB"},
		{Plural(1, "race"), "1 race"}, {Plural(20000, "race"), "20 000 races"}, {PluralWere(1, "handshake"), "1 handshake was"}, {PluralWere(2, "handshake"), "2 handshakes were"},
		{UpperFirst("2 were"), "2 were"}, {UpperFirst("älter"), "Älter"}, {UpperFirst(""), ""},
		{Pad("ä", 3), "ä  "}, {PadLeft("ä", 3), "  ä"}, {Shorten("a.very.long.name.example:8080", 12), "a.very.…8080"}, {Shorten("long", 1), "…"}, {Shorten("long", 0), ""},
		{KeepUnits("in 60 s, 28 232 of 5 apples"), "in 60\u00a0s, 28\u00a0232 of 5 apples"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestWrap(t *testing.T) {
	want := []string{"it took", "1.5 s of", "waiting"}
	if diff := cmp.Diff(want, Wrap("it took 1.5 s of waiting", 8)); diff != "" {
		t.Error(diff)
	}
}

func Example() {
	fmt.Println(Percent(0.9876), "in", Seconds(0.00031), "for", Plural(12345, "handshake"))
	// Output: 98.8 % in 310 µs for 12 345 handshakes
}
