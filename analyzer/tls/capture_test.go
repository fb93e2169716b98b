package tls

import (
	"bytes"
	"compress/gzip"
	"io"
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
			for _, c := range connections(t, "captures", tt.file) {
				if chunks := c.chunks; chunks[0].dir == Client && IsClientHello(chunks[0].b) {
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

// A captured connection has the ports that its truth is found by.
type captured struct {
	client, server uint16
	chunks         []chunk
}

// sharedDir is where captures lie beside the project.
func sharedDir() string {
	if dir := os.Getenv("KEEPSCOPE_CAPTURES"); dir != "" {
		return filepath.Dir(dir)
	}
	return filepath.Join("..", "..", "..", "shared")
}

// shared reads a file that lies beside the project; where it is absent the test
// is skipped.
func shared(t testing.TB, dir, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(sharedDir(), dir, file))
	if err != nil {
		t.Skipf("captures are absent: %v", err)
	}
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// connections returns what the two sides of each connection sent, in order of
// capture; retransmissions are left out, and what is missing is a gap: captures whose order
// changed are not for it.
func connections(t testing.TB, dir, file string) []captured {
	t.Helper()
	b := shared(t, dir, file)
	var err error
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
	var all []captured
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
		seq, ok := next[f]
		if len(tcp.Payload) == 0 || ok && int32(tcp.Seq-seq) < 0 {
			continue
		}
		missing := int64(0)
		if ok {
			missing = int64(tcp.Seq - seq)
		}
		next[f] = tcp.Seq + uint32(len(tcp.Payload))
		dir := Client
		k, known := index[f]
		if !known {
			if k, known = index[back]; known {
				dir = Server
			} else {
				k = len(all)
				index[f] = k
				all = append(all, captured{client: uint16(tcp.SrcPort), server: uint16(tcp.DstPort)})
			}
		}
		if missing > 0 {
			all[k].chunks = append(all[k].chunks, chunk{dir: dir, gap: missing})
		}
		all[k].chunks = append(all[k].chunks, chunk{dir: dir, b: tcp.Payload})
	}
	return all
}
