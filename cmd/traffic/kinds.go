package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/keepscope/keepscope/cmd/traffic/lab"
)

// A kind is one sort of traffic.
type kind struct {
	network   lab.Config
	server    lab.NginxConfig
	traffic   func(context.Context, *generator) error
	openAtEnd bool // the capture ends before the connections do
}

// The server's ports: one habit each.
const (
	port10     = 8010 // 10 requests a connection
	port100    = 8100
	port1000   = 8000
	portClose  = 8001 // no keep-alive
	portOpen   = 8002 // never closes by itself
	portNobody = 9    // nothing listens
)

const serverBlocks = `
	root {{.Root}};
	client_max_body_size 16m;
	gzip_types text/html;
	gzip_comp_level 1;
	gzip_min_length 1;
	server { listen {{.Addr}}:8010 backlog=8192; keepalive_requests 10; }
	server { listen {{.Addr}}:8100 backlog=8192; keepalive_requests 100; location = /post { return 200 "ok\n"; } }
	server {
		listen {{.Addr}}:8000 backlog=8192;
		keepalive_requests 1000;
		location = /post { return 200 "ok\n"; }
		location = /text.html { gzip on; }
	}
	server { listen {{.Addr}}:8001 backlog=8192; keepalive_timeout 0; }
	server { listen {{.Addr}}:8002 backlog=65535 reuseport; keepalive_timeout 3600; keepalive_requests 1000; }
`

func kinds() map[string]kind {
	files := map[string][]byte{
		"1k.html":   bytes.Repeat([]byte("k"), 1024),
		"100k.html": bytes.Repeat([]byte("k"), 100<<10),
		"10m.html":  bytes.Repeat([]byte("m"), 10<<20),
		"text.html": text(8 << 10),
	}
	server := lab.NginxConfig{Servers: serverBlocks, Files: files}
	ports := map[string]string{"net.ipv4.ip_local_port_range": "1024 65535"}
	many := server
	// By default a process may open some 20 000 files, so several must share.
	many.Workers, many.Connections = 8, 19_000
	return map[string]kind{
		"small": {network: lab.Config{ClientAddrs: 2, Sysctls: ports}, server: server, traffic: small},
		"bulk":  {server: server, traffic: bulk},
		"churn": {network: lab.Config{ClientAddrs: len(habits), Sysctls: ports}, server: server, traffic: churn},
		"demo":  {network: lab.Config{ClientAddrs: 2, Sysctls: ports}, server: server, traffic: demo},
		"open":  {network: lab.Config{ClientAddrs: openAddrs, Sysctls: ports}, server: many, traffic: open, openAtEnd: true},
	}
}

// text is a page that compresses as pages do: words in an order that does not
// repeat soon.
func text(size int) []byte {
	words := strings.Fields("a connection that is kept alive carries the next request without another handshake and so saves one round trip")
	var b bytes.Buffer
	for seed := uint32(1); b.Len() < size; {
		seed = seed*1664525 + 1013904223
		b.WriteString(words[int(seed>>16)%len(words)])
		b.WriteByte(' ')
	}
	return b.Bytes()[:size]
}

// small is a million requests of about 1 KB in every way that HTTP/1 has.
func small(ctx context.Context, g *generator) error {
	loads := []load{
		{port: port1000, path: "/1k.html", requests: 350_000},
		{port: port100, path: "/1k.html", requests: 200_000},
		{port: port10, path: "/1k.html", requests: 150_000},
		{port: portClose, path: "/1k.html", requests: 20_000},
		{port: port1000, path: "/1k.html", requests: 120_000, pipeline: 8},
		{port: port1000, path: "/text.html", requests: 40_000, headers: []string{"Accept-Encoding=gzip"}},
		{port: port100, path: "/post", method: "POST", requests: 30_000, body: 1024},
	}
	for _, l := range loads {
		if err := g.wrk(ctx, l); err != nil {
			return fmt.Errorf("%+v: %w", l, err)
		}
	}
	from := g.lab.Client.Addrs[1]
	return errors.Join(
		g.ab(ctx, from, port1000, 15_000, 8, false),
		g.ab(ctx, from, port100, 60_000, 8, true),
		g.curls(ctx),
		g.heads(ctx, 10_000),
		g.continues(ctx, 5_000),
		g.neverUsed(ctx, 2_000),
		g.refused(ctx, 2_000),
	)
}

// curls runs curl with several URLs on one connection, in HTTP/1.1 and 1.0.
func (g *generator) curls(ctx context.Context) error {
	for range g.scaled(100) {
		paths := []string{"/1k.html", "/1k.html", "/1k.html"}
		if err := g.curl(ctx, paths); err != nil {
			return err
		}
		if err := g.curl(ctx, paths[:2], "-0"); err != nil {
			return err
		}
	}
	return nil
}

// each runs f n times, on a thread in the client's namespace.
func (g *generator) each(ctx context.Context, n int, f func(i int) error) error {
	return g.lab.Client.Do(func() error {
		for i := range g.scaled(n) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// on opens a connection to the port that takes 100 requests on each, runs f, and closes.
func (g *generator) on(f func(*conn) error) error {
	c, err := dial(g.lab.Client.Addrs[0], g.server(port100))
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.close())
}

func (g *generator) server(port int) netip.AddrPort {
	return netip.AddrPortFrom(g.lab.Server.Addrs[0], uint16(port))
}

// heads asks by HEAD, five times on a connection: lengths without bodies.
func (g *generator) heads(ctx context.Context, requests int) error {
	return g.each(ctx, requests/5, func(int) error {
		return g.on(func(c *conn) error {
			for range 5 {
				if err := c.exchange("HEAD", "HEAD /1k.html HTTP/1.1\r\nHost: shop.example\r\n\r\n", 200); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// continues waits for 100 Continue before it sends a body.
func (g *generator) continues(ctx context.Context, requests int) error {
	return g.each(ctx, requests/5, func(int) error {
		return g.on(func(c *conn) error {
			for range 5 {
				head := "POST /post HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 1024\r\n\r\n"
				if err := c.exchange("POST", head, 100); err != nil {
					return err
				}
				if err := c.exchange("POST", strings.Repeat("b", 1024), 200); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// posts sends bodies of 1 MiB. nginx may answer before it has read the body: a
// client may see that (RFC 9112 §9.5), and wrk cannot bear it.
func (g *generator) posts(ctx context.Context, requests int) error {
	request := "POST /post HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("b", 1<<20)
	return g.each(ctx, requests/10, func(int) error {
		return g.on(func(c *conn) error {
			for range 10 {
				if err := c.exchange("POST", request, 200); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// neverUsed connects and closes, as health checks do.
func (g *generator) neverUsed(ctx context.Context, n int) error {
	return g.each(ctx, n, func(int) error {
		return g.on(func(*conn) error { return nil })
	})
}

// refused connects to a port where nothing listens.
func (g *generator) refused(ctx context.Context, n int) error {
	return g.each(ctx, n, func(int) error {
		c, err := dial(g.lab.Client.Addrs[0], g.server(portNobody))
		if errors.Is(err, errRefused) {
			g.truth.Refused++
			return nil
		}
		if err == nil {
			err = errors.Join(errors.New("a port without a listener answered"), c.close())
		}
		return err
	})
}

// bulk is large bodies, both ways.
func bulk(ctx context.Context, g *generator) error {
	if err := g.wrk(ctx, load{port: port100, path: "/100k.html", requests: 11_000, connections: 16}); err != nil {
		return err
	}
	if err := g.posts(ctx, 100); err != nil {
		return err
	}
	for range g.scaled(10) {
		if err := g.curl(ctx, slices.Repeat([]string{"/10m.html"}, 3)); err != nil {
			return err
		}
	}
	// curl asks for 100 Continue before a body of this size.
	body, err := g.lab.File("body", bytes.Repeat([]byte("p"), 1<<20+1))
	if err != nil {
		return err
	}
	for range g.scaled(25) {
		if err := g.curl(ctx, []string{"/post", "/post"}, "--data-binary", "@"+body); err != nil {
			return err
		}
	}
	return nil
}

// demo is a little of everything, for a first look at a report.
func demo(ctx context.Context, g *generator) error {
	loads := []load{
		{port: port1000, path: "/1k.html", requests: 1_000, connections: 8},
		{port: port1000, path: "/1k.html", requests: 64, pipeline: 8, connections: 1},
		{port: port1000, path: "/text.html", requests: 100, connections: 2, headers: []string{"Accept-Encoding=gzip"}},
		{port: port10, path: "/1k.html", requests: 400, connections: 4},
		{port: portClose, path: "/1k.html", requests: 100, connections: 2},
	}
	for _, l := range loads {
		if err := g.wrk(ctx, l); err != nil {
			return fmt.Errorf("%+v: %w", l, err)
		}
	}
	for _, h := range habits {
		if h.done == nil {
			continue // ab's turn comes below
		}
		if err := g.spend(ctx, g.lab.Client.Addrs[1], h, 40); err != nil {
			return err
		}
	}
	return errors.Join(
		g.ab(ctx, g.lab.Client.Addrs[1], port100, 60, 2, false),
		g.ab(ctx, g.lab.Client.Addrs[1], port100, 200, 2, true),
		g.curl(ctx, slices.Repeat([]string{"/1k.html"}, 5)),
		g.heads(ctx, 20),
		g.continues(ctx, 20),
		g.neverUsed(ctx, 10),
		g.refused(ctx, 5),
	)
}

// A habit is how one client of churn spends its connections: each carries one
// request, and the next is opened when the one before has been closed. So every
// handshake but its first is wasted, and the cause is known.
type habit struct {
	cause       string // the name of the fact.Reason
	connections int
	port        int
	request     string
	done        func(*conn) error // how the connection ends
}

const (
	get     = "GET /1k.html HTTP/1.1\r\nHost: shop.example\r\n\r\n"
	get10   = "GET /1k.html HTTP/1.0\r\n\r\n"
	getLast = "GET /1k.html HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
)

var habits = []habit{
	{"client_close", 70_000, port1000, getLast, (*conn).awaitEnd},
	{"http10_not_requested", 40_000, port1000, get10, (*conn).awaitEnd},
	{"http10_not_requested", 40_000, port1000, "", nil}, // ab
	{"server_close", 40_000, portClose, get, (*conn).awaitEnd},
	{"client_discard", 30_000, port1000, get, (*conn).close},
	{"client_discard", 20_000, port1000, get, (*conn).reset},
}

// awaitEnd reads the server's FIN, then closes.
func (c *conn) awaitEnd() error {
	if n, err := c.r.Read(make([]byte, 1)); n != 0 || err == nil {
		return errors.Join(fmt.Errorf("%d bytes after the response", n), c.close())
	}
	return c.close()
}

// churn is one request a connection; each client has an address of its own.
func churn(ctx context.Context, g *generator) error {
	g.truth.Wasted = map[string]int{}
	group, ctx := errgroup.WithContext(ctx)
	for i, h := range habits {
		g.truth.Wasted[h.cause] += g.scaled(h.connections) - 1
		from := g.lab.Client.Addrs[i]
		group.Go(func() error {
			if h.done == nil {
				return g.ab(ctx, from, h.port, h.connections, 1, false)
			}
			return g.spend(ctx, from, h, h.connections)
		})
	}
	return group.Wait()
}

// spend opens n connections of a habit, one after another.
func (g *generator) spend(ctx context.Context, from netip.Addr, h habit, n int) error {
	return g.each(ctx, n, func(int) error {
		c, err := dial(from, g.server(h.port))
		if err != nil {
			return err
		}
		if err := c.exchange("GET", h.request, 200); err != nil {
			return errors.Join(err, c.close())
		}
		return h.done(c)
	})
}

const (
	openAddrs  = 6
	openUsed   = 100_000
	openUnused = 2_000
)

// open is a hundred thousand connections that are open at once, some unused;
// half are closed in the end and half never.
func open(ctx context.Context, g *generator) error {
	to := g.server(portOpen)
	for _, from := range g.lab.Client.Addrs {
		h, err := g.hold(ctx, from, to, g.scaled(openUsed/openAddrs), g.scaled(openUnused/openAddrs))
		if err != nil {
			return err
		}
		g.holders = append(g.holders, h)
	}
	for _, h := range g.holders {
		n, err := h.await()
		if err != nil {
			return err
		}
		g.truth.OpenAtOnce += n
	}
	for _, h := range g.holders {
		if err := h.closeHalf(); err != nil {
			return err
		}
	}
	for _, h := range g.holders {
		n, err := h.await()
		if err != nil {
			return err
		}
		g.truth.OpenAtEnd += n
	}
	return nil
}
