package capfile_test

import (
	"bytes"
	"fmt"
	"os"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// A capture file, decoded to its end.
func Example() {
	capture, err := capfile.NewReader(aCapture(), "a.pcap") // or Open("a.pcap")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer capture.Close()
	var batch sniffer.Batch
	var decoder sniffer.Decoder
	var s sniffer.Segment
	for capture.Read(&batch) == nil { // until io.EOF
		for i := range batch.Frames {
			if decoder.Decode(&batch.Frames[i], &s) {
				fmt.Printf("frame %d: %v > %v %q\n", s.Number, s.Src, s.Dst, s.Payload)
			}
		}
	}
	stats := decoder.Stats()
	fmt.Println(stats.Segments, "of", stats.Frames, "frames hold a segment")
	// Output:
	// frame 1: 10.0.0.1:40000 > 10.0.0.2:80 "GET / HTTP/1.1\r\n\r\n"
	// frame 2: 10.0.0.2:80 > 10.0.0.1:40000 "HTTP/1.1 204 No Content\r\n\r\n"
	// 2 of 2 frames hold a segment
}

// aCapture returns a pcap file.
func aCapture() *bytes.Buffer {
	script := sniffertest.MustParse(`
		conn c 10.0.0.1:40000 10.0.0.2:80
		@0s   c > "GET / HTTP/1.1\r\n\r\n"
		@+9ms c < "HTTP/1.1 204 No Content\r\n\r\n"
	`)
	var file bytes.Buffer
	if err := script.WritePCAP(&file, sniffer.LinkEthernet, sniffertest.FileOptions{}); err != nil {
		panic(err)
	}
	return &file
}
