package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

const maxClientAddrs = 200

// A Config says what a lab looks like. Its zero value works.
type Config struct {
	// ClientAddrs is how many addresses the client has, 1 by default.
	ClientAddrs int
	// IPv6 uses IPv6 addresses instead of IPv4.
	IPv6 bool
	// Sysctls are set inside both namespaces, by name ("net.ipv4.tcp_tw_reuse").
	Sysctls map[string]string
}

// A Lab is two namespaces joined by a veth pair and a directory for files.
type Lab struct {
	Client, Server *Namespace
	Dir            string // removed by Close
}

// labs numbers the labs of this process, so that tests may run several at once.
var labs atomic.Int64

// Check returns an error that names what this machine lacks for a lab, or nil.
// Programs are those needed besides ip and ethtool.
func Check(ctx context.Context, programs ...string) error {
	for _, name := range append([]string{"ip", "ethtool"}, programs...) {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("lab: %s is not installed: %w", name, err)
		}
	}
	name := fmt.Sprintf("ks-%d-%d-check", os.Getpid(), labs.Add(1))
	if err := ip(ctx, "netns", "add", name); err != nil {
		return fmt.Errorf("no network namespace can be made (that needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN): %w", err)
	}
	// Not bound to the context: cleaning up must happen after a cancel too.
	return ip(context.WithoutCancel(ctx), "netns", "del", name)
}

// New makes a lab. The caller closes it.
func New(ctx context.Context, config Config) (*Lab, error) {
	if config.ClientAddrs == 0 {
		config.ClientAddrs = 1
	}
	if config.ClientAddrs > maxClientAddrs {
		return nil, fmt.Errorf("lab: %d client addresses, at most %d", config.ClientAddrs, maxClientAddrs)
	}
	dir, err := os.MkdirTemp("", "keepscope-lab-")
	if err != nil {
		return nil, fmt.Errorf("lab: make a directory: %w", err)
	}
	prefix := fmt.Sprintf("ks-%d-%d", os.Getpid(), labs.Add(1))
	l := &Lab{
		Client: &Namespace{Name: prefix + "-client", Interface: "veth-client", Addrs: clientAddrs(config)},
		Server: &Namespace{Name: prefix + "-server", Interface: "veth-server", Addrs: []netip.Addr{serverAddr(config)}},
		Dir:    dir,
	}
	if err := l.build(ctx, config); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func serverAddr(config Config) netip.Addr {
	if config.IPv6 {
		return netip.MustParseAddr("fd77::1")
	}
	return netip.MustParseAddr("10.77.0.1")
}

// clientAddrs counts upward from .10 (or ::a) in the server's subnet.
func clientAddrs(config Config) []netip.Addr {
	addr := serverAddr(config)
	for range 9 {
		addr = addr.Next()
	}
	addrs := make([]netip.Addr, config.ClientAddrs)
	for i := range addrs {
		addrs[i], addr = addr, addr.Next()
	}
	return addrs
}

func (l *Lab) build(ctx context.Context, config Config) error {
	for _, n := range []*Namespace{l.Client, l.Server} {
		if err := ip(ctx, "netns", "add", n.Name); err != nil {
			return err
		}
	}
	if err := ip(ctx, "-n", l.Client.Name, "link", "add", l.Client.Interface, "type", "veth",
		"peer", "name", l.Server.Interface, "netns", l.Server.Name); err != nil {
		return err
	}
	for _, n := range []*Namespace{l.Client, l.Server} {
		if err := n.configure(ctx, config); err != nil {
			return err
		}
	}
	return nil
}

// Close removes the namespaces and the directory. Processes that still run in
// a namespace keep it alive: stop them first.
func (l *Lab) Close() error {
	var errs []error
	for _, n := range []*Namespace{l.Client, l.Server} {
		if _, err := os.Stat(filepath.Join("/run/netns", n.Name)); err == nil {
			// Not bound to a context: cleaning up must happen after a cancel too.
			errs = append(errs, ip(context.Background(), "netns", "del", n.Name))
		}
	}
	errs = append(errs, os.RemoveAll(l.Dir))
	return errors.Join(errs...)
}

// File writes a file of the lab's directory and returns its path.
func (l *Lab) File(name string, content []byte) (string, error) {
	path := filepath.Join(l.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	return path, nil
}

// URL is the address of a path on the server, reached over the veth.
func (l *Lab) URL(port int, path string) string {
	return "http://" + netip.AddrPortFrom(l.Server.Addrs[0], uint16(port)).String() + path
}

// ip runs the program of that name and puts what it said into the error.
func ip(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "ip", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: %s: %w: %s", strconv.Quote(cmd.String()), err, out)
	}
	return nil
}
