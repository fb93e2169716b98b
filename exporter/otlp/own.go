package otlp

import (
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer"
)

const (
	// maxOwn bounds the own connections that are remembered; the oldest goes.
	maxOwn = 64
	// dialWithin is how long after its port was taken an own connection's SYN is
	// captured at the latest.
	dialWithin = 2 * time.Second
)

// OwnTraffic knows the connections that this process opens, so that they can be
// left out of its figures: by port and time, for the port may be another's
// later.
type OwnTraffic struct {
	Local func(sniffer.Addr) bool // whether an address is this host's; set before the first push
	any   atomic.Bool

	mu     sync.RWMutex
	newest [maxOwn]dialed
	next   int
}

// A dialed is a connection that was about to be opened.
type dialed struct {
	port uint16
	at   int64
}

// LeftOut returns an observer that does not hear of own connections, and a
// Watcher where heard is one.
func (o *OwnTraffic) LeftOut(heard fact.Observer) fact.Observer {
	if w, ok := heard.(fact.Watcher); ok {
		return watchedOthers{others{heard, o}, w}
	}
	return others{heard, o}
}

// others hands on what is not about own connections. These are known before
// their first request is sent.
type others struct {
	heard fact.Observer
	own   *OwnTraffic
}

func (o others) Exchange(e *fact.Exchange) {
	if f, ok := o.heard.(fact.Follower); ok && !o.own.opened(e.Client, e.Opened) {
		f.Exchange(e)
	}
}

func (o others) Connection(c *fact.Connection) {
	if !o.own.opened(c.Client, c.Start) {
		o.heard.Connection(c)
	}
}

// A watchedOthers is others for a Watcher.
type watchedOthers struct {
	others
	watcher fact.Watcher
}

func (o watchedOthers) Opened(c *fact.Connection) {
	if !o.own.opened(c.Client, c.Start) {
		o.watcher.Opened(c)
	}
}

func (o watchedOthers) Left(c *fact.Connection) {
	if w, ok := o.watcher.(fact.Leaver); ok && !o.own.opened(c.Client, c.Start) {
		w.Left(c)
	}
}

func (o watchedOthers) Judged(c *fact.Connection) {
	if !o.own.opened(c.Client, c.Start) {
		o.watcher.Judged(c)
	}
}

// opened reports whether the process opened the connection that began at start
// from client, as far as it remembers.
func (o *OwnTraffic) opened(client sniffer.Endpoint, start int64) bool {
	if !o.any.Load() {
		return false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, d := range o.newest {
		if d.port == client.Port && start >= d.at-int64(dialWithin) && start <= d.at+int64(dialWithin) {
			return o.Local(client.Addr)
		}
	}
	return false
}

// client returns a client whose connections are known.
func (o *OwnTraffic) client() *http.Client {
	return &http.Client{Transport: o.transport(), Timeout: pushTimeout}
}

// transport returns a transport whose connections are known.
func (o *OwnTraffic) transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	dialer := net.Dialer{Timeout: pushTimeout, Resolver: &net.Resolver{PreferGo: true}, Control: o.bind}
	t.DialContext = dialer.DialContext
	return t
}

// bind takes a port for a connection before its SYN is sent, also for one that
// is going to be refused.
func (o *OwnTraffic) bind(network, _ string, c syscall.RawConn) error {
	var port uint16
	var err error
	if ctl := c.Control(func(fd uintptr) { port, err = bindAny(network, int(fd)) }); ctl != nil {
		return ctl
	}
	if err != nil {
		return os.NewSyscallError("bind", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.newest[o.next%maxOwn] = dialed{port, time.Now().UnixNano()}
	o.next++
	o.any.Store(true)
	return nil
}

// bindAny binds a socket to a free port of any address.
func bindAny(network string, fd int) (port uint16, err error) {
	var free unix.Sockaddr = &unix.SockaddrInet4{}
	if network == "tcp6" {
		free = &unix.SockaddrInet6{}
	}
	if err := unix.Bind(fd, free); err != nil {
		return 0, err
	}
	bound, err := unix.Getsockname(fd)
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		port = uint16(a.Port)
	case *unix.SockaddrInet6:
		port = uint16(a.Port)
	}
	return port, err
}
