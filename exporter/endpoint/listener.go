package endpoint

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// sayAgain is the least time between two log lines about the same trouble with
// clients.
const sayAgain = time.Minute

// A listener is a listener that bounds the connections of all clients together,
// and of each. It never keeps a newcomer waiting: where there is no room, a
// connection that carries no request is closed for it, the one first that has
// been idle for longest. Where all carry one, the client that holds most gives
// up its oldest, if it holds more than the newcomer would. Else the newcomer is
// refused.
type listener struct {
	net.Listener
	most, each int // connections: in all, and of one client
	log        *slog.Logger

	displaced, refused atomic.Uint64

	mu   sync.Mutex
	held map[*clientConn]struct{}
	said time.Time
}

// A clientConn is a connection that a listener has accepted.
type clientConn struct {
	net.Conn
	list *listener
	from netip.Prefix // the client

	// Under list.mu.
	state http.ConnState
	since time.Time // in that state
}

func newListener(l net.Listener, most, each int, log *slog.Logger) *listener {
	return &listener{Listener: l, most: most, each: each, log: log, held: map[*clientConn]struct{}{}}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &clientConn{Conn: conn, list: l, from: clientOf(conn.RemoteAddr()), state: http.StateNew, since: time.Now()}
		if l.admit(c) {
			return c, nil
		}
		_ = conn.Close() // nothing was said on it
	}
}

// clientOf returns who is taken for one client: an IPv4 address, or the /64 that
// an IPv6 host has for itself.
func clientOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // an address has that many
	return p
}

// admit makes room for a connection, or says that there is none.
func (l *listener) admit(c *clientConn) bool {
	l.mu.Lock()
	count := map[netip.Prefix]int{}
	for other := range l.held {
		count[other.from]++
	}
	own := count[c.from]
	var victim *clientConn
	full := true
	switch {
	case own >= l.each:
		victim = l.leastUsed(func(o *clientConn) bool { return o.from == c.from })
	case len(l.held) >= l.most:
		victim = l.leastUsed(func(*clientConn) bool { return true })
		if victim == nil {
			victim = l.greedy(count, own+1)
		}
	default:
		full = false
	}
	admitted := !full || victim != nil
	if admitted {
		delete(l.held, victim)
		l.held[c] = struct{}{}
	}
	l.mu.Unlock()
	if full {
		l.tell(c, victim)
	}
	return admitted
}

// leastUsed returns, of those that match and carry no request, the one that has
// been idle for longest, else the oldest of which no request has come yet.
func (l *listener) leastUsed(match func(*clientConn) bool) (best *clientConn) {
	for c := range l.held {
		if c.state == http.StateActive || !match(c) {
			continue
		}
		idle := c.state == http.StateIdle
		if best == nil || idle && best.state != http.StateIdle || (idle == (best.state == http.StateIdle)) && c.since.Before(best.since) {
			best = c
		}
	}
	return best
}

// greedy returns the oldest connection of the client that holds most, if that is
// more than fair.
func (l *listener) greedy(count map[netip.Prefix]int, fair int) (best *clientConn) {
	for c := range l.held {
		n := count[c.from]
		if n <= fair {
			continue
		}
		if best == nil || n > count[best.from] || n == count[best.from] && c.since.Before(best.since) {
			best = c
		}
	}
	return best
}

// tell counts and, once a minute, logs that there was no room.
func (l *listener) tell(newcomer, victim *clientConn) {
	if victim != nil {
		l.displaced.Add(1)
		_ = victim.Conn.Close() // whoever reads it learns that way
	} else {
		l.refused.Add(1)
	}
	l.mu.Lock()
	say := time.Since(l.said) >= sayAgain
	if say {
		l.said = time.Now()
	}
	l.mu.Unlock()
	if say {
		l.log.Warn("endpoint: no room for all connections: idle ones are closed, and the rest refused",
			"listen", l.Addr().String(), "client", newcomer.from.Addr().String(), "closed", l.displaced.Load(), "refused", l.refused.Load())
	}
}

// note is the server's ConnState.
func (l *listener) note(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, ok := conn.(*clientConn)
	if !ok || state == http.StateNew {
		return
	}
	l.mu.Lock()
	c.state, c.since = state, time.Now()
	l.mu.Unlock()
}

// Close implements net.Conn.
func (c *clientConn) Close() error {
	c.list.mu.Lock()
	delete(c.list.held, c)
	c.list.mu.Unlock()
	return c.Conn.Close()
}
