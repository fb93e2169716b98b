package run_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/keepscope/keepscope/analyzer"
	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/analyzer/run"
	"github.com/keepscope/keepscope/reassembly"
	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/capfile"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// An observer counts handshakes by why they were wasted.
type observer map[fact.Cause]int

func (o observer) Connection(c *fact.Connection) {
	if c.Verdict == fact.VerdictWasted {
		o[c.Cause]++
	}
}

// A capture file, to its end.
func Example() {
	capture, err := capfile.NewReader(aCapture(), "a.pcap") // or Open("a.pcap")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer capture.Close()
	wasted := observer{}
	reader := run.Reader{
		Source:  capture,
		Decoder: sniffer.NewDecoder(sniffer.DecoderConfig{}),
		Workers: []*run.Worker{run.NewWorker(reassembly.Config{}, analyzer.Config{}, wasted)},
	}
	if err := reader.Run(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	reader.Flush()
	fmt.Println(reader.Progress.Packets.Load(), "packets;", wasted)
	// Output:
	// 24 packets; map[client_discard:2]
}

// aCapture returns a pcap file of a client that closes each connection after use.
func aCapture() *bytes.Buffer {
	var text strings.Builder
	for i := range 3 {
		fmt.Fprintf(&text, `
			conn c%[1]d 10.0.0.1:4000%[1]d 10.0.0.2:80
			@%[1]ds  c%[1]d handshake rtt=10ms
			@+1ms c%[1]d > "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
			@+9ms c%[1]d < "HTTP/1.1 204 No Content\r\n\r\n"
			@+1ms c%[1]d > close rtt=10ms
		`, i)
	}
	var file bytes.Buffer
	if err := sniffertest.MustParse(text.String()).WritePCAP(&file, sniffer.LinkEthernet, sniffertest.FileOptions{}); err != nil {
		log.Fatal(err)
	}
	return &file
}
