package http2_test

import (
	"fmt"

	"github.com/keepscope/keepscope/analyzer/http"
	"github.com/keepscope/keepscope/analyzer/http2"
)

// A printer prints what a connection says.
type printer struct{}

func (printer) Begin(http.Stream, int64)      {}
func (printer) Responds(http.Stream, int64)   {}
func (printer) Unanswered(http.Stream, int64) {}
func (printer) Request(s http.Stream, h *http.Head, _ int64) {
	fmt.Printf("stream %d: %v to %q, partial %v\n", s, h.Method, h.Host, h.Partial)
}
func (printer) Response(s http.Stream, h *http.Head, _ int64) {
	fmt.Printf("stream %d: %d by %s\n", s, h.Status, h.Server)
}
func (printer) End(s http.Stream, from http.Side, _ int64) {
	fmt.Printf("stream %d: %v is done\n", s, from)
}
func (printer) Reset(s http.Stream, from http.Side, c http.Code, _ int64) {
	fmt.Printf("stream %d: %v resets, %v\n", s, from, c)
}
func (printer) Lost(from http.Side, requests uint32) { fmt.Println("lost", from, requests) }
func (printer) Settings(from http.Side, streams uint32, _ int64) {
	if streams != http.Unlimited {
		fmt.Printf("%v allows %d streams\n", from, streams)
	}
}
func (printer) Goaway(from http.Side, last http.Stream, c http.Code, _ int64) {
	fmt.Printf("%v goes away after stream %d, %v\n", from, last, c)
}
func (printer) Ping(http.Side, int64)                          {}
func (printer) Push(int64)                                     {}
func (printer) GRPCStatus(http.Stream, http.GRPCStatus, int64) {}

// One exchange, and the server goes away.
func Example() {
	var pool http2.Pool // of one goroutine
	var c http2.Conn
	c.Reset(&pool, printer{}, http2.Prior)
	defer c.Release()

	c.Data(http.Client, []byte(http2.Preface), 1)
	c.Data(http.Client, []byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 1)                         // SETTINGS
	c.Data(http.Client, []byte("\x00\x00\x0b\x01\x05\x00\x00\x00\x01\x82\x41\x08shop.lan"), 2)     // HEADERS
	c.Data(http.Server, []byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"), 3) // SETTINGS
	c.Data(http.Server, []byte("\x00\x00\x08\x01\x04\x00\x00\x00\x01\x88\x76\x05nginx"), 4)        // HEADERS
	c.Data(http.Server, []byte("\x00\x00\x10\x00\x01\x00\x00\x00\x01the first"), 5)                // DATA
	c.Gap(http.Server, 7, 6)                                                                       // the rest of it
	c.Data(http.Server, []byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"), 7)
	// Output:
	// stream 1: GET to "shop.lan", partial false
	// stream 1: client is done
	// server allows 100 streams
	// stream 1: 200 by nginx
	// stream 1: server is done
	// server goes away after stream 1, NO_ERROR
}

// A connection that began before the capture: its first segments say that it is HTTP/2, and who
// is who.
func ExampleRecognise() {
	var pool http2.Pool
	var c http2.Conn
	c.Reset(&pool, printer{}, http2.Midstream)
	for _, segment := range []string{
		"GET / HTTP/1.1\r\n\r\n",
		"\x00\x00\x02\x01\x05\x00\x00\x01\x2d\x82\xc1", // HEADERS with an unknown field
		"\x00\x00\x01\x01\x05\x00\x00\x01\x2f\x83",
	} {
		b := []byte(segment)
		if !http2.Recognise(b) {
			fmt.Println("no HTTP/2")
			continue
		}
		from, known := http2.Sender(b)
		fmt.Println("sent by the", from, known)
		c.Data(from, b, 0)
	}
	// Output:
	// no HTTP/2
	// sent by the client true
	// stream 301: GET to "", partial true
	// stream 301: client is done
	// sent by the client true
	// stream 303: POST to "", partial false
	// stream 303: client is done
}
