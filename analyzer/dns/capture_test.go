package dns

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// TestCaptures compares Parse with dnsmessage on the DNS of real captures, and
// holds what tshark counts: messages, and answers with addresses.
func TestCaptures(t *testing.T) {
	tests := []struct {
		file                string
		messages, addressed int
	}{
		{"pcap2har__sajal.pcap", 68, 20},
		{"zeek__wikipedia.pcap", 28, 5},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			var messages, addressed int
			c := NewCache(Config{})
			var m Message
			for _, p := range datagrams(t, tt.file) {
				udp := p.TransportLayer().(*layers.UDP)
				got := see(udp.Payload)
				got.TTL = 0
				if want, ok := reference(udp.Payload); ok {
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("(-dnsmessage +Parse):\n%s", diff)
					}
				}
				if !Parse(udp.Payload, &m) {
					continue
				}
				messages++
				src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
				at := p.Metadata().Timestamp.UnixNano()
				client := mapped(dst.Raw())
				c.Message(&m, mapped(src.Raw()), uint16(udp.SrcPort), client, uint16(udp.DstPort), at)
				if len(m.Addrs) == 0 {
					continue
				}
				addressed++
				if name, cost, ok := c.Lookup(client, m.Addrs[0], at); !ok || name != string(m.Name) || cost < 0 {
					t.Errorf("%s: %q, %d, %t", m.Name, name, cost, ok)
				}
			}
			if messages != tt.messages || addressed != tt.addressed {
				t.Errorf("%d messages, %d with addresses; want %d, %d", messages, addressed, tt.messages, tt.addressed)
			}
		})
	}
}

func mapped(b []byte) Addr {
	a := Addr{10: 0xff, 11: 0xff}
	copy(a[len(a)-len(b):], b)
	return a
}

// datagrams returns the UDP packets from or to port 53 of a capture file.
func datagrams(t *testing.T, file string) []gopacket.Packet {
	t.Helper()
	dir := os.Getenv("KEEPSCOPE_CAPTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "captures")
	}
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		t.Skipf("captures are absent: %v", err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var found []gopacket.Packet
	source := gopacket.NewPacketSource(r, r.LinkType())
	for {
		p, err := source.NextPacket()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if udp, ok := p.TransportLayer().(*layers.UDP); ok && (udp.SrcPort == 53 || udp.DstPort == 53) {
			found = append(found, p)
		}
	}
}
