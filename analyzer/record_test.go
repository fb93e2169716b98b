package analyzer

import (
	"strings"
	"testing"
	"time"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// calls writes down in which order a connection is told of.
type calls struct{ list []string }

func (c *calls) Opened(*fact.Connection) { c.list = append(c.list, "opened") }
func (c *calls) Judged(*fact.Connection) { c.list = append(c.list, "judged") }
func (c *calls) Left(*fact.Connection)   { c.list = append(c.list, "left") }
func (c *calls) Exchange(*fact.Exchange) { c.list = append(c.list, "exchange") }
func (c *calls) Connection(k *fact.Connection) {
	c.list = append(c.list, "connection "+k.Reason.String())
}

// TestLeft holds that an exact RST takes a connection out of those that are open at
// once, though its last word waits for what may be in flight.
func TestLeft(t *testing.T) {
	var s sniffertest.Script
	c := s.Conn("10.0.0.1:40000", "10.0.0.2:80", sniffertest.ConnConfig{})
	c.Handshake(0, time.Millisecond)
	c.Client(2*time.Millisecond, []byte("GET / HTTP/1.1\r\n\r\n"))
	c.Server(3*time.Millisecond, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	c.Send(sniffertest.Message{At: 4 * time.Millisecond, From: sniffertest.Client, Flags: sniffer.RST})
	var heard calls
	p := newPlayer(Config{}, &heard)
	p.play(s.Segments())
	const before = "opened,exchange,judged,left"
	if got := strings.Join(heard.list, ","); got != before {
		t.Errorf("after the RST %s, want %s", got, before)
	}
	p.assembler.Flush()
	if got, want := strings.Join(heard.list, ","), before+",connection client_discard"; got != want {
		t.Errorf("at the end %s, want %s", got, want)
	}
}
