package run

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"

	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// order hears facts, and checks that none comes before an older one.
type order struct {
	t                      *testing.T
	last                   int64
	exchanges, connections int
	names                  map[string]bool
}

func (o *order) at(t int64) {
	if t < o.last {
		o.t.Errorf("a fact of %d after one of %d", t, o.last)
	}
	o.last = t
}

func (o *order) Exchange(e *fact.Exchange) {
	o.at(e.End)
	o.exchanges++
}

func (o *order) Connection(c *fact.Connection) {
	o.at(c.End)
	o.connections++
	if c.TLS != nil {
		o.names[c.TLS.SNI] = true
	}
}

// TestOrderOfFacts holds that facts are told in the order in which they are known.
func TestOrderOfFacts(t *testing.T) {
	const n = 97
	var s sniffertest.Script
	for i := range n {
		at := time.Duration(i) * time.Second
		c := s.Conn(fmt.Sprintf("10.0.0.1:%d", 10000+i), "10.0.0.2:80", sniffertest.ConnConfig{})
		c.Handshake(at, time.Millisecond)
		for range i % 4 {
			at += 10 * time.Millisecond
			c.Client(at, []byte("GET / HTTP/1.1\r\n\r\n"))
			c.Server(at+time.Millisecond, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
		}
		c.Close(at+10*time.Millisecond, sniffertest.Client, time.Millisecond)
		c = s.Conn(fmt.Sprintf("10.0.0.1:%d", 20000+i), "10.0.0.2:443", sniffertest.ConnConfig{})
		c.Handshake(at+100*time.Millisecond, time.Millisecond)
		c.Client(at+110*time.Millisecond, helloTo(t, fmt.Sprintf("%d.example", i)))
		c.Close(at+120*time.Millisecond, sniffertest.Client, time.Millisecond)
	}
	o := &order{t: t, names: map[string]bool{}}
	w := NewWorker(reassembly.Config{}, analyzer.Config{}, o)
	w.Process(s.Segments()...)
	if o.connections != 2*n || o.exchanges != n/4*6 || len(o.names) != n {
		t.Errorf("%d connections, %d exchanges, %d names; want %d, %d, %d", o.connections, o.exchanges, len(o.names), 2*n, n/4*6, n)
	}
}

// helloTo returns the ClientHello of Go's own client.
func helloTo(t *testing.T, name string) []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: name}).Handshake() // it ends with the pipe
	}()
	b := make([]byte, 16<<10)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}
