package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A conn is a client's connection on a blocking socket. It must be made on a
// thread that is in the client's namespace. Blocking calls cost one system call
// where net.Conn costs several, and the generator opens hundreds of thousands.
type conn struct {
	fd int
	r  *bufio.Reader
}

var errRefused = errors.New("connection refused")

// ioTimeout bounds each connect, read and write.
const ioTimeout = 20 * time.Second

// dial connects from a local address, whose port the kernel chooses.
func dial(from netip.Addr, to netip.AddrPort) (*conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	c := &conn{fd: fd}
	if err := c.connect(from, to); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *conn) connect(from netip.Addr, to netip.AddrPort) error {
	limit := unix.NsecToTimeval(ioTimeout.Nanoseconds())
	if err := errors.Join(
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
		unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		// The port is chosen at connect, so that one port serves several peers.
		unix.SetsockoptInt(c.fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
	); err != nil {
		return fmt.Errorf("socket options: %w", err)
	}
	if err := unix.Bind(c.fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		return fmt.Errorf("bind %v: %w", from, err)
	}
	peer := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	err := unix.Connect(c.fd, peer)
	for errors.Is(err, unix.EINTR) {
		// Go's own signals interrupt it; Linux lets the same call wait on.
		err = unix.Connect(c.fd, peer)
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return errRefused
	}
	if err != nil {
		return fmt.Errorf("connect %v to %v: %w", from, to, err)
	}
	return nil
}

// Read makes conn an io.Reader for bufio.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (c *conn) send(text string) error {
	for rest := []byte(text); len(rest) > 0; {
		n, err := unix.Write(c.fd, rest)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}

// receive reads one response whole and returns its status.
func (c *conn) receive(method string) (int, error) {
	if c.r == nil {
		// Made at the first response: a hundred thousand open connections that
		// have read theirs need none, and release drops it.
		c.r = bufio.NewReaderSize(c, 4096)
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return 0, fmt.Errorf("read response: %w", err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// exchange sends a request and reads its response, which must have the status.
func (c *conn) exchange(method, request string, status int) error {
	if err := c.send(request); err != nil {
		return err
	}
	got, err := c.receive(method)
	if err == nil && got != status {
		err = fmt.Errorf("status %d, want %d", got, status)
	}
	return err
}

// release forgets the read buffer of a connection with nothing left to read.
func (c *conn) release() { c.r = nil }

func (c *conn) close() error { return unix.Close(c.fd) }

// reset closes with RST instead of FIN.
func (c *conn) reset() error {
	err := unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return errors.Join(err, c.close())
}
