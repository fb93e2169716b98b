package communityid_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/keepscope/keepscope/exporter/communityid"
	"github.com/keepscope/keepscope/sniffer"
)

func endpoint(s string) sniffer.Endpoint {
	a := netip.MustParseAddrPort(s)
	return sniffer.Endpoint{Addr: a.Addr().As16(), Port: a.Port()}
}

// TestPublished has vectors of the specification and of Zeek's own tests, for TCP and seed 0.
func TestPublished(t *testing.T) {
	for _, c := range []struct{ name, a, b, want string }{
		{"two sides", "128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"the other way", "66.35.250.204:80", "128.232.110.120:34855", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"in order", "1.2.3.4:1122", "5.6.7.8:3344", "1:wCb3OG7yAFWelaUydu0D+125CLM="},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := string(communityid.Append(nil, endpoint(c.a), endpoint(c.b)))
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func Example() {
	fmt.Printf("%s\n", communityid.Append(nil, endpoint("128.232.110.120:34855"), endpoint("66.35.250.204:80")))
	// Output: 1:LQU9qZlK+B5F3KDmev6m5PMibrg=
}
