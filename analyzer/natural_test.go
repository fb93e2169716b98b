package analyzer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// told notes the connections that are told, by the client's port.
type toldPorts map[uint16]string

func (t toldPorts) Connection(c *fact.Connection) {
	t[c.Client.Port] += c.Reason.String() + " " + c.Verdict.String() + " " + c.Cause.String()
}

// TestEndOfCaptureTellsAll has an Assembler's Flush alone end a capture, in which
// handshakes wait for the reason of others: nothing is lost, and nothing told twice.
func TestEndOfCaptureTellsAll(t *testing.T) {
	tests := []struct{ name, script, lost, cause string }{
		{"announced and never closed", `@+9ms a < "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"`, "server_close", "server_close"},
		{"half closed", `@+9ms a < "HTTP/1.1 204 No Content\r\n\r\n" fin`, "server_discard", "server_discard"},
		{"closed", "@+9ms a < \"HTTP/1.1 204 No Content\\r\\n\\r\\n\" fin\n@+1ms a > fin", "server_discard", "server_discard"},
		{"reset", "@+9ms a < \"HTTP/1.1 204 No Content\\r\\n\\r\\n\"\n@+2ms a > rst", "client_discard", "client_discard"},
	}
	for _, tt := range tests {
		for _, end := range []string{"", "@2s b > fin\n@+1ms b < fin\n"} {
			s := sniffertest.MustParse(`
				conn a 10.0.0.1:40000 10.0.0.2:80
				@0s   a handshake rtt=10ms
				@+1ms a > "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
				` + tt.script + `
				conn b 10.0.0.1:40001 10.0.0.2:80
				@1s   b handshake rtt=10ms
				@+1ms b > "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
				@+9ms b < "HTTP/1.1 204 No Content\r\n\r\n"
				` + end)
			got := toldPorts{}
			p := newPlayer(Config{}, got)
			p.play(s.Segments())
			p.assembler.Flush()
			reason := "open"
			if end != "" {
				reason = "client_discard"
			}
			want := toldPorts{40000: tt.lost + " needed none", 40001: reason + " wasted " + tt.cause}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, d)
			}
		}
	}
}
