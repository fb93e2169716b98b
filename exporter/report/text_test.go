package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/keepscope/keepscope/analyzer/fact"
	"github.com/keepscope/keepscope/exporter/tally"
	"github.com/keepscope/keepscope/sniffer"
)

// busyReport is a report in which most of what can be said is said.
func busyReport() *Report { return busyReportOf(tally.New(tally.Config{})) }

// crowdedReport has ports in use and an uneven load, too.
func crowdedReport() *Report {
	set := tally.New(tally.Config{})
	a := set.Worker(nil)
	for i := range 4000 {
		c := sample()
		c.Client, c.Server, c.ServerName = endpoint("10.0.0.77:1000"), endpoint("10.9.0.1:80"), "backend.example"
		if i%4 == 0 {
			c.Server.Addr[15] = byte(1 + i%3)
		}
		c.Client.Port += uint16(i)
		c.Verdict, c.TLS = fact.VerdictNeeded, nil
		c.End = c.Start + 90e9
		addTo(a, c)
	}
	return busyReportOf(set)
}

func busyReportOf(set *tally.Set) *Report {
	a := set.Worker(nil)
	for i := range 400 {
		c := sample()
		c.Client.Port = uint16(2000 + i)
		c.Start += int64(i) * 20e6
		c.End = c.Start + 5e9
		c.HandshakeTime += int64(i) * 100
		switch i % 8 {
		case 0:
			c.ServerName, c.Server, c.Requests, c.Reused = "api.payments.internal:8443", endpoint("10.0.0.20:8443"), 120, 119
			c.Verdict, c.ReuseIdle = fact.VerdictNeeded, []int64{3e9}
			c.Reason, c.ClosedBy, c.CloseIdle = fact.ReasonServerIdle, fact.ByServer, 5e9+int64(i)*1e5
		case 1:
			c.ServerName, c.TLS, c.Requests, c.Reused = "", nil, 1, 0
			c.Server = endpoint("[2001:db8::15]:80")
			c.Cause, c.Reason = fact.Cause(fact.ReasonHTTP10NotRequested), fact.ReasonHTTP10NotRequested
		case 2:
			c.Cause, c.Reason = fact.Cause(fact.ReasonClientDiscard), fact.ReasonClientDiscard
		case 3:
			c.Cause = fact.PoolMiss
		case 4:
			c.Race, c.RaceIdle, c.Reason = i == 4, 4_998_000_000, fact.ReasonRace
			c.Verdict = fact.VerdictNeeded
		case 5:
			c.Handshake, c.HandshakeTime, c.Verdict, c.Incomplete = fact.HandshakeMidstream, -1, fact.VerdictNone, i < 100
		case 6:
			c.ServerName = fmt.Sprintf("tenant-%02d.very-long-name.of.a.service.in.some.cluster.example:8080", i%10)
			c.Cause = fact.Cause(fact.ReasonClientClose)
		case 7:
			c.Estimated, c.ServerName, c.Server = true, "cdn.example", endpoint("192.0.2.80:443")
			c.Cause = fact.Cause(fact.ReasonServerIdle)
		}
		addTo(a, c)
	}
	return built(set, Capture{
		Files: []string{"evening.pcapng", "night.pcapng"}, LinkTypes: []string{"ethernet"},
		FirstPacket: time.Unix(0, epoch), LastPacket: time.Unix(0, epoch+13e9),
		Packets: 18_204, Bytes: 9_120_000, Dropped: Dropped{Kernel: 12},
		DecodeErrors: map[string]uint64{"ipv4": 3}, Reassembly: Reassembly{MissingBytes: 3400}, ReuseWindow: 60,
	})
}

// mixedReport is of a server that is spoken to in clear and encrypted; or, of as
// many connections, encrypted only.
func mixedReport(onlyEncrypted bool) *Report {
	set := tally.New(tally.Config{})
	a := set.Worker(nil)
	for i := range 60 {
		c := sample()
		c.ServerName = "shop.example"
		c.Client.Port = uint16(2000 + i)
		if i%3 > 0 {
			c.Cause = [...]fact.Cause{fact.Cause(fact.ReasonClientIdle), fact.Cause(fact.ReasonServerIdle), fact.Cause(fact.ReasonTimeout)}[i%3]
		}
		if onlyEncrypted || i%2 == 1 {
			c.Estimated, c.Server.Port = true, 443
			c.Negotiated, c.HasAdvertisedTimeout, c.HasAdvertisedMax = [fact.NumOutcomes]uint32{}, false, false
		}
		addTo(a, c)
	}
	return built(set, Capture{Interfaces: []string{"eth0"}, Packets: 5000, Bytes: 700_000})
}

func quietReport() *Report {
	set := tally.New(tally.Config{})
	a := set.Worker(nil)
	for i := range 30 {
		c := sample()
		c.Client.Port, c.Verdict = uint16(i), fact.VerdictNeeded
		addTo(a, c)
	}
	return built(set, Capture{Interfaces: []string{"eth0"}, Packets: 500, Bytes: 70_000, ReuseWindow: 5})
}

func TestText(t *testing.T) {
	for _, test := range []struct {
		name   string
		report *Report
		opts   TextOptions
	}{
		{"busy-80", busyReport(), TextOptions{Width: 80}},
		{"busy-120", busyReport(), TextOptions{Width: 120}},
		{"busy-80-color", busyReport(), TextOptions{Width: 80, Color: true}},
		{"crowded-80", crowdedReport(), TextOptions{Width: 80}},
		{"crowded-120", crowdedReport(), TextOptions{Width: 120}},
		{"crowded-120-color", crowdedReport(), TextOptions{Width: 120, Color: true}},
		{"mixed", mixedReport(false), TextOptions{}},
		{"encrypted", mixedReport(true), TextOptions{}},
		{"quiet", quietReport(), TextOptions{}},
		{"empty", built(tally.New(tally.Config{}), Capture{Files: []string{"evil\x1b[2J.pcap"}}), TextOptions{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := test.report.WriteText(&b, test.opts); err != nil {
				t.Fatal(err)
			}
			golden(t, test.name+".txt", b.Bytes())
			fits(t, b.String(), newPage(test.opts).width)
		})
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9]+m")

// fits checks that all above the findings, whose advice is never cut, is at most a
// screen, and that the text holds no escape but colours.
func fits(t *testing.T, text string, width int) {
	t.Helper()
	text = sgr.ReplaceAllString(text, "")
	above, _, _ := strings.Cut(text, "WHAT TO CHANGE")
	if n := strings.Count(above, "\n"); n > 42 {
		t.Errorf("%d lines", n)
	}
	for l := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > width {
			t.Errorf("%d columns, want at most %d: %q", n, width, l)
		}
		if strings.ContainsRune(l, '\x1b') {
			t.Errorf("escape in %q", l)
		}
	}
}

func TestJSON(t *testing.T) {
	golden(t, "busy.json", []byte(jsonOf(t, busyReport())))
	golden(t, "empty.json", []byte(jsonOf(t, built(tally.New(tally.Config{}), Capture{}))))
}

func TestCompare(t *testing.T) {
	before := busyReport()
	saved, err := ReadJSON(strings.NewReader(jsonOf(t, before)))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name          string
		before, after *Report
	}{
		{"compare-better", saved, quietReport()},
		{"compare-worse", quietReport(), before},
		{"compare-same", saved, before},
		{"compare-mixed", mixedReport(true), mixedReport(false)},
		{"compare-empty", saved, built(tally.New(tally.Config{}), Capture{})},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Compare(test.before, test.after)
			var text, object bytes.Buffer
			if err := c.WriteText(&text, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := c.WriteJSON(&object); err != nil {
				t.Fatal(err)
			}
			golden(t, test.name+".txt", text.Bytes())
			golden(t, test.name+".json", object.Bytes())
			fits(t, text.String(), 80)
		})
	}
}

// TestNotDecoded tells of packets that nobody looked into.
func TestNotDecoded(t *testing.T) {
	var d sniffer.Decoder
	var s sniffer.Segment
	decode := func(n int, etherType string, b ...byte) {
		data := append([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"+etherType), b...)
		for range n {
			d.Decode(&sniffer.Frame{Data: data, Length: uint32(len(data)), Link: sniffer.LinkEthernet}, &s)
		}
	}
	ip := func(protocol byte, b ...byte) []byte {
		return append([]byte{0x45, 0, 0, byte(20 + len(b)), 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, b...)
	}
	decode(1200, "\x08\x00", ip(17, 0xc0, 0, 1, 187, 0, 9, 0, 0, 1)...) // QUIC
	decode(30, "\x08\x00", ip(50, 1, 2, 3, 4)...)                       // ESP
	decode(7, "\x08\x06", 0, 1)                                         // ARP
	decode(2, "\x00\x10", 0x42, 0x42, 3)                                // spanning tree

	var c Capture
	c.SetDecoded(d.Stats())
	want := &NotDecoded{Packets: 1239, Numbers: []UnreadNumber{
		{"UDP port 443", "udp_port", 443, 1200}, {"IP protocol 50", "ip_protocol", 50, 30}, {"EtherType 0x0806", "ethertype", 0x0806, 7},
	}}
	if diff := cmp.Diff(want, c.NotDecoded); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var out strings.Builder
	if err := built(tally.New(tally.Config{}), c).WriteText(&out, TextOptions{Width: 120}); err != nil {
		t.Fatal(err)
	}
	if line := "1239 packets were neither TCP nor DNS: UDP port 443 (1200), IP protocol 50 (30), EtherType 0x0806 (7), others (2)."; !strings.Contains(strings.Join(strings.Fields(out.String()), " "), line) {
		t.Errorf("%s\nwant in it: %s", out.String(), line)
	}
	var none Capture
	if none.SetDecoded(sniffer.DecodeStats{}); none.NotDecoded != nil {
		t.Error("packets of none")
	}
}

// TestNothingKnown: where nothing can be known of waste the head says that, and not that
// there was none.
func TestNothingKnown(t *testing.T) {
	http2 := &Report{Totals: Summary{Connections: 3, Protocols: map[string]uint64{"h2": 3}}}
	requests := &Report{Totals: Summary{Connections: 3, Requests: 9, Effectiveness: pointer(1.0), Packets: Sides{Client: 20}, Bytes: Sides{Client: 900}}}
	answers := &Report{Totals: Summary{Connections: 3, Packets: Sides{Server: 20}, Bytes: Sides{Server: 900}}}
	for r, want := range map[*Report][]string{
		http2:    {"no value: the requests are not known", "nothing is said of waste"},
		requests: {"no value: only one direction was captured", "Too much is missing to judge: only one direction"},
		answers:  {"no value: only one direction was captured", "Too much is missing to judge: only one direction"},
	} {
		var out bytes.Buffer
		if err := r.WriteText(&out, TextOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%q is not in\n%s", w, out.String())
			}
		}
	}
}
