package analyzer_test

import (
	"fmt"
	"time"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A printer prints what it is told.
type printer struct{}

func (printer) Exchange(e *fact.Exchange) {
	fmt.Printf("  %v %s: %d, reused %v, %v\n", e.Method, e.ServerName, e.Status, e.Reuse, e.Outcome)
}

func (printer) Connection(c *fact.Connection) {
	fmt.Printf("port %d: %d requests, %v", c.Client.Port, c.Requests, c.Verdict)
	if c.Verdict == fact.VerdictWasted {
		fmt.Printf(" by %v (blames %v), cost %v", c.Cause, c.Cause.Blames(), time.Duration(c.Cost.TCP))
	}
	fmt.Println("; ended by", c.Reason)
}

// An Analyzer takes what an Assembler hands on. The server announces that it closes, so the
// client has to connect again.
func Example() {
	conversation := sniffertest.MustParse(`
		conn a 10.0.0.1:40000 10.0.0.2:80
		@0s   a handshake rtt=10ms
		@+1ms a > "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
		@+9ms a < "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n" fin
		@+1ms a > fin

		conn b 10.0.0.1:40001 10.0.0.2:80
		@1s   b handshake rtt=10ms
		@+1ms b > "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
		@+9ms b < "HTTP/1.1 204 No Content\r\n\r\n"
		@2s   b > "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
		@+9ms b < "HTTP/1.1 204 No Content\r\n\r\n"
	`).Segments()

	a := analyzer.New(analyzer.Config{}, printer{})
	r := reassembly.New(reassembly.Config{}, a)
	for i := range conversation {
		r.Process(&conversation[i])
	}
	r.Flush()
	// Output:
	//   GET shop.example: 204, reused false, server_close
	//   GET shop.example: 204, reused false, keep_alive
	//   GET shop.example: 204, reused true, keep_alive
	// port 40000: 1 requests, needed; ended by server_close
	// port 40001: 2 requests, wasted by server_close (blames server), cost 10ms; ended by open
}
