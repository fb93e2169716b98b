package reassembly_test

import (
	"fmt"

	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A printer prints what it is told of each connection.
type printer struct{}

func (printer) Open(c *reassembly.Conn) {
	fmt.Println("open:", c.Endpoint[reassembly.Client], "to", c.Endpoint[reassembly.Server])
}

func (printer) Data(_ *reassembly.Conn, d reassembly.Dir, payload []byte) {
	fmt.Printf("%s sends %q\n", [...]string{"client", "server"}[d], payload)
}

func (printer) Gap(_ *reassembly.Conn, _ reassembly.Dir, n int64, _ reassembly.GapKind) {
	fmt.Println(n, "bytes are missing")
}

func (printer) End(c *reassembly.Conn, d reassembly.Dir, e reassembly.End) {
	if e == reassembly.EndFIN {
		fmt.Println([...]string{"client", "server"}[d], "closes, having acknowledged", c.Closing(d).Ack-1001, "bytes of the other side")
	}
}

// A server closes while the client's second request is on its way: its FIN
// acknowledges the first one only.
func Example() {
	conversation := sniffertest.MustParse(`
		conn c 10.0.0.1:40000 10.0.0.2:80 isn=1000,1000
		@0s     c handshake
		@10ms   c > "first"
		@20ms   c < "answer"
		@5s     c < fin
		@5001ms c > "second" ack=6
	`).Segments()
	a := reassembly.New(reassembly.Config{}, printer{})
	a.ProcessAll(conversation)
	a.Flush()
	// Output:
	// open: 10.0.0.1:40000 to 10.0.0.2:80
	// client sends "first"
	// server sends "answer"
	// server closes, having acknowledged 5 bytes of the other side
	// client sends "second"
}
