package run

import (
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/tls/keylog"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// TestTLSTakenBack has connections begin like TLS, lose bytes of both directions and go on
// otherwise. What is held of their hellos is given back.
func TestTLSTakenBack(t *testing.T) {
	const hello, record = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x17\x03\x03\x00\x04abcd"
	for name, serverHello := range map[string]string{"without a ServerHello": "", "with one": "\x16\x03\x03\x00\x04\x02\x00\x00\x00"} {
		for kind, keys := range map[string]*keylog.Store{"without keys": nil, "with keys": keylog.New(0)} {
			t.Run(name+", "+kind, func(t *testing.T) {
				w := NewWorker(reassembly.Config{}, analyzer.Config{Keys: keys, MaxHeaderBytes: 40_000}, newFacts(t))
				scripted(w, 400, func(c *sniffertest.Conn, _ int, at time.Duration) {
					c.Client(at, []byte(hello+strings.Repeat("x", 50)))
					if serverHello != "" {
						c.Server(at+time.Millisecond, []byte(serverHello))
					}
					c.Gap(sniffertest.Server, 1000)
					c.Server(at+2*time.Millisecond, []byte(record))
					c.Client(at+3*time.Millisecond, nil)
					c.Gap(sniffertest.Client, 1000)
					c.Client(at+4*time.Millisecond, []byte(record))
					c.Server(at+5*time.Millisecond, nil)
				})
				if full := met(w); len(full) > 0 {
					t.Errorf("caps are met: %v", full)
				}
				w.Flush()
			})
		}
	}
}
