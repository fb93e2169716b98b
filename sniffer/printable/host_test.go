package printable_test

import (
	"testing"

	"github.com/keepscope/keepscope/sniffer/printable"
)

func TestHost(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		most           int
		is             bool
	}{
		{"a name", "shop.example:8080", "shop.example:8080", 100, true},
		{"an address", "[2001:db8::1%25eth0]:80", "[2001:db8::1%25eth0]:80", 100, true},
		{"another script", "食品", "%E9%A3%9F%E5%93%81", 100, false},
		{"no UTF-8", "a\xff", "a%FF", 100, false},
		{"a colour", "a\x1b[31m", "a%1B[31m", 100, false},
		{"user information", "user@host", "user%40host", 100, false},
		{"cut", "shop.example", "shop", 4, true},
		{"cut at an encoded byte", "a食", "a%E9", 5, false},
		{"empty", "", "", 4, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(printable.AppendHost([]byte("x"), tt.in, tt.most)); got != "x"+tt.want {
				t.Errorf("%q, want %q", got, "x"+tt.want)
			}
			if got := printable.IsHost(tt.in); got != tt.is {
				t.Errorf("is a host: %v, want %v", got, tt.is)
			}
		})
	}
}
