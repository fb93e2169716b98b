package tls

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// TestCaptures observes connections of real captures. What is wanted was read
// off tshark's dissection.
func TestCaptures(t *testing.T) {
	tests := []struct {
		file string
		want []summary // of the connections that begin with a ClientHello
	}{
		{"scapy__tls_nss_example.pcap", []summary{
			{Version: VersionTLS12, Done: 1, Bursts: "cs"},
			{Version: VersionTLS13, Done: 1, Bursts: "cs"},
		}},
		{"wireshark__tls12-dsb.pcapng", []summary{
			{SNI: "example.com", Offered: "http/1.1", ALPN: "http/1.1", Version: VersionTLS12, Done: 1, Bursts: "cs"},
			{SNI: "example.net", Offered: "http/1.1", ALPN: "http/1.1", Version: VersionTLS12, Done: 1, Bursts: "cs"},
		}},
		{"zeek__tls-1.2-stream-keylog.pcap", []summary{{
			SNI: "www.heise.de", Offered: "http/1.1", ALPN: "http/1.1", Version: VersionTLS12,
			Done: 1, Bursts: strings.Repeat("cs", 16),
		}}},
		{"zeek__tls12-decryption.pcap", []summary{{
			SNI: "heise.de", Offered: "h2,http/1.1", ALPN: "http/1.1", Version: VersionTLS12, Done: 1, Bursts: "cs",
		}}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			var got []summary
			for _, chunks := range connections(t, tt.file) {
				if chunks[0].dir == Client && IsClientHello(chunks[0].b) {
					got = append(got, summarize(t, chunks, 0))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

type reader interface {
	gopacket.PacketDataSource
	LinkType() layers.LinkType
}

// connections returns what the two sides of each connection sent, in order of
// capture; retransmissions are left out. The captures lack no bytes and do
// not change their order.
func connections(t *testing.T, file string) [][]chunk {
	t.Helper()
	dir := os.Getenv("KEEPSCOPE_CAPTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "captures")
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Skipf("captures are absent: %v", err)
	}
	var r reader
	if bytes.HasPrefix(b, []byte("\n\r\r\n")) {
		r, err = pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.DefaultNgReaderOptions)
	} else {
		r, err = pcapgo.NewReader(bytes.NewReader(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	type flow struct{ net, ports gopacket.Flow }
	var all [][]chunk
	index := map[flow]int{}
	next := map[flow]uint32{}
	var first gopacket.Decoder = r.LinkType()
	if r.LinkType() == layers.LinkTypeIPv4 {
		first = layers.LayerTypeIPv4
	}
	for p := range gopacket.NewPacketSource(r, first).Packets() {
		tcp, ok := p.TransportLayer().(*layers.TCP)
		if !ok {
			continue
		}
		f := flow{p.NetworkLayer().NetworkFlow(), tcp.TransportFlow()}
		back := flow{f.net.Reverse(), f.ports.Reverse()}
		if tcp.SYN {
			next[f] = tcp.Seq + 1
		}
		if seq, ok := next[f]; len(tcp.Payload) == 0 || ok && int32(tcp.Seq-seq) < 0 {
			continue
		}
		next[f] = tcp.Seq + uint32(len(tcp.Payload))
		dir := Client
		k, ok := index[f]
		if !ok {
			if k, ok = index[back]; ok {
				dir = Server
			} else {
				k = len(all)
				index[f] = k
				all = append(all, nil)
			}
		}
		all[k] = append(all[k], chunk{dir: dir, b: tcp.Payload})
	}
	return all
}
