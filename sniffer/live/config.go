package live

import (
	"fmt"
	"log/slog"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/pcap"
	"github.com/keepscope/keepscope/sniffer/privileges"
)

// A Config says what is captured, and what becomes of the process.
type Config struct {
	Interfaces   []string
	Filter       string // only what matches, in tcpdump's language; empty for all that is decoded
	Snaplen      int    // bytes kept of a frame
	Buffer       int    // bytes of the kernel for each interface
	Promiscuous  bool
	Tunnels      bool     // capture tunnelled traffic, too
	ExcludePorts []uint16 // own ports: their TCP traffic is left out; at most 64
	Copy         bool     // several batches are held at once
	Retry        bool     // try lost interfaces again for ever
	Await        bool     // start without those that are missing yet, and try them, too

	User    *privileges.User       // whom the process becomes once it captures
	Confine privileges.Confinement // the files that it may still use then
	Log     *slog.Logger
}

const maxExcludePorts = 64

// filter composes what the kernel is to pass on.
func (cfg *Config) filter() (string, error) {
	decoded := sniffer.DecoderConfig{DNS: true, NoTunnels: !cfg.Tunnels}
	expr := "(" + decoded.Filter() + ")"
	if cfg.Filter != "" {
		if err := pcap.CheckFilter(cfg.Filter); err != nil {
			return "", err
		}
		expr += " and (" + cfg.Filter + ")"
	}
	if n := len(cfg.ExcludePorts); n > maxExcludePorts {
		return "", fmt.Errorf("%d ports to exclude: at most %d", n, maxExcludePorts)
	}
	for _, port := range cfg.ExcludePorts {
		expr += fmt.Sprintf(" and not tcp port %d", port)
	}
	return expr, nil
}
