package sniffer_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/keepscope/keepscope/sniffer"
	"github.com/keepscope/keepscope/sniffer/sniffertest"
)

// guessed are the encapsulations whose bytes do not tell what they hold, and
// those for which tshark has no dissector on that port by itself.
var guessed = map[string]string{
	"gre wccp 1":            "tshark reads version 2 only",
	"gtp ethernet":          "tshark takes the user's packet for IP",
	"l2tp 3":                "tshark asks the user for cookie, sublayer and link type",
	"l2tp 3, cookie":        "as l2tp 3",
	"l2tp 3, vlan":          "as l2tp 3",
	"l2tp 3, ppp":           "as l2tp 3",
	"l2tp 3, bare ppp":      "as l2tp 3",
	"l2tp 3, sublayer":      "as l2tp 3",
	"l2tp 3 in udp":         "as l2tp 3",
	"mpls pseudowire, bare": "tshark guesses by the first four bits alone",
	"mpls pseudowire 4x":    "as mpls pseudowire, bare",
	"mpls pseudowire 6x":    "as mpls pseudowire, bare",
	"old q-in-q":            "tshark knows no 0x9200",
	"gre vlan":              "tshark reads no tag in GRE",
	"pppoe of no length":    "tshark takes the length of 0 at its word",
	"erspan 3, ip":          "tshark reads Ethernet in it only",
	"vxlan gpe, no type":    "tshark goes by the type that is said not to be there",
	"vxlan over ipv6":       "tshark takes port 8472 for another protocol",
	"null linux ipv6":       "tshark knows the numbers of the BSDs",
	"null windows ipv6":     "as null linux ipv6",
	"cisco hdlc, ppp":       "tshark takes the link type at its word",
	"vxlan, bits of gpe":    "tshark reads the bits of the extension on every port",
	"vxlan, reserved bits":  "as vxlan, bits of gpe",
}

// TestTsharkAgrees has tshark read every encapsulation: the innermost segment
// has the same ports, sequence number and length.
func TestTsharkAgrees(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	byLink := map[sniffer.LinkType][]string{}
	all := encapsulations(t)
	for name, e := range all {
		if guessed[name] == "" {
			byLink[e.link] = append(byLink[e.link], name)
		}
	}
	for link, names := range byLink {
		frames := make([]sniffer.Frame, len(names))
		for i, name := range names {
			data := all[name].data
			frames[i] = sniffer.Frame{Time: int64(i+1) * 1e9, Data: data, Length: uint32(len(data)), Link: link}
		}
		for i, got := range tshark(t, link, frames) {
			e := all[names[i]]
			s := e.segment(t)
			want := fmt.Sprint(s.Src.Port, " ", s.Dst.Port, " ", s.Seq, " ", s.Length)
			if got != want {
				t.Errorf("%s (link type %d): tshark has %q, want %q", names[i], link, got, want)
			}
		}
	}
}

// tshark returns, of each frame, ports, sequence number and length of the
// innermost segment.
func tshark(t *testing.T, link sniffer.LinkType, frames []sniffer.Frame) []string {
	t.Helper()
	var file bytes.Buffer
	if err := sniffertest.WritePCAP(&file, link, frames, sniffertest.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "tshark", "-r", "-", "-n", "-T", "fields", "-E", "occurrence=l",
		"-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "tcp.seq_raw", "-e", "tcp.len")
	cmd.Stdin = &file
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(frames) {
		t.Fatalf("tshark has %d lines for %d frames", len(lines), len(frames))
	}
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "\t", " ")
	}
	return lines
}
