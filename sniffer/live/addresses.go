package live

import (
	"context"
	"net"
	"time"

	"github.com/keepscope/keepscope/sniffer"
)

// Local says whether an address is one of this host's (in a pod: the pod's).
func (l *Source) Local(a sniffer.Addr) bool {
	if addrs := l.local.Load(); addrs != nil {
		if _, ok := (*addrs)[a]; ok {
			return true
		}
	}
	return a.Netip().IsLoopback()
}

// keepFresh reads the addresses anew now and then, for they come and go. The
// kernel tells them under a lock that it holds while any interface on the machine
// comes or goes: so it is not Read that waits.
func (l *Source) keepFresh(ctx context.Context) {
	tick := time.NewTicker(refreshAddrs)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.refresh()
		}
	}
}

func (l *Source) refresh() {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return // the old ones are the best guess
	}
	set := make(map[sniffer.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To16() != nil {
			set[sniffer.Addr(n.IP.To16())] = struct{}{}
		}
	}
	l.local.Store(&set)
}
