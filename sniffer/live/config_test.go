package live

import (
	"strings"
	"testing"

	"github.com/keepscope/keepscope/sniffer/pcap"
)

// TestFilter composes filters that libpcap takes, and refuses others.
func TestFilter(t *testing.T) {
	for _, cfg := range []Config{
		{}, {Tunnels: true}, {Filter: "host 192.0.2.1 or host 192.0.2.2"}, {ExcludePorts: make([]uint16, maxExcludePorts)},
	} {
		expr, err := cfg.filter()
		if err == nil {
			err = pcap.CheckFilter(expr)
		}
		if err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
		if n := strings.Count(expr, "not tcp port"); n != len(cfg.ExcludePorts) {
			t.Errorf("%d ports are left out of %d", n, len(cfg.ExcludePorts))
		}
	}
	for _, cfg := range []Config{{Filter: "hots 192.0.2.1"}, {Filter: "tcp) or (udp"}, {ExcludePorts: make([]uint16, maxExcludePorts+1)}} {
		if expr, err := cfg.filter(); err == nil {
			t.Errorf("%+v is taken: %s", cfg, expr)
		}
	}
}
