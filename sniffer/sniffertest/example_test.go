package sniffertest_test

import (
	"fmt"
	"os"
	"time"

	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A conversation in a few lines, as the segments that a decoder would yield.
func ExampleParse() {
	script, err := sniffertest.Parse([]byte(`
		conn c 10.0.0.1:40000 10.0.0.2:80
		@0s   c handshake rtt=10ms
		@+1ms c > "GET / HTTP/1.1\r\n\r\n"
		@+9ms c < "HTTP/1.1 204 No Content\r\n\r\n" fin
	`))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for _, s := range script.Segments() {
		at := time.Duration(s.Time - sniffertest.Base.UnixNano())
		fmt.Printf("%-5v %v > %v seq %d, %d bytes\n", at, s.Src, s.Dst, s.Seq, s.Length)
	}
	// Output:
	// 0s    10.0.0.1:40000 > 10.0.0.2:80 seq 1000, 0 bytes
	// 5ms   10.0.0.2:80 > 10.0.0.1:40000 seq 5000000, 0 bytes
	// 10ms  10.0.0.1:40000 > 10.0.0.2:80 seq 1001, 0 bytes
	// 11ms  10.0.0.1:40000 > 10.0.0.2:80 seq 1001, 18 bytes
	// 20ms  10.0.0.2:80 > 10.0.0.1:40000 seq 5000001, 27 bytes
}
