package sniffer_test

import (
	"fmt"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A frame with two VLAN tags, and one that is cut.
func ExampleDecoder() {
	script := sniffertest.MustParse(`
		conn c 10.0.0.1:40000 10.0.0.2:80
		@0s c > "GET / HTTP/1.1\r\n\r\n"
	`)
	frames, err := script.Frames(sniffer.LinkEthernet)
	if err != nil {
		fmt.Println(err)
		return
	}
	whole := frames[0]
	tagged := whole
	tagged.Data = append(append(append([]byte{}, whole.Data[:12]...), "\x88\xa8\x00\x05\x81\x00\x00\x07"...), whole.Data[12:]...)
	tagged.Length += 8
	cut := whole
	cut.Data = whole.Data[:len(whole.Data)-10]

	var decoder sniffer.Decoder
	var s sniffer.Segment
	for _, f := range []sniffer.Frame{tagged, cut} {
		if decoder.Decode(&f, &s) {
			fmt.Printf("%v > %v %q of %d bytes\n", s.Src, s.Dst, s.Payload, s.Length)
		}
	}
	// Output:
	// 10.0.0.1:40000 > 10.0.0.2:80 "GET / HTTP/1.1\r\n\r\n" of 18 bytes
	// 10.0.0.1:40000 > 10.0.0.2:80 "GET / HT" of 18 bytes
}
