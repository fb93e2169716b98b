package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseLog(t *testing.T) {
	const log = "7 1 10.77.0.10 4000 8010 200 GET HTTP/1.1 80 1300\n" +
		"3 1 fd77::a 4001 8010 200 POST HTTP/1.1 80 1300\n" +
		"7 2 10.77.0.10 4000 8010 200 GET HTTP/1.1 80 1300\n" +
		"9 1 10.77.0.10 4000 8010 400 - - 0 150\n"
	client := netip.MustParseAddrPort
	want := []Logged{
		{Serial: 3, Tuple: Tuple{client("[fd77::a]:4001"), 8010}, Requests: 1},
		{Serial: 7, Tuple: Tuple{client("10.77.0.10:4000"), 8010}, Requests: 2},
		{Serial: 9, Tuple: Tuple{client("10.77.0.10:4000"), 8010}, Requests: 1},
	}
	got, err := parseLog(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseLogBad(t *testing.T) {
	for _, line := range []string{"\n", "1 1 nobody 4000 8010 200\n", "x\n", strings.Repeat("1", 70<<10)} {
		if got, err := parseLog(strings.NewReader(line)); err == nil {
			t.Errorf("parseLog(%.20q) = %v, want an error", line, got)
		}
	}
}

func TestCaptured(t *testing.T) {
	tests := []struct {
		name, said string
		want       int
		ok         bool
	}{
		{"whole", "12 packets captured\n12 packets received by filter\n0 packets dropped by kernel\n", 12, true},
		{"one", "1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n", 1, true},
		{"dropped", "12 packets captured\n12 packets received by filter\n3 packets dropped by kernel\n", 12, false},
		{"left in the ring", "12 packets captured\n14 packets received by filter\n0 packets dropped by kernel\n", 12, false},
		{"nothing said", "", 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := captured(test.said)
			if got != test.want || (err == nil) != test.ok {
				t.Errorf("captured() = %d, %v; want %d, ok %v", got, err, test.want, test.ok)
			}
		})
	}
}
