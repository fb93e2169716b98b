package live

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

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

// keepFresh reads the addresses anew when the kernel says that one came or went, and now
// and then, where it does not. The kernel tells them under a lock that it holds while any
// interface on the machine comes or goes: so it is not Read that waits.
func (l *Source) keepFresh(ctx context.Context) {
	changed := addressChanges(ctx)
	tick := time.NewTicker(refreshAddrs)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			l.refresh()
		case <-tick.C:
			l.refresh()
		}
	}
}

// addressChanges tells when an address of this host comes or goes, until ctx is done; nil
// where the kernel does not say (rtnetlink(7), which takes no right).
func addressChanges(ctx context.Context) <-chan struct{} {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	socket := os.NewFile(uintptr(fd), "rtnetlink")
	groups := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR}
	if err := unix.Bind(fd, groups); err != nil {
		_ = socket.Close()
		return nil
	}
	context.AfterFunc(ctx, func() { _ = socket.Close() })
	changed := make(chan struct{}, 1)
	go func() {
		b := make([]byte, os.Getpagesize())
		for {
			if _, err := socket.Read(b); err != nil && !errors.Is(err, unix.ENOBUFS) { // more than fit: something changed
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed
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
