package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Namespace is one end of a lab.
type Namespace struct {
	Name      string
	Interface string // its end of the veth pair
	Addrs     []netip.Addr
}

func (n *Namespace) configure(ctx context.Context, config Config) error {
	commands := [][]string{{"ip", "link", "set", "lo", "up"}}
	bits := "16"
	if config.IPv6 {
		bits = "64"
	} else {
		// Without IPv6 there is no neighbour discovery on the wire.
		commands = append(commands, []string{"sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"})
	}
	for name, value := range config.Sysctls {
		commands = append(commands, []string{"sysctl", "-qw", name + "=" + value})
	}
	for _, addr := range n.Addrs {
		add := []string{"ip", "addr", "add", addr.String() + "/" + bits, "dev", n.Interface}
		if config.IPv6 {
			// Duplicate address detection would hold the address back.
			add = append(add, "nodad")
		}
		commands = append(commands, add)
	}
	commands = append(commands,
		// Offloads would put frames of 64 KiB and unfilled checksums into the
		// capture, which no wire carries.
		[]string{"ethtool", "-K", n.Interface, "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off"},
		[]string{"ip", "link", "set", n.Interface, "up"})
	for _, c := range commands {
		if err := n.Run(ctx, c[0], c[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// Command prepares a program to run in the namespace. The process that starts
// becomes the program: its pid is the program's.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.Name, name}, args...)...)
}

// Run runs a program in the namespace to its end; what it said is in the error.
func (n *Namespace) Run(ctx context.Context, name string, args ...string) error {
	cmd := n.Command(ctx, name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: %s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// Do runs f on a thread that is in the namespace: the sockets that f itself
// makes are there; those of goroutines that f starts are not.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so it ends with the goroutine and no
		// other goroutine can find itself in the namespace.
		runtime.LockOSThread()
		done <- n.enter(f)
	}()
	return <-done
}

func (n *Namespace) enter(f func() error) error {
	ns, err := os.Open(filepath.Join("/run/netns", n.Name))
	if err != nil {
		return fmt.Errorf("lab: open namespace: %w", err)
	}
	err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	if closeErr := ns.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("lab: enter namespace %s: %w", n.Name, err)
	}
	return f()
}

// DialContext connects from the namespace; it fits http.Transport.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		var d net.Dialer
		var err error
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens in the namespace.
func (n *Namespace) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		var config net.ListenConfig
		var err error
		l, err = config.Listen(ctx, network, address)
		return err
	})
	return l, err
}
